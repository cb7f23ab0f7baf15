"""Writes and removes generated files in system folders: each completely or not at all, and never others' files."""

from __future__ import annotations

import argparse
import contextlib
import errno
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from ..system.folders import open_file, open_folder
from ..text.outcome import FAILED, LEFT, REFUSED, UNTOUCHED, answered
from ..text.output import complain, print_text
from ..text.quote import printable
from . import trust
from .hook_line import Refused

# Judges a file: JSON is parsed, anything else is bytes.
Owner = Callable[[object], bool]

# In a folder that netdevns made: it names the uppermost folder made with it.
_NOTE = ".netdevns-made"
NOTE_MAX = 4096  # bytes: PATH_MAX
SIZE_MAX = 1 << 20  # bytes of a file, written or read


class Place(NamedTuple):
    """A folder for files.

    Attributes:
        folder: Made if it is missing; a folder that netdevns made is removed with its last file.
        base: An existing folder above it, which is never made or removed; None: the folder itself must exist.
    """

    folder: str
    base: str | None


def offer(
    args: argparse.Namespace,
    default: tuple[str, str],
    names: Callable[[], list[str]],
    make: Callable[[], Mapping[str, object]],
    is_ours: Owner,
) -> int:
    """Shows, installs or uninstalls files in one folder, and reports it; returns the command's exit code.

    Args:
        args: `action`: "show", "install" or "uninstall"; `dir`: an existing folder, which stays, or None: the default.
        default: A `Place`.
        names: The names of the files.
        make: Returns file name -> JSON document.
        is_ours: Whether a file was written by netdevns.
    """
    place = Place(*default) if args.dir is None else Place(args.dir, None)

    def act(done: list[str]) -> list[str]:
        if args.action == "uninstall":
            return remove_all({place: names()}, is_ours, done)
        documents = make()
        if args.action == "install":
            return write_all({place: documents}, is_ours, done)
        return [_text(next(iter(documents.values())) if len(documents) == 1 else documents)]

    return report(act)


def report(act: Callable[[list[str]], list[str]]) -> int:
    """Prints the lines that `act` returns, or why it failed; returns the exit code.

    `act`: appends the path of each file that it has written or removed to its argument.
    """
    done: list[str] = []
    try:
        lines = act(done)
    except Refused as e:
        return complain([str(e), UNTOUCHED], REFUSED)
    except OSError as e:
        why = f"{e.filename}: {e.strerror}"
        if done:
            return complain([why, f"already changed: {', '.join(done)}"], LEFT)
        return complain([why, UNTOUCHED], FAILED)
    is_written = print_text("\n".join(lines))
    return 0 if done else answered(is_written)


def write_all(files: Mapping[Place, Mapping[str, object]], is_ours: Owner, done: list[str]) -> list[str]:
    """Writes files into several folders, as `write` does; returns a line for each file.

    Raises:
        Refused: As `write` does, before any file is written.
        OSError: As the kernel says.
    """
    for place, documents in files.items():
        _foresee(place, documents, is_ours)
    for (folder, base), documents in files.items():
        write(folder, documents, is_ours, done, base=base)
    return [f"wrote {printable(path)}" for path in done]


def remove_all(files: Mapping[Place, list[str]], is_ours: Owner, done: list[str]) -> list[str]:
    """Removes files from several folders, as `remove` does; returns a line for each file."""
    for place, names in files.items():
        _foresee(place, names, is_ours, is_strict=False)
    for (folder, base), names in files.items():
        kept = remove(folder, names, is_ours, done, base=base)
        complain([f"{kept}; the folder stays"] if kept else [], 0)
    where = ", ".join(printable(place.folder) for place in files)
    return [f"removed {printable(path)}" for path in done] or [f"{where}: nothing to remove"]


def _foresee(place: Place, names: Iterable[str], is_ours: Owner, *, is_strict: bool = True) -> None:
    """Raises Refused where `write` or `remove` would, before another folder is touched."""
    folder, base = place
    if base is not None and is_strict and not os.path.isdir(base):
        raise Refused(f"{printable(base)}: there is no such folder")
    if os.path.lexists(folder):
        with _opened(folder, is_strict=is_strict) as fd:
            for name in names:
                _look(fd, folder, name, is_ours)


def _text(document: object) -> str:
    return document if isinstance(document, str) else json.dumps(document, indent=2)


@contextlib.contextmanager
def _opened(folder: str, *, is_strict: bool) -> Iterator[int]:
    """Opens a folder, so that it cannot be replaced meanwhile.

    Raises:
        Refused: A symbolic link of another user leads there; `is_strict`: or others could replace files in it.
        OSError: As the kernel reports.
    """
    try:
        path = trust.open_path(folder, is_strict=is_strict)
    except trust.Untrusted as e:
        raise Refused(f"{e}; its files are started as root: choose another folder") from None
    try:
        with _naming(folder):
            fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=path)
    finally:
        os.close(path)
    try:
        yield fd
    finally:
        os.close(fd)


@contextlib.contextmanager
def _naming(folder: str, name: str = "") -> Iterator[None]:
    """Adds the whole path to the error of a call by descriptor."""
    try:
        yield
    except OSError as e:
        raise OSError(e.errno, e.strerror, os.path.join(folder, name)) from None


def write(
    folder: str, documents: Mapping[str, object], is_ours: Owner, done: list[str], *, base: str | None = None
) -> None:
    """Writes all files or none; files of netdevns are replaced.

    Args:
        folder: The folder.
        documents: File name -> its text, or a JSON document. A text that begins with "#!" may be executed.
        is_ours: Whether an existing file was written by netdevns.
        done: Gets the path of each new file.
        base: Missing folders are made below this one; None: the folder must exist.

    Raises:
        Refused: A file of another origin exists, others could change the folder, or a file would exceed SIZE_MAX.
        OSError: As the kernel reports; only if a rename failed may some of the files be new.
    """
    texts = {name: _text(document).rstrip("\n") + "\n" for name, document in documents.items()}
    for name, text in texts.items():
        if len(text.encode()) > SIZE_MAX:
            raise Refused(f"{name}: it would have more than {SIZE_MAX} bytes: write fewer devices into one file")
    if base is None and not os.path.isdir(folder):
        raise Refused(f"{printable(folder)}: there is no such folder")
    is_made = base is not None and _make(folder, base)
    with _opened(folder, is_strict=True) as fd:
        try:
            for name in texts:
                _look(fd, folder, name, is_ours)
            _replace(fd, folder, texts, done)
        finally:
            if base is not None and is_made and len(done) < len(texts):
                _unmake(fd, folder, base, is_ours)


def _replace(fd: int, folder: str, texts: Mapping[str, str], done: list[str]) -> None:
    waiting: dict[str, str] = {}
    try:
        for name, text in texts.items():
            # Does not end in .json, so readers of the folder skip it.
            temporary = f".{name}.{os.getpid()}.new"
            waiting[temporary] = name
            _write(fd, folder, temporary, text)
        for temporary, name in list(waiting.items()):
            with _naming(folder, name):
                os.rename(temporary, name, src_dir_fd=fd, dst_dir_fd=fd)
            del waiting[temporary]
            done.append(os.path.join(folder, name))
    finally:
        for temporary in waiting:
            with contextlib.suppress(OSError):
                os.unlink(temporary, dir_fd=fd)


def _write(folder_fd: int, folder: str, name: str, text: str) -> None:
    """Writes a new file to the disk, or none."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    with _naming(folder, name):
        fd = os.open(name, flags, 0o644, dir_fd=folder_fd)
        try:
            with open(fd, "w", encoding="utf-8") as file:
                # Independent of the umask: other users' runtimes read it.
                os.fchmod(file.fileno(), 0o755 if text.startswith("#!") else 0o644)
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=folder_fd)
            raise


def _below(folder: str, base: str) -> list[str]:
    """The folders that may be made: a folder and those above it, upwards, up to `base`, without it."""
    found = []
    while folder != base:
        found.append(folder)
        folder = os.path.dirname(folder)
    return found


def _make(folder: str, base: str) -> bool:
    """Makes a folder and missing ones above it, with a note that lists them: only these are removed later.

    Returns:
        Whether any was missing.
    """
    missing = [each for each in _below(folder, base) if not os.path.lexists(each)]
    if not missing:
        return False
    with _opened(os.path.dirname(missing[-1]), is_strict=True):
        pass  # checked: others cannot replace anything there, so paths are safe from here on
    try:
        for each in reversed(missing):
            os.mkdir(each, 0o755)
            os.chmod(each, 0o755)
        with _opened(folder, is_strict=True) as fd:
            _write(fd, folder, _NOTE, missing[-1] + "\n")
    except BaseException:
        _remove_empty(missing)
        raise
    return True


def _unmake(fd: int, folder: str, base: str, is_ours: Owner) -> str:
    """Removes the folders that `_make` has made, if they are empty; keeps the note while files of netdevns remain.

    Returns:
        Why a note was ignored; or "".
    """
    try:
        made = _noted(fd, folder, base)
    except (trust.Untrusted, OSError) as e:
        why = f"{e.filename}: {e.strerror}" if isinstance(e, OSError) else str(e)
        return f"{printable(os.path.join(folder, _NOTE))}: ignored: {printable(why)}"
    others = [name for name in os.listdir(fd) if name != _NOTE]
    if not made or any(_is_owned(fd, folder, name, is_ours) for name in others):
        return ""
    os.unlink(_NOTE, dir_fd=fd)
    if not others:
        _remove_empty(made)
    return ""


def _noted(fd: int, folder: str, base: str) -> list[str]:
    """The folders that netdevns made, upwards, by the note; none without a note.

    Raises:
        Untrusted: Another user may have written it, or it names folders that netdevns does not make.
        OSError: It cannot be read, or is not such a file.
    """
    path = os.path.join(folder, _NOTE)
    try:
        note = open_file(fd, _NOTE, os.O_RDONLY, path)
    except FileNotFoundError:
        return []
    try:
        text = os.fsdecode(os.read(note, NOTE_MAX))
    finally:
        os.close(note)
    ours = _below(folder, base)
    if text.removesuffix("\n") not in ours:
        raise trust.Untrusted("it names a folder that netdevns has not made")
    made = ours[: ours.index(text.removesuffix("\n")) + 1]
    for each in made:
        trust.check(each)
        os.close(open_folder(each, create=False))
    return made


def _remove_empty(folders: list[str]) -> None:
    for each in folders:
        try:
            os.rmdir(each)
        except OSError:
            return  # it is not empty, or does not exist


def remove(folder: str, names: list[str], is_ours: Owner, done: list[str], *, base: str | None = None) -> str:
    """Removes files of netdevns, and with the last one the folder if netdevns made it and it is empty.

    Args:
        folder: The folder.
        names: The files' names.
        is_ours: Whether a file was written by netdevns.
        done: Gets the path of each removed file.
        base: As for `write`; None: the folder stays.

    Returns:
        Why the folder stays although it has a note; or "".

    Raises:
        Refused: A file is of another origin; none was removed.
        OSError: As the kernel reports.
    """
    if not os.path.lexists(folder):
        return ""
    # Not strict: files must be removable also from a folder to which others may write.
    with _opened(folder, is_strict=False) as fd:
        for name in [name for name in names if _look(fd, folder, name, is_ours)]:
            with _naming(folder, name):
                os.unlink(name, dir_fd=fd)
            done.append(os.path.join(folder, name))
        return "" if base is None else _unmake(fd, folder, base, is_ours)


def _look(fd: int, folder: str, name: str, is_ours: Owner) -> bool:
    """Whether a file of netdevns exists. Raises Refused at any other file."""
    try:
        with _naming(folder, name):
            os.stat(name, dir_fd=fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    if _is_owned(fd, folder, name, is_ours):
        return True
    path = printable(os.path.join(folder, name))
    raise Refused(f"{path}: netdevns did not write this file and does not change it; move it away first")


def _open_file(fd: int, folder: str, name: str) -> int:
    with _naming(folder, name):
        return os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=fd)


def _is_owned(folder_fd: int, folder: str, name: str, is_ours: Owner) -> bool:
    """Whether it is a file of netdevns; not a symbolic link to one, nor a file of more than SIZE_MAX."""
    try:
        fd = _open_file(folder_fd, folder, name)
    except OSError as e:
        if e.errno in (errno.ELOOP, errno.ENXIO, errno.ENOENT):  # a link, a socket, or removed meanwhile
            return False
        raise
    try:
        status = os.fstat(fd)
        is_file = stat.S_ISREG(status.st_mode) and status.st_size <= SIZE_MAX
        return is_file and is_ours(_parsed(os.read(fd, SIZE_MAX)))
    finally:
        os.close(fd)


def _parsed(data: bytes) -> object:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return data
