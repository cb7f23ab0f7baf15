"""A container's root changes devices while they arrive, and the move fails: what is said afterwards is true.

A name is taken meanwhile, or a system call fails. Then all is as before (exit code 1), or exit code 3 names each thing
that is not. The next container's hook gets the devices, or is refused three times at most.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest

from tests.support import require
from tests.support.attacks import (
    CHANCE,
    COMPLETE,
    ENGINES,
    LONG,
    REPORTED,
    ROUNDS,
    Ended,
    Tally,
    finish,
    rounds,
    traced,
)
from tests.support.kinds import honours_new_ifindex

from .claims import verdict
from .fighter import KINDS, Fighter, load_xdp
from .scene import HOOKS, Container, Scene

WANTED = {"eth1": {"name": "net0"}, "eth2": {"name": "net1"}, "eth3": {"name": "net2"}}
REFUSALS = 3  # at most, for the next container
# What was done to a device cannot be made good: it is gone, or a race is lost again and again.
UNRESTORABLE = {"away", "altname-of-host"}
# In a short run the kinds alternate between the engines.
PLAYERS = [
    (kind, hook, engine)
    for number, kind in enumerate(KINDS)
    for hook in HOOKS
    for engine in (ENGINES if LONG else [ENGINES[number % 2]])
]


@functools.cache
def xdp() -> int | None:
    return load_xdp()


@functools.cache
def answers(hook: str, engine: str) -> range:
    """The numbers of the last recvmmsg of a move, when its devices are there."""
    with Scene(engine, containers=1, kind="veth") as scene:
        (container,) = scene.containers
        clean, _ = traced(lambda under: scene.hook(hook, container, under=under))
    numbers = clean.numbers("recvmmsg")
    return numbers[len(numbers) * 2 // 3 :]


@pytest.fixture(params=PLAYERS, ids="-".join)
def player(request: pytest.FixtureRequest) -> tuple[str, str]:
    found: tuple[str, str] = request.param[1:]
    return found


@pytest.fixture
def kind(request: pytest.FixtureRequest, player: tuple[str, str]) -> str:  # noqa: ARG001  # that of its parameters
    name: str = request.node.callspec.params["player"][0]
    if name == "xdp" and xdp() is None:
        require("kinds", "no XDP program can be loaded here")
    return name


@pytest.mark.sampled(8, 2)
def test_fight(kind: str, hook: str, engine: str, tally: Tally, show: Callable[[str], None]) -> None:
    """Devices that are changed while they arrive, and go back."""
    changes = 0
    for number in rounds(40, 20):
        is_taken = number % 2 == 0
        with Scene(engine, containers=1, kind="veth") as scene:
            try:
                fighter = Fighter(kind, "net2" if is_taken else "", xdp())
            except OSError as e:
                require("netns", str(e))
            with fighter:
                ended = fight(scene, hook, fighter, "" if is_taken else fault(hook, engine))
                changes += fighter.changes
                end, wrong = verdict(scene, ended)
                if end == REPORTED and is_taken and is_restorable(kind):
                    wrong.append("all of this can be put back")
                wrong += next_container(scene, hook) if end != COMPLETE else []
            tally.count(f"round {number}", end, wrong, ended)
        if not (LONG or ROUNDS) and end != COMPLETE and changes:
            break  # a short run tries again only where the move was quicker than the fighter: on a busy machine, often
    show(f"  {kind}, {engine}: {changes} changes")
    assert changes


def is_restorable(kind: str) -> bool:
    """Whether an undo can restore it: where no alternative name can be deleted that came along (5.10), that not."""
    return kind not in UNRESTORABLE and (kind != "altname" or honours_new_ifindex())


def fault(hook: str, engine: str) -> str:
    return f"recvmmsg:error=ENOBUFS:when={CHANCE.choice(answers(hook, engine))}"


def fight(scene: Scene, hook: str, fighter: Fighter, inject: str) -> Ended:
    """One hook for the fighter's container; afterwards the fighter is dead, and its namespace is not."""
    container = Container("fighter", scene.folder, fighter.namespace, fighter.pid)
    container.ask(WANTED)
    if inject:
        ended, _ = traced(lambda under: scene.hook(hook, container, under=under), inject)
    else:
        out, err, code = finish(scene.hook(hook, container))
        ended = Ended(code, out, err, [], 0, 0)
    fighter.end()
    return ended


def next_container(scene: Scene, hook: str) -> list[str]:
    """The next container wants those of the devices that are in the host: it gets them, sooner or later."""
    (container,) = scene.containers
    there = [device for device in WANTED if device in scene.host.names()]
    container.ask({device: WANTED[device] for device in there})
    said = []
    for _ in range(REFUSALS + 1):
        _, err, code = finish(scene.hook(hook, container))
        if code == 0:
            missing = {WANTED[device]["name"] for device in there} - container.namespace.names()
            return [f"exit code 0, without {missing}"] if missing else []
        said.append(f"the next container, exit code {code}: {err}")
    return [f"refused {len(said)} times", said[-1]]
