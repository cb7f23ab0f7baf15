"""examples/runtime.py: many containers at once, cancellation at every moment, and a process that is killed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import netdevns
from examples.runtime import Runtime
from tests.support.namespaces import Namespace, fresh
from tests.support.restored import assert_equal_soon

TOP = Path(__file__).parents[2]
COUNT = 6
ALL = range(1, COUNT + 1)
BeforeStep = Callable[[str, int, Callable[[], object]], None]


@pytest.fixture
def opened(host: Namespace) -> Iterator[netdevns.NetNS]:
    """The host's namespace, with devices of which each has addresses and a route."""
    for n in ALL:
        host.batch(f"""
            link add eth{n} type veth peer name peer{n}
            link set peer{n} up
            addr add 10.{n}.0.1/24 dev eth{n}
            addr add 2001:db8:{n}::1/64 nodad dev eth{n}
            link set eth{n} up
            route add 192.0.{n}.0/24 via 10.{n}.0.9
        """)
    host.wait_until_quiet()
    with netdevns.NetNS.open(host.fd) as netns:
        yield netns


@pytest.fixture
def containers() -> Iterator[list[Namespace]]:
    """As many fresh namespaces."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(fresh(f"container{n}")) for n in ALL]


@pytest.mark.smoke
def test_many_containers_at_once(opened: netdevns.NetNS, containers: list[Namespace], host: Namespace) -> None:
    """Each gets its device, by shared NetNS objects, in threads; and all come back as they were."""
    before = host.dump()

    async def main() -> None:
        runtime = Runtime(opened)
        with contextlib.ExitStack() as stack:
            into = [stack.enter_context(netdevns.NetNS.open(c.fd)) for c in containers]
            given = await asyncio.gather(
                *(runtime.give({f"eth{n}": "net0"}, to) for n, to in zip(ALL, into, strict=True))
            )
            for n, container in zip(ALL, containers, strict=True):
                assert container.names() == {"net0"}
                assert [a.address for a in container.addresses("net0")] == [f"10.{n}.0.1", f"2001:db8:{n}::1"]
            await asyncio.gather(*(runtime.take_back(*pair) for pair in zip(given, into, strict=True)))

    asyncio.run(main())
    assert_equal_soon(before, host)


def test_two_want_the_same_device(opened: netdevns.NetNS, containers: list[Namespace]) -> None:
    """One gets it, the others an error, and it is nowhere else."""

    async def main() -> list[object]:
        runtime = Runtime(opened, at_a_time=COUNT)
        with contextlib.ExitStack() as stack:
            into = [stack.enter_context(netdevns.NetNS.open(c.fd)) for c in containers]
            asked = (runtime.give({"eth1": "net1"}, netns) for netns in into)
            return list(await asyncio.gather(*asked, return_exceptions=True))

    got = asyncio.run(main())
    winners = [n for n, one in enumerate(got) if not isinstance(one, BaseException)]
    assert len(winners) == 1
    assert all(isinstance(one, netdevns.NetDevError) for n, one in enumerate(got) if n not in winners)
    # A loser that had written its record when the device went has left it (`left`): there is nothing to restore.
    assert {each.outcome for each in netdevns.recover()} <= {"gone"}
    assert [n for n, container in enumerate(containers) if container.names()] == winners
    assert [a.address for a in containers[winners[0]].addresses("net1")] == ["10.1.0.1", "2001:db8:1::1"]


@pytest.mark.sampled(2)
@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize(("step", "nth"), [("move", 1), ("move", 2), ("up_and_replay", 2)])
def test_cancelled_while_it_moves(
    opened: netdevns.NetNS, host: Namespace, target: Namespace, before_step: BeforeStep, step: str, nth: int, times: int
) -> None:
    """A cancellation, or several, in the middle of a move: the task ends when the devices are home, as they were."""
    reached, go_on = threading.Event(), threading.Event()
    before = host.dump()

    def stop() -> None:
        reached.set()
        assert go_on.wait(20)

    before_step(step, nth, stop)

    async def main() -> None:
        runtime = Runtime(opened)
        with netdevns.NetNS.open(target.fd) as into:
            task = asyncio.create_task(runtime.give({"eth1": "net1", "eth2": "net2"}, into))
            while not reached.is_set():
                await asyncio.sleep(0.001)
            for _ in range(times):
                task.cancel()
                await asyncio.sleep(0)
                assert not task.done()
            go_on.set()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())
    assert target.names() == set()
    assert_equal_soon(before, host)


def test_cancelled_before_its_turn(opened: netdevns.NetNS, host: Namespace, target: Namespace) -> None:
    """Nothing was touched."""
    before = host.dump()

    async def main() -> None:
        runtime = Runtime(opened, at_a_time=1)
        with netdevns.NetNS.open(target.fd) as into:
            async with runtime._turns:
                task = asyncio.create_task(runtime.give({"eth1": "net1"}, into))
                await asyncio.sleep(0)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task

    asyncio.run(main())
    assert_equal_soon(before, host)


def test_cancelled_and_failed(
    opened: netdevns.NetNS, host: Namespace, target: Namespace, before_step: BeforeStep
) -> None:
    """A move that fails by itself after the cancellation has undone itself, and says so."""
    before = host.dump()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        runtime = Runtime(opened)
        with netdevns.NetNS.open(target.fd) as into:
            task = asyncio.create_task(runtime.give({"eth1": "net1", "eth2": "net2"}, into))

            def spoil() -> None:
                asyncio.run_coroutine_threadsafe(cancelled(), loop).result(20)
                target.ip("link add net2 type ifb")

            async def cancelled() -> None:
                task.cancel()

            before_step("move", 2, spoil)
            with pytest.raises(netdevns.MoveFailed) as failed:
                await task
            assert failed.value.rolled_back

    asyncio.run(main())
    target.ip("link del net2")
    assert_equal_soon(before, host)


CHILD = """
import asyncio, os, signal, sys
import netdevns
from examples import runtime
from tests.support import steps
def kill(number):
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
setattr(*steps.before("move", kill))
asyncio.run(runtime.main([sys.argv[1] + ":eth1=net1,eth2=net2"]))
"""


def test_killed_and_started_again(opened: netdevns.NetNS, host: Namespace, target: Namespace) -> None:
    """The process is killed between two moves: `start` of the next one puts everything back."""
    before = host.dump()
    argv = [sys.executable, "-c", CHILD, f"/proc/{os.getpid()}/fd/{target.fd}"]
    done = subprocess.run(argv, cwd=TOP, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(target.names()) == 1

    async def main() -> tuple[netdevns.Recovered, ...]:
        return await Runtime(opened).start()

    recovered = asyncio.run(main())
    assert {each.outcome for each in recovered} == {"undone"}
    assert target.names() == set()
    assert_equal_soon(before, host)


@pytest.mark.usefixtures("opened")
def test_interrupted_by_ctrl_c(host: Namespace, target: Namespace) -> None:
    """The program, run: it gives, waits, and at SIGINT takes back and ends with 130."""
    before = host.dump()
    argv = [sys.executable, "examples/runtime.py", f"/proc/{os.getpid()}/fd/{target.fd}:eth1=net1,eth2"]
    environment = os.environ | {"PYTHONPATH": str(TOP)}
    with subprocess.Popen(argv, cwd=TOP, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline().endswith("eth1 -> net1 eth2 -> eth2\n")
        assert target.names() == {"net1", "eth2"}
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
    assert target.names() == set()
    assert_equal_soon(before, host)
