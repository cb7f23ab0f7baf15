"""Restores the sysctls net.ipv4.neigh.DEV and net.ipv6.neigh.DEV, which a move resets to the defaults.

Probes: neighbours.parameters.ipv4, neighbours.parameters.ipv6. RTM_GETNEIGHTBL dumps the parameters of all devices,
RTM_SETNEIGHTBL sets those of one. Layout: linux/neighbour.h (struct
ndtmsg, NDTA_*, NDTPA_*).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from struct import Struct

from ..engine import Socket, lookups
from ..netlink import uapi, wire
from .kind import UP, Here, Kind, Repair, View

NDTMSG = Struct("=Bxxx")  # ndtm_family
# One dump for each family. With some numbers of devices, a dump of both silently lacks IPv6's table: if the table's
# first message does not fit into the datagram, the kernel seems to resume at the device at which IPv4's table ended
# (probe neighbours.parameters.dump).
DUMPS = tuple(
    wire.message(uapi.RTM_GETNEIGHTBL, uapi.NLM_F_DUMP, NDTMSG.pack(family)) for family in (uapi.AF_INET, uapi.AF_INET6)
)
# The parameters that neightbl_set() accepts: NDTPA_* -> name of the file. Without QUEUE_LEN, which duplicates
# unres_qlen_bytes, and REACHABLE_TIME, which the kernel randomizes.
_NAMES = {
    4: "base_reachable_time_ms", 5: "retrans_time_ms", 6: "gc_stale_time", 7: "delay_first_probe_time",
    9: "app_solicit", 10: "ucast_solicit", 11: "mcast_solicit", 12: "anycast_delay", 13: "proxy_delay",
    14: "proxy_qlen", 15: "locktime", 16: "unres_qlen_bytes", 17: "mcast_resolicit", 19: "interval_probe_time_ms",
}  # fmt: skip
_FAMILIES = {uapi.AF_INET: "ipv4", uapi.AF_INET6: "ipv6"}

Key = tuple[int, int, bytes]  # family, ifindex, the table's name


class NeighParameters(Kind):
    name = "neighbour parameters"
    stages = (UP,)
    messages = ((uapi.RTM_NEWNEIGHTBL, NDTMSG.size),)

    def read(self, socket: Socket, links: Mapping[int, wire.Link], about: Collection[int]) -> bytes:
        del links
        return b"".join(lookups.dump(socket, dump, about=about) for dump in DUMPS)

    def repairs(self, before: View, now: View, here: Here) -> Iterator[Repair]:
        """Leaves out masters, which keep their parameters."""
        ours = {ifindex: here[ifindex] for ifindex in before.links if ifindex in here}
        for (family, ifindex, table), values in _differences(before.of(self.name), now.of(self.name), ours).items():
            parms = wire.attr_u32(uapi.NDTPA_IFINDEX, ifindex) + b"".join(wire.attr(t, v) for t, v in values.items())
            body = NDTMSG.pack(family) + wire.attr_name(uapi.NDTA_NAME, table) + wire.nested(uapi.NDTA_PARMS, parms)
            request = wire.message(uapi.RTM_SETNEIGHTBL, uapi.NLM_F_ACK, body)
            for type_ in values:
                yield Repair(ifindex, UP, f"sysctl {_FAMILIES[family]}.neigh.{_NAMES[type_]}", request)

    def lend(self, before: View, here: Here, elapsed_s: int, ended: Collection[bytes]) -> bytes:
        del elapsed_s, ended
        messages = wire.messages(before.of(self.name))
        return b"".join(m.padded() for m in messages if any(ifindex in here for (_, ifindex, _), _ in _values(m)))


def _values(message: wire.Message) -> Iterator[tuple[Key, dict[int, bytes]]]:
    """The parameters in a message about one device; nothing for the first message of a table, with its defaults."""
    if message.type != uapi.RTM_NEWNEIGHTBL or len(message.body) < NDTMSG.size:
        return
    (family,) = NDTMSG.unpack_from(message.body)
    found = wire.attrs(message.body, NDTMSG.size, strict=False)
    parms = wire.nested_attrs(found.get(uapi.NDTA_PARMS))
    ifindex = wire.u32(parms.get(uapi.NDTPA_IFINDEX))
    if ifindex and family in _FAMILIES:
        values = {type_: bytes(parms[type_]) for type_ in _NAMES if type_ in parms}
        yield (family, ifindex, wire.text(found.get(uapi.NDTA_NAME))), values


def _all(messages: bytes) -> dict[Key, dict[int, bytes]]:
    return {key: values for message in wire.messages(messages) for key, values in _values(message)}


def _differences(before: bytes, now: bytes, here: Here) -> dict[Key, dict[int, bytes]]:
    """The parameters that differ, by their present keys."""
    there, found = _all(now), {}
    for (family, ifindex, table), values in _all(before).items():
        key = (family, here.get(ifindex, 0), table)
        is_ = there.get(key, {})
        differ = {type_: value for type_, value in values.items() if is_.get(type_, value) != value}
        if differ:
            found[key] = differ
    return found
