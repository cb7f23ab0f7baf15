"""A hostile container: its changes to a device do not keep the engine from finding it and bringing it home."""

from __future__ import annotations

import errno
from collections.abc import Iterator

import pytest

from netdevns.engine import PLACE_GONE, PLACE_SOURCE, PLACE_TARGET, RETURN, Device, EngineError, Socket, lookups
from tests.support.namespaces import Namespace


class Moved:
    """eth1, moved into the target as net0, with the sockets of both sides."""

    def __init__(self, host: Namespace, target: Namespace, source: Socket, there: Socket) -> None:
        self.host, self.target, self.source, self.there = host, target, source, there
        self.device = Device(b"eth1", b"net0", 0)
        self.device.snapshot(source)
        self.device.ask_ifindex(self.device.ifindex, unsure=False)
        self.device.move(source, there, target.fd)

    def undo(self) -> None:
        self.device.undo(self.source, self.there, self.host.fd, RETURN)


@pytest.fixture(params=["veth", "ifb", "macvlan"])
def moved(request: pytest.FixtureRequest, host: Namespace, target: Namespace) -> Iterator[Moved]:
    made = {"veth": "type veth peer name peer", "ifb": "type ifb", "macvlan": "link lower type macvlan"}[request.param]
    host.batch(["link add lower type ifb", f"link add eth1 index 4711 {made}"])
    with Socket(host.fd) as source, Socket(target.fd) as there:
        yield Moved(host, target, source, there)


def disguise(moved: Moved) -> None:
    commands = ["link set net0 down", "link set net0 name evil0"]
    if moved.target.ip_json("-d link show net0")[0]["linkinfo"]["info_kind"] != "ifb":  # its MAC address is fixed
        commands.append("link set evil0 address 02:66:66:66:66:66")
    moved.target.batch(commands)


def test_renamed_device_with_another_mac_comes_back(moved: Moved) -> None:
    """It is found by its ifindex, and returned with its own name and ifindex."""
    disguise(moved)
    moved.undo()
    assert (moved.device.place, moved.device.ifindex) == (PLACE_SOURCE, 4711)
    assert "eth1" in moved.host.names()
    assert moved.target.names() == set()


@pytest.mark.smoke
def test_recovered_device_is_found_by_its_lower(moved: Moved) -> None:
    """From a record, which has no ifindex of the arrival: found by its peer or lower device, or by its MAC."""
    disguise(moved)
    later = Device(b"eth1", b"net0", 0)
    later.load(moved.device.link_message, moved.device.addresses)
    later.ask_ifindex(4711, unsure=False)
    later.find(moved.source, moved.there)
    assert (later.place, later.name) == (PLACE_TARGET, b"evil0")


def test_other_device_under_its_ifindex_is_not_taken(moved: Moved) -> None:
    """Deleted and replaced by a device of another kind, ours is gone."""
    moved.target.batch(["link del net0", "link add net0 index 4711 type bridge"])
    moved.device.find(moved.source, moved.there)
    assert moved.device.place == PLACE_GONE


def test_alternative_name_in_the_way_can_be_removed(moved: Moved) -> None:
    """If the return is refused because a name is taken, the device stays in the target, and is known there."""
    if not lookups.moves_altnames():
        pytest.skip("before 6.6 alternative names do not travel")
    moved.target.ip("link property add dev net0 altname lower")
    with pytest.raises(EngineError) as raised:
        moved.undo()
    assert (raised.value.errno, raised.value.step) == (errno.EEXIST, "undo")
    assert (moved.device.place, moved.device.target_ifindex, moved.device.name) == (PLACE_TARGET, 4711, b"net0")
    moved.target.ip("link property del dev net0 altname lower")
    moved.undo()
    assert moved.device.place == PLACE_SOURCE
    assert "eth1" in moved.host.names()
