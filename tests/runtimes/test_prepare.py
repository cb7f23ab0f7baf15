"""`netdevns prepare`: a namespace that has its devices before a container starts, and their way home."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.support.attacks import rounds
from tests.support.namespaces import Namespace
from tests.support.processes import wait_until
from tests.support.restored import Restored, assert_equal_soon

from .container import ARRIVED, NETDEVNS, Bundle, Machine, Runtime, Seen, furnish, opened

NAME, PATH = "blue", "/run/netns/blue"
ASKED = ("eth1=net0", "mv0=eth%d", "eth2")
UNTOUCHED = "netdevns: nothing was touched\n"


@pytest.fixture
def place(host: Namespace, machine: Machine) -> Machine:
    """A machine with the devices of most tests."""
    furnish(host)
    return machine


def prepared(machine: Machine, *arguments: str) -> Namespace:
    """The namespace, after `prepare` with these arguments, which succeeds."""
    done = machine.netdevns("prepare", NAME, *arguments)
    assert (done.returncode, done.stdout) == (0, f"{PATH}\n"), done.stderr
    return opened(machine.path(PATH), NAME)


def refused(machine: Machine, *arguments: str) -> str:
    """The line by which it refuses, and touches nothing."""
    done = machine.netdevns("prepare", *arguments)
    assert (done.returncode, done.stdout) == (2, ""), done
    line, last = done.stderr.splitlines(keepends=True)
    assert last == UNTOUCHED
    return line


def undone(machine: Machine, *options: str) -> None:
    done = machine.netdevns("prepare", NAME, "--undo", *options)
    assert (done.returncode, done.stderr) == (0, ""), done


def nothing_is_left(machine: Machine) -> None:
    """No namespace, no mount of one, no file that says so, no loan, no record."""
    for folder in ("netns", "netdevns/prepared", "netdevns/loan", "netdevns/txn"):
        found = machine.path(f"/run/{folder}")
        assert not found.exists() or list(found.iterdir()) == [], folder
    assert "nsfs" not in machine.mounts()


# ---- with a container ----------------------------------------------------------------------------------------------


@pytest.mark.timeout(900)
def test_container_starts_with_its_devices(host: Namespace, runtime: Runtime, bundle: Bundle) -> None:
    """It joins by path, also when it is started again; nothing moves then, and all is as before in the end."""
    place = runtime.machine
    furnish(host)
    with Restored(host):
        with prepared(place, *ASKED) as namespace:
            assert namespace.links()["lo"].up
            host.wait_until_quiet()
            bundle.write(network={"type": "network", "path": PATH}, hooks=[])
            with host.monitor() as monitor:
                for _ in rounds(3, 1000):
                    done = runtime.run(bundle)
                    assert done.returncode == 0, done.stderr
                    assert Seen.parse(done.stdout).addresses == ARRIVED
                assert monitor.seen() == []
        undone(place)
        nothing_is_left(place)


def test_hook_finds_the_devices_there(host: Namespace, runtime: Runtime, bundle: Bundle) -> None:
    """A configuration that asks for them moves nothing: they are in the namespace that it joins."""
    place = runtime.machine
    furnish(host)
    with prepared(place, "eth1=net0"):
        bundle.write({"eth1": {"name": "net0"}}, network={"type": "network", "path": PATH})
        done = runtime.run(bundle)
    assert done.returncode == 0, done.stderr
    assert Seen.parse(done.stdout).addresses == {"net0": ARRIVED["net0"]}
    undone(place)
    nothing_is_left(place)


def test_container_in_a_user_namespace(host: Namespace, runtime: Runtime, bundle: Bundle) -> None:
    """The initial user namespace owns the network: the container has its devices, and may not change them."""
    place = runtime.machine
    furnish(host)
    with Restored(host):
        with prepared(place, *ASKED) as namespace:
            bundle.write(network={"type": "network", "path": PATH}, hooks=[])
            config = json.loads((bundle.path / "config.json").read_text())
            # Where its user may read it: a test's own folder is closed.
            assert place.run(["cp", "-a", bundle.rootfs, "/run/rootfs"]).returncode == 0
            place.path("/run/rootfs").chmod(0o755)
            config["root"]["path"] = "/run/rootfs"
            mapping = [{"containerID": 0, "hostID": 100_000, "size": 65_536}]
            config["linux"]["namespaces"].append({"type": "user"})
            config["linux"] |= {"uidMappings": mapping, "gidMappings": mapping}
            config["process"]["args"][2] += "; ip link set net0 down 2>&1 && echo it may >&2"
            bundle.write_raw(json.dumps(config))
            namespace.wait_until_quiet()
            before = namespace.dump()
            done = runtime.run(bundle)
            assert done.stdout, done
            assert Seen.parse(done.stdout.partition("ip: ")[0]).addresses == ARRIVED, done
            assert ("not permitted" in done.stdout, "it may" in done.stderr) == (True, False), done
            assert_equal_soon(before, namespace)
        undone(place)


# ---- again ----------------------------------------------------------------------------------------------------------


def test_again_with_the_same_devices(host: Namespace, place: Machine) -> None:
    """Done, and it says so; more devices are added; all come home."""
    with Restored(host):
        prepared(place, "eth1=net0").close()
        again = place.netdevns("prepare", NAME, "eth1=net0")
        assert (again.returncode, again.stdout, again.stderr) == (
            0,
            f"{PATH}\n",
            "netdevns: eth1: already there\n",
        )
        with prepared(place, "eth1=net0", "eth2") as namespace:
            assert {"net0", "eth2"} <= namespace.names()
        undone(place)
    nothing_is_left(place)


def test_json(place: Machine) -> None:
    """What came, and what was there; what came home."""
    first = json.loads(place.netdevns("prepare", NAME, "eth1=net0", "--json").stdout)
    assert (first["path"], [m["name"] for m in first["moved"]], first["there"]) == (PATH, ["net0"], [])
    again = json.loads(place.netdevns("prepare", NAME, "eth1=net0", "--json").stdout)
    assert (again["moved"], again["there"]) == ([], ["eth1"])
    home = json.loads(place.netdevns("prepare", NAME, "--undo", "--json").stdout)
    assert [(each["device"], each["outcome"]) for each in home["recovered"]] == [("eth1", "undone")]
    wrong = json.loads(place.netdevns("prepare", NAME, "--undo", "--json").stdout)
    assert "nothing to undo" in wrong["error"]["text"]


def test_other_commands_report_where_a_device_is(place: Machine) -> None:
    """`show`, and a move of a device that is away, name the namespace and the command."""
    prepared(place, "eth1=net0").close()
    assert f"on loan: eth1 as net0, in the prepared namespace {NAME} (" in place.netdevns("show").stdout
    assert f"`netdevns prepare {NAME} --undo` restores it" in place.netdevns("show", "eth1").stderr


# ---- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.thorough
def test_names_that_are_refused(place: Machine) -> None:
    """A namespace that `prepare` did not make, and invalid names; nothing is made."""
    place.run(["ip", "netns", "add", NAME]).check_returncode()
    assert f"{PATH}: it exists, and `netdevns prepare` did not make it" in refused(place, NAME, "eth1")
    assert f"{PATH}: `netdevns prepare` did not make it" in refused(place, NAME, "--undo")
    for name in ("", "a/b", "..", ".x", "n" * 201):
        assert "not a valid name for a prepared namespace" in refused(place, name, "eth1")
    assert "no device is given" in refused(place, "red")
    assert "--undo returns all devices" in refused(place, "red", "eth1", "--undo")
    assert {path.name for path in place.path("/run/netns").iterdir()} == {NAME}


def test_device_that_is_there_under_another_name(place: Machine) -> None:
    """Refused, with the command that helps; so is one that was deleted in it."""
    with prepared(place, "eth1=net0") as namespace:
        assert 'eth1: it is in blue already, as "net0"' in refused(place, NAME, "eth1=net1")
        namespace.ip("link del net0")
        assert "it was moved on or deleted; find it first" in refused(place, NAME, "eth1=net0")


@pytest.mark.parametrize("asked", [("eth1", "nosuch"), ("eth1=x", "eth2=x"), ("eth1=lo",)])
def test_move_that_is_refused(host: Namespace, place: Machine, asked: tuple[str, ...]) -> None:
    """All or none: no namespace is left, and nothing of it is known."""
    with Restored(host):
        done = place.netdevns("prepare", NAME, *asked)
        assert (done.returncode, done.stdout) == (2, "")
    nothing_is_left(place)


def test_default_route(host: Namespace, place: Machine) -> None:
    """Refused without --force, as the host may need it; it comes home with it."""
    host.ip("route add default via 192.0.2.1 dev eth1")
    with Restored(host):
        assert "default route" in place.netdevns("prepare", NAME, "eth1").stderr
        nothing_is_left(place)
        prepared(place, "eth1", "--force").close()
        undone(place)
    nothing_is_left(place)


def test_process_in_it(host: Namespace, place: Machine) -> None:
    """Nothing is taken from a process that is there, unless that is asked for."""
    before = host.dump()
    prepared(place, "eth1=net0").close()
    with place.popen(["ip", "netns", "exec", NAME, "sleep", "100"]) as sleeper:
        inode = place.path(PATH).stat().st_ino
        wait_until(
            lambda: Path(f"/proc/{sleeper.pid}/ns/net").stat().st_ino == inode, "the process is in the namespace"
        )
        line = refused(place, NAME, "--undo")
        assert re.search(rf": process {sleeper.pid} \((ip|sleep)\) is in it; end it first, or use --force", line), line
        undone(place, "--force")
        sleeper.kill()
    assert_equal_soon(before, host)
    nothing_is_left(place)


# ---- what others do to it --------------------------------------------------------------------------------------------


def test_undo_whose_name_is_taken(host: Namespace, place: Machine) -> None:
    """The device comes home under its name there, and the line names the other one; a second undo completes."""
    before = host.dump()
    prepared(place, "eth1=net0").close()
    host.batch(["link add eth1 type ifb"])
    done = place.netdevns("prepare", NAME, "--undo")
    assert done.returncode == 3
    links = host.links()
    assert f"named net0 (ifindex {links['net0'].ifindex}): ifindex {links['eth1'].ifindex} has the name" in done.stdout
    host.batch(["link del eth1"])
    undone(place)
    assert_equal_soon(before, host)
    nothing_is_left(place)


def test_undo_of_nothing(place: Machine) -> None:
    """There is no namespace of that name."""
    assert f"{PATH}: no such namespace; nothing to undo" in refused(place, NAME, "--undo")


def test_namespace_that_was_deleted(host: Namespace, place: Machine) -> None:
    """What is made by software died with it; `return` settles the loan, then it can be made anew."""
    prepared(place, "eth1=net0").close()
    place.run(["ip", "netns", "del", NAME]).check_returncode()
    host.batch(["link add eth1 type ifb"])
    assert "run `netdevns return blue`" in refused(place, NAME, "eth1")
    returned = place.netdevns("return", NAME)
    assert (returned.returncode, "ends with its network namespace" in returned.stdout) == (0, True), returned
    prepared(place, "eth1").close()
    undone(place)
    nothing_is_left(place)


def test_namespace_that_was_deleted_and_recreated(place: Machine) -> None:
    """The new one is not ours: nothing is moved into it, and it is not removed."""
    prepared(place, "eth1=net0").close()
    for what in ("del", "add"):
        place.run(["ip", "netns", what, NAME]).check_returncode()
    done = place.netdevns("prepare", NAME, "--undo")
    assert (done.returncode, "ends with its network namespace" in done.stdout) == (0, True), done
    assert f"{PATH}: it exists, and `netdevns prepare` did not make it" in refused(place, NAME, "eth2")
    assert {path.name for path in place.path("/run/netns").iterdir()} == {NAME}


def test_container_that_changed_its_devices(host: Namespace, place: Machine) -> None:
    """Name, MAC address, addresses and MTU are the host's again."""
    with Restored(host):
        with prepared(place, "eth1=net0") as namespace:
            namespace.batch(
                ["link set net0 down", "link set net0 name other", "link set other address 02:00:00:00:99:99 mtu 1300"]
            )
            namespace.batch(["addr flush dev other", "addr add 10.77.0.1/24 dev other", "link set other up"])
        undone(place)
    nothing_is_left(place)


def test_two_at_once(host: Namespace, place: Machine) -> None:
    """One after the other, or refused: no device is lost, and one namespace is made."""
    before = host.dump()
    processes = [place.popen([*NETDEVNS, "prepare", NAME, device]) for device in ("eth1", "eth2", "mv0")]
    codes = [process.wait(60) for process in processes]
    assert set(codes) <= {0, 2}
    assert 0 in codes
    with opened(place.path(PATH), NAME) as namespace:
        assert len(namespace.names() - {"lo"}) == codes.count(0)
    undone(place)
    assert_equal_soon(before, host)
    nothing_is_left(place)
