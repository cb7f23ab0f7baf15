"""Writes docs/performance.md, its appendix and charts, and the tables in docs/embedding.md and operator.md.

Without --measure: of the results in bench/measured. With it: measures the scenarios of the page on the running kernel,
then on a guest of User Mode Linux, stores the results, and writes: about 12 minutes on a quiet machine, as root. Exit
code 1: with --check, a file differs; with --measure, a kernel could not be measured, or a contestant's work was not
complete (the rest is written nevertheless). 2: a file holds no results.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

from bench import build, charts, measure, page, prose, report, store, targets
from bench.charts import Chart
from bench.report import Table
from bench.results import Document, Refused, load_all

TOP = Path(__file__).resolve().parent.parent
PAGE = Path("docs/performance.md")
CHARTS = PAGE.parent / page.FOLDER
GUEST = "6.12"
# Tables in hand-written pages, each between two comments: the mark and the end.
INSERTED: dict[str, tuple[str, Callable[[Document], Table | None]]] = {
    "docs/embedding.md": ("cost", report.cost),
    "docs/operator.md": ("starts", report.starts),
}
MARK = "<!-- {}: written by ./tools/bench page -->"
END = "<!-- end -->"


def files(documents: Sequence[Document], drawn: Sequence[Chart], top: Path) -> dict[Path, str]:
    """All files to write, by path below `top`. Raises Refused."""
    words = prose.load()
    found = {
        PAGE: page.text(documents, words, targets.load(), drawn),
        PAGE.parent / page.APPENDIX: page.appendix(documents, words, drawn),
        **{CHARTS / chart.file: chart.svg for chart in drawn},
    }
    running = next((document for document in documents if not document.uml), None)
    for name, (mark, of) in INSERTED.items():
        if (top / name).exists() and running and (table := of(running)):
            found[Path(name)] = inserted((top / name).read_text(encoding="utf-8"), mark, page.table(table), name)
    return found


def inserted(text: str, mark: str, table: str, name: str) -> str:
    """Replaces the table between a page's marks. Raises Refused if there are none."""
    begin = MARK.format(mark)
    before, found, rest = text.partition(begin)
    _, ended, after = rest.partition(END)
    if not (found and ended):
        raise Refused(f"{name}: has no {begin!r} with {END!r} after it")
    return f"{before}{begin}\n\n{table}\n\n{END}{after}"


def stale(wanted: Mapping[Path, str], top: Path) -> list[str]:
    """One line for each stale file."""
    found = [f"{file} is stale" for file, text in wanted.items() if not same(_read(top / file), text)]
    return found + [f"{path.relative_to(top)} is no longer drawn" for path in _left(wanted, top)]


def _read(file: Path) -> str:
    return file.read_text(encoding="utf-8") if file.exists() else ""


def _left(wanted: Mapping[Path, str], top: Path) -> list[Path]:
    return sorted({*(top / CHARTS).glob("*.svg")} - {top / file for file in wanted})


def same(old: str, new: str) -> bool:
    """Whether two texts are equal; of charts by different versions of matplotlib, only their text counts."""
    if old == new:
        return True
    made_by = [re.findall(r"matplotlib [0-9][\w.]*", each) for each in (old, new)]
    return bool(old) and made_by[0] != made_by[1] and _words(old) == _words(new)


def _words(svg: str) -> list[str]:
    root = ElementTree.fromstring(svg)
    return ["".join(element.itertext()).strip() for element in root.iter("{http://www.w3.org/2000/svg}text")]


def write(wanted: Mapping[Path, str], top: Path) -> None:
    (top / CHARTS).mkdir(parents=True, exist_ok=True)
    for path in _left(wanted, top):
        path.unlink()
    for file, text in wanted.items():
        (top / file).write_text(text, encoding="utf-8")


def measured(kernels: Sequence[str], rounds: int | None) -> int:
    """Measures the page's scenarios on each kernel, and stores the results."""
    Path(build.STATIC_HOOK[0]).unlink(missing_ok=True)  # rebuilt, with musl-gcc if installed meanwhile
    measure.programs()
    worst, documents = 0, {}
    for kernel in kernels:
        file = build.BUILT / f"page-{kernel}.json"
        code = measure.measure({"page": True, "rounds": rounds}, kernel, file)
        if not file.exists():
            print(f"netdevns: nothing was measured on {kernel}", file=sys.stderr)
            worst = 1
            continue
        for line in measure.thrown_out(file):
            print(f"thrown out: {line}", file=sys.stderr)
            worst = 1
        documents[kernel] = json.loads(file.read_text(encoding="utf-8"))
        worst = worst or bool(code)
    for kernel, document in documents.items():  # last: each names the commit, which is unchanged until now
        store.write(document, kernel)
    return worst


def parsed(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tools/bench page", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "files", nargs="*", metavar="JSON", help="results instead of bench/measured, one of each kernel"
    )
    parser.add_argument("--measure", action="store_true", help="measure first")
    parser.add_argument("--rounds", type=int, metavar="N", help="of each scenario, to try --measure")
    guests = ("5.10", "6.1", "6.12", "sid", "none")
    parser.add_argument("--guest", choices=guests, default=GUEST, help=f"the other kernel (default: {GUEST})")
    parser.add_argument("--check", action="store_true", help="write nothing, print what differs")
    args = parser.parse_args(argv)
    if args.measure and (args.files or args.check):
        parser.error("--measure: takes no files, and writes")
    return args


def main(argv: Sequence[str], top: Path = TOP) -> int:
    args = parsed(argv)
    code = 0
    try:
        if args.measure:
            code = measured([measure.RUNNING, *([args.guest] if args.guest != "none" else [])], args.rounds)
        documents = load_all(args.files or store.files())
        drawn = [chart for draw in charts.EVERY.values() if (chart := draw(documents))]
        wanted = files(documents, drawn, top)
    except Refused as e:
        print(e, file=sys.stderr)
        return 2
    except subprocess.CalledProcessError as e:
        print(f"netdevns: {e}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    if args.check:
        found = stale(wanted, top)
        print(*(found or ["up to date"]), sep="\n")
        return bool(found)
    write(wanted, top)
    for name in charts.EVERY:
        if f"{name}.svg" not in {chart.file for chart in drawn}:
            print(f"no chart {name}: its scenarios were not measured")
    print(f"{len(documents)} kernels: {', '.join(map(str, wanted))}")
    return code
