"""Moves a podman network's device into a container's network namespace, and returns it."""

from __future__ import annotations

import contextlib
import errno
from socket import AF_INET, AF_INET6, inet_pton
from typing import TYPE_CHECKING

from .. import api
from ..engine import EngineError, Socket, lookups
from ..errors import CheckFailed, NetDevError
from ..netlink import ifaddr, ifname
from ..recovery import identity, layout, live_return, loans, recover, returns
from ..recovery.earlier import including
from ..recovery.layout import Damaged
from ..recovery.store import Journal
from ..reports import Recovered
from ..results import Moved
from ..system.exclusion import WAIT_S
from ..system.folders import JOURNAL_DIR
from ..system.interrupts import Interrupted, Interrupts, Patience
from ..system.netns import CURRENT, NetNS
from ..text import outcome
from ..text.quote import quoted
from . import handover

if TYPE_CHECKING:
    from .netavark import Attachment


# EINVAL: a file, as the one that a namespace was mounted on.
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ESRCH, errno.EINVAL)


def setup(path: str, wanted: Attachment, interrupts: Interrupts) -> tuple[dict[str, object], list[str]]:
    """Moves the device of a network into a container's namespace, with a loan.

    Args:
        path: The namespace.
        wanted: The device, and what it is to be called.
        interrupts: The command's.

    Returns:
        netavark's status of the container in this network, and lines about a device that was restored first, and about
        state that was not carried.

    Raises:
        NetDevError: As `move`; an earlier setup of this container in this network cannot be undone; or the container
            asks for other addresses than the device's.
    """
    devices = {wanted.device: wanted.wanted}
    # Its answer, or its teardown, was killed: podman does not know of it, and connects the running container again.
    again = teardown(path, wanted.loan, interrupts)
    changed = [*_settled(again)]
    for each in again:
        if each.outcome == "kept" and each.device in (None, wanted.device):
            text = f"{each.device or wanted.device}: an earlier setup: {each.text} ({each.record})"
            raise NetDevError(text, step="check", earlier=tuple(changed))
    with (
        including(changed),  # also where the new namespace cannot be opened
        NetNS.open(path) as target,
        NetNS.open(CURRENT) as own,
        api.open_journal(JOURNAL_DIR) as journal,
        handover.open_lender(wanted.loan) as lender,
    ):
        earlier = handover.settled(journal, devices, own, interrupts)
        earlier.undone[:0] = changed
        with including(earlier.undone):
            mac = _judged(wanted)
        (moved,) = api.transact(
            devices,
            target,
            path=path,
            preserve=wanted.preserve,
            force=wanted.force,
            results=True,
            lender=lender,
            interrupts=interrupts,
            earlier=earlier,
        )
    lines = handover.settled_lines(earlier) + outcome.not_carried({moved.host_name: moved.not_carried})
    return _status(moved, mac), lines


def _judged(wanted: Attachment) -> str:
    """The device's MAC address, which a move keeps; "" without one, or where the checks report why.

    Raises:
        NetDevError: The container asks for an address or a MAC address that the device does not have.
    """
    try:
        with Socket() as socket:
            link = lookups.link(socket, name=ifname.encode(wanted.device))
            if link is None:
                return ""
            mac = link.mac.hex(":")
            there = ifaddr.locals_of(bytes(lookups.addresses(socket, [link.ifindex])[link.ifindex]))
    except EngineError:
        return ""
    why = ""
    if not {_packed(each) for each in wanted.addresses} <= there:
        why = "an address (--ip, ip=) is refused: {} keeps the addresses that it has on the host"
    elif wanted.mac and wanted.mac.lower() != mac:
        why = "a MAC address (--mac-address, mac=) is refused: {} keeps the one that it has on the host"
    if why:
        text = f"{quoted(wanted.network)}: {why.format(quoted(wanted.device))}"
        raise NetDevError(text, errno=errno.EINVAL, step="check")
    return mac


def _packed(address: str) -> bytes | None:
    """An address in the kernel's form; None: not an IP address."""
    for family in (AF_INET, AF_INET6):
        with contextlib.suppress(OSError, ValueError):  # ValueError: a NUL byte
            return inet_pton(family, address)
    return None


def _status(moved: Moved, mac: str) -> dict[str, object]:
    """What podman shows: the device with the addresses that arrived."""
    subnets = [
        {"ipnet": f"{each.address}/{each.prefixlen}"} for each in moved.addresses if each.family in ("inet", "inet6")
    ]
    return {"interfaces": {moved.name: {"mac_address": mac, "subnets": subnets}}}


def teardown(path: str, loan: str, interrupts: Interrupts | None) -> list[Recovered]:
    """Returns a container's device from its namespace, which mostly still exists; undoes a setup that was killed.

    Args:
        path: The namespace.
        loan: The container's loan in this network.
        interrupts: The command's.

    Returns:
        One `Recovered` for each device; none if there is no loan any more. "kept": not restored completely, and the
        loan is kept: the call can be repeated.

    Raises:
        NetDevError: The records or loans cannot be read, or a signal came; its `earlier` is what was done until then.
    """
    results: list[Recovered] = []
    try:
        if killed := _killed_in(path):
            results += recover.undo_crashed(JOURNAL_DIR, interrupts=interrupts, only=killed)
        with contextlib.ExitStack() as stack:
            try:
                opened = stack.enter_context(Journal(JOURNAL_DIR, create=False, folder=loans.FOLDER))
            except FileNotFoundError:  # nothing was ever on loan
                return results
            names = loans.of_container(opened, loan)
            live = _live(opened, names)
            if ended := names - live:  # before all else: it may fail as a whole
                results += returns.return_loans(
                    only=ended, wait_s=returns.WAIT_S, is_ending=True, interrupts=interrupts
                )
            again = f"when its container has ended, run `{loans.command(loan, ())}`"
            how = live_return.Request(again, interrupts)
            results += live_return.return_devices(opened, live, lambda _: True, how, Patience(WAIT_S, interrupts))
            return results
    except Interrupted as e:
        raise api.interrupted(e, _settled(results)) from None
    except EngineError as e:
        text = f"{path}: {lookups.format_error(e)}"
        raise NetDevError(text, errno=e.errno, step="open", earlier=_settled(results)) from None
    except OSError as e:
        if isinstance(e, NetDevError):
            raise
        text = f"{e.filename or JOURNAL_DIR}: the loans cannot be read: {e.strerror}"
        raise NetDevError(text, errno=e.errno or 0, step="record", earlier=_settled(results)) from None


def _settled(results: list[Recovered]) -> tuple[Recovered, ...]:
    return tuple(each for each in results if each.outcome != "kept")


def take_back(path: str, wanted: Attachment) -> tuple[list[str], bool]:
    """Undoes a setup that was complete; returns a line for each device, and whether it is restored."""
    try:
        results = teardown(path, wanted.loan, None)
    except NetDevError as e:
        return [e.text, *outcome.restored_first(e.earlier), *loans.lines([wanted.device])], False
    if not results:
        return ["it is not on loan any more"], True
    kept = [each for each in results if each.outcome == "kept"]
    lines = [f"{each.device}: {each.text}" for each in results if each.outcome != "kept"]
    return outcome.record_lines(kept) + lines, all(each.outcome == "undone" for each in results)


def _live(opened: Journal, names: set[str]) -> set[str]:
    """The file names of those loans whose namespace still exists, or where that is not known.

    Raises:
        EngineError: This thread has lost its namespace, and must end.
    """
    found = set()
    for record in opened.seen(names):
        try:
            is_live = identity.is_there(layout.target(record.sections()))
        except EngineError as e:
            if e.errno == errno.ENOTRECOVERABLE:
                raise
            is_live = True
        except (Damaged, OSError):  # reported by the return
            is_live = True
        if is_live:
            found.add(record.name)
    return found


def _killed_in(path: str) -> set[str]:
    """The file names of the records of moves into a namespace, running or crashed."""
    try:
        netns = NetNS.open(path)
    except NetDevError as e:
        if e.errno in _GONE:  # podman has removed it
            return set()
        raise
    with netns, Socket(netns.fd) as socket:
        is_here = handover.recognizer(netns, socket)
    return live_return.moves_into(JOURNAL_DIR, lambda sections: is_here(layout.target(sections)))


def lines_of(e: NetDevError) -> list[str]:
    """An error as lines: what failed, where the device is, and what to do."""
    lines = outcome.lines_of(e, loans.lines)
    if not isinstance(e, CheckFailed):
        return lines
    hints: list[str] = []
    for found in e.report.findings:
        if found.code == "device.default-route" and found.severity == "error":
            text = f"{found.device}: it carries a default route of the host"
            lines[lines.index(found.text)] = f"{text}; to move it anyway, create the network with --opt force=true"
        elif found.severity == "error" and found.code != "device.unknown" and " " in (found.hint or ""):
            hints.append(f"next: {found.hint}")
    lines[-1:-1] = dict.fromkeys(hints)
    return lines
