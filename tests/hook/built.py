"""The hook in C as tests start it: beside a `netdevns` that it can hand over to."""

from __future__ import annotations

import functools
import shlex
import sys
from pathlib import Path

import netdevns
from tests.csrc.compilers import BUILDS, CSRC, digest, once

SOURCES = tuple(sorted((CSRC / "hook").glob("*.c")))


@functools.cache
def program(way: str = "gcc") -> Path:
    """netdevns-hook, built in one of BUILDS. Skips where it cannot be."""
    build = BUILDS[way]
    build.check()
    linked = build.link("netdevns-hook", SOURCES)
    # It leaves out what an interpreter would take modules from.
    path = shlex.quote(str(Path(netdevns.__file__).parents[1]))
    script = f'#!/bin/sh\nPYTHONPATH={path} exec {shlex.quote(sys.executable)} -P -m netdevns "$@"\n'

    def make(folder: Path) -> None:
        (folder / "netdevns-hook").write_bytes(linked.read_bytes())
        (folder / "netdevns").write_text(script)
        for file in folder.iterdir():
            file.chmod(0o755)

    return once(f"hook-{way}", digest(linked, script), make) / "netdevns-hook"
