"""One mover at a time: devices are locked by namespace and ifindex, from before the snapshot to the end of the undo.

JOURNAL_DIR/<inode of the namespace>.lock, one file for each namespace: its byte N is the device with the ifindex N,
under a lock of the open file description (fcntl(2), F_OFD_SETLK), which ends with its holder, however that dies. Such a
lock names no holder (F_OFD_GETLK says -1), so the holder writes its pid into the file: a u32 for each ifindex. A mover
also has the numbers that its devices get in the target. The inode of a namespace that a mover works in is not used
again meanwhile: a descriptor keeps it alive. The files stay; there are no more of them than namespaces at one time.

Callers with another /run (a mount namespace of their own) do not meet.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Collection, Iterator
from struct import Struct

from .. import descriptors
from .folders import JOURNAL_DIR, open_file, open_folder
from .interrupts import Patience
from .netns import NetNS

WAIT_S = 5.0  # for who was first: a move of 60 devices takes 1 s
RELEASE_TRIES = 100  # as many signals in a row
FLOCK = Struct("@hhqqi0q")  # struct flock: l_type, l_whence, l_start, l_len, l_pid
PID = Struct("=I")


class Busy(Exception):
    """Another mover has a device for longer than this one waits.

    Attributes:
        ifindex: The device's, in its namespace.
        pid: The holder's process; 0: not known.
    """

    def __init__(self, ifindex: int, pid: int) -> None:
        super().__init__(ifindex, pid)
        self.ifindex = ifindex
        self.pid = pid

    @property
    def words(self) -> str:
        """What is said of the device."""
        return being_moved(self.pid)


def being_moved(pid: int) -> str:
    """What is said of a device that another mover has; 0: whose process is not known."""
    return f"is being moved by process {pid}" if pid else "is being moved by another process"


def mover(pid: int) -> int:
    """The process that wrote this number; 0: it has ended, so another one is the mover.

    That may have had no room to write its own number, or is a recovery.
    """
    return pid if os.path.exists(f"/proc/{pid}") else 0


# Not of the directory: another mover has them perhaps.
_NOT_NOW = (errno.EMFILE, errno.ENFILE, errno.EIO)


class Exclusion:
    """The locks of one mover; a context manager that gives them back.

    Args:
        directory: JOURNAL_DIR.
        patience: How long to wait for another mover.
        is_must: Whether to go on without locks where the directory cannot be used is forbidden.
    """

    __slots__ = ("_folder", "_held", "_inodes", "_is_must", "_patience", "directory")

    def __init__(self, patience: Patience, directory: str = JOURNAL_DIR, *, is_must: bool) -> None:
        self.directory = directory
        self._is_must = is_must
        self._patience = patience
        self._folder = -1
        self._inodes: dict[int, int] = {}  # by descriptor, which its owner keeps open
        self._held: dict[int, tuple[int, frozenset[int]]] = {}  # by inode: the file, the ifindexes

    def hold(self, netns: NetNS, ifindexes: Collection[int]) -> bool:
        """Takes devices of a namespace besides those that are held; False: all of them were, nothing has changed.

        In ascending order, so that two movers never wait for each other: where one is missing all are given back first,
        and what was read of them before is old.

        Raises:
            Busy: Another mover has one of them. None of that namespace is held any more.
            OSError: The directory cannot be used, and must be; or there is no descriptor left, or the disk fails.
        """
        inode = self._inode(netns)
        fd, held = self._held.get(inode, (-1, frozenset()))
        wanted = held | {*ifindexes}
        if wanted == held:
            return False
        try:
            if fd < 0:
                fd = self._open(inode)
            elif held:
                _set(fd, fcntl.F_UNLCK, 0, 0)
            self._held[inode] = fd, frozenset()
            for first, count in _runs(wanted):
                self._wait(fd, first, count)
            self._held[inode] = fd, wanted
        except OSError as e:
            if self._is_must or e.errno in _NOT_NOW:
                raise
            self._held[inode] = fd, wanted  # unlocked: the best that can be had here
        return True

    def arrive(self, netns: NetNS, ifindexes: Collection[int]) -> None:
        """Takes the numbers that devices will have in the target: who finds one there must not take it along.

        Without waiting, and as far as they are free: another mover of other devices may have chosen the same number.
        """
        with contextlib.suppress(OSError):  # where locks must be had, those of the source are
            inode = self._inode(netns)
            if inode in self._held:  # the source is the target: refused by the checks
                return
            fd = self._open(inode)
            self._held[inode] = fd, frozenset(ifindexes)
            for first, count in _runs({*ifindexes} - {0}):
                if _set(fd, fcntl.F_WRLCK, first, count):
                    _sign(fd, first, count)

    def _inode(self, netns: NetNS) -> int:
        inode = self._inodes.get(netns.fd)
        if inode is None:
            inode = self._inodes[netns.fd] = os.fstat(netns.fd).st_ino
        return inode

    def _open(self, inode: int) -> int:
        if self._folder < 0:
            self._folder = open_folder(self.directory, create=True)
        name = f"{inode}.lock"
        return open_file(self._folder, name, os.O_RDWR | os.O_CREAT, f"{self.directory}/{name}")

    def _wait(self, fd: int, first: int, count: int) -> None:
        """Until a run of devices is ours."""
        while not _set(fd, fcntl.F_WRLCK, first, count):
            if not self._patience.wait():
                busy = _busy(fd, first, count)
                _set(fd, fcntl.F_UNLCK, 0, 0)
                raise busy
        _sign(fd, first, count)

    def release(self) -> None:
        """Gives all back, also where a signal's handler raises meanwhile, which is raised in the end."""
        struck: BaseException | None = None
        for _ in range(RELEASE_TRIES):
            try:
                self._release()
                break
            except BaseException as e:
                struck = e
        if struck is not None:
            raise struck

    def _release(self) -> None:
        # Explicitly, not by closing alone: a forked child may have the descriptor, too. And before one is forgotten.
        for fd, _ in self._held.values():
            if fd >= 0:
                with contextlib.suppress(OSError):  # its end unlocks it, too
                    _set(fd, fcntl.F_UNLCK, 0, 0)
        while self._held:
            _, (fd, _) = self._held.popitem()
            if fd >= 0:
                descriptors.close(fd)
        self._inodes.clear()
        if self._folder >= 0:
            descriptors.close(self._folder)
            self._folder = -1

    def __enter__(self) -> Exclusion:
        return self

    def __exit__(self, *exc: object) -> None:
        self.release()


def _runs(ifindexes: Collection[int]) -> Iterator[tuple[int, int]]:
    """The numbers in ascending order, as runs without gaps: where each begins, and how long it is."""
    first = last = -1
    for ifindex in sorted(ifindexes):
        if ifindex != last + 1 or first < 0:
            if first >= 0:
                yield first, last - first + 1
            first = ifindex
        last = ifindex
    if first >= 0:
        yield first, last - first + 1


def _set(fd: int, kind: int, first: int, count: int) -> bool:
    """Locks or unlocks (count 0: all); False: somebody else has one of them."""
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, FLOCK.pack(kind, os.SEEK_SET, first, count, 0))
    except OSError as e:
        if e.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise
    return True


def _sign(fd: int, first: int, count: int) -> None:
    with contextlib.suppress(OSError):  # a full file system: then nobody reads whose it is ("another process")
        os.pwrite(fd, PID.pack(os.getpid()) * count, first * PID.size)


def _busy(fd: int, first: int, count: int) -> Busy:
    """Which device of a run another mover has, and whose process that is."""
    asked = FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, first, count, 0)
    kind, _, start, _, _ = FLOCK.unpack(fcntl.fcntl(fd, fcntl.F_OFD_GETLK, asked))
    ifindex = max(start, first) if kind != fcntl.F_UNLCK else first
    written = os.pread(fd, PID.size, ifindex * PID.size)
    return Busy(ifindex, mover(PID.unpack(written)[0]) if len(written) == PID.size else 0)
