"""Runs `netdevns recover` and `netdevns return`, and reports the devices that they restore."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Sequence

from ..prepare.undo import tidy
from ..recovery import loans, returns
from ..recovery.recover import is_aside, is_wrong, pending, set_aside, undo_crashed
from ..reports import Recovered
from ..system import inputs
from ..system.folders import JOURNAL_DIR
from ..system.interrupts import Interrupts
from ..text.outcome import FAILED, LEFT, REFUSED, UNKNOWN, UNTOUCHED, answered
from ..text.output import complain, internal, print_json, print_text
from . import advice, screens


def run(args: argparse.Namespace) -> int:
    """Runs `recover`; returns its exit code."""

    def recover(interrupts: Interrupts) -> list[Recovered]:
        results = undo_crashed(JOURNAL_DIR, interrupts=interrupts)
        return results if interrupts.name else [*results, *tidy()]

    def shown(results: Sequence[Recovered]) -> str:
        return screens.recovered(results, sum(map(is_aside, set_aside(JOURNAL_DIR))))

    return _report(args, recover, shown, is_wrong)


def run_list(args: argparse.Namespace) -> int:
    """Runs `recover --list`; returns its exit code."""
    try:
        crashed, running, aside = pending(JOURNAL_DIR)
    except OSError as e:
        return _no_records(args, e)
    if args.json:
        return answered(print_json({"pending": crashed, "running": len(running), "set_aside": aside}))
    others = [f"{each.record}: {each.text}" for each in tidy(removes=False)]
    return answered(print_text(screens.pending(crashed, running, aside, others)))


def run_return(args: argparse.Namespace) -> int:
    """Runs `return`; returns its exit code."""
    container = None if args.container is None else inputs.as_json(args.container)

    def return_loans(interrupts: Interrupts) -> list[Recovered]:
        which = {"container": container, "has_arrived": args.arrived}
        # A poststop hook and `return --arrived` meet when a device comes back.
        how = {"wait_s": args.wait, "held_s": returns.WAIT_S, "is_ending": True, "interrupts": interrupts}
        return returns.return_loans(**which, **how)

    def shown(results: Sequence[Recovered]) -> str:
        if results or not args.arrived:
            return screens.returned(results, args.container, sorted({each.container for each in loans.listed()}))
        return "no device on loan has come back; nothing to do"

    return _report(args, return_loans, shown, returns.is_wrong)


def _report(
    args: argparse.Namespace,
    restore: Callable[[Interrupts], Sequence[Recovered]],
    shown: Callable[[Sequence[Recovered]], str],
    is_wrong: Callable[[Recovered], bool],
) -> int:
    interrupts = Interrupts()
    try:
        recovered = restore(interrupts)
    except OSError as e:
        return _no_records(args, e)
    except Exception as e:
        return complain([internal(e), UNKNOWN], LEFT)
    if args.json:
        print_json({"recovered": [dataclasses.asdict(each) for each in recovered]})
    else:
        print_text(shown(recovered))
    name = interrupts.name
    if not name or all(each.outcome != "kept" for each in recovered):  # a signal that came too late ends nothing
        return LEFT if any(map(is_wrong, recovered)) else 0
    if all(each.outcome == "kept" and each.location in ("target", "unknown") for each in recovered):
        return complain([f"interrupted by {name}; {UNTOUCHED}"], FAILED)
    return complain([f"interrupted by {name}; the other devices were handled"], LEFT)


def _no_records(args: argparse.Namespace, e: OSError) -> int:
    lines = [f"{e.filename or JOURNAL_DIR}: {e.strerror}", *advice.as_root(args.typed, e), UNTOUCHED]
    return complain(lines, REFUSED)
