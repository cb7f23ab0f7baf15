"""Golden bytes: the messages of each request.

The hexadecimal digits under IP were made by iproute2 6.1 on Linux 6.18, not by this package:

    unshare -n bash
    ip link add eth1 index 7 type veth; unshare -n sleep 99 &
    strace -s 0 -e trace=sendmsg,sendto -e write=all COMMAND

with each COMMAND as it is written beside them; only seq and portid (bytes 8 to 16) are 0 here. Those under RECORDED are
what the core itself sent to `fake.World` once: they guard against an unintended change, and prove nothing else. This
prints them again:

    python -m tests.unit.engine.test_golden

iproute2 orders attributes in its own way, and does not know all that we send: where its bytes cannot be equal, the test
compares attribute by attribute.
"""

import struct
import sys

import pytest

from netdevns.netlink import route, uapi, wire
from tests.unit import messages as nl
from tests.unit.fake import World, device

pytestmark = pytest.mark.skipif(sys.byteorder != "little", reason="the bytes were recorded on a little-endian machine")


def unnumbered(request: nl.Request) -> str:
    """A message as hexadecimal digits, seq and portid zeroed."""
    return (request.data[:8] + bytes(8) + request.data[16:]).hex()


def stripped(text: str) -> str:
    return "".join(text.split())


# ---- iproute2's ----------------------------------------------------------------------------------------------------

IP_MOVE = """  # ip link set dev eth1 netns /proc/PID/ns/net name net0       (its descriptor was 4)
    34000000100005000000000000000000 00000000070000000000000000000000
    08001c0004000000 090003006e65743000000000
"""
IP_DOWN = """  # ip link set dev eth1 down
    20000000100005000000000000000000 00000000070000000000000001000000
"""
IP_UP = """  # ip link set dev eth1 up
    20000000100005000000000000000000 00000000070000000100000001000000
"""
IP_GETADDR = """  # ip address show dev eth1           (without the zeros that iproute2 sends behind nlmsg_len)
    18000000160001030000000000000000 0000000007000000
"""
IP_ADDR4 = """  # ip address replace 10.0.0.2/24 label eth1:y broadcast 10.0.0.255 dev eth1 metric 5
    44000000140005050000000000000000 0218000007000000
    080002000a000002 0b000300657468313a790000 080004000a0000ff 0800090005000000 080001000a000002
"""
IP_ADDR6 = """  # ip address replace 2001:db8::1/64 dev eth1 nodad
    40000000140005050000000000000000 0a40020007000000
    1400020020010db8000000000000000000000001 1400010020010db8000000000000000000000001
"""
# ---- recorded: the core's own output, which guards against change only ----------------------------------------------

RECORDED_GETLINK = "2800000012000100000000000000000000000000070000000000000000000000" + "08001d0008000000"
RECORDED_MOVE = """
    3c000000100005000000000000000000 00000000070000000000000000000000
    08001c0047000000 090003006e65743000000000 0800310007000000
"""
RECORDED_MOVE_BACK = """
    3c000000100005000000000000000000 00000000070000000000000000000000
    08001c0046000000 090003006574683100000000 0800310007000000
"""
RECORDED_REPLAY = [
    """  # 10.0.0.2/24, label eth1:y -> net0:y, broadcast 10.0.0.255, metric 5
    60000000140001050000000000000000 0218800007000000
    080001000a000002 080002000a000002 080004000a0000ff 14000600ffffffffffffffff0500000006000000 0800090005000000
    0b0003006e6574303a790000 0800080080000000
    """,
    """  # IFF_UP: ip's, without NLM_F_ACK
    20000000100001000000000000000000 00000000070000000100000001000000
    """,
    """  # 2001:db8::1/64 with IFA_F_NODAD (0x02) and IFA_F_NOPREFIXROUTE (0x200)
    48000000140001050000000000000000 0a40820007000000
    1400010020010db8000000000000000000000001 14000600ffffffffffffffff0500000006000000 0800080082020000
    """,
    """  # ... and again with its own flags; the last message of all: NLM_F_ACK
    48000000140005050000000000000000 0a40800007000000
    1400010020010db8000000000000000000000001 14000600ffffffffffffffff0500000006000000 0800080080000000
    """,
]


def golden(text: str) -> str:
    """Without white space and `#` comments."""
    return stripped("\n".join(line.split("#")[0] for line in text.splitlines()))


IPV4 = nl.address_body(
    "10.0.0.2/24",
    7,
    more={
        nl.IFA_LABEL: b"eth1:y\0",
        nl.IFA_BROADCAST: bytes([10, 0, 0, 255]),
        nl.IFA_RT_PRIORITY: struct.pack("=I", 5),
    },
)
IPV6 = nl.address_body("2001:db8::1/64", 7)


def there_and_back() -> World:
    """A world in which eth1 was moved to net0, verified and restored, with all requests."""
    world = World(IPV4, IPV6)
    with world.sockets() as (source, target):
        dev = device()
        dev.snapshot(source)
        dev.move(source, target, world.TARGET_FD)
        dev.up_and_replay(target)
        dev.verify(target)
        dev.undo(source, target, world.SOURCE_FD, 3)
    return world


@pytest.fixture
def moved():
    return there_and_back()


def test_snapshot_asks_for_link_and_addresses_in_one_send(moved):
    """One datagram: RTM_GETLINK by ifindex, without statistics, then the dump of its addresses."""
    link, addresses = moved.source.datagrams[0]
    assert unnumbered(link) == RECORDED_GETLINK
    assert unnumbered(addresses) == golden(IP_GETADDR)


def test_move_is_one_message(moved):
    """Namespace, name and ifindex in one RTM_NEWLINK that asks for an ack."""
    assert [unnumbered(r) for r in moved.source.datagrams[1]] == [golden(RECORDED_MOVE)]


def test_move_equals_that_of_ip(moved):
    """But for the descriptor and IFLA_NEW_IFINDEX, a move equals the request of `ip link set netns name`."""
    ours, ips = moved.source.datagrams[1][0], nl.Request(bytes.fromhex(golden(IP_MOVE)))
    assert (ours.type, ours.flags, ours.body[:16]) == (ips.type, ips.flags, ips.body[:16])
    assert ours.attrs() == ips.attrs() | {nl.IFLA_NET_NS_FD: b"\x47\0\0\0", nl.IFLA_NEW_IFINDEX: b"\x07\0\0\0"}


def test_replay_is_one_send_with_one_ack(moved):
    """IPv4, IFF_UP, the pair of an IPv6 address, in this order; only the last message asks for an ack."""
    assert [unnumbered(r) for r in moved.target.datagrams[0]] == [golden(text) for text in RECORDED_REPLAY]


@pytest.mark.parametrize(
    ("which", "ip", "extra"),
    [
        pytest.param(0, IP_ADDR4, {nl.IFA_LABEL: b"net0:y\0"}, id="ipv4"),
        pytest.param(2, IP_ADDR6, {}, id="ipv6-nodad"),
    ],
)
def test_replayed_address_equals_that_of_ip(moved, which, ip, extra):
    """An address has the attributes that `ip address replace` gives it, besides flags, lifetimes and the new label.

    A dumped IPv6 address without a peer has no IFA_LOCAL; IFA_ADDRESS alone means the same to the kernel.
    """
    ours, ips = moved.target.datagrams[0][which], nl.Request(bytes.fromhex(golden(ip)))
    kept = {t: v for t, v in ours.attrs().items() if t not in (nl.IFA_FLAGS, nl.IFA_CACHEINFO)}
    expected = ips.attrs() | extra
    if which == 2:
        del expected[nl.IFA_LOCAL]
    assert kept == expected
    assert (ours.type, ours.flags | nl.NLM_F_ACK, ours.body[:2]) == (ips.type, ips.flags, ips.body[:2])


def test_up_equals_that_of_ip(moved):
    """But for the ack, IFF_UP equals the request of `ip link set up`: ifi_change is IFF_UP only."""
    ours = moved.target.datagrams[0][1]
    assert unnumbered(ours)[16:] == golden(IP_UP)[16:]
    assert ours.flags == nl.NLM_F_REQUEST


def test_verify_reads_as_the_snapshot_does(moved):
    """The target is read back with the same bytes."""
    assert [unnumbered(r) for r in moved.target.datagrams[1]] == [unnumbered(r) for r in moved.source.datagrams[0]]


def test_undo_moves_back_under_name_and_ifindex(moved):
    """The way back is the same message: the source's descriptor, the old name, the old ifindex."""
    backs = [r for r in moved.target.trace if r.type == nl.RTM_NEWLINK and nl.IFLA_NET_NS_FD in r.attrs()]
    assert [unnumbered(r) for r in backs] == [golden(RECORDED_MOVE_BACK)]


def test_undo_replays_with_the_old_label(moved):
    """In the source an address has its original label: otherwise the replay equals that in the target."""
    replay = next(d for d in moved.source.datagrams if d[0].type == nl.RTM_NEWADDR)
    back = golden(RECORDED_REPLAY[0]).replace(b"net0:y".hex(), b"eth1:y".hex())
    assert [unnumbered(r) for r in replay] == [back, *(golden(text) for text in RECORDED_REPLAY[1:])]


def test_seq_and_portid_are_set(moved):
    """Every message of a socket has the next seq, and the portid of getsockname."""
    trace = moved.source.trace
    assert [r.seq for r in trace] == list(range(trace[0].seq, trace[0].seq + len(trace)))
    assert {r.portid for r in trace} == {nl.PORTID}


# ---- what wire.py builds -------------------------------------------------------------------------------------------

IFINDEX = 7  # of eth1 in all requests


def link_request(attrs: bytes = b"", *, up: bool | None = None) -> bytes:
    """An RTM_NEWLINK for eth1 that asks for an ack."""
    return wire.link_message(uapi.RTM_NEWLINK, uapi.NLM_F_ACK, IFINDEX, attrs, up=up)


@pytest.mark.parametrize(
    ("built", "expected"),
    [
        pytest.param(link_request(up=False), golden(IP_DOWN), id="down"),
        pytest.param(link_request(up=True), golden(IP_UP), id="up"),
        pytest.param(
            link_request(wire.attr_u32(uapi.IFLA_NET_NS_FD, 4) + wire.attr_name(uapi.IFLA_IFNAME, b"net0")),
            golden(IP_MOVE),
            id="move",
        ),
        pytest.param(
            # struct ifaddrmsg: any family
            wire.message(uapi.RTM_GETADDR, uapi.NLM_F_DUMP, struct.pack("=xxxxI", IFINDEX)),
            golden(IP_GETADDR),
            id="getaddr",
        ),
    ],
)
def test_wire_equals_iproute2(built, expected):
    """`wire` and iproute2 make identical bytes."""
    assert built.hex() == expected


@pytest.mark.parametrize(
    ("built", "expected"),
    [
        pytest.param(wire.get_link(7), RECORDED_GETLINK, id="getlink-by-ifindex"),
        pytest.param(
            wire.link_message(
                uapi.RTM_NEWLINK,
                uapi.NLM_F_ACK,
                7,
                wire.attr_u32(uapi.IFLA_NET_NS_FD, World.TARGET_FD)
                + wire.attr_name(uapi.IFLA_IFNAME, b"net0")
                + wire.attr_u32(uapi.IFLA_NEW_IFINDEX, 7),
            ),
            golden(RECORDED_MOVE),
            id="move",
        ),
        pytest.param(wire.link_message(uapi.RTM_NEWLINK, 0, 7, up=True), golden(RECORDED_REPLAY[1]), id="up"),
    ],
)
def test_wire_equals_the_core(built, expected):
    """`wire` and the core's builder make the same bytes of the same message."""
    assert built.hex() == expected


@pytest.mark.parametrize(
    ("built", "expected"),
    [
        # from struct import pack; pack("=IHHII16xHHIHH8s", 52, 18, 1, 0, 0, 8, 29, 8, 9, 3, b"eth1").hex()
        pytest.param(
            wire.get_link(name=b"eth1"),
            "340000001200010000000000000000000000000000000000000000000000000008001d0008000000090003006574683100000000",
            id="name-ifla-ifname",
        ),
        pytest.param(
            wire.get_link(name=b"a-name-of-16-byt"),
            "4000000012000100000000000000000000000000000000000000000000000000"
            "08001d0008000000150035" + "00" + b"a-name-of-16-byt".hex() + "00000000",
            id="long-name-ifla-alt-ifname",
        ),
        # `strace -e write=all ip route show table all`, `ip nexthop show`: nlmsg_type and flags; the bodies are zeros.
        pytest.param(route.DUMP_ROUTES, "1c0000001a0001030000000000000000" + "00" * 12, id="dump-routes"),
        pytest.param(route.DUMP_NEXTHOPS, "180000006a0001030000000000000000" + "00" * 8, id="dump-nexthops"),
    ],
)
def test_wire_requests(built, expected):
    """Look-ups by name (more than 15 bytes: as an alternative name) and unfiltered dumps."""
    assert built.hex() == expected


def test_down_batch_acks_the_last_only():
    """Three links down in one send: the messages of `ip link set down`, with NLM_F_ACK on the last."""
    batch = b"".join(
        wire.link_message(uapi.RTM_NEWLINK, uapi.NLM_F_ACK if i == 9 else 0, i, up=False) for i in (7, 8, 9)
    )
    sent = nl.requests(batch)
    assert [r.ifindex for r in sent] == [7, 8, 9]
    assert [r.flags for r in sent] == [nl.NLM_F_REQUEST, nl.NLM_F_REQUEST, nl.NLM_F_REQUEST | nl.NLM_F_ACK]
    assert unnumbered(sent[0])[16:] == golden(IP_DOWN)[16:]


if __name__ == "__main__":
    world = there_and_back()
    for where, namespace in (("source", world.source), ("target", world.target)):
        for number, datagram in enumerate(namespace.datagrams):
            for request in datagram:
                print(where, number, unnumbered(request))
