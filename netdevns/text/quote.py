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


def command(*words: str) -> str:
    """Words as a shell command inside a message, quoted where needed; a word that is not printable as $'...'.

    Source: POSIX.1-2024, Shell Command Language, 2.2.4 "Dollar-Single-Quotes"; bash and zsh have it, dash does not yet.
    """
    return " ".join(shlex.quote(word) if word.isprintable() else _dollar_quoted(word) for word in words)


def command_line(*words: str) -> str | None:
    """As `command`, for a line of its own; None: not printable, or too long to type."""
    line = command(*words)
    return line if all(word.isprintable() for word in words) and len(line) <= LONGEST_COMMAND else None


def _dollar_quoted(word: str) -> str:
    """Each byte of an unprintable character as three octal digits, which no digit behind them can extend."""
    return "$'" + "".join(f"\\{c}" if c in "\\'" else c if c.isprintable() else _octal(c) for c in word) + "'"


def _octal(char: str) -> str:
    is_byte = "\udc80" <= char <= "\udcff"  # an undecodable byte (os.fsdecode)
    return "".join(f"\\{b:03o}" for b in char.encode("utf-8", "surrogateescape" if is_byte else "surrogatepass"))


def _visible(char: str) -> str:
    if "\udc80" <= char <= "\udcff":  # an undecodable byte (os.fsdecode)
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape").decode()
