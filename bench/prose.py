"""Reads bench/prose.toml, the text of docs/performance.md and its appendix, and inserts measured numbers."""

from __future__ import annotations

import dataclasses
import re
import textwrap
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.results import METRICS, Document, Refused, spread

FILE = Path(__file__).resolve().with_name("prose.toml")
PAGE = ("page", "container", "targets", "peers", "batch", "safety", "machine", "method")
APPENDIX = ("scenarios", "floor", "beside", "containers", "rest", "sure", "costs", "others", "optimisations")
SECTIONS = (*PAGE, *APPENDIX)
NUMBER = re.compile(r"\{([^{}]*)\}")
PARTS = re.compile(r"([^|/]+)\|([^|/]+)/([^|/]+)\|([^|/]+)")
WIDTH = 120


@dataclasses.dataclass(frozen=True)
class Optimisation:
    """An optimisation that was tried."""

    what: str
    effect: str
    kept: bool
    why: str


@dataclasses.dataclass(frozen=True)
class Prose:
    """Sections by id: heading and text."""

    sections: Mapping[str, tuple[str, str]]
    optimisations: Sequence[Optimisation]


def load(file: Path = FILE) -> Prose:
    """Raises Refused where an entry is wrong."""
    raw = tomllib.loads(file.read_text(encoding="utf-8"))
    sections, tried = raw.get("section", {}), raw.get("optimisation", [])
    keys = {each.name for each in dataclasses.fields(Optimisation)}
    bad = [f"no section {id_}" for id_ in SECTIONS if id_ not in sections]
    bad += [f"section {id_}: not one of the pages" for id_ in sections if id_ not in SECTIONS]
    bad += [f"section {id_}: has heading, text" for id_, each in sections.items() if each.keys() != {"heading", "text"}]
    wrong = [each for each in tried if each.keys() != keys or not isinstance(each["kept"], bool)]
    bad += [f"{each.get('what', 'optimisation')}: has {', '.join(sorted(keys))}" for each in wrong]
    texts = [each.get("text", "") for each in sections.values()] + [each.get("effect", "") for each in tried]
    bad += [f"{{{one}}} is not {{SCENARIO | A / B | METRIC}}" for each in texts for one in _wrong(each)]
    if bad:
        raise Refused("\n".join(f"{file.name}: {each}" for each in bad))
    found = {id_: (_one(each["heading"]), _one(each["text"])) for id_, each in sections.items()}
    return Prose(found, [Optimisation(**{**each, "effect": _one(each["effect"])}) for each in tried])


def _one(text: str) -> str:
    return " ".join(text.split())


def _wrong(text: str) -> list[str]:
    found = []
    for inside in NUMBER.findall(text):
        parts = PARTS.fullmatch(inside)
        if parts is None or parts[4].strip() not in METRICS:
            found.append(inside)
    return found


def measured(text: str, documents: Sequence[Document]) -> str:
    """Replaces each {SCENARIO | A / B | METRIC} by the measured ratio."""

    def number(found: re.Match[str]) -> str:
        parts = PARTS.fullmatch(found[1])
        if parts is None:  # refused by load
            return found[0]
        values = [(each, each.ratio(*(part.strip() for part in parts.groups()))) for each in documents]
        shown = [f"{spread(value)} on {document.name}" for document, value in values if value]
        return ", ".join(shown) or "not measured"

    return NUMBER.sub(number, text)


def filled(words: str, indent: str = "") -> str:
    """Wraps lines; a name is never broken."""
    return textwrap.fill(words, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
