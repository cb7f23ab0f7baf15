"""Restores the devices of one loan: finds them by their hardware and brings them back to their source."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from .. import state
from ..batch import undo
from ..batch.plan import Plan
from ..batch.replaced import SHARE_A_MAC
from ..engine import EngineError, Socket, lookups
from ..engine.batch_device import BatchDevice
from ..netlink import ifaddr, wire
from ..reports import Recovered
from ..results import Left
from ..state import link_settings
from ..state.kind import View
from ..system.exclusion import Busy
from ..system.interrupts import Interrupted, Interrupts
from ..text import quote
from ..text.outcome import DELETED
from . import identity, layout, loan_state, loans
from .layout import Section
from .loaded_record import NOT_BACK_YET, SURVIVING_KINDS, LoadedRecord, ended_text, holder_words, restored_text
from .store import Record

TRIES = 5  # udev or NetworkManager may be renaming the device at the same time
PAUSE_S = 0.05
LIVES_ON = "its network namespace still exists"
LEFT_AGAIN = "it left again while it was being restored"


@dataclass(slots=True)
class _Found:
    """A lent device that is back.

    Attributes:
        link: Its present link.
        is_home: Whether it is in its source, and not elsewhere in the initial namespace.
        missing: The settings that could not be restored.
    """

    link: wire.Link
    is_home: bool
    missing: list[str] = dataclasses.field(default_factory=list)


class ReturnHome(LoadedRecord):
    def __init__(self, record: Record, sections: list[Section], interrupts: Interrupts | None = None) -> None:
        super().__init__(record, sections, interrupts)
        self.container = loans.container_of(sections)
        self.interrupts = interrupts
        self.lent = self.plan.view(self.members)  # the devices as the loan records them
        self.init: Socket | None = None  # in the initial namespace, unless that is the source
        self.alike: dict[BatchDevice, list[bytes]] = {}  # the names of several candidates, at the last look

    def run(self, wait_s: float, is_ending: bool) -> Iterator[Recovered]:
        if not self.open(is_home=True):
            self.record.drop()
            text = "its source namespace is gone; the device stays where it is"
            yield from (self.recovered(m, "gone", "unknown", text) for m in self.members)
            return
        self.init = None if self.sides.source.same(self.sides.target) else self.sides.target_socket
        is_alive = self._wait(wait_s, is_ending)
        try:
            found = self._take()
        except (Busy, Interrupted) as e:
            words = f"it {e.words}" if isinstance(e, Busy) else f"not checked: interrupted by {e.name}"
            where = "source" if isinstance(e, Busy) else "unknown"
            yield from (self.recovered(m, "kept", where, words) for m in self.members)
            return
        absent = [m for m in self.members if m not in found]
        there = self._there() if is_alive and absent else None
        results = {m: self._absent(m) if there is None else self._away(m, there) for m in absent}
        if found:
            results |= self._restore([*found])
        self._end([m for m in self.members if results[m].outcome == "kept"])
        yield from (results[m] for m in self.members)

    def _end(self, kept: list[BatchDevice]) -> None:
        """Drops the loan, or shortens it to the devices that are not restored yet."""
        if kept:
            self.keep_only(kept)
        else:
            self.record.drop()

    # ---- finding the devices ----

    def _wait(self, wait_s: float, is_ending: bool) -> bool:
        """Waits until all are found or cannot come back; returns whether absent ones' namespace still exists."""
        end = time.monotonic() + wait_s
        target, pause_s = self.where[layout.TARGET], 0.01
        while True:
            absent = [m for m in self.members if m not in self._look()]
            is_alive = bool(absent) and identity.is_there(target)
            # A mounted namespace outlives the container's processes.
            is_settled = is_alive and not (is_ending and not identity.is_mounted(target))
            is_settled |= not is_alive and not any(m.link.kind in SURVIVING_KINDS for m in absent)
            left_s = end - time.monotonic()
            is_settled |= self.interrupts is not None and self.interrupts.name != ""
            if is_settled or left_s <= 0:
                return is_alive
            pause_s = min(2 * pause_s, 0.2, left_s)
            time.sleep(pause_s)

    def _take(self) -> dict[BatchDevice, _Found]:
        """The devices that are back, locked. Raises Busy, Interrupted."""
        while True:
            found = self._look()
            home = {device.link.ifindex for device in found.values() if device.is_home}
            elsewhere = {device.link.ifindex for device in found.values() if not device.is_home}
            is_new = self.exclusion.hold(self.sides.source, home)
            if not self.exclusion.hold(self.sides.target, elsewhere) and not is_new:
                return found

    def _look(self) -> dict[BatchDevice, _Found]:
        """The devices that are in the source, or in the initial namespace."""
        there = [_Found(link, True) for link in lookups.links(self.sides.source_socket)]
        if self.init is not None:
            there += [_Found(link, False) for link in lookups.links(self.init)]
        found = {}
        self.alike = {}
        for member in self.members:
            alike = [f for f in there if may_be(member.link, f.link)]
            if len(alike) > 1:
                alike = [f for f in alike if _has_mac_of(member.link, f.link)] or alike
            if len(alike) == 1:
                found[member] = alike[0]
            elif alike:
                self.alike[member] = sorted(f.link.name for f in alike)
        return found

    def _there(self) -> list[wire.Link] | None:
        """The links of the container's network namespace; None: it has ended."""
        opened = identity.found(self.where[layout.TARGET])
        if opened is None:
            return None
        netns, socket = opened
        with netns, socket:
            return lookups.links(socket)

    def _away(self, member: BatchDevice, there: Collection[wire.Link]) -> Recovered:
        """A device whose container's namespace still exists."""
        prepared = loans.prepared(self.record.directory)
        if not any(may_be(member.link, link) for link in there):
            text = f"{LIVES_ON}; the device is not in it: it was deleted or moved on"
            if self.container in prepared:
                text += f": `{loans.command(self.container, prepared)} --force` forgets it"
            return self.recovered(member, "kept", "unknown", text)
        command, kind = loans.command(self.container, prepared), member.link.kind
        text = f"{LIVES_ON}; the device stays there"
        if live := loans.live_command(self.container, prepared):
            text += f": `{live}` restores it"
        elif kind not in SURVIVING_KINDS:
            text += f", and as a {kind.decode()} is deleted with it: to keep it, move it back and run `{command}`"
        return self.recovered(member, "kept", "target", text)

    def _absent(self, member: BatchDevice) -> Recovered:
        """A device whose container's namespace has ended, and which is not back."""
        several = " or ".join(map(quote.shown, self.alike.get(member, ())))
        if member.link.kind in SURVIVING_KINDS:
            text = f"it is {several}, which cannot be told apart" if several else NOT_BACK_YET
            return self.recovered(member, "kept", "unknown", text)
        text = f"{DELETED}{ended_text(member.link.kind)}"
        if several:
            return self.recovered(member, "gone", "unknown", f"{text}; or it is {several}, which cannot be told apart")
        return self.recovered(member, "gone", "gone", text)

    # ---- restoring them ----

    def _restore(self, members: list[BatchDevice]) -> dict[BatchDevice, Recovered]:
        """Restores devices; tries again where another process is changing one."""
        results: dict[BatchDevice, Recovered] = {}
        for attempt in range(TRIES):
            found = self._look()
            todo = [m for m in members if m in found and (m not in results or results[m].outcome == "kept")]
            if not todo:
                break
            if attempt:
                time.sleep(PAUSE_S)
            self._free_names({m: found[m] for m in todo})
            ready = [m for m in todo if self._prepare(m, found[m])]
            there = {m: self._addresses(found[m]) for m in ready if found[m].is_home}
            narrow(self.plan, self.lent, ready, there)
            left = {x.device: x for x in undo.everything(self.plan, self.sides, ready, [])} if ready else {}
            results |= {m: self._outcome(m, found[m], left.get(m.host_name)) for m in todo}
        for member in members:
            results.setdefault(member, self.recovered(member, "kept", "unknown", LEFT_AGAIN))
        return results

    def _free_names(self, found: Mapping[BatchDevice, _Found]) -> None:
        """Gives temporary names to devices that have each other's names."""
        wanted = {m.ifname for m in found}
        for member, device in found.items():
            if device.link.name != member.ifname and device.link.name in wanted:
                temporary_name = b"nd%d" % device.link.ifindex
                self._try(device, "temporary name", wire.rename_message(device.link.ifindex, temporary_name))

    def _socket(self, device: _Found) -> Socket:
        return self.sides.source_socket if device.is_home or self.init is None else self.init

    def _addresses(self, device: _Found) -> bytes:
        ifindex = device.link.ifindex
        return bytes(lookups.addresses(self._socket(device), [ifindex])[ifindex])

    def _try(self, device: _Found, what: str, request: bytes) -> None:
        try:
            self._socket(device).command(request)
        except EngineError as e:
            device.missing.append(f"{what}: {lookups.format_error(e)}")

    def _prepare(self, member: BatchDevice, device: _Found) -> bool:
        """Sets the name and MAC by which the undo finds it; False: its name is taken, so nothing is changed."""
        link, ifname = device.link, member.ifname
        holder = lookups.link(self.sides.source_socket, name=ifname)
        if holder is not None and not (device.is_home and holder.ifindex == link.ifindex):
            device.missing.append(
                f'name "{quote.shown(ifname)}" is taken by {holder_words(holder, ifname)}: '
                "free it, then run `netdevns return`"
            )
            return False
        requests = link_settings.mac_request(member.link, link)  # the undo sets the rest
        if requests or link.name != ifname:
            # While a device is up, some drivers refuse a MAC, and kernels before 6.2 a name.
            requests.insert(0, ("state down", wire.down_message(link.ifindex)))
        if link.name != ifname:
            # An earlier try may have restored addresses, whose labels a rename would change.
            requests += [
                ("remove address", r)
                for r in ifaddr.removals(self._addresses(device), self.lent.addresses[member.link.ifindex])
            ]
        for what, request in requests:
            self._try(device, what, request)
        if device.is_home:
            member.load(loan_state.renumbered(member.link, link.ifindex), b"")
        else:
            member.load(member.link.message(), b"")
            member.ask_ifindex(link.ifindex, unsure=True)
        member.touched = True
        return True

    # ---- the results ----

    def _outcome(self, member: BatchDevice, device: _Found, left: Left | None) -> Recovered:
        if member.is_replaced:  # found was a new device, on another lower device or with another peer
            there = self._there()
            return self._absent(member) if there is None else self._away(member, there)
        renumbered = f"ifindex {member.link.ifindex}"
        lost = [*(left.missing if left else ()), *device.missing]
        lost = [words for words in lost if words != renumbered and words not in member.unrestorable]
        if not lost:
            without = ", ".join(member.unrestorable)
            return self.recovered(member, "undone", "source", restored_text(without))
        name = left.name if left and left.name else os.fsdecode(device.link.name)
        where = left.location if left else "source" if device.is_home else "init"
        text = f"not restored completely, and named {quote.printable(name)}: {', '.join(lost)}"
        return self.recovered(member, "kept", where, text)


def narrow(
    plan: Plan, lent: View, members: list[BatchDevice], there: Mapping[BatchDevice, bytes] = MappingProxyType({})
) -> None:
    """Prepares the plan of an undo: the lent state of these devices, aged; `there`: addresses that they have.

    State of other devices, and of devices that are not among these, is left alone.
    """
    elapsed_s = loan_state.elapsed_s(plan.since_ms)
    ended: set[bytes] = set()
    own = {m.link.ifindex: m.ifindex for m in members}
    for member in members:
        before = lent.addresses[member.link.ifindex]
        after = loan_state.aged(before, elapsed_s, there.get(member, b""))
        ended |= ifaddr.locals_of(before) - ifaddr.locals_of(after)
        member.load(member.link_message, after)
    plan.state = {kind.name: kind.lend(lent, own, elapsed_s, ended) for kind in state.KINDS}


def is_alike(was: wire.Link, now: wire.Link) -> bool:
    """Whether both may be the same device: equal hardware as far as the kernel reports it, kind, and MAC length.

    A driver may change the permanent MAC (engine/reference/find.py, FIXED). Other ports of the same parent device
    have another one, too, but not this ifindex or MAC.
    """
    before, there = loan_state.origin(was.body), loan_state.origin(now.body)
    if before[:-1] != there[:-1] or len(was.mac) != len(now.mac):
        return False
    if before[-1] != there[-1] and not (before[-2] and (was.ifindex == now.ifindex or _has_mac_of(was, now))):
        return False
    return was.kind not in SHARE_A_MAC or was.data == now.data


def may_be(was: wire.Link, now: wire.Link) -> bool:
    """Whether both are the same device: by hardware, or by MAC where the kernel reports no hardware."""
    return is_alike(was, now) and (any(loan_state.origin(was.body)[1:]) or _has_mac_of(was, now))


def _has_mac_of(was: wire.Link, now: wire.Link) -> bool:
    return now.mac in (was.mac, link_settings.own_mac(was))
