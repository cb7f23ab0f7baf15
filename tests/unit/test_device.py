"""The steps of one device, on a model of two namespaces that does as a kernel does, and misbehaves where a test asks.

`fake.World`: eth1 (ifindex 7) is in the source; the target has lo only.
"""

import contextlib
import errno
import os
import socket
import struct

import pytest

from netdevns._ffi import ffi, lib
from netdevns.engine import (
    PLACE_GONE,
    PLACE_SOURCE,
    PLACE_TARGET,
    PLACE_UNKNOWN,
    RESTORE,
    RETURN,
    Device,
    EngineError,
)

from . import netlink as nl
from .fake import Kernel, Namespace, World, device, serve

U32 = struct.Struct("=I").pack
IPV4 = nl.address_body("10.0.0.1/24", 7, more={nl.IFA_LABEL: b"eth1\0"})
SECOND = nl.address_body("10.0.0.2/24", 7, more={nl.IFA_LABEL: b"eth1:x\0"})
IPV6 = nl.address_body("2001:db8::1/64", 7)
SECOND6 = nl.address_body("2001:db8::2/64", 7)


def local(body: bytes) -> str:
    found = nl.attrs(body[8:])
    return socket.inet_ntop(body[0], found.get(nl.IFA_LOCAL, found[nl.IFA_ADDRESS]))


def flags_of(body: bytes) -> int:
    return struct.unpack("=I", nl.attrs(body[8:])[nl.IFA_FLAGS])[0]


def label_of(body: bytes) -> bytes:
    return nl.attrs(body[8:])[nl.IFA_LABEL].rstrip(b"\0")


def failure(call, *args) -> EngineError:
    with pytest.raises(EngineError) as caught:
        call(*args)
    return caught.value


class Run:
    """A world with a device in it whose snapshot was taken."""

    def __init__(self, world: World, source, target, dev: Device) -> None:
        self.world, self.source, self.target, self.dev = world, source, target, dev

    def move(self) -> None:
        self.dev.move(self.source, self.target, self.world.TARGET_FD)

    def undo(self, parts: int = RETURN | RESTORE) -> None:
        self.dev.undo(self.source, self.target, self.world.SOURCE_FD, parts)

    def replay(self) -> None:
        self.dev.up_and_replay(self.target)

    def verify(self) -> None:
        self.dev.verify(self.target)


@pytest.fixture
def run():
    """`run(addresses..., dev=..., up=...)` begins; sockets are closed after the test."""
    stack = []

    def begin(*addresses: bytes, dev: Device | None = None, up: bool = True) -> Run:
        world = World(*addresses, up=up)
        sockets = world.sockets()
        source, target = sockets.__enter__()
        stack.append(sockets)
        made = Run(world, source, target, dev or device())
        made.dev.snapshot(source)
        return made

    yield begin
    for sockets in stack:
        sockets.__exit__(None, None, None)


def refuse(code: int, *, times: int = 10**6, when=lambda _: True):
    """A fault: `code` for the next `times` messages that `when` is true of."""
    left = [times]

    def fault(request: nl.Request) -> int:
        if left[0] and when(request):
            left[0] -= 1
            return code
        return 0

    return fault


def is_move(request: nl.Request) -> bool:
    return request.type == nl.RTM_NEWLINK and nl.IFLA_NET_NS_FD in request.attrs()


# ---- init ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [b"", b"a" * 16, b"a" * 300], ids=["empty", "16-bytes", "300-bytes"])
@pytest.mark.parametrize("which", ["ifname", "wanted"])
def test_init_refuses_names_that_do_not_fit(name, which):
    """A name has 1 to 15 bytes; whether it is a good one is for the caller."""
    names = {"ifname": b"eth1", "wanted": b"net0"} | {which: name}
    assert failure(Device, names["ifname"], names["wanted"], 7).errno == errno.EINVAL


@pytest.mark.native
@pytest.mark.parametrize("size", [0, 100, ffi.sizeof("struct nd_dev") - 1])
def test_init_refuses_too_little_memory(size):
    """Less than the struct is no memory for a device, and not one byte of it is written."""
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
    """Without an ifindex the name is looked up; everything after that goes by ifindex."""
    world = World(IPV4)
    with world.sockets() as (source, _):
        dev = Device(b"eth1", b"net0", 0)
        dev.snapshot(source)
        dev.snapshot(source)
    assert dev.ifindex == 7
    assert [nl.IFLA_IFNAME in r.attrs() for r in world.source.trace if r.type == nl.RTM_GETLINK] == [True, False, False]


def test_snapshot_refuses_an_alternative_name():
    """A look-up by name also finds alternative names: that is another device's name, ENODEV."""
    world = World()
    world.source.altnames["uplink"] = 7
    with world.sockets() as (source, _):
        e = failure(Device(b"uplink", b"net0", 0).snapshot, source)
    assert (e.errno, e.extack, e.step) == (errno.ENODEV, "this is an alternative name of another device", "snapshot")


def test_snapshot_of_a_device_that_is_not_there():
    """ENODEV, by name and by ifindex."""
    world = World()
    with world.sockets() as (source, _):
        for dev in (Device(b"eth9", b"net0", 0), Device(b"eth9", b"net0", 9)):
            e = failure(dev.snapshot, source)
            assert (e.errno, e.step) == (errno.ENODEV, "snapshot")


@pytest.mark.parametrize("answer", [lambda r: nl.error(0, r), lambda r: nl.message(nl.RTM_NEWADDR, seq=r.seq)])
def test_answer_to_a_look_up_that_is_no_link(answer):
    """An ack that nobody asked for, or another message, is no device: EBADMSG."""
    with serve(Kernel(lambda r: [answer(r[0])])) as source:
        e = failure(Device(b"eth1", b"net0", 0).snapshot, source)
    assert (e.errno, e.extack) == (errno.EBADMSG, "not a link in the answer")


def test_snapshot_of_a_device_that_was_renamed():
    """The ifindex is somebody's, but under another name: ENODEV, not a snapshot of whatever it is now."""
    world = World()
    with world.sockets() as (source, _):
        e = failure(Device(b"eth0", b"net0", 7).snapshot, source)
    assert (e.errno, e.extack) == (errno.ENODEV, "it was renamed meanwhile")


def test_snapshot_keeps_only_its_own_device():
    """A kernel without strict checking dumps everybody's addresses: those of others are left out."""
    world = World(IPV4)
    other = nl.address_body("10.9.9.9/24", 8)
    world.source.tamper = lambda flags, attributes, addresses: (flags, attributes, [other, *addresses, other])
    with world.sockets() as (source, _):
        dev = device()
        dev.snapshot(source)
    assert [r.body for r in nl.requests(dev.addresses)] == [IPV4]


def test_snapshot_when_an_address_comes_first():
    """Answers in an unexpected order are refused: an address is never read as if it were the link."""

    def odd(r: list[nl.Request]) -> list[bytes]:
        body = nl.address_body("10.0.0.1/24", 7, more={3: b"eth1\0"})
        first = nl.message(nl.RTM_NEWADDR, body, seq=r[1].seq, flags=nl.NLM_F_MULTI)
        link = nl.message(nl.RTM_NEWLINK, nl.link_body(7, 1, World.attributes("eth1", World.MAC)), seq=r[0].seq)
        return [nl.padded(first), link, nl.done(r[1])]

    with serve(Kernel(odd)) as source:
        assert failure(device().snapshot, source).errno == errno.EBADMSG


@pytest.mark.native
@pytest.mark.parametrize("count", [40, 200, 1000])
def test_memory_grows_with_the_snapshot(run, count):
    """-EOVERFLOW tells the size that suffices for all steps: the engine asks again with it, and needs no more later."""
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
            memory = ffi.new("unsigned char[]", dev.raw.need)
            ffi.memmove(memory, dev._memory, dev.raw.size)
            dev._memory, dev.raw = memory, ffi.cast("struct nd_dev *", memory)
            lib.nd_dev_resize(dev.raw, needs[-1])
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


# ---- move ----------------------------------------------------------------------------------------------------------


def test_move_needs_a_snapshot():
    """A device without a snapshot is not moved: nothing could be put back."""
    world = World()
    with world.sockets() as (source, target):
        e = failure(device().move, source, target, world.TARGET_FD)
    assert (e.errno, e.step) == (errno.EINVAL, "move")
    assert world.source.trace == []


def test_move_twice_sends_once(run):
    """A device that is in the target already is not moved again."""
    made = run()
    made.move()
    made.move()
    assert sum(map(is_move, made.world.source.trace)) == 1


def test_move_that_is_refused_leaves_it_in_the_source(run):
    """A refusal before the move: the device is looked for and found where it was."""
    made = run()
    made.world.source.fault = refuse(errno.EPERM, when=is_move)
    e = failure(made.move)
    assert (e.errno, e.step, made.dev.place) == (errno.EPERM, "move", PLACE_SOURCE)


def test_move_that_fails_after_it_left(run):
    """EEXIST although the device sits in the target, under its old name: it is found there, and comes back."""
    made = run(IPV4)
    made.world.target.links[5] = (0, World.attributes("net0", bytes(6)))
    e = failure(made.move)
    assert (e.errno, made.dev.place, made.dev.name, made.dev.target_ifindex) == (
        errno.EEXIST,
        PLACE_TARGET,
        b"eth1",
        7,
    )
    made.undo()
    assert made.dev.place == PLACE_SOURCE
    assert [local(a) for a in made.world.source.addresses] == ["10.0.0.1"]


def test_move_whose_answer_is_lost(run):
    """A move that was done and answered by an error: where the device is decides, not the answer."""
    made = run()
    made.world.source.late_fault = refuse(errno.ENOBUFS, when=is_move)
    failure(made.move)
    assert (made.dev.place, made.dev.name) == (PLACE_TARGET, b"net0")


def test_move_of_a_device_that_vanished(run):
    """ENODEV everywhere: it is gone."""
    made = run()
    del made.world.source.links[7]
    e = failure(made.move)
    assert (e.errno, made.dev.place) == (errno.ENODEV, PLACE_GONE)


def test_move_when_nobody_can_be_asked(run):
    """If looking fails, too, the place is unknown."""
    made = run()
    made.world.source.fault = refuse(errno.EPERM)
    failure(made.move)
    assert made.dev.place == PLACE_UNKNOWN


def test_another_device_with_its_ifindex_is_not_it(run):
    """A device of the same number in the source, but another MAC address, is somebody else's."""
    made = run()
    made.world.source.late_fault = refuse(
        errno.EIO, when=lambda r: is_move(r) and not replaced.append(r)
    )  # the moment after the move
    replaced: list[nl.Request] = []

    def stranger(_: nl.Request) -> int:
        if replaced:
            made.world.source.links.setdefault(7, (0, World.attributes("eth1", b"\x02\0\0\0\0\x63")))
        return 0

    made.world.source.fault = stranger
    failure(made.move)
    assert made.dev.place == PLACE_TARGET


@pytest.mark.parametrize(
    "attributes",
    [
        pytest.param(World.attributes("other", b"\x02\0\0\0\0\x63"), id="other-name-and-mac"),
        pytest.param(World.attributes("eth1", World.MAC, kind=b"dummy\0"), id="other-kind"),
        pytest.param(World.attributes("eth1", bytes(20)), id="other-mac-length"),
    ],
)
def test_gone_although_its_name_and_number_are_taken(run, attributes):
    """Name and ifindex alone do not make a device ours: its kind must be the snapshot's, and its MAC's length."""
    made = run()
    made.world.source.links[7] = (0, attributes)
    made.world.source.fault = refuse(errno.ENODEV, when=is_move)
    failure(made.move)
    assert made.dev.place == PLACE_GONE


def test_device_whose_mac_was_changed_is_found(run):
    """Its name, ifindex and kind are its own: it is ours, with another MAC address."""
    made = run()
    made.world.source.links[7] = (0, World.attributes("eth1", b"\x02\0\0\0\0\x63"))
    made.world.source.fault = refuse(errno.ENODEV, when=is_move)
    failure(made.move)
    assert made.dev.place == PLACE_SOURCE


def test_move_to_a_busy_ifindex_is_refused_by_the_kernel(run):
    """EBUSY: it is still in the source."""
    made = run(dev=device(ask=1))
    e = failure(made.move)
    assert (e.errno, made.dev.place) == (errno.EBUSY, PLACE_SOURCE)


def test_unsure_ifindex_is_read_back(run):
    """Where the kernel may choose the ifindex, the device is looked up by its name after the move."""
    made = run(dev=device(ask=0))
    made.world.target.links[7] = (0, World.attributes("other", bytes(6)))
    made.move()
    assert (made.dev.place, made.dev.target_ifindex) == (PLACE_TARGET, 100)


def test_template_with_a_known_ifindex_is_read_back(run):
    """`net%d`: the kernel's choice of the name is read, by the ifindex that was asked for."""
    made = run(dev=device("net%d"))
    made.world.target.links[5] = (0, World.attributes("net0", bytes(6)))
    made.move()
    assert (made.dev.name, made.dev.target_ifindex) == (b"net1", 7)


def test_template_with_an_unsure_ifindex_takes_a_passing_name(run):
    """Neither name nor ifindex would be known: it moves under a name that nobody has, and is renamed in the target."""
    made = run(dev=device("net%d", ask=9, unsure=True))
    made.move()
    names = [r.attrs()[nl.IFLA_IFNAME] for r in made.world.source.trace if is_move(r)]
    assert len(names) == 1
    assert names[0].startswith(b"nd")
    assert (made.dev.name, made.dev.place) == (b"net0", PLACE_TARGET)


def test_passing_name_that_cannot_be_changed(run):
    """The rename in the target is refused: an error, and the device is known to be in the target."""
    made = run(dev=device("net%d", ask=9, unsure=True))
    made.world.target.fault = refuse(errno.EINVAL, when=lambda r: r.type == nl.RTM_NEWLINK)
    e = failure(made.move)
    assert (e.errno, made.dev.place) == (errno.EINVAL, PLACE_TARGET)
    assert made.dev.name.startswith(b"nd")
    made.world.target.fault = refuse(0)
    made.undo()
    assert made.dev.place == PLACE_SOURCE


# ---- replay --------------------------------------------------------------------------------------------------------


def replayed(run_: Run) -> list[nl.Request]:
    run_.world.target.trace.clear()
    run_.replay()
    return run_.world.target.trace


def test_replay_needs_a_device_in_the_target(run):
    """A replay of a device that did not move changes nothing."""
    made = run(IPV4)
    e = failure(made.replay)
    assert (e.errno, e.step) == (errno.EINVAL, "replay")
    assert made.world.target.trace == []


def test_replay_order(run):
    """IPv4 in dump order, IFF_UP, IPv6 in reverse dump order, as pairs: IFA_F_NODAD, IFA_F_NOPREFIXROUTE first."""
    made = run(IPV4, SECOND, IPV6, SECOND6)
    made.move()
    sent = [(local(r.body), flags_of(r.body)) if r.type == nl.RTM_NEWADDR else "up" for r in replayed(made)]
    assert sent == [
        ("10.0.0.1", 0x80), ("10.0.0.2", 0x80), "up",
        ("2001:db8::2", 0x282), ("2001:db8::2", 0x80), ("2001:db8::1", 0x282), ("2001:db8::1", 0x80),
    ]  # fmt: skip


PEER6 = nl.address_body("2001:db8:1::1/64", 7, peer="2001:db8:2::1")


@pytest.mark.parametrize(
    ("addresses", "dropped"),
    [
        pytest.param([PEER6], 1, id="nobody's"),
        pytest.param([PEER6, nl.address_body("2001:db8:2::5/64", 7)], 0, id="another-address"),
        pytest.param([PEER6, nl.address_body("2001:db8:2::5/64", 7, flags=0x280)], 1, id="which-has-no-route"),
        pytest.param([PEER6, nl.address_body("2001:db8:2::5/65", 7)], 1, id="of-another-length"),
        pytest.param([PEER6, nl.address_body("2001:db8:2::5/64", 7, more={nl.IFA_RT_PRIORITY: U32(5)})], 1, id="m"),
        pytest.param([PEER6, nl.address_body("2001:db8:2::5/64", 7, flags=0xC0)], 0, id="tentative"),
        pytest.param([PEER6, nl.address_body("2001:db8:3::1/64", 7, peer="2001:db8:2::9")], 2, id="two-peers"),
        pytest.param([nl.address_body("2001:db8:2::9/64", 7, peer="2001:db8:2::1")], 0, id="own-prefix"),
        pytest.param([nl.address_body("2001:db8:1::1/128", 7, peer="2001:db8:2::1")], 0, id="peer-alone"),
        pytest.param([nl.address_body("2001:db8:1::1/64", 7, peer="2001:db8:2::1", flags=0x280)], 0, id="no-route"),
        pytest.param([IPV4, IPV6], 0, id="no-peer"),
    ],
)
def test_only_an_unexplained_peer_prefix_is_deleted(run, addresses, dropped):
    """The route of a peer's prefix goes, unless it is the own prefix of an address, of the same metric."""
    made = run(*addresses)
    made.move()
    made.replay()
    assert sum(r.type == nl.RTM_DELROUTE for r in made.world.target.trace) == dropped


def test_an_address_that_was_not_replayed_explains_a_prefix_too(run):
    """What the kernel, or a router, gave the device in the target is looked at there, and its route is left alone."""
    made = run(PEER6)
    made.move()
    made.world.target.addresses.append(nl.address_body("2001:db8:2::abcd/64", 7, flags=0, lifetimes=(9, 9)))
    made.replay()
    assert not any(r.type == nl.RTM_DELROUTE for r in made.world.target.trace)


@pytest.mark.parametrize(
    ("address", "carried"),
    [
        pytest.param(IPV4, True, id="permanent-global"),
        pytest.param(nl.address_body("10.0.0.9/24", 7, flags=0, lifetimes=(9, 9)), False, id="lifetime"),
        pytest.param(nl.address_body("10.0.0.9/24", 7, scope=253), False, id="scope-link"),
        pytest.param(nl.address_body("10.0.0.9/24", 7, scope=200), False, id="scope-site"),
        pytest.param(nl.address_body("fe80::1/64", 7, scope=253), False, id="link-local"),
        pytest.param(
            nl.address_body("2001:db8::9/64", 7, flags=0x80, lifetimes=(0, nl.FOREVER)), True, id="deprecated"
        ),
    ],
)
def test_protected_addresses_are_carried(run, address, carried):
    """Permanent and of global scope: the runtime-spec's rule, and nothing else arrives."""
    made = run(address)
    made.move()
    assert any(r.type == nl.RTM_NEWADDR for r in replayed(made)) == carried


@pytest.mark.parametrize(
    ("flags", "sent"),
    [
        pytest.param(0x80, [0x282, 0x80], id="usable"),
        pytest.param(0x280, [0x282, 0x280], id="noprefixroute"),
        pytest.param(0xA0, [0x2A2, 0xA0], id="deprecated"),
        pytest.param(0x82, [0x82], id="nodad-itself"),
        pytest.param(0xC0, [0xC0], id="tentative"),
        pytest.param(0x88, [0x88], id="dadfailed"),
        pytest.param(0x84, [0x84], id="optimistic"),
    ],
)
def test_nodad_only_for_what_was_usable(run, flags, sent):
    """An IPv6 address that had completed DAD skips it; one that had not has to prove itself again."""
    made = run(nl.address_body("2001:db8::1/64", 7, flags=flags))
    made.move()
    assert [flags_of(r.body) for r in replayed(made) if r.type == nl.RTM_NEWADDR] == sent


@pytest.mark.parametrize(
    ("label", "wanted", "expected", "cut"),
    [
        pytest.param(b"eth1", "net0", b"net0", 0, id="plain"),
        pytest.param(b"eth1:vip", "net0", b"net0:vip", 0, id="with-suffix"),
        pytest.param(b"eth1:", "net0", b"net0:", 0, id="empty-suffix"),
        pytest.param(b"eth10", "net0", b"eth10", 0, id="another-name"),
        pytest.param(b"other:x", "net0", b"other:x", 0, id="another-prefix"),
        pytest.param(b"eth", "net0", b"eth", 0, id="shorter"),
        pytest.param(b"eth1:1234567", "a23456789", b"a23456789:1234567"[:9], 1, id="one-byte-too-long"),
        pytest.param(b"eth1:12345", "a23456789", b"a23456789:12345", 0, id="15-bytes"),
        pytest.param(b"eth1:123456", "a23456789", b"a23456789", 1, id="16-bytes"),
        pytest.param(b"eth1:x", "a23456789012345", b"a23456789012345", 1, id="longest-name"),
    ],
)
def test_label_follows_the_name(run, label, wanted, expected, cut):
    """old -> new, old:x -> new:x, any other as it is; one that does not fit becomes the name, and is counted."""
    made = run(nl.address_body("10.0.0.1/24", 7, more={nl.IFA_LABEL: label + b"\0"}), dev=device(wanted))
    made.move()
    (address,) = [r for r in replayed(made) if r.type == nl.RTM_NEWADDR]
    assert label_of(address.body) == expected
    assert made.dev.cut_labels == cut
    made.verify()


def test_cut_labels_are_counted_once(run):
    """A replay that is repeated does not count again."""
    made = run(nl.address_body("10.0.0.1/24", 7, more={3: b"eth1:x\0"}), dev=device("a23456789012345"))
    made.move()
    made.replay()
    made.replay()
    assert made.dev.cut_labels == 1


def test_replay_sends_only_what_can_be_set(run):
    """Attributes that a request does not take are not sent back: a dump may carry more one day."""
    made = run(nl.address_body("10.0.0.1/24", 7, more={nl.IFA_PROTO: b"\3", 10: U32(9), 99: b"new"}))
    made.move()
    (address,) = [r for r in replayed(made) if r.type == nl.RTM_NEWADDR]
    assert set(address.attrs()) == {nl.IFA_ADDRESS, nl.IFA_LOCAL, nl.IFA_CACHEINFO, nl.IFA_PROTO, nl.IFA_FLAGS}


def test_replay_of_many_addresses_goes_in_windows(run):
    """At most 120 messages a send, the last of each acked, IFF_UP once between the families."""
    made = run(
        *[nl.address_body(f"10.0.{i // 200}.{i % 200}/32", 7) for i in range(300)],
        *[nl.address_body(f"2001:db8::{i:x}/128", 7) for i in range(200)],
    )
    made.move()
    made.world.target.datagrams.clear()
    made.replay()
    windows = made.world.target.datagrams
    assert max(map(len, windows)) <= 120
    assert sum(map(len, windows)) == 300 + 1 + 2 * 200
    assert all([bool(r.flags & nl.NLM_F_ACK) for r in w] == [False] * (len(w) - 1) + [True] for w in windows)
    assert [r.type for w in windows for r in w].index(nl.RTM_NEWLINK) == 300
    made.verify()


def test_refusal_in_the_first_window_ends_the_replay(run):
    """An address that is refused in the first of several windows is the result, and no further window is sent."""
    made = run(*[nl.address_body(f"10.0.{i // 200}.{i % 200}/32", 7) for i in range(300)])
    made.move()
    made.world.target.datagrams.clear()
    made.world.target.fault = refuse(errno.EADDRNOTAVAIL, when=lambda r: r.type == 20 and local(r.body) == "10.0.0.5")
    e = failure(made.replay)
    assert (e.errno, e.step, e.index) == (errno.EADDRNOTAVAIL, "replay", 5)
    assert len(made.world.target.datagrams) == 1


def test_refusal_of_a_whole_window_is_read(run):
    """Every message of a window refused: 120 refusals are answers, the first one is the result."""
    made = run(*[nl.address_body(f"10.0.{i // 200}.{i % 200}/32", 7) for i in range(300)])
    made.move()
    made.world.target.fault = refuse(errno.EPERM)
    e = failure(made.replay)
    assert (e.errno, e.index) == (errno.EPERM, 0)


def test_replay_twice_is_harmless(run):
    """NLM_F_REPLACE: a second replay of the same addresses changes nothing."""
    made = run(IPV4, SECOND, IPV6)
    made.move()
    made.replay()
    before = list(made.world.target.addresses)
    made.replay()
    assert made.world.target.addresses == before
    made.verify()


# ---- verify --------------------------------------------------------------------------------------------------------


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
    """Whatever differs from the snapshot is ESTALE, and the text says what."""
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
def test_verify_lets_pass(run, addresses, tamper):
    """What time, the kernel or other programs may change is no difference."""
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
    """Verify of a device that did not move asks nobody."""
    made = run()
    assert failure(made.verify).errno == errno.EINVAL
    assert made.world.target.trace == []


def test_arrived_is_what_verify_read(run):
    """The result is decoded from what was read back in the target, link first."""
    made = run(IPV4)
    made.move()
    made.replay()
    made.verify()
    link, address = nl.requests(made.dev.arrived)
    assert (link.type, link.ifindex, local(address.body)) == (nl.RTM_NEWLINK, 7, "10.0.0.1")


# ---- undo ----------------------------------------------------------------------------------------------------------


def moved(run_, *addresses: bytes, **options) -> Run:
    made = run_(*addresses, **options)
    made.move()
    made.replay()
    return made


def test_undo_puts_everything_back(run):
    """Name, ifindex, addresses of every scope and lifetime in their order, and up."""
    everything = [
        IPV4,
        SECOND,
        nl.address_body("10.0.0.9/24", 7, flags=0, scope=253, lifetimes=(100, 200)),
        IPV6,
        SECOND6,
        nl.address_body("fe80::1/64", 7, scope=253),
    ]
    made = moved(run, *everything)
    made.undo()
    flags, attributes = made.world.source.links[7]
    assert (flags & nl.IFF_UP, attributes[nl.IFLA_IFNAME], made.dev.place) == (1, b"eth1\0", PLACE_SOURCE)
    assert [local(a) for a in made.world.source.addresses] == [local(a) for a in everything]


def test_undo_leaves_a_device_down_that_was_down(run):
    """A device that was down before the move is down after the undo."""
    made = moved(run, IPV4, up=False)
    made.undo()
    assert made.world.source.links[7][0] & nl.IFF_UP == 0
    assert [local(a) for a in made.world.source.addresses] == ["10.0.0.1"]


def test_undo_of_an_untouched_device_changes_nothing(run):
    """A device that never left and is as it was: it is looked at, and no request that changes anything is sent."""
    made = run(IPV4, IPV6)
    made.undo()
    assert {r.type for r in made.world.source.trace} == {nl.RTM_GETLINK, nl.RTM_GETADDR}


def test_undo_twice_is_harmless(run):
    """Every step of an undo can be repeated."""
    made = moved(run, IPV4, IPV6)
    made.undo()
    there = list(made.world.source.addresses)
    made.undo()
    assert made.world.source.addresses == there


def test_undo_under_another_ifindex_if_its_own_is_busy(run):
    """EBUSY on the way back: somebody has the number; it comes home without IFLA_NEW_IFINDEX."""
    made = moved(run, IPV4)
    made.world.source.links[7] = (0, World.attributes("other", bytes(6)))
    made.undo()
    backs = [nl.IFLA_NEW_IFINDEX in r.attrs() for r in made.world.target.trace if is_move(r)]
    assert backs == [True, False]
    assert (made.dev.place, made.dev.ifindex) == (PLACE_SOURCE, 100)
    assert [a[4] for a in made.world.source.addresses] == [100]


def test_undo_of_a_device_that_is_gone(run):
    """In neither namespace: ENODEV, and its place is known to be nowhere."""
    made = moved(run)
    del made.world.target.links[7]
    e = failure(made.undo)
    assert (e.errno, e.step, made.dev.place) == (errno.ENODEV, "undo", PLACE_GONE)


def test_undo_that_is_refused(run):
    """The way back is refused: the error is the result, and the device is known to be in the target still."""
    made = moved(run)
    made.world.target.fault = refuse(errno.EPERM, when=is_move)
    e = failure(made.undo)
    assert (e.errno, e.step, made.dev.place) == (errno.EPERM, "undo", PLACE_TARGET)


def test_undo_when_the_old_name_is_taken(run):
    """It came back, but could not be renamed: it is in the source, and what differs is said."""
    made = moved(run, IPV4)
    made.world.source.links[5] = (0, World.attributes("eth1", bytes(6)))
    e = failure(made.undo)
    assert (e.errno, e.extack, made.dev.place) == (errno.ESTALE, "it has another name", PLACE_SOURCE)
    assert [local(a) for a in made.world.source.addresses] == ["10.0.0.1"]


def test_undo_goes_on_after_a_refused_address(run):
    """One address that cannot be set must not cost the others: they are back, the one is told."""
    made = moved(run, *[nl.address_body(f"10.0.{i // 200}.{i % 200}/32", 7) for i in range(300)])
    made.world.source.fault = refuse(errno.EINVAL, when=lambda r: r.type == 20 and local(r.body) == "10.0.0.5")
    e = failure(made.undo)
    assert (e.errno, e.extack) == (errno.ESTALE, "10.0.0.5/32 is missing")
    assert len(made.world.source.addresses) == 299


def test_undo_replays_link_locals_before_up(run):
    """A link-local address that was usable is back before IFF_UP: after it the kernel makes the same one, tentative."""
    link_local = nl.address_body("fe80::1/64", 7, scope=253)
    made = moved(run, IPV6, link_local)

    def on_up(request: nl.Request) -> int:
        there = made.world.source.addresses
        if request.type == nl.RTM_NEWLINK and not any(local(a) == "fe80::1" for a in there):
            there.insert(0, nl.address_body("fe80::1/64", 7, scope=253, flags=0xC0))
        return 0

    made.world.source.fault = on_up
    made.undo()
    assert [(local(a), flags_of(a)) for a in made.world.source.addresses] == [("2001:db8::1", 0x80), ("fe80::1", 0x80)]


def test_undo_meets_a_link_local_of_the_kernels(run):
    """One that the kernel makes by itself on the way is not ours: it is no difference."""
    made = moved(run, IPV6)

    def on_up(request: nl.Request) -> int:
        if request.type == nl.RTM_NEWLINK:
            made.world.source.addresses.insert(0, nl.address_body("fe80::9/64", 7, scope=253, flags=0xC0))
        return 0

    made.world.source.fault = on_up
    made.undo()
    assert [local(a) for a in made.world.source.addresses] == ["2001:db8::1", "fe80::9"]


def test_undo_parts(run):
    """RETURN alone brings it back without addresses; RESTORE alone needs it in the source."""
    made = moved(run, IPV4)
    e = failure(made.undo, RESTORE)
    assert (e.errno, e.extack) == (errno.ENODEV, "it is not in the source")
    made.undo(RETURN)
    assert (made.dev.place, made.world.source.addresses) == (PLACE_SOURCE, [])
    made.undo(RESTORE)
    assert len(made.world.source.addresses) == 1


def test_undo_whose_answer_is_lost(run):
    """The way back was done but answered by an error: it is home, so there is no error."""
    made = moved(run)
    made.world.target.late_fault = refuse(errno.ENOBUFS, when=is_move)
    made.undo()
    assert made.dev.place == PLACE_SOURCE


@pytest.mark.native
def test_undo_from_a_copy_of_the_memory(run):
    """A device is plain data without pointers: a copy of its bytes is undone as well as the original."""
    made = moved(run, IPV4, IPV6)
    saved = bytes(ffi.buffer(made.dev._memory, made.dev.raw.size))
    copy = Device(b"x", b"y", 1)
    copy._memory = ffi.new("unsigned char[]", saved)
    copy.raw = ffi.cast("struct nd_dev *", copy._memory)
    copy.undo(made.source, made.target, made.world.SOURCE_FD, RETURN | RESTORE)
    assert [local(a) for a in made.world.source.addresses] == ["10.0.0.1", "2001:db8::1"]


# ---- transfer ------------------------------------------------------------------------------------------------------


def transfer(world: World, dev: Device) -> tuple[int, int]:
    """nd_dev_transfer: its code and that of the undo."""
    undo_err = ffi.new("struct nd_err *", {"code": -99})
    dev._grow(lib.ND_DEV_SIZE_MIN)  # as an embedder gives it
    # Two namespaces, of whichever kind: they are compared first.
    fds = [os.open(f"/proc/self/ns/{kind}", os.O_RDONLY) for kind in ("net", "uts")]
    world.by_fd |= dict(zip(fds, (world.source, world.target), strict=True))
    try:
        with world.sockets() as (source, target):
            code = lib.nd_dev_transfer(dev.raw, source.raw, target.raw, *fds, dev._err, undo_err)
    finally:
        for fd in fds:
            os.close(fd)
    return code, undo_err.code


@pytest.mark.native
def test_transfer_into_its_own_namespace_is_refused():
    """Nothing is sent: a move there would rename the device and drop its addresses."""
    world, dev, undo_err = World(IPV4), device(), ffi.new("struct nd_err *", {"code": -99})
    first, second = (os.open("/proc/self/ns/net", os.O_RDONLY) for _ in range(2))
    try:
        with world.sockets() as (source, _):
            code = lib.nd_dev_transfer(dev.raw, source.raw, source.raw, first, second, dev._err, undo_err)
    finally:
        os.close(first)
        os.close(second)
    assert (code, undo_err.code, world.source.trace) == (-errno.EINVAL, 0, [])
    assert ffi.string(dev._err.text) == b"target and source are one network namespace"


@pytest.mark.native
def test_transfer_does_all_steps():
    """One call moves, replays and verifies."""
    world = World(IPV4, IPV6)
    assert transfer(world, device()) == (0, 0)
    assert [local(a) for a in world.target.addresses] == ["10.0.0.1", "2001:db8::1"]


def named(namespace: Namespace) -> list[bytes]:
    return [attributes[nl.IFLA_IFNAME] for _, attributes in namespace.links.values()]


@pytest.mark.native
@pytest.mark.parametrize(
    ("fault", "code"),
    [
        pytest.param(lambda r: errno.EPERM if r.type == nl.RTM_NEWADDR else 0, -errno.EPERM, id="replay-refused"),
        pytest.param(lambda r: errno.EIO if r.type == nl.RTM_GETADDR else 0, -errno.EIO, id="verify-refused"),
    ],
)
def test_transfer_undoes_itself(fault, code):
    """A step that fails is the result; the device is back as it was, which the second error says."""
    world = World(IPV4, IPV6)
    world.target.fault = fault
    dev = device()
    assert transfer(world, dev) == (code, 0)
    assert (named(world.source), named(world.target)) == ([b"eth1\0"], [b"lo\0"])
    assert [local(a) for a in world.source.addresses] == ["10.0.0.1", "2001:db8::1"]


@pytest.mark.native
def test_transfer_tells_of_a_failed_undo():
    """Both errors are told: what failed, and why it could not be put back."""
    world = World(IPV4)
    world.target.fault = lambda r: errno.EPERM if r.type == nl.RTM_NEWADDR or is_move(r) else 0
    dev = device()
    assert transfer(world, dev) == (-errno.EPERM, -errno.EPERM)
    assert dev.place == PLACE_TARGET


# ---- steps that are called again -----------------------------------------------------------------------------------


def taken(made: Run, name: str = "net0") -> None:
    """Somebody in the target has that name."""
    made.world.target.links[50] = (0, World.attributes(name, bytes.fromhex("020000000099")))


def test_move_that_left_it_under_its_old_name_renames_it(run):
    """A second move of a device that is in the target, not under the wanted name, fails as the first; or renames it."""
    made = run(IPV4)
    taken(made)
    for _ in range(3):
        assert failure(made.move).errno == errno.EEXIST
        assert (made.dev.place, made.dev.name, made.dev.target_ifindex) == (PLACE_TARGET, b"eth1", 7)
    made.replay()
    e = failure(made.verify)
    assert (e.errno, e.extack) == (errno.ESTALE, "it has another name")
    del made.world.target.links[50]
    made.move()
    assert (made.dev.place, made.dev.name) == (PLACE_TARGET, b"net0")
    made.replay()
    made.verify()
    assert sum(is_move(r) for r in made.world.source.trace) == 1


def test_second_move_changes_nothing(run):
    """A device that is there under the wanted name is left alone: nothing is sent."""
    made = run(IPV4, dev=device("net%d"))
    made.move()
    before = len(made.world.source.trace), len(made.world.target.trace)
    made.move()
    assert (len(made.world.source.trace), len(made.world.target.trace)) == before
    assert made.dev.name == b"net0"


@pytest.mark.parametrize(
    ("wanted", "name", "is_right"),
    [
        ("net0", "net0", True),
        ("net0", "net1", False),
        ("net%d", "net0", True),
        ("net%d", "net17", True),
        ("net%d", "net", False),
        ("net%d", "net01", False),
        ("net%d", "net1x", False),
        ("net%d", "nat1", False),
        ("n%dx", "n3x", True),
        ("n%dx", "n3", False),
        ("n%dx", "nx", False),
        ("%d", "7", True),
        ("%d1", "11", True),
        ("%d1", "1", False),
    ],
)
def test_verify_compares_the_name_with_the_wanted_one(run, wanted, name, is_right):
    """A literal name is equal; a template's has the prefix, a number as the kernel prints it, and the suffix."""
    made = run(IPV4, dev=device(wanted))
    made.move()
    made.replay()
    flags, attributes = made.world.target.links[7]
    made.world.target.links[7] = flags, attributes | {nl.IFLA_IFNAME: name.encode() + b"\0"}
    made.dev.find(made.source, made.target)  # which reads the name back
    assert made.dev.name == name.encode()
    made.replay()  # the label follows it
    if is_right:
        made.verify()
    else:
        assert failure(made.verify).extack == "it has another name"


@pytest.mark.parametrize("how", ["snapshot", "take", "load"])
@pytest.mark.parametrize("moved", ["arrived", "refused"])
def test_snapshot_after_a_move_is_refused(run, how, moved):
    """What an undo needs is not overwritten; after the undo a new one can be taken."""
    made = run(IPV4, IPV6)
    link, addresses = made.dev.link_message, made.dev.addresses
    if moved == "refused":
        made.world.source.fault = refuse(errno.EPERM, times=1, when=is_move)
        failure(made.move)
    else:
        made.move()

    def again():
        if how == "snapshot":
            made.dev.snapshot(made.source)
        elif how == "take":
            made.dev.snapshot(made.source, (link, addresses))
        else:
            made.dev.load(link, addresses)

    e = failure(again)
    assert (e.errno, e.step) == (errno.EINVAL, "snapshot")
    assert e.extack.startswith("it was moved already")
    assert (made.dev.link_message, made.dev.addresses) == (link, addresses)
    made.undo()
    assert sorted(made.world.source.links) == [7]
    assert len(made.world.source.addresses) == 2
    again()
    assert made.dev.addresses_size == len(addresses)


@pytest.mark.parametrize("why", ["refused", "renamed", "gone", "dump"])
def test_snapshot_that_fails_leaves_the_earlier_one(run, why):
    """Link, addresses and ifindex are what they were, and the move and its undo are those of that snapshot."""
    made = run(IPV4, IPV6)
    before = made.dev.link_message, made.dev.addresses, made.dev.ifindex, made.dev.was_up, made.dev.place
    source = made.world.source
    flags, attributes = source.links[7]
    if why in ("refused", "dump"):
        asked = nl.RTM_GETLINK if why == "refused" else nl.RTM_GETADDR
        source.fault = refuse(errno.EPERM, times=1, when=lambda r: r.type == asked)
    elif why == "renamed":
        source.links[7] = flags, attributes | {nl.IFLA_IFNAME: b"other\0"}
    else:
        del source.links[7]
    failure(made.dev.snapshot, made.source)
    assert (made.dev.link_message, made.dev.addresses, made.dev.ifindex, made.dev.was_up, made.dev.place) == before
    source.links[7] = flags, attributes
    made.move()
    made.replay()
    made.verify()


def test_snapshot_can_be_taken_again(run):
    """The later one counts."""
    made = run(IPV4)
    made.world.source.addresses.append(IPV6)
    made.dev.snapshot(made.source)
    assert made.dev.addresses == nl.padded(nl.message(20, IPV4, seq=1003, flags=2)) + nl.padded(
        nl.message(20, IPV6, seq=1003, flags=2)
    )


STEPS = ("snapshot", "move", "replay", "verify", "return", "restore")


def steps_of(made: Run) -> dict:
    return {
        "snapshot": lambda: made.dev.snapshot(made.source),
        "move": made.move,
        "replay": made.replay,
        "verify": made.verify,
        "return": lambda: made.undo(RETURN),
        "restore": lambda: made.undo(RESTORE),
    }


def fail_once(made: Run, number: int, *, obeyed: bool) -> list[int]:
    """The message of that number, of both namespaces together, is refused; returns what counts down to it."""
    left = [number]

    def fault(_: nl.Request) -> int:
        left[0] -= 1
        return errno.EPERM if left[0] == -1 else 0

    for side in (made.world.source, made.world.target):
        setattr(side, "late_fault" if obeyed else "fault", fault)
    return left


def no_more_faults(made: Run) -> None:
    for side in (made.world.source, made.world.target):
        side.fault = side.late_fault = lambda _: 0


@pytest.mark.parametrize("wanted", ["net0", "net%d"])
@pytest.mark.parametrize("unsure", [False, True])
@pytest.mark.parametrize("obeyed", [False, True], ids=["refused", "obeyed-and-refused"])
@pytest.mark.parametrize("step", STEPS)
def test_every_step_is_called_again_after_each_failure(run, step, obeyed, unsure, wanted):
    """Whichever message of a step fails, once: called again it succeeds, and a third time; and so do the other steps.

    But an address that alone was refused is then behind the others: that is told, by verify and by undo.
    """
    for number in range(40):
        made = run(IPV4, SECOND, IPV6, PEER6, dev=device(wanted, unsure=unsure))
        flags, attributes, addresses = made.world.source._seen(7)
        made.dev.snapshot(made.source)
        steps, is_replayed = steps_of(made), step in ("replay", "restore")
        for name in STEPS[: STEPS.index(step)]:
            steps[name]()
        left = fail_once(made, number, obeyed=obeyed)
        with contextlib.suppress(EngineError):
            steps[step]()
        no_more_faults(made)
        for name in STEPS[STEPS.index(step) :]:
            for _ in range(2):
                try:
                    steps[name]()
                except EngineError as e:
                    is_told = is_replayed and not obeyed and e.extack.endswith("is out of order")
                    if name not in ("verify", "restore") or not is_told:
                        raise
        assert made.world.source._seen(7)[:2] == (flags, attributes)
        assert {*map(local, made.world.source._seen(7)[2])} == {*map(local, addresses)}
        if left[0] >= 0:  # it has no message of that number
            assert number > 0
            return
    raise AssertionError("a step of 40 messages")


@pytest.mark.native
@pytest.mark.parametrize("wanted", ["net0", "net%d"])
@pytest.mark.parametrize("unsure", [False, True])
def test_no_code_is_left_after_a_success(run, unsure, wanted, monkeypatch):
    """nd_err.code is 0 after each step that succeeds, whatever was refused on its way and is no failure."""
    steps = []

    def step(self, call, *args):
        self._err.code = -errno.EXFULL
        while call(self.raw, *args, self._err):
            assert self._err.code == -errno.EOVERFLOW
            self._grow(self.raw.need)
        assert self._err.code == 0, call
        steps.append(call)

    monkeypatch.setattr(Device, "_step", step)
    made = run(IPV4, IPV6, PEER6, dev=device(wanted, unsure=unsure))
    made.world.target.fault = refuse(errno.ESRCH, when=lambda r: r.type == nl.RTM_DELROUTE)
    made.dev.find(made.source, made.target)
    made.move()
    made.move()
    made.dev.find(made.source, made.target)
    made.replay()
    made.verify()
    arrived = bytes(made.dev.arrived)
    (length,) = struct.unpack_from("=I", arrived)
    made.dev.verify(made.target, (arrived[:length], arrived[(length + 3) & ~3 :]))
    made.undo(RETURN)
    made.undo(RESTORE)
    made.undo()
    assert len(set(steps)) == 7


# ---- a container that fights ---------------------------------------------------------------------------------------

OTHER_MAC = bytes.fromhex("020000000066")
PERMANENT_MAC = bytes.fromhex("00163e000001")


def disguise(made: Run, **more: bytes) -> None:
    """The container gives the device another name and another MAC address, and what else is named."""
    flags, attributes = made.world.target.links[7]
    changed = {getattr(nl, name): value for name, value in more.items()}
    made.world.target.links[7] = flags, attributes | {nl.IFLA_IFNAME: b"evil0\0", nl.IFLA_ADDRESS: OTHER_MAC} | changed


def begin_with(run, **attributes: bytes) -> Run:
    """A run whose device has these attributes, too."""
    made = run(IPV4)
    flags, found = made.world.source.links[7]
    changed = {getattr(nl, name): value for name, value in attributes.items()}
    made.world.source.links[7] = flags, found | changed
    made.dev.snapshot(made.source)
    return made


@pytest.mark.parametrize("wanted", ["net0", "net%d"])
def test_renamed_device_with_another_mac_comes_back(run, wanted):
    """Name and MAC address are the container's: it is found by its ifindex, and returned under its own name."""
    made = run(IPV4, dev=device(wanted))
    made.move()
    disguise(made)
    made.dev.find(made.source, made.target)
    assert (made.dev.place, made.dev.name, made.dev.target_ifindex) == (PLACE_TARGET, b"evil0", 7)
    made.undo(RETURN)
    assert made.dev.place == PLACE_SOURCE
    assert made.world.source.links[7][1][nl.IFLA_IFNAME] == b"eth1\0"
    assert failure(made.undo).extack == "the MAC address changed"


@pytest.mark.parametrize(
    ("had", "has", "place"),
    [
        pytest.param({}, {"IFLA_LINKINFO": nl.attr(1, b"veth\0")}, PLACE_GONE, id="kind"),
        pytest.param({}, {"IFLA_ADDRESS": bytes(20)}, PLACE_GONE, id="mac-length"),
        pytest.param(
            {"IFLA_PERM_ADDRESS": PERMANENT_MAC}, {"IFLA_PERM_ADDRESS": OTHER_MAC}, PLACE_GONE, id="permanent-mac"
        ),
        pytest.param(
            {"IFLA_PARENT_DEV_NAME": b"0000:01:00.0\0"},
            {"IFLA_PARENT_DEV_NAME": b"0000:01:00.1\0"},
            PLACE_GONE,
            id="parent",
        ),
        pytest.param({"IFLA_LINK": U32(8)}, {"IFLA_LINK": U32(9)}, PLACE_GONE, id="link"),
        pytest.param({"IFLA_LINK": U32(8)}, {}, PLACE_TARGET, id="same-link"),
        pytest.param(
            {"IFLA_PERM_ADDRESS": PERMANENT_MAC, "IFLA_LINK": U32(8)},
            {"IFLA_LINK": U32(9)},
            PLACE_TARGET,
            id="same-permanent-mac-other-link",
        ),
        pytest.param({}, {"IFLA_PERM_ADDRESS": OTHER_MAC}, PLACE_TARGET, id="permanent-mac-not-known-before"),
    ],
)
def test_other_hardware_under_its_ifindex_is_not_taken_for_it(run, had, has, place):
    """Of another kind, or with another permanent MAC address, parent or other end: it is not ours."""
    made = begin_with(run, **had)
    made.move()
    disguise(made, **has)
    made.dev.find(made.source, made.target)
    assert made.dev.place == place


def test_other_permanent_mac_is_not_ours_even_with_our_mac(run):
    """What nobody can change counts for more than what anybody can."""
    made = begin_with(run, IFLA_PERM_ADDRESS=PERMANENT_MAC)
    made.move()
    flags, attributes = made.world.target.links[7]
    made.world.target.links[7] = flags, attributes | {nl.IFLA_PERM_ADDRESS: OTHER_MAC}
    made.dev.find(made.source, made.target)
    assert made.dev.place == PLACE_GONE


@pytest.mark.parametrize(
    ("had", "unsure", "place"),
    [
        ({}, False, PLACE_GONE),
        ({"IFLA_LINK": U32(8)}, False, PLACE_TARGET),
        ({"IFLA_PERM_ADDRESS": PERMANENT_MAC}, False, PLACE_TARGET),
        ({"IFLA_PERM_ADDRESS": PERMANENT_MAC}, True, PLACE_GONE),
    ],
)
def test_device_out_of_a_record_needs_evidence(run, had, unsure, place):
    """Where nobody saw it arrive, an ifindex alone does not make a device ours: the container may have made one."""
    made = begin_with(run, **had)
    made.move()
    disguise(made)
    later = device(unsure=unsure)
    later.load(made.dev.link_message, made.dev.addresses)
    later.find(made.source, made.target)
    assert later.place == place


def test_last_resort_is_the_last(run):
    """A device in the source under its ifindex and name comes first, whatever its MAC address."""
    made = run(IPV4)
    made.move()
    disguise(made)
    made.world.source.links[7] = (0, World.attributes("eth1", OTHER_MAC))
    made.dev.find(made.source, made.target)
    assert made.dev.place == PLACE_SOURCE


def test_return_that_is_refused_can_be_called_again(run):
    """EEXIST on the way back: place, name and ifindex are the target's, so what is in the way can be removed there."""
    made = run(IPV4)
    made.move()
    disguise(made)
    made.world.target.fault = refuse(errno.EEXIST, times=1, when=is_move)
    e = failure(made.undo, RETURN)
    assert (e.errno, e.step) == (errno.EEXIST, "undo")
    assert (made.dev.place, made.dev.target_ifindex, made.dev.name) == (PLACE_TARGET, 7, b"evil0")
    made.undo(RETURN)
    assert made.dev.place == PLACE_SOURCE
