"""Gives devices that were on loan to a container their own again: `poststop`, `netdevns return`, the next hook.

When a network namespace dies, the kernel throws a physical device into the initial one: down, under the name that it
had there (or dev<ifindex>), without addresses, with whatever MTU, MAC or flags it was given; what was made by software
dies with it. Each is found by what the loan says of its hardware, never by its name alone. Nothing is taken out of a
namespace that lives on. Can be repeated; a loan is kept until all its devices are home, or gone.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Collection, Iterable, Iterator

from ..engine import EngineError, Socket, lookups
from ..errors import NetDevError
from ..reports import Recovered
from ..system import folders
from ..system.interrupts import Interrupts, until_interrupted
from ..system.netns import NetNS
from ..text import quote
from . import layout, loaded_record, loans, recover
from .layout import Damaged
from .loaded_record import NOT_BACK_YET
from .record import load
from .return_home import LEFT_AGAIN, LIVES_ON, PAUSE_S, ReturnHome, may_be
from .store import Journal, Record

WAIT_S = 5.0  # for the kernel, which cleans a dead namespace up in its own time: mostly less than 0.2 s
BEFORE_BOOT = "a loan of before the last boot, which reset its devices"


def return_loans(
    directory: str = folders.JOURNAL_DIR,
    *,
    container: str | None = None,
    devices: Iterable[bytes] | None = None,
    only: Collection[str] | None = None,
    has_arrived: bool = False,
    wait_s: float = 0,
    is_ending: bool = False,
    interrupts: Interrupts | None = None,
) -> list[Recovered]:
    """Gives devices their own again.

    Args:
        directory: JOURNAL_DIR.
        container: Only what this one had.
        devices: Only loans that name one of these.
        only: Only the loans of these names.
        has_arrived: Only loans of a device that is, or may be, in the initial namespace by now.
        wait_s: How long to wait for a device that the kernel has not thrown back yet.
        is_ending: Also while processes are in its namespace: the container's, which end.
        interrupts: A command's: a signal that waits ends this between two loans, or while it waits for the kernel.

    Returns:
        One `Recovered` for each device on loan. "kept" in "source" or "init": something of its own could not be given
        back; in "target": its namespace lives on; "unknown": it was not found.

    Raises:
        OSError: The directory cannot be opened, or is not the caller's own.
    """
    try:
        with Journal(directory, create=False, folder=loans.FOLDER) as opened:
            given = [{*only}] if only is not None else []
            given += [loans.naming(opened, {*devices})] if devices is not None else []
            given += [loans.of_container(opened, container)] if container is not None else []
            given += [_arrived(opened)] if has_arrived else []
            which = set.intersection(*given) if given else None
            return _each(opened, which, wait_s, is_ending, interrupts)
    except FileNotFoundError:
        return []


def _arrived(opened: Journal) -> set[str]:
    """The names of loans of devices that the kernel may have thrown back: one look for all, which opens no namespace.

    A busy host has as many loans as containers, and systemd asks whenever a device is added.
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
    """The same for some of the containers whose first process has ended; without waiting.

    Where no poststop hook is configured, or the kernel gave a device back after it.
    """
    try:
        with Journal(directory, create=False, folder=loans.FOLDER) as opened:
            return _each(opened, loans.orphans(opened), 0, True, interrupts)
    except OSError:
        return []  # reported where its loans are needed


def _each(
    opened: Journal, which: Collection[str] | None, wait_s: float, is_ending: bool, interrupts: Interrupts | None
) -> list[Recovered]:
    # Whoever holds one may be looking at it for another container, and will not wait for its devices.
    records = opened.crashed(which, until_interrupted(wait_s, interrupts))
    return [
        *recover.each_of(records, interrupts, lambda record, _: _one(opened, record, wait_s, is_ending, interrupts))
    ]


def undo_killed(
    directory: str = folders.JOURNAL_DIR, *, wait_s: float = 0, interrupts: Interrupts | None = None
) -> list[Recovered]:
    """`recover`, with time for the kernel to throw devices back: a runtime kills a hook that takes too long.

    Returns:
        What could not be put back.
    """
    end = time.monotonic() + wait_s
    kept: list[Recovered] = []
    only: set[str] | None = None
    while True:
        results = recover.undo_crashed(directory, interrupts=interrupts, only=only)
        waiting = {each.record for each in results if each.text == NOT_BACK_YET}
        kept += [each for each in results if each.outcome == "kept" and each.record not in waiting]
        is_over = time.monotonic() >= end or (interrupts is not None and interrupts.name != "")
        if is_over or not waiting:
            return kept + [each for each in results if each.outcome == "kept" and each.record in waiting]
        only = {os.path.basename(path) for path in waiting}  # one more try each, and none for the others
        time.sleep(PAUSE_S)


def _one(
    opened: Journal, record: Record, wait_s: float, is_ending: bool, interrupts: Interrupts | None
) -> Iterator[Recovered]:
    try:
        sections = record.sections()
        _, since_ms = loans.container_of(sections)
        if sections[0].text(layout.A_BOOT) != layout.boot_id():
            record.drop()
            for name in loans.host_names(sections):
                yield Recovered(record.path, quote.shown(name), "gone", "gone", BEFORE_BOOT)
            return
        returned = ReturnHome(record, sections, since_ms, interrupts)
    except (Damaged, OSError) as e:
        yield recover.ignored(record, e, "its devices were a container's: look at them")
        return
    with returned:
        try:
            yield from returned.run(opened, sections, wait_s, is_ending)
        except EngineError as e:
            text = f"the kernel could not be asked: {lookups.format_error(e)}; its loan is kept"
            yield from (returned.recovered(m, "kept", "unknown", text) for m in returned.members)
        except OSError as e:  # of the locks: before anything is changed
            text = f"{e.filename or record.path}: {e.strerror}; its loan is kept"
            yield from (returned.recovered(m, "kept", "unknown", text) for m in returned.members)


def is_wrong(result: Recovered) -> bool:
    """Whether a device could not be restored, or its loan not be used: somebody must look.

    Not where its namespace lives on, or the kernel has not thrown it back: another call will find it.
    """
    return result.outcome == "kept" and result.text not in (LIVES_ON, NOT_BACK_YET, LEFT_AGAIN)
