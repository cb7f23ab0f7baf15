"""Whether another user could change a file, or put another one in its place: asked before it becomes part of a hook.

A path is followed one component at a time, on descriptors. Once a directory is known to be root's or ours, and closed
to others, they cannot exchange what is in it, so what was checked before stays true while the next component is looked
at. Access control lists count: their mask is the group's bits of the mode.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Collection

from ..text.quote import printable

LINKS_MAX = 40  # as the kernel has it (MAXSYMLINKS)
_OTHERS = stat.S_IWGRP | stat.S_IWOTH
_PATH = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_ALL_IDS = "0 0 4294967295"  # user_namespaces(7): the initial one maps each id to itself


class Untrusted(Exception):
    """Another user could change it: the path and the reason, for the first half of a line."""


def check(path: str) -> None:
    """A file or directory with all that is above it, the targets of symbolic links included.

    Raises:
        Untrusted: Neither root nor the effective user owns one of them, or others may write to it. A directory above in
            which only owners may remove and rename (sticky, as /tmp) is fine.
        OSError: As the kernel says; it does not exist.
    """
    os.close(open_path(path, is_strict=True))


def check_tree(path: str, without: Collection[str] = ()) -> None:
    """A directory, as `check` does, and all that is in it; `without`: names of directories that are not looked into."""
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
        return  # it leads nowhere: nothing is loaded from there


def open_path(path: str, *, is_strict: bool) -> int:
    """Opens what a path leads to, for use as a place (O_PATH), without a symbolic link of another user on the way.

    Args:
        path: Of a file or directory.
        is_strict: Whether nothing on the way may be another user's, as `check` has it.

    Raises:
        Untrusted: Such a link, or what `check` says.
        OSError: As the kernel says.
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
        if not os.path.samestat(os.stat(path), os.fstat(here)):  # the text of a link in /proc is not where it leads
            raise Untrusted(f"{printable(path)}: a link of /proc is on the way")
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
    """What a symbolic link says, where it may be followed."""
    if links > LINKS_MAX:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), shown)
    if not _is_trusted(status.st_uid):
        raise Untrusted(
            f"{printable(shown)}: this symbolic link belongs to user {status.st_uid}, who could turn it elsewhere"
        )
    try:
        return os.readlink("", dir_fd=link)
    except OSError as e:
        raise OSError(e.errno, e.strerror, shown) from None


def _check_above(shown: str, status: os.stat_result) -> None:
    """A directory on the way. Where it is sticky others cannot exchange what is not theirs; whose that is, is asked."""
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
    """The number that stands for owners which this user namespace does not map, the machine's root among them; or -1.

    They cannot be distinguished, and the system's programs are theirs. In the initial namespace it is an ordinary user.
    """
    with open("/proc/self/uid_map", encoding="ascii") as file:
        if " ".join(file.read().split()) == _ALL_IDS:
            return -1
    with open("/proc/sys/kernel/overflowuid", encoding="ascii") as file:
        return int(file.read())
