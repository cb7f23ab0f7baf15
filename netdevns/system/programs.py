"""Runs other programs within limits: of time, of output, and without their children outliving the call."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import select
import signal
import subprocess
import time
from collections.abc import Sequence
from typing import NoReturn

from . import mounts
from .libc import call
from .process import Process

CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWNET = 0x20000, 0x20000000, 0x40000000  # linux/sched.h
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38  # linux/prctl.h
_OWN_FOLDER = "/run"  # where programs make files even to say their version: empty and writable when isolated
OUTPUT_BYTES = 1 << 20
PAUSE_S = 0.05
_PART_BYTES = 1 << 16


class NotIsolated(OSError):
    """The program was not started, as it could have changed files."""


def run(
    words: Sequence[str], *, timeout_s: float, most: int = OUTPUT_BYTES, is_isolated: bool = False
) -> subprocess.CompletedProcess[bytes]:
    """Runs a program in "/", without stdin, environment and terminal; then kills what it has left in its session.

    Args:
        words: The program's path, and its arguments.
        timeout_s: Seconds, at most; then it is killed.
        most: Bytes that are kept of stdout and of stderr each; the rest is read and dropped.
        is_isolated: Whether it can change no file: it has a mount namespace of its own, read-only, with an empty /run;
            and where the kernel allows that, PID and network namespaces, so that it leaves no process and reaches no
            device. Only for a process with one thread.

    Raises:
        OSError: It cannot be started. ETIMEDOUT (TimeoutError): it took longer. NotIsolated: CAP_SYS_ADMIN is missing.
        ValueError: A word has a NUL byte or a lone surrogate.
    """
    isolate = functools.partial(_isolate, words[0]) if is_isolated else None
    try:
        started = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={}, cwd="/",
            start_new_session=True, preexec_fn=isolate,
        )  # fmt: skip
    except subprocess.SubprocessError:  # of preexec_fn, whose error is lost
        raise NotIsolated(errno.EPERM, "it cannot be started isolated, so that it changes nothing") from None
    assert started.stdout is not None
    assert started.stderr is not None
    kept = {started.stdout.fileno(): b"", started.stderr.fileno(): b""}
    with started:  # closes the pipes, and waits
        try:
            with Process(started.pid) as process:
                has_ended = _read(process, kept, time.monotonic() + timeout_s, most)
        finally:
            # The number is not reused before the process is waited for, so it is still that of its session.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(started.pid, signal.SIGKILL)
            code = started.wait()
        out, err = kept.values()
    if not has_ended:
        raise TimeoutError(f"it did not end within {timeout_s:g} s")
    return subprocess.CompletedProcess(words, code, out, err)


def _isolate(path: str) -> None:
    """Returns in the first process of namespaces in which nothing can be written but an empty /run. Raises OSError.

    Where a limit or a filter allows no PID or network namespace, in the mount namespace alone: the program is trusted.
    /proc stays that of the caller, in which a process of an inner PID namespace finds itself.
    """
    call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL)  # a caller that is killed leaves no program that hangs
    call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)  # the execution of a set-group-ID program would reset that
    call("unshare", CLONE_NEWNS)
    mounts.make_read_only()
    if os.path.isdir(_OWN_FOLDER) and not os.path.realpath(path).startswith(f"{_OWN_FOLDER}/"):
        call("mount", b"tmpfs", os.fsencode(_OWN_FOLDER), b"tmpfs", 0, None)
    with contextlib.suppress(OSError):
        call("unshare", CLONE_NEWNET)
    try:
        call("unshare", CLONE_NEWPID)
    except OSError:
        return
    opened = [*map(int, os.listdir("/proc/self/fd"))]
    first = os.fork()  # all others of the PID namespace are killed with it, whatever sessions they have made
    if first:
        _end_as(first, opened)
    call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL)


def _end_as(child: int, opened: Sequence[int]) -> NoReturn:
    """Closes these descriptors but for the standard ones, waits for a child, and ends as it does."""
    for fd in opened:
        if fd > 2:
            with contextlib.suppress(OSError):  # that of the folder that was listed
                os.close(fd)  # also the pipe by which subprocess learns that the program was executed
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        os.kill(os.getpid(), os.WTERMSIG(status))
    os._exit(os.waitstatus_to_exitcode(status))


def _read(process: Process, kept: dict[int, bytes], end: float, most: int) -> bool:
    """Reads until the process ends, also where a child of it keeps the pipes open; False: it has not ended in time."""
    poll = select.poll()
    for fd in kept:
        os.set_blocking(fd, False)
        poll.register(fd, select.POLLIN)
    while True:
        has_ended = process.has_ended()  # before the read: what it has written is there
        for fd, _ in poll.poll(0 if has_ended else PAUSE_S * 1000):
            if not _kept_part(fd, kept, most):
                poll.unregister(fd)
        if has_ended:
            return True
        if time.monotonic() >= end:
            return False


def _kept_part(fd: int, kept: dict[int, bytes], most: int) -> bool:
    """Reads what a pipe has; False: at its end."""
    while True:
        try:
            part = os.read(fd, _PART_BYTES)
        except BlockingIOError:
            return True
        if not part:
            return False
        kept[fd] += part[: most - len(kept[fd])]
