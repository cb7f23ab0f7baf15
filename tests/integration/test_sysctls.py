"""Sysctls that a move resets to the target's defaults are reported in `not_carried`, unless they are preserved."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import netdevns
from netdevns import api
from netdevns.cli.main import main
from netdevns.state import sysctls
from tests.support.namespaces import Namespace

BOTH = {"eth1": "net0", "eth2": "net1"}


@pytest.fixture
def sides(host: Namespace, target: Namespace) -> tuple[Namespace, Namespace]:
    """Two devices whose settings equal the target's defaults."""
    for number in (1, 2):
        host.ip(f"link add eth{number} type veth peer name peer{number}")
        host.ip(f"link set peer{number} up")
        host.ip(f"link set eth{number} up")
        host.ip(f"addr add 10.0.{number}.1/24 dev eth{number}")
        host.ip(f"addr add 2001:db8:{number}::1/64 nodad dev eth{number}")
    return host, target


def reset(sides: tuple[Namespace, Namespace], *preserve: str) -> dict[str, list[str]]:
    """Moves the devices; returns the sysctls in `not_carried` of each."""
    moved = netdevns.move(BOTH, sides[1].fd, preserve=preserve)
    return {m.host_name: [words for words in m.not_carried if "sysctl" in words] for m in moved}


def value(side: Namespace, name: str) -> str:
    with side.entered():
        return Path(f"/proc/sys/net/{name}").read_text().strip()


def test_nothing_is_reported_where_nothing_changes(sides: tuple[Namespace, Namespace]) -> None:
    """Equal settings arrive equal, and nothing is decoded."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sysctls.Settings, "differences", None)
        assert reset(sides) == {"eth1": [], "eth2": []}


@pytest.mark.smoke
def test_up_to_three_are_named(sides: tuple[Namespace, Namespace]) -> None:
    """Sysctls of both families, with both values as in their files: here in seconds."""
    host, target = sides
    host.sysctl("ipv4/conf/eth1/rp_filter", 2)
    host.sysctl("ipv6/conf/eth1/accept_ra", 2)
    host.sysctl("ipv6/conf/eth1/router_solicitation_interval", 9)
    assert reset(sides) == {
        "eth1": [
            f"sysctl ipv4.rp_filter 2 -> {value(target, 'ipv4/conf/net0/rp_filter')}",
            f"sysctl ipv6.accept_ra 2 -> {value(target, 'ipv6/conf/net0/accept_ra')}",
            "sysctl ipv6.router_solicitation_interval 9 -> "
            + value(target, "ipv6/conf/net0/router_solicitation_interval"),
        ],
        "eth2": [],
    }


def test_more_than_three_are_counted(sides: tuple[Namespace, Namespace]) -> None:
    """More than LISTED are reported by number."""
    for name in ("rp_filter", "proxy_arp", "log_martians", "accept_local"):
        sides[0].sysctl(f"ipv4/conf/eth2/{name}", 1 + (name == "rp_filter"))
    sides[0].sysctl("ipv6/conf/eth2/accept_ra", 2)
    assert reset(sides) == {"eth1": [], "eth2": ["5 sysctls"]}


def test_other_default_in_the_target(sides: tuple[Namespace, Namespace]) -> None:
    """A device with default settings in the source changes if the target's defaults differ."""
    sides[1].sysctl("ipv4/conf/default/accept_redirects", 0)
    assert value(sides[0], "ipv4/conf/eth1/accept_redirects") == "1"
    words = ["sysctl ipv4.accept_redirects 1 -> 0"]
    assert reset(sides) == {"eth1": words, "eth2": words}


def test_negative_value(sides: tuple[Namespace, Namespace]) -> None:
    """As sysctl(8) prints it, also for IPv4, whose array is read as unsigned."""
    sides[0].sysctl("ipv4/conf/eth1/medium_id", -1)
    assert reset(sides)["eth1"] == ["sysctl ipv4.medium_id -1 -> 0"]


def test_mtu_of_ipv6(sides: tuple[Namespace, Namespace]) -> None:
    """IFF_UP sets it to the device's MTU: one that was lower is reported, one that follows another MTU is not."""
    sides[0].ip("link set eth2 mtu 1400")
    sides[0].sysctl("ipv6/conf/eth1/mtu", 1300)
    assert reset(sides) == {"eth1": ["sysctl ipv6.mtu 1300 -> 1500"], "eth2": []}


def test_token(sides: tuple[Namespace, Namespace]) -> None:
    """The move clears the IPv6 token."""
    sides[0].ip("token set ::77 dev eth1")
    assert reset(sides)["eth1"] == ["sysctl ipv6.token ::77 -> ::"]


def test_token_that_no_link_reports(sides: tuple[Namespace, Namespace], monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux 5.10 reports it only with statistics: the check has asked for it, and a move leaves none."""
    read = sysctls.Settings.__init__

    def without(self: sysctls.Settings, link: memoryview | bytes) -> None:
        read(self, link)
        self.token = None

    sides[0].ip("token set ::77 dev eth1")
    monkeypatch.setattr(sysctls.Settings, "__init__", without)
    monkeypatch.setattr(sysctls, "is_token_omitted", lambda _: True)
    assert reset(sides)["eth1"] == ["sysctl ipv6.token ::77 -> ::"]


def test_preserved_setting_is_not_reported(sides: tuple[Namespace, Namespace]) -> None:
    """All are preserved, so nothing is lost."""
    sides[0].sysctl("ipv4/conf/eth1/rp_filter", 2)
    sides[0].ip("token set ::77 dev eth1")
    assert reset(sides, "sysctls") == {"eth1": [], "eth2": []}
    assert value(sides[1], "ipv4/conf/net0/rp_filter") == "2"


def test_refused_preserved_setting_has_its_reason(sides: tuple[Namespace, Namespace]) -> None:
    """It is reported once, with the text of `preserve`."""
    sides[0].sysctl("ipv6/conf/eth1/stable_secret", "2001:db8::77")
    assert reset(sides, "sysctls")["eth1"] == ["sysctl ipv6.addr_gen_mode: Invalid argument"]


def test_preserve_of_something_else(sides: tuple[Namespace, Namespace]) -> None:
    """With preserve=["routes"], sysctls are still reported."""
    sides[0].sysctl("ipv6/conf/eth1/accept_ra", 2)
    assert [words[:21] for words in reset(sides, "routes")["eth1"]] == ["sysctl ipv6.accept_ra"]


def test_command_reports_them(sides: tuple[Namespace, Namespace], capsys: pytest.CaptureFixture[str]) -> None:
    """In the line for people, and in the JSON document."""
    sides[0].sysctl("ipv6/conf/eth1/accept_ra", 2)
    assert main(["move", "eth1=net0", "--to", f"fd:{sides[1].fd}"]) == 0
    now = value(sides[1], "ipv6/conf/net0/accept_ra")
    assert f"not carried: sysctl ipv6.accept_ra 2 -> {now}\n" in capsys.readouterr().out
    sides[0].sysctl("ipv6/conf/eth2/accept_ra", 2)
    assert main(["move", "eth2=net1", "--to", f"fd:{sides[1].fd}", "--json"]) == 0
    (moved,) = json.loads(capsys.readouterr().out)["moved"]
    assert moved["not_carried"] == [f"sysctl ipv6.accept_ra 2 -> {now}"]


def test_hook_does_not_compare(sides: tuple[Namespace, Namespace], monkeypatch: pytest.MonkeyPatch) -> None:
    """The hook returns no results, so it does not compare."""
    monkeypatch.setattr(sysctls, "resets", None)
    assert api.transact(BOTH, sides[1].fd) == ()
