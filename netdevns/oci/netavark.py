"""The netavark plugin: `podman network create --driver netdevns --opt device=eth1 nic1`, and its --install.

netavark starts a network's plugin once for each container: `setup NETNS` before the container's process, `teardown
NETNS` while the namespace still exists. It writes JSON to stdin and reads JSON from stdout. The answer to a failure is
{"error": ...}, which podman prints, and an exit code. The driver's name is the name of the plugin's file.

Source: netavark, plugin-API.md, API 1.0.0. Observed with podman 5.4.2 and netavark 1.14.0, 5.8.6 and 1.17.2, 6.1.1 and
2.0.0: subnets, addresses and ports are passed on unchecked, also by `podman network create`; `info` is not called.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .. import __version__, errors, limits
from ..netlink import ifname
from ..system import inputs
from ..system.interrupts import Interrupts
from ..text.outcome import FAILED, LEFT, REFUSED, UNTOUCHED, bounded, code_of, interruption, record_lines
from ..text.output import complain, internal, warn_in_a_line
from ..text.quote import printable, quoted
from . import config_json, hook_line, hook_log, install
from .hook_log import STDERR_WAIT_S
from .install import Place

API_VERSION = "1.0.0"
REQUESTS = {"create": 0, "info": 0, "setup": 1, "teardown": 1}  # and the number of arguments
DRIVER = "netdevns"
# The default of netavark_plugin_dirs (containers.conf(5)); /usr/local exists on every system.
FOLDERS = ("/usr/local/libexec/netavark", "/usr/libexec/netavark", "/usr/local/lib/netavark", "/usr/lib/netavark")
BASE = "/usr/local"
_MARK = "# Written by `netdevns netavark`"
_LAUNCHER = "#!/bin/sh\n" + _MARK + '; `netdevns netavark --uninstall` removes it.\nexec {words} netavark "$@"\n'

OPTIONS = ("device", "name", "preserve", "force")
PRESERVABLE = ("sysctls", "routes", "neighbours")
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
# podman chooses the lowest free name of this form; the plugin cannot tell whether the user has given one.
_CHOSEN_BY_PODMAN = re.compile("eth[0-9]+")
_ADDRESSES = "{device} keeps the addresses that it has on the host"
# A member of the network, the option of `podman network create` that sets it, and why it is refused.
_OF_NETWORK = {
    "subnets": ("--subnet", _ADDRESSES),
    "ipv6_enabled": ("--ipv6", _ADDRESSES),
    "routes": ("--route", "routes are not made; --opt preserve=routes takes along those of {device}"),
    "network_dns_servers": ("--dns", "there is no DNS server in this network"),
    "internal": ("--internal", "what {device} reaches is not restricted"),
    "network_interface": ("--interface-name", "write --opt device={device}"),
}
_OF_CONTAINER = {
    "options": ("an option behind the network's name", "give options to `podman network create`, by --opt")
}
_PORTS = {"port_mappings": ("a port (--publish)", "each port is open at the addresses of {device}")}


@dataclass(frozen=True)
class Attachment:
    """A container's part in a network.

    Attributes:
        loan: The container's id in the loan: unique for each container and network.
        network: Its name.
        device, wanted: The device's name on the host, and in the container.
        preserve: As for `api.transact`.
        force: Also a device that carries a default route.
        addresses, mac: Those that the container asks for: the device's own are no reason to refuse, as `podman network
            reload` asks for what the container had. An empty `mac`: none.
    """

    loan: str
    network: str
    device: str
    wanted: str
    preserve: frozenset[str]
    force: bool
    addresses: tuple[str, ...]
    mac: str


def run(args: argparse.Namespace) -> int:
    """Runs the command: answers netavark, or shows, installs or removes the plugin; returns the exit code.

    Args:
        args: `words`: netavark's arguments, none for the plugin's file; `action` and `dir` as for `install.offer`.
    """
    return _files(args) if not args.words else answer(args.words)


# ---- the answer to netavark ------------------------------------------------------------------------------------------


def answer(words: Sequence[str]) -> int:
    """Answers one request of netavark on stdin; returns the exit code, which is that of a hook."""
    warn_in_a_line(STDERR_WAIT_S)
    loan = ""
    try:
        request, data = words[0], _stdin(words[0])
        if REQUESTS.get(request) != len(words) - 1:
            known = "create, info, setup NETNS and teardown NETNS"
            raise errors.ConfigInvalid(f"netavark: {quoted(' '.join(words))}: unknown request; known are {known}")
        if request == "info":
            return _written({"version": __version__, "api_version": API_VERSION})
        document = config_json.parse(data, "stdin of the netavark plugin")
        if request == "create":
            return _written(create(document))
        loan = loan_of(document)
        if request == "setup":
            return _setup(words[1], attachment(document))
        return _teardown(words[1], loan)
    except (errors.ConfigInvalid, errors.NetDevError) as e:
        lines, code = _lines_of(e), code_of(e) if isinstance(e, errors.NetDevError) else REFUSED
    except (KeyboardInterrupt, SystemExit) as e:
        lines, code = interruption(e, _lines_of)
    except (ImportError, _Unread) as e:
        lines, code = [str(e)], FAILED
    except Exception as e:
        lines, code = [internal(e)], FAILED
    return _failed(lines, code, loan)


def _stdin(request: str) -> bytes:
    """Reads stdin to its end, as netavark fails where a plugin leaves it unread. Raises ConfigInvalid."""
    data = b"" if request == "info" else inputs.stdin("stdin of the netavark plugin")
    if len(data) > limits.STATE_BYTES:
        limit = inputs.called(limits.STATE_BYTES)
        raise errors.ConfigInvalid(f"stdin of the netavark plugin: larger than {limit}")
    return data


class _Unread(Exception):
    """netavark does not read the answer."""


def _written(document: Mapping[str, object]) -> int:
    """Writes an answer. Raises _Unread."""
    data = json.dumps(document).encode() + b"\n"
    try:
        while data:  # not by sys.stdout, which would fail once more when it is closed
            data = data[os.write(1, data) :]
    except OSError as e:
        raise _Unread(f"netavark does not read the answer: {e.strerror}") from None
    return 0


def _setup(path: str, wanted: Attachment) -> int:
    from . import netavark_devices

    interrupts = Interrupts()
    status, lines = netavark_devices.setup(path, wanted, interrupts)
    try:
        _written(status)
    except BaseException as e:  # netavark has ended: podman would remove the namespace with the device
        why = str(e) if isinstance(e, _Unread) else f"the answer cannot be made: {e or type(e).__name__}"
        left, is_restored = netavark_devices.take_back(path, wanted)
        return _failed([f"{wanted.device}: {why}", *left], FAILED if is_restored else LEFT, wanted.loan)
    _log(lines, wanted.loan, is_error=False)
    return 0


def _teardown(path: str, loan: str) -> int:
    from . import netavark_devices

    interrupts = Interrupts()
    results = netavark_devices.teardown(path, loan, interrupts)
    ended = [f"{each.device}: {each.text}" for each in results if each.outcome == "gone"]
    _log(ended, loan, is_error=False)
    lines = record_lines(each for each in results if each.outcome == "kept")
    return _failed(lines, LEFT, loan) if lines else 0


def _lines_of(e: errors.ConfigInvalid | errors.NetDevError) -> list[str]:
    if isinstance(e, errors.ConfigInvalid):
        return [str(e), UNTOUCHED]
    from . import netavark_devices

    return netavark_devices.lines_of(e)


def _failed(lines: Sequence[str], code: int, loan: str) -> int:
    """Answers with an error, in one line, and logs it; returns the exit code."""
    lines = bounded(lines)
    try:
        _written({"error": "; ".join(lines)})
    except _Unread:
        complain(lines, code, STDERR_WAIT_S)
    _log(lines, loan, is_error=True)
    return code


def _log(lines: Sequence[str], loan: str, *, is_error: bool) -> None:
    hook_log.report(bounded(lines), container=loan, is_error=is_error)


# ---- the requests ----------------------------------------------------------------------------------------------------


def create(network: Mapping[str, object]) -> dict[str, object]:
    """The configuration of a new network, as podman stores it: without DNS, which needs a server in the network.

    Args:
        network: As podman has made it.

    Raises:
        ConfigInvalid: An option is unknown or missing, or asks for something that is not done.
    """
    name = _text(network, "name", "network")
    options = _options(network, name)
    _refuse(network, _OF_NETWORK, name, options["device"])
    ipam = _object(network, "ipam_options", "network")
    if ipam.get("driver", "none") != "none":
        raise errors.ConfigInvalid(
            f"{quoted(name)}: --ipam-driver is refused: {_ADDRESSES.format(device=quoted(options['device']))}"
        )
    _preserve(options, name)
    _force(options, name)
    return {**network, "dns_enabled": False}


def loan_of(request: Mapping[str, object]) -> str:
    """The id of a container's loan in a network: CONTAINER:NETWORK. Raises ConfigInvalid."""
    network = _object(request, "network", "stdin")
    return f"{_text(request, 'container_id', 'stdin')}:{_text(network, 'name', 'network')}"


def attachment(request: Mapping[str, object]) -> Attachment:
    """What a container is to get.

    Args:
        request: netavark's, on stdin of `setup`.

    Raises:
        ConfigInvalid: The network is not one that `create` allows, or the container asks for a port or an option.
    """
    network, container = (_object(request, key, "stdin") for key in ("network", "network_options"))
    name = _text(network, "name", "network")
    options = _options(network, name)
    device = options["device"]
    create(network)  # podman's file may have been changed since
    _refuse(container, _OF_CONTAINER, name, device)
    _refuse(request, _PORTS, name, device)
    given = _text(container, "interface_name", "network_options")
    wanted = options["name"] if "name" in options and _CHOSEN_BY_PODMAN.fullmatch(given) else given
    device, wanted = (inputs.text(each, f"{quoted(name)}: a device's name") for each in (device, wanted))
    addresses = container.get("static_ips") or []
    if not isinstance(addresses, list) or not all(isinstance(each, str) for each in addresses):
        raise errors.ConfigInvalid("network_options.static_ips: an array of strings is needed")
    mac = _text(container, "static_mac", "network_options") if container.get("static_mac") else ""
    kinds, force = _preserve(options, name), _force(options, name)
    return Attachment(loan_of(request), name, device, wanted, kinds, force, tuple(addresses), mac)


def _refuse(document: Mapping[str, object], unwanted: Mapping[str, tuple[str, str]], network: str, device: str) -> None:
    for key, (words, why) in unwanted.items():
        if document.get(key):
            raise errors.ConfigInvalid(f"{quoted(network)}: {words} is refused: {why.format(device=quoted(device))}")


def _options(network: Mapping[str, object], name: str) -> dict[str, str]:
    """The network's options. Raises ConfigInvalid."""
    given = _object(network, "options", "network")
    options = {key: _text(given, key, "options") for key in given}
    for key in options:
        if key not in OPTIONS:
            known = ", ".join(OPTIONS)
            raise errors.ConfigInvalid(f"{quoted(name)}: --opt {quoted(key)}: unknown option; known are {known}")
    if "device" not in options:
        raise errors.ConfigInvalid(f"{quoted(name)}: the device is missing: write --opt device=eth1")
    for key in {"device", "name"} & {*options}:
        encoded = ifname.encode(options[key])
        is_template = key == "name" and ifname.is_template(encoded)
        if why := ifname.why_invalid_template(encoded) if is_template else ifname.why_invalid(encoded):
            what = f"--opt {key}={quoted(options[key])}"
            raise errors.ConfigInvalid(f"{quoted(name)}: {what}: no device can have that name: {why}")
    return options


def _preserve(options: Mapping[str, str], name: str) -> frozenset[str]:
    kinds = options["preserve"].split(",") if "preserve" in options else []
    for kind in kinds:
        if kind not in PRESERVABLE:
            known = ", ".join(PRESERVABLE)
            raise errors.ConfigInvalid(
                f'{quoted(name)}: --opt preserve: unknown kind "{quoted(kind)}"; known are {known}'
            )
    return frozenset(kinds)


def _force(options: Mapping[str, str], name: str) -> bool:
    given = options.get("force", "false")
    if given not in _BOOLEANS:
        raise errors.ConfigInvalid(f'{quoted(name)}: --opt force: write true or false, not "{quoted(given)}"')
    return _BOOLEANS[given]


def _object(document: Mapping[str, object], key: str, place: str) -> Mapping[str, object]:
    """A member that is an object; null or none: empty. Raises ConfigInvalid."""
    value = document.get(key)
    if value is not None and not config_json.is_object(value):
        raise errors.ConfigInvalid(f"{place}.{key}: an object is needed, not {config_json.kind(value)}")
    return value or {}


def _text(document: Mapping[str, object], key: str, place: str) -> str:
    """A member that is a string, not empty. Raises ConfigInvalid."""
    value = document.get(key)
    if not isinstance(value, str) or not value:
        raise errors.ConfigInvalid(f"{place}.{quoted(key)}: a string is needed, not {config_json.kind(value)}")
    return value


# ---- the plugin's file -----------------------------------------------------------------------------------------------


def _files(args: argparse.Namespace) -> int:
    place = Place(FOLDERS[0], BASE) if args.dir is None else Place(os.path.abspath(args.dir), None)

    def act(done: list[str]) -> list[str]:
        if args.action == "uninstall":
            return install.remove_all({place: [DRIVER]}, is_ours, done)
        text = launcher(is_installed=args.action == "install")
        if args.action != "install":
            return [text.rstrip("\n")]
        return [*install.write_all({place: {DRIVER: text}}, is_ours, done), _configuration(place.folder)]

    return install.report(act)


def _configuration(folder: str) -> str:
    if folder in FOLDERS:
        return "containers.conf needs nothing, unless it sets netavark_plugin_dirs: this folder is a default one"
    return f"containers.conf needs, in [network]: netavark_plugin_dirs = [{json.dumps(printable(folder))}]"


def launcher(*, is_installed: bool = False) -> str:
    """The plugin's file: starts this installation's command line. Raises hook_line.Refused, as `hook_line.program`."""
    words = hook_line.program(is_installed=is_installed, starter="netavark")
    return _LAUNCHER.format(words=shlex.join(words))


def is_ours(content: object) -> bool:
    """Whether a file was written by this command."""
    return isinstance(content, bytes) and content.startswith(f"#!/bin/sh\n{_MARK}".encode())
