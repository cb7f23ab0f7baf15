"""The batch and its undo on the model of two namespaces, with random devices, addresses, routes and faults.

The engine is the real one, the kernel is tests/unit/fake.py: faults can strike anywhere, also in the undo.
"""

from __future__ import annotations

import errno
import socket
import struct
from dataclasses import dataclass

from hypothesis import event, given, note
from hypothesis import strategies as st

from netdevns.engine import EngineError
from netdevns.errors import MoveFailed
from tests.property.profiles import examples
from tests.unit import messages as nl
from tests.unit.batch.setting import Setting, state
from tests.unit.fake import World

ERRNOS = st.sampled_from([errno.EPERM, errno.ENOMEM, errno.EINVAL, errno.EBUSY])
FIRST = 7


@dataclass(frozen=True)
class Device:
    """What a device of the source has; a None for `wanted` is a template."""

    up: bool
    master: int
    addresses: tuple[tuple[str, int, tuple[int, int]], ...]  # with scope, and preferred and valid lifetime
    routes: tuple[int, ...]
    wanted: str | None


@dataclass(frozen=True)
class Fault:
    """The n-th call of the engine raises, or the n-th message to a namespace is refused; `late`: but obeyed.

    "dumps" are the source's of routes and nexthop objects, which an undo alone asks for here.
    """

    where: str  # "engine", "source", "target" or "dumps"
    nth: int
    errno: int
    late: bool


FAULTS = st.one_of(
    st.builds(Fault, st.sampled_from(["engine", "source", "target"]), st.integers(0, 45), ERRNOS, st.booleans()),
    st.builds(Fault, st.just("dumps"), st.integers(0, 6), ERRNOS, st.booleans()),
)
ADDRESSES = st.tuples(
    st.one_of(
        st.builds("10.0.DEV.{}/24".format, st.integers(1, 4)),
        st.builds("2001:db8:DEV::{}/64".format, st.integers(1, 4)),
    ),
    st.sampled_from([0, 0, 253]),
    st.sampled_from([(nl.FOREVER, nl.FOREVER), (nl.FOREVER, nl.FOREVER), (0, nl.FOREVER), (1000, 2000)]),
)
DEVICES = st.lists(
    st.builds(
        Device,
        st.booleans(),
        st.sampled_from([0, 0, 50]),
        st.lists(ADDRESSES, max_size=5, unique_by=lambda a: a[0]).map(tuple),
        st.lists(st.integers(1, 3), max_size=2, unique=True).map(tuple),
        st.sampled_from([None, "a", "b", "c", "eth1", "eth2"]),
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda device: device.wanted or object(),
)


def populate(world: World, devices: list[Device]) -> None:
    """Addresses in the kernel's order: IPv4 first; of IPv6 the link-locals last."""
    world.source.links.clear()
    listed = []
    for ifindex, device in enumerate(devices, FIRST):
        attributes = World.attributes(f"eth{ifindex - 6}", b"\x02\0\0\0\0" + bytes([ifindex]))
        if device.master:
            attributes[nl.IFLA_MASTER] = struct.pack("=I", device.master)
        world.source.links[ifindex] = (nl.IFF_UP if device.up else 0, attributes)
        for text, scope, lifetimes in device.addresses:
            flags = nl.IFA_F_PERMANENT if lifetimes[1] == nl.FOREVER else 0
            address = text.replace("DEV", str(ifindex))
            listed.append(nl.address_body(address, ifindex, scope=scope, flags=flags, lifetimes=lifetimes))
        for number in device.routes:
            head = struct.pack("=8BI", 2, 24, 0, 0, 254, 3, 0, 1, 0)
            dst = nl.attr(1, bytes([10, ifindex, number, 0]))
            world.source.routes.append(head + nl.attr(4, struct.pack("=I", ifindex)) + dst)
    world.source.addresses = sorted(listed, key=lambda body: (body[0], body[0] == socket.AF_INET6 and body[3]))


def arrange(made: Setting, faults: list[Fault]) -> None:
    """Each fault strikes once."""
    for fault in faults:
        if fault.where == "engine":
            made.strike.at[fault.nth] = EngineError(fault.errno, "made to fail", "exchange")
            made.strike.after = fault.late
            continue
        side = getattr(made.world, "source" if fault.where == "dumps" else fault.where)
        counted = (nl.RTM_GETROUTE, nl.RTM_GETNEXTHOP) if fault.where == "dumps" else range(256)

        def strike(request, fault=fault, counted=counted, count=iter(range(10**6))) -> int:  # noqa: B008
            return fault.errno if request.type in counted and next(count) == fault.nth else 0

        if fault.late:
            side.late_fault = strike
        else:
            side.fault = strike


def of_one(parts: list, ifindex: int) -> tuple:
    """One device in a source, from a result of `state`."""
    links, addresses, others, _ = parts[0]
    key = struct.pack("=I", ifindex)
    return links.get(ifindex), [a for a in (*addresses, *others) if a[0][4:8] == key]


def shown(world: World) -> list:
    """The state, with routes in no order: what is put back comes behind what stayed.

    And so with addresses of a narrower scope: an undo that is refused one of them at first adds it again behind.
    """
    return [
        (
            links,
            [address for address in addresses if address[0][3] == 0],
            sorted((head, sorted(attrs.items())) for head, attrs in addresses if head[3]),
            sorted((head, sorted(attrs.items())) for head, attrs in routes),
        )
        for links, addresses, routes in state(world)
    ]


def arrived(made: Setting, devices: list[Device]) -> None:
    """All devices are in the target, under their names, up, with their protected addresses in order."""
    names = [
        made.world.target.links[ifindex][1][nl.IFLA_IFNAME].rstrip(b"\0").decode()
        for ifindex in range(FIRST, FIRST + len(devices))
    ]
    assert not set(made.world.source.links)
    for name, device in zip(names, devices, strict=True):
        assert name == device.wanted or (device.wanted is None and name.startswith("net"))
    for ifindex in range(FIRST, FIRST + len(devices)):
        assert made.world.target.links[ifindex][0] & nl.IFF_UP
        key = struct.pack("=I", ifindex)
        there = [nl.attrs(a[8:])[nl.IFA_ADDRESS] for a in made.world.target.addresses if a[4:8] == key]
        assert there == [
            attributes[nl.IFA_ADDRESS]
            for head, attributes in made.before[0][1]
            if head[4:8] == key and head[2] & nl.IFA_F_PERMANENT and head[3] == 0
        ]


def go(devices: list[Device], faults: list[Fault]) -> None:
    world = World()
    populate(world, devices)
    with world.sockets() as (source, target):
        wanted = {ifindex: device.wanted or "net%d" for ifindex, device in enumerate(devices, FIRST)}
        made = Setting(source, target, world, wanted, {})
        before = shown(world)
        arrange(made, faults)
        try:
            made.run()
        except MoveFailed as e:
            note(f"{e} {e.left}")
            event(f"failed at {e.step}, {'back' if e.rolled_back else 'left'}")
            left = {each.device for each in e.left}
            assert left or shown(world) == before
            assert len(faults) > 1 or not left
            for ifindex in wanted:
                if f"eth{ifindex - 6}" not in left:
                    assert of_one(shown(world), ifindex) == of_one(before, ifindex)
        else:
            event("arrived")
            arrived(made, devices)


@examples(16, 200)
@given(DEVICES, FAULTS)
def test_one_fault(devices, fault):
    """P1: wherever one fault strikes, all have arrived or all is as before."""
    go(devices, [fault])


@examples(16, 200)
@given(DEVICES, st.tuples(FAULTS, FAULTS).map(list))
def test_two_faults(devices, faults):
    """P1: what a second fault, in the undo, keeps from being restored is reported; all else is restored."""
    go(devices, faults)
