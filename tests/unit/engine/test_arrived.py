"""Devices in the target, dumped as a kernel dumps them: equal to the snapshot but for ifindex, label and stamps.

Both engines say the same of one difference, wherever it is. (The model of `fake` keeps attributes as they were sent.)
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import pytest

from netdevns.engine import native, reference
from netdevns.netlink import ifaddr, wire
from netdevns.netlink.error import EngineError
from tests.unit import messages as nl
from tests.unit.fake import World, device

THERE = 9  # the ifindex in the target
SECONDARY, NO_PREFIX_ROUTE = 0x01, 0x200
Change = Callable[[list[bytes]], list[bytes]]


def ipv4(number: int, ifindex: int, label: bytes, **fields: Any) -> bytes:
    more = {nl.IFA_BROADCAST: bytes([10, 0, number, 255]), nl.IFA_LABEL: label + b"\0"}
    return nl.address_body(f"10.0.{number}.1/24", ifindex, **{"more": more} | fields)


def ipv6(number: int, ifindex: int, **fields: Any) -> bytes:
    return nl.address_body(f"2001:db8::{number:x}/64", ifindex, **fields)


def addresses(ifindex: int, name: bytes) -> list[bytes]:
    labels = [name, name + b":x", b"foreign", name]
    return [*(ipv4(n, ifindex, label) for n, label in enumerate(labels)), ipv6(1, ifindex), ipv6(2, ifindex)]


def stamped(body: bytes) -> bytes:
    """Sets other time stamps: the end of IFA_CACHEINFO, which is the last attribute."""
    return body[:-8] + struct.pack("=II", 70, 80)


def instead(number: int, *bodies: bytes) -> Change:
    return lambda found: [*found[:number], *bodies, *found[number + 1 :]]


SAME = addresses(THERE, b"net0")
BROADCAST = SAME[3].replace(bytes([10, 0, 3, 255]), bytes([10, 0, 3, 254]))
NO_ROUTE = nl.IFA_F_PERMANENT | NO_PREFIX_ROUTE
TENTATIVE = ipv6(1, THERE, flags=nl.IFA_F_PERMANENT | nl.IFA_F_TENTATIVE)
CASES: dict[str, tuple[Change, str | None]] = {
    "same": (list, None),
    "another-in-between": (lambda found: [*found[:4], ipv6(7, THERE), *found[4:]], None),
    "label": (instead(0, ipv4(0, THERE, b"eth1")), "10.0.0.1/24 has another label"),
    "label-of-another": (instead(1, ipv4(1, THERE, b"net0:y")), "10.0.1.1/24 has another label"),
    "foreign-label": (instead(2, ipv4(2, THERE, b"net0xyz")), "10.0.2.1/24 has another label"),
    "broadcast": (instead(3, BROADCAST), "10.0.3.1/24 has another broadcast address"),
    "flags": (instead(3, ipv4(3, THERE, b"net0", flags=NO_ROUTE)), "10.0.3.1/24 has other flags"),
    "secondary": (instead(3, ipv4(3, THERE, b"net0", flags=nl.IFA_F_PERMANENT | SECONDARY)), None),
    "scope": (instead(0, ipv4(0, THERE, b"net0", scope=253)), "10.0.0.1/24 has another scope"),
    "lifetime": (instead(5, ipv6(2, THERE, lifetimes=(0, nl.FOREVER))), "2001:db8::2/64 has another lifetime"),
    "tentative": (instead(4, TENTATIVE), "2001:db8::1/64 is tentative, but was usable"),
    "prefixlen": (instead(0, SAME[0][:1] + b"\x19" + SAME[0][2:]), "10.0.0.1/24 is missing"),
    "missing": (instead(5), "2001:db8::2/64 is missing"),
    "order": (lambda found: [*found[:4], found[5], found[4]], "2001:db8::2/64 is out of order"),
    "double-differs": (instead(5, ipv6(2, THERE, flags=NO_ROUTE), stamped(SAME[5])), "2001:db8::2/64 has other flags"),
}  # fmt: skip


def messages(bodies: list[bytes]) -> bytes:
    return b"".join(nl.padded(nl.message(nl.RTM_NEWADDR, body)) for body in bodies)


@pytest.mark.parametrize("engine", [native, reference], ids=["native", "reference"])
@pytest.mark.parametrize("name", CASES)
def test_differences_among_many_addresses(engine: Any, name: str) -> None:
    """One difference among many addresses is reported; allowed differences are not."""
    change, text = CASES[name]
    world = World(*addresses(7, b"eth1"))
    with world.sockets(engine.Socket) as (source, target):
        dev = device("net0", ask=THERE, engine=engine.Device)
        dev.snapshot(source)
        dev.move(source, target, world.TARGET_FD)
        dev.up_and_replay(target)
        _, dumped = target.query(wire.get_link(THERE) + ifaddr.dump_addresses(THERE))
        link = bytes(next(wire.messages(dumped)).data)
        arrived = messages(change([stamped(body) for body in SAME]))
        if text is None:
            dev.verify(target, (link, arrived))
            return
        with pytest.raises(EngineError) as caught:
            dev.verify(target, (link, arrived))
    assert caught.value.extack == text
