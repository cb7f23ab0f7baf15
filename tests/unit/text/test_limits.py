"""Limits of messages and of a hook's report."""

from __future__ import annotations

import re

import pytest

from netdevns import limits
from netdevns.text import outcome, quote


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("eth1", "eth1"),
        ("a\nb", "a\\nb"),
        ("x" * 128, "x" * 128),
        ("x" * 129, "x" * 64 + "… (129 characters)"),
        ("\0" * 200, "\\x00" * 64 + "… (200 characters)"),
    ],
    ids=["name", "newline", "longest", "longer", "escaped"],
)
def test_quoted(text: str, shown: str) -> None:
    """A quoted value is printable, and shortened if it is longer than any name."""
    assert quote.quoted(text) == shown


@pytest.mark.parametrize("char", ["x", "ü", "€", "\N{GRINNING FACE}", "\0", "\udcff"])
@pytest.mark.parametrize("length", [0, 1, 99, 100, 101, 133, 134, 200, 399, 400, 401, 5000])
def test_line_has_a_limit(char: str, length: int) -> None:
    """400 bytes of UTF-8; a longer line has its length in place of its middle."""
    (line,) = outcome.bounded([char * length])
    whole = quote.printable(char * length)
    if len(whole.encode()) <= limits.LINE_BYTES:
        assert line == whole
    else:
        assert limits.LINE_BYTES - 8 < len(line.encode()) <= limits.LINE_BYTES
        begin, words, end = line.split("…")
        assert whole.startswith(begin)
        assert whole.endswith(end)
        assert words == f" ({len(whole.encode())} bytes) "


@pytest.mark.parametrize("verdict", [[], [outcome.UNTOUCHED], [outcome.UNTOUCHED_ELSE], ["eth1: in the target"]])
@pytest.mark.parametrize("count", [0, 1, 62, 63, 64, 65, 4096])
def test_report_has_a_limit(count: int, verdict: list[str]) -> None:
    """64 lines; the last one has the number of omitted lines, and the verdict."""
    lines = [f"line {n}" for n in range(count)] + verdict
    report = outcome.bounded(lines)
    if len(lines) <= limits.LINES:
        assert report == lines
        return
    kept = limits.LINES - 1
    more = re.fullmatch(r"and (\d+) more(?:; (nothing .*touched))?", report[-1])
    assert more
    assert report[:-1] == lines[:kept]
    is_verdict = verdict in ([outcome.UNTOUCHED], [outcome.UNTOUCHED_ELSE])
    assert more[2] == (verdict[0] if is_verdict else None)
    assert int(more[1]) == len(lines) - kept - is_verdict
