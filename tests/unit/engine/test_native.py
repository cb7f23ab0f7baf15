"""The native engine releases memory lent to the core, also when a step fails."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from netdevns.engine import EngineError, native
from netdevns.netlink.wire import Malformed

DAMAGED = b"\x05\0\0\0 a message whose length lies"
CALLS: dict[str, Callable[[native.Device, memoryview], object]] = {
    "snapshot": lambda device, view: device.snapshot(None, (b"", view)),  # type: ignore[arg-type]  # not asked
    "late": lambda device, view: device.late(view),
    "verify": lambda device, view: device.verify(None, (b"", view)),  # type: ignore[arg-type]
    "address_runs": lambda _, view: list(native.address_runs(view)),
    "spans": lambda _, view: native.spans(view),
    "foreign_routes": lambda _, view: native.foreign_routes(view),
}


@pytest.mark.parametrize("call", CALLS)
def test_memory_is_released_after_a_failure(call: str) -> None:
    """A traceback that keeps a buffer of a memoryview crashes CPython before 3.11.8 and 3.12.2 (gh-77894)."""
    view = memoryview(DAMAGED)
    with pytest.raises((EngineError, Malformed)) as failed:
        CALLS[call](native.Device(b"eth1", b"net0", 7), view)
    assert failed.tb is not None
    view.release()  # BufferError: it is still exported
