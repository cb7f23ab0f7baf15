"""Plays what a runtime must do with a container's devices, case by case, and prints the table runtime by case.

With the machine's own runc and crun (and podman, if it is installed), with Debian's newest, and with containerd's ctr,
which are fetched and not installed. Exit status 1 if a case does not hold with netdevns as the hook, or if the devices
are not the same in the end where it holds.
"""

from __future__ import annotations

import argparse
import functools
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.runtimes.cases import CASES, Case, Make, Trial, play, summary
from tests.runtimes.container import ENV, Runtime
from tests.runtimes.players import Bundled, Containerd, NotHere, Podman
from tools.losses_run import PACKAGES as NATIVE
from tools.runtimes_page import ABSENT, NATIVE_TIMES, NO, PAGE, YES, Cell, Column, failures, page

SID = Path(__file__).resolve().parents[1] / ".cache/runtimes/packages"


@dataclass(frozen=True)
class Contestant:
    """A runtime in one way of use."""

    id: str
    program: Path | None  # its version is asked; None: it is not on this machine
    use: str  # hook, native
    make: Make
    prepare: str = "true"
    below: Path | None = None  # the runtime that an engine starts

    @property
    def column(self) -> Column:
        programs = [program for program in (self.program, self.below) if program]
        versions = " with ".join(f"{program.name} {version(program)}" for program in programs)
        return Column(self.id, f"{versions or self.id}, {self.use}")


def version(program: Path) -> str:
    done = subprocess.run([program, "--version"], capture_output=True, text=True, env=ENV, check=False)
    found = re.search(r"\d+\.\d+[.\d]*", done.stdout)
    return found[0] if found else "?"


def installed(name: str) -> Path | None:
    found = shutil.which(name, path=ENV["PATH"])
    return Path(found) if found else None


def fetched(path: Path) -> Path | None:
    return path if path.is_file() else None


def bundled(id_: str, program: Path | None, *, native: bool = False) -> Contestant:
    name = id_.partition("-")[0]
    make = functools.partial(Bundled, name=name, program=str(program), native=native)
    return Contestant(id_, program, "native" if native else "hook", make, Runtime.PREPARE[name])


def contestants() -> list[Contestant]:
    runc, crun = fetched(NATIVE / "usr/sbin/runc"), fetched(NATIVE / "usr/bin/crun")
    podman, newer = installed("podman"), fetched(SID / "usr/sbin/runc")
    start = functools.partial(Podman, program=str(podman), runtime="crun")
    ctr = functools.partial(Containerd, packages=SID, runtime=str(newer))
    return [
        bundled("runc", installed("runc")),
        bundled("runc-sid", newer),
        bundled("runc-newest", runc),
        bundled("runc-native", runc, native=True),
        bundled("crun", installed("crun")),
        bundled("crun-newest", crun),
        bundled("crun-native", crun, native=True),
        Contestant("podman", podman, "hook", start, Runtime.PREPARE["crun"], installed("crun")),
        Contestant("ctr", fetched(SID / "usr/bin/ctr"), "hook", ctr, Runtime.PREPARE["runc"], newer),
    ]


def _trial(trial: Trial) -> None:
    with trial.started({}):
        pass


def why_not(contestant: Contestant) -> str:
    """Why it starts not even a container without devices here; empty where it does."""
    if contestant.program is None:
        return "not on this machine"
    try:
        return summary(play(Case("trial", "", _trial), contestant.make, contestant.prepare))
    except (NotHere, OSError) as e:
        return str(e)


def cell(case: Case, contestant: Contestant) -> tuple[Cell, object]:
    """What was seen, and what the devices were in the end."""
    for _ in range(NATIVE_TIMES if contestant.use == "native" else 1):
        try:
            outcome = play(case, contestant.make, contestant.prepare)
        except NotHere as e:
            return Cell(ABSENT, str(e)), None
        if text := summary(outcome):
            return Cell(NO, text), outcome.final
    return Cell(YES), outcome.final


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="tools/runtimes", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="*", metavar="CASE", help="only these")
    parser.add_argument("--runtime", action="append", metavar="NAME", help="only this one; repeatable")
    parser.add_argument("--list", action="store_true", help="name the cases and run nothing")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name} instead of printing it")
    args = parser.parse_args(argv)
    if unknown := [name for name in args.cases if name not in CASES]:
        parser.error(f"no such case: {', '.join(unknown)}; see --list")
    if args.write and (args.cases or args.runtime):
        parser.error("--write: the page has all cases and runtimes")
    if args.list:
        for case in CASES.values():
            print(f"{case.id:10} {case.promise}")
        return 0
    cases = [CASES[name] for name in args.cases] or list(CASES.values())
    players = [each for each in contestants() if not args.runtime or each.id in args.runtime]
    if not players:
        parser.error(f"no such runtime; there are {', '.join(each.id for each in contestants())}")

    cells, finals = {}, {}
    for player in players:
        reason = why_not(player)
        for case in cases:
            key = case.id, player.id
            cells[key], finals[key] = (Cell(ABSENT, reason), None) if reason else cell(case, player)
            print(f"{player.column.label:24} {case.id:10} {cells[key].mark} {cells[key].text}", file=sys.stderr)
    columns = [player.column for player in players]
    system = f"Linux {os.uname().release.partition('-')[0]}"
    text = page(system, columns, {case.id: case.promise for case in cases}, cells)
    if args.write:
        PAGE.write_text(text, encoding="utf-8")
    else:
        print(text, end="")
    bad = failures(columns, cells, finals)
    for line in bad:
        print(f"netdevns: {line}", file=sys.stderr)
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
