"""Shows, row by row, what other tools lose when they move a device, and what netdevns loses.

Each contestant gets the same devices in a fresh pair of network namespaces (the host's and "blue", the container's), is
run as it is shown, and is judged by raw dumps that have nothing to do with netdevns. Exit status 1 if netdevns loses
anything.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence

from tools import losses_judge as judge
from tools.losses_rows import ROWS, RUNTIMES, Row
from tools.losses_run import CONTESTANTS, Outcome, config_of, play

OURS = "netdevns"
Outcomes = Mapping[str, Outcome]  # by contestant


def versions() -> dict[str, str]:
    """What there is on this machine, by contestant."""
    found = {name: contestant.version() for name, contestant in CONTESTANTS.items()}
    return {name: version for name, version in found.items() if version}


def run(row: Row, names: Sequence[str]) -> dict[str, Outcome]:
    """Those of `names` that the row is about, netdevns last."""
    return {name: play(row, CONTESTANTS[name]) for name in (*row.contestants, OURS) if name in names}


# ---- for a terminal -------------------------------------------------------------------------------------------------


def show(row: Row, outcomes: Outcomes) -> None:
    print(f"\n== {row.id}: {row.promise}")
    for place, commands in ("host", row.host), ("blue", row.target):
        for line in commands.strip().splitlines():
            print(f"{place}# ip {line.strip()}")
    for name, value in row.target_sysctls.items():
        print(f"blue# sysctl net.{name.replace('/', '.')}={value}")
    if row.racer:
        print(f"blue# ip link add {row.racer} type veth   # by another process, as soon as the first is set down")
    if row.target_is_host:
        print("host# ip netns attach blue $$")
    if any(name in RUNTIMES for name in outcomes):
        print(f"BUNDLE/config.json: {config_of(row)}")
    for name, outcome in outcomes.items():
        print(f"  {name:10} $ {CONTESTANTS[name].command(row)}")
        for finding in outcome.findings:
            print(f"{'':13}- {finding.text}")
        if not outcome.findings:
            print(f"{'':13}0: {'all arrived' if row.must_arrive else 'everything is as before'}")
        if outcome.said and outcome.code:
            lines = outcome.said.splitlines()
            line = lines[-1] if lines[0].startswith("Traceback") else lines[0]
            print(f"{'':13}exit code {outcome.code}: {line}")
    sys.stdout.flush()


# ---- for docs/losses.md ---------------------------------------------------------------------------------------------


def losers(outcomes: Outcomes) -> str:
    """Each tool's losses; tools with the same ones share an entry, "all" if these are all but netdevns."""
    by_text: dict[str, list[str]] = {}
    for name, outcome in outcomes.items():
        if name != OURS and outcome.findings:
            by_text.setdefault(judge.summary(outcome.findings, len(outcome.row.devices)), []).append(name)
    others = len([name for name in outcomes if name != OURS])
    entries = [f"{'all' if len(names) == others > 1 else ', '.join(names)}: {text}" for text, names in by_text.items()]
    return "; ".join(entries) or "none"


def markdown_row(row: Row, outcomes: Outcomes) -> str:
    ours = judge.summary(outcomes[OURS].findings, len(row.devices)) or "holds"
    return f"| `{row.id}` | {row.promise} | {losers(outcomes)} | {ours} |"


def heading(found: Mapping[str, str]) -> str:
    return f"Linux {os.uname().release.partition('-')[0]}, {', '.join(dict.fromkeys(found.values()))}"


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="tools/losses", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rows", nargs="*", metavar="ROW", help="only these")
    parser.add_argument("--list", action="store_true", help="name the rows and run nothing")
    parser.add_argument("--markdown", action="store_true", help="print the table of docs/losses.md")
    args = parser.parse_args(argv)
    known = {row.id: row for row in ROWS}
    if unknown := [name for name in args.rows if name not in known]:
        parser.error(f"no such row: {', '.join(unknown)}; see --list")
    rows = [known[name] for name in args.rows] or list(ROWS)
    if args.list:
        for row in rows:
            print(f"{row.id:12} {row.promise}")
        return 0

    found = versions()
    left_out = [name for name in CONTESTANTS if name not in found]
    if args.markdown:
        print(f"Seen with {heading(found)}:\n")
        print("| row | must hold afterwards | where it does not | netdevns |\n|---|---|---|---|")
    else:
        print(heading(found) + (f"; not on this machine, left out: {', '.join(left_out)}" if left_out else ""))
    failed = []
    for row in rows:
        outcomes = run(row, list(found))
        if args.markdown:
            print(markdown_row(row, outcomes), flush=True)
        else:
            show(row, outcomes)
        if outcomes[OURS].findings:
            failed.append(row.id)
    if failed:
        print(f"netdevns does not keep: {', '.join(failed)}", file=sys.stderr)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
