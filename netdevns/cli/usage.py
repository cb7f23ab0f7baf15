"""Defines the command's arguments and help texts."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping
from typing import NoReturn

from .. import __version__
from ..text.quote import printable

Run = Callable[[argparse.Namespace], int]

ABOUT = """\
Moves existing network devices into a container's network namespace: all of
them or none, under the wanted names, up, with every permanent address of
global scope. When anything fails, every device is restored.
"""

NETNS = """\
NETNS is a path (/proc/4711/ns/net), a name under /run/netns (blue), a process
(pid:4711) or an open descriptor (fd:3).
"""

EXIT_CODES = """\
exit codes:
  0  done
  1  failed, everything is restored
  2  bad usage, invalid configuration or refused by a check; nothing was touched
  3  failed, and something could not be restored: the message names it, and
     where the device is
"""


def parser(runs: Mapping[str, Run]) -> argparse.ArgumentParser:
    """The parser; each command's function is its `run`."""
    top = _Parser("netdevns", description=ABOUT, epilog=NETNS + "\n" + EXIT_CODES, formatter_class=_Raw)
    top.add_argument("--version", action="version", version=f"netdevns {__version__}")
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    _move(_command(commands, "move", "move devices into a namespace", _MOVE, runs["move"]))
    _apply(_command(commands, "apply", "move what a config.json asks for", _APPLY, runs["apply"]))
    _check(_command(commands, "check", "check whether a move would succeed", _CHECK, runs["check"]))
    _show(_command(commands, "show", "show devices, and what a move of each would lose", _SHOW, runs["show"]))
    _hook(_command(commands, "hook", "the OCI hook: state JSON on stdin", _HOOK, None))
    _recover(_command(commands, "recover", "undo the moves whose processes were killed", _RECOVER, runs["recover"]))
    _return(_command(commands, "return", "restore devices returned by ended containers", _RETURN, runs["return"]))
    _prepare(_command(commands, "prepare", "make a namespace that has its devices", _PREPARE, runs["prepare"]))
    _command(commands, "features", "print the runtime-spec's features structure", _FEATURES, runs["features"])
    _conformance(_command(commands, "conformance", "test what this kernel does", _CONFORMANCE, runs["conformance"]))
    _cdi(_command(commands, "cdi", "make a CDI file: --device vendor.com/nic=eth1", _CDI, runs["cdi"]))
    _hooks_dir(
        _command(commands, "hooks-dir", "make the hooks.d files: devices by annotation", _HOOKS_DIR, runs["hooks-dir"])
    )
    _units(_command(commands, "units", "make systemd units: restore devices, prepare at boot", _UNITS, runs["units"]))
    _netavark(_command(commands, "netavark", "podman networks: the netavark plugin", _NETAVARK, runs["netavark"]))
    _command(commands, "demo", "show a move in a sandbox; touches no device of yours", _DEMO, runs["demo"])
    return top


class _Raw(argparse.RawDescriptionHelpFormatter):
    pass


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        super().error(printable(message))  # it quotes the arguments


_MOVE = """\
Moves devices into a network namespace. A name with %d is a template: the
kernel chooses the number.

example: move eth1, to be called net0, and mv0, to get a free eth name, into
the namespace of process 4711
  netdevns move eth1=net0 mv0=eth%d --to pid:4711

example: with its routes and sysctls, as far as they are valid there
  netdevns move eth1 --to blue --preserve routes,sysctls
"""
_APPLY = """\
Moves the devices of linux.netDevices in an OCI config.json. Without --pid and
--netns the target is the namespace that the configuration joins by path.

example: what a runtime does between "create" and "start"
  netdevns apply --bundle /containers/web --pid 4711
"""
_CHECK = """\
Runs all checks of a move, and prints every reason why it would be refused and
all state that the kernel would drop. Changes nothing.

example:
  netdevns check eth1=net0 --to blue
"""
_SHOW = """\
Shows devices: whether each can be moved and what a move would lose, its
addresses, and what it is. Changes nothing; needs no privilege for this
namespace.

example: can eth1 be moved, and what would it lose?
  netdevns show eth1
"""
_RECOVER = """\
Undoes the moves whose processes were killed: finds each device of each record
in /run/netdevns/txn that no process holds, and restores it, or leaves it in the
target if the whole move was complete. Can be repeated. The next move of the
same devices also does this.

example: is there anything to recover?
  netdevns recover --list

exit codes: 0 all devices are restored, complete in the target, or gone; 3 a
device is not restored completely, and its record is kept
"""
_RETURN = """\
Restores host name, addresses, routes and settings of physical devices that the
kernel returned to the initial namespace when a container ended. The poststop
hook does the same; this is for when it did not run, or ran too early. Takes no
device out of a namespace that still exists. Can be repeated.

example: restore all devices that have come back
  netdevns return

exit codes: 0 all devices are restored, ended with their container, or still in
it; 3 a device could not be restored completely: its loan is kept
"""
_PREPARE = """\
Makes the network namespace /run/netns/NAME, moves devices into it, all or none,
and prints its path, for containers to join: their start and restart then move
no device. Repeated with the same devices it does nothing; more devices are
added. --undo restores all devices and removes the namespace. If the namespace
was deleted otherwise, `netdevns return NAME` restores the physical devices that
the kernel returned.

example: a container that has eth1, as net0, from the start
  podman run --network ns:$(netdevns prepare blue eth1=net0) ...
  netdevns prepare blue --undo

exit codes: those of move; with --undo 0 all devices are restored, 2 the
namespace is in use, or was not prepared, 3 a device is not restored completely,
and its loan is kept
"""
_FEATURES = """\
Prints the runtime-spec's features structure as JSON: the versions of the
specification, the hooks, and that linux.netDevices is enabled.

example:
  netdevns features
"""
_HOOK = """\
The hooks of an OCI bundle. createRuntime moves the devices of its config.json,
those given as arguments, and those of the annotations
"org.netdevns.device.<host name>": "<name in the container>". The author of
annotations may not be trusted, so they need an --allow GLOB that matches the
host name, and a device without a default route. poststop restores physical
devices that the kernel returned: name, addresses, routes and settings. Errors
go to stderr, /run/netdevns/hook.log and syslog, in at most 64 lines.

example: in config.json
  "hooks": {"createRuntime": [{
      "path": "/usr/bin/netdevns",
      "args": ["netdevns", "hook", "createRuntime"]}],
    "poststop": [{
      "path": "/usr/bin/netdevns", "args": ["netdevns", "hook", "poststop"]}]}
"""
_CONFORMANCE = """\
Tests how this kernel moves devices between network namespaces: runs probes,
each in its own namespaces, and compares their results with those of known
kernels. Needs root, or a kernel that allows unprivileged user namespaces;
touches no device of yours.

PROBE is a probe's id (message.ns-fd.closed), a glob (message.*), or a class:
spec (the runtime-spec or netdevns relies on it), abi (the same on every kernel
so far) or varies (it differs between kernels).

example: run all probes, and show the unexpected results
  netdevns conformance

example: compare two kernels
  netdevns conformance diff 6.12.json 6.18.json

exit codes: 0 all requirements hold; 1 one does not (diff: the results differ);
2 nothing was done
"""
_CDI = """\
Prints a CDI file, by which podman, containerd, CRI-O and docker know network
devices under names such as vendor.com/nic=eth1, or writes it to /etc/cdi. KIND
is VENDOR/CLASS, such as vendor.com/nic; behind the "=" stands the host name.
The file has a hook for each device, for any runtime; with --cdi-version 1.1.0
it has none, for runtimes that move devices themselves.

example: offer eth1 as net0, then use it
  netdevns cdi vendor.com/nic eth1=net0 --install
  podman run --network none --device vendor.com/nic=eth1 ...
"""
_HOOKS_DIR = """\
Prints the files by which podman and CRI-O start netdevns for containers with
annotations org.netdevns.device.DEV=NAME, or writes them to
/usr/share/containers/oci/hooks.d. Only devices that match an --allow are moved.

example: allow eth1 to eth9, then start a container that asks for eth1
  netdevns hooks-dir --allow "eth[1-9]" --install
  podman run --network none --annotation org.netdevns.device.eth1=net0 ...
"""
_UNITS = """\
Prints a udev rule and systemd units, or writes them below /etc. They run
`netdevns return` when a container's network card comes back to the host, also
if no poststop hook ran, and `netdevns recover` if a move was killed; both at
boot, too. With NAME: the unit that prepares the namespace NAME with these
devices at boot. Needs systemd 249 or newer.

example: restore devices also after a runtime was killed
  netdevns units --install

example: the namespace blue, with eth1 as net0, from boot on
  netdevns units blue eth1=net0 --install
  systemctl daemon-reload && systemctl enable --now netdevns-prepare-blue
"""
_NETAVARK = """\
Prints the netavark plugin, by which a podman network gives its containers a
device of the host, or writes it to /usr/local/libexec/netavark. Its name there,
netdevns, is the name of the driver. podman starts it with create, setup NETNS,
teardown NETNS or info, and JSON on stdin; an error is JSON on stdout.

example: a network that gives eth1 to its container, as net0
  netdevns netavark --install
  podman network create --driver netdevns --opt device=eth1 nic1
  podman run --network nic1:interface_name=net0 ...

options of the network, by --opt:
  device=DEV         the device, with the addresses that it has
  name=NAME          its name where podman would choose one (eth0, eth1, ...)
  preserve=KIND,...  carry over besides addresses: sysctls, routes, neighbours
  force=true         also a device that carries a default route
"""
_DEMO = """\
Makes a "host" and a "container" namespace, moves devices from one to the other,
and shows the result; then a batch that fails, and that everything is restored.
Needs root, or a kernel that allows unprivileged user namespaces.

example:
  netdevns demo
"""


def _command(
    commands: argparse._SubParsersAction[_Parser], name: str, short: str, text: str, run: Run | None
) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=short, description=text, formatter_class=_Raw)
    command.set_defaults(run=run, command=name)
    return command


def _json(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="one JSON document on stdout, also on failure")


def _preserve(command: argparse.ArgumentParser, text: str) -> None:
    command.add_argument("--preserve", metavar="KIND,...", help=f"{text}: sysctls, routes, neighbours")


def _move(command: argparse.ArgumentParser) -> None:
    command.epilog = NETNS
    command.add_argument("devices", nargs="+", metavar="DEV[=NAME]", help="a device, and its name in the target")
    command.add_argument("--to", required=True, metavar="NETNS", help="the target namespace")
    command.add_argument("--from", dest="source", metavar="NETNS", help="the source namespace (default: this one)")
    command.add_argument("--force", action="store_true", help="also a device that carries a default route")
    _preserve(command, "carry over besides addresses")
    _json(command)


def _bundle(command: argparse.ArgumentParser, required: bool) -> None:
    where = command.add_mutually_exclusive_group(required=required)
    where.add_argument("--bundle", metavar="DIR", help="an OCI bundle: its config.json")
    where.add_argument("--config", metavar="FILE", help="a config.json")
    whose = command.add_mutually_exclusive_group()
    whose.add_argument("--pid", type=int, metavar="PID", help="a process of the container")
    whose.add_argument("--netns", metavar="NETNS", help="the container's network namespace")


def _apply(command: argparse.ArgumentParser) -> None:
    command.epilog = NETNS
    _bundle(command, required=True)
    _json(command)


def _check(command: argparse.ArgumentParser) -> None:
    command.epilog = NETNS
    command.add_argument("devices", nargs="*", metavar="DEV[=NAME]", help="a device, and its name in the target")
    command.add_argument("--to", metavar="NETNS", help="the target namespace")
    command.add_argument("--from", dest="source", metavar="NETNS", help="the source namespace (default: this one)")
    command.add_argument("--force", action="store_true", help="a default route is a note, not an error")
    _preserve(command, "the --preserve of the move")
    _bundle(command, required=False)
    _json(command)


def _show(command: argparse.ArgumentParser) -> None:
    command.epilog = NETNS
    command.add_argument("devices", nargs="*", metavar="DEV", help="a device (default: all)")
    command.add_argument("--netns", metavar="NETNS", help="the devices' namespace (default: this one)")
    _json(command)


def _recover(command: argparse.ArgumentParser) -> None:
    command.add_argument("--list", action="store_true", help="show the records and those set aside; change nothing")
    _json(command)


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value < math.inf:  # excludes NaN, too
        raise argparse.ArgumentTypeError(f'"{printable(text)}" is not a number of seconds')
    return value


def _return(command: argparse.ArgumentParser) -> None:
    command.add_argument("container", nargs="?", metavar="CONTAINER", help="a container's id (default: all)")
    command.add_argument(
        "--wait", type=_seconds, default=0, metavar="SECONDS", help="how long to wait for devices to come back"
    )
    command.add_argument("--arrived", action="store_true", help="only physical devices that are back already")
    _json(command)


def _hook(command: argparse.ArgumentParser) -> None:
    command.add_argument("stage", choices=["createRuntime", "poststop"], help="the hook's stage")
    command.add_argument("--allow", action="append", metavar="GLOB", help="host names that annotations may ask for")
    command.add_argument("devices", nargs="*", metavar="DEV=NAME", help="devices besides those of config.json")


def _prepare(command: argparse.ArgumentParser) -> None:
    command.add_argument("name", metavar="NAME", help="the namespace's name, as for ip netns add")
    command.add_argument("devices", nargs="*", metavar="DEV[=NAME]", help="a device, and its name in the namespace")
    command.add_argument("--undo", action="store_true", help="restore the devices, and remove the namespace")
    _preserve(command, "carry over besides addresses")
    command.add_argument(
        "--force", action="store_true", help="also devices with a default route; --undo: also a namespace in use"
    )
    _json(command)


def _install(command: argparse.ArgumentParser) -> None:
    action = command.add_mutually_exclusive_group()
    action.add_argument(
        "--install", dest="action", action="store_const", const="install", default="show", help="write it"
    )
    action.add_argument("--uninstall", dest="action", action="store_const", const="uninstall", help="remove it")


def _files(command: argparse.ArgumentParser, default: str) -> None:
    _install(command)
    command.add_argument("--dir", metavar="DIR", help=f"another existing folder (default: {default})")
    command.add_argument("--python", action="store_true", help="use `netdevns hook` even if netdevns-hook is installed")


def _units(command: argparse.ArgumentParser) -> None:
    command.add_argument("name", nargs="?", metavar="NAME", help="a namespace to prepare (default: units for return)")
    command.add_argument("devices", nargs="*", metavar="DEV[=NAME]", help="a device, and its name in the namespace")
    _install(command)
    command.add_argument("--dir", metavar="DIR", help="an existing folder instead of /etc, such as /run or /usr/lib")


def _cdi(command: argparse.ArgumentParser) -> None:
    command.add_argument("kind", metavar="KIND", help="VENDOR/CLASS, as in vendor.com/nic")
    command.add_argument("devices", nargs="*", metavar="DEV[=NAME]", help="a device, and its name in the container")
    command.add_argument("--cdi-version", metavar="VERSION", help="0.3.0, 0.4.0, 0.5.0; 1.1.0: without hooks")
    _files(command, "/etc/cdi")


def _hooks_dir(command: argparse.ArgumentParser) -> None:
    allow = "host names that annotations may ask for; can be repeated"
    command.add_argument("--allow", metavar="GLOB", action="append", default=[], help=allow)
    _files(command, "/usr/share/containers/oci/hooks.d")


def _netavark(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "words", nargs="*", metavar="REQUEST", help="of podman: create, setup NETNS, teardown NETNS, info"
    )
    _install(command)
    command.add_argument("--dir", metavar="DIR", help="another existing folder, which containers.conf then has to name")


def _conformance(command: argparse.ArgumentParser) -> None:
    command.usage = (
        "netdevns conformance [-h] [--list] [--format table|json|ktap] [--jobs N] [PROBE ...]\n"
        "       netdevns conformance diff BEFORE.json AFTER.json"
    )
    command.add_argument("probes", nargs="*", metavar="PROBE", help="an id, a glob or a class (default: all probes)")
    command.add_argument("--list", action="store_true", help="list the probes, and run none")
    form = command.add_mutually_exclusive_group()
    form.add_argument(
        "--format", choices=["table", "json", "ktap"], default="table", help="the output's format (default: table)"
    )
    form.add_argument("--json", dest="format", action="store_const", const="json", help="the same as --format json")
    command.add_argument("--jobs", type=int, default=0, metavar="N", help="probes at a time (default: one a processor)")
