"""Tries what docs/daemons.md says, with udev, systemd-networkd and NetworkManager of Debian trixie.

A device that was configured by hand moves into a namespace and comes home, again and again, with and without the files
of the page; a DHCP server waits at the other end. Each daemon runs in namespaces of its own, in an overlay above
packages that are fetched (36 MB) and not installed. Exit status 1 if a device with the page's files does not come home
as it left, or if none of those without is harmed; 125 if the kernel allows no such namespaces.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tests.runtimes.daemons import (
    DAEMONS,
    LINK,
    NETWORK,
    PAGE,
    RULE,
    RULES,
    WAYS,
    Daemon,
    Round,
    Scene,
    page_files,
    play,
)

NONE = "none"
BROKEN = 125
COMMAND = "./tools/daemons --write"
BEGIN, END = f"<!-- rounds: written by {COMMAND} -->\n", "<!-- end -->\n"
HEAD = ["daemon", "file", "addresses", "renames", "leases", "addresses lost", "failed rounds"]


@dataclass(frozen=True, eq=False)
class Case:
    """A daemon with one file against it, or without."""

    daemon: Daemon
    file: str  # its path, or NONE
    is_bare: bool  # without addresses

    @property
    def files(self) -> dict[str, str]:
        if self.file == RULE:
            return {RULE: RULES[self.daemon.name]}
        return {} if self.file == NONE else {self.file: page_files()[self.file]}


def cases() -> list[Case]:
    found = []
    for name, daemon in DAEMONS.items():
        found += [Case(daemon, file, False) for file in (NONE, LINK)]
        if name == "networkd":
            found += [Case(daemon, NETWORK, False)]
        if name in RULES:
            found += [Case(daemon, file, True) for file in (NONE, LINK, RULE)]
    return found


def row(case: Case, seen: Mapping[str, Sequence[Round]]) -> list[str]:
    """A row of the table; `seen`: the rounds of each of WAYS."""

    def each(count: Callable[[Round], int]) -> str:
        counted = [sum(map(count, rounds)) for rounds in seen.values()]
        return " / ".join(map(str, counted)) if any(counted) else "0"

    return [
        case.daemon.name,
        case.file.rpartition("/")[2],
        "none" if case.is_bare else "2",
        each(lambda r: r.renames),
        each(lambda r: r.leases),
        each(lambda r: len(r.lost)),
        each(lambda r: r.is_harmed),
    ]


def judged(results: Mapping[Case, Mapping[str, Sequence[Round]]]) -> list[str]:
    """What must not be: harm, or a daemon that manages the device, with a file of the page; no harm without any."""
    found = []
    harmed = set()
    for case, ways in results.items():
        for way, seen in ways.items():
            where = f"{case.daemon.name}, {case.file}, {way}"
            if case.file == NONE and any(r.is_harmed for r in seen):
                harmed.add(case.daemon.name)
            if case.file not in (NONE, RULE):
                found += [f"{where}: harmed: {r}" for r in seen if r.is_harmed]
                found += [f"{where}: in the end: {r.says}" for r in seen if r.says != case.daemon.left_alone]
    shown = {case.daemon.name for case in results}
    return found + [f"{name}: does no harm without a file: the trial shows nothing" for name in shown - harmed]


def versions() -> str:
    """What runs, as "Linux 6.18, udev 257"."""
    with Scene(DAEMONS["udev"], {}) as scene:
        daemons = [daemon.version(scene.host) for daemon in DAEMONS.values()]
    return ", ".join([f"Linux {os.uname().release.partition('-')[0]}", *daemons])


def markdown(count: int, rows: Sequence[Sequence[str]]) -> str:
    lines = [HEAD, ["---"] * len(HEAD), *rows]
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    return f"Seen with {versions()}, {count} rounds each:\n\n{table}"


def write(text: str) -> None:
    """Replaces what is between the marks of the page."""
    page = PAGE.read_text(encoding="utf-8")
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end):
        raise OSError(f"{PAGE}: without the marks around the table; nothing is written")
    PAGE.write_text(f"{head}{begin}\n{text}\n{end}{tail}", encoding="utf-8")


def positive(text: str) -> int:
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{value}: at least 1")
    return value


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="tools/daemons", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=positive, default=20, metavar="N", help="in each case (default: 20)")
    parser.add_argument("--watch", type=float, default=3, metavar="SECONDS", help="after each round (default: 3)")
    parser.add_argument("--daemon", choices=[*DAEMONS], help="only this one")
    parser.add_argument("--jobs", type=positive, default=3, metavar="N", help="cases at once (default: 3)")
    parser.add_argument("--write", action="store_true", help=f"write the table of {PAGE.name} instead of printing it")
    args = parser.parse_args(argv)
    if args.write and args.daemon:
        parser.error("--write: the page has all daemons")

    def run(case: Case, way: str) -> list[Round]:
        started = time.monotonic()
        seen = [*play(case.daemon, case.files, way, args.rounds, args.watch, case.is_bare)]
        took_s = time.monotonic() - started
        print(f"{took_s:4.0f} s  {way}: {', '.join(row(case, {way: seen}))}", file=sys.stderr, flush=True)
        return seen

    # At once, as threads would play on. As its namespaces' first process it would ignore a signal without a handler;
    # the daemons end with it.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: os._exit(128 + number))
    todo = [case for case in cases() if args.daemon in (None, case.daemon.name)]
    pool = ThreadPoolExecutor(args.jobs)
    try:
        running = {case: {way: pool.submit(run, case, way) for way in WAYS} for case in todo}
        results = {case: {way: each.result() for way, each in ways.items()} for case, ways in running.items()}
        text = markdown(args.rounds, [row(case, seen) for case, seen in results.items()])
        if args.write:
            write(text)
        else:
            print(text, end="")
    except OSError as e:
        print(f"tools/daemons: {e}", file=sys.stderr)
        return BROKEN
    finally:
        pool.shutdown(cancel_futures=True)
    wrong = judged(results)
    for line in wrong:
        print(f"tools/daemons: {line}", file=sys.stderr)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
