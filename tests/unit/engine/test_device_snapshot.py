"""A device's name and its snapshot: the link and the addresses, as the kernel dumps them."""

import errno

import pytest

from netdevns._ffi import ffi, lib
from netdevns.engine import PLACE_SOURCE, RESTORE, RETURN, Device, native, reference
from tests.unit import messages as nl
from tests.unit.engine.steps import IPV4, failure
from tests.unit.fake import Kernel, World, device, serve

# ---- init ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [b"", b"a" * 16, b"a" * 300], ids=["empty", "16-bytes", "300-bytes"])
@pytest.mark.parametrize("which", ["ifname", "wanted"])
def test_init_refuses_names_that_do_not_fit(name, which):
    """A name has 1 to 15 bytes; the caller checks its validity."""
    names = {"ifname": b"eth1", "wanted": b"net0"} | {which: name}
    assert failure(Device, names["ifname"], names["wanted"], 7).errno == errno.EINVAL


@pytest.mark.native
@pytest.mark.parametrize("size", [0, 100, ffi.sizeof("struct nd_dev") - 1])
def test_init_refuses_too_little_memory(size):
    """Memory smaller than the struct is refused, and not written."""
    memory, made, err = (
        ffi.new("unsigned char[]", b"\xa5" * (size + 8)),
        ffi.new("struct nd_dev **"),
        ffi.new("struct nd_err *"),
    )
    assert lib.nd_dev_init(made, memory, size, b"eth1", b"net0", err) == -errno.EOVERFLOW
    assert bytes(ffi.buffer(memory, size + 8)) == b"\xa5" * (size + 8)
    assert made[0] == ffi.NULL


# ---- snapshot ------------------------------------------------------------------------------------------------------


def test_snapshot_is_the_kernels_bytes(run):
    """The addresses are kept as they were dumped, of every scope and lifetime, in order."""
    link_local = nl.address_body("fe80::1/64", 7, scope=253)
    leased = nl.address_body("10.0.0.9/24", 7, flags=0, lifetimes=(100, 200))
    made = run(leased, IPV4, link_local)
    assert [r.body for r in nl.requests(made.dev.addresses)] == [leased, IPV4, link_local]
    assert (made.dev.place, made.dev.was_up) == (PLACE_SOURCE, True)


def test_snapshot_resolves_a_name_once():
    """Without an ifindex the name is looked up once; later requests use the ifindex."""
    world = World(IPV4)
    with world.sockets() as (source, _):
        dev = Device(b"eth1", b"net0", 0)
        dev.snapshot(source)
        dev.snapshot(source)
    assert dev.ifindex == 7
    assert [nl.IFLA_IFNAME in r.attrs() for r in world.source.trace if r.type == nl.RTM_GETLINK] == [True, False, False]


def test_snapshot_refuses_an_alternative_name():
    """A look-up by name also finds alternative names, which are refused with ENODEV."""
    world = World()
    world.source.altnames["uplink"] = 7
    with world.sockets() as (source, _):
        e = failure(Device(b"uplink", b"net0", 0).snapshot, source)
    assert (e.errno, e.extack, e.step) == (errno.ENODEV, "this is an alternative name of another device", "snapshot")


def test_snapshot_of_a_missing_device():
    """ENODEV, by name and by ifindex."""
    world = World()
    with world.sockets() as (source, _):
        for dev in (Device(b"eth9", b"net0", 0), Device(b"eth9", b"net0", 9)):
            e = failure(dev.snapshot, source)
            assert (e.errno, e.step) == (errno.ENODEV, "snapshot")


@pytest.mark.parametrize("answer", [lambda r: nl.error(0, r), lambda r: nl.message(nl.RTM_NEWADDR, seq=r.seq)])
def test_reply_to_a_look_up_that_is_not_a_link(answer):
    """An unrequested ack, or another message, is EBADMSG."""
    with serve(Kernel(lambda r: [answer(r[0])])) as source:
        e = failure(Device(b"eth1", b"net0", 0).snapshot, source)
    assert (e.errno, e.extack) == (errno.EBADMSG, "not a link in the answer")


def test_snapshot_of_a_device_that_was_renamed():
    """A device with the ifindex but another name is ENODEV."""
    world = World()
    with world.sockets() as (source, _):
        e = failure(Device(b"eth0", b"net0", 7).snapshot, source)
    assert (e.errno, e.extack) == (errno.ENODEV, "it was renamed meanwhile")


def test_snapshot_keeps_only_its_own_device():
    """A kernel without strict checking dumps all devices' addresses: those of others are dropped."""
    world = World(IPV4)
    other = nl.address_body("10.9.9.9/24", 8)
    world.source.tamper = lambda flags, attributes, addresses: (flags, attributes, [other, *addresses, other])
    with world.sockets() as (source, _):
        dev = device()
        dev.snapshot(source)
    assert [r.body for r in nl.requests(dev.addresses)] == [IPV4]


def test_snapshot_when_an_address_comes_first():
    """Replies in an unexpected order are refused: an address is never parsed as the link."""

    def odd(r: list[nl.Request]) -> list[bytes]:
        body = nl.address_body("10.0.0.1/24", 7, more={3: b"eth1\0"})
        first = nl.message(nl.RTM_NEWADDR, body, seq=r[1].seq, flags=nl.NLM_F_MULTI)
        link = nl.message(nl.RTM_NEWLINK, nl.link_body(7, 1, World.attributes("eth1", World.MAC)), seq=r[0].seq)
        return [nl.padded(first), link, nl.done(r[1])]

    with serve(Kernel(odd)) as source:
        assert failure(device().snapshot, source).errno == errno.EBADMSG


@pytest.mark.native
@pytest.mark.parametrize("count", [40, 200, 400])
def test_memory_grows_with_the_snapshot(run, count):
    """-EOVERFLOW gives the size for all steps: the engine repeats the step with it, and needs no more later."""
    made = run(*[nl.address_body(f"10.0.{i // 250}.{i % 250}/32", 7) for i in range(count)])
    size = made.dev.raw.size
    made.move()
    made.replay()
    made.verify()
    assert len(nl.requests(made.dev.addresses)) == count
    assert len(nl.requests(made.dev.arrived)) == count + 1
    assert made.dev.raw.size == size


@pytest.mark.native
def test_need_of_a_snapshot_is_enough():
    """With exactly dev->need bytes the second try succeeds."""
    world = World(*[nl.address_body(f"10.0.0.{i}/32", 7) for i in range(200)])
    with world.sockets() as (source, _):
        dev, needs = device(), []
        while code := lib.nd_dev_snapshot(dev.raw, source.raw, dev._err):
            assert code == -errno.EOVERFLOW
            needs.append(dev.raw.need)
            assert lib.nd_member_reserve(dev.member, needs[-1]) == 0
            assert dev.raw.size == needs[-1]
    assert len(needs) == 1


def test_failed_snapshot_leaves_nothing_to_undo():
    """Without a snapshot, undo sends nothing."""
    world = World()
    with world.sockets() as (source, target):
        dev = Device(b"eth9", b"net0", 9)
        failure(dev.snapshot, source)
        dev.undo(source, target, world.SOURCE_FD, RETURN | RESTORE)
    assert len(world.source.datagrams) == 1
    assert world.target.trace == []


DAMAGES = {
    "no link": lambda _, addresses: (b"", addresses),
    "a link that is cut": lambda link, addresses: (link[:-4], addresses),
    "two links": lambda link, addresses: (link + link, addresses),
    "another message": lambda link, addresses: (link[:4] + b"\x11" + link[5:], addresses),
    "a link without a body": lambda _, addresses: (nl.message(nl.RTM_NEWLINK, b"", seq=0, flags=0), addresses),
    "an address that is cut": lambda link, addresses: (link, addresses[:-4]),
    "a link among the addresses": lambda link, addresses: (link, addresses + link),
    "an address without a body": lambda link, _: (link, nl.message(nl.RTM_NEWADDR, b"", seq=0, flags=0)),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("engine", [native, reference], ids=["native", "reference"])
def test_damaged_record_is_refused(run, engine, damage):
    """EBADMSG before anything is stored: a record may be truncated, or forged."""
    kept = run(IPV4).dev
    later = device(engine=engine.Device)
    e = failure(later.load, *damage(kept.link_message, kept.addresses))
    assert (e.errno, e.step, later.has_snapshot) == (errno.EBADMSG, "snapshot", False)
    later.load(kept.link_message, kept.addresses)
    assert later.addresses == kept.addresses
