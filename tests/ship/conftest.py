"""What all tests of this folder look at."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.require import require_module
from tools import wheels


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(sdist, wheel), built once."""
    require_module("ship", "auditwheel")
    return wheels.build(tmp_path_factory.mktemp("dist"))
