"""docs/performance.md and its appendix: made of the documents alone; a section without measurements says so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench import page, prose, results, targets
from bench.results import Document, Refused
from tests.bench.documents import CRUN, container, raw, rounds

RUNNING = results.parsed(raw(), "a.json")
GUEST = results.parsed(raw(kernel="6.12.1", uml=True, hz=100, cores=1), "b.json")


def made(*documents: Document) -> str:
    return page.text(documents, prose.load(), targets.load(), [])


def appendix(*documents: Document) -> str:
    return page.appendix(documents, prose.load(), [])


def section(text: str, id_: str) -> str:
    """By its heading, up to the next one."""
    return text.partition(f"\n## {prose.load().sections[id_][0]}\n")[2].partition("\n## ")[0]


# ---- the pages ----


def test_pages_have_their_sections_in_order() -> None:
    """Each with its heading, the first as the page's own."""
    for text, ids in ((made(RUNNING, GUEST), prose.PAGE), (appendix(RUNNING, GUEST), prose.APPENDIX)):
        headings = [prose.load().sections[id_][0] for id_ in ids]
        assert re.findall(r"^#+ (.*)", text, re.MULTILINE)[: len(ids)] == headings
    assert "./tools/bench page --measure" in made(RUNNING)


def test_page_begins_with_containers() -> None:
    """A row for each way in which devices get there, total and over the bare start, a column for each count."""
    text = made(container())
    assert text.index("A container's start") < text.index("Targets")
    rows = [line for line in section(text, "container").splitlines() if line.startswith("|")]
    assert rows == [
        "| start | crun 1.28, 1 device | crun 1.28, 10 devices |",
        "| --- | --- | --- |",
        "| bare | 200 |  |",
        "| prepared | 300 (+100) | 400 (+200) |",
        "| `netdevns-hook` | 500 (+300) | 600 (+400) |",
        "| the runtime's own move | 700 (+500) | 800 (+600) |",
        "| `netdevns hook` (Python) | 900 (+700) | 1,000 (+800) |",
    ]


def test_machines_are_beside_each_other() -> None:
    """A column for each kernel, with its CONFIG_HZ and processors; a fact that one lacks is a dash."""
    other = results.parsed(raw(kernel="6.12.1", uml=True, hz=100, cores=1, versions={}), "b")
    text = section(made(RUNNING, other), "machine")
    assert "|  | Linux 6.18.44 | UML 6.12.1 |" in text
    for row in ("processors | 2 | 1", "CONFIG_HZ | 250 | 100", "iproute2 | 6.1.0 | -"):
        assert f"| {row} |" in text


def test_thrown_out_rounds_are_named() -> None:
    """With the reason."""
    lost = rounds("batch-1", "ip per step", 1.0, verified=False, why="an address is missing")
    text = made(results.parsed(raw([*raw()["benchmarks"], *lost]), "a"))
    assert "\n- Linux 6.18.44: batch-1, ip per step: 5 not used: an address is missing\n" in text
    assert "Thrown out" not in made(RUNNING)


def test_targets_have_what_was_measured() -> None:
    """And one that was not says so."""
    text = section(made(RUNNING), "targets")
    assert "| 60 devices: wall, against the plain floor | ≤ 0.9 | 0.806 (0.806 to 0.806) | yes |" in text
    assert re.search(r"^\| crun, one device.*\| - \| not measured \|$", text, re.MULTILINE)


def test_contestants_are_in_a_table() -> None:
    """Of the running kernel on the page, of each in the appendix; no CPU time of User Mode Linux."""
    text = section(made(RUNNING, GUEST), "peers")
    assert "| contestant | wall, ms | CPU, ms | wall / floor plain |" in text
    assert re.search(r"^\| floor plain \| 61\.2 \| 30\.6 \| - \| - \| 1\.1", text, re.MULTILINE)
    assert "UML" not in text
    here, guest = section(appendix(RUNNING, GUEST), "beside").split("**UML 6.12.1, batch-60**")
    assert "**Linux 6.18.44, batch-60**" in here
    assert "CPU" not in guest


def test_processes_and_memory_are_in_a_table() -> None:
    """What is in no family of sizes, with its memory, and against the bare process."""
    benchmarks = [
        *rounds("batch-1", "floor plain", 1.0), *rounds("import", "python", 0.01, max_rss_kib=10 * 1024),
        *rounds("import", "netdevns native import", 0.02, max_rss_kib=15 * 1024),
    ]  # fmt: skip
    text = section(appendix(results.parsed(raw(benchmarks), "a")), "rest")
    assert [line for line in text.splitlines() if line.startswith("|")][2:] == [
        "| import | python | 10.0 | 5.00 | 10.0 | - |",
        "| import | netdevns native import | 20.0 | 10.0 | 15.0 | 2.00 (2.00 to 2.00) of python |",
    ]


def test_all_moves_are_in_a_table_against_the_floor() -> None:
    """A table for each time that a kernel measures; an absent contestant is a dash; whole processes are elsewhere."""
    more = [*rounds("hook-1", "floor plain", 1.0), *rounds("check-60", "netdevns native", 1.0)]
    one = [
        *rounds("batch-60", "floor plain", 1.0),
        *rounds("batch-60", "go", 3.0),
        *rounds("batch-1", "floor plain", 1.0),
    ]
    text = section(appendix(results.parsed(raw([*more, *one, *rounds("batch-1", "ip -batch", 2.0)]), "a")), "floor")
    assert [line for line in text.splitlines() if line.startswith(("| ", "**"))] == [
        line
        for what in ("wall", "CPU")
        for line in (
            f"**Linux 6.18.44, {what} time against the plain floor**",
            "| scenario | ip -batch | go |",
            "| --- | --- | --- |",
            "| batch-60 | - | 3.00 |",
            "| batch-1 | 2.00 | - |",
        )
    ]


def test_safety_is_compared_with_the_move() -> None:
    """The record in the rounds of the move; check and undo had others."""
    benchmarks = [
        *rounds("batch-60", "netdevns native", 1.0), *rounds("batch-60", "netdevns native record", 1.2),
        *rounds("check-60", "netdevns native", 0.1), *rounds("rollback-60", "netdevns native", 3.0),
    ]  # fmt: skip
    rows = section(made(results.parsed(raw(benchmarks), "a")), "safety").splitlines()
    assert [row for row in rows if "| native |" in row] == [
        "| a move | native | 1,000 | 500 | - | - |",
        "| a move, with the record | native | 1,200 | 600 | 1.20 (1.20 to 1.20) | 1.20 (1.20 to 1.20) |",
        "| the check alone | native | 100 | 50.0 | 0.100 (0.0990 to 0.102) | 0.100 (0.0990 to 0.102) |",
        "| a move that is interrupted after the last device, and its undo | native | 3,000 | 1,500 "
        "| 3.00 (2.97 to 3.06) | 3.00 (2.97 to 3.06) |",
    ]


def test_containers_have_a_table_each() -> None:
    """Against the bare runtime, with CPU time; no row among the other processes."""
    text = appendix(container())
    rows = section(text, "containers").splitlines()
    assert f"**Linux 6.18.44, {CRUN}**" in rows
    assert any(row.startswith("| runtime + netdevns hook, 10 devices | 1,000 | 500 | 5.00 ") for row in rows)
    assert "Not measured" in section(text, "rest")


def test_sections_without_measurements_say_so() -> None:
    """No crash, no empty section."""
    document = results.parsed(raw(rounds("batch-1", "floor plain", 1.0)), "a")
    for text, ids in ((made(document), ("container", "safety")), (appendix(document), ("rest", "costs", "others"))):
        for id_ in ids:
            assert "Not measured." in section(text, id_)


def test_cells_cannot_break_a_table() -> None:
    """A bar is escaped."""
    assert page.table(page.Table(["a"], [["x|y"]])).splitlines()[-1] == "| x\\|y |"


# ---- words ----

SECTIONS = "".join(f'[section.{id_}]\nheading = "H {id_}"\ntext = "T"\n' for id_ in prose.SECTIONS)
TRIED = '[[optimisation]]\nwhat = "W"\neffect = "{batch-60 | go / floor plain | wall}"\nkept = false\nwhy = "Y"\n'


def test_numbers_in_words_are_measured(tmp_path: Path) -> None:
    """On each kernel that has them; without one, that is said."""
    (tmp_path / "p.toml").write_text(SECTIONS + TRIED)
    words = prose.load(tmp_path / "p.toml")
    text = page.appendix([RUNNING, GUEST], words, [])
    assert "| W | 3.02 (3.02 to 3.02) on Linux 6.18.44, 3.02 (3.02 to 3.02) on UML 6.12.1 | no | Y |" in text
    nothing = results.parsed(raw(rounds("batch-1", "floor plain", 1.0)), "a")
    assert "| W | not measured | no | Y |" in page.appendix([nothing], words, [])


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("kept = false", "", "W: has"),
        ("kept = false", 'kept = "no"', "W: has"),
        ("effect", "efect", "W: has"),
        ("| wall}", "| time}", "is not {SCENARIO"),
        ("go / floor plain", "go", "is not {SCENARIO"),
        ("[section.page]", "[section.pages]", "no section page"),
        ("[section.page]", "[section.more]\n[section.page]", "section more: not one of the pages"),
        ('text = "T"', "", "has heading, text"),
    ],
)
def test_words_that_are_wrong_are_refused(old: str, new: str, why: str, tmp_path: Path) -> None:
    """A key that is missing or misspelt, a number of nothing, a section too many or too few."""
    (tmp_path / "p.toml").write_text((SECTIONS + TRIED).replace(old, new, 1))
    with pytest.raises(Refused, match=why):
        prose.load(tmp_path / "p.toml")
