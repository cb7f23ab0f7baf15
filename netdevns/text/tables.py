"""Tables for people: aligned, wrapped between words, bold and in colour on a terminal."""

from __future__ import annotations

import os
import shutil
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import TextIO

from ..text.quote import printable

GAP = 2
NARROWEST = 18  # cells; sentences in a narrower column are hard to read
LONGEST_WORD = 44  # cells; longer words may be broken. An IPv6 address with prefix length and mark fits
SGR = {"bold": "1", "red": "31", "green": "32", "magenta": "35"}  # ECMA-48, "Select Graphic Rendition"

Cell = Sequence[str]  # paragraphs; each begins a line


def columns(stream: TextIO | None) -> int | None:
    """The width of the terminal that a stream is; None: no terminal, lines may have any length."""
    return shutil.get_terminal_size().columns if stream is not None and stream.isatty() else None


def styled(text: str, style: str, width: int | None) -> str:
    """A text in a style, words of SGR, as far as the terminal has it and NO_COLOR (no-color.org) allows it."""
    if not text or width is None or os.environ.get("TERM") in ("dumb", "unknown"):
        return text
    codes = [SGR[word] for word in style.split() if word == "bold" or not os.environ.get("NO_COLOR")]
    return f"\x1b[{';'.join(codes)}m{text}\x1b[0m" if codes else text


def table(
    header: Sequence[str], rows: Sequence[Sequence[Cell]], width: int | None, marked: int, marks: Mapping[str, str]
) -> str:
    """A table as text; on a terminal too narrow for it, each row as one field below the other.

    Args:
        header: A title for each column.
        rows: Cells; control characters are escaped.
        width: Of the terminal; None: no terminal, so no wrapping and no colour.
        marked: The column with the answer, which is coloured.
        marks: First word in that column -> style of the cell's first line.
    """
    body = [[[printable(text) for text in cell] for cell in row] for row in rows]
    styles = [["bold"] + [""] * (len(header) - 1) for _ in body]
    for style, row in zip(styles, body, strict=True):
        style[marked] = marks.get(row[marked][0].split(" ")[0], "")
    titled = [[[title] for title in header], *body]
    by_column = [[text for cell in column for text in cell] for column in zip(*titled, strict=True)]
    widths = [max(map(cells, texts)) for texts in by_column]
    if width is not None:
        words = [max(cells(word) for text in texts for word in text.split(" ")) for texts in by_column]
        least = [min(whole, max(NARROWEST, min(LONGEST_WORD, word))) for whole, word in zip(widths, words, strict=True)]
        room = width - GAP * (len(header) - 1)
        if sum(least) > room:
            return "\n\n".join(_record(header, *each, width) for each in zip(body, styles, strict=True))
        while sum(widths) > room:  # the widest first: the others may stay whole
            widths[max((w, at) for at, w in enumerate(widths) if w > least[at])[1]] -= 1
    every = zip(titled, [["bold"] * len(header), *styles], strict=True)
    return "\n".join(line for row, style in every for line in _lines(row, widths, style, width))


def cells(text: str) -> int:
    """The width of a printable text on a terminal, in cells."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _record(header: Sequence[str], row: Sequence[Cell], styles: Sequence[str], width: int) -> str:
    indent = max(map(cells, header))
    widths = [indent, max(2, width - indent - GAP)]
    fields = [([[title], cell], ["", style]) for title, cell, style in zip(header, row, styles, strict=True) if cell]
    return "\n".join(line for field, style in fields for line in _lines(field, widths, style, width))


def _lines(row: Sequence[Cell], widths: Sequence[int], styles: Sequence[str], width: int | None) -> Iterator[str]:
    wrapped = [[line for text in cell for line in _wrapped(text, w)] for cell, w in zip(row, widths, strict=True)]
    for at, texts in enumerate(zip_longest(*wrapped, fillvalue="")):
        fields = zip(texts, widths, styles, strict=True)
        padded = [styled(text, "" if at else style, width) + " " * (w - cells(text) + GAP) for text, w, style in fields]
        yield "".join(padded).rstrip(" ")


def _wrapped(text: str, width: int) -> list[str]:
    lines = [""]
    for word in text.split(" "):
        if lines[-1] and cells(lines[-1]) + 1 + cells(word) > width:
            lines.append("")
        lines[-1] += f" {word}" if lines[-1] else word
        while cells(lines[-1]) > width:
            cut = width if lines[-1].isascii() else max(1, width // 2)
            lines[-1:] = [lines[-1][:cut], lines[-1][cut:]]
    return lines
