"""Moves of one device with addresses of every kind: what the runtime-spec protects arrives, the rest is reported."""

# ruff: noqa: E501  # a row is a line
# fmt: off

from __future__ import annotations

from .rows import Row, found, row

LOST = found("loss.addresses")
UP = ("ifb eth1", "up eth1")


def _one(id_: str, *addresses: str, lost: int = 0, to: str = "net0", before: tuple[str, ...] = UP, **more: object) -> Row:
    """`addresses` as in `ip addr add ... dev eth1`; `lost`: how many kinds of them are reported."""
    setup = (*before, *(f"addr add {each} dev eth1" for each in addresses))
    return row(f"address {id_}", setup, f"eth1={to}", *[LOST] * lost, **more)


IPV4 = [
    *(_one(f"ipv4 /{length}", f"10.0.0.1/{length}") for length in (32, 31, 30, 29, 24, 20, 16, 8, 1)),
    _one("broadcast computed", "10.0.0.1/24 brd +", smoke=True),
    _one("broadcast all zeros", "10.0.0.1/24 brd -"),
    _one("broadcast odd", "10.0.0.1/24 brd 10.0.0.77"),
    _one("broadcast of a /32", "10.0.0.1/32 brd 10.9.9.9"),
    _one("broadcast limited", "10.0.0.1/24 brd 255.255.255.255"),
    _one("label as the device", "10.0.0.1/24 label eth1"),
    _one("label with a suffix", "10.0.0.1/24 label eth1:vip", smoke=True),
    _one("label with an empty suffix", "10.0.0.1/24 label eth1:"),
    _one("label with two colons", "10.0.0.1/24 label eth1:a:b"),
    _one("label that begins alike", "10.0.0.1/24 label eth1x"),
    _one("label that fits exactly", "10.0.0.1/24 label eth1:abcdefghi", to="abcde"),
    _one("label that does not fit any more", "10.0.0.1/24 label eth1:abcdefghij", to="abcdef"),
    _one("label that fits again", "10.0.0.1/24 label eth1:abcdefghij", to="a"),
    _one("labels of one subnet", "10.0.0.1/24 label eth1:a", "10.0.0.2/24 label eth1:b"),
    _one("label without a rename", "10.0.0.1/24 label eth1:vip", to="eth1"),
    _one("metric", "10.0.0.1/24 metric 77"),
    _one("metric largest", "10.0.0.1/24 metric 4294967295"),
    _one("peer", "10.0.0.1 peer 10.0.1.1", smoke=True),
    _one("peer with a prefix", "10.0.0.1 peer 10.0.1.0/24"),
    _one("peer and broadcast", "10.0.0.1 peer 10.0.1.1/30 brd 10.0.1.3"),
    _one("peer equal", "10.0.0.1 peer 10.0.0.1/24"),
    _one("two peers of one address", "10.0.0.1 peer 10.0.1.1", "10.0.0.1 peer 10.0.2.1"),
    _one("noprefixroute", "10.0.0.1/24 noprefixroute"),
    _one("noprefixroute with a metric", "10.0.0.1/24 noprefixroute metric 5"),
    _one("deprecated", "10.0.0.1/24 preferred_lft 0"),
    _one("valid lifetime", "10.0.0.1/24 valid_lft 5000 preferred_lft 4000", lost=1),
    _one("valid lifetime, deprecated", "10.0.0.1/24 valid_lft 5000 preferred_lft 0", lost=1),
    _one("preferred lifetime only", "10.0.0.1/24 preferred_lft 4000"),
    _one("scope link", "10.0.0.1/24 scope link", lost=1),
    _one("scope host", "10.0.0.1/32 scope host", lost=1),
    _one("scope site", "10.0.0.1/24 scope site", lost=1),
    _one("scope by number", "10.0.0.1/24 scope 100", lost=1),
    _one("all scopes", *(f"10.0.{n}.1/24 scope {scope}" for n, scope in enumerate(("global", "link", "host"))), lost=2),
    _one("global below link", "10.0.0.1/24 scope link", "10.1.0.2/24 scope global", lost=1),
    _one("link-local 169.254", "169.254.1.1/16"),
    _one("loopback net", "127.0.0.2/8 scope global"),
    _one("class E", "240.0.0.1/24"),
    _one("network address", "10.0.0.0/24"),
    _one("one address, two lengths", "10.0.0.1/24", "10.0.0.1/16"),
    _one("secondary", "10.0.0.1/24", "10.0.0.2/24", "10.0.0.3/24"),
    _one("secondary of one lost", "10.0.0.1/24 valid_lft 5000 preferred_lft 4000", "10.0.0.2/24", lost=1, is_modelled=False),
    _one("secondary lost", "10.0.0.1/24", "10.0.0.2/24 valid_lft 5000 preferred_lft 4000", lost=1),
    _one("subnets interleaved", "10.0.0.1/24", "10.1.0.1/24", "10.0.0.2/24", "10.1.0.2/24"),
    _one("descending", *(f"10.0.0.{n}/24" for n in range(9, 0, -1))),
    _one("overlapping subnets", "10.0.0.1/16", "10.0.0.2/24", "10.0.0.3/8"),
    _one("200 of them", *(f"10.0.{n}.1/24" for n in range(200))),
    _one("200 in one subnet", *(f"10.0.0.{n}/16" for n in range(1, 201))),
    _one("autojoin", "10.0.0.1/24", "224.1.2.3/32 autojoin", left=True),
    row("address protocol", (*UP, "proto eth1 10.0.0.1/24 77"), "eth1=net0"),
    _one("as in the target", "10.0.0.1/24", target="ifb other\nup other\naddr add 10.0.0.1/24 dev other"),
    _one("subnet of the target", "10.0.0.1/24", target="ifb other\nup other\naddr add 10.0.0.2/24 dev other"),
]

IPV6 = [
    *(_one(f"ipv6 /{length}", f"2001:db8::1/{length} nodad") for length in (128, 127, 126, 112, 96, 64, 48, 3)),
    _one("ipv6 noprefixroute", "2001:db8::1/64 nodad noprefixroute"),
    _one("ipv6 deprecated", "2001:db8::1/64 nodad preferred_lft 0", smoke=True),
    _one("ipv6 lifetime", "2001:db8::1/64 nodad valid_lft 5000 preferred_lft 4000", lost=1),
    _one("ipv6 peer", "2001:db8::1 peer 2001:db8:1::1 nodad", smoke=True),
    _one("ipv6 peer with a prefix", "2001:db8::1 peer 2001:db8:1::/64 nodad"),
    _one("ipv6 metric", "2001:db8::1/64 nodad metric 99"),
    _one("ipv6 home address", "2001:db8::1/64 nodad home"),
    _one("ipv6 mngtmpaddr", "2001:db8::1/64 nodad mngtmpaddr"),
    _one("ipv6 link-local by hand", "fe80::77/64 nodad", lost=1),
    _one("ipv6 site-local", "fec0::1/64 nodad", lost=1),
    _one("ipv6 unique local", "fd00::1/64 nodad"),
    _one("ipv6 mapped", "::ffff:10.0.0.1/128 nodad"),
    _one("ipv6 autojoin", "ff1e::77/128 nodad autojoin", left=True),
    _one("ipv6 of a subnet router", "2001:db8::/64 nodad"),
    _one("ipv6 order of three", *(f"2001:db8::{n}/64 nodad" for n in (2, 3, 1)), smoke=True),
    _one("ipv6 order of two prefixes", *(f"2001:db8:{n % 2}::{n}/64 nodad" for n in range(1, 7))),
    _one("ipv6 deprecated in the middle", "2001:db8::1/64 nodad", "2001:db8::2/64 nodad preferred_lft 0", "2001:db8::3/64 nodad"),
    _one("ipv6 lost in the middle", "2001:db8::1/64 nodad", "2001:db8::2/64 nodad valid_lft 99 preferred_lft 9", "2001:db8::3/64 nodad", lost=1),
    _one("ipv6 one address, two lengths", "2001:db8::1/64 nodad", "2001:db8:1::1/48 nodad"),
    _one("ipv6 100 of them", *(f"2001:db8::{n:x}/64 nodad" for n in range(1, 101))),
    _one("ipv6 tentative", "2001:db8::1/64", before=("ifb eth1",), is_modelled=False),
    row("address ipv6 after its own DAD", (*UP, "addr add 2001:db8::1/64 dev eth1", "settle"), "eth1=net0"),
    _one("ipv6 optimistic", "2001:db8::1/64 optimistic", is_modelled=False),
    _one("ipv6 while IPv6 is off on the device", "10.0.0.1/24", before=(*UP, "sysctl ipv6/conf/eth1/disable_ipv6 1")),
    _one("ipv6 as in the target", "2001:db8::1/64 nodad", target="ifb other\nup other\naddr add 2001:db8::1/64 dev other nodad"),
    _one("ipv6 of several scopes", "2001:db8::1/64 nodad", "fe80::1/64 nodad", "fec0::1/64 nodad", lost=2),
    _one("link-local of the kernel's", before=("sysctl ipv6/conf/default/addr_gen_mode 0", *UP), is_modelled=False),
    row("address protocol ipv6", (*UP, "proto eth1 2001:db8::1/64 78"), "eth1=net0"),
    _one("tokens", "2001:db8::1/64 nodad", before=("veth eth1", "up eth1", "sysctl ipv6/conf/eth1/accept_ra 2", "token set ::77 dev eth1")),
]

BOTH = [
    _one("both families", "10.0.0.1/24 brd + label eth1:v", "2001:db8::1/64 nodad", "10.0.0.2/24", "2001:db8::2/64 nodad", smoke=True),
    _one("none"),
    _one("ipv4 of a device that is down", "10.0.0.1/24", before=("ifb eth1",)),
    _one("ipv4 secondary of a device that is down", "10.0.0.1/24", "10.0.0.2/24", before=("ifb eth1",)),
    _one("both families, down", "10.0.0.1/24", "2001:db8::1/64 nodad", before=("ifb eth1",)),
    _one("of a veth", "10.0.0.1/24 brd +", "2001:db8::1/64 nodad", before=("veth eth1", "up eth1")),
    _one("of a veth without carrier", "10.0.0.1/24", "2001:db8::1/64 nodad", before=("veth eth1", "link set eth1p down", "up eth1"), is_modelled=False),
    _one("promoted secondaries", "10.0.0.1/24", "10.0.0.2/24", before=("sysctl ipv4/conf/all/promote_secondaries 1", *UP)),
    _one("into promote_secondaries", "10.0.0.1/24", "10.0.0.2/24", target="sysctl ipv4/conf/all/promote_secondaries 1"),
    _one("kept on down", "2001:db8::1/64 nodad", before=("sysctl ipv6/conf/all/keep_addr_on_down 1", *UP)),
    _one("into keep_addr_on_down", "2001:db8::1/64 nodad", target="sysctl ipv6/conf/all/keep_addr_on_down 1"),
    _one("into forwarding", "10.0.0.1/24", "2001:db8::1/64 nodad", target="sysctl ipv4/ip_forward 1\nsysctl ipv6/conf/all/forwarding 1"),
    _one("forwarding here", "10.0.0.1/24", "2001:db8::1/64 nodad", before=("sysctl ipv6/conf/all/forwarding 1", "sysctl ipv4/ip_forward 1", *UP)),
    _one("from another namespace", "10.0.0.1/24 label eth1:vip", "2001:db8::1/64 nodad", is_here=False, smoke=True),
    _one("lost of each kind", "10.0.0.1/24", "10.1.0.1/24 scope link", "10.2.0.1/24 valid_lft 99 preferred_lft 9", "fe80::9/64 nodad",
         "2001:db8::1/64 nodad valid_lft 99 preferred_lft 9", "fec0::1/64 nodad", lost=3),
]

ROWS = [*IPV4, *IPV6, *BOTH]
