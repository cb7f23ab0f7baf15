"""Runs `netdevns nri`: arguments and exit code."""

from __future__ import annotations

import argparse
import os

from ..text.outcome import REFUSED, UNTOUCHED, Usage
from ..text.output import complain
from . import hook, strict
from .rules import Rules


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code.

    Args:
        args: `allow` and `force`: as for `Rules.parse`; `socket`, `index`; `hook`; `strict` and as `strict.offer`.
    """
    if args.hook:
        return hook.run(args.allow)
    try:
        if args.strict is not None:
            Rules.parse(args.allow, [])
            return strict.offer(args)
        if args.action != "show" or args.dir is not None:
            raise Usage("nri: --install, --uninstall and --dir are for --strict RUNTIME")
        return _serve(args, Rules.parse(args.allow, args.force))
    except Usage as e:
        return complain([str(e), UNTOUCHED], REFUSED)


def _serve(args: argparse.Namespace, rules: Rules) -> int:
    from .connection import SOCKET_VARIABLE
    from .plugin import NAME, Place, Plugin

    if not (len(args.index) == 2 and args.index.isascii() and args.index.isdigit()):
        raise Usage("nri: --index: two digits are needed, as 90")
    if not args.socket:
        raise Usage("nri: --socket: the path is empty")
    place = Place(args.socket, NAME, args.index)
    if SOCKET_VARIABLE in os.environ:  # the runtime has started this process, and named it by its file
        place = Place("", os.environ.get("NRI_PLUGIN_NAME", NAME), os.environ.get("NRI_PLUGIN_IDX", args.index))
    if not rules.allow:
        complain(["no --allow is given: no pod gets a device"], 0)
    return Plugin(rules, place).run()
