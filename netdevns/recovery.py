"""What a move records, and undoing one whose process was killed: by looking where each device is.

`recover` can be repeated, and run beside another one or a live move: a record is locked by whoever works on it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from . import identity, journal, lookups, names, ports, undo, wire
from .engine import PLACE_GONE, PLACE_TARGET, EngineError
from .errors import NetDevError
from .journal import Damaged, Journal, Record, Section
from .member import Member
from .netns import CURRENT, NetNS
from .plan import Plan
from .reopened import NEIGHBOURS, NOT_YET, SHARE_A_MAC, THROWN_BACK, Reopened

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .errors import Remains
    from .reports import Recovered

BEFORE_BOOT = "a record of before the last boot, which reset its devices"


def recover(journal: str | os.PathLike[str] = journal.JOURNAL_DIR) -> tuple[Recovered, ...]:
    """Undo the moves whose processes were killed: every device is looked for, and put back as it was.

    Args:
        journal: The directory that the moves were given.

    Returns:
        One `Recovered` for each device of each record that nobody holds; empty: there was nothing to do. A record is
        removed when all its devices are back, complete in the target, or gone; otherwise it is kept, and the next call
        tries again.

    Raises:
        OSError: The directory cannot be opened, or is not the caller's own.

    Example:
        >>> import netdevns
        >>> netdevns.recover("/run/no-such-directory")
        ()

    Source: OCI runtime-spec 1.3, runtime.md "Errors": as if it had never been attempted.
    """
    try:
        opened = Journal(os.fspath(journal), create=False)
    except FileNotFoundError:
        return ()
    with opened:
        return tuple(_recovered(opened, None))


def pending(directory: str | os.PathLike[str]) -> tuple[list[str], int]:
    """A line for each crashed record, and how many moves are running. Changes nothing."""
    lines = []
    try:
        with Journal(os.fspath(directory), create=False) as opened:
            for record in opened.crashed():
                try:
                    devices = ", ".join(f"{_label(s)} -> {_wanted(s)}" for s in _movers(record.sections()))
                    lines.append(f"{record.path}: {devices}")
                except (Damaged, OSError) as e:
                    lines.append(f"{record.path}: {e}")
                finally:
                    record.close()
            return lines, opened.running()
    except FileNotFoundError:
        return [], 0


def before_move(opened: Journal, host_names: Iterable[str], source: object) -> list[Recovered]:
    """Recovers the crashed records that name one of these devices, of that source; returns what is not put back."""
    only = _Only({names.encode(name) for name in host_names}, source)
    try:
        return [found for found in _recovered(opened, only) if found.outcome == "kept"]
    except NetDevError:
        raise
    except OSError as e:
        text = f"{opened.path}: the records of earlier moves cannot be read: {e.strerror}"
        raise NetDevError(text, errno=e.errno or 0, step="record") from None


class _Only:
    """Which records a move looks at: devices of the same names are others in another namespace."""

    def __init__(self, wanted: set[bytes], source: object) -> None:
        self.wanted = wanted
        self.source = source

    def has(self, sections: list[Section]) -> bool:
        if not self.wanted & {s.text(journal.A_IFNAME) for s in _movers(sections)}:
            return False
        try:
            with NetNS.open(CURRENT if self.source is None else self.source) as netns:  # type: ignore[arg-type]
                status = os.fstat(netns.fd)
        except (NetDevError, TypeError):
            return True  # the checks say what is wrong with it
        theirs = [(s.number(journal.A_DEV), s.number(journal.A_INO)) for s in sections if s.type == journal.SOURCE]
        return theirs in ([], [(status.st_dev, status.st_ino)])


def recorded(plan: Plan, members: list[Member], uppers: list[Member]) -> list[bytes]:
    """A record's content: all that an undo needs, with the kernel's own bytes of the snapshots."""
    assert plan.source is not None
    assert plan.target is not None
    assert plan.source_socket is not None
    assert plan.target_socket is not None
    parts = journal.head(plan.preserve, lends=plan.lends)
    parts += identity.recorded(journal.SOURCE, plan.source, plan.source_socket)
    parts += identity.recorded(journal.TARGET, plan.target, plan.target_socket)
    for type_, group in ((journal.DEVICE, members), (journal.UPPER, uppers)):
        for member in group:
            parts += _device_section(type_, member)
    parts += journal.section(journal.ROUTES, {}, plan.routes)
    parts += journal.section(journal.NEXTHOPS, {}, plan.nexthops)
    for ifindex, port in plan.ports.items():
        vlans, messages = ports.dumped(port)
        parts += journal.section(journal.PORT, {journal.A_IFINDEX: ifindex, journal.A_VLANS: vlans}, *messages)
    for type_, dump in zip(NEIGHBOURS, plan.neighbours, strict=False):
        parts += journal.section(type_, {}, dump)
    parts += journal.section(journal.NEIGHPARMS, {}, plan.neighparms)
    return parts


def _device_section(type_: int, member: Member) -> list[bytes]:
    item, device = member.item, member.device
    attrs: dict[int, int | bytes] = {
        journal.A_HOST_NAME: os.fsencode(item.host_name),
        journal.A_IFNAME: item.ifname,
        journal.A_WANTED: item.wanted,
        journal.A_IFINDEX: member.link.ifindex,
        journal.A_ASKED: device.target_ifindex,
        journal.A_UNSURE: int(device.ifindex_unsure),
        journal.A_DEPTH: item.depth,
    }
    if item.token is not None:
        attrs[journal.A_TOKEN] = item.token
    if item.qdiscs:
        attrs[journal.A_QDISCS] = " ".join(item.qdiscs).encode()
    return journal.section(type_, attrs, device.link_message, device.addresses)


def _movers(sections: list[Section]) -> list[Section]:
    return [s for s in sections if s.type == journal.DEVICE]


def _label(section: Section) -> str:
    return names.shown(section.text(journal.A_IFNAME))


def _wanted(section: Section) -> str:
    return names.shown(section.text(journal.A_WANTED))


def _recovered(opened: Journal, only: _Only | None) -> Iterator[Recovered]:
    """Works on the crashed records, on all of them or on those that name a device."""
    for record in opened.crashed():
        try:
            yield from _one(record, only)
        finally:
            record.close()


def _one(record: Record, only: _Only | None) -> Iterator[Recovered]:
    from .reports import Recovered

    try:
        sections = record.sections()
        movers = _movers(sections)
        if only is not None and not only.has(sections):
            return
        if sections[0].text(journal.A_BOOT) != journal.boot_id():
            record.drop()
            yield from (Recovered(record.path, _label(s), "gone", "gone", BEFORE_BOOT) for s in movers)
            return
        recovery = _Recovery(record, sections)
    except (Damaged, OSError) as e:
        if only is None:
            text = f"not obeyed: {e}; look at its devices, then remove the file"
            yield Recovered(record.path, None, "kept", "unknown", text)
        return
    with recovery:
        try:
            yield from recovery.run()
        except (EngineError, wire.Malformed) as e:
            text = f"the kernel could not be asked: {lookups.says(e)}"
            yield from (Recovered(record.path, _label(s), "kept", "unknown", text) for s in movers)


class _Recovery(Reopened):
    """One record of a move that was killed."""

    def __init__(self, record: Record, sections: list[Section]) -> None:
        super().__init__(record, sections)
        # What was to be carried over cannot be compared: a move that was asked for it, and killed, is not complete. Nor
        # is a hook's: no container starts without it, and whether there is a loan is not known.
        has_more = sections[0].text(journal.A_PRESERVE) != b"" or sections[0].optional(journal.A_LENDS) is not None
        self.is_to_be_undone = record.is_to_be_undone or has_more
        self.target_is_gone = False

    def run(self) -> Iterator[Recovered]:
        if not self._open():
            self.record.drop()
            text = "the namespace that it came from is gone; it stays where it is"
            yield from (self.told(m, "gone", "unknown", text) for m in self.members)
            return
        for member in (*self.members, *self.uppers):
            self._find(member)
        if not self.is_to_be_undone and all(map(self._is_complete, self.members)):
            self.record.drop()
            yield from (self.told(m, "complete", "target", "it had arrived completely") for m in self.members)
            return
        for member in (*self.members, *self.uppers):
            member.touched = True
        left = {x.device: x for x in undo.everything(self.plan, self.members, self.uppers)}
        told = [self._outcome(m, left.get(m.item.host_name)) for m in (*self.members, *self.uppers)]
        if any(each.outcome == "kept" for each in told):
            self.record.close()
        else:
            self.record.drop()
        mine = len(self.members)
        yield from (*told[:mine], *(each for each in told[mine:] if each.outcome != "undone"))

    def _open(self) -> bool:
        """Both namespaces. Where the target died, what it held is in the initial one, if the kernel did not end it."""
        if not self.open_source():
            return False
        target = identity.found(self.where[journal.TARGET])
        self.target_is_gone = target is None
        if target is None:
            self.open_init()
        else:
            self.plan.target, self.plan.target_socket = target
        return True

    def _find(self, member: Member) -> None:
        """By ifindex and name; or by kind and MAC address, where exactly one device has them.

        Under neither of its names: renamed by somebody, or on its way under a passing one. Devices that have the MAC of
        what they lie on must be the same in all that their kind has, too: a VLAN's number tells it from the next one.
        """
        device, (source, target) = member.device, self.sockets
        device.find(source, target)
        if device.place != PLACE_GONE:
            return
        was = member.link
        found = [x for x in lookups.links(target) if was.mac and (x.kind, x.mac) == (was.kind, was.mac)]
        if was.kind in SHARE_A_MAC:
            found = [x for x in found if x.data == was.data]
        if len(found) == 1:
            device.ask_ifindex(found[0].ifindex, unsure=True)
            device.find(source, target)

    def _is_complete(self, member: Member) -> bool:
        device, (_, target) = member.device, self.sockets
        if self.target_is_gone or device.place != PLACE_TARGET:
            return False
        if not _is_wanted(device.name, member.item.wanted):
            return False
        try:
            device.verify(target)
        except EngineError:
            return False
        arrived = wire.Link(next(wire.messages(device.arrived)).body)
        return set(arrived.altnames) == set(member.link.altnames)

    def _outcome(self, member: Member, left: Remains | None) -> Recovered:
        if left is None:
            return self.told(member, "undone", "source", "it is back as it was")
        if member.ended:
            return self.told(member, "gone", "gone", ", ".join(left.missing))
        if left.missing == tuple(member.for_good):
            return self.told(member, "undone", "source", f"it is back, for good without: {', '.join(left.missing)}")
        if left.location == "gone" and self.target_is_gone and member.link.kind in THROWN_BACK:
            return self.told(member, "kept", "unknown", NOT_YET)
        if left.location == "gone":
            how = "it ended with the namespace that it was in" if self.target_is_gone else "it is in neither namespace"
            return self.told(member, "gone", "gone", how)
        return self.told(member, "kept", left.location, f"not as before: {', '.join(left.missing)}")


def _is_wanted(name: bytes, wanted: bytes) -> bool:
    if not names.is_template(wanted):
        return name == wanted
    before, _, after = wanted.partition(b"%d")
    number = name.removeprefix(before).removesuffix(after)
    return number.isdigit() and before + number + after == name
