"""Verifies a contestant's work: compares `ip -j -d addr` of both namespaces with the set-up.

No code of netdevns is used, and none of the contestants'. A contestant that loses something is thrown out, and its time
is not used.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from .layout import Address, Layout

Shown = list[dict[str, Any]]  # of `ip -j -d addr`
FOREVER = 0xFFFFFFFF


def wrong(
    layout: Layout,
    devices: dict[str, int],
    before: Collection[str],
    shown: Shown,
    where: str,
    *,
    relabelled: bool = True,
) -> str:
    """The first difference from the expected state; "" if there is none.

    Args:
        layout: The devices that were set up.
        devices: The devices that have to be there: name -> number in the layout.
        before: The names that were there before the furnishing; they have to be there, and nothing besides.
        shown: The present state.
        where: The namespace's name in the text.
        relabelled: Whether the labels of IPv4 addresses must be the devices' names.
    """
    found = {link["ifname"]: link for link in shown}
    if missing := [*devices.keys() - found.keys(), *set(before) - found.keys()]:
        return f"{where}: no {sorted(missing)[0]} ({len(missing)} missing)"
    if extra := found.keys() - devices.keys() - set(before):
        return f"{where}: {sorted(extra)[0]} should not be there ({len(extra)} such)"
    for name, n in devices.items():
        if why := _device(found[name], name if relabelled else "", layout.ipv4_of(n), layout.ipv6_of(n)):
            return f"{where}: {name}: {why}"
    return ""


def _device(link: dict[str, Any], name: str, ipv4: list[Address], ipv6: list[Address]) -> str:
    if "UP" not in link["flags"]:
        return "not up"
    shown = [a for a in link["addr_info"] if not _own_link_local(a)]
    if bad := next((a for a in shown if a.get("tentative") or a.get("dadfailed")), None):
        return f"{bad['local']} is not usable"
    found = [a for a in shown if a["scope"] == "global"]
    if odd := next((a for a in shown if a["scope"] != "global"), None):
        return f"{odd['local']} has the scope {odd['scope']}"
    if odd := next((a for a in found if {a["valid_life_time"], a["preferred_life_time"]} != {FOREVER}), None):
        return f"{odd['local']} is not permanent"
    # The kernel lists IPv4 addresses in the order of their addition, IPv6 ones newest first.
    return _family("inet", name, found, ipv4) or _family("inet6", name, found, list(reversed(ipv6)))


def _own_link_local(a: dict[str, Any]) -> bool:
    """Whether the kernel added the address on IFF_UP; no contestant has to."""
    return bool(a["family"] == "inet6" and a["scope"] == "link" and a["local"].startswith("fe80::"))


def _family(family: str, name: str, shown: Shown, wanted: list[Address]) -> str:
    shown = [a for a in shown if a["family"] == family]
    have = [Address(a["local"], a["prefixlen"], a.get("broadcast")) for a in shown]
    if have == wanted:
        odd = next((a for a in shown if (name and a.get("label", name) != name) or "address" in a), None)
        return f"{odd['local']} has the label {odd.get('label')} or a peer" if odd else ""
    if set(have) == set(wanted) and len(have) == len(wanted):
        return f"the order of the {family} addresses is another one"
    for a in wanted:
        if a not in have:
            same = next((b for b in have if b.address == a.address), None)
            return f"{a}: missing" if same is None else f"{a}, broadcast {a.broadcast}: is {same}, {same.broadcast}"
    return f"{next((a for a in have if a not in wanted), have[0])} should not be there, or is there twice"
