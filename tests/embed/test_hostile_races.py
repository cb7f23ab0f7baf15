"""The batch in C beside others: movers of the same devices, targets that end, signals of every kind."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import netdevns
from tests.integration.test_races import LATE, LESSER
from tests.support import rawdump
from tests.support.attacks import LONG
from tests.support.namespaces import Namespace, fresh
from tests.support.restored import Restored, assert_equal_soon

from .fighter import ANY, DEVICES, MOVE, Answer, Driver

RTM_NEWADDR = 20
# What a driver can get and goes on. SIGSTOP is sent by another test.
SIGNALS = [n for n in range(1, 65) if n not in (4, 5, 6, 7, 8, 9, 11, 19, 31, 32, 33)]


def protected(side: Namespace, device: str) -> list[rawdump.Address]:
    """In the kernel's order, without labels, which follow the name."""
    found = side.addresses(device)
    return [
        rawdump.Address(**{**vars(a), "label": None})
        for a in found
        if a.scope == 0 and a.flags & rawdump.IFA_F_PERMANENT
    ]


# ---- the target ends ----


@pytest.mark.parametrize("nth", [1, 2])
def test_target_is_abandoned_in_the_move(sides: tuple[Namespace, Namespace], c: Driver, nth: int) -> None:
    """P1: its last process ends in the middle of a move: the batch has the namespace, and restores what is in it."""
    host, target = sides
    before = host.dump()
    assert c.open(target).code == 0
    done = c.at_send("move 0 0", MOVE, nth, target.close)
    assert done.code == 0, done
    answer = c.undo()
    assert (answer.code, answer.left) == (0, {})
    assert_equal_soon(before, host)


def test_processes_of_the_target_are_killed(sides: tuple[Namespace, Namespace], c: Driver) -> None:
    """P1: the same where the container's process is killed, between the look and the way back of an undo."""
    host, target = sides
    before = host.dump()
    pid = os.fork()
    if pid == 0:
        signal.pause()
        os._exit(1)
    c.moved(target)
    target.close()

    def kill() -> None:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)

    answer = c.at_send("undo 0", MOVE, 1, kill)
    assert (answer.code, answer.left) == (0, {})
    assert_equal_soon(before, host)


# ---- addresses that are added meanwhile ----


@pytest.mark.parametrize("nth", [1, 2])
def test_late_addresses_arrive_and_return(sides: tuple[Namespace, Namespace], c: Driver, nth: int) -> None:
    """P2: addresses that are added just before a device moves arrive, and are home again after an undo."""
    host, target = sides
    device, new = [("eth1", "net1"), ("eth0", "net0")][nth - 1]  # the one with an alternative name moves first
    was: list[rawdump.Address] = []

    def add() -> None:
        host.batch(LATE.format(device))
        was.extend(protected(host, device))

    assert c.open(target).code == 0
    done = c.at_send("move 0 0", MOVE, nth, add)
    assert done.code == 0, done
    arrived = protected(target, new)
    assert [a.address for a in was] == [a.address for a in arrived][: len(was)]
    answer = c.undo()
    assert (answer.code, answer.left) == (0, {})
    host.wait_for_dad()
    assert {a.address for a in was} <= {a.address for a in protected(host, device)}


@pytest.mark.parametrize("step", ["move", "replay"])
def test_late_addresses_return_from_a_move_that_fails(sides: tuple[Namespace, Namespace], c: Driver, step: str) -> None:
    """P1: addresses of every scope that are added just before a device moves belong to what a failure restores."""
    host, target = sides
    added: set[str] = set()

    def add() -> None:
        host.batch(LESSER.format("eth1"))
        added.update(a.address for a in host.addresses("eth1"))
        target.ip("link add net0 type ifb" if step == "move" else "link add taken type ifb")
        if step == "replay":
            target.sysctl("ipv6/conf/default/disable_ipv6", 1)

    assert c.open(target, {"eth1": "net1", "eth0": "net0"}).code == 0
    answer = c.at_send("move 0 0", MOVE, 1, add)
    assert (answer.step, answer.left_count, answer.left) == (step, 0, {}), answer
    host.wait_for_dad()
    missing = added - {a.address for a in host.addresses("eth1")}
    assert not missing


# ---- movers of the same devices ----


def end_of(answers: list[Answer]) -> int:
    """Which one has won; the others were refused."""
    won = [number for number, answer in enumerate(answers) if answer.code == 0]
    assert len(won) == 1, answers
    for answer in answers:
        if answer.code:
            assert (answer.begun, answer.left_count) == (False, 0), answer
            assert answer.code in (errno.EBUSY, errno.ENODEV), answer
    return won[0]


@pytest.mark.parametrize(
    "others",
    [
        pytest.param(DEVICES, id="same"),
        pytest.param({"stays": "s", "eth1": "net1"}, id="overlapping", marks=pytest.mark.thorough),
    ],
)
def test_two_processes(sides: tuple[Namespace, Namespace], c: Driver, others: dict[str, str]) -> None:
    """P8: of two batches that want one device at the same time one moves, and the other is refused; nothing is lost."""
    host, target = sides
    with Driver() as other, fresh("second") as second, Restored(host):
        for _ in range(5 if LONG else 1):  # each waits for the lock, 5 s
            assert (c.open(target).code, other.open(second, others).code) == (0, 0)
            c.write("move 0 0")
            other.write("move 0 0")
            answers = [each.receive() for each in (c, other)]
            winner = (c, other)[end_of(answers)]
            loser = c if winner is other else other
            loser.close()
            answer = winner.undo()
            assert (answer.code, answer.left) == (0, {}), answer
            winner.close()


@pytest.mark.thorough
def test_two_threads(sides: tuple[Namespace, Namespace], c: Driver) -> None:
    """P8: the same with two threads of one process, whose locks are those of two open files."""
    host, target = sides
    with fresh("second") as second, Restored(host):
        for _ in range(5 if LONG else 1):  # each waits for the lock, 5 s
            assert (c.open(target, at=0).code, c.open(second, at=1).code) == (0, 0)
            answers = list(c.both())
            winner = end_of(answers)
            c.close(1 - winner)
            answer = c.undo(winner)
            assert (answer.code, answer.left) == (0, {}), answer
            c.close(winner)


def test_python_beside_c(sides: tuple[Namespace, Namespace], c: Driver) -> None:
    """P8: the same with netdevns.move, which wants the same devices: they have the same locks."""
    host, target = sides
    before = host.dump()
    with fresh("second") as second:
        for _ in range(5 if LONG else 1):  # each waits for the lock, 5 s
            assert c.open(target).code == 0
            c.write("move 0 0")
            python, refused = True, 0
            try:
                netdevns.move(DEVICES, second.fd)
            except netdevns.NetDevError as e:
                python, refused = False, e.errno
            assert refused in (0, errno.EBUSY, errno.ENODEV)
            answer = c.receive()
            assert (answer.code == 0) != python, answer
            if python:
                assert [len(protected(second, name)) for name in DEVICES.values()] == [1, 4]
                netdevns.move({"net0": "eth0", "net1": "eth1"}, host.fd, source=second.fd)
                host.batch(["addr add 10.1.1.1/24 scope link dev eth1", "addr add fe80::1/64 nodad dev eth1"])
                assert {a.address for a in host.addresses("eth1")} == {a.address for a in before["addresses"]["eth1"]}
            else:
                answer = c.undo()
                assert (answer.code, answer.left) == (0, {}), answer
            c.close()


@pytest.mark.parametrize("who", [pytest.param("c", marks=pytest.mark.thorough), "python"])
def test_held_between_move_and_undo(sides: tuple[Namespace, Namespace], c: Driver, who: str) -> None:
    """P8: while an undo returns a device, no other mover can take it."""
    host, target = sides
    before = host.dump()
    c.moved(target)
    ends: list[object] = []
    with fresh("second") as second, Driver() as other:

        def grab() -> None:
            """Behind the way home of one device."""
            if who == "c":
                assert other.open(second, {"eth1": "net1"}, source=host).code == 0
                ends.append(other.move().code)
                other.close()
                return
            with pytest.raises(netdevns.NetDevError) as raised:
                netdevns.move({"eth1": "net1"}, second.fd, source=host.fd)
            ends.append(raised.value.errno)

        answer = c.at_send("undo 0", RTM_NEWADDR, 1, grab)
        assert (answer.code, answer.left) == (0, {}), answer
        assert ends == [errno.EBUSY]
    assert_equal_soon(before, host)


# ---- signals ----


@contextlib.contextmanager
def signalled(pid: int, numbers: list[int], pause_s: float = 0.0005) -> Iterator[None]:
    """Signals of these numbers, at random and without an end."""
    stop = threading.Event()
    chance = random.Random(7)

    def send() -> None:
        while not stop.is_set():
            os.kill(pid, chance.choice(numbers))
            time.sleep(pause_s)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("way", ["timer", "signals", "stopped"])
def test_signals(sides: tuple[Namespace, Namespace], c: Driver, way: str) -> None:
    """P1: a move and an undo go on through signals of every kind, whose handlers interrupt system calls."""
    host, target = sides
    assert c.interrupt(0) == 0  # its handlers are there
    with Restored(host):
        for _ in range(4):
            with contextlib.ExitStack() as stack:
                if way == "timer":
                    c.interrupt(200)
                elif way == "signals":
                    stack.enter_context(signalled(c.pid, SIGNALS))
                else:
                    stack.callback(os.kill, c.pid, signal.SIGCONT)  # after the last SIGSTOP
                    stack.enter_context(signalled(c.pid, [signal.SIGSTOP, signal.SIGCONT], 0.003))
                assert c.open(target).code == 0
                moved = c.move()
                assert moved.code == 0, moved
                arrived = [len(protected(target, name)) for name in DEVICES.values()]
                answer = c.undo()
                c.close()
                assert arrived == [1, 4]
                assert (answer.code, answer.left) == (0, {}), answer
        if way != "stopped":
            assert c.interrupt(0) > 10


@pytest.mark.sampled(2)
@pytest.mark.parametrize("nth", range(1, 30, 4))
def test_killed_in_an_undo(sides: tuple[Namespace, Namespace], c: Driver, nth: int, tmp_path: Path) -> None:
    """P4: a process that is killed in an undo leaves a record, with which another one restores all."""
    host, target = sides
    before = host.dump()
    with Driver() as killed:
        killed.moved(target, records=tmp_path)
        killed.stop(ANY, nth)
        killed.write("undo 0")
        assert killed.read() == {"stopped": 1}
        killed.kill()
    answer = c.recover(tmp_path, undo_complete=True)
    assert answer.code == 0, answer
    assert_equal_soon(before, host)
    assert os.listdir(tmp_path) == []
