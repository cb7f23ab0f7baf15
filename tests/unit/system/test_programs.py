"""Programs that others wrote: their time, their output and their children are limited."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

import pytest

from netdevns.system import libc, mounts, programs
from tests.support.namespaces import enter_user_namespace, in_child
from tests.support.processes import processes, wait_until


def test_output_and_code() -> None:
    """Both outputs, and the exit code; no environment, no stdin, and "/" as the working directory."""
    done = programs.run(["/bin/sh", "-c", "pwd; read x || echo none >&2; exit 7"], timeout_s=10)
    assert (done.stdout, done.stderr, done.returncode) == (b"/\n", b"none\n", 7)


def test_much_output_is_cut() -> None:
    """A program that never stops to write fills neither the memory nor the pipe."""
    with pytest.raises(TimeoutError, match="did not end within"):
        programs.run(["/bin/sh", "-c", "while :; do echo xxxxxxxx; done"], timeout_s=0.3)
    done = programs.run(["/bin/sh", "-c", "head -c 5000000 /dev/zero"], timeout_s=10, most=1000)
    assert (len(done.stdout), done.returncode) == (1000, 0)


def test_children_that_hold_the_pipe() -> None:
    """A child that stays keeps nobody waiting, and is killed."""
    begun = time.monotonic()
    done = programs.run(["/bin/sh", "-c", "sleep 31337 & echo here"], timeout_s=10)
    assert (done.stdout, done.returncode) == (b"here\n", 0)
    assert time.monotonic() - begun < 5
    wait_until(lambda: not processes("31337"), "it is killed")


@pytest.mark.parametrize("words", [["/no/such"], ["/etc/passwd"], ["/bin/sh\0"]])
def test_not_started(words: list[str]) -> None:
    with pytest.raises((OSError, ValueError)):
        programs.run(words, timeout_s=1)


def test_isolated_program_changes_nothing(tmp_path: Path) -> None:
    """It can write nowhere but in its own /run, which is empty and gone afterwards; this process still can."""
    script = f"echo x > {tmp_path}/x; echo x > /run/x && ls -A /run; cat /proc/self/mounts"
    done = programs.run(["/bin/sh", "-c", script], timeout_s=10, is_isolated=True)
    assert done.stderr.endswith(b"Read-only file system\n")
    first, *mounted = done.stdout.decode().splitlines()
    assert first == "x"
    options = [(path, options.split(",")[0]) for _, path, _, options, *_ in map(str.split, mounted)]
    assert [path for path, first in options if first != "ro"] == ["/run"]
    assert not Path("/run/x").exists()
    (tmp_path / "x").write_text("")


def test_isolated_program_leaves_no_process() -> None:
    """Not even one that has become a daemon by two forks and a session of its own; nor can it reach a device."""
    script = "setsid sh -c 'sleep 31339 & sleep 31339 &' & setsid sleep 31339 & echo $$; ls /proc/self/net; ip -br link"
    done = programs.run(["/bin/sh", "-c", script], timeout_s=10, is_isolated=True)
    first, *_, last = done.stdout.decode().splitlines()
    assert (first, last.split()[:2], done.returncode) == ("1", ["lo", "DOWN"], 0)
    assert not processes("31339")


@pytest.mark.parametrize(("script", "code"), [("exit 7", 7), ("kill -KILL $$", 0), ("exec sleep 0.1", 0)])
def test_end_of_an_isolated_program(script: str, code: int) -> None:
    """The exit code is its own; as the first process of its namespace it is not killed by itself."""
    done = programs.run(["/bin/sh", "-c", script], timeout_s=10, is_isolated=True)
    assert done.returncode == code


def test_isolated_program_takes_too_long() -> None:
    with pytest.raises(TimeoutError, match="did not end within"):
        programs.run(["/bin/sh", "-c", "trap '' TERM; setsid sleep 31340"], timeout_s=0.3, is_isolated=True)
    wait_until(lambda: not processes("31340"), "it is killed")


@pytest.mark.parametrize("limit", ["max_pid_namespaces", "max_net_namespaces"])
def test_isolated_where_there_is_a_limit(limit: str, tmp_path: Path) -> None:
    """Without one of the other namespaces it runs in the mount namespace."""

    def child() -> object:
        enter_user_namespace(programs.CLONE_NEWNS)
        Path("/proc/sys/user", limit).write_text("0")
        done = programs.run(["/bin/sh", "-c", f"echo here; echo x > {tmp_path}/x"], timeout_s=10, is_isolated=True)
        return done.stdout, done.stderr.endswith(b"Read-only file system\n")

    assert in_child(child) == (b"here\n", True)


def test_not_isolated() -> None:
    """Without the right to do so, the program is not started."""

    def child() -> object:
        os.setuid(4711)
        try:
            return programs.run(["/bin/true"], timeout_s=10, is_isolated=True)
        except programs.NotIsolated as e:
            return str(e)

    assert "it cannot be started isolated" in in_child(child)


def test_interrupted() -> None:
    """Ctrl-C while it runs: neither it nor a child of it is left."""

    def child() -> None:
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with contextlib.suppress(KeyboardInterrupt):
            programs.run(["/bin/sh", "-c", "sleep 31338 & sleep 31338"], timeout_s=60)
        wait_until(lambda: not processes("31338"), "it is killed")

    in_child(child)


def test_isolated_before_linux_5_12(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without mount_setattr(2) each mount is made read-only by itself, also one whose path has a blank."""
    folder = tmp_path / "a b"
    folder.mkdir()

    def child() -> object:
        libc.call("unshare", programs.CLONE_NEWNS)
        libc.call("mount", None, b"/", None, mounts.MS_REC | mounts.MS_PRIVATE, None)
        libc.call("mount", b"tmpfs", os.fsencode(folder), b"tmpfs", 2, None)
        done = programs.run(
            ["/bin/sh", "-c", f"echo x > '{folder}/x'; echo x > {tmp_path}/x"], timeout_s=10, is_isolated=True
        )
        (folder / "y").touch()
        return done.stderr.count(b"Read-only file system"), [*map(str, folder.iterdir())]

    monkeypatch.setattr(mounts, "_MOUNT_SETATTR", 100_000)  # no system call has this number: ENOSYS
    assert in_child(child) == (2, [f"{folder}/y"])
