"""Writes docs/performance.md and its charts, made of documents of tools/bench and of the words in bench/prose.toml.

Exit code 1: with --check, something would be written otherwise than it is. 2: a file is no such document.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from bench import charts, prose, report, results, targets
from bench.charts import Chart
from bench.prose import Prose, filled
from bench.report import ABSENT, Table
from bench.results import FLOORS, PEERS, Document, Refused, load_all

TOP = Path(__file__).resolve().parent.parent
PAGE = TOP / "docs/performance.md"
FOLDER = "performance"  # of the charts, beside the page
PEERS_IN = ("batch-60", "addresses-1000")
REPRODUCE = """\
```console
# ./tools/bench --all -o a.json                # on the running kernel
# ./tools/bench --all --kernel 6.12 -o b.json  # on User Mode Linux
# ./tools/bench page a.json b.json             # writes this page
# ./tools/bench compare a.json c.json          # before and after a change
```"""


def text(documents: Sequence[Document], words: Prose, wanted: Sequence[targets.Target], drawn: Sequence[Chart]) -> str:
    """The page."""
    by_file = {chart.file.removesuffix(".svg"): chart for chart in drawn}
    parts = ["<!-- Made by bench.page of documents of tools/bench and of bench/prose.toml; do not edit. -->"]
    for id_, (heading, said) in words.sections.items():
        body = [] if id_ == "page" else _body(id_, documents, words, wanted, by_file)
        parts.append(f"{'#' if id_ == 'page' else '##'} {heading}")
        if said:
            parts.append(filled(prose.measured(said, documents)))
        if id_ == "page":
            parts.append(REPRODUCE)
        parts += body
    return "\n\n".join(parts) + "\n"


def _body(
    id_: str,
    documents: Sequence[Document],
    words: Prose,
    wanted: Sequence[targets.Target],
    drawn: dict[str, Chart],
) -> list[str]:
    """What a section has besides its words; where nothing was measured, that is said."""
    parts = []
    if chart := drawn.get(id_):
        parts.append(f"![{chart.alt}]({FOLDER}/{chart.file})")
    if id_ == "machine":
        parts += _machine(documents)
    if id_ == "targets":
        parts.append(table(report.targets(targets.evaluate(wanted, documents))))
    if id_ == "floor":
        for document in documents:
            for what, found in report.overview(document):
                parts += [f"**{document.name}, {what} time: times the plain floor**", table(found)]
    if id_ == "peers":
        parts += _peers(documents)
    if id_ == "costs":
        parts += _each(documents, report.costs)
    if id_ == "others":
        parts += _each(documents, report.growth)
    if id_ == "safety":
        parts += _each(documents, report.safety)
    if id_ == "container":
        parts += _containers(documents)
    if id_ == "rest":
        parts += _each(documents, report.rest)
    if id_ == "optimisations":
        parts += _optimisations(documents, words)
    return parts or ["Not measured in these documents."]


def _each(documents: Sequence[Document], of: report.Of) -> list[str]:
    """A table for each kernel that has one."""
    parts = []
    for document in documents:
        if found := of(document):
            parts += [f"**{document.name}**", table(found)]
    return parts


def _machine(documents: Sequence[Document]) -> list[str]:
    facts = list(dict.fromkeys(key for document in documents for key in document.machine))
    titles = ["", *(document.name for document in documents)]
    rows = [[key, *(document.machine.get(key, ABSENT) for document in documents)] for key in facts]
    rows.append(["rounds that count", *(f"{sum(map(len, each.series.values())):,}" for each in documents)])
    parts = [table(Table(titles, rows))]
    if lost := report.dropped(documents):
        parts += ["Thrown out, and used nowhere below:", "\n".join(filled(f"- {line}", "  ") for line in lost)]
    return parts


def _peers(documents: Sequence[Document]) -> list[str]:
    parts = []
    for document in documents:
        for scenario in PEERS_IN:
            there = document.contestants(scenario)
            if set(there) & set(PEERS) and set(there) & set(FLOORS):
                parts += [f"**{document.name}, {scenario}**", table(report.contestants(document, scenario))]
                if found := report.peers(document, scenario):
                    parts.append(table(found))
    return parts


def _containers(documents: Sequence[Document]) -> list[str]:
    parts = []
    for document in documents:
        for scenario in results.containers(document):
            if document.contestants(scenario.id):
                parts += [f"**{document.name}, {scenario.id}**", table(report.contestants(document, scenario.id))]
    return parts


def _optimisations(documents: Sequence[Document], words: Prose) -> list[str]:
    rows = [
        [each.what, prose.measured(each.effect, documents), "yes" if each.kept else "no", each.why]
        for each in words.optimisations
    ]
    return [table(Table(["what", "effect", "kept", "why"], rows))] if rows else []


def table(of: Table) -> str:
    """In Markdown."""
    lines = [of.titles, ["---"] * len(of.titles), *of.rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


# ---- what is on the disk ----


def stale(page: str, drawn: Sequence[Chart], file: Path) -> list[str]:
    """What would be written otherwise than it is; a line each."""
    found = [] if _read(file) == page else [f"{file.name} is stale"]
    for chart in drawn:
        if not _same(_read(file.parent / FOLDER / chart.file), chart.svg):
            found.append(f"{FOLDER}/{chart.file} is stale")
    return found + [f"{FOLDER}/{path.name} is no longer drawn" for path in _left(drawn, file)]


def _read(file: Path) -> str:
    return file.read_text(encoding="utf-8") if file.exists() else ""


def _left(drawn: Sequence[Chart], file: Path) -> list[Path]:
    return sorted({*(file.parent / FOLDER).glob("*.svg")} - {file.parent / FOLDER / chart.file for chart in drawn})


def _same(old: str, new: str) -> bool:
    """Alike; of two versions of matplotlib only what is written in the chart must be."""
    if old == new:
        return True
    made_by = [re.findall(r"matplotlib [0-9][\w.]*", each) for each in (old, new)]
    return bool(old) and made_by[0] != made_by[1] and _words(old) == _words(new)


def _words(svg: str) -> list[str]:
    root = ElementTree.fromstring(svg)
    return ["".join(element.itertext()).strip() for element in root.iter("{http://www.w3.org/2000/svg}text")]


def write(page: str, drawn: Sequence[Chart], file: Path) -> None:
    (file.parent / FOLDER).mkdir(parents=True, exist_ok=True)
    for path in _left(drawn, file):
        path.unlink()
    for chart in drawn:
        (file.parent / FOLDER / chart.file).write_text(chart.svg, encoding="utf-8")
    file.write_text(page, encoding="utf-8")


def main(argv: Sequence[str], file: Path = PAGE) -> int:
    parser = argparse.ArgumentParser(
        prog="bench.page", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="+", metavar="JSON", help="what tools/bench wrote, one of each kernel")
    parser.add_argument("--check", action="store_true", help="write nothing, tell what differs")
    args = parser.parse_args(argv)
    try:
        documents, wanted = load_all(args.files), targets.load()
        words = prose.load()
        drawn = [chart for draw in charts.EVERY.values() if (chart := draw(documents))]
    except Refused as e:
        print(e, file=sys.stderr)
        return 2
    page = text(documents, words, wanted, drawn)
    if args.check:
        found = stale(page, drawn, file)
        print(*(found or ["up to date"]), sep="\n")
        return bool(found)
    write(page, drawn, file)
    for name in charts.EVERY:
        if name not in {chart.file.removesuffix(".svg") for chart in drawn}:
            print(f"no chart {name}: its scenarios are not in these documents")
    print(f"{file.name}: {len(documents)} kernels, {len(drawn)} charts")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
