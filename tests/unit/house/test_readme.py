"""README.md: what it shows is so, as far as that can be told without a network namespace."""

from __future__ import annotations

from netdevns import oci
from tests.support import readme
from tools.losses_rows import ROWS


def test_table_of_losses_has_the_rows_of_the_tool() -> None:
    """Each row of README's table is one that `tools/losses` runs, in its words and order; none is missing."""
    assert [(name, cells[0]) for name, cells in readme.losses().items()] == [(row.id, row.promise) for row in ROWS]


def test_number_of_scenarios_is_right() -> None:
    """The console says how many there are."""
    assert any(f"in {len(ROWS)} scenarios" in text for text in readme.snippets("console"))


def test_ids_of_losses_are_unique() -> None:
    """A row's id names one scenario."""
    assert len({row.id for row in ROWS}) == len(ROWS)


def test_table_of_losses_hides_nothing() -> None:
    """The last column says that netdevns keeps it: a row where it does not belongs among the limits, too."""
    assert {cells[-1] for cells in readme.losses().values()} == {"holds"}


def test_json_is_understood() -> None:
    """The part of a config.json that README shows asks for what it says."""
    (text,) = readme.snippets("json")
    config = oci.parse(f"{{{text}}}".encode(), "README.md")
    assert oci.net_devices(config) == {"eth1": "net0", "mv0": "eth%d", "eth2": "eth2"}


def test_python_compiles() -> None:
    """The Python snippets are Python."""
    for text in readme.snippets("python"):
        compile(text, "README.md", "exec")
    assert readme.snippets("python")
