"""Runs `netdevns doctor`; returns 1 if there is an error among the findings."""

from __future__ import annotations

import argparse
import sys

from ..doctor import checks
from ..doctor.finding import ERROR
from ..doctor.host import Host
from ..text import tables
from ..text.outcome import FAILED, answered
from ..text.output import print_json, print_text
from . import screens


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    found = checks.examine(Host(), args.bundle)
    if args.json:
        is_written = print_json(checks.documents(found))
    else:
        is_written = print_text(screens.doctor(found, tables.columns(sys.stdout)))
    return answered(is_written, FAILED if any(finding.severity == ERROR for finding in found) else 0)
