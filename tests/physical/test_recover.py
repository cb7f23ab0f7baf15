"""A physical-like NIC: one that the kernel gives back to the initial namespace when the one that it is in dies.

`tools/test --full` runs this in User Mode Linux, whose vec0 is a tap of the machine: see run_physical there.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import netdevns
from tests.support import rawdump
from tests.support.namespaces import Namespace, current
from tests.support.require import require
from tests.support.restored import assert_equal_soon

TOP = Path(__file__).parents[2]
NIC = "vec0"
SETUP = [
    f"link set {NIC} up mtu 1400 alias uplink",
    f"addr add 192.0.2.1/24 brd + label {NIC}:vip dev {NIC}",
    f"addr add 2001:db8::1/64 nodad dev {NIC}",
    "route add 198.51.100.0/24 via 192.0.2.9",
    f"neigh add 192.0.2.9 lladdr 02:00:00:00:00:99 nud permanent dev {NIC}",
]
# Kills itself before a step of the engine: all that held the target's namespace open dies with it.
CHILD = """
import json, os, signal, sys
import netdevns
from netdevns.engine import Device
from tests.support.namespaces import Namespace
step, directory, nic = json.loads(sys.argv[1])
def strike(self, *arguments):
    os.kill(os.getpid(), signal.SIGKILL)
setattr(Device, step, strike)
netdevns.move({nic: "net0"}, Namespace.create("target").fd, journal=directory)
"""


@pytest.fixture
def here() -> Iterator[Namespace]:
    """The initial namespace, with the NIC as an operator would have set it up."""
    namespace = Namespace(current(), "initial")
    if NIC not in namespace.links():
        require("physical", f"there is no {NIC}: tools/test --full runs this in User Mode Linux")
    altname = [] if namespace.links()[NIC].altnames else [f"link property add dev {NIC} altname enp1"]
    namespace.batch([*altname, *SETUP])
    namespace.sysctl(f"ipv4/conf/{NIC}/rp_filter", 2)
    namespace.wait_until_quiet()
    yield namespace
    namespace.batch([f"addr flush dev {NIC}", f"link set {NIC} down"])
    namespace.close()


def without_map(dump: dict[str, Any]) -> dict[str, Any]:
    """Without IFLA_MAP: its driver takes another interrupt each time that the NIC is opened."""
    links = dump["links"].items()
    return {**dump, "links": {n: replace(x, attrs={t: v for t, v in x.attrs.items() if t != 14}) for n, x in links}}


def wait_for_its_return(here: Namespace, name: str) -> None:
    """The kernel cleans a dead namespace up in its own time."""
    end = time.monotonic() + 10
    while not any(link.attrs.get(20) == b"uplink\0".hex() for link in here.links().values()):
        assert time.monotonic() < end, f"{name} did not come back"
        time.sleep(0.02)


@pytest.mark.parametrize("step", ["up_and_replay", "verify"])
def test_killed_with_its_container(here: Namespace, tmp_path: Path, step: str) -> None:
    """P4: the NIC is thrown back, down, under the container's name, without addresses: `recover` gives it all back."""
    before = without_map(here.dump())
    words = json.dumps([step, str(tmp_path), NIC])
    done = subprocess.run([sys.executable, "-c", CHILD, words], cwd=TOP, capture_output=True, text=True, timeout=60)
    assert done.returncode == -signal.SIGKILL, done.stderr
    wait_for_its_return(here, "net0")
    assert rawdump.differences(before, without_map(here.dump()))
    (found,) = netdevns.recover(tmp_path)
    assert (found.device, found.outcome, found.location) == (NIC, "undone", "source")
    assert_equal_soon(before, here, shown=without_map, timeout_s=3)
    assert netdevns.recover(tmp_path) == ()
