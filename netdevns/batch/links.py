"""Reads the links that concern a batch, with the devices locked against other movers."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from ..engine import Socket, lookups
from ..netlink import uapi, wire
from ..system.exclusion import Busy, Exclusion
from . import stacking
from .plan import Plan

TRIES = 8


def read(plan: Plan, socket: Socket, wanted: Collection[bytes], exclusion: Exclusion | None) -> None:
    """Sets `plan.links`: the devices with these names, and all devices with a lower device.

    `exclusion`: locks the batch and its uppers, before anything is read that a move relies on. A device that another
    mover holds is a finding.
    """
    try:
        if exclusion is not None:
            answers = lookups.ask(socket, [wire.get_link(name=name) for name in wanted])
            there = [answer.body for answer in answers if answer.type == uapi.RTM_NEWLINK]
            _take(plan, exclusion, {wire.IFINFOMSG.unpack_from(body)[2] for body in there})
        for _ in range(TRIES):  # again if a device was renamed meanwhile, or got an upper
            _dump(plan, socket, wanted)
            batch = {link.ifindex for link in plan.links.values() if link.name in wanted}
            if exclusion is None or not _take(plan, exclusion, {*batch, *stacking.above(plan.links, batch)}):
                return
    except Busy as e:
        _dump(plan, socket, wanted)
        link = lookups.link(socket, ifindex=e.ifindex)
        asked = next((asked for asked in plan.asked if link and asked.ifname == link.name), None)
        plan.find("device.busy", asked, name=link.name if link else b"", ifindex=e.ifindex, pid=e.pid)


def read_above(plan: Plan, socket: Socket, batch: Iterable[int]) -> None:
    """Reads all devices above the batch, masters and uppers: any of them may carry a default route."""
    uppers: dict[int | None, list[int]] = {}
    for link in plan.links.values():
        uppers.setdefault(link.lower, []).append(link.ifindex)
    todo, reached = {*batch}, {*batch}
    while todo:
        masters = {master for ifindex in todo if (master := plan.links[ifindex].master)}
        for answer in lookups.ask(socket, [wire.get_link(ifindex) for ifindex in masters - plan.links.keys()]):
            found = lookups.link_of(answer)
            if found is not None:
                plan.links[found.ifindex] = found
        masters |= {upper for ifindex in todo for upper in uppers.get(ifindex, ())}
        todo = (masters & plan.links.keys()) - reached
        reached |= todo


def _take(plan: Plan, exclusion: Exclusion, ifindexes: Collection[int]) -> bool:
    return plan.source is not None and exclusion.hold(plan.source, ifindexes)


def _dump(plan: Plan, socket: Socket, wanted: Collection[bytes]) -> None:
    # The core compares names of IFNAMSIZ bytes; a longer one can only be an alternative name.
    names = [name for name in wanted if len(name) < uapi.IFNAMSIZ]
    plan.links = {link.ifindex: link for link in lookups.links_of(socket, names)}
