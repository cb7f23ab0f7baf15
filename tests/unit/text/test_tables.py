"""Tables are aligned and wrapped between words, and their cells are plain text."""

from __future__ import annotations

import io
import re

import pytest

from netdevns.text import tables

LONG = "2001:db8:1111:2222:3333:4444:5555:6666/128*"
ALTNAME = "".join(f"altname{n:03}" for n in range(12))  # 120 letters
HEADER = ["DEVICE", "MOVE", "ADDRESSES", "LINK"]
ROWS = [
    [["lo"], ["no", "the kernel never moves it"], ["127.0.0.1/8", "::1/128"], ["loopback, up, ifindex 1"]],
    [["eth1"], ["yes, but loses", "1 route"], [LONG], ["ifb, up, ifindex 4711", "mtu 1500, 00:11:22:33:44:55"]],
    [["eth2"], ["yes"], [], ["ifb, down, ifindex 4712"]],
]
MARKS = {"yes": "green", "yes,": "green", "no": "red"}
SGR = re.compile(r"\x1b\[[0-9;]*m")


def table(rows=ROWS, width: int | None = None) -> str:
    return tables.table(HEADER, rows, width, 1, MARKS)


@pytest.fixture(params=["xterm-256color", "dumb"])
def drawing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With and without colours."""
    monkeypatch.setenv("TERM", request.param)
    monkeypatch.delenv("NO_COLOR", raising=False)
    return str(request.param)


def test_columns_are_aligned() -> None:
    """Each column begins where its title does; no blanks at a line's end."""
    assert table().splitlines() == [
        "DEVICE  MOVE                       ADDRESSES                                    LINK",
        "lo      no                         127.0.0.1/8                                  loopback, up, ifindex 1",
        "        the kernel never moves it  ::1/128",
        f"eth1    yes, but loses             {LONG}  ifb, up, ifindex 4711",
        "        1 route                                                                 mtu 1500, 00:11:22:33:44:55",
        "eth2    yes                                                                     ifb, down, ifindex 4712",
    ]


@pytest.mark.usefixtures("drawing")
@pytest.mark.parametrize("width", [20, 47, 60, 80, 100, 120, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    """At any width; a word that fits no line is broken, never dropped."""
    text = SGR.sub("", table(width=width))
    assert max(map(len, text.splitlines())) <= width
    for row in ROWS:
        for word in " ".join(" ".join(cell) for cell in row).split():
            assert word in re.sub(r"\n +", "" if len(word) > width - 12 else "\n", text)


@pytest.mark.usefixtures("drawing")
@pytest.mark.parametrize("width", [60, 80, 100, 120])
def test_an_ipv6_address_is_never_broken(width: int) -> None:
    """At any usual width, so that it can be copied."""
    assert LONG in SGR.sub("", table(width=width))


def test_a_narrow_terminal_gets_one_field_below_the_other() -> None:
    """One field below the other, without empty ones."""
    lines = SGR.sub("", table(width=70)).splitlines()
    assert lines[:3] == ["DEVICE     lo", "MOVE       no", "           the kernel never moves it"]
    assert lines[-4:] == ["", "DEVICE     eth2", "MOVE       yes", "LINK       ifb, down, ifindex 4712"]


@pytest.mark.usefixtures("drawing")
def test_a_long_altname_is_broken_not_lost() -> None:
    """An alternative name may have 127 letters; on a pipe it stays whole."""
    rows = [[["eth1"], ["yes"], [], [f"altname {ALTNAME}"]]]
    assert ALTNAME in table(rows)
    for width in (60, 80, 100):
        lines = SGR.sub("", table(rows, width)).splitlines()
        assert max(map(len, lines)) <= width
        assert ALTNAME in re.sub(r"\n *", "", "\n".join(lines))


def test_wide_letters_take_two_cells() -> None:
    """Names are UTF-8: some letters are two cells wide, accents none."""
    first, second, third = table([[[name], ["yes"], [], ["up"]] for name in ("端口", "eth0", "e\u0301th")])[
        0:
    ].splitlines()[1:]
    assert first.index("yes") + 2 == second.index("yes")
    assert third.index("yes") - 1 == second.index("yes")


HOSTILE = {
    "escape": ("a\x1b[31mb", r"a\x1b[31mb"),
    "markup": ("[red]a[/red]", "[red]a[/red]"),
    "emoji": (":smile:", ":smile:"),
    "newline": ("a\nb", r"a\nb"),
    "tab": ("a\tb", r"a\tb"),
    "no text": ("a\udcff", r"a\xff"),
    "right to left": ("a\u202eb", r"a\u202eb"),
    "8-bit control": ("a\x9b31mb", r"a\x9b31mb"),
}


@pytest.mark.usefixtures("drawing")
@pytest.mark.parametrize(("name", "shown"), HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("width", [None, 40, 120])
def test_a_name_is_text(name: str, shown: str, width: int | None) -> None:
    """Control characters in names are escaped, and nothing is taken as markup."""
    for at in range(4):
        row = [["x"], ["yes"], ["y"], ["z"]]
        row[at] = [name]
        text = SGR.sub("", table([row], width))
        assert shown in text
        assert all(line.isprintable() for line in text.splitlines())


@pytest.mark.parametrize("width", [60, 120])
def test_colour_changes_no_letter(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    """On a terminal with colours the same lines are drawn; without a terminal there is no colour."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    coloured = table(width=width)
    assert "\x1b[32myes\x1b[0m" in coloured
    assert "\x1b[31mno\x1b[0m" in coloured
    monkeypatch.setenv("TERM", "dumb")
    assert table(width=width) == SGR.sub("", coloured)
    assert "\x1b" not in table(width=None)


@pytest.mark.parametrize("variable", [("NO_COLOR", "1"), ("TERM", "dumb")], ids=" ".join)
def test_no_colour_where_it_is_not_wanted(monkeypatch: pytest.MonkeyPatch, variable: tuple[str, str]) -> None:
    """With NO_COLOR (no-color.org), and on terminals without colours."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv(*variable)
    codes = set(re.findall(r"\x1b\[([0-9;]*)m", table(width=120)))
    assert codes <= ({"1", "0"} if variable[0] == "NO_COLOR" else set())


def test_empty_table_is_its_header() -> None:
    """Without devices there are no rows."""
    assert table([]) == "DEVICE  MOVE  ADDRESSES  LINK"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """The terminal's width; None for a pipe, and without stdout."""
    monkeypatch.setenv("COLUMNS", "97")
    assert tables.columns(Terminal()) == 97
    assert tables.columns(io.StringIO()) is None
    assert tables.columns(None) is None
