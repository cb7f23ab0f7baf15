"""Describes devices, and what a move of each would lose, with one dump of each kind for all devices."""

from __future__ import annotations

import os
from collections.abc import Sequence

from .. import state
from ..batch import checks, losses
from ..batch.plan import Asked, Plan
from ..engine import EngineError, Socket, lookups
from ..engine.batch_device import BatchDevice
from ..errors import CheckFailed, NetDevError
from ..netlink import ifaddr, uapi, wire
from ..reports import Device, Finding
from ..results import Address
from ..system.netns import CURRENT, NetNS

DUMP_BYTES = 1 << 20  # of some 700 devices


def devices(
    wanted: Sequence[str] = (), netns: NetNS | str | os.PathLike[str] | int | None = None
) -> tuple[Device, ...]:
    """Describes devices. Changes nothing, and needs no privilege for the calling thread's own namespace.

    Args:
        wanted: Names, in the order of the result; empty: all devices, in the kernel's order.
        netns: The namespace, as `NetNS.open` takes it; the calling thread's by default.

    Raises:
        CheckFailed: The namespace cannot be opened or entered, or there is no such device; `.report` has all findings.
        NetDevError: A request to the kernel failed.
    """
    with Plan([], False) as plan:
        checks.open_netns(plan, "source", CURRENT if netns is None else netns)
        checks.enter_source(plan, netns)
        socket = plan.source_socket
        if socket is None:
            raise _refused(plan)
        try:
            return _devices(plan, socket, wanted)
        except EngineError as e:
            found = plan.request_failed(plan.source, e)
            raise NetDevError(found.text, errno=found.errno, step="exchange") from None


def _devices(plan: Plan, socket: Socket, wanted: Sequence[str]) -> tuple[Device, ...]:
    plan.links = {link.ifindex: link for link in lookups.links(socket, DUMP_BYTES)}
    plan.devices = every = [_device(os.fsdecode(link.name), link) for link in plan.links.values()]
    if wanted:
        plan.devices = _chosen(plan, wanted)
    if plan.errors:
        raise _refused(plan)
    # Each device is judged as if it moved alone: devices on top of it would stay behind.
    plan.uppers = [device for device in every if device.link.lower]
    plan.state = state.read(socket, plan.links, plan.links.keys())
    losses.ask_kinds(plan)
    dumped = lookups.dump(socket, ifaddr.dump_addresses(), DUMP_BYTES)
    unknown = checks.immovable(plan, socket)
    checks.default_routes(plan)
    losses.find(plan)
    for device in plan.devices:
        losses.find_addresses(plan, device, dumped)

    addresses: dict[int, list[Address]] = {}
    for ifindex, fields in ifaddr.indexed_addresses(dumped):
        addresses.setdefault(ifindex, []).append(Address(**fields))  # type: ignore[arg-type]
    findings: dict[str | None, list[Finding]] = {}
    for finding in plan.report().findings:
        findings.setdefault(finding.device, []).append(finding)
    return tuple(
        _shown(device, addresses.get(device.ifindex, []), findings.get(device.host_name, []), unknown)
        for device in plan.devices
    )


def _refused(plan: Plan) -> CheckFailed:
    first = plan.errors[0]
    return CheckFailed(first.text, report=plan.report(), errno=first.errno, device=first.device, step="check")


def _device(host_name: str, link: wire.Link) -> BatchDevice:
    return BatchDevice(host_name, link.name, link.name, link)


def _chosen(plan: Plan, wanted: Sequence[str]) -> list[BatchDevice]:
    """The devices with these names, each once; adds a finding for each unknown name."""
    by_name: dict[bytes, wire.Link] = {}
    for link in plan.links.values():
        by_name.update(dict.fromkeys((link.name, *link.altnames), link))
    found = []
    for asked in (Asked(name, None) for name in dict.fromkeys(wanted)):
        there = by_name.get(asked.ifname)
        if checks.is_device(plan, asked, there) and there is not None:
            found.append(_device(asked.host_name, there))
    return found


def _shown(device: BatchDevice, addresses: list[Address], findings: list[Finding], unknown: set[int]) -> Device:
    link = device.link
    codes = {finding.code for finding in findings}
    up = bool(link.flags & uapi.IFF_UP)
    return Device(
        name=os.fsdecode(link.name),
        ifindex=link.ifindex,
        kind=link.kind.decode("utf-8", "replace") or None,
        up=up,
        carrier=bool(link.flags & uapi.IFF_LOWER_UP) if up else None,
        mtu=link.mtu,
        mac=link.mac.hex(":") or None,
        altnames=tuple(map(os.fsdecode, link.altnames)),
        addresses=tuple(addresses),
        movable=None if link.ifindex in unknown else "device.immutable" not in codes,
        default_route="device.default-route" in codes,
        not_carried=tuple(device.lost),
        findings=tuple(findings),
    )
