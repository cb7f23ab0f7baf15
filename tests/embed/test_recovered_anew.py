"""A recovery in C writes nothing to a virtual device that was made anew with the name and ifindex of an earlier one."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from tests.integration.test_recovered_anew import DEVICES, NEW, furnish, replace
from tests.support.namespaces import Namespace
from tests.support.restored import Untouched

from .fighter import Driver, killed


@pytest.mark.parametrize("new", NEW.values(), ids=NEW)
@pytest.mark.parametrize("where", ["initial", "other"])
def test_new_device_is_left_alone(
    where: str, host: Namespace, initial: Namespace, target: Namespace, tmp_path: Path, new: str
) -> None:
    """P7: the old one ended with the target, whose place the initial namespace takes, which may be the source."""
    source = initial if where == "initial" else host
    furnish(source)
    with source.entered():
        killed(target, tmp_path, DEVICES)
        target.close()
        replace(source, new)
        with Untouched(source), Driver() as c:
            answer = c.recover(tmp_path)
            assert answer.code == errno.EIO, answer
            assert "; not restored: another device has its name" in answer.report, answer


@pytest.mark.parametrize("new", NEW.values(), ids=NEW)
def test_new_device_while_the_target_lives(
    host: Namespace, target: Namespace, c: Driver, tmp_path: Path, new: str
) -> None:
    """P7: the container has deleted the old one."""
    furnish(host)
    killed(target, tmp_path, DEVICES)
    target.ip("link del net1")
    replace(host, new)
    with Untouched(host):
        answer = c.recover(tmp_path, undo_complete=True)
        assert (answer.code, answer.report.startswith("eth1: kept: not found in either namespace")) == (0, True), answer


def test_device_with_a_new_mac_is_restored(host: Namespace, target: Namespace, c: Driver, tmp_path: Path) -> None:
    """P1: one that never left, and got another MAC since, is the old one."""
    furnish(host)
    host.batch(["link add eth0 type veth peer name peer0"])
    killed(target, tmp_path, {"eth0": "net0", "eth1": "net1"}, line="stop")
    host.batch(["link set eth1 address 02:00:00:00:00:99 mtu 1400"])
    answer = c.recover(tmp_path)
    assert (answer.code, "eth1: restored" in answer.report) == (0, True), answer
    assert host.ip_json("link show dev eth1")[0]["mtu"] == 1500
