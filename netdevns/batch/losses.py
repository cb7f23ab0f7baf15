"""What a move drops that the runtime-spec does not protect: told before by `check`, and after in `not_carried`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from struct import Struct

from ..engine import EngineError, Socket, lookups
from ..netlink import ifaddr, uapi, wire
from ..state import neighbours, routes
from ..text import quote
from . import stacking
from .plan import Found, Item, Plan

TCMSG = Struct("=BxxxiIII")  # tcm_family, tcm_ifindex, tcm_handle, tcm_parent, tcm_info
DUMP_QDISCS = wire.message(uapi.RTM_GETQDISC, uapi.NLM_F_DUMP, TCMSG.pack(0, 0, 0, 0, 0))


def qdiscs(socket: Socket, ifindexes: Collection[int]) -> dict[int, list[str]]:
    """By ifindex, what is at these devices' root and in front of it (ingress, clsact), as far as somebody put it there.

    Filters, classes and further qdiscs hang on these (probes links.qdisc.root, links.qdisc.filter). What the kernel
    gives a device by itself has the handle 0: losing it loses nothing (probe links.qdisc.default). Source:
    linux/rtnetlink.h (struct tcmsg), net/sched/sch_generic.c.
    """
    found: dict[int, list[str]] = {}
    for message in wire.messages(lookups.dump_if_known(socket, DUMP_QDISCS, ifindexes)):
        if message.type == uapi.RTM_NEWQDISC and len(message.body) >= TCMSG.size:
            _, ifindex, handle, parent, _ = TCMSG.unpack_from(message.body)
            if handle and parent in (uapi.TC_H_ROOT, uapi.TC_H_INGRESS):
                kind = wire.text(wire.attrs(message.body, TCMSG.size).get(uapi.TCA_KIND))
                found.setdefault(ifindex, []).append(quote.shown(kind))
    return found


def find_qdiscs(socket: Socket, items: Sequence[Item]) -> None:
    found = qdiscs(socket, [item.link.ifindex for item in items if item.link])
    for item in items:
        item.qdiscs = found.get(item.link.ifindex, []) if item.link else []


def find(plan: Plan) -> None:
    """Adds a finding of severity "loss" for each thing, and short words to the device's `lost`."""
    on_it: dict[int | None, list[Item]] = {}
    for upper in plan.uppers:
        on_it.setdefault(upper.link.lower if upper.link else None, []).append(upper)
    ended = stacking.ending([u.link for u in plan.uppers if u.link], [i.link.ifindex for i in plan.items if i.link])
    carries_routes = "routes" in plan.preserve
    survey = plan.survey
    counts = {} if carries_routes else survey.counts
    indexes = [item.link.ifindex for item in plan.items if item.link]
    dumps = plan.neighbours[: neighbours.FDB]
    entries = Counter(neighbours.ifindex(body) for dump in dumps for body in neighbours.kept(dump, indexes))
    macs = {(upper.link.lower, upper.link.mac) for upper in plan.uppers if upper.link}  # told with these
    filters = [body for dump in plan.neighbours[neighbours.FDB :] for body in neighbours.kept(dump, indexes)]
    own = Counter(i for body in filters if ((i := neighbours.ifindex(body)), neighbours.lladdr(body)) not in macs)
    from_it = Counter(survey.source_owners(plan.routes))
    for item in plan.items:
        link = item.link
        if link is None:
            continue
        if link.master:
            master = plan.links.get(link.master)
            _lose(plan, item, "loss.master", f"master {quote.shown(master.name) if master else link.master}")
        port = plan.ports.get(link.ifindex)
        if port and (peculiar := port.peculiar()):
            _lose(plan, item, "loss.port", f"{port.kind.decode()} port: {', '.join(peculiar)}")
        for kind in item.qdiscs:
            _lose(plan, item, "loss.qdisc", f"qdisc {kind}, with what hangs on it")
        for upper in on_it.get(link.ifindex, ()):
            is_ended = upper.link is not None and upper.link.ifindex in ended
            how = "which the kernel deletes" if is_ended else "which stays behind"
            _lose(plan, item, "loss.upper", f"{upper.label} on top of it, {how}")
        count = counts.get(link.ifindex, 0)
        if count:
            _lose(plan, item, "loss.routes", f"{count} route{'s' if count > 1 else ''}")
        count = from_it[link.ifindex]
        if count:
            text = f"{count} route{'s' if count > 1 else ''} of other devices, whose src is an address of it"
            _lose(plan, item, "loss.routes", text)
        count = entries[link.ifindex]
        if count and "neighbours" not in plan.preserve:
            _lose(plan, item, "loss.neighbours", f"{count} neighbour{'s' if count > 1 else ''}")
        if own[link.ifindex]:
            words = f"{own[link.ifindex]} MAC{'s' if own[link.ifindex] > 1 else ''} that it listens to besides its own"
            _lose(plan, item, "loss.fdb", words)
        if link.has_xdp:
            # (probes links.xdp.generic, links.xdp.native)
            text = f"{item.label}: its XDP program stays attached"
            plan.found.append(Found(item.host_name, "note", "device.xdp", text))
    if carries_routes:
        _routes(plan)


def _routes(plan: Plan) -> None:
    """Those that make no sense in the target, although routes are carried over."""
    by_ifindex = {item.link.ifindex: item for item in plan.items if item.link}
    for route in routes.portable(plan.routes, plan.nexthops, by_ifindex):
        if not route.body:
            _lose(plan, by_ifindex[route.ifindex], "loss.routes", route.text)


def ask_addresses(plan: Plan) -> None:
    """Asks for the addresses, and finds those that are lost; `move` finds them in its snapshots, after the checks."""
    present = [(item, item.link.ifindex) for item in plan.items if item.device and item.link]
    # A socket whose exchange failed is of no use: its next error would only be added to the first.
    if not present or plan.source_socket is None or any(found.code == "system" for found in plan.found):
        return
    try:
        found = lookups.addresses(plan.source_socket, [ifindex for _, ifindex in present])
        for item, ifindex in present:
            find_addresses(plan, item, found[ifindex])
    except (EngineError, wire.Malformed) as e:
        plan.unasked(plan.source, e)


def find_addresses(plan: Plan, item: Item, dumped: bytes | memoryview) -> None:
    """The same for addresses that are not protected, from RTM_NEWADDR messages of all devices or its own.

    Without a link-local of the kernel's own: the device gets one in the target, too (probe
    addresses.ipv6.link-local.own).
    """
    link = item.link
    if link is None or link.flags & uapi.IFF_LOOPBACK:  # which never leaves
        return
    counts: Counter[str] = Counter()
    for type_, at, end in wire.spans(dumped):
        if type_ != uapi.RTM_NEWADDR or end - at < ifaddr.IFADDRMSG.size:
            continue
        flags, scope = dumped[at + 2], dumped[at + 3]
        if ifaddr.is_protected(flags, scope) or wire.U32.unpack_from(dumped, at + 4)[0] != link.ifindex:
            continue
        found = wire.attrs(memoryview(dumped)[at:end], ifaddr.IFADDRMSG.size)
        all_flags = wire.u32(found.get(uapi.IFA_FLAGS))
        if not (flags if all_flags is None else all_flags) & uapi.IFA_F_PERMANENT:
            counts["with a lifetime"] += 1
        elif scope != uapi.RT_SCOPE_UNIVERSE and not _is_kernels(found, link.mac):
            counts[f"of {ifaddr.SCOPES.get(scope, str(scope))} scope"] += 1
    for what, count in counts.items():
        _lose(plan, item, "loss.addresses", f"{count} address{'es' if count > 1 else ''} {what}")


def _is_kernels(found: Mapping[int, memoryview], mac: bytes) -> bool:
    """Whether the kernel made an IPv6 link-local: it says so from 5.18 on; before, one of the MAC is taken for it.

    (probe addresses.ipv6.link-local.protocol)
    """
    address = bytes(found.get(uapi.IFA_ADDRESS, b""))
    if len(address) != 16 or address[:2] != b"\xfe\x80":
        return False
    protocol = found.get(uapi.IFA_PROTO)
    if protocol is not None and wire.u8(protocol) == uapi.IFAPROT_KERNEL_LL:
        return True
    return len(mac) == 6 and address[11:14] == b"\xff\xfe" + mac[3:4]  # EUI-64


def _lose(plan: Plan, item: Item, code: str, what: str) -> None:
    item.lost.append(what)
    plan.found.append(Found(item.host_name, "loss", code, f"{item.label}: a move loses: {what}"))
