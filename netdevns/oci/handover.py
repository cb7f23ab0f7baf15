"""Moves the devices of a hook into its container's namespace, except those that the runtime has moved already."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Mapping

from .. import api, errors
from ..engine import EngineError, Socket, lookups
from ..netlink import ifname, wire
from ..recovery import layout, loans, returns
from ..recovery.earlier import Earlier, including
from ..recovery.layout import Damaged, Section
from ..recovery.record import load
from ..recovery.return_home import may_be
from ..recovery.store import Journal
from ..reports import Recovered
from ..system.exclusion import WAIT_S
from ..system.folders import JOURNAL_DIR
from ..system.interrupts import Interrupted, Interrupts, Patience
from ..system.netns import CURRENT, NetNS
from ..system.process import Process
from ..text import quote
from ..text.outcome import gone_lines, not_carried, restored_first
from . import config_json
from .config_json import State


def to_process(
    state: State,
    held: int,
    config: Mapping[str, object],
    devices: Mapping[str, str],
    forced: frozenset[str],
    interrupts: Interrupts,
) -> list[str]:
    """Moves devices into the network namespace of a container's process.

    Args:
        state: The container's state.
        held: A pidfd of its process, or -1.
        config: Its config.json.
        devices: Host name -> name in the container.
        forced: Devices that the operator named, which may carry a default route.
        interrupts: The hook's.

    Returns:
        The lines of `settled_lines`, and one for each device that lost state.

    Raises:
        ConfigInvalid: The container uses the host's network namespace, or the state's process is in another one than
            config.json names; nothing was touched.
        NetDevError: As `move`.
    """
    # Opened once, so that all steps use the same process and namespace.
    with _process(state.pid, held) as process, NetNS.open(f"pid:{state.pid}") as target, NetNS.open(CURRENT) as own:
        if process.has_ended():  # the namespace may be that of a later process with the same pid
            raise _ended(state.pid, "the container's process has ended")
        if target.same(own):
            raise errors.ConfigInvalid(
                f"container {quote.quoted(state.id)} has no network namespace of its own: "
                f"its process {state.pid} is in the host's, where the devices are already"
            )
        _is_the_containers(state, config, target)
        with api.open_journal(JOURNAL_DIR) as journal, open_lender(state.id) as lender:
            # First: devices that a killed hook left in the container must not count as moved by the runtime.
            earlier = settled(journal, devices, own, interrupts)
            with including(earlier.undone):
                devices = _not_there_yet(devices, own, target)
            api.transact(
                devices, target, force=forced, lender=lender, interrupts=interrupts, earlier=earlier, process=process
            )
            return settled_lines(earlier) + not_carried(lender.lost)


def settled(
    journal: Journal, devices: Mapping[str, str], own: NetNS, interrupts: Interrupts, *, wait_s: float = WAIT_S
) -> Earlier:
    """The earlier moves of these devices, undone; so are loans of ended containers that name one of them.

    `wait_s`: seconds to wait for other movers, and as long for devices that the kernel has not returned yet.
    `undone` of the result has also what became of loans, of other containers, too: see `settled_lines`.

    Raises:
        NetDevError: The records or loans cannot be read, or a signal came; its `earlier` is what was done until then.
    """
    earlier = Earlier(journal, devices, own, Patience(wait_s, interrupts), interrupts)
    with including(earlier.undone):
        try:
            if earlier.found():
                earlier.undo()
            # Devices of an ended container whose poststop hook never ran, or ran too early.
            if loans.are_there() and not earlier.kept:
                _return_loans(devices, min(wait_s, returns.WAIT_S), interrupts, earlier.undone)
        except Interrupted as e:
            raise api.interrupted(e, tuple(earlier.undone)) from None
    return earlier


def settled_lines(earlier: Earlier) -> list[str]:
    """A line for each device that was restored before the move, ended with its container, or could not be restored."""
    others = [each for each in earlier.undone if each.outcome != "gone"]
    return restored_first(others) + gone_lines(earlier.undone, "its container")


def open_lender(container: str) -> loans.Lender:
    """The writer of a container's loan. Raises NetDevError."""
    try:
        return loans.Lender(JOURNAL_DIR, container)
    except OSError as e:
        text = f"{e.filename}: no loan of the container can be written there: {e.strerror}"
        raise errors.NetDevError(text, errno=e.errno or 0, step="record") from None


def _process(pid: int, held: int) -> Process:
    try:
        return Process(pid, held)
    except OSError as e:
        if e.errno in (errno.ESRCH, errno.ENOENT):
            raise _ended(pid, "no such process") from None
        text = f"pid:{pid}: the container's process cannot be held: {e.strerror}"
        raise errors.NetDevError(text, errno=e.errno or 0, step="open") from None


def _ended(pid: int, words: str) -> errors.NetDevError:
    return errors.NetDevError(f"pid:{pid}: {words}", errno=errno.ESRCH, step="open")


def _return_loans(devices: Mapping[str, str], wait_s: float, interrupts: Interrupts, done: list[Recovered]) -> None:
    """Adds to `done` what became of the loans, without devices that a later call restores."""

    def add(results: list[Recovered]) -> None:
        # A held one is reported by its holder.
        done.extend(x for x in results if x.outcome != "kept" or (returns.is_wrong(x) and x.text != returns.HELD))

    try:
        add(returns.return_loans(devices=map(ifname.encode, devices), wait_s=wait_s, interrupts=interrupts))
        interrupts.look()
        add(returns.sweep(interrupts=interrupts))
        interrupts.look()
    except OSError as e:
        raise _unreadable(e) from None


def _unreadable(e: OSError) -> errors.NetDevError:
    text = f"{e.filename}: the loans cannot be read: {e.strerror}"
    return errors.NetDevError(text, errno=e.errno or 0, step="record")


def _is_the_containers(state: State, config: Mapping[str, object], target: NetNS) -> None:
    """Raises ConfigInvalid if config.json joins a namespace by path and the process is not in it.

    A hook runs in the runtime's mount namespace (runtime-spec, config.md, createRuntime), so the path is the same file
    here. This is the only check that detects a pid that was reused before the hook began.
    """
    if config_json.network_entry(config) is None:  # the runtime has chosen a namespace itself
        return
    path = config_json.network_namespace(config)
    if path is None:
        return
    try:
        joined = NetNS.open(path)
    except errors.NetDevError as e:
        raise errors.ConfigInvalid(f"config.json, linux.namespaces: {e.text}") from None
    with joined:
        if not joined.same(target):
            raise errors.ConfigInvalid(
                f"container {quote.quoted(state.id)}: its process {state.pid} is not in the network namespace that "
                f"config.json names, {quote.quoted(path)}; the number may be another process's by now"
            )


def _not_there_yet(devices: Mapping[str, str], own: NetNS, target: NetNS) -> dict[str, str]:
    """The devices without those that the runtime has moved: absent here, and in the target under the wanted name.

    Raises:
        NetDevError: This thread is still in the container's namespace, or the loans cannot be read.
    """
    encoded = {host_name: (ifname.encode(host_name), ifname.encode(name)) for host_name, name in devices.items()}
    literal = [h for h, (old, new) in encoded.items() if not ifname.why_invalid(old) and not ifname.is_template(new)]
    literal = [h for h in literal if not ifname.why_invalid(encoded[h][1])]
    try:
        with Socket() as here, Socket(target.fd) as there:
            old = lookups.ask(here, [wire.get_link(name=encoded[h][0]) for h in literal])
            new = lookups.ask(there, [wire.get_link(name=encoded[h][1]) for h in literal])
            done = {
                h: link
                for h, a, b in zip(literal, old, new, strict=True)
                if lookups.link_of(a) is None
                and (link := lookups.link_of(b)) is not None
                and link.name == encoded[h][1]
            }
            lent = _lent_elsewhere(done, recognizer(own, here), recognizer(target, there)) if done else set()
    except EngineError as e:
        if e.errno == errno.ENOTRECOVERABLE:  # this thread is still in the container's namespace
            raise errors.NetDevError(f"{target.where}: {lookups.format_error(e)}", errno=e.errno, step="open") from None
        return dict(devices)  # the checks of the move report the reason, such as a missing capability
    return {host_name: name for host_name, name in devices.items() if host_name not in done or host_name in lent}


def _lent_elsewhere(
    there: Mapping[str, wire.Link], is_own: Callable[[Section], bool], is_target: Callable[[Section], bool]
) -> set[str]:
    """Those of these devices that are on loan to another namespace: the one that has the name there is another device.

    Otherwise a container would start with a device of its own network, such as eth0, in place of the one asked for.
    """
    found: set[str] = set()
    try:
        with Journal(JOURNAL_DIR, create=False, folder=loans.FOLDER) as opened:
            for record in opened.seen(loans.naming(opened, {ifname.encode(name) for name in there})):
                with contextlib.suppress(Damaged, OSError):  # reported by `netdevns return`
                    sections = record.sections()
                    source = next(section for section in sections if section.type == layout.SOURCE)
                    if is_target(layout.target(sections)) or not is_own(source):
                        continue
                    lent = {each.host_name: each.link for each in load(sections).devices if each.host_name in there}
                    found |= {name for name, link in lent.items() if not may_be(link, there[name])}
    except OSError as e:
        raise _unreadable(e) from None
    return found


def recognizer(netns: NetNS, socket: Socket) -> Callable[[Section], bool]:
    """A test whether the section of a record or loan is of this namespace; `socket`: in it."""
    status = os.fstat(netns.fd)
    here = {layout.A_DEV: status.st_dev, layout.A_INO: status.st_ino, layout.A_COOKIE: socket.cookie}
    return lambda section: all(section.number(type_) == number for type_, number in here.items())
