"""The store of records: files of a folder below JOURNAL_DIR, each locked by the process that works on it.

A record of a move exists only while the move runs: JOURNAL_DIR/txn/<random>, held under flock(LOCK_EX) by the mover, so
an unlocked one is a crash. It is written before the first change, and once more only where addresses were added after
that: recovery looks where each device *is*. No fsync: it guards against the death of a process; a reboot resets the
devices, and a record of another boot is discarded.
"""

from __future__ import annotations

import binascii
import contextlib
import errno
import fcntl
import os
import time
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator

from .. import descriptors
from ..limits import RECORD_BYTES
from ..netlink import wire
from ..system.folders import MODE_FILE, open_file, open_folder
from .layout import A_CHECKSUM, END, U64, Damaged, Section, parse

TXN = "txn"  # the folder of the records of moves
ASIDE = "aside"  # the folder of those that no move looks at any more
TRIES = 3  # to undo a crashed move, each by another command or hook; then its record is set aside
BEING_WRITTEN_S = 10  # a file without its name that is younger has a writer, perhaps before its flock
UNDO = ".undo"  # a record's suffix
LONGEST = 200  # bytes of a name that others chose, to which something is added; a file name may have 255


class Journal:
    """The directory of the records, opened by `folders.open_folder`.

    Args:
        directory: JOURNAL_DIR, or another one, which belongs to the caller alone.
        create: Make it where it does not exist; otherwise that is FileNotFoundError.
        folder: Which records: those of moves, or of loans.

    Raises:
        OSError: It cannot be made or opened; EPERM: it is another user's, or others may write to it.
    """

    __slots__ = ("directory", "fd", "path")

    def __init__(self, directory: str, *, create: bool, folder: str = TXN) -> None:
        self.directory = os.path.abspath(directory)
        self.path = f"{self.directory}/{folder}"
        self.fd = open_folder(directory, folder, create=create)

    def write(self, parts: list[bytes], instead_of: Record | None = None, name: str = "") -> Record:
        """Writes a record, locked, and then gives it its name: it is never seen half. Raises OSError.

        `instead_of` loses its name to it, and its lock; after an OSError it has both. `name`: its own, or how it
        begins where another record has that one.
        """
        body = b"".join(parts)
        end = wire.message(END, 0, wire.attr(A_CHECKSUM, U64.pack(binascii.crc32(body))))
        if (size := len(body) + len(end)) > RECORD_BYTES:
            raise OSError(
                errno.EFBIG, f"the record of this move would have {size} bytes, at most {RECORD_BYTES} are read"
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
            if instead_of:  # two records of one move, for a moment: both say what it was before
                os.rename(named, instead_of.name, src_dir_fd=self.fd, dst_dir_fd=self.fd)
                record.name = instead_of.name
        except BaseException:
            for each in filter(None, (unnamed, named)):
                with contextlib.suppress(OSError):  # why it could not be written counts
                    os.unlink(each, dir_fd=self.fd)
            descriptors.close(fd)
            raise
        if instead_of:
            instead_of.close()
        return record

    def _unnamed_file(self) -> tuple[int, str]:
        """A file that ends with its writer (O_TMPFILE), and ""; without it, one whose name has a dot."""
        flags = os.O_RDWR | os.O_CLOEXEC
        try:
            return os.open(".", flags | os.O_TMPFILE, MODE_FILE, dir_fd=self.fd), ""
        except OSError as e:
            if e.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
                raise
        name = f".{os.urandom(8).hex()}"
        return os.open(name, flags | os.O_CREAT | os.O_EXCL, MODE_FILE, dir_fd=self.fd), name

    def _give_name(self, fd: int, unnamed: str, name: str) -> str:
        """Links a written file into the folder; returns its name, which no other record had."""
        random = os.urandom(8).hex()
        names = [name, f"{name}~{random}"] if name else [random]
        while True:
            try:
                if unnamed:
                    os.link(unnamed, names[0], src_dir_fd=self.fd, dst_dir_fd=self.fd, follow_symlinks=False)
                    os.unlink(unnamed, dir_fd=self.fd)
                else:  # linkat(2): how a file without a name gets one without CAP_DAC_READ_SEARCH
                    os.link(f"/proc/self/fd/{fd}", names[0], dst_dir_fd=self.fd, follow_symlinks=True)
                return names[0]
            except FileExistsError:
                del names[0]
                if not names:
                    raise

    def crashed(
        self, only: Collection[str] | None = None, wait: Callable[[], bool] = lambda: False
    ) -> Iterator[Record]:
        """The records that nobody holds, each locked by the caller until it is closed; oldest first.

        `only`: those of these names. `wait`: waits a moment for who holds one; False: it was long enough.
        """
        names = [name for name in self.names() if only is None or name in only or name.startswith(".")]
        for written_s, name in self.by_age(names):
            if name.startswith(".") and time.time() - written_s < BEING_WRITTEN_S:
                continue
            record = Record(self, name, -1)
            if not self._lock(record, wait):
                continue
            if name.startswith(".") and not record.problem:  # its writer was killed before anything was changed
                record.drop()
                continue
            yield record

    def _lock(self, record: Record, wait: Callable[[], bool]) -> bool:
        """Opens a record and takes its lock; False: it is held, or gone."""
        while True:
            if not self._open(record, os.O_RDWR):
                return False
            if record.problem:
                return True  # nobody's: reported when it is read
            try:
                fcntl.flock(record.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(record.fd), os.stat(record.name, dir_fd=self.fd, follow_symlinks=False)):
                    return True
            except BlockingIOError:
                pass
            except FileNotFoundError:
                record.close()
                return False
            record.close()  # another process was quicker
            if not wait():
                return False

    def seen(self, names: Iterable[str] | None = None) -> Iterator[Record]:
        """All records, or those of these names, held or not, to be looked at alone: nobody is kept from his by that."""
        for name in sorted(self.names() if names is None else names):
            record = Record(self, name, -1)
            if not name.startswith(".") and self._open(record, os.O_RDONLY):
                yield record
                record.close()

    def running(self) -> int:
        """How many records are held by moves that run."""
        count = 0
        for name in self.names():
            record = Record(self, name, -1)
            if not self._open(record, os.O_RDONLY) or record.problem:
                continue
            try:
                fcntl.flock(record.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                count += 1
            finally:
                record.close()
        return count

    def _open(self, record: Record, flags: int) -> bool:
        """Opens a record, or notes why that is impossible; False: it is gone."""
        try:
            record.fd = open_file(self.fd, record.name, flags, record.path)
        except FileNotFoundError:
            return False
        except OSError as e:
            record.problem = e
        return True

    def names(self) -> list[str]:
        """The files of the folder, in no order."""
        return os.listdir(self.fd)

    def by_age(self, names: Iterable[str]) -> list[tuple[float, str]]:
        """When each was written, and its name; oldest first."""
        return sorted((self._written_s(name), name) for name in names)

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
    """A record that the caller holds; only as long as its journal is open.

    Attributes:
        name: Of its file.
        path: The same with its folder, for messages.
        fd: Its descriptor, which has the lock.
        problem: Why it could not be opened, or None.
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
        """JOURNAL_DIR, or what stands for it."""
        return self._journal.directory

    def data(self) -> bytes:
        """All of it. Raises Damaged: it is no file of ours, or larger than a record can be; OSError."""
        if self.problem:
            raise Damaged(self.problem.strerror) if self.problem.errno == errno.EPERM else self.problem
        if (size := os.fstat(self.fd).st_size) > RECORD_BYTES:
            raise Damaged(f"it has {size} bytes, a record at most {RECORD_BYTES}")
        data = bytearray()
        while len(data) < size and (chunk := os.pread(self.fd, size - len(data), len(data))):
            data += chunk
        return bytes(data)

    def sections(self) -> list[Section]:
        """What is in it. Raises Damaged, OSError."""
        return parse(self.data())

    def drop(self) -> None:
        """Removes it: the move is complete, or undone. One that cannot be (a warning) is emptied, and then ignored."""
        try:
            try:
                os.unlink(self.name, dir_fd=self._journal.fd)
            except OSError:
                if self.fd >= 0:
                    os.ftruncate(self.fd, 0)
                raise
        except OSError as e:
            text = f"{self.path}: the record of this move cannot be removed: {e.strerror}; remove it yourself"
            warnings.warn(text, RuntimeWarning, stacklevel=2)
        finally:
            self.close()

    @property
    def is_to_be_undone(self) -> bool:
        """The mover had decided to undo, so whatever is complete in the target must come back, too."""
        return UNDO in self.name

    def keep(self) -> bool:
        """Leaves it to `recover`: an undo could not put everything back. False: it was removed meanwhile."""
        self._rename(self.name + UNDO, "`netdevns recover` may take the move for complete")
        try:
            os.stat(self.name, dir_fd=self._journal.fd, follow_symlinks=False)
        except FileNotFoundError:
            return False
        except OSError:  # it is there as far as is known
            return True
        return True

    def tried(self) -> str | None:
        """Counts one more try to undo it that failed; after the last one it is set aside: its path there.

        Nothing looks at it any more then: a record that cannot be undone must not stand in the way of every container.
        """
        begin, _, count = self.name.partition(UNDO)
        tries = 1 + (int(count) if count.isdigit() else 0)
        if tries < TRIES:
            self._rename(f"{begin}{UNDO}{tries}", "this try to undo it is not counted")
            return None
        return self.set_aside()

    def set_aside(self) -> str | None:
        """Puts it where only `recover --list` looks, and gives its lock back; its path there, or None (a warning)."""
        directory = self._journal.directory
        try:
            aside = open_folder(directory, ASIDE, create=True)
        except OSError as e:
            text = f"{e.filename or directory}: no record can be set aside there: {e.strerror}"
            warnings.warn(text, RuntimeWarning, stacklevel=2)
            self.close()
            return None
        try:
            begin = os.fsdecode(os.fsencode(self.name.partition(UNDO)[0].lstrip("."))[:LONGEST])
            name = begin + UNDO
            if _exists(name, aside):  # of another folder, such as a loan of the same container
                name = f"{begin}~{os.urandom(8).hex()}{UNDO}"
            return f"{directory}/{ASIDE}/{name}" if self._rename(name, "it is not set aside", aside) else None
        finally:
            descriptors.close(aside)

    def _rename(self, name: str, otherwise: str, folder: int = -1) -> bool:
        """Gives it another name, in another folder if one is given, and its lock back; a warning where that fails."""
        try:
            here = self._journal.fd
            os.rename(self.name, name, src_dir_fd=here, dst_dir_fd=here if folder < 0 else folder)
            self.name = self.name if folder >= 0 else name
            return True
        except OSError as e:
            text = f"{self.path}: cannot be renamed: {e.strerror}; {otherwise}"
            warnings.warn(text, RuntimeWarning, stacklevel=3)
            return False
        finally:
            self.close()

    def close(self) -> None:
        """Gives the lock back. A record that is still there is then one of a crash."""
        if self.fd >= 0:
            descriptors.close(self.fd)
        self.fd = -1
