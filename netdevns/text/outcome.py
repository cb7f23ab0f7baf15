"""What every command makes of its devices and of its errors: arguments, lines, exit codes.

Exit codes: 0 done; 1 failed, everything as before; 2 bad usage, invalid configuration or a refusing check, nothing
touched; 3 failed and something could not be put back (the message says what).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from .. import errors, limits
from ..netlink.ifname import encode
from ..text.quote import printable, quoted, shown

FAILED, REFUSED, LEFT = 1, 2, 3
UNTOUCHED = "nothing was touched"
UNTOUCHED_ELSE = "nothing else was touched"
UNKNOWN = "what was restored before is not known: run `netdevns recover --list` and inspect the devices"

LOCATIONS = {
    "source": "in its old namespace",
    "target": "in the target namespace",
    "init": "in the initial namespace",
    "gone": "gone: in neither namespace",
    "unknown": "not found: it could not be looked for",
}


class Usage(Exception):
    """Arguments that argparse lets pass and that make no sense."""


def device_arguments(arguments: Sequence[str]) -> dict[str, str | None]:
    """DEV or DEV=NAME, each device once. Raises Usage. How many there may be depends on what they are for."""
    devices: dict[str, str | None] = {}
    for argument in arguments:
        device, _, name = argument.partition("=")
        if not device:
            raise Usage(f'"{quoted(argument)}": a device is missing; write DEV or DEV=NAME')
        if device in devices:
            raise Usage(f"{quoted(device)}: this device is given twice")
        devices[device] = name or None
    return devices


def lines_of(e: errors.NetDevError, lent: Callable[[Collection[str | None]], list[str]]) -> list[str]:
    """An error, one line a fact: what, and where each device is now.

    `lent`: the lines about those of these devices that are on loan (`loans.lines`).
    """
    lines = [e.text]
    if isinstance(e, errors.CheckFailed):
        lines = [found.text for found in e.report.findings if found.severity == "error"] or lines
        unknown = {found.device for found in e.report.findings if found.code == "device.unknown"}
        lines += lent(unknown) if unknown else []
    for each in e.earlier:
        lines.append(f"{each.device}: restored before that, after a move or a container that had ended: {each.text}")
    if not isinstance(e, errors.MoveFailed):
        lines.append(UNTOUCHED_ELSE if e.earlier else UNTOUCHED)
    for left in e.left:
        name = f", named {left.name} (ifindex {left.ifindex})" if left.name else ""
        lines.append(
            f"{shown(encode(left.device))}: {LOCATIONS[left.location]}{name}; not as before: {', '.join(left.missing)}"
        )
    return lines


def code_of(e: errors.NetDevError) -> int:
    """Its exit code."""
    if isinstance(e, errors.MoveFailed):
        return FAILED if e.rolled_back else LEFT
    return REFUSED


def bounded(lines: Sequence[str]) -> list[str]:
    """A hook's report, printable and within limits; the last line says how many are left out, and the verdict."""
    lines = [_cut(printable(line)) for line in lines]
    if len(lines) <= limits.LINES:
        return lines
    more = f"and {len(lines) - limits.LINES + 1} more"
    if lines[-1] in (UNTOUCHED, UNTOUCHED_ELSE):
        more = f"and {len(lines) - limits.LINES} more; {lines[-1]}"
    return [*lines[: limits.LINES - 1], more]


def _cut(line: str) -> str:
    """Without its middle: at the beginning is what it is about, at the end why."""
    data = line.encode()
    if len(data) <= limits.LINE_BYTES:
        return line
    cut = f"\N{HORIZONTAL ELLIPSIS} ({len(data)} bytes) \N{HORIZONTAL ELLIPSIS}"
    room = (limits.LINE_BYTES - len(cut.encode())) // 2
    return data[:room].decode(errors="ignore") + cut + data[-room:].decode(errors="ignore")
