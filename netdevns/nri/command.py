"""Runs `netdevns nri`: arguments and exit code."""

from __future__ import annotations

import argparse
import os

from ..text.outcome import REFUSED, UNTOUCHED, Usage
from ..text.output import complain
from .connection import SOCKET_VARIABLE
from .plugin import NAME, Place, Plugin
from .rules import Rules


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code.

    Args:
        args: `allow` and `force`: as for `Rules.parse`; `socket`, `index`.
    """
    try:
        rules = Rules.parse(args.allow, args.force)
        if not rules.allow:
            complain(["no --allow is given: no pod gets a device"], 0)
        return Plugin(rules, _place(args)).run()
    except Usage as e:
        return complain([str(e), UNTOUCHED], REFUSED)


def _place(args: argparse.Namespace) -> Place:
    if SOCKET_VARIABLE in os.environ:  # the runtime has started this process, and named it by its file
        return Place("", os.environ.get("NRI_PLUGIN_NAME", NAME), os.environ.get("NRI_PLUGIN_IDX", args.index))
    if not (len(args.index) == 2 and args.index.isascii() and args.index.isdigit()):
        raise Usage("nri: --index: two digits are needed, as 90")
    return Place(args.socket, NAME, args.index)
