"""`netdevns apply` in the place of a hook: between a runtime's "create" and "start"."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.namespaces import Namespace
from tests.support.restored import Restored, Untouched

from .container import ARRIVED, DEVICES, WIRES, Bundle, Runtime, Seen, furnish


def test_apply_by_pid(host: Namespace, runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    """S1, S6: a process finds what `apply --bundle --pid` has moved between create and start."""
    furnish(host)
    bundle.write(DEVICES, hooks=[])
    output = tmp_path / "output"
    with runtime.created(bundle, output) as pid:
        done = runtime.machine.netdevns("apply", "--bundle", str(bundle.path), "--pid", str(pid))
        assert (done.returncode, done.stderr) == (0, "")
        assert host.names() == WIRES
        runtime.start()
        seen = Seen.parse(output.read_text())
    assert seen.addresses == ARRIVED
    assert seen.up() == set(ARRIVED)


def test_apply_by_path(host: Namespace, runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    """S1, S6: a process finds what `apply --bundle --netns PATH` has moved between create and start."""
    furnish(host)
    bundle.write(DEVICES, hooks=[])
    output = tmp_path / "output"
    with runtime.created(bundle, output) as pid:
        done = runtime.machine.netdevns("apply", "--bundle", str(bundle.path), "--netns", f"/proc/{pid}/ns/net")
        assert (done.returncode, done.stderr) == (0, "")
        runtime.start()
        seen = Seen.parse(output.read_text())
    assert seen.addresses == ARRIVED
    assert seen.up() == set(ARRIVED)


def test_apply_to_the_namespace_of_the_configuration(host: Namespace, runtime: Runtime, bundle: Bundle) -> None:
    """S1, S6: without --pid and --netns the devices go to the namespace that the configuration joins by path."""
    furnish(host)
    with runtime.machine.named_namespace("blue"):
        bundle.write(DEVICES, hooks=[], network={"type": "network", "path": "/run/netns/blue"})
        done = runtime.machine.netdevns("apply", "--bundle", str(bundle.path))
        assert (done.returncode, done.stderr) == (0, "")
        assert host.names() == WIRES
        done = runtime.run(bundle)
    assert done.returncode == 0, done.stderr
    assert Seen.parse(done.stdout).addresses == ARRIVED


def test_apply_says_what_it_moved(host: Namespace, runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    """S5: --json lists the names of the devices in the container, in the configuration's order."""
    furnish(host)
    bundle.write(DEVICES, hooks=[])
    with runtime.created(bundle, tmp_path / "output") as pid:
        done = runtime.machine.netdevns("apply", "--bundle", str(bundle.path), "--pid", str(pid), "--json")
    moved = json.loads(done.stdout)["moved"]
    assert [(m["host_name"], m["name"]) for m in moved] == [("eth1", "net0"), ("mv0", "eth0"), ("eth2", "eth2")]


def test_apply_refuses_and_the_container_is_untouched(
    host: Namespace, runtime: Runtime, bundle: Bundle, tmp_path: Path
) -> None:
    """S11: with a device that does not exist, neither the host nor the created container has changed."""
    furnish(host)
    bundle.write({**DEVICES, "nope": {}}, hooks=[])
    output = tmp_path / "output"
    with Restored(host), runtime.created(bundle, output) as pid:
        with Untouched(host):
            done = runtime.machine.netdevns("apply", "--bundle", str(bundle.path), "--pid", str(pid))
        assert (done.returncode, done.stdout) == (2, "")
        refusal, following, last = done.stderr.splitlines()
        assert refusal == "netdevns: nope: no such device in this network namespace"
        assert following.startswith("netdevns: next: ")
        assert last == "netdevns: nothing was touched"
        runtime.start()
        assert Seen.parse(output.read_text()).links == {}


def test_apply_without_a_namespace_to_join(host: Namespace, runtime: Runtime, bundle: Bundle) -> None:
    """S1: a configuration with a new namespace does not say which; --pid or --netns must."""
    furnish(host)
    bundle.write(DEVICES, hooks=[])
    with Restored(host):
        done = runtime.machine.netdevns("apply", "--bundle", str(bundle.path))
    assert done.returncode == 2
    assert "--pid or --netns" in done.stderr
