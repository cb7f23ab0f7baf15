"""The comparison of a device in the target with its snapshot."""

import errno
import struct

import pytest

from tests.unit import messages as nl
from tests.unit.engine.steps import IPV4, IPV6, SECOND, SECOND6, U32, failure, local
from tests.unit.fake import World


def link_change(type_: int, value: bytes):
    return lambda flags, attributes, addresses: (flags, attributes | {type_: value}, addresses)


def link_drop(type_: int):
    return lambda flags, attributes, addresses: (
        flags,
        {t: v for t, v in attributes.items() if t != type_},
        addresses,
    )


def address_change(type_: int, value: bytes | None):
    """The first address with another attribute; None: without it."""

    def tamper(flags, attributes, addresses):
        found = nl.attrs(addresses[0][8:])
        found.pop(type_, None)
        if value is not None:
            found[type_] = value
        changed = addresses[0][:8] + b"".join(nl.attr(t, v) for t, v in found.items())
        return flags, attributes, [changed, *addresses[1:]]

    return tamper


def rewritten(change):
    return lambda flags, attributes, addresses: (flags, attributes, change(addresses))


RICH = nl.address_body(
    "10.0.0.1/24",
    7,
    more={3: b"eth1:x\0", 4: bytes([10, 0, 0, 255]), nl.IFA_RT_PRIORITY: U32(5), nl.IFA_PROTO: b"\3"},
)
LIMITED = nl.address_body("10.0.0.1/24", 7, lifetimes=(100, 200))


@pytest.mark.parametrize(
    ("addresses", "tamper", "says"),
    [
        pytest.param([], link_change(nl.IFLA_IFNAME, b"net1\0"), "it has another name", id="name"),
        pytest.param([], link_change(nl.IFLA_IFNAME, b"net\0"), "it has another name", id="name-shorter"),
        pytest.param([], link_drop(nl.IFLA_IFNAME), "it has another name", id="name-missing"),
        pytest.param([], lambda f, a, x: (f & ~1, a, x), "it is not up", id="down"),
        pytest.param([], link_change(nl.IFLA_MTU, U32(1500)), "the MTU changed", id="mtu"),
        pytest.param([], link_drop(nl.IFLA_MTU), "the MTU changed", id="mtu-missing"),
        pytest.param([], link_change(nl.IFLA_ADDRESS, bytes(6)), "the MAC address changed", id="mac"),
        pytest.param([], link_change(nl.IFLA_ADDRESS, World.MAC + b"\0"), "the MAC address changed", id="mac-longer"),
        pytest.param(
            [], link_change(nl.IFLA_BROADCAST, bytes(6)), "the link's broadcast address changed", id="link-brd"
        ),
        pytest.param([], link_change(nl.IFLA_TXQLEN, U32(5)), "the transmit queue length changed", id="txqlen"),
        pytest.param([], link_change(nl.IFLA_IFALIAS, b"uplink\0"), "the alias changed", id="alias"),
        pytest.param([], link_change(nl.IFLA_GROUP, U32(5)), "the group changed", id="group"),
        pytest.param(
            [], link_change(nl.IFLA_NUM_TX_QUEUES, U32(5)), "the number of transmit queues changed", id="tx-queues"
        ),
        pytest.param(
            [], link_change(nl.IFLA_NUM_RX_QUEUES, U32(5)), "the number of receive queues changed", id="rx-queues"
        ),
        pytest.param([], link_change(nl.IFLA_GSO_MAX_SIZE, U32(5)), "gso_max_size changed", id="gso-max-size"),
        pytest.param([IPV4], rewritten(lambda _: []), "10.0.0.1/24 is missing", id="missing"),
        pytest.param([IPV4, SECOND], rewritten(lambda x: x[:1]), "10.0.0.2/24 is missing", id="second-missing"),
        pytest.param([IPV6], rewritten(lambda _: []), "2001:db8::1/64 is missing", id="ipv6-missing"),
        pytest.param(
            [nl.address_body("2001:db8::1/128", 7)],
            rewritten(lambda _: []),
            "2001:db8::1/128 is missing",
            id="three-digits",
        ),
        pytest.param(
            [nl.address_body("10.0.0.1/8", 7)], rewritten(lambda _: []), "10.0.0.1/8 is missing", id="one-digit"
        ),
        pytest.param([IPV4, SECOND], rewritten(lambda x: x[::-1]), "10.0.0.2/24 is out of order", id="ipv4-order"),
        pytest.param([IPV6, SECOND6], rewritten(lambda x: x[::-1]), "2001:db8::2/64 is out of order", id="ipv6-order"),
        pytest.param(
            [RICH], rewritten(lambda x: [x[0][:1] + b"\x19" + x[0][2:]]), "10.0.0.1/24 is missing", id="prefixlen"
        ),
        pytest.param([RICH], address_change(nl.IFA_ADDRESS, b"\x0a\0\0\x09"), "10.0.0.1/24 is missing", id="peer"),
        pytest.param([RICH], address_change(3, b"eth1:x\0"), "10.0.0.1/24 has another label", id="label-old"),
        pytest.param([RICH], address_change(3, b"net0\0"), "10.0.0.1/24 has another label", id="label-shorter"),
        pytest.param([RICH], address_change(3, b"net0:xy\0"), "10.0.0.1/24 has another label", id="label-longer"),
        pytest.param([RICH], address_change(3, None), "10.0.0.1/24 has another label", id="label-missing"),
        pytest.param([RICH], address_change(4, bytes(4)), "10.0.0.1/24 has another broadcast address", id="broadcast"),
        pytest.param([RICH], address_change(4, None), "10.0.0.1/24 has another broadcast address", id="no-broadcast"),
        pytest.param(
            [IPV4], address_change(4, bytes(4)), "10.0.0.1/24 has another broadcast address", id="new-broadcast"
        ),
        pytest.param([RICH], address_change(9, U32(6)), "10.0.0.1/24 has another metric", id="metric"),
        pytest.param([RICH], address_change(9, None), "10.0.0.1/24 has another metric", id="metric-missing"),
        pytest.param([RICH], address_change(11, b"\2"), "10.0.0.1/24 has another protocol", id="protocol"),
        pytest.param([RICH], address_change(11, None), "10.0.0.1/24 has another protocol", id="protocol-missing"),
        pytest.param([RICH], address_change(8, U32(0x280)), "10.0.0.1/24 has other flags", id="flag-more"),
        pytest.param([RICH], address_change(8, U32(0)), "10.0.0.1/24 has other flags", id="flag-less"),
        pytest.param([IPV6], address_change(8, U32(0x82)), "2001:db8::1/64 has other flags", id="nodad-left"),
        pytest.param(
            [IPV6], address_change(8, U32(0xC0)), "2001:db8::1/64 is tentative, but was usable", id="tentative"
        ),
        pytest.param([IPV6], address_change(8, U32(0x88)), "2001:db8::1/64 has other flags", id="dadfailed"),
        pytest.param(
            [RICH],
            rewritten(lambda x: [x[0][:3] + b"\xfd" + x[0][4:]]),
            "10.0.0.1/24 has another scope",
            id="scope",
        ),
        pytest.param(
            [RICH], address_change(6, struct.pack("=4I", 9, 9, 0, 0)), "10.0.0.1/24 has another lifetime", id="lifetime"
        ),
        pytest.param(
            [LIMITED],
            address_change(6, struct.pack("=4I", 100, 201, 0, 0)),
            "10.0.0.1/24 has another lifetime",
            id="valid-longer",
        ),
        pytest.param(
            [LIMITED],
            address_change(6, struct.pack("=4I", 101, 200, 0, 0)),
            "10.0.0.1/24 has another lifetime",
            id="preferred-longer",
        ),
        pytest.param([LIMITED], address_change(6, None), "10.0.0.1/24 has another lifetime", id="lifetime-forever-now"),
    ],
)
def test_verify_finds(run, addresses, tamper, says):
    """A difference from the snapshot is ESTALE, and the text names it."""
    made = run(*addresses)
    made.move()
    made.replay()
    made.verify()
    made.world.target.tamper = tamper
    e = failure(made.verify)
    assert (e.errno, e.extack, e.step) == (errno.ESTALE, says, "verify")


@pytest.mark.parametrize(
    ("addresses", "tamper"),
    [
        pytest.param([LIMITED], address_change(6, struct.pack("=4I", 90, 190, 0, 0)), id="lifetime-runs"),
        pytest.param([LIMITED], address_change(8, U32(0xA0)), id="deprecated-meanwhile"),
        pytest.param([RICH], address_change(8, U32(0x81)), id="secondary"),
        pytest.param([IPV4], rewritten(lambda x: [SECOND, *x, SECOND6]), id="others-in-between"),
        pytest.param([nl.address_body("2001:db8::1/64", 7, flags=0xC0)], address_change(8, U32(0x80)), id="dad-done"),
        pytest.param([nl.address_body("2001:db8::1/64", 7, flags=0xC0)], address_change(8, U32(0xC0)), id="dad-again"),
        pytest.param(
            [nl.address_body("2001:db8::1/64", 7, flags=0x88)], address_change(8, U32(0xC0)), id="dad-retried"
        ),
        pytest.param([], link_change(99, b"new"), id="unknown-attribute"),
    ],
)
def test_verify_ignores(run, addresses, tamper):
    """Changes by time, the kernel or other programs are not differences."""
    made = run(*addresses)
    made.move()
    made.replay()
    made.world.target.tamper = tamper
    made.verify()


def test_verify_of_a_device_that_is_gone(run):
    """A device that vanished from the target is ENODEV, not a difference."""
    made = run(IPV4)
    made.move()
    made.replay()
    del made.world.target.links[7]
    e = failure(made.verify)
    assert (e.errno, e.step) == (errno.ENODEV, "verify")


def test_verify_needs_a_device_in_the_target(run):
    """Verify of a device that did not move sends nothing."""
    made = run()
    assert failure(made.verify).errno == errno.EINVAL
    assert made.world.target.trace == []


def test_arrived_is_what_verify_read(run):
    """The result is decoded from the messages read back in the target, link first."""
    made = run(IPV4)
    made.move()
    made.replay()
    made.verify()
    link, address = nl.requests(made.dev.arrived)
    assert (link.type, link.ifindex, local(address.body)) == (nl.RTM_NEWLINK, 7, "10.0.0.1")
