"""The command line.

Exit codes: 0 done; 1 failed, everything as before; 2 bad usage, invalid configuration or a refusing check, nothing
touched; 3 failed and something could not be put back (the message says what).
"""

from __future__ import annotations

import os
import sys

from . import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    from .results import Moved, Report

FAILED, REFUSED, LEFT = 1, 2, 3

LOCATIONS = {
    "source": "in its old namespace",
    "target": "in the target namespace",
    "init": "in the initial namespace",
    "gone": "gone: in neither namespace",
    "unknown": "not found: it could not be looked for",
}


class Usage(Exception):
    """Arguments that argparse lets pass and that make no sense."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code. Prints one line for each fact, never a traceback."""
    args = list(sys.argv[1:] if argv is None else argv)
    _end_by_exception()
    _print_any_name()
    try:
        if args[:1] == ["hook"] and not {"-h", "--help"} & set(args):
            return _hook(args[1:])  # without argparse: a hook must start fast
        parsed = _parser().parse_args(args)
        code: int = parsed.run(parsed)
        return code
    except KeyboardInterrupt:
        return _complain(["interrupted; nothing was touched"], FAILED)
    except SystemExit as e:
        return e.code if isinstance(e.code, int) else FAILED
    except ImportError as e:
        return _complain([str(e)], FAILED)
    except Exception as e:
        return _complain([_internal(e)], FAILED)


def _internal(e: Exception) -> str:
    """An error that should not be, with its place: a traceback is not for users."""
    where = e.__traceback__
    while where is not None and where.tb_next is not None:
        where = where.tb_next
    place = f"{os.path.basename(where.tb_frame.f_code.co_filename)}:{where.tb_lineno}" if where else "?"
    return f"internal error at {place}: {type(e).__name__}: {e}; please report it"


def _end_by_exception() -> None:
    """SIGTERM and SIGHUP must undo like Ctrl-C does: they become an exception."""
    import signal

    def end(number: int, frame: object) -> None:  # noqa: ARG001  # the signature of a handler
        raise SystemExit(128 + number)

    try:
        signal.signal(signal.SIGTERM, end)
        signal.signal(signal.SIGHUP, end)
    except ValueError:
        return  # not the main thread (an embedder calls main): signals are not ours to handle


def _print_any_name() -> None:
    """A device's name is bytes: what is no text must not end the command when it is printed."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="surrogateescape")


def _complain(lines: list[str], code: int) -> int:
    """Tells on stderr; that nobody reads it, or that there is none, does not change the exit code."""
    if sys.stderr is None:
        return code
    try:
        for line in lines:
            sys.stderr.write(f"netdevns: {line}\n")
        sys.stderr.flush()
    except OSError:
        _nobody_reads(2)
    return code


def _tell(text: str) -> None:
    """Tells on stdout; that nobody reads it does not change what was done, nor the exit code."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        _nobody_reads(1)


def _nobody_reads(fd: int) -> None:
    """The reader went away: what is still buffered must not make Python complain at its end, with an exit code."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), fd)


def device_arguments(arguments: Sequence[str]) -> dict[str, str | None]:
    """DEV or DEV=NAME, each device once."""
    devices: dict[str, str | None] = {}
    for argument in arguments:
        device, _, name = argument.partition("=")
        if not device:
            raise Usage(f'"{argument}": a device is missing; write DEV or DEV=NAME')
        if device in devices:
            raise Usage(f"{device}: this device is given twice")
        devices[device] = name or None
    return devices


def _lines_of(e: errors.NetDevError) -> list[str]:
    """An error, one line a fact: what, and where each device is now."""
    if isinstance(e, errors.CheckFailed):
        lines = [finding.text for finding in e.report.findings if finding.severity == "error"]
        return [*lines, "nothing was touched"]
    lines = [e.text] if isinstance(e, errors.MoveFailed) else [e.text, "nothing was touched"]
    for left in e.left:
        name = f", named {left.name} (ifindex {left.ifindex})" if left.name else ""
        lines.append(f"{left.device}: {LOCATIONS[left.location]}{name}; not as before: {', '.join(left.missing)}")
    return lines


def _code_of(e: errors.NetDevError) -> int:
    if isinstance(e, errors.MoveFailed):
        return LEFT if e.left else FAILED
    return REFUSED


def _failed(e: BaseException, as_json: bool, document: Mapping[str, object]) -> int:
    """Tells of a failure, on stderr and (with --json) in the document on stdout."""
    if isinstance(e, (errors.ConfigInvalid, Usage)):
        lines, code = [str(e), "nothing was touched"], REFUSED
        error: dict[str, object] = {"text": str(e), "errno": 0, "rolled_back": True, "left": []}
    else:
        told = e if isinstance(e, errors.NetDevError) else e.__cause__
        if not isinstance(told, errors.NetDevError):
            raise e
        lines, code = _lines_of(told), _code_of(told)
        error = _json_error(told)
    if as_json:
        _print_json({**document, "error": error})
    return _complain(lines, code)


def _json_error(e: errors.NetDevError) -> dict[str, object]:
    import dataclasses

    names = ("text", "errno", "extack", "device", "step", "netns", "rolled_back", "location")
    error: dict[str, object] = {name: getattr(e, name) for name in names}
    error["left"] = [dataclasses.asdict(left) for left in e.left]
    if isinstance(e, errors.CheckFailed):
        error["findings"] = [dataclasses.asdict(finding) for finding in e.report.findings]
    return error


def _print_json(document: Mapping[str, object]) -> None:
    import json

    _tell(json.dumps(document, indent=2))


def _move(devices: Mapping[str, str | None], netns: object, source: object, args: argparse.Namespace) -> int:
    from .transaction import move

    try:
        moved = move(devices, netns, source=source, force=args.force)  # type: ignore[arg-type]
    except (errors.NetDevError, KeyboardInterrupt, SystemExit) as e:
        return _failed(e, args.json, {"moved": []})
    if args.json:
        import dataclasses

        _print_json({"moved": [dataclasses.asdict(m) for m in moved]})
    else:
        _print_moved(moved, str(netns if not hasattr(netns, "where") else netns.where))
    return 0


def _print_moved(moved: tuple[Moved, ...], where: str) -> None:
    for m in moved:
        count = f"{len(m.addresses)} address{'' if len(m.addresses) == 1 else 'es'}"
        lost = f"; not carried: {', '.join(m.not_carried)}" if m.not_carried else ""
        _tell(f"{m.host_name} -> {m.name} in {where} (ifindex {m.ifindex}), {count}{lost}")
    if not moved:
        _tell("no device is asked for; nothing to do")


def _netns(text: str) -> str | int:
    """A NETNS argument: as NetNS.open, with an open descriptor as fd:N."""
    if text.startswith("fd:") and text[3:].isascii() and text[3:].isdigit():
        return int(text[3:])
    return text


def _run_move(args: argparse.Namespace) -> int:
    try:
        devices = device_arguments(args.devices)
    except Usage as e:
        return _failed(e, args.json, {"moved": []})
    return _move(devices, _netns(args.to), None if args.source is None else _netns(args.source), args)


def _configured(args: argparse.Namespace) -> tuple[dict[str, str], str | int]:
    """What a bundle asks for, and the namespace it is for."""
    from . import oci

    config = oci.load(args.config or os.path.join(args.bundle, "config.json"))
    devices = oci.net_devices(config)
    path = oci.network_namespace(config)
    if args.pid is not None:
        return devices, f"pid:{args.pid}"
    if args.netns is not None:
        return devices, _netns(args.netns)
    if path is None:
        raise Usage("the configuration names no namespace to join: say whose it is with --pid or --netns")
    return devices, path


def _run_apply(args: argparse.Namespace) -> int:
    args.force = True  # the operator wrote the configuration: a default route is no reason to refuse
    try:
        devices, netns = _configured(args)
    except (errors.ConfigInvalid, Usage) as e:
        return _failed(e, args.json, {"moved": []})
    return _move(devices, netns, None, args)


def _run_check(args: argparse.Namespace) -> int:
    from .checks import check

    document: dict[str, object] = {"ok": False, "findings": []}
    devices: Mapping[str, str | None]
    try:
        if args.bundle is not None or args.config is not None:
            if args.devices or args.to:
                raise Usage("give devices and --to, or a bundle, not both")
            devices, netns = _configured(args)
            args.force = True
        elif args.devices and args.to:
            devices, netns = device_arguments(args.devices), _netns(args.to)
        else:
            raise Usage("give devices and --to NETNS, or --bundle DIR and --pid PID")
        report = check(devices, netns, force=args.force)
    except (errors.ConfigInvalid, errors.NetDevError, Usage) as e:
        return _failed(e, args.json, document)
    if args.json:
        import dataclasses

        _print_json(dataclasses.asdict(report))
    else:
        _print_report(report)
    return 0 if report.ok else REFUSED


def _print_report(report: Report) -> None:
    for finding in report.findings:
        _tell(f"{finding.severity:5}  {finding.text}")
    _tell("ok: nothing stands against this move" if report.ok else "refused: a move would not begin")


def _hook(args: Sequence[str]) -> int:
    from . import hooklog, oci

    try:
        # To the end and before anything can fail: runtimes break when a hook leaves its stdin unread.
        data = b"" if sys.stdin is None else sys.stdin.buffer.read()
        lines, code = _create_runtime(data, args)
    except (KeyboardInterrupt, SystemExit) as e:
        told = e.__cause__
        lines = _lines_of(told) if isinstance(told, errors.NetDevError) else ["interrupted; nothing was touched"]
        code = _code_of(told) if isinstance(told, errors.NetDevError) else FAILED
    except ImportError as e:
        lines, code = [str(e)], FAILED
    except Exception as e:
        lines, code = [_internal(e)], FAILED
    lines = [oci.printable(line) for line in lines]
    if lines:
        unlogged = hooklog.log(lines)
        lines += [unlogged] if unlogged else []
    return _complain(lines, code)


def _create_runtime(data: bytes, args: Sequence[str]) -> tuple[list[str], int]:
    """What there is to say, and the exit code."""
    from . import hook

    try:
        if args[:1] != ["createRuntime"]:
            raise Usage("hook: the stage is missing or unknown; write: netdevns hook createRuntime [DEV=NAME ...]")
        for argument in args[1:]:
            if argument.startswith("-"):
                raise Usage(f"hook: unknown option {argument}")
        hook.create_runtime(data, device_arguments(args[1:]))
    except (errors.ConfigInvalid, Usage) as e:
        return [str(e), "nothing was touched"], REFUSED
    except errors.NetDevError as e:
        return _lines_of(e), _code_of(e)
    return [], 0


def _run_demo(args: argparse.Namespace) -> int:  # noqa: ARG001  # every command's signature
    from . import demo

    return demo.main(main)


def _parser() -> argparse.ArgumentParser:
    from . import usage

    return usage.parser({"move": _run_move, "apply": _run_apply, "check": _run_check, "demo": _run_demo})
