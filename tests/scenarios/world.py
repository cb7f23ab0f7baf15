"""The two namespaces of a row: furnished, with every number given."""

from __future__ import annotations

import functools
import os
import re
import signal
import struct
import subprocess
from collections.abc import Iterable
from typing import Any

from tests.support import rawdump
from tests.support.namespaces import CLONE_NEWNET, CLONE_NEWUSER, Graves, Namespace, fresh, unshare

from .rows import Row

# The first ifindex of each side's devices: none of them has the same.
FIRST = {"source": 101, "target": 301}
# The kernel adds these when it looks at the carrier of a device, up to a second after that is up.
LATE = "inet6 ff00::/8 type 5 table 255 proto 2 "


class _Many(Graves):
    """Rows that run one by one have many namespaces, too."""

    ROOM = 128


GRAVES = _Many()


class Numbers:
    """Gives each device of a namespace an ifindex and a MAC."""

    def __init__(self, side: str) -> None:
        self.next = FIRST[side]
        self.by_name: dict[str, int] = {}

    def of(self, name: str, words: str = "") -> str:
        given = re.search(r"\bindex (\d+)", words)
        ifindex = int(given[1]) if given else self.next
        self.next += 0 if given else 1
        self.by_name[name] = ifindex
        number = "" if given else f" index {ifindex}"
        mac = f"02:00:00:{ifindex >> 16:02x}:{ifindex >> 8 & 255:02x}:{ifindex & 255:02x}"
        return f"{name}{number}" + ("" if " address " in f" {words} " else f" address {mac}")


def expand(line: str, numbers: Numbers) -> list[str]:
    """A line of a set-up as lines of `ip -batch`."""
    verb, *words = line.split(" ")
    rest = " ".join(words[1:])
    match verb:
        case "ifb":
            return [f"link add {numbers.of(words[0], rest)} {rest} type ifb"]
        case "veth":
            peer = f"{words[0]}p"[-15:]
            head = f"link add {numbers.of(words[0], rest)} {rest} type veth peer name {numbers.of(peer)}"
            return [head, f"link set {peer} up"]
        case "macvlan" | "macvtap":
            return [f"link add link {words[1]} name {numbers.of(words[0], rest)} type {verb} mode bridge"]
        case "bridge":
            return [f"link add {numbers.of(words[0], rest)} {rest} type bridge"]
        case "vxlan":
            link, vni = words[1:3]
            return [f"link add {numbers.of(words[0])} type vxlan id {vni} dstport 4789 dev {link}"]
        case "up":
            return [f"link set {name} up" for name in words]
    return [line]


def furnish(namespace: Namespace, side: str, setup: Iterable[str]) -> None:
    """Runs a set-up, by as few processes as its order allows."""
    numbers = Numbers(side)
    batch: list[str] = []

    def flush() -> None:
        if batch:
            namespace.batch(batch)
        batch.clear()

    for line in setup:
        verb, _, rest = line.partition(" ")
        if verb in ("sysctl", "tc", "fdb", "proto", "settle"):
            flush()
        match verb:
            case "sysctl":
                namespace.sysctl(*rest.split(" ", 1))
            case "tc" | "fdb":
                with namespace.entered():
                    program = ["tc"] if verb == "tc" else ["bridge", "fdb"]
                    subprocess.run([*program, *rest.split()], check=True, capture_output=True)
            case "proto":
                device, address, number = rest.split()
                with namespace.socket() as socket:
                    ifindex = rawdump.links(socket)[device].ifindex
                    proto = struct.pack("=B", int(number))
                    assert socket.add_address(ifindex, address, flags=2, proto=proto) == 0
            case "settle":
                namespace.wait_until_quiet()
            case _:
                batch += expand(line, numbers)
    flush()


class Owned:
    """A network namespace that belongs to a user namespace of its own, held by a process; a context manager."""

    def __init__(self, name: str) -> None:
        ready, write = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                unshare(CLONE_NEWUSER | CLONE_NEWNET)
                os.write(write, b"x")
                signal.pause()
            finally:
                os._exit(0)
        os.close(write)
        os.read(ready, 1)
        os.close(ready)
        for file in ("uid_map", "gid_map"):
            with open(f"/proc/{self.pid}/{file}", "w") as written:
                written.write("0 0 1")
        self.user = os.open(f"/proc/{self.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        self.net = Namespace(os.open(f"/proc/{self.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC), name)
        self.net.sysctl("ipv6/conf/default/addr_gen_mode", 1)

    def end(self) -> None:
        os.close(self.user)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


class World:
    """Source and target of a row, once for a runner; a context manager."""

    def __init__(self, row: Row) -> None:
        self.row = row
        self.owned: dict[str, Owned] = {}
        self.source = self._make("source", row.source)
        self.target = self._make("target", row.target)

    def _make(self, side: str, setup: tuple[str, ...]) -> Namespace:
        if setup and setup[0] == "user":
            self.owned[side] = Owned(side)
            namespace = self.owned[side].net
            setup = setup[1:]
        else:
            namespace = fresh(side)
        furnish(namespace, side, setup)
        return namespace

    def __enter__(self) -> World:
        return self

    def __exit__(self, *exc: object) -> None:
        for namespace in (self.source, self.target):
            GRAVES.take(namespace)
            namespace.close()
        for owned in self.owned.values():
            owned.end()

    @functools.cached_property
    def before(self) -> dict[str, Any]:
        """As it was when this was first asked for."""
        return self.dump()

    def dump(self) -> dict[str, Any]:
        """All in both, by part: "source links", ..."""
        sides = {"source": self.source, "target": self.target}
        found = {f"{name} {part}": value for name, side in sides.items() for part, value in side.dump().items()}
        for name in sides:
            found[f"{name} routes"] = [route for route in found[f"{name} routes"] if not route.startswith(LATE)]
        return found

    def path(self, side: str) -> str:
        """A path by which another process opens a side."""
        namespace = getattr(self, side, None)
        return side if namespace is None else f"/proc/{os.getpid()}/fd/{namespace.fd}"
