"""Writes the command's output to stdout and stderr, and turns signals that end it into exceptions."""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
import warnings
from collections.abc import Mapping

from .quote import printable


def warn_in_a_line(wait_s: float | None = None) -> None:
    """Prints Python warnings as one line, without a place in the code. `wait_s`: as for `complain`."""
    warnings.showwarning = lambda message, *_: complain([str(message)], 0, wait_s)  # type: ignore[assignment]


def print_any_name() -> None:
    """Escapes characters that stdout's encoding lacks, so that printing a name never fails."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")


def complain(lines: list[str], code: int, wait_s: float | None = None) -> int:
    """Writes lines to stderr, one a fact, made printable; returns `code`, also where nothing reads stderr.

    Args:
        lines: Without "netdevns: ".
        code: The exit code.
        wait_s: Seconds to wait for the reader of a full pipe, for all lines together; then the rest is dropped. None:
            no limit, as a pager needs.
    """
    if sys.stderr is None:
        return code
    end = None if wait_s is None else time.monotonic() + wait_s
    try:
        for line in lines:
            if end is not None and not _has_room(end):
                break
            sys.stderr.write(f"netdevns: {printable(line)}\n")
            sys.stderr.flush()
    except OSError:
        _nobody_reads(2)
    return code


def _has_room(end: float) -> bool:
    """Whether stderr takes a line before a time of the monotonic clock.

    A pipe that poll reports as writable takes 4 KiB (pipe(7), PIPE_BUF; fs/pipe.c, pipe_poll), ten lines of a hook.
    O_NONBLOCK is no alternative: the flag belongs to the open file, which the runtime shares.
    """
    try:
        poll = select.poll()
        poll.register(sys.stderr.fileno(), select.POLLOUT)
        return bool(poll.poll(max(0, end - time.monotonic()) * 1000))
    except (OSError, ValueError):  # no descriptor (io.UnsupportedOperation): nothing can be full
        return True


def print_text(text: str) -> bool:
    """Writes printable text to stdout; False: it cannot be written, as stderr says.

    A reader that has gone wants no more of it: that is no failure.
    """
    if sys.stdout is None:
        return True
    try:
        _write(f"{text}\n")
    except OSError as e:
        _nobody_reads(1)
        if not isinstance(e, BrokenPipeError):
            complain([f"stdout: {e.strerror}"], 0)
            return False
    return True


def _write(text: str) -> None:
    """Writes all of it to stdout, also to a pipe that is not blocking, of which Python would write a part."""
    try:
        fd = sys.stdout.fileno()
    except (OSError, ValueError):  # no descriptor (io.UnsupportedOperation)
        fd = -1
    if fd < 0:
        sys.stdout.write(text)
        sys.stdout.flush()
        return
    sys.stdout.flush()
    data = text.encode(sys.stdout.encoding, sys.stdout.errors or "strict")
    while data:
        try:
            data = data[os.write(fd, data) :]
        except BlockingIOError:
            select.select([], [fd], [])


def _nobody_reads(fd: int) -> None:
    """Redirects a descriptor without a reader: Python's flush at exit would fail and change the exit code."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), fd)


def print_json(document: Mapping[str, object]) -> bool:
    return print_text(json.dumps(document, indent=2))


def internal(e: Exception) -> str:
    """An unexpected error as one line with its place; users get no traceback. Too little memory is not ours to mend."""
    if isinstance(e, MemoryError):
        return "too little memory"
    where = e.__traceback__
    while where is not None and where.tb_next is not None:
        where = where.tb_next
    place = f"{os.path.basename(where.tb_frame.f_code.co_filename)}:{where.tb_lineno}" if where else "?"
    return f"internal error at {place}: {type(e).__name__}: {e}; please report it"


def end_by_exception() -> None:
    """Turns SIGTERM and SIGHUP into an exception, as Ctrl-C is, so that the command cleans up."""

    def end(number: int, frame: object) -> None:  # noqa: ARG001  # the signature of a handler
        raise SystemExit(128 + number)

    try:
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
                signal.signal(number, end)
    except ValueError:
        return  # not the main thread (an embedder calls main): signals are not ours to handle
