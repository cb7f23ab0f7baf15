"""What the command says on stdout and stderr, and which signals end it: the edge to the terminal."""

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
    """A warning is a fact like others: one line, without the place in our code. `wait_s`: as for `complain`."""
    warnings.showwarning = lambda message, *_: complain([str(message)], 0, wait_s)  # type: ignore[assignment]


def print_any_name() -> None:
    """A name may have letters that stdout's encoding lacks: they must not end the command when they are printed."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")


def complain(lines: list[str], code: int, wait_s: float | None = None) -> int:
    """Writes lines to stderr, one a fact, names made printable; a stderr without a reader does not change the code.

    Args:
        lines: Without "netdevns: ".
        code: What is returned.
        wait_s: How long to wait for a reader of a full pipe, all lines together; then the rest is dropped. None: for
            ever, as people expect of a pager.
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

    A pipe that is not full takes 4 KiB (pipe(7), PIPE_BUF; fs/pipe.c, pipe_poll), ten lines of a hook. O_NONBLOCK would
    be for all who have stderr open, the runtime included.
    """
    try:
        poll = select.poll()
        poll.register(sys.stderr.fileno(), select.POLLOUT)
        return bool(poll.poll(max(0, end - time.monotonic()) * 1000))
    except (OSError, ValueError):  # no descriptor (io.UnsupportedOperation): as without
        return True


def tell(text: str) -> None:
    """Tells on stdout what is fit to print; that nobody reads it does not change what was done, nor the exit code."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except OSError as e:
        _nobody_reads(1)
        if not isinstance(e, BrokenPipeError):
            complain([f"stdout: {e.strerror}"], 0)


def _nobody_reads(fd: int) -> None:
    """The reader went away: what is still buffered must not make Python complain at its end, with an exit code."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), fd)


def print_json(document: Mapping[str, object]) -> None:
    tell(json.dumps(document, indent=2))


def internal(e: Exception) -> str:
    """An error that should not be, with its place: a traceback is not for users."""
    where = e.__traceback__
    while where is not None and where.tb_next is not None:
        where = where.tb_next
    place = f"{os.path.basename(where.tb_frame.f_code.co_filename)}:{where.tb_lineno}" if where else "?"
    return f"internal error at {place}: {type(e).__name__}: {e}; please report it"


def end_by_exception() -> None:
    """SIGTERM and SIGHUP end a command like Ctrl-C does, so that it tidies up: they become an exception."""

    def end(number: int, frame: object) -> None:  # noqa: ARG001  # the signature of a handler
        raise SystemExit(128 + number)

    try:
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
                signal.signal(number, end)
    except ValueError:
        return  # not the main thread (an embedder calls main): signals are not ours to handle
