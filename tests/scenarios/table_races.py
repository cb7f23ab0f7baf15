"""Moves that another process disturbs: what it takes makes the batch fail, what it adds arrives; nothing is lost."""

# ruff: noqa: E501  # a row is a line
# fmt: off

from __future__ import annotations

import errno

from .rows import Race, Row, row

# Three devices: while the first one moves, which takes the kernel some 17 ms, there is time for what the last one meets.
BASE = """
    ifb eth1
    ifb eth2
    ifb eth3
    up eth1 eth2 eth3
    addr add 10.1.0.1/24 brd + label eth1:x dev eth1
    addr add 2001:db8:1::1/64 dev eth1 nodad
    addr add 10.2.0.1/24 dev eth2
    addr add 10.3.0.1/24 dev eth3
    addr add 10.4.0.2/24 scope link dev eth3
    addr add 2001:db8:3::1/64 dev eth3 nodad
    addr add fe80::3/64 dev eth3 nodad
"""
THREE = "eth1=a eth2=b eth3=c"
FIVE = f"{BASE}\nifb eth4\nifb eth5\nup eth4 eth5"
# While the others move there is time for more.
LATER = {"source": FIVE, "devices": "eth1=a eth2=b eth4=d eth5=e eth3=c"}
ARRIVED = LATER | {"at": ("target", "NEWLINK", 1)}


def _race(id_: str, where: str, *lines: str, devices: str = THREE, source: str = BASE, at: tuple[str, str, int] = ("source", "NEWLINK", 1), **more: object) -> Row:
    return row(f"race {id_}", source, devices, race=Race(*at, where, lines), **more)


TAKEN = {"errno": errno.EEXIST, "step": "move", "device": "eth3", "changes": ("target links",)}

ROWS = [
    _race("name gets taken", "target", "ifb c index 901", **TAKEN, smoke=True),
    _race("name gets taken by an altname", "target", "link property add dev x altname c", target="ifb x", **TAKEN),
    _race("old and new name get taken", "target", "ifb eth3 index 901", "ifb c index 902", **TAKEN),
    _race("old name gets taken", "target", "ifb eth3 index 901", changes=("target links",), is_modelled=False),
    _race("kept name gets taken", "target", "ifb eth3 index 901", devices="eth1=a eth2=b eth3", **TAKEN),
    _race("altname gets taken", "target", "ifb alt3 index 901", source="\n".join([BASE, *(f"link property add dev eth{n} altname alt{n}" for n in (1, 2, 3))]), **TAKEN),
    _race("template gets one taken", "target", "ifb t0 index 901", devices="eth1=a eth2=b eth3=t%d", changes=("target links",), is_modelled=False),
    _race("ifindex gets taken", "target", "ifb x index 103", **(TAKEN | {"errno": errno.EBUSY})),
    _race("ipv6 gets disabled", "target", "sysctl ipv6/conf/default/disable_ipv6 1", errno=errno.EACCES, step="replay", device="eth1", changes=("target links",)),
    _race("device disappears", "source", "link del eth3", **LATER, at=("source", "DELLINK", 1), errno=errno.ENODEV, step="move", device="eth3", left=True),
    _race("device gets another name", "source", "link set eth3 name other", is_modelled=False, only=()),
    _race("late ipv4 address", "source", "addr add 10.3.7.1/24 dev eth3", arrives=("10.3.7.1",), smoke=True),
    _race("late ipv6 address", "source", "addr add 2001:db8:7::1/64 dev eth3 nodad", arrives=("2001:db8:7::1",)),
    _race("late address with a label", "source", "addr add 10.3.7.1/24 label eth3:y dev eth3", arrives=("10.3.7.1",)),
    _race("late addresses of two devices", "source", "addr add 10.3.7.1/24 dev eth3", "addr add 10.5.7.1/24 dev eth5", **LATER, arrives=("10.5.7.1", "10.3.7.1")),
    _race("six late addresses", "source", *(f"addr add 10.3.{n}.1/24 dev eth3" for n in range(7, 13)), **LATER, arrives=tuple(f"10.3.{n}.1" for n in range(7, 13))),
    _race("late secondary", "source", "addr add 10.3.0.9/24 dev eth3", arrives=("10.3.0.9",)),
    _race("late address is deleted again", "source", "addr add 10.3.7.1/24 dev eth3", "addr del 10.3.7.1/24 dev eth3"),
    _race("address is deleted", "source", "addr del 10.3.0.1/24 dev eth3", is_modelled=False, is_compared=False),
    _race("address is changed", "source", "addr change 10.3.0.1/24 dev eth3 preferred_lft 0", is_modelled=False),
    _race("late address, and the MTU changes", "source", "addr add 10.3.7.1/24 dev eth3", "link set dev eth3 mtu 1400", **LATER, step="verify", device="eth3", arrives=("10.3.7.1",), changes=("source addresses", "source routes")),
    _race("late ipv6 address, and the MTU changes", "source", "addr add 2001:db8:7::1/64 nodad dev eth3", "link set dev eth3 mtu 1400", **LATER, step="verify", device="eth3", arrives=("2001:db8:7::1",), changes=("source addresses", "source routes")),
    _race("late altname", "source", "link property add dev eth3 altname late", is_modelled=False),
    _race("device is set up again", "source", "link set eth3 up"),
    _race("mtu changes here", "source", "link set eth3 mtu 1400", step="verify", device="eth3"),
    _race("another device comes", "source", "ifb new index 901", changes=("source links",)),
    _race("another device of the target comes", "target", "ifb new index 901", changes=("target links",)),
    _race("macvlan in a batch: name gets taken", "target", "ifb c index 901", source="veth low\nup low\naddr add 2001:db8:9::1/64 dev low nodad\nmacvlan mv0 low\nup mv0\naddr add 10.9.0.1/24 dev mv0\naddr add 2001:db8:8::1/64 dev mv0 nodad\nifb eth3\nup eth3", devices="mv0=a low=b eth3=c", **TAKEN),
    _race("bridge ports: name gets taken", "target", "ifb c index 901", source="bridge br0\nup br0\nveth eth1\nveth eth2\nveth eth3\nlink set eth1 master br0\nlink set eth3 master br0\nup eth1 eth2 eth3\naddr add 10.1.0.1/24 dev eth1\nsettle", accept=2, **TAKEN),
    _race("routes: name gets taken", "target", "ifb c index 901", source=f"{BASE}\nroute add 192.0.2.0/24 via 10.1.0.9\nroute add 2001:db8:77::/48 via 2001:db8:3::9", accept=4, **TAKEN),
    _race("settings: name gets taken", "target", "ifb c index 901", source=f"{BASE}\nlink set eth1 mtu 1400 alias one group 5\nlink set eth2 txqueuelen 77\nlink property add dev eth1 altname enp1\nsysctl ipv4/conf/eth1/rp_filter 2\nsysctl ipv6/conf/eth3/hop_limit 33", **TAKEN),
    _race("arrived device gets another MTU there", "target", "link set dev a mtu 1300", "ifb c index 901", **ARRIVED, **TAKEN),
    _race("arrived device gets an altname there", "target", "link property add dev a altname theirs", "ifb c index 901", **ARRIVED, **TAKEN),
    _race("arrived device gets an address there", "target", "addr add 10.77.0.1/24 dev a", "ifb c index 901", **ARRIVED, **TAKEN),
    _race("arrived device gets another alias there", "target", "link set dev a alias theirs", "ifb c index 901", **ARRIVED, **TAKEN),
    _race("arrived device gets another name there", "target", "link set dev a name theirs", "ifb c index 901", **ARRIVED, **TAKEN),
    _race("autojoin: name gets taken", "target", "ifb c index 901", source=f"{BASE}\naddr add 224.1.2.3/32 autojoin dev eth3", left=True, is_compared=False, **TAKEN),
    _race("ipv6 autojoin: name gets taken", "target", "ifb c index 901", source=f"{BASE}\naddr add ff1e::77/128 autojoin dev eth3", left=True, is_compared=False, **TAKEN),
]
