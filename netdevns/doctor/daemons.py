"""Finds udev, systemd-networkd and NetworkManager settings that would rename or configure a device that comes back.

Only what a file matches by names, MAC addresses, kind and type is judged; files that match by other properties (driver,
path, virtualization) are left out.

Source: systemd.link(5), systemd.network(5), systemd.syntax(7), udev(7), NetworkManager.conf(5) "Device List Format".
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

from ..text.quote import printable, quoted
from .conf import sections
from .devices import Wanted
from .finding import OK, WARNING, Finding
from .host import Host, Nic, NotRun, run, why_untrusted

CHECK = "daemons"
UDEV, NETWORKD, NM = "systemd-udevd", "systemd-networkd", "NetworkManager"
PAGE = "docs/daemons.md"
UDEV_WITH_PROPERTY = 256  # systemd.link(5), Property=
# A file in an earlier folder hides one of the same name in a later one.
_FOLDERS = (
    "/etc/systemd/network", "/run/systemd/network", "/usr/local/lib/systemd/network", "/usr/lib/systemd/network",
    "/lib/systemd/network",
)  # fmt: skip
_RULES = ("/etc/udev/rules.d", "/run/udev/rules.d")
_NM_FOLDERS = ("/usr/lib/NetworkManager/conf.d", "/run/NetworkManager/conf.d")
_NM_FILE, _NM_ETC = "/etc/NetworkManager/NetworkManager.conf", "/etc/NetworkManager/conf.d"
# Names that udev gives by itself: it gives the same one again.
_PREDICTABLE = re.compile(r"(en|ib|sl|wl|ww)[bcdopsvxP]?[0-9a-fxP].*")
_NETWORKD_ITSELF = "io.systemd.Network"
_BY_UDEV_RULE = ("veth",)  # NetworkManager leaves these alone by a udev rule that it brings along

Settings = dict[tuple[str, str], list[str]]  # (section, key) -> values in order


def check(host: Host, every: Mapping[str, Wanted]) -> Iterator[Finding]:
    """Judges the daemons that run, for each device that containers may have."""
    running = [name for name in (UDEV, NETWORKD, NM) if _runs(host, name)]
    known = [one for one in every.values() if one.nic is not None]
    for daemon in running:
        found = [finding for one in known for finding in _JUDGES[daemon](host, one, one.nic or Nic(one.name, 0))]
        yield from found
        if not found:
            count = f"{len(known)} device{'' if len(known) == 1 else 's'}" if known else "no device"
            yield Finding(CHECK, OK, daemon, f"runs, and touches none of the devices ({count} known here)")


def _runs(host: Host, daemon: str) -> bool:
    # Debian 12 starts udevd as a link to udevadm, with its own name as the first word.
    return host.is_running(daemon, *(["udevd"] if daemon == UDEV else []))


# ---- systemd ---------------------------------------------------------------------------------------------------------


def _files(host: Host, suffix: str) -> Iterator[tuple[str, Settings]]:
    """The files in effect, in the order in which they are tried, with their drop-ins."""
    places: dict[str, str] = {}
    for folder in _FOLDERS:
        for path in host.files([folder], suffix):
            places.setdefault(os.path.basename(path), path)
    for name, path in sorted(places.items()):
        text = host.text(path)
        if not text:  # an empty file, or a link to /dev/null, hides the others
            continue
        dropins: dict[str, str] = {}
        for folder in _FOLDERS:
            for each in host.files([f"{folder}/{name}.d"], ".conf"):
                dropins.setdefault(os.path.basename(each), each)
        settings: Settings = {}
        for each in (path, *(dropins[key] for key in sorted(dropins))):
            for section, key, value in sections(host.text(each) or ""):
                values = settings.setdefault((section, key), [])
                if value:
                    values.append(value)
                else:  # an empty value resets the setting
                    values.clear()
        yield path, settings


def _matches(settings: Settings, nic: Nic, name: str) -> bool:
    """Whether the [Match] section fits; False also where a key cannot be judged."""
    return all(
        _fits(key, " ".join(values).split(), nic, name)
        for (section, key), values in settings.items()
        if section == "Match" and values
    )


def _fits(key: str, words: Sequence[str], nic: Nic, name: str) -> bool:
    macs = [word.lower().replace("-", ":") for each in words for word in re.split("[,;]", each)]
    if key == "MACAddress":
        return nic.mac in macs
    if key == "PermanentMACAddress":
        return nic.permanent_mac != "" and nic.permanent_mac in macs
    values = {"OriginalName": name, "Name": name, "Kind": nic.kind, "Type": "ether"}
    if key not in values:
        return False
    is_negated = words[:1] != [] and words[0].startswith("!")
    globs = [words[0].removeprefix("!"), *words[1:]] if words else []
    return any(fnmatchcase(values[key], glob) for glob in globs) != is_negated


def _udev(host: Host, one: Wanted, nic: Nic) -> Iterator[Finding]:
    """A .link file or a rule that gives the device another name when it comes back."""
    yield from _udev_rules(host, one, nic)
    back = [name for name in one.names if name != one.name] or [one.name]
    for path, settings in _files(host, ".link"):
        if not _matches(settings, nic, back[0]):
            continue
        policy = " ".join(settings.get(("Link", "NamePolicy"), ())).split()
        names = settings.get(("Link", "Name"), [])
        if policy and policy[0] == "keep":
            return
        if policy and not _PREDICTABLE.fullmatch(one.name):
            text = f"udev renames it by NamePolicy={' '.join(policy)} of {printable(path)} when it comes back"
            yield _warning(one, text, f"a .link file with Name={one.name}: {PAGE}")
        elif not policy and names and names[-1] != one.name:
            text = f"udev renames it to {quoted(names[-1])} by {printable(path)} when it comes back"
            yield _warning(one, text, f"Name={one.name} in {path}")
        return


def _properties(host: Host, one: Wanted, nic: Nic) -> dict[str, str]:
    """The udev properties that a device has, and those that a .link file gives it when it comes back."""
    now = re.findall(r"^E:([^=\n]+)=(.*)$", host.text(f"/run/udev/data/n{nic.ifindex}") or "", re.MULTILINE)
    back = next((name for name in one.names if name != one.name), one.name)
    given = next((settings for _, settings in _files(host, ".link") if _matches(settings, nic, back)), {})
    words = " ".join(given.get(("Link", "Property"), ())).replace('"', "").split()
    if words and _udev_version(host) < UDEV_WITH_PROPERTY:
        words = []
    return dict(now) | dict(word.split("=", 1) for word in words if "=" in word)


def _udev_version(host: Host) -> int:
    """0: it is not known."""
    for path in host.find("udevadm"):
        real = host.path(path)
        if not why_untrusted(real):
            with contextlib.suppress(NotRun):
                found = re.match(rb"\d{1,6}", run([real, "--version"]).stdout)
                return int(found[0]) if found else 0
    return 0


def _udev_rules(host: Host, one: Wanted, nic: Nic) -> Iterator[Finding]:
    for path in host.files(_RULES, ".rules"):
        for line in (host.text(path) or "").splitlines():
            name = re.search(r'(?<![A-Z_{])NAME:?="([^"]+)"', line)
            mac = re.search(r'ATTRS?\{address\}=="([^"]+)"', line)
            is_rule = name and mac and not line.lstrip().startswith("#")
            if is_rule and name and mac and fnmatchcase(nic.mac, mac[1].lower()) and name[1] != one.name:
                text = f"udev renames it to {quoted(name[1])} by {printable(path)} when it comes back"
                yield _warning(one, text, f'NAME="{one.name}" there')


def _networkd(host: Host, one: Wanted, nic: Nic) -> Iterator[Finding]:
    if _properties(host, one, nic).get("ID_NET_MANAGED_BY", _NETWORKD_ITSELF) != _NETWORKD_ITSELF:
        return
    for name in dict.fromkeys([one.name, *one.names]):
        for path, settings in _files(host, ".network"):
            if not _matches(settings, nic, name):
                continue
            unmanaged = settings.get(("Link", "Unmanaged"), ["no"])[-1:]
            if not unmanaged or unmanaged[0].lower() not in ("yes", "true", "on", "1"):
                text = f"networkd configures it, as {quoted(name)}, by {printable(path)} when it comes back"
                yield _warning(one, text, f"a .network file before it, with Unmanaged=yes in [Link]: {PAGE}")
                return
            break


# ---- NetworkManager --------------------------------------------------------------------------------------------------


def _network_manager(host: Host, one: Wanted, nic: Nic) -> Iterator[Finding]:
    if nic.kind in _BY_UDEV_RULE or _properties(host, one, nic).get("NM_UNMANAGED") == "1":
        return
    settings = _nm_settings(host)
    names = [*dict.fromkeys([one.name, *one.names])]
    managed = [name for name in names if not _is_unmanaged(settings, nic, name)]
    if not managed:
        return
    how = "" if len(managed) == len(names) else f", when it is called {quoted(managed[0])}"
    mac = nic.permanent_mac or nic.mac
    yield _warning(one, f"NetworkManager configures it{how}", f"[keyfile] unmanaged-devices+=mac:{mac} in {_NM_ETC}")


def _nm_settings(host: Host) -> Settings:
    """The settings in effect: of a key the last value, unless it is added to one before (+=)."""
    hidden = set(host.names(_NM_ETC))
    paths = [path for path in host.files(_NM_FOLDERS, ".conf") if os.path.basename(path) not in hidden]
    settings: Settings = {}
    for path in (*paths, _NM_FILE, *host.files([_NM_ETC], ".conf")):
        for section, key, value in sections(host.text(path) or ""):
            if key.endswith("+"):
                settings.setdefault((section, key[:-1]), []).append(value)
            else:
                settings[section, key] = [value]
    return settings


def _is_unmanaged(settings: Settings, nic: Nic, name: str) -> bool:
    listed = ";".join(settings.get(("keyfile", "unmanaged-devices"), ()))
    if _is_listed(listed, nic, name):
        return True
    for (section, key), values in settings.items():
        if section.startswith("device") and key == "managed" and values[-1].lower() in ("0", "no", "false", "off"):
            devices = settings.get((section, "match-device"))
            if devices is None or _is_listed(";".join(devices), nic, name):
                return True
    return False


def _is_listed(text: str, nic: Nic, name: str) -> bool:
    """Whether a device list has the device; one "except:" that fits takes it out."""
    found = False
    for word in filter(None, re.split(r"[,;\s]+", text)):
        is_except = word.startswith("except:")
        if _is_named(word.removeprefix("except:"), nic, name):
            if is_except:
                return False
            found = True
    return found


def _is_named(word: str, nic: Nic, name: str) -> bool:
    kind, _, value = word.partition(":")
    if kind == "mac":
        return value.lower() in (nic.mac, nic.permanent_mac)
    if kind == "interface-name":
        return value[1:] == name if value.startswith("=") else fnmatchcase(name, value.removeprefix("~"))
    if kind == "type":
        return value == (nic.kind or "ethernet")
    return word == "*" or word == name or word.lower() in (nic.mac, nic.permanent_mac)


def _warning(one: Wanted, text: str, hint: str) -> Finding:
    return Finding(CHECK, WARNING, quoted(one.name), text, hint)


_JUDGES = {UDEV: _udev, NETWORKD: _networkd, NM: _network_manager}
