"""podman networks whose driver is netdevns, with the podman and netavark of three Debian suites; nothing is mocked."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import require
from tests.support.namespaces import Namespace
from tests.support.processes import wait_until
from tests.support.restored import State, assert_equal_soon

from .container import furnish
from .networks import NETWORK, PLUGIN, SUITES, USER, Networks, is_fetched

MORE = """
    link property add dev eth1 altname enp1
    route add 198.18.0.0/15 via 192.0.2.1 dev eth1
    neigh add 192.0.2.99 lladdr 02:00:00:00:00:77 nud permanent dev eth1
"""
NET0 = f"--network={NETWORK}:interface_name=net0"
ADDRESSES = ["192.0.2.10/24", "192.0.2.11/24"]


# Only tools/test --full fetches them.
MARKS = {"trixie": pytest.mark.exhaustive, "sid": pytest.mark.thorough, "experimental": pytest.mark.exhaustive}


@pytest.fixture(params=[pytest.param(each, marks=MARKS[each]) for each in SUITES])
def podman(request: pytest.FixtureRequest, host: Namespace, rootfs: Path) -> Iterator[Networks]:
    """podman of each suite, with the plugin and the network nic1 of the device eth1."""
    if not is_fetched(request.param):
        require("podman", f"there is no podman of {request.param}; tools/test --full fetches it")
    furnish(host)
    host.batch(MORE)
    host.wait_until_quiet()
    with contextlib.ExitStack() as stack:
        try:
            found = stack.enter_context(Networks.started(request.param, host, rootfs))
        except OSError as e:
            require("podman", str(e))
        found.install()
        found.create("eth1")
        yield found


def addresses(podman: Networks, device: str, name: str = "c1") -> list[str]:
    """The IPv4 addresses of a device in a container."""
    said = podman.shell(f"ip -o -4 addr show dev {device}", name)
    return re.findall(r"inet (\S+)", said)


def nothing_is_left(podman: Networks) -> None:
    """No loan, no record."""
    for folder in ("loan", "txn", "aside"):
        path = podman.machine.path(f"/run/netdevns/{folder}")
        assert not path.exists() or list(path.iterdir()) == [], folder


def loan(podman: Networks) -> str:
    """The id of the only loan."""
    (found,) = json.loads(podman.machine.netdevns("show", "--json").stdout)["loans"]
    return str(found["container"])


@contextlib.contextmanager
def restored(podman: Networks, host: Namespace) -> Iterator[State]:
    """All of the host is as before when the block ends, and nothing is on loan."""
    before = host.dump()
    yield before
    assert_equal_soon(before, host)
    nothing_is_left(podman)


# ---- a container's life ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("podman", [pytest.param(each, marks=pytest.mark.thorough) for each in SUITES], indirect=True)
def test_life(host: Namespace, podman: Networks) -> None:
    """Run, inspect, restart, stop, start, kill, `rm -f`: the device is in the container only while that runs."""
    with restored(podman, host) as before:
        podman.run(NET0)
        assert addresses(podman, "net0") == ADDRESSES
        assert "UP" in podman.shell("ip link show dev net0")
        seen = podman.inspect()["NetworkSettings"]["Networks"][NETWORK]
        assert (seen["IPAddress"], seen["IPPrefixLen"]) == ("192.0.2.10", 24)
        assert seen["MacAddress"] == "02:00:00:00:00:01"
        podman.ok("restart", "--time=0", "c1")
        assert addresses(podman, "net0") == ADDRESSES
        podman.ok("stop", "--time=0", "c1")
        assert_equal_soon(before, host)
        podman.ok("start", "c1")
        assert addresses(podman, "net0") == ADDRESSES
        podman.ok("kill", "c1")
        assert_equal_soon(before, host)
        podman.ok("start", "c1")
        podman.ok("rm", "--force", "--time=0", "c1")


def test_several_networks(host: Namespace, podman: Networks) -> None:
    """One device each, one of them connected and disconnected later: by the name of --opt, or of podman's choice."""
    podman.create("eth2", "nic2", "name=net7")
    podman.create("mv0", "nic3")
    with restored(podman, host):
        podman.run(NET0, "--network=nic3:interface_name=mac0")
        assert addresses(podman, "mac0") == ["198.51.100.7/31"]
        podman.ok("network", "connect", "nic2", "c1")
        assert addresses(podman, "net7") == ["203.0.113.5/24"]
        podman.ok("network", "disconnect", "nic3", "c1")
        assert "mv0" in host.names()
        podman.ok("network", "connect", "nic3", "c1")
        assert addresses(podman, "eth1") == ["198.51.100.7/31"]  # podman has called the one of nic2 eth0
        podman.ok("rm", "--force", "--time=0", "c1")


def test_second_network_fails(host: Namespace, podman: Networks) -> None:
    """All or none: the device of the first network is restored, and no process starts."""
    podman.create("nosuch", "nic2")
    with restored(podman, host):
        said = podman.refused(*podman.run_words(NET0, "--network=nic2"))
        assert "nosuch: no such device in this network namespace" in said
        podman.ok("rm", "--force", "--time=0", "c1")


def test_two_containers_that_want_one_network(host: Namespace, podman: Networks) -> None:
    """The second is refused, in words that name the first; both at once: one of them starts."""
    with restored(podman, host):
        first = podman.run(NET0)
        said = podman.refused(*podman.run_words(NET0, name="c2"))
        assert f"eth1: on loan to podman container {first[:12]}, network {NETWORK}" in said
        assert f"`podman network disconnect {NETWORK} {first[:12]}` restores it" in said
        podman.ok("rm", "--all", "--force", "--time=0")
        processes = [podman.popen(*podman.run_words(NET0, name=name)) for name in ("c3", "c4")]
        assert sorted(bool(process.wait(60)) for process in processes) == [False, True]
        podman.ok("rm", "--all", "--force", "--time=0")


def test_pod(host: Namespace, podman: Networks) -> None:
    """The pod's infra container has the device, for each of its containers, also when one of them is restarted."""
    podman.machine.run(["tar", "-C", "/run/rootfs", "-cf", "/run/image.tar", "."]).check_returncode()
    podman.ok("import", "/run/image.tar", "small")
    infra = ["--infra-image=small", "--infra-command=/bin/sleep 1000"]
    with restored(podman, host) as before:
        podman.ok("pod", "create", "--name=p1", *infra, NET0)
        podman.ok("run", "--detach", "--pod=p1", "--name=c1", "small", "/bin/sleep", "1000")
        podman.ok("restart", "--time=0", "c1")
        assert addresses(podman, "net0") == ADDRESSES
        podman.ok("pod", "stop", "--time=0", "p1")
        assert_equal_soon(before, host)
        podman.ok("pod", "start", "p1")
        assert addresses(podman, "net0") == ADDRESSES
        podman.ok("pod", "rm", "--force", "--time=0", "p1")


def test_other_commands_know_of_it(host: Namespace, podman: Networks) -> None:
    """`show` and `return` name the container and the network; `return` leaves the device to the live container."""
    with restored(podman, host):
        whole = podman.run(NET0)
        assert loan(podman) == f"{whole}:{NETWORK}"
        words = f"to podman container {whole[:12]}, network {NETWORK}"
        assert f"on loan: eth1 as net0, {words}" in podman.machine.netdevns("show").stdout
        left = podman.machine.netdevns("return")
        assert (left.returncode, f"`podman network disconnect {NETWORK} {whole[:12]}` restores it" in left.stdout) == (
            0,
            True,
        )
        podman.ok("network", "disconnect", NETWORK, "c1")


def test_user_namespace(host: Namespace, podman: Networks) -> None:
    """A container with other uids gets the device as well, and gives it back."""
    with restored(podman, host):
        podman.run(NET0, f"--uidmap=0:{USER}:65536", f"--gidmap=0:{USER}:65536")
        assert addresses(podman, "net0") == ADDRESSES
        podman.ok("rm", "--force", "--time=0", "c1")


# ---- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--subnet=10.9.0.0/24"], "--subnet is refused: eth2 keeps the addresses that it has on the host"),
        (["--ipv6"], "--ipv6 is refused"),
        (["--internal"], "--internal is refused"),
        (["--ipam-driver=dhcp"], "--ipam-driver is refused"),
        (["--opt", "mtu=9000"], "--opt mtu: unknown option; known are device, name, preserve, force"),
    ],
)
def test_networks_that_are_refused(podman: Networks, options: list[str], words: str) -> None:
    """Nothing is invented: no network, and a line that says so."""
    said = podman.refused("network", "create", "--driver=netdevns", "--opt=device=eth2", *options, "nic2")
    assert words in said
    assert "nothing was touched" in said
    assert "nic2" not in podman.ok("network", "ls", "--quiet")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([f"--network={NETWORK}:ip=192.0.2.77"], "an address (--ip, ip=) is refused: eth1 keeps the addresses"),
        ([f"--network={NETWORK}:mac=02:00:00:00:00:99"], "a MAC address (--mac-address, mac=) is refused"),
        ([f"--network={NETWORK}", "--publish=80:80"], "a port (--publish) is refused"),
        ([f"--network={NETWORK}:mtu=9000"], "an option behind the network's name is refused"),
        ([f"--network={NETWORK}:interface_name=lo"], 'the name "lo" is taken'),
    ],
)
def test_containers_that_are_refused(host: Namespace, podman: Networks, options: list[str], words: str) -> None:
    """No process starts, and the device has not moved."""
    with restored(podman, host):
        said = podman.refused(*podman.run_words(*options))
        assert words in said
        assert "nothing was touched" in said
        podman.ok("rm", "--force", "--time=0", "c1")


def test_default_route(host: Namespace, podman: Networks) -> None:
    """The host's uplink stays, unless the operator forces it; then it comes home with its route."""
    host.ip("route add default via 192.0.2.1 dev eth1")
    podman.create("eth1", "uplink", "force=true", "preserve=routes")
    with restored(podman, host):
        said = podman.refused(*podman.run_words(NET0))
        assert "eth1: it carries a default route of the host; to move it anyway" in said
        podman.ok("rm", "--force", "--time=0", "c1")
        podman.run("--network=uplink:interface_name=net0")
        assert "default via 192.0.2.1 dev net0" in podman.shell("ip route")
        podman.ok("rm", "--force", "--time=0", "c1")


def test_reload(host: Namespace, podman: Networks) -> None:
    """`podman network reload` asks for the addresses that the container has: the device's own are not refused."""
    with restored(podman, host):
        podman.run(f"{NET0},ip=192.0.2.11,mac=02:00:00:00:00:01")
        podman.ok("network", "reload", "c1")
        assert addresses(podman, "net0") == ADDRESSES
        podman.ok("rm", "--force", "--time=0", "c1")


# ---- what goes wrong -------------------------------------------------------------------------------------------------


def test_container_and_conmon_are_killed(host: Namespace, podman: Networks) -> None:
    """podman still calls it "Up": `rm -f` restores the device."""
    with restored(podman, host):
        podman.run(NET0)
        for pid in (podman.inspect()["ConmonPidFile"], podman.inspect()["PidFile"]):
            os.kill(int(podman.machine.path(pid).read_text()), signal.SIGKILL)
        podman("rm", "--force", "--time=0", "c1")  # 5.4.2 notices the death, and fails
        podman.ok("rm", "--force", "--time=0", "c1")


def test_device_that_the_container_changed(host: Namespace, podman: Networks) -> None:
    """Name, MAC address, addresses and MTU are the host's again, and its ifindex."""
    with restored(podman, host):
        podman.run(NET0)
        with podman.namespace() as inside:
            inside.batch(["link set net0 down", "link set net0 name other mtu 1300 address 02:00:00:00:99:99"])
            inside.batch(["addr flush dev other", "addr add 10.77.0.1/24 dev other", "link set other up"])
        podman.ok("rm", "--force", "--time=0", "c1")


def test_device_that_is_gone(podman: Networks) -> None:
    """Deleted in the container: the teardown says so, and so does the next setup; `return` settles the loan."""
    podman.run(NET0)
    with podman.namespace() as inside:
        inside.ip("link del net0")
    done = podman("rm", "--force", "--time=0", "c1")
    assert "eth1: in neither namespace: it was moved on or deleted" in done.stdout + done.stderr
    assert "c1" not in podman.ok("ps", "--all", "--format={{.Names}}")
    back = podman.machine.netdevns("return", loan(podman))
    assert (back.returncode, "ends with its network namespace" in back.stdout) == (0, True), back
    nothing_is_left(podman)
    assert "eth1: no such device" in podman.refused(*podman.run_words(NET0))


def test_namespace_that_is_removed_first(host: Namespace, podman: Networks) -> None:
    """The kernel has deleted the virtual device: the loan is settled by `return`, or by the teardown itself."""
    podman.run(NET0)
    path = podman.inspect()["NetworkSettings"]["SandboxKey"]
    podman.ok("kill", "--signal=STOP", "c1")  # its end would call the teardown
    for pid in (podman.inspect()["ConmonPidFile"], podman.inspect()["PidFile"]):
        os.kill(int(podman.machine.path(pid).read_text()), signal.SIGKILL)
    podman.machine.run(["umount", path]).check_returncode()
    podman.machine.run(["rm", path]).check_returncode()
    wait_until(lambda: "wire1" not in host.names(), "the kernel has deleted the pair")
    podman("rm", "--force", "--time=0", "c1")
    back = podman.machine.netdevns("return")
    assert back.returncode == 0, back
    nothing_is_left(podman)


def test_host_name_that_is_taken(host: Namespace, podman: Networks) -> None:
    """The device comes home under its other name, and the line names the one that has it; `return` completes it."""
    before = host.dump()
    podman.run(NET0)
    host.ip("link add eth1 type ifb")
    done = podman("rm", "--force", "--time=0", "c1")
    links = host.links()
    said = f"named net0 (ifindex {links['net0'].ifindex}): ifindex {links['eth1'].ifindex} has the name"
    assert said in done.stdout + done.stderr
    host.ip("link del eth1")
    back = podman.machine.netdevns("return")
    assert (back.returncode, back.stderr) == (0, ""), back
    assert_equal_soon(before, host)
    nothing_is_left(podman)


def test_setup_that_is_killed(host: Namespace, podman: Networks) -> None:
    """After its move, for a running container: the device is in it, and newer versions of podman do not know."""
    podman.create("eth2", "nic2")
    with restored(podman, host):
        podman.run("--network=nic2")
        with podman.disturbed("setup", "unlink,unlinkat:signal=KILL:when=1"):
            assert "killed by signal" in podman.refused("network", "connect", NETWORK, "c1")
        podman("network", "disconnect", NETWORK, "c1")  # 5.4.2 considers it connected, and restores the device
        podman.ok("network", "connect", NETWORK, "c1")
        assert addresses(podman, "eth1") == ADDRESSES
        podman.ok("network", "disconnect", NETWORK, "c1")
        podman.ok("rm", "--force", "--time=0", "c1")


def test_teardown_that_is_killed(host: Namespace, podman: Networks) -> None:
    """In the middle of the return: `disconnect` again; for 5.4.2 it is disconnected, and has to be connected first."""
    podman.create("eth2", "nic2")
    with restored(podman, host):
        podman.run("--network=nic2", NET0)
        with podman.disturbed("teardown", "sendto:signal=KILL:when=12"):
            assert "killed by signal" in podman.refused("network", "disconnect", NETWORK, "c1")
        if podman("network", "disconnect", NETWORK, "c1").returncode:
            podman.ok("network", "connect", NETWORK, "c1")
            podman.ok("network", "disconnect", NETWORK, "c1")
        assert "eth1" in host.names()
        podman.ok("rm", "--force", "--time=0", "c1")


@pytest.mark.parametrize("inject", [f"sendto:signal=KILL:when={number}" for number in (8, 12, 14, 16)])
def test_setup_that_is_killed_before_a_container_starts(host: Namespace, podman: Networks, inject: str) -> None:
    """podman removes the namespace: the device is as before, or was deleted with it; nothing else is left."""
    before = host.dump()
    with podman.disturbed("setup", inject):
        assert "killed by signal" in podman.refused(*podman.run_words(NET0))
    podman.ok("rm", "--force", "--time=0", "c1")
    for command in ("recover", "return"):
        done = podman.machine.netdevns(command)
        assert done.returncode == 0, done
    nothing_is_left(podman)
    if "eth1" in host.names():
        assert_equal_soon(before, host)
    else:
        assert "wire1" not in host.names()


def test_reader_that_has_gone(host: Namespace, podman: Networks) -> None:
    """A plugin whose answer nobody reads restores the device: podman would remove the namespace with it."""
    with restored(podman, host), podman.machine.named_namespace("blue"):
        request = podman.request()
        words = ["sh", "-c", f"(sleep 0.1; {PLUGIN} setup /run/netns/blue <{request}; echo $? >/run/code) | true"]
        podman.machine.run(words).check_returncode()
        wait_until(lambda: podman.machine.path("/run/code").exists(), "the plugin has ended")
        assert podman.machine.path("/run/code").read_text() == "1\n"
        assert "netavark does not read the answer" in podman.machine.hook_log()
