"""Runs `netdevns hook STAGE [--allow GLOB ...] [DEV=NAME ...]`: arguments, exit code, lines for stderr and the log."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from .. import errors
from ..system import inputs
from ..system.interrupts import Interrupts
from ..text.outcome import (
    FAILED,
    LEFT,
    REFUSED,
    UNKNOWN,
    UNTOUCHED,
    Usage,
    bounded,
    code_of,
    device_arguments,
    gone_lines,
    interruption,
    lines_of,
    record_lines,
)
from ..text.output import complain, internal, warn_in_a_line
from ..text.quote import quoted
from . import config_json, hook, hook_log
from .hook_log import STDERR_WAIT_S

STAGES = ("createRuntime", "poststop")
WRITE = "write: netdevns hook createRuntime [--allow GLOB ...] [DEV=NAME ...], or netdevns hook poststop"


class Arguments:
    """The arguments behind `hook`.

    Attributes:
        stage: One of STAGES.
        allowed: Globs for host names that annotations may ask for.
        devices: DEV -> NAME or None.
    """

    __slots__ = ("allowed", "devices", "stage")

    def __init__(self, args: Sequence[str]) -> None:
        """Parses the arguments. Raises Usage."""
        if not args or args[0] not in STAGES:
            raise Usage(f"hook: the stage is missing or unknown; {WRITE}")
        self.stage = args[0]
        self.allowed: list[str] = []
        devices: list[str] = []
        todo = list(args[1:])
        while todo:
            word = todo.pop(0)
            if word == "--":  # the kernel allows names that begin with "-"
                devices += todo
                break
            if word == "--allow" and todo:
                self.allowed.append(todo.pop(0))
            elif word.startswith("--allow="):
                self.allowed.append(word.removeprefix("--allow="))
            elif word == "--allow":
                raise Usage("hook: --allow: a GLOB for host names is missing")
            elif word.startswith("-"):
                raise Usage(f"hook: unknown option {quoted(word)}; {WRITE}")
            else:
                devices.append(word)
        if "" in self.allowed:
            raise Usage("hook: --allow: an empty GLOB matches no device")
        self.devices = device_arguments(devices)
        if self.stage == "poststop" and (self.allowed or self.devices):
            raise Usage("hook: poststop takes no arguments: the container's loan has its devices")


def _lent(devices: Collection[str | None]) -> list[str]:
    from ..recovery import loans

    return loans.lines(devices)


def _lines_of(e: errors.NetDevError) -> list[str]:
    """An error as lines, with the remedies of a refusal before the verdict."""
    lines = lines_of(e, _lent)
    if isinstance(e, errors.CheckFailed):
        hints = [found.hint for found in e.report.findings if found.severity == "error" and found.hint is not None]
        devices = [f"next: ask for {hint}" for hint in hints if "=" in hint and " " not in hint]
        # The container ends with its hook: no command for its process helps.
        commands = [f"next: {hint}" for hint in hints if " " in hint and not hint.startswith("nsenter -t ")]
        lines[-1:-1] = dict.fromkeys(devices + commands)
    return lines


def run(args: Sequence[str]) -> int:
    """Runs the hook; returns its exit code. Errors go to stderr, the log and syslog, in this order.

    From the first change on, INT, TERM and HUP are blocked; they stay blocked on return, as the process then ends.
    """
    data = b""
    try:
        data = _state()
        lines, code = _run(args, data)
    except errors.ConfigInvalid as e:
        lines, code = [str(e), UNTOUCHED], REFUSED
    except (KeyboardInterrupt, SystemExit) as e:
        lines, code = interruption(e, _lines_of)
    except ImportError as e:
        lines, code = [str(e)], FAILED
    except Exception as e:
        lines, code = [internal(e)], FAILED
    lines = bounded(lines)
    if code or STAGES[0] not in args[:1]:  # what a successful move did not carry is for the log
        complain(lines, code, STDERR_WAIT_S)
    if lines:
        hook_log.report(lines, container=_container(data), is_error=code != 0)
    return code


def _state() -> bytes:
    """Reads stdin to its end, before anything can fail: runtimes break when a hook leaves it unread.

    Only up to the limit, at which `oci.State` refuses it.
    """
    try:
        return inputs.stdin("state on stdin")
    except MemoryError:
        raise errors.ConfigInvalid(f"state on stdin: {config_json.NO_MEMORY}") from None


def _container(state: bytes) -> str:
    try:
        return config_json.State(state).id
    except (errors.ConfigInvalid, MemoryError):  # reported already
        return ""


def _run(args: Sequence[str], data: bytes) -> tuple[list[str], int]:
    """Runs the stage; returns the lines of the report, and the exit code."""
    held: list[Interrupts] = []

    def begin() -> Interrupts:
        held.append(_begin())
        return held[0]

    try:
        arguments = Arguments(args)
        if arguments.stage == "poststop":
            return _poststop(data, begin, held)
        return hook.create_runtime(data, arguments.devices, arguments.allowed, begin), 0
    except (errors.ConfigInvalid, Usage) as e:
        return [str(e), UNTOUCHED], REFUSED
    except MemoryError:
        if held:
            raise
        return ["too little memory for the state or config.json", UNTOUCHED], REFUSED
    except errors.NetDevError as e:
        return _lines_of(e), code_of(e)


def _poststop(data: bytes, begin: Callable[[], Interrupts], held: list[Interrupts]) -> tuple[list[str], int]:
    """Reports devices that are not restored: those to wait for or to inspect, then those whose loan was dropped."""
    try:
        results = hook.poststop(data, begin)
    except OSError as e:
        return [f"{e.filename or 'the loans'}: {e.strerror}", UNTOUCHED], REFUSED
    except Exception as e:
        if not held:
            raise
        return [internal(e), UNKNOWN], LEFT
    if not results:
        return [], 0
    from ..recovery import returns

    kept = [each for each in results if each.outcome == "kept" and each.text != returns.HELD]  # whose holder reports it
    lines = record_lines(kept) + gone_lines(results)
    is_cut = bool(kept) and held[0].name != ""  # a signal ended it early
    return lines, LEFT if is_cut or any(map(returns.is_wrong, kept)) else 0


def _begin() -> Interrupts:
    """Blocks signals: a move begins."""
    warn_in_a_line(STDERR_WAIT_S)
    return Interrupts()
