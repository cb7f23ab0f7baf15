"""A batch as a record: all that an undo needs, with the kernel's own bytes of the snapshots; and read again."""

from __future__ import annotations

import errno
import os

from ..batch.plan import Item, Member, Plan
from ..engine import Device, EngineError, lookups
from ..netlink import wire
from . import identity, layout
from .layout import Damaged, Section

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .store import Journal, Record


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
    for kind, dumped in plan.state.items():
        if dumped:
            parts += layout.section(layout.STATE, {layout.A_KIND: kind.encode()}, dumped)
    return parts


def load(sections: list[Section]) -> tuple[Plan, list[Member], list[Member]]:
    """The batch of a record that was judged: its devices, as they were, and those on top of them. Raises Damaged."""
    members = [_member(s) for s in sections if s.type == layout.DEVICE]
    uppers = [_member(s) for s in sections if s.type == layout.UPPER]
    plan = Plan([m.item for m in members], True)
    plan.uppers = [m.item for m in uppers]
    plan.state = {s.text(layout.A_KIND).decode(): bytes(s.body) for s in sections if s.type == layout.STATE}
    return plan, members, uppers


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
    return layout.section(type_, attrs, device.link_message, device.addresses)


def _member(section: Section) -> Member:
    """A device out of a record, of which `layout.parse` has judged the parts. Raises Damaged: of what they hold."""
    item = Item(os.fsdecode(section.text(layout.A_HOST_NAME)), None)
    item.ifname, item.wanted = section.text(layout.A_IFNAME), section.text(layout.A_WANTED)
    item.depth = section.number(layout.A_DEPTH)
    try:
        first = next(wire.messages(bytes(section.body)))
        link = first.padded()
        item.link = wire.Link(first.body)
        device = Device(item.ifname, item.wanted, section.ifindex(layout.A_IFINDEX))
        device.load(link, bytes(section.body[len(link) :]))
    except EngineError as e:
        raise Damaged(f"a snapshot in it is damaged: {lookups.says(e)}") from None
    device.ask_ifindex(section.ifindex(layout.A_ASKED), unsure=bool(section.number(layout.A_UNSURE)))
    item.device = device
    return Member(item, device, item.link)
