"""A record that cannot be recovered blocks other containers three times at most; then it is set aside."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.support.attacks import finish

from .jobs import kill, moves_of
from .scene import RUN, Scene, records

# Which engine it is makes no difference to a record: one of them tries it.
ONE_ENGINE = True

TRIES = 3


@pytest.fixture
def blocked(hook: str, engine: str) -> Iterator[Scene]:
    """Hooks were killed, and meanwhile another device of the host got the name of one that is away, eth1."""
    moves = moves_of(hook, engine)
    with Scene(engine, containers=3) as scene:
        kill(scene, hook, moves)
        scene.host.ip("link add eth1 type ifb")
        yield scene


def set_aside(scene: Scene) -> tuple[list[str], list[str]]:
    """What `recover --list --json` shows: of what is set aside, and of what is to be recovered."""
    out, _, code = scene.run("recover", "--list", "--json")
    assert code == 0
    document = json.loads(out)
    return document["set_aside"], document["pending"]


@pytest.mark.thorough
def test_recover_sets_aside_after_three_tries(blocked: Scene) -> None:
    """Three times `recover` exits 3 and names the device; the last time it says, once, that the record is set aside."""
    said = []
    for number in range(TRIES):
        out, err, code = blocked.run("recover")
        assert code == 3, (number, out, err)
        assert "eth1" in out + err
        assert "eth1: kept: in " in out, "where it is"
        said.append("aside" in out + err)
    assert said == [False] * (TRIES - 1) + [True]
    assert "or move the file back to /run/netdevns/txn to try again" in out
    assert blocked.run("recover") == ("nothing to recover; 1 set aside: `netdevns recover --list`\n", "", 0)
    (shown,), pending = set_aside(blocked)
    assert "eth1" in json.dumps(shown)
    assert (pending, records()) == ([], [])
    assert len([*(RUN / "aside").iterdir()]) == 1
    assert blocked.host.names() >= {"eth2", "eth3"}


def test_other_containers_are_not_blocked_for_ever(blocked: Scene, hook: str) -> None:
    """The next container's hook, which wants another device of that record, is refused three times at most."""
    c3 = blocked.containers[2]
    c3.ask({"eth2": {}})
    codes = []
    while (code := finish(blocked.hook(hook, c3))[2]) != 0:
        codes.append(code)
        assert len(codes) <= TRIES
    assert c3.namespace.names() == {"eth2"}
