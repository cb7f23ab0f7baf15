"""Defines the arguments of `netdevns nri`."""

from __future__ import annotations

import argparse
from collections.abc import Callable


def arguments(command: argparse.ArgumentParser, install: Callable[[argparse.ArgumentParser], None]) -> None:
    """Adds the arguments to the command; `install` adds --install and --uninstall."""
    rule = "[NAMESPACE/]GLOB"
    allow = "host names that pods may ask for, of one Kubernetes namespace or of all; can be repeated"
    command.add_argument("--allow", metavar=rule, action="append", default=[], help=allow)
    command.add_argument(
        "--force", metavar=rule, action="append", default=[], help="those that may carry a default route"
    )
    command.add_argument(
        "--socket", metavar="PATH", default="/var/run/nri/nri.sock", help="the runtime's socket (default: %(default)s)"
    )
    command.add_argument(
        "--index", metavar="NN", default="90", help="the order of plugins: two digits (default: %(default)s)"
    )
    strict = command.add_mutually_exclusive_group()
    strict.add_argument(
        "--strict", choices=["containerd", "cri-o"], help="make the file for this runtime; start nothing"
    )
    strict.add_argument("--hook", action="store_true", help="the hook of that file: state JSON on stdin")
    install(command)
    command.add_argument("--dir", metavar="DIR", help="another existing folder for the file (default: the runtime's)")
