"""Names and texts from outside in a message cannot break the line or control the terminal."""

import os
import subprocess

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
    """A name in a message has no control characters."""
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
    """Any text becomes one printable line; printable text is unchanged, so the function is idempotent."""
    assert quote.printable(text) == shown
    assert quote.printable(shown) == shown


@pytest.mark.parametrize("name", [b"eth0", b"\xff", b"\x1b[2J", "é\n".encode(), b"\xe2\x80\xae"])
def test_a_name_looks_alike_as_text_and_as_bytes(name):
    """A device's name looks the same in a message, whether it was a str or the kernel's bytes."""
    assert quote.printable(os.fsdecode(name)) == quote.shown(name)


WORDS = ["eth1", "", "a b", "it's", "$(x)", "`x`", "é", "a\n1", "\x1b[2J\\'", "\udcff0", "a\u202e\xa0", "\t'\n'"]


@pytest.mark.parametrize("word", WORDS, ids=ascii)
def test_a_shell_reads_a_command_as_the_same_words(word: str) -> None:
    """Also a word that is not printable, in a line that is."""
    line = quote.command("printf", "%s.", word, "7")
    assert line.isprintable()
    done = subprocess.run(["bash", "-c", line], capture_output=True, check=True, timeout=60)
    assert done.stdout == os.fsencode(word) + b".7."


@pytest.mark.parametrize("word", [word for word in WORDS if not word.isprintable()], ids=ascii)
def test_a_line_of_its_own_is_printable_in_every_shell(word: str) -> None:
    """Not every shell knows $'...'."""
    assert quote.command_line("printf", word) is None
