"""tools/guest.py: the command that a guest kernel runs, and how the guest ended."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tools import guest


def test_job_runs_the_command_as_it_was_given(tmp_path: Path) -> None:
    """In the checkout, with only the given variables; no word is expanded or split."""
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


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("echo '@@netdevns start 5.10.46'; echo '@@netdevns exit 3'", ("5.10.46", 3, "exit 3", "")),
        (
            "echo '@@netdevns start 5.10.46'; echo '[ 1.0] Kernel panic - not syncing: a reason'; echo ' trace'",
            (
                "5.10.46",
                guest.BROKEN,
                "kernel panic - not syncing: a reason",
                "@@netdevns start 5.10.46\n[ 1.0] Kernel panic - not syncing: a reason\n trace\n",
            ),
        ),
        ("echo booting", ("", guest.BROKEN, "the kernel ended before the command did", "booting\n")),
    ],
    ids=["exit", "panic", "no start"],
)
def test_watch_reports_how_a_guest_ended(script: str, expected: tuple[object, ...]) -> None:
    """If its kernel crashed, with the last lines of the console."""
    console, console_w = os.pipe()
    tty, tty_w = os.pipe()
    try:
        with subprocess.Popen(["/bin/sh", "-c", script], stdout=console_w) as process:
            assert guest.watch(process, console, tty, "", 10) == expected
    finally:
        for fd in (console, console_w, tty, tty_w):
            os.close(fd)
