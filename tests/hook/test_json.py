"""csrc/hook/json.c against Python's json: what it takes, json takes, and both find the same in it."""

from __future__ import annotations

import json
import math
import re
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import event, example, given
from hypothesis import strategies as st

from tests.csrc.compilers import BUILDS, CSRC, LIBFUZZER
from tests.property.profiles import examples
from tests.support.attacks import LONG

SOURCES = (Path(__file__).with_name("json_values.c"), CSRC / "hook" / "json.c")
SECONDS = 60 if LONG else 3
REFUSED = "not valid JSON: "
pytestmark = pytest.mark.timeout(300)
Ask = Callable[[bytes], str]


@pytest.fixture(scope="module", params=["gcc-sanitized"])
def ask(request: pytest.FixtureRequest) -> Iterator[Ask]:
    build = BUILDS[request.param]
    build.check()
    argv = [build.link("json_values", SOURCES)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        sent, received = process.stdin, process.stdout

        def asked(text: bytes) -> str:
            sent.write(struct.pack("=I", len(text)) + text)
            sent.flush()
            line = received.readline().decode()
            assert line.endswith("\n"), f"exit code {process.wait(10)}"
            return line[:-1]

        yield asked
        sent.close()
        assert process.wait(10) == 0


class Pairs(list[tuple[str, Any]]):
    """An object's members, those included that are there twice."""


class Raw(str):
    """A number as it stands in the text."""


def number(text: str) -> Any:
    return int(text) if -(2**63) < int(text) < 2**63 else Raw(text)


def shown(value: Any) -> str:
    """As json_values.c shows it."""
    if isinstance(value, Pairs):
        return "{" + ",".join(f"{key.encode().hex()}:{shown(each)}" for key, each in value) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(shown, value)) + "]"
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, str):
        return f'"{value.encode().hex()}"'
    return json.dumps(value)


def by_python(text: bytes) -> str:
    """The same line. Raises ValueError, RecursionError."""
    found = json.loads(text, object_pairs_hook=Pairs, parse_int=number, parse_float=Raw)
    line = shown(found)
    if isinstance(found, Pairs) and "name" in dict(found):
        line += f" name {shown(dict(found)['name'])}"
    return line


def agree(ask: Ask, text: bytes) -> bool:
    """Whether C takes the text; if so, both find the same in it, and if json does not, C must not."""
    said = ask(text)
    if said.startswith(REFUSED):
        return False
    assert said == by_python(text)
    return True


TAKEN = [
    b"{}", b"[]", b'""', b" \t\r\n[ ] ", b"0", b"-0", b"-0.0e-0", b"1E+5", b"9223372036854775807",
    b"-9223372036854775807",
    b"9223372036854775808", b"-9223372036854775808", b"1e400", b"123456789012345678901234567890", b"true",
    b"[null,false]",
    rb'"\"\\\/\b\f\n\r\t\u0041\u00e4\u20ac\ud83d\ude00\uDBFF\uDFFF"', '"ä€😀\x7f\U0010ffff"'.encode(), rb'"\u0000a"',
    b'{"name": 1, "name": "x"}', rb'{"n\u0061me": 2}', rb'{"name\u0000": 2}', b'{"nam": 1, "names": 2}',
    b'{"": {"": []}}',
    b'{"a": "b:c", "d": [":", "\\":"]}', b'["x" , "y"]', b"[" * 64 + b"]" * 64, b'{"a":' * 63 + b"1" + b"}" * 63,
    b'["]", "}", {"[": "{"}]', b"[1 ,2]", b'{"a" : 1 , "b":2}', b"1" * 4000, b'[{"a":{"name":1}},{"name":2}]',
]  # fmt: skip
REFUSED_BY_BOTH = [
    b"", b" ", b"{", b"}", b"[", b'"', b'"\\', b'"\\u', b'"\\u00', b'"\\u00g0"', b'"\\x"', b'"\n"', b'"\0"', b"01",
    b"-", b"-01",
    b"+1", b".5", b"1.", b"1.e5", b"1e", b"1e+", b"truex", b"nul", b"True", b"[1,]", b"[,]", b'{"a"}', b'{"a":}',
    b'{"a":1,}',
    b"{1:2}", b"{a:1}", b"[1 2]", b"[1}", b'{"a":1]', b"{} x", b"{}\0", b"\xff", b'"\xff"', b'"\xc0\x80"',
    b'"\xe0\x80\x80"',
    b'"\xf5\x80\x80\x80"', b'"\xf0\x80\x80\x80"', b'"\xf4\x90\x80\x80"', b'"\x80"', b'"\xe2\x82"', b'"\xc3',
    b"// x\n{}",
    b"{'a': 1}", b"\x0b{}", b"[" * 100_000,
]  # fmt: skip
REFUSED_BY_C = [
    b"NaN", b"[Infinity]", b"-Infinity", rb'"\ud800"', rb'"\udc00"', rb'"\ud800\u0041"', rb'"\ud800\ud800"',
    b'"\xed\xa0\x80"',
    b"[" * 65 + b"]" * 65, b"1" * 4001, "{}".encode("utf-16"), "{}".encode("utf-32-le"), b"\xef\xbb\xbf{}",
]  # fmt: skip


@pytest.mark.parametrize("text", TAKEN, ids=lambda text: repr(text[:30]))
def test_taken(ask: Ask, text: bytes) -> None:
    assert agree(ask, text)


@pytest.mark.parametrize("text", REFUSED_BY_BOTH, ids=lambda text: repr(text[:30]))
def test_refused_by_both(ask: Ask, text: bytes) -> None:
    assert ask(text).startswith(REFUSED)
    with pytest.raises((ValueError, RecursionError)):
        by_python(text)


@pytest.mark.parametrize("text", REFUSED_BY_C, ids=lambda text: repr(text[:30]))
def test_refused_by_c(ask: Ask, text: bytes) -> None:
    """Of what json.h says that it is stricter in."""
    assert ask(text).startswith(REFUSED)
    json.loads(text)


def is_plain(value: Any, depth: int = 0) -> bool:
    """Whether json.h says that it is taken."""
    if isinstance(value, dict):
        return depth < 64 and all(is_plain(k) and is_plain(v, depth + 1) for k, v in value.items())
    if isinstance(value, list):
        return depth < 64 and all(is_plain(each, depth + 1) for each in value)
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, str) or not re.search("[\ud800-\udfff]", value)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=())),
    lambda values: st.lists(values, max_size=4) | st.dictionaries(st.sampled_from(["name", "a", "ä"]), values),
    max_leaves=20,
)


@examples(200, 2000)
@given(value=VALUES, indent=st.sampled_from([None, 1, "\t"]), is_ascii=st.booleans())
def test_what_json_writes(ask: Ask, value: Any, indent: int | str | None, is_ascii: bool) -> None:
    """Each document that json writes, but for what is left out."""
    text = json.dumps(value, indent=indent, ensure_ascii=is_ascii).encode("utf-8", "surrogatepass")
    # Two halves that json writes one behind the other are read as one character.
    is_taken = is_plain(json.loads(text))
    event(f"taken: {is_taken}")
    assert agree(ask, text) == is_taken


PIECES = ["{", "}", "[", "]", ",", ":", '"', "\\", "\\u", "d83d", "\\ude00", "\\n", "name", '"name"', "0", "1", "-",
          ".", "e",
          "+", "true", "null", " ", "\t", "\n", "ä", "\0", "NaN"]  # fmt: skip


@examples(400, 5000)
@given(text=st.lists(st.sampled_from(PIECES), max_size=24).map("".join).map(str.encode) | st.binary(max_size=24))
@example(b'{"name":"name"}')
def test_anything(ask: Ask, text: bytes) -> None:
    """Any bytes on stdin."""
    event(f"taken: {agree(ask, text)}")


@examples(200, 2000)
@given(data=st.data(), value=VALUES)
def test_damaged(ask: Ask, data: st.DataObject, value: Any) -> None:
    """A document of which one byte is another one, or missing."""
    text = bytearray(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    at = data.draw(st.integers(0, len(text) - 1))
    text[at : at + 1] = data.draw(st.binary(max_size=1))
    agree(ask, bytes(text))


@pytest.mark.thorough
def test_fuzzed(tmp_path: Path) -> None:
    """libFuzzer, from sound documents on, finds no wrong access and no hang."""
    BUILDS["clang"].check()
    program = LIBFUZZER.link("fuzz_json", SOURCES, ("-DFUZZ",))
    (tmp_path / "found").mkdir()
    (tmp_path / "corpus").mkdir()
    for at, text in enumerate(TAKEN):
        (tmp_path / "corpus" / str(at)).write_bytes(text)
    argv = [
        program,
        f"-max_total_time={SECONDS}",
        "-max_len=4096",
        "-timeout=10",
        "-rss_limit_mb=1024",
        "-print_final_stats=1",
    ]
    argv += [tmp_path / "found", tmp_path / "corpus"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=250)
    assert done.returncode == 0, done.stderr[-8000:]
    assert int(re.search(r"number_of_executed_units: (\d+)", done.stderr)[1]) >= 100 * SECONDS
