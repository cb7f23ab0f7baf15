"""Fixtures: the programs in tests/csrc, built and started in each way that this machine has."""

from __future__ import annotations

from pathlib import Path

import pytest

from .ways import ALL_WAYS, FEW_WAYS, Start, starter


@pytest.fixture(params=ALL_WAYS)
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Start:
    """Starts one of compilers.PROGRAMS: start(program, argument, ...)."""
    return starter(request.param, tmp_path)


@pytest.fixture(params=FEW_WAYS)
def start_few(request: pytest.FixtureRequest, tmp_path: Path) -> Start:
    """The same in fewer ways: for what takes the kernel time."""
    return starter(request.param, tmp_path)
