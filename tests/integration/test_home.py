"""P5: lent devices are restored when their container ends, in spite of changes made meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from netdevns.engine import lookups
from netdevns.recovery import loaded_record, return_home, returns
from netdevns.system import clock
from tests.support.bpf import attach_xdp
from tests.support.namespaces import Namespace, fresh
from tests.support.processes import wait_until
from tests.support.restored import Restored, assert_equal_soon

from .lending import HOME, end, furnished, kept, lend, outcomes, throw_back, without_shared_routes


@pytest.fixture
def host(host: Namespace, monkeypatch: pytest.MonkeyPatch) -> Namespace:
    return furnished(host, monkeypatch)


@pytest.fixture
def elsewhere(host: Namespace, monkeypatch: pytest.MonkeyPatch) -> Iterator[Namespace]:
    """An initial namespace other than the devices' source."""
    assert host
    with fresh("initial") as initial:
        monkeypatch.setattr(loaded_record, "INIT", initial.path)
        yield initial


@pytest.mark.smoke
def test_returned_to_the_host(host: Namespace, target: Namespace, directory: str) -> None:
    """P5: name, link, addresses, routes, nexthops, neighbours, sysctls, master, port settings are back."""
    before = host.dump()
    lend(directory, target)
    throw_back(target, ["net0", "net1"], host)
    end(target)
    assert outcomes(returns.return_loans(directory)) == HOME
    assert_equal_soon(before, host, shown=without_shared_routes)
    assert (kept(directory), returns.return_loans(directory)) == ([], [])


def test_initial_namespace_is_another(host: Namespace, target: Namespace, elsewhere: Namespace, directory: str) -> None:
    """P5: if the source is not the initial namespace, the devices are fetched from the latter."""
    before = host.dump()
    lend(directory, target)
    throw_back(target, ["net0", "net1"], elsewhere)
    end(target)
    assert outcomes(returns.return_loans(directory)) == HOME
    assert_equal_soon(before, host, shown=without_shared_routes)
    assert elsewhere.names() == set()


def test_other_ifindex(host: Namespace, target: Namespace, directory: str) -> None:
    """P5: routes, nexthop objects and neighbours are restored with the device's new ifindex."""
    before = host.dump()
    lend(directory, target)
    throw_back(target, ["net0"], host, ifindex=501)
    throw_back(target, ["net1"], host, ifindex=502)
    ifindexes = [host.links()[name].ifindex for name in ("net0", "net1")]  # before 5.13 the kernel chooses
    end(target)
    assert outcomes(returns.return_loans(directory)) == HOME
    assert [host.links()[name].ifindex for name in ("eth1", "eth2")] == ifindexes
    assert_equal_soon(before, host, shown=lambda dump: {"addresses": dump["addresses"]})
    routes = host.ip("route show") + host.ip("-6 route show") + host.ip("nexthop show")
    for line in ("192.0.2.0/24 via 10.1.0.9 dev eth1", "192.0.3.0/24 nhid 7", "2001:db8:77::/48", "id 7 via 10.1.0.9"):
        assert line in routes
    assert "10.1.0.9 dev eth1 lladdr 02:00:00:00:00:99 PERMANENT" in host.ip("neigh show")
    assert [a.address for a in host.addresses("eth1")][:2] == ["10.1.0.1", "10.1.0.2"]


CHANGES = {
    "mtu": ["link set {} mtu 1300"],
    "mac-and-name": ["link set {} address 02:00:00:00:00:77", "link set {} name theirs"],
    "alias": ["link set {} alias theirs"],
    "flags": ["link set {} promisc on", "link set {} multicast off", "link set {} txqueuelen 77"],
    "more-flags": ["link set {} allmulticast on", "link set {} arp off"],
    "group": ["link set {} group 99"],
    "broadcast": ["link set {} broadcast 02:ff:ff:ff:ff:ff"],
    "link-mode": ["link set {} mode dormant"],
    "gso": ["link set {} gso_max_size 40000 gso_max_segs 77"],
    "up": ["link set {} up", "addr add 10.9.9.9/24 dev {}"],
}
if lookups.moves_altnames():  # before 6.6 a returned device keeps listing them
    CHANGES["altnames"] = ["link property add dev {} altname theirs", "link property del dev {} altname enp1"]


@pytest.mark.skipif(not lookups.moves_altnames(), reason="before 6.6 alternative names stand in the way of nothing")
@pytest.mark.parametrize("altname", ["other", "eth1", "eth2"])
def test_taken_altname(host: Namespace, target: Namespace, elsewhere: Namespace, directory: str, altname: str) -> None:
    """P5: an alternative name that the container added, and that is taken in the host, blocks no device."""
    before = host.dump()
    lend(directory, target)
    target.ip(f"link property add dev net0 altname {altname}")
    throw_back(target, ["net0", "net1"], elsewhere)
    end(target)
    assert outcomes(returns.return_loans(directory)) == HOME
    assert_equal_soon(before, host, shown=without_shared_routes)


def test_xdp_program_of_the_container(host: Namespace, target: Namespace, directory: str) -> None:
    """P5: an XDP program that the container attached is detached, and does not see the packets of the host."""
    before = host.dump()
    lend(directory, target)
    attach_xdp(target, "net0")
    throw_back(target, ["net0", "net1"], host)
    end(target)
    assert outcomes(returns.return_loans(directory)) == HOME
    assert_equal_soon(before, host, shown=without_shared_routes)


@pytest.mark.kinds("bond")
def test_active_slave_chosen_meanwhile(host: Namespace, target: Namespace, directory: str) -> None:
    """P5: a slave that comes home does not replace the active slave that the host has chosen meanwhile."""

    def choose(slave: str) -> None:
        host.ip(f"link set bond0 type bond active_slave {slave}")
        wait_until(lambda: active() == slave)

    def active() -> object:
        return host.ip_json("-d link show dev bond0")[0]["linkinfo"]["info_data"]["active_slave"]

    # Otherwise the kernel chooses its first one with each new slave (6.0 and later, with priorities).
    host.ip("link add bond0 type bond mode active-backup miimon 20 fail_over_mac active primary_reselect failure")
    host.ip("link set bond0 up")
    for name, ifindex in {"s1": 121, "s2": 122, "s3": 123}.items():
        host.batch([f"link add {name} index {ifindex} type veth peer name peer-{name}", f"link set peer-{name} up"])
        host.batch([f"link set {name} master bond0", f"link set {name} up"])
    host.wait_until_quiet()
    choose("s2")
    lend(directory, target, {"s1": "net0"})
    choose("s3")
    throw_back(target, ["net0"], host)
    end(target)
    assert outcomes(returns.return_loans(directory)) == [("s1", "undone", "source")]
    assert host.ip_json("link show dev s1")[0]["master"] == "bond0"
    assert active() == "s3"


@pytest.mark.sampled(2)
@pytest.mark.parametrize("change", [name for name in CHANGES if name != "mac-and-name"])
def test_changed_meanwhile(host: Namespace, target: Namespace, directory: str, change: str) -> None:
    """P5: changes to the link by the container, or by another process after it, are reverted."""
    before = host.dump()
    lend(directory, target)
    throw_back(target, ["net0", "net1"], host)
    host.batch([command.format("net0") for command in CHANGES[change]])
    end(target)
    assert outcomes(returns.return_loans(directory)) == HOME
    if change == "up":
        host.ip("addr del 10.9.9.9/24 dev eth1")  # added on the host, not by the container
    assert_equal_soon(before, host, shown=without_shared_routes)


def test_swapped_names(host: Namespace, target: Namespace, directory: str) -> None:
    """P5: devices that come back under each other's names get their own."""
    host.ip("link set eth2 nomaster")  # 5.10 keeps the name of a port that left like this in its bridge's sysfs folder
    before = host.dump()
    lend(directory, target, {"eth1": "eth2", "eth2": "eth1"})
    throw_back(target, ["eth1", "eth2"], host)
    end(target)
    assert outcomes(returns.return_loans(directory)) == HOME
    assert_equal_soon(before, host, shown=without_shared_routes)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("where", ["host", "elsewhere"])
@pytest.mark.parametrize("how", ["name", "altname"])
def test_name_is_taken(
    host: Namespace, target: Namespace, elsewhere: Namespace, directory: str, how: str, where: str
) -> None:
    """P5: the device stays where it is, down and without addresses, until its name is free; the others come home."""
    before = host.dump()
    lend(directory, target)
    host.ip("link add eth1 type ifb" if how == "name" else "link property add dev other altname eth1")
    throw_back(target, ["net0", "net1"], host if where == "host" else elsewhere)
    end(target)
    first, second = returns.return_loans(directory)
    assert (first.outcome, first.location) == ("kept", "source" if where == "host" else "init")
    assert returns.is_wrong(first)
    assert 'named net0: name "eth1" is taken by ' in first.text
    assert outcomes([second]) == HOME[1:]
    there = host if where == "host" else elsewhere
    assert not there.links()["net0"].up
    assert there.addresses("net0") == []
    host.ip("link del eth1" if how == "name" else "link property del dev other altname eth1")
    assert outcomes(returns.return_loans(directory)) == HOME[:1]  # the other one is no longer on loan
    assert_equal_soon(before, host, shown=without_shared_routes)
    assert kept(directory) == []


def test_device_at_home_is_left_alone(host: Namespace, target: Namespace, directory: str) -> None:
    """P5: a device that is home already keeps later changes while another one is still on loan."""
    lend(directory, target)
    throw_back(target, ["net1"], host)
    assert outcomes(returns.return_loans(directory)) == [("eth1", "kept", "target"), HOME[1]]
    host.batch(["link set eth2 nomaster", "link set eth2 mtu 1234"])
    throw_back(target, ["net0"], host)
    end(target)
    assert outcomes(returns.return_loans(directory)) == HOME[:1]
    shown = host.ip_json("link show dev eth2")[0]
    assert (shown["mtu"], "master" in shown) == (1234, False)


def test_live_namespace(host: Namespace, target: Namespace, directory: str) -> None:
    """P5: a device in a live namespace stays there, and its loan is kept; that is no failure."""
    lend(directory, target)
    target.wait_until_quiet()
    with Restored(target):
        results = returns.return_loans(directory, wait_s=5)  # does not wait without `is_ending`
    assert outcomes(results) == [("eth1", "kept", "target"), ("eth2", "kept", "target")]
    assert not any(map(returns.is_wrong, results))
    assert kept(directory) == ["c1"]
    assert host.names() >= {"other", "br0"}


@pytest.mark.usefixtures("host")
def test_device_that_left_a_live_namespace(target: Namespace, directory: str) -> None:
    """P7: what the container deleted or moved on is not said to stay there; that is no failure."""
    lend(directory, target)
    target.ip("link del net0")
    results = returns.return_loans(directory)
    assert outcomes(results) == [("eth1", "kept", "unknown"), ("eth2", "kept", "target")]
    assert results[0].text.endswith("the device is not in it: it was deleted or moved on")
    assert "to keep it, move it back and run `netdevns return c1`" in results[1].text
    assert not any(map(returns.is_wrong, results))
    assert kept(directory) == ["c1"]


def test_virtual_devices(host: Namespace, target: Namespace, directory: str) -> None:
    """P5: devices that were deleted with their namespace are reported, and their loan ends."""
    lend(directory, target)
    end(target)
    results = returns.return_loans(directory, wait_s=5)
    assert outcomes(results) == [("eth1", "gone", "gone"), ("eth2", "gone", "gone")]
    assert results[0].text == "not found: a veth ends with its network namespace, unless the container had moved it on"
    assert kept(directory) == []
    assert host.names() >= {"other"}


@pytest.mark.sampled(2)
@pytest.mark.smoke
@pytest.mark.parametrize("hours", [0, 1, 2])
def test_lifetimes(
    host: Namespace, target: Namespace, directory: str, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    """P5: expired addresses and routes are not restored; remaining lifetimes are shortened by the time of the loan."""
    lend(directory, target)
    throw_back(target, ["net0", "net1"], host)
    end(target)
    real = clock.now_ms
    monkeypatch.setattr(clock, "now_ms", lambda: real() + hours * 3600_000)
    assert outcomes(returns.return_loans(directory)) == HOME
    found = {a["local"]: a for link in host.ip_json("addr show dev eth1") for a in link["addr_info"]}
    forever = {"10.1.0.1", "2001:db8:1::1"}
    assert found.keys() == (forever if hours == 2 else {*forever, "10.1.0.2", "2001:db8:1::2"})
    if hours < 2:
        assert 4800 - hours * 3600 <= found["10.1.0.2"]["valid_life_time"] <= 5000 - hours * 3600
        assert found["10.1.0.2"]["preferred_life_time"] <= max(0, 4000 - hours * 3600)
        assert (found["2001:db8:1::2"]["preferred_life_time"] == 0) == (hours == 1)
    assert ("2001:db8:78::/48" in host.ip("-6 route show")) == (hours == 0)
    assert "2001:db8:77::/48" in host.ip("-6 route show")


def test_routes_of_others(host: Namespace, target: Namespace, directory: str) -> None:
    """P5: changes to routes of other devices are not undone."""
    lend(directory, target)
    host.batch(["route del 203.0.113.0/24", "route add 198.51.100.0/24 via 10.4.0.9"])
    throw_back(target, ["net0", "net1"], host)
    end(target)
    assert outcomes(returns.return_loans(directory)) == HOME
    shown = host.ip("route show")
    assert "203.0.113.0/24" not in shown
    assert "198.51.100.0/24 via 10.4.0.9 dev other" in shown
    assert "192.0.2.0/24 via 10.1.0.9 dev eth1" in shown


@pytest.mark.smoke
@pytest.mark.parametrize("made_anew", [True, False])
def test_master(host: Namespace, target: Namespace, directory: str, made_anew: bool) -> None:
    """P5: a bridge of that name gets its port again; without one, the loss is reported and the loan ends."""
    lend(directory, target)
    host.batch(["link del br0", *(["link add br0 index 777 type bridge", "link set br0 up"] if made_anew else [])])
    throw_back(target, ["net0", "net1"], host)
    end(target)
    results = returns.return_loans(directory)
    assert outcomes(results) == HOME
    shown = host.ip_json("link show dev eth2")[0]
    if made_anew:
        assert (shown["master"], shown["linkinfo"]["info_slave_data"]["cost"]) == ("br0", 77)
    else:
        assert results[1].text == "restored; cannot be restored: master br0: deleted"
        assert "master" not in shown
    assert kept(directory) == []


def test_lookalike(host: Namespace, target: Namespace, directory: str) -> None:
    """P5: another device with the container's name and the MAC, or with the host's name, is left alone."""
    lend(directory, target, {"eth1": "net0"})
    host.batch(["link add link wire2 name net0 address 02:00:00:00:00:01 type macvlan", "link set net0 up",
                "link add eth1 type ifb", "link set eth1 up"])  # fmt: skip
    end(target)
    wait_until(lambda: "wire0" not in host.names(), "it dies with its peer")
    host.wait_until_quiet()
    with Restored(host):
        assert outcomes(returns.return_loans(directory, wait_s=1)) == [("eth1", "gone", "gone")]


@pytest.mark.parametrize("is_alive", [True, False])
def test_lookalike_of_the_same_kind(host: Namespace, target: Namespace, directory: str, is_alive: bool) -> None:
    """P5: nor is a new one with the name and MAC, but another peer; of the lent one its own place is reported."""
    lend(directory, target, {"eth1": "net0"})
    host.ip("link add eth1 address 02:00:00:00:00:01 type veth peer name twin")
    if not is_alive:
        end(target)
        wait_until(lambda: "wire0" not in host.names(), "it dies with its peer")
    host.wait_until_quiet()
    with Restored(host):
        results = returns.return_loans(directory, wait_s=1)
    assert outcomes(results) == [("eth1", *(("kept", "target") if is_alive else ("gone", "gone")))]
    assert len(kept(directory)) == is_alive


@pytest.mark.parametrize("kind", ["veth", ""])
def test_several_candidates(
    host: Namespace, target: Namespace, directory: str, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """P7: of two devices with the kind and MAC of a lent one, neither is touched, and none is reported as gone."""
    if not kind:
        monkeypatch.setattr(return_home, "SURVIVING_KINDS", (b"veth",))
    lend(directory, target, {"eth1": "net0"})
    host.ip("link add twin address 02:00:00:00:00:01 type veth peer name twin1")
    throw_back(target, ["net0"], host)
    end(target)
    host.wait_until_quiet()
    with Restored(host):
        (result,) = returns.return_loans(directory)
    several = "net0 or twin, which cannot be told apart"
    if kind:
        assert (result.outcome, result.location) == ("gone", "unknown")
        assert result.text.endswith(f"unless the container had moved it on; or it is {several}")
    else:
        assert (result.outcome, result.location, result.text) == ("kept", "unknown", f"it is {several}")
    assert kept(directory) == ([] if kind else ["c1"])


Patch = Callable[[], None]


def test_renamed_while_it_returns(
    host: Namespace, target: Namespace, directory: str, before_step: Callable[[str, int, Patch], None]
) -> None:
    """P5: udev renames the device just after it got its name: it is restored once more."""
    before = host.dump()
    lend(directory, target)
    throw_back(target, ["net0", "net1"], host)
    end(target)
    before_step("undo", 2, lambda: host.batch(["link set eth1 down", "link set eth1 name ens9"]))
    assert outcomes(returns.return_loans(directory)) == HOME
    assert_equal_soon(before, host, shown=without_shared_routes)
