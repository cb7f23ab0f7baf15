"""tools/guest.py: what a guest kernel is told to run."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tools import guest


def test_job_runs_the_command_as_it_was_given(tmp_path: Path) -> None:
    """In the checkout, with the variables and nothing else, whatever is in the words."""
    top = tmp_path / "a 'checkout'"
    top.mkdir()
    words = ["/bin/sh", "-c", 'pwd; env; echo "$1"', "sh", "two  words $HOME"]
    file = tmp_path / "job"
    file.write_bytes(guest.job(top, "/x/modprobe", "/dev/ttyS1", {"A": "b c"}, words))
    script = f'. {file}; echo "$TTY $MODPROBE"; (run)'
    done = subprocess.run(["/bin/sh", "-c", script], env={"SECRET": "1"}, capture_output=True, text=True, check=True)
    out = done.stdout
    assert out.splitlines()[:2] == ["/dev/ttyS1 /x/modprobe", str(top)]
    assert "A=b c" in out
    assert "SECRET" not in out
    assert out.splitlines()[-1] == "two  words $HOME"
