"""Two movers of the same devices: one gets all of them with their state, the other is refused and leaves nothing.

Both begin within 30 ms. Which of two hooks, commands or library calls wins is chance; what is left afterwards is not.
"""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable

import pytest

from tests.support.attacks import CHANCE, Ended, Tally, finish, rounds

from .jobs import kill, lend, moves_of
from .scene import DEVICES, HOOKS, Container, Scene, left_behind, loans, stopped_on_exit

APART_S = 0.03  # at most, between the two that begin
WON, LOST_ALL = "one won", "both lost"
MOVED = "eth1=net0", "eth2", "eth3=eth%d"
Begin = Callable[[Container], subprocess.Popen[str]]
# A mover through the library, without a record; its exit code is as a command's.
LIBRARY = """
    import sys
    import netdevns

    try:
        netdevns.move({"eth1": "net0", "eth2": None, "eth3": "eth%d"}, f"pid:{sys.argv[1]}")
    except netdevns.NetDevError as e:
        print(f"netdevns: {e}", file=sys.stderr)
        sys.exit((3 if e.left else 1) if isinstance(e, netdevns.MoveFailed) else 2)
"""
# Why it was refused: another mover has the devices, or had them and they are gone.
TRUE = re.compile(r"is being moved by (process \d+|another process)|[Nn]o such device|on loan to container c\d")
# Two threads of one process, each with a target of its own; prints a line for each: how it ended.
THREADS = """
    import sys, threading
    import netdevns

    start = threading.Barrier(2)

    def move(pid):
        start.wait()
        code, text = 0, ""
        try:
            netdevns.move({"eth1": "net0", "eth2": None, "eth3": "eth%d"}, f"pid:{pid}")
        except netdevns.NetDevError as e:
            code = (3 if e.left else 1) if isinstance(e, netdevns.MoveFailed) else 2
            text = str(e).replace("\\n", " ")
        ended[pid] = f"{code} {text}"

    ended = {}
    threads = [threading.Thread(target=move, args=(pid,)) for pid in sys.argv[1:]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(*(ended[pid] for pid in sys.argv[1:]), sep="\\n")
"""


@pytest.fixture(scope="module")
def complete() -> dict[str, object]:
    """A container that has all, as a hook of its own leaves it; without the records' names."""
    with Scene("native", containers=1) as scene:
        (container,) = scene.containers
        assert finish(scene.hook(next(iter(HOOKS)), container)) == ("", "", 0)
        return {part.partition(" ")[2]: value for part, value in scene.settled().items() if part.startswith("c1 ")}


class Contest:
    """Several movers that begin at almost the same time, and what must be true when all have ended."""

    def __init__(self, scene: Scene, complete: dict[str, object]) -> None:
        self.scene = scene
        self.complete = complete
        self.pids: set[int] = set()

    def run(self, *begin: tuple[str, Callable[[], subprocess.Popen[str]]]) -> dict[str, Ended]:
        """Starts them; returns how each ended."""
        started: dict[str, subprocess.Popen[str]] = {}
        for name, start in begin:
            started[name] = start()
            time.sleep(CHANCE.uniform(0, APART_S / len(begin)))
        self.pids = {process.pid for process in started.values()}
        with stopped_on_exit(*started.values()):
            return {name: _ended(process) for name, process in started.items()}

    def verdict(self, ended: dict[str, Ended], lenders: set[str], *, must_win: bool = True) -> tuple[str, list[str]]:
        """`ended`: by the container's id; `lenders`: those whose success leaves a loan."""
        won = [id_ for id_, each in ended.items() if each.code == 0]
        wrong = [] if len(won) == 1 or not (won or must_win) else [f"winners: {won}"]
        for id_, each in ended.items():
            if each.code in (1, 2) and not TRUE.search(each.err):
                wrong.append(f"{id_}: this is not why: {each.err}")
            elif each.code in (1, 2) and not {*map(int, re.findall(r"by process (\d+)", each.err))} <= self.pids:
                wrong.append(f"{id_}: none of {self.pids}: {each.err}")
            elif each.code not in (0, 1, 2):
                wrong.append(f"{id_}: exit code {each.code}: {each.err}")
            if re.search("Traceback|internal error", each.err):
                wrong.append(f"{id_}: this is not for users: {each.err}")
        wrong += self._places(won[0] if won else None)
        if loans() != sorted(lenders & {*won}):
            wrong.append(f"loans: {loans()}")
        if left_behind():
            wrong.append(f"left behind: {left_behind()}")
        return (WON if won else LOST_ALL), wrong

    def _places(self, winner: str | None) -> list[str]:
        """What is not where it must be: all in the winner's, or at home."""
        wanted = dict(self.scene.before)
        if winner:
            wanted |= {f"{winner} {part}": value for part, value in self.complete.items()}
            wanted = {part: value for part, value in wanted.items() if not part.startswith("host ")}
        wanted = {part: value for part, value in wanted.items() if part not in ("records", "loans")}
        wrong = self.scene.differences(wanted, timeout_s=0.5)
        there = self.scene.host.names() & {*DEVICES, *DEVICES.values()} if winner else set()
        return wrong + [f"{device} is in the host, too" for device in sorted(there)]


def _ended(process: subprocess.Popen[str]) -> Ended:
    out, err, code = finish(process)
    return Ended(code, out, err, [], 0, 0)


def _library(scene: Scene, container: Container) -> subprocess.Popen[str]:
    return scene.start([sys.executable, "-c", textwrap.dedent(LIBRARY), str(container.pid)])


def _move(scene: Scene, container: Container) -> subprocess.Popen[str]:
    return scene.command("move", *MOVED, "--to", f"pid:{container.pid}")


# ---- races ----


def test_two_hooks(hook: str, engine: str, complete: dict[str, object], tally: Tally) -> None:
    """Two createRuntime hooks, of two containers."""
    for number in rounds(5, 1000):
        with Scene(engine) as scene:
            contest = Contest(scene, complete)
            ended = contest.run(*((c.id, lambda c=c: scene.hook(hook, c)) for c in scene.containers))
            tally.count(f"round {number}", *contest.verdict(ended, {"c1", "c2"}))


@pytest.mark.thorough
def test_eight_hooks(hook: str, engine: str, complete: dict[str, object], tally: Tally) -> None:
    """Eight createRuntime hooks, of eight containers."""
    for number in rounds(1, 200):
        with Scene(engine, containers=8) as scene:
            contest = Contest(scene, complete)
            ended = contest.run(*((c.id, lambda c=c: scene.hook(hook, c)) for c in scene.containers))
            tally.count(f"round {number}", *contest.verdict(ended, {c.id for c in scene.containers}))


@pytest.mark.sampled(2)
@pytest.mark.parametrize("other", [_move, _library], ids=["command", "library"])
def test_hook_against_move(
    hook: str, engine: str, complete: dict[str, object], tally: Tally, other: Callable[..., subprocess.Popen[str]]
) -> None:
    """A createRuntime hook, and `netdevns move` or a call of the library, in any order."""
    for number in rounds(2, 200):
        with Scene(engine) as scene:
            contest = Contest(scene, complete)
            c1, c2 = scene.containers
            both = [("c1", lambda c=c1: scene.hook(hook, c)), ("c2", lambda c=c2: other(scene, c))]
            ended = contest.run(*CHANCE.sample(both, 2))
            tally.count(f"round {number}", *contest.verdict(ended, {"c1"}))


@pytest.mark.thorough
def test_hook_against_return(hook: str, engine: str, complete: dict[str, object], tally: Tally) -> None:
    """`netdevns return` restores what the next container's hook wants at the same time: the hook gets all of it."""
    for number in rounds(2, 200):
        with Scene(engine, containers=3) as scene:
            lend(scene, hook)
            contest = Contest(scene, complete)
            c3 = scene.containers[2]
            both = [("c3", lambda c=c3: scene.hook(hook, c)), ("return", lambda: scene.command("return"))]
            ended = contest.run(*CHANCE.sample(both, 2))
            tally.count(f"round {number}", *_beside(contest, ended, "return"))


@pytest.mark.thorough
def test_hook_against_recover(hook: str, engine: str, complete: dict[str, object], tally: Tally) -> None:
    """`netdevns recover` undoes a killed move of what a hook wants at the same time: the hook gets all of it."""
    moves = moves_of(hook, engine)
    for number in rounds(2, 200):
        with Scene(engine, containers=3) as scene:
            kill(scene, hook, moves)
            contest = Contest(scene, complete)
            c3 = scene.containers[2]
            both = [("c3", lambda c=c3: scene.hook(hook, c)), ("recover", lambda: scene.command("recover"))]
            ended = contest.run(*CHANCE.sample(both, 2))
            tally.count(f"round {number}", *_beside(contest, ended, "recover"))


def test_two_threads(engine: str, complete: dict[str, object], tally: Tally) -> None:
    """Two threads of one process, each with a container of its own."""
    for number in rounds(2, 200):
        with Scene(engine) as scene:
            contest = Contest(scene, complete)
            argv = [sys.executable, "-c", textwrap.dedent(THREADS), *(str(c.pid) for c in scene.containers)]
            both = contest.run(("both", lambda argv=argv: scene.start(argv)))["both"]
            assert (both.code, both.err) == (0, "")
            lines = [line.partition(" ") for line in both.out.splitlines()]
            ended = {f"c{n}": Ended(int(code), "", text, [], 0, 0) for n, (code, _, text) in enumerate(lines, 1)}
            tally.count(f"round {number}", *contest.verdict(ended, set()))


def _beside(contest: Contest, ended: dict[str, Ended], command: str) -> tuple[str, list[str]]:
    """A verdict where one of two is a command that puts back what the other one wants."""
    beside = ended.pop(command)
    end, wrong = contest.verdict(ended, {"c3"})
    if beside.code not in (0, 2) or (beside.code == 2 and "is being moved by" not in beside.err):
        wrong.append(f"{command}: exit code {beside.code}: {beside.out}{beside.err}")
    return end, wrong
