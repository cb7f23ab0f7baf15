"""The undo of one device: its return to the source, and its addresses there."""

import errno

import pytest

from netdevns._ffi import ffi, lib
from netdevns.engine import PLACE_GONE, PLACE_SOURCE, PLACE_TARGET, RESTORE, RETURN, Device
from tests.unit import messages as nl
from tests.unit.engine.steps import IPV4, IPV6, SECOND, SECOND6, Run, failure, flags_of, is_move, local, refuse
from tests.unit.fake import World


def moved(run_, *addresses: bytes, **options) -> Run:
    made = run_(*addresses, **options)
    made.move()
    made.replay()
    return made


def test_undo_restores_everything(run):
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
    """An unchanged device that never left is read, and no request that changes anything is sent."""
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
    """EBUSY on the way back: its ifindex is taken, so it returns without IFLA_NEW_IFINDEX."""
    made = moved(run, IPV4)
    made.world.source.links[7] = (0, World.attributes("other", bytes(6)))
    made.undo()
    backs = [nl.IFLA_NEW_IFINDEX in r.attrs() for r in made.world.target.trace if is_move(r)]
    assert backs == [True, False]
    assert (made.dev.place, made.dev.ifindex) == (PLACE_SOURCE, 100)
    assert [a[4] for a in made.world.source.addresses] == [100]


def test_undo_of_a_device_that_is_gone(run):
    """A device in neither namespace is ENODEV, and its place is "gone"."""
    made = moved(run)
    del made.world.target.links[7]
    e = failure(made.undo)
    assert (e.errno, e.step, made.dev.place) == (errno.ENODEV, "undo", PLACE_GONE)


def test_undo_that_is_refused(run):
    """A refused way back is the result, and the device is known to be in the target."""
    made = moved(run)
    made.world.target.fault = refuse(errno.EPERM, when=is_move)
    e = failure(made.undo)
    assert (e.errno, e.step, made.dev.place) == (errno.EPERM, "undo", PLACE_TARGET)


def test_undo_when_the_old_name_is_taken(run):
    """If it returns but cannot be renamed, it is in the source, and the difference is reported."""
    made = moved(run, IPV4)
    made.world.source.links[5] = (0, World.attributes("eth1", bytes(6)))
    e = failure(made.undo)
    assert (e.errno, e.extack, made.dev.place) == (errno.ESTALE, "it has another name", PLACE_SOURCE)
    assert [local(a) for a in made.world.source.addresses] == ["10.0.0.1"]


def test_undo_goes_on_after_a_refused_address(run):
    """A refused address does not end the replay: the others are restored, and it is reported."""
    made = moved(run, *[nl.address_body(f"10.0.{i // 200}.{i % 200}/32", 7) for i in range(300)])
    made.world.source.fault = refuse(errno.EINVAL, when=lambda r: r.type == 20 and local(r.body) == "10.0.0.5")
    e = failure(made.undo)
    assert (e.errno, e.extack) == (errno.ESTALE, "10.0.0.5/32 is missing")
    assert len(made.world.source.addresses) == 299


def test_undo_replays_link_locals_before_up(run):
    """A usable link-local address is added before IFF_UP: after it the kernel makes the same one, tentative."""
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


def test_undo_with_a_link_local_of_the_kernel(run):
    """A link-local address that the kernel makes meanwhile is not a difference."""
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
    """A way back that was done but answered by an error succeeds: the device is in the source."""
    made = moved(run)
    made.world.target.late_fault = refuse(errno.ENOBUFS, when=is_move)
    made.undo()
    assert made.dev.place == PLACE_SOURCE


@pytest.mark.native
def test_undo_from_a_copy_of_the_memory(run):
    """A device is plain data without pointers: a copy of its bytes is undone as well as the original."""
    made = moved(run, IPV4, IPV6)
    size = made.dev.raw.size
    saved = bytes(ffi.buffer(made.dev.raw, size))
    copy = Device(b"x", b"y", 1)
    assert lib.nd_member_reserve(copy.member, size) == 0
    ffi.memmove(copy.raw, saved, size)
    copy.undo(made.source, made.target, made.world.SOURCE_FD, RETURN | RESTORE)
    assert [local(a) for a in made.world.source.addresses] == ["10.0.0.1", "2001:db8::1"]
