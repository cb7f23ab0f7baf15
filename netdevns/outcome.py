"""What every command makes of its devices and of its errors: arguments, lines, exit codes.

Exit codes: 0 done; 1 failed, everything as before; 2 bad usage, invalid configuration or a refusing check, nothing
touched; 3 failed and something could not be put back (the message says what).
"""

from __future__ import annotations

from . import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

FAILED, REFUSED, LEFT = 1, 2, 3
UNTOUCHED = "nothing was touched"
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


def lines_of(e: errors.NetDevError) -> list[str]:
    """An error, one line a fact: what, and where each device is now."""
    lines = [e.text]
    if isinstance(e, errors.CheckFailed):
        lines = [found.text for found in e.found if found.severity == "error"] or lines
        lines += _lent({found.device for found in e.found if found.code == "device.unknown"})
    for each in e.earlier:
        lines.append(f"{each.device}: restored before that, after a move or a container that had ended: {each.text}")
    if not isinstance(e, errors.MoveFailed):
        lines.append("nothing else was touched" if e.earlier else UNTOUCHED)
    for left in e.remains:
        name = f", named {left.name} (ifindex {left.ifindex})" if left.name else ""
        lines.append(f"{left.device}: {LOCATIONS[left.location]}{name}; not as before: {', '.join(left.missing)}")
    return lines


def _lent(unknown: set[str | None]) -> list[str]:
    """Who has the devices that are not there."""
    if not unknown:
        return []
    from .loans import current

    return [
        f"{device}: on loan to container {container} ({path})" for container, device, _, _, path in current(unknown)
    ]


def code_of(e: errors.NetDevError) -> int:
    """Its exit code."""
    if isinstance(e, errors.MoveFailed):
        return FAILED if e.rolled_back else LEFT
    return REFUSED
