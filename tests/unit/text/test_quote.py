"""Names and texts from outside, in a message: nothing in them breaks the line or reaches the terminal."""

import os

import pytest

from netdevns.text import quote


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        pytest.param(b"eth0", "eth0", id="ascii"),
        pytest.param("ä".encode(), "ä", id="utf-8"),
        pytest.param(b"\xff", "\\xff", id="no-text"),
        pytest.param(b"\x1b[2J", "\\x1b[2J", id="terminal-escape"),
        pytest.param(b"a\nb", "a\\nb", id="newline"),
    ],
)
def test_shown_has_no_control_bytes(name, shown):
    """A name in a message can neither break the line nor reach the terminal."""
    assert quote.shown(name) == shown
    assert quote.shown(name).isprintable()
    assert quote.shown(name).isprintable()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("eth0: é", "eth0: é", id="printable"),
        pytest.param("é: a\x1b[2J", "é: a\\x1b[2J", id="only-what-must-be"),
        pytest.param("a\udcffb", "a\\xffb", id="byte-of-the-file-system"),
        pytest.param("a\ud800b", "a\\ud800b", id="lone-surrogate-of-json"),
        pytest.param("a\u202eb\xa0c", "a\\u202eb\\xa0c", id="direction-and-space"),
    ],
)
def test_printable(text, shown):
    """One line for a terminal or a log, of whatever text; what is printable stays, so it can be done twice."""
    assert quote.printable(text) == shown
    assert quote.printable(shown) == shown


@pytest.mark.parametrize("name", [b"eth0", b"\xff", b"\x1b[2J", "é\n".encode(), b"\xe2\x80\xae"])
def test_a_name_looks_alike_as_text_and_as_bytes(name):
    """A message that quotes a str and one that quotes the kernel's bytes name the same device alike."""
    assert quote.printable(os.fsdecode(name)) == quote.shown(name)
