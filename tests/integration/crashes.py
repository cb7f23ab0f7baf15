"""A process that is killed in the middle of a move.

It is killed by itself, by SIGKILL, just before or after a call of the engine: nothing of it can run any more.
tests/fault kills at each system call.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from tests.support.attacks import TOP
from tests.support.namespaces import Namespace

HOST = """
    link add eth0 index 101 type veth peer name peer0
    link set peer0 up
    link add eth1 index 102 type veth peer name peer
    link add mv0 index 104 link eth1 type macvlan
    link add stays index 105 type ifb
    link add other index 106 type ifb
    link set peer up
    link set eth1 mtu 1400 alias spare group 7
    link property add dev eth1 altname enp1
    link set stays up
    link set eth0 up
    link set eth1 up
    link set mv0 up
    addr add 10.0.0.1/24 brd + label eth0:vip dev eth0
    addr add 2001:db8:0::1/64 nodad dev eth0
    addr add 10.1.0.1/24 dev eth1
    addr add 10.1.0.2/24 valid_lft 5000 preferred_lft 4000 dev eth1
    addr add 2001:db8:1::1/64 nodad dev eth1
    addr add 2001:db8:1::2/64 nodad dev eth1
    addr add fe80::77/64 nodad dev eth1
    addr add 10.4.0.1/24 dev mv0
    addr add 2001:db8:4::1/64 nodad dev mv0
    addr add 10.5.0.1/24 dev stays
    route add 192.0.2.0/24 via 10.1.0.9
    route add 203.0.113.0/24 via 10.5.0.9 src 10.1.0.1
    route add 2001:db8:77::/48 via 2001:db8:1::9
    link add br0 index 107 type bridge
    link set br0 up
    link set eth0 master br0
    link set eth0 type bridge_slave hairpin on cost 77
    neigh add 10.1.0.9 lladdr 02:00:00:00:00:99 nud permanent dev eth1
    neigh add 10.1.0.8 lladdr 02:00:00:00:00:98 nud noarp dev eth1
    token set ::77 dev eth1
"""
DEVICES = {"eth0": "net0", "eth1": "net%d"}
BeforeStep = Callable[[str, int, Callable[[], object]], None]
# A process that kills itself before (or after) the n-th device does a step: tests/support/steps.py.
CHILD = """
import json, os, signal, sys
import netdevns
from tests.support import steps
step, nth, after, devices, target, directory, late, more = json.loads(sys.argv[1])
def change(number):
    while late:
        assert os.system(late.pop(0)) == 0
setattr(*steps.before("move", change))
def kill(number):
    if number == nth:
        os.kill(os.getpid(), signal.SIGKILL)
setattr(*(steps.after if after else steps.before)(step, kill))
netdevns.move(devices, target, journal=directory, **more)
"""


def furnished(host: Namespace, target: Namespace) -> tuple[Namespace, Namespace]:
    """The source with these devices, quiet, and the target."""
    host.batch(HOST)
    host.sysctl("ipv4/conf/eth1/rp_filter", 2)
    host.sysctl("ipv6/conf/eth1/accept_ra", 2)
    host.sysctl("ipv4/neigh/eth1/gc_stale_time", 77)
    host.wait_until_quiet()
    return host, target


def killed(
    directory: str,
    target: Namespace,
    step: str,
    nth: int,
    *,
    after: bool = False,
    devices: Any = DEVICES,
    late: tuple[str, ...] = (),  # commands just before the first move
    under: tuple[str, ...] = (),  # the words before the process's own
    **more: Any,
) -> None:
    words = json.dumps([step, nth, after, devices, target.fd, directory, late, more])
    done = subprocess.run(
        [*under, sys.executable, "-c", CHILD, words],
        cwd=TOP,
        pass_fds=[target.fd],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


def records(directory: str) -> list[str]:
    return os.listdir(f"{directory}/txn")
