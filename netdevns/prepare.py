"""A namespace that has its devices before a container starts: to join it takes microseconds, to move a NIC 17 ms.

`netdevns prepare` makes a named namespace and moves devices into it, with a loan, so that they come home: by `undo`, or
by `netdevns return` if somebody deletes the namespace. It can be repeated, and survives restarts of the container.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from . import api
from .engine import EngineError, Socket, lookups
from .errors import MoveFailed, NetDevError
from .netlink import ifname, uapi, wire
from .recovery import homecoming, layout, loans, prepared
from .recovery.layout import Damaged, Section
from .recovery.prepared import Busy, Namespaces, Prepared
from .recovery.recover import undo_crashed
from .recovery.reopened import THROWN_BACK
from .reports import Recovered
from .system import named_netns
from .system.exclusion import WAIT_S
from .system.folders import JOURNAL_DIR
from .system.interrupts import Patience
from .system.netns import CURRENT, NETNS_DIR, NetNS
from .text.quote import printable, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .batch.undo import OnStep
    from .results import Moved
    from .system.interrupts import Interrupts

NAME_MAX = 200  # bytes, as of a loan's file


class Refused(Exception):
    """One line; nothing was touched."""


@dataclass(frozen=True)
class Ready:
    """A namespace that has its devices.

    Attributes:
        path: What a runtime joins: `namespaces[].path`, `podman run --network ns:PATH`.
        moved: The devices that came now.
        there: Host names of those that were there already.
    """

    path: str
    moved: tuple[Moved, ...]
    there: tuple[str, ...]


def prepare(
    name: str,
    devices: Mapping[str, str | None],
    *,
    preserve: frozenset[str] = frozenset(),
    force: bool = False,
    on_step: OnStep | None = None,
    interrupts: Interrupts | None = None,
) -> Ready:
    """Makes /run/netns/NAME, unless it is there already, with lo up; moves the devices that are not there yet.

    Args:
        name: As for `ip netns add`.
        devices: Host name -> name in the namespace; None: the host name.
        preserve, force, on_step, interrupts: As `api.transact` has them.

    Raises:
        Refused: A name that something else has; a device that is there under another name; no right to make one.
        NetDevError: As `move`; a namespace that was made for it is removed, unless a device is left in it.
    """
    path = _path(name)
    if not devices:
        raise Refused("a device is missing; write DEV or DEV=NAME")
    patience = Patience(WAIT_S, interrupts)
    with contextlib.ExitStack() as stack:
        namespaces = stack.enter_context(_namespaces())
        try:
            found = namespaces.get(name, patience)
            if found is not None and not _is_alive(found):
                _forget_dead(namespaces, found)
                found = None
            if found is None:
                found, netns = _made(stack, namespaces, name, path)
                is_new = True
            else:
                netns, is_new = _opened(stack, found, path), False
        except Busy:
            raise Refused(f"{path}: another process prepares it") from None
        except Damaged as e:
            raise Refused(f"{path}: what {JOURNAL_DIR}/{loans.PREPARED} says of it is damaged: {e}") from None
        stack.callback(found.close)
        try:
            there = [] if is_new else _there(namespaces, found, netns, devices)
            wanted = {device: wanted for device, wanted in devices.items() if device not in there}
            moved = _moved(name, wanted, netns, preserve, force, on_step, interrupts) if wanted else ()
        except BaseException as e:
            failed = e if isinstance(e, MoveFailed) else e.__cause__
            is_left = isinstance(failed, MoveFailed) and any(left.location == "target" for left in failed.left)
            if is_new and not is_left:
                prepared.remove(found, netns)
            raise
        return Ready(path, moved, tuple(there))


def undo(name: str, *, force: bool = False, interrupts: Interrupts | None = None) -> list[Recovered]:
    """Gives all devices back, as an undo does, and removes the namespace; kept is what could not be restored.

    Args:
        name: Which.
        force: Although processes are in it, or hardware that `prepare` did not bring.
        interrupts: A command's.

    Raises:
        Refused: `prepare` did not make it, or something is in it.
        OSError: Nothing was touched: what is on loan cannot be read.
    """
    path = _path(name)
    patience = Patience(WAIT_S, interrupts)
    with _namespaces() as namespaces:
        try:
            found = namespaces.get(name, patience)
        except Busy:
            raise Refused(f"{path}: another process works on it") from None
        except Damaged as e:
            raise Refused(f"{path}: what {JOURNAL_DIR}/{loans.PREPARED} says of it is damaged: {e}") from None
        if found is None:
            raise Refused(f"{path}: `netdevns prepare` did not make it")
        with contextlib.closing(found):
            opened = found.found()
            if opened is None:  # somebody has deleted it
                told = homecoming.come_home(
                    container=name, wait_s=homecoming.WAIT_S, is_ending=True, interrupts=interrupts
                )
                if all(each.outcome != "kept" for each in told):
                    prepared.remove(found, None)
                return told
            netns, socket = opened
            with netns, socket:
                if not force:
                    _is_unused(namespaces, found, netns, socket)
                # First: a `prepare` that was killed while it moved.
                told = [each for each in undo_crashed(JOURNAL_DIR, interrupts=interrupts) if each.outcome == "kept"]
                told += namespaces.give_back(found, interrupts, patience)
                if all(each.outcome != "kept" for each in told):
                    prepared.remove(found, netns)
                return told


def tidy() -> Iterator[str]:
    """Removes namespaces that a killed `prepare` has left, in which nobody is; a line for each."""
    if not os.path.isdir(f"{JOURNAL_DIR}/{loans.PREPARED}"):
        return
    with _namespaces() as namespaces:
        for found in namespaces.free():
            if any(namespaces.loans_of(found)):
                continue
            opened = found.found()
            if opened is None:
                prepared.remove(found, None)
                continue
            netns, socket = opened
            with netns, socket:
                try:
                    _is_unused(namespaces, found, netns, socket)
                except Refused:
                    continue
                prepared.remove(found, netns)
            yield f"{_path(found.name)}: removed: the `netdevns prepare` that made it has not ended well"


# ---- the namespace -------------------------------------------------------------------------------------------------


def _namespaces() -> Namespaces:
    try:
        return Namespaces()
    except OSError as e:
        raise Refused(f"{e.filename}: {e.strerror}") from None


def _path(name: str) -> str:
    if not name or "/" in name or name[0] in ".-" or "\0" in name or len(os.fsencode(name)) > NAME_MAX:
        raise Refused(
            f'"{quoted(name)}": no namespace is prepared under that name: no "/", no "." or "-" at its beginning, '
            f"at most {NAME_MAX} bytes"
        )
    return f"{NETNS_DIR}/{name}"


def _is_alive(found: Prepared) -> bool:
    opened = found.found()
    for each in opened or ():
        each.close()
    return opened is not None


def _forget_dead(namespaces: Namespaces, found: Prepared) -> None:
    """Of one that somebody has deleted, so that it can be made anew."""
    if any(namespaces.loans_of(found)):
        found.close()
        raise Refused(
            f"{found.name}: its namespace was deleted, and devices of it are not home: "
            f"run `netdevns return {found.name}`"
        )
    prepared.remove(found, None)


def _made(stack: contextlib.ExitStack, namespaces: Namespaces, name: str, path: str) -> tuple[Prepared, NetNS]:
    if os.path.lexists(path):
        raise Refused(f"{path}: it is there, and `netdevns prepare` did not make it; choose another name")
    try:
        netns = stack.enter_context(named_netns.new(path))
        socket, own = stack.enter_context(Socket(netns.fd)), stack.enter_context(NetNS.open(CURRENT))
        found = namespaces.add(
            name, ((layout.SOURCE, own, stack.enter_context(Socket())), (layout.TARGET, netns, socket))
        )
    except (EngineError, OSError) as e:
        raise Refused(f"{path}: the namespace cannot be made: {_words(e)}") from None
    try:
        named_netns.attach(netns, name)
        # podman leaves it down in a namespace that is given by its path.
        socket.command(wire.link_message(uapi.RTM_NEWLINK, uapi.NLM_F_ACK, 1, up=True))
    except BaseException as e:
        prepared.remove(found, netns)
        if isinstance(e, (EngineError, OSError)):
            raise Refused(f"{path}: the namespace cannot be made: {_words(e)}") from None
        raise
    return found, netns


def _words(e: EngineError | OSError) -> str:
    return f"{lookups.says(e)}" if isinstance(e, EngineError) else f"{e.strerror}"


def _opened(stack: contextlib.ExitStack, found: Prepared, path: str) -> NetNS:
    stack.callback(found.close)
    opened = found.found()
    if opened is None:
        raise Refused(f"{path}: the namespace ended meanwhile")
    netns = stack.enter_context(opened[0])
    stack.enter_context(opened[1])
    try:
        with NetNS.open(path) as there:
            is_there = there.same(netns)
    except NetDevError:
        is_there = False
    if not is_there:
        raise Refused(
            f"{path}: it is not the namespace any more that `netdevns prepare` made; "
            f"run `netdevns prepare {found.name} --undo`"
        )
    return netns


def _is_unused(namespaces: Namespaces, found: Prepared, netns: NetNS, socket: Socket) -> None:
    """Raises Refused where a process is in it, or hardware that nobody would bring home."""
    path = _path(found.name)
    try:
        inside = named_netns.processes(netns)
    except OSError as e:
        raise Refused(
            f"{path}: whether a process is in it is not known: {e.filename}: {e.strerror}; or use --force"
        ) from None
    if inside:
        more = f" and {len(inside) - 1} more" if len(inside) > 1 else ""
        raise Refused(f"{path}: process {inside[0]}{more} is in it; end it first, or use --force")
    ours = {
        s.ifindex(layout.A_ASKED) for _, each in namespaces.loans_of(found) for s in each if s.type == layout.DEVICE
    }
    for link in lookups.links(socket):
        if (
            link.ifindex not in ours
            and link.kind in THROWN_BACK
            and not link.flags & uapi.IFF_LOOPBACK
            and not link.immutable
        ):
            raise Refused(
                f"{path}: {printable(os.fsdecode(link.name))} is in it, which `netdevns prepare` did not bring; "
                "move it away first, or use --force"
            )


# ---- the devices ---------------------------------------------------------------------------------------------------


def _there(namespaces: Namespaces, found: Prepared, netns: NetNS, devices: Mapping[str, str | None]) -> list[str]:
    """Host names of those that came before, and are there. Raises Refused: under another name than is wanted now."""
    before = {
        os.fsdecode(s.text(layout.A_HOST_NAME)): s
        for _, each in namespaces.loans_of(found)
        for s in each
        if s.type == layout.DEVICE
    }
    there = []
    for device, wanted in devices.items():
        if device not in before:
            continue
        asked = os.fsdecode(before[device].text(layout.A_WANTED))
        if asked != (wanted or device):
            raise Refused(
                f'{quoted(device)}: it is in {found.name} already, as "{quoted(asked)}"; '
                f"run `netdevns prepare {found.name} --undo` first"
            )
        _is_in(netns, device, before[device])
        there.append(device)
    return there


def _is_in(netns: NetNS, device: str, section: Section) -> None:
    """Raises Refused where a device that came is not there any more."""
    wanted = section.text(layout.A_WANTED)
    with Socket(netns.fd) as socket:
        by_ifindex = lookups.link(socket, ifindex=section.ifindex(layout.A_ASKED))
        by_name = None if ifname.is_template(wanted) else lookups.link(socket, name=wanted)
    if by_ifindex is None and by_name is None:
        raise Refused(
            f"{quoted(device)}: it came into {netns.where}, and is not there any more: somebody has taken or deleted it"
        )


def _moved(
    name: str,
    devices: Mapping[str, str | None],
    netns: NetNS,
    preserve: frozenset[str],
    force: bool,
    on_step: OnStep | None,
    interrupts: Interrupts | None,
) -> tuple[Moved, ...]:
    try:
        # What a container had whose end nobody told us of.
        if loans.are_there():
            homecoming.come_home(devices=map(ifname.encode, devices), interrupts=interrupts)
        lender = loans.Lender(JOURNAL_DIR, name)
    except OSError as e:
        text = f"{e.filename}: no loan can be written there: {e.strerror}"
        raise NetDevError(text, errno=e.errno or errno.EIO, step="record") from None
    with lender:
        return api.transact(
            devices,
            netns,
            preserve=preserve,
            force=force,
            journal=JOURNAL_DIR,
            results=True,
            on_step=on_step,
            lender=lender,
            interrupts=interrupts,
        )
