"""Measures netdevns, the kernel's floor and other tools with the same job, in alternating, verified rounds.

Writes pytest-benchmark's JSON (default: .cache/bench/last.json) and prints its tables. Exit code 1: a contestant's work
was not complete, and its rounds were thrown out.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from . import build, compare, publish, summary
from .measure import BUDGET_S, ONE_CORE, RUNNING, SANDBOX, TOP, measure, programs, thrown_out
from .scenario import SCENARIOS, chosen


def _patterns(text: str) -> list[str]:
    return text.split(",")


def parsed(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tools/bench",
        description=__doc__,
        epilog="tools/bench compare A.json B.json shows the changes between two runs;\n"
        "tools/bench page --measure measures and writes docs/performance.md: see tools/bench page --help.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, metavar="N", help="of each scenario (default: more of the quick ones)")
    for what, text in ("scenarios", "these only, from all of them"), ("contestants", "these only"):
        parser.add_argument(f"--{what}", type=_patterns, default=[], metavar="GLOB,...", help=text)
    budget = (
        f"begin no further round of a scenario after so long (default: {BUDGET_S[True]}, {BUDGET_S[False]} in a guest)"
    )
    parser.add_argument("--budget", type=float, dest="budget_s", metavar="SECONDS", help=budget)
    parser.add_argument("--all", action="store_true", help="all scenarios (default: the main ones)")
    parser.add_argument("--quick", action="store_true", help="two rounds of each")
    kernels = (RUNNING, "5.10", "6.1", "6.12", "sid")
    parser.add_argument("--kernel", choices=kernels, default=RUNNING, help="running, or one of tools/kernels")
    parser.add_argument("--list", action="store_true", help="show the scenarios and their contestants")
    parser.add_argument("-o", type=Path, dest="file", metavar="FILE.json", default=build.BUILT / "last.json")
    args = parser.parse_args(argv)
    if not chosen(args.scenarios, args.contestants, args.rounds, everything=args.all, quick=args.quick):
        parser.error("no scenario has such a name and such a contestant; see --list")
    return args


def main(argv: list[str]) -> int:
    if argv[:1] == ["compare"]:
        return compare.main(argv[1:])
    if argv[:1] == ["page"]:
        return publish.main(argv[1:])
    if argv in (["steps"], ["profile"], ["startup"]):
        return subprocess.run([*SANDBOX, sys.executable, "-m", f"bench.{argv[0]}"], cwd=TOP, check=False).returncode
    if argv[:2] == ["profile", "--kernel"]:
        engine = ["--env", f"NETDEVNS_ENGINE={os.environ.get('NETDEVNS_ENGINE', 'native')}"]
        words = [*argv[1:], *engine, "--", ".venv/bin/python", "-m", "bench.profile"]
        return subprocess.run([*ONE_CORE, sys.executable, str(TOP / "tools/kernels"), *words], check=False).returncode
    args = parsed(argv)
    if args.list:
        for each in SCENARIOS.values():
            print(f"{each.id:20} {'main' if each.main else '':5} {each.rounds:3} rounds: {', '.join(each.contestants)}")
        return 0
    asked = {key: getattr(args, key) for key in ("scenarios", "contestants", "rounds", "all", "quick", "budget_s")}
    file = args.file.resolve()
    programs()
    try:
        code = measure(asked, args.kernel, file)
    except KeyboardInterrupt:
        return 130
    if not file.exists():
        return code or 1
    summary.main([str(file)])
    out = thrown_out(file)
    for line in out:
        print(f"thrown out: {line}", file=sys.stderr)
    return code or bool(out)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
