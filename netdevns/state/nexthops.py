"""Restores nexthop objects, which the kernel deletes without notification when their device leaves.

The routes that use an object are deleted with it (probe notify.nexthop).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from ..engine import Socket, lookups
from ..netlink import route, uapi, wire
from .kind import NEXTHOPS, Here, Kind, Repair, View


class Nexthops(Kind):
    name = "nexthops"
    stages = (NEXTHOPS,)
    messages = ((uapi.RTM_NEWNEXTHOP, route.NHMSG.size),)

    def read(self, socket: Socket, links: Mapping[int, wire.Link], about: Collection[int]) -> bytes:
        """All objects in the namespace: a group names its members, but not their devices."""
        del links, about
        return lookups.dump(socket, route.DUMP_NEXTHOPS)

    def repairs(self, before: View, now: View, here: Here) -> Iterator[Repair]:
        """Leaves out objects whose devices are all absent: an undo reports these devices as missing."""
        devices, away = route.nexthop_devices(before.of(self.name)), before.away(here)
        for body in missing(before.of(self.name), now.of(self.name), here):
            id_ = route.nexthop_id(body)
            by = devices.get(id_ or 0, set())
            if not by or not by <= away:
                ifindex = next((here[i] for i in sorted(by) if i in here), 0)
                yield Repair(ifindex, NEXTHOPS, f"nexthop id {id_}", route.add_nexthop(body))

    def lend(self, before: View, here: Here, elapsed_s: int, ended: Collection[bytes]) -> bytes:
        """The objects that use these devices only."""
        del elapsed_s, ended
        dumped, kept = before.of(self.name), []
        devices = route.nexthop_devices(dumped)
        for message in wire.messages(dumped):
            if message.type == uapi.RTM_NEWNEXTHOP and len(message.body) >= route.NHMSG.size:
                by = devices.get(route.nexthop_id(message.body) or 0, set())
                if by and by <= here.keys():
                    kept.append(message.padded())
        return b"".join(kept)


def missing(before: bytes, now: bytes, here: Here | None = None) -> list[bytes]:
    """Request bodies of the nexthop objects that a dump no longer has, groups after their members.

    A damaged one without an id is left out: the kernel would choose an id for it.
    """
    there = {route.nexthop_request(body, {}) for body in route.dumped(now, uapi.RTM_NEWNEXTHOP, route.NHMSG)}
    old = (route.nexthop_request(body, here or {}) for body in route.dumped(before, uapi.RTM_NEWNEXTHOP, route.NHMSG))
    lost = (nexthop for nexthop in old if nexthop not in there and route.nexthop_id(nexthop))
    return sorted(lost, key=route.is_group)
