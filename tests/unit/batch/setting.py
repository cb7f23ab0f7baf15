"""A batch on the model of two namespaces (fake.World), with an engine whose calls are counted and may raise."""

from __future__ import annotations

import errno
import socket
import struct
import types

import pytest

from netdevns._ffi import ffi
from netdevns.batch import transaction
from netdevns.batch.plan import Plan
from netdevns.engine import EngineError
from netdevns.engine.batch_device import BatchDevice
from netdevns.engine.phases import Phases
from netdevns.errors import MoveFailed
from netdevns.netlink import wire
from tests.unit import messages as nl
from tests.unit.fake import World

ADDRESSES = [
    nl.address_body("10.0.7.1/24", 7, more={nl.IFA_LABEL: b"eth1\0"}),
    nl.address_body("10.0.8.1/24", 8, more={nl.IFA_LABEL: b"eth2:x\0"}),
    nl.address_body("2001:db8:7::1/64", 7),
    nl.address_body("2001:db8:8::1/64", 8),
]
ROUTE = (
    struct.pack("=8BI", 2, 24, 0, 0, 254, 3, 0, 1, 0) + nl.attr(4, struct.pack("=I", 7)) + nl.attr(1, b"\x0a\x09\0\0")
)


class Strike:
    """Counts the engine's calls and raises at some of them, before or after their effect."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.at: dict[int, BaseException] = {}
        self.after = False

    def wrap(self, name: str, call):
        def counted(*args):
            number = len(self.calls)
            self.calls.append(name)
            if number in self.at and not self.after:
                raise self.at[number]
            # Sends inside a step are not counted: its sockets are the bare ones.
            result = call(*(arg._inner if isinstance(arg, Struck) else arg for arg in args))
            if number in self.at:
                raise self.at[number]
            return result

        return counted


class Struck:
    """An engine object whose methods are counted; everything else is the object's own."""

    METHODS: tuple[str, ...] = ("find", "undo", "query", "command")

    def __init__(self, strike: Strike, name: str, inner) -> None:
        self.__dict__.update(_strike=strike, _name=name, _inner=inner)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self._inner, name, value)

    def __getattr__(self, name: str):
        value = getattr(self._inner, name)
        return self._strike.wrap(f"{self._name}.{name}", value) if name in self.METHODS else value


class StruckPhases(Struck):
    """The phases with counted calls; they return the devices with counted calls."""

    METHODS = ("snapshot", "set_down", "move_next", "catch_up", "replay_next", "verify_next")

    def __init__(self, strike: Strike, inner: Phases, devices: list[Struck]) -> None:
        super().__init__(strike, "phases", inner)
        struck = {id(device._inner): device for device in devices}
        self.__dict__["moves"] = [struck[id(device)] for device in inner.moves]
        self.__dict__["replays"] = [struck[id(device)] for device in inner.replays]


class Setting:
    """A world with devices eth1 (ifindex 7), eth2 (8), ... and a plan that moves them."""

    def __init__(self, source, target, world: World, wanted: dict[int, str], depths: dict[int, int]) -> None:
        self.world, self.strike = world, Strike()
        self.plan = Plan([], False)
        self.plan.source = types.SimpleNamespace(fd=world.SOURCE_FD, where="here")
        self.plan.target = types.SimpleNamespace(fd=world.TARGET_FD, where="there")
        self.plan.source_socket = Struck(self.strike, "source", source)
        self.plan.target_socket = Struck(self.strike, "target", target)
        self.plan.state["routes"] = b"".join(nl.message(nl.RTM_NEWROUTE, r, flags=2) for r in world.source.routes)
        for ifindex, name in wanted.items():
            flags, attributes = world.source.links[ifindex]
            link = wire.Link(memoryview(nl.link_body(ifindex, flags, attributes)))
            device = BatchDevice(f"eth{ifindex - 6}", b"eth%d" % (ifindex - 6), name.encode(), link)
            device.ask_ifindex(ifindex, unsure=False)
            device.depth = depths.get(ifindex, 0)
            self.plan.devices.append(Struck(self.strike, device.host_name, device))
        self.before = state(world)

    def run(self, deadline: float | None = None, on_step=None):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, theirs:  # no notifications arrive
            watch = types.SimpleNamespace(drain=lambda: None, notifications=b"", raw=ffi.new("struct nd_sock *"))
            watch.raw.fd = ours.fileno()
            return self._run(watch, deadline, on_step)

    def _run(self, watch, deadline, on_step):
        sides = self.plan.sides
        # Sends inside a phase are not counted: its sockets and devices are the bare ones.
        sockets = sides.source_socket._inner, sides.target_socket._inner
        devices = [device._inner for device in self.plan.devices]
        inner = Phases(*sockets, sides.target.fd, watch, devices, self.plan.uppers)
        phases = StruckPhases(self.strike, inner, self.plan.devices)
        return transaction.Batch(self.plan, sides, phases, deadline, on_step).run(transaction.Batch.results)

    def device(self, name: str | None) -> BatchDevice | None:
        """One of the batch by its name, as the engine has it."""
        return next((device._inner for device in self.plan.devices if device._name == name), None)

    def failed(self, deadline: float | None = None) -> MoveFailed:
        with pytest.raises(MoveFailed) as caught:
            self.run(deadline)
        return caught.value


def state(world: World):
    """All that a failed move must restore: links with flags, attributes, addresses in order, routes."""
    parts = []
    for namespace in (world.source, world.target):
        addresses = [(a[:8], nl.attrs(a[8:])) for a in namespace.addresses]
        routes = [(r[:12], nl.attrs(r[12:])) for r in namespace.routes]
        parts.append((dict(namespace.links), sorted(addresses, key=lambda a: a[0][4:8]), routes))
    return parts


def two_devices() -> World:
    """eth1 (ifindex 7) and eth2 (8), each with an IPv4 and an IPv6 address, and a route of eth1."""
    world = World(*ADDRESSES)
    world.source.links[8] = (nl.IFF_UP, World.attributes("eth2", b"\x02\0\0\0\0\x08"))
    world.source.routes = [ROUTE]
    return world


VERIFY = 7  # snapshot, links down, two moves, late addresses, two replays; then the comparison


def fail_verify(made: Setting) -> None:
    """The last step of a batch of two devices fails."""
    made.strike.at[VERIFY] = EngineError(errno.EIO, "", "verify")
