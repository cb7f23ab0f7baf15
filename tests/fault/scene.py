"""A host with four devices that have all that a move can lose, and a target: what the attacks are on."""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.support import rawdump, require
from tests.support.attacks import TOP
from tests.support.namespaces import fresh

MS_BIND, MNT_DETACH = 0x1000, 2
_libc = ctypes.CDLL(None, use_errno=True)

# Addresses of both families, a label, routes, a neighbour, an alternative name, sysctls; a bridge port; a device on top
# of another one that moves with it. All numbers are given, so that scenes are equal.
FURNISH = """
    link add eth1 index 4711 address 02:00:00:00:00:01 mtu 1400 type ifb
    link add br0 index 4720 address 02:00:00:00:00:20 type bridge
    link add port1 index 4712 address 02:00:00:00:00:02 type veth peer name port1p index 4722 address 02:00:00:00:00:22
    link add low index 4713 address 02:00:00:00:00:03 type veth peer name lowp index 4723 address 02:00:00:00:00:23
    link add mv0 index 4714 address 02:00:00:00:00:04 link low type macvlan mode bridge
    link set port1 master br0
    link set br0 up
    link set port1p up
    link set lowp up
    link set eth1 alias uplink up
    link set port1 up
    link set low up
    link set mv0 up
    link property add dev eth1 altname enp1
    addr add 10.0.0.1/24 brd + label eth1:vip dev eth1
    addr add 10.0.0.2/24 dev eth1
    addr add 10.1.0.1/32 peer 10.1.0.2 metric 7 dev eth1
    addr add 10.2.0.1/24 scope link dev eth1
    addr add 2001:db8::1/64 nodad dev eth1
    addr add 2001:db8::2/64 nodad noprefixroute dev eth1
    addr add fe80::1/64 nodad dev eth1
    addr add 10.3.0.1/24 dev low
    addr add 2001:db8:3::1/64 nodad dev low
    addr add 10.4.0.1/24 dev mv0
    addr add 2001:db8:4::1/64 nodad dev mv0
    route add 192.0.2.0/24 via 10.0.0.9
    route add 198.51.100.0/24 nexthop via 10.0.0.9 dev eth1 nexthop via 10.3.0.9 dev low
    route add 2001:db8:77::/48 via 2001:db8:4::9
    neigh add 10.0.0.77 lladdr 02:00:00:00:00:77 nud permanent dev eth1
    neigh add 2001:db8:4::77 lladdr 02:00:00:00:00:78 nud permanent dev mv0
    token set ::77 dev low
"""
SYSCTLS = {"ipv4/conf/eth1/proxy_arp": 1, "ipv6/conf/low/accept_ra": 2}
JOB = ("eth1=net0", "port1", "low=eth%d", "mv0=net1")
DEVICES = {"eth1": "net0", "port1": "port1", "low": "eth0", "mv0": "net1"}
TARGET = "netdevns-fault"
MOUNTED = Path("/run/netns", TARGET)


class Scene:
    """Host and target, the latter under its name in /run/netns, where a recovery looks. A context manager."""

    def __init__(self) -> None:
        with contextlib.ExitStack() as stack:
            self.host = stack.enter_context(fresh("host"))
            self.target = stack.enter_context(fresh("target"))
            self._mount(stack)
            for namespace in (self.host, self.target):
                namespace.sysctl("ipv6/conf/default/addr_gen_mode", 1)
            self.host.batch(FURNISH)
            for name, value in SYSCTLS.items():
                self.host.sysctl(name, value)
            self.host.wait_until_quiet()
            self.before = self.state()
            self._stack = stack.pop_all()

    def _mount(self, stack: contextlib.ExitStack) -> None:
        if not MOUNTED.parent.exists():
            MOUNTED.parent.mkdir()
            stack.callback(MOUNTED.parent.rmdir)
        MOUNTED.touch(exist_ok=False)
        stack.callback(MOUNTED.unlink)
        if _libc.mount(os.fsencode(self.target.path), os.fsencode(MOUNTED), None, MS_BIND, None):
            require("netns", f"cannot mount a namespace at {MOUNTED}: {os.strerror(ctypes.get_errno())}")
        stack.callback(_libc.umount2, os.fsencode(MOUNTED), MNT_DETACH)

    def close(self) -> None:
        self._stack.close()

    def __enter__(self) -> Scene:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def state(self) -> dict[str, Any]:
        """All that is in both, by the raw dump."""
        sides = {"host": self.host, "target": self.target}
        return {f"{name} {part}": value for name, side in sides.items() for part, value in side.dump().items()}

    def differences(self, *wanted: dict[str, Any], timeout_s: float = 5) -> list[str]:
        """From the first of the states that are wanted, unless it is one of them; the kernel's work items have time."""
        end = time.monotonic() + timeout_s
        while True:
            now = self.state()
            found = [rawdump.differences(each, now) for each in wanted]
            if not all(found) or time.monotonic() >= end:
                return found[0] if all(found) else []
            time.sleep(0.01)

    def start(self, engine: str, *command: str, under: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        """`netdevns COMMAND` in the host; the leader of a session, and of a process group, of its own."""
        with self.host.entered():
            return subprocess.Popen(
                [*under, sys.executable, "-m", "netdevns", *command],
                cwd=TOP,
                env=os.environ | {"NETDEVNS_ENGINE": engine},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
