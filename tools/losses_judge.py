"""Says what a move lost or left behind: two raw dumps are compared. Not a line of it asks netdevns."""

from __future__ import annotations

import socket as sockets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.support import rawdump
from tests.support.rawdump import IFA_F_DEPRECATED, Address, Link

IFLA_ADDRESS = 1
# Flags that the kernel keeps for itself or that only ask for (no) DAD: `tentative` is judged as a fact of its own.
_IGNORED = rawdump.IFA_F_TENTATIVE | rawdump.IFA_F_NODAD | IFA_F_DEPRECATED | rawdump.IFA_F_NOPREFIXROUTE

ATTRIBUTES = ("peer", "broadcast", "label", "metric", "proto", "noprefixroute", "state", "flags")

Dump = Mapping[str, Any]  # Namespace.dump()


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it must be."""

    fact: str  # missing, label, order, ...
    text: str
    short: str  # for a table


@dataclass(frozen=True)
class Found:
    """Where a device is now."""

    place: str  # host, target
    link: Link
    addresses: Sequence[Address]


def mac(link: Link) -> str | None:
    """What a device is recognised by: each device of a scenario has a MAC of its own."""
    return link.attrs.get(IFLA_ADDRESS)


def find(device: Link, host: Dump, target: Dump) -> Found | None:
    """Looks for a device in both namespaces, under any name."""
    for place, dump in ("host", host), ("target", target):
        for name, link in dump["links"].items():
            if mac(link) == mac(device):
                return Found(place, link, dump["addresses"].get(name, []))
    return None


def protected(addresses: Sequence[Address]) -> list[Address]:
    """What the runtime-spec protects: permanent addresses of global scope."""
    return [a for a in addresses if a.flags & rawdump.IFA_F_PERMANENT and a.scope == 0]


def _key(address: Address) -> tuple[str, int]:
    return address.address, address.prefixlen


def _label(label: str | None, old: str, new: str) -> str | None:
    """The label that belongs to the new name, as a rename in place would leave it."""
    if label is None:
        return None
    head, colon, tail = label.partition(":")
    return new + colon + tail if head == old else label


def _facts(address: Address, old: str, new: str) -> dict[str, object]:
    return {
        "peer": address.peer,
        "broadcast": address.broadcast,
        "label": _label(address.label, old, new),
        "metric": address.metric,
        "proto": address.proto,
        "noprefixroute": "on" if address.flags & rawdump.IFA_F_NOPREFIXROUTE else "off",
        "state": "deprecated" if address.flags & IFA_F_DEPRECATED or address.preferred == "0" else "preferred",
        "flags": address.flags & ~_IGNORED,
    }


def arrived(before: Dump, host: Dump, target: Dump, wanted: Mapping[str, str]) -> list[Finding]:
    """What devices lost on their way.

    Args:
        before: The host, before.
        host: The host, now.
        target: The target, now.
        wanted: Name before -> name that it must have in the target.
    """
    findings = []
    for old, new in wanted.items():
        found = find(before["links"][old], host, target)
        if found is None:
            findings.append(Finding("device", f"{old} is gone", "the device is gone"))
        elif found.place == "host" or found.link.name != new:
            text = f"in the {found.place} as {found.link.name}"
            findings.append(Finding("device", f"{old} is {text}", text))
        else:
            if not found.link.up:
                findings.append(Finding("up", f"{new} is down", "down"))
            findings += _lost(protected(before["addresses"].get(old, [])), protected(found.addresses), old, new)
    return findings


def _lost(was: list[Address], now: list[Address], old: str, new: str) -> list[Finding]:
    findings = []
    have = {_key(a): a for a in now}
    missing = [a for a in was if _key(a) not in have]
    if missing:
        texts = ", ".join(f"{a.address}/{a.prefixlen}" for a in missing)
        short = f"{len(missing)} of {len(was)} addresses missing"
        findings.append(Finding("missing", f"{short}: {texts}", short))
    invented = have.keys() - {_key(a) for a in was}
    findings += [
        Finding("invented", f"{a}/{length} was not there", "an address more") for a, length in sorted(invented)
    ]
    for a in was:
        if _key(a) in have:
            must, is_ = _facts(a, old, new), _facts(have[_key(a)], new, new)
            for fact in must:
                if is_[fact] != must[fact]:
                    short = f"{fact} {_say(is_[fact])}, not {_say(must[fact])}"
                    findings.append(Finding(fact, f"{a.address}: {short}", short))
    for family, version in (sockets.AF_INET, 4), (sockets.AF_INET6, 6):
        mine = [_key(a) for a in was if a.family == family and _key(a) in have]
        theirs = [_key(a) for a in now if a.family == family and _key(a) in mine]
        if mine != theirs:
            text = f"order of the IPv{version} addresses {'reversed' if mine == theirs[::-1] else 'changed'}"
            findings.append(Finding("order", text, text))
    verified = [a for a in was if a.family == sockets.AF_INET6 and not a.tentative]
    fresh = [a for a in verified if _key(a) in have and have[_key(a)].tentative]
    if fresh:
        short = f"{len(fresh)} of {len(verified)} IPv6 addresses not usable yet"
        findings.append(Finding("tentative", f"{short}: {', '.join(a.address for a in fresh)}", short))
    return findings


def _say(value: object) -> object:
    return "none" if value is None else value


def untouched(before: tuple[Dump, Dump], after: tuple[Dump, Dump], devices: Sequence[str]) -> list[Finding]:
    """What a failed operation changed; (host, target) each."""
    findings = []
    for old in devices:
        link, had = before[0]["links"][old], before[0]["addresses"].get(old, [])
        found = find(link, *after)
        if found is None:
            findings.append(Finding("device", f"{old} is gone", "the device is gone"))
            continue
        changes = []
        if found.place == "target":
            changes.append(f"in the target as {found.link.name}")
        elif found.link.name != old:
            changes.append(f"renamed to {found.link.name}")
        if link.up and not found.link.up:
            changes.append("down")
        kept = {_key(a) for a in found.addresses}
        lost = [a for a in had if _key(a) not in kept]
        if lost:
            changes.append(f"{len(lost)} of {len(had)} addresses gone")
        if changes:
            findings.append(Finding("device", f"{old} is {', '.join(changes)}", ", ".join(changes)))
    if not findings:  # any other difference, routes included
        for place, was, now in zip(("host", "target"), before, after, strict=True):
            lines = rawdump.differences(dict(was), dict(now))
            short = f"something else differs in the {place}"
            findings += [Finding("other", f"{place}: {line}", short) for line in lines]
    return findings


def said(code: int, *, must_succeed: bool) -> list[Finding]:
    """What is wrong with the exit code."""
    if must_succeed == (code == 0):
        return []
    word = "failure" if code else "success"
    return [Finding("exit", f"it reports {word} (exit code {code})", f"reports {word}")]


def summary(findings: Sequence[Finding], devices: int) -> str:
    """One line for a table; empty if there is nothing to say."""
    of_devices = [f for f in findings if f.fact == "device"]
    if devices > 1 and of_devices:
        return f"{len(of_devices)} of {devices} devices not as before"
    facts = dict.fromkeys(f.fact for f in findings if f.fact in ATTRIBUTES)
    texts = [f.short for f in findings if f.fact not in ATTRIBUTES]
    if len(facts) > 1:
        texts.append(f"{', '.join(facts)} not kept")
    elif facts:
        texts.append([f.short for f in findings if f.fact in facts][-1])
    return ", ".join(dict.fromkeys(texts))
