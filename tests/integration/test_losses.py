"""A check reports the state that a move loses."""

from __future__ import annotations

import errno
import subprocess

import pytest

import netdevns
from tests.support.bpf import attach_xdp
from tests.support.namespaces import Namespace
from tests.support.restored import Untouched

from .refusals import furnished


@pytest.fixture
def sides(host: Namespace, target: Namespace) -> tuple[Namespace, Namespace]:
    return furnished(host, target)


@pytest.mark.smoke
def test_losses_are_reported(sides: tuple[Namespace, Namespace]) -> None:
    """P3: losses that the runtime-spec does not protect against are reported before, and are no errors."""
    host, target = sides
    host.batch(["link set eth1 master br0"])
    with Untouched(host, target):
        report = netdevns.check({"eth1": "net0"}, target.fd)
    assert report.ok
    assert {(f.code, f.severity) for f in report.findings} == {("loss.master", "loss"), ("loss.routes", "loss")}
    assert any("br0" in f.text for f in report.findings)


def test_device_that_the_kernel_would_delete(host: Namespace, target: Namespace) -> None:
    """P3: the kernel deletes a vxlan device when its lower moves: both in one batch are refused."""
    host.batch(["link add eth1 type ifb", "link add vx0 type vxlan id 7 dstport 4789 dev eth1", "link set eth1 up"])
    with Untouched(host, target), pytest.raises(netdevns.CheckFailed) as raised:
        netdevns.move({"eth1": "", "vx0": ""}, target.fd)
    assert (raised.value.errno, raised.value.device) == (errno.EBUSY, "vx0")
    assert [f.code for f in raised.value.report.findings if f.severity == "error"] == ["device.ends"]
    netdevns.move({"vx0": ""}, target.fd)
    assert (host.names(), target.names()) == ({"eth1"}, {"vx0"})


def test_routes_of_others_by_its_address_are_counted(host: Namespace, target: Namespace) -> None:
    """P3: the kernel deletes IPv4 routes of the main table whose `src` leaves, of any device.

    (By the same gateway 5.10 deletes that of the other table, too: both share one struct fib_info there.)
    """
    host.batch(
        """
        link add eth1 type ifb
        link add stays type ifb
        link set eth1 up
        link set stays up
        addr add 10.1.0.1/24 dev eth1
        addr add 10.5.0.1/24 dev stays
        route add 203.0.113.0/24 via 10.5.0.9 src 10.1.0.1
        route add 203.0.114.0/24 via 10.5.0.8 src 10.1.0.1 table 100
        route add 203.0.115.0/24 via 10.5.0.9 src 10.5.0.1
        """
    )
    report = netdevns.check({"eth1": ""}, target.fd)
    assert [f.text.split(": ")[-1] for f in report.findings] == ["1 route of other devices, with its address as src"]
    (moved,) = netdevns.move({"eth1": ""}, target.fd, preserve=["routes"])
    assert moved.not_carried == ("1 route of other devices, with its address as src",)
    left = {route["dst"] for table in ("main", "100") for route in host.ip_json(f"route show table {table}")}
    assert {"203.0.114.0/24", "203.0.115.0/24"} <= left
    assert "203.0.113.0/24" not in left


def test_qdiscs_are_reported(host: Namespace, target: Namespace) -> None:
    """P3: configured qdiscs are reported, the kernel's default ones are not."""
    host.batch(["link add eth1 type ifb", "link add eth2 type ifb", "link set eth1 up", "link set eth2 up"])
    with host.entered():
        for words in (
            "dev eth1 root handle 7: htb",
            "dev eth1 parent 7: classid 7:1 htb rate 1mbit",
            "dev eth1 clsact",
        ):
            kind = "class" if "classid" in words else "qdisc"
            subprocess.run(["tc", kind, "add", *words.split()], check=True)
    with Untouched(host, target):
        report = netdevns.check({"eth1": "", "eth2": ""}, target.fd)
    assert [(f.device, f.severity, f.code, f.text.split(": ")[-1]) for f in report.findings] == [
        ("eth1", "loss", "loss.qdisc", "qdisc htb, with its classes and filters"),
        ("eth1", "loss", "loss.qdisc", "qdisc clsact, with its classes and filters"),
    ]
    moved = netdevns.move({"eth1": "", "eth2": ""}, target.fd)
    assert [len(m.not_carried) for m in moved] == [2, 0]
    with target.entered():
        left = subprocess.run(["tc", "qdisc", "show", "dev", "eth1"], check=True, capture_output=True, text=True).stdout
    assert "htb" not in left
    assert "clsact" not in left


def test_xdp_program_is_noted(host: Namespace, target: Namespace) -> None:
    """P3: an XDP program travels with the device, which a note reports."""
    host.batch(["link add eth1 type veth peer name peer"])
    attach_xdp(host, "eth1")
    report = netdevns.check({"eth1": ""}, target.fd)
    assert [(f.severity, f.code) for f in report.findings] == [("note", "device.xdp")]
    (moved,) = netdevns.move({"eth1": ""}, target.fd)
    assert moved.not_carried == ()
    assert "xdp" in target.ip_json("link show dev eth1")[0]
