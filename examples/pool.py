"""A runtime that keeps namespaces ready: a container joins one in microseconds, and a worn one is made anew behind it.

python examples/pool.py a:eth1=net0 b:eth2=net0     # prints a path for each line that it reads; Ctrl-D ends it

A slot is a namespace with its devices (`netdevns prepare`). What is killed here, is settled by the next `start`.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence

USED = "is in it"  # a process: the container of a pool that was killed, and lives on


class Pool:
    """Slots, each ready, in use, or on its way from one to the other.

    Args:
        slots: A slot's name -> its devices, DEV or DEV=NAME.
        command: What starts netdevns.
    """

    def __init__(self, slots: Mapping[str, Sequence[str]], command: Sequence[str] = ("netdevns",)) -> None:
        self.slots = {name: tuple(devices) for name, devices in slots.items()}
        self.command = tuple(command)
        self.used: set[str] = set()
        self._ready: asyncio.Queue[str] = asyncio.Queue()

    async def start(self) -> None:
        """Makes all slots ready after any predecessor; a slot with a process in it is in use."""
        await self._run("recover")
        await asyncio.gather(*(self.give_back(name) for name in self.slots))

    async def take(self) -> str:
        """The name of a slot, as soon as one is ready: /run/netns/NAME has its devices."""
        name = await self._ready.get()
        self.used.add(name)
        return name

    async def give_back(self, name: str) -> None:
        """A container has ended: its slot gets its devices anew, as they are on the host.

        Raises:
            RuntimeError: What netdevns said; the slot is of no use until it is given back once more.
        """
        code, said = await self._run("prepare", name, "--undo")
        if code == 2 and USED in said:
            self.used.add(name)
            return
        if code not in (0, 2):  # 2: there is none yet
            raise RuntimeError(said)
        code, said = await self._run("prepare", name, *self.slots[name])
        if code:
            raise RuntimeError(said)
        self.used.discard(name)
        self._ready.put_nowait(name)

    async def stop(self) -> None:
        """All devices come home, but those of slots in which a process is."""
        for name in self.slots:
            code, said = await self._run("prepare", name, "--undo")
            if code not in (0, 2):
                raise RuntimeError(said)

    async def _run(self, *arguments: str) -> tuple[int, str]:
        # A separate process: a task that is cancelled here stops waiting, and the command still runs to its end.
        process = await asyncio.create_subprocess_exec(
            *self.command, *arguments, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
        )
        _, said = await process.communicate()
        return process.returncode or 0, said.decode(errors="replace")


async def main(arguments: Sequence[str]) -> None:
    slots = {name: devices.split(",") for name, _, devices in (each.partition(":") for each in arguments)}
    pool = Pool(slots, (sys.executable, "-I", "-m", "netdevns"))
    await pool.start()
    try:
        while await asyncio.to_thread(sys.stdin.readline):
            print(f"/run/netns/{await pool.take()}", flush=True)
    finally:
        await pool.stop()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
