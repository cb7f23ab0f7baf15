"""Moves of links: names, templates, ifindexes, settings, kinds; stacks of them."""

# ruff: noqa: E501  # a row is a line
# fmt: off

from __future__ import annotations

from .rows import Row, found, row

A4, A6 = "10.0.0.1/24", "2001:db8::1/64 nodad"


def _set(id_: str, words: str, *more: str, kind: str = "ifb", up: bool = True, **fields: object) -> Row:
    """A device that has been changed by `ip link set eth1 WORDS`."""
    setup = [f"{kind} eth1", *([f"link set eth1 {words}"] if words else []), *(["up eth1"] if up else []), *more]
    return row(f"link {id_}", tuple(setup), "eth1=net0", **fields)


LINKS = [
    *(_set(f"mtu {mtu}", f"mtu {mtu}", f"addr add {A4} dev eth1") for mtu in (68, 576, 1279, 1280, 1500, 9000, 65535)),
    _set("mtu smaller than IPv6 needs, and back", "mtu 1000", "link set eth1 mtu 1400", f"addr add {A6} dev eth1"),
    _set("mtu of a veth", "mtu 1300", f"addr add {A6} dev eth1", kind="veth", smoke=True),
    _set("mac", "address 02:11:22:33:44:55", f"addr add {A6} dev eth1", kind="veth", smoke=True),
    _set("mac of a veth that is down", "address 02:11:22:33:44:55", kind="veth", up=False),
    _set("txqlen 0", "txqueuelen 0"),
    _set("txqlen 1", "txqueuelen 1"),
    _set("txqlen 5000", "txqueuelen 5000"),
    _set("alias", "alias uplink"),
    _set("alias of 255 bytes", f"alias {'x' * 255}"),
    _set("group", "group 77"),
    _set("promisc", "promisc on"),
    _set("allmulticast", "allmulticast on"),
    _set("arp off", "arp off", f"addr add {A4} dev eth1", f"addr add {A6} dev eth1", kind="veth"),
    _set("arp on of an ifb", "arp on", f"addr add {A6} dev eth1"),
    _set("multicast off", "multicast off", f"addr add {A4} dev eth1"),
    _set("multicast on of an ifb", "multicast on", f"addr add {A4} dev eth1"),
    _set("gso_max_size", "gso_max_size 32768", kind="veth"),
    _set("gso_max_segs", "gso_max_segs 100", kind="veth"),
    _set("gro_max_size", "gro_max_size 30000", kind="veth"),
    _set("many settings", "mtu 1400 txqueuelen 77 alias spare group 5 address 02:00:00:00:77:77", f"addr add {A6} dev eth1", kind="veth", smoke=True),
    _set("altname", "", "link property add dev eth1 altname enp1", smoke=True),
    _set("altnames", "", *(f"link property add dev eth1 altname name{n}" for n in range(5))),
    _set("altname of 127 bytes", "", f"link property add dev eth1 altname {'n' * 127}"),
    _set("altname like the old name with more", "", "link property add dev eth1 altname eth1-of-the-host"),
    _set("altnames that begin alike", "", "link property add dev eth1 altname net", "link property add dev eth1 altname net00"),
    row("link queues", "ifb eth1 numtxqueues 4 numrxqueues 2\nup eth1", "eth1=net0"),
    row("link qdisc of the kernel's", "ifb eth1 numtxqueues 1\nup eth1", "eth1=net0"),
    row("link its sysctls are reset", "ifb eth1\nsysctl ipv4/conf/eth1/rp_filter 2\nsysctl ipv6/conf/eth1/accept_ra 0\nup eth1", "eth1=net0"),
    row("link sysctls of IPv4", "ifb eth1\nsysctl ipv4/conf/eth1/proxy_arp 1\nsysctl ipv4/conf/eth1/arp_announce 2\nup eth1", "eth1=net0"),
    row("link sysctls of IPv6", "ifb eth1\nsysctl ipv6/conf/eth1/hop_limit 33\nsysctl ipv6/conf/eth1/mtu 1300\nup eth1", "eth1=net0"),
    row("link without a link-local of its own", "sysctl ipv6/conf/default/addr_gen_mode 0\nifb eth1\nlink set eth1 addrgenmode none\nup eth1\naddr add 2001:db8::1/64 dev eth1 nodad", "eth1=net0", smoke=True),
    row("link addr_gen_mode", "ifb eth1\nlink set eth1 addrgenmode random\nup eth1", "eth1=net0", left=True, is_modelled=False, is_compared=False),
    row("link tap", "tuntap add dev eth1 mode tap\nlink set eth1 address 02:00:00:00:00:99\nup eth1\naddr add 10.0.0.1/24 dev eth1", "eth1=net0", smoke=True),
    row("link tun", "tuntap add dev eth1 mode tun\nup eth1\naddr add 10.0.0.1/24 dev eth1\naddr add 2001:db8::1/64 dev eth1\nsettle", "eth1=net0"),
    row("link tap with its settings", "tuntap add dev eth1 mode tap multi_queue\nlink set eth1 address 02:00:00:00:00:99\nup eth1", "eth1=net0"),
    row("link veth whose peer stays", f"veth eth1\nup eth1\naddr add {A4} dev eth1\naddr add 10.0.1.2/24 dev eth1p", "eth1=net0", smoke=True),
    row("link peer of a veth", f"veth eth1\nup eth1\naddr add {A4} dev eth1p", "eth1p=net0"),
    row("link both ends of a veth", f"veth eth1\nup eth1\naddr add {A4} dev eth1\naddr add {A6} dev eth1p", "eth1=a eth1p=b"),
    row("link both ends of a veth, the other way", f"veth eth1\nup eth1\naddr add {A6} dev eth1\naddr add {A4} dev eth1p", "eth1p=b eth1=a"),
    row("link lower only has the name", "ifb eth1 mtu 1400\nup eth1", "eth1"),
    row("link a macvlan", f"veth low\nup low\nmacvlan eth1 low\nup eth1\naddr add {A4} dev eth1\naddr add {A6} dev eth1", "eth1=net0", smoke=True),
    row("link a macvtap", f"veth low\nup low\nmacvtap eth1 low\nup eth1\naddr add {A4} dev eth1", "eth1=net0"),
    row("link a macvlan of an ifb", f"ifb low\nup low\nmacvlan eth1 low\nup eth1\naddr add {A4} dev eth1", "eth1=net0"),
    row("link a macvlan, down", f"veth low\nup low\nmacvlan eth1 low\naddr add {A4} dev eth1", "eth1=net0"),
    row("link a macvlan of a lower that is down", f"veth low\nmacvlan eth1 low\naddr add {A4} dev eth1", "eth1=net0", is_modelled=False),
    row("link a vxlan", f"veth low\nup low\nvxlan eth1 low 5\nup eth1\naddr add {A4} dev eth1", "eth1=net0"),
    row("link a vxlan without a lower", f"link add eth1 index 150 address 02:00:00:00:00:96 type vxlan id 6 dstport 4790\nup eth1\naddr add {A4} dev eth1", "eth1=net0"),
    row("link with an address in the source for its name", "ifb eth1\nifb net0\nup eth1", "eth1=net1"),
]

TWO = f"ifb eth1\nifb eth2\nup eth1 eth2\naddr add {A4} dev eth1\naddr add 10.1.0.1/24 label eth2:x dev eth2\naddr add {A6} dev eth2"
THREE = f"{TWO}\nveth eth3\nup eth3\naddr add 10.2.0.1/24 dev eth3"


def _named(id_: str, devices: str, setup: str = TWO, **more: object) -> Row:
    return row(f"name {id_}", setup, devices, **more)


NAMES = [
    _named("kept", "eth1 eth2", smoke=True),
    _named("given as it is", "eth1=eth1 eth2=eth2"),
    _named("one kept, one new", "eth1 eth2=net0"),
    _named("exchanged", "eth1=eth2 eth2=eth1", smoke=True),
    _named("in a circle", "eth1=eth2 eth2=eth3 eth3=eth1", THREE),
    _named("in a chain", "eth1=eth2 eth2=eth3 eth3=eth4", THREE),
    _named("in a chain, from its end", "eth3=eth4 eth2=eth3 eth1=eth2", THREE),
    _named("of 15 bytes", "eth1=abcdefghijklmno eth2=b"),
    _named("of one byte", "eth1=a eth2=b"),
    _named("begins with a dash", "eth1=-x"),
    _named("digits", "eth1=0"),
    _named("punctuation", "eth1=a.b-c_d;e$f"),
    _named("quotes", "eth1=a\"b'c"),
    _named("UTF-8", "eth1=n\u00e9t0"),
    _named("bytes that are no UTF-8", "eth1=n\udcfft"),
    _named("a backslash", "eth1=a\\b"),
    row("name with an equals sign", TWO, {"eth1": "a=b"}),
    row("name three dots", TWO, {"eth1": "..."}),
    row("name all with more", TWO, {"eth1": "all0", "eth2": "default1"}),
    _named("of a device of the source", "eth1=stays", f"{TWO}\nifb stays"),
    _named("old name is taken there", "eth1=net0", target="ifb eth1", smoke=True),
    _named("old name is an altname there", "eth1=net0", target="ifb other\nlink property add dev other altname eth1"),
    _named("both old names are taken there", "eth1=a eth2=b", target="ifb eth1\nifb eth2"),
    _named("altname in the source is the name", "eth1=alt", f"{TWO}\nifb stays\nlink property add dev stays altname alt"),
    _named("template", "eth1=net%d eth2=net%d", smoke=True),
    _named("template of its number alone", "eth1=%d"),
    _named("template in the middle", "eth1=a%db"),
    _named("template with one taken", "eth1=net%d", target="ifb net0", smoke=True),
    _named("template with a gap", "eth1=net%d eth2=net%d", target="ifb net0\nifb net2"),
    _named("template with many taken", "eth1=net%d", target="\n".join(f"ifb net{n}" for n in range(12))),
    _named("template with an altname there", "eth1=net%d", target="ifb other\nlink property add dev other altname net0"),
    _named("template of the old name", "eth1=eth%d", is_modelled=False),
    _named("template of the old name, taken there", "eth1=eth%d", target="ifb eth1", is_modelled=False),
    _named("template and name", "eth1=net0 eth2=net%d"),
    _named("name and template", "eth1=net%d eth2=net0", is_modelled=False),
    _named("template and name beside a taken one", "eth1=net1 eth2=net%d", target="ifb net0", is_modelled=False),
    _named("two templates", "eth1=a%d eth2=b%d"),
    _named("template of 15 bytes", "eth1=abcdefghijklm%d"),
    _named("three of one template", "eth1=net%d eth2=net%d eth3=net%d", THREE, is_modelled=False),
    _named("template that meets an own altname", "eth1=net%d", f"{TWO}\nlink property add dev eth1 altname net0", is_modelled=False),
]

IFINDEXES = [
    row("ifindex kept", "ifb eth1 index 500\nup eth1", "eth1=net0"),
    row("ifindex taken", "ifb eth1 index 500\nup eth1\naddr add 2001:db8::1/64 dev eth1 nodad", "eth1=net0", target="ifb x index 500", smoke=True),
    row("ifindex one of two taken", "ifb eth1 index 500\nifb eth2 index 501\nup eth1 eth2", "eth1=a eth2=b", target="ifb x index 500"),
    row("ifindex both taken", "ifb eth1 index 500\nifb eth2 index 501\nup eth1 eth2", "eth1=a eth2=b", target="ifb x index 500\nifb y index 501"),
    row("ifindex taken, the next ones, too", "ifb eth1 index 500\nup eth1", "eth1=a", target="\n".join(f"ifb x{n} index {500 + n}" for n in range(12))),
    row("ifindex of lo's", "ifb eth1 index 2\nup eth1", "eth1=a", target="ifb x index 2"),
    row("ifindex large", "ifb eth1 index 1000000\nup eth1", "eth1=a"),
    row("ifindex taken by the peer", "veth eth1 index 500\nup eth1", "eth1=a eth1p=b", target="ifb x index 101"),
]

LOW = "veth low\nup low\naddr add 10.0.0.1/24 dev low\naddr add 2001:db8::1/64 dev low nodad"
MV0 = f"{LOW}\nmacvlan mv0 low\nup mv0\naddr add 10.1.0.1/24 dev mv0\naddr add 2001:db8:1::1/64 dev mv0 nodad"
MV1 = f"{MV0}\nmacvlan mv1 low\nup mv1\naddr add 10.2.0.1/24 dev mv1\naddr add 2001:db8:2::1/64 dev mv1 nodad"
TAP = MV0.replace("macvlan", "macvtap")
IFB = MV0.replace("veth", "ifb")
VX = f"{LOW}\nvxlan vx0 low 7\nup vx0\naddr add 10.3.0.1/24 dev vx0"




def _upper(device: str = "low", other: str = "mv0") -> object:
    return found("loss.upper", device, other=other)


STACKS = [
    row("stack macvlan and lower", MV0, "mv0=a low=b", smoke=True),
    row("stack lower and macvlan", MV0, "low=b mv0=a"),
    row("stack macvlan alone", MV0, "mv0=a", smoke=True),
    row("stack lower alone", MV0, "low=b", _upper(), smoke=True),
    row("stack lower alone, two on it", MV1, "low=b", _upper(), _upper(other="mv1")),
    row("stack lower and one of two", MV1, "low=b mv0=a", _upper(other="mv1")),
    row("stack one of two and lower", MV1, "mv1=a low=b", _upper()),
    row("stack two macvlans", MV1, "mv0=a mv1=b"),
    row("stack all three", MV1, "mv0=a low=b mv1=c"),
    row("stack all three, lower first", MV1, "low=b mv1=c mv0=a"),
    row("stack macvtap and lower", TAP, "mv0=a low=b"),
    row("stack macvtap alone", TAP, "mv0=a"),
    row("stack lower of a macvtap", TAP, "low=b", _upper()),
    row("stack on an ifb", IFB, "low=b mv0=a"),
    row("stack on an ifb, macvlan alone", IFB, "mv0=a"),
    row("stack on an ifb, lower alone", IFB, "low=b", _upper()),
    row("stack macvlan down, lower up", f"{LOW}\nmacvlan mv0 low\naddr add 10.1.0.1/24 dev mv0", "low=b mv0=a"),
    row("stack names exchanged", MV0, "mv0=low low=mv0"),
    row("stack by one template", MV0, "mv0=net%d low=net%d", is_modelled=False),
    row("stack with renumbering", MV0, "mv0=a low=b", target="ifb x index 101\nifb y index 103"),
    row("stack from another namespace", MV0, "mv0=a low=b", is_here=False),
    row("stack and another device", f"{MV0}\nifb eth1\nup eth1", "mv0=a eth1=c low=b"),
    row("stack with the peer of the lower", MV0, "mv0=a low=b lowp=c"),
    row("stack vxlan over a moving lower", VX, "vx0=a low=b", found("device.ends", "vx0"), smoke=True),
    row("stack vxlan behind a moving lower", VX, "low=b vx0=a", found("device.ends", "vx0")),
    row("stack vxlan alone", VX, "vx0=a"),
    row("stack vxlan ends with its lower", VX, "low=b", _upper(other="vx0")),
    row("stack vxlan and macvlan on one lower", f"{VX}\nmacvlan mv0 low\nup mv0", "mv0=c low=b vx0=a", found("device.ends", "vx0")),
    row("stack macvlan on a vxlan", f"{VX}\nmacvlan mv0 vx0\nup mv0", "mv0=c vx0=a", smoke=False),
    row("stack macvlan on a vxlan that ends", f"{VX}\nmacvlan mv0 vx0\nup mv0", "mv0=c vx0=a low=b", found("device.ends", "mv0"), found("device.ends", "vx0")),
]

ROWS = [*LINKS, *NAMES, *IFINDEXES, *STACKS]
