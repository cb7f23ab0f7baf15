"""README.md and the pages in docs/: their lengths, links and snippets, as far as these need no network namespace."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from netdevns import oci
from tests.support import readme
from tools.losses_rows import ROWS


def test_table_of_losses_has_the_rows_of_the_tool() -> None:
    """Each row of the table in docs/losses.md is one that `tools/losses` runs, in its order; none is missing."""
    assert [(name, cells[0]) for name, cells in readme.losses().items()] == [(row.id, row.promise) for row in ROWS]


def test_number_of_scenarios_is_right() -> None:
    """README.md says how many there are."""
    assert f"[{len(ROWS)} scenarios](docs/losses.md)" in readme.README.read_text(encoding="utf-8")


def test_ids_of_losses_are_unique() -> None:
    """A row's id names one scenario."""
    assert len({row.id for row in ROWS}) == len(ROWS)


def test_table_of_losses_hides_nothing() -> None:
    """The last column says that netdevns keeps it: a row where it does not belongs among the limits, too."""
    assert {cells[-1] for cells in readme.losses().values()} == {"holds"}


def test_json_is_understood() -> None:
    """The part of a config.json that README.md and docs/hooks.md show asks for three devices."""
    (text,) = readme.snippets("json")
    assert readme.snippets("json", readme.DOCS / "hooks.md") == [text]
    config = oci.parse(f"{{{text}}}".encode(), "README.md")
    assert oci.net_devices(config) == {"eth1": "net0", "mv0": "eth%d", "eth2": "eth2"}


def test_python_compiles() -> None:
    """The Python snippets are Python."""
    for text in readme.snippets("python"):
        compile(text, "README.md", "exec")
    assert readme.snippets("python")


# ---- pages ---------------------------------------------------------------------------------------------------------

PAGES = sorted(readme.DOCS.rglob("*.md"))


def links(page: Path) -> list[tuple[str, str]]:
    """(path, heading) of each link to a file of the checkout."""
    found = re.findall(r"\]\(([^)#\s]*)(?:#([^)]*))?\)", page.read_text(encoding="utf-8"))
    return [(path, heading) for path, heading in found if "://" not in path]


def headings(page: Path) -> set[str]:
    """As the renderer names them in links."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_readme_is_short() -> None:
    """It is read in two minutes: at most 120 lines of at most 100 characters."""
    lines = readme.README.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 120
    assert [line for line in lines if len(line) > 100] == []


OTHERS = [readme.README.parent / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "csrc/README.md")]


@pytest.mark.parametrize("page", [*OTHERS, *PAGES], ids=lambda page: str(page.relative_to(readme.README.parent)))
def test_links_lead_somewhere(page: Path) -> None:
    """Each file that a page links is there, and each heading."""
    for path, heading in links(page):
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), path
        if heading and target.suffix == ".md":
            assert heading in headings(target), f"{path}#{heading}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page_begins_with_its_readers(page: Path) -> None:
    """The first paragraph says whom a page is for."""
    parts = map(str.strip, page.read_text(encoding="utf-8").split("\n\n"))
    first = next(part for part in parts if not part.startswith(("#", "<!--")))
    assert first.startswith("For "), first


def test_every_page_is_found() -> None:
    """A reader of README.md gets to each page by links."""
    seen, todo = set(), [readme.README]
    while todo:
        page = todo.pop()
        seen.add(page)
        paths = [(page.parent / path).resolve() for path, _ in links(page) if path.endswith(".md")]
        todo += [path for path in paths if path not in seen]
    assert {*PAGES} <= seen
