"""Makes all mounts of a mount namespace read-only, and decodes the paths of /proc/PID/mountinfo."""

from __future__ import annotations

import contextlib
import errno
from struct import Struct

from .libc import call
from .named_netns import MS_BIND, MS_REC

MS_RDONLY, MS_REMOUNT, MS_PRIVATE = 1, 1 << 5, 1 << 18  # linux/mount.h
# As mountinfo has them, of a single mount; a remount sets those that it does not name back.
_FLAGS = {b"nosuid": 2, b"nodev": 4, b"noexec": 8, b"noatime": 1 << 10, b"nodiratime": 1 << 11, b"relatime": 1 << 21}
_MOUNT_SETATTR, _AT_FDCWD, _AT_RECURSIVE, _RDONLY = 442, -100, 0x8000, 1
_ATTR = Struct("=QQQQ")  # struct mount_attr


def make_read_only() -> None:
    """Makes all mounts of this mount namespace private and read-only. Raises OSError: CAP_SYS_ADMIN is missing.

    Source: mount_setattr(2), Linux 5.12; before, mount(2) "MS_REMOUNT", "MS_BIND", mount by mount, without those that
    another one hides.
    """
    attr = _ATTR.pack(_RDONLY, 0, MS_PRIVATE, 0)
    try:
        call("syscall", _MOUNT_SETATTR, _AT_FDCWD, b"/", _AT_RECURSIVE, attr, len(attr))
    except OSError as e:
        if e.errno != errno.ENOSYS:
            raise
        _remount()


def _remount() -> None:
    call("mount", None, b"/", None, MS_REC | MS_PRIVATE, None)
    with open("/proc/self/mountinfo", "rb") as file:
        lines = file.readlines()
    for line in lines:
        _, _, _, _, path, options, *_ = line.split(b" ")
        flags = sum(_FLAGS.get(option, 0) for option in options.split(b","))
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            call("mount", None, unescaped(path), None, MS_REMOUNT | MS_BIND | MS_RDONLY | flags, None)


def unescaped(path: bytes) -> bytes:
    """Decodes \\ooo, as mountinfo writes white space and backslashes (fs/proc_namespace.c, mangle())."""
    first, *others = path.split(b"\\")
    return first + b"".join(bytes([int(other[:3], 8)]) + other[3:] for other in others)
