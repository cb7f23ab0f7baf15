"""Both engines send the same bytes for the same job, and report the same results.

Each job runs on a model of two namespaces (`fake.World`), once with each engine: the steps of a move, or an undo after
the first that fails. What was sent is compared datagram by datagram, sequence numbers and port ids aside.
"""

from __future__ import annotations

import errno
import itertools
import os
import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from netdevns.engine import RESTORE, RETURN, native, reference
from netdevns.netlink import ifaddr, wire
from netdevns.netlink.error import EngineError
from tests.unit import messages as nl
from tests.unit.engine.steps import Fault, wire_form
from tests.unit.fake import World, device

ENGINES = (native, reference)
LONG = os.environ.get("NETDEVNS_PROFILE") == "long"
ATTACK = os.environ.get("NETDEVNS_ATTACK") == "long"
SWEEP = 1000 if ATTACK else 8 if LONG else 4  # how many of a job's messages are refused in turn, at most
NO_PREFIX_ROUTE, DEPRECATED, OPTIMISTIC, MANAGED = 0x200, 0x20, 0x04, 0x100


def ipv4(number: int, label: bytes = b"eth1", more: dict[int, bytes] | None = None, **fields: Any) -> bytes:
    text = f"10.0.{number // 200}.{number % 200 + 1}/24"
    return nl.address_body(text, 7, more={nl.IFA_LABEL: label + b"\0"} | (more or {}), **fields)


def ipv6(number: int, **fields: Any) -> bytes:
    return nl.address_body(f"2001:db8::{number + 1:x}/64", 7, **fields)


def metric(value: int) -> dict[int, bytes]:
    return {nl.IFA_RT_PRIORITY: struct.pack("=I", value), nl.IFA_PROTO: b"\x05"}


PERMANENT = nl.IFA_F_PERMANENT
# Addresses of every sort that the steps distinguish.
RICH = [
    ipv4(0, more={nl.IFA_BROADCAST: bytes([10, 0, 0, 255])} | metric(7)),
    ipv4(1, b"eth1:vip"),
    ipv4(2, b"foreign"),
    ipv4(3, b"eth1:" + b"x" * 10),
    ipv4(4, flags=PERMANENT | DEPRECATED),
    ipv4(5, flags=0, lifetimes=(100, 200)),
    ipv4(6, flags=PERMANENT | 0x01),  # secondary
    nl.address_body("10.9.0.1/32", 7, peer="10.9.0.2"),
    nl.address_body("169.254.3.3/16", 7, scope=253),
    ipv6(0, more=metric(512)),
    ipv6(1, flags=PERMANENT | nl.IFA_F_TENTATIVE),
    ipv6(2, flags=PERMANENT | nl.IFA_F_TENTATIVE | nl.IFA_F_DADFAILED),
    ipv6(3, flags=PERMANENT | nl.IFA_F_NODAD),
    ipv6(4, flags=PERMANENT | OPTIMISTIC),
    ipv6(5, flags=PERMANENT | NO_PREFIX_ROUTE | MANAGED),
    ipv6(6, flags=0, lifetimes=(100, 200)),
    nl.address_body("2001:db8:1::1/64", 7, peer="2001:db8:2::2"),
    nl.address_body("2001:db8:1::2/64", 7, peer="2001:db8:1::9"),
    nl.address_body("2001:db8:1::3/128", 7, peer="2001:db8:3::9"),
    nl.address_body("2001:db8:1::4/64", 7, peer="2001:db8:4::9", flags=PERMANENT | NO_PREFIX_ROUTE),
    nl.address_body("fe80::1/64", 7, scope=253),
    nl.address_body("fe80::2/64", 7, scope=253, flags=PERMANENT | nl.IFA_F_TENTATIVE),
]
SCENARIOS: dict[str, dict[str, Any]] = {
    "none": {"addresses": []},
    "few": {"addresses": [ipv4(0), ipv4(1, b"eth1:x"), ipv6(0), ipv6(1)]},
    "down": {"addresses": [ipv4(0), ipv6(0)], "up": False},
    "rich": {"addresses": RICH},
    "rich-down": {"addresses": RICH, "up": False},
    "long-name": {"addresses": RICH[:4], "wanted": "fifteen-bytes-x"},
    "template": {"addresses": [ipv4(0), ipv6(0)], "wanted": "net%d"},
    "template-unsure": {"addresses": [ipv4(0), ipv6(0)], "wanted": "net%d", "unsure": True},
    "template-any-ifindex": {"addresses": [ipv4(0)], "wanted": "net%d", "ask": 0},
    "unsure": {"addresses": [ipv4(0), ipv6(0)], "unsure": True},
    "any-ifindex": {"addresses": [ipv4(0)], "ask": 0},
    "same-name": {"addresses": [ipv4(0)], "wanted": "eth1"},
    "windows": {"addresses": [*map(ipv4, range(130)), *map(ipv6, range(70))], "sweep": 5 if LONG else 1},
}
ERRNOS = (errno.EPERM, errno.EEXIST, errno.ENODEV, errno.EBUSY, errno.ESRCH)


def nothing(_: World) -> None:
    """The unchanged model."""


def run(
    engine: Any,
    prepare: Callable[[World], None] = nothing,
    *,
    addresses: list[bytes],
    wanted: str = "net0",
    up: bool = True,
    ask: int = 7,
    unsure: bool = False,
    undo: bool = False,
    read: bool = False,
    **_: object,
) -> tuple[dict[str, Any], int]:
    """One job with one engine: the requests, the visible results, and the number of messages."""
    world = World(*addresses, up=up)
    prepare(world)
    went: list[object] = []
    with world.sockets(engine.Socket) as (source, target):
        dev = device(wanted, ask=ask, unsure=unsure, engine=engine.Device)

        def seen(socket: Any, ifindex: int) -> tuple[bytes, ...]:
            """The messages that a batch passes to a step; (): the step reads them itself."""
            return (link_and_addresses(socket, ifindex),) if read else ()

        steps = [
            ("snapshot", lambda: dev.snapshot(source, *seen(source, 7))),
            ("move", lambda: dev.move(source, target, world.TARGET_FD)),
            ("replay", lambda: dev.up_and_replay(target)),
            ("verify", lambda: dev.verify(target, *seen(target, dev.target_ifindex))),
        ]

        def attempt(name: str, call: Callable[[], None]) -> bool:
            try:
                call()
            except EngineError as e:
                went.append((name, e.errno, e.extack, e.step, e.index))
            else:
                went.append((name, 0))
            went.append((dev.place, dev.name, dev.ifindex, dev.target_ifindex, dev.was_up, dev.cut_labels))
            return went[-2] == (name, 0)

        done = all(attempt(name, call) for name, call in steps)
        if undo or not done:
            attempt("return", lambda: dev.undo(source, target, world.SOURCE_FD, RETURN))
            attempt("restore", lambda: dev.undo(source, target, world.SOURCE_FD, RESTORE))
        job = {
            "went": went,
            "addresses": dev.addresses,
            "unprotected": dev.unprotected if dev.has_snapshot else b"",
            "late": dev.was_late,
            "arrived": dev.arrived if done and not undo else b"",
            "source": [[wire_form(r) for r in datagram] for datagram in world.source.datagrams],
            "target": [[wire_form(r) for r in datagram] for datagram in world.target.datagrams],
        }
    return job, len(world.source.trace) + len(world.target.trace)


def link_and_addresses(socket: Any, ifindex: int) -> tuple[bytes, bytes]:
    _, dumped = socket.query(wire.get_link(ifindex) + ifaddr.dump_addresses(ifindex))
    first = next(wire.messages(dumped))
    return bytes(first.data), dumped[(len(first.data) + 3) & ~3 :]


def compare(prepare: Callable[[World], None] = nothing, **scenario: Any) -> int:
    """Both engines do the same; returns the number of messages."""
    (ours, count), (theirs, _) = (run(engine, prepare, **scenario) for engine in ENGINES)
    assert ours == theirs
    return count


@pytest.fixture(autouse=True)
def _enough_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough memory that the native engine never repeats a request."""
    monkeypatch.setattr(native.device, "MEMORY_BYTES", 1 << 20)


@pytest.mark.parametrize("read", [False, True], ids=["alone", "in-a-batch"])
@pytest.mark.parametrize("undo", [False, True], ids=["move", "move-and-undo"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_same_bytes(name: str, undo: bool, read: bool) -> None:
    """Without a fault: forward, and forward and back."""
    assert compare(undo=undo, read=read, **SCENARIOS[name]) >= 6


def faults(count: int, sweep: int) -> Iterator[Fault]:
    for at in range(0, count, max(1, count // sweep)):
        for code in ERRNOS:
            for late in (False, True):
                for last in (False, True):
                    yield Fault(at, code, late=late, last=last)


@pytest.mark.sampled(4)
@pytest.mark.parametrize("name", SCENARIOS)
def test_same_bytes_after_each_failure(name: str, record_property: Callable[[str, object], None]) -> None:
    """Each message of a job is refused in turn, before or after it was done, alone or with all that follow."""
    scenario = SCENARIOS[name]
    _, count = run(native, undo=True, **scenario)
    jobs = 0
    sweep = min(SWEEP, scenario.get("sweep", SWEEP))
    for fault in faults(count, sweep):

        def prepare(world: World, fault: Fault = fault) -> None:
            fault.seen = 0
            fault.install(world.source, world.target)

        compare(prepare, **scenario)
        jobs += 1
    assert jobs >= 20 * min(sweep, count)
    record_property("jobs", jobs)


def drop_address(flags: int, link: dict[int, bytes], found: list[bytes]) -> tuple[int, dict[int, bytes], list[bytes]]:
    return flags, link, found[1:]


def reverse(flags: int, link: dict[int, bytes], found: list[bytes]) -> tuple[int, dict[int, bytes], list[bytes]]:
    return flags, link, found[::-1]


def other_mac(flags: int, link: dict[int, bytes], found: list[bytes]) -> tuple[int, dict[int, bytes], list[bytes]]:
    return flags, link | {nl.IFLA_ADDRESS: b"\x02\0\0\0\0\x99"}, found


def other_mtu(flags: int, link: dict[int, bytes], found: list[bytes]) -> tuple[int, dict[int, bytes], list[bytes]]:
    return flags, link | {nl.IFLA_MTU: b"\0\1\0\0"}, found


def other_kind(flags: int, link: dict[int, bytes], found: list[bytes]) -> tuple[int, dict[int, bytes], list[bytes]]:
    return flags, link | {nl.IFLA_LINKINFO: nl.attr(1, b"dummy\0")}, found


def is_down(flags: int, link: dict[int, bytes], found: list[bytes]) -> tuple[int, dict[int, bytes], list[bytes]]:
    return flags & ~nl.IFF_UP, link, found


def renamed(flags: int, link: dict[int, bytes], found: list[bytes]) -> tuple[int, dict[int, bytes], list[bytes]]:
    return flags, link | {nl.IFLA_IFNAME: b"udev0\0"}, found


def unflagged(flags: int, link: dict[int, bytes], found: list[bytes]) -> tuple[int, dict[int, bytes], list[bytes]]:
    return (
        flags,
        link,
        [a.replace(nl.attr(nl.IFA_FLAGS, b"\x80\0\0\0"), nl.attr(nl.IFA_FLAGS, bytes(4))) for a in found],
    )


def damaged(flags: int, link: dict[int, bytes], found: list[bytes]) -> tuple[int, dict[int, bytes], list[bytes]]:
    return flags, link, [a[:12] + b"\xff\xff" + a[14:] for a in found]


def stubs(flags: int, link: dict[int, bytes], found: list[bytes]) -> tuple[int, dict[int, bytes], list[bytes]]:
    return flags, link, [a[:8] for a in found]


TAMPERS = (drop_address, reverse, other_mac, other_mtu, other_kind, is_down, renamed, unflagged, damaged, stubs)


@pytest.mark.parametrize("where", ["source", "target"])
@pytest.mark.parametrize("tamper", TAMPERS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("name", ["few", "rich", "unsure", "template-unsure"])
def test_same_bytes_after_changes(name: str, tamper: Callable[..., Any], where: str) -> None:
    """The device or its addresses have changed in one of the namespaces."""
    for undo, read in itertools.product((False, True), repeat=2):
        compare(lambda w: setattr(getattr(w, where), "tamper", tamper), undo=undo, read=read, **SCENARIOS[name])


def name_taken(world: World) -> None:
    world.target.links[9] = (0, World.attributes("net0", b"\x02\0\0\0\0\x09"))


def ifindex_taken(world: World) -> None:
    world.target.links[7] = (0, World.attributes("other", b"\x02\0\0\0\0\x09"))


def gone(world: World) -> None:
    world.source.links.clear()


def no_peer_route(world: World) -> None:
    """A kernel that adds no route for an IPv6 peer's prefix answers ESRCH to its deletion."""
    world.target.fault = lambda request: errno.ESRCH if request.type == nl.RTM_DELROUTE else 0


@pytest.mark.parametrize("prepare", [name_taken, ifindex_taken, gone, no_peer_route], ids=lambda f: f.__name__)
@pytest.mark.parametrize("name", SCENARIOS)
def test_same_bytes_in_a_race(name: str, prepare: Callable[[World], None]) -> None:
    """The name or the ifindex is taken in the target, or the device is gone."""
    compare(prepare, undo=True, **SCENARIOS[name])


# ---- notifications after the snapshot ----

OWN_REQUEST = 4711  # the portid of a process


def notified(*events: tuple[int, bytes, int]) -> bytes:
    """Notifications of (type, body, portid of the request)."""
    return b"".join(nl.padded(nl.message(kind, body, seq=0, flags=0, portid=portid)) for kind, body, portid in events)


NEW, DEL = nl.RTM_NEWADDR, 21  # RTM_DELADDR
NOTIFIED: dict[str, list[tuple[int, bytes, int]]] = {
    "nothing": [],
    "as-it-was": [(DEL, body, 0) for body in RICH],
    "late-in-front": [(DEL, body, 0) for body in (ipv4(50), *RICH[:9], ipv6(50), *RICH[9:])],
    "late-behind": [(DEL, body, 0) for body in (*RICH[:9], ipv4(50), *RICH[9:], ipv6(50))],
    "late-in-the-middle": [(DEL, body, 0) for body in (*RICH[:3], ipv4(50), *RICH[3:12], ipv6(50), *RICH[12:])],
    "changed": [(DEL, ipv4(1, b"eth1:new", metric(9)), 0), (DEL, ipv6(0, flags=PERMANENT | DEPRECATED), 0)],
    "changed-and-still-there": [(NEW, ipv4(1, b"eth1:new", metric(9)), 5), (NEW, ipv4(60), 5), (NEW, ipv6(60), 0)],
    "deleted-by-a-request": [(DEL, ipv4(1), OWN_REQUEST), (DEL, ipv6(1), OWN_REQUEST), (DEL, ipv4(70), OWN_REQUEST)],
    "deleted-and-added": [(DEL, ipv4(1), 7), (NEW, ipv4(1), 7), (DEL, ipv4(0), 0), (DEL, ipv4(1, more=metric(3)), 0)],
    "expired": [(DEL, ipv4(5, flags=0, lifetimes=(0, 0)), 0), (DEL, ipv6(6, flags=0, lifetimes=(0, 0)), 0)],
    "two-drops": [(DEL, ipv6(0), 0), (NEW, ipv6(80), 0), (NEW, ipv6(81), 0), (DEL, ipv6(81), 0), (DEL, ipv6(80), 0)],
    "of-others": [(DEL, nl.address_body("10.7.7.7/24", 8), 0), (DEL, b"", 0), (16, ipv4(90), 0)],
    "all-deleted": [(DEL, body, OWN_REQUEST) for body in RICH],
}


def updated(engine: Any, messages: bytes, found: list[bytes]) -> bytes:
    world = World(*found)
    with world.sockets(engine.Socket) as (source, _):
        dev = device(engine=engine.Device)
        dev.snapshot(source)
        dev.late(messages)
        once = dev.addresses
        dev.late(messages)
    assert isinstance(once, bytes)
    return once


def bodies(addresses: bytes) -> list[tuple[int, bytes]]:
    """Without the messages' headers, whose seq and portid differ."""
    return [(r.type, r.body) for r in nl.requests(addresses)]


@pytest.mark.parametrize(
    "found", [[], RICH, RICH[::-1], RICH[:12] + RICH[10:]], ids=["none", "rich", "reversed", "double"]
)
@pytest.mark.parametrize("name", NOTIFIED)
def test_same_snapshot_of_notifications(name: str, found: list[bytes]) -> None:
    """Both engines make the same snapshot of the notifications between snapshot and move."""
    messages = notified(*NOTIFIED[name])
    assert bodies(updated(native, messages, found)) == bodies(updated(reference, messages, found))


@pytest.mark.parametrize("engine", ENGINES, ids=["native", "reference"])
@pytest.mark.parametrize("name", NOTIFIED)
def test_whether_something_was_late(name: str, engine: Any) -> None:
    """The engine reports whether the snapshot has changed, so that its record is written again."""
    with World(*RICH).sockets(engine.Socket) as (source, _):
        dev = device(engine=engine.Device)
        dev.snapshot(source)
        before = [r.body for r in nl.requests(dev.addresses)]
        assert not dev.was_late
        dev.late(notified(*NOTIFIED[name]))
        assert dev.was_late == ([r.body for r in nl.requests(dev.addresses)] != before)


def order(addresses: bytes) -> list[bytes]:
    return [nl.attrs(r.body[8:])[nl.IFA_ADDRESS] for r in nl.requests(addresses)]


@pytest.mark.parametrize("engine", ENGINES, ids=["native", "reference"])
@pytest.mark.parametrize("name", [name for name in NOTIFIED if name.startswith("late")])
def test_late_address_is_in_the_kernels_order(engine: Any, name: str) -> None:
    """The notifications of a drop are in dump order, which the snapshot then has."""
    said = notified(*NOTIFIED[name])
    assert order(updated(engine, said, RICH)) == order(said)


@pytest.mark.parametrize("engine", ENGINES, ids=["native", "reference"])
def test_deleted_expired_and_newer(engine: Any) -> None:
    """Deletions (IPv4) and expiries are applied; an address added between two drops is the newest."""

    def left(name: str, found: list[bytes]) -> list[bytes]:
        return order(updated(engine, notified(*NOTIFIED[name]), found))

    def addresses(*bodies: bytes) -> list[bytes]:
        return [nl.attrs(body[8:])[nl.IFA_ADDRESS] for body in bodies]

    three = [ipv4(0), ipv4(1), ipv6(1)]
    assert left("deleted-by-a-request", three) == addresses(ipv4(0), ipv6(1))
    assert left("deleted-and-added", three) == addresses(ipv4(0), ipv4(1), ipv6(1))
    assert left("expired", [ipv4(5, flags=0, lifetimes=(1, 1)), ipv4(0)]) == addresses(ipv4(0))
    assert left("two-drops", [ipv4(0), ipv6(0)]) == addresses(ipv4(0), ipv6(81), ipv6(80), ipv6(0))
    assert left("as-it-was", [RICH[9], RICH[10], RICH[9], RICH[10], RICH[11]]).count(addresses(RICH[9])[0]) == 1
    assert left("of-others", three) == addresses(*three)


@pytest.mark.parametrize("engine", ENGINES, ids=["native", "reference"])
def test_late_without_a_snapshot(engine: Any) -> None:
    """Without a snapshot `late` fails."""
    with pytest.raises(EngineError) as raised:
        device(engine=engine.Device).late(notified(*NOTIFIED["changed"]))
    assert (raised.value.errno, raised.value.step) == (errno.EINVAL, "watch")


def test_late_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The native engine's memory grows with the notifications."""
    monkeypatch.setattr(native.device, "MEMORY_BYTES", 8192)
    said = notified(*[(DEL, ipv6(n), 0) for n in range(400)])
    world = World(*RICH[:2])
    with world.sockets(native.Socket) as (source, _):
        dev = device(engine=native.Device)
        dev.snapshot(source)
        dev.late(said)
    assert dev.raw.size >= dev.raw.addrs + dev.raw.addrs_len
    assert order(dev.addresses)[2:] == order(said)
