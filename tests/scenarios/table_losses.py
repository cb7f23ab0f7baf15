"""What a move drops that the runtime-spec does not protect: reported, and in C an error unless its bit is accepted."""

# ruff: noqa: E501  # a row is a line
# fmt: off

from __future__ import annotations

from .rows import NEIGH_PARAMETERS, NEXTHOPS, Finding, Row, found, row

ETH1 = "veth eth1\nup eth1\naddr add 10.0.0.1/24 dev eth1\naddr add 2001:db8::1/64 dev eth1 nodad"
BOTH = f"{ETH1}\nveth eth2\nup eth2\naddr add 10.1.0.1/24 dev eth2\naddr add 2001:db8:1::1/64 dev eth2 nodad"
BR0 = "bridge br0\nup br0\nveth eth1\nlink set eth1 master br0\nup eth1"
FORCED = found("device.default-route", severity="note")
LOST_ROUTES = found("loss.routes")


def _loses(id_: str, setup: str, *codes: str | Finding, devices: str = "eth1=net0", base: str = ETH1, **more: object) -> Row:
    settle = "\nsettle" * (base == BR0)  # a port changes its state with its carrier
    return row(f"loss {id_}", f"{base}\n{setup}{settle}", devices, *(each if isinstance(each, Finding) else found(each) for each in codes), **more)


ROUTE_ROWS = [
    _loses("route by a gateway", "route add 192.0.2.0/24 via 10.0.0.9", "loss.routes", smoke=True),
    _loses("route by the device", "route add 192.0.2.0/24 dev eth1", "loss.routes"),
    _loses("route with all attributes", "route add 192.0.2.0/24 via 10.0.0.9 metric 7 mtu 1300 advmss 1200 initcwnd 20 src 10.0.0.1 proto 99 tos 0x10", "loss.routes"),
    _loses("two routes", "route add 192.0.2.0/24 via 10.0.0.9\nroute add 198.51.100.0/24 via 10.0.0.8", "loss.routes"),
    _loses("route of another table", "route add 192.0.2.0/24 via 10.0.0.9 table 77", "loss.routes"),
    _loses("default route of another table", "route add default via 10.0.0.9 table 77", "loss.routes"),
    _loses("local route", "route add local 192.0.2.1 dev eth1 table local", "loss.routes"),
    _loses("onlink route", "route add 192.0.2.0/24 via 172.16.0.1 dev eth1 onlink", "loss.routes"),
    _loses("host route", "route add 192.0.2.1 dev eth1 scope link", "loss.routes"),
    _loses("ipv6 route", "route add 2001:db8:77::/48 via 2001:db8::9", "loss.routes"),
    _loses("ipv6 route by the device", "route add 2001:db8:77::/48 dev eth1", "loss.routes"),
    _loses("ipv6 route of another table", "route add 2001:db8:77::/48 via 2001:db8::9 table 77", "loss.routes"),
    _loses("ipv6 default route of another table", "route add ::/0 via 2001:db8::9 table 77", "loss.routes"),
    _loses("ipv6 route with a metric", "route add 2001:db8:77::/48 via 2001:db8::9 metric 3 mtu 1300", "loss.routes"),
    _loses("routes of both families", "route add 192.0.2.0/24 via 10.0.0.9\nroute add 2001:db8:77::/48 via 2001:db8::9", "loss.routes"),
    _loses("src of another device's route", "route add 192.0.2.0/24 via 10.1.0.9 src 10.0.0.1", "loss.routes", base=BOTH),
    _loses("own route and src of another's", "route add 198.51.100.0/24 via 10.0.0.9\nroute add 192.0.2.0/24 via 10.1.0.9 src 10.0.0.1", "loss.routes", "loss.routes", base=BOTH),
    _loses("multipath, one leg", "route add 192.0.2.0/24 nexthop via 10.0.0.9 nexthop via 10.1.0.9", "loss.routes", base=BOTH),
    _loses("multipath, both legs", "route add 192.0.2.0/24 nexthop via 10.0.0.9 nexthop via 10.1.0.9", "loss.routes", found("loss.routes", "eth2"), devices="eth1=a eth2=b", base=BOTH),
    _loses("ipv6 multipath, one leg", "route add 2001:db8:77::/48 nexthop via 2001:db8::9 nexthop via 2001:db8:1::9", "loss.routes", base=BOTH),
    _loses("nexthop object", "nexthop add id 5 via 10.0.0.9 dev eth1", accept=NEXTHOPS),
    _loses("nexthop object and its route", "nexthop add id 5 via 10.0.0.9 dev eth1\nroute add 192.0.2.0/24 nhid 5", "loss.routes", accept=NEXTHOPS),
    _loses("nexthop group", "nexthop add id 5 via 10.0.0.9 dev eth1\nnexthop add id 6 via 10.1.0.9 dev eth2\nnexthop add id 7 group 5/6\nroute add 192.0.2.0/24 nhid 7", "loss.routes", base=BOTH, accept=NEXTHOPS, is_modelled=False),
    _loses("ipv6 nexthop object", "nexthop add id 5 via 2001:db8::9 dev eth1\nroute add 2001:db8:77::/48 nhid 5", "loss.routes", accept=NEXTHOPS),
    _loses("nothing: blackhole route", "route add blackhole 192.0.2.0/24"),
    _loses("nothing: route of another device", "route add 192.0.2.0/24 via 10.1.0.9", base=BOTH),
    _loses("nothing: rule", "rule add from 10.0.0.0/24 table 77"),
]

NEIGHBOUR_ROWS = [
    _loses("neighbour", "neigh add 10.0.0.77 lladdr 02:00:00:00:00:77 nud permanent dev eth1", "loss.neighbours"),
    _loses("neighbours of both families", "neigh add 10.0.0.77 lladdr 02:00:00:00:00:77 nud permanent dev eth1\nneigh add 2001:db8::77 lladdr 02:00:00:00:00:77 nud permanent dev eth1", "loss.neighbours"),
    _loses("proxy neighbour", "neigh add proxy 10.0.0.78 dev eth1", "loss.neighbours"),
    _loses("ipv6 proxy neighbour", "neigh add proxy 2001:db8::78 dev eth1", "loss.neighbours"),
    _loses("noarp neighbour", "neigh add 10.0.0.77 lladdr 02:00:00:00:00:77 nud noarp dev eth1", "loss.neighbours"),
    _loses("noarp neighbour of IPv6", "neigh add 2001:db8::77 lladdr 02:00:00:00:00:77 nud noarp dev eth1", "loss.neighbours"),
    _loses("nothing: noarp neighbour as of a device without ARP", "link set eth1 address 02:00:00:00:00:11\nneigh add 10.0.0.77 lladdr 02:00:00:00:00:11 nud noarp dev eth1"),
    _loses("nothing: noarp neighbour of a group", "neigh add 224.0.0.77 lladdr 01:00:5e:00:00:4d nud noarp dev eth1"),
    _loses("nothing: learned neighbour", "neigh add 10.0.0.77 lladdr 02:00:00:00:00:77 nud stale dev eth1", is_modelled=False),
    _loses("nothing: neighbour of another device", "neigh add 10.1.0.77 lladdr 02:00:00:00:00:77 nud permanent dev eth2", base=BOTH),
    _loses("MAC filter", "fdb add 02:00:00:00:99:99 dev eth1 self", "loss.fdb"),
    _loses("two MAC filters", "fdb add 02:00:00:00:99:99 dev eth1 self\nfdb add 02:00:00:00:99:98 dev eth1 self", "loss.fdb"),
    _loses("neighbour parameters", "ntable change name arp_cache dev eth1 retrans 2000", accept=NEIGH_PARAMETERS),
    _loses("neighbour parameters of IPv6", "ntable change name ndisc_cache dev eth1 queue 50", accept=NEIGH_PARAMETERS),
    _loses("FDB of a vxlan", "vxlan vx0 eth1 9\nup vx0\nfdb append 00:00:00:00:00:00 dev vx0 dst 10.0.0.9", devices="vx0=a"),
]

QDISC_ROWS = [
    _loses("qdisc tbf", "tc qdisc add dev eth1 root tbf rate 1mbit burst 10k latency 50ms", "loss.qdisc", smoke=True),
    _loses("qdisc pfifo", "tc qdisc add dev eth1 root pfifo limit 10", "loss.qdisc"),
    _loses("qdisc htb with a class", "tc qdisc add dev eth1 root handle 1: htb default 1\ntc class add dev eth1 parent 1: classid 1:1 htb rate 1mbit", "loss.qdisc"),
    _loses("ingress", "tc qdisc add dev eth1 ingress", "loss.qdisc"),
    _loses("clsact", "tc qdisc add dev eth1 clsact", "loss.qdisc"),
    _loses("qdisc and ingress", "tc qdisc add dev eth1 root pfifo limit 10\ntc qdisc add dev eth1 ingress", "loss.qdisc", "loss.qdisc"),
    _loses("nothing: qdisc of another device", "tc qdisc add dev eth2 root pfifo limit 10", base=BOTH),
]

MASTER_ROWS = [
    _loses("bridge", "", "loss.master", base=BR0, smoke=True),
    _loses("bridge, with an address", "addr add 10.0.0.1/24 dev eth1", "loss.master", base=BR0),
    _loses("bridge that is down", "link set br0 down", "loss.master", base=BR0),
    _loses("bridge port cost", "link set dev eth1 type bridge_slave cost 77", "loss.master", base=BR0),
    _loses("bridge port settings", "link set dev eth1 type bridge_slave isolated on hairpin on guard on", "loss.master", "loss.port", base=BR0),
    _loses("bridge FDB", "fdb add 02:00:00:00:99:99 dev eth1 master static", "loss.master", "loss.port", base=BR0),
    _loses("two ports of a bridge", "veth eth2\nlink set eth2 master br0\nup eth2", "loss.master", found("loss.master", "eth2"), base=BR0, devices="eth1=a eth2=b"),
    _loses("macvlan of a bridge", "macvlan mv0 br0\nup mv0", base=BR0, devices="mv0=a"),
    _loses("upper of a bridge port", "macvlan mv0 br0\nup mv0", "loss.master", base=BR0),
]

DEFAULT_ROWS = [
    _loses("default route", "route add default via 10.0.0.9", "device.default-route", "loss.routes", smoke=True),
    _loses("default route by the device", "route add default dev eth1", "device.default-route", "loss.routes"),
    _loses("default route with a metric", "route add default via 10.0.0.9 metric 500", "device.default-route", "loss.routes"),
    _loses("ipv6 default route", "route add ::/0 via 2001:db8::9", "device.default-route", "loss.routes"),
    _loses("ipv6 default route by the device", "route add ::/0 dev eth1", "device.default-route", "loss.routes"),
    _loses("default routes of both families", "route add default via 10.0.0.9\nroute add ::/0 via 2001:db8::9", "device.default-route", "loss.routes"),
    _loses("default route, two legs", "route add default nexthop via 10.0.0.9 nexthop via 10.1.0.9", "device.default-route", "loss.routes", base=BOTH),
    _loses("default route by a nexthop object", "nexthop add id 5 via 10.0.0.9 dev eth1\nroute add default nhid 5", "device.default-route", "loss.routes", accept=NEXTHOPS),
    _loses("default route by a group", "nexthop add id 5 via 10.0.0.9 dev eth1\nnexthop add id 6 via 10.1.0.9 dev eth2\nnexthop add id 7 group 5/6\nroute add default nhid 7", "device.default-route", "loss.routes", base=BOTH, accept=NEXTHOPS),
    _loses("nothing: default route of another device", "route add default via 10.1.0.9", base=BOTH),
    _loses("nothing: blackhole default route", "route add blackhole default"),
    _loses("nothing: unreachable default route", "route add unreachable default metric 4000"),
    _loses("default route of a bridge", "addr add 10.9.0.1/24 dev br0\nroute add default via 10.9.0.9", "device.default-route", "loss.master", base=BR0),
    _loses("default route of a macvlan", "macvlan mv0 eth1\nup mv0\naddr add 10.9.0.1/24 dev mv0\nroute add default via 10.9.0.9", "device.default-route", found("loss.upper", other="mv0")),
    _loses("default route of a macvlan in the batch", "macvlan mv0 eth1\nup mv0\naddr add 10.9.0.1/24 dev mv0\nroute add default via 10.9.0.9", found("device.default-route", "mv0"), "device.default-route", found("loss.routes", "mv0"), devices="mv0=a eth1=b"),
    _loses("default route of a macvlan on a bridge", "macvlan mv0 br0\nup mv0\naddr add 10.9.0.1/24 dev mv0\nroute add default via 10.9.0.9", "device.default-route", "loss.master", base=BR0),
    _loses("default route of a vxlan", "vxlan vx0 eth1 9\nup vx0\naddr add 10.9.0.1/24 dev vx0\nroute add default via 10.9.0.9", "device.default-route", found("loss.upper", other="vx0")),
    row("loss default route, accepted", f"{ETH1}\nroute add default via 10.0.0.9", "eth1=net0", FORCED, LOST_ROUTES, force=True, smoke=True),
    row("loss ipv6 default route, accepted", f"{ETH1}\nroute add ::/0 via 2001:db8::9", "eth1=net0", FORCED, LOST_ROUTES, force=True),
    row("loss default route below a bridge, accepted", f"{BR0}\naddr add 10.9.0.1/24 dev br0\nroute add default via 10.9.0.9\nsettle", "eth1=net0", FORCED, found("loss.master"), force=True),
    row("loss default route, accepted, but the name is taken", f"{ETH1}\nroute add default via 10.0.0.9", "eth1=net0", FORCED, found("name.taken", name="net0", other="net0", ifindex=301), LOST_ROUTES, target="ifb net0", force=True),
    row("loss no default route, accepted", ETH1, "eth1=net0", force=True),
]

ROWS = [*ROUTE_ROWS, *NEIGHBOUR_ROWS, *QDISC_ROWS, *MASTER_ROWS, *DEFAULT_ROWS]
