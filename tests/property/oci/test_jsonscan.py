"""JSON through `jsonscan` is JSON through `json`: the same objects, the same errors, whatever it is."""

from __future__ import annotations

import _json
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from netdevns.oci import jsonscan
from tests.property.profiles import examples

TOP = Path(__file__).parents[3]
TEXTS = st.text(max_size=12) | st.sampled_from(["netDevices", "\ud800", "\x00", '"', "\\", "é"])
NUMBERS = st.integers() | st.floats() | st.integers(min_value=10**30)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
SPACES = st.text(" \t\n\r\x0b\u00a0", max_size=3)
ENCODINGS = st.sampled_from(["utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1"])


def outcome(loads: Any, data: bytes) -> object:
    """What it gives, NaN included, or its error."""
    try:
        return repr(loads(data))
    except (ValueError, RecursionError) as e:
        return type(e), str(e)


def agrees(data: bytes) -> None:
    ours = outcome(lambda d: jsonscan.loads(d, tuple), data)
    assert ours == outcome(lambda d: json.loads(d, object_pairs_hook=tuple), data)


@examples(60, 750)
@given(VALUES, st.sampled_from([None, 1]), st.booleans(), SPACES, SPACES, ENCODINGS)
def test_documents(value: object, indent: int | None, ascii_only: bool, before: str, after: str, encoding: str) -> None:
    """Whatever can be written as JSON, in every encoding, with space around it."""
    text = before + json.dumps(value, indent=indent, ensure_ascii=ascii_only) + after
    agrees(text.encode(encoding, "replace" if encoding == "latin-1" else "surrogatepass"))


@examples(60, 750)
@given(VALUES, st.integers(0, 60), st.binary(max_size=4))
@example({"a": 1}, 0, b"")
@example({"a": 1}, 60, b"}")
@example([], 1, b"\x00")
def test_damaged(value: object, at: int, wrong: bytes) -> None:
    """A document with something wrong in it, or cut short."""
    data = json.dumps(value).encode()
    agrees(data[:at] + wrong + data[at + len(wrong) :])
    agrees(data[:at])


@examples(40, 500)
@given(st.binary(max_size=30))
@example(b"\xef\xbb\xbf{}")
@example(b"[" * 100_000)
def test_any_bytes(data: bytes) -> None:
    """What is no JSON at all."""
    agrees(data)


def test_a_scanner_that_asks_for_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Python to come whose scanner reads one more option (as 3.15: array_hook) costs time, not the hook."""

    def scanner(context: Any) -> Any:
        return real(context) if context.option_of_tomorrow else None

    real = _json.make_scanner
    assert jsonscan.loads(b'{"a": [1]}', tuple) == (("a", [1]),)
    monkeypatch.setattr(_json, "make_scanner", scanner)
    assert jsonscan.loads(b'{"a": [1]}', tuple) == (("a", [1]),)


def test_options_are_those_of_the_decoder() -> None:
    """Whatever this Python's scanner reads of a JSONDecoder, ours offers it, with the decoder's value."""
    decoder = json.JSONDecoder(object_pairs_hook=tuple)
    read: set[str] = set()

    class Spy:
        def __getattr__(self, name: str) -> object:
            read.add(name)
            return getattr(decoder, name)

    _json.make_scanner(Spy())
    ours = jsonscan._Options(tuple)
    assert "object_pairs_hook" in read
    for name in read - {"parse_constant"}:  # a dictionary's method there
        assert getattr(ours, name) == getattr(decoder, name)


def test_plain_json_loads_no_json() -> None:
    """What it is for: neither json nor re nor enum is loaded; and an error has json's words all the same."""
    code = """
import sys
from netdevns.oci import jsonscan
print(jsonscan.loads(b' {"a": [1, -2.5e3, "\\\\u00e9", null, true]} ', dict), {"json", "re", "enum"} & set(sys.modules))
try:
    jsonscan.loads(b'{"a"', dict)
except ValueError as e:
    print(type(e).__name__, e)
"""
    command = [sys.executable, "-S", "-c", code]
    done = subprocess.run(command, cwd=TOP, capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.splitlines() == [
        "{'a': [1, -2500.0, 'é', None, True]} set()",
        "JSONDecodeError Expecting ':' delimiter: line 1 column 5 (char 4)",
    ]
