"""Notifications between snapshot and move: both engines apply them alike, in any order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hypothesis import event, given
from hypothesis import strategies as st

from netdevns.engine import native, reference
from tests.property.profiles import examples
from tests.unit import messages as nl

DELADDR = 21
IFINDEX, OTHER = 7, 8
# As they are dumped; with a lifetime, expired, and changed: the same address otherwise.
IPV4 = [nl.address_body(f"10.0.0.{n}/24", IFINDEX) for n in range(1, 5)]
IPV4 += [nl.address_body("10.0.0.1/24", IFINDEX, flags=0, lifetimes=(60, 90))]
IPV4 += [nl.address_body("10.0.0.2/24", IFINDEX, flags=0, lifetimes=(0, 0))]
IPV6 = [nl.address_body(f"2001:db8::{n}/64", IFINDEX) for n in range(1, 5)]
IPV6 += [nl.address_body("2001:db8::1/64", IFINDEX, flags=0, lifetimes=(0, 0))]
OTHERS = [nl.address_body("10.0.0.1/24", OTHER), b""]
SNAPSHOTS = st.tuples(st.lists(st.sampled_from(IPV4), max_size=6), st.lists(st.sampled_from(IPV6), max_size=6))
EVENTS = st.tuples(
    st.sampled_from([DELADDR, DELADDR, DELADDR, nl.RTM_NEWADDR, 16]),
    st.sampled_from([*IPV4, *IPV6, *OTHERS]),
    st.sampled_from([0, 0, 0, 4711]),
)


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[bytes], list[tuple[int, bytes, int]]]:
    """A snapshot and notifications: those of the move's own drop, with or without other events in between."""
    ipv4, ipv6 = draw(SNAPSHOTS)
    families = draw(st.sampled_from([[ipv4, ipv6], [ipv6, ipv4], [ipv4], [ipv6], [ipv4, ipv6[1:]], [ipv4[:-1]]]))
    notifications = [(DELADDR, body, 0) for family in families for body in family]
    for one in draw(st.lists(EVENTS, max_size=3)):
        notifications.insert(draw(st.integers(0, len(notifications))), one)
    return [*ipv4, *ipv6], list(gone_once(notifications))


def gone_once(notifications: list[tuple[int, bytes, int]]) -> Iterator[tuple[int, bytes, int]]:
    """An address is deleted again only after it was added again; a dump may still list one twice."""
    gone = set()
    for kind, body, portid in notifications:
        which = identity(body)
        if kind == DELADDR and which in gone:
            continue
        if kind in (DELADDR, nl.RTM_NEWADDR):
            (gone.add if kind == DELADDR else gone.discard)(which)
        yield kind, body, portid


def identity(body: bytes) -> tuple[bytes, bytes]:
    return body[:2] + body[4:8], nl.attrs(body[8:]).get(nl.IFA_ADDRESS, b"")


def updated(engine: Any, found: list[bytes], notifications: list[tuple[int, bytes, int]]) -> tuple[list[bytes], bool]:
    device = engine.Device(b"eth1", b"eth1", IFINDEX)
    link = nl.message(16, nl.link_body(IFINDEX, attributes={3: b"eth1\0"}))
    device.load(nl.padded(link), b"".join(nl.padded(nl.message(nl.RTM_NEWADDR, body)) for body in found))
    device.late(b"".join(nl.padded(nl.message(kind, body, portid=portid)) for kind, body, portid in notifications))
    return [r.body for r in nl.requests(device.addresses)], device.was_late


@examples(80, 1500)
@given(cases())
def test_both_engines_make_the_same_of_it(case: tuple[list[bytes], list[tuple[int, bytes, int]]]) -> None:
    """The addresses and their order; and whether anything was late, as the record is rewritten then.

    A change that was reverted is late to the engine that reads each event, and not to the one that compares.
    """
    found, notifications = case
    made, was_late = updated(native, found, notifications)
    event("late" if was_late else "as it was")
    plainly_made, must_be_late = updated(reference, found, notifications)
    assert made == plainly_made
    assert was_late or not must_be_late


@examples(40, 500)
@given(SNAPSHOTS)
def test_the_drop_of_a_move_is_nothing_late(snapshot: tuple[list[bytes], list[bytes]]) -> None:
    """A move's own DELADDRs change nothing, unless the snapshot has an address twice or an expired one."""
    found = [body for family in snapshot for body in dict.fromkeys(family)]
    if any(nl.attrs(body[8:])[nl.IFA_CACHEINFO][4:8] == bytes(4) for body in found):
        return
    if len(set(map(identity, found))) < len(found):
        return
    for engine in (native, reference):
        assert updated(engine, found, [(DELADDR, body, 0) for body in found]) == (found, False)
