"""README.md: its commands, as they stand."""

from __future__ import annotations

import pytest

from tests.support import readme
from tests.support.installation import without_notes
from tests.support.namespaces import Namespace
from tests.support.restored import Restored

from . import manual
from .podman import Podman

INSTALL, QUICK, BY_NAME, PREPARED = readme.commands(readme.README)


def typed(podman: Podman, lines: list[str]) -> list[str]:
    """What each line prints; each succeeds and reports no loss but the sysctls that the target resets.

    Notes are no complaints: the devices are veths, which end with a container.
    """
    printed = []
    for line in lines:
        done = manual.typed(podman, line)
        said = [each for each in without_notes(done.stderr).splitlines() if ": not carried: sysctl" not in each]
        assert (done.returncode, said) == (0, []), line
        printed.append(done.stdout)
    return printed


def test_quick_start(host: Namespace, podman: Podman) -> None:
    """A device is shown, checked, moved, and moved back with its addresses; nothing is left to recover."""
    manual.furnish(host, podman)
    with Restored(host):
        said = dict(zip(QUICK, typed(podman, QUICK), strict=True))
        typed(podman, ["ip netns del green"])
    moves = [text for line, text in said.items() if line.startswith("netdevns move")]
    assert ["net0" in moves[0], "eth1" in moves[1], len(moves)] == [True, True, 2]


@pytest.mark.thorough
def test_containers(host: Namespace, podman: Podman) -> None:
    """Containers started by a device's CDI name, and in a prepared namespace, have the device with its address."""
    manual.furnish(host, podman)
    for block in BY_NAME, PREPARED:
        started = [text for line, text in zip(block, typed(podman, block), strict=True) if line.startswith("podman")]
        assert ["192.0.2.10/24 scope global net0" in text for text in started] == [True]
        if block is BY_NAME:  # a virtual device ends with its container
            host.batch(["link add eth1 type veth peer name wire1", "address add 192.0.2.10/24 dev eth1",
                        "link set wire1 up", "link set eth1 up"])  # fmt: skip


def test_install_names_the_hooks_folder() -> None:
    """The folder of the hook in config.json is that of the installation. tests/ship installs."""
    (text,) = readme.snippets("json")
    folder = INSTALL[0].rpartition(" ")[2]
    assert f'"{folder}/bin/netdevns-hook"' in text
