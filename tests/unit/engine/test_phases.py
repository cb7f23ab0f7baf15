"""The phases of a batch in both engines: the same bytes in the same datagrams, and the same failures.

Each job runs on a model of two namespaces (`fake.World`) with each engine, and ends at the first phase that fails.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from netdevns._ffi import ffi
from netdevns.engine import EngineError, native, reference
from netdevns.engine.failed import Failed
from netdevns.engine.native.phases import Phases as NativePhases
from netdevns.engine.reference.phases import Phases as ReferencePhases
from netdevns.netlink import ifaddr, wire
from tests.unit import messages as nl
from tests.unit.engine.steps import Fault, wire_form
from tests.unit.fake import World

ENGINES = {"native": (native, NativePhases), "reference": (reference, ReferencePhases)}
FIRST = 7
Prepare = Callable[[World], None]


def populate(count: int, world: World) -> None:
    """eth1 (ifindex 7), eth2, ..., each with some addresses; every third one is down."""
    bodies = []
    for ifindex in range(FIRST, FIRST + count):
        name = f"eth{ifindex - 6}"
        mac = struct.pack("!HI", 0x0200, ifindex)
        world.source.links[ifindex] = (nl.IFF_UP if ifindex % 3 else 0, World.attributes(name, mac))
        label = {nl.IFA_LABEL: name.encode() + b":a\0"}
        bodies.append(nl.address_body(f"10.{ifindex // 250}.{ifindex % 250}.1/24", ifindex, more=label))
        bodies.append(nl.address_body(f"169.254.{ifindex % 250}.1/16", ifindex, scope=253, more=label))
        bodies.append(nl.address_body(f"2001:db8:{ifindex:x}::1/64", ifindex))
        bodies.append(nl.address_body(f"2001:db8:{ifindex:x}::2/64", ifindex))
    world.source.addresses = sorted(bodies, key=lambda body: body[0])


@contextlib.contextmanager
def watching(engine: Any) -> Iterator[Any]:
    """A Watch without notifications. (With some: tests/scenarios, tests/integration/test_races.py.)"""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        raw = ffi.new("struct nd_sock *")
        raw.fd = ours.fileno()
        yield (
            types.SimpleNamespace(raw=raw) if engine is native else types.SimpleNamespace(drain=int, notifications=b"")
        )


def batch(engine: Any, world: World, names: list[str], depths: list[int], stays: int) -> tuple[list[Any], list[Any]]:
    """The devices, and those of the last `stays` that stay in the source."""
    found = []
    for ifindex, name in enumerate(names, FIRST):
        link = wire.Link(memoryview(nl.link_body(ifindex, *world.source.links[ifindex])))
        member = type("Member", (engine.Device,), {})(link.name, name.encode(), ifindex)
        member.link, member.wanted = link, name.encode()
        member.depth = depths[(ifindex - FIRST) % len(depths)]
        member.ask_ifindex(ifindex, unsure=False)
        found.append(member)
    return found[: len(found) - stays], found[len(found) - stays :]


def run(
    which: str, prepare: Prepare, *, names: list[str], depths: tuple[int, ...] = (0,), stays: int = 0
) -> dict[str, Any]:
    """One batch with one engine: the requests, its progress, and its failure."""
    engine, phases = ENGINES[which]
    world = World()
    populate(len(names), world)
    prepare(world)
    went: list[object] = []
    with world.sockets(engine.Socket) as (source, target), watching(engine) as watch:
        devices, uppers = batch(engine, world, names, list(depths), stays)
        made = phases(source, target, world.TARGET_FD, watch, devices, uppers)
        everyone = [*devices, *uppers]
        try:
            made.snapshot()
            made.set_down()
            went += [made.move_next() for _ in devices]
            went.append(made.catch_up())
            went += [made.replay_next() for _ in devices]
            while went[-1] != len(devices) or len(went) <= 2 * len(devices) + 1:
                went.append(made.verify_next())
        except Failed as e:
            device = None if e.device is None else everyone.index(e.device)
            went.append((device, e.step, e.errno, e.extack))
        except EngineError as e:
            went.append((e.errno, e.extack, e.step))
        return {
            "went": went,
            "order": [[everyone.index(device) for device in order] for order in (made.moves, made.replays)],
            "devices": [(d.place, d.name, d.ifindex, d.target_ifindex, d.touched, d.addresses) for d in everyone],
            "arrived": [(bytes(d.arrived_link), bytes(d.arrived)) for d in devices] if is_whole(went, devices) else [],
            "source": [[wire_form(r) for r in datagram] for datagram in world.source.datagrams],
            "target": [[wire_form(r) for r in datagram] for datagram in world.target.datagrams],
        }


def is_whole(went: list[object], devices: list[Any]) -> bool:
    return bool(went) and went[-1] == len(devices)


def nothing(_: World) -> None:
    """The unchanged model."""


def same(prepare: Prepare = nothing, **job: Any) -> dict[str, Any]:
    ours, theirs = (run(which, prepare, **job) for which in ENGINES)
    for part in theirs:
        assert ours[part] == theirs[part], part
    return ours


def several(count: int) -> list[str]:
    return [f"net{n}" for n in range(count)]


JOBS: dict[str, dict[str, Any]] = {
    "one": {"names": ["net0"]},
    "two": {"names": several(2)},
    "templates": {"names": ["net%d", "net1", "net%d", "net0"]},
    "stack": {"names": several(4), "depths": (0, 1, 2, 1)},
    "windows": {"names": several(70), "depths": (0, 0, 1)},
    "one-and-an-upper": {"names": several(2), "stays": 1},
    "two-and-uppers": {"names": several(5), "stays": 3},
}


@pytest.mark.parametrize("job", JOBS.values(), ids=JOBS)
def test_same_bytes(job: dict[str, Any]) -> None:
    """P1, P2: a batch that arrives."""
    done = same(**job)
    moving = len(job["names"]) - job.get("stays", 0)
    assert done["went"][-1] == moving
    assert len(done["arrived"]) == moving
    assert all(link and addresses for link, addresses in done["arrived"])


@pytest.mark.parametrize("late", [False, True], ids=["refused", "done-and-refused"])
@pytest.mark.parametrize("side", ["source", "target"])
@pytest.mark.parametrize("job", ["one", "two", "stack"])
def test_same_failure(job: str, side: str, late: bool) -> None:
    """P1: for each refused message both name the same device and step."""
    for at in range(100):

        def prepare(world: World, at: int = at) -> None:
            Fault(at, errno.EPERM, late=late, last=False).install(getattr(world, side))

        done = same(prepare, **JOBS[job])
        if done["went"][-1] == len(JOBS[job]["names"]):
            assert at > 1
            return
    raise AssertionError("a batch of 100 messages")


ANOTHER_MTU = {nl.IFLA_MTU: struct.pack("=I", 1300)}
TAMPER: dict[str, Callable[[int, dict[int, bytes], list[bytes]], tuple[int, dict[int, bytes], list[bytes]]]] = {
    "mtu": lambda flags, link, addresses: (flags, link | ANOTHER_MTU, addresses),
    "down": lambda flags, link, addresses: (flags & ~nl.IFF_UP, link, addresses),
    "address": lambda flags, link, addresses: (flags, link, addresses[1:]),
    "order": lambda flags, link, addresses: (flags, link, addresses[::-1]),
}


@pytest.mark.parametrize("job", ["one", "two", "windows"])
@pytest.mark.parametrize("tamper", TAMPER)
def test_same_difference(job: str, tamper: str) -> None:
    """P2: a difference in the target is reported for the same device in the same words."""

    def prepare(world: World) -> None:
        world.target.tamper = TAMPER[tamper]

    failed = same(prepare, **JOBS[job])["went"][-1]
    assert failed[1:3] == ("verify", 0)
    assert failed[3]


def test_result_has_the_dumped_addresses() -> None:
    """The decoded result has the protected addresses of the snapshot."""
    done = same(**JOBS["two"])
    shown = [[a["address"] for a in ifaddr.addresses(arrived)] for _, arrived in done["arrived"]]
    assert [sorted(each) for each in shown] == [
        ["10.0.7.1", "2001:db8:7::1", "2001:db8:7::2"],
        ["10.0.8.1", "2001:db8:8::1", "2001:db8:8::2"],
    ]
