"""Locks devices by namespace and ifindex, from before the snapshot to the end of the undo: one mover at a time.

Each namespace has one file, JOURNAL_DIR/<its inode>.lock; byte N stands for the device with the ifindex N. The lock
belongs to the open file description (fcntl(2), F_OFD_SETLK) and ends with its holder, however that dies. Such a lock
does not name its holder (F_OFD_GETLK reports -1), so the holder writes its pid into the file: a u32 for each ifindex. A
mover also locks the ifindexes that its devices get in the target. It holds a descriptor of the namespace, so the inode
is not reused meanwhile. The files stay; there are no more of them than namespaces at one time.

Processes with another /run (in another mount namespace) do not exclude each other.
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

WAIT_S = 5.0  # for the current holder: a move of 60 devices takes 1 s
RELEASE_TRIES = 100  # each can be interrupted by a signal
FLOCK = Struct("@hhqqi0q")  # struct flock: l_type, l_whence, l_start, l_len, l_pid
PID = Struct("=I")


class Busy(Exception):
    """Another mover holds a device for longer than this one waits.

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
        """For messages: "is being moved by ..."."""
        return being_moved(self.pid)


def being_moved(pid: int) -> str:
    """For messages about a locked device; `pid` 0: its mover's process is not known."""
    return f"is being moved by process {pid}" if pid else "is being moved by another process"


def mover(pid: int) -> int:
    """The process that wrote this pid; 0: it has ended, so the mover is another one, which has not written its pid.

    The file system was full, or the mover is a recovery.
    """
    return pid if os.path.exists(f"/proc/{pid}") else 0


# Errors that do not concern the directory: another mover may hold locks in it.
_NOT_NOW = (errno.EMFILE, errno.ENFILE, errno.EIO)


class Exclusion:
    """The locks of one mover; a context manager that releases them.

    Args:
        directory: JOURNAL_DIR.
        patience: How long to wait for another mover.
        is_must: Whether an unusable directory is an error; otherwise the mover goes on without locks.
    """

    __slots__ = ("_folder", "_held", "_inodes", "_is_must", "_patience", "directory")

    def __init__(self, patience: Patience, directory: str = JOURNAL_DIR, *, is_must: bool) -> None:
        self.directory = directory
        self._is_must = is_must
        self._patience = patience
        self._folder = -1
        self._inodes: dict[int, int] = {}  # by descriptor, which the caller keeps open
        self._held: dict[int, tuple[int, frozenset[int]]] = {}  # by inode: the file, the ifindexes

    def hold(self, netns: NetNS, ifindexes: Collection[int]) -> bool:
        """Locks more devices of a namespace; False: all of them were held already.

        In ascending order, so that two movers never wait for each other: where one is missing, all are released first,
        and earlier reads of these devices are stale.

        Raises:
            Busy: Another mover holds one of them. None of that namespace is held any more.
            OSError: The directory cannot be used, although `is_must`; no descriptor is left, or the disk fails.
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
            self._held[inode] = fd, wanted  # without locks: not `is_must`
        return True

    def arrive(self, netns: NetNS, ifindexes: Collection[int]) -> None:
        """Locks the ifindexes that devices will have in the target, so that no other mover takes them from there.

        Without waiting, and only those that are free: a mover of other devices may have chosen the same ifindex.
        """
        with contextlib.suppress(OSError):  # where locks are a must, those of the source are held
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
        """Waits until a run of devices is locked."""
        while not _set(fd, fcntl.F_WRLCK, first, count):
            if not self._patience.wait():
                busy = _busy(fd, first, count)
                _set(fd, fcntl.F_UNLCK, 0, 0)
                raise busy
        _sign(fd, first, count)

    def release(self) -> None:
        """Releases all locks, also where a signal handler raises meanwhile; its exception is raised at the end."""
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
        # Unlocked explicitly, and before any file is forgotten: a forked child may share the descriptor.
        for fd, _ in self._held.values():
            if fd >= 0:
                with contextlib.suppress(OSError):  # closing it unlocks it, too
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
    """The ifindexes in ascending order, as runs without gaps: the first of each, and its length."""
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
    """Locks or unlocks (count 0: all); False: another mover holds one of them."""
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, FLOCK.pack(kind, os.SEEK_SET, first, count, 0))
    except OSError as e:
        if e.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise
    return True


def _sign(fd: int, first: int, count: int) -> None:
    with contextlib.suppress(OSError):  # a full file system: then messages say "another process"
        os.pwrite(fd, PID.pack(os.getpid()) * count, first * PID.size)


def _busy(fd: int, first: int, count: int) -> Busy:
    """The device of a run that another mover holds, and the mover's process."""
    asked = FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, first, count, 0)
    kind, _, start, _, _ = FLOCK.unpack(fcntl.fcntl(fd, fcntl.F_OFD_GETLK, asked))
    ifindex = max(start, first) if kind != fcntl.F_UNLCK else first
    written = os.pread(fd, PID.size, ifindex * PID.size)
    return Busy(ifindex, mover(PID.unpack(written)[0]) if len(written) == PID.size else 0)
