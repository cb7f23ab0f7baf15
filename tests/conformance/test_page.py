"""docs/kernels.md agrees with expectations and notes; comments name existing probes. Needs no privilege."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from netdevns.conformance import expected
from netdevns.conformance.probe import ABI, VARIES, Probe
from tools import conformance_page as page
from tools.conformance_data import Refused

ROOT = Path(__file__).resolve().parents[2]
DATA = {
    "kernels": {"5.10": "5.10.46", "6.1": "6.1.9", "6.12": "6.12.3"},
    "absent": {"6.1": {"no vlan devices": ["test.b"]}},
    "probes": {
        "test.a": [["5.10", {"error": "ok", "place": "source"}], ["6.12", {"error": "EBUSY", "place": "source"}]],
        "test.b": [["5.10", True], ["6.12", False]],
        "more.c": [["5.10", "same"]],
    },
}
NOTE = """
[[note]]
heading = "Surprise"
probes = ["test.*"]
kernel = "It does\\nthis."
netdevns = "That."
"""


@pytest.fixture
def noted(tmp_path: Path) -> Callable[[str], list[page.Note]]:
    """Reads the text of notes, for DATA."""

    def read(text: str) -> list[page.Note]:
        (tmp_path / "notes.toml").write_text(text)
        return page.notes(list(DATA["probes"]), DATA, tmp_path / "notes.toml")

    return read


@pytest.fixture
def drawn(made: Callable[..., Probe], noted: Callable[[str], list[page.Note]]) -> Callable[[str], str]:
    """The page for DATA and the text of notes."""
    probes = [made(lambda _: None, id_, ABI if id_ == "more.c" else VARIES) for id_ in ("test.a", "test.b", "more.c")]
    return lambda text: page.text(DATA, probes, noted(text))


# ---- the package's own ----


def test_page_is_up_to_date(every: list[Probe]) -> None:
    """The page is that of the expectations and notes. If not: run tools/conformance --page."""
    data = expected.load()
    notes = page.notes([probe.id for probe in every], data)
    assert page.PAGE.read_text(encoding="utf-8") == page.text(data, every, notes), "run tools/conformance --page"


def named(files: list[Path]) -> list[tuple[str, str]]:
    """(file, id) of each `(probe id)` or `(probes id, id)` in a comment."""
    found = []
    for path in files:
        # A comment continues in the next line, after its marker.
        text = re.sub(r"\n\s*(#|\*|//)? ?", " ", path.read_text(encoding="utf-8"))
        for listed in re.findall(r"\(probes? ([^()]*)\)", text):
            found += [(path.name, id_.strip()) for id_ in listed.split(",")]
    return found


SOURCES = [
    *(ROOT / "csrc").glob("*.[ch]"),
    *(path for path in (ROOT / "netdevns").rglob("*.py") if "conformance" not in path.parts),
]


def test_comments_name_existing_probes(every: list[Probe]) -> None:
    """`(probe clash.wanted-name)` in csrc/ and netdevns/: a fact that the code relies on is measured."""
    ids = {probe.id for probe in every}
    found = named(SOURCES)
    assert len(found) > 10
    assert [pair for pair in found if pair[1] not in ids] == []


def test_ids_in_comments_are_found(tmp_path: Path) -> None:
    """Ids in one line and in two, single and several, in C and in Python, are found."""
    (tmp_path / "a.c").write_text("/*\n * Why (probes a.b,\n * c.d).\n */\nint x; // (probe\n// e.f)\n")
    (tmp_path / "b.py").write_text("# So (probe\n    # g.h) it is. (No probe i.j.)\n")
    files = [tmp_path / "a.c", tmp_path / "b.py"]
    assert named(files) == [("a.c", "a.b"), ("a.c", "c.d"), ("a.c", "e.f"), ("b.py", "g.h")]


# ---- notes ----


def test_a_note_is_a_section(drawn: Callable[[str], str]) -> None:
    """It has the kernel's behaviour, netdevns' answer to it, the versions and the probes."""
    text = drawn(NOTE)
    assert "### Surprise\n\nIt does this. **netdevns:** That.\n\n" in text
    assert "\nChanged between 5.10 and 6.12, between 6.1 and 6.12. Probes: `test.*`.\n" in text


def test_a_known_version_of_a_change_is_shown(drawn: Callable[[str], str]) -> None:
    """It stands beside the measured kernels."""
    assert "Changed in 6.8 (measured: between" in drawn(f'{NOTE}since = "6.8"\n')


def test_a_note_without_a_difference(drawn: Callable[[str], str]) -> None:
    """A surprise may be the same on all kernels."""
    assert "The same on 5.10, 6.1, 6.12. Probes: `more.c`." in drawn(NOTE.replace("test.*", "more.c"))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (NOTE.replace("test.*", "test.gone"), "Surprise: no probe matches test.gone"),
        (NOTE.replace('"test.*"', '"test.*", "gone.*"'), r"Surprise: no probe matches gone\.\*"),
        (f'{NOTE}since = "6.13"\n', "no measured change in 6.13"),
        (f'{NOTE}since = "5.10"\n', "no measured change in 5.10"),
        (NOTE.replace("kernel =", "kernle ="), "a note has heading"),
        (NOTE.replace("probes =", "#"), "a note has heading"),
    ],
)
def test_wrong_notes_are_refused(text: str, why: str, noted: Callable[[str], list[page.Note]]) -> None:
    """A note without a probe, one that the measurements contradict, and one with a misspelt key are refused."""
    with pytest.raises(Refused, match=why):
        noted(text)


# ---- tables ----


def test_table_of_kernels_counts_answers(drawn: Callable[[str], str]) -> None:
    """Answers are counted by class; missing ones are listed with their reason."""
    text = drawn("")
    assert "3 probes; 2 of them differ between these kernels." in text
    assert "| kernel | measured on | spec | abi | varies | n/a |\n| --- | --- | --- | --- | --- | --- |\n" in text
    assert "\n| 6.1 | 6.1.9 | 0 | 1 | 1 | 1 |\n" in text
    assert "\n- `n/a` on 6.1: 1: no vlan devices.\n" in text


def test_table_of_differences_has_a_row_per_probe(drawn: Callable[[str], str]) -> None:
    """Rows stand under their subject, without the probes and the parts of values that are the same everywhere."""
    rows = drawn("").split("## Differences")[1].splitlines()[4:]
    assert rows == [
        "| probe | 5.10 | 6.1 | 6.12 |",
        "| --- | --- | --- | --- |",
        "| **test** |  |  |  |",
        "| `test.a` A sentence. | `ok` | `ok` | `EBUSY` |",
        "| `test.b` A sentence. | `yes` | n/a | `no` |",
    ]


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        (["a|b`c", "d\ne"], ["`a\\|b'c`", "`d e`"]),
        (
            [{"device": "source", "seen": [1, 2]}, {"device": "target", "seen": []}],
            ["`source; seen: 1, 2`", "`target; seen: -`"],
        ),
        ([{"a": 1}, {"b": 1}], ["`a: 1`", "`b: 1`"]),
        ([None, ""], ["`null`", '`""`']),
        ([None, 0], ["`-`", "`0`"]),
        (["x" * 50, "y"], [f"`{'x' * 43}…`", "`y`"]),
        (["x" * 50 + "1", "x" * 50 + "2"], [f"`{'x' * 50}1`", f"`{'x' * 50}2`"]),
        ([{"a": {"b": True}}, {"a": {"b": 1}}], ["`a: b: yes`", "`a: b: 1`"]),
    ],
)
def test_values_in_the_table(values: list[object], shown: list[str]) -> None:
    """Values are short, fit into a cell, and look different where they differ."""
    assert page.cells([("ok", value) for value in values]) == shown  # type: ignore[misc]
