"""Implements `netdevns prepare`: creates the namespace and moves the devices into it."""

from __future__ import annotations

import contextlib
import errno
import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from .. import api
from ..engine import EngineError, Socket, lookups
from ..errors import NetDevError
from ..netlink import ifaddr, ifname, uapi, wire
from ..recovery import layout, loan_state, loans, returns
from ..recovery.earlier import Earlier, including
from ..recovery.layout import Damaged, Section
from ..recovery.prepared import Busy, Namespaces, Prepared
from ..recovery.return_home import is_alike, may_be
from ..reports import Recovered
from ..results import Moved
from ..system import named_netns
from ..system.exclusion import WAIT_S
from ..system.folders import JOURNAL_DIR
from ..system.interrupts import Interrupted, Interrupts, Patience
from ..system.netns import CURRENT, NETNS_DIR, NetNS, is_at
from ..text.quote import quoted, shown
from .namespace import Refused, devices_of, found_of, link_of, namespaces, others, path_of, removed, unknown, words

# podman leaves lo down in a namespace that it joins by path.
LO_UP = wire.link_message(uapi.RTM_NEWLINK, uapi.NLM_F_ACK, 1, up=True)


@dataclass(frozen=True)
class Ready:
    """A namespace that has its devices.

    Attributes:
        path: For a runtime to join: `namespaces[].path`, `podman run --network ns:PATH`.
        moved: The devices that this call moved.
        there: The devices that were there already, by host name: in what each differs from its arrival, such as
            "down" or "without 192.0.2.10/24", as a container left it.
    """

    path: str
    moved: tuple[Moved, ...]
    there: Mapping[str, tuple[str, ...]]


def prepare(
    name: str,
    devices: Mapping[str, str | None],
    *,
    preserve: frozenset[str] = frozenset(),
    force: bool = False,
    interrupts: Interrupts | None = None,
    restored: list[Recovered] | None = None,
) -> Ready:
    """Creates /run/netns/NAME if it does not exist, sets lo up in it, and moves the devices that are not there yet.

    Args:
        name: As for `ip netns add`.
        devices: Host name -> name in the namespace; None: the host name.
        preserve, force, interrupts: As in `api.transact`.
        restored: Gets the devices that were settled first, after a killed move or an ended container, or could not be
            ("kept"); if this fails, the error has them.

    Raises:
        Refused: The name is taken; a device is there under another name; no permission.
        NetDevError: As `move`, with `.earlier`; a new namespace is removed, unless a device is left in it.
    """
    path = path_of(name)
    if not devices:
        raise Refused("no device is given; write DEV or DEV=NAME")
    patience = Patience(WAIT_S, interrupts)
    with contextlib.ExitStack() as stack:
        try:
            opened = stack.enter_context(namespaces())
            found, netns, inside, is_new = _joined(stack, opened, name, path, patience)
            there = {} if is_new else _there(opened, found, inside, devices)
        except Interrupted as e:
            raise api.interrupted(e, ()) from None
        except (Damaged, EngineError, OSError) as e:
            if isinstance(e, NetDevError):
                raise
            raise Refused(f"{path}: {words(e)}") from None
        wanted = {device: wanted for device, wanted in devices.items() if device not in there}
        try:
            restored = [] if restored is None else restored
            moved = _moved(name, wanted, netns, preserve, force, interrupts, restored) if wanted else ()
        except BaseException:
            if is_new:
                _remove_empty(found, netns, inside)
            raise
        return Ready(path, moved, there)


# ---- the namespace ---------------------------------------------------------------------------------------------------


def _joined(
    stack: contextlib.ExitStack, namespaces: Namespaces, name: str, path: str, patience: Patience
) -> tuple[Prepared, NetNS, Socket, bool]:
    """The namespace, locked, open and with lo up; and whether it is new. Raises Refused, Damaged, Interrupted."""
    try:
        with NetNS.open(CURRENT) as own:
            if inside := [each.name for each in namespaces.seen() if each.is_open_on(own.fd)]:
                raise Refused(
                    f"{path}: called inside the prepared namespace {inside[0]}, whose devices are on loan; "
                    "run this on the host"
                )
        found = namespaces.get(name, patience)
        if found is not None:
            stack.callback(found.close)
            opened = found_of(found, forgets=False)
            if opened is not None:
                netns, socket = stack.enter_context(opened[0]), stack.enter_context(opened[1])
                if not is_at(netns, path):
                    raise Refused(
                        f"{path}: {_what_is_at(path)} the namespace that `netdevns prepare` made, which still exists "
                        f"with its devices; run `{loans.command(name, {name})}`"
                    )
                socket.command(LO_UP)
                return found, netns, socket, False
            _forget_dead(namespaces, found)
        return *_made(stack, namespaces, name, path), True
    except Busy:
        raise Refused(f"{path}: another process is working on it") from None


def _what_is_at(path: str) -> str:
    """What has taken a namespace's name away."""
    if named_netns.is_unused(path):
        return "`umount` took the name of"
    return "another namespace has the name of" if os.path.lexists(path) else "`ip netns del` took the name of"


def _forget_dead(namespaces: Namespaces, found: Prepared) -> None:
    """Forgets a namespace that was deleted. Raises Refused: its devices are not restored yet."""
    if namespaces.loans_of(found):
        raise Refused(
            f"{found.name}: the namespace was deleted, and its devices are not restored: "
            f"run `{loans.command(found.name, ())}`"
        )
    found.remove(None)


def _made(stack: contextlib.ExitStack, namespaces: Namespaces, name: str, path: str) -> tuple[Prepared, NetNS, Socket]:
    if os.path.lexists(path):
        raise Refused(f"{path}: it exists, and {unknown(name)}; choose another name")
    netns = stack.enter_context(named_netns.new(path))
    socket, own = stack.enter_context(Socket(netns.fd)), stack.enter_context(NetNS.open(CURRENT))
    sides = (layout.SOURCE, own, stack.enter_context(Socket())), (layout.TARGET, netns, socket)
    found = namespaces.add(name, sides)
    stack.callback(found.close)
    try:
        named_netns.attach(netns, name)
        if not named_netns.is_seen(name):
            raise Refused(
                f"{path}: this process has its own mount namespace, with which the name would vanish; "
                "run this outside: nsenter --target 1 --mount netdevns prepare ..."
            )
        socket.command(LO_UP)
    except BaseException:
        removed(found, netns)
        raise
    return found, netns, socket


def _remove_empty(found: Prepared, netns: NetNS, inside: Socket) -> None:
    """Removes a new namespace after a failed move, unless a device is in it; warns if it cannot."""
    try:
        text = "" if others(found, inside) else removed(found, netns)
    except EngineError as e:
        text = f"{NETNS_DIR}/{found.name}: it stays, as its devices cannot be read: {words(e)}; run `netdevns recover`"
    if text:
        warnings.warn(text, RuntimeWarning, stacklevel=2)


# ---- the devices -----------------------------------------------------------------------------------------------------


def _there(
    namespaces: Namespaces, found: Prepared, inside: Socket, devices: Mapping[str, str | None]
) -> dict[str, tuple[str, ...]]:
    """The devices that an earlier call moved, as `Ready.there`.

    Raises:
        Refused: One of them has another name there, has left, or shares its name with the device that is asked for.
    """
    before = {os.fsdecode(s.text(layout.A_HOST_NAME)): s for s in devices_of(namespaces, found)}
    there: dict[str, tuple[str, ...]] = {}
    asked = [device for device in devices if device in before]
    if asked:
        with Socket() as here:
            for device in asked:
                link = _same(found.name, device, devices[device] or device, before[device], here, inside)
                there[device] = tuple(_changes(before[device], link, inside)) if link else ()
    return there


def _same(name: str, device: str, wanted: str, came: Section, here: Socket, inside: Socket) -> wire.Link | None:
    """The link of a lent device; None: not known.

    Raises:
        Refused: It is not the one that is asked for, or has left the namespace.
    """
    asked = os.fsdecode(came.text(layout.A_WANTED))
    undo_first = f"run `{loans.command(name, {name})}` first"
    if asked != wanted:
        raise Refused(f'{quoted(device)}: it is in {name} already, as "{quoted(asked)}"; {undo_first}')
    is_here = lookups.link(here, name=ifname.encode(device)) is not None
    is_template = ifname.is_template(came.text(layout.A_WANTED))
    was, link = link_of(came), lookups.link(inside, ifindex=came.ifindex(layout.A_ASKED))
    if link is not None and not is_alike(was, link):
        link = None
    elif link is not None and not may_be(was, link) and not _is_as_old(was, link):
        raise Refused(
            f"{quoted(device)}: it was moved to {NETNS_DIR}/{name}, where another device may have replaced it: "
            f"the one with its ifindex has another MAC address; find it first, or {undo_first}"
        )
    if link is None and not is_template:
        link = lookups.link(inside, name=came.text(layout.A_WANTED))
        link = link if link is not None and may_be(was, link) else None
    # Before 5.13 the ifindex of one with a template's name is unknown, too: assumed to be there.
    is_gone = link is None and not (is_template and came.number(layout.A_UNSURE))
    if is_here and is_gone:
        raise Refused(
            f'{quoted(device)}: it was moved to {name} as "{quoted(asked)}", but is here, and not there; {undo_first}'
        )
    if is_here:
        raise Refused(
            f'{quoted(device)}: another device of that name is in {name} already, as "{quoted(asked)}"; '
            f"{undo_first}, or rename this one"
        )
    if is_gone:
        raise Refused(
            f"{quoted(device)}: it was moved to {NETNS_DIR}/{name} and is no longer there: "
            "it was moved on or deleted; find it first"
        )
    return link


def _is_as_old(was: wire.Link, now: wire.Link) -> bool:
    """Whether a device with its ifindex may be the same one with another MAC: its carrier changes only grow.

    A new one begins with few, and may get the ifindex: each namespace has numbers of its own.
    """
    return loan_state.carrier_changes(now) >= loan_state.carrier_changes(was) > 0


def _changes(came: Section, link: wire.Link, inside: Socket) -> Iterator[str]:
    """In what a lent device differs from its arrival: what a container has changed of name, MAC, IFF_UP, addresses."""
    wanted = came.text(layout.A_WANTED)
    if link.name != wanted and not ifname.is_template(wanted):
        yield f'named "{shown(link.name)}"'
    if link.mac != link_of(came).mac:
        yield "with another MAC address"
    if not link.flags & uapi.IFF_UP:
        yield "down"
    now = ifaddr.locals_of(bytes(lookups.addresses(inside, [link.ifindex])[link.ifindex]))
    for message in wire.messages(bytes(came.body)):
        if not ifaddr.locals_of(data := message.padded()) <= now:
            yield from (f"without {a['address']}/{a['prefixlen']}" for a in ifaddr.addresses(data, protected=True))


def _moved(
    name: str,
    devices: Mapping[str, str | None],
    netns: NetNS,
    preserve: frozenset[str],
    force: bool,
    interrupts: Interrupts | None,
    restored: list[Recovered],
) -> tuple[Moved, ...]:
    with api.open_journal(JOURNAL_DIR) as journal:
        earlier = Earlier(journal, devices, None, Patience(WAIT_S, interrupts), interrupts)
        with including(earlier.undone):
            lender = _lender(name, devices, interrupts, earlier.undone)
        with lender:
            moved = api.transact(
                devices,
                netns,
                path=f"{NETNS_DIR}/{name}",
                preserve=preserve,
                force=force,
                results=True,
                lender=lender,
                interrupts=interrupts,
                earlier=earlier,
            )
        restored += earlier.undone
        return moved


def _lender(
    name: str, devices: Mapping[str, str | None], interrupts: Interrupts | None, done: list[Recovered]
) -> loans.Lender:
    """The writer of the namespace's loan; adds to `done` what became of earlier loans. Raises NetDevError."""
    try:
        # A device may be back from a container whose poststop hook has not run.
        if loans.are_there():
            results = returns.return_loans(devices=map(ifname.encode, devices), interrupts=interrupts)
            done += [each for each in results if each.outcome != "kept" or returns.is_wrong(each)]
        return loans.Lender(JOURNAL_DIR, name)
    except OSError as e:
        if isinstance(e, NetDevError):
            raise
        text = f"{e.filename}: cannot write a loan there: {e.strerror}"
        raise NetDevError(text, errno=e.errno or errno.EIO, step="record") from None
