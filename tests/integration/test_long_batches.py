"""The command with a batch that takes a while: it shows progress, and signals undo the batch."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from tests.support.attacks import TOP
from tests.support.namespaces import Namespace
from tests.support.processes import is_stopped, wait_until
from tests.support.restored import assert_equal_soon
from tests.support.terminal import on_terminal

pytestmark = pytest.mark.here
PROGRESS = r"netdevns: (\d+ of \d+ devices .*|undoing: \d+ of \d+ devices are back)"
COUNT = 20
# The command itself, made slower between two devices, or stopped after one of them.
SLOW = """
import os, signal, sys, time
from netdevns.cli import progress
from netdevns.cli.main import main
from tests.support import steps
progress.LINES_S = 1.0
def strike(number):
    if number == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(float(sys.argv[1]))
setattr(*steps.after("move", strike))
sys.exit(main(["move", *sys.argv[3:]]))
"""


def slow(pause_s: float, *arguments: str, fds: tuple[int, ...]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", SLOW, str(pause_s), "-1", *arguments]
    return subprocess.run(command, cwd=TOP, pass_fds=fds, capture_output=True, text=True, timeout=60)


@pytest.fixture
def many(host: Namespace) -> list[str]:
    """A batch of devices that takes more than a second by SLOW."""
    host.batch([f"link add eth{n} type ifb" for n in range(COUNT)])
    return [f"eth{n}=net{n}" for n in range(COUNT)]


def test_progress_on_a_pipe(target: Namespace, many: list[str]) -> None:
    """A line on stderr now and then; stdout has the result only."""
    begun = time.monotonic()
    done = slow(0.08, *many, "--to", f"fd:{target.fd}", fds=(target.fd,))
    assert done.returncode == 0
    assert 1 <= len(done.stderr.splitlines()) <= time.monotonic() - begun
    assert all(re.fullmatch(PROGRESS, line) for line in done.stderr.splitlines())
    assert len(done.stdout.splitlines()) == COUNT


def test_no_progress_with_json(target: Namespace, many: list[str]) -> None:
    """With --json stderr is for errors."""
    done = slow(0.08, *many, "--to", f"fd:{target.fd}", "--json", fds=(target.fd,))
    assert (done.returncode, done.stderr) == (0, "")
    assert len(json.loads(done.stdout)["moved"]) == COUNT


def test_progress_on_a_terminal(target: Namespace, many: list[str]) -> None:
    """One line that is written over, and gone when the result is printed."""
    os.set_inheritable(target.fd, True)
    code, out = on_terminal(80, "-c", SLOW, "0.08", "-1", *many, "--to", f"fd:{target.fd}")
    os.set_inheritable(target.fd, False)
    assert code == 0
    *printed, result = out.split("\r")
    assert [line for line in printed if line.strip()]
    assert all(re.fullmatch(PROGRESS, line.rstrip()) for line in printed if line.strip())
    assert (printed[-1].strip(), len(result.splitlines())) == ("", COUNT)
    assert result.startswith("eth0 -> net0 in ")


@pytest.mark.sampled(2)
@pytest.mark.parametrize("arrived", [1, 10], ids=["early", "half way"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda n: n.name)
def test_signal_undoes_a_batch(host: Namespace, target: Namespace, number: signal.Signals, arrived: int) -> None:
    """Issue item 4: a signal during a batch of 20 devices undoes it: exit code 1, a line says so, all is as before."""
    host.batch(
        [
            line
            for n in range(COUNT)
            for line in (
                f"link add eth{n} type ifb",
                f"link set eth{n} up",
                f"addr add 10.{n}.0.1/24 dev eth{n}",
                f"addr add 2001:db8:{n:x}::1/64 nodad dev eth{n}",
                f"route add 192.0.{n}.0/24 via 10.{n}.0.9",
            )
        ]
    )
    host.wait_until_quiet()
    before = host.dump()
    batch = (f"eth{n}=net{n}" for n in range(COUNT))
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, "0", str(arrived), *batch, "--to", f"fd:{target.fd}"],
        cwd=TOP,
        pass_fds=(target.fd,),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_until(lambda: is_stopped(process.pid), "it is stopped in the batch")
        assert len(target.names()) >= arrived
        process.send_signal(number)
        process.send_signal(signal.SIGCONT)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, out) == (1, "")
    *progress, line = err.splitlines()
    assert all(re.fullmatch(PROGRESS, each) for each in progress)
    assert line.startswith(f"netdevns: interrupted by {number.name}; ")
    assert line.endswith("all devices are restored")
    assert_equal_soon(before, host)
    assert target.names() == set()
