"""The runners of a session, each a process that stays."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import pytest

from .play import LAST
from .runners import NATIVE, REFERENCE, C, CRunner, PythonRunner, Runner
from .world import GRAVES

# NETDEVNS_RUNNERS=c: only these.
NAMES = os.environ.get("NETDEVNS_RUNNERS", f"{NATIVE},{REFERENCE},{C}").split(",")


@pytest.fixture(scope="session")
def runners() -> Iterator[list[Runner]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(CRunner() if name == C else PythonRunner(name)) for name in NAMES]
    LAST.close()
    GRAVES.close()
