"""What it takes to start a container from a bundle with runc or crun: a root file system, a config.json, a machine."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import netdevns
from tests.support.namespaces import Namespace
from tests.support.processes import wait_until

# Its name: cgroups are the machine's, and other tests run beside this one.
CONTAINER = f"netdevns-{secrets.token_hex(4)}"
TIMEOUT_S = 120
SBIN = "/usr/local/sbin:/usr/sbin:/sbin"  # runc's place, and ip's; an ordinary user's PATH has none of them
ENV = {
    "PATH": f"{os.environ.get('PATH', os.defpath)}:{SBIN}",
    "PYTHONPATH": str(Path(netdevns.__file__).parents[1]),
    "PYTHONDONTWRITEBYTECODE": "1",
} | {name: value for name, value in os.environ.items() if name.startswith("NETDEVNS_")}
# -P: a hook's working directory is the bundle, and what lies there is no module of ours.
NETDEVNS = [sys.executable, "-P", "-m", "netdevns"]


def is_static() -> bool:
    """Whether the hook in C is tried."""
    return os.environ.get("NETDEVNS_HOOK") == "static"


def hook_words() -> list[str]:
    """What starts a hook; a stage and its arguments follow. NETDEVNS_HOOK=static: the one in C."""
    if not is_static():
        return [*NETDEVNS, "hook"]
    from tests.hook.built import program

    return [str(program())]


# ---- the devices of most tests --------------------------------------------------------------------------------------

HOST_DEVICES = """
    link add eth1 mtu 1400 address 02:00:00:00:00:01 type veth peer name wire1
    link add link wire1 name mv0 address 02:00:00:00:00:02 type macvlan mode bridge
    link add eth2 address 02:00:00:00:00:03 type veth peer name wire2
    address add 192.0.2.10/24 dev eth1
    address add 192.0.2.11/24 dev eth1
    address add 198.51.100.7/31 dev mv0
    address add 203.0.113.5/24 dev eth2
    address add 2001:db8:2::5/64 dev eth2
    address add 2001:db8:2::6/64 dev eth2
    link set wire1 up
    link set wire2 up
    link set eth1 up
    link set mv0 up
    link set eth2 up
"""
WIRES = {"wire1", "wire2"}  # the host's ends: they die with the others
DEVICES: dict[str, object] = {"eth1": {"name": "net0"}, "mv0": {"name": "eth%d"}, "eth2": {}}
ARRIVED = {
    "net0": ["192.0.2.10/24", "192.0.2.11/24"],
    "eth0": ["198.51.100.7/31"],
    "eth2": ["203.0.113.5/24", "2001:db8:2::5/64", "2001:db8:2::6/64"],
}


def furnish(host: Namespace) -> None:
    """The three devices that DEVICES asks for, up, with addresses whose DAD is over; nothing changes there any more."""
    host.sysctl("ipv6/conf/default/accept_dad", 0)
    host.batch(HOST_DEVICES)
    # The kernel's news about carriers may be a second late: silence alone proves nothing.
    wait_until(lambda: {link["operstate"] for link in host.ip_json("link show up")} == {"UP"}, "all carriers are known")
    host.wait_until_quiet()


def cable(host: Namespace, devices: Iterable[str], lines: str, patience_s: float = 60) -> None:
    """Devices with a cable each (wire1, wire2, ...), UP, then `lines` for ip(8); nothing changes there any more."""
    host.sysctl("ipv6/conf/default/accept_dad", 0)
    made = []
    for number, name in enumerate(devices, 1):
        made.append(f"link add {name} address 02:00:00:00:00:{number:02x} type veth peer name wire{number}")
        made += [f"link set {end} up" for end in (f"wire{number}", name)]
    host.batch([*made, *lines.strip().splitlines()])
    # The kernel's news about carriers may be a second late: silence alone proves nothing.
    wait_until(
        lambda: {link["operstate"] for link in host.ip_json("link show type veth")} == {"UP"},
        "all carriers are known",
        patience_s,
    )
    host.wait_for_dad(patience_s)
    host.wait_until_quiet()


def opened(path: str | Path, name: str) -> Namespace:
    """The network namespace at a path."""
    return Namespace(os.open(path, os.O_RDONLY | os.O_CLOEXEC), name)


# ---- the machine ----------------------------------------------------------------------------------------------------


class Machine:
    """The namespace `host` with a mount namespace of its own, where /run is empty. A context manager."""

    def __init__(self, host: Namespace, prepare: str = "true") -> None:
        """Raises OSError where the kernel does not allow it. `prepare`: shell, run in the mount namespace."""
        self.host = host
        script = f"mount -t tmpfs tmpfs /run && {prepare} && echo ready && exec cat >/dev/null"
        self._keeper = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", script],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENV, text=True,
        )  # fmt: skip
        assert self._keeper.stdout is not None
        assert self._keeper.stderr is not None
        if self._keeper.stdout.readline() != "ready\n":
            said = self._keeper.stderr.read().strip().partition("\n")[0]
            self.close()
            raise OSError(f"no mount namespace of its own for a runtime: {said}")

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        with self._keeper:  # waits, and closes the pipes
            assert self._keeper.stdin is not None
            self._keeper.stdin.close()

    @property
    def pid(self) -> int:
        """The process that keeps the mount namespace."""
        return self._keeper.pid

    def path(self, path: str) -> Path:
        """A file of the machine's, as this process sees it."""
        return Path(f"/proc/{self.pid}/root{path}")

    def mounts(self) -> str:
        return Path(f"/proc/{self.pid}/mountinfo").read_text()

    def hook_log(self) -> str:
        """What the hook left in its log; empty without one."""
        log = self.path("/run/netdevns/hook.log")
        return log.read_text() if log.exists() else ""

    def popen(self, argv: Sequence[str], **how: Any) -> subprocess.Popen[bytes]:
        """Starts a program on the machine, in a session of its own."""
        argv = ["nsenter", f"--target={self.pid}", "--mount", "--", *argv]
        with self.host.entered():
            return subprocess.Popen(argv, start_new_session=True, env=ENV, **how)

    def run(
        self, argv: Sequence[str], stdin: bytes = b"", output: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Runs a program on the machine to its end; `output`: a file for what its children print later on."""
        with contextlib.ExitStack() as stack:
            stdout = stderr = subprocess.PIPE
            if output is not None:
                stdout = stderr = stack.enter_context(output.open("ab")).fileno()
            process = stack.enter_context(self.popen(argv, stdin=subprocess.PIPE, stdout=stdout, stderr=stderr))
            try:
                out, err = process.communicate(stdin, timeout=TIMEOUT_S)
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)  # not yet waited for: the number is still its own
                raise
        return subprocess.CompletedProcess(argv, process.returncode, (out or b"").decode(), (err or b"").decode())

    def netdevns(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs the command on the machine."""
        return self.run([*NETDEVNS, *arguments])

    def hook(self, state: object, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs the createRuntime hook as a runtime does; `state`: bytes, or what becomes JSON."""
        data = state if isinstance(state, bytes) else json.dumps(state).encode()
        return self.run([*hook_words(), "createRuntime", *arguments], stdin=data)

    def named_namespace(self, name: str) -> Namespace:
        """Makes /run/netns/NAME."""
        self.run(["ip", "netns", "add", name]).check_returncode()
        namespace = opened(self.path(f"/run/netns/{name}"), name)
        namespace.sysctl("ipv6/conf/default/addr_gen_mode", 1)
        return namespace


# ---- the bundle -----------------------------------------------------------------------------------------------------

# The container's process: what it sees at once, then nothing more.
LOOK = "echo -- links; ip -o link; echo -- addresses; ip -o addr; echo -- ipv6; cat /proc/net/if_inet6; echo -- netns; \
readlink /proc/self/ns/net"


def make_rootfs(path: Path, busybox: str) -> None:
    """A root file system with busybox and nothing else."""
    for folder in ("bin", "proc", "dev"):  # crun does not start without dev
        (path / folder).mkdir(parents=True)
    shutil.copy(busybox, path / "bin/busybox")
    for applet in ("sh", "ip", "cat", "readlink", "sleep"):
        (path / "bin" / applet).symlink_to("busybox")


def hook(*arguments: str) -> dict[str, object]:
    """An entry of `hooks.createRuntime`: this checkout's netdevns."""
    return {
        "path": hook_words()[0],
        # args[0] is the path again: runtimes pass it on as it is, and Python finds its venv by it.
        "args": [*hook_words(), "createRuntime", *arguments],
        "env": [f"{name}={value}" for name, value in ENV.items()],
        "timeout": TIMEOUT_S,
    }


def shell_hook(script: str) -> dict[str, object]:
    """An entry of `hooks.createRuntime` that runs a script, with $pid set to the container's process."""
    pid = """pid=$(sed -n 's/.*"pid": *\\([0-9]*\\).*/\\1/p'); set -e; """
    return {"path": "/bin/sh", "args": ["sh", "-c", pid + script], "env": [f"PATH={ENV['PATH']}"]}


@dataclass
class Bundle:
    """A folder with a config.json."""

    path: Path
    rootfs: Path

    def write(
        self,
        devices: object = None,
        *,
        hooks: Sequence[Mapping[str, object]] | None = None,
        network: Mapping[str, object] | None = None,
        **more: object,
    ) -> None:
        """Writes config.json.

        Args:
            devices: `linux.netDevices`; absent without.
            hooks: `hooks.createRuntime`; the netdevns hook by default.
            network: The entry of the network namespace; a new namespace by default, `{}` for no entry at all.
            more: Further members of the configuration.
        """
        network = {"type": "network"} if network is None else network
        namespaces = [{"type": kind} for kind in ("pid", "mount", "ipc", "uts")] + ([network] if network else [])
        config = {
            "ociVersion": "1.0.2",
            "process": {
                "user": {"uid": 0, "gid": 0},
                "args": ["/bin/sh", "-c", LOOK],
                "env": ["PATH=/bin"],
                "cwd": "/",
            },
            "root": {"path": str(self.rootfs), "readonly": True},
            # /dev of its own: newer runc makes links there, which must not lie in the root that all tests share.
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
            ],
            "linux": {"namespaces": namespaces} | ({} if devices is None else {"netDevices": devices}),
            "hooks": {"createRuntime": [hook()] if hooks is None else list(hooks)},
        }
        (self.path / "config.json").write_text(json.dumps(config | more))

    def write_raw(self, text: str) -> None:
        (self.path / "config.json").write_text(text)


@dataclass
class Seen:
    """What the container's process saw when it started; without lo."""

    links: dict[str, str]  # the rest of ip's line
    addresses: dict[str, list[str]]  # of global scope, "address/prefixlen", sorted within a family
    ipv6_flags: dict[str, set[str]]  # IFA_F_*, two hexadecimal digits, of the addresses of global scope
    netns: str = ""

    @classmethod
    def parse(cls, text: str) -> Seen:
        parts: dict[str, list[str]] = {}
        for line in text.splitlines():
            if line.startswith("-- "):
                lines = parts.setdefault(line[3:], [])
            else:
                lines.append(line)
        seen = cls({}, {}, {}, parts["netns"][0])
        for line in parts["links"]:
            _, name, rest = line.split(": ", 2)
            seen.links[name.split("@")[0]] = rest
        for line in parts["addresses"]:
            _, name, family, address, rest = line.split(None, 4)
            if "scope global" in rest:
                seen.addresses.setdefault(name, []).append(f"{family} {address}")
        for line in parts["ipv6"]:
            _, _, _, scope, flags, name = line.split()
            if scope == "00":
                seen.ipv6_flags.setdefault(name, set()).add(flags)
        seen.addresses = {name: [a.split()[1] for a in sorted(found)] for name, found in seen.addresses.items()}
        del seen.links["lo"]
        return seen

    def up(self) -> set[str]:
        """The devices that are up."""
        return {name for name, rest in self.links.items() if "UP" in rest[1 : rest.index(">")].split(",")}


# ---- the runtime ----------------------------------------------------------------------------------------------------


def has_net_devices(features: subprocess.CompletedProcess[str]) -> bool:
    """What `runc features` says of them: runc 1.4 and crun 1.22 have them (runtime-spec, features-linux.md)."""
    known = json.loads(features.stdout) if features.returncode == 0 else {}
    return bool(known.get("linux", {}).get("netDevices", {}).get("enabled", False))


def shown_without_devices(bundle: Path) -> list[str]:
    """Options for a runtime that would move the devices itself, before the hook runs: it is not shown them.

    They are crun's; runc has none like it.
    """
    config = json.loads((bundle / "config.json").read_text())
    config["linux"].pop("netDevices", None)
    shown = bundle / "shown-to-the-runtime.json"
    shown.write_text(json.dumps(config))
    return ["--config", str(shown)]


@dataclass
class Runtime:
    """runc or crun on a machine, with its state in a folder of its own."""

    name: str
    machine: Machine
    state: Path
    program: str | None = None  # where it is not the machine's own
    prefix: list[str] = field(init=False)

    # How each of them is started as root with nothing else on the machine.
    OPTIONS = {"runc": [], "crun": ["--cgroup-manager=disabled"]}  # noqa: RUF012  # a constant
    PREPARE = {"runc": "true", "crun": "mount -t cgroup2 none /sys/fs/cgroup"}  # noqa: RUF012  # a constant

    def __post_init__(self) -> None:
        self.prefix = [self.program or self.name, *self.OPTIONS[self.name], "--root", str(self.state)]

    def __call__(self, *arguments: str, output: Path | None = None) -> subprocess.CompletedProcess[str]:
        return self.machine.run([*self.prefix, *arguments], output=output)

    def moves_devices_itself(self) -> bool:
        """Whether it has netDevices of its own."""
        return has_net_devices(self.machine.run([self.prefix[0], "features"]))

    def _bundle(self, bundle: Bundle) -> list[str]:
        """The options that name a bundle."""
        options = ["--bundle", str(bundle.path)]
        if '"netDevices"' in (bundle.path / "config.json").read_text() and self.moves_devices_itself():
            options += shown_without_devices(bundle.path)
        return options

    def run(self, bundle: Bundle, container: str = CONTAINER) -> subprocess.CompletedProcess[str]:
        """Starts a container and waits for its end."""
        return self("run", *self._bundle(bundle), container)

    def status(self, container: str) -> dict[str, Any]:
        done = self("state", container)
        assert done.returncode == 0, done.stderr
        state: dict[str, Any] = json.loads(done.stdout)
        return state

    @contextlib.contextmanager
    def created(self, bundle: Bundle, output: Path, container: str = CONTAINER) -> Iterator[int]:
        """A container that is created and not started; yields its process. What it prints goes to `output`."""
        done = self("create", *self._bundle(bundle), container, output=output)
        assert done.returncode == 0, output.read_text()
        try:
            yield self.status(container)["pid"]
        finally:
            self("delete", "--force", container)

    def start(self, container: str = CONTAINER) -> None:
        """Starts a created container and waits for its end."""
        done = self("start", container)
        assert done.returncode == 0, done.stderr
        wait_until(lambda: self.status(container)["status"] == "stopped", "the container ends")
