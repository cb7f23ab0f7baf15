"""Implements `netdevns prepare --undo`, and the cleanup of prepared namespaces by `netdevns recover`."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from .. import api
from ..engine import EngineError
from ..recovery import loans, recover, returns
from ..recovery.layout import Damaged
from ..recovery.prepared import Busy, Namespaces, Prepared
from ..reports import Recovered
from ..system.exclusion import WAIT_S
from ..system.folders import JOURNAL_DIR
from ..system.interrupts import Interrupted, Interrupts, Patience
from ..system.netns import NETNS_DIR
from .namespace import Refused, check_unused, found_of, namespaces, others, path_of, removed, unknown, words

LEFT_BEHIND = "the `netdevns prepare` that made it was killed, or could not remove it"


def undo(name: str, *, force: bool = False, interrupts: Interrupts | None = None) -> list[Recovered]:
    """Returns the devices of a prepared namespace to the host, and removes the namespace.

    Args:
        name: The namespace.
        force: Even if processes are in it. The namespace stays if another device is in it.
        interrupts: The signals of a command.

    Returns:
        A result for each device; "kept": not restored, and the namespace stays.

    Raises:
        Refused: `prepare` did not make it, it is in use, or a step failed; `.earlier` has the devices that were
            restored, or tried, before it.
        OSError: The loans cannot be read; nothing was touched.
    """
    path = path_of(name)
    results: list[Recovered] = []
    try:
        with namespaces() as known, contextlib.ExitStack() as stack:
            _undo(known, stack, name, force, interrupts, results)
        return results
    except Refused as e:
        e.earlier = tuple(results)
        raise
    except Busy:
        raise Refused(f"{path}: another process is working on it") from None
    except Interrupted as e:
        if not results:
            raise api.interrupted(e, ()) from None
        return [*results, _kept(path, f"not checked: interrupted by {e.name}")]
    except (Damaged, EngineError) as e:
        raise Refused(f"{path}: {words(e)}", earlier=results) from None
    except OSError as e:
        if not results:
            raise
        raise Refused(f"{path}: {words(e)}", earlier=results) from None


def _undo(
    known: Namespaces,
    stack: contextlib.ExitStack,
    name: str,
    force: bool,
    interrupts: Interrupts | None,
    results: list[Recovered],
) -> None:
    """Adds to `results` as it goes on, so that they are known where a later step is refused."""
    path = path_of(name)
    patience = Patience(WAIT_S, interrupts)
    found = known.get(name, patience)
    if found is None:
        raise Refused(f"{path}: {unknown(name) or 'no such namespace; nothing to undo'}")
    stack.enter_context(contextlib.closing(found))
    opened = found_of(found, forgets=force)
    for each in opened or ():
        stack.enter_context(each)
    moves = known.crashed_of(found)
    crashed = recover.undo_crashed(JOURNAL_DIR, interrupts=interrupts, only=moves)
    # With the namespace, `recover` forgets devices that are not found.
    results += [each for each in crashed if not force or each.outcome != "kept" or recover.is_wrong(each)]
    tried = {os.path.basename(each.record) for each in crashed}
    if (moves - tried) & known.crashed_of(found):  # its device may be in the namespace, which --force would remove
        raise Refused(f"{path}: another process is moving a device into it, or undoing such a move; repeat this")
    if opened is not None and not force:
        check_unused(known, found, *opened)
    if opened is not None:
        results += known.return_devices(found, interrupts, patience, forgets=force)
    else:  # deleted by `ip netns del`
        only = {*known.loans_of(found)}
        results += returns.return_loans(only=only, wait_s=returns.WAIT_S, is_ending=True, interrupts=interrupts)
    if all(each.outcome != "kept" for each in results):
        text = others(found, opened[1]) if opened else ""
        text = text or removed(found, opened[0] if opened else None)
        results += [_kept(path, text.removeprefix(f"{path}: "))] if text else []


def tidy(*, removes: bool = True) -> Iterator[Recovered]:
    """Removes, or only lists, empty namespaces left by a killed `prepare`: a result for each.

    `record` is the namespace's path, or that of a file that cannot be used; `device` is None.
    """
    if not os.path.lexists(f"{JOURNAL_DIR}/{loans.PREPARED}"):
        return
    try:
        with Namespaces() as known:
            for found in known.free(removes=removes):
                if isinstance(found, Prepared):
                    yield from _tidied(known, found, removes)
                else:
                    yield found
    except OSError as e:
        yield _kept(e.filename, f"{e.strerror}; cannot look for namespaces left by a killed `netdevns prepare`")


def _tidied(known: Namespaces, found: Prepared, removes: bool) -> Iterator[Recovered]:
    path = f"{NETNS_DIR}/{found.name}"
    try:
        if known.loans_of(found):
            return
        opened = found.found()
        with contextlib.ExitStack() as stack:
            for each in opened or ():
                stack.enter_context(each)
            if opened is not None:
                check_unused(known, found, *opened)
            if not removes:
                if opened is not None:
                    yield _kept(path, f"no device is in it: {LEFT_BEHIND}")
                return
            text = removed(found, opened[0] if opened else None)
    except Refused:
        return  # in use
    except (Damaged, EngineError, OSError) as e:
        yield _kept(path, f"cannot find out whether a killed `netdevns prepare` left it: {words(e)}")
        return
    if text:
        yield _kept(path, text.removeprefix(f"{path}: "))
    elif opened is not None:
        yield Recovered(path, None, "undone", "gone", f"the empty namespace is removed: {LEFT_BEHIND}")


def _kept(path: str, text: str) -> Recovered:
    return Recovered(path, None, "kept", "unknown", text)
