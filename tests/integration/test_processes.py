"""The command as a process of its own: its streams, and its exit codes."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.support.attacks import TOP
from tests.support.namespaces import Namespace

from .command import ETH1

pytestmark = pytest.mark.here


@pytest.fixture
def eth1(host: Namespace) -> None:
    host.batch(ETH1)


def run(*arguments: str, fds: tuple[int, ...] = (), stdin: str = "") -> subprocess.CompletedProcess[str]:
    """The command as a process of its own, in the calling thread's namespace."""
    command = [sys.executable, "-m", "netdevns", *arguments]
    return subprocess.run(command, cwd=TOP, pass_fds=fds, input=stdin, capture_output=True, text=True, timeout=60)


@pytest.mark.smoke
@pytest.mark.usefixtures("eth1")
def test_process_moves(target: Namespace) -> None:
    """DESIGN 4.2: `python -m netdevns move`, with an inherited descriptor."""
    done = run("move", "eth1=net0", "--to", f"fd:{target.fd}", fds=(target.fd,))
    assert (done.returncode, done.stderr) == (0, "")
    assert target.names() == {"net0"}


@pytest.mark.usefixtures("eth1")
def test_process_refuses(host: Namespace, target: Namespace) -> None:
    """DESIGN 4.2: exit code 2 of the process; every line on stderr is the program's own."""
    done = run("move", "eth1=a/b", "nope", "--to", f"fd:{target.fd}", fds=(target.fd,))
    assert (done.returncode, done.stdout) == (2, "")
    assert [line.startswith("netdevns: ") for line in done.stderr.splitlines()] == [True] * 4
    assert host.names() == {"eth1"}


@pytest.mark.usefixtures("host")
def test_process_with_a_bad_name_on_its_command_line(target: Namespace) -> None:
    """DESIGN 4.2: bytes that are no text in an argument end in a line, not in a traceback."""
    command = [sys.executable.encode(), b"-m", b"netdevns", b"move", b"e\xff1=n\xa00", b"--to", b"fd:%d" % target.fd]
    done = subprocess.run(command, cwd=TOP, pass_fds=(target.fd,), capture_output=True, timeout=60)
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr
    assert b"no such device" in done.stderr


@pytest.mark.usefixtures("eth1")
def test_reader_that_goes_away(target: Namespace) -> None:
    """DESIGN 4.2: a closed pipe on stdout is no failure of a move that is done, and no traceback."""
    command = [sys.executable, "-m", "netdevns", "move", "eth1", "--to", f"fd:{target.fd}"]
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(command, cwd=TOP, pass_fds=(target.fd,), stdout=write, stderr=subprocess.PIPE, timeout=60)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")
    assert target.names() == {"eth1"}


def test_letters_that_stdout_lacks(host: Namespace) -> None:
    """A name's letters outside of the streams' encoding are shown escaped; they end nothing."""
    host.ip("link add é type ifb")
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    for name, code, shown in (("é", 0, b"\\xe9"), ("nopé", 2, b"nop\\xe9: no such device")):
        command = [sys.executable, "-m", "netdevns", "show", name]
        done = subprocess.run(command, cwd=TOP, capture_output=True, env=environment, timeout=60)
        assert done.returncode == code
        assert shown in done.stdout + done.stderr


@pytest.mark.usefixtures("eth1")
def test_stdout_that_is_full(target: Namespace) -> None:
    """DESIGN 4.2: a failed write of the results changes neither the move nor the exit code; it is reported."""
    command = [sys.executable, "-m", "netdevns", "move", "eth1", "--to", f"fd:{target.fd}"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command, cwd=TOP, pass_fds=(target.fd,), stdout=full, stderr=subprocess.PIPE, text=True, timeout=60
        )
    assert (done.returncode, done.stderr) == (0, "netdevns: stdout: No space left on device\n")
    assert target.names() == {"eth1"}


@pytest.mark.usefixtures("eth1")
@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["show"], 1),
        (["show", "--json"], 1),
        (["check", "eth1", "--to"], 1),
        (["check", "eth1", "--json", "--to"], 1),
        (["check", "eth9", "--to"], 2),
        (["recover", "--list"], 1),
        (["recover", "--list", "--json"], 1),
        (["features"], 1),
        (["--help"], 1),
        (["show", "--help"], 1),
        (["--version"], 1),
        (["doctor"], 1),
        (["hooks-dir", "--allow", "eth*"], 1),
        (["conformance", "--list"], 1),
    ],
    ids=str,
)
def test_answer_that_is_not_written(words: list[str], code: int, target: Namespace) -> None:
    """The answer is the purpose of a command that changes nothing: without it, it has failed; a reader may go."""
    command = [sys.executable, "-m", "netdevns", *words, *([f"fd:{target.fd}"] if words[-1] == "--to" else [])]
    read, write = os.pipe()
    os.close(read)
    codes = []
    for stdout in (os.open("/dev/full", os.O_WRONLY), write, os.open(os.devnull, os.O_WRONLY)):
        done = subprocess.run(
            command, cwd=TOP, pass_fds=(target.fd,), stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=60
        )
        os.close(stdout)
        codes.append(done.returncode)
        assert ("stdout: No space left on device" in done.stderr) == (len(codes) == 1)
    assert codes[0] == code
    assert codes[1] == codes[2]
    assert codes[2] == code - 1 or words[0] == "doctor" or code == 2
