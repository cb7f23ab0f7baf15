"""Defines the arguments and the help text of `netdevns nri`."""

from __future__ import annotations

import argparse

TEXT = """\
The plugin for Kubernetes: serves the NRI (Node Resource Interface) of
containerd 1.7 and later, or of CRI-O, until a signal ends it. A pod with the
annotations "org.netdevns.device.<host name>": "<name in the pod>" gets these
devices before its containers start, all or none, or it does not start; when
it stops, they are restored. What happened while the plugin was not connected
is settled when it connects. The author of annotations may not be trusted, so
they need an --allow that matches the device. Errors go to stderr,
/run/netdevns/hook.log and syslog.

example: pods of the namespace edge may have eth1 to eth9, others eth1 only
  netdevns nri --allow "edge/eth[1-9]" --allow eth1

exit codes: 0 ended by a signal, or by the runtime that started it; 2 bad usage;
3 a thread could not leave a pod's network namespace: start the plugin again
"""


def arguments(command: argparse.ArgumentParser) -> None:
    """Adds the arguments to the command."""
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
