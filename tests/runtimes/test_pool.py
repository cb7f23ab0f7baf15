"""examples/pool.py: slots are taken and made anew; a pool that is killed loses nothing, and takes nothing away."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.pool import Pool
from tests.support.attacks import FULL, TOP
from tests.support.namespaces import Namespace
from tests.support.processes import wait_until
from tests.support.restored import assert_equal_soon

from .container import NETDEVNS, Machine, furnish, opened

SLOTS = {"slot-a": ("eth1=net0",), "slot-b": ("eth2=net0",)}


@pytest.fixture
def place(host: Namespace, machine: Machine) -> Machine:
    furnish(host)
    return machine


def pool(machine: Machine) -> Pool:
    return Pool(SLOTS, ("nsenter", f"--target={machine.pid}", "--mount", "--", *NETDEVNS))


@contextlib.contextmanager
def container(machine: Machine, slot: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a slot, until the block ends."""
    with machine.popen(["ip", "netns", "exec", slot, "sleep", "100"]) as process:
        inode = machine.path(f"/run/netns/{slot}").stat().st_ino
        wait_until(lambda: Path(f"/proc/{process.pid}/ns/net").stat().st_ino == inode, "the process is in the slot")
        yield process
        process.kill()


@pytest.mark.thorough
def test_slots_are_taken_and_made_anew(host: Namespace, place: Machine) -> None:
    """Each container gets its device in its original state, whatever the previous one did to it."""
    before = host.dump()

    async def scenario() -> None:
        made = pool(place)
        await made.start()
        first, second = await made.take(), await made.take()
        assert {first, second} == set(SLOTS)
        with opened(place.path(f"/run/netns/{first}"), first) as slot:
            addresses = {address.address for address in slot.addresses("net0")}
            slot.batch(["link set net0 down", "link set net0 name worn", "addr flush dev worn"])
        waiting = asyncio.ensure_future(made.take())
        await made.give_back(first)
        assert await waiting == first
        with opened(place.path(f"/run/netns/{first}"), first) as slot:
            assert {address.address for address in slot.addresses("net0")} == addresses
        await made.stop()

    with host.entered():
        asyncio.run(scenario())
    assert_equal_soon(before, host)


@pytest.mark.thorough
def test_slot_in_use_is_left_to_its_container(host: Namespace, place: Machine) -> None:
    """Neither a new pool nor the end of one takes a device away from a process."""
    before = host.dump()

    async def started() -> Pool:
        made = pool(place)
        await made.start()
        return made

    async def stopped() -> None:
        await (await started()).stop()

    with host.entered():
        assert asyncio.run(started()).used == set()
        with container(place, "slot-a"):
            assert asyncio.run(started()).used == {"slot-a"}
            asyncio.run(stopped())
            with opened(place.path("/run/netns/slot-a"), "slot-a") as slot:
                assert "net0" in slot.names()
        asyncio.run(stopped())
    assert_equal_soon(before, host)


@pytest.mark.thorough
def test_pool_that_is_killed(host: Namespace, place: Machine) -> None:
    """With all its commands, at any time: the next one begins with all devices, and in the end all are home."""
    before = host.dump()
    chance = random.Random(3)
    argv = [
        NETDEVNS[0],
        "-P",
        str(TOP / "examples" / "pool.py"),
        *(f"{name}:{','.join(d)}" for name, d in SLOTS.items()),
    ]
    lasts_s = 2.0
    for round_ in range(6 if FULL else 3):
        process = place.popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        begun = time.monotonic()
        assert process.stdin is not None
        assert process.stdout is not None
        with process:
            if round_ == 0:
                process.stdin.write(b"\n")
                process.stdin.flush()
                assert process.stdout.readline().startswith(b"/run/netns/slot-")
                lasts_s = time.monotonic() - begun
            else:
                time.sleep(chance.uniform(0.2, 1) * lasts_s)
            os.killpg(process.pid, signal.SIGKILL)

    async def stopped() -> None:
        made = pool(place)
        await made.start()
        await made.stop()

    with host.entered():
        asyncio.run(stopped())
    assert_equal_soon(before, host)
