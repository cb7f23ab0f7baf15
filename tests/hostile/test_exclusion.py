"""A second mover waits for a bounded time, and only for the devices that it moves; a lock ends with its holder."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from netdevns.conformance.expected import version
from tests.support.attacks import finish, traced
from tests.support.processes import wait_until

from .jobs import FORWARD, moving
from .scene import DEVICES, NET_DEVICES, Container, Scene, left_behind, loans, stopped_on_exit

# The exclusion is the same code for all engines: one of them tries it.
ONE_ENGINE = True

PYTHON = [sys.executable, "-c"]
WAITS_S = (4.5, 60.0)  # 5 s, on a busy machine
# The mover forks again and again while it moves; its children live on with all that they inherited, and say nothing.
FORKING = """
    import os, sys, threading, time, warnings
    import netdevns

    warnings.simplefilter("ignore", DeprecationWarning)  # Python >= 3.12 warns of a fork beside threads

    def move():
        try:
            devices = {"eth1": "net0", "eth2": None, "eth3": "eth%d"}
            netdevns.move(devices, f"pid:{sys.argv[1]}", journal=sys.argv[2] or None)
        finally:
            ended.set()

    ended = threading.Event()
    mover = threading.Thread(target=move)
    mover.start()
    children = 0
    while not ended.wait(0.002 * 1.15**children):  # few of them, also where all is slow
        children += 1
        if os.fork() == 0:
            for fd in range(3):
                os.close(fd)
            time.sleep(300)
            os._exit(0)
    mover.join()
    print(children)
"""
ASKED = """
    import sys
    import netdevns

    *devices, pid = sys.argv[1:]
    netdevns.move(dict.fromkeys(devices), f"pid:{pid}")
"""
LIBRARY = """
    import sys
    import netdevns

    netdevns.move({"eth1": "net0", "eth2": None, "eth3": "eth%d"}, f"pid:{sys.argv[1]}")
"""


@pytest.fixture
def scene(engine: str) -> Iterator[Scene]:
    with Scene(engine, containers=4, count=4) as found:
        yield found


Start = Callable[[Scene, Container, tuple[str, ...]], subprocess.Popen[str]]


class Stopper:
    """Starts movers that are stopped (SIGSTOP) when they have moved their first device."""

    # The number of that sendto, by mover, engine and number of devices: measured once, on an undisturbed mover.
    known: ClassVar[dict[tuple[str, str, int], int]] = {}

    def __init__(self, scene: Scene, tmp_path: Path) -> None:
        self.scene = scene
        self.tmp_path = tmp_path

    def when(self, name: str, start: Start, container: Container) -> int:
        """The number of the sendto that moves its first device. Before anything runs: what it left is cleared."""
        key = (name, self.scene.engine, len(container.devices))
        if key not in self.known:
            with Scene(self.scene.engine, containers=1, count=4) as other:
                (c1,) = other.containers
                c1.ask(container.devices)
                _, lines = traced(lambda under: start(other, c1, under))
                self.known[key] = moving(lines)[0]
        return self.known[key]

    @contextlib.contextmanager
    def stopped(self, name: str, start: Start, container: Container) -> Iterator[tuple[subprocess.Popen[str], int]]:
        """Yields strace's process, and the mover's number; `name`: which mover it is."""
        trace = self.tmp_path / name
        # The call is made, then the signal is delivered.
        inject = f"inject=sendto:signal=STOP:when={self.when(name, start, container)}"
        process = start(self.scene, container, ("strace", "-f", "-o", str(trace), "-e", "trace=sendto", "-e", inject))
        with stopped_on_exit(process):
            wait_until(lambda: trace.exists() and "stopped by SIGSTOP" in trace.read_text())
            yield process, int(trace.read_text().split()[0])


@pytest.fixture
def stopper(scene: Scene, tmp_path: Path) -> Stopper:
    return Stopper(scene, tmp_path)


@pytest.fixture
def start_hook(hook: str) -> Start:
    """Starts the hook of a container."""
    return lambda scene, container, under: scene.hook(hook, container, under=under)


def start_library(scene: Scene, container: Container, under: tuple[str, ...]) -> subprocess.Popen[str]:
    """Moves what the container asks for, without a record."""
    return scene.start([*PYTHON, textwrap.dedent(ASKED), *container.devices, str(container.pid)], under=under)


def arrived(container: Container) -> dict[str, int]:
    """How many addresses of both families each device has."""
    dump = container.namespace.dump()
    return {name: len(dump["addresses"].get(name, [])) for name in dump["links"] if name != "lo"}


ALL_ARRIVED = dict.fromkeys(DEVICES.values(), 4)


def test_second_mover_is_refused_after_a_bounded_time(
    scene: Scene, hook: str, stopper: Stopper, start_hook: Start
) -> None:
    """While a hook, or a call of the library, is stopped, the next hook waits 5 s, names it, and touches nothing."""
    c1, c2, c3, c4 = scene.containers
    # The first of two has left, the second has not: it is what the next hook wants.
    for container, devices in ((c1, ("eth1", "eth3")), (c2, ("eth2", "eth4")), (c3, ("eth3",)), (c4, ("eth4",))):
        container.ask({device: {} for device in devices})
    stopper.when("library", start_library, c2)
    with (
        stopper.stopped("hook", start_hook, c1) as (first, pid),
        stopper.stopped("library", start_library, c2) as (other, its_pid),
    ):
        begun = time.monotonic()
        both = [scene.hook(hook, container) for container in (c3, c4)]
        with stopped_on_exit(*both):
            for refused, device, holder in zip(both, ("eth3", "eth4"), (pid, its_pid), strict=True):
                out, err, code = finish(refused)
                assert (out, code) == ("", 2)
                assert re.search(rf"\b{device} is being moved by process {holder}\b", err.replace(":", "")), err
                assert err.endswith("nothing was touched\n")
        assert WAITS_S[0] < time.monotonic() - begun < WAITS_S[1]
        for holder, process in ((pid, first), (its_pid, other)):
            os.kill(holder, signal.SIGCONT)
            assert finish(process) == ("", "", 0)
    assert [arrived(each) for each in scene.containers] == [{"eth1": 4, "eth3": 4}, {"eth2": 4, "eth4": 4}, {}, {}]
    assert (loans(), left_behind()) == (["c1"], [])


def test_other_devices_do_not_wait(scene: Scene, hook: str, stopper: Stopper, start_hook: Start) -> None:
    """While a hook is stopped inside its move, the hook of another container with other devices ends."""
    c1, c2, *_ = scene.containers
    c1.ask({"eth1": NET_DEVICES["eth1"]})
    c2.ask({name: NET_DEVICES[name] for name in ("eth2", "eth3")})
    with stopper.stopped("hook", start_hook, c1) as (first, pid):
        out, err, code = finish(scene.hook(hook, c2))
        assert (out, err, code) == ("", "", 0)
        assert arrived(c2) == {"eth2": 4, "eth0": 4}
        os.kill(pid, signal.SIGCONT)
        assert finish(first) == ("", "", 0)
    assert arrived(c1) == {"net0": 4}
    assert left_behind() == []


def test_what_has_just_arrived_is_not_taken_along(scene: Scene, stopper: Stopper, start_hook: Start) -> None:
    """A mover out of the target waits for the one into it, is refused, and leaves the device where it is."""
    c1, c2, *_ = scene.containers
    c1.ask({"eth2": {}})
    move = ("move", "eth2=net9", "--from", f"pid:{c1.pid}", "--to", f"pid:{c2.pid}")
    with stopper.stopped("hook", start_hook, c1) as (first, pid):
        if not arrived(c1) and version(os.uname().release) < (6, 15):
            pytest.skip("before 6.15 the first request with a namespace only asks what may leave")
        out, err, code = finish(scene.start([sys.executable, "-m", "netdevns", *move]))
        assert (out, code) == ("", 2)
        assert f"eth2 is being moved by process {pid}" in err
        os.kill(pid, signal.SIGCONT)
        assert finish(first) == ("", "", 0)
    assert (arrived(c1), arrived(c2), left_behind()) == ({"eth2": 4}, {}, [])


def test_lock_ends_with_its_holder(scene: Scene, hook: str, stopper: Stopper, start_hook: Start) -> None:
    """When the first is killed inside its move, the second gets the devices at once, with all that they had."""
    c1, c2, *_ = scene.containers
    with stopper.stopped("hook", start_hook, c1) as (first, pid):
        os.kill(pid, signal.SIGKILL)
        finish(first)
        out, err, code = finish(scene.hook(hook, c2))
    assert (out, err, code) == ("", "", 0)
    assert arrived(c2) == ALL_ARRIVED
    assert arrived(c1) == {}
    assert (loans(), left_behind()) == (["c2"], [])


@pytest.mark.sampled(2)
@pytest.mark.parametrize("journal", ["", "/run/netdevns"], ids=["without", "with"])
def test_child_of_the_mover_does_not_hold_the_devices(scene: Scene, journal: str) -> None:
    """A child that was forked during a move and outlives it does not keep the devices locked."""
    c1, c2, *_ = scene.containers
    mover = scene.start([*PYTHON, textwrap.dedent(FORKING), str(c1.pid), journal])
    try:
        out, err, code = finish(mover)
        assert (err, code) == ("", 0)
        assert int(out) > 0
        for ifindex, name in enumerate(DEVICES.values(), 4701):
            c1.namespace.ip(f"link set {name} down")
            c1.namespace.give(name, scene.host, ifindex=ifindex)
        names = [*DEVICES.values()]
        _, err, code = finish(scene.command("move", *names, "--to", f"pid:{c2.pid}", "--json"))
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(mover.pid, signal.SIGKILL)  # the session of the children, of which there are some
    assert (err, code) == ("", 0)
    assert c2.namespace.names() == {*DEVICES.values()}


# ---- no directory ----

OBSTACLES = {"file": "echo >/run/netdevns", "read-only": "mount -o remount,ro /run"}


def without_directory(obstacle: str) -> tuple[str, ...]:
    """Words before a command, which then has a /run of its own where /run/netdevns cannot be used."""
    script = f'mount -t tmpfs tmpfs /run && {OBSTACLES[obstacle]} && exec "$@"'
    return "unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"


@pytest.mark.sampled(3)
@pytest.mark.parametrize("obstacle", OBSTACLES)
@pytest.mark.parametrize("name", FORWARD)
def test_unusable_directory_refuses(scene: Scene, hook: str, name: str, obstacle: str) -> None:
    """Where /run/netdevns cannot be used, commands and hooks are refused (exit code 2), and nothing is touched."""
    with scene.host.monitor() as monitor:
        _, err, code = finish(FORWARD[name](scene, hook, without_directory(obstacle)))
        assert monitor.seen() == []
    assert code == 2, err
    assert "/run/netdevns" in err
    assert err.rstrip().endswith("nothing was touched") or "cannot be written" in err
    assert not scene.differences(scene.before)


@pytest.mark.parametrize("obstacle", OBSTACLES)
def test_library_goes_on_without_a_directory(scene: Scene, obstacle: str) -> None:
    """`netdevns.move()` without `journal=` does its work all the same."""
    c1, *_ = scene.containers
    argv = [*PYTHON, textwrap.dedent(LIBRARY), str(c1.pid)]
    assert finish(scene.start(argv, under=without_directory(obstacle))) == ("", "", 0)
    assert arrived(c1) == ALL_ARRIVED
