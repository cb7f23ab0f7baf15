"""The public functions `move`, `check`, `recover` and `snapshot`.

A move is checked under locks, after earlier crashed moves of its devices are undone; then `batch.transaction` runs it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Collection, Mapping

from .batch import checks, losses
from .batch.findings import Found
from .batch.plan import Plan, Sides, known_preserve
from .batch.transaction import Batch
from .batch.undo import OnStep
from .engine import Device, EngineError, Socket, Watch, lookups
from .engine.phases import Phases
from .errors import CheckFailed, MoveFailed, NetDevError
from .netlink.ifname import encode, why_invalid
from .recovery.earlier import Earlier, including
from .recovery.loans import Lender
from .recovery.record import Recorder
from .recovery.recover import undo_crashed
from .recovery.store import TXN, Journal
from .reports import Recovered, Report, Snapshot
from .results import Moved, addresses
from .system.exclusion import WAIT_S, Exclusion
from .system.folders import JOURNAL_DIR, why_unwritable
from .system.interrupts import Interrupted, Interrupts, Patience
from .system.netns import CURRENT, NetNS
from .system.process import Process

# About 1 KiB a notification: two for each of 16 addresses on 1,000 devices. The kernel doubles the limit and allocates
# memory only when it is needed.
WATCH_BYTES = 32 << 20


def move(
    devices: Mapping[str, Mapping[str, object] | str | None],
    netns: NetNS | str | os.PathLike[str] | int,
    *,
    source: NetNS | str | os.PathLike[str] | int | None = None,
    preserve: Collection[str] = (),
    journal: str | os.PathLike[str] | None = None,
    force: bool = False,
    timeout_s: float | None = None,
) -> tuple[Moved, ...]:
    """Move devices into a network namespace, all of them or none.

    Args:
        devices: Host name -> name in the target, in the shape of `linux.netDevices`: a mapping with an optional "name",
            a str, "" or None (the host name is kept). A name with one "%d" is a template: the kernel picks the number.
        netns: The target: a `NetNS`, a path, a name under /run/netns, "pid:N" or an open descriptor (not closed).
        source: The namespace that the devices are in; the calling thread's by default.
        preserve: State to carry over besides what the runtime-spec protects: any of "sysctls" (the device's IPv4 and
            IPv6 settings, and its token), "routes" (whose nexthops are all devices of the batch) and "neighbours"
            (permanent and noarp ones, and proxies; not those that only a routing daemon maintains). State that the
            target refuses is listed in `Moved.not_carried`; it does not fail the move.
        journal: A directory for a record of the move, such as JOURNAL_DIR, so that `recover` can undo it if this
            process is killed; made where it does not exist. None: no record. Nothing is left there when the call
            returns, except after a failure with something in `left`. Crashed moves of these devices are undone first.
        force: Move a device although it carries a default route.
        timeout_s: Seconds after which no further device is moved or replayed, and the move is undone. None: no limit.

    Returns:
        One `Moved` for each device, in the order of `devices`.

    Raises:
        CheckFailed: Nothing was touched; `.report` has every finding, not only the first.
        MoveFailed: Everything is back in the source, unless `.left` says otherwise. ETIMEDOUT: `timeout_s` has passed.
        NetDevError: The record cannot be written, earlier records cannot be read, or no lock can be had (no free
            descriptor, an I/O error). No device of this call was touched; `.earlier` has those restored before it.
        TypeError, ValueError: Wrong Python types; an unknown `preserve`. Nothing was touched.
        BaseException: An interrupt (KeyboardInterrupt) undoes the move, then propagates; its `__cause__` is a
            MoveFailed that says where each device is. Without such a cause, either nothing was begun, or all devices
            had arrived already and are in the target.

    Two moves never handle the same device at the same time: the second waits up to 5 s, then it is refused (finding
    "device.busy"). The locks are below JOURNAL_DIR, independent of `journal`. Where that cannot be used (no permission,
    read-only, writable by others), the move goes on without them, and does not say so; processes with another /run (in
    another mount namespace) do not exclude each other.

    Example:
        >>> import netdevns
        >>> moved = netdevns.move({"eth1": {"name": "net0"}, "eth2": "port%d"}, "blue")
        >>> [(m.host_name, m.name) for m in moved]
        [('eth1', 'net0'), ('eth2', 'port0')]

    Source: OCI runtime-spec 1.3, config-linux.md "Network Devices" (the move); runtime.md "Errors" (all or nothing).
    """
    kinds = known_preserve(preserve)
    directory = None if journal is None else os.fspath(journal)
    return transact(
        devices,
        netns,
        source=source,
        preserve=kinds,
        force=force,
        timeout_s=timeout_s,
        journal=directory,
        results=True,
    )


def check(
    devices: Mapping[str, Mapping[str, object] | str | None],
    netns: NetNS | str | os.PathLike[str] | int,
    *,
    source: NetNS | str | os.PathLike[str] | int | None = None,
    preserve: Collection[str] = (),
    journal: str | os.PathLike[str] | None = None,
    force: bool = False,
) -> Report:
    """Check whether a move would succeed, and what it would lose. Changes nothing, not even temporarily.

    Args:
        devices: Host name -> name in the target, in the shape of `linux.netDevices`; at most 4,096.
        netns: The target, as `NetNS.open` takes it.
        source: The namespace that the devices are in; the calling thread's by default.
        preserve: As for `move`: state that will be carried over is no loss.
        journal: As for `move`: where no record can be written is an error. None: not looked at.
        force: A default route is a note, not an error.

    Returns:
        A `Report` with every finding, not only the first. `move` is refused exactly if one has severity "error".

    Raises:
        TypeError, ValueError: Wrong Python types, an unknown `preserve`. Never for a finding.

    Example:
        >>> import netdevns
        >>> report = netdevns.check({"eth1": "lo", "eth9": "net0"}, "blue")
        >>> report.ok
        False
        >>> for finding in report.findings:
        ...     print(finding.severity, finding.code, finding.text)
        error device.unknown eth9: no such device in this network namespace
        error name.taken eth1: the name "lo" is taken in blue by a device there (ifindex 1)

    Source: OCI runtime-spec 1.3, config-linux.md "Network Devices": "whether the device can be moved must be checked".
    """
    with checks.examine(devices, netns, source, force, known_preserve(preserve)) as plan:
        losses.ask_addresses(plan)
        if journal is not None and (e := why_unwritable(os.fspath(journal), TXN)) is not None:
            plan.found.append(_unwritable(os.fspath(journal), e))
        return plan.report()


def recover(journal: str | os.PathLike[str] = JOURNAL_DIR) -> tuple[Recovered, ...]:
    """Undo the moves whose processes were killed: find each device and restore it.

    Args:
        journal: The directory that was passed to `move`.

    Returns:
        One `Recovered` for each device of each record that no process holds; empty: nothing to recover. A record is
        removed when all its devices are restored, complete in the target, or gone; otherwise the next call tries again.

    Raises:
        OSError: The directory cannot be opened, or belongs to another user.

    Example:
        >>> import netdevns
        >>> netdevns.recover("/run/no-such-directory")
        ()

    Source: OCI runtime-spec 1.3, runtime.md "Errors": as if it had never been attempted.
    """
    return tuple(undo_crashed(os.fspath(journal)))


def snapshot(ifname: str, *, source: NetNS | str | os.PathLike[str] | int | None = None) -> Snapshot:
    """Read a device's addresses, and whether it is up. Changes nothing. `check` reports what else a move drops.

    Args:
        ifname: The device's name; an alternative name is refused.
        source: The namespace that it is in; the calling thread's by default.

    Returns:
        A `Snapshot`, with the addresses of every scope and lifetime.

    Raises:
        NetDevError: ENODEV: no such device; otherwise the errno of opening the namespace or of the kernel's reply.

    Example:
        >>> import netdevns
        >>> seen = netdevns.snapshot("eth1")
        >>> seen.up, [a.address for a in seen.addresses]
        (True, ['10.0.0.1', '2001:db8::1'])

    Source: linux/if_addr.h (RTM_GETADDR), linux/if_link.h (RTM_GETLINK).
    """
    name = encode(ifname)
    reason = why_invalid(name)
    if reason:
        raise NetDevError(f"{ifname}: no device can have that name: {reason}", errno=errno.ENODEV, step="snapshot")
    with NetNS.open(CURRENT if source is None else source) as netns:
        try:
            with Socket(-1 if source is None else netns.fd) as socket:
                device = Device(name, name, 0)
                device.snapshot(socket)
        except EngineError as e:
            text = f"{ifname}: {lookups.format_error(e)}"
            raise NetDevError(text, errno=e.errno, extack=e.extack, device=ifname, step=e.step) from None
        return Snapshot(ifname, device.ifindex, addresses(device.addresses), device.was_up)


def transact(
    devices: Mapping[str, Mapping[str, object] | str | None],
    netns: NetNS | str | os.PathLike[str] | int,
    *,
    path: str | None = None,
    source: NetNS | str | os.PathLike[str] | int | None = None,
    preserve: frozenset[str] = frozenset(),
    force: bool | frozenset[str] = False,
    timeout_s: float | None = None,
    journal: str | None = None,
    results: bool = False,
    on_step: OnStep | None = None,
    lender: Lender | None = None,
    interrupts: Interrupts | None = None,
    earlier: Earlier | None = None,
    process: Process | None = None,
    restored: list[Recovered] | None = None,
) -> tuple[Moved, ...]:
    """`move` with the options that the command and the hook need.

    Args:
        path: That `netns` has, where the caller has opened it: the move is undone if it does not lead there in the end,
            as the namespace would end. None: the one that `netns` is; of a NetNS or a descriptor, none.
        journal: As for `move`.
        force: As for `move`, or the host names to which it applies.
        results: Whether to return results; a hook does not use them.
        lender: Writes a loan when all devices have arrived; the move is undone where that fails.
        on_step: Called between two calls of the engine with a step ("move", "replay", "verify", "undo"), the number of
            devices that have completed it, and their total. An Exception that it raises ends its calls, not the move.
            KeyboardInterrupt and SystemExit interrupt the move as elsewhere.
        interrupts: A command's: signals are blocked and checked for between two devices. The move is refused where
            other movers cannot be excluded.
        earlier: The caller's own search for earlier moves of these devices, which are not tried twice.
        process: The container's: the move is undone if it ends before the move is complete.
        restored: Gets the devices that were restored before the checks, after a killed move.
    """
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    with contextlib.ExitStack() as stack:
        opened = None
        if earlier is not None:
            patience, opened = earlier.patience, earlier.opened
        else:
            patience = Patience(WAIT_S if timeout_s is None else min(timeout_s, WAIT_S), interrupts)
            if journal is not None:
                opened = stack.enter_context(open_journal(journal))
                earlier = Earlier(opened, devices, source, patience, interrupts)
        if earlier is not None:
            stack.enter_context(including(earlier.undone))
        exclusion = stack.enter_context(Exclusion(patience, is_must=interrupts is not None))
        try:
            plan, sides = _examined(stack, earlier, exclusion, (devices, netns, source, force, preserve))
            exclusion.arrive(sides.target, {device.target_ifindex for device in plan.devices})
            watch = plan.watch = _watch(plan)
        except Interrupted as e:
            raise interrupted(e, tuple(earlier.undone) if earlier else ()) from None
        if restored is not None and earlier is not None:
            restored += earlier.undone
        recorder = None
        if opened is not None:
            recorder = Recorder(opened)
        plan.loan_id = 0 if lender is None else int.from_bytes(os.urandom(8), "little") >> 1 | 1
        phases = Phases(sides.source_socket, sides.target_socket, sides.target.fd, watch, plan.devices, plan.uppers)
        path = sides.target.path if path is None else path
        return Batch(plan, sides, phases, deadline, on_step, recorder, lender, interrupts, process, path).run(
            Batch.results if results else None
        )


def _examined(
    stack: contextlib.ExitStack,
    earlier: Earlier | None,
    exclusion: Exclusion,
    asked: tuple[object, object, object, bool | frozenset[str], frozenset[str]],
) -> tuple[Plan, Sides]:
    """Runs all checks under locks, and undoes earlier crashed moves of these devices. Raises NetDevError."""
    while True:
        try:
            plan = checks.examine(*asked, exclusion)
        except OSError as e:
            if isinstance(e, NetDevError):
                raise
            where = f"{e.filename or exclusion.directory}: {e.strerror}"
            text = f"{where}: other movers of these devices cannot be excluded"
            raise NetDevError(text, errno=e.errno or 0, step="check") from None
        is_busy = any(found.code == "device.busy" for found in plan.found)
        if earlier is None or is_busy or not earlier.found():
            stack.enter_context(plan)
            break
        # The undo takes the locks itself.
        plan.__exit__()
        exclusion.release()
        earlier.undo()
    plan.found += earlier.kept if earlier else ()
    sides, errors = plan.sides, plan.errors
    if errors or sides is None:  # without a namespace there is an error that says so
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        raise CheckFailed(
            errors[0].text + more,
            report=plan.report(),
            errno=errors[0].errno,
            device=errors[0].device,
            step="check",
            netns=plan.target.where if plan.target else None,
            location=_location(plan, errors[0].device),
        )
    return plan, sides


def _location(plan: Plan, device: str | None) -> str | None:
    """The place of a refused device; None without one."""
    if device is None:
        return None
    return "source" if any(each.host_name == device for each in plan.devices) else "unknown"


def interrupted(e: Interrupted, earlier: tuple[Recovered, ...]) -> MoveFailed:
    """The error of a move that was interrupted before it began."""
    untouched = "nothing else was touched" if earlier else "nothing was touched"
    return MoveFailed(f"interrupted by {e.name}; {untouched}", step="interrupt", earlier=earlier)


def open_journal(directory: str) -> Journal:
    """Opens the directory of the records. Raises NetDevError."""
    try:
        return Journal(directory, create=True)
    except OSError as e:
        raise NetDevError(_unwritable(directory, e).text, errno=e.errno or 0, step="record") from None


def _unwritable(directory: str, e: OSError) -> Found:
    return Found("record.unwritable", None, record=e.filename or directory, why=e.strerror or "", errno=e.errno or 0)


def _watch(plan: Plan) -> Watch:
    """Subscribes before the first snapshot, so that later changes are notified."""
    try:
        return Watch(plan.source_visit, WATCH_BYTES)
    except EngineError as e:
        raise CheckFailed(
            plan.request_failed(plan.source, e, "watch", "permission.source").text,
            report=plan.report(),
            errno=e.errno,
            extack=e.extack,
            step=e.step,
        ) from None
