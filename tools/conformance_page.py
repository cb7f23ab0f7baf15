"""Writes docs/kernels.md from the suite's expectations and the notes in docs/kernels.toml."""

from __future__ import annotations

import dataclasses
import fnmatch
import itertools
import json
import textwrap
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from netdevns.conformance.expected import version
from netdevns.conformance.probe import CLASSES, Probe, Value
from tools.conformance_data import Answers, Data, Refused, known, same

TOP = Path(__file__).resolve().parent.parent
PAGE = TOP / "docs/kernels.md"
NOTES = TOP / "docs/kernels.toml"
WIDTH = 120
LONG = 44  # characters of a value in the table
KEYS = {"heading", "probes", "kernel", "netdevns", "since"}

INTRO = """\
For distributors, runtime authors and kernel developers: the kernel's behaviour when a network device changes its
namespace, as measured by the probes of `netdevns conformance`. Classes: `spec`: the OCI runtime-spec, or a promise of
netdevns, needs this value; `abi`: it is the same on every kernel so far; `varies`: it differs between kernels. "source
eth1 down" is a device's namespace, name and state after the attempt.

```console
# netdevns conformance                             # compares your kernel, probe by probe
# netdevns conformance --list                      # the probes and their classes
# netdevns conformance "clash.*" varies            # some of them: by id, glob or class
# netdevns conformance --format json > new.json    # without dates, so that two runs compare equal; ktap for kernel CI
# netdevns conformance diff old.json new.json      # the differences between two kernels
```

It runs as root or in a user namespace, in private network namespaces, uses none of the code that moves devices, and
needs only Python's standard library. Exit codes: 0: no probe failed; 1: one of class `spec` or `abi` has another value,
one could not be run, or `diff` found a difference; 2: usage. `./tools/conformance` measures all of these kernels and
writes this page; `./tools/conformance --kernel running`, or another machine's JSON document as its argument, adds a
kernel."""


@dataclasses.dataclass(frozen=True)
class Note:
    """A surprise, with the probes that show it."""

    heading: str
    ids: tuple[str, ...]  # of the probes
    globs: tuple[str, ...]
    kernel: str  # what the kernel does
    netdevns: str  # what netdevns does about it
    since: str | None  # the version of the change, if known from the kernel's history


def notes(ids: Sequence[str], data: Data, file: Path = NOTES) -> list[Note]:
    """Reads the notes. Raises Refused if one names no probe, or a version that the measurements contradict."""
    found, bad = [], []
    for raw in tomllib.loads(file.read_text(encoding="utf-8")).get("note", []):
        heading, globs = raw.get("heading", "(no heading)"), raw.get("probes", [])
        if raw.keys() - KEYS or KEYS - raw.keys() - {"since"}:
            bad.append(f"{file.name}: {heading}: a note has {', '.join(sorted(KEYS))} (since: if known)")
            continue
        bad += [f"{file.name}: {heading}: no probe matches {glob}" for glob in globs if not fnmatch.filter(ids, glob)]
        mine = tuple(id_ for id_ in ids if any(fnmatch.fnmatchcase(id_, glob) for glob in globs))
        note = Note(heading, mine, tuple(globs), _one(raw["kernel"]), _one(raw["netdevns"]), raw.get("since"))
        if note.since and not any(_is_between(note.since, *pair) for pair in _steps(mine, data)):
            bad.append(f"{file.name}: {heading}: no measured change in {note.since}")
        found.append(note)
    if bad:
        raise Refused("\n".join(bad))
    return found


def _one(text: str) -> str:
    return " ".join(text.split())


def _is_between(since: str, before: str, after: str) -> bool:
    return version(before) < version(since) <= version(after)


def _steps(ids: Sequence[str], data: Data) -> list[tuple[str, str]]:
    """The pairs of consecutive kernels between which answers of these probes change, in order."""
    found = set()
    by_kernel = {name: known(data, name) for name in data["kernels"]}
    for id_ in ids:
        there = [name for name, answers in by_kernel.items() if answers.get(id_, ("n/a",))[0] == "ok"]
        since = {name for name, _ in data["probes"].get(id_, ())[1:]}
        found |= {(before, after) for before, after in itertools.pairwise(there) if after in since}
    return sorted(found, key=lambda pair: (version(pair[0]), version(pair[1])))


def text(data: Data, probes: Sequence[Probe], notes_: Sequence[Note]) -> str:
    """The page."""
    by_kernel = {name: known(data, name) for name in data["kernels"]}
    parts = [
        "<!-- Made by tools/conformance from netdevns/conformance/expected.json and docs/kernels.toml: do not edit -->",
        "# Kernel behaviour",
        INTRO,
        *_kernels(data, probes, by_kernel),
        *_surprises(data, notes_),
        *_differences(data, probes, by_kernel),
    ]
    return "\n\n".join(parts) + "\n"


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _filled(words: str, indent: str = "") -> str:
    """Wraps lines; a name or an id is never broken."""
    return textwrap.fill(words, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


# ---- measured kernels ----


def _kernels(data: Data, probes: Sequence[Probe], by_kernel: Mapping[str, Answers]) -> list[str]:
    kinds = {probe.id: probe.kind for probe in probes}
    rows, missing = [], []
    for name, release in data["kernels"].items():
        counts = Counter(kinds[id_] for id_, answer in by_kernel[name].items() if answer[0] == "ok" and id_ in kinds)
        absent = data["absent"].get(name, {})
        lacks = sum(map(len, absent.values()))
        rows.append([name, release, *(str(counts[kind]) for kind in CLASSES), str(lacks)])
        if absent:
            why = "; ".join(f"{len(ids)}: {reason}" for reason, ids in sorted(absent.items()))
            missing.append(_filled(f"- `n/a` on {name}: {why}.", "  "))
    differ = sum(len(rows_) > 1 for rows_ in data["probes"].values())
    count = f"{len(data['probes'])} probes; {differ} of them differ between these kernels."
    parts = ["## Measured", count, _table(["kernel", "measured on", *CLASSES, "n/a"], rows)]
    return [*parts, "\n".join(missing)] if missing else parts


# ---- notes ----


def _surprises(data: Data, notes_: Sequence[Note]) -> list[str]:
    parts = ["## Surprises"]
    for note in notes_:
        shown = ", ".join(f"`{glob}`" for glob in note.globs)
        last = f"{_when(note, data)} Probes: {shown}."
        parts += [f"### {note.heading}", _filled(f"{note.kernel} **netdevns:** {note.netdevns}"), _filled(last)]
    return parts


def _when(note: Note, data: Data) -> str:
    steps = _steps(note.ids, data)
    if not steps:
        return f"The same on {', '.join(data['kernels'])}."
    between = [f"between {before} and {after}" for before, after in steps]
    if note.since:
        return f"Changed in {note.since} (measured: {', '.join(between)})."
    return f"Changed {', '.join(between)}."


# ---- differences ----


def _differences(data: Data, probes: Sequence[Probe], by_kernel: Mapping[str, Answers]) -> list[str]:
    rows, subject = [], ""
    for probe in probes:
        if len(data["probes"].get(probe.id, ())) < 2:
            continue
        if probe.subject != subject:
            subject = probe.subject
            rows.append([f"**{subject}**", *[""] * len(by_kernel)])
        answers = [by_kernel[name].get(probe.id, ("n/a", None)) for name in by_kernel]
        rows.append([f"`{probe.id}` {_cell(probe.sentence)}", *cells(answers)])
    legend = "One row per probe; of a value with several parts, those that differ. `-`: empty; `n/a`: not available."
    return ["## Differences", legend, _table(["probe", *by_kernel], rows)]


def _cell(words: str) -> str:
    return words.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*").replace("\n", " ")


def cells(answers: Sequence[tuple[str, Value]]) -> list[str]:
    """The answers of one probe, shortened; different answers never look the same."""
    values = [_differing(value, answers) if status == "ok" else None for status, value in answers]
    words = [_words(value) for value in values]
    exact = [json.dumps(value, sort_keys=True) for value in values]
    if len(set(words)) < len(set(exact)):
        words = [_words(each) for each in exact]
    long = LONG
    while len({_cut(each, long) for each in words}) < len(set(words)):
        long *= 2
    pairs = zip(answers, words, strict=True)
    return [f"`{_cut(each, long)}`" if status == "ok" else "n/a" for (status, _), each in pairs]


def _differing(value: Value, answers: Sequence[tuple[str, Value]]) -> Value:
    """A mapping without the parts that are the same on all kernels."""
    there = [other for status, other in answers if status == "ok"]
    if not all(isinstance(other, Mapping) for other in there) or not isinstance(value, Mapping):
        return value
    maps: list[Mapping[str, Any]] = [other for other in there if isinstance(other, Mapping)]
    keys = [key for key in value if not all(key in other and same(other[key], value[key]) for other in maps)]
    return {key: value[key] for key in keys} or value


def _cut(words: str, long: int) -> str:
    return words if len(words) <= long else f"{words[: long - 1].rstrip()}…"


def _words(value: Value) -> str:
    """A value as text, for a table cell in backticks."""
    if value is None or value == "" or (isinstance(value, (list, tuple, dict)) and not value):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value.replace("`", "'").replace("|", "\\|").replace("\n", " ")
    if isinstance(value, Mapping):
        plain = {"error", "device", "extack"}  # clear without the key
        return "; ".join(_words(v) if key in plain else f"{key}: {_words(v)}" for key, v in value.items())
    if isinstance(value, Sequence):
        return ", ".join(_words(each) for each in value)
    return json.dumps(value)
