"""The findings of a check: the stable codes, and their severities, errnos, texts and hints.

A finding is stored as a code, the device and plain operands: names as bytes, a network namespace as `NetNS.where`,
numbers, the kernel's extack. Its severity, errno, text and hint are computed when they are read.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .. import limits
from ..engine import EngineError
from ..engine.lookups import format_error
from ..netlink import ifaddr, ifname, uapi
from ..system.exclusion import being_moved
from ..system.netns import CURRENT
from ..text import quote

WITH_LIFETIME = 256  # the operand `scope` for lost addresses with a lifetime, of any scope
_DISABLE_IPV6 = "net.ipv6.conf.default.disable_ipv6"


class Found:
    """A finding inside netdevns, from which the public `Finding` is made.

    Attributes:
        code: One of CODES.
        device: The host name, or None if the finding is about a network namespace or the batch.
        operands: Values by name, for the text.
    """

    __slots__ = ("code", "device", "operands")

    def __init__(self, code: str, device: str | None, **operands: bytes | int | str) -> None:
        self.code = code
        self.device = device
        self.operands: dict[str, Any] = operands

    def __getitem__(self, name: str) -> str:
        """An operand for the text: printable, on one line."""
        value = ifname.encode(self.device or "") if name == "device" else self.operands[name]
        if isinstance(value, bytes):
            return quote.shown(value)
        return quote.printable(called(value) if name in ("netns", "source", "target") else str(value))

    @property
    def severity(self) -> str:
        return "note" if self.operands.get("is_forced") else _of(self.code).severity

    @property
    def errno(self) -> int:
        """The errno of a refused move: the operand, or else that of the code."""
        number: int = self.operands.get("errno", _of(self.code).errno)
        # As the kernel: it checks the attribute's length before the name (probe message.bad.name-too-long).
        is_long = self.code in ("name.invalid", "name.template") and len(self.operands["name"]) >= uapi.IFNAMSIZ
        return errno.ERANGE if is_long else number

    @property
    def text(self) -> str:
        return f"{self['device']}: a move loses: {self.words}" if self.severity == "loss" else self.words

    @property
    def words(self) -> str:
        """For a loss: short words, as in `Moved.not_carried`; for others: the text."""
        text = _of(self.code).text
        return text(self) if callable(text) else text.format_map(self)

    @property
    def hint(self) -> str | None:
        hint = _of(self.code).hint
        return hint(self) if callable(hint) else hint


def called(where: str) -> str:
    """A network namespace in a message."""
    return "this network namespace" if where == CURRENT else where


def command_in(where: str, program: str, *arguments: str) -> str | None:
    """A command line that runs a program in a network namespace."""
    words = [program]
    if where.startswith("pid:"):
        words = ["nsenter", "-t", where[4:], "-n", program]
    elif where.startswith("fd:"):
        words = ["nsenter", f"--net=/proc/self/fd/{where[3:]}", program]
    elif "/" not in where:
        words = ["ip", "-n", where] if program == "ip" else ["ip", "netns", "exec", where, program]
    elif where != CURRENT:
        words = ["nsenter", f"--net={where}", program]
    return quote.command_line(*words, *arguments)


# ---- texts of more than one form -------------------------------------------------------------------------------------


def _invalid_name(f: Found) -> str:
    reason = ifname.why_invalid(ifname.encode(f.device or "")) or 'it contains "%"'
    return f"{f['device']}: no device can have that name: {reason}"


def _immutable(f: Found) -> str:
    what = f"{f['kind']} devices" if f.operands["kind"] else "it"
    return f"{f['device']}: the kernel never moves {what} into another network namespace"


def _busy(f: Found) -> str:
    label = f["name"] if f.operands["name"] else f"the device with the ifindex {f['ifindex']}"
    return f"{label} {being_moved(f.operands['pid'])}"


def _default_route(f: Found) -> str:
    how = "; --force moves it anyway, and that route is lost, often the only way to the machine"
    if f.operands["is_forced"]:
        how = ""
    elif f.operands["is_annotated"]:
        how = "; no annotation can ask for it, only the hook's arguments or config.json"
    return f"{f['device']}: it carries a default route of {f['source']}{how}"


def _wanted_twice(f: Found) -> str:
    if f.operands["is_altname"]:
        return f'{f["device"]}: "{f["name"]}" is an alternative name of {f["other"]}'
    return f'{f["device"]}: the name "{f["name"]}" is also wanted for {f["other"]}'


def _taken(f: Found) -> str:
    """A device in the target has the name, as its name or alternative name."""
    what = "its alternative name" if f.code == "altname.taken" else "the name"
    is_altname = f.operands["other"] != f.operands["name"]
    by = f"a device with that alternative name, {f['other']}" if is_altname else "a device there"
    return f'{f["device"]}: {what} "{f["name"]}" is taken in {f["target"]} by {by} (ifindex {f["ifindex"]})'


def _no_ipv6(f: Found) -> str:
    why = f"disabled there ({_DISABLE_IPV6})" if f.operands["is_disabled"] else "not available there"
    return f"{f['device']}: it has IPv6 addresses, but IPv6 is {why}: {f['target']}"


def _permission(f: Found) -> str:
    if "what" in f.operands:
        return _system(f)
    which = "" if f.operands["netns"] == CURRENT else "the network namespace "
    return f"CAP_NET_ADMIN is missing in {which}{f['netns']}"


# By the operand `what`; any other value is a file.
_FAILED = {
    "ask": "netlink request failed",
    "enter": "cannot enter the network namespace",
    "reply": "malformed netlink reply",
    "socket": "no netlink socket",
    "watch": "cannot watch for changes of addresses",
}


def _system(f: Found) -> str:
    what, number, extack = (f.operands[name] for name in ("what", "errno", "extack"))
    # Entering needs CAP_SYS_ADMIN. A refused socket(2) is due to a seccomp filter or a security module instead.
    if what == "enter" and number == errno.EPERM and extack.startswith("setns"):
        owner = "" if "the way back" in extack else " in the user namespace that owns it"
        return f"{f['netns']}: cannot be entered: {os.strerror(number)}; CAP_SYS_ADMIN is needed{owner}"
    failed = _FAILED[what] if what in _FAILED else f"{f['what']} could not be read"
    why = quote.printable(extack if what == "reply" else format_error(EngineError(number, extack, what)))
    return f"{f['netns']}: {failed}: {why}"


def _kept(f: Found) -> str:
    text = f"an earlier move was killed and cannot be undone: {f['why']} ({f['record']})"
    return f"{f['device']}: {text}" if f.device else text


def _lost_upper(f: Found) -> str:
    return f"{f['upper']} on top of it, {'which the kernel deletes' if f.operands['ends'] else 'which stays behind'}"


def _lost_addresses(f: Found) -> str:
    count, scope = f.operands["count"], f.operands["scope"]
    what = "with a lifetime" if scope == WITH_LIFETIME else f"of {ifaddr.SCOPES.get(scope, str(scope))} scope"
    return f"{count} address{'es' if count > 1 else ''} {what}"


# ---- hints -----------------------------------------------------------------------------------------------------------


def _argument(device: bytes, wanted: bytes) -> str | None:
    """The argument DEV, or DEV=NAME for another name; None: DEV contains a "=", so it cannot be written."""
    return None if b"=" in device else quote.command_line(os.fsdecode(device + b"=" * bool(wanted) + wanted))


def _real_name(f: Found) -> str | None:
    wanted = f.operands["wanted"]
    return _argument(f.operands["other"], b"" if wanted == ifname.encode(f.device or "") else wanted)


def _numbered(f: Found) -> str | None:
    """The argument with a template instead of the taken name: "net0" -> "net%d"."""
    template = f.operands["name"].rstrip(b"0123456789") + b"%d"
    return None if ifname.why_invalid_template(template) else _argument(ifname.encode(f.device or ""), template)


def _without_altname(f: Found) -> str | None:
    arguments = ["link", "property", "del", "dev", f.device or "", "altname", os.fsdecode(f.operands["name"])]
    return command_in(f.operands["source"], "ip", *arguments)


def _show(f: Found) -> str | None:
    where = f.operands["source"]
    return quote.command_line("netdevns", "show", *(["--netns", where] if where != CURRENT else []))


def _enable_ipv6(f: Found) -> str | None:
    return command_in(f.operands["target"], "sysctl", "-w", f"{_DISABLE_IPV6}=0") if f.operands["is_disabled"] else None


def _sudo(f: Found) -> str | None:
    """For a namespace that only root may open."""
    if f.errno in (errno.EPERM, errno.EACCES):
        return "sudo" if os.geteuid() else None
    return "ip netns list" if f.operands.get("is_name") else None


# ---- the list --------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Code:
    """Properties that the findings of a code share. A text is a template with operand names, or a function."""

    errno: int
    text: str | Callable[[Found], str]
    hint: str | Callable[[Found], str | None] | None = None
    severity: str = "error"


LOSS = _Code(0, "{words}", severity="loss")  # state that a move drops and the runtime-spec does not protect

CODES = {
    "device.invalid-name": _Code(errno.ENODEV, _invalid_name),
    "device.unknown": _Code(errno.ENODEV, "{device}: no such device in {source}", _show),
    "device.altname": _Code(
        errno.ENODEV, "{device}: this is an alternative name of {other}; name the device itself: {other}", _real_name
    ),
    "device.twice": _Code(errno.EINVAL, "{device}: this is the same device as {other}"),
    # Found before any look-up.
    "device.too-many": _Code(errno.E2BIG, f"{{count}} devices; at most {limits.DEVICES} can be moved together"),
    "device.immutable": _Code(errno.EINVAL, _immutable),  # lo, bridges, bonds, ...
    "device.ends": _Code(  # vxlan, macsec
        errno.EBUSY, "{device}: the kernel deletes it when its lower device moves; do not move both in one batch"
    ),
    # Another process is moving it, restoring it after a loan, or undoing an earlier move.
    "device.busy": _Code(errno.EBUSY, _busy),
    # A note if forced.
    "device.default-route": _Code(
        errno.EBUSY,
        _default_route,
        lambda f: None if f.operands["is_forced"] or f.operands["is_annotated"] else "--force",
    ),
    # ERANGE: too long.
    "name.invalid": _Code(
        errno.EINVAL,
        lambda f: f'{f["device"]}: "{f["name"]}" is no valid name: {ifname.why_invalid(f.operands["name"])}',
    ),
    # A "%" that is not a single "%d". ERANGE: too long.
    "name.template": _Code(
        errno.EINVAL,
        lambda f: f'{f["device"]}: "{f["name"]}" is no template: {ifname.why_invalid_template(f.operands["name"])}',
    ),
    "name.taken": _Code(errno.EEXIST, _taken, _numbered),
    "name.taken-altname": _Code(errno.EEXIST, _taken, _numbered),
    "name.own-altname": _Code(  # it travels with the device
        errno.EEXIST, '{device}: "{name}" is an alternative name of the device itself; remove it', _without_altname
    ),
    # Another device of the batch wants the name, or has it as an alternative name.
    "name.twice": _Code(errno.EEXIST, _wanted_twice, _numbered),
    "altname.taken": _Code(errno.EEXIST, _taken, _without_altname),
    # The errno of opening it; EINVAL: not a network namespace.
    "netns.open": _Code(0, "{error}", _sudo),
    "netns.same": _Code(errno.EINVAL, "{where}: this is the network namespace that the devices are to be moved out of"),
    # CAP_NET_ADMIN is missing there, or CAP_SYS_ADMIN to enter it.
    "permission.source": _Code(errno.EPERM, _permission, _sudo),
    "permission.target": _Code(errno.EPERM, _permission, _sudo),
    "ipv6.disabled": _Code(errno.EACCES, _no_ipv6, _enable_ipv6),
    # An earlier, killed move of the device cannot be undone.
    "record.kept": _Code(errno.EBUSY, _kept, "netdevns recover"),
    # The errno of opening or making the folder, or a file in it.
    "record.unwritable": _Code(0, "{record}: no record of a move can be written there: {why}", _sudo),
    # A netlink request failed, or a file below /proc/sys/net could not be read. The errno is that of the failure.
    "system": _Code(0, _system, _sudo),
    "loss.master": LOSS,
    "loss.port": LOSS,
    "loss.qdisc": LOSS,
    "loss.routes": LOSS,
    "loss.neighbours": LOSS,
    "loss.fdb": LOSS,
    "loss.upper": _Code(0, _lost_upper, severity="loss"),
    "loss.addresses": _Code(0, _lost_addresses, severity="loss"),
    "device.xdp": _Code(0, "{device}: {words}", severity="note"),
}


def _of(code: str) -> _Code:
    """The entry of a code; LOSS for an unlisted "loss." code of a kind of state."""
    return LOSS if code.startswith("loss.") and code not in CODES else CODES[code]
