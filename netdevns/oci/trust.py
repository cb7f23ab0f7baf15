"""Checks whether another user could change or replace a file that a root hook would load.

A path is followed one component at a time, by descriptors. In a directory that belongs to root or the caller, and that
others may not write to, they cannot replace anything, so earlier checks stay valid while the next component is checked.
Access control lists count: their mask is the group's bits of the mode.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Collection

from ..text.quote import printable

LINKS_MAX = 40  # the kernel's MAXSYMLINKS
_OTHERS = stat.S_IWGRP | stat.S_IWOTH
_PATH = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_ALL_IDS = "0 0 4294967295"  # user_namespaces(7): the initial one maps each id to itself


class Untrusted(Exception):
    """Another user could change a file: its path and the reason, as the beginning of a line."""


def check(path: str) -> None:
    """Checks a file or directory and all directories above it, also those of symbolic links' targets.

    Raises:
        Untrusted: One of them belongs to neither root nor the effective user, or others may write to it; a sticky
            directory above (as /tmp), in which only owners may remove and rename, is accepted.
        OSError: As the kernel reports, also if it does not exist.
    """
    os.close(open_path(path, is_strict=True))


def check_tree(path: str, without: Collection[str] = ()) -> None:
    """Checks a directory and everything in it; `without`: names of directories that are skipped."""
    check(path)
    todo = [path]
    while todo:
        with os.scandir(todo.pop()) as entries:
            for entry in entries:
                if entry.name in without:
                    continue
                if entry.is_symlink():
                    _check_link(entry.path)
                    continue
                _check_last(entry.path, entry.stat(follow_symlinks=False))
                if entry.is_dir(follow_symlinks=False):
                    todo.append(entry.path)


def _check_link(path: str) -> None:
    try:
        check(path)
    except FileNotFoundError:
        return  # a dangling link: nothing is loaded from it


def open_path(path: str, *, is_strict: bool) -> int:
    """Opens a path with O_PATH, without following another user's symbolic link.

    Args:
        path: Of a file or directory.
        is_strict: Whether to check every component, as `check` does.

    Raises:
        Untrusted: There is such a link, or as `check`.
        OSError: As the kernel reports.
    """
    todo = list(reversed(os.path.join(os.getcwd(), path).split("/")))
    here, shown, links = os.open("/", _PATH), "/", 0
    try:
        while todo:
            name = todo.pop()
            if name in ("", "."):
                continue
            if is_strict:
                _check_above(shown, os.fstat(here))
            below = _below(here, name, os.path.join(shown, name))
            status = os.fstat(below)
            if not stat.S_ISLNK(status.st_mode):
                os.close(here)
                here = below
                shown = os.path.dirname(shown) if name == ".." else os.path.join(shown, name)
                continue
            try:
                links += 1
                text = _target(below, status, os.path.join(shown, name), links)
            finally:
                os.close(below)
            if text.startswith("/"):
                os.close(here)
                here, shown = os.open("/", _PATH), "/"
            todo += reversed(text.split("/"))
        if is_strict:
            _check_last(shown, os.fstat(here))
        if not os.path.samestat(os.stat(path), os.fstat(here)):  # a link in /proc does not lead where its text says
            raise Untrusted(f"{printable(path)}: the path contains a link of /proc")
    except BaseException:
        os.close(here)
        raise
    return here


def _below(here: int, name: str, shown: str) -> int:
    try:
        return os.open(name, _PATH, dir_fd=here)
    except OSError as e:
        raise OSError(e.errno, e.strerror, shown) from None


def _target(link: int, status: os.stat_result, shown: str, links: int) -> str:
    """The target of a symbolic link that may be followed."""
    if links > LINKS_MAX:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), shown)
    if not _is_trusted(status.st_uid):
        raise Untrusted(
            f"{printable(shown)}: this symbolic link belongs to user {status.st_uid}, who could redirect it"
        )
    try:
        return os.readlink("", dir_fd=link)
    except OSError as e:
        raise OSError(e.errno, e.strerror, shown) from None


def _check_above(shown: str, status: os.stat_result) -> None:
    """Checks a directory above. In a sticky one others can replace only their own files; the owner is checked next."""
    if not status.st_mode & stat.S_ISVTX or not _is_trusted(status.st_uid):
        _check_last(shown, status)


def _check_last(shown: str, status: os.stat_result) -> None:
    if not _is_trusted(status.st_uid):
        raise Untrusted(f"{printable(shown)}: it belongs to user {status.st_uid}, who could change it")
    if status.st_mode & _OTHERS:
        raise Untrusted(f"{printable(shown)}: other users may write to it (mode {stat.S_IMODE(status.st_mode):04o})")


def _is_trusted(uid: int) -> bool:
    return uid in (0, os.geteuid()) or uid == _unmapped()


def _unmapped() -> int:
    """The uid that stands for all owners that this user namespace does not map, the host's root included; or -1.

    They cannot be distinguished, and own the system's programs. In the initial namespace that uid is an ordinary user.
    """
    with open("/proc/self/uid_map", encoding="utf-8") as file:
        if " ".join(file.read().split()) == _ALL_IDS:
            return -1
    with open("/proc/sys/kernel/overflowuid", encoding="utf-8") as file:
        return int(file.read())
