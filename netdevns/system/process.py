"""A process that is held: as long as this is open, its number is not another one's unseen."""

from __future__ import annotations

import os
import select
from typing import Self

from .. import descriptors


class Process:
    """A process; a context manager that closes its descriptor.

    Args:
        pid: Its number.
        pidfd: The caller's descriptor of it, which stays the caller's; -1: one is opened.

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
        else:  # a Python that was built with the headers of an old kernel
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
    """By its folder below /proc, which a later process with its number does not get."""
    try:
        fd = os.open("stat", os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
        try:
            state = os.read(fd, 4096).rpartition(b")")[2].split()[0]  # proc(5): behind the name, which may be anything
        finally:
            descriptors.close(fd)
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state in (b"Z", b"X")
