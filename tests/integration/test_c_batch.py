"""The batch in C on each kernel: what it refuses, what arrives, and that a move which fails restores everything.

tests/csrc and tests/scenarios have the rest, on the kernel of this machine.
"""

from __future__ import annotations

import errno

import pytest

from tests.support import kinds
from tests.support.namespaces import Namespace
from tests.support.restored import Restored, Untouched

from .c_batch import ANY, DEFAULT_ROUTE, MASTER, ROUTES, UPPER, Mover, furnish

DEVICES = ("eth1=net0", "up0=net1", "eth2=eth%d", "up1=net2")
needs_all = pytest.mark.kinds("dummy", "vlan", "macvlan")


@pytest.fixture
def mover(target: Namespace) -> Mover:
    return Mover(target)


def addresses(namespace: Namespace, device: str) -> list[str]:
    """The permanent global ones, in the kernel's order."""
    info = namespace.ip_json(f"addr show dev {device} scope global permanent")[0]["addr_info"]
    return [f"{a['local']}/{a['prefixlen']} {a.get('metric')}" for a in info if a]


# ---- all arrives, or all is as before --------------------------------------------------------------------------------


@needs_all
def test_all_arrives(host: Namespace, target: Namespace, mover: Mover) -> None:
    """200 addresses in their order, alternative names, and what RTM_NEWLINK says of a link; the names are free then."""
    furnish(host)
    target.batch(["link add eth0 type ifb", "link add busy index 4711 type ifb"])
    before = {name: (link, addresses(host, name)) for name, link in host.links().items()}
    done = mover("move", *DEVICES)
    assert (done.code, done.err) == (0, ""), done
    assert host.names() == {"peer2"}
    assert target.names() == {"eth0", "busy", "net0", "net1", "net2", "eth1"}
    links = target.links()
    for was, now in {"eth1": "net0", "up0": "net1", "eth2": "eth1", "up1": "net2"}.items():
        link, found = before[was]
        assert addresses(target, now) == found
        assert links[now].up
        assert links[now].altnames == link.altnames
        for type_ in (1, 4, 13, 20, 27):  # IFLA_ADDRESS, MTU, TXQLEN, IFALIAS, GROUP
            assert links[now].attrs.get(type_) == link.attrs.get(type_), (was, type_)
    host.batch(["link add enp1 type ifb", "link add eth1 type ifb"])


@needs_all
@pytest.mark.parametrize("call", ["send", "recvmmsg"])
def test_each_exchange_fails(host: Namespace, target: Namespace, mover: Mover, call: str) -> None:
    """Before the kernel acted (send) or after it (recvmmsg): refused, or all is restored."""
    furnish(host)
    target.ip("link add eth0 index 200 type ifb")
    before, codes = Restored(host, target), []
    while 0 not in codes:
        at = len(codes) + 1
        done = mover("move", *DEVICES, fail=(call, at, at))
        codes.append(done.code)
        if done.code:
            assert done.code in (1, 2), (at, done.err)
            with before:
                pass
        assert at < 90
    assert codes == [*sorted(codes[:-1], reverse=True), 0]
    assert {*codes} == {0, 1, 2}, codes


@needs_all
def test_undo(host: Namespace, target: Namespace, mover: Mover) -> None:
    """After a move that succeeded, nothing remains of it."""
    furnish(host)
    target.sysctl("ipv4/conf/default/rp_filter", 1)
    target.sysctl("ipv6/conf/default/hop_limit", 33)
    with Restored(host, target):
        done = mover("undo", *DEVICES)
        assert (done.code, done.err) == (0, ""), done


# ---- names and ifindexes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("job", ["move", "undo"])
def test_template_with_a_busy_ifindex(host: Namespace, target: Namespace, mover: Mover, job: str) -> None:
    """A device cannot keep its ifindex (before 5.13 it cannot ask for one): each gets the first free name."""
    for n in (1, 2, 3):
        host.ip(f"link add d{n} index {4710 + n} address 02:00:00:00:00:0{n} type veth peer name p{n}")
        host.ip(f"addr add 10.{n}.0.1/24 dev d{n}")
    target.batch([f"link add {name} index {index} type ifb" for name, index in (("eth1", 4711), ("x", 4712), ("y", 8))])
    host.wait_until_quiet()
    before = Restored(host, target)
    done = mover(job, "d1=eth%d", "d2=eth%d", "d3=n%dx")
    if job == "undo" and not kinds.honours_new_ifindex():  # all is restored but these
        assert done.code == 3
        assert [line for line in done.err.splitlines() if ": not restored: " in line] == [
            "mover: d1: not restored: ifindex 4711",
            "mover: d2: not restored: ifindex 4712",
        ]
        return
    assert (done.code, done.err) == (0, ""), done
    if job == "undo":
        with before:
            return
    there = {link.attrs[1]: name for name, link in target.links().items() if 1 in link.attrs}
    assert [there[f"02000000000{n}"] for n in (1, 2, 3)] == ["eth0", "eth2", "n0x"]


ALTNAMES = ["link add eth1 type ifb", "link property add dev eth1 altname enp1", "link add eth2 type ifb"]


@pytest.mark.parametrize(
    ("devices", "in_target", "found"),
    [
        pytest.param(["eth1=enp1"], [], ("eth1", "name.own-altname"), id="its own"),
        pytest.param(["eth1", "eth2=enp1"], [], ("eth2", "name.twice"), id="another's"),
        pytest.param(["eth1=net0"], ["link add enp1 type ifb"], ("eth1", "altname.taken"), id="taken"),
        pytest.param(["enp1"], [], ("enp1", "device.altname"), id="not a name"),
        pytest.param(
            ["eth2=net0"],
            ["link add x type ifb", "link property add dev x altname net0"],
            ("eth2", "name.taken-altname"),
            id="taken by an alternative name",
        ),
    ],
)
def test_alternative_names(
    host: Namespace, target: Namespace, mover: Mover, devices: list[str], in_target: list[str], found: tuple[str, str]
) -> None:
    """Each clash that an alternative name can make is found before anything changes."""
    host.batch(ALTNAMES)
    target.batch(in_target)
    with Untouched(host, target):
        done = mover("move", *devices)
        assert (done.code, done.errors) == (2, {found})


# ---- refused ---------------------------------------------------------------------------------------------------------

PORTS = {"bridge": "", "bond": "mode active-backup", "vrf": "table 7", "team": ""}


def port(host: Namespace, kind: str) -> None:
    """eth1 is a port of m0, of that kind."""
    more = f" {PORTS[kind]}" if PORTS[kind] else ""
    host.batch(
        [
            "link add eth1 address 02:00:00:00:00:01 type veth peer name peer",
            f"link add m0 type {kind}{more}",
            "link set eth1 master m0",
            "link set m0 up",
            "link set peer up",
            "link set eth1 up",
        ]
    )
    host.wait_until_quiet()


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=pytest.mark.kinds(kind)) for kind in PORTS])
def test_port(host: Namespace, target: Namespace, mover: Mover, kind: str) -> None:
    """A port is refused by NETDEVNS_MASTER, and leaves its master where that is accepted."""
    port(host, kind)
    with Untouched(host, target):
        done = mover("move", "eth1=net0")
        assert (done.code, done.errors) == (2, {("eth1", "loss.master")})
        assert done.state == MASTER
        assert [f.errno for f in done.findings if f.state] == [errno.EBUSY]
    done = mover("move", "eth1=net0", accept=MASTER)
    assert (done.code, done.err) == (0, ""), done
    assert target.names() == {"net0"}


NEVER = {**kinds.IMMOVABLE, "lo": ""}


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=pytest.mark.kinds(kind) if kind != "lo" else ()) for kind in NEVER]
)
def test_immovable(host: Namespace, target: Namespace, mover: Mover, kind: str) -> None:
    """What the kernel never moves is found beforehand, also where it does not say so (before 6.15)."""
    host.batch(["link set lo up", "link add eth1 type ifb"])
    device = "lo" if kind == "lo" else "dev1"
    if NEVER[kind]:
        host.batch([kinds.create(kind, "dev1"), "link set dev1 up"])
    with Untouched(host, target):
        done = mover("move", f"{device}=net0", "eth1", accept=ANY)
        assert (done.code, done.errors) == (2, {(device, "device.immutable")})


ENDS = {
    "vxlan": "link add up0 type vxlan id 7 dstport 4789 dev eth1",
    "macsec": "link add link eth1 up0 type macsec",
}


def ending(host: Namespace, kind: str) -> None:
    host.batch(["link add eth1 type veth peer name peer", "link set peer up", "link set eth1 up"])
    host.batch([ENDS[kind], "link set up0 up"])
    host.wait_until_quiet()


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=pytest.mark.kinds(kind)) for kind in ENDS])
@pytest.mark.parametrize("devices", [("eth1", "up0"), ("up0", "eth1")], ids=" ".join)
def test_ends_with_its_lower(
    host: Namespace, target: Namespace, mover: Mover, kind: str, devices: tuple[str, ...]
) -> None:
    """The kernel deletes it when its lower device leaves: moving both is refused, whatever the caller accepts."""
    ending(host, kind)
    with Untouched(host, target):
        done = mover("move", *devices, accept=ANY)
        assert (done.code, done.errors) == (2, {("up0", "device.ends")})


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=pytest.mark.kinds(kind)) for kind in ENDS])
def test_lower_of_what_ends(host: Namespace, target: Namespace, mover: Mover, kind: str) -> None:
    """Its lower alone is refused by NETDEVNS_UPPER; it may move alone."""
    ending(host, kind)
    with Untouched(host, target):
        done = mover("move", "eth1")
        assert (done.code, done.state & UPPER) == (2, UPPER)
    done = mover("move", "up0")
    assert (done.code, done.err) == (0, ""), done
    assert target.names() == {"up0"}


DEFAULTS = {
    "bond": ["addr add 10.5.0.1/24 dev m0", "route add default via 10.5.0.9"],
    "vlan on a bond": [
        "link add link m0 name up0 type vlan id 7",
        "link set up0 up",
        "addr add 10.5.0.1/24 dev up0",
        "route add default via 10.5.0.9",
    ],
    "IPv6": ["addr add 2001:db8:5::1/64 nodad dev m0", "route add ::/0 via 2001:db8:5::9"],
    "nexthop group": [
        "addr add 10.5.0.1/24 dev m0",
        "nexthop add id 7 via 10.5.0.9 dev m0",
        "nexthop add id 8 group 7",
        "route add default nhid 8",
    ],
    "bridge on a bond": [
        "link add br0 type bridge",
        "link set m0 master br0",
        "link set br0 up",
        "addr add 10.5.0.1/24 dev br0",
        "route add default via 10.5.0.9",
    ],
}


@pytest.mark.kinds("bond", "vlan")
@pytest.mark.parametrize("case", DEFAULTS)
def test_default_route_above_a_bond(host: Namespace, target: Namespace, mover: Mover, case: str) -> None:
    """A slave of a bond carries the default route that leaves by the bond, or by what lies on it."""
    port(host, "bond")
    host.batch(DEFAULTS[case])
    with Untouched(host, target):
        done = mover("check", "eth1", accept=MASTER)
        assert (done.code, done.errors) == (2, {("eth1", "device.default-route")})
        assert done.state == MASTER | DEFAULT_ROUTE
        assert mover("move", "eth1", accept=MASTER).code == 2


@pytest.mark.kinds("vlan")
def test_default_route_of_an_upper_that_moves(host: Namespace, target: Namespace, mover: Mover) -> None:
    """Both carry it, and it is one of the routes of the upper."""
    host.batch(["link add eth1 type veth peer name peer", "link set peer up", "link set eth1 up"])
    host.batch(["link add link eth1 name up0 type vlan id 7", "link set up0 up", "addr add 10.5.0.1/24 dev up0"])
    host.ip("route add default via 10.5.0.9")
    with Untouched(host, target):
        done = mover("move", "eth1", "up0")
        assert done.errors == {
            ("eth1", "device.default-route"),
            ("up0", "device.default-route"),
            ("up0", "loss.routes"),
        }
        assert done.state == DEFAULT_ROUTE | ROUTES


@pytest.mark.kinds("vlan", "macvlan")
def test_upper_that_stays(host: Namespace, target: Namespace, mover: Mover) -> None:
    """It would lose its IPv6 addresses: refused by NETDEVNS_UPPER."""
    host.batch(["link add eth1 type veth peer name peer", "link add link eth1 name up0 type vlan id 7"])
    host.ip("link add link up0 name up1 type macvlan mode bridge")
    with Untouched(host, target):
        assert mover("move", "eth1").errors == {("eth1", "loss.upper")}
        assert mover("move", "eth1", "up1").errors == {("eth1", "loss.upper")}
        assert mover("move", "eth1", "up0").errors == {("up0", "loss.upper")}
        assert mover("check", "up0", "up1", "eth1").code == 0
