"""A host with one device, a container, and each command that works on them, to be disturbed by strace."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.attacks import Ended, finish, traced
from tests.support.namespaces import fresh

from .scene import MNT_DETACH, MS_BIND, TOP, _libc

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


class Place:
    """One device in one namespace, and a container's process in another; a context manager."""

    def __init__(self, engine: str) -> None:
        self.engine = engine
        with contextlib.ExitStack() as stack:
            stack.callback(shutil.rmtree, "/run/netdevns", ignore_errors=True)
            self.host = stack.enter_context(fresh("host"))
            self.target = stack.enter_context(fresh("target"))
            if not BLUE.parent.exists():
                BLUE.parent.mkdir()
                stack.callback(BLUE.parent.rmdir)
            BLUE.touch(exist_ok=False)
            stack.callback(BLUE.unlink)
            assert not _libc.mount(os.fsencode(self.target.path), os.fsencode(BLUE), None, MS_BIND, None)
            stack.callback(_libc.umount2, os.fsencode(BLUE), MNT_DETACH)
            self.bundle = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            linux = {"namespaces": [{"type": "network"}], "netDevices": {"eth1": {"name": "net0"}}}
            (self.bundle / "config.json").write_text(json.dumps({"linux": linux}))
            for namespace in (self.host, self.target):
                namespace.sysctl("ipv6/conf/default/addr_gen_mode", 1)
            with self.target.entered():
                self.process = subprocess.Popen(["sleep", "600"])
            stack.callback(self.process.wait)
            stack.callback(self.process.kill)
            self.host.batch(
                """
                link add eth1 address 02:00:00:00:00:01 type veth peer name peer
                link set peer up
                link set eth1 up
                addr add 10.0.0.1/24 dev eth1
                addr add 2001:db8::1/64 nodad dev eth1
                addr add 10.9.0.1/24 dev peer
                route add 192.0.2.0/24 via 10.0.0.9
                """
            )
            self.host.wait_until_quiet()
            self._stack = stack.pop_all()

    def __enter__(self) -> Place:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

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

    def start(self, arguments: Sequence[str], environment: Mapping[str, str]) -> tuple[str, str, int]:
        """Python with these arguments in the host, the container's state on stdin, to its end."""
        return finish(self._process(arguments, environment))

    def _process(
        self, arguments: Sequence[str], environment: Mapping[str, str], under: Sequence[str] = ()
    ) -> subprocess.Popen[str]:
        state = {"ociVersion": "1.3.0", "id": "c1", "status": "created", "pid": self.process.pid,
                 "bundle": str(self.bundle)}  # fmt: skip
        with tempfile.TemporaryFile("w+") as stdin, self.host.entered():
            json.dump(state, stdin)
            stdin.seek(0)
            return subprocess.Popen(
                [*under, sys.executable, *arguments],
                cwd=TOP,
                env=os.environ | {"NETDEVNS_ENGINE": self.engine} | environment,
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )

    def run(self, what: str, *inject: str) -> Ended:
        """One command, under strace."""
        return traced(lambda under: self._process(["-m", "netdevns", *COMMANDS[what]], {}, under), *inject)[0]
