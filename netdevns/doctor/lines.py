"""Finds out which netdevns a command line starts, written by `--install` or by hand, and whether it runs.

Only lines of these forms are tried, with `--version` and `show`, which change nothing: netdevns-hook, netdevns, and an
interpreter with the path of netdevns/__main__.py, or with the program of `hook_line.command`.
"""

from __future__ import annotations

import ast
import errno
import glob
import os
import re
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .. import __version__
from ..oci import hook_line
from ..oci.hook_line import PACKAGES_OF_OTHERS, STATIC, Refused
from ..text.quote import command, printable, quoted
from .finding import ERROR, OK, WARNING
from .host import AS_ROOT, Host, NotIsolated, NotRun, by_root, run, why_untrusted

COMMAND = "netdevns"
_PYTHON = re.compile(r"python[0-9.]*")
_OPTION = re.compile("-[IESsPB]+")
_PATHS = re.compile(r"import sys; sys\.path \+= (\[.*\]); import netdevns\.__main__")
_MAIN = f"/{COMMAND}/__main__.py"
_AGAIN = "install netdevns again, then this file"
_ELSEWHERE = "install netdevns, and its Python, where only root may write"
_UNREADABLE = "not tried: only root may read its files"


@dataclass(frozen=True)
class Line:
    """A command line that starts netdevns.

    Attributes:
        start: The words that start it: its path, or the interpreter and the program.
        arguments: Those behind.
    """

    start: tuple[str, ...]
    arguments: tuple[str, ...]

    @property
    def is_static(self) -> bool:
        """Whether it is the hook in C."""
        return os.path.basename(self.start[0]) == STATIC

    @property
    def program(self) -> str:
        """The file or folder of netdevns, for messages."""
        if len(self.start) == 1 or self.start[-2] != "-c":
            return self.start[-1]
        return f"{_folders(self.start[-1])[0]}/{COMMAND}"


def parse(words: Sequence[str]) -> Line | None:
    """The line, if it has a form that is tried; else None."""
    if not words:
        return None
    at = 1
    if os.path.basename(words[0]) not in (STATIC, COMMAND):
        if not _PYTHON.fullmatch(os.path.basename(words[0])):
            return None
        while at < len(words) and _OPTION.fullmatch(words[at]):
            at += 1
        rest = words[at:]
        if len(rest) > 1 and rest[0] == "-c" and _folders(rest[1]):
            at += 2
        elif rest and rest[0].endswith(_MAIN):
            at += 1
        else:
            return None
    return Line(tuple(words[:at]), tuple(words[at:]))


def _folders(code: str) -> list[str]:
    """The folders in the program of `hook_line.command`; none: it is another program."""
    found = _PATHS.fullmatch(code)
    try:
        folders = ast.literal_eval(found[1]) if found else []
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return []
    return folders if all(isinstance(each, str) and os.path.isabs(each) for each in folders) else []


def of_hook(hook: object) -> Line | None:
    """The line of a hook in the form of the runtime-spec; None: it does not start netdevns in a known form."""
    line = _of_hook(hook)
    if line is None or line.is_static:
        return line
    return Line(line.start, line.arguments[1:]) if line.arguments[:1] == ("hook",) else None


def of_strict(hook: object) -> Line | None:
    """The line of the hook that `netdevns nri --strict` makes; None: it is another one."""
    line = _of_hook(hook)
    return line if line is not None and line.arguments[:2] == ("nri", "--hook") else None


def _of_hook(hook: object) -> Line | None:
    if not isinstance(hook, Mapping):
        return None
    path, args = hook.get("path"), hook.get("args", ())
    if not isinstance(path, str) or not isinstance(args, list) or not all(isinstance(each, str) for each in args):
        return None
    return parse([path, *args[1:]])


def names_netdevns(hook: object) -> bool:
    """Whether a hook has anything to do with netdevns."""
    if not isinstance(hook, Mapping):
        return False
    args = hook.get("args")
    words = [hook.get("path"), *(args if isinstance(args, list) else ())]
    return any(isinstance(word, str) and COMMAND in word for word in words)


def of_script(text: str) -> Line | None:
    """The line of a shell script that ends with `exec ... "$@"`, as the plugin of netavark."""
    last = text.rstrip("\n").rpartition("\n")[2]
    if not last.startswith("exec "):
        return None
    try:
        return parse(shlex.split(last.removeprefix("exec ").removesuffix(' "$@"')))
    except ValueError:  # quotes without an end
        return None


@dataclass(frozen=True)
class Trial:
    """Whether a line runs: "ok", "warning" or "error", the words for it, and the remedy."""

    severity: str
    text: str
    hint: str | None = None


class Trials:
    """Tries the lines of a host, each program once."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._done: dict[tuple[str, ...], Trial] = {}
        self._trees: dict[tuple[str, ...], str] = {}  # interpreter and packages -> why they are not trusted, or ""

    def of(self, line: Line) -> Trial:
        """Tries a line; its arguments do not matter."""
        if line.start not in self._done:
            self._done[line.start] = self._of(line)
        return self._done[line.start]

    def _of(self, line: Line) -> Trial:
        path = line.start[0]
        shown, real = printable(path), self._host.path(path)
        if _is_hidden(real):
            return Trial(WARNING, _UNREADABLE, by_root())
        if not os.path.isabs(path):
            return Trial(ERROR, f'"{quoted(path)}" is not an absolute path, so no runtime starts it', _AGAIN)
        if not os.path.exists(real):
            return Trial(ERROR, f"there is no {shown}", _AGAIN)
        if not os.path.isfile(real) or not os.access(real, os.X_OK):
            return Trial(ERROR, f"{shown} is not executable", command("chmod", "755", path))
        if not line.is_static:
            return self._of_python([real, *line.start[1:]])
        if why := why_untrusted(real):
            return _untrusted(why)
        return self._of_static(real)

    def _of_static(self, real: str) -> Trial:
        found = _version([real], STATIC)
        folder = os.path.dirname(os.path.realpath(real))  # as the hook finds it, by /proc/self/exe
        beside = os.path.join(folder.removeprefix(self._host.root), COMMAND)
        if found.severity == ERROR or not found.text.startswith("runs "):
            return found
        if not self._host.exists(beside):
            text = f"{found.text}; without {printable(beside)} it restores no device when a container ends"
            return Trial(WARNING, text, "install netdevns whole, not the hook alone")
        other = self.of(Line((beside,), ()))
        if other.severity == ERROR:
            return Trial(ERROR, f"{found.text}, but cannot hand over to {printable(beside)}: {other.text}", other.hint)
        if other.severity != OK and found.severity == OK:
            return Trial(other.severity, f"{found.text}; {printable(beside)}: {other.text}", other.hint)
        return found

    def _of_python(self, start: list[str]) -> Trial:
        try:
            words, why = self._judged(start)
        except (OSError, Refused, ValueError) as e:
            if isinstance(e, PermissionError) and os.geteuid() != 0:
                return Trial(WARNING, _UNREADABLE, AS_ROOT)
            return Trial(ERROR, f"not tried: {printable(str(e))}", _AGAIN)
        if why:
            return _untrusted(why)
        found = _version(words, COMMAND)
        if found.severity == ERROR or not found.text.startswith("runs "):
            return found
        try:
            done = run([*words, "show", "--json", "lo"])  # loads the compiled core, as a hook does
        except NotRun as e:
            return Trial(ERROR, f"{found.text}, but a hook would fail: {printable(str(e))}", "install netdevns again")
        if not hook_line.has_devices(done.stdout):
            return Trial(ERROR, f"{found.text}, but a hook would fail: {_last_line(done)}", "install netdevns again")
        return found

    def _judged(self, start: list[str]) -> tuple[list[str], str]:
        """The words that start the command without writing compiled modules, and why root must not start them; or "".

        Other files that the interpreter loads than its standard library and netdevns are not checked; `--install` does
        that.

        Raises:
            OSError, Refused, ValueError: A file cannot be read, or is not of this form.
        """
        if len(start) == 1:
            python, options = hook_line.interpreter_of(start[0])
            bins = os.path.dirname(os.path.dirname(python))
            places = [bins, os.path.dirname(os.path.dirname(os.path.realpath(python)))]
            parents = [os.path.dirname(path) for place in places for path in _packages(place)]
            parents += _named_folders(start[0])
            words = [python, "-B", *filter(None, [options]), start[0]]
            paths = [start[0]]
        else:
            python, words, paths = start[0], [start[0], "-B", *start[1:]], []
            main = os.path.dirname(os.path.dirname(start[-1]))
            parents = _folders(start[-1]) if start[-2] == "-c" else [main]
        folders = [path for parent in dict.fromkeys(parents) if os.path.isdir(path := f"{parent}/{COMMAND}")]
        for path in (*paths, *parents):
            if why := why_untrusted(path):
                return words, why
        library = _library(os.path.realpath(python))
        prefix = os.path.dirname(os.path.dirname(library))
        key = (python, *folders)
        if key not in self._trees:
            self._trees[key] = hook_line.why_not(python, [], [prefix, library], folders)
        return words, self._trees[key]


def _untrusted(why: str) -> Trial:
    """`why`: of `why_untrusted` or `hook_line.why_not`, which ends with the reason where a file cannot be examined."""
    if os.geteuid() != 0 and why.endswith(os.strerror(errno.EACCES)):
        return Trial(WARNING, _UNREADABLE, AS_ROOT)
    return Trial(ERROR, f"not tried: {why}", _ELSEWHERE)


def _is_hidden(path: str) -> bool:
    """Whether a folder above the file hides it from this user."""
    try:
        os.stat(path)
    except PermissionError:
        return True
    except (OSError, ValueError):
        return False
    return False


def _packages(prefix: str) -> list[str]:
    """The folders of netdevns that an interpreter with this prefix may load."""
    patterns = (f"lib*/python3*/{folder}/{COMMAND}" for folder in PACKAGES_OF_OTHERS)
    return [path for pattern in patterns for path in glob.glob(os.path.join(glob.escape(prefix), pattern))]


def _named_folders(script: str) -> list[str]:
    """The folders that a script adds to sys.path, as that of the Debian package."""
    with open(script, encoding="utf-8", errors="surrogateescape") as file:
        named = re.findall(r"""["'](/[^"'\n]+)["']""", file.read(1 << 16))
    return [folder for folder in named if os.path.isdir(f"{folder}/{COMMAND}")]


def _library(python: str) -> str:
    """The folder of an interpreter's standard library: searched upwards, as the interpreter does."""
    folder = os.path.dirname(python)
    while folder != "/":
        folder = os.path.dirname(folder)
        found = glob.glob(os.path.join(glob.escape(folder), "lib*/python3*/os.py"))
        version = re.search(r"3\.\d+", os.path.basename(python))
        mine = [path for path in found if version is None or path.endswith(f"/python{version[0]}/os.py")]
        if mine:
            return os.path.dirname(mine[0])
    raise FileNotFoundError(f"{python}: its standard library was not found")


def _version(words: Sequence[str], name: str) -> Trial:
    """Runs a program with --version."""
    try:
        done = run([*words, "--version"])
    except NotIsolated as e:
        return Trial(WARNING, f"not tried: {e}", by_root())
    except NotRun as e:
        return Trial(ERROR, f"{printable(words[-1])} does not run: {printable(str(e))}", "install netdevns again")
    said = done.stdout.decode(errors="backslashreplace").strip()
    if done.returncode != 0 or not said.startswith(f"{name} "):
        return Trial(ERROR, f"{printable(words[-1])} does not run: {_last_line(done)}", "install netdevns again")
    text = f"runs {quoted(said)}"
    if said != f"{name} {__version__}":
        return Trial(WARNING, f"{text}; this is {__version__}", "install one version, then this file again")
    return Trial(OK, text)


def _last_line(done: subprocess.CompletedProcess[bytes]) -> str:
    lines = (done.stderr or done.stdout).decode(errors="backslashreplace").strip().splitlines()
    return quoted(lines[-1].removeprefix("netdevns: ")) if lines else f"exit code {done.returncode}"
