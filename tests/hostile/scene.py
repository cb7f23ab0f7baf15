"""A host with three devices, containers that want them, and the hook as a runtime starts it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from netdevns.engine import lookups
from netdevns.system.process import Process
from tests.runtimes.container import hook_words, is_static
from tests.support import scene
from tests.support.attacks import TOP, finish
from tests.support.namespaces import Namespace
from tests.support.processes import wait_until
from tests.support.restored import State

# The hooks that these tests run, by name; the stage's name and the hook's arguments follow.
HOOKS = {"static" if is_static() else "python": hook_words()}
COMMAND = [sys.executable, "-P", "-m", "netdevns"]

RUN = Path("/run/netdevns")
DEVICES = {"eth1": "net0", "eth2": "eth2", "eth3": "eth0"}
NET_DEVICES = {"eth1": {"name": "net0"}, "eth2": {}, "eth3": {"name": "eth%d"}}
# Numbers are given, so that scenes are equal.
LINK = {
    "ifb": "link add eth{n} index {i} address 02:00:00:00:00:0{n} type ifb",
    "veth": "link add eth{n} index {i} address 02:00:00:00:00:0{n} type veth "
    "peer name wire{n} index {p} address 02:00:00:00:01:0{n}",
}
FURNISH = """
    addr add 10.{n}.0.1/24 brd + dev eth{n}
    addr add 10.{n}.0.2/24 dev eth{n}
    addr add 2001:db8:{n}::1/64 nodad dev eth{n}
    addr add 2001:db8:{n}::2/64 nodad dev eth{n}
"""
# Before 6.6 a name that travelled is listed twice, and can no longer be removed (probe clash.own-altname.left-behind).
ALTNAME = "link property add dev eth1 altname enp1" if lookups.moves_altnames() else "link set eth1 up"
ROUTES = f"""
    {ALTNAME}
    link set eth2 mtu 1400 alias uplink
    route add 192.0.2.0/24 via 10.1.0.9
    route add 198.51.100.0/24 via 10.3.0.9
    route add 2001:db8:77::/48 via 2001:db8:2::9
"""


class Container:
    """A process in a network namespace, and its bundle."""

    def __init__(self, id_: str, folder: Path, namespace: Namespace, pid: int) -> None:
        self.id = id_
        self.namespace = namespace
        self.pid = pid
        self.bundle = folder / id_
        self.bundle.mkdir()
        self.ask(NET_DEVICES)

    def ask(self, devices: dict[str, Any]) -> None:
        """Writes config.json; OCI's `linux.netDevices`."""
        self.devices = devices
        linux = {"namespaces": [{"type": "network"}], "netDevices": devices}
        (self.bundle / "config.json").write_text(json.dumps({"ociVersion": "1.0.2", "linux": linux}))

    @property
    def state(self) -> str:
        """What a runtime writes to a hook's stdin."""
        return json.dumps(
            {"ociVersion": "1.0.2", "id": self.id, "status": "created", "pid": self.pid, "bundle": str(self.bundle)}
        )


def end(container: Container) -> None:
    """Ends a container's process, which stays a zombie: it is not waited for."""
    os.kill(container.pid, signal.SIGKILL)
    with Process(container.pid) as process:
        wait_until(process.has_ended, "the container's process ends")


class Scene(scene.Scene):
    """The host, and containers c1, c2, ...: their processes sleep. One at a time, as /run is one."""

    def __init__(self, engine: str, containers: int = 2, kind: str = "ifb", count: int = 3) -> None:
        self.engine = engine
        self._containers, self._kind, self._count = containers, kind, count
        clear()
        super().__init__(NETDEVNS_ENGINE=engine, PYTHONPATH=str(TOP))

    def _make(self) -> None:
        self.folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        self.stack.callback(clear)
        self.containers = [self._container(f"c{n}") for n in range(1, self._containers + 1)]
        lines = []
        for n in range(1, self._count + 1):
            lines += [LINK[self._kind].format(n=n, i=4700 + n, p=4800 + n)]
            lines += [f"link set wire{n} up"] if self._kind == "veth" else []
            lines += [f"link set eth{n} up", *FURNISH.format(n=n).strip().splitlines()]
        self.host.batch([*lines, *ROUTES.strip().splitlines()])

    def _container(self, id_: str) -> Container:
        namespace = self.namespace(id_)
        return Container(id_, self.folder, namespace, self.sleeper(namespace).pid)

    # ---- what is there ----

    def state(self) -> State:
        """What is in its namespaces; records, whose names are random, and loans."""
        kept = {"records": [Path(name).suffix or "record" for name in records()], "loans": loans()}
        return super().state() | kept

    def settled(self) -> State:
        """The state when the kernel's work items have come to their end: to compare others with."""
        for side in self.sides.values():
            side.wait_until_quiet()
        return self.state()

    # ---- commands ----

    def hook(self, hook: str, container: Container, stage: str = "createRuntime", **how: Any) -> subprocess.Popen[str]:
        """Starts a hook for a container, as a runtime does."""
        return self.start([*HOOKS[hook], stage], container.state, **how)

    def command(self, *words: str, **how: Any) -> subprocess.Popen[str]:
        """Starts `netdevns WORD ...`."""
        return self.start([*COMMAND, *words], **how)

    def run(self, *words: str) -> tuple[str, str, int]:
        """Runs `netdevns WORD ...` to its end."""
        return finish(self.command(*words))

    # ---- what others do ----

    def throw_back(self, devices: Iterable[str] = DEVICES) -> None:
        """What the kernel does with hardware at a container's end: each is in the host, down, under its name there."""
        there = self.host.names()
        self.host.batch(
            line
            for device, name in ((device, DEVICES[device]) for device in devices)
            if device in there
            for line in (
                f"link set {device} down",
                *([f"link set {device} name {name}"] if device != name else []),
                f"addr flush dev {name}",
            )
        )

    def carry_off(self, owners: dict[str, Container]) -> None:
        """Devices are in their containers, down, as a move that was killed leaves them."""
        there = self.host.names()
        for device, container in ((d, c) for d, c in owners.items() if d in there):
            name = DEVICES[device]
            lines = [f"link set {device} down"]
            self.host.batch([*lines, *([f"link set {device} name {name}"] if name != device else [])])
            self.host.give(name, container.namespace, ifindex=4700 + int(device[3:]))


# ---- files ----


def _files(folder: str) -> dict[str, bytes]:
    path = RUN / folder
    return {each.name: each.read_bytes() for each in sorted(path.iterdir())} if path.exists() else {}


def records() -> list[str]:
    """What is in the folder of the records of moves."""
    return sorted(_files("txn"))


def loans() -> list[str]:
    return sorted(_files("loan"))


def saved(folder: str) -> dict[str, bytes]:
    """The files of a folder, to be put there again."""
    return _files(folder)


def restore(folder: str, files: dict[str, bytes]) -> None:
    """A folder with these files and no other; they are their owner's alone, as records must be."""
    path = RUN / folder
    for level in (RUN, path):
        level.mkdir(mode=0o700, exist_ok=True)
    for each in path.iterdir():
        each.unlink()
    for name, data in files.items():
        fd = os.open(path / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(fd, "wb") as file:
            file.write(data)


def clear() -> None:
    """Nothing of netdevns is under /run any more."""
    if RUN.is_dir():
        shutil.rmtree(RUN)
    elif RUN.exists():
        RUN.unlink()


def left_behind() -> list[str]:
    """Files under /run/netdevns but locks, loans and the log; aside is for what cannot be restored."""
    found = [path for path in RUN.rglob("*") if not path.is_dir()] if RUN.exists() else []
    known = {RUN / "hook.log"}
    return sorted(str(p) for p in found if p not in known and p.suffix != ".lock" and p.parent != RUN / "loan")


@contextlib.contextmanager
def stopped_on_exit(*processes: subprocess.Popen[str]) -> Iterator[None]:
    """The processes end with the block, even if a test fails."""
    try:
        yield
    finally:
        for process in processes:
            if process.poll() is None:
                os.killpg(process.pid, 9)
            process.communicate()
