"""Files in folders that others own: each is written whole or not at all, and only ours are replaced or removed."""

from __future__ import annotations

import argparse
import contextlib
import errno
import json
import os
import stat
from collections.abc import Callable, Mapping

from .hookline import Refused
from .names import printable
from .outcome import FAILED, REFUSED, UNTOUCHED
from .output import complain, tell

# Judges a parsed file.
Owner = Callable[[object], bool]

# In a folder that we have made: what it says is the uppermost one.
_NOTE = ".netdevns-made"
_SIZE_MAX = 1 << 20  # bytes; ours are a few hundred


def offer(
    args: argparse.Namespace,
    default: str,
    names: Callable[[], list[str]],
    make: Callable[[], Mapping[str, object]],
    is_ours: Owner,
) -> int:
    """Shows, installs or uninstalls files, and says so; returns the command's exit code.

    Args:
        args: `action`: "show", "install" or "uninstall"; `dir`: a folder that is there and stays, or None: the default.
        default: This one is made where it is missing, and goes with our last file if we have made it.
        names: The names of the files.
        make: File name -> what becomes JSON.
        is_ours: Whether a file was written by us.
    """
    folder = default if args.dir is None else args.dir
    try:
        if args.action == "uninstall":
            gone = remove(folder, names(), is_ours)
            lines = [f"removed {printable(path)}" for path in gone] or [f"{printable(folder)}: nothing to remove"]
        elif args.action == "install":
            documents = make()
            write(folder, documents, is_ours, may_make=args.dir is None)
            lines = [f"wrote {printable(os.path.join(folder, name))}" for name in documents]
        else:
            documents = make()
            lines = [_text(next(iter(documents.values())) if len(documents) == 1 else documents)]
    except Refused as e:
        return complain([str(e), UNTOUCHED], REFUSED)
    except OSError as e:
        return complain([f"{e.filename}: {e.strerror}", UNTOUCHED], FAILED)
    tell("\n".join(lines))
    return 0


def _text(document: object) -> str:
    return json.dumps(document, indent=2)


def write(folder: str, documents: Mapping[str, object], is_ours: Owner, *, may_make: bool) -> None:
    """Writes files, or none of them; what was there of ours is replaced.

    Args:
        folder: Where.
        documents: File name -> what becomes JSON.
        is_ours: Whether a file that is there already was written by us.
        may_make: Whether to make the folder where there is none.

    Raises:
        Refused: A file is there that is not ours.
        OSError: As the kernel says; files may be new in part only if a rename failed.
    """
    paths = {os.path.join(folder, name): _text(document) for name, document in documents.items()}
    for path in paths:
        _look(path, is_ours)
    if may_make:
        _make(folder)
    elif not os.path.isdir(folder):
        raise Refused(f"{printable(folder)}: there is no such folder")
    waiting: dict[str, str] = {}
    try:
        for path, text in paths.items():
            # Whoever reads the folder skips it: it does not end in .json.
            temporary = os.path.join(folder, f".{os.path.basename(path)}.{os.getpid()}.new")
            waiting[temporary] = path
            _write(temporary, text)
        for temporary, path in list(waiting.items()):
            os.rename(temporary, path)
            del waiting[temporary]
    finally:
        for temporary in waiting:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        if waiting:
            _unmake(folder, is_ours)


def _write(path: str, text: str) -> None:
    """A new file, on the disk."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    with open(os.open(path, flags, 0o644), "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o644)  # whatever the umask: runtimes of others read it
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())


def _make(folder: str) -> None:
    """Makes a folder and those above it that are missing, with a note of which: only these are ours to remove."""
    missing: list[str] = []
    where = folder
    while not os.path.isdir(where):
        missing.append(where)
        where = os.path.dirname(where)
    for each in reversed(missing):
        os.mkdir(each, 0o755)
        os.chmod(each, 0o755)
    if missing:
        _write(os.path.join(folder, _NOTE), missing[-1])


def _unmake(folder: str, is_ours: Owner) -> None:
    """Removes a folder with what `_make` has made above it, unless something is in it; keeps the note for our files."""
    note = os.path.join(folder, _NOTE)
    try:
        with open(note, encoding="utf-8") as file:
            top = file.read().rstrip("\n")
        others = [name for name in os.listdir(folder) if name != _NOTE]
    except FileNotFoundError:
        return  # not made by us
    if any(_is_owned(os.path.join(folder, name), is_ours) for name in others):
        return
    os.unlink(note)
    while not others and (folder + "/").startswith(top + "/"):
        try:
            os.rmdir(folder)
        except OSError:
            return  # somebody has put something in
        folder = os.path.dirname(folder)


def remove(folder: str, names: list[str], is_ours: Owner) -> list[str]:
    """Removes our files, and with the last of them the folder if we have made it and nothing else is in it.

    Returns:
        The paths that were there.

    Raises:
        Refused: A file is not ours; none was removed.
        OSError: As the kernel says.
    """
    found = [path for name in names if _look(path := os.path.join(folder, name), is_ours)]
    for path in found:
        os.unlink(path)
    _unmake(folder, is_ours)
    return found


def _look(path: str, is_ours: Owner) -> bool:
    """Whether a file of ours is there; another one is refused, whatever it is."""
    if not os.path.lexists(path):
        return False
    if _is_owned(path, is_ours):
        return True
    raise Refused(f"{printable(path)}: netdevns did not write this file, and leaves it alone; move it away first")


def _is_owned(path: str, is_ours: Owner) -> bool:
    """Whether it is a file, and ours; a symbolic link to one is not."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as e:
        if e.errno in (errno.ELOOP, errno.ENXIO, errno.ENOENT):  # a link, a socket, or gone meanwhile
            return False
        raise
    try:
        return stat.S_ISREG(os.fstat(fd).st_mode) and is_ours(json.loads(os.read(fd, _SIZE_MAX)))
    except (ValueError, RecursionError):
        return False  # no JSON
    finally:
        os.close(fd)
