"""Names and values from outside, fit for a message."""

import shlex

from .. import limits

LONGEST_COMMAND = 500  # characters; nobody types more


def shown(name: bytes) -> str:
    """A name for a message: bytes that are no text become visible, and it is short."""
    return quoted(name.decode("utf-8", "backslashreplace"))


def quoted(text: str) -> str:
    """A name or a value from outside, for a message: `printable`, and shortened where no name is as long."""
    if len(text) <= limits.QUOTED:
        return printable(text)
    return f"{printable(text[: limits.QUOTED // 2])}\N{HORIZONTAL ELLIPSIS} ({len(text)} characters)"


def printable(text: str) -> str:
    """A text from outside, fit for a terminal or a log: one line without control characters, whatever is in it."""
    return text if text.isprintable() else "".join(c if c.isprintable() else _visible(c) for c in text)


def command_line(*words: str) -> str | None:
    """Words as they are typed in a shell, quoted where one needs it; None: nobody can type this, or would."""
    line = shlex.join(words)
    return line if line.isprintable() and len(line) <= LONGEST_COMMAND else None


def _visible(char: str) -> str:
    if "\udc80" <= char <= "\udcff":  # a byte that is no text, as os.fsdecode carries it
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape").decode()
