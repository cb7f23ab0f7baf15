"""tools/guest.py and tools/kernels: the command that a guest kernel runs, how the guest ended, and what follows."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

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
    assert watched(script) == expected


@pytest.mark.parametrize(
    ("kernel", "reason", "boots"),
    [
        ("5.10", "Kernel mode fault at addr 0x0, ip 0x60918280", 3),
        ("5.10", "Segfault with no mm", 3),
        ("5.10", "another reason", 1),
        ("6.12", "Segfault with no mm", 1),
    ],
)
def test_crash_of_the_kernels_own(
    kernel: str, reason: str, boots: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guest is booted anew until its command ends, however long the call trace; any other panic is a failure."""
    monkeypatch.syspath_prepend(str(Path(guest.__file__).parent))
    kernels, booted = tools_kernels(), tmp_path / "booted"
    crash = f"echo '@@netdevns start 1'; echo '[ 1.0] Kernel panic - not syncing: {reason}'; seq 200"

    def boot(*_: object) -> tuple[str, int, str, str]:
        with booted.open("a") as file:
            file.write("x")
        return watched(crash if booted.stat().st_size < 3 else "echo '@@netdevns start 1'; echo '@@netdevns exit 0'")

    monkeypatch.setattr(kernels, "boot", boot)
    monkeypatch.setattr(kernels, "memory_directory", lambda _: str(tmp_path))
    with kept_signals():
        code = kernels.run(argparse.Namespace(kernel=[kernel], jobs=1))
    assert (len(booted.read_text()), code) == (boots, 0 if boots == 3 else guest.BROKEN)


def watched(script: str) -> tuple[str, int, str, str]:
    """What `guest.watch` says of a guest whose console has what the script prints."""
    console, console_w = os.pipe()
    tty, tty_w = os.pipe()
    try:
        with subprocess.Popen(["/bin/sh", "-c", script], stdout=console_w) as process:
            outcome: tuple[str, int, str, str] = guest.watch(process, console, tty, "", 10)
            return outcome
    finally:
        for fd in (console, console_w, tty, tty_w):
            os.close(fd)


def tools_kernels() -> ModuleType:
    """tools/kernels, a program without a suffix, as a module."""
    loader = SourceFileLoader("tools_kernels", str(Path(guest.__file__).with_name("kernels")))
    spec = spec_from_loader(loader.name, loader)
    assert spec
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


@contextmanager
def kept_signals() -> Iterator[None]:
    """Puts SIGTERM back, for which a program sets a handler."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
