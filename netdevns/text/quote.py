"""Makes names and values from outside printable for messages and for the shell."""

import shlex

from .. import limits

LONGEST_COMMAND = 500  # characters; nobody types more


def shown(name: bytes) -> str:
    """A name for a message: undecodable bytes escaped, long names shortened."""
    return quoted(name.decode("utf-8", "backslashreplace"))


def quoted(text: str) -> str:
    """A value from outside for a message: printable, and shortened where it is longer than any name."""
    if len(text) <= limits.QUOTED:
        return printable(text)
    return f"{printable(text[: limits.QUOTED // 2])}\N{HORIZONTAL ELLIPSIS} ({len(text)} characters)"


def printable(text: str) -> str:
    """A text from outside as one line for a terminal or a log, control characters escaped."""
    return text if text.isprintable() else "".join(c if c.isprintable() else _visible(c) for c in text)


def command_line(*words: str) -> str | None:
    """Words as a shell command, quoted where needed; None: not printable, or too long to type."""
    line = shlex.join(words)
    return line if line.isprintable() and len(line) <= LONGEST_COMMAND else None


def _visible(char: str) -> str:
    if "\udc80" <= char <= "\udcff":  # an undecodable byte (os.fsdecode)
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape").decode()
