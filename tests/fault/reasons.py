"""A host with one device, a container, and each command that works on them, to be disturbed by strace."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.support.attacks import Ended, traced
from tests.support.namespaces import named
from tests.support.scene import Scene

BLUE = Path("/run/netns/netdevns-blue")
OWN = "this network namespace"
COMMANDS = {
    "check": ("check", "eth1=net0", "--to", BLUE.name),
    "show": ("show", "eth1"),
    "move": ("move", "eth1=net0", "--to", BLUE.name),
    "recover": ("recover",),
    "return": ("return", "c1"),
    "hook": ("hook", "createRuntime", "eth1=net0"),
    "poststop": ("hook", "poststop"),
}
FURNISH = """
    link add eth1 address 02:00:00:00:00:01 type veth peer name peer
    link set peer up
    link set eth1 up
    addr add 10.0.0.1/24 dev eth1
    addr add 2001:db8::1/64 nodad dev eth1
    addr add 10.9.0.1/24 dev peer
    route add 192.0.2.0/24 via 10.0.0.9
"""


class Place(Scene):
    """One device in one namespace, and a container's process in another."""

    def __init__(self, engine: str) -> None:
        super().__init__(NETDEVNS_ENGINE=engine)

    def _make(self) -> None:
        self.stack.callback(shutil.rmtree, "/run/netdevns", ignore_errors=True)
        self.target = self.namespace("target")
        self.stack.enter_context(named(self.target, BLUE.name))
        self.bundle = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        linux = {"namespaces": [{"type": "network"}], "netDevices": {"eth1": {"name": "net0"}}}
        (self.bundle / "config.json").write_text(json.dumps({"linux": linux}))
        self.process = self.sleeper(self.target)
        self.host.batch(FURNISH)

    def is_as_before(self) -> bool:
        """Whether the next command finds what this one found; what poststop and recover work on is used up."""
        return "eth1" in self.host.names() and self.target.names() <= {"lo"} and not self._records()

    def _records(self) -> list[str]:
        """Of moves and loans, those that were not finished included."""
        return [str(p) for folder in ("txn", "loan") for p in Path("/run/netdevns", folder).glob("*")]

    def prepare(self, what: str) -> None:
        """What the command needs to have something to do."""
        if what == "recover":
            self.run("move", "sendto:signal=KILL:when=14")  # the move's own, behind its record
            assert self._records()
        if what in ("return", "poststop"):
            ended = self.run("hook")
            assert ended.code == 0, ended
            self.process.kill()

    def python(self, *arguments: str, under: Sequence[str] = (), **environment: str) -> subprocess.Popen[str]:
        """Python with these arguments in the host, the container's state on stdin."""
        state = {"ociVersion": "1.3.0", "id": "c1", "status": "created", "pid": self.process.pid,
                 "bundle": str(self.bundle)}  # fmt: skip
        return self.start([sys.executable, *arguments], json.dumps(state), under, **environment)

    def run(self, what: str, *inject: str) -> Ended:
        """One command, under strace."""
        return traced(lambda under: self.python("-m", "netdevns", *COMMANDS[what], under=under), *inject)[0]
