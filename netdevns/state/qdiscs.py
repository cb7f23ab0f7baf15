"""Reports configured qdiscs, with their classes and filters, which a move deletes and which cannot be restored.

(probes links.qdisc.root, links.qdisc.filter) Default qdiscs have the handle 0; the kernel makes them anew (probe
links.qdisc.default). Source: linux/rtnetlink.h (struct tcmsg), net/sched/sch_generic.c.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from struct import Struct

from ..engine import Socket, lookups
from ..netlink import uapi, wire
from ..text import quote
from .kind import LATE, Finding, Here, Kind, Leaving, Repair, View

TCMSG = Struct("=BxxxiIII")  # tcm_family, tcm_ifindex, tcm_handle, tcm_parent, tcm_info
DUMP = wire.message(uapi.RTM_GETQDISC, uapi.NLM_F_DUMP, TCMSG.pack(0, 0, 0, 0, 0))


class Qdiscs(Kind):
    name = "qdiscs"
    stages = (LATE,)
    messages = ((uapi.RTM_NEWQDISC, TCMSG.size),)

    def read(self, socket: Socket, links: Mapping[int, wire.Link], about: Collection[int]) -> bytes:
        """The root and ingress (or clsact) qdiscs of these devices."""
        del links
        return b"".join(
            message.padded()
            for message in wire.messages(lookups.dump_if_known(socket, DUMP, about))
            if message.type == uapi.RTM_NEWQDISC and _is_configured(message.body)
        )

    def findings(self, before: View, leaving: Leaving) -> Iterator[Finding]:
        for ifindex, kind in _kinds(before.of(self.name)):
            if ifindex in leaving.ifindexes:
                yield Finding(ifindex, "loss.qdisc", f"qdisc {kind}, with its classes and filters")

    def repairs(self, before: View, now: View, here: Here) -> Iterator[Repair]:
        there = {*_kinds(now.of(self.name))}
        for ifindex, kind in _kinds(before.of(self.name)):
            if ifindex in here and (here[ifindex], kind) not in there:
                yield Repair(here[ifindex], LATE, f"qdisc {kind}, with its classes and filters", None)


def _is_configured(body: memoryview) -> bool:
    if len(body) < TCMSG.size:
        return False
    _, _, handle, parent, _ = TCMSG.unpack_from(body)
    return bool(handle) and parent in (uapi.TC_H_ROOT, uapi.TC_H_INGRESS)


def _kinds(messages: bytes) -> Iterator[tuple[int, str]]:
    """(ifindex, kind) of each."""
    for message in wire.messages(messages):
        kind = wire.text(wire.attrs(message.body, TCMSG.size).get(uapi.TCA_KIND))
        yield TCMSG.unpack_from(message.body)[1], quote.shown(kind)
