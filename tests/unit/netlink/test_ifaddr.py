"""Decoding real dumps: a kernel's bytes against iproute2's output for the same device.

The bytes are the bodies of RTM_NEWADDR messages of Linux 6.18, dumped through `engine.Socket.query`; the expected
fields are from `ip -j address show dev eth1` (iproute2 6.1) at the same moment. The device was made so:

    unshare -n bash
    ip link add eth1 index 7 type veth peer name vethp; ip link set vethp up
    ip link set eth1 address 02:00:00:00:00:01 up
    ip address add 10.0.0.1/24 broadcast + metric 5 dev eth1 label eth1:vip
    ip address add 192.0.2.1 peer 192.0.2.2/32 dev eth1
    ip address add 10.9.9.9/32 scope link dev eth1 valid_lft 4000 preferred_lft 3000
    ip address add 2001:db8::2/128 peer 2001:db8::3/128 dev eth1 nodad preferred_lft 0 noprefixroute
    python -c 'from netdevns.netlink import wire; from netdevns.engine import Socket
    dump = Socket().query(wire.message(22, 0x300, bytes([0, 0, 0, 0, 7, 0, 0, 0])))[1]
    print(*(bytes(m.body).hex() for m in wire.messages(dump)), sep="\\n")'
"""

import ipaddress
import sys

import pytest

from netdevns.netlink import ifaddr, uapi
from tests.unit import messages as nl

BODIES = {
    "limited": "022000fd07000000080001000a090909080002000a0909090900030065746831000000000800080000000000"
    "14000600b80b0000a00f0000f3270300f3270300",
    "labelled": "0218800007000000080001000a000001080002000a000001080004000a0000ff0d000300657468313a7669700000000008"
    "000800800000000800090005000000" + "14000600fffffffffffffffff3270300f3270300",
    "peer": "022080000700000008000100c000020208000200c000020109000300657468310000000008000800800000001400"
    "0600fffffffffffffffff3270300f3270300",
    "ipv6-peer": "0a80a200070000001400020020010db80000000000000000000000021400010020010db8000000000000000000000003"
    "1400060000000000fffffffff4270300f427030008000800a2020000",
    "link-local": "0a40c0fd0700000014000100fe80000000000000000000fffe00000114000600fffffffffffffffff2270300f2270300"
    "08000800c000000005000b0003000000",
}
EXPECTED = {
    "limited": {
        "family": "inet", "address": "10.9.9.9", "prefixlen": 32, "scope": "link", "label": "eth1", "flags": 0,
        "valid_lft_s": 4000, "preferred_lft_s": 3000,
    },
    "labelled": {
        "family": "inet", "address": "10.0.0.1", "prefixlen": 24, "metric": 5, "broadcast": "10.0.0.255",
        "scope": "global", "label": "eth1:vip", "flags": 0x80,
    },
    "peer": {
        "family": "inet", "address": "192.0.2.1", "peer": "192.0.2.2", "prefixlen": 32, "scope": "global",
        "label": "eth1", "flags": 0x80,
    },
    "ipv6-peer": {
        "family": "inet6", "address": "2001:db8::2", "peer": "2001:db8::3", "prefixlen": 128, "scope": "global",
        "flags": 0x2A2, "preferred_lft_s": 0,
    },
    "link-local": {
        "family": "inet6", "address": "fe80::ff:fe00:1", "prefixlen": 64, "scope": "link", "flags": 0xC0, "protocol": 3,
    },
}  # fmt: skip
NOTHING = dict.fromkeys(("peer", "broadcast", "label", "metric", "protocol", "valid_lft_s", "preferred_lft_s"))

pytestmark = pytest.mark.skipif(sys.byteorder != "little", reason="the bytes were recorded on a little-endian machine")


def dumped(*which: str) -> bytes:
    return b"".join(nl.padded(nl.message(nl.RTM_NEWADDR, bytes.fromhex(BODIES[w]), flags=2)) for w in which)


@pytest.mark.parametrize("which", BODIES)
def test_recorded_address(which):
    """Every field of a recorded address equals that of `ip -j`."""
    (found,) = ifaddr.addresses(dumped(which))
    assert found == NOTHING | EXPECTED[which]


def test_order_is_the_dumps():
    """Addresses come in the order of the dump."""
    assert [a["address"] for a in ifaddr.addresses(dumped(*BODIES))] == [EXPECTED[which]["address"] for which in BODIES]


def test_protected_are_permanent_and_global():
    """The runtime-spec protects three of these five."""
    found = [a["address"] for a in ifaddr.addresses(dumped(*BODIES), protected=True)]
    assert found == ["10.0.0.1", "192.0.2.1", "2001:db8::2"]


def test_one_device_of_a_dump():
    """`ifindex` drops other devices' addresses, which a kernel without strict checking dumps."""
    others = nl.padded(nl.message(nl.RTM_NEWADDR, nl.address_body("10.7.7.7/24", 8)))
    found = ifaddr.addresses(others + dumped("labelled") + others, ifindex=7)
    assert [a["address"] for a in found] == ["10.0.0.1"]


@pytest.mark.parametrize("scope", range(0, 256, 15))
@pytest.mark.parametrize("flags", [0, 0x80, 0x280, 0x7F])
def test_is_protected(flags, scope):
    """IFA_F_PERMANENT and RT_SCOPE_UNIVERSE, with any other flags (config-linux.md, "Network Devices")."""
    assert ifaddr.is_protected(flags, scope) == (flags & 0x80 != 0 and scope == 0)


@pytest.mark.parametrize(
    ("family", "data", "text"),
    [
        pytest.param(2, bytes([10, 0, 0, 1]), "10.0.0.1", id="ipv4"),
        pytest.param(10, bytes(15) + b"\1", "::1", id="ipv6"),
        pytest.param(10, bytes(4), "00000000", id="ipv6-of-four-bytes"),
        pytest.param(2, b"", "", id="empty"),
        pytest.param(45, b"\x01\x02", "0102", id="another-family"),
    ],
)
def test_address_text(family, data, text):
    """An address in its family's notation, hexadecimal digits where there is none."""
    assert ifaddr.address_text(family, data) == text


def test_unknown_family_and_scope_are_numbers():
    """Families and scopes without a name are numbers."""
    body = bytes([45, 8, 0x80, 77]) + bytes(4) + nl.attr(2, b"\x09")
    (found,) = ifaddr.addresses(nl.message(nl.RTM_NEWADDR, body))
    assert (found["family"], found["scope"], found["address"]) == ("45", "77", "09")


def test_text_of_an_ipv6_address():
    """As ipaddress writes it, with any groups zero; that module is not imported, as devices may have moved by then."""
    for mask in range(256):
        data = b"".join((0x0DB8 + group if mask >> group & 1 else 0).to_bytes(2, "big") for group in range(8))
        assert ifaddr.address_text(10, data) == str(ipaddress.IPv6Address(data))


def test_removals_take_secondary_addresses_first():
    """Of the IPv4 addresses that were there before, the last of the dump first: none is deleted with its primary."""
    bodies = [nl.address_body(f"10.0.0.{n}/24", 7) for n in (1, 2, 3)] + [nl.address_body("2001:db8::1/64", 7)]
    now = [nl.padded(nl.message(nl.RTM_NEWADDR, body)) for body in bodies]
    requests = nl.requests(b"".join(ifaddr.removals(b"".join(now), b"".join([now[0], now[2], now[3]]))))
    assert [(request.type, request.body) for request in requests] == [
        (uapi.RTM_DELADDR, bodies[2]),
        (uapi.RTM_DELADDR, bodies[0]),
    ]
