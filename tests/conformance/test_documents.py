"""docs/kernels.md: its commands, as they stand."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import readme
from tests.support.attacks import TOP

(COMMANDS,) = readme.commands(readme.DOCS / "kernels.md")


@pytest.mark.thorough
@pytest.mark.timeout(900)
def test_commands_do_what_they_say(tmp_path: Path) -> None:
    """Each line ends with exit code 0 on a kernel that keeps what must hold; two equal runs have no difference."""
    program = tmp_path / "bin" / "netdevns"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nPYTHONPATH={TOP} exec {shlex.quote(sys.executable)} -P -m netdevns "$@"\n')
    program.chmod(0o755)
    environment = os.environ | {"PATH": f"{program.parent}:{os.environ['PATH']}"}
    for line in COMMANDS:
        assert line.startswith("netdevns conformance")
        if " diff " in line:
            shutil.copy(tmp_path / "new.json", tmp_path / "old.json")
        done = subprocess.run(
            ["sh", "-c", line], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (line, done.stdout[-2000:], done.stderr)
