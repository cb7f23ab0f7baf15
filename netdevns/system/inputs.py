"""Reads untrusted inputs within limits: regular files, opened without blocking, streams, and names."""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Callable

from .. import descriptors, limits
from ..errors import ConfigInvalid
from ..text.quote import quoted

_PART_BYTES = 1 << 16


class NotRegular(OSError):
    """A directory, a FIFO, a socket or a device node; it was not opened."""


def open_regular(path: str) -> int:
    """Opens a regular file for reading, symbolic links followed; returns a descriptor.

    The file is checked through O_PATH first: a real open waits for a FIFO's writer, rewinds a tape, starts a watchdog.
    The second open goes through /proc/self/fd, so it is of the same file.

    Raises:
        NotRegular: Of another type.
        OSError: It cannot be opened, or not without waiting for another process's lease (O_NONBLOCK).
        ValueError: A path with a NUL byte or a lone surrogate.
    """
    seen = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        mode = os.fstat(seen).st_mode
        if stat.S_ISDIR(mode):
            raise NotRegular(errno.EISDIR, os.strerror(errno.EISDIR), path)
        if not stat.S_ISREG(mode):
            raise NotRegular(errno.EINVAL, "not a regular file", path)
        try:
            return os.open(f"/proc/self/fd/{seen}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        except FileNotFoundError:
            raise OSError(errno.ENOENT, "it exists, but opening it needs /proc, which is not mounted", path) from None
    finally:
        descriptors.close(seen)


def read_file(path: str, most: int) -> bytes:
    """All bytes of a regular file.

    Args:
        path: The file; symbolic links are followed.
        most: Bytes, at most.

    Raises:
        OSError: EFBIG: it is larger. Otherwise, and ValueError, as `open_regular`.
    """
    fd = open_regular(path)
    try:
        data = read(lambda size: os.read(fd, size), most)
    finally:
        descriptors.close(fd)
    if len(data) > most:
        raise OSError(errno.EFBIG, f"larger than {called(most)}", path)
    return data


def read(part_of: Callable[[int], bytes | None], most: int) -> bytes:
    """Everything that repeated `read(size)` calls return, up to one byte more than `most`."""
    parts = []
    room = most + 1
    while room and (part := part_of(min(room, _PART_BYTES))):
        parts.append(part)
        room -= len(part)
    return b"".join(parts)


def stdin(place: str) -> bytes:
    """All of stdin, up to one byte more than limits.STATE_BYTES. Raises ConfigInvalid: it cannot be read."""
    try:
        return b"" if sys.stdin is None else read(sys.stdin.buffer.read, limits.STATE_BYTES)
    except OSError as e:
        raise ConfigInvalid(f"{place}: cannot be read: {e.strerror}") from None


def called(limit_bytes: int) -> str:
    """A limit, for a message."""
    return f"{limit_bytes >> 20} MiB"


def text(value: str, place: str) -> str:
    """A name or path of a JSON document in this process's locale (`of_json`). Raises ConfigInvalid."""
    try:
        return of_json(value)
    except UnicodeEncodeError:
        raise ConfigInvalid(f'{place}: "{quoted(value)}" has a lone surrogate, so it is not text') from None


def limit_devices(place: str, count: int) -> None:
    """Raises ConfigInvalid where one move would have too many devices."""
    if count > limits.DEVICES:
        raise ConfigInvalid(f"{place}: {count} devices; at most {limits.DEVICES} can be moved together")


def of_json(text: str) -> str:
    """Converts a name or path of a JSON document (UTF-8) to this process's locale.

    `ifname.encode` reverts it.

    Raises:
        UnicodeEncodeError: A lone surrogate: JSON allows it, but it is no text.
    """
    return text if text.isascii() else os.fsdecode(text.encode())


def as_json(text: str) -> str:
    """Converts text of the command line to that of a JSON document: the inverse of `of_json`."""
    return text if text.isascii() else os.fsencode(text).decode(errors="surrogateescape")
