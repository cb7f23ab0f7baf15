"""Namespaces that `netdevns prepare` has made: which they are, and how their devices come home.

JOURNAL_DIR/prepared/<name> says so of one, in the form of a record without devices; it is held under flock by whoever
works on the namespace. It is written before the namespace gets its name, so that one whose maker was killed is known.
What the devices were is in loans, as of a container called as the namespace is.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..system import folders, named_netns
from ..system.interrupts import Patience
from ..system.netns import NETNS_DIR, NetNS
from . import identity, layout, loans
from .layout import Damaged, Section
from .recover import Recovery
from .return_home import narrow
from .store import Journal, Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..engine import Socket
    from ..reports import Recovered
    from ..system.interrupts import Interrupts


class Busy(Exception):
    """Another process works on that namespace for longer than this one waits."""


class Prepared:
    """A namespace that was made; held by the caller until it is closed.

    Attributes:
        name: Its own, below NETNS_DIR.
        sections: What the file says.
    """

    def __init__(self, record: Record) -> None:
        """Raises Damaged, OSError."""
        self._record = record
        self.sections = record.sections()
        self.name = loans.container_of(self.sections)[0]

    @property
    def target(self) -> Section:
        """The namespace in it."""
        return next(s for s in self.sections if s.type == layout.TARGET)

    def found(self) -> tuple[NetNS, Socket] | None:
        """It, opened; None: it is gone. Raises OSError: that cannot be said."""
        return identity.found(self.target)

    def is_of(self, sections: list[Section]) -> bool:
        """Whether a loan is of a move into this namespace, and not into an earlier one of the same name."""
        other = next(s for s in sections if s.type == layout.TARGET)
        return all(other.number(a) == self.target.number(a) for a in (layout.A_DEV, layout.A_INO, layout.A_COOKIE))

    def forget(self) -> None:
        """It is no more, or nobody's."""
        self._record.drop()

    def close(self) -> None:
        self._record.close()


class Namespaces:
    """All of them; a context manager that closes the folder. Raises OSError: it cannot be opened or made."""

    def __init__(self, directory: str = folders.JOURNAL_DIR) -> None:
        self.directory = directory
        self._opened = Journal(directory, create=True, folder=loans.PREPARED)

    def __enter__(self) -> Namespaces:
        return self

    def __exit__(self, *exc: object) -> None:
        self._opened.close()

    def get(self, name: str, patience: Patience) -> Prepared | None:
        """The one of that name, held; None: there is none. Raises Busy, Damaged, OSError."""
        file = loans.file_name(name)
        for record in self._opened.crashed({file}, patience.wait):
            return Prepared(record)
        if file in self._opened.names():
            raise Busy(name)
        return None

    def add(self, name: str, sides: tuple[tuple[int, NetNS, Socket], ...]) -> Prepared:
        """One that is about to get its name. Raises Busy, OSError."""
        parts = layout.head(())
        for type_, netns, socket in sides:
            parts += identity.recorded(type_, netns, socket)
        attrs: dict[int, int | bytes] = {layout.A_CONTAINER: name.encode("utf-8", "surrogatepass")}
        parts += layout.section(layout.LOAN, attrs | {layout.A_LENT_MS: loans.now_ms()})
        file = loans.file_name(name)
        record = self._opened.write(parts, name=file)
        if record.name != file:  # somebody was quicker
            record.drop()
            raise Busy(name)
        return Prepared(record)

    def free(self) -> Iterator[Prepared]:
        """Those that nobody works on, each held until the next."""
        for record in self._opened.crashed():
            try:
                yield Prepared(record)
            except Damaged:
                record.set_aside()
            finally:
                record.close()

    def loans_of(self, prepared: Prepared) -> Iterator[tuple[Record, list[Section]]]:
        """Its loans, to be looked at."""
        with Journal(self.directory, create=True, folder=loans.FOLDER) as opened:
            for record in opened.seen(loans.of_container(opened, prepared.name)):
                sections = record.sections()
                if prepared.is_of(sections):
                    yield record, sections

    def give_back(self, prepared: Prepared, interrupts: Interrupts | None, patience: Patience) -> Iterator[Recovered]:
        """Brings all devices of its loans home, out of the living namespace."""
        with Journal(self.directory, create=True, folder=loans.FOLDER) as opened:
            for record in opened.crashed(loans.of_container(opened, prepared.name), patience.wait):
                try:
                    sections = record.sections()
                    if not prepared.is_of(sections):
                        continue
                    with _GiveBack(record, sections, interrupts) as back:
                        yield from back.run()
                finally:
                    record.close()


class _GiveBack(Recovery):
    """The undo of a complete move, which was asked for."""

    def __init__(self, record: Record, sections: list[Section], interrupts: Interrupts | None) -> None:
        super().__init__(record, sections, interrupts)
        self.lends = 0  # this record is the loan
        self.is_to_be_undone = True
        self._since_ms = loans.container_of(sections)[1]

    def _due(self) -> None:
        narrow(self.plan, self.plan.view(self.members), self.members, self._since_ms)

    def _end(self, told: list[Recovered]) -> list[Recovered]:
        if all(each.outcome != "kept" for each in told):
            self.record.drop()
        return told


def remove(prepared: Prepared, netns: NetNS | None) -> None:
    """The namespace loses its name, and we forget it; what is there under that name by now stays. Raises OSError."""
    path = f"{NETNS_DIR}/{prepared.name}"
    if named_netns.is_unused(path) if netns is None else _is_at(netns, path):
        named_netns.detach(prepared.name)
    prepared.forget()


def _is_at(netns: NetNS, path: str) -> bool:
    try:
        with NetNS.open(path) as there:
            return there.same(netns)
    except OSError:
        return False
