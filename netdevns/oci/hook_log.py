"""Writes a hook's errors to a log and to syslog, as some runtimes drop stderr; needs no compiled core."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import time

from .. import descriptors, limits
from ..system.folders import JOURNAL_DIR, open_file, open_folder
from ..text.output import complain
from ..text.quote import quoted

NAME = "hook.log"
OLD = f"{NAME}.old"
SYSLOG = "/dev/log"
LOG_DAEMON, LOG_ERR, LOG_NOTICE = 3 << 3, 3, 5  # syslog.h
LOCK_WAIT_S = 0.5  # others hold it for microseconds; a stopped process must not delay a container
STDERR_WAIT_S = 1.0  # for a stopped reader: the log must still be written, and the container waits
SYSLOG_WAIT_S = 0.2  # for all lines of a failure together
PAUSE_S = 0.001


def report(lines: list[str], *, container: str = "", is_error: bool = True) -> None:
    """`log`, if there are lines; where they cannot be logged, stderr gets the reason."""
    unlogged = log(lines, container=container, is_error=is_error) if lines else None
    complain([unlogged] if unlogged else [], 0, STDERR_WAIT_S)


def log(lines: list[str], *, container: str = "", is_error: bool = True) -> str | None:
    """Appends lines to the log and sends them to syslog; returns why the log could not be written, or None.

    Args:
        lines: As `outcome.bounded` returns them.
        container: Its id, which each line begins with; empty: unknown.
        is_error: Otherwise syslog gets them as notices.
    """
    lines = [f"{quoted(container)}: {line}" for line in lines] if container else lines
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    unlogged = None
    try:
        _append("".join(f"{stamp} {line}\n" for line in lines).encode())
    except OSError as e:
        where = "" if e.filename in (None, NAME) else f"{e.filename}: "
        unlogged = f"{JOURNAL_DIR}/{NAME}: cannot be written: {where}{e.strerror}"
    _send(lines, LOG_DAEMON | (LOG_ERR if is_error else LOG_NOTICE))
    return unlogged


def _append(data: bytes) -> None:
    """Appends under a lock, so that hooks that rotate the log at the same time lose no line. Raises OSError."""
    folder = open_folder(JOURNAL_DIR, create=True)
    try:
        end = time.monotonic() + LOCK_WAIT_S
        while not _appended(folder, data):
            if time.monotonic() >= end:
                raise BlockingIOError(errno.EWOULDBLOCK, "another process has locked it")
            time.sleep(PAUSE_S)
    finally:
        descriptors.close(folder)


def _appended(folder: int, data: bytes) -> bool:
    """Whether data was appended; False: another process is writing, or the log was rotated. Raises OSError."""
    fd = open_file(folder, NAME, os.O_WRONLY | os.O_APPEND | os.O_CREAT, NAME)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        status = os.fstat(fd)
        if not status.st_nlink:
            return False  # rotated, and the old file was replaced
        try:
            named = os.stat(NAME, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return False
        if not os.path.samestat(named, status):
            return False
        if status.st_size + len(data) > limits.LOG_BYTES:
            if status.st_size > limits.LOG_BYTES:
                os.ftruncate(fd, limits.LOG_BYTES)  # written by an older version
            os.rename(NAME, OLD, src_dir_fd=folder, dst_dir_fd=folder)
            return False
        while data:
            data = data[os.write(fd, data) :]
        return True
    finally:
        descriptors.close(fd)


def _send(lines: list[str], priority: int) -> None:
    """Sends lines to syslog's socket (RFC 3164, without a time: the daemon adds it).

    syslog(3) blocks until syslogd reads, so a stopped one would delay each container. A missing or full socket is not
    reported: the lines are on stderr and in the log already.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as syslog:
            syslog.connect(SYSLOG)
            end = time.monotonic() + SYSLOG_WAIT_S
            for line in lines:
                data = f"<{priority}>netdevns[{os.getpid()}]: {line}".encode()
                while not _sent(syslog, data):  # the queue has as few as 10 places (net.unix.max_dgram_qlen)
                    if time.monotonic() >= end:
                        return
                    time.sleep(PAUSE_S)
    except OSError:
        return


def _sent(syslog: socket.socket, data: bytes) -> bool:
    try:
        syslog.send(data)
    except BlockingIOError:
        return False
    return True
