"""Runs a command on a pseudo-terminal and returns its output as a user sees it."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import sys
import termios
from pathlib import Path

TOP = Path(__file__).parents[2]


def on_terminal(columns: int, *command: str, **environment: str) -> tuple[int, str]:
    """Runs Python with these arguments in the calling thread's namespace; its exit code and all that it wrote."""
    pid, fd = pty.fork()
    if pid == 0:
        try:
            os.chdir(TOP)
            termios.tcsetwinsize(0, (40, columns))
            variables = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR")}
            os.execve(
                sys.executable, [sys.executable, *command], {**variables, "TERM": "xterm-256color", **environment}
            )
        finally:
            os._exit(127)
    out = b""
    with contextlib.suppress(OSError):  # EIO is how a pseudo-terminal ends
        while piece := os.read(fd, 1 << 16):
            out += piece
    os.close(fd)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), out.decode().replace("\r\n", "\n")


def letters(text: str) -> str:
    """Without colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)
