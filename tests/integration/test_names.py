"""Names: optional, wanted, templates."""

from __future__ import annotations

import pytest

import netdevns
from tests.support.namespaces import Namespace


def ifbs(*names: str) -> list[str]:
    return [f"link add name {name} type ifb" for name in names]


@pytest.mark.parametrize(
    "value", [{}, {"name": ""}, {"name": None}, "", None], ids=["absent", "empty", "null", "str", "none"]
)
def test_without_a_name_the_host_name_is_kept(host: Namespace, target: Namespace, value: object) -> None:
    """S2: an absent or empty `name` means the name that the device has on the host."""
    host.batch(ifbs("eth1"))
    (moved,) = netdevns.move({"eth1": value}, target.fd)
    assert (moved.host_name, moved.name) == ("eth1", "eth1")
    assert [link["ifname"] for link in target.ip_json("link show dev eth1")] == ["eth1"]
    assert host.names() == set()


@pytest.mark.parametrize("value", [{"name": "net0"}, "net0"], ids=["object", "str"])
def test_rename(host: Namespace, target: Namespace, value: object) -> None:
    """S2: the device has the wanted name in the container, and it is gone from the host."""
    host.batch(ifbs("eth1"))
    (moved,) = netdevns.move({"eth1": value}, target.fd)
    assert moved.name == "net0"
    assert target.names() == {"net0"}
    assert host.names() == set()


@pytest.mark.parametrize(
    "name", ["a", "abcdefghijklmno", "é" * 7, "x.7", "@#$!-", "0"], ids=["1", "15", "utf-8", "dot", "odd", "digit"]
)
def test_every_name_that_the_kernel_takes(host: Namespace, target: Namespace, name: str) -> None:
    """S2: what the kernel takes for a name is not refused: 1 to 15 bytes of nearly anything."""
    host.batch(ifbs("eth1"))
    (moved,) = netdevns.move({"eth1": name}, target.fd)
    assert moved.name == name
    assert target.names() == {name}


def test_a_host_name_that_is_no_text(host: Namespace, target: Namespace) -> None:
    """Names are bytes (DESIGN 3): one that is no UTF-8 is a name like another."""
    name = b"e\xff1".decode("utf-8", "surrogateescape")
    with host.socket() as socket:
        ifb = b"\x08\x00\x01\x00ifb\x00"
        body = bytes(16) + b"\x08\x00\x03\x00e\xff1\x00" + b"\x0c\x00\x12\x00" + ifb  # IFLA_IFNAME, IFLA_LINKINFO
        assert socket.request(16, 0x600, body) == 0
    (moved,) = netdevns.move({name: {}}, target.fd)
    assert moved.name == name
    assert target.names() == {name}


@pytest.mark.smoke
def test_template_takes_the_lowest_free_number(host: Namespace, target: Namespace) -> None:
    """S5: with `%d` the kernel chooses a free name; it is read back, not guessed."""
    host.batch(ifbs("mv0"))
    target.batch(ifbs("eth0", "eth2"))
    (moved,) = netdevns.move({"mv0": "eth%d"}, target.fd)
    assert moved.name == "eth1"
    assert target.names() == {"eth0", "eth1", "eth2"}
    assert target.links()["eth1"].ifindex == moved.ifindex


@pytest.mark.parametrize("template", ["%d", "a%db", "abcdefghijklm%d"], ids=["bare", "inside", "15 bytes"])
def test_template_forms(host: Namespace, target: Namespace, template: str) -> None:
    """S5: the number can stand anywhere in a template."""
    host.batch(ifbs("mv0"))
    (moved,) = netdevns.move({"mv0": template}, target.fd)
    assert moved.name == template.replace("%d", "0")
    assert target.names() == {moved.name}


def test_template_where_the_old_name_is_taken(host: Namespace, target: Namespace) -> None:
    """S4, S5: a device of the host name in the container does not conflict with a template."""
    host.batch(ifbs("eth0"))
    target.batch(ifbs("eth0"))
    (moved,) = netdevns.move({"eth0": "eth%d"}, target.fd)
    assert moved.name in ("eth1", "eth2")  # the kernel expands such a template twice
    assert target.names() == {"eth0", moved.name}


def test_template_where_the_ifindex_is_taken(host: Namespace, target: Namespace) -> None:
    """S5: the chosen name is read back although the device's number changes, too."""
    host.batch(["link add mv0 index 77 type ifb"])
    target.batch(["link add eth0 index 77 type ifb"])
    (moved,) = netdevns.move({"mv0": "eth%d"}, target.fd)
    assert moved.name == "eth1"
    assert moved.ifindex != 77
    assert target.links()["eth1"].ifindex == moved.ifindex


def test_template_that_the_device_matches_itself(host: Namespace, target: Namespace) -> None:
    """S5: `eth%d` for eth0: whether it is in its own way is the kernel's to say, and read back."""
    host.batch(ifbs("eth0"))
    (moved,) = netdevns.move({"eth0": "eth%d"}, target.fd)
    assert moved.name in ("eth0", "eth1")
    assert target.names() == {moved.name}


def test_several_templates_in_one_batch(host: Namespace, target: Namespace) -> None:
    """S5: each device of a batch gets a number of its own, and the result says which."""
    host.batch(
        [
            "link add lower type veth peer name lowerp",
            *(
                f"link add link lower name {name} address 02:00:00:00:00:0{n} type macvlan mode bridge"
                for n, name in enumerate("abcd")
            ),
        ]
    )
    target.batch(ifbs("eth1"))
    moved = netdevns.move({"a": "eth%d", "b": "eth%d", "c": "eth%d", "d": "eth%d"}, target.fd)
    assert {m.name for m in moved} == {"eth0", "eth2", "eth3", "eth4"}
    macs = {link["ifname"]: link["address"] for link in target.ip_json("link show")}
    assert [macs[m.name] for m in moved] == [f"02:00:00:00:00:0{n}" for n in range(4)]


@pytest.mark.smoke
@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")], ids=["template first", "template last"])
def test_template_leaves_a_literal_name_alone(host: Namespace, target: Namespace, order: tuple[str, str]) -> None:
    """S4, S5: `eth%d` never takes the `eth0` that another device of the batch wants."""
    host.batch(ifbs("a", "b"))
    wanted = {"a": "eth%d", "b": "eth0"}
    moved = netdevns.move({device: wanted[device] for device in order}, target.fd)
    assert {m.host_name: m.name for m in moved} == {"a": "eth1", "b": "eth0"}
    assert target.names() == {"eth0", "eth1"}


@pytest.mark.smoke
def test_swap_of_two_names(host: Namespace, target: Namespace) -> None:
    """S2: two devices of a batch may take each other's name."""
    host.batch(["link add name a index 101 type ifb", "link add name b index 102 type ifb"])
    moved = netdevns.move({"a": "b", "b": "a"}, target.fd)
    assert [(m.name, m.host_ifindex) for m in moved] == [("b", 101), ("a", 102)]
    assert {name: link.ifindex for name, link in target.links().items() if name != "lo"} == {"b": 101, "a": 102}


def test_ring_of_names(host: Namespace, target: Namespace) -> None:
    """S2: so may five, in a ring."""
    names = ["a", "b", "c", "d", "e"]
    host.batch([f"link add name {name} index {101 + n} type ifb" for n, name in enumerate(names)])
    netdevns.move(dict(zip(names, [*names[1:], names[0]], strict=True)), target.fd)
    found = {link.ifindex: name for name, link in target.links().items() if name != "lo"}
    assert found == {101: "b", 102: "c", 103: "d", 104: "e", 105: "a"}


def test_results_are_in_the_order_of_the_mapping(host: Namespace, target: Namespace) -> None:
    """DESIGN 4.1: results are in the mapping's order, whatever order the devices are moved in."""
    host.batch(ifbs("a", "b", "c", "d"))
    moved = netdevns.move({"c": "x%d", "a": "n1", "d": "x%d", "b": {}}, target.fd)
    assert [m.host_name for m in moved] == ["c", "a", "d", "b"]
    assert moved[1].name == "n1"
    assert moved[3].name == "b"


def test_nothing_asked_for_is_nothing_done(host: Namespace, target: Namespace) -> None:
    """S1: an empty object is valid."""
    with host.monitor() as monitor:
        assert netdevns.move({}, target.fd) == ()
        assert monitor.seen() == []
