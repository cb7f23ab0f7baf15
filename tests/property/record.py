"""Records what the parsers' properties mutate: dumps and refusals of the running kernel, as hexadecimal text.

    unshare -n .venv/bin/python -m tests.property.record        # writes tests/property/recorded/*.hex

One message a line. Run in a namespace of its own only: it creates devices.
"""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

from netdevns.engine import Socket
from netdevns.netlink import route, uapi, wire
from tests.property.messages import walk_messages

RECORDED = Path(__file__).parent / "recorded"
FILL = """
link set lo up
link add eth1 index 7 type veth peer name peer index 8
link add ifb7 index 9 type ifb
link add br0 index 10 type bridge
link add mv0 index 11 link eth1 type macvlan mode bridge
link add vx0 index 12 type vxlan id 7 dstport 4789
link set ifb7 master br0
link property add dev eth1 altname uplink altname a-very-long-alternative-name
link set eth1 alias spare address 02:00:00:00:00:01
link set peer up
link set eth1 up
link set br0 up
addr add 10.0.0.1/24 brd + metric 5 label eth1:vip dev eth1
addr add 10.0.0.2/24 dev eth1
addr add 192.0.2.1 peer 192.0.2.2/32 dev eth1
addr add 10.9.9.9/32 scope link valid_lft 4000 preferred_lft 3000 dev eth1
addr add 2001:db8::1/64 nodad dev eth1
addr add 2001:db8::2 peer 2001:db8::3 nodad preferred_lft 0 noprefixroute dev eth1
route add default via 10.0.0.9
route add 192.0.2.0/24 nexthop via 10.0.0.9 weight 3 nexthop via 10.0.0.8
route add 203.0.113.0/24 via 10.0.0.9 mtu 1200 advmss 1000 table 100
route add 2001:db8:77::/48 nexthop via 2001:db8::9 nexthop via 2001:db8::8
nexthop add id 7 via 10.0.0.9 dev eth1
nexthop add id 8 via 10.0.0.8 dev eth1
nexthop add id 9 group 7/8,2
nexthop add id 10 group 7/8 type resilient buckets 8
route add 203.0.114.0/24 nhid 9
"""


def refusals(socket: Socket) -> bytes:
    """With and without a text, with and without an attribute to blame, and acks."""
    link = struct.pack("=BxHiII", 0, 0, 7, 0, 0)
    requests = [
        wire.message(uapi.RTM_GETLINK, 0, struct.pack("=BxHiII", 0, 0, 4711, 0, 0)),
        wire.message(uapi.RTM_NEWLINK, uapi.NLM_F_ACK, link),
        wire.message(uapi.RTM_NEWLINK, uapi.NLM_F_ACK, link + wire.attr_u32(4, 1)),
        wire.message(uapi.RTM_NEWLINK, uapi.NLM_F_ACK, link + wire.attr_name(3, b"a-name-that-is-too-long")),
        wire.message(uapi.RTM_NEWROUTE, uapi.NLM_F_ACK, struct.pack("=8BI", 2, 33, 0, 0, 254, 4, 0, 1, 0)),
        wire.message(uapi.RTM_NEWNEXTHOP, uapi.NLM_F_ACK, bytes(8)),
    ]
    return b"".join(socket.query(request)[1] for request in requests)


def main() -> None:
    subprocess.run(["ip", "-batch", "-"], input=FILL, text=True, check=True)
    with Socket() as socket:
        found = {
            "links": socket.query(wire.link_message(uapi.RTM_GETLINK, uapi.NLM_F_DUMP, 0, wire.attr_u32(29, 8)))[1],
            "addresses": socket.query(wire.message(uapi.RTM_GETADDR, uapi.NLM_F_DUMP, bytes(8)))[1],
            "routes": socket.query(route.DUMP_ROUTES)[1],
            "nexthops": socket.query(route.DUMP_NEXTHOPS)[1],
            "refusals": refusals(socket),
        }
    RECORDED.mkdir(exist_ok=True)
    for name, data in found.items():
        messages, damaged = walk_messages(data)
        assert not damaged
        (RECORDED / f"{name}.hex").write_text("".join(f"{message.hex()}\n" for message in messages))


if __name__ == "__main__":
    main()
