"""Another user, whose files are on the way, and an operator's commands in a child.

That user is a number, OTHER: files are given to it, and a child becomes it.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path

from netdevns.cli.main import main
from netdevns.oci import cdi
from tests.support.namespaces import in_child

OTHER = 4711
KIND, FILE = "vendor.com/nic", "vendor.com-nic.json"
MEMORY = 3 << 29  # bytes: 1.5 GB
PATIENCE_S = 60
Change = Callable[[Path], None]


def run(*arguments: str) -> tuple[int, str]:
    """The command's exit code and what it says on stderr, in a child that has little memory and time."""

    def child() -> tuple[int, str]:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        signal.alarm(PATIENCE_S)
        with contextlib.redirect_stderr(io.StringIO()) as err, contextlib.redirect_stdout(io.StringIO()):
            code = main([*arguments])
        return code, err.getvalue()

    found: tuple[int, str] = in_child(child)
    return found


def owned(path: Path) -> None:
    os.chown(path, OTHER, OTHER, follow_symlinks=False)


def mode(bits: int) -> Change:
    return lambda path: path.chmod(bits)


def plant(folder: Path) -> Path:
    """A file that netdevns wrote."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILE
    path.write_text(json.dumps(cdi.document(KIND, {"eth1": None}, cdi.NATIVE)))
    return path
