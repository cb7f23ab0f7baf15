"""`preserve=["sysctls"]`: each setting arrives, or is in `not_carried` with the reason."""

from __future__ import annotations

import socket
import struct
from pathlib import Path

import pytest

import netdevns
from netdevns.batch import preserved
from netdevns.state import sysctls
from netdevns.state.kind import File
from tests.support.namespaces import Namespace

from .preserved import ALL, DEVICES, furnished, losses, not_carried, routes, setting
from .test_settings import UNREPORTED, VALUES, written


@pytest.fixture
def sides(host: Namespace, target: Namespace) -> tuple[Namespace, Namespace]:
    return furnished(host, target)


def test_nothing_without_being_asked(sides: tuple[Namespace, Namespace], monkeypatch: pytest.MonkeyPatch) -> None:
    """By default a device gets the target's settings."""
    host, target = sides
    host.sysctl("ipv4/conf/eth0/rp_filter", 2)
    host.ip("route add 192.0.2.0/24 via 10.0.0.9")
    host.ip("neigh add 10.0.0.9 lladdr 02:00:00:00:00:99 nud permanent dev eth0")
    monkeypatch.setattr(preserved, "Preserver", None)  # not even called
    moved = netdevns.move(DEVICES, target.fd)
    assert setting(target, "ipv4/conf/net0/rp_filter") == setting(target, "ipv4/conf/default/rp_filter") != "2"
    assert routes(target, {"net0": "net0", "net1": "net1"}) == []
    assert target.ip_json("neigh show nud permanent") == []
    default = setting(target, "ipv4/conf/default/rp_filter")
    assert not_carried(moved) == {"eth0": ("1 route", "1 neighbour", f"sysctl ipv4.rp_filter 2 -> {default}")}


@pytest.mark.smoke
def test_every_setting_is_carried(sides: tuple[Namespace, Namespace]) -> None:
    """All changed settings arrive in a target with other defaults, by the files there."""
    _, target = sides
    expected = {}
    for family in ("ipv4", "ipv6"):
        for path in sorted(Path(f"/proc/sys/net/{family}/conf/eth0").iterdir()):
            if path.name in UNREPORTED[family] | {"disable_ipv6"}:
                continue
            was = path.read_text().strip()
            if written(path, VALUES.get(f"{family}.{path.name}", "1" if was in ("0", "-1") else "0")):
                expected[f"{family}/conf/net0/{path.name}"] = path
    text = {name: path.read_text().strip() for name, path in expected.items()}
    target.sysctl("ipv4/conf/default/arp_notify", 0)
    target.sysctl("ipv6/conf/default/accept_ra", 0)
    moved = netdevns.move({"eth0": "net0"}, target.fd, preserve=["sysctls"])
    assert {name: setting(target, name) for name in text} == text
    assert not_carried(moved) == {}
    assert len(text) >= 50


def test_of_each_device_of_a_batch(renumbered: tuple[Namespace, Namespace]) -> None:
    """Each device of a batch keeps its own settings, including the token, and IPv6's MTU, which IFF_UP sets."""
    host, target = renumbered
    for name, value in {"eth0/accept_ra": 0, "eth0/mtu": 1300}.items():
        host.sysctl(f"ipv6/conf/{name}", value)
    host.sysctl("ipv4/conf/eth1/proxy_arp", 1)
    host.sysctl("ipv6/conf/eth1/accept_ra", 2)
    host.ip("token set ::77 dev eth1")
    moved = netdevns.move(DEVICES, target.fd, preserve=ALL)
    names = ("ipv6/conf/{}/accept_ra", "ipv6/conf/{}/mtu", "ipv4/conf/{}/proxy_arp")
    assert [setting(target, name.format("net0")) for name in names] == ["0", "1300", "0"]
    assert [setting(target, name.format("net1")) for name in names] == ["2", "1500", "1"]
    assert target.ip_json("token get dev net1")[0]["token"] == "::77"
    assert not_carried(moved) == {}


def test_ipv6_is_disabled_by_default(sides: tuple[Namespace, Namespace]) -> None:
    """With the device's own disable_ipv6=0 preserved, IPv6 addresses arrive in spite of the target's default."""
    _, target = sides
    target.sysctl("ipv6/conf/default/disable_ipv6", 1)
    for preserve in ((), ("routes",)):
        report = netdevns.check({"eth0": "net0"}, target.fd, preserve=preserve)
        assert [f.code for f in report.findings if f.severity == "error"] == ["ipv6.disabled"]
    assert losses(target, {"eth0": "net0"}, "sysctls") == []
    netdevns.move({"eth0": "net0"}, target.fd, preserve={"sysctls"})
    assert [a.prefixlen for a in target.addresses("net0", family=10, scope=0)] == [64]
    assert setting(target, "ipv6/conf/net0/disable_ipv6") == "0"


def test_ipv6_is_disabled_for_the_device(sides: tuple[Namespace, Namespace]) -> None:
    """With the device's own disable_ipv6=1 preserved, it comes up without a link-local address."""
    host, target = sides
    host.sysctl("ipv6/conf/eth0/disable_ipv6", 1)
    netdevns.move({"eth0": "net0"}, target.fd, preserve=["sysctls"])
    assert setting(target, "ipv6/conf/net0/disable_ipv6") == "1"
    assert target.addresses("net0", family=10) == []


def test_no_link_local_address_is_made(sides: tuple[Namespace, Namespace]) -> None:
    """addr_gen_mode is set before IFF_UP, so that the kernel makes no unwanted link-local address."""
    host, target = sides
    host.ip("link set eth0 addrgenmode none")
    target.sysctl("ipv6/conf/default/addr_gen_mode", 0)
    netdevns.move({"eth0": "net0"}, target.fd, preserve=["sysctls"])
    assert setting(target, "ipv6/conf/net0/addr_gen_mode") == "1"
    assert target.addresses("net0", family=10, scope=253) == []


def test_refused_setting_is_reported_and_the_others_are_set(sides: tuple[Namespace, Namespace]) -> None:
    """An addr_gen_mode with a stable secret is refused, as the secret does not travel; the other settings arrive."""
    host, target = sides
    host.sysctl("ipv6/conf/eth1/stable_secret", "2001:db8::77")
    host.sysctl("ipv4/conf/eth1/rp_filter", 2)
    host.ip("token set ::77 dev eth1")
    moved = netdevns.move({"eth1": "net1"}, target.fd, preserve=["sysctls"])
    assert not_carried(moved) == {"eth1": ("sysctl ipv6.addr_gen_mode: Invalid argument",)}
    assert setting(target, "ipv4/conf/net1/rp_filter") == "2"
    assert target.ip_json("token get dev net1")[0]["token"] == "::77"


def test_file_that_cannot_be_written_is_reported(
    sides: tuple[Namespace, Namespace], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A setting whose file cannot be written is reported with the reason."""
    host, target = sides
    host.sysctl("ipv6/conf/eth0/accept_ra", 2)
    there = {"ipv6.accept_ra": File("/proc/sys/net/ipv6/conf/nothing/accept_ra", "2")}
    monkeypatch.setattr(sysctls.Settings, "files", lambda *_: there)
    moved = netdevns.move({"eth0": "net0"}, target.fd, preserve=["sysctls"])
    assert not_carried(moved) == {"eth0": ("sysctl ipv6.accept_ra: No such file or directory",)}


def test_mc_forwarding_is_left_out(sides: tuple[Namespace, Namespace]) -> None:
    """mc_forwarding, set while a multicast router runs on the device, is neither preserved nor reported."""
    host, target = sides
    with host.entered():
        router = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_IGMP)
    with router:  # linux/mroute.h: MRT_INIT, MRT_ADD_VIF with VIFF_USE_IFINDEX
        router.setsockopt(socket.IPPROTO_IP, 200, 1)
        router.setsockopt(socket.IPPROTO_IP, 202, struct.pack("=HBBIiI", 0, 0x8, 1, 0, 101, 0))
        assert setting(host, "ipv4/conf/eth0/mc_forwarding") == "1"
        moved = netdevns.move({"eth0": "net0"}, target.fd, preserve=["sysctls"])
    assert setting(target, "ipv4/conf/net0/mc_forwarding") == "0"
    assert not_carried(moved) == {}
