"""Returns lent devices from a namespace that still exists: the undo of a complete move.

Only `prepare --undo`, a podman network's teardown and a pod's stop ask for it. All other returns leave a live namespace
alone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from ..engine import lookups
from ..engine.batch_device import BatchDevice
from ..reports import Recovered
from ..results import Left
from ..system.interrupts import Interrupts, Patience
from . import identity, layout
from .layout import Damaged, Section
from .loaded_record import NOT_FOUND
from .recover import Recovery, each_of, ignored, restored
from .return_home import is_alike, narrow
from .returns import held
from .store import Journal, Record


@dataclass(frozen=True)
class Request:
    """How devices are returned.

    Attributes:
        remedy: For a device that is not found, or whose source is gone: the step that forgets it, as "use --force to
            forget it".
        interrupts: The signals of a command.
        forgets: Drops the loans of such devices.
    """

    remedy: str
    interrupts: Interrupts | None = None
    forgets: bool = False


def moves_into(directory: str, is_wanted: Callable[[list[Section]], bool]) -> set[str]:
    """The file names of the wanted records of moves, running or crashed; they are undone before the return."""
    found = set()
    try:
        with Journal(directory, create=False) as opened:
            for record in opened.seen():
                with contextlib.suppress(Damaged, OSError):  # reported by `recover`
                    if is_wanted(record.sections()):
                        found.add(record.name)
    except FileNotFoundError:  # nothing has ever moved
        return set()
    return found


def return_devices(
    opened: Journal,
    names: Collection[str],
    is_wanted: Callable[[list[Section]], bool],
    how: Request,
    patience: Patience,
) -> Iterator[Recovered]:
    """Returns the devices of loans, the last ones that arrived first; can be repeated.

    Args:
        opened: The folder of the loans.
        names: The file names of loans.
        is_wanted: Whether a loan with these sections is one of those; the others are left alone.
        how: The request.
        patience: How long to wait for another process that holds one.

    Yields:
        One `Recovered` for each device; "kept": not restored completely, and the loan is kept. One without a device for
        a loan that another process holds.
    """
    for _, name in opened.newest_first(names):
        records = opened.crashed({name}, patience.wait)
        results = [*each_of(records, None, lambda record, _: _returned(record, is_wanted, how))]
        yield from results
        yield from held(opened, {name}, results, is_wanted)


def _returned(record: Record, is_wanted: Callable[[list[Section]], bool], how: Request) -> Iterator[Recovered]:
    try:
        sections = record.sections()
        if not is_wanted(sections):
            return
        back = _LiveReturn(record, sections, how)
    except (Damaged, OSError) as e:
        yield ignored(record, e, "inspect its devices, which are in the namespace")
        return
    yield from restored(back)


class _LiveReturn(Recovery):
    def __init__(self, record: Record, sections: list[Section], how: Request) -> None:
        super().__init__(record, sections, how.interrupts)
        self.loan_id = 0  # this record is itself the loan
        self.is_to_be_undone = True
        self._how = how

    def _due(self) -> None:
        narrow(self.plan, self.plan.view(self.members), self.members, self.there())

    def _without_source(self) -> list[Recovered]:
        """Keeps the loan while its namespace has such a device, which would end with it."""
        text = f"its source namespace is gone; the device stays where it is: move it, then {self._how.remedy}"
        results = [
            self.recovered(m, "kept", "target", text)
            if self._is_there(m) and not self._how.forgets
            else self.recovered(m, "gone", "unknown", "its source namespace is gone")
            for m in self.members
        ]
        return self._end(results)

    def _is_there(self, member: BatchDevice) -> bool:
        found = identity.found(self.where[layout.TARGET])
        if found is None:
            return False
        with found[0], found[1] as socket:
            return any(is_alike(member.link, link) for link in lookups.links(socket))

    def _outcome(self, member: BatchDevice, left: Left | None) -> Recovered:
        result = super()._outcome(member, left)
        if left is not None and left.missing == (f"ifindex {member.link.ifindex}",):  # another device has it
            return self.recovered(member, "undone", "source", "restored, with another ifindex: the old one is taken")
        if result.text == NOT_FOUND and self._how.forgets:
            return self.recovered(member, "gone", "gone", "in neither namespace")
        if result.text == NOT_FOUND:
            text = f"in neither namespace: it was moved on or deleted; find it, or {self._how.remedy}"
            return self.recovered(member, "kept", "unknown", text)
        return result

    def _end(self, results: list[Recovered]) -> list[Recovered]:
        kept = {each.device for each in results if each.outcome == "kept"}
        if kept:  # what others do with restored devices from now on must not be undone by the next call
            self.keep_only([m for m in self.members if m.host_name in kept])
        else:
            self.record.drop()
        return results
