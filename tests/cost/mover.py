"""A process that moves batches of devices and does nothing else: what trace.py and memory.py start.

Its argument is a JSON object: batches (devices of each), first (the number of the first batch), target (a descriptor),
journal (a directory or null), count (whether executed bytecodes are counted). It prints a JSON object: bytecodes (of
each move), peak_kib (VmHWM).
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable
from types import FrameType

MARK = "/netdevns-cost"  # does not exist; strace sees a stat of it
STATUS = "/proc/self/status"


def mark() -> None:
    with contextlib.suppress(FileNotFoundError):
        os.stat(MARK)


def bytecodes_of(function: Callable[[], object]) -> int:
    """How many bytecodes it executes, itself apart: all that Python does for it, and the same number each time."""
    count = 0

    def local(frame: FrameType, event: str, arg: object) -> object:  # noqa: ARG001  # the signature of a trace function
        nonlocal count
        if event == "opcode":
            count += 1
        return local

    def entered(frame: FrameType, event: str, arg: object) -> object:  # noqa: ARG001
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return local

    sys.settrace(entered)
    try:
        function()
    finally:
        sys.settrace(None)
    return count


def peak_kib() -> int:
    """Of this program alone: ru_maxrss would count what its parent had before exec."""
    with open(STATUS, encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM:"))


def main() -> None:
    job = json.loads(sys.argv[1])
    import netdevns

    move = netdevns.move
    _ = netdevns.Moved  # both are loaded on first use, and so is what a journal needs
    if job["journal"]:
        import netdevns.recovery.earlier
        import netdevns.recovery.record
    os.urandom(1)  # where libc draws random bytes without a system call, a first time prepares that
    bytecodes = []
    for batch, count in enumerate(job["batches"], job["first"]):
        devices = {f"b{batch}d{n}": f"net{batch}n{n}" for n in range(count)}
        run = lambda devices=devices: move(devices, job["target"], journal=job["journal"])  # noqa: E731
        mark()
        if job["count"]:
            bytecodes.append(bytecodes_of(run))
        else:
            run()
        mark()
    print(json.dumps({"bytecodes": bytecodes, "peak_kib": peak_kib()}))


if __name__ == "__main__":
    main()
