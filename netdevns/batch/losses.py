"""Finds state that a move loses and the runtime-spec does not protect, for `check` and `not_carried`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from .. import state
from ..engine import EngineError, lookups
from ..engine.batch_device import BatchDevice
from ..netlink import ifaddr, uapi, wire
from ..state.kind import Finding, Leaving, View
from . import stacking
from .findings import WITH_LIFETIME
from .plan import Plan


def ask_kinds(plan: Plan) -> None:
    """Asks each kind of state for its losses."""
    leaving = {device.ifindex for device in plan.devices}
    before = View(plan.links, state=plan.state)
    about = Leaving(leaving, [upper.link for upper in plan.uppers], plan.preserve)
    plan.losses = [finding for kind in state.KINDS for finding in kind.findings(before, about)]


def find(plan: Plan) -> None:
    """Adds a finding for each loss, and its short words to the device's `lost`."""
    on_it: dict[int | None, list[BatchDevice]] = {}
    for upper in plan.uppers:
        on_it.setdefault(upper.link.lower, []).append(upper)
    ended = stacking.ending([upper.link for upper in plan.uppers], [device.ifindex for device in plan.devices])
    found: dict[int, list[Finding]] = {}
    for finding in plan.losses:
        found.setdefault(finding.ifindex, []).append(finding)
    for device in plan.devices:
        for upper in on_it.get(device.ifindex, ()):
            _lose(plan, device, "loss.upper", upper=upper.ifname, ends=upper.ifindex in ended)
        for finding in found.get(device.ifindex, ()):
            if finding.code.startswith("loss."):
                _lose(plan, device, finding.code, words=finding.words)
            elif finding.code == "device.xdp":
                plan.find(finding.code, device, words=finding.words)


def ask_addresses(plan: Plan) -> None:
    """Reads the addresses and adds findings for lost ones; for `check`, as `move` finds them in its snapshots."""
    # After a failed exchange, a socket is unusable: further requests would only add errors.
    if not plan.devices or plan.source_socket is None or any(found.code == "system" for found in plan.found):
        return
    try:
        found = lookups.addresses(plan.source_socket, [device.ifindex for device in plan.devices])
        for device in plan.devices:
            find_addresses(plan, device, found[device.ifindex])
    except EngineError as e:
        plan.request_failed(plan.source, e)


def find_addresses(plan: Plan, device: BatchDevice, dumped: bytes | memoryview) -> None:
    """Adds findings for unprotected addresses in RTM_NEWADDR messages; other devices' messages are skipped.

    The kernel's own link-local is no loss: the device gets one in the target, too (probe
    addresses.ipv6.link-local.own).
    """
    link = device.link
    if link.flags & uapi.IFF_LOOPBACK:  # never moves
        return
    counts: Counter[int] = Counter()  # by scope
    for type_, at, end in wire.spans(dumped):
        if type_ != uapi.RTM_NEWADDR or end - at < ifaddr.IFADDRMSG.size:
            continue
        flags, scope = dumped[at + 2], dumped[at + 3]
        if ifaddr.is_protected(flags, scope) or wire.U32.unpack_from(dumped, at + 4)[0] != link.ifindex:
            continue
        found = wire.attrs(memoryview(dumped)[at:end], ifaddr.IFADDRMSG.size)
        all_flags = wire.u32(found.get(uapi.IFA_FLAGS))
        if not (flags if all_flags is None else all_flags) & uapi.IFA_F_PERMANENT:
            counts[WITH_LIFETIME] += 1
        elif scope != uapi.RT_SCOPE_UNIVERSE and not _is_kernels(found, link.mac):
            counts[scope] += 1
    for scope, count in sorted(counts.items()):
        _lose(plan, device, "loss.addresses", count=count, scope=scope)


def _is_kernels(found: Mapping[int, memoryview], mac: bytes) -> bool:
    """Whether the kernel made an IPv6 link-local: IFA_PROTO says so from 5.18 on; before, one with the MAC's EUI-64.

    (probe addresses.ipv6.link-local.protocol)
    """
    address = bytes(found.get(uapi.IFA_ADDRESS, b""))
    if len(address) != 16 or address[:2] != b"\xfe\x80":
        return False
    protocol = found.get(uapi.IFA_PROTO)
    if protocol is not None and wire.u8(protocol) == uapi.IFAPROT_KERNEL_LL:
        return True
    return len(mac) == 6 and address[11:14] == b"\xff\xfe" + mac[3:4]  # EUI-64


def _lose(plan: Plan, device: BatchDevice, code: str, **operands: bytes | int | str) -> None:
    device.lost.append(plan.find(code, device, **operands).words)
