"""Puts a batch back: uppers return first, then lowers; lowers come up first; then nexthop objects and routes.

Every step can be repeated, and none keeps the others from being tried: what could not be put back is told.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial

from ..engine import PLACE_SOURCE, PLACE_TARGET, RESTORE, Device, EngineError, Socket, lookups
from ..errors import Remains
from ..netlink import uapi, wire
from ..state import neigh_parameters, neighbours, ports, routes, sysctls
from ..text import quote
from . import forgood, link_settings, stacking
from .plan import Member, Plan, location
from .way_back import WayBack

# What is told of a batch between two calls of the engine: the step, how many devices have done it, of how many.
OnStep = Callable[[str, int, int], None]

# For the link of a port, of which the kernel hears by a work item that runs at most once a second (net/core/
# link_watch.c), and a bond by its next look (miimon).
PORT_WAIT_S = 1.5
PARTS = (routes.Part.DIRECT, routes.Part.NEXTHOPS, routes.Part.OTHERS)


def everything(
    plan: Plan, members: list[Member], uppers: list[Member], on_step: OnStep | None = None
) -> tuple[Remains, ...]:
    """Puts back every device that was touched.

    Args:
        plan: The batch as it was found: its namespaces, its sockets, the source's routes.
        members: The devices, in the order in which they were moved.
        uppers: Devices that stayed in the source, stacked on one of them.
        on_step: Called with "undo"; must not raise an Exception.

    Returns:
        What is not as before, in the order of the batch; empty: everything is.
    """
    undo = _Undo(plan, [member for member in members if member.touched], uppers)
    undo.run(on_step)
    order = {id(item): at for at, item in enumerate((*plan.items, *plan.uppers))}
    incomplete = sorted((m for m in undo.missing if undo.missing[m]), key=lambda m: order[id(m.item)])
    return tuple(_left(member, undo.name_now(member), undo.missing[member]) for member in incomplete)


def is_all_for_good(left: tuple[Remains, ...], members: list[Member]) -> bool:
    """Whether a recovery could put back nothing of it."""
    for_good = {m.item.host_name: tuple(m.for_good) for m in members}
    return all(each.missing == for_good.get(each.device) for each in left)


def _left(member: Member, name: str | None, missing: list[str]) -> Remains:
    where, device = location(member), member.device
    ifindex = {"source": device.ifindex, "target": device.target_ifindex}.get(where)
    return Remains(member.item.host_name, where, name, ifindex, tuple(missing))


class _Undo:
    def __init__(self, plan: Plan, touched: list[Member], uppers: list[Member]) -> None:
        assert plan.source is not None
        assert plan.source_socket is not None
        assert plan.target_socket is not None
        self.plan = plan
        self.source_fd = plan.source.fd
        self.source = plan.source_socket
        self.target = plan.target_socket
        self.touched = touched
        self.uppers = sorted(uppers, key=lambda m: m.item.depth) if touched else []
        self.missing: dict[Member, list[str]] = {member: [] for member in (*touched, *self.uppers)}
        self.links = link_settings.Restorer(self.source, lambda: self._back(self.missing))

    def run(self, on_step: OnStep | None) -> None:
        if on_step and self.touched:
            on_step("undo", 0, len(self.touched))
        for done in self._return():
            if on_step:
                on_step("undo", done, len(self.touched))
        for member in sorted(self.touched, key=lambda m: m.item.depth):
            if member.device.place == PLACE_SOURCE:
                if self._is_on_one_that_came_back(member):
                    self._reopen(member)
                # First: a bond takes only ports that are down, and what IFF_UP does depends on sysctls.
                self._properties(member)
                self._restore(member)
                self._settings_again(member)
        forgood.find_ended(self.source, self.touched, self.uppers)
        for member in self.uppers:
            if not member.ended:
                self._upper(member)
        if self.touched:
            self._ports()
            self._neighparms()
            self._neighbours()
            self._routes(self.touched[0])
            self._for_good()

    def _is_on_one_that_came_back(self, member: Member) -> bool:
        """A macvlan: the move flushed its lower's unicast filter, where its MAC is put in again when it comes up.

        (probe links.mac-list.unicast)

        It may be up already: an undo that was interrupted brought it back before its lower.
        """
        lowers = {m.link.ifindex for m in self.missing}  # those that stayed on top of it, too
        return member.link.kind in (b"macvlan", b"macvtap") and member.device.was_up and member.link.lower in lowers

    def _reopen(self, member: Member) -> None:
        try:
            self._set_down(member.device)
        except EngineError as e:
            self.missing[member].append(lookups.says(e))

    def _upper(self, member: Member) -> None:
        """A device that stayed, whose lower left and came back: it may have lost IPv6 addresses, or have come up.

        (probes addresses.ipv6.down.default, kinds.lower-back.vlan-down)
        """
        if self._is_on_one_that_came_back(member):
            self._reopen(member)
        self._link(member)  # a lower one's MTU limits its own
        self._restore(member)
        self._settings_again(member)

    def _restore(self, member: Member) -> None:
        try:
            member.device.undo(self.source, self.target, self.source_fd, RESTORE)
        except EngineError:
            # Its lower or its master brought it up, and the kernel made a link-local address of its own, which is still
            # to be verified; or it should not be up: once more from the state down.
            self._reopen(member)
            try:
                member.device.undo(self.source, self.target, self.source_fd, RESTORE)
            except EngineError as e:
                self.missing[member].append(e.extack if e.errno == errno.ESTALE else lookups.says(e))

    def _set_down(self, device: Device) -> None:
        self.source.command(wire.link_message(uapi.RTM_NEWLINK, uapi.NLM_F_ACK, device.ifindex, up=False))

    def name_now(self, member: Member) -> str | None:
        """What the device is called where it is: somebody may have taken its name meanwhile."""
        if member.device.place == PLACE_TARGET:
            return os.fsdecode(member.device.name)
        if member.device.place != PLACE_SOURCE:
            return None
        try:
            link = lookups.link(self.source, ifindex=member.device.ifindex)
        except (EngineError, wire.Malformed):
            link = None
        return None if link is None else os.fsdecode(link.name)

    def _return(self) -> Iterator[int]:
        """Brings all home that can come; yields how many are, after each. May be begun again."""
        way, done = WayBack(self.plan, self.touched), 0
        for member in self.touched:
            way.bring(member)
            done += member.device.place == PLACE_SOURCE
            yield done
        way.bring_all_again(self.touched)
        for member in self.touched:
            self.missing[member] += way.missing[member]
            if member.device.place == PLACE_SOURCE and member.device.ifindex != member.link.ifindex:
                self.missing[member].append(f"ifindex {member.link.ifindex}")

    def _link(self, member: Member) -> None:
        try:
            self.links.restore(member, partial(self._set_down, member.device))
        except (EngineError, wire.Malformed) as e:
            self.missing[member].append(f"link: {lookups.says(e)}")

    def _properties(self, member: Member) -> None:
        """Link, master, alternative names, sysctls: a move silently releases a port of a bridge or bond.

        (probes kinds.port.bridge, kinds.port.bond)

        The link first: what else can be set depends on its MTU and flags.
        """
        was, ifindex = member.link, member.device.ifindex
        again = []
        try:
            now, settings = self.links.restore(member, partial(self._set_down, member.device))
            if was.master and now.master != was.master:
                master = wire.attr_u32(uapi.IFLA_MASTER, was.master)
                request = wire.link_message(uapi.RTM_NEWLINK, uapi.NLM_F_ACK, ifindex, master)
                if was.ifindex in self.plan.ports:
                    # A bond that lost its last slave has a random MAC, which the next one would get.
                    bond = lookups.link(self.source, ifindex=was.master)
                    request = self.plan.ports[was.ifindex].mac_request(bond) + request
                again.append((f"master (ifindex {was.master})", request))
            lost = lookups.lost_altnames(self.source, was.altnames, now)
            if lost:
                words = ", ".join(map(quote.shown, lost))
                again.append((f"altname {words}", wire.altnames_message(uapi.RTM_NEWLINKPROP, ifindex, lost)))
            again += self._settings(member, settings, is_up=bool(now.flags & uapi.IFF_UP))
        except (EngineError, wire.Malformed) as e:
            self.missing[member].append(f"link, master, altnames, sysctls: {lookups.says(e)}")
        for what, request in again:
            try:
                self.source.command(request)
            except EngineError as e:
                self.missing[member].append(f"{what}: {lookups.says(e)}")

    def _settings(self, member: Member, is_: sysctls.Settings, *, is_up: bool) -> list[tuple[str, bytes]]:
        """Writes IPv6's sysctls, and returns the request for the others."""
        was = member.settings()
        files = was.files(is_, member.item.ifname)
        if files:
            with Socket(self.plan.source_visit, files) as visit:
                refused = [
                    f"{path}: {os.strerror(-said)}" for path, said in visit.files.items() if isinstance(said, int)
                ]
            self.missing[member] += [words for words in refused if words not in self.missing[member]]
        about_to_be_up = member.device.was_up and not is_up
        requests = was.requests(is_, member.device.ifindex, about_to_be_up=about_to_be_up)
        return [("sysctls", request) for _, request in requests]

    def _settings_again(self, member: Member) -> None:
        """Once more after IFF_UP, with which the kernel sets IPv6's MTU; and says what is still not as before."""
        was = member.settings()
        try:
            now, settings = self.links.look(member)
            changed = self.links.restore_once(member, now)
            if was.differences(settings):
                changed = True
                for _, request in self._settings(member, settings, is_up=bool(now.flags & uapi.IFF_UP)):
                    self.source.command(request)
            if changed:
                now, settings = self.links.look(member)
            left = self.links.left(member, now)
            if left:  # the engine says of the first only that it differs
                self.missing[member] = [words for words in self.missing[member] if not words.endswith(" changed")]
            self.missing[member] += [*left, *(f"sysctl {name}" for name in was.differences(settings))]
        except (EngineError, wire.Malformed) as e:
            self.missing[member].append(f"link, sysctls: {lookups.says(e)}")

    def _ports(self) -> None:
        """What its master gave it. Last, when all ports are there and up: one may be the backup of another."""
        members = [m for m in self.touched if m.link.ifindex in self.plan.ports and m.device.place == PLACE_SOURCE]
        answers: dict[tuple[Member, str], str] = {}
        try:
            for stage in ports.STAGES if members else ():
                end = time.monotonic() + (PORT_WAIT_S if stage == ports.LATE else 0)
                while differ := [d for d in self._port_differences(members) if d[1] == stage]:
                    for member, _, what, request in differ:
                        answers[member, what] = self._answer(request)
                    if time.monotonic() >= end:
                        break
                    time.sleep(0.01)
            for member, _, what, _ in self._port_differences(members):
                self.missing[member].append(
                    f"{member.link.port_kind.decode()} port: {what}{answers.get((member, what), '')}"
                )
        except (EngineError, wire.Malformed) as e:
            self.missing[members[0]].append(f"port settings: {lookups.says(e)}")

    def _port_differences(self, members: list[Member]) -> Iterator[tuple[Member, int, str, bytes]]:
        """What is not as it was: whose, one of ports.STAGES, short words, and the request that makes it so."""
        if not members:
            return
        renumbered = {m.link.ifindex: m.device.ifindex for m in self.touched}
        links = map(lookups.link_of, lookups.ask(self.source, [wire.get_link(m.device.ifindex) for m in members]))
        now = ports.read(self.source, [link for link in links if link])
        for member in members:
            was, ifindex = self.plan.ports[member.link.ifindex], member.device.ifindex
            for difference in was.differences(now.get(ifindex), ifindex, renumbered):
                yield member, *difference

    def _answer(self, request: bytes) -> str:
        try:
            if request:
                self.source.command(request)
        except EngineError as e:
            return f": {lookups.says(e)}"
        return ""

    def _neighbours(self) -> None:
        """Permanent neighbours and proxies, which are gone with IFF_UP, also of the devices on top, and filters.

        A bridge or bond whose MAC changed when its port left has lost its own, too.
        """
        here = [m for m in self.missing if m.device.place == PLACE_SOURCE and not m.ended]
        before = {m.link.ifindex: m.device.ifindex for m in here}
        owner = {m.link.master: m for m in here if m.link.master} | {m.device.ifindex: m for m in self.missing}
        before |= {ifindex: ifindex for ifindex in owner if ifindex in {m.link.master for m in here}}
        for dump, had in zip(neighbours.DUMPS, self.plan.neighbours, strict=False):
            lost = [neighbours.on(body, before) for body in neighbours.kept(had, before, external=True)]
            if not lost:
                continue
            try:
                dumped = lookups.dump(self.source, dump, about=stacking.concerned(self.plan))
                there = neighbours.kept(dumped, owner, external=True)
            except (EngineError, wire.Malformed) as e:
                self.missing[self.touched[0]].append(f"neighbours: {lookups.says(e)}")
                continue
            for body in lost:
                if body not in there:
                    try:
                        self.source.command(neighbours.add(body))
                    except EngineError as e:
                        whose = owner[neighbours.ifindex(body)]
                        self.missing[whose].append(f"{neighbours.text(body)}: {lookups.says(e)}")

    def _neighparms(self) -> None:
        here = self._back(self.touched)
        owner = {m.device.ifindex: m for m in self.touched}
        try:
            for ifindex, words in neigh_parameters.restore(self.source, self.plan.neighparms, here).items():
                self.missing[owner[ifindex]] += words
        except (EngineError, wire.Malformed) as e:
            self.missing[self.touched[0]].append(f"sysctls of neighbours: {lookups.says(e)}")

    def _routes(self, first: Member) -> None:
        """Nexthop objects and routes that the source had before; what cannot be put back is told with the first device.

        All of them and not only those of the batch: a route of another device goes, too, when its `src` or one of its
        legs leaves (probes routes.move.ipv4-src, routes.move.ipv4-multipath). A route that somebody else deleted in
        these milliseconds comes back with them.
        """
        renumbered = {m.link.ifindex: m.device.ifindex for m in self.touched if m.device.ifindex != m.link.ifindex}
        answers: dict[bytes, str] = {}
        try:
            now = self._routes_now()
            anew = self._made_anew(now)
            for body in anew:
                with contextlib.suppress(EngineError):  # what is still there is told below
                    self.source.command(routes.remove(body))
            # A gateway must be reachable when it is used: by a nexthop object, or by a route.
            for part in PARTS:
                for body in self._lost(part, renumbered, now if part == routes.Part.DIRECT else None):
                    answers[body] = ""
                    try:
                        self.source.command(routes.add(part, body))
                    except EngineError as e:
                        answers[body] = f": {lookups.says(e)}"
            # What was refused may be there all the same (EEXIST), and what was taken may not: look.
            for part in PARTS if answers else ():
                for body in self._lost(part, renumbered):
                    self.missing[first].append(routes.text(part, body) + answers.get(body, ""))
            for body in self._made_anew(self._routes_now()) if anew else ():
                self.missing[first].append(f"without {routes.text(routes.Part.OTHERS, body)}")
        except (EngineError, wire.Malformed) as e:
            self.missing[first].append(f"routes: {lookups.says(e)}")

    def _routes_now(self) -> bytes:
        return lookups.dump(self.source, routes.DUMP_ROUTES, about=stacking.concerned(self.plan))

    def _made_anew(self, now: bytes) -> list[bytes]:
        """Routes that came with addresses, although somebody had removed them: of prefixes, broadcast, ff00::/8."""
        return routes.made_anew(self.plan.routes, now, self._back(self.missing))

    @staticmethod
    def _back(members: Iterable[Member]) -> dict[int, int]:
        """ifindex before -> ifindex now, of those that are in the source."""
        return {m.link.ifindex: m.device.ifindex for m in members if m.device.place == PLACE_SOURCE}

    def _for_good(self) -> None:
        try:
            forgood.find(self.source, self.missing)
        except (EngineError, wire.Malformed) as e:
            self.missing[self.touched[0]].append(f"what cannot be put back is not known: {lookups.says(e)}")
        for member in self.missing:
            self.missing[member] += member.for_good
            member.for_good = [*self.links.without_request.get(member, ()), *member.for_good]

    def _lost(self, part: int, renumbered: Mapping[int, int], now: bytes | None = None) -> list[bytes]:
        """The routes or nexthop objects that the source had before and has no longer.

        Without those of devices that are not back: these are reported, with all that hung on them.
        """
        gone = {m.link.ifindex for m in self.missing if m.ended or m.device.place != PLACE_SOURCE}
        if part == routes.Part.NEXTHOPS:
            now = lookups.dump(self.source, routes.DUMP_NEXTHOPS)
            lost = routes.missing_nexthops(self.plan.nexthops, now, renumbered)
        else:
            lost = routes.missing_routes(self.plan.routes, self._routes_now() if now is None else now, renumbered)
            lost = [body for body in lost if routes.needs_gateway(body) == (part == routes.Part.OTHERS)]
        return [body for body in lost if not (gone and routes.is_only_by(part, body, self.plan.nexthops, gone))]
