"""Moves to and fro in one process, with each engine: nothing piles up.

240 moves, 5,000 with NETDEVNS_ATTACK=long, or NETDEVNS_SOAK of them (20,000 are quick where a move is cheap, on User
Mode Linux), half of them with each engine. A process for each: an engine is chosen when the package is loaded.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable

import pytest

from tests.support.attacks import LONG, TOP
from tests.support.namespaces import Namespace
from tests.support.restored import assert_equal_soon

MOVES = int(os.environ.get("NETDEVNS_SOAK") or (5000 if LONG else 240)) // 2
SETTLED = 100  # moves after which all that is made once is there
GROWTH_KIB = 2048
BATCH = {"v1": "w1", "v2": "w%d", "f1": None, "f2": "v1"}
FURNISH = """
    link add v1 type veth peer name v1p
    link add v2 type veth peer name v2p
    link add f1 type ifb
    link add f2 type ifb
    link set v1 up
    link set v2 up
    link set f1 up
    link set f2 up
    addr add 10.0.0.1/24 label v1:a dev v1
    addr add 2001:db8::1/64 nodad dev v1
    addr add 10.1.0.1/24 dev f1
    route add 192.0.2.0/24 via 10.0.0.9
"""
SOAK = """
    import json, os, sys, threading
    import netdevns

    moves, settled, batch, there, journal = json.loads(sys.argv[1])
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)

    def holds():
        paths = [f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd")]
        status = dict(line.split(":", 1) for line in open("/proc/self/status"))
        return {
            "descriptors": sorted(os.readlink(path) for path in paths if os.path.islink(path)),  # not the list's own
            "threads": [status["Threads"].strip(), threading.active_count()],
            "namespace": os.readlink("/proc/thread-self/ns/net"),
            "records": os.listdir(f"{journal}/txn"),
            "rss_kib": int(status["VmRSS"].split()[0]),
        }

    done, before = 0, None
    while done < moves:
        moved = netdevns.move(batch, there, source=here, journal=journal)
        back = {m.name: m.host_name for m in moved}
        returned = netdevns.move(back, here, source=there, journal=journal)
        done += len(moved) + len(returned)
        assert [m.name for m in returned] == [*batch], returned
        if done >= settled and before is None:
            before = holds()
    print(json.dumps([done, before, holds()]))
"""


@pytest.mark.thorough
@pytest.mark.timeout(600)
def test_nothing_piles_up(
    engine: str, host: Namespace, target: Namespace, tmp_path, show: Callable[[str], None]
) -> None:
    """Descriptors, namespaces, threads and memory are at the end what they were after the first hundred moves."""
    host.batch(FURNISH)
    host.wait_until_quiet()
    before = host.dump()
    words = [MOVES, SETTLED, BATCH, target.fd, str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SOAK), json.dumps(words)],
        cwd=TOP,
        env=os.environ | {"NETDEVNS_ENGINE": engine},
        pass_fds=[target.fd],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    moves, settled, end = json.loads(done.stdout)
    growth_kib = end.pop("rss_kib") - settled.pop("rss_kib")
    show(f"soak, {engine}: {moves} moves, {len(end['descriptors'])} descriptors, memory {growth_kib:+} KiB")
    assert moves >= MOVES > SETTLED
    assert end == settled
    assert growth_kib <= GROWTH_KIB
    assert {*host.names()} == {"v1", "v2", "f1", "f2", "v1p", "v2p"}
    assert_equal_soon(before, host, shown=lambda dump: {"addresses": dump["addresses"]})
