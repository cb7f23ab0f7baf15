"""A host with four devices that have all that a move can lose, and a target: what the attacks are on."""

from __future__ import annotations

import subprocess
import sys

from tests.support import scene
from tests.support.namespaces import named
from tests.support.processes import PATIENT

# Addresses of both families, a label, routes, a neighbour, an alternative name, sysctls; a bridge port; a device on top
# of another one that moves with it. All numbers are given, so that scenes are equal.
FURNISH = """
    link add eth1 index 4711 address 02:00:00:00:00:01 mtu 1400 type ifb
    link add br0 index 4720 address 02:00:00:00:00:20 type bridge
    link add port1 index 4712 address 02:00:00:00:00:02 type veth peer name port1p index 4722 address 02:00:00:00:00:22
    link add low index 4713 address 02:00:00:00:00:03 type veth peer name lowp index 4723 address 02:00:00:00:00:23
    link add mv0 index 4714 address 02:00:00:00:00:04 link low type macvlan mode bridge
    link set port1 master br0
    link set br0 up
    link set port1p up
    link set lowp up
    link set eth1 alias uplink up
    link set port1 up
    link set low up
    link set mv0 up
    link property add dev eth1 altname enp1
    addr add 10.0.0.1/24 brd + label eth1:vip dev eth1
    addr add 10.0.0.2/24 dev eth1
    addr add 10.1.0.1/32 peer 10.1.0.2 metric 7 dev eth1
    addr add 10.2.0.1/24 scope link dev eth1
    addr add 2001:db8::1/64 nodad dev eth1
    addr add 2001:db8::2/64 nodad noprefixroute dev eth1
    addr add fe80::1/64 nodad dev eth1
    addr add 10.3.0.1/24 dev low
    addr add 2001:db8:3::1/64 nodad dev low
    addr add 10.4.0.1/24 dev mv0
    addr add 2001:db8:4::1/64 nodad dev mv0
    route add 192.0.2.0/24 via 10.0.0.9
    route add 198.51.100.0/24 nexthop via 10.0.0.9 dev eth1 nexthop via 10.3.0.9 dev low
    route add 2001:db8:77::/48 via 2001:db8:4::9
    neigh add 10.0.0.77 lladdr 02:00:00:00:00:77 nud permanent dev eth1
    neigh add 2001:db8:4::77 lladdr 02:00:00:00:00:78 nud permanent dev mv0
    token set ::77 dev low
"""
SYSCTLS = {"ipv4/conf/eth1/proxy_arp": 1, "ipv6/conf/low/accept_ra": 2}
JOB = ("eth1=net0", "port1", "low=eth%d", "mv0=net1")
DEVICES = {"eth1": "net0", "port1": "port1", "low": "eth0", "mv0": "net1"}
TARGET = "netdevns-fault"


class Scene(scene.Scene):
    """Host and target, the latter under its name in /run/netns, where a recovery looks."""

    def _make(self) -> None:
        self.target = self.namespace("target")
        self.stack.enter_context(named(self.target, TARGET))
        self.host.batch(FURNISH)
        for name, value in SYSCTLS.items():
            self.host.sysctl(name, value)

    def command(self, engine: str, *words: str, under: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        """Starts `netdevns WORD ...`."""
        return self.start([sys.executable, "-m", "netdevns", *words], under=under, NETDEVNS_ENGINE=engine)

    def recovery(self, engine: str) -> subprocess.Popen[str]:
        """Starts `netdevns recover --json`, patiently: port1 may get its carrier late."""
        return self.start([*PATIENT, "recover", "--json"], NETDEVNS_ENGINE=engine)
