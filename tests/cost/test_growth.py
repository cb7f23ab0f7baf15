"""How a move's cost grows: linearly with what is moved; what stays is read once a batch, and in the source alone.

`pytest -s` prints the tables.
"""

from __future__ import annotations

import functools

import pytest

from . import growth, trace
from .growth import ADDRESSES, DEVICES, MANY, SOURCE, TAKEN, TARGET, Axis, Growth
from .trace import ENGINES

pytestmark = pytest.mark.thorough

LINEAR = 1.1  # the greatest exponent at the upper end; n log n is below that here
# The greatest number of bytes for one more, both directions, at the upper end.
# A dump is asked for twice where it did not fit into a first buffer (native engine).
BYTES_EACH = {
    "other devices in the source": 4500,  # 5.10 dumps IPv6's tokens apart
    "routes in the source": 150,
    "other devices' addresses in the source": 350,
    "neighbours in the source": 180,
}
CALLS_EACH = 0.1  # a burst of receives takes 64 KiB


@functools.cache
def grown(axis: Axis, engine: str) -> list[Growth]:
    trace.need_strace()
    found = growth.measured(axis, [engine])[engine]
    print(f"\n{engine}: {growth.table(found)}")
    return found


def assert_linear(found: list[Growth]) -> None:
    # What adds less than a call for each of twenty comes in steps: one more burst.
    steep = [g for g in found if g.exponent > LINEAR and not (g.measure == "calls" and g.slope < 0.05)]
    assert not steep, growth.table(found)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("axis", [DEVICES, ADDRESSES], ids=lambda axis: axis.name)
def test_what_is_moved_costs_linearly(axis: Axis, engine: str) -> None:
    """Calls, bytes and bytecodes, for more devices in a batch and for more addresses on a device."""
    assert_linear(grown(axis, engine))


@pytest.mark.sampled(1, 2)
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("axis", SOURCE, ids=lambda axis: axis.name)
def test_what_stays_is_read_once_a_batch(axis: Axis, engine: str) -> None:
    """A bounded number of bytes for each, linear work, and no more of either when the batch has more devices."""
    found = grown(axis, engine)
    assert_linear(found)
    for measure in growth.MEASURES:
        few, many = (g for g in found if g.measure == measure)
        # With FEW devices and with MANY: the same for each, up to a burst more or less of thousands.
        assert many.slope <= few.slope * 1.02 + 0.01, f"it multiplies with the devices:\n{growth.table(found)}"
    assert all(g.slope <= BYTES_EACH[axis.name] for g in found if g.measure == "bytes"), growth.table(found)
    assert all(g.slope <= CALLS_EACH for g in found if g.measure == "calls"), growth.table(found)


@pytest.mark.sampled(1, 2)
@pytest.mark.parametrize("engine", ENGINES)
def test_what_is_in_the_target_costs_nothing(engine: str) -> None:
    """Not one byte, call or bytecode for a device in the target whose name and ifindex the batch does not ask for."""
    found = grown(TARGET, engine)
    assert all(len(set(g.values)) == 1 for g in found), growth.table(found)


@pytest.mark.sampled(1, 2)
@pytest.mark.parametrize("engine", ENGINES)
def test_taken_ifindexes_cost_little(engine: str) -> None:
    """The search for a free ifindex in the target goes past taken ones in longer and longer steps, once a batch."""
    found = grown(TAKEN, engine)
    assert all(g.exponent < 0.5 for g in found), growth.table(found)
    for measure in growth.MEASURES:
        few, many = (g for g in found if g.measure == measure)
        assert many.slope <= few.slope * 1.02 + 0.01, f"it multiplies with the {MANY} devices:\n{growth.table(found)}"
