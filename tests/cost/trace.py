"""What a move costs: system calls and bytes, by strace, and executed bytecodes. No clock is involved."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from netdevns import JOURNAL_DIR
from tests.support.namespaces import Namespace
from tests.support.require import require

from .mover import MARK
from .source import Source

TOP = Path(__file__).parents[2]
MOVER = Path(__file__).with_name("mover.py")
ENGINES = ("native", "reference")

# Of no interest, for a reason each.
ALLOCATOR = (
    "brk",
    "mmap",
    "munmap",
    "mremap",
    "madvise",
)  # when libc or Python asks for memory depends on what was before
WITHOUT_VDSO = ("clock_gettime", "gettimeofday", "time")  # no system call, except on User Mode Linux
# One call of the program, under the name that the libc of the day gives it.
SAME = {"fstat": "newfstatat", "stat": "newfstatat", "lstat": "newfstatat", "statx": "newfstatat", "open": "openat"}
SAME |= {"rename": "renameat", "renameat2": "renameat", "unlinkat": "unlink"}
# A receive after one that came back full: how many there are depends on the datagrams that the kernel makes of a dump.
FURTHER = "recvmmsg (further)"


@dataclass
class Cost:
    """Of one move.

    Attributes:
        calls: By name; further reads of one answer are FURTHER, apart.
        sent_bytes, received_bytes: Of netlink.
        datagrams: That were received.
        bytecodes: That Python executed; 0 where they were not counted.
    """

    calls: Counter[str] = field(default_factory=Counter)
    sent_bytes: int = 0
    received_bytes: int = 0
    datagrams: int = 0
    bytecodes: int = 0

    @property
    def total_calls(self) -> int:
        return self.calls.total()

    @property
    def bytes(self) -> int:
        return self.sent_bytes + self.received_bytes


RANDOM = "getrandom"


@functools.cache
def random_is_a_call() -> bool:
    """Whether each os.urandom is a system call. From glibc 2.41 and Linux 6.11 on only a new key is one. Tried."""
    times = 50
    with tempfile.NamedTemporaryFile("r") as trace:
        drawn = [sys.executable, "-I", "-c", f"import os\nfor _ in range({times}): os.urandom(8)"]
        subprocess.run(["strace", "-o", trace.name, "-e", f"trace={RANDOM}", *drawn], check=True)
        return trace.read().count(f"{RANDOM}(") >= times


def need_strace() -> None:
    if not shutil.which("strace"):
        require("netns", "no strace here")


def moved(
    batches: Sequence[int],
    engine: str,
    target: Namespace,
    *,
    first: int = 0,
    count: bool = False,
    journal: bool = False,
    under: Sequence[str] = (),
) -> dict[str, Any]:
    """Runs mover.py on batches of a source that is made, under another program; returns what it prints."""
    with tempfile.TemporaryDirectory() as directory:
        # As after the first move ever.
        os.mkdir(f"{directory}/txn", 0o700)
        os.makedirs(JOURNAL_DIR, 0o700, exist_ok=True)
        where = directory if journal else None
        job = {"batches": batches, "first": first, "target": target.fd, "journal": where, "count": count}
        # The order of sets of strings, and with it the number of bytecodes, is drawn by lot otherwise.
        environment = {**os.environ, "NETDEVNS_ENGINE": engine, "PYTHONPATH": str(TOP), "PYTHONHASHSEED": "0"}
        done = subprocess.run(
            [*under, sys.executable, str(MOVER), json.dumps(job)],
            env=environment,
            pass_fds=[target.fd],
            stdout=subprocess.PIPE,
            check=True,
        )
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def costs(source: Source, engine: str, *, journal: bool = False, count: bool = False) -> list[Cost]:
    """What each batch of a source costs, moved by one process one after the other."""
    return costs_of_each(source, [engine], journal=journal, count=count)[engine]


def costs_of_each(
    source: Source, engines: Sequence[str], *, journal: bool = False, count: bool = False
) -> dict[str, list[Cost]]:
    """The same for engines that take turns: the source is made once, with the batches of each."""
    found = {}
    with replace(source, batches=source.batches * len(engines)).made() as (_, target):
        for turn, engine in enumerate(engines):
            first = turn * len(source.batches)
            found[engine] = _traced(source.batches, engine, target, first=first, journal=journal, count=count)
    return found


def _traced(batches: Sequence[int], engine: str, target: Namespace, *, count: bool, **options: Any) -> list[Cost]:
    with tempfile.NamedTemporaryFile("r") as trace:
        # -s: as many elements of an array are shown, and the datagrams of a receive are one.
        under = ("strace", "-f", "-s", "64", "-o", trace.name)
        result = moved(batches, engine, target, under=under, count=count, **options)
        found = list(parsed(trace))
    assert len(found) == len(batches), "not all moves were seen"
    if not random_is_a_call():
        for cost in found:
            del cost.calls[RANDOM]
    if count:
        for cost, bytecodes in zip(found, result["bytecodes"], strict=True):
            cost.bytecodes = bytecodes
    return found


def parsed(lines: Iterable[str]) -> Iterable[Cost]:
    """The moves between each two marks."""
    cost: Cost | None = None
    full: set[str] = set()  # descriptors whose last receive was full
    for line in lines:
        call = re.match(r"\d+ +(\w+)\((.*)\) += (-?\d+|\?)", line)
        if call is None:
            assert cost is None or "unfinished" not in line, "a second thread or process: its calls are in pieces"
            continue
        name, arguments, result = SAME.get(call[1], call[1]), call[2], call[3]
        if f'"{MARK}"' in arguments:
            if cost is not None:
                yield cost
            cost = Cost() if cost is None else None
        elif cost is not None and name not in (*ALLOCATOR, *WITHOUT_VDSO):
            fd = arguments.partition(",")[0]
            if name == "recvmmsg":
                lengths = [int(n) for n in re.findall(r"(?<!nl)msg_len=(\d+)", arguments)]
                received = max(0, int(result))
                assert len(lengths) == received, f"not all datagrams are shown: {line}"
                cost.received_bytes += sum(lengths)
                cost.datagrams += received
                name = FURTHER if fd in full else name
                slots = re.search(r"\], (\d+), MSG_", arguments)
                (full.add if slots and received == int(slots[1]) else full.discard)(fd)
            elif name in ("sendto", "sendmsg"):
                cost.sent_bytes += int(result)
                full.discard(fd)
            cost.calls[name] += 1
