"""Tables for people: aligned, wrapped between words; in colour on a terminal where rich is installed."""

from __future__ import annotations

import shutil
import unicodedata
from collections.abc import Mapping, Sequence
from typing import TextIO

from ..text.quote import printable

GAP = 2
NARROWEST = 18  # cells; sentences in a narrower column are hard to read
LONGEST_WORD = 44  # cells; what is longer may be broken: not an IPv6 address with its prefix length and a mark

Cell = Sequence[str]  # paragraphs; each begins a line
Line = list[tuple[str, str]]  # pieces of text with rich's word for their style


def columns(stream: TextIO | None) -> int | None:
    """The width of the terminal that a stream is; None: it is none, and a line may have any length."""
    return shutil.get_terminal_size().columns if stream is not None and stream.isatty() else None


def table(
    header: Sequence[str], rows: Sequence[Sequence[Cell]], width: int | None, marked: int, marks: Mapping[str, str]
) -> str:
    """A table as text.

    Args:
        header: A title for each column.
        rows: Cells, with texts from anywhere: control characters become visible, and nothing in them is markup.
        width: Of the terminal; None: it is for none, so nothing is wrapped and nothing is in colour.
        marked: The column with the answer.
        marks: First word there -> style of the cell's first line, in rich's words.
    """
    body = [[[printable(paragraph) for paragraph in cell] for cell in row] for row in rows]
    styles = [["bold"] + [""] * (len(header) - 1) for _ in body]
    for style, row in zip(styles, body, strict=True):
        style[marked] = marks.get(row[marked][0].split(" ")[0], "")
    every = [[[title] for title in header], *body]
    widths = [max(max(map(cells, row[at]), default=0) for row in every) for at in range(len(header))]
    if width is not None:
        longest = (max(_longest_word(row[at]) for row in every) for at in range(len(header)))
        least = [max(word, min(NARROWEST, whole)) for word, whole in zip(longest, widths, strict=True)]
        room = width - GAP * (len(header) - 1)
        if sum(least) > room:
            return drawn(_records(header, body, styles, width), width)
        while sum(widths) > room:  # the widest first: the others may stay whole
            widths[max((w, at) for at, w in enumerate(widths) if w > least[at])[1]] -= 1
    styled = zip(every, [["bold"] * len(header), *styles], strict=True)
    return drawn([line for row, style in styled for line in _lines(row, widths, style)], width)


def cells(text: str) -> int:
    """How wide a terminal shows a printable text."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _longest_word(cell: Cell) -> int:
    return max((min(LONGEST_WORD, cells(word)) for paragraph in cell for word in paragraph.split(" ")), default=0)


def _wrapped(cell: Cell, width: int) -> list[str]:
    lines = []
    for paragraph in cell:
        lines.append("")
        for word in paragraph.split(" "):
            if lines[-1] and cells(lines[-1]) + 1 + cells(word) > width:
                lines.append("")
            lines[-1] += f" {word}" if lines[-1] else word
            while cells(lines[-1]) > width:
                cut = width if lines[-1].isascii() else max(1, width // 2)
                lines[-1:] = [lines[-1][:cut], lines[-1][cut:]]
    return lines


def _lines(row: Sequence[Cell], widths: Sequence[int], styles: Sequence[str]) -> list[Line]:
    wrapped = [_wrapped(cell, width) for cell, width in zip(row, widths, strict=True)]
    lines: list[Line] = [[] for _ in range(max(map(len, wrapped)))]
    for at, line in enumerate(lines):
        for cell, width, style in zip(wrapped, widths, styles, strict=True):
            text = cell[at] if at < len(cell) else ""
            line += [(text, "" if at else style), (" " * (width - cells(text) + GAP), "")]
        while line and not line[-1][0].strip(" "):
            line.pop()  # no blanks at a line's end
    return lines


def _records(header: Sequence[str], rows: list[list[list[str]]], styles: list[list[str]], width: int) -> list[Line]:
    """For a terminal too narrow for the table: one field below the other."""
    indent = max(map(cells, header))
    lines: list[Line] = []
    for row, row_styles in zip(rows, styles, strict=True):
        lines += [[]] if lines else []
        for title, cell, style in zip(header, row, row_styles, strict=True):
            lines += _lines([[title], cell], [indent, max(2, width - indent - GAP)], ["", style]) if cell else []
    return lines


def drawn(lines: Sequence[Line], width: int | None) -> str:
    """Lines as text. Rich knows what a terminal can do, and that NO_COLOR asks for less; without rich: no colour."""
    plain = "\n".join("".join(text for text, _ in line) for line in lines)
    if width is None:
        return plain
    from io import StringIO

    try:
        from rich.console import Console
        from rich.text import Text
    except ImportError:
        return plain
    console = Console(file=StringIO(), force_terminal=True, highlight=False)
    with console.capture() as capture:
        for line in lines:
            console.print(Text.assemble(*line), soft_wrap=True)
    return capture.get().rstrip("\n")
