"""The clock of records and loans."""

from __future__ import annotations

import os
import time

_TIME_NS = "/proc/self/ns/time"
_INITIAL = "time:[4026531834]"  # its text in the initial time namespace: linux/nsfs.h, TIME_NS_INIT_INO


def now_ms() -> int:
    """The time by the clock that also runs in suspend: a lifetime must not grow while the machine sleeps.

    That of the initial time namespace: a record may be read in another one than it was written in.
    """
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000 - _offset_ms()


def _offset_ms() -> int:
    """The offset of this process' time namespace; 0 where it is not known. Source: time_namespaces(7)."""
    try:
        own = os.readlink(_TIME_NS)
        # The kernel shows the offsets of the namespace for children only.
        if own == _INITIAL or own != os.readlink(f"{_TIME_NS}_for_children"):
            return 0
        with open("/proc/self/timens_offsets", encoding="utf-8") as file:
            *_, seconds, nanoseconds = file.read().split()  # the second line is that of CLOCK_BOOTTIME
    except OSError:  # before Linux 5.6
        return 0
    return int(seconds) * 1000 + int(nanoseconds) // 1_000_000
