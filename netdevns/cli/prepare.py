"""Runs `netdevns prepare`: output and exit codes."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable

from ..errors import NetDevError
from ..prepare import make, undo
from ..prepare.namespace import Refused
from ..recovery import loans
from ..reports import Recovered
from ..results import Left
from ..system.interrupts import Interrupts
from ..text.outcome import (
    LEFT,
    REFUSED,
    UNTOUCHED,
    UNTOUCHED_ELSE,
    Usage,
    device_arguments,
    not_carried,
    restored_first,
)
from ..text.output import complain, print_json, print_text
from . import advice, screens

Failed = Callable[[BaseException, bool, dict[str, object]], int]


def run(args: argparse.Namespace, kinds: Callable[[argparse.Namespace], list[str]], failed: Failed) -> int:
    """Runs the command; returns its exit code.

    Args:
        args: As parsed.
        kinds: Returns the kinds of --preserve. Raises Usage.
        failed: Reports a NetDevError or a Usage; returns the exit code.
    """
    nothing: dict[str, object] = {"path": None, "moved": [], "there": [], "changed": {}}
    document = {"recovered": []} if args.undo else nothing
    try:
        if args.undo:
            return _undo(args)
        return _prepare(args, frozenset(kinds(args)))
    except Refused as e:
        if e.earlier:
            return _refused(e, args.json)
        # Its context is the error that it words, if any.
        return failed(Usage(str(e), *advice.as_root(args.typed, e.__context__)), args.json, document)
    except (NetDevError, Usage, KeyboardInterrupt, MemoryError) as e:
        return failed(e, args.json, document)


def _prepare(args: argparse.Namespace, kinds: frozenset[str]) -> int:
    devices = device_arguments(args.devices)
    restored: list[Recovered] = []
    how = {"preserve": kinds, "force": args.force, "interrupts": Interrupts(), "restored": restored}
    ready = make.prepare(args.name, devices, **how)
    complain(restored_first(restored), 0)
    if args.json:
        moved = [dataclasses.asdict(each) for each in ready.moved]
        changed = {device: changes for device, changes in ready.there.items() if changes}
        print_json({"path": ready.path, "moved": moved, "there": [*ready.there], "changed": changed})
        return 0
    # On stdout the path alone: for $(netdevns prepare ...).
    undo_first = f"to restore it, run `{loans.command(args.name, {args.name})}` first"
    for device, changes in ready.there.items():
        complain([f"{device}: already there" + (f", but {', '.join(changes)}: {undo_first}" if changes else "")], 0)
    complain(not_carried({m.host_name: m.not_carried for m in ready.moved}), 0)
    print_text(ready.path)
    return 0


def _refused(e: Refused, as_json: bool) -> int:
    """Reports an undo that was refused after it had restored, or tried, devices."""
    kept = [each for each in e.earlier if each.outcome == "kept"]
    if as_json:
        left = [Left(each.device, each.location, None, None, (each.text,)) for each in kept if each.device is not None]
        error = {
            "text": str(e),
            "errno": 0,
            "rolled_back": not left,
            "left": [dataclasses.asdict(each) for each in left],
        }
        print_json({"recovered": [dataclasses.asdict(each) for each in e.earlier], "error": error})
    lines = [str(e), *restored_first(e.earlier), UNTOUCHED_ELSE]
    return complain(lines, LEFT if kept else REFUSED)


def _undo(args: argparse.Namespace) -> int:
    if args.devices or args.preserve is not None:
        raise Usage("--undo returns all devices: give only the name")
    try:
        results = undo.undo(args.name, force=args.force, interrupts=Interrupts())
    except OSError as e:
        if isinstance(e, NetDevError):
            raise
        lines = [f"{e.filename}: {e.strerror}", *advice.as_root(args.typed, e), UNTOUCHED]
        return complain(lines, REFUSED)
    if args.json:
        print_json({"recovered": [dataclasses.asdict(each) for each in results]})
    else:
        print_text(screens.recovered(results) if results else f"{args.name}: removed; no device was in it")
    return LEFT if any(each.outcome == "kept" for each in results) else 0
