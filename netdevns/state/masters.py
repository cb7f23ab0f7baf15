"""Restores the master of a device (bridge, bond, VRF, team).

A move releases a port without notice (probes kinds.port.bridge, kinds.port.bond). The port's settings are in `ports`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from ..engine import Socket, lookups
from ..netlink import uapi, wire
from ..text import quote
from .kind import DOWN, Finding, Here, Kind, Leaving, Repair, View

Links = dict[int, wire.Link]  # by ifindex


class Masters(Kind):
    name = "masters"
    stages = (DOWN,)
    is_in_links = True
    messages = ((uapi.RTM_NEWLINK, wire.IFINFOMSG.size),)

    def read(self, socket: Socket, links: Mapping[int, wire.Link], about: Collection[int]) -> bytes:
        """The links of the masters, and of all slaves of bonds.

        That includes bonds in `about` whose slaves have left.
        """
        asked = [link for ifindex, link in links.items() if ifindex in about]
        masters = {link.master for link in asked if link.master}
        masters |= {link.ifindex for link in asked if link.kind == b"bond"}
        found = [links[ifindex] for ifindex in sorted(masters) if ifindex in links]
        if any(link.kind == b"bond" for link in found):
            found += [link for link in lookups.links(socket) if link.port_kind == b"bond" and link.master in masters]
        return b"".join(link.message() for link in found)

    def findings(self, before: View, leaving: Leaving) -> Iterator[Finding]:
        masters = links_of(before)
        for ifindex in leaving.ifindexes:
            master = before.links[ifindex].master
            if master:
                name = quote.shown(masters[master].name) if master in masters else master
                yield Finding(ifindex, "loss.master", f"master {name}")

    def repairs(self, before: View, now: View, here: Here) -> Iterator[Repair]:
        masters, masters_now = links_of(before), links_of(now)
        for ifindex, link in before.links.items():
            is_ = now.links.get(here.get(ifindex, 0))
            if is_ is None or not link.master:
                continue
            master = here.get(link.master)
            if master is None:
                name = quote.shown(masters[link.master].name) if link.master in masters else link.master
                yield Repair(is_.ifindex, DOWN, f"master {name}: deleted", None)
            elif is_.master != master:
                attr = wire.attr_u32(uapi.IFLA_MASTER, master)
                request = wire.link_message(uapi.RTM_NEWLINK, uapi.NLM_F_ACK, is_.ifindex, attr)
                request = mac_request(link.master, masters, masters_now, here) + request
                yield Repair(is_.ifindex, DOWN, f"master (ifindex {link.master})", request)

    def lend(self, before: View, here: Here, elapsed_s: int, ended: Collection[bytes]) -> bytes:
        """Leaves out slaves that stayed, which may have changed since."""
        del elapsed_s, ended
        kept = (link for i, link in links_of(before).items() if i in here or link.port_kind != b"bond")
        return b"".join(link.message() for link in kept)


def links_of(view: View) -> Links:
    """The masters in a view, and the slaves of its bonds, by ifindex."""
    links = (wire.Link(message.body) for message in wire.messages(view.of(Masters.name)))
    return {link.ifindex: link for link in links}


def active_slave(bond: wire.Link | None) -> int:
    """The ifindex of a bond's active slave; 0: none, or not a bond."""
    data = wire.attrs(memoryview(bond.data if bond and bond.kind == b"bond" else b""), strict=False)
    return wire.u32(data.get(uapi.IFLA_BOND_ACTIVE_SLAVE)) or 0


def mac_request(master: int, before: Links, now: Links, here: Here) -> bytes:
    """The request that restores the MAC of a bond; b"": nothing to restore, or not a bond.

    A bond that lost its last slave gets a random MAC, which it would pass on to the next slave. A bond that has other
    slaves now is left alone.
    """
    was, is_ = before.get(master), now.get(here.get(master, 0))
    if was is None or is_ is None or was.kind != b"bond" or was.mac == is_.mac:
        return b""
    if {link.ifindex for link in now.values() if link.master == is_.ifindex} - {*here.values()}:
        return b""
    mac = wire.attr(uapi.IFLA_ADDRESS, was.mac)
    return wire.link_message(uapi.RTM_NEWLINK, uapi.NLM_F_ACK, is_.ifindex, mac)


def found_again(socket: Socket, before: View) -> dict[int, int]:
    """ifindex before -> ifindex now of existing masters; finds a recreated one by name. Raises EngineError."""
    masters = {link.master for link in before.links.values()}
    were = [link for ifindex, link in links_of(before).items() if ifindex in masters]
    names = map(lookups.link_of, lookups.ask(socket, [wire.get_link(name=was.name) for was in were]))
    indexes = map(lookups.link_of, lookups.ask(socket, [wire.get_link(was.ifindex) for was in were]))
    found = {}
    for was, by_name, by_ifindex in zip(were, names, indexes, strict=True):
        if by_ifindex and by_ifindex.kind == was.kind:
            found[was.ifindex] = by_ifindex.ifindex
        elif by_name and (by_name.kind, by_name.name) == (was.kind, was.name):
            found[was.ifindex] = by_name.ifindex
    return found
