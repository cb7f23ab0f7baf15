"""The next command to type after an error or a check, where there is one. For people only: nothing here is stable."""

from __future__ import annotations

import errno
import os
import shlex
import shutil
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from ..engine import EngineError, Socket, lookups
from ..errors import NetDevError
from ..netlink import ifname, wire
from ..reports import Device, Finding
from ..system.netns import CURRENT, NetNS

# sudo looks for commands here and not in the caller's PATH (Debian's secure_path).
SUDO_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
LONGEST = 500  # characters

_DENIED = os.strerror(errno.EACCES)  # another user's process: /proc/PID/ns


@dataclass(frozen=True)
class Asked:
    """What somebody typed.

    Attributes:
        command: "move", "check", ...
        devices: DEV -> NAME or None, of the command line; a bundle's are not in it.
        options: What stands behind them, without --json.
        target, source: NETNS, as given.
    """

    command: str
    devices: Mapping[str, str | None] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    target: str | None = None
    source: str | None = None

    def line(self, command: str | None = None, *, sudo: bool = False) -> list[str]:
        """The words to type, or another command with the same arguments."""
        words = [*_program(sudo), command or self.command]
        devices = [f"{device}={name}" if name else device for device, name in self.devices.items()]
        if any(device.startswith("-") for device in devices):  # the kernel allows it, and argparse takes an option
            return [*words, *self.options, "--", *devices]
        return [*words, *devices, *self.options]


def after_check(findings: Iterable[Finding], asked: Asked) -> list[str]:
    """Commands that do what was asked for, or remove what stands against it; the best first."""
    errors = [finding for finding in findings if finding.severity == "error"]
    if not errors:
        return _typed([asked.line({"check": "apply" if not asked.devices else "move"}.get(asked.command))])
    if any(e.code.startswith("permission.") or _DENIED in e.text for e in errors):
        return _typed([asked.line(sudo=True)] if os.geteuid() else [])
    try:
        return _typed([*_corrected(errors, asked), *(line for e in errors for line in _removals(e, asked))])
    except (EngineError, NetDevError, wire.Malformed):
        return []  # what was there a moment ago is not there now: nothing to advise


def after_show(devices: Iterable[Device], asked: Asked) -> list[str]:
    """What to type before a move of these devices."""
    movable = {device.name: "NAME" for device in devices if device.movable}
    options = ("--to", "NETNS", *(["--from", asked.source] if asked.source else []))
    return _typed([replace(asked, command="check", devices=movable, options=options).line()]) if movable else []


def after_failure(asked: Asked, *, left_in_target: bool) -> list[str]:
    """Where to look after a move that began."""
    if left_in_target:
        return _typed([[*_program(), "show", "--netns", asked.target or ""]])
    return _typed([asked.line("check")])


def _typed(lines: Iterable[list[str]]) -> list[str]:
    """As somebody would type them; what cannot or would not be typed is left out."""
    typed = [shlex.join(line) for line in lines if all(map(str.isprintable, line))]
    return [line for line in dict.fromkeys(typed) if len(line) <= LONGEST]


def _program(sudo: bool = False) -> list[str]:
    if os.path.basename(sys.argv[0]) == "__main__.py":
        return [*["sudo"][:sudo], sys.executable, *["-I"][: sys.flags.isolated], "-m", "netdevns"]
    found = shutil.which("netdevns", path=SUDO_PATH if sudo else None)
    return [*["sudo"][:sudo], "netdevns" if found or not sudo else os.path.abspath(sys.argv[0])]


# ---- the same command, made right ----


def _corrected(errors: list[Finding], asked: Asked) -> list[list[str]]:
    """The command line with everything corrected that it can correct; none if something would still be refused."""
    devices, options = dict(asked.devices), asked.options
    real_names: dict[str, str] = {}
    for e in errors:
        if e.code == "device.default-route":
            options = (*options, *(["--force"] if "--force" not in options else []))
        elif e.code == "device.altname" and e.device in devices:
            real = _links(asked.source, [ifname.encode(e.device)])[0]
            if real is None:
                return []
            real_names[e.device] = os.fsdecode(real.name)
        elif e.code in ("name.taken", "name.taken-altname", "name.twice") and e.device in devices:
            stem = (asked.devices[e.device] or e.device).rstrip("0123456789")
            if ifname.why_invalid_template(ifname.encode(f"{stem}%d")):
                return []
            devices[e.device] = f"{stem}%d"
        else:
            return []
    corrected = {real_names.get(device, device): name for device, name in devices.items()}
    return [replace(asked, devices=corrected, options=options).line()] if len(corrected) == len(devices) else []


# ---- other commands ----


def _removals(e: Finding, asked: Asked) -> list[list[str]]:
    """Commands that remove the reason of one finding."""
    if e.code == "device.unknown":
        if asked.source:
            return [[*_program(), "show", "--netns", asked.source]]
        from ..recovery.loans import listed  # not for a move that is done

        return [
            *([*_program(), "return", loan.container] for loan in listed(devices=[e.device])),
            [*_program(), "show"],
        ]
    if e.code == "record.kept":  # it says what it still lacks
        return [[*_program(), "recover"]]
    if e.code == "netns.open":
        missing = [where for where in (asked.source, asked.target) if where and e.text.startswith(where)]
        named = [where for where in missing if "/" not in where and ":" not in where]
        return [["ip", "netns", "list"]] if named else []
    if e.code == "ipv6.disabled":
        return [[*_inside(asked.target), "sysctl", "-w", "net.ipv6.conf.default.disable_ipv6=0"]]
    if e.device is None or e.code not in ("name.own-altname", "name.taken-altname", "altname.taken"):
        return []
    device = ifname.encode(e.device)
    wanted = ifname.encode(asked.devices.get(e.device) or e.device)
    if e.code == "name.own-altname":
        return [_drop_altname(asked.source, device, wanted)]
    if e.code == "name.taken-altname":
        (holder,) = _links(asked.target, [wanted])
        return [_drop_altname(asked.target, holder.name, wanted)] if holder else []
    (own,) = _links(asked.source, [device])
    altnames = own.altnames if own else ()
    taken = zip(altnames, _links(asked.target, altnames), strict=True)
    return [_drop_altname(asked.source, device, altname) for altname, holder in taken if holder]


def _drop_altname(where: str | None, device: bytes, altname: bytes) -> list[str]:
    words = ["link", "property", "del", "dev", os.fsdecode(device), "altname", os.fsdecode(altname)]
    named = where is not None and "/" not in where and ":" not in where
    return ["ip", "-n", where or "", *words] if named else [*_inside(where), "ip", *words]


def _inside(where: str | None) -> list[str]:
    """What lets a command run in a namespace."""
    if where is None:
        return []
    if where.startswith("pid:"):
        return ["nsenter", "-t", where[4:], "-n"]
    if where.startswith("fd:"):
        return ["nsenter", f"--net=/proc/self/fd/{where[3:]}"]
    return ["nsenter", f"--net={where}"] if "/" in where else ["ip", "netns", "exec", where]


def _links(where: str | None, wanted: Iterable[bytes]) -> list[wire.Link | None]:
    """Devices of a namespace by name or alternative name."""
    requests = [wire.get_link(name=name) for name in wanted]
    with (
        NetNS.open(CURRENT if where is None else argument(where)) as netns,
        Socket(netns.fd if where else -1) as socket,
    ):
        return [lookups.link_of(answer) for answer in lookups.ask(socket, requests)]


def argument(text: str) -> str | int:
    """A NETNS argument: as `NetNS.open`, with an open descriptor as fd:N."""
    if text.startswith("fd:") and text[3:].isascii() and text[3:].isdigit():
        return int(text[3:])
    return text
