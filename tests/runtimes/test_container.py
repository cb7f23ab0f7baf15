"""A container of runc and crun whose config.json asks for devices; netdevns is its createRuntime hook."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.namespaces import Namespace
from tests.support.processes import wait_until
from tests.support.restored import Restored, Untouched

from .container import ARRIVED, CONTAINER, DEVICES, WIRES, Bundle, Runtime, Seen, furnish, hook, shell_hook


def started(runtime: Runtime, bundle: Bundle) -> Seen:
    """What the container's process saw; the start must have gone well."""
    done = runtime.run(bundle)
    assert done.returncode == 0, done.stderr + runtime.machine.hook_log()
    return Seen.parse(done.stdout)


def refused(runtime: Runtime, bundle: Bundle, reason: str) -> None:
    """No container was started, its process never ran, and the reason is where a user can find it."""
    done = runtime.run(bundle)
    assert done.returncode != 0
    assert done.stdout == ""
    assert runtime("list", "--quiet").stdout == ""
    assert reason in runtime.machine.hook_log()
    if runtime.name == "runc":  # crun drops what a hook says
        assert reason in done.stderr.replace('\\"', '"')


# ---- the devices are there when the process starts -------------------------------------------------------------------


def test_process_finds_its_devices_with_their_addresses(host: Namespace, runtime: Runtime, bundle: Bundle) -> None:
    """S1, S6, S14: all three devices have their wanted names and exactly their addresses when the process starts."""
    furnish(host)
    bundle.write(DEVICES)
    assert started(runtime, bundle).addresses == ARRIVED


def test_process_finds_its_devices_up(host: Namespace, runtime: Runtime, bundle: Bundle) -> None:
    """S7: the devices are up when the process starts, and there are no others than these."""
    furnish(host)
    bundle.write(DEVICES)
    seen = started(runtime, bundle)
    assert seen.up() == set(seen.links) == set(ARRIVED)


def test_device_that_was_down_is_up(host: Namespace, runtime: Runtime, bundle: Bundle) -> None:
    """S7: a device that was down on the host is up when the process starts, with its address."""
    host.batch(["link add eth1 type ifb", "address add 192.0.2.10/24 dev eth1"])
    bundle.write({"eth1": {}})
    seen = started(runtime, bundle)
    assert (seen.up(), seen.addresses) == ({"eth1"}, {"eth1": ["192.0.2.10/24"]})


def test_ipv6_addresses_are_usable_at_once(host: Namespace, runtime: Runtime, bundle: Bundle) -> None:
    """S6: IPv6 addresses that were usable on the host are usable when the process starts; their flags are exact."""
    furnish(host)
    bundle.write(DEVICES)
    assert started(runtime, bundle).ipv6_flags == {"eth2": {"80"}}  # IFA_F_PERMANENT


def test_mac_and_mtu_are_kept(host: Namespace, runtime: Runtime, bundle: Bundle) -> None:
    """S6: the process sees the MAC addresses and the MTU that the devices had on the host."""
    furnish(host)
    bundle.write(DEVICES)
    links = started(runtime, bundle).links
    assert "mtu 1400" in links["net0"]
    macs = {name: rest.split("link/ether ")[1].split()[0] for name, rest in links.items()}
    assert macs == {"net0": "02:00:00:00:00:01", "eth0": "02:00:00:00:00:02", "eth2": "02:00:00:00:00:03"}


def test_devices_leave_the_host(host: Namespace, runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    """S1: while the container exists its devices are not on the host, and what it did not ask for is."""
    furnish(host)
    host.batch(["link add eth9 type ifb"])
    bundle.write(DEVICES)
    with runtime.created(bundle, tmp_path / "output"):
        assert host.names() == WIRES | {"eth9"}


def test_nothing_is_said_when_all_is_well(host: Namespace, runtime: Runtime, bundle: Bundle) -> None:
    """S14: a hook that succeeds prints nothing, and no log is begun."""
    furnish(host)
    bundle.write(DEVICES)
    done = runtime.run(bundle)
    assert (done.returncode, done.stderr, runtime.machine.hook_log()) == (0, "", "")


def test_hook_arguments_name_devices(host: Namespace, runtime: Runtime, bundle: Bundle) -> None:
    """DESIGN 4.2: DEV=NAME arguments of the hook are moved like those of config.json, and together with them."""
    furnish(host)
    bundle.write({"eth2": {}}, hooks=[hook("eth1=net0", "mv0=eth%d")])
    assert started(runtime, bundle).addresses == ARRIVED


def test_unknown_keys_are_ignored(host: Namespace, runtime: Runtime, bundle: Bundle) -> None:
    """S2: unknown keys stop neither the runtime nor the hook."""
    furnish(host)
    bundle.write({"eth1": {"name": "net0", "speed": [1, None]}}, unknown={"netDevices": 5})
    assert set(started(runtime, bundle).links) == {"net0"}


def test_container_without_devices_starts(runtime: Runtime, bundle: Bundle) -> None:
    """S2: netDevices is optional; a hook with nothing to do is no obstacle."""
    bundle.write(None)
    assert started(runtime, bundle).links == {}


def test_container_joins_a_namespace_by_path(host: Namespace, runtime: Runtime, bundle: Bundle) -> None:
    """S9: devices of a container that joins a namespace by path are there for it, and stay there after its end."""
    furnish(host)
    with runtime.machine.named_namespace("blue") as blue:
        bundle.write(DEVICES, network={"type": "network", "path": "/run/netns/blue"})
        assert started(runtime, bundle).addresses == ARRIVED
        assert blue.names() == set(ARRIVED)


# ---- no container ---------------------------------------------------------------------------------------------------


def test_third_device_does_not_exist(host: Namespace, runtime: Runtime, bundle: Bundle) -> None:
    """S11, S14: no container is started, and the host is as it was: nothing left it, not even for a moment."""
    furnish(host)
    bundle.write({"eth1": {"name": "net0"}, "mv0": {"name": "eth%d"}, "nope": {}})
    with Untouched(host):
        refused(runtime, bundle, "nope: no such device in this network namespace")


def test_name_that_an_earlier_hook_took(host: Namespace, runtime: Runtime, bundle: Bundle) -> None:
    """S4, S11: a wanted name that another hook has given to a device stops the container; the host is as it was."""
    furnish(host)
    taken = shell_hook("nsenter -t $pid -n ip link add net0 type ifb")
    bundle.write(DEVICES, hooks=[taken, hook()])
    with Restored(host):
        refused(runtime, bundle, 'eth1: the name "net0" is taken')


def test_device_that_the_kernel_never_moves(host: Namespace, runtime: Runtime, bundle: Bundle) -> None:
    """S3, S11: a bridge in the batch stops the container, and the host is as it was."""
    furnish(host)
    host.batch(["link add br0 type bridge"])
    bundle.write({**DEVICES, "br0": {}})
    with Restored(host):
        refused(runtime, bundle, "br0: the kernel never moves bridge devices")


@pytest.mark.parametrize("network", ["none", "own"])
def test_container_in_the_hosts_own_namespace(host: Namespace, runtime: Runtime, bundle: Bundle, network: str) -> None:
    """S1, S11: without a namespace of its own, or joining the host's, a container with devices is refused."""
    furnish(host)
    entry = {"type": "network", "path": f"/proc/{runtime.machine.pid}/ns/net"} if network == "own" else {}
    bundle.write(DEVICES, network=entry)
    with Untouched(host):
        refused(runtime, bundle, f"container {CONTAINER} has no network namespace of its own")


def test_hosts_own_namespace_without_devices(host: Namespace, runtime: Runtime, bundle: Bundle) -> None:
    """S14: a hook that stands in every container's configuration does not stop one that shares the host's namespace."""
    host.batch(["link add eth1 type ifb"])
    bundle.write({}, network={})
    assert set(started(runtime, bundle).links) == {"eth1"}


def test_wrong_type_in_net_devices(host: Namespace, runtime: Runtime, bundle: Bundle) -> None:
    """S2: a name that is a number, the schema's own bad example, stops the container."""
    furnish(host)
    bundle.write({"eth1": {"name": 23}})
    with Restored(host):
        refused(runtime, bundle, "linux.netDevices.eth1.name: a string is needed, not 23")


# ---- a runtime that moves devices itself, before createRuntime hooks -------------------------------------------------

MOVE_ETH1 = """
    ip link set eth1 netns $pid name net0
    nsenter -t $pid -n ip address add 192.0.2.10/24 dev net0
    nsenter -t $pid -n ip address add 192.0.2.11/24 dev net0
    nsenter -t $pid -n ip link set net0 up
"""


def test_already_moved_by_the_runtime(host: Namespace, runtime: Runtime, bundle: Bundle) -> None:
    """S1: devices that are there under their names, and gone from the host, are done; they are left as they are."""
    furnish(host)
    bundle.write({"eth1": {"name": "net0"}}, hooks=[shell_hook(MOVE_ETH1), hook()])
    assert started(runtime, bundle).addresses == {"net0": ARRIVED["net0"]}


def test_some_already_moved(host: Namespace, runtime: Runtime, bundle: Bundle) -> None:
    """S1: what is not there yet is moved, beside a device that is."""
    furnish(host)
    bundle.write(DEVICES, hooks=[shell_hook(MOVE_ETH1), hook()])
    assert started(runtime, bundle).addresses == ARRIVED


def test_hook_that_is_listed_twice(host: Namespace, runtime: Runtime, bundle: Bundle) -> None:
    """S1: the second of two equal hooks finds its work done."""
    furnish(host)
    bundle.write({"eth1": {"name": "net0"}, "eth2": {}}, hooks=[hook(), hook()])
    assert started(runtime, bundle).addresses == {name: ARRIVED[name] for name in ("net0", "eth2")}


# ---- afterwards -----------------------------------------------------------------------------------------------------


def inhabitants(netns: str) -> set[int]:
    """The processes that are in a network namespace, by its inode's name; without zombies, which are in none."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*/ns/net"):
        try:
            if str(entry.readlink()) == netns:
                found.add(int(entry.parts[2]))
        except OSError:
            continue  # it ended meanwhile
    return found


def cgroups() -> set[str]:
    """The container's; os.walk passes over those that other tests remove meanwhile."""
    return {f"{path}/{name}" for path, names, _ in os.walk("/sys/fs/cgroup") for name in names if CONTAINER in name}


@pytest.mark.parametrize("third", ["eth2", "nope"])
def test_nothing_is_left(host: Namespace, runtime: Runtime, bundle: Bundle, third: str) -> None:
    """S9, S11: after a container's end, or a refused start, no namespace, mount, cgroup, process or file is left."""
    furnish(host)
    bundle.write({"eth1": {"name": "net0"}, "mv0": {"name": "eth%d"}, third: {}})
    own = f"net:[{Path(f'/proc/{runtime.machine.pid}/ns/net').stat().st_ino}]"
    before = (runtime.machine.mounts(), cgroups(), inhabitants(own))
    done = runtime.run(bundle)
    assert (done.returncode == 0) == (third == "eth2")
    if done.returncode == 0:
        # A namespace lives as long as a process holds it; the wires' other ends die with it.
        wait_until(lambda: host.names() == set(), "the container's network namespace is gone")
        assert inhabitants(Seen.parse(done.stdout).netns) == set()
    wait_until(lambda: cgroups() == before[1], "the container's cgroups are gone")
    assert (runtime.machine.mounts(), cgroups(), inhabitants(own)) == before
    assert list(runtime.state.iterdir()) == []
    left = {
        str(path.relative_to(runtime.machine.path("/run"))) for path in runtime.machine.path("/run").rglob("netdevns/*")
    }
    left = {path for path in left if not path.endswith(".lock")}
    assert left <= {"netdevns/hook.log", "netdevns/txn", "netdevns/loan"}  # the folders of the records
