"""csrc/example.c, the batch in C: all devices arrive, or all is as before; in each build and under valgrind."""

from __future__ import annotations

import os

import pytest

from tests.support.namespaces import Namespace
from tests.support.restored import Restored, Untouched

from .faulty import Faulty
from .ways import Start

HOST = """
    link set lo up
    link add eth0 index 101 type ifb
    link add eth1 index 102 type ifb
    link set eth1 mtu 1400 alias spare
    link set eth0 up
    link set eth1 up
    addr add 10.0.0.1/24 brd + dev eth0
    addr add 10.1.0.1/24 brd 10.1.0.77 label eth1:vip metric 50 dev eth1
    addr add 10.1.0.2/24 dev eth1
    addr add 10.1.0.3/32 scope host dev eth1
    addr add 2001:db8:1::1/64 nodad dev eth1
    addr add 2001:db8:1::2/64 nodad preferred_lft 0 dev eth1
    addr add 2001:db8:1::5/64 nodad valid_lft 5000 preferred_lft 4000 dev eth1
    addr add fe80::77/64 nodad dev eth1
"""


@pytest.fixture
def sides(host: Namespace, target: Namespace) -> tuple[Namespace, Namespace]:
    host.batch(HOST)
    host.wait_until_quiet()
    return host, target


def path_of(namespace: Namespace) -> str:
    """A path that names a namespace in any process."""
    return f"/proc/{os.getpid()}/fd/{namespace.fd}"


def shown(namespace: Namespace, device: str) -> list[str]:
    """A device's permanent global addresses, as `ip` shows them."""
    keys = ("local", "prefixlen", "broadcast", "label", "metric", "preferred_life_time")
    info = namespace.ip_json(f"addr show dev {device} scope global permanent")[0]["addr_info"]
    return [" ".join(f"{key}={a[key]}" for key in keys if key in a) for a in info if a]


def test_batch_arrives(start_few: Start, sides: tuple[Namespace, Namespace]) -> None:
    """Two devices are in the target, renamed, up, with every permanent global address in order; nothing is said."""
    host, target = sides
    before = {device: shown(host, device) for device in ("eth0", "eth1")}
    done = start_few("example", path_of(target), "eth0=net0", "eth1")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert shown(target, "net0") == [line.replace("=eth0", "=net0") for line in before["eth0"]]
    assert shown(target, "eth1") == before["eth1"]
    assert host.names() == set()
    assert all("UP" in link["flags"] for name in ("net0", "eth1") for link in target.ip_json(f"link show dev {name}"))


def test_template_is_expanded_by_the_kernel(start_few: Start, sides: tuple[Namespace, Namespace]) -> None:
    """A name with %d becomes the first free one."""
    _, target = sides
    target.ip("link add net0 type ifb")
    assert start_few("example", path_of(target), "eth0=net%d", "eth1=net%d").returncode == 0
    assert target.names() == {"net0", "net1", "net2"}


def test_memory_grows(start_few: Start, host: Namespace, target: Namespace) -> None:
    """600 addresses need more than the memory that a device begins with: all arrive."""
    host.batch(["link add eth0 type ifb", "link set eth0 up"])
    host.batch([f"addr add 10.7.{i // 250}.{i % 250}/32 dev eth0" for i in range(600)])
    before = shown(host, "eth0")
    done = start_few("example", path_of(target), "eth0")
    assert (done.returncode, done.stderr) == (0, "")
    assert shown(target, "eth0") == before
    assert len(before) == 600


def test_only_protected_addresses_travel(start_few: Start, sides: tuple[Namespace, Namespace]) -> None:
    """Of eth1's eight addresses the permanent ones of global scope: no host scope, no lifetime, no link-local."""
    _, target = sides
    assert start_few("example", path_of(target), "eth1").returncode == 0
    arrived = [a["local"] for a in target.ip_json("addr show dev eth1")[0]["addr_info"] if a]
    own = [a for a in arrived if a.startswith("fe80:")]
    assert [a for a in arrived if a not in own] == ["10.1.0.1", "10.1.0.2", "2001:db8:1::2", "2001:db8:1::1"]
    assert "fe80::77" not in own


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        pytest.param(["TARGET", "eth0", "none"], ["none: no such device"], id="unknown-device"),
        pytest.param(
            ["TARGET", "eth0", "eth1=0123456789abcdef"],
            ['eth1: "0123456789abcdef" is no valid name: it has more than 15 bytes'],
            id="long-name",
        ),
        pytest.param(["TARGET", "eth0", "=net0"], ['"": no device can have that name: it is empty'], id="empty-name"),
        pytest.param(["/nowhere", "eth0"], ["/nowhere: No such file or directory"], id="no-namespace"),
        pytest.param(["/dev/null", "eth0"], ["target: not a network namespace"], id="not-a-namespace"),
        pytest.param(
            ["/proc/self/ns/net", "eth0=net0"], ["target and source are one network namespace"], id="own-namespace"
        ),
        pytest.param(["TARGET"], ["usage: NETNS-PATH DEV[=NAME]..."], id="no-device"),
        pytest.param(["TARGET", "eth0", "eth1=eth0"], ['eth1: "eth0" is also wanted for eth0'], id="twice"),
        pytest.param(
            ["TARGET", "eth0=net0", "eth1=taken", "lo=lo2", "none"],
            [
                "none: no such device",
                "lo: the kernel never moves it into another network namespace",
                'eth1: "taken" is taken in the target by taken',
            ],
            id="several",
        ),
    ],
)
def test_refused_before_anything_is_touched(
    start_few: Start, sides: tuple[Namespace, Namespace], arguments: list[str], says: list[str]
) -> None:
    """Exit code 2, a line for each reason, and not a single notification in either namespace."""
    host, target = sides
    target.ip("link add taken type ifb")
    with Untouched(host, target):
        done = start_few("example", *(path_of(target) if argument == "TARGET" else argument for argument in arguments))
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.splitlines() == [f"example: {line}" for line in says]


def test_ipv6_is_disabled_in_the_target(start_few: Start, sides: tuple[Namespace, Namespace]) -> None:
    """The kernel would refuse the addresses of the second device: nothing is moved."""
    host, target = sides
    target.sysctl("ipv6/conf/default/disable_ipv6", 1)
    with Untouched(host, target):
        done = start_few("example", path_of(target), "eth0=net0", "eth1=net1")
        assert done.returncode == 2
        assert done.stderr.startswith("example: eth1: it has IPv6 addresses, but IPv6 is disabled (net.ipv6")


STATE = {
    "route": ("route add 192.0.2.0/24 via 10.0.0.9", "has routes that a move drops", "ROUTES"),
    "default route": (
        "route add default via 10.0.0.9",
        "carries a default route that a move drops",
        "DEFAULT_ROUTE",
    ),
    "nexthop": ("nexthop add id 7 via 10.0.0.9 dev eth0", "has nexthop objects that a move drops", "NEXTHOPS"),
    "neighbour": (
        "neigh add 10.0.0.8 lladdr 02:00:00:00:00:08 dev eth0 nud permanent",
        "has permanent or noarp neighbours that a move drops",
        "NEIGHBOURS",
    ),
    "neighbour parameters": (
        "ntable change name arp_cache dev eth0 locktime 700",
        "has neighbour parameters that a move drops",
        "NEIGH_PARAMETERS",
    ),
    "upper": (
        "link add link eth0 name up0 type macvlan",
        "has a device on top of it that stays and loses state: up0",
        "UPPER",
    ),
}
ADVICE = "; to accept that, pass NETDEVNS_{}; the Python package restores it after a failure"


@pytest.mark.parametrize("what", STATE)
def test_state_that_is_not_accepted(start_few: Start, sides: tuple[Namespace, Namespace], what: str) -> None:
    """State that a failed move could not restore refuses it: one line names device, state and bit."""
    host, target = sides
    line, says, bit = STATE[what]
    host.ip(line)
    with Untouched(host, target):
        done = start_few("example", path_of(target), "eth1", "eth0")
        assert done.returncode == 2
        assert f"example: eth0 {says}{ADVICE.format(bit)}" in done.stderr.splitlines(), done.stderr
        assert "eth1" not in done.stderr


# ---- system calls that fail ----------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def faulty() -> Faulty:
    return Faulty("example")


@pytest.mark.sampled(3)
@pytest.mark.parametrize("call", ["send", "recvmmsg", "setns"])
def test_one_call_fails(faulty: Faulty, sides: tuple[Namespace, Namespace], call: str) -> None:
    """Whichever exchange fails, before the kernel acted (send) or after it (recvmmsg): all is as before."""
    host, target = sides
    before, codes = Restored(host, target), []
    while 0 not in codes:
        at = len(codes) + 1
        done = faulty.run(call, at, at, path_of(target), "eth0=net0", "eth1=net1")
        codes.append(done.returncode)
        if done.returncode:
            assert done.stderr.startswith("example: "), at
            with before:  # as before the first of them
                assert done.returncode in (1, 2), (at, done.stderr)
    assert target.names() == {"net0", "net1"}  # there was no further call that could fail
    assert codes == [*sorted(codes[:-1], reverse=True), 0]  # first it is refused, then undone
    assert set(codes[:-1]) == ({2} if call == "setns" else {1, 2})


def test_undo_that_fails_is_reported(faulty: Faulty, sides: tuple[Namespace, Namespace]) -> None:
    """No request gets through once the links were set down: exit code 3, and each device is named."""
    host, target = sides
    arguments = [path_of(target), "eth0=net0", "eth1=net1"]
    first = 1
    while (done := faulty.run("send", first, 999, *arguments)).returncode == 2:
        assert host.names() == {"eth0", "eth1"}
        first += 1
    assert (done.returncode, host.names()) == (3, {"eth0", "eth1"})
    done = faulty.run("send", first + 2, 999, *arguments)
    assert done.returncode == 3
    assert target.names() & {"net0", "net1"}
    for device in ("eth0", "eth1"):
        assert f"example: {device}: not restored: " in done.stderr
