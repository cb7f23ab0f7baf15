"""Sub-interpreters: netdevns works in them, or says in one line why it cannot, and what can."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parents[3]
# What Python says of a module that was not made for it; raised for the core, whichever Python this is.
REFUSING = """
import sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "netdevns._core":
            raise ImportError("module _core does not support loading in subinterpreters")
sys.meta_path.insert(0, Finder())
try:
    import netdevns.engine
except ImportError as e:
    print(e)
"""
INSIDE = "from tools.wheels_smoke import in_interpreter; print(in_interpreter(own_gil={own}))"


def printed(code: str, engine: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(TOP), "NETDEVNS_ENGINE": engine}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("engine", ["native", "reference"])
def test_sub_interpreter_works(engine: str) -> None:
    """In one that shares the main interpreter's GIL both engines work."""
    assert printed(INSIDE.format(own=False), engine) == "works"


def test_own_gil_works_or_is_refused() -> None:
    """In a sub-interpreter with its own GIL (Python 3.12 or later) the core is refused, as cffi is."""
    line = printed(INSIDE.format(own=True), "native")
    assert line == "works" or "a sub-interpreter with its own GIL" in line


def test_refusal_says_what_works() -> None:
    """One line: what cannot be loaded, why, and what can be done about it."""
    line = printed(REFUSING, "native")
    assert line == (
        "netdevns: the compiled core cannot be loaded: module _core does not support loading in subinterpreters; "
        "a sub-interpreter with its own GIL cannot load it: use one that shares the main interpreter's GIL, a "
        "thread, or, from Python 3.13 on, NETDEVNS_ENGINE=reference"
    )
