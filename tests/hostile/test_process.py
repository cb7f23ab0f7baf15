"""A container's process that ends while its hook runs: what was moved for it is moved back, and no loan is left."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from tests.support.attacks import EACH_ENGINE, finish, traced
from tests.support.processes import wait_until

from .jobs import moving
from .scene import DEVICES, HOOKS, RUN, Scene, end, left_behind

pytestmark = pytest.mark.parametrize("engine", EACH_ENGINE)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("place", ["first move", "last move", "loan"])
def test_process_ends_during_the_move(hook: str, engine: str, place: str) -> None:
    """P1: exit 1, one line that says why, and all is as before: virtual devices, which would end with it, too."""
    with Scene(engine, containers=1, kind="veth") as scene:
        container = scene.containers[0]
        clean, lines = traced(lambda under: scene.hook(hook, container, under=under))
        assert (clean.err, clean.code) == ("", 0)
        moves = moving(lines)
        links = [n for n, line in enumerate((x for x in lines if re.match(r"\d+ +linkat\(", x)), 1)]
        call = {"first move": ("sendto", moves[0]), "last move": ("sendto", moves[-1]), "loan": ("linkat", links[-1])}
        name, when = call[place]
    with Scene(engine, containers=1, kind="veth") as scene:
        container = scene.containers[0]
        options = ("-e", f"trace={name}", "-e", f"inject={name}:delay_enter=5000000:when={when}")
        process = scene.hook(
            hook, container, under=("strace", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", *options)
        )
        here = 3 - {"first move": 0, "last move": 2, "loan": 3}[place]
        wait_until(lambda: _records() and len(scene.host.names() & {*DEVICES}) <= here, "devices have left")
        time.sleep(0.2)  # it is in the call by now, and for longer
        end(container)
        out, err, code = finish(process)
        assert (out, code) == ("", 1), err
        assert err == (f"netdevns: the container's process {container.pid} has ended; all devices are restored\n")
        assert not scene.differences(scene.before, timeout_s=5)
        assert left_behind() == []


def _records() -> list[Path]:
    return [*(RUN / "txn").glob("*")]


@pytest.mark.parametrize("hook", HOOKS)
def test_process_has_ended_before(hook: str, engine: str) -> None:
    """A zombie is no container: nothing is touched, exit 2."""
    with Scene(engine, containers=1) as scene:
        end(scene.containers[0])
        out, err, code = finish(scene.hook(hook, scene.containers[0]))
        assert (out, code) == ("", 2), err
        assert err.splitlines()[-1] == "netdevns: nothing was touched"
        assert not scene.differences(scene.before)
