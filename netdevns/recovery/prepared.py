"""Keeps track of the namespaces that `netdevns prepare` made.

JOURNAL_DIR/prepared/<name> identifies one: a record without devices, under flock while a process works on the
namespace. It is written before the namespace is named, so a namespace whose maker was killed is still known. The
devices are recorded in loans, under the namespace's name as the container's id.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from ..engine import Socket
from ..reports import Recovered
from ..system import clock, folders, named_netns
from ..system.interrupts import Interrupts, Patience
from ..system.netns import NETNS_DIR, NetNS, is_at
from . import identity, layout, loans
from .layout import Damaged, Section
from .live_return import Request, moves_into, return_devices
from .recover import ignored
from .store import Journal, Record

_ASIDE = "; `netdevns recover` sets it aside"
_IDENTITY = (layout.A_DEV, layout.A_INO, layout.A_COOKIE)


class Busy(Exception):
    """Another process holds the namespace for longer than this one waits."""


class Prepared:
    """A prepared namespace; locked by the caller until it is closed.

    Attributes:
        name: Its name below NETNS_DIR.
        target: Its section in the record.
    """

    def __init__(self, record: Record) -> None:
        """Raises Damaged, OSError."""
        self._record = record
        sections = record.sections()
        self.name = loans.container_of(sections)
        self.target = layout.target(sections)

    def found(self) -> tuple[NetNS, Socket] | None:
        """Opens it; None: it is gone. Raises OSError, EngineError: it is not known whether it exists."""
        return identity.found(self.target)

    def is_of(self, sections: list[Section]) -> bool:
        """Whether a record's target is this namespace, and not an earlier one of the same name."""
        target = layout.target(sections)
        return all(target.number(a) == self.target.number(a) for a in _IDENTITY)

    def is_open_on(self, fd: int) -> bool:
        """Whether a descriptor refers to it; valid while it exists (inode numbers are reused)."""
        status = os.fstat(fd)
        return (status.st_dev, status.st_ino) == tuple(self.target.number(a) for a in _IDENTITY[:2])

    def remove(self, netns: NetNS | None) -> None:
        """Removes its name and its record; another namespace that has taken the name stays.

        Args:
            netns: The open namespace; None: it is gone.

        Raises:
            OSError: Name and record are still there.
        """
        path = f"{NETNS_DIR}/{self.name}"
        if named_netns.is_unused(path) or (netns is not None and is_at(netns, path)):
            named_netns.detach(self.name)
        self._record.drop()

    def close(self) -> None:
        self._record.close()


class Namespaces:
    """The prepared namespaces; a context manager that closes their folder. Raises OSError: it cannot be opened."""

    def __init__(self, directory: str = folders.JOURNAL_DIR) -> None:
        self.directory = directory
        self._opened = Journal(directory, create=True, folder=loans.PREPARED)

    def __enter__(self) -> Namespaces:
        return self

    def __exit__(self, *exc: object) -> None:
        self._opened.close()

    def get(self, name: str, patience: Patience) -> Prepared | None:
        """The namespace of that name, locked; None: there is none. Raises Busy, Damaged, Interrupted, OSError."""
        file = loans.file_name(name)
        for record in self._opened.crashed({file}, patience.wait):
            if record.name != file:
                record.close()
                continue
            try:
                found = Prepared(record)
            except Damaged as e:
                record.close()
                raise Damaged(f"{record.path}: {e}{_ASIDE}") from None
            except BaseException:
                record.close()
                raise
            if found.name != name:
                record.close()
                raise Damaged(f"{record.path}: the record of another namespace")
            return found
        if file in self._opened.names():
            raise Busy(name)
        return None

    def add(self, name: str, sides: tuple[tuple[int, NetNS, Socket], ...]) -> Prepared:
        """Records a namespace that is about to be named. Raises Busy, OSError."""
        parts = layout.head((), since_ms=clock.now_ms())
        for type_, netns, socket in sides:
            parts += identity.recorded(type_, netns, socket)
        parts += layout.section(layout.LOAN, {layout.A_CONTAINER: name.encode()})
        file = loans.file_name(name)
        record = self._opened.write(parts, name=file)
        if record.name != file:  # another process recorded the name first
            record.drop()
            raise Busy(name)
        return Prepared(record)

    def free(self, *, removes: bool) -> Iterator[Prepared | Recovered]:
        """The unlocked ones, each locked until the next; for an unusable record a result, as of `recover`.

        `removes`: sets damaged ones aside.
        """
        then = "`netdevns prepare` does not know the namespace: move its devices to the host, run `netdevns return`"
        for record in self._opened.crashed():
            try:
                yield Prepared(record)
            except (Damaged, OSError) as e:
                if removes or isinstance(e, OSError):
                    yield ignored(record, e, then)
                else:
                    yield Recovered(record.path, None, "kept", "unknown", f"{e}{_ASIDE}")
            finally:
                record.close()

    def seen(self) -> Iterator[Prepared]:
        """All, locked or not, for reading only."""
        for record in self._opened.seen():
            try:
                yield Prepared(record)
            except Damaged:
                continue  # `recover` sets it aside

    def loans_of(self, prepared: Prepared) -> dict[str, list[Section]]:
        """Its loans by file name, for reading only. Raises Damaged, with the path of the loan."""
        found = {}
        with Journal(self.directory, create=True, folder=loans.FOLDER) as opened:
            for record in opened.seen(loans.of_container(opened, prepared.name)):
                try:
                    sections = record.sections()
                except Damaged as e:
                    aside = f"`{loans.command(prepared.name, ())}` sets it aside"
                    raise Damaged(f"{record.path}: {e}; {aside}") from None
                if prepared.is_of(sections):
                    found[record.name] = sections
        return found

    def crashed_of(self, prepared: Prepared) -> set[str]:
        """The file names of the records of moves into it, running or crashed."""
        return moves_into(self.directory, prepared.is_of)

    def return_devices(
        self, prepared: Prepared, interrupts: Interrupts | None, patience: Patience, *, forgets: bool
    ) -> Iterator[Recovered]:
        """Returns the devices of its loans from the live namespace, the last ones that arrived first.

        `forgets`: drops the loans of devices that are not found, or whose source is gone.
        """
        how = Request("use --force to forget it", interrupts, forgets=forgets)
        with Journal(self.directory, create=True, folder=loans.FOLDER) as opened:
            names = loans.of_container(opened, prepared.name)
            yield from return_devices(opened, names, prepared.is_of, how, patience)
