"""The line that starts a hook of ours, in whatever file it is written: made and tried here, and nowhere else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec

from .names import printable

# For a container with hundreds of devices; the runtime kills a hook that takes longer, and `netdevns recover` undoes.
TIMEOUT_S = 60
_TRIAL_S = 30
_MAIN = "__main__.py"


class Refused(Exception):
    """What was asked for cannot be written, in one line; nothing was touched."""


def command() -> list[str]:
    """What starts netdevns as this process has it, tried once: an absolute path, and arguments before `hook`.

    Without Python's `site` (-S), which takes half of a hook's time, and therefore with explicit paths; with -I, because
    a hook's working directory is the bundle.

    Raises:
        Refused: This installation has no such line that works.
    """
    words = [_interpreter(), "-I", "-S", *_program()]
    _check_text(words)  # before the trial: Python >= 3.13 loads no extension module from such a path
    _try(words)
    return words


def entry(words: list[str], *arguments: str) -> dict[str, object]:
    """A hook in the form of the runtime-spec, which CDI and hooks.d share.

    Args:
        words: What `command` returned.
        arguments: Behind `hook`.

    Raises:
        Refused: An argument, or a path of this installation, is no text that JSON could carry.
    """
    # The first argument is the path again: it is the program's argv[0], by which Python finds its installation.
    args = [*words, "hook", *arguments]
    _check_text(args)
    return {"path": words[0], "args": args, "timeout": TIMEOUT_S}


def is_ours(hook: object) -> bool:
    """Whether a hook was made by `entry`, by this installation or another one."""
    args = hook.get("args") if isinstance(hook, Mapping) else None
    if not isinstance(args, list) or len(args) < 5 or args[1:3] != ["-I", "-S"]:
        return False
    return "hook" in args and any("netdevns" in str(word) for word in args[3 : args.index("hook")])


def _check_text(words: list[str]) -> None:
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError:
            raise Refused(f"{printable(word)}: this is not UTF-8, which JSON cannot carry") from None


def _interpreter() -> str:
    """The interpreter's own file: no shim that looks for one, and no link of a virtual environment (-S ignores it)."""
    path = os.path.realpath(sys.executable) if sys.executable else ""
    if not path:
        raise Refused("this Python does not know the path of its interpreter; start netdevns with another")
    try:
        with open(path, "rb") as file:
            magic = file.read(4)
    except OSError as e:
        raise Refused(f"{printable(path)}: this Python's interpreter cannot be read: {e.strerror}") from None
    if magic != b"\x7fELF":
        raise Refused(
            f"{printable(path)}: this is no interpreter but a script that starts one; start netdevns with the real one"
        )
    return path


def _program() -> list[str]:
    """This package's file to run, or, where cffi lies elsewhere, a program that knows both places."""
    package = os.path.dirname(os.path.realpath(__file__))
    core = find_spec("_cffi_backend")
    if core is None or core.origin is None:
        raise Refused("there is no _cffi_backend in this Python: install cffi")
    parents = [os.path.dirname(package), os.path.dirname(os.path.realpath(core.origin))]
    if parents[0] == parents[1]:
        return [os.path.join(package, _MAIN)]
    return ["-c", f"import sys; sys.path += {parents!r}; import netdevns.__main__"]


def _try(words: list[str]) -> None:
    """Starts it as a runtime would, with no environment and in another directory: it must show a device.

    Not as a hook, which would leave a line in the log; `show` loads the compiled core, too, and changes nothing.
    """
    try:
        done = subprocess.run(
            [*words, "show", "--json", "lo"],
            stdin=subprocess.DEVNULL, capture_output=True, env={}, cwd="/", timeout=_TRIAL_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired, ValueError) as e:
        raise Refused(f"{printable(words[0])}: a hook would not start: {getattr(e, 'strerror', None) or e}") from None
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        answer = None
    if not isinstance(answer, dict) or "devices" not in answer:
        said = done.stderr.decode(errors="backslashreplace").strip().splitlines() or [f"exit code {done.returncode}"]
        raise Refused(f"{printable(' '.join(words))}: a hook would not work: {printable(said[-1])}")
