"""Hooks with each engine, and the counts, which are shown at the end."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from netdevns.oci import cdi
from tests.runtimes.container import Machine
from tests.support import require
from tests.support.attacks import ENGINES, LONG, Tally
from tests.support.namespaces import Namespace

from . import ownership
from .bounded import Bounded, made
from .scene import HOOKS

BOTH = [
    pytest.param((hook, engine), marks=[] if engine == ENGINES[0] else pytest.mark.thorough)
    for hook in HOOKS
    for engine in ENGINES
]
HERE = __file__.rpartition("/")[0]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A thousand rounds take longer than a test may."""
    for item in items:
        if LONG and str(item.path.parent) == HERE:
            item.add_marker(pytest.mark.timeout(3600))


@pytest.fixture(scope="session", autouse=True)
def possible() -> None:
    if not shutil.which("strace"):
        require("netns", "no strace here")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`player` is each hook with each engine; in a short run with one, where a module says ONE_ENGINE."""
    if "player" in metafunc.fixturenames and not hasattr(metafunc.module, "player"):
        few = getattr(metafunc.module, "ONE_ENGINE", False) and not LONG
        metafunc.parametrize("player", [each for each in BOTH if not few or not each.marks], ids="-".join)


@pytest.fixture
def hook(player: tuple[str, str]) -> str:
    return player[0]


@pytest.fixture
def engine(player: tuple[str, str]) -> str:
    return player[1]


@pytest.fixture
def tally(request: pytest.FixtureRequest, show: Callable[[str], None]) -> Iterator[Tally]:
    """Counts what a test tries; what is untrue fails it, after all was tried."""
    counts = Tally(request.node.name, "untrue")
    yield counts
    show(str(counts))
    assert not counts.lost, "\n\n".join([str(counts), *counts.lost])
    assert counts.ends.total() > counts.ends["not reached"], "nothing was reached"


@pytest.fixture
def machine(host: Namespace) -> Iterator[Machine]:
    """The namespace `host` with an empty /run, for programs."""
    try:
        found = Machine(host)
    except OSError as e:
        require("netns", str(e))
    with found:
        yield found


@pytest.fixture
def bounded(machine: Machine, tmp_path: Path) -> Iterator[Bounded]:
    """Programs with bounds on that machine, a bundle, and a container's process."""
    with made(machine, tmp_path.resolve()) as found:
        yield found


@pytest.fixture(scope="session")
def others(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whether this process may give files away, and become another user."""
    try:
        os.chown(tmp_path_factory.mktemp("given"), ownership.OTHER, ownership.OTHER)
    except OSError as e:
        require("netns", f"files cannot be given to another user here: {e.strerror}")


@pytest.fixture
def default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The default folder, made by netdevns with the one above it, and with a file in it."""
    base = tmp_path / "base"
    base.mkdir()
    monkeypatch.setattr(cdi, "FOLDER", str(base / "a" / "cdi"))
    monkeypatch.setattr(cdi, "BASE", str(base))
    assert ownership.run("cdi", ownership.KIND, "eth1", "--install") == (0, "")
    return base / "a" / "cdi"
