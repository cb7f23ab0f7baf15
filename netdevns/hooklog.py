"""Where a hook's errors survive a runtime that drops its stderr. Works without the compiled core, whose loss is one."""

from __future__ import annotations

import os
import time

try:
    import syslog
except ImportError:  # not every Python has it
    syslog = None  # type: ignore[assignment]

from .folders import JOURNAL_DIR
from .names import printable

LOG = f"{JOURNAL_DIR}/hook.log"


def log(lines: list[str], *, is_error: bool = True) -> str | None:
    """Writes to the log file, and to syslog where there is one. Returns what went wrong with the file, or None."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    lines = [printable(line) for line in lines]
    if syslog is not None:
        # syslog's own idea of the name is that of a file: "__main__.py".
        syslog.openlog("netdevns", syslog.LOG_PID, syslog.LOG_DAEMON)
        for line in lines:
            syslog.syslog(syslog.LOG_ERR if is_error else syslog.LOG_NOTICE, line)
    try:
        os.makedirs(JOURNAL_DIR, mode=0o700, exist_ok=True)
        # O_NONBLOCK: a FIFO in its place must not hang a container's start.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        with open(os.open(LOG, flags, 0o600), "a", encoding="utf-8") as file:
            file.write("".join(f"{stamp} {line}\n" for line in lines))
    except OSError as e:
        return f"{LOG}: cannot be written: {e.strerror}"
    return None
