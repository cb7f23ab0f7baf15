"""The batch in C in a process that tests disturb (hostile/driver.c), and what fights against it in a container."""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import os
import signal
import struct
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.csrc.compilers import BUILDS, DEBUGGABLE, Build
from tests.support import rawdump
from tests.support.namespaces import Namespace

DRIVER = tuple(Path(__file__).parent / "hostile" / name for name in ("driver.c", "disturb.c"))
WRAPPED = "-Wl,--wrap=send,--wrap=socket,--wrap=malloc,--wrap=calloc,--wrap=realloc"
ANY, MOVE = 0, 1000  # types of messages to stop at; the others are RTM_*
LOCATIONS = ("unknown", "source", "target", "gone")
ENDS_S = 60
# enum netdevns_state: all that is lost with a move, and accepted.
ACCEPT_ALL = 255

# All numbers are given. Most of the changes of tests/integration/test_hostile.py are about net0 (eth0) and net1 (eth1).
HOST = """
    link set lo up
    link add eth0 index 101 type ifb
    link add eth1 index 102 address 02:00:00:00:00:01 type veth peer name peer index 103
    link add stays index 105 type ifb
    link set peer up
    link set eth1 mtu 1400 alias spare group 7
    link property add dev eth1 altname enp1
    link set eth0 up
    link set eth1 up
    link set stays up
    addr add 10.0.0.1/24 brd + dev eth0
    addr add 10.1.0.1/24 brd + label eth1:vip dev eth1
    addr add 10.1.0.2/24 dev eth1
    addr add 10.1.1.1/24 scope link dev eth1
    addr add 2001:db8:1::1/64 nodad dev eth1
    addr add 2001:db8:1::2/64 nodad preferred_lft 0 dev eth1
    addr add fe80::1/64 nodad dev eth1
"""
DEVICES = {"eth0": "net0", "eth1": "net1"}


@functools.cache
def driver(build: Build) -> Path:
    """driver.c, linked with the core and the batch."""
    build.check()
    return build.link("hostile", DRIVER, (WRAPPED, "-pthread"))


@dataclass(frozen=True)
class Answer:
    """Of one call.

    Attributes:
        left: By device, what is not as before.
    """

    code: int
    step: str
    device: int
    text: str
    begun: bool
    left_count: int
    report: str
    devices: dict[str, dict[str, Any]]

    @property
    def left(self) -> dict[str, str]:
        return {name: device["missing"] for name, device in self.devices.items() if device["missing"]}

    def place(self, device: str) -> str:
        return LOCATIONS[self.devices[device]["location"]]


def _text(digits: str) -> str:
    return os.fsdecode(bytes.fromhex(digits))


def _answer(said: dict[str, Any]) -> Answer:
    assert said["result"] in (0, said["code"]), "the result is err->code"
    assert not said["result"] or said["text"], "never empty after a failure"
    devices = {
        _text(d["device"]): {**d, "name": _text(d["name"]), "missing": _text(d["missing"])} for d in said["devices"]
    }
    texts = (_text(said[key]) for key in ("step", "text", "report"))
    step, text, report = texts
    code = -said["result"]
    return Answer(code, step, said["device"], text, bool(said["begun"]), said["left"], report, devices)


class Driver:
    """A process with batches, in the caller's namespace; it must end without leaks or errors of memory."""

    def __init__(self, build: Build = BUILDS["gcc-sanitized"], under: Sequence[str] = (), **environment: str) -> None:
        self.process = subprocess.Popen(
            [*under, str(driver(build))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | environment,
        )

    def __enter__(self) -> Driver:
        return self

    def __exit__(self, kind: object, *exc: object) -> None:
        try:
            _, said = self.process.communicate(timeout=ENDS_S)
        except BaseException:
            self.process.kill()
            self.process.communicate()
            raise
        if kind is None:
            assert (self.process.returncode, said) in ((0, ""), (-signal.SIGKILL, "")), said

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    @property
    def pid(self) -> int:
        return self.process.pid

    def write(self, line: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def read(self) -> dict[str, Any]:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            _, said = self.process.communicate(timeout=ENDS_S)
            raise AssertionError(f"the driver has ended: {self.process.returncode}\n{said}")
        found: dict[str, Any] = json.loads(line)
        return found

    def receive(self) -> Answer:
        return _answer(self.read())

    def ask(self, line: str) -> Answer:
        self.write(line)
        return self.receive()

    # ---- batches ----

    def open(
        self,
        target: Namespace,
        devices: dict[str, str] = DEVICES,
        *,
        at: int = 0,
        source: Namespace | None = None,
        records: Path | None = None,
    ) -> Answer:
        """A batch with these devices; the first failure."""
        pid = os.getpid()
        from_ = f"/proc/{pid}/fd/{source.fd}" if source else "-"
        lines = [f"open {at} {from_} /proc/{pid}/fd/{target.fd}"]
        lines += [f"add {at} {os.fsencode(name).hex()} {os.fsencode(wanted).hex()}" for name, wanted in devices.items()]
        lines += [f"record {at} {records}"] if records else []
        for line in lines:
            answer = self.ask(line)
            if answer.code:
                return answer
        return answer

    def move(self, at: int = 0, accept: int = 0) -> Answer:
        return self.ask(f"move {at} {accept}")

    def undo(self, at: int = 0) -> Answer:
        return self.ask(f"undo {at}")

    def close(self, at: int = 0) -> Answer:
        return self.ask(f"close {at}")

    def moved(self, target: Namespace, devices: dict[str, str] = DEVICES, **options: Any) -> None:
        """A batch that has moved, all accepted that is lost."""
        opened = self.open(target, devices, **options)
        assert opened.code == 0, opened
        done = self.move(options.get("at", 0), ACCEPT_ALL)
        assert done.code == 0, done

    def both(self, accept: int = 0) -> tuple[Answer, Answer]:
        """Batches 0 and 1, moved by two threads."""
        self.write(f"both 0 1 {accept}")
        return _answer(self.read()), _answer(self.read())

    def recover(self, records: Path, *, undo_complete: bool = False) -> Answer:
        return self.ask(f"recover {records} {int(undo_complete)}")

    # ---- disturbing ----

    def stop(self, type_: int, nth: int) -> None:
        """It stops before the n-th send of that type, and says so, until it gets a line."""
        self.write(f"stop {type_} {nth}")
        assert self.read() == {}

    def at_send(self, line: str, type_: int, nth: int, action: Callable[[], object]) -> Answer:
        """Runs something before the n-th send of that type in a request."""
        self.stop(type_, nth)
        self.write(line)
        said = self.read()
        if "stopped" in said:
            try:
                action()
            finally:
                self.write("go")
            said = self.read()
        else:
            raise AssertionError(f"there is no {nth}. send of the type {type_}: {said}")
        return _answer(said)

    def fail(self, first: int, last: int) -> int:
        """Allocations that fail from now on; returns how many there were since the last call."""
        self.write(f"fail {first} {last}")
        return int(self.read()["allocations"])

    def disturb(self, line: str) -> None:
        """`unsent FIRST LAST`, `sockets N`, `files N` or `enter PATH`: driver.c."""
        self.write(line)
        assert self.read() == {}

    def interrupt(self, usec: int) -> int:
        """SIGALRM at that interval; returns how many signals there were."""
        self.write(f"interrupt {usec}")
        return int(self.read()["signals"])


def killed(target: Namespace, records: Path, devices: dict[str, str] = DEVICES, *, line: str = "move 0 0") -> None:
    """A process that has a record, and is killed behind its move, or (line "stop") in it."""
    with Driver() as driver:
        assert driver.open(target, devices, records=records).code == 0
        if line == "stop":
            driver.stop(MOVE, len(devices))
            driver.write("move 0 0")
            assert driver.read() == {"stopped": 1}
        else:
            assert driver.ask(line).code == 0
        driver.kill()


def under_valgrind(log: Path) -> Driver:
    """Its findings end it with 99, and are in the log."""
    words = ("--error-exitcode=99", "--leak-check=full", "--show-leak-kinds=all", "--errors-for-leak-kinds=all")
    return Driver(DEBUGGABLE, ("valgrind", "--quiet", *words, f"--log-file={log}"))


# ---- a container that fights ----


def message(type_: int, ifindex: int, attrs: bytes = b"", *, flags: int = 0, change: int = 0, create: int = 0) -> bytes:
    """A request about a link, without an answer."""
    body = struct.pack("=BxHiII", 0, 0, ifindex, flags, change) + attrs
    return struct.pack("=IHHII", 16 + len(body), type_, 1 | create, 0, 0) + body


def altname(ifindex: int, *names: str, remove: bool = False) -> bytes:
    """RTM_NEWLINKPROP, or RTM_DELLINKPROP."""
    listed = b"".join(rawdump.attribute(53, os.fsencode(name) + b"\0") for name in names)
    return message(109 if remove else 108, ifindex, rawdump.attribute(52 | 0x8000, listed), create=0x600)


def rename(ifindex: int, name: str) -> bytes:
    return message(16, ifindex, rawdump.attribute(3, name.encode() + b"\0"))


def set_mac(ifindex: int, last: int) -> bytes:
    return message(16, ifindex, rawdump.attribute(1, bytes([2, 0, 0, 0, 0, last])))


def set_mtu(ifindex: int, mtu: int) -> bytes:
    return message(16, ifindex, rawdump.attribute(4, struct.pack("=I", mtu)))


def set_up(ifindex: int, up: int) -> bytes:
    return message(16, ifindex, flags=up, change=1)


def give(ifindex: int, fd: int) -> bytes:
    return message(16, ifindex, rawdump.attribute(28, struct.pack("=I", fd)))


@contextlib.contextmanager
def loop(*sends: tuple[Namespace, bytes]) -> Iterator[None]:
    """A process that sends these requests as fast as it can, ignoring errors, until the block ends."""
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            _send_forever(sends, parent)
        finally:
            os._exit(1)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _send_forever(sends: Sequence[tuple[Namespace, bytes]], parent: int) -> None:
    sockets = [(side.socket(), data) for side, data in sends]
    while os.getppid() == parent:
        for socket, data in sockets:
            with contextlib.suppress(OSError):
                socket.raw.send(data)
            with contextlib.suppress(BlockingIOError):
                while True:
                    try:
                        socket.raw.recv(1 << 16, rawdump.sockets.MSG_DONTWAIT)
                    except OSError as e:
                        if e.errno != errno.ENOBUFS:
                            raise
