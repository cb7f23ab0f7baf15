"""Everything that can be known before a move is found out here, all of it at once, by requests that change nothing.

A check is a snapshot, not a lock: what changes after it ends in undo.

Finding codes (stable), with the errno that a refused `move` carries:
  device.invalid-name (ENODEV)     no device can have that name
  device.unknown (ENODEV)          no such device in the source
  device.altname (ENODEV)          an alternative name; the text says the real one
  device.twice (EINVAL)            two keys are one device
  device.too-many (E2BIG)          more than 4,096 devices: nothing is looked up
  device.immutable (EINVAL)        the kernel never moves it: lo, bridges, bonds, ...
  device.ends (EBUSY)              the kernel deletes it when its lower, in the same batch, leaves: vxlan, macsec
  device.busy (EBUSY)              another process moves it, gives it back, or undoes an earlier move of it
  device.default-route (EBUSY)     it carries a default route; `force` makes this a note
  name.invalid (EINVAL, ERANGE)    the wanted name breaks the kernel's rules (ERANGE: it is too long)
  name.template (EINVAL, ERANGE)   a "%" that is not one "%d"
  name.taken (EEXIST)              a device in the target has that name
  name.taken-altname (EEXIST)      a device in the target has that alternative name
  name.own-altname (EEXIST)        the wanted name is an alternative name of the device itself, which travels with it
  name.twice (EEXIST)              two devices of the batch want it (or one wants what is another's alternative name)
  altname.taken (EEXIST)           an alternative name of the device is taken in the target
  netns.open (ENOENT, ...)         a namespace cannot be opened, or is none
  netns.same (EINVAL)              target and source are one namespace
  permission.source, permission.target (EPERM)   CAP_NET_ADMIN, or CAP_SYS_ADMIN for the visit, is missing there
  ipv6.disabled (EACCES)           IPv6 addresses must go where IPv6 is disabled
  system (as it is)                the kernel could not be asked, or a file under /proc/sys/net not be read
  loss.master, loss.port, loss.qdisc, loss.routes, loss.neighbours, loss.fdb, loss.upper, loss.addresses
                                   severity "loss": what a move drops and the runtime-spec does not protect
  device.xdp                       a note: an XDP program stays attached
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Mapping

from .. import limits, state
from ..engine import Device, EngineError, Socket
from ..engine.lookups import ask, link_of, refused, says
from ..errors import NetDevError
from ..netlink import ifaddr, ifname, uapi, wire
from ..state import sysctls
from ..system.netns import CURRENT, NetNS
from ..text import quote
from . import clashes, links, losses, stacking
from .plan import Found, Item, Plan, called, command_in, requested, too_many

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
    except (EngineError, wire.Malformed) as e:
        plan.unasked(getattr(plan, asked), e)
    except BaseException:
        plan.__exit__()
        raise
    return plan


def _open(plan: Plan, netns: object, source: object) -> None:
    """Both namespaces, and a socket in each."""
    find(plan, "source", CURRENT if source is None else source)
    find(plan, "target", netns)
    if plan.source and plan.target and plan.source.same(plan.target):
        text = f"{plan.target.where}: the devices are in this network namespace already"
        plan.error(None, "netns.same", text, errno.EINVAL)
        return
    enter_source(plan, source)
    if plan.target:
        plan.target_socket = _visit(plan, "target", plan.target.fd, plan.target, {DISABLE_IPV6: None})


def find(plan: Plan, which: str, where: object) -> None:
    try:
        setattr(plan, which, NetNS.open(where))  # type: ignore[arg-type]  # open refuses other types itself
    except NetDevError as e:
        is_name = isinstance(where, str) and "/" not in where and ":" not in where
        plan.error(None, "netns.open", e.text, e.errno or 0, "ip netns list" if is_name else None)


def enter_source(plan: Plan, source: object) -> None:
    if plan.source:
        plan.source_visit = -1 if source is None else plan.source.fd
        plan.source_socket = _visit(plan, "source", plan.source_visit, plan.source, {})


def _visit(plan: Plan, side: str, fd: int, netns: NetNS, files: Mapping[str, str | None]) -> Socket | None:
    try:
        return Socket(fd, files)
    except EngineError as e:
        code = f"permission.{side}" if e.errno == errno.EPERM else "system"
        what = "no netlink socket" if fd < 0 else "cannot enter the network namespace"
        # socket(2) in it is refused by a seccomp filter or a security module, whatever the capabilities.
        is_setns = e.errno == errno.EPERM and e.extack.startswith("setns")
        hint = " (CAP_SYS_ADMIN is needed there and here)" if is_setns else ""
        plan.error(None, code, f"{called(netns)}: {what}: {says(e)}{hint}", e.errno)
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
            text = f"{item.label}: this is the same device as {by_ifindex[link.ifindex].label}"
            plan.error(item.host_name, "device.twice", text, errno.EINVAL)
        else:
            by_ifindex[link.ifindex] = item
            item.link = link
            if not item.why_wanted_invalid:
                item.device = Device(item.ifname, item.wanted, link.ifindex)
    _permission(plan, "source", ask(socket, [_MAY_CHANGE])[0], plan.source)
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
        text = f"{by_ifindex[ifindex].label}: the kernel deletes it when what it lies on leaves: not both in one batch"
        plan.error(by_ifindex[ifindex].host_name, "device.ends", text, errno.EBUSY)


def is_device(plan: Plan, item: Item, link: wire.Link | None) -> bool:
    """Whether what was found by a name is a device of that name; a finding says what is wrong otherwise."""
    if link is None and ifname.may_be_altname(item.ifname):
        text = f"{item.label}: no device can have that name: {ifname.why_invalid(item.ifname)}"
        plan.error(item.host_name, "device.invalid-name", text, errno.ENODEV)
    elif link is None:
        text = f"{item.label}: no such device in {called(plan.source)}"
        where = ["--netns", plan.source.where] if plan.source and plan.source.where != CURRENT else []
        hint = quote.command_line("netdevns", "show", *where)
        plan.error(item.host_name, "device.unknown", text, errno.ENODEV, hint)
    elif link.name != item.ifname:
        real = quote.shown(link.name)
        text = f"{item.label}: this is an alternative name of {real}; name the device itself: {real}"
        plan.error(item.host_name, "device.altname", text, errno.ENODEV, item.argument(link.name))
    else:
        return True
    return False


# A request that changes nothing tells who may: an empty RTM_NEWLINK for an ifindex that nobody has. ENODEV to those who
# may (probes permissions.ask.empty.allowed, permissions.ask.empty.no-right).
_MAY_CHANGE = wire.link_message(uapi.RTM_NEWLINK, uapi.NLM_F_ACK, NO_SUCH_IFINDEX)


def _permission(plan: Plan, side: str, answer: wire.Message, netns: NetNS | None) -> None:
    """What was answered to _MAY_CHANGE."""
    if refused(answer) == errno.EPERM:
        text = f"{called(netns)}: CAP_NET_ADMIN is missing in the {side} network namespace; run this as root"
        plan.error(None, f"permission.{side}", text, errno.EPERM)


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
    kind = item.link.kind.decode() + " devices" if item.link and item.link.kind else "it"
    text = f"{item.label}: the kernel never moves {kind} into another network namespace"
    plan.error(item.host_name, "device.immutable", text, errno.EINVAL)


def default_routes(plan: Plan) -> None:
    """Devices that carry a default route of the main table, themselves or below a device that does."""
    carriers = stacking.below(plan.links, [f.ifindex for f in plan.losses if f.code == "device.default-route"])
    for item in plan.items:
        if item.link is None or item.link.ifindex not in carriers:
            continue
        text = f"{item.label}: it carries a default route of {called(plan.source)}"
        if plan.is_forced(item):
            plan.found.append(Found(item.host_name, "note", "device.default-route", text))
            continue
        how = "move it anyway with --force"
        if not isinstance(plan.force, bool):
            how = "no annotation can ask for it, only the hook's arguments or config.json"
        hint = "--force" if isinstance(plan.force, bool) else None
        plan.error(item.host_name, "device.default-route", f"{text}; {how}", errno.EBUSY, hint)


def _ask_target(plan: Plan, socket: Socket) -> None:
    present = [item for item in plan.items if item.link is not None and item.device is not None]
    claims, ifindexes = clashes.claims(plan), [item.link.ifindex for item in present if item.link]
    asked = [_MAY_CHANGE, _ASK_NEW_IFINDEX, *(wire.get_link(name=name) for _, name in claims)]
    may, honours, *answers = ask(socket, [*asked, *map(wire.get_link, ifindexes)])  # in one go
    _permission(plan, "target", may, plan.target)
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
            text = f"{called(plan.target)}: {DISABLE_IPV6} could not be read: {os.strerror(-disabled)}"
            plan.error(None, "system", text, -disabled)
            return
        why, hint = "not available there", None
        if isinstance(disabled, str):
            why = "disabled there (net.ipv6.conf.default.disable_ipv6)"
            hint = command_in(plan.target, "sysctl", "-w", "net.ipv6.conf.default.disable_ipv6=0")
        text = f"{item.label}: it has IPv6 addresses, but IPv6 is {why}: {called(plan.target)}"
        plan.error(item.host_name, "ipv6.disabled", text, errno.EACCES, hint)


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
