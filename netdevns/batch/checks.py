"""Checks a move in advance, with requests that change nothing, and collects every finding.

A check is a snapshot, not a lock: a later change makes the move fail, and be undone.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping

from .. import limits, state
from ..engine import EngineError, Socket
from ..engine.batch_device import BatchDevice
from ..engine.lookups import ask, link_of, refused
from ..errors import NetDevError
from ..netlink import ifaddr, ifname, uapi, wire
from ..state import sysctls
from ..system import clock
from ..system.exclusion import Exclusion
from ..system.netns import CURRENT, NetNS
from . import clashes, links, losses, stacking
from .plan import Asked, Plan, requested, too_many, where

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
    """Runs all checks and returns an open plan, to be used as a context manager.

    `exclusion`: locks the devices and their uppers, before anything is read that a move relies on.
    """
    if isinstance(devices, Mapping) and len(devices) > limits.DEVICES:
        return too_many(len(devices), is_move=exclusion is not None)
    plan = Plan(requested(devices), force)
    plan.preserve = preserve
    side = "source"
    try:
        _open(plan, netns, source)
        clashes.in_batch(plan)
        if plan.source_socket is not None:
            askable = [asked.ifname for asked in plan.asked if _may_be_there(asked)]
            links.read(plan, plan.source_socket, dict.fromkeys(askable), exclusion)
            plan.since_ms = clock.now_ms()
            _ask_source(plan, plan.source_socket)
        side = "target"
        if plan.target_socket is not None:
            _ask_target(plan, plan.target_socket)
        side = "source"
        losses.find(plan)
    except EngineError as e:
        plan.request_failed(getattr(plan, side), e)
    except BaseException:
        plan.__exit__()
        raise
    return plan


def _open(plan: Plan, netns: object, source: object) -> None:
    """Opens both namespaces, and a socket in each."""
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
        plan.request_failed(netns, e, "socket" if fd < 0 else "enter", refused)
        return None


def _may_be_there(asked: Asked) -> bool:
    """Whether a device or alternative name may have this name; invalid names have a finding already."""
    is_name = asked.why_invalid is None and not ifname.is_template(asked.ifname)
    return is_name or ifname.may_be_altname(asked.ifname)


def _ask_source(plan: Plan, socket: Socket) -> None:
    askable = [asked for asked in plan.asked if _may_be_there(asked)]
    by_ifindex: dict[int, BatchDevice] = {}
    by_name = {link.name: link for link in plan.links.values()}
    others = [a.ifname for a in askable if a.ifname not in by_name]  # no such device, or an alternative name
    for name, answer in zip(others, ask(socket, [wire.get_link(name=name) for name in others]), strict=True):
        found = link_of(answer)
        if found is not None:
            by_name[name] = found
    for asked in askable:
        link = by_name.get(asked.ifname)
        if not is_device(plan, asked, link) or link is None:
            continue
        if link.ifindex in by_ifindex:
            plan.find("device.twice", asked, other=by_ifindex[link.ifindex].ifname)
        else:
            # With an invalid name it will not move; the other checks still run, under its own name.
            wanted = asked.ifname if asked.why_wanted_invalid else asked.wanted
            by_ifindex[link.ifindex] = BatchDevice(asked.host_name, asked.ifname, wanted, link)
    plan.devices = [*by_ifindex.values()]
    _permission(plan, "permission.source", ask(socket, [_MAY_CHANGE])[0], plan.source)
    immovable(plan, socket)
    plan.uppers = stacking.uppers(plan.links, by_ifindex)
    links.read_above(plan, socket, by_ifindex)
    for ifindex in stacking.ending([device.link for device in plan.devices], by_ifindex):
        plan.find("device.ends", by_ifindex[ifindex])
    stacking.set_depths(by_ifindex | {device.link.ifindex: device for device in plan.uppers})
    plan.state = state.read(socket, plan.links, stacking.concerned(plan))
    losses.ask_kinds(plan)
    default_routes(plan)


def is_device(plan: Plan, asked: Asked, link: wire.Link | None) -> bool:
    """Whether a look-up found a device of that very name; adds a finding if not."""
    if link is None and ifname.may_be_altname(asked.ifname):
        plan.find("device.invalid-name", asked)
    elif link is None:
        plan.find("device.unknown", asked, source=where(plan.source))
    elif link.name != asked.ifname:
        plan.find("device.altname", asked, other=link.name, wanted=asked.wanted)
    else:
        return True
    return False


# Tries the permission without changing anything: an empty RTM_NEWLINK for an ifindex that no device has. ENODEV:
# permitted; EPERM: not (probes permissions.ask.empty.allowed, permissions.ask.empty.no-right).
_MAY_CHANGE = wire.link_message(uapi.RTM_NEWLINK, uapi.NLM_F_ACK, NO_SUCH_IFINDEX)


def _permission(plan: Plan, code: str, answer: wire.Message, netns: NetNS | None) -> None:
    """Evaluates the reply to _MAY_CHANGE."""
    if refused(answer) == errno.EPERM:
        plan.find(code, netns=where(netns))


def immovable(plan: Plan, socket: Socket) -> set[int]:
    """Adds findings for devices that the kernel never moves; returns the ifindexes for which that stays unknown.

    The kernel reports it from 6.15 on (probe kinds.immutable.lo). Before, a move into the device's own namespace
    changes nothing (probes message.ns-fd.own, message.ns-fd.own-notifications) and fails with EINVAL for an immovable
    device (probe kinds.own-namespace.bridge); without CAP_NET_ADMIN it fails with EPERM.
    """
    unreported = [device for device in plan.devices if device.link.immutable is None]
    stays = [device for device in plan.devices if device.link.immutable]
    unknown: set[int] = set()
    if unreported and plan.source is not None:
        fd = wire.attr_u32(uapi.IFLA_NET_NS_FD, plan.source.fd)
        probes = [wire.link_message(uapi.RTM_NEWLINK, uapi.NLM_F_ACK, device.ifindex, fd) for device in unreported]
        codes = [refused(answer) for answer in ask(socket, probes)]
        stays += [device for device, code in zip(unreported, codes, strict=True) if code == errno.EINVAL]
        unknown = {device.ifindex for device, code in zip(unreported, codes, strict=True) if code == errno.EPERM}
    for device in stays:
        plan.find("device.immutable", device, kind=device.link.kind)
    return unknown


def default_routes(plan: Plan) -> None:
    """Adds findings for devices that carry a default route of the main table, or are below one that does."""
    carriers = stacking.below(plan.links, [f.ifindex for f in plan.losses if f.code == "device.default-route"])
    for device in plan.devices:
        if device.ifindex in carriers:
            forced = {"is_forced": plan.is_forced(device), "is_annotated": not isinstance(plan.force, bool)}
            plan.find("device.default-route", device, source=where(plan.source), **forced)


def _ask_target(plan: Plan, socket: Socket) -> None:
    claims, ifindexes = clashes.claims(plan), [device.ifindex for device in plan.devices]
    asked = [_MAY_CHANGE, _ASK_NEW_IFINDEX, *(wire.get_link(name=name) for _, name in claims)]
    may, honours, *answers = ask(socket, [*asked, *map(wire.get_link, ifindexes)])  # in one go
    _permission(plan, "permission.target", may, plan.target)
    clashes.in_target(plan, claims, answers[: len(claims)])
    if plan.devices:
        _choose_ifindexes(plan.devices, honours, answers[len(claims) :], socket)
    if socket.files[DISABLE_IPV6] != "0\n" and plan.source_socket is not None:
        _ipv6(plan, plan.source_socket, socket.files[DISABLE_IPV6])


def _ipv6(plan: Plan, source: Socket, disabled: str | int) -> None:
    """Adds findings if IPv6 is off, or unknown, in the target; `disabled`: text of DISABLE_IPV6, or negative errno."""
    for device in plan.devices:
        device.snapshot(source)
        own = sysctls.Settings(device.link_body).values.get("ipv6.disable_ipv6")
        if isinstance(disabled, str) and own == 0 and "sysctls" in plan.preserve:
            continue  # "default" is only the initial value: `preserve` sets the device's own before its addresses
        if not any(a["family"] == "inet6" for a in ifaddr.addresses(device.addresses, protected=True)):
            continue
        if isinstance(disabled, int) and disabled != -errno.ENOENT:  # ENOENT: no IPv6; others: unknown
            plan.find("system", netns=where(plan.target), what=DISABLE_IPV6, errno=-disabled, extack="")
            return
        plan.find("ipv6.disabled", device, target=where(plan.target), is_disabled=isinstance(disabled, str))


def _choose_ifindexes(
    devices: list[BatchDevice], honours: wire.Message, answers: list[wire.Message], socket: Socket
) -> None:
    """Requests the same ifindex if it is free in the target, otherwise a free one above all of the batch's.

    `honours` is the reply to _ASK_NEW_IFINDEX; `answers` are the look-ups of the devices' own ifindexes in the target.
    """
    # Kernels before 5.13 ignore IFLA_NEW_IFINDEX (probe message.new-ifindex.free).
    unsure = refused(honours) == errno.ENODEV
    busy = []
    for device, answer in zip(devices, answers, strict=True):
        if link_of(answer) is None:
            device.ask_ifindex(device.ifindex, unsure=unsure)
        else:
            busy.append(device)
    first, distance = max(device.ifindex for device in devices) + 1, max(8, len(busy))
    while busy:
        candidates = range(first, first + max(8, len(busy)))
        # Further away each time, as the ifindexes of many devices are consecutive.
        first += distance
        distance *= 2
        for ifindex, answer in zip(candidates, ask(socket, [wire.get_link(i) for i in candidates]), strict=True):
            if busy and link_of(answer) is None:
                busy.pop(0).ask_ifindex(ifindex, unsure=unsure)


# Finds out whether the kernel honours IFLA_NEW_IFINDEX, without changing anything: if so, 0 is out of range; otherwise
# the device does not exist: ENODEV (probe message.new-ifindex.zero).
_ASK_NEW_IFINDEX = wire.link_message(
    uapi.RTM_NEWLINK, uapi.NLM_F_ACK, NO_SUCH_IFINDEX, wire.attr_u32(uapi.IFLA_NEW_IFINDEX, 0)
)
