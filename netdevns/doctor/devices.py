"""Finds the devices that installations, loans and a bundle name, and says where each is."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ..engine import Socket, lookups
from ..netlink import ifname, uapi, wire
from ..recovery import layout, loans
from ..recovery.layout import Damaged
from ..recovery.loaded_record import SURVIVING_KINDS
from ..recovery.store import Journal
from ..system.folders import JOURNAL_DIR
from ..text.quote import command_line, quoted
from .finding import ERROR, OK, Finding
from .host import Host, Nic
from .installations import Installation

CHECK = "devices"
_PREPARE = "netdevns prepare"


@dataclass
class Wanted:
    """A device that a container may ask for, or has.

    Attributes:
        name: On the host.
        names: In containers, by which it may come back.
        by: The files that name it.
        nic: The link, as it is here or as it was when it was lent; None: it is not known.
        lent: To which it was lent, as "on loan to container c1"; "": it was not.
    """

    name: str
    names: list[str] = field(default_factory=list)
    by: list[str] = field(default_factory=list)
    nic: Nic | None = None
    lent: str = ""


def nics() -> dict[str, Nic]:
    """The links of this network namespace. Raises EngineError."""
    with Socket() as socket:
        return {nic.name: nic for nic in map(_nic, lookups.links(socket))}


def _nic(link: wire.Link) -> Nic:
    permanent = wire.attrs(link.body, wire.IFINFOMSG.size, strict=False).get(uapi.IFLA_PERM_ADDRESS, b"")
    return Nic(
        os.fsdecode(link.name),
        link.ifindex,
        link.kind.decode(errors="replace"),
        link.mac.hex(":"),
        bytes(permanent).hex(":"),
        tuple(map(os.fsdecode, link.altnames)),
        bool(link.immutable) or link.ifindex == 1,
    )


def wanted(host: Host, found: Sequence[Installation], bundle: Mapping[str, str], path: str) -> dict[str, Wanted]:
    """The devices that anything names; `bundle`: those of a bundle whose config.json is `path`."""
    every: dict[str, Wanted] = {}
    for each in found:
        for name, inside in each.devices.items():
            _add(every, name, inside, each.path)
    for name, inside in bundle.items():
        _add(every, name, inside, path)
    for name, inside, where, nic, record in _lent(host):
        one = _add(every, name, inside, record)
        one.lent, one.nic = where, nic
    for one in every.values():
        one.nic = (host.nics or {}).get(one.name, one.nic)
    return every


def whereabouts(container: str, namespaces: Collection[str]) -> str:
    """As `loans.whereabouts`, for a device that nothing has looked for: a prepared namespace is not entered."""
    return (
        f"lent to the prepared namespace {container}" if container in namespaces else loans.whereabouts(container, ())
    )


def _add(every: dict[str, Wanted], name: str, inside: str, by: str) -> Wanted:
    one = every.setdefault(name, Wanted(name))
    one.by.append(by)
    if inside not in one.names and not ifname.is_template(ifname.encode(inside)):
        one.names.append(inside)
    return one


def _lent(host: Host) -> Iterator[tuple[str, str, str, Nic, str]]:
    """Host name, name in the container, whereabouts, link and record of each lent device."""
    directory = host.path(JOURNAL_DIR)
    namespaces = loans.prepared(directory)
    try:
        with Journal(directory, create=False, folder=loans.FOLDER) as journal:
            for record in journal.seen():
                try:
                    sections = record.sections()
                    where = whereabouts(loans.container_of(sections), namespaces)
                    for section in sections:
                        if section.type == layout.DEVICE:
                            nic = _nic(wire.Link(next(wire.messages(bytes(section.body))).body))
                            inside = os.fsdecode(section.text(layout.A_WANTED))
                            yield nic.name, inside, where, nic, f"{JOURNAL_DIR}/{loans.FOLDER}/{record.name}"
                except (Damaged, OSError):
                    continue
    except OSError:  # no folder, or no permission
        return


def check(host: Host, every: Mapping[str, Wanted]) -> Iterator[Finding]:
    """Whether each device is here."""
    if host.nics is None:
        return
    for name, one in every.items():
        by = f"asked for by {one.by[0]}" + (f" and {len(one.by) - 1} more" if len(one.by) > 1 else "")
        other = next((nic.name for nic in host.nics.values() if name in nic.altnames), None)
        if name in host.nics:
            yield _here(host.nics[name], by)
        elif one.lent:
            yield Finding(CHECK, OK, quoted(name), one.lent)
        elif other is not None:
            text = f"{by}, but this is an alternative name of {quoted(other)}: it is refused"
            yield Finding(CHECK, ERROR, quoted(name), text, f"name the device itself: {quoted(other)}")
        else:
            text = f"{by}, but there is no such device here, and none of that name is on loan"
            yield Finding(CHECK, ERROR, quoted(name), text, "netdevns show")


def why_lost(nic: Nic) -> str:
    """Why a container's end deletes a device; "": it comes back.

    poststop runs when the container's processes have ended, and with them a namespace without a path.
    """
    if os.fsencode(nic.kind) in SURVIVING_KINDS or nic.is_immutable:
        return ""
    article = "an" if nic.kind[0] in "aeiou" else "a"
    return (
        f"{article} {quoted(nic.kind)}, which is deleted when the container ends, unless something returns it before: "
        "poststop is too late for a network namespace without a path"
    )


def keeping(name: str, inside: str) -> str:
    """The command that keeps such a device."""
    return command_line("netdevns", "prepare", "NAME", name if name == inside else f"{name}={inside}") or _PREPARE


def _here(nic: Nic, by: str) -> Finding:
    kind = nic.kind or "physical"
    if nic.is_immutable:
        text = f"{by}, but the kernel never moves {nic.kind or 'lo'} devices into another network namespace"
        return Finding(CHECK, ERROR, quoted(nic.name), text, "name another device, such as a port or a veth")
    return Finding(CHECK, OK, quoted(nic.name), f"here, {kind}; {by}")
