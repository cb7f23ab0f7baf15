"""docs/daemons.md: its files, with the daemons of Debian trixie that they are for."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from tests.support.processes import wait_until
from tests.support.require import require

from .daemons import (
    DAEMONS,
    DEVICE,
    KEYFILE,
    LATE_S,
    LINK,
    MAC,
    NETWORK,
    PAGE,
    RULE,
    RULES,
    WAYS,
    Daemon,
    Round,
    Scene,
    page_files,
    play,
)
from .debian import Host

WATCH_S = 2.0  # a daemon that is not kept from it has a lease in less than one
# Each way but one: NetworkManager leaves a device alone that has addresses when udev has done with it.
HARM = [(name, way) for name in DAEMONS for way in WAYS if (name, way) != ("NetworkManager", "moved")]
FILES = [(name, LINK) for name in DAEMONS] + [("networkd", NETWORK)]
# udev is slow, as on a busy machine: it reads `address` after netdevns has renamed the device, and handles `move` after
# the daemon has its lease. The daemon looks for the device when udev has handled `add`.
SLOW_UDEV = {
    "/etc/udev/rules.d/10-slow.rules": "".join(
        f'SUBSYSTEM=="net", ACTION=="{action}", PROGRAM="/usr/bin/sleep {seconds}"\n'
        for action, seconds in (("add", 0.5), ("move", 5))
    )
}


@pytest.fixture(scope="module")
def _daemons() -> None:
    try:
        with Scene(DAEMONS["udev"], {}):
            pass
    except OSError as e:
        require("daemons", str(e))


def played(
    daemon: Daemon,
    files: dict[str, str],
    way: str,
    count: int,
    is_bare: bool = False,
    wanted: Callable[[Round], bool] = bool,
) -> list[Round]:
    return [*play(daemon, files, way, count, WATCH_S, is_bare, wanted)]


def has_lease(seen: Round) -> bool:
    return seen.leases > 0


@pytest.mark.thorough
@pytest.mark.usefixtures("_daemons")
@pytest.mark.parametrize(("name", "way"), HARM)
def test_without_a_file_a_daemon_changes_the_device(name: str, way: str) -> None:
    """What the page is against happens here: udev renames the device that came home, the others ask for a lease."""

    def is_changed(seen: Round) -> bool:
        is_taken = seen.says not in ("unknown", DAEMONS[name].left_alone)
        return is_taken and (seen.renames if name == "udev" else seen.leases) > 0

    (seen,) = played(DAEMONS[name], {}, way, 1, wanted=is_changed)
    assert is_changed(seen), seen


@pytest.mark.thorough
@pytest.mark.usefixtures("_daemons")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("name", "file"), FILES)
def test_with_the_file_it_comes_home_as_it_left(name: str, file: str, way: str) -> None:
    """P5: with the page's file no daemon renames or configures the device, also not the second time."""
    daemon = DAEMONS[name]

    def is_left_alone(seen: Round) -> bool:
        return seen.says == daemon.left_alone

    for is_bare in (False, True) if name == "NetworkManager" else (False,):
        for seen in played(daemon, {file: page_files()[file]}, way, 2, is_bare, is_left_alone):
            assert not seen.is_harmed, seen
            assert is_left_alone(seen), seen


@pytest.mark.thorough
@pytest.mark.usefixtures("_daemons")
@pytest.mark.parametrize("name", RULES)
def test_a_rule_is_not_enough(name: str) -> None:
    """As the page says of a rule that matches the MAC: udev evaluates it too late for a device that is renamed at once.

    It is in time where udev is quick: here it is slow. With the page's file that makes no difference.
    """
    (seen,) = played(DAEMONS[name], {RULE: RULES[name], **SLOW_UDEV}, "moved", 1, is_bare=True, wanted=has_lease)
    assert has_lease(seen), seen
    (seen,) = played(DAEMONS[name], {LINK: page_files()[LINK], **SLOW_UDEV}, "moved", 1, is_bare=True)
    assert not seen.is_harmed, seen


@pytest.mark.thorough
@pytest.mark.usefixtures("_daemons")
@pytest.mark.parametrize("name", ["networkd", "NetworkManager"])
def test_written_while_the_device_is_away(name: str) -> None:
    """As the page says: a file that is written after the daemon has configured the device counts when it comes home."""
    with Scene(DAEMONS[name], {}) as scene:
        scene.leave()
        scene.host.write({LINK: page_files()[LINK]})
        scene.host.run("/usr/bin/udevadm", "control", "--reload")
        scene.come_home("moved")
        scene.settle()
        wait_until(lambda: scene.says() == DAEMONS[name].left_alone, "the daemon leaves it alone", LATE_S)


@pytest.mark.thorough
@pytest.mark.usefixtures("_daemons")
def test_devices_with_the_same_mac() -> None:
    """With the page's line the file is for the device alone: another one is for a macvlan on it."""
    (line,) = re.findall("add `(Kind=!.*?)`", PAGE.read_text())
    file = page_files()[LINK].replace("[Match]\n", f"[Match]\n{line}\n")
    udev = DAEMONS["udev"]
    with Scene(udev, {LINK: file}) as scene:
        scene.host.net.ip(f"link add stacked link {DEVICE} address {MAC} type macvlan")
        wait_until(lambda: scene.host.net.names() == {DEVICE, "lan0"}, "udev renames the macvlan")
        wait_until(lambda: udev.says(scene.host, "lan0") == "50-lan.link", "udev has finished")
        assert udev.says(scene.host, DEVICE) == udev.left_alone


@pytest.mark.thorough
@pytest.mark.usefixtures("_daemons")
def test_network_manager_reads_the_keyfile() -> None:
    """Of the page's file that is for hardware only: NetworkManager finds it, and has no other such setting."""
    with Host(page_files()) as host:
        said = host.run("/usr/sbin/NetworkManager", "--print-config").stdout
    assert re.findall("^unmanaged-devices=(.*)", said, re.MULTILINE) == [f"mac:{MAC}"]


def test_the_files_are_about_one_device() -> None:
    """Each file matches by the MAC alone; the name in it is the device's on the host."""
    files = page_files()
    assert set(files) == {LINK, NETWORK, KEYFILE}
    assert files.pop(KEYFILE) == f"[keyfile]\nunmanaged-devices=mac:{MAC}\n"
    for text in files.values():
        match, _, rest = text.partition("[Link]\n")
        assert match == f"[Match]\nMACAddress={MAC}\n\n"
        assert rest
    assert f"\nName={DEVICE}\n" in files[LINK]


def test_the_table_has_nothing_else() -> None:
    """In the page's table no device with one of the files was changed, and some without one were."""
    rows = re.findall(
        r"^\| (udev|networkd|NetworkManager) \| (\S+) \|.*?\| ([\d /|]*) \|$", PAGE.read_text(), re.MULTILINE
    )
    with_file = [numbers for _, file, numbers in rows if file in (LINK.rpartition("/")[2], NETWORK.rpartition("/")[2])]
    assert {*with_file} == {" | ".join("0000")}
    for name in DAEMONS:
        assert any(
            set(numbers) & set("123456789") for daemon, file, numbers in rows if (daemon, file) == (name, "none")
        )
