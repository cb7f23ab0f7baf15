"""Makes the command line of a hook for generated files, checks who could change its code, and tries it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from importlib.util import find_spec

from .. import __version__
from ..system import programs
from ..text.output import complain
from ..text.quote import printable
from . import trust

# Enough for hundreds of devices. The runtime kills a hook that takes longer; `netdevns recover` then undoes the move.
TIMEOUT_S = 60
_TRIAL_S = 30
_ANSWER_BYTES = 16 << 20  # the paths of some hundred modules
STATIC = "netdevns-hook"  # csrc/hook
PACKAGE = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
_SHEBANG = re.compile(rb"#! *(?:/bin/sh\n'''exec' \"?)?(/[^\n\"]*python[^\n\"/ ]*)\"?(?: (-\w+))?(?: [^\n]*)?\n")
_MAIN = "__main__.py"
# A program for "-c" that prints, each followed by NUL: the paths of the interpreter's modules, the files that `site`
# reads (without -S), the loaded modules' files, and the mapped programs and libraries (cffi's libffi, libpython, libc).
_ASK = """
import glob, os, sys
found = [sys.base_prefix, *sys.path]
sys.path += sys.argv[1:]
import netdevns.oci.hook_command, netdevns._ffi
for folder in sys.path if "site" in sys.modules else ():
    for path in sorted(glob.glob(os.path.join(glob.escape(folder), "*.pth"))):
        with open(path, "rb") as file:
            lines = [os.fsdecode(line).rstrip() for line in file.read().splitlines()]
        lines = [each for each in lines if each and not each.startswith(("#", "import"))]
        found += [path, *(os.path.join(folder, each) for each in lines)]
for module in list(sys.modules.values()):
    found += {getattr(module, "__file__", None), getattr(module, "__cached__", None)} - {None}
with open("/proc/self/maps", "rb") as maps:
    lines = [line.rstrip(b"\\n").split(None, 5) for line in maps]
found += sorted({line[5] for line in lines if len(line) == 6 and b"x" in line[1] and line[5].startswith(b"/")})
sys.stdout.buffer.write(b"".join(os.fsencode(each) + b"\\0" for each in found))
"""
_INSTALL = "{} would run that as root; install netdevns, and its Python, where only root may write"
# Packages of others, which a hook does not import; netdevns and cffi are checked separately.
PACKAGES_OF_OTHERS = ("site-packages", "dist-packages")


class Refused(Exception):
    """The file cannot be written, for a reason in one line; nothing was touched."""


def command(*, is_installed: bool = False, with_python: bool = False) -> list[str]:
    """The words that start a hook of this installation, without the stage; tried once with a harmless command.

    One word for the hook in C, where it is installed with this package. Otherwise, or with `with_python`, the
    interpreter: with -S, as `site` takes half of a hook's time, and so with explicit paths; and with -I, because a
    hook's working directory is the bundle.

    Args:
        is_installed: Whether the line is installed, not only shown. A hook runs as root, so an installed line must not
            load code that another user could change; for a shown line that is a warning.
        with_python: Uses `netdevns hook` even where the hook in C is installed.

    Raises:
        Refused: This installation has no line that works, or that may be installed.
    """
    static = None if with_python else static_hook()
    if static:
        words, why = [static], _judge_static(static)
    else:
        words, why = _judge_python()
        words = [*words, "hook"]
    _refuse(why, _INSTALL.format("each container's start"), is_installed)
    return words


def program(*, is_installed: bool = False, starter: str = "systemd") -> list[str]:
    """The words that start this installation's command line: `command` with Python, without "hook".

    Args:
        is_installed: As for `command`.
        starter: The program that starts it.

    Raises:
        Refused: As `command`.
    """
    words, why = _judge_python()
    _refuse(why, _INSTALL.format(starter), is_installed)
    return words


def _refuse(why: str, remedy: str, is_installed: bool) -> None:
    if why and is_installed:
        raise Refused(f"{why}; {remedy}")
    if why:
        complain([f"{why}; --install would refuse; {remedy}"], 0)


def _judge_python() -> tuple[list[str], str]:
    """The words that start the command in Python, and why root must not start it; or ""."""
    parents = [os.path.dirname(PACKAGE), os.path.dirname(_core())]
    python = [_interpreter(), "-I", "-S"]
    words = [*python, *_program(parents)]
    check_text(words)  # before the trial: Python 3.13 and later load no extension module from a path that is not UTF-8
    _try(words)
    return words, why_not(sys.executable, parents, _loaded(python, parents))


def static_hook() -> str | None:
    """The hook in C that was installed with this package, or None.

    None where no compiler could build it, and in a checkout, whose sources may be newer.
    """
    try:
        files = metadata.files("netdevns") or ()
    except metadata.PackageNotFoundError:
        return None
    places = {str(file): os.path.realpath(file.locate()) for file in files}
    if places.get("netdevns/__init__.py") != os.path.join(PACKAGE, "__init__.py"):
        return None
    return next((path for name, path in places.items() if os.path.basename(name) == STATIC), None)


def _judge_static(path: str) -> str:
    """Why root must not start the hook in C, or the command beside it, to which it hands over; or ""."""
    beside = os.path.join(os.path.dirname(path), "netdevns")
    check_text([path])
    try:
        for program in filter(os.path.exists, (path, beside)):  # before they, and the second's interpreter, are started
            trust.check(program)
    except trust.Untrusted as e:
        return str(e)
    said = _start([path, "--version"]).stdout.decode(errors="backslashreplace").strip()
    if said != f"{STATIC} {__version__}":
        raise Refused(f"{printable(path)}: this is not the hook of netdevns {__version__}: install netdevns again")
    _try([beside])
    python, options = interpreter_of(beside)
    parents = [os.path.dirname(PACKAGE), os.path.dirname(_core())]
    prefix, *others = _loaded([python, options or "-Ps"], parents)
    # A script's modules are searched in its own folder first, unless the interpreter is isolated.
    beside_it = [] if "I" in options else [os.path.dirname(beside)]
    return why_not(python, parents, [prefix, *beside_it, *others])


def interpreter_of(script: str) -> tuple[str, str]:
    """The interpreter in the shebang of a script made by pip or a distribution's package, and its options ("-IS").

    pip starts it through /bin/sh where its path is long or has a blank.
    """
    with open(script, "rb") as file:
        found = _SHEBANG.match(file.read(4096))
    if found is None:
        raise Refused(f"{printable(script)}: not a script made by pip; install netdevns again, or use --python")
    return os.fsdecode(found[1]), os.fsdecode(found[2] or b"")


def entry(words: list[str], *arguments: str) -> dict[str, object]:
    """A hook in the form of the runtime-spec, which CDI and hooks.d share.

    Args:
        words: The result of `command`.
        arguments: The stage and its arguments.

    Raises:
        Refused: An argument, or a path of this installation, is not UTF-8, which JSON requires.
    """
    # The first argument is argv[0], by which Python finds its installation, so it is the path.
    args = [*words, *arguments]
    check_text(args)
    return {"path": words[0], "args": args, "timeout": TIMEOUT_S}


def is_ours(hook: object) -> bool:
    """Whether a hook was made by `entry`, in this installation or another one."""
    args = hook.get("args") if isinstance(hook, Mapping) else None
    if not isinstance(args, list) or not args:
        return False
    if os.path.basename(str(args[0])) == STATIC:
        return True
    if len(args) < 5 or args[1:3] != ["-I", "-S"]:
        return False
    return "hook" in args and any("netdevns" in str(word) for word in args[3 : args.index("hook")])


def check_text(words: list[str]) -> None:
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError:
            raise Refused(f"{printable(word)}: not UTF-8, which JSON requires") from None


def _interpreter() -> str:
    """The interpreter's own file, not a shim that starts one, nor a virtual environment's link (-S ignores it)."""
    path = os.path.realpath(sys.executable) if sys.executable else ""
    if not path:
        raise Refused("this Python does not know its interpreter's path; start netdevns with another Python")
    try:
        with open(path, "rb") as file:
            magic = file.read(4)
    except OSError as e:
        raise Refused(f"{printable(path)}: this Python's interpreter cannot be read: {e.strerror}") from None
    if magic != b"\x7fELF":
        raise Refused(
            f"{printable(path)}: not an interpreter but a script; start netdevns with the interpreter that it starts"
        )
    return path


def _core() -> str:
    """The file of cffi's module."""
    core = find_spec("_cffi_backend")
    if core is None or core.origin is None:
        raise Refused("this Python has no _cffi_backend: install cffi")
    return os.path.realpath(core.origin)


def _program(parents: list[str]) -> list[str]:
    """The arguments that run this package: its __main__.py, or, where cffi is elsewhere, a program with both paths."""
    if parents[0] == parents[1]:
        return [os.path.join(PACKAGE, _MAIN)]
    return ["-c", f"import sys; sys.path += {parents!r}; import netdevns.__main__"]


def _loaded(python: list[str], parents: list[str]) -> list[str]:
    """The paths from which a hook's code is loaded, as the interpreter reports them; `_ASK` defines the order."""
    done = _start([*python, "-c", _ASK, *parents])
    if done.returncode != 0:
        raise Refused(f"{printable(python[0])}: cannot list the files of a hook: exit code {done.returncode}")
    return [os.fsdecode(path) for path in done.stdout.split(b"\0")[:-1]]


def why_not(python: str, paths: list[str], loaded: list[str], packages: Sequence[str] = (PACKAGE,)) -> str:
    """Why root must not start the line: the path that another user could change; or "".

    Args:
        python: The interpreter, as it is started.
        paths: Other programs that are started, and folders that are searched for modules.
        loaded: The result of `_loaded`; at least a folder above the interpreter's standard library.
        packages: The folders of netdevns.
    """
    prefix, *others = loaded
    try:
        # pyvenv.cfg is read from there before the first module, also with -I and -S, and the standard library is
        # searched in each directory above, up to the one that has it.
        folder = ""
        for program in python, os.path.realpath(python):
            folder = os.path.dirname(program)
            for name in "pyvenv.cfg", "../pyvenv.cfg":
                _check_if_there(os.path.join(folder, name))
            trust.check(program)
        while folder not in (prefix, "/"):
            trust.check(folder)
            folder = os.path.dirname(folder)
        trust.check(folder)
        for package in packages:
            trust.check_tree(package)
        for path in paths:
            trust.check(path)
        for path in others:
            if os.path.basename(path) in PACKAGES_OF_OTHERS:
                trust.check(path)
            elif os.path.isdir(path):
                trust.check_tree(path, PACKAGES_OF_OTHERS)
            else:
                _check_if_there(path)
    except trust.Untrusted as e:
        return str(e)
    except OSError as e:
        return f"{printable(str(e.filename))}: cannot check whether others could change it: {e.strerror}"
    return ""


def _check_if_there(path: str) -> None:
    """Checks a file, or, where it does not exist, the directory in which another user could make it."""
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    trust.check(path)


def _try(words: list[str]) -> None:
    """Runs `show` as a runtime would start a hook, without environment and in another directory.

    A hook would write to the log; `show` loads the same compiled core and changes nothing.
    """
    done = _start([*words, "show", "--json", "lo"])
    if not has_devices(done.stdout):
        said = done.stderr.decode(errors="backslashreplace").strip().splitlines() or [f"exit code {done.returncode}"]
        raise Refused(f"{printable(' '.join(words))}: a hook would not work: {printable(said[-1])}")


def has_devices(data: bytes) -> bool:
    """Whether this is what `show --json` prints."""
    try:
        answer = json.loads(data)
    except (ValueError, RecursionError):
        return False
    return isinstance(answer, dict) and "devices" in answer


def _start(words: list[str]) -> subprocess.CompletedProcess[bytes]:
    """Runs a program. Raises Refused: it does not start, or does not end in time."""
    try:
        return programs.run(words, timeout_s=_TRIAL_S, most=_ANSWER_BYTES)
    except (OSError, ValueError) as e:
        raise Refused(f"{printable(words[0])}: a hook would not start: {getattr(e, 'strerror', None) or e}") from None
