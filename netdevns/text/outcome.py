"""Parses device arguments, and turns errors into lines and exit codes, for every command.

Exit codes: 0 done; 1 failed, everything restored; 2 bad usage, invalid configuration or refused by the checks, nothing
touched; 3 failed, and something could not be restored (the message names it).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from .. import errors, limits
from ..netlink.ifname import encode
from ..text.quote import printable, quoted, shown

FAILED, REFUSED, LEFT = 1, 2, 3
UNTOUCHED = "nothing was touched"
UNTOUCHED_ELSE = "nothing else was touched"
UNKNOWN = "some devices may have been restored: run `netdevns recover --list` and inspect the devices"

LOCATIONS = {
    "source": "in its old namespace",
    "target": "in the target namespace",
    "init": "in the initial namespace",
    "gone": "gone: in neither namespace",
    "unknown": "not found: the search failed",
}
DELETED = "not found: "  # how a loan's return begins its text about a virtual device whose namespace has ended


if TYPE_CHECKING:  # as in errors.py
    from ..reports import Recovered


class Usage(Exception):
    """Invalid arguments that argparse accepts: what is wrong, and lines with remedies."""


def device_arguments(arguments: Sequence[str]) -> dict[str, str | None]:
    """Parses DEV or DEV=NAME, each device once. Raises Usage. The caller limits their number."""
    devices: dict[str, str | None] = {}
    for argument in arguments:
        device, _, name = argument.partition("=")
        if not device:
            raise Usage(f'"{quoted(argument)}": no device is given; write DEV or DEV=NAME')
        if device in devices:
            raise Usage(f"{quoted(device)}: this device is given twice")
        devices[device] = name or None
    return devices


def restored_first(earlier: Collection[Recovered]) -> list[str]:
    """A line for each device that was settled before the checks: what was changed since is not what moves."""
    settled = [each for each in earlier if each.outcome != "kept"]
    after = "after a killed move or an ended container"
    first = {"undone": "restored first"}
    lines = [f"{each.device}: {first.get(each.outcome, each.outcome)}, {after}: {each.text}" for each in settled]
    return lines + record_lines(each for each in earlier if each.outcome == "kept")


def not_carried(lost: Mapping[str, Sequence[str]]) -> list[str]:
    """A line for each device that lost state; `lost`: short words, by device."""
    return [f"{device}: not carried: {', '.join(words)}" for device, words in lost.items() if words]


def record_lines(results: Iterable[Recovered]) -> list[str]:
    """A line for each device of a record or loan that is not restored, with the file."""
    return [f"{x.device}: {x.text} ({x.record})" if x.device else f"{x.record}: {x.text}" for x in results]


def gone_lines(results: Iterable[Recovered], container: str = "the container") -> list[str]:
    """Reports devices whose loan was dropped: those that were deleted in one line, each other one with the reason.

    The source's end, or a reboot, drops the loan of a device that exists: only its text is true of it.
    """
    gone = [each for each in results if each.outcome == "gone"]
    deleted = [each for each in gone if each.location == "gone" and each.text.startswith(DELETED)]
    names = ", ".join(quoted(each.device or "") for each in deleted)
    lines = [f"{names}: ended with {container}, as virtual devices do unless it moved them on"] if deleted else []
    return lines + [f"{each.device}: {each.text}" for each in gone if each not in deleted]


def lines_of(e: errors.NetDevError, away: Callable[[Collection[str | None]], list[str]]) -> list[str]:
    """An error as lines, one a fact: what failed, and where each device is now.

    `away`: returns the lines about those of these devices that are on loan or in the record of a killed move.
    """
    lines = [e.text]
    if isinstance(e, errors.CheckFailed):
        lines = [found.text for found in e.report.findings if found.severity == "error"] or lines
        unknown = {found.device for found in e.report.findings if found.code == "device.unknown"}
        lines += away(unknown) if unknown else []
    lines += restored_first(e.earlier)
    if not isinstance(e, errors.MoveFailed):
        lines.append(UNTOUCHED_ELSE if e.earlier else UNTOUCHED)
    for left in e.left:
        name = f", named {left.name} (ifindex {left.ifindex})" if left.name else ""
        lines.append(
            f"{shown(encode(left.device))}: {LOCATIONS[left.location]}{name}; not restored: {', '.join(left.missing)}"
        )
    return lines


def code_of(e: errors.NetDevError) -> int:
    """The exit code of an error."""
    if isinstance(e, errors.MoveFailed):
        return FAILED if e.rolled_back else LEFT
    return REFUSED


def answered(is_written: bool, code: int = 0) -> int:
    """The exit code of a command that changes nothing, whose answer is its purpose; of others it says what changed."""
    return code if is_written or code else FAILED


def interruption(e: BaseException, failed_lines: Callable[[errors.NetDevError], list[str]]) -> tuple[list[str], int]:
    """The lines and the exit code of a KeyboardInterrupt or SystemExit. Its cause is the failure of a move that began.

    `failed_lines`: returns the lines about such a failure.
    """
    cause = e.__cause__
    if isinstance(cause, errors.NetDevError):
        return failed_lines(cause), code_of(cause)
    return [f"interrupted; {UNTOUCHED}"], FAILED  # before signals were blocked, so before anything was sent


def bounded(lines: Sequence[str]) -> list[str]:
    """A hook's report, printable and within limits; the last line counts the omitted lines and keeps the verdict."""
    lines = [_cut(printable(line)) for line in lines]
    if len(lines) <= limits.LINES:
        return lines
    more = f"and {len(lines) - limits.LINES + 1} more"
    if lines[-1] in (UNTOUCHED, UNTOUCHED_ELSE):
        more = f"and {len(lines) - limits.LINES} more; {lines[-1]}"
    return [*lines[: limits.LINES - 1], more]


def _cut(line: str) -> str:
    """Cuts out the middle of a long line: it begins with the device and ends with the reason."""
    data = line.encode()
    if len(data) <= limits.LINE_BYTES:
        return line
    cut = f"\N{HORIZONTAL ELLIPSIS} ({len(data)} bytes) \N{HORIZONTAL ELLIPSIS}"
    room = (limits.LINE_BYTES - len(cut.encode())) // 2
    return data[:room].decode(errors="ignore") + cut + data[-room:].decode(errors="ignore")
