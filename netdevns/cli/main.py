"""Runs the command line; the exit codes are those of `text.outcome`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Collection, Mapping, Sequence

from .. import errors
from ..reports import Recovered
from ..system.interrupts import ENDING, Interrupts
from ..text.outcome import (
    FAILED,
    REFUSED,
    UNTOUCHED,
    Usage,
    answered,
    code_of,
    device_arguments,
    lines_of,
    restored_first,
)
from ..text.output import complain, end_by_exception, internal, print_any_name, print_json, print_text, warn_in_a_line
from ..text.quote import quoted
from .advice import Asked

RECOVERABLE = "run `netdevns recover`, which undoes what may be left of a move or of a new namespace"


def main(argv: Sequence[str] | None = None, *, advise: bool = True) -> int:
    """Runs the command; returns its exit code. Prints one line for each fact, never a traceback.

    The signal mask is restored when it returns, for a caller that goes on.

    Args:
        argv: Without the program's name; sys.argv by default.
        advise: Whether to suggest the next command after an error.
    """
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        return _main(sys.argv[1:] if argv is None else argv, advise=advise)
    finally:
        if signal.pthread_sigmask(signal.SIG_BLOCK, ()) != mask:
            while signal.sigtimedwait(ENDING, 0):
                pass  # these were for the command, which has ended
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def program() -> int:
    """`main` for a process that ends afterwards: signals stay blocked, so a late one does not change the exit code."""
    return _main(sys.argv[1:], advise=True)


def _main(argv: Sequence[str], *, advise: bool) -> int:
    args = list(argv)
    print_any_name()
    warn_in_a_line()
    try:
        if args[:1] == ["hook"] and not {"-h", "--help"} & set(args):
            from ..oci import hook_command  # has its own parser: stdin is read to its end before anything can fail

            return hook_command.run(args[1:])
        parsed, unknown = _parser().parse_known_args(args)
        if unknown:  # with the usage of the command, not of the program
            parsed.parser.error(f"unrecognized arguments: {' '.join(map(quoted, unknown))}{_why_late(parsed, unknown)}")
        parsed.advise, parsed.typed = advise, args
        code: int = parsed.run(parsed)
        return code
    except KeyboardInterrupt:  # commands that change devices block signals
        return complain(["interrupted"], FAILED)
    except SystemExit as e:
        return e.code if isinstance(e.code, int) else FAILED
    except ImportError as e:
        return complain([str(e)], FAILED)
    except MemoryError as e:  # of a failed move: reported with the places of its devices
        return complain([f"{internal(e)}; {RECOVERABLE}"], FAILED)
    except Exception as e:
        return complain([internal(e)], FAILED)


def _why_late(args: argparse.Namespace, unknown: Collection[str]) -> str:
    """Why argparse does not take words as devices: it only takes those that stand together."""
    if not hasattr(args, "devices") or any(word.startswith("-") for word in unknown):
        return ""
    return "; write all devices before the options"


def _kinds(args: argparse.Namespace) -> list[str]:
    """The kinds of --preserve KIND,...; none for apply, which has no such option."""
    from ..batch.plan import PRESERVABLE

    asked = getattr(args, "preserve", None)
    kinds = [] if asked is None else asked.split(",")
    for kind in kinds:
        if kind not in PRESERVABLE:
            raise Usage(f'--preserve: unknown kind "{quoted(kind)}"; known are {", ".join(PRESERVABLE)}')
    return kinds


def _away(devices: Collection[str | None], source: str | None) -> list[str]:
    """Lines about those of these devices of `source` that are on loan, or in the record of a killed move."""
    from ..recovery import earlier, loans
    from ..system.netns import CURRENT
    from .advice import argument

    netns = CURRENT if source is None else argument(source)
    return loans.lines(devices, netns) + earlier.lines(devices, netns)


def _failed(
    e: BaseException,
    as_json: bool,
    document: Mapping[str, object],
    asked: Asked | None = None,
    *,
    source: str | None = None,
) -> int:
    """Reports a failure on stderr and, with --json, in the document on stdout; returns the exit code.

    `source`: the devices' namespace, as given. `asked`: for the next command; None: there is none to suggest.
    """
    if isinstance(e, (errors.ConfigInvalid, Usage)):
        text, *following = map(str, e.args)
        lines, code = [text, *following, UNTOUCHED], REFUSED
        error: dict[str, object] = {"text": text, "errno": 0, "rolled_back": True, "left": []}
    else:
        cause = e if isinstance(e, errors.NetDevError) else e.__cause__
        if not isinstance(cause, errors.NetDevError):
            raise e
        lines, code = lines_of(cause, lambda devices: _away(devices, source)), code_of(cause)
        error = _json_error(cause)
        verdict = [lines.pop()] if lines[-1] == UNTOUCHED else []
        if asked is not None and cause is e:
            lines += [f"next: {command}" for command in _advice(cause, asked)]
        if asked is None or asked.command != "show":  # which changes nothing anyway
            lines += verdict
    if as_json:
        print_json({**document, "error": error})
    return complain(lines, code)


def _advice(e: errors.NetDevError, asked: Asked) -> list[str]:
    try:
        from . import advice

        if isinstance(e, errors.CheckFailed):
            return advice.after_check(e.report.findings, asked)
        if isinstance(e, errors.MoveFailed) and e.step not in ("time-out", "interrupt"):
            return advice.after_failure(asked, left_in_target=any(left.location == "target" for left in e.left))
        if not isinstance(e, errors.MoveFailed):
            return advice.after_refusal(asked, e)
    except BaseException:  # a signal, too: the error must be reported all the same
        return []
    return []


def _json_error(e: errors.NetDevError) -> dict[str, object]:
    import dataclasses

    names = ("text", "errno", "extack", "device", "step", "netns", "rolled_back", "location")
    error: dict[str, object] = {name: getattr(e, name) for name in names}
    error["left"] = [dataclasses.asdict(left) for left in e.left]
    if isinstance(e, errors.CheckFailed):
        error["findings"] = [dataclasses.asdict(finding) for finding in e.report.findings]
    return error


def _move(devices: Mapping[str, str | None], target: str, args: argparse.Namespace, asked: Asked) -> int:
    # Everything is imported now, also for the report: after the move a module may be unreadable.
    import dataclasses

    from ..api import transact
    from ..recovery import loans  # noqa: F401
    from ..system.folders import JOURNAL_DIR
    from . import screens
    from .advice import argument
    from .progress import Progress

    source = None if asked.source is None else argument(asked.source)
    progress = Progress(None if args.json else sys.stderr)
    interrupts = Interrupts()
    restored: list[Recovered] = []
    try:
        with progress:
            options = {"force": args.force, "journal": JOURNAL_DIR, "results": True, "on_step": progress}
            options |= {"preserve": frozenset(_kinds(args)), "interrupts": interrupts, "restored": restored}
            moved = transact(devices, argument(target), source=source, **options)
        complain(restored_first(restored), 0)
        if args.json:
            print_json({"moved": [dataclasses.asdict(m) for m in moved]})
        else:
            print_text(screens.moved(moved, target))
    except BaseException as e:  # a MemoryError, for example: the place of the devices must be reported
        if progress.arrived and not isinstance(e, errors.NetDevError) and e.__cause__ is None:
            how = internal(e) if isinstance(e, Exception) else "interrupted"
            return complain([f"{how} after the move was complete: the devices are in {target}"], 0)
        if isinstance(e, (KeyboardInterrupt, SystemExit)) and e.__cause__ is None:  # before anything was sent
            return complain([f"interrupted; {UNTOUCHED}"], FAILED)
        return _failed(e, args.json, {"moved": []}, asked if args.advise else None, source=asked.source)
    return 0


def _asked(args: argparse.Namespace, devices: Mapping[str, str | None], target: str | None) -> Asked:
    """The command line as typed, for corrections; it does not contain a bundle's devices."""
    from .advice import Asked

    named = {"--bundle": "bundle", "--config": "config", "--pid": "pid", "--netns": "netns"}
    named |= {"--to": "to", "--from": "source", "--preserve": "preserve"}
    given = [(option, getattr(args, name, None)) for option, name in named.items()]
    options = [word for option, value in given if value is not None for word in (option, str(value))]
    force = ["--force"] if devices and getattr(args, "force", False) else []
    return Asked(args.command, devices, (*options, *force), target, getattr(args, "source", None))


def _run_move(args: argparse.Namespace) -> int:
    try:
        devices = device_arguments(args.devices)
        _kinds(args)
    except Usage as e:
        return _failed(e, args.json, {"moved": []})
    return _move(devices, args.to, args, _asked(args, devices, args.to))


def _configured(args: argparse.Namespace) -> tuple[dict[str, str], str]:
    """The devices that a bundle asks for, and the target namespace."""
    from ..oci import config_json

    config = config_json.load(args.config or os.path.join(args.bundle, "config.json"))
    devices = config_json.net_devices(config)
    path = config_json.network_namespace(config)
    if args.pid is not None:
        return devices, f"pid:{args.pid}"
    if args.netns is not None:
        return devices, args.netns
    if path is None:
        raise Usage("the configuration names no namespace to join: give the container's with --pid or --netns")
    return devices, path


def _run_apply(args: argparse.Namespace) -> int:
    args.force = True  # the operator wrote the configuration: a default route is no reason to refuse
    try:
        devices, target = _configured(args)
    except (errors.ConfigInvalid, Usage) as e:
        return _failed(e, args.json, {"moved": []})
    return _move(devices, target, args, _asked(args, {}, target))


def _run_check(args: argparse.Namespace) -> int:
    from ..api import check
    from ..system.folders import JOURNAL_DIR
    from ..text import tables
    from . import advice, screens

    document: dict[str, object] = {"ok": False, "findings": []}
    devices: Mapping[str, str | None]
    try:
        if args.bundle is not None or args.config is not None:
            if args.devices or args.to:
                raise Usage("give devices and --to, or a bundle, not both")
            if args.preserve is not None:
                raise Usage("--preserve is not for a bundle: apply carries nothing over")
            devices, target = _configured(args)
            args.force = True
            asked = _asked(args, {}, target)
        elif args.devices and args.to:
            devices, target = device_arguments(args.devices), args.to
            asked = _asked(args, devices, target)
        else:
            raise Usage("give devices and --to NETNS, or --bundle DIR and --pid PID")
        source = None if args.source is None else advice.argument(args.source)
        how = {"source": source, "preserve": _kinds(args), "journal": JOURNAL_DIR, "force": args.force}
        report = check(devices, advice.argument(target), **how)
    except (errors.ConfigInvalid, errors.NetDevError, Usage) as e:
        return _failed(e, args.json, document, source=args.source)
    if args.json:
        import dataclasses

        is_written = print_json(dataclasses.asdict(report))
    else:
        is_written = print_text(
            screens.check(
                report,
                _away(devices, args.source),
                advice.after_check(report.findings, asked),
                tables.columns(sys.stdout),
            )
        )
    return answered(is_written, 0 if report.ok else REFUSED)


def _run_show(args: argparse.Namespace) -> int:
    import dataclasses

    from ..recovery import earlier, loans
    from ..text import tables
    from . import advice, screens, show

    asked = dataclasses.replace(_asked(args, dict.fromkeys(args.devices), None), source=args.netns)
    try:
        devices = show.devices(args.devices, None if args.netns is None else advice.argument(args.netns))
        lent = loans.listed(devices=args.devices or None) if args.netns is None else []
    except errors.NetDevError as e:
        return _failed(e, args.json, {"devices": []}, asked, source=args.netns)
    if args.json:
        document = {"devices": [*map(dataclasses.asdict, devices)], "loans": [*map(dataclasses.asdict, lent)]}
        return answered(print_json(document))
    killed = earlier.lines(args.devices or None) if args.netns is None else []
    following = advice.after_show(devices, asked) if args.devices else []
    namespaces = loans.prepared() if lent else ()
    return answered(print_text(screens.show(devices, lent, namespaces, killed, following, tables.columns(sys.stdout))))


def _run_recover(args: argparse.Namespace) -> int:
    from . import recover

    return recover.run_list(args) if args.list else recover.run(args)


def _run_return(args: argparse.Namespace) -> int:
    from . import recover

    return recover.run_return(args)


def _run_prepare(args: argparse.Namespace) -> int:
    from . import prepare

    return prepare.run(args, _kinds, _failed)


def _run_features(args: argparse.Namespace) -> int:  # noqa: ARG001  # every command's signature
    from ..oci import config_json

    return answered(print_json(config_json.features()))


def _run_doctor(args: argparse.Namespace) -> int:
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # it changes nothing, not even beside its modules
    try:
        from . import doctor

        return doctor.run(args)
    finally:
        sys.dont_write_bytecode = before


def _run_conformance(args: argparse.Namespace) -> int:
    from ..conformance import command

    return command.main(args)


def _run_files(args: argparse.Namespace) -> int:
    from . import files

    return files.run(args)


def _run_demo(args: argparse.Namespace) -> int:  # noqa: ARG001  # every command's signature
    from . import demo

    end_by_exception()
    # No advice: the sandbox is gone before the next command can be typed.
    return demo.main(lambda arguments: main(arguments, advise=False))


def _parser() -> argparse.ArgumentParser:
    from . import usage

    runs = {"move": _run_move, "apply": _run_apply, "check": _run_check, "show": _run_show}
    runs |= {"recover": _run_recover, "features": _run_features, "demo": _run_demo}
    runs |= {"conformance": _run_conformance, "return": _run_return, "prepare": _run_prepare, "doctor": _run_doctor}
    runs |= dict.fromkeys(("cdi", "hooks-dir", "netavark", "nri", "units"), _run_files)
    return usage.parser(runs)
