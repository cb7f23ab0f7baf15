"""Undoes crashed moves of devices before the same devices are moved again."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator

from ..batch.findings import Found
from ..errors import NetDevError
from ..netlink import ifname
from ..reports import Recovered
from ..system import exclusion, folders
from ..system.interrupts import Interrupts, Patience
from ..system.netns import CURRENT, NetNS
from ..text import quote
from . import layout
from .layout import Damaged, Section
from .loaded_record import NOT_FOUND
from .recover import NAMESAKE, movers, undo_one
from .store import Journal, Record


def lines(host_names: Iterable[str | None] | None, source: object = CURRENT) -> list[str]:
    """A line for each of these devices that a killed move's record names, as far as the caller may read the records.

    Args:
        host_names: None: all.
        source: Their namespace.
    """
    wanted = None if host_names is None else {ifname.encode(name) for name in host_names if name}
    found = []
    # No error where there is no folder, or no permission.
    with contextlib.suppress(OSError), Journal(folders.JOURNAL_DIR, create=False) as opened:
        for record in opened.killed():
            with contextlib.suppress(Damaged, OSError):  # reported by `recover`
                sections = record.sections()
                if record.is_complete() or not is_from(sections, source):
                    continue
                names = [section.text(layout.A_IFNAME) for section in movers(sections)]
                found += [
                    f"{quote.shown(name)}: a killed move of it is recorded ({record.path}): "
                    "`netdevns recover`, or the next move of it, restores it first"
                    for name in names
                    if wanted is None or name in wanted
                ]
    return found


def is_from(sections: list[Section], source: object) -> bool:
    """Whether a record or loan is of devices of this namespace, as far as it says so. Raises NetDevError, TypeError."""
    with NetNS.open(source) as netns:  # type: ignore[arg-type]
        status = os.fstat(netns.fd)
    recorded = [(s.number(layout.A_DEV), s.number(layout.A_INO)) for s in sections if s.type == layout.SOURCE]
    return recorded in ([], [(status.st_dev, status.st_ino)])


@contextlib.contextmanager
def including(done: list[Recovered]) -> Iterator[None]:
    """Adds to each NetDevError what was done before it, so that its report does not say "nothing was touched"."""
    try:
        yield
    except NetDevError as e:
        e.earlier = (*(each for each in done if each not in e.earlier), *e.earlier)
        raise


class Earlier:
    """Crashed moves of some devices of a source.

    Args:
        opened: The records.
        host_names: The devices.
        source: Their namespace: equal names elsewhere are other devices.
        patience: How long to wait for another process that works on one of them.
        interrupts: The signals of a command.

    Attributes:
        undone: Devices whose killed move is settled: restored, gone, or left to the container ("complete").
        kept: Devices that could not be restored, as findings of a check.
    """

    def __init__(
        self,
        opened: Journal,
        host_names: Iterable[str],
        source: object,
        patience: Patience,
        interrupts: Interrupts | None = None,
    ) -> None:
        self.undone: list[Recovered] = []
        self.kept: list[Found] = []
        self.opened = opened
        self._wanted = {ifname.encode(name) for name in host_names if isinstance(name, str)}
        self._source = source
        self.patience = patience
        self._interrupts = interrupts
        self._todo: set[str] = set()  # names of records
        self._done: set[str] = set()
        self._others: set[str] = set()

    def found(self) -> bool:
        """Whether there are untried records of these devices, locked or not. Raises NetDevError."""
        try:
            return self._find()
        except OSError as e:
            raise self._unreadable(e) from None

    def undo(self) -> None:
        """Undoes the moves that were found; waits for a process that holds one. Raises NetDevError, Interrupted."""
        try:
            self._undo()
        except OSError as e:
            raise self._unreadable(e) from None

    def _unreadable(self, e: OSError) -> NetDevError:
        text = f"{e.filename or self.opened.path}: cannot read the records of earlier moves: {e.strerror}"
        return NetDevError(text, errno=e.errno or 0, step="record")

    def _find(self) -> bool:
        self._todo = set()
        if not self.opened.names():
            return False
        for record in self.opened.seen():
            if record.name in self._done or record.name in self._others:
                continue
            try:
                is_ours = self._is_about(record.sections())
            except (Damaged, OSError):  # reported by `netdevns recover`
                is_ours = False
            (self._todo if is_ours else self._others).add(record.name)
        return bool(self._todo)

    def _undo(self) -> None:
        for record in self.opened.crashed(self._todo, self.patience.wait):
            self._todo.discard(record.name)
            try:
                results = [*undo_one(record, self._interrupts)]
            finally:
                record.close()
            self._done.add(record.name)  # undo_one() may have renamed it
            for each in results:
                # A device of that name that is here now is not the one that is gone from both namespaces.
                if each.text == NOT_FOUND or each.text.startswith(NAMESAKE):
                    continue
                if each.outcome == "kept":
                    self.kept.append(Found("record.kept", each.device, why=each.text, record=each.record))
                else:
                    self.undone.append(each)
        for record in self.opened.seen():
            if record.name in self._todo:
                self._is_busy(record)

    def _is_busy(self, record: Record) -> None:
        """Adds a finding for each device of a record that another process still holds."""
        with contextlib.suppress(Damaged, OSError):  # removed meanwhile
            sections = record.sections()
            pid = exclusion.mover(sections[0].number(layout.A_PID))
            for name in (s.text(layout.A_IFNAME) for s in movers(sections)):
                if name in self._wanted:
                    self.kept.append(Found("device.busy", os.fsdecode(name), name=name, ifindex=0, pid=pid))
        self._done.add(record.name)

    def _is_about(self, sections: list[Section]) -> bool:
        if not self._wanted & {s.text(layout.A_IFNAME) for s in movers(sections)}:
            return False
        try:
            return is_from(sections, CURRENT if self._source is None else self._source)
        except (NetDevError, TypeError):
            return False  # the checks report it
