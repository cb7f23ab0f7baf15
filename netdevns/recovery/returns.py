"""Restores devices returned by ended containers: for `poststop`, `netdevns return` and the next hook.

When a network namespace dies, the kernel moves a physical device to the initial one: down, under its last name (or
dev<ifindex>), without addresses, with the MTU, MAC and flags that the container gave it. It deletes virtual devices.
A device is found by the hardware that its loan records, never by its name alone. Nothing is taken out of a live
namespace. Every call can be repeated; a loan is kept until each of its devices is restored or gone.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator

from ..engine import EngineError, Socket, lookups
from ..errors import NetDevError
from ..reports import Recovered
from ..system import folders
from ..system.interrupts import Interrupts, until_interrupted
from ..system.netns import NetNS
from ..text import quote
from . import layout, loaded_record, loans, recover
from .layout import Damaged, Section
from .loaded_record import NOT_BACK_YET
from .record import load
from .return_home import LEFT_AGAIN, LIVES_ON, PAUSE_S, ReturnHome, may_be
from .store import Journal, Record

WAIT_S = 5.0  # for the kernel's cleanup of a dead namespace, which mostly takes less than 0.2 s
HELD = "another process is restoring it; repeat this"
BEFORE_BOOT = "its loan is older than the last boot, which reset the device"


def return_loans(
    directory: str = folders.JOURNAL_DIR,
    *,
    container: str | None = None,
    devices: Iterable[bytes] | None = None,
    only: Collection[str] | None = None,
    has_arrived: bool = False,
    wait_s: float = 0,
    held_s: float = 0,
    is_ending: bool = False,
    interrupts: Interrupts | None = None,
) -> list[Recovered]:
    """Restores lent devices that are back.

    Args:
        directory: JOURNAL_DIR.
        container: Only this container's loans.
        devices: Only loans that name one of these.
        only: Only loans with these file names.
        has_arrived: Only loans with a device that is, or may be, in the initial namespace.
        wait_s: Seconds to wait for a device that the kernel has not returned yet, and for another process that holds a
            loan; for that at least `held_s`.
        is_ending: Wait even while the namespace is alive: the container's processes are ending.
        interrupts: The signals of a command: a pending one ends this between two loans, or while it waits.

    Returns:
        One `Recovered` for each lent device. "kept" in "source" or "init": not fully restored; in "target": its
        namespace still exists; "unknown": not found. One without a device for each loan that another process holds.

    Raises:
        OSError: The directory cannot be opened, or belongs to another user.
    """
    try:
        with Journal(directory, create=False, folder=loans.FOLDER) as opened:
            given = [{*only}] if only is not None else []
            given += [loans.naming(opened, {*devices})] if devices is not None else []
            given += [loans.of_container(opened, container)] if container is not None else []
            given += [_arrived(opened)] if has_arrived else []
            which = set.intersection(*given) if given else {*opened.names()}
            results = _each(opened, which, max(wait_s, held_s), wait_s, is_ending, interrupts)
            return [*results, *held(opened, which, results)]
    except FileNotFoundError:
        return []


def _arrived(opened: Journal) -> set[str]:
    """The names of loans with a device that may be back, found by one dump of the initial namespace.

    systemd asks whenever a device is added, and a busy host has as many loans as containers: opening each loan's
    namespace would cost too much.
    """
    try:
        with NetNS.open(loaded_record.INIT) as init, Socket(init.fd) as socket:
            there = [link for link in lookups.links(socket) if link.kind in loaded_record.SURVIVING_KINDS]
    except (NetDevError, EngineError):
        return {*opened.names()}
    found = set()
    for record in opened.seen():
        with contextlib.suppress(Damaged, OSError):  # reported by `netdevns return`
            lent = load(record.sections()).devices
            if any(may_be(device.link, link) for device in lent for link in there):
                found.add(record.name)
    return found


def sweep(directory: str = folders.JOURNAL_DIR, *, interrupts: Interrupts | None = None) -> list[Recovered]:
    """Restores devices of a few containers whose first process has ended; does not wait.

    For containers without a poststop hook, and for devices that came back after it.
    """
    try:
        with Journal(directory, create=False, folder=loans.FOLDER) as opened:
            return _each(opened, loans.orphans(opened), 0, 0, True, interrupts)
    except OSError:
        return []  # reported by the calls that need the loans


def _each(
    opened: Journal,
    which: Collection[str],
    held_s: float,
    wait_s: float,
    is_ending: bool,
    interrupts: Interrupts | None,
) -> list[Recovered]:
    """Tries these loans; `held_s`: seconds to wait for other processes, all together; `wait_s`: for the devices."""
    records = opened.crashed(which, until_interrupted(held_s, interrupts))
    return [*recover.each_of(records, interrupts, lambda record, _: _one(record, wait_s, is_ending, interrupts))]


def held(
    opened: Journal,
    names: Collection[str],
    results: Iterable[Recovered],
    is_wanted: Callable[[list[Section]], bool] = lambda _: True,
) -> Iterator[Recovered]:
    """A result for each of these loans that still exists and has none, as another process holds it."""
    for record in opened.seen({*names} - {os.path.basename(each.record) for each in results}):
        try:
            is_one = is_wanted(record.sections())
        except (Damaged, OSError):  # reported once it is locked
            is_one = True
        if is_one:
            yield Recovered(record.path, None, "kept", "unknown", HELD)


def undo_killed(
    directory: str = folders.JOURNAL_DIR, *, wait_s: float = 0, interrupts: Interrupts | None = None
) -> list[Recovered]:
    """Undoes crashed moves, and waits for devices that the kernel returns: a runtime kills a hook that takes too long.

    Returns:
        The devices that could not be restored, without those that are not found while their namespace exists.
    """
    end = time.monotonic() + wait_s
    kept: list[Recovered] = []
    only: set[str] | None = None
    while True:
        results = recover.undo_crashed(directory, interrupts=interrupts, only=only)
        waiting = {each.record for each in results if each.text == NOT_BACK_YET}
        kept += [each for each in results if recover.is_wrong(each) and each.record not in waiting]
        is_over = time.monotonic() >= end or (interrupts is not None and interrupts.name != "")
        if is_over or not waiting:
            return kept + [each for each in results if each.outcome == "kept" and each.record in waiting]
        only = {os.path.basename(path) for path in waiting}  # the other records have had their try
        time.sleep(PAUSE_S)


def _one(record: Record, wait_s: float, is_ending: bool, interrupts: Interrupts | None) -> Iterator[Recovered]:
    try:
        sections = record.sections()
        if sections[0].text(layout.A_BOOT) != layout.boot_id():
            record.drop()
            for name in loans.host_names(sections):
                yield Recovered(record.path, quote.shown(name), "gone", "gone", BEFORE_BOOT)
            return
        returned = ReturnHome(record, sections, interrupts)
    except (Damaged, OSError) as e:
        yield recover.ignored(record, e, "inspect the container's devices")
        return
    with returned:
        try:
            yield from returned.run(wait_s, is_ending)
        except EngineError as e:
            text = f"netlink request failed: {lookups.format_error(e)}; its loan is kept"
            yield from (returned.recovered(m, "kept", "unknown", text) for m in returned.members)
        except OSError as e:  # from the locks, before anything is changed
            text = f"{e.filename or record.path}: {e.strerror}; its loan is kept"
            yield from (returned.recovered(m, "kept", "unknown", text) for m in returned.members)


def is_wrong(result: Recovered) -> bool:
    """Whether a device needs an operator: it could not be restored, or its loan is unusable.

    A device that is still in its namespace, or not back yet, needs none: a later call restores it.
    """
    return result.outcome == "kept" and not result.text.startswith((LIVES_ON, NOT_BACK_YET, LEFT_AGAIN))
