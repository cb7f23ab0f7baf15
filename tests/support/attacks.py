"""Attacks on commands: strace disturbs one, it ends, and how many ended how is counted."""

from __future__ import annotations

import itertools
import os
import random
import re
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

TOP = Path(__file__).parents[2]
LONG = os.environ.get("NETDEVNS_ATTACK") == "long"
FULL = LONG or os.environ.get("NETDEVNS_PROFILE") == "long"  # tools/test --full
# The short sample of a test is the same each time (tests/conftest.py): a failure of it is one of what was changed.
CHANCE = random.Random()
# Every attack there is, in an hour; otherwise a part of them, which is another one each time.
ALL = bool(os.environ.get("NETDEVNS_FAULTS_ALL"))
ROUNDS = int(os.environ.get("NETDEVNS_ROUNDS") or 0)
ENGINES = ("native", "reference")
# Without --full the other engine runs one test for each promise: those marked "smoke".
EACH_ENGINE = (ENGINES[0], pytest.param(ENGINES[1], marks=pytest.mark.thorough))
HANG_S = 60
COMPLETE, AS_BEFORE, REPORTED, UNREACHED = "complete", "as before", "reported", "not reached"
Start = Callable[[tuple[str, ...]], subprocess.Popen[str]]  # given the words that go before the command's own


@dataclass(frozen=True)
class Ended:
    """How a command ended, and its system calls by name, in their order."""

    code: int
    out: str
    err: str
    calls: list[str] = field(repr=False)
    begin: int  # of its own work, in `calls`: the first netlink socket of its last program
    injected: int
    pid: int = 0
    has_begun: bool = False  # whether its first netlink socket was seen

    @property
    def own(self) -> list[tuple[str, int]]:
        """The calls of its own work, each with its number for strace's `when`."""
        seen: Counter[str] = Counter(self.calls[: self.begin])
        found = []
        for call in self.calls[self.begin :]:
            seen[call] += 1
            found.append((call, seen[call]))
        return found

    def numbers(self, call: str) -> range:
        """The numbers, for strace's `when`, of that call in the command's own work."""
        return range(self.calls[: self.begin].count(call) + 1, self.calls.count(call) + 1)


def traced(start: Start, *inject: str) -> tuple[Ended, list[str]]:
    """A command under strace, which disturbs it; it must end. Without injections all its calls are listed.

    Returns:
        How it ended, and strace's lines.
    """
    watched = {each.partition(":")[0] for each in inject} or {"all"}
    if any("signal=" in each for each in inject):
        # Where its own work begins: calls for memory are now one more, now one less before it.
        watched |= {"socket", "execve"}
    options = [word for each in inject for word in ("-e", f"inject={each}")]
    with tempfile.NamedTemporaryFile("r") as trace:
        # Calls that are not watched cost nothing: half of the time. But no signal can be injected at the
        # stop that a filter makes (ptrace(2), "Signal injection and suppression"): strace 6.1 does nothing then.
        quick = ("--seccomp-bpf",) if inject and not any("signal=" in each for each in inject) else ()
        watch = f"trace={','.join(sorted(watched))}"
        under = ("strace", "-f", *quick, "-o", trace.name, "-e", watch, *options)
        out, err, code = finish(start(under))
        lines = trace.read().splitlines()
    calls: list[str] = []
    begin: int | None = None
    for line in lines:
        called = re.match(r"\d+ +(\w+)\(", line)
        if called:
            if called[1] == "execve" and line.endswith("= 0"):  # the hook in C hands over: nothing was touched
                begin = None
            begin = len(calls) if begin is None and "socket(AF_NETLINK" in line else begin
            calls.append(called[1])
    injected = sum("(INJECTED)" in line for line in lines)
    pid = int(lines[0].split()[0]) if lines else 0
    return Ended(code, out, err, calls, begin or 0, injected, pid, has_begun=begin is not None), lines


def finish(process: subprocess.Popen[str]) -> tuple[str, str, int]:
    """What it wrote until it ended, and its exit code; a hang is an error, and killed."""
    try:
        return *process.communicate(timeout=HANG_S), process.returncode
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise AssertionError(f"it hangs\n{process.communicate()}") from None


class Tally:
    """How many attacks ended how, and what was lost; `may_miss`: that none was reached is no failure of the test."""

    def __init__(self, title: str, word: str = "lost") -> None:
        self.title = title
        self.word = word
        self.ends: Counter[str] = Counter()
        self.lost: list[str] = []
        self.may_miss = False
        self._started = time.monotonic()

    def count(self, what: str, end: str, wrong: list[str], ended: Ended | None = None) -> None:
        """One attack; `wrong`: what must not be."""
        self.ends[end] += 1
        if wrong:
            said = [f", exit code {ended.code}", ended.out, ended.err] if ended else [""]
            self.lost.append("\n".join([f"{what}: {end}{said[0]}", *said[1:], *wrong]))

    def __str__(self) -> str:
        ends = ", ".join(f"{count} {end}" for end, count in sorted(self.ends.items()))
        seconds = time.monotonic() - self._started
        return f"{self.title}: {self.ends.total()} tried, {len(self.lost)} {self.word} ({ends}; {seconds:.1f} s)"


def sample(numbers: Iterable[Any], short: int, long: int | None = None) -> list[Any]:
    """A few of them, one at random of each of as many parts; in the long run as many as that, or all."""
    every = list(numbers)
    count = (long or len(every)) if LONG else short
    if ALL or len(every) <= count:
        return every
    ends = [len(every) * part // count for part in range(count + 1)]
    return [every[CHANCE.randrange(begin, end)] for begin, end in itertools.pairwise(ends)]


def rounds(short: int, long: int) -> range:
    """How often a test tries what chance decides, with each engine; NETDEVNS_ROUNDS says it for all of them.

    Args:
        short: In every run.
        long: In the long run, with all engines together.
    """
    return range(ROUNDS or (long // len(ENGINES) if LONG else short))
