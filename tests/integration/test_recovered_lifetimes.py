"""A recovery restores no lease that has expired since, and shortens none that was renewed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import netdevns
from tests.support.attacks import TOP
from tests.support.namespaces import Namespace
from tests.support.records import make_older

from .crashes import killed, records

HOST = """
    link add eth0 index 101 type veth peer name peer0
    link add eth1 index 102 type veth peer name peer1
    link set peer0 up
    link set peer1 up
    link set eth0 up
    link set eth1 up
    addr add 10.0.0.1/24 dev eth0
    addr add 10.1.0.1/24 dev eth1
    addr add 10.1.0.2/24 valid_lft 5000 preferred_lft 4000 dev eth1
    addr add 10.2.0.1/24 valid_lft 50 preferred_lft 40 dev eth1
    addr add 2001:db8:1::1/64 nodad dev eth1
    addr add 2001:db8:1::2/64 nodad valid_lft 5000 preferred_lft 50 dev eth1
    addr add 2001:db8:1::3/64 nodad valid_lft 50 preferred_lft 40 dev eth1
"""
DEVICES = {"eth0": "net0", "eth1": "net1"}
LATER_S = 60
SHIFTED = ("unshare", "--time", "--boottime", "100000", "--fork")  # a command in a time namespace
needs_time_namespaces = pytest.mark.skipif(not os.path.exists("/proc/self/ns/time"), reason="no time namespaces")


@pytest.fixture
def sides(host: Namespace, target: Namespace) -> tuple[Namespace, Namespace]:
    # In a guest that has just booted: no record can be older than the kernel.
    time.sleep(max(0.0, LATER_S + 1 - time.clock_gettime(time.CLOCK_BOOTTIME)))
    host.batch(HOST)
    host.wait_until_quiet()
    return host, target


def make_record_older(directory: str) -> None:
    (name,) = records(directory)
    make_older(Path(directory, "txn", name), LATER_S)


def found(host: Namespace) -> dict[str, tuple[int, int]]:
    """Valid and preferred seconds by address, without the kernel's link-local."""
    listed = (a for link in host.ip_json("addr show dev eth1") for a in link["addr_info"])
    lifetimes = ("valid_life_time", "preferred_life_time")
    return {a["local"]: tuple(a[each] for each in lifetimes) for a in listed if a["scope"] == "global"}  # type: ignore[misc]


def test_lifetimes_go_on(sides: tuple[Namespace, Namespace], directory: str) -> None:
    """P1: of a device that was moved: an expired address is not added, others have the remaining lifetime."""
    host, target = sides
    killed(directory, target, "up_and_replay", 2, devices=DEVICES)
    make_record_older(directory)
    assert {(r.outcome, r.text) for r in netdevns.recover(directory)} == {("undone", "restored")}
    assert records(directory) == []
    now = found(host)
    assert now.keys() == {"10.1.0.1", "10.1.0.2", "2001:db8:1::1", "2001:db8:1::2"}
    assert 4900 < now["10.1.0.2"][0] + LATER_S <= 5000
    assert 3900 < now["10.1.0.2"][1] + LATER_S <= 4000
    assert (4900 < now["2001:db8:1::2"][0] + LATER_S <= 5000, now["2001:db8:1::2"][1]) == (True, 0)


@pytest.mark.parametrize("also_prolonged", ["", "valid_lft 7777 preferred_lft 7777"])
def test_renewed_lease_is_kept(sides: tuple[Namespace, Namespace], directory: str, also_prolonged: str) -> None:
    """P1: of a device that never left: a lease that was renewed after the kill is not cut back."""
    host, target = sides
    killed(directory, target, "move", 2, devices=DEVICES)
    assert target.names() == {"net0"}
    with host.entered():  # before the record's time passes: a DHCP client
        change = "ip addr change 10.1.0.2/24 dev eth1 valid_lft 9000 preferred_lft 8000"
        subprocess.run(change.split(), check=True)
        change = f"ip addr change 10.2.0.1/24 dev eth1 {also_prolonged or 'valid_lft forever preferred_lft forever'}"
        subprocess.run(change.split(), check=True)
    make_record_older(directory)
    assert {(r.outcome, r.text) for r in netdevns.recover(directory)} == {("undone", "restored")}
    now = found(host)
    assert now.keys() == {"10.1.0.1", "10.1.0.2", "10.2.0.1", "2001:db8:1::1", "2001:db8:1::2"}
    assert 8900 < now["10.1.0.2"][0] <= 9000
    assert 7900 < now["10.1.0.2"][1] <= 8000
    assert now["10.2.0.1"][0] > 7700


def test_routes_of_expired_addresses(sides: tuple[Namespace, Namespace], directory: str) -> None:
    """P1: a route with an expired address as src is not missing."""
    host, target = sides
    host.batch(["route add 192.0.2.0/24 dev eth1 src 10.2.0.1", "route add 198.51.100.0/24 dev eth1 src 10.1.0.2"])
    killed(directory, target, "up_and_replay", 2, devices=DEVICES)
    make_record_older(directory)
    assert {(r.outcome, r.text) for r in netdevns.recover(directory)} == {("undone", "restored")}
    routes = host.ip("route show")
    assert ("192.0.2.0/24" in routes, "198.51.100.0/24" in routes) == (False, True)


@needs_time_namespaces
@pytest.mark.parametrize("where", ["move", "recovery"])
def test_time_namespace(sides: tuple[Namespace, Namespace], directory: str, where: str) -> None:
    """P1: its offset is no time that has passed."""
    host, target = sides
    dying = ("sh", "-c", f'{" ".join(SHIFTED)} "$@"; kill -KILL $$', "sh")
    killed(directory, target, "up_and_replay", 2, devices=DEVICES, under=dying if where == "move" else ())
    assert len(records(directory)) == 1
    time.sleep(1.1)
    recover = [sys.executable, "-c", "import netdevns, sys; netdevns.recover(sys.argv[1])", directory]
    subprocess.run([*(SHIFTED if where == "recovery" else ()), *recover], cwd=TOP, check=True)
    assert records(directory) == []
    now = found(host)
    assert 4900 < now["10.1.0.2"][0] < 4999
    assert 0 < now["10.2.0.1"][0] < 89
