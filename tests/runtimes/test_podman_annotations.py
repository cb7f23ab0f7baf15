"""podman: a device by an annotation, with the files of `netdevns hooks-dir --install` where podman looks by itself."""

from __future__ import annotations

import pytest

from tests.support.namespaces import Namespace
from tests.support.restored import Restored

from . import manual
from .container import ARRIVED, LOOK, Seen, furnish
from .podman import HOOKS, Podman

FILES = ["netdevns-createRuntime.json", "netdevns-poststop.json"]


def asked(**devices: str) -> list[str]:
    return [f"--annotation=org.netdevns.device.{host_name}={name}" for host_name, name in devices.items()]


def everything(podman: Podman) -> list[str]:
    """What is in /usr/share/containers."""
    return sorted(str(path) for path in podman.machine.path("/usr/share/containers").rglob("*"))


def test_devices_are_there_when_the_process_starts(host: Namespace, podman: Podman) -> None:
    """S1, S5, S6, S7: what the operator allows is moved, all devices by one hook, and nothing is said."""
    furnish(host)
    said = podman.netdevns("hooks-dir", "--allow", "eth*", "--allow", "mv0", "--install")
    assert said == "".join(f"wrote {HOOKS}/{name}\n" for name in FILES)
    done = podman.run(*asked(eth1="net0", mv0="eth%d", eth2="eth2"), command=LOOK)
    assert done.returncode == 0, done.stderr
    seen = Seen.parse(done.stdout)
    assert seen.addresses == ARRIVED
    assert seen.up() == set(ARRIVED)
    # Neither stage had anything to complain of; all three are software, and have ended with their namespace.
    (line,) = podman.machine.hook_log().splitlines()
    assert line.endswith(" eth1, eth2, mv0: ended with the container, as virtual devices do unless it moved them on")


def test_a_device_that_is_not_allowed_stays(host: Namespace, podman: Podman) -> None:
    """An annotation for a device that --allow does not match has no effect: the device stays as it was."""
    furnish(host)
    podman.netdevns("hooks-dir", "--allow", "mv*", "--install")
    with Restored(host):
        done = podman.run(*asked(eth1="net0"), command="ip -o link")
    assert done.returncode == 0, done.stderr
    assert "net0" not in done.stdout


@pytest.mark.thorough
def test_a_container_that_does_not_ask_starts_no_hook(host: Namespace, podman: Podman) -> None:
    """Others pay nothing: without the annotation podman does not start the hook at all."""
    furnish(host)
    podman.netdevns("hooks-dir", "--allow", "eth*", "--install")
    with Restored(host):
        done = podman.run("--annotation=org.example.device.eth1=net0", command="ip -o link")
    assert done.returncode == 0, done.stderr


@pytest.mark.thorough
def test_uninstall_leaves_nothing(host: Namespace, podman: Podman) -> None:
    """The folders that --install has made are gone, and an annotation is an annotation."""
    furnish(host)
    folder = podman.machine.path(HOOKS)
    before = everything(podman)
    podman.netdevns("hooks-dir", "--allow", "eth*", "--install")
    assert sorted(path.name for path in folder.glob("netdevns*")) == FILES
    assert podman.netdevns("hooks-dir", "--uninstall") == "".join(f"removed {HOOKS}/{name}\n" for name in FILES)
    assert everything(podman) == before
    with Restored(host):
        done = podman.run(*asked(eth1="net0"), command="echo started")
    assert (done.returncode, done.stdout) == (0, "started\n")


@pytest.mark.thorough
def test_the_operators_page(host: Namespace, podman: Podman) -> None:
    """docs/operator.md: what it says of annotations, as it stands."""
    manual.furnish(host, podman)
    before = everything(podman)
    (block,) = [block for block in manual.BLOCKS if manual.needs_annotations(block)]
    for line in block:
        done = manual.typed(podman, line)
        assert (done.returncode, done.stderr) == (0, ""), line
        if line.startswith("podman"):
            assert "192.0.2.10/24 scope global net0" in done.stdout
            assert "203.0.113.5/24 scope global eth0" in done.stdout
    assert everything(podman) == before
