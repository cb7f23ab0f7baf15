"""The move of one device: the request, and the place where the device is after a failure."""

import errno

import pytest

from netdevns.engine import PLACE_GONE, PLACE_SOURCE, PLACE_TARGET, PLACE_UNKNOWN
from tests.unit import messages as nl
from tests.unit.engine.steps import IPV4, failure, is_move, local, refuse
from tests.unit.fake import World, device


def test_move_needs_a_snapshot():
    """A device without a snapshot is not moved: it could not be restored."""
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
    """A refusal before the move: the device is found in the source."""
    made = run()
    made.world.source.fault = refuse(errno.EPERM, when=is_move)
    e = failure(made.move)
    assert (e.errno, e.step, made.dev.place) == (errno.EPERM, "move", PLACE_SOURCE)


def test_move_that_fails_after_it_left(run):
    """EEXIST, but the device is in the target, under its old name: it is found there, and returned."""
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
    """A move that was done but answered by an error succeeds: the place of the device decides."""
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


def test_place_is_unknown_when_look_ups_fail(run):
    """If the search also fails, the place is unknown."""
    made = run()
    made.world.source.fault = refuse(errno.EPERM)
    failure(made.move)
    assert made.dev.place == PLACE_UNKNOWN


def test_another_device_with_its_ifindex_is_not_it(run):
    """A device with the same ifindex in the source, but another MAC address, is another device."""
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
    """Name and ifindex alone do not identify a device: kind and MAC length must match the snapshot."""
    made = run()
    made.world.source.links[7] = (0, attributes)
    made.world.source.fault = refuse(errno.ENODEV, when=is_move)
    failure(made.move)
    assert made.dev.place == PLACE_GONE


def test_device_whose_mac_was_changed_is_found(run):
    """A device with the same name, ifindex and kind is recognized although its MAC address has changed."""
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
    """If the kernel may choose the ifindex, the device is looked up by its name after the move."""
    made = run(dev=device(ask=0))
    made.world.target.links[7] = (0, World.attributes("other", bytes(6)))
    made.move()
    assert (made.dev.place, made.dev.target_ifindex) == (PLACE_TARGET, 100)


def test_template_with_a_known_ifindex_is_read_back(run):
    """`net%d`: the name that the kernel chose is read back by the requested ifindex."""
    made = run(dev=device("net%d"))
    made.world.target.links[5] = (0, World.attributes("net0", bytes(6)))
    made.move()
    assert (made.dev.name, made.dev.target_ifindex) == (b"net1", 7)


def test_template_with_an_unsure_ifindex_uses_a_temporary_name(run):
    """Neither name nor ifindex would be known: it moves under a temporary name, and is renamed in the target."""
    made = run(dev=device("net%d", ask=9, unsure=True))
    made.move()
    names = [r.attrs()[nl.IFLA_IFNAME] for r in made.world.source.trace if is_move(r)]
    assert len(names) == 1
    assert names[0].startswith(b"nd")
    assert (made.dev.name, made.dev.place) == (b"net0", PLACE_TARGET)


def test_temporary_name_that_cannot_be_changed(run):
    """If the rename in the target is refused, the move fails, and the device is known to be in the target."""
    made = run(dev=device("net%d", ask=9, unsure=True))
    made.world.target.fault = refuse(errno.EINVAL, when=lambda r: r.type == nl.RTM_NEWLINK)
    e = failure(made.move)
    assert (e.errno, made.dev.place) == (errno.EINVAL, PLACE_TARGET)
    assert made.dev.name.startswith(b"nd")
    made.world.target.fault = refuse(0)
    made.undo()
    assert made.dev.place == PLACE_SOURCE
