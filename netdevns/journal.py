"""Records of running moves: what another process needs to undo one whose own process was killed.

A record exists only while a move runs: JOURNAL_DIR/txn/<random>, held under flock(LOCK_EX) by the mover, so an unlocked
one is a crash. It is written before the first change, and once more only where somebody added addresses after that:
recovery looks where each device *is*. No fsync: it guards against the death of a process; a reboot resets the devices,
and a record of another boot is discarded.

A record is a row of netlink messages: ours (types from RECORD on) say what follows, and the kernel's own, as they were
dumped, are the snapshot. The last one has a checksum of all before it: a torn or damaged record is told, not obeyed.
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
from struct import Struct

from . import uapi, wire
from .folders import MODE_FILE, only_ours, open_folder

RECORD = 0xF000
HEAD, SOURCE, TARGET, DEVICE, UPPER, ROUTES, NEXTHOPS, NEIGHBOURS, PROXIES, PORT, END = range(RECORD, RECORD + 11)
FDB, NEIGHPARMS, LOAN, MASTER = range(RECORD + 11, RECORD + 15)
VERSION = 1
A_VERSION, A_BOOT, A_CHECKSUM, A_PRESERVE, A_LENDS, A_PID = range(1, 7)  # of HEAD and END
A_WHERE, A_COOKIE, A_DEV, A_INO, A_OF_PID, A_OF_START = range(1, 7)  # of SOURCE and TARGET
A_HOST_NAME, A_IFNAME, A_WANTED, A_IFINDEX, A_ASKED, A_UNSURE, A_DEPTH = range(1, 8)  # of DEVICE and UPPER
A_TOKEN, A_QDISCS = 8, 9  # of the same, where there is any
A_VLANS = 10  # of PORT, which has A_IFINDEX, too; MASTER has the port's
A_CONTAINER, A_LENT_MS = range(1, 3)  # of LOAN
TXN = "txn"  # the folder of the records of moves
ASIDE = "aside"  # the folder of those that no move looks at any more
TRIES = 3  # to undo a crashed move, each by another command or hook; then its record is set aside
U64 = Struct("=Q")
NUMBER = Struct("=HHQ")  # an attribute of 12 bytes
BOOT_ID = "/proc/sys/kernel/random/boot_id"
BEING_WRITTEN_S = 10  # a file without its name that is younger has a writer, perhaps before its flock
UNDO = ".undo"  # a record's suffix


class Damaged(ValueError):
    """A record that is torn, or not ours, or of another version."""


class Section:
    """One of our messages, with the kernel's messages that follow it."""

    __slots__ = ("_attrs", "body", "type")

    def __init__(self, type_: int, attrs: dict[int, memoryview]) -> None:
        self.type = type_
        self._attrs = attrs
        self.body = bytearray()  # the kernel's messages

    def number(self, type_: int) -> int:
        data = self._attrs.get(type_, memoryview(b""))
        if len(data) != U64.size:
            raise Damaged("a number is missing in it")
        return int(U64.unpack(data)[0])

    def ifindex(self, type_: int) -> int:
        found = self.number(type_)
        if found > 0x7FFFFFFF:
            raise Damaged("an ifindex in it is none")
        return found

    def text(self, type_: int) -> bytes:
        if type_ not in self._attrs:
            raise Damaged("a name is missing in it")
        return bytes(self._attrs[type_])

    def optional(self, type_: int) -> bytes | None:
        return bytes(self._attrs[type_]) if type_ in self._attrs else None

    def parts(self) -> list[bytes]:
        """As `section` made it."""
        return section(self.type, {type_: bytes(data) for type_, data in self._attrs.items()}, bytes(self.body))


def section(type_: int, attrs: dict[int, int | bytes], *dumped: bytes) -> list[bytes]:
    """One of our messages; numbers are kept as 64 bits."""
    number, text = NUMBER.pack, wire.attr
    packed = [text(t, v) if isinstance(v, bytes) else number(12, t, v & 0xFFFFFFFFFFFFFFFF) for t, v in attrs.items()]
    return [wire.message(type_, 0, b"".join(packed)), *dumped]


def head(preserve: Iterable[str], *, lends: int = 0) -> list[bytes]:
    """`lends`: the number that the loan has, too, which is written when all has arrived; 0: none is."""
    attrs: dict[int, int | bytes] = {A_VERSION: VERSION, A_BOOT: boot_id(), A_PRESERVE: " ".join(preserve).encode()}
    attrs[A_PID] = os.getpid()
    return section(HEAD, attrs | {A_LENDS: lends} if lends else attrs)


_boot_id = b""


def boot_id() -> bytes:
    """Of this boot; read once, as no process outlives it."""
    global _boot_id
    if not _boot_id:
        fd = os.open(BOOT_ID, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _boot_id = os.read(fd, 64).strip()
        finally:
            uapi.close(fd)
    return _boot_id


def parse(data: bytes) -> list[Section]:
    """The sections of a record, END left out. Raises Damaged."""
    found: list[Section] = []
    seen = 0
    try:
        for message in wire.messages(data):
            if message.type >= RECORD:
                found.append(Section(message.type, wire.attrs(message.body)))
            elif not found:
                raise Damaged("it does not begin as a record does")
            else:
                found[-1].body += message.padded()
            if message.type == END:
                if found[-1].number(A_CHECKSUM) != binascii.crc32(data[:seen]):
                    raise Damaged("its checksum is wrong")
                break
            seen += len(message.padded())
    except wire.Malformed as e:
        raise Damaged(str(e)) from None
    if not found or found[0].type != HEAD or found[-1].type != END:
        raise Damaged("it has no end: its writer was killed before it changed anything")
    if found[0].number(A_VERSION) != VERSION:
        raise Damaged("it is of another version of netdevns")
    return found[:-1]


class Journal:
    """The directory of the records, opened safely: no symbolic link is followed, and nobody else may write in it.

    Args:
        directory: JOURNAL_DIR, or another one, which belongs to the caller alone.
        create: Make it where it does not exist; otherwise that is FileNotFoundError.
        folder: Which records: those of moves, or of loans.

    Raises:
        OSError: It cannot be made or opened; EPERM: it is somebody else's, or others may write in it.
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
                record.name, record.path = instead_of.name, instead_of.path
        except BaseException:
            for each in filter(None, (unnamed, named)):
                with contextlib.suppress(OSError):  # why it could not be written counts
                    os.unlink(each, dir_fd=self.fd)
            uapi.close(fd)
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
        for written_s, name in sorted((self._written_s(name), name) for name in self._names()):
            if name.startswith(".") and time.time() - written_s < BEING_WRITTEN_S:
                continue
            record = Record(self, name, -1)
            is_asked_for = only is None or name in only or name.startswith(".")
            if not is_asked_for or not self._lock(record, name, wait):
                continue
            if name.startswith("."):  # its writer was killed before anything was changed
                record.drop()
                continue
            yield record

    def _lock(self, record: Record, name: str, wait: Callable[[], bool]) -> bool:
        """Opens a record and takes its lock; False: it is held, or gone."""
        while True:
            try:
                record.fd = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self.fd)
                fcntl.flock(record.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(record.fd), os.stat(name, dir_fd=self.fd)):
                    return True
            except FileNotFoundError:
                record.close()
                return False
            except BlockingIOError:
                pass
            except OSError as e:  # a symbolic link, for one: told when it is read
                record.problem = e
                return True
            record.close()  # somebody was quicker
            if not wait():
                return False

    def seen(self) -> Iterator[Record]:
        """All records, held or not, to be looked at alone: nobody is kept from his by that."""
        for name in sorted(self._names()):
            record = Record(self, name, -1)
            try:
                record.fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self.fd)
            except FileNotFoundError:
                continue
            except OSError as e:
                record.problem = e
            if not name.startswith("."):
                yield record
            record.close()

    def running(self) -> int:
        """How many records are held by moves that run."""
        count = 0
        for name in self._names():
            try:
                fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self.fd)
            except FileNotFoundError:
                continue
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                count += 1
            finally:
                uapi.close(fd)
        return count

    def _names(self) -> list[str]:
        return os.listdir(self.path)  # by its path: fewer system calls than by the descriptor

    def _written_s(self, name: str) -> float:
        try:
            return os.stat(name, dir_fd=self.fd, follow_symlinks=False).st_mtime
        except FileNotFoundError:
            return 0

    def close(self) -> None:
        uapi.close(self.fd)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class Record:
    """A record that the caller holds."""

    __slots__ = ("fd", "name", "path", "problem")

    def __init__(self, journal: Journal, name: str, fd: int) -> None:
        self.name = name
        self.path = f"{journal.path}/{name}"
        self.fd = fd
        self.problem: OSError | None = None  # why it could not be opened

    def sections(self) -> list[Section]:
        """What is in it. Raises Damaged, OSError."""
        if self.problem:
            raise self.problem
        only_ours(os.fstat(self.fd), self.path)
        data = bytearray()
        while chunk := os.pread(self.fd, 1 << 20, len(data)):
            data += chunk
        return parse(bytes(data))

    def drop(self) -> None:
        """Removes it: the move is complete, or undone. One that cannot be (a warning) is emptied, and then ignored."""
        try:
            try:
                os.unlink(self.path)
            except OSError:
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
        """Leaves it to `recover`: an undo could not put everything back. False: somebody has removed it."""
        self._rename(self.path + UNDO, "`netdevns recover` may take the move for complete")
        return os.path.exists(self.path)

    def tried(self) -> bool:
        """Counts one more try to undo it that failed; True: that was the last one, and it is set aside.

        Nothing looks at it any more then: a record that cannot be undone must not stand in the way of every container.
        """
        begin, _, count = self.name.partition(UNDO)
        tries = 1 + (int(count) if count.isdigit() else 0)
        if tries < TRIES:
            self._rename(f"{os.path.dirname(self.path)}/{begin}{UNDO}{tries}", "this try to undo it is not counted")
            return False
        return self.set_aside()

    def set_aside(self) -> bool:
        """Puts it where only `recover --list` looks."""
        directory = os.path.dirname(os.path.dirname(self.path))
        try:
            uapi.close(open_folder(directory, ASIDE, create=True))
        except OSError as e:
            text = f"{e.filename or directory}: no record can be set aside there: {e.strerror}"
            warnings.warn(text, RuntimeWarning, stacklevel=2)
            self.close()
            return False
        return self._rename(f"{directory}/{ASIDE}/{self.name.partition(UNDO)[0]}{UNDO}", "it is not set aside")

    def _rename(self, path: str, otherwise: str) -> bool:
        """Gives it another name, and its lock back; a warning says where that is impossible."""
        try:
            os.rename(self.path, path)
            self.path, self.name = path, os.path.basename(path)
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
            uapi.close(self.fd)
        self.fd = -1
