"""A signal at any system call of a command or hook: what is said of it is true.

INT, TERM and HUP, each at each call from the first netlink socket on; two at once; 60 from outside. All is as before
and exit code 1 says "interrupted"; or all is complete; or exit code 3 names what is not. No record and no loan is left
of a move that was undone. A few at random; all with NETDEVNS_ATTACK=long.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from tests.support.attacks import CHANCE, ENGINES, LONG, ROUNDS, Tally, rounds, sample, traced

from .jobs import JOBS, Attacked, moving
from .scene import HOOKS, Scene

SIGNALS = ("INT", "TERM", "HUP")
BURST = 60
MANY = 60  # devices
# Of these one run makes one more, another one less.
VARYING = {"brk", "futex", "madvise", "mmap", "mprotect", "mremap", "munmap"}


# In a short run the jobs alternate between the engines.
PLAYERS = [
    (job, hook, engine)
    for number, job in enumerate(JOBS)
    for hook in HOOKS
    for engine in (ENGINES if LONG else [ENGINES[number % 2]])
]


@pytest.fixture(scope="module", params=PLAYERS, ids="-".join)
def attacked(request: pytest.FixtureRequest) -> Iterator[Attacked]:
    found = Attacked(*request.param)
    yield found
    found.close()


def calls(attacked: Attacked) -> list[tuple[str, int]]:
    """Those of its own work; in a short run without those that the next one may not make: it tries only one or two."""
    return [call for call in attacked.clean.own if LONG or ROUNDS or call[0] not in VARYING]


@pytest.mark.sampled(3)
def test_signal_at_each_call(attacked: Attacked, tally: Tally) -> None:
    """One of the three signals at one call; with the second engine the three take turns."""
    every = [(call, number, name) for call, number in calls(attacked) for name in SIGNALS]
    if attacked.engine != ENGINES[0]:
        every = [each for at, each in enumerate(every) if at // 3 % 3 == at % 3]
    for each in sample(every, 2, ROUNDS or None):
        attacked.inject(tally, each)


@pytest.mark.sampled(3)
def test_two_signals_at_once(attacked: Attacked, tally: Tally) -> None:
    """Two different ones, at one call and at the next one of another name."""
    pairs = [(a, b) for a, b in itertools.pairwise(calls(attacked)) if a[0] != b[0]]
    for first, second in sample(pairs, 1, ROUNDS or 30):
        names = CHANCE.sample(SIGNALS, 2)
        attacked.inject(tally, (*first, names[0]), (*second, names[1]))


@pytest.mark.sampled(3)
def test_burst(attacked: Attacked, tally: Tally) -> None:
    """Sixty of all three, one after the other, from outside and at any time."""
    for _ in rounds(1, 20):
        names = CHANCE.choices(SIGNALS, k=BURST)
        attacked.burst(tally, CHANCE.uniform(attacked.lasts_s / 3, attacked.lasts_s), names)


@pytest.mark.parametrize("name", SIGNALS if LONG else ("TERM",))
def test_signal_ends_a_batch_of_60_before_its_third(hook: str, engine: str, name: str) -> None:
    """A signal while the first of sixty devices moves: at most one more moves, then all are as before."""
    with Scene(engine, containers=1, count=MANY) as scene:
        (container,) = scene.containers
        container.ask({f"eth{n}": {} for n in range(1, MANY + 1)})
        _, lines = traced(lambda under: scene.hook(hook, container, under=under), "sendto:error=EIO:when=2000")
        first = moving(lines)[0]
    with Scene(engine, containers=1, count=MANY) as scene:
        (container,) = scene.containers
        container.ask({f"eth{n}": {} for n in range(1, MANY + 1)})
        inject = f"sendto:signal={name}:when={first}"
        ended, lines = traced(lambda under: scene.hook(hook, container, under=under), inject)
        assert ended.code == 1
        assert "interrupted" in ended.err
        assert not scene.differences(scene.before)
        # There and back again: each that moved was moved twice.
        assert len(moving(lines)) <= 2 * 2
