"""The command's arguments and help texts."""

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
them or none, under the wanted names, up, with every permanent address. When
anything fails, every device is back where it was.
"""

NETNS = """\
NETNS is a path (/proc/4711/ns/net), a name under /run/netns (blue), a process
(pid:4711) or an open descriptor (fd:3).
"""

EXIT_CODES = """\
exit codes:
  0  done
  1  failed, everything is as before
  2  bad usage, invalid configuration or a refusing check; nothing was touched
  3  failed, and something could not be put back: the message says what it is,
     and where
"""


def parser(runs: Mapping[str, Run]) -> argparse.ArgumentParser:
    """The parser; each command's function is its `run`."""
    top = _Parser("netdevns", description=ABOUT, epilog=NETNS + "\n" + EXIT_CODES, formatter_class=_Raw)
    top.add_argument("--version", action="version", version=f"netdevns {__version__}")
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    _move(_command(commands, "move", "move devices into a namespace", _MOVE, runs["move"]))
    _apply(_command(commands, "apply", "move what a config.json asks for", _APPLY, runs["apply"]))
    _check(_command(commands, "check", "say whether a move would succeed; change nothing", _CHECK, runs["check"]))
    _show(_command(commands, "show", "show devices, and what a move of each would lose", _SHOW, runs["show"]))
    _hook(_command(commands, "hook", "the OCI hook: state JSON on stdin", _HOOK, None))
    _recover(_command(commands, "recover", "undo the moves whose processes were killed", _RECOVER, runs["recover"]))
    _return(_command(commands, "return", "give lent devices their own again", _RETURN, runs["return"]))
    _prepare(_command(commands, "prepare", "make a namespace that has its devices", _PREPARE, runs["prepare"]))
    _command(commands, "features", "print the runtime-spec's features structure", _FEATURES, runs["features"])
    _conformance(_command(commands, "conformance", "say what this kernel does", _CONFORMANCE, runs["conformance"]))
    _cdi(_command(commands, "cdi", "make a CDI file: --device vendor.com/nic=eth1", _CDI, runs["cdi"]))
    _hooks_dir(
        _command(commands, "hooks-dir", "make the hooks.d files: devices by annotation", _HOOKS_DIR, runs["hooks-dir"])
    )
    _units(_command(commands, "units", "make systemd units: restore devices, prepare at boot", _UNITS, runs["units"]))
    _command(commands, "demo", "show it in a private sandbox; needs no device of yours", _DEMO, runs["demo"])
    return top


class _Raw(argparse.RawDescriptionHelpFormatter):
    pass


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        super().error(printable(message))  # it quotes what was typed


_MOVE = """\
Moves devices into a network namespace. A name with %d is a template: the
kernel chooses the number.

example: move eth1, to be called net0, and mv0, to get a free eth name, into
the namespace of process 4711
  netdevns move eth1=net0 mv0=eth%d --to pid:4711

example: its routes and its sysctls, too, as far as they make sense there
  netdevns move eth1 --to blue --preserve routes,sysctls
"""
_APPLY = """\
Moves the devices of linux.netDevices in an OCI config.json. Without --pid and
--netns the container's namespace is the one that the configuration joins by
path.

example: what a runtime does between "create" and "start"
  netdevns apply --bundle /containers/web --pid 4711
"""
_CHECK = """\
Runs all checks of a move and tells everything that stands against it, and what
the kernel would drop. Changes nothing.

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
Undoes the moves whose processes were killed: looks for each device of each
record in /run/netdevns/txn that nobody holds, and puts it back as it was, or
leaves it where it had arrived completely. Can be repeated. The next move of
the same devices does the same by itself.

example: what would there be to do?
  netdevns recover --list

exit codes: 0 all is back, complete, or gone; 3 something is not as before, and
its record is kept
"""
_RETURN = """\
Gives physical devices that the kernel threw back into the initial namespace,
when a container ended, their host names, addresses, routes and settings again:
what the poststop hook does, for when it did not run, or came too early. Takes
nothing out of a namespace that lives on. Can be repeated.

example: all that has come back by now
  netdevns return

exit codes: 0 all is home, ended with its container, or is with it still; 3 a
device is there, and something of its own could not be given back: its loan is
kept
"""
_PREPARE = """\
Makes the network namespace /run/netns/NAME, moves devices into it, all or none,
and prints its path, for a container to join: to start there moves nothing, and
so does a restart. Again with the same devices: nothing is done; with more: they
are added. --undo gives all devices back, as they were, and removes the
namespace. Where somebody else has deleted it, `netdevns return NAME` restores
the hardware that the kernel threw back.

example: a container with eth1, called net0, from its first moment on
  podman run --network ns:$(netdevns prepare blue eth1=net0) ...
  netdevns prepare blue --undo

exit codes: those of move; with --undo 0 all is back, 2 something is in it, or
it was not prepared, 3 a device is not as before, and its loan is kept
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
"org.netdevns.device.<host name>": "<name in the container>" whose host name a
GLOB admits and which carry no default route: annotations may be written by
whoever starts a container. poststop gives a physical device that the kernel
threw back its name, addresses, routes and settings again. What goes wrong is
on stderr, in /run/netdevns/hook.log and in syslog, in at most 64 lines.

example: in config.json
  "hooks": {"createRuntime": [{
      "path": "/usr/bin/netdevns",
      "args": ["netdevns", "hook", "createRuntime"]}],
    "poststop": [{
      "path": "/usr/bin/netdevns", "args": ["netdevns", "hook", "poststop"]}]}
"""
_CONFORMANCE = """\
Asks this kernel what it does when a device changes its network namespace, one
question after the other, each in namespaces of its own, and compares with what
kernels are known to do. Needs root, or a kernel that allows unprivileged user
namespaces; touches no device of yours.

PROBE is the id of a question (message.ns-fd.closed), a glob (message.*), or a
class: spec (the runtime-spec or netdevns relies on it), abi (the same on every
kernel so far) or varies (the answer differs between kernels).

example: all of it, and what is not as it should be
  netdevns conformance

example: what is different on another kernel
  netdevns conformance diff 6.12.json 6.18.json

exit codes: 0 all that must hold holds; 1 something does not (diff: the two
differ); 2 nothing was done
"""
_CDI = """\
Prints the file by which podman, containerd, CRI-O and docker know network
devices under names such as vendor.com/nic=eth1, or writes it to /etc/cdi. KIND
is VENDOR/CLASS, such as vendor.com/nic; a device keeps its own name there. With
a hook for each device, which runtimes of any age start; with --cdi-version
1.1.0 without hooks, for runtimes that move devices themselves.

example: offer eth1, to be called net0 in a container; then use it
  netdevns cdi vendor.com/nic eth1=net0 --install
  podman run --network none --device vendor.com/nic=eth1 ...
"""
_HOOKS_DIR = """\
Prints the files by which podman and CRI-O start netdevns for containers with
annotations org.netdevns.device.DEV=NAME, or writes them to
/usr/share/containers/oci/hooks.d. Only devices that match an --allow are moved.

example: containers may ask for devices called eth1, eth2, ...; one does
  netdevns hooks-dir --allow "eth[1-9]" --install
  podman run --network none --annotation org.netdevns.device.eth1=net0 ...
"""
_UNITS = """\
Prints a udev rule and systemd units, or writes them below /etc: when a network
card that a container had comes back to the host, they run `netdevns return`
(and `recover` where a move was killed), also where no poststop hook ran; at
boot, too. With NAME instead the unit that prepares the namespace NAME at boot,
with these devices. Needs systemd 249 or newer.

example: devices come home when a runtime was killed
  netdevns units --install

example: the namespace blue, with eth1 as net0, from boot on
  netdevns units blue eth1=net0 --install
  systemctl daemon-reload && systemctl enable --now netdevns-prepare-blue
"""
_DEMO = """\
Makes a "host" and a "container" of its own, moves devices from one to the
other and shows what happened; then a batch that fails, and that everything is
as before. Needs root, or a kernel that allows unprivileged user namespaces.

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
    _preserve(command, "what to carry over, too")
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
    _preserve(command, "what a move will carry over, too")
    _bundle(command, required=False)
    _json(command)


def _show(command: argparse.ArgumentParser) -> None:
    command.epilog = NETNS
    command.add_argument("devices", nargs="*", metavar="DEV", help="a device (default: all)")
    command.add_argument("--netns", metavar="NETNS", help="the namespace to look into (default: this one)")
    _json(command)


def _recover(command: argparse.ArgumentParser) -> None:
    command.add_argument("--list", action="store_true", help="show the records and those set aside; change nothing")
    _json(command)


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value < math.inf:  # not a number, either
        raise argparse.ArgumentTypeError(f'"{printable(text)}" is no number of seconds')
    return value


def _return(command: argparse.ArgumentParser) -> None:
    command.add_argument("container", nargs="?", metavar="CONTAINER", help="a container's id (default: all)")
    command.add_argument(
        "--wait", type=_seconds, default=0, metavar="SECONDS", help="seconds, for what is not back yet"
    )
    command.add_argument(
        "--arrived", action="store_true", help="only hardware that is back by now, by one look for all"
    )
    _json(command)


def _hook(command: argparse.ArgumentParser) -> None:
    command.add_argument("stage", choices=["createRuntime", "poststop"], help="the hook's stage")
    command.add_argument("--allow", action="append", metavar="GLOB", help="host names that annotations may ask for")
    command.add_argument("devices", nargs="*", metavar="DEV=NAME", help="devices besides those of config.json")


def _prepare(command: argparse.ArgumentParser) -> None:
    command.add_argument("name", metavar="NAME", help="of the namespace, as for ip netns add")
    command.add_argument("devices", nargs="*", metavar="DEV[=NAME]", help="a device, and its name in the namespace")
    command.add_argument("--undo", action="store_true", help="give the devices back, and remove the namespace")
    _preserve(command, "carry over besides addresses")
    command.add_argument(
        "--force", action="store_true", help="a default route may go; --undo: although processes are in the namespace"
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
    command.add_argument("--dir", metavar="DIR", help=f"another folder, which must be there (default: {default})")
    command.add_argument(
        "--python", action="store_true", help="start `netdevns hook`, also where netdevns-hook is installed"
    )


def _units(command: argparse.ArgumentParser) -> None:
    command.add_argument("name", nargs="?", metavar="NAME", help="of a namespace (default: all but such units)")
    command.add_argument("devices", nargs="*", metavar="DEV[=NAME]", help="a device, and its name in the namespace")
    _install(command)
    command.add_argument("--dir", metavar="DIR", help="instead of /etc, as /run or /usr/lib; must be there")


def _cdi(command: argparse.ArgumentParser) -> None:
    command.add_argument("kind", metavar="KIND", help="VENDOR/CLASS, as in vendor.com/nic")
    command.add_argument("devices", nargs="*", metavar="DEV[=NAME]", help="a device, and its name in the container")
    command.add_argument("--cdi-version", metavar="VERSION", help="0.3.0, 0.4.0, 0.5.0; 1.1.0: without hooks")
    _files(command, "/etc/cdi")


def _hooks_dir(command: argparse.ArgumentParser) -> None:
    allow = "the host names that annotations may name; can be repeated"
    command.add_argument("--allow", metavar="GLOB", action="append", default=[], help=allow)
    _files(command, "/usr/share/containers/oci/hooks.d")


def _conformance(command: argparse.ArgumentParser) -> None:
    command.usage = (
        "netdevns conformance [-h] [--list] [--format table|json|ktap] [--jobs N] [PROBE ...]\n"
        "       netdevns conformance diff BEFORE.json AFTER.json"
    )
    command.add_argument("probes", nargs="*", metavar="PROBE", help="an id, a glob or a class (default: all probes)")
    command.add_argument("--list", action="store_true", help="tell which probes there are, and run none")
    form = command.add_mutually_exclusive_group()
    form.add_argument(
        "--format", choices=["table", "json", "ktap"], default="table", help="how to tell (default: table)"
    )
    form.add_argument("--json", dest="format", action="store_const", const="json", help="the same as --format json")
    command.add_argument("--jobs", type=int, default=0, metavar="N", help="probes at a time (default: one a processor)")
