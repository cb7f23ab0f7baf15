"""podman on a machine of its own: /etc and /usr/share/containers are copies there, and what it keeps is under /run."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.installation import without_notes
from tests.support.namespaces import Namespace
from tests.support.processes import wait_until

from .container import Machine

# Copies, so that files can be installed where podman looks by itself. crun wants a pure cgroup2 view.
COPY = "mkdir -p /run/copy{0} && cp -a {0}/. /run/copy{0} && mount --bind /run/copy{0} {0}"
# Its locks are in /dev/shm.
PREPARE = " && ".join(
    ["mount -t tmpfs tmpfs /dev/shm", *(COPY.format(folder) for folder in ("/etc", "/usr/share/containers"))]
)
CGROUPS = {"runc": "true", "crun": "mount -t cgroup2 none /sys/fs/cgroup"}
# A container writes to what podman was given. Else conmon passes on what it writes, but not what came before conmon had
# seen that podman is there to read it: a short command on a busy machine seems to print nothing.
LOG_DRIVER = "passthrough"
CDI = "/etc/cdi"
LOCK = Path(__file__).parents[2] / ".cache/podman.lock"
CGROUP = Path("/sys/fs/cgroup")
HOOKS = "/usr/share/containers/oci/hooks.d"


def _cgroups() -> set[Path]:
    """podman's parent cgroups, one a hierarchy, which it leaves behind."""
    return {path for pattern in ("libpod_parent", "*/libpod_parent") for path in CGROUP.glob(pattern)}


def _is_removed(top: Path) -> bool:
    """Removes a cgroup with those below it; one is busy as long as a process is in it, such as conmon at its end."""
    try:
        for path in sorted([top, *(path for path in top.rglob("*") if path.is_dir())], reverse=True):
            path.rmdir()
    except OSError as e:
        if e.errno not in (errno.EBUSY, errno.ENOENT):  # podman's own end removes some of them meanwhile
            raise
    return not top.exists()


@contextlib.contextmanager
def _cleaned_up() -> Iterator[None]:
    """Removes podman's parent cgroups, unless they were there before; of several processes, the last one does."""
    LOCK.parent.mkdir(exist_ok=True)
    with LOCK.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.truncate(0)
            file.write("\n".join(map(str, _cgroups())))
            file.flush()
        except BlockingIOError:
            pass  # another process of these tests was first
        fcntl.flock(file, fcntl.LOCK_SH)
        file.seek(0)
        before = {Path(line) for line in file.read().splitlines()}
        yield
        fcntl.flock(file, fcntl.LOCK_UN)
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for top in _cgroups() - before:
                wait_until(lambda top=top: _is_removed(top), f"{top} can be removed: nothing runs there any more")


@dataclass
class Podman:
    """podman with one of the runtimes below it."""

    runtime: str
    machine: Machine
    rootfs: Path

    @classmethod
    @contextlib.contextmanager
    def started(cls, runtime: str, host: Namespace, rootfs: Path) -> Iterator[Podman]:
        """podman on a machine of its own; raises OSError where the kernel does not allow one."""
        with _cleaned_up(), Machine(host, f"{CGROUPS[runtime]} && {PREPARE}") as machine:
            yield cls(runtime, machine, rootfs)

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        own = {"root": "root", "runroot": "runroot", "tmpdir": "tmp"}
        options = [f"--{option}=/run/podman/{name}" for option, name in own.items()]
        options += ["--storage-driver=vfs", "--cgroup-manager=cgroupfs", "--events-backend=file"]
        return self.machine.run(["podman", *options, f"--runtime={self.runtime}", *arguments])

    def configure(self) -> None:
        """Makes these options the machine's configuration, so that a plain `podman run` works as here."""
        storage = '[storage]\ndriver = "vfs"\nrunroot = "/run/podman/runroot"\ngraphroot = "/run/podman/root"\n'
        engine = {"cgroup_manager": "cgroupfs", "events_logger": "file", "tmp_dir": "/run/podman/tmp"}
        engine["runtime"] = self.runtime
        lines = ["[engine]", *(f'{name} = "{value}"' for name, value in engine.items())]
        lines += ["[containers]", f'log_driver = "{LOG_DRIVER}"']
        lines += ['cgroups = "disabled"'] if self.runtime == "crun" else []
        self.machine.path("/etc/containers/storage.conf").write_text(storage)
        self.machine.path("/etc/containers/containers.conf").write_text("\n".join(lines) + "\n")

    def run(self, *options: str, command: str, network: str = "none") -> subprocess.CompletedProcess[str]:
        """Runs a shell command in a container, and removes it."""
        cgroups = ["--cgroups=disabled"] if self.runtime == "crun" else []
        before = ["--rm", f"--log-driver={LOG_DRIVER}", f"--network={network}", *cgroups, *options]
        return self("run", *before, "--rootfs", str(self.rootfs), "/bin/sh", "-c", command)

    def netdevns(self, *arguments: str) -> str:
        """Runs the command on the machine; it must succeed. Returns what it prints."""
        done = self.machine.netdevns(*arguments)
        assert (done.returncode, without_notes(done.stderr)) == (0, "")
        return done.stdout
