"""`show`: what a device is, what a move of it alone would meet. The judges are `ip -j` and raw dumps."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import struct
from typing import Any

import pytest

import netdevns
from netdevns.cli import show
from netdevns.cli.main import main
from netdevns.engine import Socket, lookups
from netdevns.reports import Device
from netdevns.state import sysctls
from tests.support.namespaces import Namespace, drop_capabilities, in_child
from tests.support.restored import Untouched
from tests.support.terminal import letters, on_terminal

IFLA_NETNS_IMMUTABLE = 67
LONG = "2001:db8:1111:2222:3333:4444:5555:6666"
HOST = [
    "link add eth1 type ifb",
    "link set eth1 mtu 1400 up",
    "link property add dev eth1 altname enp3s0 altname a-very-long-alternative-name",
    "addr add 192.0.2.10/24 brd + label eth1:x dev eth1",
    f"addr add {LONG}/64 nodad dev eth1",
    "addr add 192.0.2.77/24 valid_lft 3600 preferred_lft 1800 dev eth1",
    "route add 203.0.113.0/24 via 192.0.2.1",
    "route add 198.51.100.0/24 via 192.0.2.1",
    "link add wan type veth peer name wanp",
    "link set wan up",
    "link set wanp up",
    "addr add 10.0.0.2/24 dev wan",
    "route add default via 10.0.0.1",
    "link add mv0 link wan type macvlan mode bridge",
    "addr add 10.7.0.1 peer 10.7.0.2/32 dev mv0",
    "link add br0 type bridge",
    "link add port type ifb",
    "link set port master br0",
]


@pytest.fixture
def devices(host: Namespace) -> Namespace:
    host.batch(HOST)
    return host


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    assert main(["show", *arguments, "--json"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert set(json.loads(out)) == {"devices", "loans"}
    found: list[dict[str, Any]] = json.loads(out)["devices"]
    return found


@pytest.mark.smoke
def test_devices_are_what_ip_shows(devices: Namespace, capsys: pytest.CaptureFixture[str]) -> None:
    """DESIGN 4.2: {"devices": [...]}: all of them, in the kernel's order, each as `ip -j -d` has it."""
    found = shown(capsys)
    expected = [
        {
            "name": link["ifname"],
            "ifindex": link["ifindex"],
            "kind": link.get("linkinfo", {}).get("info_kind"),
            "up": "UP" in link["flags"],
            "carrier": "LOWER_UP" in link["flags"] if "UP" in link["flags"] else None,
            "mtu": link["mtu"],
            "mac": link["address"],
            "altnames": link.get("altnames", []),
        }
        for link in devices.ip_json("link show")
    ]
    assert [{key: device[key] for key in expected[0]} for device in found] == expected
    fields = {field.name for field in dataclasses.fields(Device)}
    assert all(set(device) == fields for device in found)


def test_addresses_are_what_ip_shows(devices: Namespace, capsys: pytest.CaptureFixture[str]) -> None:
    """DESIGN 4.2: the field names are those of `Address`; each device has its own, in the kernel's order."""
    fields = {field.name for field in dataclasses.fields(netdevns.Address)}
    for device in shown(capsys):
        assert all(set(address) == fields for address in device["addresses"])
        (raw,) = devices.ip_json(f"addr show dev {device['name']}")
        expected = [(a["family"], a["local"], a["prefixlen"], a.get("address")) for a in raw["addr_info"]]
        got = [(a["family"], a["address"], a["prefixlen"], a["peer"]) for a in device["addresses"]]
        assert got == expected


@pytest.mark.usefixtures("devices")
def test_what_a_move_would_meet(capsys: pytest.CaptureFixture[str]) -> None:
    """P3: the findings of the checks about the device itself, with their codes, and the losses in short words."""
    found = {device["name"]: device for device in shown(capsys)}
    codes = {name: {f["code"] for f in device["findings"]} for name, device in found.items()}
    assert codes == {
        "lo": {"device.immutable"},
        "eth1": {"loss.routes", "loss.addresses"},
        "wan": {"device.default-route", "loss.upper", "loss.routes"},
        "wanp": set(),
        "mv0": set(),
        "br0": {"device.immutable"},
        "port": {"loss.master"},
    }
    assert {name for name, device in found.items() if device["movable"] is False} == {"lo", "br0"}
    assert {name for name, device in found.items() if device["default_route"]} == {"wan"}
    lost = {name: device["not_carried"] for name, device in found.items() if device["not_carried"]}
    assert lost == {
        "eth1": ["2 routes", "1 address with a lifetime"],
        "wan": ["mv0 on top of it, which stays behind", "1 route"],
        "port": ["master br0"],
    }


@pytest.mark.usefixtures("devices")
def test_it_says_what_check_and_move_say(target: Namespace) -> None:
    """No twin: the same words as the findings of a check, and as what a move does not carry."""
    (device,) = show.devices(["eth1"])
    report = netdevns.check({"eth1": "net0"}, target.fd)
    assert device.findings == report.findings
    (moved,) = netdevns.move({"eth1": "net0"}, target.fd)
    assert device.not_carried == moved.not_carried


@pytest.mark.usefixtures("devices")
def test_chosen_devices(capsys: pytest.CaptureFixture[str]) -> None:
    """In the order that they were asked for, each once."""
    assert [device["name"] for device in shown(capsys, "wan", "eth1", "wan")] == ["wan", "eth1"]


@pytest.mark.parametrize(
    ("name", "line", "following"),
    [
        ("nope", "nope: no such device in this network namespace", "show"),
        ("a/b", "a/b: no such device in this network namespace", "show"),
        ("enp3s0", "enp3s0: this is an alternative name of eth1; name the device itself: eth1", "show eth1"),
        (
            "a-very-long-alternative-name",
            "a-very-long-alternative-name: this is an alternative name of eth1; name the device itself: eth1",
            "show eth1",
        ),
        ("x" * 20, f"{'x' * 20}: no device can have that name: it has 20 bytes, at most 15 are allowed", None),
        ("a\x1b[31m", r"a\x1b[31m: no such device in this network namespace", "show"),
    ],
    ids=["unknown", "slash", "altname", "long altname", "too long", "escape"],
)
@pytest.mark.usefixtures("devices")
def test_what_is_no_device(name: str, line: str, following: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    """DESIGN 4.2: exit code 2, one line, and the command that shows what is meant; with --json a document, too."""
    assert main(["show", name]) == 2
    out, err = capsys.readouterr()
    first, *others = err.splitlines()
    assert (out, first) == ("", f"netdevns: {line}")
    assert [re.sub(r"next: .* show", "next: show", other) for other in others] == (
        [f"netdevns: next: {following}"] if following else []
    )
    assert main(["show", name, "--json"]) == 2
    document = json.loads(capsys.readouterr().out)
    assert (document["devices"], document["error"]["errno"]) == ([], 19)


@pytest.mark.usefixtures("host")
def test_another_namespace(target: Namespace, capsys: pytest.CaptureFixture[str]) -> None:
    """DESIGN 4.2: `--netns` says where to look; an altname's advice looks there, too."""
    target.batch(HOST)
    assert {device["name"] for device in shown(capsys, "--netns", f"fd:{target.fd}")} == target.names() | {"lo"}
    assert main(["show", "enp3s0", "--netns", target.path]) == 2
    assert capsys.readouterr().err.splitlines()[1].endswith(f" show eth1 --netns {target.path}")


@pytest.mark.usefixtures("host")
def test_a_namespace_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    """DESIGN 4.2: exit code 2."""
    assert main(["show", "--netns", "no-such-netns"]) == 2
    line, following = capsys.readouterr().err.splitlines()
    assert "no-such-netns" in line
    assert following == "netdevns: next: ip netns list"


def test_without_privileges(devices: Namespace) -> None:
    """Reading needs none. Where only a refused move would show what is movable (before 6.15), it is unknown."""
    says_it = IFLA_NETNS_IMMUTABLE in devices.links()["eth1"].attrs

    def child() -> list[Device]:
        drop_capabilities(*range(40))
        return list(show.devices())

    privileged = [timeless(device) for device in show.devices()]
    found = [timeless(device) for device in in_child(child)]
    assert [device.movable for device in privileged] == [d.name not in ("lo", "br0") for d in privileged]
    if says_it:
        assert found == privileged
    else:
        assert {device.movable for device in found} == {None}
        assert [device.addresses for device in found] == [device.addresses for device in privileged]


def timeless(device: Device) -> Device:
    """Without the seconds that a lifetime has left."""
    addresses = [
        each if each.valid_lft_s is None else dataclasses.replace(each, valid_lft_s=0, preferred_lft_s=0)
        for each in device.addresses
    ]
    return dataclasses.replace(device, addresses=tuple(addresses))


def test_nothing_changes(devices: Namespace) -> None:
    """No notification, no difference."""
    with Untouched(devices):
        show.devices()


def test_as_many_requests_for_many_devices_as_for_few(host: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """One dump of each kind; of links one more where the first leaves out the tokens (5.10).

    (Before 6.15 the privileged ask, 32 devices at a time, what is movable: not counted.)
    """
    sent: list[int] = []
    real = Socket.query

    def query(self: Socket, request: bytes, *size: int) -> tuple[int, bytes]:
        sent.append(struct.unpack_from("=H", request, 4)[0])
        return real(self, request, *size)

    monkeypatch.setattr(Socket, "query", query)
    counts = []
    for numbers in (range(2), range(2, 80)):
        host.batch(
            [f"link add eth{n} type ifb" for n in numbers] + [f"addr add 10.0.{n}.1/24 dev eth{n}" for n in numbers]
        )
        sent.clear()
        assert len(show.devices()) == numbers.stop + 1
        counts.append([type_ for type_ in sent if type_ != 16])
    with Socket() as socket:
        tokens = [18] if sysctls.is_token_omitted(lookups.links(socket)) else []
    # RTM_GETLINK, GETNEIGHTBL, GETQDISC, GETNEXTHOP, GETROUTE, GETNEIGH, GETADDR
    assert counts == [[18, *tokens, 66, 66, 38, 106, 26, 30, 30, 30, 22]] * 2


# ---- for people ----


@pytest.mark.here
@pytest.mark.usefixtures("devices")
@pytest.mark.parametrize("columns", [60, 80, 120])
def test_on_a_terminal(columns: int) -> None:
    """It fits, the answer stands beside the name, IPv6 addresses are whole, and the next command is suggested."""
    text = letters(on_terminal(columns, "-m", "netdevns", "show", "eth1", "wan", "br0")[1])
    *lines, following = text.splitlines()
    assert max(map(len, lines)) <= columns
    assert re.fullmatch(r"next   .* check eth1=NAME wan=NAME --to NETNS", following)  # in one piece, to be copied
    answers = re.findall(
        r"^(?:DEVICE +)?(eth1|wan|br0)\s+(?:MOVE +)?(yes, but loses|only with --force|no)\b", text, re.M
    )
    assert answers == [("eth1", "yes, but loses"), ("wan", "only with --force"), ("br0", "no")]
    assert re.search(rf"\b{LONG}/64(\s|$)", text)
    assert "192.0.2.77/24*" in text


@pytest.mark.usefixtures("devices")
def test_on_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    """No colour, no wrapping: the answer and the first address stand in the device's line."""
    assert main(["show", "eth1", "mv0"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["DEVICE", "MOVE", "ADDRESSES", "LINK"]
    assert re.fullmatch(r"eth1    yes, but loses +192\.0\.2\.10/24 +ifb, up, ifindex \d+", lines[1])
    assert re.fullmatch(r" +2 routes +192\.0\.2\.77/24\* +mtu 1400, [0-9a-f:]{17}", lines[2])
    assert [line.split()[-1] for line in lines[3:6]] == ["enp3s0", "a-very-long-alternative-name", lines[5].split()[-1]]
    assert any(
        re.match(r"mv0     yes +10\.7\.0\.1 peer 10\.7\.0\.2/32 +macvlan, down, ifindex", line) for line in lines
    )
    assert "\x1b" not in "".join(lines)
    assert not any(line.startswith("next") for line in lines)


@pytest.mark.here
def test_hostile_names(host: Namespace, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Names are bytes: what a terminal would obey is shown, not sent; markup is text."""
    names = ["a\x1b[31mb", "[red]x", "b\udcff", "c\x07"]
    host.batch([f"link add {name} type ifb" for name in names[:2]])
    with host.entered():
        for name in names[2:]:
            os.spawnlp(os.P_WAIT, "ip", "ip", "link", "add", os.fsencode(name), "type", "ifb")
    for columns in (100, 30):
        text = letters(on_terminal(columns, "-m", "netdevns", "show")[1])
        for shown_name in (r"a\x1b[31mb", "[red]x", r"b\xff", r"c\x07"):
            assert shown_name in text
        assert all(line.isprintable() for line in text.splitlines())
    capfdbinary.readouterr()
    assert main(["show", "--json"]) == 0
    found = json.loads(capfdbinary.readouterr().out)["devices"]
    assert {device["name"] for device in found} == {"lo", *names}
