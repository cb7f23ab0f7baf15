"""Recovers crashed moves from their records: finds each device and restores it in the source.

Recovery can be repeated, and can run beside another one or a live move: the process that works on a record locks it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import warnings
from collections.abc import Callable, Collection, Iterator

from .. import descriptors, state
from ..batch import undo
from ..batch.replaced import BOUND, Places
from ..engine import PLACE_GONE, PLACE_SOURCE, PLACE_TARGET, EngineError, lookups
from ..engine.batch_device import BatchDevice
from ..netlink import ifaddr, ifname
from ..reports import Recovered
from ..results import Left
from ..system import exclusion
from ..system.exclusion import Busy
from ..system.folders import open_folder
from ..system.interrupts import Interrupted, Interrupts, Patience, until_interrupted
from ..text import quote
from ..text.outcome import LOCATIONS
from . import layout, loan_state
from .layout import Damaged, Section
from .loaded_record import (
    NOT_BACK_YET,
    NOT_FOUND,
    SURVIVING_KINDS,
    LoadedRecord,
    ended_text,
    holder_words,
    restored_text,
)
from .store import ASIDE, TRIES, TXN, Journal, Record

LOANS = "loan"  # the folder of the loans
NAMESAKE = "not restored: another device has its name in the source, and is left as it is"
BEFORE_BOOT = "its record is older than the last boot, which reset the device"


def undo_crashed(
    directory: str, *, interrupts: Interrupts | None = None, only: Collection[str] | None = None
) -> list[Recovered]:
    """Implements `api.recover`.

    `interrupts`: the signals of a command, which end this between two records; the locks are then mandatory.
    `only`: the records with these file names.

    Raises:
        OSError: The directory cannot be opened, or belongs to another user; or the locks cannot be used. Nothing was
            touched.
    """
    try:
        opened = Journal(directory, create=False)
    except FileNotFoundError:
        return []
    with opened:
        if interrupts is not None and opened.names():
            descriptors.close(open_folder(directory, create=True))
        return [*_recovered(opened, interrupts, only)]


def pending(directory: str | os.PathLike[str]) -> tuple[list[str], list[str], list[str]]:
    """A line for each crashed move, for each that runs, and for each record that was set aside."""
    path = os.fspath(directory)
    try:
        with Journal(path, create=False) as opened:
            return [*map(_line, opened.killed())], [*map(_line, opened.running())], set_aside(path)
    except FileNotFoundError:
        return [], [], set_aside(path)


def set_aside(directory: str) -> list[str]:
    """A line for each record that was set aside, or one that says why they are not known."""
    try:
        with Journal(directory, create=False, folder=ASIDE) as opened:
            return [_line(record) for record in opened.seen()]
    except FileNotFoundError:
        return []
    except OSError as e:  # must not hide the other records
        return [f"{e.filename}: {e.strerror}"]


def is_aside(line: str) -> bool:
    """Whether a line of `set_aside` is of a record."""
    return f"/{ASIDE}/" in line.partition(": ")[0]


def _line(record: Record) -> str:
    try:
        devices = ", ".join(f"{_label(s)} -> {_wanted(s)}" for s in movers(record.sections()))
    except (Damaged, OSError) as e:
        devices = str(e.strerror if isinstance(e, OSError) else e)  # the line begins with the path
    return f"{record.path}: {devices}"


def movers(sections: list[Section]) -> list[Section]:
    return [s for s in sections if s.type == layout.DEVICE]


def _label(section: Section) -> str:
    return quote.shown(section.text(layout.A_IFNAME))


def _wanted(section: Section) -> str:
    return quote.shown(section.text(layout.A_WANTED))


def _recovered(opened: Journal, interrupts: Interrupts | None, only: Collection[str] | None) -> Iterator[Recovered]:
    """Undoes all crashed moves, until a signal is pending."""
    done: set[str] = set()
    yield from each_of(_noted(opened.crashed(only), done), interrupts, undo_one)
    if only is not None:
        return
    # A record whose mover has ended, but which is locked, belongs to another recovery: wait until that is done.
    others = _of_ended_movers(opened) - done
    if others:
        held = opened.crashed(others, until_interrupted(exclusion.WAIT_S, interrupts))
        yield from each_of(_noted(held, done), interrupts, undo_one)
        for record in opened.seen():
            if record.name in others and record.name not in done:
                yield from _kept(record, "another process is restoring it")


def _noted(records: Iterator[Record], done: set[str]) -> Iterator[Record]:
    for record in records:
        done.add(record.name)
        yield record
        done.add(record.name)  # renamed meanwhile, if the undo failed


def each_of(
    records: Iterator[Record],
    interrupts: Interrupts | None,
    work: Callable[[Record, Interrupts | None], Iterator[Recovered]],
) -> Iterator[Recovered]:
    """Applies `work` to each record and closes it; once a signal is pending, reports the rest as not checked."""
    for record in records:
        try:
            if interrupts is not None and (name := interrupts.name):
                yield from _not_checked(record, name)
            else:
                yield from work(record, interrupts)
        except Interrupted as e:  # while it waited for another mover
            yield from _not_checked(record, e.name)
        except Exception as e:  # one record must not stop the others
            text = f"internal error: {type(e).__name__}: {e}; the file is kept; please report this"
            yield from _kept(record, text)
        finally:
            record.close()


def _of_ended_movers(opened: Journal) -> set[str]:
    found = set()
    for record in opened.seen():
        with contextlib.suppress(Damaged, OSError):  # reported where it is locked
            if not os.path.exists(f"/proc/{record.sections()[0].number(layout.A_PID)}"):
                found.add(record.name)
    return found


def _not_checked(record: Record, signal: str) -> Iterator[Recovered]:
    return _kept(record, f"not checked: interrupted by {signal}")


def _kept(record: Record, text: str) -> Iterator[Recovered]:
    try:
        devices: list[str | None] = [_label(s) for s in movers(record.sections())]
    except (Damaged, OSError):  # reported by the next call
        devices = [None]
    yield from (Recovered(record.path, device, "kept", "unknown", text) for device in devices)


def undo_one(record: Record, interrupts: Interrupts | None) -> Iterator[Recovered]:
    """Undoes the move of a record that the caller holds."""
    try:
        sections = record.sections()
        devices = movers(sections)
        if sections[0].text(layout.A_BOOT) != layout.boot_id():
            record.drop()
            yield from (Recovered(record.path, _label(s), "gone", "gone", BEFORE_BOOT) for s in devices)
            return
        recovery = Recovery(record, sections, interrupts)
    except (Damaged, OSError) as e:
        yield ignored(record, e, "inspect its devices, which are where the move left them")
        return
    yield from restored(recovery)


def restored(recovery: Recovery) -> Iterator[Recovered]:
    """Runs a recovery: a result for each device, also when the kernel or the locks fail."""
    path = recovery.record.path
    with recovery:
        try:
            yield from recovery.run()
            return
        except EngineError as e:
            text = f"netlink request failed: {lookups.format_error(e)}; the record is kept"
        except OSError as e:  # from the locks, or from the search for a namespace: before the undo
            text = f"{e.filename or path}: {e.strerror}; the record is kept"
        yield from (recovery.recovered(m, "kept", "unknown", text) for m in recovery.members)


def ignored(record: Record, e: Damaged | OSError, then: str) -> Recovered:
    """Sets an unusable record aside, so that it is reported once; keeps one that cannot be read or written.

    `then`: the step to take before the file is removed.
    """
    path = record.path
    if isinstance(e, OSError):
        verb = "write" if e.errno == errno.EROFS else "read"
        text = f"cannot {verb} {e.filename or path}: {e.strerror}; the record is kept"
        return Recovered(path, None, "kept", "unknown", text)
    aside = record.set_aside()
    file = "the file, which was set aside" if aside else "the file"
    return Recovered(aside or path, None, "kept", "unknown", f"record ignored: {e}; {then}, then remove {file}")


def is_wrong(result: Recovered) -> bool:
    """Whether an operator must act: not for a device that is missing while its namespace exists."""
    return result.outcome == "kept" and result.text != NOT_FOUND


def retract(opened: Journal, loan_id: int) -> None:
    """Removes the loan of a move that was undone, found by its id; warns if it cannot."""
    try:
        found = set()
        for record in opened.seen():
            with contextlib.suppress(Damaged, OSError):  # reported by `netdevns return`
                if _loan_id(record.sections()[0]) == loan_id:
                    found.add(record.name)
        for record in opened.crashed(found, Patience(exclusion.WAIT_S).wait):
            record.drop()
    except OSError as e:
        _may_be_left(opened.path, e)


def _may_be_left(path: str, e: OSError) -> None:
    text = f"{path}: cannot remove the loan of the undone move: {e.strerror}; remove it if it exists"
    warnings.warn(text, RuntimeWarning, stacklevel=2)


def _loan_id(head: Section) -> int:
    """The id of the loan that belongs to a move; 0: none."""
    return head.number(layout.A_LENDS) if head.optional(layout.A_LENDS) is not None else 0


class Recovery(LoadedRecord):
    """The recovery of one crashed move."""

    def __init__(self, record: Record, sections: list[Section], interrupts: Interrupts | None) -> None:
        super().__init__(record, sections, interrupts)
        self.loan_id = _loan_id(sections[0])
        # Python removes its record when the move is complete; the C library notes it in the record, as its callers keep
        # that until the container runs. A killed hook's container does not start.
        self.is_to_be_undone = (
            record.is_to_be_undone or bool(self.loan_id) or sections[0].text(layout.A_PRESERVE) != b""
        )

    def run(self) -> Iterator[Recovered]:
        if not self.open(is_home=False):
            yield from self._without_source()
            return
        everyone = (*self.members, *self.uppers)
        try:
            self.exclusion.hold(self.sides.source, {m.link.ifindex for m in everyone})
        except Busy as e:
            label = next(m.label for m in everyone if m.link.ifindex == e.ifindex)
            yield from (self.recovered(m, "kept", "unknown", f"{label} {e.words}") for m in self.members)
            return
        if self.record.is_complete() and not (self.is_to_be_undone or self.target_is_gone):
            yield from self._complete()
            return
        self._due()
        for member in everyone:
            self._find(member)
        self.exclusion.arrive(self.sides.target, {m.target_ifindex for m in self.members})
        namesakes = {member for member in self.members if self._is_namesake(member)}
        for member in everyone:
            member.touched = member not in namesakes
        left = {x.device: x for x in undo.everything(self.plan, self.sides, self.members, self.uppers)}
        if self.loan_id:
            self._retract()
        results = [self._replaced(m) if m in namesakes else self._outcome(m, left.get(m.host_name)) for m in everyone]
        mine = len(self.members)
        yield from self._end([*results[:mine], *(each for each in results[mine:] if each.outcome != "undone")])

    def _complete(self) -> Iterator[Recovered]:
        """Leaves the devices to the container, whatever it has changed since."""
        for member in self.members:
            member.find(self.sides.source_socket, self.sides.target_socket)
        self.record.drop()
        for member in self.members:
            since = "" if member.place == PLACE_TARGET else "; the device has left the target since"
            yield self.recovered(member, "complete", member.location, f"the move was complete{since}")

    def _without_source(self) -> list[Recovered]:
        self.record.drop()
        text = "its source namespace is gone; the device stays where it is"
        return [self.recovered(m, "gone", "unknown", text) for m in self.members]

    def _due(self) -> None:
        """Ages the state of the record, once the devices are locked, so that no expired lease is restored."""
        elapsed_s, there = loan_state.elapsed_s(self.plan.since_ms), self.there()
        ended: set[bytes] = set()
        for member in (*self.members, *self.uppers):
            before = bytes(member.addresses)
            after = loan_state.aged(before, elapsed_s, there.get(member, b""))
            ended |= ifaddr.locals_of(before) - ifaddr.locals_of(after)
            member.load(member.link_message, after)
        for kind in state.KINDS:
            if kind.name in self.plan.state:
                self.plan.state[kind.name] = kind.age(self.plan.state[kind.name], elapsed_s, ended)

    def _retract(self) -> None:
        directory = self.record.directory
        try:
            with Journal(directory, create=False, folder=LOANS) as opened:
                retract(opened, self.loan_id)
        except (FileNotFoundError, NotADirectoryError):  # no folder, no loan
            return
        except OSError as e:
            _may_be_left(e.filename, e)

    def _end(self, results: list[Recovered]) -> list[Recovered]:
        """Drops the record if all is restored; otherwise keeps it for another try, after the last one sets it aside."""
        kept = [each for each in results if each.outcome == "kept"]
        if not kept:
            self.record.drop()
            return results
        missing = [each.device for each in kept if each.text in (NOT_BACK_YET, NOT_FOUND)]
        if len(missing) == len(kept) or any(each.text == NOT_BACK_YET for each in kept):
            # What others do with restored devices from now on must not be undone by the next call.
            self.keep_only([m for m in self.members if len(missing) < len(kept) or m.host_name in missing])
            return results
        aside = self.record.tried()
        path = aside or self.record.path
        back = f"move the file back to {os.path.join(self.record.directory, TXN)}"
        why = f"; set aside after {TRIES} tries: restore it by hand and remove the file, or {back} to try again"
        return [
            Recovered(path, x.device, x.outcome, x.location, x.text + (why if aside and x in kept else ""))
            for x in results
        ]

    def _find(self, member: BatchDevice) -> None:
        """Finds a device by ifindex and name, or else by its properties: it may have been renamed, or be in transit."""
        member.find(self.sides.source_socket, self.sides.target_socket)
        if member.place == PLACE_GONE:
            Places(self.sides, self.members).search(member)

    def _is_namesake(self, member: BatchDevice) -> bool:
        """Whether a new device was found in its place (as nd_member_is_namesake in C).

        By name and MAC under another ifindex: a device on another, or with a peer, has ended with its namespace.
        """
        if member.place != PLACE_SOURCE or member.ifindex == member.link.ifindex:
            return self.is_made_anew(member)
        is_bound = member.link.kind in BOUND
        return (self.target_is_gone and is_bound) or Places(self.sides, self.members).is_namesake(member)

    def _outcome(self, member: BatchDevice, left: Left | None) -> Recovered:
        if left is None:
            return self.recovered(member, "undone", "source", restored_text(""))
        if member.ended:
            return self.recovered(member, "gone", "gone", ", ".join(left.missing))
        if left.missing == tuple(member.unrestorable):
            return self.recovered(member, "undone", "source", restored_text(", ".join(left.missing)))
        if left.location == "gone" and self.target_is_gone and member.link.kind in SURVIVING_KINDS:
            return self.recovered(member, "kept", "unknown", NOT_BACK_YET)
        if left.location == "gone" and member in self.uppers:
            return self.recovered(member, "gone", "gone", "not in its namespace any more")
        if left.location == "gone" and self.target_is_gone:
            return self.recovered(member, "gone", "gone", f"in neither namespace: {ended_text(member.link.kind)}")
        if left.location == "gone":
            return self.recovered(member, "kept", "unknown", NOT_FOUND)
        text = f"{LOCATIONS[left.location]}; not restored: {', '.join(left.missing)}{self._present_name(left)}"
        return self.recovered(member, "kept", left.location, text)

    def _replaced(self, member: BatchDevice) -> Recovered:
        """The result where another device was found in its place; it may be the same one if its namespace has ended."""
        text = NAMESAKE if self.target_is_gone else NOT_FOUND
        return self.recovered(member, "kept", "gone" if self.target_is_gone else "unknown", text)

    def _present_name(self, left: Left) -> str:
        """Its present name, if it is not its own, and the device that has that one, which the user can rename."""
        if left.name is None or left.name == left.device:
            return ""
        now, own = f"; it is named {quote.printable(left.name)} (ifindex {left.ifindex})", ifname.encode(left.device)
        try:
            holder = lookups.link(self.sides.source_socket, name=own) if left.location == "source" else None
        except EngineError:
            holder = None  # the line without the remedy
        if holder is None:
            return now
        return f'{now}: {holder_words(holder, own)} has the name "{quote.shown(own)}": rename that'
