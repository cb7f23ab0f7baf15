"""tools/bench page: what it writes, and that the pages of this checkout are made of the stored results."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from bench import publish, results, store, targets
from tests.bench.documents import changed, raw, written
from tests.support.require import require_module

TOP = Path(__file__).resolve().parents[2]


# Enough for two charts: drawing is slow.
SMALL = [
    each
    for each in raw()["benchmarks"]
    if each["group"] == "batch-60" and each["extra_info"]["contestant"] in ("floor plain", "netdevns native", "go")
]
PLAIN_PAGE = "a\n<!-- cost: written by ./tools/bench page -->\nold\n<!-- end -->\nb\n"


def page_of(top: Path) -> Path:
    """The page that is written by hand and has a table, in its folder."""
    (top / "docs").mkdir(exist_ok=True)
    return top / "docs" / "embedding.md"


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    require_module("bench", "matplotlib")
    guest = raw(SMALL, kernel="6.12.1", uml=True)
    return [str(written(tmp_path, "b.json", guest)), str(written(tmp_path, "a.json", raw(SMALL)))]


def test_written_pages_are_up_to_date(files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every link of them leads to a chart, or to the appendix; a chart that is missing is reported."""
    page_of(tmp_path).write_text(PLAIN_PAGE)
    assert publish.main(files, tmp_path) == 0
    assert "no chart container: its scenarios were not measured\n" in capsys.readouterr().out
    folder = tmp_path / publish.CHARTS
    text, more = ((tmp_path / publish.PAGE).read_text(), (folder / "scenarios.md").read_text())
    links = {*re.findall(r"\]\(performance/([^)]+)\)", text), *re.findall(r"!\[[^\]]+\]\(([^)]+)\)", more)}
    assert links == {each.name for each in folder.iterdir()}
    assert "| native | 0.81 | 0.81 |" in page_of(tmp_path).read_text()
    assert publish.main([*files, "--check"], tmp_path) == 0
    assert capsys.readouterr().out == "up to date\n"


@pytest.mark.thorough
def test_page_that_is_stale_is_found(files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Other documents, a chart that is missing or too many, another table in a page that is written by hand."""
    page_of(tmp_path).write_text(PLAIN_PAGE)
    publish.main(files, tmp_path)
    written(tmp_path, "a.json", changed(raw(SMALL), "go", 2.0))
    folder = tmp_path / publish.CHARTS
    (folder / "floor.svg").unlink()
    (folder / "old.svg").write_text("<svg/>")
    capsys.readouterr()
    assert publish.main([*files, "--check"], tmp_path) == 1
    found = capsys.readouterr().out
    names = ("docs/performance.md", "docs/performance/scenarios.md", "docs/performance/peers.svg", "docs/embedding.md")
    for name in (*names, "docs/performance/floor.svg"):
        assert f"{name} is stale\n" in found
    assert "docs/performance/old.svg is no longer drawn\n" in found
    assert not (folder / "floor.svg").exists()
    assert publish.main(files, tmp_path) == 0
    assert not (folder / "old.svg").exists()


def test_page_without_marks_is_refused(files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is written."""
    page_of(tmp_path).write_text("a\nb\n")
    assert publish.main(files, tmp_path) == 2
    assert capsys.readouterr().err.startswith("docs/embedding.md: has no '<!-- cost: ")
    assert not (tmp_path / publish.PAGE).exists()


def test_another_matplotlib_may_draw_otherwise() -> None:
    """Only the words must be the same then; with the same version all must."""
    svg = '<svg xmlns="http://www.w3.org/2000/svg"><text x="1">a</text><!-- matplotlib 3.9.0 --></svg>'
    assert not publish.same(svg, svg.replace('"1"', '"2"'))
    assert publish.same(svg, svg.replace('"1"', '"2"').replace("3.9.0", "3.10.1"))
    assert not publish.same(svg, svg.replace(">a<", ">b<").replace("3.9.0", "3.10.1"))
    assert not publish.same("", svg)


def test_page_of_no_document_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line, exit code 2, nothing written."""
    assert publish.main([str(written(tmp_path, "a.json", {}))], tmp_path) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / publish.PAGE).exists()


def test_charts_need_matplotlib(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it there is one line, and the page stays as it was."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert publish.main([str(written(tmp_path, "a.json", raw()))], tmp_path) == 2
    assert re.fullmatch(r"the charts need matplotlib, .*\n", capsys.readouterr().err)
    assert not (tmp_path / publish.PAGE).exists()


# ---- the pages of this checkout ----


@pytest.mark.thorough
def test_pages_are_made_of_the_stored_results(capsys: pytest.CaptureFixture[str]) -> None:
    """docs/performance.md, its appendix and charts, and the tables in docs/embedding.md and docs/operator.md."""
    require_module("bench", "matplotlib")
    assert publish.main(["--check"]) == 0, capsys.readouterr().out


def test_stored_results_fill_the_page() -> None:
    """Of a running kernel and a guest; each target is measured, and so is each start of a container."""
    documents = results.load_all(store.files())
    assert [document.uml for document in documents] == [False, True]
    assert [each.target.what for each in targets.evaluate(targets.load(), documents) if each.value is None] == []
    assert len(results.newest(documents[0])) == 2
    text = (TOP / publish.PAGE).read_text()
    assert "Not measured" not in text
    assert re.search(r"^\| CONFIG_HZ \| \d+ \| \d+ \|$", text, re.MULTILINE)


def test_page_reads_in_ten_minutes() -> None:
    """2,500 words, tables included; the tables of all scenarios are in the appendix."""
    assert len(re.findall(r"\w[\w.,'-]*", (TOP / publish.PAGE).read_text())) <= 2500
