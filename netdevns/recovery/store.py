"""Stores records as files below JOURNAL_DIR, each locked by the process that works on it.

The record of a move exists only while the move runs: JOURNAL_DIR/txn/<random>, under flock(LOCK_EX) of the mover. An
unlocked record is a crashed move. It is written before the first change, and again only if addresses were added
meanwhile; it holds no progress, as recovery looks where each device *is*. It is not synced to disk: it guards against
the death of a process. A reboot resets the devices, and records of another boot are discarded.
"""

from __future__ import annotations

import binascii
import contextlib
import errno
import fcntl
import os
import time
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

from .. import descriptors
from ..limits import RECORD_BYTES
from ..netlink import wire
from ..system.folders import MODE_FILE, open_file, open_folder
from .layout import A_CHECKSUM, END, RESTORED, SEQ, U64, Damaged, Section, is_complete, parse

TXN = "txn"  # the folder of the records of moves
ASIDE = "aside"  # the folder of records that moves ignore
TRIES = 3  # to undo a crashed move, each by another command or hook; then its record is set aside
BEING_WRITTEN_S = 10  # a younger temporary file may have a writer that does not hold its flock yet
UNDO = ".undo"  # suffix of a record whose move is to be undone even if it is complete
LONGEST = 200  # bytes of a name that comes from outside; with our suffixes it must fit into 255


FileId = tuple[int, int, int]  # major, minor, inode


def locked_files(proc_locks: str | None = None) -> set[FileId]:
    """The files that processes lock by flock, as far as this process may see those; none where that is unknown.

    Args:
        proc_locks: The text of /proc/locks; None: it is read. Source: proc(5).
    """
    if proc_locks is None:
        try:
            # Not "ascii": that codec is a module, which is loaded here, and a command may be past its imports.
            with open("/proc/locks", encoding="utf-8") as file:
                proc_locks = file.read()
        except OSError:
            return set()
    found = set()
    for line in proc_locks.splitlines():
        words = line.split()
        if len(words) > 5 and words[1] == "FLOCK":
            with contextlib.suppress(ValueError):  # of another form in a later kernel: then nothing counts as locked
                major, minor, inode = words[5].split(":")
                found.add((int(major, 16), int(minor, 16), int(inode)))
    return found


class Journal:
    """A folder of records, opened by `folders.open_folder`.

    Args:
        directory: JOURNAL_DIR, or another directory that only the caller may write to.
        create: Create a missing folder, instead of raising FileNotFoundError.
        folder: TXN, or the folder of the loans, ...

    Raises:
        OSError: It cannot be created or opened; EPERM: another user owns it or may write to it.
    """

    __slots__ = ("directory", "fd", "path")

    def __init__(self, directory: str, *, create: bool, folder: str = TXN) -> None:
        self.directory = os.path.abspath(directory)
        self.path = f"{self.directory}/{folder}"
        self.fd = open_folder(directory, folder, create=create)

    def write(self, parts: list[bytes], instead_of: Record | None = None, name: str = "") -> Record:
        """Writes a locked record and names it last, so that no reader sees half of it.

        `instead_of`: the record that it replaces; after an OSError that one keeps its name and lock. `name`: the file
        name, to which a suffix is added if it is taken. Raises OSError, with the path of the folder.
        """
        try:
            return self._write(parts, instead_of, name)
        except OSError as e:  # names a file relative to the folder, or its descriptor
            raise OSError(e.errno, e.strerror, self.path) from None

    def _write(self, parts: list[bytes], instead_of: Record | None, name: str) -> Record:
        body = b"".join(parts)
        end = wire.message(END, 0, wire.attr(A_CHECKSUM, U64.pack(binascii.crc32(body))))
        if (size := len(body) + len(end)) > RECORD_BYTES:
            raise OSError(
                errno.EFBIG, f"the record of this move would have {size} bytes; at most {RECORD_BYTES} are allowed"
            )
        fd, unnamed = self._unnamed_file()
        named = ""
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            data = memoryview(body + end)
            while data:
                data = data[os.write(fd, data) :]
            named = self._give_name(fd, unnamed, instead_of.name if instead_of else name)
            record = Record(self, named, fd)
            if instead_of:  # until then the move has two records; either is enough for an undo
                os.rename(named, instead_of.name, src_dir_fd=self.fd, dst_dir_fd=self.fd)
                record.name = instead_of.name
        except BaseException:
            for each in filter(None, (unnamed, named)):
                with contextlib.suppress(OSError):  # the first error is the one to report
                    os.unlink(each, dir_fd=self.fd)
            descriptors.close(fd)
            raise
        if instead_of:
            instead_of.close()
        return record

    def _unnamed_file(self) -> tuple[int, str]:
        """Creates a file without a name (O_TMPFILE), which vanishes with its writer; else one with a dot name."""
        flags = os.O_RDWR | os.O_CLOEXEC
        try:
            return os.open(".", flags | os.O_TMPFILE, MODE_FILE, dir_fd=self.fd), ""
        except OSError as e:
            if e.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
                raise
        name = f".{os.urandom(8).hex()}"
        return os.open(name, flags | os.O_CREAT | os.O_EXCL, MODE_FILE, dir_fd=self.fd), name

    def _give_name(self, fd: int, unnamed: str, name: str) -> str:
        """Links a written file into the folder under a free name, and returns the name."""
        random = os.urandom(8).hex()
        names = [name, f"{name}~{random}"] if name else [random]
        while True:
            try:
                if unnamed:
                    os.link(unnamed, names[0], src_dir_fd=self.fd, dst_dir_fd=self.fd, follow_symlinks=False)
                    os.unlink(unnamed, dir_fd=self.fd)
                else:  # linkat(2): the way to name an O_TMPFILE without CAP_DAC_READ_SEARCH
                    os.link(f"/proc/self/fd/{fd}", names[0], dst_dir_fd=self.fd, follow_symlinks=True)
                return names[0]
            except FileExistsError:
                del names[0]
                if not names:
                    raise

    def crashed(
        self, only: Collection[str] | None = None, wait: Callable[[], bool] = lambda: False
    ) -> Iterator[Record]:
        """The unlocked records; each is locked until the caller closes it.

        The newest first: where two records name a device, the older one has its first state.

        `only`: records with these names. `wait`: waits a moment for a locked one; returns False when time is up.
        """
        names = [name for name in self.names() if only is None or name in only or name.startswith(".")]
        for written_s, name in self.newest_first(names):
            if name.startswith(".") and time.time() - written_s < BEING_WRITTEN_S:
                continue
            record = Record(self, name, -1)
            if not self._lock(record, wait):
                continue
            if name.startswith(".") and not record.problem:  # the writer was killed before it changed anything
                record.drop()
                continue
            yield record

    def _lock(self, record: Record, wait: Callable[[], bool]) -> bool:
        """Opens a record and takes its lock; False: another process holds it, or it is gone."""
        while True:
            if not self._open(record, os.O_RDWR):
                return False
            if record.problem:
                return True  # cannot be locked; reported when it is read
            try:
                fcntl.flock(record.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(record.fd), os.stat(record.name, dir_fd=self.fd, follow_symlinks=False)):
                    return True
            except BlockingIOError:
                pass
            except FileNotFoundError:
                record.close()
                return False
            record.close()  # locked, or replaced, by another process
            if not wait():
                return False

    def seen(self, names: Iterable[str] | None = None) -> Iterator[Record]:
        """All records, or those with these names, for reading only: without their locks."""
        for name in sorted(self.names() if names is None else names):
            record = Record(self, name, -1)
            if not name.startswith(".") and self._open(record, os.O_RDONLY):
                yield record
                record.close()

    def running(self) -> Iterator[Record]:
        """The locked records, of moves that run, for reading only: takes no lock."""
        locked = locked_files()
        return (record for record in self.seen() if record.is_one_of(locked))

    def killed(self) -> Iterator[Record]:
        """The records that no process locks, for reading only, as `seen`: takes no lock."""
        locked = locked_files()
        return (record for record in self.seen() if not record.is_one_of(locked))

    def _open(self, record: Record, flags: int) -> bool:
        """Opens a record, or stores the error in `problem`; False: it is gone."""
        try:
            record.fd = open_file(self.fd, record.name, flags, record.path)
        except FileNotFoundError:
            return False
        except OSError as e:
            record.problem = e
        return True

    def names(self) -> list[str]:
        """The file names in the folder, in any order."""
        return os.listdir(self.fd)

    def newest_first(self, names: Iterable[str]) -> list[tuple[float, str]]:
        """Time of writing and name of each."""
        return sorted(((self._written_s(name), name) for name in names), reverse=True)

    def _written_s(self, name: str) -> float:
        try:
            return os.stat(name, dir_fd=self.fd, follow_symlinks=False).st_mtime
        except FileNotFoundError:
            return 0

    def close(self) -> None:
        descriptors.close(self.fd)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _exists(name: str, folder: int) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


class Record:
    """One record; usable while its journal is open.

    Attributes:
        name: The file name.
        path: The whole path, for messages.
        fd: The open file, which carries the lock.
        problem: The error that prevented opening it, or None.
    """

    __slots__ = ("_journal", "fd", "name", "problem")

    def __init__(self, journal: Journal, name: str, fd: int) -> None:
        self._journal = journal
        self.name = name
        self.fd = fd
        self.problem: OSError | None = None

    @property
    def path(self) -> str:
        return f"{self._journal.path}/{self.name}"

    @property
    def directory(self) -> str:
        """JOURNAL_DIR, or another directory in its place."""
        return self._journal.directory

    def data(self) -> bytes:
        """The content. Raises Damaged: the file is not ours, or too large; OSError."""
        if self.problem:
            raise Damaged(self.problem.strerror) if self.problem.errno == errno.EPERM else self.problem
        if (size := os.fstat(self.fd).st_size) > RECORD_BYTES:
            raise Damaged(f"it has {size} bytes, more than {RECORD_BYTES}")
        data = bytearray()
        while len(data) < size and (chunk := os.pread(self.fd, size - len(data), len(data))):
            data += chunk
        return bytes(data)

    def sections(self) -> list[Section]:
        """The parsed content. Raises Damaged, OSError."""
        return parse(self.data())

    def is_one_of(self, files: Collection[FileId]) -> bool:
        """Whether it is one of these files; False where it cannot be opened."""
        if self.problem:
            return False
        status = os.fstat(self.fd)
        return (os.major(status.st_dev), os.minor(status.st_dev), status.st_ino) in files

    def is_complete(self) -> bool:
        """Whether its mover verified that all devices had arrived, as the C library notes. Raises Damaged, OSError."""
        return is_complete(self.data())

    def shorten(self, parts: list[bytes], restored: Sequence[Section]) -> None:
        """Replaces the content by one without the restored devices, and closes it.

        On failure, as in a full /run, it marks them in the file, which needs no space. Warns if that fails, too: the
        next call restores them again.
        """
        try:
            self._journal.write(parts, self).close()
            return
        except OSError:
            pass
        try:
            for each in restored:  # 4 bytes, which no kill cuts
                os.pwrite(self.fd, wire.U32.pack(RESTORED), each.at + SEQ)
        except OSError as e:
            text = f"{self.path}: cannot be written: {e.strerror}; the next call restores all its devices again"
            warnings.warn(text, RuntimeWarning, stacklevel=2)
        finally:
            self.close()

    def drop(self) -> None:
        """Removes the record: its move is complete or undone. If that fails, empties it, to disable it, and warns."""
        try:
            try:
                os.unlink(self.name, dir_fd=self._journal.fd)
            except OSError:
                if self.fd >= 0:
                    os.ftruncate(self.fd, 0)
                raise
        except FileNotFoundError:
            pass  # another process removed it, perhaps with its folder
        except OSError as e:
            text = f"{self.path}: cannot remove the record of this move: {e.strerror}; remove it yourself"
            warnings.warn(text, RuntimeWarning, stacklevel=2)
        finally:
            self.close()

    @property
    def is_to_be_undone(self) -> bool:
        """Whether the mover had decided to undo, so that devices that are complete in the target return, too."""
        return UNDO in self.name

    def keep(self) -> bool:
        """Keeps the record for `recover`, as the undo was incomplete. False: it was removed meanwhile."""
        self._rename(self.name + UNDO, "`netdevns recover` may consider the move complete")
        try:
            return _exists(self.name, self._journal.fd)
        except OSError:  # assume that it does
            return True

    def tried(self) -> str | None:
        """Counts a failed try to undo it; sets it aside after the last one, and returns its path there.

        From then on moves ignore it: a record that cannot be undone must not block every later container.
        """
        begin, _, count = self.name.partition(UNDO)
        tries = 1 + (int(count) if count.isdigit() else 0)
        if tries < TRIES:
            self._rename(f"{begin}{UNDO}{tries}", "this try is not counted")
            return None
        return self.set_aside()

    def set_aside(self) -> str | None:
        """Moves it to the folder ASIDE, which only `recover --list` reads; returns the new path, or warns: None."""
        directory = self._journal.directory
        try:
            aside = open_folder(directory, ASIDE, create=True)
        except OSError as e:
            text = f"{e.filename or directory}: cannot set a record aside there: {e.strerror}"
            warnings.warn(text, RuntimeWarning, stacklevel=2)
            self.close()
            return None
        try:
            begin = os.fsdecode(os.fsencode(self.name.partition(UNDO)[0].lstrip("."))[:LONGEST])
            name = begin + UNDO
            if _exists(name, aside):  # from another folder: a loan of the same container, for one
                name = f"{begin}~{os.urandom(8).hex()}{UNDO}"
            return f"{directory}/{ASIDE}/{name}" if self._rename(name, "it is not set aside", aside) else None
        finally:
            descriptors.close(aside)

    def _rename(self, name: str, otherwise: str, folder: int = -1) -> bool:
        """Renames it, into another folder if one is given, and closes it; warns on failure."""
        try:
            here = self._journal.fd
            os.rename(self.name, name, src_dir_fd=here, dst_dir_fd=here if folder < 0 else folder)
            self.name = self.name if folder >= 0 else name
            return True
        except OSError as e:
            text = f"{self.path}: cannot rename it: {e.strerror}; {otherwise}"
            warnings.warn(text, RuntimeWarning, stacklevel=3)
            return False
        finally:
            self.close()

    def close(self) -> None:
        """Releases the lock. A record that still exists then counts as a crashed move."""
        if self.fd >= 0:
            descriptors.close(self.fd)
        self.fd = -1
