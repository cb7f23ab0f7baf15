"""docs/demo.svg: the picture in README.md."""

from __future__ import annotations

import pytest

from tests.support.namespaces import Namespace

pytest.importorskip("rich", reason="there is no rich; tools/test installs it")

from tools import picture


def test_picture_shows_what_the_demo_prints(host: Namespace) -> None:
    """The lines in the picture are those that the demo prints today. If not: run tools/picture."""
    del host  # the right to make namespaces, tried
    assert picture.lines(picture.PICTURE.read_text(encoding="utf-8")) == picture.lines(picture.draw(picture.demo()))


def test_lines_of_a_picture_are_those_of_the_text() -> None:
    """What is read out of a picture is the text that was drawn, without the title; blanks within a line count."""
    text = "$ one\n\n  two   three\n<four> & five\nall of it: yes"
    assert picture.lines(picture.draw(text)) == text.split("\n")
