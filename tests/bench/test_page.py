"""docs/performance.md: what is in it comes from the documents; what is not there is said; it is the same each time."""

from __future__ import annotations

import itertools
import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench import charts, drawing, page, prose, results, targets
from bench.results import Document, Refused
from tests.bench.documents import FLOOR, changed, raw, rounds, shape, written
from tests.support.require import require_module

RUNNING = results.parsed(raw(), "a.json")
GUEST = results.parsed(raw(kernel="6.12.1", uml=True), "b.json")
CONTAINER = [each for n, step in enumerate(results.STEPS) for each in rounds("container-crun", step, 0.2 + 0.1 * n)]


def made(*documents: Document) -> str:
    return page.text(documents, prose.load(), targets.load(), [])


def section(text: str, heading: str) -> str:
    return re.split(r"^## ", text, flags=re.MULTILINE)[
        [each.split("\n")[0] for each in re.split(r"^## ", text, flags=re.MULTILINE)].index(heading)
    ]


# ---- the page ----


def test_page_has_its_sections_in_order() -> None:
    """Each with its heading, the first as the page's own."""
    text = made(RUNNING, GUEST)
    headings = [prose.load().sections[id_][0] for id_ in prose.SECTIONS]
    assert re.findall(r"^#+ (.*)", text, re.MULTILINE)[0] == headings[0]
    assert re.findall(r"^## (.*)", text, re.MULTILINE) == headings[1:]
    assert "./tools/bench page a.json b.json" in text


def test_machines_are_beside_each_other() -> None:
    """A column for each kernel; what one does not tell is a dash."""
    other = results.parsed(raw(kernel="6.12.1", uml=True, versions={}), "b")
    text = section(made(RUNNING, other), "Measured on")
    assert "|  | Linux 6.18.44 | UML 6.12.1 |" in text
    assert "| iproute2 | 6.1.0 | - |" in text


def test_thrown_out_rounds_are_named() -> None:
    """With the reason."""
    lost = rounds("batch-1", "ip per step", 1.0, verified=False, why="an address is missing")
    text = made(results.parsed(raw([*raw()["benchmarks"], *lost]), "a"))
    assert "\n- Linux 6.18.44: batch-1, ip per step: 5 not used: an address is missing\n" in text
    assert "Thrown out" not in made(RUNNING)


def test_targets_have_what_was_measured() -> None:
    """On their kernel; the others' rows say that nothing was."""
    text = section(made(RUNNING), "Targets")
    row = next(line for line in text.splitlines() if line.startswith("| 60 UP devices") and "Linux" in line)
    assert "| ≤ 0.9 | 0.806 (0.806 to 0.806) | yes |" in row
    assert re.search(r"^\| 60 UP devices.*\| UML \|.*not measured", text, re.MULTILINE)


def test_peers_are_in_a_table_for_each_kernel() -> None:
    """Against the floor, and as multiples of netdevns; no CPU time of User Mode Linux."""
    text = section(made(RUNNING, GUEST), "Beside others")
    here, guest = text.split("**UML 6.12.1, batch-60**")
    assert "| contestant | wall, ms | CPU, ms | wall / floor plain |" in here
    assert re.search(r"^\| floor plain \| 61\.2 \| 30\.6 \| - \| - \| 1\.1", here, re.MULTILINE)
    assert re.search(r"^\| pyroute2 \| 17\.\d ", here, re.MULTILINE)
    assert "CPU" not in guest


def test_processes_and_memory_are_in_a_table() -> None:
    """What is in no family of sizes, with its memory, and against the bare process."""
    benchmarks = [
        *rounds("batch-1", "floor plain", 1.0), *rounds("import", "python", 0.01, max_rss_kib=10 * 1024),
        *rounds("import", "netdevns native import", 0.02, max_rss_kib=15 * 1024),
    ]  # fmt: skip
    text = section(made(results.parsed(raw(benchmarks), "a")), prose.load().sections["rest"][0])
    assert [line for line in text.splitlines() if line.startswith("|")][2:] == [
        "| import | python | 10.0 | 5.00 | 10.0 | - |",
        "| import | netdevns native import | 20.0 | 10.0 | 15.0 | 2.00 (2.00 to 2.00) of python |",
    ]


def test_all_moves_are_in_a_table_against_the_floor() -> None:
    """A table for each time that a kernel tells; who did not take part has a dash; whole processes are elsewhere."""
    more = [*rounds("hook-1", "floor plain", 1.0), *rounds("check-60", "netdevns native", 1.0)]
    one = [
        *rounds("batch-60", "floor plain", 1.0),
        *rounds("batch-60", "go", 3.0),
        *rounds("batch-1", "floor plain", 1.0),
    ]
    text = section(
        made(results.parsed(raw([*more, *one, *rounds("batch-1", "ip -batch", 2.0)]), "a")), "Against the floor"
    )
    assert [line for line in text.splitlines() if line.startswith(("| ", "**"))] == [
        line
        for what in ("wall", "CPU")
        for line in (
            f"**Linux 6.18.44, {what} time: times the plain floor**",
            "| scenario | ip -batch | go |",
            "| --- | --- | --- |",
            "| batch-60 | - | 3.00 |",
            "| batch-1 | 2.00 | - |",
        )
    ]


def test_what_being_sure_costs_is_told_against_the_move() -> None:
    """The record in the rounds of the move; check and undo had others; the floor of CPU time is no guest's."""
    benchmarks = [
        *rounds("batch-60", "netdevns native", 1.0), *rounds("batch-60", "netdevns native record", 1.2),
        *rounds("check-60", "netdevns native", 0.1), *rounds("rollback-60", "netdevns native", 3.0),
    ]  # fmt: skip
    rows = section(made(results.parsed(raw(benchmarks, uml=True), "a")), "What being sure costs").splitlines()
    assert [row for row in rows if "| native |" in row] == [
        "| a move | native | 1,000 | - |",
        "| a move, with the record | native | 1,200 | 1.20 (1.20 to 1.20) |",
        "| the check alone | native | 100 | 0.100 (0.0990 to 0.102) |",
        "| a move, interrupted when all have arrived, undone | native | 3,000 | 3.00 (2.97 to 3.06) |",
    ]


def test_containers_are_told_against_the_bare_runtime() -> None:
    """A table for each runtime, and no row of the other processes."""
    text = made(results.parsed(raw(CONTAINER), "a"))
    rows = section(text, "A container's start").splitlines()
    assert "**Linux 6.18.44, container-crun**" in rows
    assert any(row.startswith("| runtime + netdevns hook, 10 devices | 600 | 300 | 3.00 ") for row in rows)
    assert "Not measured" in section(text, prose.load().sections["rest"][0])


def test_sections_without_measurements_say_so() -> None:
    """No crash, no empty section."""
    text = made(results.parsed(raw(rounds("batch-1", "floor plain", 1.0)), "a"))
    for heading in ("Against the number of devices", "Beside others", "What one more costs", "A container's start"):
        assert "Not measured in these documents." in section(text, heading)


def test_cells_cannot_break_a_table() -> None:
    """A bar is escaped."""
    assert page.table(page.Table(["a"], [["x|y"]])).splitlines()[-1] == "| x\\|y |"


# ---- words ----

SECTIONS = "".join(f'[section.{id_}]\nheading = "H {id_}"\ntext = "T"\n' for id_ in prose.SECTIONS)
TRIED = '[[optimisation]]\nwhat = "W"\neffect = "{batch-60 | go / floor plain | wall}"\nkept = false\nwhy = "Y"\n'


def test_numbers_in_words_are_measured(tmp_path: Path) -> None:
    """On each kernel that has them; where none has, that is said."""
    (tmp_path / "p.toml").write_text(SECTIONS + TRIED)
    words = prose.load(tmp_path / "p.toml")
    text = page.text([RUNNING, GUEST], words, [], [])
    assert "| W | 3.02 (3.02 to 3.02) on Linux 6.18.44, 3.02 (3.02 to 3.02) on UML 6.12.1 | no | Y |" in text
    nothing = results.parsed(raw(rounds("batch-1", "floor plain", 1.0)), "a")
    assert "| W | not measured | no | Y |" in page.text([nothing], words, [], [])


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("kept = false", "", "W: has"),
        ("kept = false", 'kept = "no"', "W: has"),
        ("effect", "efect", "W: has"),
        ("| wall}", "| time}", "is not {SCENARIO"),
        ("go / floor plain", "go", "is not {SCENARIO"),
        ("[section.page]", "[section.pages]", "no section page"),
        ("[section.page]", "[section.more]\n[section.page]", "section more: not one of the page"),
        ('text = "T"', "", "has heading, text"),
    ],
)
def test_words_that_are_wrong_are_refused(old: str, new: str, why: str, tmp_path: Path) -> None:
    """A key that is missing or misspelt, a number of nothing, a section too many or too few."""
    (tmp_path / "p.toml").write_text((SECTIONS + TRIED).replace(old, new, 1))
    with pytest.raises(Refused, match=why):
        prose.load(tmp_path / "p.toml")


# ---- charts ----


@pytest.fixture(scope="module")
def drawn() -> dict[str, charts.Chart]:
    """All charts of two kernels, one of them with containers."""
    require_module("bench", "matplotlib")
    documents = [results.parsed(raw([*raw()["benchmarks"], *CONTAINER]), "a"), GUEST]
    return {name: chart for name, draw in charts.EVERY.items() if (chart := draw(documents))}


def words_of(chart: charts.Chart) -> list[str]:
    root = ElementTree.fromstring(chart.svg)
    return ["".join(each.itertext()) for each in root.iter("{http://www.w3.org/2000/svg}text")]


@pytest.mark.thorough
def test_all_charts_are_drawn(drawn: dict[str, charts.Chart]) -> None:
    """Each is in a section of the page."""
    assert list(drawn) == list(charts.EVERY)
    assert set(charts.EVERY) <= set(prose.SECTIONS)


@pytest.mark.parametrize("name", charts.EVERY)
def test_chart_is_for_dark_and_light_pages(name: str, drawn: dict[str, charts.Chart]) -> None:
    """Text is text, in the page's colour; nothing is behind it, nothing black or white in it."""
    svg = drawn[name].svg
    assert "@media (prefers-color-scheme: dark)" in svg
    assert words_of(drawn[name])
    colours = set(re.findall(r"(?:fill|stroke): ([^;\"']+)", svg))
    assert (
        {"currentColor"} <= colours <= {"currentColor", "none", drawing.GRID, *(c for c, _ in drawing.LOOKS.values())}
    )
    # matplotlib says nothing of what is black: a shape of its own without a fill, outside of <defs>, would be.
    bare = [text for text in re.findall(r"<text [^>]*>", svg) if "currentColor" not in text]
    assert [text for text in bare if not re.search(r"fill: #", text)] == []


@pytest.mark.parametrize("name", ["floor", "batch"])  # of each kind one: drawing is slow
def test_chart_is_the_same_each_time(name: str, drawn: dict[str, charts.Chart]) -> None:
    """Of the same documents; without a date."""
    documents = [results.parsed(raw([*raw()["benchmarks"], *CONTAINER]), "a"), GUEST]
    again = charts.EVERY[name](documents)
    assert again
    assert again.svg == drawn[name].svg
    assert "dc:date" not in again.svg


@pytest.mark.parametrize("name", charts.EVERY)
def test_chart_of_what_was_not_measured_is_left_out(name: str) -> None:
    """Without a crash."""
    assert charts.EVERY[name]([results.parsed(raw(rounds("check-60", "netdevns native", 1.0)), "a")]) is None


def test_chart_names_kernels_and_contestants(drawn: dict[str, charts.Chart]) -> None:
    """A panel for each time that a kernel tells; CPU time only on the running one."""
    words = words_of(drawn["peers"])
    assert [each for each in words if each.endswith("time")] == [
        "Linux 6.18.44, wall time",
        "Linux 6.18.44, CPU time",
        "UML 6.12.1, wall time",
    ]
    assert words.count("pyroute2") == 3
    assert f"{results.number((14e-3 * 60 + 1e-4 * 120 + 5e-3) / FLOOR(shape('batch-60')))}" in words


def test_container_chart_has_what_each_step_adds(drawn: dict[str, charts.Chart]) -> None:
    """The first one is the whole."""
    assert {"200 ms", "+100 ms", "+ netdevns hook, 10 devices"} <= set(words_of(drawn["container"]))


def test_callers_chart_begins_with_one_alone(drawn: dict[str, charts.Chart]) -> None:
    """The batch of one is what several at the same time are seen beside."""
    words = words_of(drawn["callers"])
    assert {"1", "2", "4", "native", "go"} <= set(words)
    assert "callers at the same time, a device each" in words


def test_names_beside_curves_are_moved_apart() -> None:
    """No more than it takes, in their order."""
    assert drawing.apart([0.1, 0.5, 0.9], 0.1) == [0.1, 0.5, 0.9]
    assert drawing.apart([0.5, 0.5], 0.1) == pytest.approx([0.45, 0.55])
    assert drawing.apart([0.0, 0.0], 0.1) == pytest.approx([0.04, 0.14])  # not below the axis
    places = drawing.apart([0.1, 0.5, 0.52, 0.53, 0.6], 0.1)
    assert all(b - a >= 0.1 - 1e-9 for a, b in itertools.pairwise(places))


# ---- the command ----


# Enough for two charts: drawing is slow.
SMALL = [
    each
    for each in raw()["benchmarks"]
    if each["group"] == "batch-60" and each["extra_info"]["contestant"] in ("floor plain", "netdevns native", "go")
]


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    require_module("bench", "matplotlib")
    guest = raw(SMALL, kernel="6.12.1", uml=True)
    return [str(written(tmp_path, "b.json", guest)), str(written(tmp_path, "a.json", raw(SMALL)))]


def test_written_page_is_up_to_date(files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And every link of it leads to a chart; what has no chart is told."""
    file = tmp_path / "docs/performance.md"
    assert page.main(files, file) == 0
    out = capsys.readouterr().out
    assert "no chart container: its scenarios are not in these documents\n" in out
    links = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", file.read_text())
    assert sorted(links) == sorted(f"performance/{each.name}" for each in (file.parent / "performance").iterdir())
    assert page.main([*files, "--check"], file) == 0
    assert capsys.readouterr().out == "up to date\n"


def test_page_that_is_stale_is_found(files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Other documents, an edit, a chart that is missing or too many; nothing is written."""
    file = tmp_path / "docs/performance.md"
    page.main(files, file)
    written(tmp_path, "a.json", changed(raw(SMALL), "go", 2.0))
    (file.parent / "performance/floor.svg").unlink()
    (file.parent / "performance/old.svg").write_text("<svg/>")
    capsys.readouterr()
    assert page.main([*files, "--check"], file) == 1
    told = capsys.readouterr().out
    for name in ("performance.md", "performance/peers.svg", "performance/floor.svg"):
        assert f"{name} is stale\n" in told
    assert "performance/old.svg is no longer drawn\n" in told
    assert not (file.parent / "performance/floor.svg").exists()
    assert page.main(files, file) == 0
    assert not (file.parent / "performance/old.svg").exists()


def test_another_matplotlib_may_draw_otherwise() -> None:
    """Only what is written must be the same then; with the same version all must."""
    svg = '<svg xmlns="http://www.w3.org/2000/svg"><text x="1">a</text><!-- matplotlib 3.9.0 --></svg>'
    assert not page._same(svg, svg.replace('"1"', '"2"'))
    assert page._same(svg, svg.replace('"1"', '"2"').replace("3.9.0", "3.10.1"))
    assert not page._same(svg, svg.replace(">a<", ">b<").replace("3.9.0", "3.10.1"))
    assert not page._same("", svg)


def test_page_of_no_document_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line, exit code 2, nothing written."""
    file = tmp_path / "docs/performance.md"
    assert page.main([str(written(tmp_path, "a.json", {}))], file) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not file.parent.exists()


def test_charts_need_matplotlib(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it is missing, that is said in one line, and the page stays as it was."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    file = tmp_path / "docs/performance.md"
    assert page.main([str(written(tmp_path, "a.json", raw()))], file) == 2
    assert re.fullmatch(r"the charts need matplotlib, .*\n", capsys.readouterr().err)
    assert not file.parent.exists()
