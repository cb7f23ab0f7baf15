"""Runs `netdevns cdi`, `hooks-dir`, `netavark`, `nri` and `units`, which serve other programs, or write their files."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from ..netlink.error import EngineError
from ..oci import cdi, hooks_dir, netavark
from ..text.outcome import REFUSED, UNTOUCHED, Usage, device_arguments
from ..text.output import complain
from ..text.quote import quoted


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    if args.command == "hooks-dir":
        return hooks_dir.run(args)
    if args.command == "netavark":
        return netavark.run(args)
    if args.command == "nri":
        from ..nri import command

        return command.run(args)
    try:
        devices = device_arguments(args.devices)
    except Usage as e:
        return complain([str(e), UNTOUCHED], REFUSED)
    if args.command == "cdi":
        code = cdi.run(args, devices)
        return code if code or args.action == "uninstall" else complain(_notes(devices), code)
    from ..oci import units

    return units.run(args, devices)


def _notes(devices: Mapping[str, str | None]) -> list[str]:
    """A line for each device that the end of a container deletes. One that is not here yet may be plugged in later."""
    try:
        from ..doctor.devices import keeping, nics, why_lost

        here = nics()
    except (ImportError, OSError, EngineError):  # the file is right all the same
        return []
    return [
        f"note: {quoted(name)}: {why}; to keep it: {keeping(name, inside or name)}"
        for name, inside in devices.items()
        if name in here and (why := why_lost(here[name]))
    ]
