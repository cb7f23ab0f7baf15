"""Runs `netdevns cdi`, `hooks-dir`, `netavark`, `nri` and `units`, which serve other programs, or write their files."""

from __future__ import annotations

import argparse

from ..oci import cdi, hooks_dir, netavark
from ..text.outcome import REFUSED, UNTOUCHED, Usage, device_arguments
from ..text.output import complain


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
        return cdi.run(args, devices)
    from ..oci import units

    return units.run(args, devices)
