"""A host with Debian trixie as its root file system, for daemons that other distributions have in other versions.

The root file system is an overlay above packages that tools/daemons_fetch.py unpacks; nothing is installed. The host is
a network, mount and PID namespace: with its first process all of its daemons end.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.namespaces import Namespace

from .container import ENV, NETDEVNS

TREE = Path(__file__).parents[2] / ".cache/daemons/packages"  # tools/daemons_fetch.py
ROOT = "/run/debian/root"
TIMEOUT_S = 120
ENVIRON = ENV | {"SYSTEMD_IGNORE_CHROOT": "1"}

SCRIPT = f"""
set -e
mount -t tmpfs tmpfs /run
mkdir -p /run/debian/upper /run/debian/work {ROOT}
mount -t overlay -o lowerdir="$1",upperdir=/run/debian/upper,workdir=/run/debian/work debian {ROOT}
cd {ROOT}
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs dev
for name in null zero random urandom; do
    touch dev/$name
    mount --bind /dev/$name dev/$name
done
echo ready
exec cat >/dev/null
"""
# What a machine has besides packages.
BASE = {
    "/etc/passwd": "root:x:0:0:root:/root:/bin/sh\nmessagebus:x:100:100::/:/bin/false\n"
    "systemd-network:x:101:101::/:/bin/false\ndnsmasq:x:102:102::/:/bin/false\nnobody:x:65534:65534::/:/bin/false\n",
    "/etc/group": "root:x:0:\nmessagebus:x:100:\nsystemd-network:x:101:\ndnsmasq:x:102:\nnogroup:x:65534:\n",
    "/etc/machine-id": "0123456789abcdef0123456789abcdef\n",
    "/etc/hostname": "host\n",
}


class Host:
    """A machine with Debian's daemons. A context manager: with it all of them end."""

    def __init__(self, files: Mapping[str, str]) -> None:
        """Raises OSError where the kernel does not allow it. `files`: by their paths, as `/etc/...`."""
        if not TREE.exists():
            raise OSError("there are no packages to run; tools/daemons_fetch.py fetches them")
        self.net = Namespace.create("host")
        self._running: list[subprocess.Popen[bytes]] = []
        argv = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child"]
        argv += ["--mount-proc", "--propagation", "private", "sh", "-c", SCRIPT, "sh", str(TREE)]
        with self.net.entered():
            self._keeper = subprocess.Popen(
                argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENV, text=True
            )
        assert self._keeper.stdout is not None
        assert self._keeper.stderr is not None
        if self._keeper.stdout.readline() != "ready\n":
            said = self._keeper.stderr.read().strip().partition("\n")[0]
            self.close()
            raise OSError(f"no root file system for Debian's daemons: {said}")
        children = Path(f"/proc/{self._keeper.pid}/task/{self._keeper.pid}/children")
        self.pid = int(children.read_text())  # its first process
        for folder in ("/run/systemd", "/run/dbus"):
            self.path(folder).mkdir()
        self.write({**BASE, **files})

    def __enter__(self) -> Host:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        with self._keeper:
            assert self._keeper.stdin is not None
            self._keeper.stdin.close()  # its first process ends, and with it all others
        for process in self._running:
            process.wait()
        self.net.close()

    def path(self, path: str) -> Path:
        """A file of Debian's root file system, as this process sees it."""
        return Path(f"/proc/{self.pid}/root{ROOT}/{path.lstrip('/')}")

    def write(self, files: Mapping[str, str]) -> None:
        """Writes files of Debian's root file system."""
        for path, text in files.items():
            place = self.path(path)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)

    def _argv(self, words: Sequence[str], is_inside: bool) -> list[str]:
        root = ["chroot", ROOT] if is_inside else []
        return ["nsenter", f"--target={self.pid}", "--mount", "--pid", "--", *root, *words]

    def start(self, *words: str, net: Namespace | None = None, is_inside: bool = True) -> Path:
        """Starts a daemon; returns its log. `net`: its network namespace, if not the host's."""
        log = self.path(f"/run/{words[0].rpartition('/')[2]}.log")
        with log.open("wb") as output, (net or self.net).entered():
            argv = self._argv(words, is_inside)
            self._running.append(
                subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=ENVIRON)
            )
        return log

    def run(self, *words: str, is_inside: bool = True, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs a program to its end: one of Debian's in its root file system, or one of the machine's beside it."""
        # Not by Python's time-out: nsenter has a child in the PID namespace, which would outlive it.
        argv = ["timeout", "--signal=KILL", str(TIMEOUT_S), *(["chroot", ROOT] if is_inside else []), *words]
        with self.net.entered():
            done = subprocess.run(
                self._argv(argv, False),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                env=ENVIRON,
                check=False,
            )
        assert not (check and done.returncode), f"{' '.join(words)}: {done.returncode}: {done.stdout}{done.stderr}"
        return done

    def netdevns(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs the command."""
        return self.run(*NETDEVNS, *words, is_inside=False, check=check)
