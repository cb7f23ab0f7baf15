"""Opens folders and files below JOURNAL_DIR safely: the checks are made on the descriptor that is then used.

No symbolic link is followed, and only directories and regular files are opened. One that belongs to another user, or
that others may write to, is refused. The folders above JOURNAL_DIR, or above a caller's directory, are trusted.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat

from .. import descriptors

JOURNAL_DIR = "/run/netdevns"
MODE_DIR, MODE_FILE = 0o700, 0o600
_SAFELY = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # O_NONBLOCK: a FIFO must not hang a container's start


def open_folder(directory: str, folder: str = "", *, create: bool) -> int:
    """Opens a directory, or a folder in it; `create`: makes it where it does not exist.

    Raises:
        OSError: It cannot be opened or made; EPERM: another user owns it, or others may write to it. Names its path.
    """
    fd = _open_folder(None, directory, directory, create)
    if not folder:
        return fd
    try:
        return _open_folder(fd, folder, f"{directory}/{folder}", create)
    finally:
        descriptors.close(fd)


def why_unwritable(directory: str, folder: str) -> OSError | None:
    """The error of `open_folder` with `create`, or of making a file in one of both; None: there is none.

    Changes nothing: a folder that does not exist needs one above it that can be written to. A full disk is not found.
    """
    try:
        for each in ("", folder):
            _need_writable(open_folder(directory, each, create=False), f"{directory}/{each}".rstrip("/"))
    except FileNotFoundError as missing:
        try:
            above = os.path.dirname(os.path.abspath(missing.filename))
            _need_writable(os.open(above, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC), missing.filename)
        except OSError as e:
            return OSError(e.errno, e.strerror, missing.filename)
    except OSError as e:
        return e
    return None


def _need_writable(fd: int, path: str) -> None:
    """Closes the folder. Raises OSError, which names `path`: no file can be made in it."""
    try:
        if not os.access(".", os.W_OK | os.X_OK, dir_fd=fd, effective_ids=True):
            code = errno.EROFS if os.fstatvfs(fd).f_flag & os.ST_RDONLY else errno.EACCES
            raise OSError(code, os.strerror(code), path)
    finally:
        descriptors.close(fd)


def _open_folder(parent: int | None, name: str, path: str, create: bool) -> int:
    flags = os.O_RDONLY | os.O_DIRECTORY | _SAFELY
    try:
        try:
            fd = os.open(name, flags, dir_fd=parent)
        except FileNotFoundError:
            if not create:
                raise
            is_made = False
            with contextlib.suppress(FileExistsError):  # checked when it is open
                os.mkdir(name, MODE_DIR, dir_fd=parent)
                is_made = True
            fd = os.open(name, flags, dir_fd=parent)
            if is_made:
                os.fchmod(fd, MODE_DIR)  # whatever the umask
    except OSError as e:
        is_link = e.errno in (errno.ELOOP, errno.ENOTDIR)
        raise OSError(e.errno, "a symbolic link, or no directory" if is_link else e.strerror, path) from None
    return _checked(fd, path, stat.S_IFDIR)


def open_file(folder: int, name: str, flags: int, path: str) -> int:
    """Opens a file in a folder that `open_folder` has opened; O_CREAT makes it with mode 0600.

    Args:
        folder: The folder's descriptor.
        name: In it.
        flags: Of open(2), besides those that make it safe.
        path: For errors.

    Raises:
        OSError: It cannot be opened; EPERM: it is no regular file, has a second name (a hard link), belongs to
            another user, or others may write to it. Names `path`.
    """
    try:
        # Checked before the open: opening a device can have an effect on it.
        if not flags & os.O_CREAT and not stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            raise _unsafe(path, "no regular file")
        fd = os.open(name, flags | _SAFELY, MODE_FILE, dir_fd=folder)
    except OSError as e:
        if e.errno == errno.ELOOP:
            raise _unsafe(path, "no regular file") from None
        raise OSError(e.errno, e.strerror, path) from None
    return _checked(fd, path, stat.S_IFREG)


def _checked(fd: int, path: str, kind: int) -> int:
    """The descriptor, if its file passes the checks; else closes it and raises OSError."""
    try:
        _judge(os.fstat(fd), path, kind)
    except BaseException:
        descriptors.close(fd)
        raise
    return fd


def _judge(status: os.stat_result, path: str, kind: int) -> None:
    if stat.S_IFMT(status.st_mode) != kind:
        raise _unsafe(path, "no regular file")
    if status.st_uid != os.geteuid():
        raise _unsafe(path, "belongs to another user")
    if status.st_mode & 0o022:
        raise _unsafe(path, "others may write to it")
    if kind == stat.S_IFREG and status.st_nlink > 1:
        raise _unsafe(path, "it has another name, too: a hard link")


def _unsafe(path: str, why: str) -> PermissionError:
    return PermissionError(errno.EPERM, why, path)
