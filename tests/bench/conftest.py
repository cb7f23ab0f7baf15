"""The benchmark's own tests: small scenarios, played for real in fresh namespaces."""

from __future__ import annotations

import shutil

import pytest

from bench import build
from bench import round as rounds
from tests.support.namespaces import fresh
from tests.support.require import require


@pytest.fixture(scope="session", autouse=True)
def _programs() -> None:
    """What a round needs: namespaces, and the programs in C."""
    fresh("probe").close()
    if shutil.which("gcc") is None:
        require("compilers", "no gcc, which the contestants in C are compiled with")
    build.programs()
    build.site()


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times do not matter here, so no round waits for the kernel to settle."""
    monkeypatch.setattr(rounds, "SETTLE_S", 0)
    monkeypatch.setattr(rounds, "destroy", lambda namespaces: [namespace.close() for namespace in namespaces])
