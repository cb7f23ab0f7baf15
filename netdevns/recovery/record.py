"""A batch as a record: all that an undo needs, with the kernel's own bytes of the snapshots; and read again."""

from __future__ import annotations

import errno
import os

from ..batch.plan import Plan, Sides
from ..engine import EngineError, lookups
from ..engine.batch_device import BatchDevice
from ..netlink import wire
from . import identity, layout
from .layout import Damaged, Section
from .store import Journal, Record


class Recorder:
    """Writes a batch's record into a folder, and ends it: the mover is handed one."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._record: Record | None = None

    def write(self, plan: Plan, sides: Sides, members: list[BatchDevice], uppers: list[BatchDevice]) -> None:
        """Instead of what was written before. Raises OSError, with the path."""
        try:
            self._record = self._journal.write(recorded(plan, sides, members, uppers), self._record)
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


def recorded(plan: Plan, sides: Sides, members: list[BatchDevice], uppers: list[BatchDevice]) -> list[bytes]:
    """A record's content: the devices of a batch, and those on top of them that only move along in an undo."""
    parts = layout.head(plan.preserve, lends=plan.lends)
    parts += identity.recorded(layout.SOURCE, sides.source, sides.source_socket)
    parts += identity.recorded(layout.TARGET, sides.target, sides.target_socket)
    for type_, group in ((layout.DEVICE, members), (layout.UPPER, uppers)):
        for member in group:
            parts += _device_section(type_, member)
    for kind, dumped in plan.state.items():
        if dumped:
            parts += layout.section(layout.STATE, {layout.A_KIND: kind.encode()}, dumped)
    return parts


def load(sections: list[Section]) -> Plan:
    """The batch of a record that was judged: its devices, as they were, and those on top of them. Raises Damaged."""
    plan = Plan([], True)
    plan.devices = [_device(s) for s in sections if s.type == layout.DEVICE]
    plan.uppers = [_device(s) for s in sections if s.type == layout.UPPER]
    plan.state = {s.text(layout.A_KIND).decode(): bytes(s.body) for s in sections if s.type == layout.STATE}
    return plan


def _device_section(type_: int, device: BatchDevice) -> list[bytes]:
    attrs: dict[int, int | bytes] = {
        layout.A_HOST_NAME: os.fsencode(device.host_name),
        layout.A_IFNAME: device.ifname,
        layout.A_WANTED: device.wanted,
        layout.A_IFINDEX: device.link.ifindex,
        layout.A_ASKED: device.target_ifindex,
        layout.A_UNSURE: int(device.ifindex_unsure),
        layout.A_DEPTH: device.depth,
    }
    return layout.section(type_, attrs, device.link_message, device.addresses)


def _device(section: Section) -> BatchDevice:
    """A device out of a record, of which `layout.parse` has judged the parts. Raises Damaged: of what they hold."""
    host_name = os.fsdecode(section.text(layout.A_HOST_NAME))
    names = section.text(layout.A_IFNAME), section.text(layout.A_WANTED)
    try:
        first = next(wire.messages(bytes(section.body)))
        link = first.padded()
        device = BatchDevice(host_name, *names, wire.Link(first.body), section.ifindex(layout.A_IFINDEX))
        device.load(link, bytes(section.body[len(link) :]))
    except EngineError as e:
        raise Damaged(f"a snapshot in it is damaged: {lookups.format_error(e)}") from None
    device.depth = min(section.number(layout.A_DEPTH), 0xFFFFFFFF)  # as csrc/record.c: an order, whatever it says
    device.ask_ifindex(section.ifindex(layout.A_ASKED), unsure=bool(section.number(layout.A_UNSURE)))
    return device
