"""The stacking of devices, with handmade links."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from netdevns.batch import stacking
from netdevns.engine.batch_device import BatchDevice


def link(ifindex: int, lower: int | None = None, master: int | None = None, kind: bytes = b"vlan") -> SimpleNamespace:
    return SimpleNamespace(ifindex=ifindex, lower=lower, master=master, kind=kind, name=f"d{ifindex}".encode())


def links(*all_: SimpleNamespace) -> dict[int, SimpleNamespace]:
    return {each.ifindex: each for each in all_}


def device(of: SimpleNamespace) -> BatchDevice:
    return BatchDevice(of.name.decode(), of.name, of.name, of)  # type: ignore[arg-type]  # the attributes in use


@pytest.mark.parametrize(
    ("lowers", "depths"),
    [
        pytest.param({1: None, 2: None}, {1: 0, 2: 0}, id="side-by-side"),
        pytest.param({1: None, 2: 1}, {1: 0, 2: 1}, id="one-on-another"),
        pytest.param({3: 2, 2: 1, 1: None}, {1: 0, 2: 1, 3: 2}, id="three-in-any-order"),
        pytest.param({2: 9}, {2: 0}, id="lower-outside-of-the-batch"),
        pytest.param({1: 2, 2: 1}, {1: 2, 2: 2}, id="a-cycle-ends"),
        pytest.param({1: 1}, {1: 1}, id="on-itself-ends"),
    ],
)
def test_depths(lowers: dict[int, int | None], depths: dict[int, int]) -> None:
    """A device is one deeper than its lower, if that is in the batch; a cycle is no endless loop."""
    batch = {ifindex: device(link(ifindex, lower)) for ifindex, lower in lowers.items()}
    stacking.set_depths(batch)
    assert {ifindex: each.depth for ifindex, each in batch.items()} == depths


def test_uppers_deleted_with_their_lower() -> None:
    """A vxlan device is deleted with its lower, along with its uppers; a VLAN is not; a cycle is no endless loop."""
    all_ = [link(2, 1, kind=b"vxlan"), link(3, 2), link(4, 1), link(5, 4, kind=b"vxlan"), link(6, 7), link(7, 6)]
    assert stacking.ending(all_, [1]) == {2, 3}


def test_uppers_that_stay() -> None:
    """All devices stacked on the batch, at any level, that are not in it; no others."""
    all_ = links(link(1), link(2, lower=1), link(3, lower=2), link(4, lower=1), link(5), link(6, lower=5))
    batch = {1: device(all_[1]), 4: device(all_[4])}
    assert [each.host_name for each in stacking.uppers(all_, batch)] == ["d2", "d3"]


@pytest.mark.parametrize(
    ("start", "reached"),
    [
        pytest.param({9}, {9}, id="unknown-device"),
        pytest.param({1}, {1}, id="nothing-below"),
        pytest.param({2}, {2, 1}, id="a-vlan-and-its-lower"),
        pytest.param({3}, {3, 1, 2}, id="a-bridge-its-port-and-the-lower-of-that"),
        pytest.param({4}, {4, 3, 2, 1}, id="a-vlan-on-the-bridge"),
    ],
)
def test_below(start: set[int], reached: set[int]) -> None:
    """Lowers and ports, through any mixture of both."""
    all_ = links(link(1), link(2, lower=1, master=3), link(3), link(4, lower=3), link(5))
    assert stacking.below(all_, start) == reached
