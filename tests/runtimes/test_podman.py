"""podman: a device by its CDI name, with what `netdevns cdi --install` has written where podman looks by itself."""

from __future__ import annotations

import pytest

from tests.support import readme
from tests.support.namespaces import Namespace
from tests.support.processes import wait_until
from tests.support.restored import Restored

from .container import ARRIVED, LOOK, WIRES, Seen, furnish
from .podman import CDI, Podman

KIND = "vendor.com/nic"
DEVICES = ["eth1=net0", "mv0=eth%d", "eth2"]


def asked(*names: str) -> list[str]:
    return [f"--device={KIND}={name}" for name in names]


def test_devices_are_there_when_the_process_starts(host: Namespace, podman: Podman) -> None:
    """S1, S5, S6, S7: three devices by their CDI names, one with a template, with their addresses, up."""
    furnish(host)
    assert podman.netdevns("cdi", KIND, *DEVICES, "--install") == f"wrote {CDI}/vendor.com-nic.json\n"
    done = podman.run(*asked("eth1", "mv0", "eth2"), command=LOOK)
    assert done.returncode == 0, done.stderr
    seen = Seen.parse(done.stdout)
    assert seen.addresses == ARRIVED
    assert seen.up() == set(ARRIVED)


def test_only_the_devices_that_were_asked_for(host: Namespace, podman: Podman) -> None:
    """A container gets what it names, and none that the same file offers besides."""
    furnish(host)
    podman.netdevns("cdi", KIND, *DEVICES, "--install")
    done = podman.run(*asked("eth2"), command=LOOK)
    assert done.returncode == 0, done.stderr
    assert Seen.parse(done.stdout).addresses == {"eth2": ARRIVED["eth2"]}
    # eth2 and its peer die with the container, in the kernel's own time.
    wait_until(lambda: host.names() == WIRES - {"wire2"} | {"eth1", "mv0"})


def test_a_missing_device_stops_the_container(host: Namespace, podman: Podman) -> None:
    """S11: no process starts, and the log says why, even if the runtime drops the hook's stderr."""
    furnish(host)
    podman.netdevns("cdi", KIND, "nope=net0", "--install")
    with Restored(host):
        done = podman.run(*asked("nope"), command="echo started")
    assert done.returncode != 0
    assert "started" not in done.stdout
    assert "nope: no such device in this network namespace" in podman.machine.hook_log()


@pytest.mark.thorough
def test_the_hosts_own_network_is_refused(host: Namespace, podman: Podman) -> None:
    """With --network=host hooks run, too: nothing is moved or renamed."""
    furnish(host)
    podman.netdevns("cdi", KIND, "eth1=net0", "--install")
    with Restored(host):
        done = podman.run(*asked("eth1"), command="echo started", network="host")
    assert done.returncode != 0
    assert "started" not in done.stdout
    assert "has no network namespace of its own" in podman.machine.hook_log()


@pytest.mark.thorough
def test_uninstall_leaves_nothing(host: Namespace, podman: Podman) -> None:
    """The folder that --install has made is gone, and podman does not know the device any more."""
    furnish(host)
    folder = podman.machine.path(CDI)
    was_there = folder.exists()
    podman.netdevns("cdi", KIND, "eth1=net0", "--install")
    assert [path.name for path in folder.glob("vendor*")] == ["vendor.com-nic.json"]
    assert podman.netdevns("cdi", KIND, "--uninstall") == f"removed {CDI}/vendor.com-nic.json\n"
    assert folder.exists() == was_there
    assert not was_there or not list(folder.glob("*vendor*"))
    done = podman.run(*asked("eth1"), command="echo started")
    assert done.returncode != 0
    assert "started" not in done.stdout


@pytest.mark.thorough
def test_a_device_whose_name_begins_with_a_digit(host: Namespace, podman: Podman) -> None:
    """It needs CDI 0.5.0, which podman 4.3.1 reads."""
    host.batch("link add 0eth type veth peer name wire1")
    podman.netdevns("cdi", KIND, "0eth=net0", "--install")
    done = podman.run(*asked("0eth"), command=LOOK)
    assert done.returncode == 0, done.stderr
    assert set(Seen.parse(done.stdout).links) == {"net0"}


@pytest.mark.thorough
@pytest.mark.parametrize("podman", ["crun"], indirect=True)
def test_where_crun_puts_what_a_hook_says(host: Namespace, podman: Podman) -> None:
    """crun drops a hook's stderr, unless its annotation names a file, as docs/operator.md says."""
    furnish(host)
    podman.netdevns("cdi", KIND, "nope", "--install")
    wish = "--annotation=run.oci.hooks.stderr=/run/hook.err"
    assert wish.replace("annotation=", "annotation ") in readme.OPERATOR.read_text(encoding="utf-8")
    for options in [], [wish]:
        done = podman.run(*options, *asked("nope"), command="true")
        assert "no such device" not in done.stderr
        assert "(exit code: 2)" in done.stderr
        assert podman.machine.path("/run/hook.err").exists() == bool(options)
    assert "nope: no such device" in podman.machine.path("/run/hook.err").read_text()
