"""Defines the commands' arguments; their help texts are in manual.py."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NoReturn

from .. import __version__
from ..text.outcome import FAILED
from ..text.output import print_text
from ..text.quote import printable
from . import manual

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

Run = Callable[[argparse.Namespace], int]
_RAW = argparse.RawDescriptionHelpFormatter


def parser(runs: Mapping[str, Run]) -> argparse.ArgumentParser:
    """The parser; each command's function is its `run`."""
    top = _Parser(
        "netdevns", description=manual.ABOUT, epilog=manual.NETNS + "\n" + manual.EXIT_CODES, formatter_class=_RAW
    )
    top.add_argument("--version", action="version", version=f"netdevns {__version__}")
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    _move(_command(commands, "move", "move devices into a namespace", manual.MOVE, runs["move"]))
    _apply(_command(commands, "apply", "move what a config.json asks for", manual.APPLY, runs["apply"]))
    _check(_command(commands, "check", "check whether a move would succeed", manual.CHECK, runs["check"]))
    _show(_command(commands, "show", "show devices, and what a move of each would lose", manual.SHOW, runs["show"]))
    _doctor(_command(commands, "doctor", "find out why a container has no device", manual.DOCTOR, runs["doctor"]))
    _hook(_command(commands, "hook", "the OCI hook: state JSON on stdin", manual.HOOK, None))
    _recover(
        _command(commands, "recover", "undo the moves whose processes were killed", manual.RECOVER, runs["recover"])
    )
    _return(_command(commands, "return", "restore devices returned by ended containers", manual.RETURN, runs["return"]))
    _prepare(_command(commands, "prepare", "make a namespace that has its devices", manual.PREPARE, runs["prepare"]))
    _command(commands, "features", "print the runtime-spec's features structure", manual.FEATURES, runs["features"])
    _conformance(
        _command(commands, "conformance", "test what this kernel does", manual.CONFORMANCE, runs["conformance"])
    )
    _cdi(_command(commands, "cdi", "make a CDI file: --device vendor.com/nic=eth1", manual.CDI, runs["cdi"]))
    _hooks_dir(
        _command(
            commands, "hooks-dir", "make the hooks.d files: devices by annotation", manual.HOOKS_DIR, runs["hooks-dir"]
        )
    )
    _units(
        _command(commands, "units", "make systemd units: restore devices, prepare at boot", manual.UNITS, runs["units"])
    )
    _netavark(_command(commands, "netavark", "podman networks: the netavark plugin", manual.NETAVARK, runs["netavark"]))
    _nri(_command(commands, "nri", "the NRI plugin: devices for pods", manual.NRI, runs["nri"]))
    _command(commands, "demo", "show a move in a sandbox; touches no device of yours", manual.DEMO, runs["demo"])
    return top


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        super().error(printable(message))  # it quotes the arguments

    def _print_message(self, message: str, file: SupportsWrite[str] | None = None) -> None:
        """Prints help to stdout, whose failure is the command's, or a usage error to stderr."""
        if file is None or file is not sys.stdout:
            super()._print_message(message, file)
        elif not print_text(message.removesuffix("\n")):
            raise SystemExit(FAILED)


def _command(
    commands: argparse._SubParsersAction[_Parser], name: str, short: str, text: str, run: Run | None
) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=short, description=text, formatter_class=_RAW)
    command.set_defaults(run=run, command=name, parser=command)
    return command


def _path(text: str) -> str:
    if not text:  # not the current folder, nor the default one
        raise argparse.ArgumentTypeError("the path is empty")
    return text


def _json(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="one JSON document on stdout, also on failure")


def _preserve(command: argparse.ArgumentParser, text: str) -> None:
    command.add_argument("--preserve", metavar="KIND,...", help=f"{text}: sysctls, routes, neighbours")


def _move(command: argparse.ArgumentParser) -> None:
    command.epilog = manual.NETNS
    command.add_argument("devices", nargs="+", metavar="DEV[=NAME]", help="a device, and its name in the target")
    command.add_argument("--to", required=True, metavar="NETNS", help="the target namespace")
    command.add_argument("--from", dest="source", metavar="NETNS", help="the source namespace (default: this one)")
    command.add_argument("--force", action="store_true", help="also a device that carries a default route")
    _preserve(command, "carry over besides addresses")
    _json(command)


def _bundle(command: argparse.ArgumentParser, required: bool) -> None:
    where = command.add_mutually_exclusive_group(required=required)
    where.add_argument("--bundle", type=_path, metavar="DIR", help="an OCI bundle: its config.json")
    where.add_argument("--config", type=_path, metavar="FILE", help="a config.json")
    whose = command.add_mutually_exclusive_group()
    whose.add_argument("--pid", type=int, metavar="PID", help="a process of the container")
    whose.add_argument("--netns", metavar="NETNS", help="the container's network namespace")


def _apply(command: argparse.ArgumentParser) -> None:
    command.epilog = manual.NETNS
    _bundle(command, required=True)
    _json(command)


def _check(command: argparse.ArgumentParser) -> None:
    command.epilog = manual.NETNS
    command.add_argument("devices", nargs="*", metavar="DEV[=NAME]", help="a device, and its name in the target")
    command.add_argument("--to", metavar="NETNS", help="the target namespace")
    command.add_argument("--from", dest="source", metavar="NETNS", help="the source namespace (default: this one)")
    command.add_argument("--force", action="store_true", help="a default route is a note, not an error")
    _preserve(command, "the --preserve of the move")
    _bundle(command, required=False)
    _json(command)


def _show(command: argparse.ArgumentParser) -> None:
    command.epilog = manual.NETNS
    command.add_argument("devices", nargs="*", metavar="DEV", help="a device (default: all)")
    command.add_argument("--netns", metavar="NETNS", help="the devices' namespace (default: this one)")
    _json(command)


def _doctor(command: argparse.ArgumentParser) -> None:
    command.add_argument("bundle", nargs="?", type=_path, metavar="BUNDLE", help="an OCI bundle, or its config.json")
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
    wait = "how long to wait for devices to come back (for another process that restores one: at least 5)"
    command.add_argument("--wait", type=_seconds, default=0, metavar="SECONDS", help=wait)
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
    command.add_argument("--dir", type=_path, metavar="DIR", help=f"another existing folder (default: {default})")
    command.add_argument("--python", action="store_true", help="use `netdevns hook` even if netdevns-hook is installed")


def _units(command: argparse.ArgumentParser) -> None:
    command.add_argument("name", nargs="?", metavar="NAME", help="a namespace to prepare (default: units for return)")
    command.add_argument("devices", nargs="*", metavar="DEV[=NAME]", help="a device, and its name in the namespace")
    _install(command)
    command.add_argument(
        "--dir", type=_path, metavar="DIR", help="an existing folder instead of /etc, such as /run or /usr/lib"
    )


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
    command.add_argument(
        "--dir", type=_path, metavar="DIR", help="another existing folder, which containers.conf then has to name"
    )


def _nri(command: argparse.ArgumentParser) -> None:
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
    _install(command)
    command.add_argument(
        "--dir", type=_path, metavar="DIR", help="another existing folder for the file (default: the runtime's)"
    )


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
