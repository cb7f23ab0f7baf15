"""A recovery writes nothing to a virtual device that was made anew with the name and ifindex of one of the record."""

from __future__ import annotations

import pytest

import netdevns
from netdevns.recovery.loaded_record import NOT_FOUND
from netdevns.recovery.recover import NAMESAKE
from tests.support.namespaces import Namespace
from tests.support.processes import wait_until
from tests.support.restored import Untouched

from .crashes import killed

HOST = """
    link add stays type ifb
    link set stays up
    link add eth1 index 302 type veth peer name peer index 303
    link set peer up
    link set eth1 up
    addr add 10.0.0.1/24 dev eth1
"""
# Made anew: with another peer; or with one of the same name and ifindex.
NEW = {
    "another peer": "link add eth1 index 302 type veth peer name peer index 404",
    "an equal peer": "link add eth1 index 302 type veth peer name peer index 303",
}
MORE = ["link set eth1 mtu 1400 alias mine", "addr add 198.51.100.1/24 dev eth1"]
DEVICES = {"eth1": "net1"}


def furnish(host: Namespace) -> None:
    host.batch(HOST)
    host.wait_until_quiet()


def replace(host: Namespace, new: str) -> None:
    wait_until(lambda: "peer" not in host.names(), "the veth has ended")
    host.batch([new, *MORE])
    host.wait_until_quiet()


@pytest.mark.parametrize("new", NEW.values(), ids=NEW)
@pytest.mark.parametrize("is_target_gone", [True, False])
def test_new_device_is_left_alone(host: Namespace, directory: str, new: str, is_target_gone: bool) -> None:
    """P7: the old one ended in the target; the record is kept."""
    furnish(host)
    target = Namespace.create("short-lived")
    killed(directory, target, "up_and_replay", 1, after=True, devices=DEVICES)
    if is_target_gone:
        target.close()
    else:
        target.ip("link del net1")
    replace(host, new)
    with Untouched(host):
        (found,) = netdevns.recover(directory)
    assert (found.outcome, found.text) == ("kept", NAMESAKE if is_target_gone else NOT_FOUND)
    target.close()


def test_device_with_a_new_mac_is_restored(host: Namespace, target: Namespace, directory: str) -> None:
    """P1: one that never left, and got another MAC since, is the old one."""
    furnish(host)
    killed(directory, target, "move", 1, devices=DEVICES)
    host.batch(["link set eth1 address 02:00:00:00:00:99 mtu 1400"])
    (found,) = netdevns.recover(directory)
    assert (found.outcome, found.text) == ("undone", "restored")
    assert host.ip_json("link show dev eth1")[0]["mtu"] == 1500
