"""config.c: what config.json may say, what is no JSON, and what is JSON and not what it has to be."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.csrc.compilers import BUILDS

GOOD: dict[str, Any] = {"root": {"path": "none"}, "process": {"args": ["true"]}}
# Read to its end, and then refused: there is no such root.
READ = "none: No such file or directory"


@pytest.fixture(params=["gcc-sanitized"])
def said(request: pytest.FixtureRequest, tmp_path: Path, host: object):  # noqa: ARG001  # for its privileges
    build = BUILDS[request.param]
    build.check()

    def run(text: str | bytes) -> str:
        """What it says of such a config.json."""
        (tmp_path / "config.json").write_bytes(text if isinstance(text, bytes) else text.encode())
        argv = [str(build.program("embed")), "start", str(tmp_path)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.count("\n") == 1
        return done.stderr.removeprefix("embed: ").removeprefix(f"{tmp_path}/config.json: ").rstrip("\n")

    return run


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(GOOD),
        json.dumps(GOOD, indent="\t"),
        json.dumps({"a": [[], {}, [1, -2.5e3, True, None, "\\u", "\\\\"], {"b": {}}]} | GOOD),
        # Of several members of a name the last one counts.
        json.dumps(GOOD)[:-1] + ', "root": {"path": "none"}}',
        '{"root": {"path": 1}, ' + json.dumps(GOOD)[1:],
        json.dumps(GOOD).replace('"none"', '"\\u006e\\u006Fne"'),
        json.dumps(GOOD | {"linux": {"namespaces": [], "netDevices": {}}}),
        json.dumps(GOOD | {"deep": eval("[" * 60 + "]" * 60)}),
    ],
)
def test_read(said: Any, text: str) -> None:
    assert said(text) == READ


TEXT = json.dumps(GOOD)
NO_JSON = [
    "", " ", "[]", "1", '"x"', TEXT + "x", TEXT + TEXT, TEXT.replace(":", ";", 1), TEXT.replace("true", "tr\nue"),
    TEXT.replace("true", "\\x"), TEXT.replace("true", "\\u12g4"), TEXT.replace("true", "\\"), TEXT.replace("]", "}"),
    TEXT.replace('["true"]', '["true",]'), TEXT.replace('["true"]', "[,]"), TEXT.replace('["true"]', ""),
    '{"a": ' + "[" * 100_000 + "]" * 100_000 + "}", '{"a": ' + '{"b": ' * 100_000, TEXT.replace("true", "\0"),
]  # fmt: skip


@pytest.mark.parametrize("text", NO_JSON, ids=range(len(NO_JSON)))
def test_no_json(said: Any, text: str) -> None:
    assert said(text) == "it is no JSON object"


def test_cut_anywhere(said: Any) -> None:
    """No beginning of it is taken for the whole."""
    for end in range(0, len(TEXT), 3):
        assert said(TEXT[:end]) == "it is no JSON object"


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({}, "root.path is no string"),
        (GOOD | {"root": {"path": 1}}, "root.path is no string"),
        (GOOD | {"root": "none"}, "root.path is no string"),
        (GOOD | {"root": {"path": "a\0b"}}, "root.path is no string"),
        (GOOD | {"root": {"path": "\ud800"}}, "it is no JSON object"),
        (GOOD | {"process": {}}, "process.args is no list of strings, or an empty or a long one"),
        (GOOD | {"process": {"args": []}}, "process.args is no list of strings, or an empty or a long one"),
        (GOOD | {"process": {"args": ["a", 1]}}, "process.args is no list of strings, or an empty or a long one"),
        (GOOD | {"process": {"args": ["a"] * 64}}, "process.args is no list of strings, or an empty or a long one"),
        (GOOD | {"process": {"args": ["a"] * 63}}, READ),
        (GOOD | {"process": {"args": ["a"], "env": {}}}, "process.env is no list of strings, or a long one"),
        (GOOD | {"process": {"args": ["a"], "cwd": []}}, "process.cwd is no string"),
        (GOOD | {"linux": {"netDevices": []}}, "linux.netDevices is no object"),
        (GOOD | {"linux": {"netDevices": {"a": 1}}}, "linux.netDevices: a value is an object, and its name a string"),
        (GOOD | {"linux": {"netDevices": {"a": {"name": 23}}}},
         "linux.netDevices: a value is an object, and its name a string"),
        (GOOD | {"linux": {"netDevices": {f"d{n}": {} for n in range(64)}}}, "linux.netDevices has too many devices"),
        (GOOD | {"linux": {"netDevices": {f"d{n}": {"more": [1]} for n in range(63)}}}, READ),
    ],
)  # fmt: skip
def test_not_what_it_has_to_be(said: Any, config: dict[str, Any], says: str) -> None:
    assert said(json.dumps(config)) == says
