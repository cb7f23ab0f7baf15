"""A physical-like NIC: one that the kernel gives back to the initial namespace when the one that it is in dies.

`tools/test --full` runs this in User Mode Linux, whose vec0 is a tap of the machine: see run_physical there.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import netdevns
from tests.support.namespaces import Namespace
from tests.support.restored import assert_equal_soon, differences

from .nic import NIC, set_up, wait_for_its_return, without_map

TOP = Path(__file__).parents[2]
# Kills itself before a step of the engine: all that held the target's namespace open dies with it.
CHILD = """
import json, os, signal, sys
import netdevns
from tests.support import steps
from tests.support.namespaces import Namespace
step, directory, nic = json.loads(sys.argv[1])
def strike(number):
    os.kill(os.getpid(), signal.SIGKILL)
setattr(*steps.before(step, strike))
netdevns.move({nic: "net0"}, Namespace.create("target").fd, journal=directory)
"""


@pytest.fixture
def here() -> Iterator[Namespace]:
    """The initial namespace, with the NIC as an operator would have set it up."""
    yield from set_up()


@pytest.mark.parametrize("step", ["up_and_replay", "verify"])
def test_killed_with_its_container(here: Namespace, tmp_path: Path, step: str) -> None:
    """P4: the NIC is thrown back, down, under the container's name, without addresses: `recover` gives it all back."""
    before = here.dump()
    words = json.dumps([step, str(tmp_path), NIC])
    done = subprocess.run([sys.executable, "-c", CHILD, words], cwd=TOP, capture_output=True, text=True, timeout=60)
    assert done.returncode == -signal.SIGKILL, done.stderr
    wait_for_its_return(here, "net0")
    assert differences(here.dump, before, shown=without_map, timeout_s=0)
    (found,) = netdevns.recover(tmp_path)
    assert (found.device, found.outcome, found.location) == (NIC, "undone", "source")
    assert_equal_soon(before, here, shown=without_map)
    assert netdevns.recover(tmp_path) == ()
