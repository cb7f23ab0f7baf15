"""Finds out how devices are stacked: VLANs and macvlans on their lower, ports below their bridge or bond."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping

from ..engine.batch_device import BatchDevice
from ..netlink import wire
from .plan import Plan


def set_depths(devices: Mapping[int, BatchDevice]) -> None:
    """Sets depths: an upper is one deeper than its lower, moves first and comes up last (probe kinds.upper-up.vlan)."""
    for device in devices.values():
        lower, seen = device.link.lower, {0}
        while lower is not None and lower in devices and lower not in seen:
            seen.add(lower)
            device.depth += 1
            lower = devices[lower].link.lower


def above(links: Mapping[int, wire.Link], batch: Collection[int]) -> list[int]:
    """The ifindexes of devices outside the batch that are stacked on it, directly or not."""
    staying: list[int] = []
    found = True
    while found:  # once for each level of stacking
        on_it = {link.ifindex for link in links.values() if link.lower in batch or link.lower in staying}
        found = bool(more := sorted(on_it - {*batch} - {*staying}))
        staying += more
    return staying


def uppers(links: Mapping[int, wire.Link], batch: Collection[int]) -> list[BatchDevice]:
    """Devices outside the batch that are stacked on it: they stay, and lose state that depends on their lower.

    (probes kinds.lower-moves.vlan, kinds.lower-moves.macvlan)
    """
    staying = (links[ifindex] for ifindex in above(links, batch))
    return [BatchDevice(os.fsdecode(link.name), link.name, link.name, link) for link in staying]


def concerned(plan: Plan) -> set[int]:
    """The ifindexes of all that may lose state: the batch, its uppers, and the masters of both; before and now."""
    everyone = (*plan.devices, *plan.uppers)
    masters = {device.link.master for device in everyone if device.link.master}
    return masters | {device.link.ifindex for device in everyone} | {device.ifindex for device in everyone}


# Kinds that the kernel deletes when their lower device leaves its namespace, wherever they are themselves (probes
# kinds.both-move.vxlan-over-upper-first, kinds.both-move.macsec-upper-first). Others survive. Source:
# drivers/net/vxlan, vxlan_netdevice_event(); drivers/net/macsec.c, macsec_notify().
_ENDING = (b"vxlan", b"macsec")


def ending(uppers: Iterable[wire.Link], leaving: Iterable[int]) -> set[int]:
    """The ifindexes of the uppers that the kernel deletes when these devices leave, and of all stacked on them."""
    ended: set[int] = set()
    lowers, todo = {*leaving}, [*uppers]
    found = True
    while found:  # once for each level of stacking
        more = {u.ifindex for u in todo if u.lower in ended or (u.lower in lowers and u.kind in _ENDING)}
        found = not more <= ended
        ended |= more
    return ended


def below(links: Mapping[int, wire.Link], ifindexes: Iterable[int]) -> set[int]:
    """These devices and all below them."""
    reached = set(ifindexes)
    todo = list(reached)
    ports: dict[int, list[int]] = {}
    for link in links.values():
        if link.master:
            ports.setdefault(link.master, []).append(link.ifindex)
    while todo:
        upper = links.get(todo.pop())
        if upper is None:
            continue
        for ifindex in (upper.lower, *ports.get(upper.ifindex, ())):
            if ifindex in links and ifindex not in reached:
                reached.add(ifindex)
                todo.append(ifindex)
    return reached
