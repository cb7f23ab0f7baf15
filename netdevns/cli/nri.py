"""Defines the arguments and the help text of `netdevns nri`."""

from __future__ import annotations

import argparse
from collections.abc import Callable

TEXT = """\
The plugin for Kubernetes: serves the NRI (Node Resource Interface) of
containerd 1.7 and later, or of CRI-O, until a signal ends it. A pod with the
annotations "org.netdevns.device.<host name>": "<name in the pod>" gets these
devices before its containers start, all or none; without them, its containers
are refused. When it stops, they are restored. What happened while the plugin
was not connected is settled when it connects. The author of annotations may
not be trusted, so they need an --allow that matches the device. Errors go to
stderr, /run/netdevns/hook.log and syslog.

example: pods of the namespace edge may have eth1 to eth9, others eth1 only
  netdevns nri --allow "edge/eth[1-9]" --allow eth1

A runtime starts pods also without a plugin that is dead. With --strict it is
configured to refuse their containers, by a hook that needs netdevns on the
host: this makes the file, from containerd's own spec on stdin.

example: the same devices, and no container without them
  ctr oci spec | netdevns nri --strict containerd --allow "edge/eth[1-9]" \\
    --allow eth1 --install

exit codes: 0 ended by a signal, or by the runtime that started it; 2 bad usage;
3 a thread could not leave a pod's network namespace: start the plugin again
"""


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
