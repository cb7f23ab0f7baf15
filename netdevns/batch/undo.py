"""Undoes a batch: uppers return first, then lowers; lowers come up first; then nexthop objects and routes.

Every step can be repeated, and a failed one does not stop the others: `Left` reports state that is not restored.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator

from .. import state
from ..engine import PLACE_TARGET, RESTORE, EngineError, Socket, lookups
from ..engine.batch_device import BatchDevice
from ..netlink import ifaddr, uapi, wire
from ..results import Left
from ..state.kind import DOWN, WHEN_UP
from ..state.link_settings import LinkSettings
from ..state.restore import Restorer
from . import stacking
from .plan import Plan, Sides
from .way_back import WayBack

# Called between two calls of the engine, with the step, the number of devices that have passed it, and of all devices.
OnStep = Callable[[str, int, int], None]


def everything(
    plan: Plan,
    sides: Sides,
    members: list[BatchDevice],
    uppers: list[BatchDevice],
    on_step: OnStep | None = None,
) -> tuple[Left, ...]:
    """Restores every device that was touched.

    Args:
        plan: The batch, with the state of its devices before the move.
        sides: Its namespaces.
        members: The devices, in the order in which they were moved.
        uppers: Devices that stayed in the source, stacked on one of them.
        on_step: Called with "undo"; must not raise an Exception.

    Returns:
        The devices that are not fully restored, in the order of the batch.
    """
    undo = _Undo(plan, sides, [member for member in members if member.touched], uppers)
    undo.run(on_step)
    order = {id(device): at for at, device in enumerate((*plan.devices, *plan.uppers))}
    incomplete = sorted((m for m in undo.missing if undo.missing[m]), key=lambda m: order[id(m)])
    return tuple(_left(member, undo.name_now(member), undo.missing[member]) for member in incomplete)


def is_all_unrestorable(left: tuple[Left, ...], members: list[BatchDevice]) -> bool:
    """Whether all that is left is unrestorable, so that a recovery would be pointless."""
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
            if member.is_home:
                self._restore(member)
        _find_ended(self.source, self.touched, self.uppers)
        # While their lower was away, they may have lost IPv6 addresses, or come up at its return (probes
        # addresses.ipv6.down.default, kinds.lower-back.vlan-down).
        for member in self.uppers:
            if not member.ended:
                self._restore(member)
        if self.touched:
            self.restorer.run(WHEN_UP, self._here())
            self._collect_left()

    def _here(self) -> dict[int, int]:
        """ifindex before -> ifindex now, of the devices in the source."""
        back = [m for m in self.missing if m.is_home]
        return {member.link.ifindex: member.ifindex for member in back}

    def _restore(self, member: BatchDevice) -> None:
        """Restores one device up to its addresses and IFF_UP.

        Masters and sysctls come first: a bond accepts only ports that are down, and IFF_UP depends on sysctls.
        """
        if self._must_reopen(member):
            self._reopen(member)
        self.restorer.run([DOWN], self._here(), {member.ifindex})
        try:
            member.undo(self.source, self.target, self.source_fd, RESTORE)
        except EngineError:
            # Its lower or master brought it up, though it should be down, or with a link-local of the kernel's that is
            # still tentative: try again from down.
            self._reopen(member)
            try:
                self._drop_relabelled(member)
                member.undo(self.source, self.target, self.source_fd, RESTORE)
            except EngineError as e:
                self.missing[member].append(e.extack if e.errno == errno.ESTALE else lookups.format_error(e))

    def _drop_relabelled(self, member: BatchDevice) -> None:
        """Removes the IPv4 addresses of a device if labels differ; RESTORE adds them again, in their order.

        A rename at home, of a device that came back under another name, gives addresses new labels
        (net/ipv4/devinet.c, inetdev_changename). Raises EngineError.
        """
        now = bytes(lookups.addresses(self.source, [member.ifindex])[member.ifindex])
        before = _labels(member.addresses)
        if all(before.get(address, label) == label for address, label in _labels(now).items()):
            return
        for request in ifaddr.removals(now, bytes(member.addresses)):
            self.source.command(request)

    def _collect_left(self) -> None:
        """Adds the remaining differences to `missing`, and sorts out the unrestorable ones."""
        owner = {m.ifindex: m for m in self.missing if m.is_home}
        masters = {m.link.master: m for m in self.missing if m.link.master}
        unrestorable: dict[BatchDevice, list[str]] = {member: [] for member in self.missing}
        differences = [*self.restorer.unrestored(self._here())]
        if not any(each.kind == LinkSettings.name and not each.ifindex for each in differences):
            # The engine's "... changed" is outdated: the kinds have compared again, and report the values.
            for member, words in self.missing.items():
                self.missing[member] = [each for each in words if not each.endswith(" changed")]
        for each in differences:
            member = owner.get(each.ifindex) or masters.get(each.ifindex) or self.touched[0]
            self.missing[member].append(each.words)
            if each.is_unrestorable:
                unrestorable[member].append(each.words)
        try:
            _find_unrestorable(self.source, self.missing)
        except EngineError as e:
            self.missing[self.touched[0]].append(f"cannot find out what is unrestorable: {lookups.format_error(e)}")
        for member in self.missing:
            self.missing[member] += member.unrestorable
            member.unrestorable = unrestorable[member] + member.unrestorable

    def _must_reopen(self, member: BatchDevice) -> bool:
        """Whether a macvlan must go down and up again, which adds its MAC to its lower's unicast filter.

        The lower's move flushed that filter (probe links.mac-list.unicast), and an interrupted undo may have brought
        the macvlan up before its lower came back.
        """
        lowers = {m.link.ifindex for m in self.missing}  # includes uppers that stayed
        return member.link.kind in (b"macvlan", b"macvtap") and member.was_up and member.link.lower in lowers

    def _reopen(self, member: BatchDevice) -> None:
        try:
            self.source.command(wire.down_message(member.ifindex))
        except EngineError as e:
            self.missing[member].append(lookups.format_error(e))

    def name_now(self, member: BatchDevice) -> str | None:
        """The present name of a device, which may differ: its own may be taken."""
        if member.place == PLACE_TARGET:
            return os.fsdecode(member.name)
        if not member.is_home:
            return None
        try:
            link = lookups.link(self.source, ifindex=member.ifindex)
        except EngineError:
            link = None
        return None if link is None else os.fsdecode(link.name)

    def _return(self) -> Iterator[int]:
        """Brings all devices home; yields the number of those that are home, after each. Can be repeated."""
        way, done = WayBack(self.sides, self.touched), 0
        for member in self.touched:
            way.bring(member)
            done += member.is_home
            yield done
        way.bring_all_again(self.touched)
        for member in self.touched:
            self.missing[member] += way.missing[member]
            if member.is_home and member.ifindex != member.link.ifindex:
                self.missing[member].append(f"ifindex {member.link.ifindex}")


# ---- state that cannot be restored: reported, but not worth another try ----

DELETED = "the device: deleted by the kernel when its lower device moved"


def _find_ended(source: Socket, touched: Iterable[BatchDevice], uppers: Iterable[BatchDevice]) -> None:
    """Marks devices that stayed, but which the kernel deleted when their lower left."""
    staying = [*uppers]
    ending = stacking.ending([m.link for m in staying], [m.link.ifindex for m in touched])
    for member in (m for m in staying if m.link.ifindex in ending):
        try:
            now = lookups.link(source, ifindex=member.link.ifindex)
        except EngineError:
            continue  # the next request reports it
        member.ended = now is None or now.kind != member.link.kind


def _labels(dumped: bytes | memoryview) -> dict[tuple[object, object], object]:
    """(address, prefixlen) -> the label of an IPv4 address; None: it has none."""
    return {(a["address"], a["prefixlen"]): a["label"] for a in ifaddr.addresses(dumped)}


def _find_unrestorable(source: Socket, members: Iterable[BatchDevice]) -> None:
    """Sets `unrestorable` of each. Raises EngineError."""
    here = [m for m in members if m.is_home]
    before = {m: _temporary(m.addresses) for m in here}
    now: dict[int, set[object]] = {}
    if any(before.values()):
        for ifindex, fields in ifaddr.indexed_addresses(lookups.dump(source, ifaddr.dump_addresses())):
            if _is_temporary(fields):
                now.setdefault(ifindex, set()).add(fields["address"])
    for member in members:
        member.unrestorable = [DELETED] if member.ended else []
    for member in here:
        lost = [a for a in before[member] if a not in now.get(member.ifindex, ())]
        if lost:
            member.unrestorable.append(f"that {', '.join(lost)} {'are' if len(lost) > 1 else 'is'} temporary")


def _temporary(dumped: bytes) -> list[str]:
    """The temporary addresses (RFC 8981); restored, they are ordinary ones, which the kernel does not replace."""
    return [str(fields["address"]) for fields in ifaddr.addresses(dumped) if _is_temporary(fields)]


def _is_temporary(fields: dict[str, object]) -> bool:
    return fields["family"] == "inet6" and bool(int(str(fields["flags"])) & uapi.IFA_F_SECONDARY)
