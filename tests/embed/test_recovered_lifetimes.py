"""A recovery in C restores no lease that has expired since, and shortens none that was renewed."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.integration.test_recovered_lifetimes import DEVICES, HOST, LATER_S, SHIFTED, found, needs_time_namespaces
from tests.support.namespaces import Namespace
from tests.support.records import make_older

from .fighter import Driver, killed


@pytest.fixture
def sides(host: Namespace, target: Namespace) -> tuple[Namespace, Namespace]:
    host.batch(HOST)
    host.wait_until_quiet()
    return host, target


def test_lifetimes_go_on(sides: tuple[Namespace, Namespace], c: Driver, tmp_path: Path) -> None:
    """P1: an expired address is not added, others have the remaining lifetime."""
    host, target = sides
    killed(target, tmp_path, DEVICES)
    (record,) = tmp_path.iterdir()
    make_older(record, LATER_S)
    answer = c.recover(tmp_path, undo_complete=True)
    assert (answer.code, answer.report) == (0, "eth0: restored\neth1: restored\n"), answer
    now = found(host)
    assert now.keys() == {"10.1.0.1", "10.1.0.2", "2001:db8:1::1", "2001:db8:1::2"}
    assert 4800 < now["10.1.0.2"][0] <= 5000 - LATER_S
    assert 3800 < now["10.1.0.2"][1] <= 4000 - LATER_S
    assert (4800 < now["2001:db8:1::2"][0] <= 5000 - LATER_S, now["2001:db8:1::2"][1]) == (True, 0)


def test_undo_after_a_while(sides: tuple[Namespace, Namespace], c: Driver) -> None:
    """P1: the same of an undo by the same process, and of a second one."""
    host, target = sides
    host.ip("addr add 10.3.0.1/24 valid_lft 2 preferred_lft 2 dev eth1")
    c.moved(target, DEVICES)
    time.sleep(3)
    for _ in range(2):
        c.undo()
        now = found(host)
        assert "10.3.0.1" not in now
        assert 4800 < now["10.1.0.2"][0] <= 4998


def test_renewed_lease_is_kept(sides: tuple[Namespace, Namespace], c: Driver, tmp_path: Path) -> None:
    """P1: a lease that was renewed after the kill is not cut back, even if the recorded one has expired."""
    host, target = sides
    killed(target, tmp_path, DEVICES, line="stop")
    host.batch(["addr change 10.1.0.2/24 dev eth1 valid_lft 9000 preferred_lft 8000",
                "addr change 10.2.0.1/24 dev eth1 valid_lft 7777 preferred_lft 7777"])  # fmt: skip
    (record,) = tmp_path.iterdir()
    make_older(record, LATER_S)
    answer = c.recover(tmp_path)
    assert (answer.code, answer.report) == (0, "eth0: restored\neth1: restored\n"), answer
    now = found(host)
    assert now.keys() == {"10.1.0.1", "10.1.0.2", "10.2.0.1", "2001:db8:1::1", "2001:db8:1::2"}
    assert 8900 < now["10.1.0.2"][0] <= 9000
    assert 7900 < now["10.1.0.2"][1] <= 8000
    assert now["10.2.0.1"][0] > 7700


@needs_time_namespaces
def test_time_namespace(sides: tuple[Namespace, Namespace], tmp_path: Path) -> None:
    """P1: its offset is no time that has passed."""
    host, target = sides
    killed(target, tmp_path, DEVICES)
    with Driver(under=SHIFTED) as shifted:
        answer = shifted.recover(tmp_path, undo_complete=True)
    assert (answer.code, answer.report) == (0, "eth0: restored\neth1: restored\n"), answer
    now = found(host)
    assert 4900 < now["10.1.0.2"][0] <= 5000
    assert 0 < now["10.2.0.1"][0] <= 90
