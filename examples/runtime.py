"""A container runtime in asyncio that gives devices to many containers at once: what docs/embedding.md explains.

python examples/runtime.py blue:eth1=net0,eth2 green:mv0     # until Ctrl-C, then they come back
"""

from __future__ import annotations

import asyncio
import functools
import sys
from collections.abc import Callable, Mapping
from typing import TypeVar

import netdevns

T = TypeVar("T")
EVERYTHING = ("routes", "sysctls", "neighbours")


class Runtime:
    """Gives devices of one namespace to containers, and takes them back.

    Every device is either in the container with all its state, or at home as it was: after a failure, after the
    cancellation of a task, and also when this process is killed (then after the next `start`).

    Routes, sysctls and neighbours go along both ways: a move home can only bring what is there.

    Args:
        host: The namespace that the devices are in; open as long as this runtime is used, and shared by all its moves.
        journal: Where the records of running moves are; the next process must name the same.
        at_a_time: Moves that wait for the kernel at the same time. It does one after the other; 2 keep it busy.
    """

    def __init__(self, host: netdevns.NetNS, journal: str = netdevns.JOURNAL_DIR, at_a_time: int = 2) -> None:
        self.host = host
        self.journal = journal
        self._turns = asyncio.Semaphore(at_a_time)

    async def start(self) -> tuple[netdevns.Recovered, ...]:
        """Puts right what a killed predecessor left; before anything else, and once."""
        return await _to_its_end(functools.partial(netdevns.recover, self.journal))

    async def give(self, devices: Mapping[str, str], container: netdevns.NetNS) -> tuple[netdevns.Moved, ...]:
        """Moves devices into a container, all or none.

        Raises:
            netdevns.CheckFailed: Nothing was touched.
            netdevns.MoveFailed: They are at home again, except what `.left` names.
            asyncio.CancelledError: They are at home: not moved yet, or taken back.
        """
        # The source is named: a worker thread is in the namespace that the process was started in.
        move = functools.partial(netdevns.move, source=self.host, preserve=EVERYTHING, journal=self.journal)
        async with self._turns:  # a task that is cancelled here has not begun
            try:
                return await _to_its_end(functools.partial(move, devices, container))
            except _TooLate as e:  # cancelled after its move began: these devices are not wanted any more
                await self._home(e.result, container)
                raise asyncio.CancelledError from e

    async def take_back(self, moved: tuple[netdevns.Moved, ...], container: netdevns.NetNS) -> None:
        """Moves devices home before the container ends: a virtual one would be deleted with it."""
        async with self._turns:
            await self._home(moved, container)

    async def _home(self, moved: tuple[netdevns.Moved, ...], container: netdevns.NetNS) -> None:
        devices = {each.name: each.host_name for each in moved}
        back = functools.partial(netdevns.move, source=container, journal=self.journal, preserve=EVERYTHING, force=True)
        try:
            await _to_its_end(functools.partial(back, devices, self.host))
        except _TooLate:
            raise asyncio.CancelledError from None


class _TooLate(Exception):
    """The task was cancelled while the call ran; this is what the call returned all the same."""

    def __init__(self, result: tuple[netdevns.Moved, ...]) -> None:
        super().__init__()
        self.result = result


async def _to_its_end(call: Callable[[], tuple[T, ...]]) -> tuple[T, ...]:
    """asyncio.to_thread, but a cancellation does not leave while the thread works, not knowing what it does.

    A thread cannot be stopped, and a move should not be: it takes milliseconds. So its end is awaited, however often
    the task is cancelled; then this raises the call's exception, or _TooLate with its result.
    """
    # Not a task, which asyncio.run would cancel when it ends.
    running = asyncio.get_running_loop().run_in_executor(None, call)
    cancelled = False
    while not running.done():
        try:
            await asyncio.wait([running])
        except asyncio.CancelledError:
            cancelled = True
    result = running.result()
    if cancelled:
        raise _TooLate(result)  # type: ignore[arg-type]
    return result


async def main(arguments: list[str]) -> None:
    """Serves CONTAINER:DEV[=NAME],... until it is cancelled."""
    with netdevns.NetNS.open("/proc/self/ns/net") as host:
        runtime = Runtime(host)
        for recovered in await runtime.start():
            print(recovered.text)
        await asyncio.gather(*(serve(runtime, *argument.split(":", 1)) for argument in arguments))


async def serve(runtime: Runtime, where: str, wanted: str) -> None:
    """One container, as long as it runs: its namespace is opened once."""
    devices = {device: name for device, _, name in (word.partition("=") for word in wanted.split(","))}
    with netdevns.NetNS.open(where) as container:
        moved = await runtime.give(devices, container)
        print(where, *(f"{each.host_name} -> {each.name}" for each in moved), flush=True)
        try:
            await asyncio.Event().wait()  # the container runs
        finally:
            await runtime.take_back(moved, container)


if __name__ == "__main__":
    try:
        asyncio.run(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
    except netdevns.NetDevError as e:
        sys.exit(str(e))
