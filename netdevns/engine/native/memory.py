"""Allocates memory for the core, and turns its failures into exceptions."""

from __future__ import annotations

from typing import Any

from ..._ffi import ffi
from ...netlink.error import EngineError

STEPS = ("", "open", "exchange", "snapshot", "move", "replay", "verify", "undo", "watch")
# Memory that is not zeroed: unused pages are never touched, so they cause no page faults.
new_raw = ffi.new_allocator(should_clear_after_alloc=False)


def failure(err: Any) -> EngineError:
    """The exception for a `struct nd_err`."""
    text = ffi.string(err.text).decode("utf-8", "replace")
    return EngineError(-err.code, text, STEPS[err.step], err.index)
