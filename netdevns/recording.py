"""A batch as a record: all that an undo needs, with the kernel's own bytes of the snapshots. `reopened` reads it."""

from __future__ import annotations

import os

from . import identity, journal, ports
from .member import Member
from .plan import Plan

# Sections, in the order of neighbours.DUMPS.
NEIGHBOURS = (journal.NEIGHBOURS, journal.PROXIES, journal.FDB)


def recorded(plan: Plan, members: list[Member], uppers: list[Member]) -> list[bytes]:
    """A record's content: the devices of a batch, and those on top of them that only move along in an undo."""
    assert plan.source is not None
    assert plan.target is not None
    assert plan.source_socket is not None
    assert plan.target_socket is not None
    parts = journal.head(plan.preserve, lends=plan.lends)
    parts += identity.recorded(journal.SOURCE, plan.source, plan.source_socket)
    parts += identity.recorded(journal.TARGET, plan.target, plan.target_socket)
    for type_, group in ((journal.DEVICE, members), (journal.UPPER, uppers)):
        for member in group:
            parts += _device_section(type_, member)
    parts += journal.section(journal.ROUTES, {}, plan.routes)
    parts += journal.section(journal.NEXTHOPS, {}, plan.nexthops)
    for ifindex, port in plan.ports.items():
        vlans, messages = ports.dumped(port)
        parts += journal.section(journal.PORT, {journal.A_IFINDEX: ifindex, journal.A_VLANS: vlans}, *messages)
    for type_, dump in zip(NEIGHBOURS, plan.neighbours, strict=False):
        parts += journal.section(type_, {}, dump)
    parts += journal.section(journal.NEIGHPARMS, {}, plan.neighparms)
    return parts


def _device_section(type_: int, member: Member) -> list[bytes]:
    item, device = member.item, member.device
    attrs: dict[int, int | bytes] = {
        journal.A_HOST_NAME: os.fsencode(item.host_name),
        journal.A_IFNAME: item.ifname,
        journal.A_WANTED: item.wanted,
        journal.A_IFINDEX: member.link.ifindex,
        journal.A_ASKED: device.target_ifindex,
        journal.A_UNSURE: int(device.ifindex_unsure),
        journal.A_DEPTH: item.depth,
    }
    if item.token is not None:
        attrs[journal.A_TOKEN] = item.token
    if item.qdiscs:
        attrs[journal.A_QDISCS] = " ".join(item.qdiscs).encode()
    return journal.section(type_, attrs, device.link_message, device.addresses)
