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
from collections.abc import Collection, Iterable, Iterator
from struct import Struct

from . import uapi, wire

JOURNAL_DIR = "/run/netdevns"
RECORD = 0xF000
HEAD, SOURCE, TARGET, DEVICE, UPPER, ROUTES, NEXTHOPS, NEIGHBOURS, PROXIES, PORT, END = range(RECORD, RECORD + 11)
FDB, NEIGHPARMS, LOAN, MASTER = range(RECORD + 11, RECORD + 15)
VERSION = 1
A_VERSION, A_BOOT, A_CHECKSUM, A_PRESERVE, A_LENDS = range(1, 6)  # of HEAD and END
A_WHERE, A_COOKIE, A_DEV, A_INO, A_OF_PID, A_OF_START = range(1, 7)  # of SOURCE and TARGET
A_HOST_NAME, A_IFNAME, A_WANTED, A_IFINDEX, A_ASKED, A_UNSURE, A_DEPTH = range(1, 8)  # of DEVICE and UPPER
A_TOKEN, A_QDISCS = 8, 9  # of the same, where there is any
A_VLANS = 10  # of PORT, which has A_IFINDEX, too; MASTER has the port's
A_CONTAINER, A_LENT_MS = range(1, 3)  # of LOAN
TXN = "txn"  # the folder of the records of moves
U64 = Struct("=Q")
NUMBER = Struct("=HHQ")  # an attribute of 12 bytes
BOOT_ID = "/proc/sys/kernel/random/boot_id"
BEING_WRITTEN_S = 10  # a file without its name that is younger has a writer, perhaps before its flock
UNDO = ".undo"  # a record's suffix
MODE_DIR, MODE_FILE = 0o700, 0o600


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


def head(preserve: Iterable[str], *, lends: bool = False) -> list[bytes]:
    """`lends`: a loan was to be written at the end."""
    attrs: dict[int, int | bytes] = {A_VERSION: VERSION, A_BOOT: boot_id(), A_PRESERVE: " ".join(preserve).encode()}
    return section(HEAD, attrs | {A_LENDS: 1} if lends else attrs)


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
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self.fd = os.open(f"{directory}/{folder}", flags)
        except FileNotFoundError:
            if not create:
                raise
            for path in (directory, f"{directory}/{folder}"):
                try:
                    os.mkdir(path, MODE_DIR)
                except FileExistsError:
                    continue  # it is looked at when it is open
            self.fd = os.open(f"{directory}/{folder}", flags)
        try:
            _only_ours(os.fstat(self.fd), f"{directory}/{folder}")
        except BaseException:
            uapi.close(self.fd)
            raise

    def write(self, parts: list[bytes], instead_of: Record | None = None, name: str = "") -> Record:
        """Writes a record, locked, and then gives it its name: it is never seen half. Raises OSError.

        `instead_of` loses its name to it, and its lock; after an OSError it has both. `name`: its own, or how it
        begins where another record has that one.
        """
        body = b"".join(parts)
        end = wire.message(END, 0, wire.attr(A_CHECKSUM, U64.pack(binascii.crc32(body))))
        random = os.urandom(8).hex()
        has_name, name = bool(name), os.path.basename(instead_of.path) if instead_of else name or random
        fd = os.open(f".{random}", os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, MODE_FILE, dir_fd=self.fd)
        record = Record(self, name, fd)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            data = memoryview(body + end)
            while data:
                data = data[os.write(fd, data) :]
            if has_name and os.access(name, os.F_OK, dir_fd=self.fd, follow_symlinks=False):
                name = f"{name}~{random}"
                record.path = f"{self.path}/{name}"
            os.rename(f".{random}", name, src_dir_fd=self.fd, dst_dir_fd=self.fd)
        except BaseException:
            with contextlib.suppress(OSError):  # why it could not be written counts
                os.unlink(f".{random}", dir_fd=self.fd)
            uapi.close(fd)
            raise
        if instead_of:
            instead_of.close()
        return record

    def crashed(self, only: Collection[str] | None = None, wait_s: float = 0) -> Iterator[Record]:
        """The records that nobody holds, each locked by the caller until it is closed; oldest first.

        `only`: those of these names. `wait_s`: how long to wait for who holds one.
        """
        for written_s, name in sorted((self._written_s(name), name) for name in self._names()):
            if name.startswith(".") and time.time() - written_s < BEING_WRITTEN_S:
                continue
            record = Record(self, name, -1)
            if (only is not None and name not in only) or not self._lock(record, name, time.monotonic() + wait_s):
                continue
            if name.startswith("."):  # its writer was killed before anything was changed
                record.drop()
                continue
            yield record

    def _lock(self, record: Record, name: str, end: float) -> bool:
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
            if time.monotonic() >= end:
                return False
            time.sleep(0.01)

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
        _only_ours(os.fstat(self.fd), self.path)
        data = bytearray()
        while chunk := os.pread(self.fd, 1 << 20, len(data)):
            data += chunk
        return parse(bytes(data))

    def drop(self) -> None:
        """Removes it: the move is complete, or undone. One that cannot be (a warning) is emptied: nobody obeys it."""
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
        return self.path.endswith(UNDO)

    def keep(self) -> None:
        """Leaves it to `recover`: an undo could not put everything back."""
        try:
            os.rename(self.path, self.path + UNDO)
        except OSError as e:
            text = f"{self.path}: cannot be renamed: {e.strerror}; `netdevns recover` may take the move for complete"
            warnings.warn(text, RuntimeWarning, stacklevel=2)
        finally:
            self.close()

    def close(self) -> None:
        """Gives the lock back. A record that is still there is then one of a crash."""
        if self.fd >= 0:
            uapi.close(self.fd)
        self.fd = -1


def _only_ours(status: os.stat_result, path: str) -> None:
    if status.st_uid != os.geteuid():
        raise PermissionError(errno.EPERM, "belongs to another user", path)
    if status.st_mode & 0o022:
        raise PermissionError(errno.EPERM, "others may write to it", path)
    if status.st_mode & 0o170000 not in (0o040000, 0o100000):
        raise PermissionError(errno.EPERM, "neither a directory nor a file", path)
