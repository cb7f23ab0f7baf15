"""What must be in the target after a move, by the runtime-spec and DESIGN P2: from raw dumps, without netdevns."""

from __future__ import annotations

import dataclasses
import socket as sockets
from typing import Any

from tests.support import rawdump
from tests.support.rawdump import IFA_F_PERMANENT, Address, Link

from .rows import Row

IFNAMSIZ = 16
# IFLA_*: ADDRESS, BROADCAST, MTU, TXQLEN, GROUP, IFALIAS, NUM_TX_QUEUES, GSO_MAX_SEGS, GSO_MAX_SIZE.
TRAVELS = {1: "MAC", 2: "broadcast MAC", 4: "MTU", 13: "txqlen", 27: "group", 20: "alias", 31: "tx queues",
           40: "gso_max_segs", 41: "gso_max_size", "kind": "kind"}  # fmt: skip
IFA_F_KERNELS = 0x40 | 0x08  # TENTATIVE, DADFAILED: what DAD finds there


def label(text: str | None, old: str, new: str) -> str | None:
    """As a rename in place leaves it; one that does not fit is the plain name."""
    if text is None or not (text == old or text.startswith(f"{old}:")):
        return text
    renamed = new + text[len(old) :]
    return renamed if len(renamed) < IFNAMSIZ else new


def addresses(had: list[Address], old: str, new: str) -> list[Address]:
    """The permanent ones of global scope, in their order."""
    return [
        dataclasses.replace(a, label=label(a.label, old, new), flags=a.flags & ~IFA_F_KERNELS)
        for a in had
        if a.flags & IFA_F_PERMANENT and a.scope == 0
    ]


def names(row: Row, before: dict[str, Any]) -> dict[str, str]:
    """The name of each device in the target, with the first free number for a template."""
    there = set(before["target links"]) | {alt for link in before["target links"].values() for alt in link.altnames}
    taken = there | {wanted for _, wanted in row.devices if "%d" not in wanted}
    found = {}
    for device, wanted in row.devices:
        name = wanted or device
        if "%d" in name:
            name = next(n for n in (name.replace("%d", str(i)) for i in range(4096)) if n not in taken)
            taken.add(name)
        found[device] = name
    return found


def differences(row: Row, before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """What is in the target otherwise than it must be, and what is left of the batch in the source."""
    found = []
    for old, new in names(row, before).items():
        link: Link | None = after["target links"].get(new)
        if link is None:
            found.append(f"{old}: there is no {new}: {sorted(after['target links'])}")
            continue
        found += [f"{old}: {line}" for line in _link(before["source links"][old], link)]
        wanted = addresses(before["source addresses"].get(old, []), old, new)
        there = after["target addresses"].get(new, [])
        protected = [dataclasses.replace(a, flags=a.flags & ~IFA_F_KERNELS) for a in there if _is_protected(a)]
        for family in (sockets.AF_INET, sockets.AF_INET6):
            was, now = ([a for a in each if a.family == family] for each in (wanted, protected))
            now = [a for a in now if a.address not in row.arrives]
            found += [f"{old}: {line}" for line in rawdump.differences({"addresses": was}, {"addresses": now})]
        missing = set(row.arrives) - {a.address for each in after["target addresses"].values() for a in each}
        found += [f"{address} has not arrived" for address in missing]
    stays = {link.ifindex: name for name, link in after["source links"].items()}
    leaving = [before["source links"][old] for old, _ in row.devices]
    return found + [f"{link.name}: still in the source" for link in leaving if stays.get(link.ifindex) == link.name]


def _is_protected(a: Address) -> bool:
    return bool(a.flags & IFA_F_PERMANENT) and a.scope == 0


def _link(was: Link, now: Link) -> list[str]:
    found = [] if now.up else ["it is down"]
    if was.altnames != now.altnames:
        found.append(f"altnames {was.altnames} -> {now.altnames}")
    for key, word in TRAVELS.items():
        if was.attrs.get(key) != now.attrs.get(key):
            found.append(f"{word}: {was.attrs.get(key)} -> {now.attrs.get(key)}")
    return found
