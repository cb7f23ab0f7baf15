"""A hook's report is bounded, however much is written and whatever its log, syslog and stderr are."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from netdevns import limits
from tests.runtimes.container import Machine, hook_words
from tests.support import require
from tests.support.namespaces import Namespace

from .bounded import AS_BYTES, BOUND_S, PREFIX, Bounded, made

LOG, OLD = "/run/netdevns/hook.log", "/run/netdevns/hook.log.old"
LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ (?:c1: )?(.*)")
STAMP_BYTES = len("2026-01-01T00:00:00Z ")
# /dev of a machine's own, for a syslog of the test's own.
OWN_DEV = """mkdir /run/.dev && mount --rbind /dev /run/.dev && mount -t tmpfs tmpfs /dev &&
for each in null zero full random urandom; do ln -s /run/.dev/$each /dev/$each; done"""


def lines_of(machine: Machine, path: str = LOG) -> list[str]:
    """The lines of the log, without the time and the container."""
    found = []
    for line in machine.path(path).read_text().splitlines():
        match = LINE.fullmatch(line)
        assert match, line
        found.append(match[1])
    return found


def sizes(machine: Machine) -> list[int]:
    return [machine.path(path).stat().st_size if machine.path(path).exists() else 0 for path in (LOG, OLD)]


# ---- how much -------------------------------------------------------------------------------------------------------


FLOODS: dict[str, Callable[[int], tuple[str, str]]] = {
    "values": lambda n: (f"d{n}", "x" * 60_000),
    "names": lambda n: (f"{n}" + "x" * 60_000, ""),
    "newlines": lambda n: (f"d{n}", "\n" * 1000),
    "letters": lambda n: (f"d{n}", "\U0001f600" * 120),
}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("kind", FLOODS)
def test_annotations_that_fill_the_log(bounded: Bounded, kind: str) -> None:
    """256 annotations of 60 KB, a state of 15 MB, are 64 lines of 400 bytes, on stderr and in the log."""
    flood = dict(FLOODS[kind](n) for n in range(limits.ANNOTATED))
    bounded.ask({})
    bounded.state["annotations"] = {f"{PREFIX}{device}": name for device, name in flood.items()}
    ended = bounded.hook("--allow", "*")
    assert ended.code == 2
    logged = lines_of(bounded.machine)
    assert [line.removeprefix("netdevns: ") for line in ended.lines] == logged
    assert len(logged) == limits.LINES
    assert max(len(line.encode()) for line in logged) <= limits.LINE_BYTES
    assert re.fullmatch(r"and \d+ more; nothing was touched", logged[-1])
    assert logged[0].startswith(("d0: ", "0xxx"))


# Reports of one line each, and of a known length; a process that could not write one says so.
WRITER = """
import sys
from netdevns.oci import hook_log
hook_log.LOCK_WAIT_S = 60
for n in range(int(sys.argv[2])):
    failed = hook_log.log([f"{sys.argv[1]} {n} ".ljust(int(sys.argv[3]), "x")])
    if failed:
        sys.exit(failed)
"""


def writer(name: str, count: int) -> list[str]:
    return [sys.executable, "-P", "-c", WRITER, name, str(count), str(limits.LINE_BYTES)]


def test_log_is_rotated(bounded: Bounded) -> None:
    """Each file stays below 256 KiB, and the last lines are kept."""
    count = 1500
    full = limits.LOG_BYTES // (STAMP_BYTES + limits.LINE_BYTES + 1)
    assert bounded.run(writer("a", count)).code == 0
    now, old = sizes(bounded.machine)
    assert 0 < now <= limits.LOG_BYTES
    assert limits.LOG_BYTES * 0.99 < old <= limits.LOG_BYTES
    numbers = [int(line.split()[1]) for path in (OLD, LOG) for line in lines_of(bounded.machine, path)]
    assert numbers == [*range(full * (count // full - 1), count)]
    assert sorted(each.name for each in bounded.machine.path("/run/netdevns").iterdir()) == ["hook.log", "hook.log.old"]


def test_hooks_that_rotate_at_the_same_time(bounded: Bounded) -> None:
    """No line is lost, none is there twice, and neither file is larger than it may be."""
    names, count = "abcdefgh", 130  # together more than one file has room for, and less than two
    processes = [
        bounded.machine.popen(writer(name, count), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) for name in names
    ]
    for process in processes:
        with process:
            assert process.communicate(timeout=BOUND_S)[1] == b""
    assert max(sizes(bounded.machine)) <= limits.LOG_BYTES
    assert min(sizes(bounded.machine)) > 0, "it was not rotated"
    found = [" ".join(line.split()[:2]) for path in (OLD, LOG) for line in lines_of(bounded.machine, path)]
    assert sorted(found) == sorted(f"{name} {n}" for name in names for n in range(count))


def test_large_log_of_an_older_version(bounded: Bounded) -> None:
    """A log without a limit becomes an old one with it."""
    bounded.machine.run(["sh", "-c", f"mkdir -m 700 /run/netdevns; umask 077; head -c 5000000 /dev/zero >{LOG}"])
    bounded.refused(lambda: bounded.hook("=x"))
    assert sizes(bounded.machine)[1] == limits.LOG_BYTES
    assert len(lines_of(bounded.machine)) == 2


# ---- what is at the log's place -------------------------------------------------------------------------------------


FOREIGN = {
    "hard-link": (f"echo precious >/run/precious; ln /run/precious {LOG}", "it has another name, too: a hard link"),
    "link": (f"echo precious >/run/precious; ln -s /run/precious {LOG}", "no regular file"),
    "dangling": (f"ln -s /run/precious {LOG}", "no regular file"),
    "fifo": (f"mkfifo -m 600 {LOG}", "No such device or address"),
    "folder": (f"mkdir {LOG}", "Is a directory"),
    "owner": (f"umask 077; echo precious >{LOG}; chown 1 {LOG}", "belongs to another user"),
    "mode": (f"umask 0; echo precious >{LOG}; chmod 622 {LOG}", "others may write to it"),
    "old-folder": (f"umask 077; head -c 262144 /dev/zero >{LOG}; mkdir {OLD}", "Is a directory"),
    "folder-owner": ("chown 1 /run/netdevns", "belongs to another user"),
    "folder-mode": ("chmod 722 /run/netdevns", "others may write to it"),
    "folder-link": (
        "mkdir -m 700 /run/other; rmdir /run/netdevns; ln -s other /run/netdevns",
        "a symbolic link, or no directory",
    ),
}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("kind", FOREIGN)
def test_file_that_is_not_ours(bounded: Bounded, kind: str) -> None:
    """It is not written; the hook says so in one line more, and ends as it would have."""
    prepare, reason = FOREIGN[kind]
    machine = bounded.machine
    prepared = machine.run(["sh", "-e", "-c", f"mkdir -m 700 /run/netdevns; {prepare}"])
    if "chown" in prepare and prepared.returncode:
        require("netns", f"this user can give no file away: {prepared.stderr.strip()}")
    assert (prepared.returncode, prepared.stderr) == (0, "")
    before = machine.run(["sh", "-c", "cd /run; ls -lR --time-style=full-iso; find . -type f -size -1000 | xargs cat"])
    ended = bounded.hook("=x")
    assert (ended.code, len(ended.lines)) == (2, 3)
    assert ended.lines[1] == "netdevns: nothing was touched"
    assert ended.lines[2].startswith(f"netdevns: {LOG}: cannot be written: ")
    assert ended.lines[2].endswith(reason)
    assert machine.run(before.args).stdout == before.stdout


def test_fifo_that_is_read(bounded: Bounded) -> None:
    """A FIFO that has a reader, and would take the lines, gets none."""
    bounded.machine.run(["sh", "-c", f"mkdir -m 700 /run/netdevns; mkfifo -m 600 {LOG}"])
    fd = os.open(bounded.machine.path(LOG), os.O_RDONLY | os.O_NONBLOCK)
    try:
        ended = bounded.hook("=x")
        assert (ended.code, len(ended.lines)) == (2, 3)
        assert os.read(fd, 1000) == b""
    finally:
        os.close(fd)


def test_log_that_is_locked(bounded: Bounded) -> None:
    """A process that keeps the lock holds up no container."""
    assert bounded.hook("=x").code == 2
    before = lines_of(bounded.machine)
    with bounded.machine.path(LOG).open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        ended = bounded.hook("=x")
    assert (ended.code, ended.lines[2]) == (2, f"netdevns: {LOG}: cannot be written: another process has locked it")
    assert lines_of(bounded.machine) == before


# ---- syslog and stderr ----------------------------------------------------------------------------------------------


@pytest.fixture
def with_dev(host: Namespace, tmp_path: Path) -> Iterator[Bounded]:
    """With a /dev of its own."""
    with Machine(host, OWN_DEV) as machine, made(machine, tmp_path.resolve()) as found:
        yield found


@contextlib.contextmanager
def bound(machine: Machine, kind: int = socket.SOCK_DGRAM) -> Iterator[socket.socket]:
    """A socket at /dev/log, which is removed with it."""
    path = machine.path("/dev/log")
    with socket.socket(socket.AF_UNIX, kind) as made_:
        made_.bind(str(path))
        yield made_
    path.unlink()


def fill(machine: Machine) -> None:
    """Until there is no room in the queue at /dev/log."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        sender.connect(str(machine.path("/dev/log")))
        with contextlib.suppress(BlockingIOError):
            while sender.send(b"full"):
                pass


def test_full_syslog(with_dev: Bounded) -> None:
    """A syslogd that is stopped holds up nothing: the lines are on stderr and in the log."""
    with bound(with_dev.machine):
        fill(with_dev.machine)
        line = with_dev.refused(lambda: with_dev.hook("=x"))
    assert lines_of(with_dev.machine) == [line, "nothing was touched"]


@pytest.mark.parametrize("kind", ["stream", "file", "none"])
def test_no_syslog(with_dev: Bounded, kind: str) -> None:
    """Nor does one that is not there."""
    with contextlib.ExitStack() as stack:
        if kind == "stream":
            stack.enter_context(bound(with_dev.machine, socket.SOCK_STREAM)).listen()
        elif kind == "file":
            with_dev.machine.path("/dev/log").write_text("")
        line = with_dev.refused(lambda: with_dev.hook("=x"))
    assert lines_of(with_dev.machine) == [line, "nothing was touched"]


def test_syslog_gets_the_whole_report(with_dev: Bounded) -> None:
    """64 lines are more than the queue has places for (net.unix.max_dgram_qlen): a busy syslogd gets all.

    In one of several reports: it is waited for only SYSLOG_WAIT_S, in which a busy machine may not run it.
    """
    with_dev.ask({f"d{n}": {} for n in range(100)})
    assert any(_received(with_dev) == lines_of(with_dev.machine)[-limits.LINES :] for _ in range(10))


def _received(with_dev: Bounded) -> list[str]:
    """The lines of a report that syslogd gets."""
    found: list[bytes] = []
    ended = threading.Event()

    def read() -> None:
        is_over = False
        while not is_over:
            is_over = ended.is_set()  # then all that comes has been sent
            with contextlib.suppress(TimeoutError):
                while True:
                    found.append(syslogd.recv(4096))
                    time.sleep(0 if found[1:] else 0.01)  # the queue becomes full

    with bound(with_dev.machine) as syslogd:
        syslogd.settimeout(0.1)
        reader = threading.Thread(target=read)
        reader.start()
        try:
            assert with_dev.hook().code == 2
        finally:
            ended.set()
            reader.join()
    texts = [re.fullmatch(r"<27>netdevns\[\d+\]: c1: (.*)", data.decode()) for data in found]
    return [match[1] if match else "" for match in texts]


def test_stderr_that_is_not_read(bounded: Bounded) -> None:
    """A full pipe whose reader is stopped keeps a hook for a second, and not the log from being written."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    with contextlib.suppress(BlockingIOError):
        while os.write(write, b"x" * 4096):
            pass
    os.set_blocking(write, True)
    argv = ["prlimit", f"--as={AS_BYTES}", *hook_words(), "createRuntime", "=x"]
    with (
        open(read, "rb"),
        open(write, "wb") as stderr,
        bounded.machine.popen(argv, stdin=subprocess.PIPE, stderr=stderr) as process,
    ):
        try:
            process.communicate(json.dumps(bounded.state).encode(), timeout=BOUND_S)
        finally:
            process.kill()
    assert process.returncode == 2
    assert lines_of(bounded.machine)[-1] == "nothing was touched"


def test_stderr_first(with_dev: Bounded, tmp_path: Path) -> None:
    """What a runtime shows comes first, then the log, then syslog."""
    trace = tmp_path / "trace"
    with bound(with_dev.machine):
        with_dev.hook("=x", under=("strace", "-f", "-y", "-s", "300", "-o", str(trace), "-e", "trace=write,sendto"))
    calls = [line for line in trace.read_text().splitlines() if "nothing was touched" in line]
    places = [re.search(r"(write\(2<|hook\.log>|sendto\()", line) for line in calls]
    assert [match and match[1] for match in places] == ["write(2<", "hook.log>", "sendto("]
