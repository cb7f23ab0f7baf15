"""Compares the exit code and the report on devices that were fought over with the raw dump."""

from __future__ import annotations

import re
from typing import Any

from tests.fault.attack import plain
from tests.support.attacks import AS_BEFORE, COMPLETE, REPORTED, Ended

from .scene import DEVICES, Scene

# By what it is called: words that name it in a report, IFLA_* numbers and IFF_* bits in which it is seen.
WORDS: dict[str, tuple[str, set[object], int]] = {
    "MAC": (r"\bMAC\b|link.layer|\bIFLA_ADDRESS", {1}, 0),
    "MTU": (r"\bMTU\b", {4}, 0),
    "alias": (r"\balias\b", {20}, 0),
    "group": (r"\bgroup\b", {27}, 0),
    "txqlen": (r"txqlen|queue length", {13}, 0),
    "gso": (r"\bgs?r?o\b|\bg[sr]o_|GSO|GRO", {40, 41, 58, 63, 64, 66}, 0),
    "master": (r"\bmaster\b|bridge", {10, "slave kind"}, 0),
    "XDP": (r"XDP", {43}, 0),
    "PROMISC": (r"PROMISC", set(), 0x100),
    "ALLMULTI": (r"ALLMULTI", set(), 0x200),
    "NOARP": (r"NOARP", set(), 0x80),
    "up": (r"\bup\b|\bdown\b|\bstate\b", set(), 0x1),
}
ALTNAMES, ADDRESSES, NAME = r"alt(ernative)?[ _-]?names?", r"(?<!MAC )\baddress", r"\bname\b"
LINE = re.compile(r"^netdevns: (\S+): (.*); not restored: (.*)$", re.MULTILINE)
HOME = "in its old namespace"


def differing(before: dict[str, Any], now: dict[str, Any], device: str) -> dict[str, str]:
    """State of a device in the host that is not restored: its name in the report -> the words for it."""
    was, link = before["host links"][device], now["host links"][device]
    found = {}
    keys = {key for key in {*was.attrs, *link.attrs} - {30, 61} if was.attrs.get(key) != link.attrs.get(key)}
    for name, (words, numbers, bits) in WORDS.items():
        if keys & numbers or (was.flags ^ link.flags) & bits:
            found[name] = words
        keys -= numbers
    for key in keys - {3, 52}:  # IFLA_IFNAME, IFLA_PROP_LIST
        found[str(key)] = "attribute|sysctl|setting|IPv6|token|" + str(key)
    if was.altnames != link.altnames:
        found["altnames"] = ALTNAMES
    if before["host addresses"].get(device) != now["host addresses"].get(device):
        found["addresses"] = ADDRESSES
    return found


def verdict(scene: Scene, ended: Ended) -> tuple[str, list[str]]:
    """How a fight ended, and what the report gets wrong or leaves out."""
    wrong = ["this is not for users"] if re.search("Traceback|internal error", ended.err) else []
    if ended.code == 0:
        return COMPLETE, wrong
    scene.host.wait_until_quiet()
    # Without what a device counts itself.
    changed = scene.differences(scene.before, shown=plain, timeout_s=10 if ended.code in (1, 2) else 0.3)
    if ended.code in (1, 2):
        return AS_BEFORE, wrong + changed
    if ended.code != 3:
        return "no such exit code", [*wrong, "see the documentation"]
    wrong += _untrue(scene.before, scene.state(), ended)
    wrong += [] if changed else ["all is as before, and that is not said"]
    return REPORTED, wrong + (changed if wrong else [])


def _untrue(before: dict[str, Any], now: dict[str, Any], ended: Ended) -> list[str]:
    said = {device: (where, missing) for device, where, missing in LINE.findall(ended.err)}
    wrong, away = [], False
    numbers = {link.ifindex: name for name, link in now["host links"].items()}
    for device in DEVICES:
        where, missing = said.get(device, ("", ""))
        if device not in now["host links"]:
            away = True
            ifindex = before["host links"][device].ifindex
            if not missing:
                wrong.append(f"{device} is away, and not reported")
            elif where.startswith(HOME) != (ifindex in numbers):
                wrong.append(f"{device}: {where}: but it is {'not ' * (ifindex not in numbers)}in the host")
            continue
        found = differing(before, now, device)
        if found and not where.startswith(HOME):
            wrong.append(f"{device} is in the host, and changed: {where or 'not reported'}")
        wrong += [
            f"{device}: {name} is not reported: {missing}"
            for name, words in found.items()
            if not re.search(words, missing)
        ]
        wrong += _false(device, found, missing)
    if before["host routes"] != now["host routes"] and not away and "route" not in ended.err:
        wrong.append("routes are not as before, and not reported")
    return wrong


def _false(device: str, found: dict[str, str], missing: str) -> list[str]:
    """Claims of a device that is in the host: of what is as before."""
    every = {name: words for name, (words, _, _) in WORDS.items()} | {"altnames": ALTNAMES, "addresses": ADDRESSES}
    wrong = []
    for claim in filter(None, missing.split(", ")):
        named = {name for name, words in every.items() if re.search(words, claim)}
        if named and not named & {*found}:
            wrong.append(f"{device}: this is as before: {claim}")
    return wrong
