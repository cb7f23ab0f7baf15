"""Everything that can be known before a move is found out here, all of it at once, by requests that change nothing.

A check is a snapshot, not a lock: what changes after it ends in undo.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping

from .. import limits, state
from ..engine import Device, EngineError, Socket
from ..engine.lookups import ask, link_of, refused
from ..errors import NetDevError
from ..netlink import ifaddr, ifname, uapi, wire
from ..state import sysctls
from ..system.netns import CURRENT, NetNS
from . import clashes, links, losses, stacking
from .plan import Item, Plan, requested, too_many, where

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..system.exclusion import Exclusion

NO_SUCH_IFINDEX = 0x7FFFFFFF
DISABLE_IPV6 = "/proc/sys/net/ipv6/conf/default/disable_ipv6"


def examine(
    devices: object,
    netns: object,
    source: object,
    force: bool | frozenset[str],
    preserve: frozenset[str] = frozenset(),
    exclusion: Exclusion | None = None,
) -> Plan:
    """Runs all checks. The plan is open: use it as a context manager.

    `exclusion`: takes the devices, and those on them, before anything is read that a move relies on.
    """
    if isinstance(devices, Mapping) and len(devices) > limits.DEVICES:
        return too_many(len(devices), is_move=exclusion is not None)
    plan = Plan(requested(devices), force)
    plan.preserve = preserve
    asked = "source"
    try:
        _open(plan, netns, source)
        clashes.in_batch(plan)
        if plan.source_socket is not None:
            askable = [item.ifname for item in plan.items if _may_be_there(item)]
            links.read(plan, plan.source_socket, dict.fromkeys(askable), exclusion)
            _ask_source(plan, plan.source_socket)
        asked = "target"
        if plan.target_socket is not None:
            _ask_target(plan, plan.target_socket)
        asked = "source"
        losses.find(plan)
    except EngineError as e:
        plan.unasked(getattr(plan, asked), e)
    except BaseException:
        plan.__exit__()
        raise
    return plan


def _open(plan: Plan, netns: object, source: object) -> None:
    """Both namespaces, and a socket in each."""
    open_netns(plan, "source", CURRENT if source is None else source)
    open_netns(plan, "target", netns)
    if plan.source and plan.target and plan.source.same(plan.target):
        plan.find("netns.same", where=plan.target.where)
        return
    enter_source(plan, source)
    if plan.target:
        plan.target_socket = _visit(plan, "permission.target", plan.target.fd, plan.target, {DISABLE_IPV6: None})


def open_netns(plan: Plan, which: str, named: object) -> None:
    try:
        setattr(plan, which, NetNS.open(named))  # type: ignore[arg-type]  # open refuses other types itself
    except NetDevError as e:
        is_name = isinstance(named, str) and "/" not in named and ":" not in named
        plan.find("netns.open", error=e.text, errno=e.errno or 0, is_name=is_name)


def enter_source(plan: Plan, source: object) -> None:
    if plan.source:
        plan.source_visit = -1 if source is None else plan.source.fd
        plan.source_socket = _visit(plan, "permission.source", plan.source_visit, plan.source, {})


def _visit(plan: Plan, refused: str, fd: int, netns: NetNS, files: Mapping[str, str | None]) -> Socket | None:
    try:
        return Socket(fd, files)
    except EngineError as e:
        plan.unasked(netns, e, "socket" if fd < 0 else "enter", refused)
        return None


def _may_be_there(item: Item) -> bool:
    """Whether a look-up by the name has an answer: the others were told already that no device can have theirs."""
    is_name = item.why_invalid is None and not ifname.is_template(item.ifname)
    return is_name or ifname.may_be_altname(item.ifname)


def _ask_source(plan: Plan, socket: Socket) -> None:
    askable = [i for i in plan.items if _may_be_there(i)]
    by_ifindex: dict[int, Item] = {}
    by_name = {link.name: link for link in plan.links.values()}
    others = [i.ifname for i in askable if i.ifname not in by_name]  # no such device, or an alternative name
    for name, answer in zip(others, ask(socket, [wire.get_link(name=name) for name in others]), strict=True):
        found = link_of(answer)
        if found is not None:
            by_name[name] = found
    for item in askable:
        link = by_name.get(item.ifname)
        if not is_device(plan, item, link) or link is None:
            continue
        if link.ifindex in by_ifindex:
            plan.find("device.twice", item, other=by_ifindex[link.ifindex].ifname)
        else:
            by_ifindex[link.ifindex] = item
            item.link = link
            if not item.why_wanted_invalid:
                item.device = Device(item.ifname, item.wanted, link.ifindex)
    _permission(plan, "permission.source", ask(socket, [_MAY_CHANGE])[0], plan.source)
    immovable(plan, socket)
    plan.uppers = stacking.uppers(plan.links, by_ifindex)
    links.read_above(plan, socket, by_ifindex)
    _ending(plan, by_ifindex)
    stacking.set_depths({**by_ifindex, **{item.link.ifindex: item for item in plan.uppers if item.link}})
    about = stacking.concerned(plan)
    for kind in state.KINDS:
        plan.state[kind.name] = kind.read(socket, plan.links, about)
    losses.ask_kinds(plan)
    default_routes(plan)


def _ending(plan: Plan, by_ifindex: Mapping[int, Item]) -> None:
    """What lies on another device of the batch and would be deleted with that one's move, wherever it is by then."""
    for ifindex in stacking.ending([item.link for item in plan.items if item.link], by_ifindex):
        plan.find("device.ends", by_ifindex[ifindex])


def is_device(plan: Plan, item: Item, link: wire.Link | None) -> bool:
    """Whether what was found by a name is a device of that name; a finding says what is wrong otherwise."""
    if link is None and ifname.may_be_altname(item.ifname):
        plan.find("device.invalid-name", item)
    elif link is None:
        plan.find("device.unknown", item, source=where(plan.source))
    elif link.name != item.ifname:
        plan.find("device.altname", item, other=link.name, wanted=item.wanted)
    else:
        return True
    return False


# A request that changes nothing tells who may: an empty RTM_NEWLINK for an ifindex that nobody has. ENODEV to those who
# may (probes permissions.ask.empty.allowed, permissions.ask.empty.no-right).
_MAY_CHANGE = wire.link_message(uapi.RTM_NEWLINK, uapi.NLM_F_ACK, NO_SUCH_IFINDEX)


def _permission(plan: Plan, code: str, answer: wire.Message, netns: NetNS | None) -> None:
    """What was answered to _MAY_CHANGE."""
    if refused(answer) == errno.EPERM:
        plan.find(code, netns=where(netns))


def immovable(plan: Plan, socket: Socket) -> set[int]:
    """Finds the devices that the kernel never moves; returns the ifindexes of which it does not say it to this process.

    From 6.15 on the kernel says it (probe kinds.immutable.lo); before, a move into its own namespace answers EINVAL for
    what may not leave (probe kinds.own-namespace.bridge), and EPERM to those who may move nothing. It changes nothing
    (probes message.ns-fd.own, message.ns-fd.own-notifications).
    """
    unsaid: list[Item] = []
    unknown: set[int] = set()
    for item in plan.items:
        if item.link is None:
            continue
        if item.link.immutable is None:
            unsaid.append(item)
        elif item.link.immutable:
            _immovable(plan, item)
    if not unsaid or plan.source is None:
        return unknown
    fd = wire.attr_u32(uapi.IFLA_NET_NS_FD, plan.source.fd)
    own = [item.link.ifindex for item in unsaid if item.link]
    probes = [wire.link_message(uapi.RTM_NEWLINK, uapi.NLM_F_ACK, ifindex, fd) for ifindex in own]
    for item, answer in zip(unsaid, ask(socket, probes), strict=True):
        code = refused(answer)
        if code == errno.EINVAL:
            _immovable(plan, item)
        elif code == errno.EPERM and item.link:
            unknown.add(item.link.ifindex)
    return unknown


def _immovable(plan: Plan, item: Item) -> None:
    plan.find("device.immutable", item, kind=item.link.kind if item.link else b"")


def default_routes(plan: Plan) -> None:
    """Devices that carry a default route of the main table, themselves or below a device that does."""
    carriers = stacking.below(plan.links, [f.ifindex for f in plan.losses if f.code == "device.default-route"])
    for item in plan.items:
        if item.link is not None and item.link.ifindex in carriers:
            forced = {"is_forced": plan.is_forced(item), "is_annotated": not isinstance(plan.force, bool)}
            plan.find("device.default-route", item, source=where(plan.source), **forced)


def _ask_target(plan: Plan, socket: Socket) -> None:
    present = [item for item in plan.items if item.link is not None and item.device is not None]
    claims, ifindexes = clashes.claims(plan), [item.link.ifindex for item in present if item.link]
    asked = [_MAY_CHANGE, _ASK_NEW_IFINDEX, *(wire.get_link(name=name) for _, name in claims)]
    may, honours, *answers = ask(socket, [*asked, *map(wire.get_link, ifindexes)])  # in one go
    _permission(plan, "permission.target", may, plan.target)
    clashes.in_target(plan, claims, answers[: len(claims)])
    if present:
        _choose_ifindexes(present, honours, answers[len(claims) :], socket)
    if socket.files[DISABLE_IPV6] != "0\n" and plan.source_socket is not None:
        _ipv6(plan, plan.source_socket, present, socket.files[DISABLE_IPV6])


def _ipv6(plan: Plan, source: Socket, present: Iterable[Item], disabled: str | int) -> None:
    """Where IPv6 is not known to work in the target; `disabled`: what DISABLE_IPV6 said, or a negative errno."""
    for item in present:
        if item.device is None:
            continue
        item.device.snapshot(source)
        own = sysctls.Settings(item.device.link_body).values.get("ipv6.disable_ipv6")
        if isinstance(disabled, str) and own == 0 and "sysctls" in plan.preserve:
            continue  # "default" is what a device begins with; its own is set there before its addresses are
        if not any(a["family"] == "inet6" for a in ifaddr.addresses(item.device.addresses, protected=True)):
            continue
        if isinstance(disabled, int) and disabled != -errno.ENOENT:  # which alone says that there is no IPv6
            plan.find("system", netns=where(plan.target), what=DISABLE_IPV6, errno=-disabled, extack="")
            return
        plan.find("ipv6.disabled", item, target=where(plan.target), is_disabled=isinstance(disabled, str))


def _choose_ifindexes(present: list[Item], honours: wire.Message, answers: list[wire.Message], socket: Socket) -> None:
    """The same ifindex where it is free in the target, otherwise a free one above all of the batch's.

    `honours` is the answer to _ASK_NEW_IFINDEX, `answers` are what the target has under the devices' own.
    """
    own = [item.link.ifindex for item in present if item.link]
    # Before 5.13 IFLA_NEW_IFINDEX is not even looked at (probe message.new-ifindex.free): a number that is taken after
    # this check is not kept then.
    unsure = refused(honours) == errno.ENODEV
    busy = []
    for item, ifindex, answer in zip(present, own, answers, strict=True):
        if link_of(answer) is not None:
            busy.append(item)
        elif item.device is not None:
            item.device.ask_ifindex(ifindex, unsure=unsure)
    first, distance = max(own) + 1, max(8, len(busy))
    while busy:
        candidates = range(first, first + max(8, len(busy)))
        # Further away each time: where many devices are, their numbers lie side by side.
        first += distance
        distance *= 2
        for ifindex, answer in zip(candidates, ask(socket, [wire.get_link(i) for i in candidates]), strict=True):
            if busy and link_of(answer) is None:
                item = busy.pop(0)
                if item.device is not None:
                    item.device.ask_ifindex(ifindex, unsure=unsure)


# Changes nothing: no such device (ENODEV), and where the attribute counts, 0 is out of its range (probe
# message.new-ifindex.zero).
_ASK_NEW_IFINDEX = wire.link_message(
    uapi.RTM_NEWLINK, uapi.NLM_F_ACK, NO_SUCH_IFINDEX, wire.attr_u32(uapi.IFLA_NEW_IFINDEX, 0)
)
