"""Other processes: waiting for what they do, and which there are."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

# `netdevns` with more time than a user's for what the kernel does late on a busy machine: a port's carrier, and the
# cleanup of a namespace that has ended.
_CODE = """
import runpy
from netdevns.recovery import returns
from netdevns.state import restore
restore.LATE_S, returns.WAIT_S = 15, 60
runpy.run_module("netdevns", run_name="__main__", alter_sys=True)
"""
PATIENT = (sys.executable, "-c", _CODE)


def wait_until(condition: Callable[[], object], what: str = "", timeout_s: float = 60) -> None:
    """Asks again and again; for what the kernel, a runtime or another process does in its own time."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, f"not within {timeout_s} s: {what}"
        time.sleep(0.01)


def is_stopped(pid: int) -> bool:
    """Whether a process is stopped by a signal."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    return re.search(r"^State:\tT", status, re.MULTILINE) is not None


def processes(word: str) -> set[int]:
    """The processes whose command line has a word in it, without the calling one."""
    found = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
            if word.encode() in file.read() and int(pid) != os.getpid():
                found.add(int(pid))
    return found


def pss_bytes(pids: set[int]) -> int:
    """The memory of processes; what several share counts once. Those that have ended have none."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
            found = re.search(r"^Pss: +(\d+) kB", file.read(), re.MULTILINE)
            total += int(found[1]) << 10 if found else 0
    return total


def blocks(pid: int, number: int) -> bool:
    """Whether a process blocks a signal, as a command does once it may change something."""
    (line,) = (x for x in Path(f"/proc/{pid}/status").read_text().splitlines() if x.startswith("SigBlk:"))
    return bool(int(line.split()[1], 16) & 1 << (number - 1))
