"""Measures netdevns beside the kernel's floor and others that do the same, in alternating rounds that are verified.

Writes pytest-benchmark's JSON (default: .cache/bench/last.json) and prints what it says. Exit code 1: somebody's work
was not what it had to be, and was thrown out.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from . import build, compare, page, summary
from .scenario import SCENARIOS, chosen

TOP = Path(__file__).resolve().parent.parent
RUNNING = "running"
MARK = "@@bench json"  # what a guest's terminal shows behind this line is the document
# What is under /run, as a device or as a process is gone with these namespaces, however it all ends.
SANDBOX = [
    *("setpriv", "--pdeathsig", "KILL", "unshare", "--net", "--mount", "--pid", "--fork", "--kill-child"),
    *("--mount-proc", "--propagation", "private", "sh", "-c"),
    'mount -t tmpfs tmpfs /run && export NETDEVNS_OWN_RUN=yes && ip link set lo up && { "$@" || exit; }',
    "sh",
]
IN_GUEST = f'"$@" --benchmark-json=/tmp/bench.json; code=$?; echo "{MARK}"; cat /tmp/bench.json; exit $code'
GUEST_TIMEOUT_S = 7200
# After so long no further round of a scenario begins: --all takes less than half an hour then, ten minutes in a guest.
BUDGET_S = {True: 75, False: 25}  # on the running kernel, in a guest
# A guest: between two, each of its system calls takes four times as long.
ONE_CORE = ["taskset", "--cpu-list", str(max(os.sched_getaffinity(0)))]
MEMORY = "mem=1200M"  # for 10,000 devices or 200,000 routes; the last one on the kernel's command line counts


def suite(python: str) -> list[str]:
    """The command of the suite, without the file that it writes."""
    quiet = ["-q", "--no-header", "--no-summary", "-p", "no:cacheprovider", "--timeout=0", "--show-capture=no", "-s"]
    return [python, "-m", "pytest", *quiet, "--benchmark-quiet", "bench/test_costs.py"]


def here(file: Path, environment: dict[str, str]) -> int:
    command = [*SANDBOX, *suite(sys.executable), f"--benchmark-json={file}"]
    # pytest's dots go nowhere: what is under way is told on stderr.
    with open(os.devnull, "wb") as nowhere, tempfile.TemporaryFile() as out:
        done = subprocess.run(command, cwd=TOP, env=environment, stdin=nowhere, stdout=out, check=False)
        if done.returncode:
            out.seek(0)
            sys.stderr.write(out.read().decode(errors="replace"))
    return done.returncode


def in_guest(kernel: str, file: Path, environment: dict[str, str]) -> int:
    """The guest's only way out is its terminal."""
    words = ["--kernel", kernel, "--timeout", str(GUEST_TIMEOUT_S), "--append", "loglevel=4", "--append", MEMORY]
    words += ["--", "sh", "-c", IN_GUEST, "sh", *suite(".venv/bin/python")]
    command = [sys.executable, str(TOP / "tools/kernels"), *words]
    document: list[str] | None = None
    rest: list[str] = []  # pytest's own, which matters where something broke
    with subprocess.Popen(
        [*ONE_CORE, *command],
        cwd=TOP,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if document is not None:
                document.append(line)
            elif line.strip() == MARK:
                document = []
            elif (at := line.find("bench: ")) >= 0:  # behind pytest's dots
                sys.stderr.write(line[at:])
            else:
                rest.append(line)
    if process.returncode:
        sys.stderr.writelines(rest)
    if document:
        file.write_text("".join(document))
    return process.returncode if document else process.returncode or 1


def commit() -> str:
    """Of netdevns; "-dirty" where it is not what was committed."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"], cwd=TOP, capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


def thrown_out(file: Path) -> list[str]:
    found = [each["extra_info"] for each in json.loads(file.read_text())["benchmarks"]]
    return sorted({f"{i['scenario']}: {i['contestant']}: {i['why']}" for i in found if not i["verified"]})


def _patterns(text: str) -> list[str]:
    return text.split(",")


def parsed(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tools/bench",
        description=__doc__,
        epilog="tools/bench compare A.json B.json says what changed between two runs;\n"
        "tools/bench page A.json ... writes docs/performance.md, or tells with --check what would change.",
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
        return page.main(argv[1:])
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
    asked["guest"] = args.kernel != RUNNING
    asked["budget_s"] = asked["budget_s"] or BUDGET_S[args.kernel == RUNNING]
    file = args.file.resolve()
    environment = {**os.environ, "NETDEVNS_BENCH": json.dumps({**asked, "commit": commit()})}
    build.programs()
    build.site()
    if without := build.go_peer():
        print(without, file=sys.stderr)
    file.unlink(missing_ok=True)
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        code = here(file, environment) if args.kernel == RUNNING else in_guest(args.kernel, file, environment)
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
