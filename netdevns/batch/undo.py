"""Puts a batch back: uppers return first, then lowers; lowers come up first; then nexthop objects and routes.

Every step can be repeated, and a failed one does not stop the others: `Left` reports state that is not restored.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator

from .. import state
from ..engine import PLACE_SOURCE, PLACE_TARGET, RESTORE, EngineError, Socket, lookups
from ..engine.batch_device import BatchDevice
from ..netlink import ifaddr, uapi, wire
from ..results import Left
from ..state.kind import DOWN, WHEN_UP
from ..state.link_settings import LinkSettings
from ..state.restore import Restorer
from . import stacking
from .plan import Plan, Sides
from .way_back import WayBack

# Reports progress between two calls of the engine: the step, the devices that have done it, all devices.
OnStep = Callable[[str, int, int], None]


def everything(
    plan: Plan,
    sides: Sides,
    members: list[BatchDevice],
    uppers: list[BatchDevice],
    on_step: OnStep | None = None,
) -> tuple[Left, ...]:
    """Puts back every device that was touched.

    Args:
        plan: The batch, with the state of its devices before the move.
        sides: Its namespaces.
        members: The devices, in the order in which they were moved.
        uppers: Devices that stayed in the source, stacked on one of them.
        on_step: Called with "undo"; must not raise an Exception.

    Returns:
        What is not as before, in the order of the batch; empty: everything is.
    """
    undo = _Undo(plan, sides, [member for member in members if member.touched], uppers)
    undo.run(on_step)
    order = {id(device): at for at, device in enumerate((*plan.devices, *plan.uppers))}
    incomplete = sorted((m for m in undo.missing if undo.missing[m]), key=lambda m: order[id(m)])
    return tuple(_left(member, undo.name_now(member), undo.missing[member]) for member in incomplete)


def is_all_unrestorable(left: tuple[Left, ...], members: list[BatchDevice]) -> bool:
    """Whether a recovery could put back nothing of it."""
    unrestorable = {m.host_name: tuple(m.unrestorable) for m in members}
    return all(each.missing == unrestorable.get(each.device) for each in left)


def _left(member: BatchDevice, name: str | None, missing: list[str]) -> Left:
    where = member.location
    ifindex = {"source": member.ifindex, "target": member.target_ifindex}.get(where)
    return Left(member.host_name, where, name, ifindex, tuple(missing))


class _Undo:
    def __init__(self, plan: Plan, sides: Sides, touched: list[BatchDevice], uppers: list[BatchDevice]) -> None:
        self.sides = sides
        self.source_fd = sides.source.fd
        self.source = sides.source_socket
        self.target = sides.target_socket
        self.touched = touched
        self.uppers = sorted(uppers, key=lambda m: m.depth) if touched else []
        self.missing: dict[BatchDevice, list[str]] = {member: [] for member in (*touched, *self.uppers)}
        self.before = plan.view(self.missing)
        self.restorer = Restorer(state.KINDS, self.source, sides.visit, self.before, stacking.concerned(plan))

    def run(self, on_step: OnStep | None) -> None:
        if on_step and self.touched:
            on_step("undo", 0, len(self.touched))
        for done in self._return():
            if on_step:
                on_step("undo", done, len(self.touched))
        for member in sorted(self.touched, key=lambda m: m.depth):
            if member.place == PLACE_SOURCE:
                self._restore(member)
        _find_ended(self.source, self.touched, self.uppers)
        # Their lower left and came back: they may have lost IPv6 addresses, or have come up (probes
        # addresses.ipv6.down.default, kinds.lower-back.vlan-down).
        for member in self.uppers:
            if not member.ended:
                self._restore(member)
        if self.touched:
            self.restorer.run(WHEN_UP, self._here())
            self._tell_what_is_left()

    def _here(self) -> dict[int, int]:
        """ifindex before -> ifindex now, of those that are in the source."""
        back = [m for m in self.missing if m.place == PLACE_SOURCE and not m.ended]
        return {member.link.ifindex: member.ifindex for member in back}

    def _restore(self, member: BatchDevice) -> None:
        """One device: all that is before its addresses and IFF_UP, and these.

        A bond takes only ports that are down, and what IFF_UP does depends on sysctls.
        """
        if self._is_on_one_that_came_back(member):
            self._reopen(member)
        self.restorer.run([DOWN], self._here(), {member.ifindex})
        try:
            member.undo(self.source, self.target, self.source_fd, RESTORE)
        except EngineError:
            # Its lower or its master brought it up, and the kernel made a link-local address of its own, which is still
            # to be verified; or it should not be up: once more from the state down.
            self._reopen(member)
            try:
                member.undo(self.source, self.target, self.source_fd, RESTORE)
            except EngineError as e:
                self.missing[member].append(e.extack if e.errno == errno.ESTALE else lookups.format_error(e))

    def _tell_what_is_left(self) -> None:
        owner = {m.ifindex: m for m in self.missing if m.place == PLACE_SOURCE}
        masters = {m.link.master: m for m in self.missing if m.link.master}
        unrestorable: dict[BatchDevice, list[str]] = {member: [] for member in self.missing}
        told = [*self.restorer.left(self._here())]
        if not any(left.kind == LinkSettings.name and not left.ifindex for left in told):
            # The engine said so when it compared; it may be right by now, and otherwise it is told with the values.
            for member, words in self.missing.items():
                self.missing[member] = [each for each in words if not each.endswith(" changed")]
        for left in told:
            member = owner.get(left.ifindex) or masters.get(left.ifindex) or self.touched[0]
            self.missing[member].append(left.words)
            if left.is_unrestorable:
                unrestorable[member].append(left.words)
        try:
            _find_unrestorable(self.source, self.missing)
        except EngineError as e:
            self.missing[self.touched[0]].append(f"what cannot be put back is not known: {lookups.format_error(e)}")
        for member in self.missing:
            self.missing[member] += member.unrestorable
            member.unrestorable = unrestorable[member] + member.unrestorable

    def _is_on_one_that_came_back(self, member: BatchDevice) -> bool:
        """A macvlan: the move flushed its lower's unicast filter, where its MAC is put in again when it comes up.

        (probe links.mac-list.unicast)

        It may be up already: an undo that was interrupted brought it back before its lower.
        """
        lowers = {m.link.ifindex for m in self.missing}  # those that stayed on top of it, too
        return member.link.kind in (b"macvlan", b"macvtap") and member.was_up and member.link.lower in lowers

    def _reopen(self, member: BatchDevice) -> None:
        try:
            self.source.command(wire.down_message(member.ifindex))
        except EngineError as e:
            self.missing[member].append(lookups.format_error(e))

    def name_now(self, member: BatchDevice) -> str | None:
        """What the device is called where it is: somebody may have taken its name meanwhile."""
        if member.place == PLACE_TARGET:
            return os.fsdecode(member.name)
        if member.place != PLACE_SOURCE:
            return None
        try:
            link = lookups.link(self.source, ifindex=member.ifindex)
        except EngineError:
            link = None
        return None if link is None else os.fsdecode(link.name)

    def _return(self) -> Iterator[int]:
        """Brings all home that can come; yields how many are, after each. May be begun again."""
        way, done = WayBack(self.sides, self.touched), 0
        for member in self.touched:
            way.bring(member)
            done += member.place == PLACE_SOURCE
            yield done
        way.bring_all_again(self.touched)
        for member in self.touched:
            self.missing[member] += way.missing[member]
            if member.place == PLACE_SOURCE and member.ifindex != member.link.ifindex:
                self.missing[member].append(f"ifindex {member.link.ifindex}")


# ---- what nothing can put back: told all the same, and of no use to try again ----

DELETED = "the device: the kernel deleted it when what it lay on left"


def _find_ended(source: Socket, touched: Iterable[BatchDevice], uppers: Iterable[BatchDevice]) -> None:
    """Devices that stayed, which the kernel deleted when their lower left."""
    staying = [*uppers]
    ending = stacking.ending([m.link for m in staying], [m.link.ifindex for m in touched])
    for member in (m for m in staying if m.link.ifindex in ending):
        try:
            now = lookups.link(source, ifindex=member.link.ifindex)
        except EngineError:
            continue  # what is asked next says what stands against it
        member.ended = now is None or now.kind != member.link.kind


def _find_unrestorable(source: Socket, members: Iterable[BatchDevice]) -> None:
    """Sets `unrestorable` of each. Raises EngineError."""
    here = [m for m in members if m.place == PLACE_SOURCE and not m.ended]
    told = {m: _temporary(m.addresses) for m in here}
    now: dict[int, set[object]] = {}
    if any(told.values()):
        for ifindex, fields in ifaddr.indexed_addresses(lookups.dump(source, ifaddr.dump_addresses())):
            if _is_temporary(fields):
                now.setdefault(ifindex, set()).add(fields["address"])
    for member in members:
        member.unrestorable = [DELETED] if member.ended else []
    for member in here:
        lost = [a for a in told[member] if a not in now.get(member.ifindex, ())]
        if lost:
            member.unrestorable.append(f"that {', '.join(lost)} {'are' if len(lost) > 1 else 'is'} temporary")


def _temporary(dumped: bytes) -> list[str]:
    """Addresses that the kernel made for privacy (RFC 8981): set again, they live as long, but are not replaced."""
    return [str(fields["address"]) for fields in ifaddr.addresses(dumped) if _is_temporary(fields)]


def _is_temporary(fields: dict[str, object]) -> bool:
    return fields["family"] == "inet6" and bool(int(str(fields["flags"])) & uapi.IFA_F_SECONDARY)
