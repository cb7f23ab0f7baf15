"""Makes the CDI file by which podman, containerd, CRI-O and docker know `--device vendor.com/nic=eth1`.

Source: Container Device Interface, SPEC.md 0.3.0 to 1.1.0 ("Kind", "Devices", "OCI Edits"). Readers refuse
unknown keys.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping

from ..netlink import ifname
from ..text import quote
from . import hook_line, install
from .hook_line import Refused

FOLDER = "/etc/cdi"
BASE = "/etc"  # exists on every system; missing folders below it are made
NATIVE = "1.1.0"
# Most runtimes read the oldest (podman 4.3.1: up to 0.5.0).
VERSIONS = ("0.3.0", "0.4.0", "0.5.0", NATIVE)
_DIGIT_FIRST = "0.5.0"  # earlier versions require a device's name to begin with a letter

# Marks files without hooks as netdevns's; CDI has annotations since 0.6.0.
_MARK = {"org.netdevns.file": "cdi"}
_LABEL = "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_VENDOR = re.compile(rf"(?=[A-Za-z].{{1,252}}\Z){_LABEL}(\.{_LABEL})*")
# Dots are allowed since 0.6.0 only.
_CLASS = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,61}[A-Za-z0-9]")
_DEVICE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.:-]*[A-Za-z0-9])?")


def run(args: argparse.Namespace, devices: Mapping[str, str | None]) -> int:
    """Runs the command: shows, installs or removes the file; returns the exit code."""
    how = {"is_installed": args.action == "install", "with_python": args.python}

    def make() -> Mapping[str, object]:
        return {file_name(args.kind): document(args.kind, devices, args.cdi_version, **how)}

    return install.offer(args, (FOLDER, BASE), lambda: [file_name(args.kind)], make, is_ours)


def file_name(kind: str) -> str:
    """The file name of a kind.

    Raises:
        Refused: CDI does not allow the kind.
    """
    vendor, _, class_ = kind.partition("/")
    shown = quote.printable(kind)
    if not _VENDOR.fullmatch(vendor):
        raise Refused(
            f'"{shown}": a kind is VENDOR/CLASS; the vendor is a domain name that begins with a letter, as in '
            "vendor.com/nic"
        )
    if not _CLASS.fullmatch(class_):
        raise Refused(
            f'"{shown}": a kind is VENDOR/CLASS; the class has 2 to 63 letters, digits, "-" and "_", begins with a '
            "letter and ends with a letter or digit, as in vendor.com/nic"
        )
    return f"{vendor}-{class_}.json"


def document(
    kind: str,
    devices: Mapping[str, str | None],
    version: str | None = None,
    *,
    is_installed: bool = False,
    with_python: bool = False,
) -> dict[str, object]:
    """The file's contents.

    Args:
        kind: Such as vendor.com/nic.
        devices: Host name -> name in the container; None: the host name.
        version: One of VERSIONS; None: the one that most runtimes read. With NATIVE the runtime moves the devices.
        is_installed, with_python: As for `hook_line.command`.

    Raises:
        Refused: CDI, JSON or the kernel does not allow the kind, a name or the version; or no hook would work here.
    """
    file_name(kind)
    if not devices:
        raise Refused("no device is given; write DEV or DEV=NAME")
    wanted = {device: name or device for device, name in devices.items()}
    for device, name in wanted.items():
        _judge(device, name)
    version = _version(wanted, version)
    made: dict[str, object] = {"cdiVersion": version, "kind": kind}
    if version == NATIVE:
        made["annotations"] = _MARK
        edits = {d: _native(d, name) for d, name in wanted.items()}
    else:
        words = hook_line.command(is_installed=is_installed, with_python=with_python)
        edits = {d: _hook(words, "createRuntime", f"{d}={name}") for d, name in wanted.items()}
        # Once a container, for all of its devices.
        made["containerEdits"] = _hook(words, "poststop")
    made["devices"] = [{"name": device, "containerEdits": edit} for device, edit in edits.items()]
    return made


def is_ours(parsed: object) -> bool:
    """Whether a file was made by `document`."""
    if not isinstance(parsed, Mapping):
        return False
    if parsed.get("annotations") == _MARK:
        return True
    edits = parsed.get("containerEdits")
    hooks = edits.get("hooks") if isinstance(edits, Mapping) else None
    return isinstance(hooks, list) and len(hooks) == 1 and hook_line.is_ours(hooks[0])


def _native(device: str, name: str) -> dict[str, object]:
    return {"netDevices": [{"hostInterfaceName": device, "name": name}]}


def _hook(words: list[str], stage: str, *arguments: str) -> dict[str, object]:
    return {"hooks": [{"hookName": stage, **hook_line.entry(words, stage, *arguments)}]}


def _judge(device: str, name: str) -> None:
    shown = quote.printable(device)
    if why := ifname.why_invalid(ifname.encode(device)):
        raise Refused(f"{shown}: no device can have this name: {why}")
    if not _DEVICE.fullmatch(device):
        raise Refused(
            f"{shown}: CDI does not allow this name: it needs an ASCII letter or digit at both ends, and only these "
            'and "_", "-", "." between; give the device another name: ip link set dev OLD name NEW'
        )
    encoded = ifname.encode(name)
    why = ifname.why_invalid_template(encoded) if ifname.is_template(encoded) else ifname.why_invalid(encoded)
    if why:
        raise Refused(f'{shown}: the name "{quote.printable(name)}" is not possible: {why}')
    try:
        name.encode()
    except UnicodeEncodeError:
        raise Refused(f'{shown}: the name "{quote.printable(name)}" is not UTF-8, which JSON requires') from None


def _version(devices: Mapping[str, str], version: str | None) -> str:
    digits = [device for device in devices if device[0].isdigit()]
    needed = _DIGIT_FIRST if digits else VERSIONS[0]
    if version is None:
        return needed
    if version not in VERSIONS:
        raise Refused(f'CDI version "{quote.printable(version)}" is not known; use one of {", ".join(VERSIONS)}')
    if VERSIONS.index(version) < VERSIONS.index(needed):
        raise Refused(f"{digits[0]}: a name that begins with a digit needs CDI version {needed}, not {version}")
    return version
