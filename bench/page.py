"""Makes docs/performance.md and its appendix from documents of tools/bench and bench/prose.toml."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from bench import prose, report, results, targets
from bench.charts import Chart
from bench.prose import Prose, filled
from bench.report import ABSENT, Table
from bench.results import FLOORS, NATIVE, PEERS, Document

FOLDER = "performance"  # of the charts and the appendix, beside the page
APPENDIX = f"{FOLDER}/scenarios.md"
MADE = "<!-- Made by ./tools/bench page of bench/measured and bench/prose.toml; do not edit. -->"
BESIDE = ("batch-60", "addresses-1000")  # scenarios whose contestants have a table of their own
COMMANDS = """\
```console
# ./tools/bench page --measure        # measures all of it, and writes this page
# ./tools/bench                       # the main scenarios, as tables; --list shows all
# ./tools/bench compare a.json b.json # before and after a change
```"""

Body = list[str]


def text(documents: Sequence[Document], words: Prose, wanted: Sequence[targets.Target], drawn: Sequence[Chart]) -> str:
    """The page: measurements of the running kernel, and facts of each kernel."""
    running = [document for document in documents if not document.uml]
    bodies: dict[str, Body] = {
        "page": [],
        "container": _each(running, report.starts, titled=False),
        "targets": [table(report.targets(targets.evaluate(wanted, documents)))],
        "peers": [part for document in running for part in _contestants(document, BESIDE[0])],
        "batch": [],
        "safety": _each(running, partial(report.safety, engines=[NATIVE]), titled=False),
        "machine": _machine(documents),
        "method": [COMMANDS],
    }
    return _composed(prose.PAGE, bodies, documents, words, drawn, "")


def appendix(documents: Sequence[Document], words: Prose, drawn: Sequence[Chart]) -> str:
    """The appendix: each scenario, contestant and kernel."""
    overviews = [
        part
        for document in documents
        for what, found in report.overview(document)
        for part in (f"**{document.name}, {what} time against the plain floor**", table(found))
    ]
    starts = [(document, each.id) for document in documents for each in results.containers(document)]
    bodies: dict[str, Body] = {
        "scenarios": [],
        "floor": overviews,
        "beside": [part for each in documents for id_ in BESIDE for part in _contestants(each, id_)],
        "containers": [part for document, id_ in starts for part in _contestants(document, id_)],
        "rest": _each(documents, report.rest),
        "sure": _each(documents, report.safety),
        "costs": _each(documents, report.costs),
        "others": _each(documents, report.growth),
        "optimisations": _optimisations(documents, words),
    }
    return _composed(prose.APPENDIX, bodies, documents, words, drawn, f"{FOLDER}/")


def _composed(
    ids: Sequence[str],
    bodies: Mapping[str, Body],
    documents: Sequence[Document],
    words: Prose,
    drawn: Sequence[Chart],
    base: str,
) -> str:
    """Sections in order: heading, text, chart, tables; one without measurements says so. `base`: the page's folder."""
    by_file = {chart.file.removesuffix(".svg"): chart for chart in drawn}
    parts = [MADE]
    for id_ in ids:
        heading, said = words.sections[id_]
        parts.append(f"{'#' if id_ == ids[0] else '##'} {heading}")
        chart = by_file.get(id_)
        picture = [f"![{chart.alt}]({FOLDER}/{chart.file})".replace(f"({base}", "(", 1)] if chart else []
        parts += [*picture, *([filled(prose.measured(said, documents))] if said else []), *bodies[id_]]
        if not (said or picture or bodies[id_]):
            parts.append("Not measured.")
    return "\n\n".join(parts) + "\n"


def _each(documents: Sequence[Document], of: report.Of, *, titled: bool = True) -> Body:
    """A table for each kernel that has one."""
    found = [(document, made) for document in documents if (made := of(document))]
    parts = [part for document, made in found for part in (f"**{document.name}**", table(made))]
    return (parts if titled else parts[1:2]) or ["Not measured."]


def _machine(documents: Sequence[Document]) -> Body:
    facts = list(dict.fromkeys(key for document in documents for key in document.machine))
    rows = [[key, *(document.machine.get(key, ABSENT) for document in documents)] for key in facts]
    rows.append(["rounds", *(f"{sum(map(len, each.series.values())):,}" for each in documents)])
    parts = [table(Table(["", *(document.name for document in documents)], rows))]
    if lost := report.dropped(documents):
        parts += ["Thrown out, and not used:", "\n".join(filled(f"- {line}", "  ") for line in lost)]
    return parts


def _contestants(document: Document, scenario: str) -> Body:
    """A table of all contestants in a scenario; empty if it was not measured."""
    there = {*document.contestants(scenario)}
    if scenario in BESIDE and not (there & {*PEERS} and there & {*FLOORS}):
        return []
    title = f"**{document.name}, {scenario}**"
    return [title, table(report.contestants(document, scenario))] if there else []


def _optimisations(documents: Sequence[Document], words: Prose) -> Body:
    rows = [
        [each.what, prose.measured(each.effect, documents), "yes" if each.kept else "no", each.why]
        for each in words.optimisations
    ]
    return [table(Table(["what", "effect", "kept", "why"], rows))] if rows else []


def table(of: Table) -> str:
    """In Markdown."""
    lines = [of.titles, ["---"] * len(of.titles), *of.rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
