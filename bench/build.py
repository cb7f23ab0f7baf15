"""Compiles the contestants in C into .cache/bench, if they are older than their sources."""

from __future__ import annotations

import subprocess
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
BUILT = TOP / ".cache" / "bench"
FLAGS = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-O2"]


def programs() -> None:
    """Raises CalledProcessError; the compiler has said why."""
    BUILT.mkdir(parents=True, exist_ok=True)
    sources = [TOP / "bench" / name for name in ("floor.c", "launch.c", "protocol.h")]
    newest = max(source.stat().st_mtime for source in sources)
    for source in sources:
        program = BUILT / source.stem
        if source.suffix == ".c" and not (program.exists() and program.stat().st_mtime > newest):
            subprocess.run(["gcc", *FLAGS, "-o", program, source], check=True)
