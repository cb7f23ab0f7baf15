"""The clock of records and loans."""

from __future__ import annotations

import time


def now_ms() -> int:
    """The time by the clock that also runs in suspend: a lifetime must not grow while the machine sleeps."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000
