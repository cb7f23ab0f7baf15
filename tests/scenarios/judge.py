"""What one runner finds, says and does with a row, judged: by the table, by raw dumps, by the model."""

from __future__ import annotations

import errno
import time
from typing import Any

from tests.support import rawdump, restored

from . import model
from .rows import (
    DEFAULT_ROUTE,
    FAILED,
    MASTER,
    NEIGHBOURS,
    NEXTHOPS,
    OF_OPEN,
    OK,
    QDISC,
    REFUSED,
    ROUTES,
    STATE,
    UPPER,
    Row,
)
from .runners import Answer, C, Runner
from .world import World

# Where C does not restore a state, parts of a dump are not compared after its undo.
_PARTS = {
    ROUTES: ("routes",),
    NEXTHOPS: ("nexthops", "routes"),
    NEIGHBOURS: ("links", "neighbours", "fdb", "mdb"),
    MASTER: ("links", "vlans", "fdb", "mdb", "routes"),
    QDISC: ("links",),
    UPPER: ("links", "addresses", "routes", "fdb"),
    DEFAULT_ROUTE: ("routes",),
}


class Played:
    """A row that one runner plays in its own world."""

    def __init__(self, row: Row, runner: Runner, world: World, *, is_shared: bool = False) -> None:
        self.row = row
        self.runner = runner
        self.world = world
        self.is_shared = is_shared  # with other runners, so that nothing may change; it is looked at after the move
        self.before = world.before if is_shared else world.dump()
        self.after: dict[str, Any] = {}
        self.refusal = runner.open(row, world)  # C: of netdevns_batch_open
        self.check: Answer | None = None
        self.move: Answer | None = None
        self.wrong: list[str] = []

    @property
    def is_c(self) -> bool:
        return self.runner.name == C

    def ask(self, what: str) -> None:
        if self.refusal is None:
            self.runner.ask(what, self.row)

    def answer(self) -> Answer:
        return self.runner.answer(self.row) if self.refusal is None else self.refusal

    def bad(self, text: str) -> None:
        self.wrong.append(f"{self.runner.name}: {text}")

    # ---- judgements ----

    def answered(self, what: str) -> None:
        self.judge(what, self.answer())

    def judge(self, what: str, said: Answer) -> None:
        if said.said.get("bad texts"):
            self.bad(f"{what}: not one line: {said.said['bad texts']}")
        if what == "check":
            self.check = said
            self.judge_check()
            self.judge_unaccepted()
        else:
            self.move = said
            self.judge_move()

    def comparable(self, other: Played) -> dict[str, Any]:
        """The state afterwards of another one, as far as it is the same in this one."""
        state = other.after
        if self.is_c and self.move is not None and self.move.end != OK:
            state = self._compared(state)
        if self.row.race is not None:  # how late an address was decides its place
            state = state | {
                part: {name: sorted(map(str, each)) for name, each in state[part].items()}
                for part in ("source addresses", "target addresses")
                if part in state
            }
        return state

    def settle(self, first: Played) -> None:
        """Until this world is as the first one: the kernel does some things in its own time."""
        end = time.monotonic() + 20
        while rawdump.differences(first.after, self.after) and not first.wrong and time.monotonic() < end:
            time.sleep(0.02)
            first.after, self.after = first.world.dump(), self.world.dump()

    def judge_check(self) -> None:
        """The findings are the table's, and nothing has changed."""
        assert self.check is not None
        self._judge_findings(self.check, "check")
        wanted = REFUSED if self.row.errors else OK
        if self.check.end != wanted:
            self.bad(f"check: {self.check.end}, not {wanted}: {self.check.said}")
        self._judge_errno(self.check, "check")
        if not self.is_shared:
            changed = rawdump.differences(self.before, self.world.dump())
            self.wrong += [f"{self.runner.name}: check changed {line}" for line in changed]

    def _judge_findings(self, said: Answer, what: str) -> None:
        wanted = self.row.found_by_c if self.is_c else [*self.row.found]
        if self.refusal is not None:
            if not any(each.code in OF_OPEN for each in wanted):
                self.bad(f"open is refused: {said.said}")
            return
        missing = [each for each in wanted if each not in said.findings]
        more = [each for each in said.findings if each not in wanted]
        self.wrong += [f"{self.runner.name}: {what}: missing: {each}" for each in missing]
        self.wrong += [f"{self.runner.name}: {what}: too many: {each}" for each in more]
        if self.is_c:  # by device, and within one as here
            wanted, said.findings = ([f for f in each if f.severity == "error"] for each in (wanted, said.findings))
        if not missing and not more and wanted != said.findings:
            self.bad(f"{what}: other order: {[each.code for each in said.findings]}")

    def _judge_errno(self, said: Answer, what: str) -> None:
        if self.row.errors and said.errno not in {each.errno for each in self.row.errors}:
            self.bad(f"{what}: errno {errno.errorcode.get(said.errno, said.errno)}")

    def judge_unaccepted(self) -> None:
        """C refuses what it does not restore, unless the bit is accepted."""
        bits = {STATE[f.code]: f for f in self.row.found if f.code in STATE}
        if not bits or self.refusal is not None or not self.is_c:
            return
        self.runner.accept = 0  # type: ignore[attr-defined]
        self.ask("check")
        said = self.answer()
        self.runner.accept = None  # type: ignore[attr-defined]
        for bit, each in bits.items():
            states = [s for s, f in zip(said.states, said.findings, strict=True) if f.severity == "error"]
            if bit not in states:
                self.bad(f"unaccepted: no error with the bit {bit:#x} for {each.code}: {said.findings}")
        if said.end != REFUSED or said.errno == 0:
            self.bad(f"unaccepted: {said.end}, errno {said.errno}")

    def judge_move(self) -> None:
        assert self.move is not None
        said, row = self.move, self.row
        if said.end != row.wanted:
            self.bad(f"move: {said.end}, not {row.wanted}: {said.said}")
        elif said.end == REFUSED:
            self._judge_findings_of_move(said)
            self._judge_errno(said, "move")
        elif said.end == FAILED:
            number = errno.ESTALE if self.is_c and not row.errno else row.errno  # what did not arrive as it was
            wanted = (number, row.step, row.device)
            if (said.errno, said.step, said.device) != wanted:
                self.bad(f"move: fails with {(said.errno, said.step, said.device)}, not {wanted}: {said.said}")
        if said.end == OK:
            self._judge_arrival(said)
        elif bool(said.left_count) != row.left:
            self.bad(f"move: left {said.left_count} {said.left}")
        elif row.left:
            self.after = self.world.dump()
        else:
            self.after = self._judge_restored("move")
            there = {a.address for each in self.after["source addresses"].values() for a in each}
            if missing := {*row.arrives} - there:
                self.bad(f"move: not restored: {missing}")
            if self.is_c and said.end == FAILED and {each["location"] for each in said.devices} != {"source"}:
                self.bad(f"move: locations {[each['location'] for each in said.devices]}")

    def _judge_findings_of_move(self, said: Answer) -> None:
        """A move looks for lost addresses only when nothing is against it."""
        if self.refusal is None:
            errors = [each for each in said.findings if each.severity == "error"]
            wanted = [each for each in self.row.found if each.severity == "error"]
            if self.row.busy is not None:
                return
            if errors != wanted:
                self.bad(f"move: errors {[str(each) for each in errors]}")

    def _judge_restored(self, what: str) -> dict[str, Any]:
        """All is as before; returns what it is."""
        state: dict[str, Any] = {}

        def look() -> dict[str, Any]:
            state.update(self.world.dump())
            return state

        changed = restored.differences(look, self.before, shown=self._compared, timeout_s=20)
        self.wrong += [f"{self.runner.name}: {what} left: {line}" for line in changed]
        return state

    def _compared(self, state: dict[str, Any]) -> dict[str, Any]:
        """Without the parts that the row's race changes, and those that C accepted to lose."""
        without = set(self.row.changes)
        if self.is_c:
            without |= {f"source {part}" for bit, parts in _PARTS.items() if self.row.accepted & bit for part in parts}
        return {part: value for part, value in state.items() if part not in without}

    def _judge_arrival(self, said: Answer) -> None:
        after = self.world.dump()
        if self.row.is_modelled:
            end = time.monotonic() + 20
            while (wrong := model.differences(self.row, self.before, after)) and time.monotonic() < end:
                time.sleep(0.01)
                after = self.world.dump()
            self.wrong += [f"{self.runner.name}: {line}" for line in wrong]
        self.after = after
        for each in said.devices:
            link = after["target links"].get(each["name"])
            if link is None or link.ifindex != each["ifindex"]:
                self.bad(f"move: reports {each['name']} with ifindex {each['ifindex']}: {link}")
            was = self.before["source links"].get(each["device"])
            if was is not None and was.ifindex != each["host_ifindex"]:
                self.bad(f"move: host_ifindex {each['host_ifindex']}")
            there = [[a.address, a.prefixlen] for a in after["target addresses"].get(each["name"], []) if a.scope == 0]
            missing = [a for a in each["addresses"] if a not in there]
            if missing:
                self.bad(f"move: reports addresses that are not there: {missing}")
            if self.is_c and each["location"] != "target":
                self.bad(f"move: location {each['location']}")

    def judge_undo(self) -> None:
        """C can take a batch back that is complete."""
        assert self.move is not None
        if not self.is_c or self.move.end != OK or self.row.race is not None:
            return
        self.ask("undo")
        said = self.answer()
        if self.row.left:
            if not said.left_count:
                self.bad(f"undo: nothing is left: {said.said}")
            return
        if said.end != OK:
            self.bad(f"undo: {said.said}")
            return
        if any(each["location"] != "source" for each in said.devices):
            self.bad(f"undo: locations {[each['location'] for each in said.devices]}")
        self._judge_restored("undo")
