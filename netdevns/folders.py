"""The folders below JOURNAL_DIR, opened safely: no symbolic link is followed, and nobody else may write in them."""

from __future__ import annotations

import errno
import os

from . import uapi

JOURNAL_DIR = "/run/netdevns"
MODE_DIR, MODE_FILE = 0o700, 0o600


def open_folder(directory: str, folder: str = "", *, create: bool) -> int:
    """Opens a directory, or a folder in it, made where it does not exist and `create` says so. Raises OSError."""
    path = f"{directory}/{folder}" if folder else directory
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        fd = os.open(path, flags)
    except FileNotFoundError:
        if not create:
            raise
        for each in (directory, path):
            try:
                os.mkdir(each, MODE_DIR)
            except FileExistsError:
                continue  # it is looked at when it is open
        fd = os.open(path, flags)
    return checked(fd, path)


def checked(fd: int, path: str) -> int:
    """The descriptor, where it is `only_ours`; else it is closed. Raises OSError."""
    try:
        only_ours(os.fstat(fd), path)
    except BaseException:
        uapi.close(fd)
        raise
    return fd


def only_ours(status: os.stat_result, path: str) -> None:
    if status.st_uid != os.geteuid():
        raise PermissionError(errno.EPERM, "belongs to another user", path)
    if status.st_mode & 0o022:
        raise PermissionError(errno.EPERM, "others may write to it", path)
    if status.st_mode & 0o170000 not in (0o040000, 0o100000):
        raise PermissionError(errno.EPERM, "neither a directory nor a file", path)
