"""The folders of records: their mode does not depend on the caller's umask."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from netdevns.system import folders


@pytest.mark.parametrize("umask", [0o777, 0o277, 0])
def test_mode_of_a_new_folder(tmp_path: Path, umask: int) -> None:
    """A umask that takes the owner's rights away would shut out a later user without CAP_DAC_OVERRIDE."""
    before = os.umask(umask)
    try:
        os.close(folders.open_folder(str(tmp_path / "run"), "txn", create=True))
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / folder).stat().st_mode) for folder in ("run", "run/txn")]
    assert modes == [folders.MODE_DIR] * 2
