"""A user's program, for type checkers only: every public name, with the types that it must have. Never run."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import assert_type

import netdevns
from netdevns import oci


def start(bundle: Path, pid: int) -> tuple[str, ...]:
    """What a runtime does between "create" and "start"."""
    config = json.loads((bundle / "config.json").read_text())
    devices = oci.net_devices(config)
    assert_type(devices, dict[str, str])
    assert_type(oci.network_namespace(config), str | None)
    try:
        moved = netdevns.move(devices, f"pid:{pid}", force=True, timeout_s=5.0)
    except netdevns.CheckFailed as e:
        assert_type(e.report, netdevns.Report)
        return tuple(finding.text for finding in e.report.findings if finding.severity == "error")
    except netdevns.MoveFailed as e:
        assert_type(e.left, tuple[netdevns.Left, ...])
        assert_type(e.rolled_back, bool)
        assert_type(e.device, str | None)
        assert_type(e.location, str | None)
        assert_type(e.extack, str)
        return tuple(f"{left.device} {left.location} {left.name} {left.missing}" for left in e.left)
    assert_type(moved, tuple[netdevns.Moved, ...])
    assert_type(moved[0].addresses, tuple[netdevns.Address, ...])
    assert_type(moved[0].addresses[0].valid_lft_s, int | None)
    return tuple(m.name for m in moved)


def namespaces(path: os.PathLike[str]) -> None:
    """Every way to name a namespace, and every shape of `devices`."""
    with netdevns.NetNS.open(path) as here, netdevns.NetNS.open(here) as again:
        assert_type(here, netdevns.NetNS)
        assert_type(here.fd, int)
        assert_type(here.same(again), bool)
        netdevns.move({"eth1": {"name": "net0"}, "mv0": {}}, here)
        netdevns.move({"eth1": "net0"}, here.fd, source="blue")
        netdevns.move({"eth1": None}, Path("/run/netns/blue"), source=again, preserve=(), journal=None)
        netdevns.move({"eth1": "net0"}, "blue", preserve={"sysctls", "routes"})
        netdevns.move(dict.fromkeys(["eth1", "eth2"], "port%d"), "blue")
    report = netdevns.check({"eth1": ""}, "blue", preserve=["neighbours"])
    assert_type(report.ok, bool)
    assert_type(report.findings[0].device, str | None)
    assert_type(report.findings[0].hint, str | None)
    seen = netdevns.snapshot("eth1", source="blue")
    assert_type(seen, netdevns.Snapshot)
    assert_type(seen.addresses[0].family, str)


async def many(devices: dict[str, str], netns: netdevns.NetNS) -> list[netdevns.Moved]:
    """An asyncio caller."""
    try:
        return list(await asyncio.to_thread(netdevns.move, devices, netns))
    except (netdevns.NetDevError, netdevns.ConfigInvalid) as e:
        raise SystemExit(str(e)) from e
