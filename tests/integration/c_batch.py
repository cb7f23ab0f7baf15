"""csrc/netdevns.h on the running kernel: its test program, failing calls of it, and furnished devices."""

from __future__ import annotations

import functools
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.csrc import compilers
from tests.support.namespaces import Namespace

SOURCE = Path(__file__).parents[1] / "embed/across/mover.c"
# enum netdevns_state
DEFAULT_ROUTE, MASTER, ROUTES, NEXTHOPS, NEIGHBOURS, NEIGH_PARAMETERS, QDISC, UPPER = (1 << bit for bit in range(8))
ANY = 0xFF
NOTE, LOSS, ERROR = range(3)


@functools.cache
def program() -> Path:
    """The test program, built as plainly as an embedder would: sanitizers have no place on User Mode Linux."""
    build = compilers.BUILDS["gcc"]
    build.check()
    return build.link("mover", (SOURCE,))


@dataclass(frozen=True)
class Finding:
    """A struct netdevns_finding."""

    device: str
    code: str
    severity: int
    errno: int
    state: int


@dataclass(frozen=True)
class Done:
    """How the program ended."""

    code: int
    findings: list[Finding]
    err: str

    @property
    def state(self) -> int:
        """The bits that were found."""
        return functools.reduce(int.__or__, (f.state for f in self.findings), 0)

    @property
    def errors(self) -> set[tuple[str, str]]:
        return {(f.device, f.code) for f in self.findings if f.severity == ERROR}


class Mover:
    """Runs it in the calling thread's namespace, with devices that go to a target."""

    def __init__(self, target: Namespace) -> None:
        self.target = target

    def __call__(
        self, job: str, *devices: str, accept: int = 0, records: str = "-", fail: tuple[str, int, int] | None = None
    ) -> Done:
        """`fail`: which call, from the how many-th to the how many-th."""
        faults = []
        if fail:
            call, first, last = fail
            faults = ["env", f"FAULT_CALL={call}", f"FAULT_FIRST={first}", f"FAULT_LAST={last}"]
            faults.append(f"LD_PRELOAD={compilers.preloaded(compilers.HERE / 'fault.c')}")
        argv = [*faults, str(program()), job, str(accept), records, f"/proc/self/fd/{self.target.fd}", *devices]
        fds = [self.target.fd]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, pass_fds=fds)
        found = [line.split() for line in done.stdout.splitlines()]
        findings = [Finding(device, code, *map(int, numbers)) for device, code, *numbers in found]
        return Done(done.returncode, findings, done.stderr)


# All that RTM_NEWLINK sets, in the target's way or not; 200 addresses.
ALL = """
    link add eth1 index 4711 address 02:00:00:00:00:01 mtu 1400 txqueuelen 555 type dummy
    link set eth1 address 02:00:00:00:01:01 alias uplink group 7
    link property add dev eth1 altname enp1
    link property add dev eth1 altname a-name-of-more-than-15-bytes
    link add eth2 index 4712 address 02:00:00:00:00:02 type veth peer name peer2 index 4722 address 02:00:00:00:00:22
    link add link eth1 name up0 index 4713 type vlan id 7 egress-qos-map 1:2 ingress-qos-map 3:4
    link add link up0 name up1 index 4714 address 02:00:00:00:00:04 type macvlan mode bridge
    link set up0 alias tagged mtu 1300
    link set eth1 addrgenmode eui64
    link set eth1 multicast off
    link set eth1 up
    link set peer2 up
    link set eth2 up
    link set up0 up
    link set up1 up
    addr add 10.1.0.1/32 peer 10.1.0.2 metric 7 dev eth1
    addr add 10.2.0.1/24 scope link dev eth1
    addr add 10.3.0.1/24 brd + label eth1:vip dev eth1
    addr add 10.3.0.2/24 brd + dev eth1
    addr add 10.3.0.3/24 valid_lft 5000 preferred_lft 4000 dev eth1
    addr add 2001:db8::1/64 nodad dev eth1
    addr add 2001:db8::2/64 nodad noprefixroute dev eth1
    addr add 2001:db8::3/64 nodad preferred_lft 0 dev eth1
    addr add 10.7.0.1/24 dev up0
    addr add 2001:db8:7::1/64 nodad dev up0
    addr add 10.8.0.1/24 dev up1
    addr add 2001:db8:8::1/64 nodad dev up1
    token set ::77 dev eth2
"""
SYSCTLS = {
    "ipv4/conf/eth1/rp_filter": 2,
    "ipv4/conf/eth1/proxy_arp": 1,
    "ipv4/conf/eth1/arp_ignore": 2,
    "ipv4/conf/up0/log_martians": 1,
    "ipv6/conf/eth1/hop_limit": 99,
    "ipv6/conf/eth1/accept_ra": 2,
    "ipv6/conf/eth1/forwarding": 1,
    "ipv6/conf/eth1/router_solicitation_interval": 7,
    "ipv6/conf/up1/dad_transmits": 3,
    "ipv6/conf/eth2/accept_dad": 2,
}


def furnish(host: Namespace) -> None:
    """Four devices, three of them on one another, with all that the batch restores."""
    host.batch(ALL)
    host.batch([f"addr add 10.9.{n // 10}.{n % 10 + 1}/24 dev eth2" for n in range(100)])
    host.batch([f"addr add 2001:db8:9::{n + 1:x}/128 nodad dev eth1" for n in range(100)])
    for name, value in SYSCTLS.items():
        host.sysctl(name, value)
    host.wait_until_quiet()
