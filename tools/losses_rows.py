"""The scenarios: what is on the host and in the target, what is asked for, and what must come of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

ALL_TOOLS = ("ip", "ip-script", "ip-restore", "pyroute2", "runc", "crun")
RE_ADDING = ALL_TOOLS[1:]  # without plain `ip`, which drops every address: the row "addresses" says so
RUNTIMES = ("runc", "crun")


@dataclass(frozen=True)
class Row:
    """A scenario. Judged are `facts` (losses_judge); netdevns is judged by all facts in each row."""

    id: str
    promise: str  # what should be the case afterwards: the first column of the table in docs/losses.md
    devices: Mapping[str, str]  # host name -> wanted name
    host: str  # lines for `ip -batch`, behind those that make eth1, eth2, ... with their cables
    facts: frozenset[str] = frozenset()  # none: everything must be as it was before
    target: str = ""  # lines for `ip -batch` in the target
    contestants: tuple[str, ...] = RE_ADDING
    arrives_as: Mapping[str, str] = field(default_factory=dict)  # where it is not the wanted name
    target_is_host: bool = False
    racer: str = ""  # a name that a process in the target takes as soon as the first device is set down
    target_sysctls: Mapping[str, int] = field(default_factory=dict)

    @property
    def must_arrive(self) -> bool:
        return bool(self.facts)

    @property
    def names(self) -> dict[str, str]:
        """Host name -> name in the target."""
        return {old: self.arrives_as.get(old, new) for old, new in self.devices.items()}


def arrives(*facts: str) -> frozenset[str]:
    """A move that must succeed. A failure, a device that is not there or is down, a missing address count always."""
    return frozenset({"exit", "device", "up", "missing", *facts})


ONE = {"eth1": "net0"}
BOTH_FAMILIES = """
    address add 192.0.2.10/24 dev eth1
    address add 192.0.2.11/24 dev eth1
    address add 2001:db8::10/64 dev eth1
    address add 2001:db8::11/64 dev eth1
"""
BATCH = """
    address add 192.0.2.1/24 dev eth1
    address add 2001:db8:1::1/64 dev eth1
    address add 198.51.100.1/24 dev eth2
    address add 2001:db8:2::1/64 dev eth2
    address add 203.0.113.1/24 dev eth3
    address add 2001:db8:3::1/64 dev eth3
"""

ROWS = (
    Row(
        "addresses",
        "the permanent addresses of an UP device arrive",
        ONE,
        BOTH_FAMILIES,
        arrives(),
        contestants=ALL_TOOLS,
    ),
    Row(
        "usable",
        "IPv6 addresses that had passed DAD are usable when the tool returns",
        ONE,
        BOTH_FAMILIES,
        arrives("tentative"),
    ),
    Row(
        "order",
        "IPv6 addresses keep their order",
        ONE,
        """
        address add 2001:db8::10/64 dev eth1
        address add 2001:db8::11/64 dev eth1
        address add 2001:db8::12/64 dev eth1
        """,
        arrives("order"),
    ),
    Row(
        "label",
        "a label follows the new name: `eth1:vip` -> `net0:vip`",
        ONE,
        """
        address add 192.0.2.10/24 dev eth1
        address add 192.0.2.11/24 label eth1:vip dev eth1
        """,
        arrives("label"),
    ),
    Row(
        "broadcast",
        "each address has the broadcast address that it had, or none",
        ONE,
        """
        address add 192.0.2.10/24 brd + dev eth1
        address add 203.0.113.5/24 dev eth1
        address add 198.51.100.6/31 dev eth1
        """,
        arrives("broadcast"),
    ),
    Row(
        "attributes",
        "peer, metric and noprefixroute are still set",
        ONE,
        """
        address add 192.0.2.10 peer 192.0.2.1/32 dev eth1
        address add 198.51.100.10/24 metric 50 dev eth1
        address add 203.0.113.10/24 noprefixroute dev eth1
        address add 2001:db8::10/64 noprefixroute dev eth1
        """,
        arrives("peer", "metric", "noprefixroute", "invented"),
    ),
    Row(
        "deprecated",
        "a deprecated address (preferred_lft 0) stays deprecated",
        ONE,
        """
        address add 192.0.2.10/24 dev eth1
        address add 192.0.2.11/24 valid_lft forever preferred_lft 0 dev eth1
        address add 2001:db8::10/64 dev eth1
        address add 2001:db8::11/64 valid_lft forever preferred_lft 0 dev eth1
        """,
        arrives("state"),
    ),
    Row(
        "template",
        "the name `eth%d` is a template (runtime-spec): the kernel picks the number",
        {"ens1": "eth%d"},
        BOTH_FAMILIES.replace("eth1", "ens1"),
        arrives(),
        contestants=RUNTIMES,
        arrives_as={"ens1": "eth0"},
    ),
    Row(
        "taken",
        "the name is taken in the target: refused, all is as before",
        ONE,
        BOTH_FAMILIES,
        target="link add net0 type veth peer name wire0",
    ),
    Row(
        "altname",
        "the name is an alternative name in the target: refused, all is as before",
        ONE,
        BOTH_FAMILIES,
        target="link add web0 type veth peer name wire0\nlink property add dev web0 altname net0",
    ),
    Row(
        "batch",
        "the name of the third of three devices is taken: refused, all is as before",
        {"eth1": "net1", "eth2": "net2", "eth3": "net3"},
        BATCH,
        target="link add net3 type veth peer name wire0",
    ),
    Row(
        "race",
        "the third name gets taken while the first device arrives: undone, all is as before",
        {"eth1": "net1", "eth2": "net2", "eth3": "net3"},
        BATCH,
        racer="net3",
    ),
    Row(
        "duplicate",
        "two devices want the same name: refused, all is as before",
        {"eth1": "net0", "eth2": "net0"},
        BATCH.rpartition("    address add 203")[0],
    ),
    Row(
        "invalid",
        "a name that the kernel refuses (`net:0`): refused, all is as before",
        {"eth1": "net:0"},
        BOTH_FAMILIES,
    ),
    Row(
        "no-ipv6",
        "the device has IPv6 addresses, and the target has IPv6 disabled: refused, all is as before",
        ONE,
        BOTH_FAMILIES,
        target_sysctls={"ipv6/conf/default/disable_ipv6": 1},
    ),
    Row(
        "host-netns",
        "the target is the host's own network namespace: refused, all is as before",
        ONE,
        BOTH_FAMILIES,
        target_is_host=True,
    ),
)
