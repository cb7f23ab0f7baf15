"""Which kinds of devices the running kernel can create. Tried, once a session, in a namespace of its own."""

from __future__ import annotations

import functools
import subprocess

import pytest

from .namespaces import Namespace

# The devices that a test makes by `DEV`; `LOWER` is a veth that is there before. All of these the kernel moves.
# No tunnels of kinds that put a device into every namespace once their module is loaded (gre0, sit0, ...).
MOVABLE = {
    "veth": "link add DEV type veth peer name DEVp",
    "ifb": "link add DEV type ifb",
    "dummy": "link add DEV type dummy",
    "macvlan": "link add link LOWER name DEV type macvlan mode bridge",
    "macvtap": "link add link LOWER name DEV type macvtap mode bridge",
    "ipvlan": "link add link LOWER name DEV type ipvlan mode l2",
    "ipvtap": "link add link LOWER name DEV type ipvtap mode l2",
    "vlan": "link add link LOWER name DEV type vlan id 7",
    "vxlan": "link add DEV type vxlan id 7 dstport 4789",
    "geneve": "link add DEV type geneve id 7 remote 192.0.2.1",
    "wireguard": "link add DEV type wireguard",
    "tap": "tuntap add dev DEV mode tap",
    "tun": "tuntap add dev DEV mode tun",
}
# Devices whose packets leave from the namespace that they were made in: `type`, and whether all kernels report it.
TUNNELS = [
    pytest.param("vxlan id 7 remote 192.0.2.9 dstport 4789", True, id="vxlan", marks=pytest.mark.kinds("vxlan")),
    pytest.param("geneve id 7 remote 192.0.2.9", False, id="geneve", marks=pytest.mark.kinds("geneve")),
]
# These the kernel never moves.
IMMOVABLE = {
    "bridge": "link add DEV type bridge",
    "bond": "link add DEV type bond",
    "team": "link add DEV type team",
    "vrf": "link add DEV type vrf table 7",
}
# What some tests need besides.
OTHERS = {"macsec": "link add link LOWERp name DEV type macsec"}
# With NETDEVNS_REQUIRE=kinds the lack of one of these is a failure.
REQUIRED = {"dummy", "vlan", "bond", "macvlan", "veth", "ifb"}


def create(kind: str, device: str, lower: str = "lower") -> str:
    """The line for `ip -batch` that makes a device of that kind."""
    return (MOVABLE | IMMOVABLE | OTHERS)[kind].replace("DEV", device).replace("LOWER", lower)


@functools.cache
def offered() -> frozenset[str]:
    """The kinds that this kernel can create; none where no fresh namespace is allowed."""
    every = MOVABLE | IMMOVABLE | OTHERS
    try:
        scratch = Namespace.create("scratch")
    except OSError:
        return frozenset()
    with scratch, scratch.entered():
        # A device has either macvlans or ipvlans on it.
        lowers = {kind: "other" for kind in every if kind.startswith("ipv")}
        lines = [f"link add {name} type veth peer name {name}p" for name in ("lower", "other")]
        lines += [create(kind, f"k-{kind}", lowers.get(kind, "lower")) for kind in every]
        subprocess.run(["ip", "-force", "-batch", "-"], input="\n".join(lines), text=True, capture_output=True)
        there = scratch.names()
    return frozenset(kind for kind in every if f"k-{kind}" in there)


def missing(names: tuple[str, ...]) -> set[str]:
    return set(names) - offered()


@functools.cache
def honours_new_ifindex() -> bool:
    """Whether a move may ask for an ifindex (IFLA_NEW_IFINDEX, from 5.13 on). Tried."""
    with Namespace.create("scratch") as scratch, Namespace.create("other") as other:
        scratch.ip("link add probe type ifb")
        scratch.give("probe", other, ifindex=4711)
        return other.links()["probe"].ifindex == 4711
