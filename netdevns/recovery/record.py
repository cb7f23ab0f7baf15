"""Writes a batch as a record, with all that an undo in another process needs, and reads it back."""

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
    """Writes the record of a batch into a folder, and removes or keeps it at the end."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._record: Record | None = None

    def write(self, plan: Plan, sides: Sides, members: list[BatchDevice], uppers: list[BatchDevice]) -> None:
        """Writes the record, in place of an earlier one. Raises OSError, with the path."""
        try:
            self._record = self._journal.write(recorded(plan, sides, members, uppers), self._record)
        except OSError as e:
            raise OSError(e.errno or errno.EIO, e.strerror, e.filename or self._journal.path) from None

    def end(self, *, keep: bool) -> bool:
        """Removes the record, or keeps it for `recover`; returns whether it was kept."""
        if self._record is None:
            return False
        if keep:
            return self._record.keep()
        self._record.drop()
        return False


def recorded(plan: Plan, sides: Sides, members: list[BatchDevice], uppers: list[BatchDevice]) -> list[bytes]:
    """The content of a record: the devices of a batch, and the upper devices that an undo restores in the source."""
    parts = layout.head(plan.preserve, since_ms=plan.since_ms, loan_id=plan.loan_id)
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
    """The batch of a parsed record: its devices and upper devices as they were. Raises Damaged."""
    plan = Plan([], True)
    plan.since_ms = sections[0].number(layout.A_SINCE_MS)
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
    """The device of a section that `layout.parse` has checked. Raises Damaged: its snapshot is malformed."""
    host_name = os.fsdecode(section.text(layout.A_HOST_NAME))
    names = section.text(layout.A_IFNAME), section.text(layout.A_WANTED)
    try:
        first = next(wire.messages(bytes(section.body)))
        link = first.padded()
        device = BatchDevice(host_name, *names, wire.Link(first.body), section.ifindex(layout.A_IFINDEX))
        device.load(link, bytes(section.body[len(link) :]))
    except EngineError as e:
        raise Damaged(f"malformed snapshot: {lookups.format_error(e)}") from None
    device.depth = min(section.number(layout.A_DEPTH), 0xFFFFFFFF)  # only orders the devices; as in csrc/record.c
    device.ask_ifindex(section.ifindex(layout.A_ASKED), unsure=bool(section.number(layout.A_UNSURE)))
    return device
