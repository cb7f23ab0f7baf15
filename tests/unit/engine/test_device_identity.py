"""Recognition of a device that a container has renamed, or given another MAC address."""

import errno

import pytest

from netdevns.engine import PLACE_GONE, PLACE_SOURCE, PLACE_TARGET, RETURN
from tests.unit import messages as nl
from tests.unit.engine.steps import IPV4, U32, Run, failure, is_move, refuse
from tests.unit.fake import World, device

OTHER_MAC = bytes.fromhex("020000000066")
PERMANENT_MAC = bytes.fromhex("00163e000001")


def disguise(made: Run, **more: bytes) -> None:
    """The container changes the device's name, MAC address and the given attributes."""
    flags, attributes = made.world.target.links[7]
    changed = {getattr(nl, name): value for name, value in more.items()}
    made.world.target.links[7] = flags, attributes | {nl.IFLA_IFNAME: b"evil0\0", nl.IFLA_ADDRESS: OTHER_MAC} | changed


def begin_with(run, **attributes: bytes) -> Run:
    """A run whose device also has these attributes."""
    made = run(IPV4)
    flags, found = made.world.source.links[7]
    changed = {getattr(nl, name): value for name, value in attributes.items()}
    made.world.source.links[7] = flags, found | changed
    made.dev.snapshot(made.source)
    return made


@pytest.mark.parametrize("wanted", ["net0", "net%d"])
def test_renamed_device_with_another_mac_comes_back(run, wanted):
    """A device with a changed name and MAC address is found by its ifindex, and returns under its name."""
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
        pytest.param(
            {"IFLA_PARENT_DEV_NAME": b"0000:01:10.0\0", "IFLA_PERM_ADDRESS": PERMANENT_MAC},
            {"IFLA_PERM_ADDRESS": OTHER_MAC},
            PLACE_TARGET,
            id="same-parent-other-permanent-mac",
        ),
        pytest.param(
            {"IFLA_PARENT_DEV_NAME": b"0000:01:10.0\0", "IFLA_PERM_ADDRESS": PERMANENT_MAC},
            {"IFLA_PARENT_DEV_NAME": b"0000:01:10.2\0"},
            PLACE_GONE,
            id="other-parent-same-permanent-mac",
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
def test_other_hardware_with_its_ifindex_is_another_device(run, had, has, place):
    """Another kind, permanent MAC address, parent or peer: it is another device."""
    made = begin_with(run, **had)
    made.move()
    disguise(made, **has)
    made.dev.find(made.source, made.target)
    assert made.dev.place == place


@pytest.mark.parametrize(("had", "place"), [({}, PLACE_GONE), ({"IFLA_PARENT_DEV_NAME": b"0\0"}, PLACE_TARGET)])
def test_other_permanent_mac_is_another_device(run, had, place):
    """Attributes that cannot be changed outweigh those that can; a driver may change the MAC, but not the parent."""
    made = begin_with(run, IFLA_PERM_ADDRESS=PERMANENT_MAC, **had)
    made.move()
    flags, attributes = made.world.target.links[7]
    made.world.target.links[7] = flags, attributes | {nl.IFLA_PERM_ADDRESS: OTHER_MAC}
    made.dev.find(made.source, made.target)
    assert made.dev.place == place


@pytest.mark.parametrize(
    ("had", "unsure", "place"),
    [
        ({}, False, PLACE_GONE),
        ({"IFLA_LINK": U32(8)}, False, PLACE_TARGET),
        ({"IFLA_PERM_ADDRESS": PERMANENT_MAC}, False, PLACE_TARGET),
        ({"IFLA_PERM_ADDRESS": PERMANENT_MAC}, True, PLACE_GONE),
    ],
)
def test_device_of_a_record_needs_evidence(run, had, unsure, place):
    """Before the arrival was seen, an ifindex alone does not identify a device: the container may have made another."""
    made = begin_with(run, **had)
    made.move()
    disguise(made)
    later = device(unsure=unsure)
    later.load(made.dev.link_message, made.dev.addresses)
    later.find(made.source, made.target)
    assert later.place == place


def test_ifindex_alone_is_the_last_resort(run):
    """A device in the source under its ifindex and name comes first, whatever its MAC address."""
    made = run(IPV4)
    made.move()
    disguise(made)
    made.world.source.links[7] = (0, World.attributes("eth1", OTHER_MAC))
    made.dev.find(made.source, made.target)
    assert made.dev.place == PLACE_SOURCE


def test_return_that_is_refused_can_be_called_again(run):
    """EEXIST on the way back: place, name and ifindex are those in the target, so the obstacle can be removed there."""
    made = run(IPV4)
    made.move()
    disguise(made)
    made.world.target.fault = refuse(errno.EEXIST, times=1, when=is_move)
    e = failure(made.undo, RETURN)
    assert (e.errno, e.step) == (errno.EEXIST, "undo")
    assert (made.dev.place, made.dev.target_ifindex, made.dev.name) == (PLACE_TARGET, 7, b"evil0")
    made.undo(RETURN)
    assert made.dev.place == PLACE_SOURCE
