"""Moves of which a send or a receipt fails: all arrives, or all is as before, or what is not is reported."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.support import rawdump, restored

from .rows import OK, Row
from .runners import Answer, C, Runner
from .world import World

FOREVER = 1 << 30
COMPLETE, AS_BEFORE, REPORTED = "complete", "as before", "reported"
# Ends of C that a second netdevns_batch_undo must take back.
SOURCE, TARGET, GONE = "source", "target", "gone"


@dataclass
class Attacks:
    """The attacks of one runner on one row."""

    row: Row
    runner: Runner
    what: int  # SENDS or RECEIVES
    ends: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    calls: int = 0
    complete: dict[str, Any] = field(default_factory=dict)

    def run(self, *, is_long: bool) -> None:
        """Each call fails alone; then all from one on, for some of them or (is_long) for each."""
        self._move(0, 0)
        for number in range(1, self.calls + 1):
            self._move(number, number)
        for number in range(1, self.calls + 1) if is_long else (self.calls // 2, self.calls):
            self._move(number, FOREVER)

    def _move(self, first: int, last: int) -> None:
        with World(self.row) as world:
            before = world.dump()
            assert self.runner.open(self.row, world) is None
            self.runner.fault(self.what, first, last)
            self.runner.ask("move", self.row)
            said = self.runner.answer(self.row)
            calls = self.runner.fault(self.what, 0, 0)
            if not first:
                self.calls, self.complete = calls, world.dump()
            wrong = self._judge(world, before, said)
            self.runner.end()
        call = ("send", "receipt")[self.what]
        more = " and all behind it" * (last > first)
        what = f"{self.runner.name}, {self.row.id}, {call} {first} of {self.calls}{more}"
        self.wrong += [f"{what}: {line}" for line in wrong]

    def _judge(self, world: World, before: dict[str, Any], said: Answer) -> list[str]:
        if said.end == "crash":
            return [said.said["text"]]
        if said.end == OK:
            self.ends[COMPLETE] += 1
            return restored.differences(world.dump, self.complete, timeout_s=20)
        if not said.left_count:
            self.ends[AS_BEFORE] += 1
            return restored.differences(world.dump, before, shown=self._kept, timeout_s=20)
        self.ends[REPORTED] += 1
        return self._untrue(world, before, said) + self._again(world, before)

    def _kept(self, state: dict[str, Any]) -> dict[str, Any]:
        """C restores no routes: they are accepted to be lost."""
        if self.runner.name != C or not self.row.accepted:
            return state
        return {part: value for part, value in state.items() if part != "source routes"}

    def _untrue(self, world: World, before: dict[str, Any], said: Answer) -> list[str]:
        """Devices that are not as before, and of which nothing is said."""
        now = world.dump()
        found = []
        for name, _ in self.row.devices:
            parts = ("source links", "source addresses")
            same = all(not rawdump.differences({"": _of(before, p, name)}, {"": _of(now, p, name)}) for p in parts)
            if not same and name not in said.left:
                found.append(f"{name} is not as before, and not reported: {said.said}")
        for each in said.said.get("left", ()) if self.runner.name != C else said.devices:
            there = _places(now, before["source links"][each["device"]])
            if each["location"] in (SOURCE, TARGET, GONE) and each["location"] not in there:
                found.append(f"{each['device']} is said to be in {each['location']}, and is in {there}")
        return found

    def _again(self, world: World, before: dict[str, Any]) -> list[str]:
        """C: what an undo could not restore, the next one restores."""
        if self.runner.name != C:
            return []
        self.runner.ask("undo", self.row)
        said = self.runner.answer(self.row)
        if said.end != OK:
            return [f"a second undo fails: {said.said}"]
        return restored.differences(world.dump, before, shown=self._kept, timeout_s=20)


def _of(state: dict[str, Any], part: str, name: str) -> list[str]:
    found = state[part].get(name, [])
    return [str(each) for each in (found if isinstance(found, list) else [found])]


def _places(now: dict[str, Any], was: rawdump.Link) -> set[str]:
    """Where a device is, by its MAC."""
    sides = {side: now[f"{side} links"].values() for side in (SOURCE, TARGET)}
    found = {side for side, links in sides.items() if any(link.attrs.get(1) == was.attrs[1] for link in links)}
    return found or {GONE}


def attack(row: Row, runners: list[Runner], what: int, *, is_long: bool) -> list[Attacks]:
    """All runners at once: most of the time they wait for the kernel."""
    attacks = [Attacks(row, runner, what) for runner in runners]
    failures: list[BaseException] = []

    def run(each: Attacks) -> None:
        try:
            each.run(is_long=is_long)
        except BaseException as e:
            failures.append(e)

    threads = [threading.Thread(target=run, args=(each,)) for each in attacks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return attacks
