"""Refers to a process by a pidfd, so that a reused pid is noticed."""

from __future__ import annotations

import os
import select
from typing import Self

from .. import descriptors


class Process:
    """A process; a context manager that closes its descriptor.

    Args:
        pid: Its number.
        pidfd: A descriptor of it, which the caller keeps; -1: one is opened.

    Raises:
        OSError: ESRCH: there is none.

    Source: pidfd_open(2), Linux 5.3.
    """

    __slots__ = ("_fd", "_is_own", "_is_pidfd", "pid")

    def __init__(self, pid: int, pidfd: int = -1) -> None:
        self.pid = pid
        self._is_own = pidfd < 0
        self._is_pidfd = pidfd >= 0 or hasattr(os, "pidfd_open")
        if pidfd >= 0:
            self._fd = pidfd
        elif self._is_pidfd:
            self._fd = os.pidfd_open(pid)
        else:  # Python was built with an old kernel's headers
            self._fd = os.open(f"/proc/{pid}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def has_ended(self) -> bool:
        """Whether it has ended; a zombie has."""
        if not self._is_pidfd:
            return _has_ended(self._fd)
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        return bool(poll.poll(0))

    def close(self) -> None:
        if self._is_own and self._fd >= 0:
            descriptors.close(self._fd)
        self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _has_ended(folder: int) -> bool:
    """Reads its state by a descriptor of its /proc folder, which a later process with the same pid does not get."""
    try:
        fd = os.open("stat", os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
        try:
            state = os.read(fd, 4096).rpartition(b")")[2].split()[0]  # proc(5): the name before it may contain ")"
        finally:
            descriptors.close(fd)
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state in (b"Z", b"X")
