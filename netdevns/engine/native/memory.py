"""What all of the native engine needs: memory for the core, and its failures."""

from __future__ import annotations

from typing import Any

from ..._ffi import ffi
from ...netlink.error import EngineError

STEPS = ("", "open", "exchange", "snapshot", "move", "replay", "verify", "undo", "watch")
# Memory that is not set to zero first: what is not used is then never touched, which spares its page faults.
new_raw = ffi.new_allocator(should_clear_after_alloc=False)


def failure(err: Any) -> EngineError:
    """What a `struct nd_err` says."""
    text = ffi.string(err.text).decode("utf-8", "replace")
    return EngineError(-err.code, text, STEPS[err.step], err.index)
