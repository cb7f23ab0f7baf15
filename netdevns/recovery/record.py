"""A batch as a record: all that an undo needs, with the kernel's own bytes of the snapshots. `reopened` reads it."""

from __future__ import annotations

import errno
import os

from ..batch.plan import Member, Plan
from ..state import ports
from . import identity, layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .store import Journal, Record

# Sections, in the order of neighbours.DUMPS.
NEIGHBOURS = (layout.NEIGHBOURS, layout.PROXIES, layout.FDB)


class Recorder:
    """Writes a batch's record into a folder, and ends it: the mover is handed one."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._record: Record | None = None

    def write(self, plan: Plan, members: list[Member], uppers: list[Member]) -> None:
        """Instead of what was written before. Raises OSError, with the path."""
        try:
            self._record = self._journal.write(recorded(plan, members, uppers), self._record)
        except OSError as e:
            path = os.path.join(self._journal.path, e.filename or "")
            raise OSError(e.errno or errno.EIO, e.strerror, path) from None

    def end(self, *, keep: bool) -> bool:
        """What it would undo is done or undone; or it is left to `recover`. Whether it is."""
        if self._record is None:
            return False
        if keep:
            return self._record.keep()
        self._record.drop()
        return False


def recorded(plan: Plan, members: list[Member], uppers: list[Member]) -> list[bytes]:
    """A record's content: the devices of a batch, and those on top of them that only move along in an undo."""
    assert plan.source is not None
    assert plan.target is not None
    assert plan.source_socket is not None
    assert plan.target_socket is not None
    parts = layout.head(plan.preserve, lends=plan.lends)
    parts += identity.recorded(layout.SOURCE, plan.source, plan.source_socket)
    parts += identity.recorded(layout.TARGET, plan.target, plan.target_socket)
    for type_, group in ((layout.DEVICE, members), (layout.UPPER, uppers)):
        for member in group:
            parts += _device_section(type_, member)
    parts += layout.section(layout.ROUTES, {}, plan.routes)
    parts += layout.section(layout.NEXTHOPS, {}, plan.nexthops)
    for ifindex, port in plan.ports.items():
        vlans, messages = ports.dumped(port)
        parts += layout.section(layout.PORT, {layout.A_IFINDEX: ifindex, layout.A_VLANS: vlans}, *messages)
    for type_, dump in zip(NEIGHBOURS, plan.neighbours, strict=False):
        parts += layout.section(type_, {}, dump)
    parts += layout.section(layout.NEIGHPARMS, {}, plan.neighparms)
    return parts


def _device_section(type_: int, member: Member) -> list[bytes]:
    item, device = member.item, member.device
    attrs: dict[int, int | bytes] = {
        layout.A_HOST_NAME: os.fsencode(item.host_name),
        layout.A_IFNAME: item.ifname,
        layout.A_WANTED: item.wanted,
        layout.A_IFINDEX: member.link.ifindex,
        layout.A_ASKED: device.target_ifindex,
        layout.A_UNSURE: int(device.ifindex_unsure),
        layout.A_DEPTH: item.depth,
    }
    if item.token is not None:
        attrs[layout.A_TOKEN] = item.token
    if item.qdiscs:
        attrs[layout.A_QDISCS] = " ".join(item.qdiscs).encode()
    return layout.section(type_, attrs, device.link_message, device.addresses)
