"""What is refused, before anything is touched."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import netdevns
from netdevns import cli
from tests.support import kinds
from tests.support.bpf import attach_xdp
from tests.support.namespaces import Namespace
from tests.support.restored import Untouched

# The source of every test here; eth1 has a bit of everything, the others have little.
HOST = [
    "link set lo up",
    "link add eth1 type veth peer name peer",
    "link property add dev eth1 altname alt1",
    "link property add dev eth1 altname a-name-of-more-than-15-bytes",
    "link set peer up",
    "link set eth1 up",
    "addr add 10.0.0.1/24 brd + label eth1:a dev eth1",
    "addr add 2001:db8::1/64 dev eth1 nodad",
    "route add 192.0.2.0/24 via 10.0.0.9",
    "link add eth2 type ifb",
    "link add eth3 type ifb",
    "link add br0 type bridge",
]
TARGET = [
    "link add taken type ifb",
    "link property add dev taken altname taken-alt",
]


@pytest.fixture
def sides(host: Namespace, target: Namespace) -> tuple[Namespace, Namespace]:
    host.batch(HOST)
    target.batch(TARGET)
    host.wait_until_quiet()
    return host, target


@dataclass
class Bad:
    """A row of the table: what is asked for, and how it is refused."""

    id: str
    devices: dict[str, object]
    code: str
    errno: int
    says: tuple[str, ...] = field(default=())
    device: str | None = "eth1"
    marks: tuple[pytest.MarkDecorator, ...] = ()


def bad_name(id_: str, name: str, *says: str, code: str = "name.invalid") -> Bad:
    # The kernel's own answers: ERANGE by the attribute's policy, EINVAL by the rules for names.
    too_long = len(os.fsencode(name)) > 15
    return Bad(id_, {"eth1": name}, code, errno.ERANGE if too_long else errno.EINVAL, says)


TABLE = [
    bad_name("too long", "sixteen-bytes-xx", "16 bytes"),
    bad_name("too long in bytes", "é" * 8, "16 bytes"),
    bad_name("slash", "a/b", '"/"'),
    bad_name("colon", "a:b", '":"'),
    bad_name("blank", "a b", "white space"),
    bad_name("tab", "a\tb", "white space"),
    bad_name("newline", "a\nb", "white space"),
    bad_name("vertical tab", "a\vb", "white space"),
    bad_name("0xa0", "a\udca0b", "0xa0"),
    bad_name("0xa0 in a letter", "a\u00e0b", "0xa0"),  # U+00E0 is c3 a0 in UTF-8
    bad_name("nul", "a\0b", "NUL"),
    bad_name("dot", "."),
    bad_name("two dots", ".."),
    bad_name("%s", "eth%s", "%d", code="name.template"),
    bad_name("two %d", "e%dh%d", "one", code="name.template"),
    bad_name("lone %", "eth%", "%d", code="name.template"),
    bad_name("%%d", "eth%%d", code="name.template"),
    bad_name("template too long", "abcdefghijklmn%d", "16 bytes", code="name.template"),
    bad_name("template with a slash", "a/%d", code="name.template"),
    Bad("unknown device", {"nope": {}}, "device.unknown", errno.ENODEV, ("no such device",), "nope"),
    Bad("device name too long", {"x" * 16: "a"}, "device.invalid-name", errno.ENODEV, (), "x" * 16),
    Bad("empty device name", {"": "a"}, "device.invalid-name", errno.ENODEV, (), ""),
    Bad("device name with a slash", {"a/b": "a"}, "device.invalid-name", errno.ENODEV, (), "a/b"),
    Bad("device name that is a template", {"eth%d": "a"}, "device.invalid-name", errno.ENODEV, (), "eth%d"),
    Bad("altname as the device", {"alt1": "a"}, "device.altname", errno.ENODEV, ("eth1",), "alt1"),
    Bad("name is taken", {"eth1": "taken"}, "name.taken", errno.EEXIST, ("taken",)),
    Bad("old name is taken", {"lo": {}}, "name.taken", errno.EEXIST, (), "lo"),
    Bad(
        "long altname as the device",
        {"a-name-of-more-than-15-bytes": "a"},
        "device.altname",
        errno.ENODEV,
        ("eth1",),
        "a-name-of-more-than-15-bytes",
    ),
    Bad("name is an altname there", {"eth1": "taken-alt"}, "name.taken-altname", errno.EEXIST, ("taken",)),
    Bad("two devices to one name", {"eth1": "a", "eth2": "a"}, "name.twice", errno.EEXIST, ("eth1",), "eth2"),
    Bad("renamed to what another keeps", {"eth1": "eth2", "eth2": {}}, "name.twice", errno.EEXIST, ("eth1",), "eth2"),
    Bad("name is its own altname", {"eth1": "alt1"}, "name.own-altname", errno.EEXIST, ("alt1",)),
    Bad("name is another's altname", {"eth2": "alt1", "eth1": {}}, "name.twice", errno.EEXIST, ("eth1",), "eth2"),
    Bad("one device twice", {"eth1": "a", "alt1": "b"}, "device.altname", errno.ENODEV, ("eth1",), "alt1"),
    Bad("lo", {"lo": "lo1"}, "device.immutable", errno.EINVAL, (), "lo"),
    *(
        Bad(kind, {"k0": "a"}, "device.immutable", errno.EINVAL, (kind,), "k0", (pytest.mark.kinds(kind),))
        for kind in kinds.IMMOVABLE
    ),
]


def rows(table: list[Bad]) -> list[Any]:
    return [pytest.param(row, id=row.id, marks=row.marks) for row in table]


def expect_refused(row: Bad, host: Namespace, target: Namespace, where: object) -> netdevns.CheckFailed:
    """`check` finds it, `move` refuses it with errno and one clear line; nothing is touched."""
    with Untouched(host, target):
        report = netdevns.check(row.devices, where)
        with pytest.raises(netdevns.CheckFailed) as raised:
            netdevns.move(row.devices, where)
    assert not report.ok
    found = [f for f in report.findings if f.severity == "error"]
    assert row.code in [f.code for f in found], found
    (finding,) = (f for f in found if f.code == row.code)
    assert finding.device == row.device
    assert all(word in finding.text for word in row.says), finding.text
    assert "\n" not in finding.text
    error = raised.value
    assert error.report == report
    assert (error.rolled_back, error.left, error.step) == (True, (), "check")
    assert error.errno == row.errno or len(found) > 1
    assert host.is_here()
    return error


def expect_command(arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The command's exit code is 2, and stderr has the line, and that nothing was touched."""
    assert cli.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert f"netdevns: {text}\n" in err
    assert err.splitlines()[-1] == "netdevns: nothing was touched"
    assert "Traceback" not in err


@pytest.mark.sampled(2)
@pytest.mark.parametrize("row", rows(TABLE))
def test_bad_device_or_name(sides: tuple[Namespace, Namespace], row: Bad, capsys: pytest.CaptureFixture[str]) -> None:
    """S3, S4, P3: each is found by a check, refused by a move, exits with 2, and nothing is touched."""
    host, target = sides
    if row.devices.get("k0"):
        host.batch([kinds.create(row.id, "k0")])
        host.wait_until_quiet()
    error = expect_refused(row, host, target, target.fd)
    arguments = [f"{device}={name}" if name else device for device, name in row.devices.items()]
    if "" in row.devices or any("\0" in argument for argument in arguments):
        return  # cannot be given on a command line
    text = next(f.text for f in error.report.findings if f.code == row.code)
    with Untouched(host, target):
        expect_command(["move", *arguments, "--to", f"fd:{target.fd}"], text, capsys)
        expect_check(arguments, target, row.code, capsys)


def expect_check(arguments: list[str], target: Namespace, code: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`check --json` exits with 2, too."""
    assert cli.main(["check", *arguments, "--to", f"fd:{target.fd}", "--json"]) == 2
    shown = json.loads(capsys.readouterr().out)
    assert shown["ok"] is False
    assert code in [f["code"] for f in shown["findings"]]


@pytest.mark.smoke
def test_altname_of_the_device_is_taken(sides: tuple[Namespace, Namespace]) -> None:
    """P3: alternative names travel: one that is taken in the target refuses the move."""
    host, target = sides
    target.batch(["link add alt1 type ifb"])
    target.wait_until_quiet()
    row = Bad("", {"eth1": "a"}, "altname.taken", errno.EEXIST, ("alt1",))
    expect_refused(row, host, target, target.fd)


def test_altname_of_the_device_is_an_altname_there(sides: tuple[Namespace, Namespace]) -> None:
    """P3: so does one that is an alternative name there."""
    host, target = sides
    target.batch(["link property add dev taken altname alt1"])
    target.wait_until_quiet()
    row = Bad("", {"eth1": "a"}, "altname.taken", errno.EEXIST, ("alt1", "taken"))
    expect_refused(row, host, target, target.fd)


@pytest.mark.smoke
def test_all_findings_at_once(sides: tuple[Namespace, Namespace], capsys: pytest.CaptureFixture[str]) -> None:
    """P3: all findings are told, not only the first; the error says how many more there are."""
    host, target = sides
    devices = {"nope": {}, "eth1": "taken", "eth2": "a/b", "eth3": "e%s", "br0": {}}
    with Untouched(host, target):
        with pytest.raises(netdevns.CheckFailed) as raised:
            netdevns.move(devices, target.fd)
        arguments = ["nope", "eth1=taken", "eth2=a/b", "eth3=e%s", "br0", "--to", f"fd:{target.fd}"]
        assert cli.main(["move", *arguments]) == 2
    codes = {(f.device, f.code) for f in raised.value.report.findings if f.severity == "error"}
    assert codes == {
        ("nope", "device.unknown"),
        ("eth1", "name.taken"),
        ("eth2", "name.invalid"),
        ("eth3", "name.template"),
        ("br0", "device.immutable"),
    }
    assert "4 more" in str(raised.value)
    *lines, following, last = capsys.readouterr().err.splitlines()
    assert (len(lines), last) == (5, "netdevns: nothing was touched")
    assert following.startswith("netdevns: next: ")
    assert following.endswith(" show")


# ---- namespaces ----


@pytest.fixture
def vanished() -> str:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return f"pid:{pid}"


NAMESPACES: dict[str, tuple[Any, int, str]] = {
    "unknown": ("no-such-netns", errno.ENOENT, "/run/netns/no-such-netns"),
    "unknown path": ("/nonexistent/ns", errno.ENOENT, "/nonexistent/ns"),
    "empty": ("", errno.ENOENT, "empty"),
    "a file": ("/etc/passwd", errno.EINVAL, "not a namespace"),
    "a directory": ("/proc/self", errno.EINVAL, "not a namespace"),
    "a device": ("/dev/null", errno.EINVAL, "not a namespace"),
    "another kind": ("/proc/self/ns/mnt", errno.EINVAL, "another kind"),
    "user namespace": ("/proc/self/ns/user", errno.EINVAL, "another kind"),
    "PathLike": (Path("/etc/passwd"), errno.EINVAL, "not a namespace"),
    "closed descriptor": (987654, errno.EBADF, "fd:987654"),
    "descriptor that is none": (1 << 32, errno.EBADF, "fd:4294967296"),
    "pid of nobody": ("pid:4194305", errno.ENOENT, "no such process"),
    "pid that is none": ("pid:me", errno.ENOENT, "pid:me"),
    "nul": ("a\0b", errno.EINVAL, "NUL"),
}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("where", NAMESPACES.values(), ids=NAMESPACES)
@pytest.mark.parametrize("side", ["target", "source"])
def test_bad_namespace(
    sides: tuple[Namespace, Namespace], side: str, where: tuple[Any, int, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """P3: what is no network namespace is refused, with the errno of the kernel and a line that names it."""
    host, target = sides
    name, code, says = where
    more = {"source": name} if side == "source" else {}
    to = target.fd if side == "source" else name
    with Untouched(host, target):
        report = netdevns.check({"eth1": "a"}, to, **more)
        with pytest.raises(netdevns.CheckFailed) as raised:
            netdevns.move({"eth1": "a"}, to, **more)
    (finding,) = (f for f in report.findings if f.code == "netns.open")
    assert (finding.severity, finding.device) == ("error", None)
    assert says in finding.text
    assert raised.value.errno == code
    if isinstance(name, str) and "\0" not in name:
        which = ["--from", name, "--to", f"fd:{target.fd}"] if side == "source" else ["--to", name]
        expect_command(["move", "eth1=a", *which], finding.text, capsys)


def test_vanished_process(sides: tuple[Namespace, Namespace], vanished: str) -> None:
    """P3: the namespace of a process that has ended."""
    host, target = sides
    with Untouched(host, target), pytest.raises(netdevns.CheckFailed, match="no such process"):
        netdevns.move({"eth1": "a"}, vanished)


def test_bad_namespace_does_not_hide_bad_devices(sides: tuple[Namespace, Namespace]) -> None:
    """P3: with a namespace that cannot be opened, what the source can tell is told all the same."""
    host, target = sides
    with Untouched(host, target):
        report = netdevns.check({"nope": "a", "eth1": "a/b"}, "no-such-netns")
    codes = {f.code for f in report.findings if f.severity == "error"}
    assert codes == {"netns.open", "device.unknown", "name.invalid"}


@pytest.mark.smoke
@pytest.mark.parametrize(
    "where", ["/proc/thread-self/ns/net", "/proc/self/fd/{}", "fd"], ids=["thread", "path", "descriptor"]
)
def test_target_is_the_source(sides: tuple[Namespace, Namespace], where: str) -> None:
    """P3: the target must be another namespace than the source, however each is named."""
    host, target = sides
    with Untouched(host, target):
        named = host.fd if where == "fd" else where.format(host.fd)
        row = Bad("", {"eth1": "a"}, "netns.same", errno.EINVAL, (), None)
        expect_refused(row, host, target, named)
        report = netdevns.check({"eth1": "a"}, target.fd, source=target.path)
    assert [f.code for f in report.findings] == ["netns.same"]


@pytest.mark.parametrize(
    ("devices", "where", "more"),
    [
        ({"eth1": {"name": 23}}, "target", {}),
        ({"eth1": 23}, "target", {}),
        ({"eth1": ["a"]}, "target", {}),
        ({23: "a"}, "target", {}),
        ({b"eth1": "a"}, "target", {}),
        (["eth1"], "target", {}),
        ("eth1", "target", {}),
        ({"eth1": "a"}, None, {}),
        ({"eth1": "a"}, 2.5, {}),
        ({"eth1": "a"}, True, {}),
        ({"eth1": "a"}, "target", {"source": 2.5}),
        ({"eth1": "a"}, "target", {"preserve": "routes"}),
    ],
    ids=["name", "value", "list", "key", "bytes", "no mapping", "str", "None", "float", "bool", "source", "preserve"],
)
def test_wrong_python_types(sides: tuple[Namespace, Namespace], devices: Any, where: Any, more: dict[str, Any]) -> None:
    """DESIGN 4.1: wrong Python types are a TypeError, from `check`, too; nothing is touched."""
    host, target = sides
    where = target.fd if where == "target" else where
    with Untouched(host, target):
        with pytest.raises(TypeError):
            netdevns.move(devices, where, **more)
        with pytest.raises(TypeError):
            netdevns.check(devices, where, **more)


@pytest.mark.smoke
def test_a_good_check_touches_nothing(sides: tuple[Namespace, Namespace]) -> None:
    """P3: a check that finds nothing against a move changes nothing, not even for a moment."""
    host, target = sides
    with Untouched(host, target):
        report = netdevns.check({"eth1": "net0", "eth2": "net%d", "eth3": {}}, target.fd)
    assert report.ok
    assert [(f.device, f.severity, f.code) for f in report.findings] == [("eth1", "loss", "loss.routes")]


@pytest.mark.smoke
def test_losses_are_told(sides: tuple[Namespace, Namespace]) -> None:
    """P3: what a move loses that the runtime-spec does not protect is told before, and is no error."""
    host, target = sides
    host.batch(["link set eth1 master br0"])
    host.wait_until_quiet()
    with Untouched(host, target):
        report = netdevns.check({"eth1": "net0"}, target.fd)
    assert report.ok
    assert {(f.code, f.severity) for f in report.findings} == {("loss.master", "loss"), ("loss.routes", "loss")}
    assert any("br0" in f.text for f in report.findings)


def test_device_that_the_kernel_would_delete(host: Namespace, target: Namespace) -> None:
    """P3: a vxlan device dies when its lower leaves, wherever it is: with that in one batch it is refused."""
    host.batch(["link add eth1 type ifb", "link add vx0 type vxlan id 7 dstport 4789 dev eth1", "link set eth1 up"])
    with Untouched(host, target), pytest.raises(netdevns.CheckFailed) as raised:
        netdevns.move({"eth1": "", "vx0": ""}, target.fd)
    assert (raised.value.errno, raised.value.device) == (errno.EBUSY, "vx0")
    assert [f.code for f in raised.value.report.findings if f.severity == "error"] == ["device.ends"]
    netdevns.move({"vx0": ""}, target.fd)
    assert (host.names(), target.names()) == ({"eth1"}, {"vx0"})


def test_routes_of_others_by_its_address_are_counted(host: Namespace, target: Namespace) -> None:
    """P3: the kernel deletes IPv4 routes of the main table whose `src` leaves, whatever device they are of.

    (By the same gateway 5.10 deletes that of the other table, too: both share one struct fib_info there.)
    """
    host.batch(
        """
        link add eth1 type ifb
        link add stays type ifb
        link set eth1 up
        link set stays up
        addr add 10.1.0.1/24 dev eth1
        addr add 10.5.0.1/24 dev stays
        route add 203.0.113.0/24 via 10.5.0.9 src 10.1.0.1
        route add 203.0.114.0/24 via 10.5.0.8 src 10.1.0.1 table 100
        route add 203.0.115.0/24 via 10.5.0.9 src 10.5.0.1
        """
    )
    report = netdevns.check({"eth1": ""}, target.fd)
    assert [f.text.split(": ")[-1] for f in report.findings] == [
        "1 route of other devices, whose src is an address of it"
    ]
    (moved,) = netdevns.move({"eth1": ""}, target.fd, preserve=["routes"])
    assert moved.not_carried == ("1 route of other devices, whose src is an address of it",)
    left = {route["dst"] for table in ("main", "100") for route in host.ip_json(f"route show table {table}")}
    assert {"203.0.114.0/24", "203.0.115.0/24"} <= left
    assert "203.0.113.0/24" not in left


def test_traffic_control_is_named(host: Namespace, target: Namespace) -> None:
    """P3: what somebody set up in front of a device or behind it is told; what the kernel gives every device is not."""
    host.batch(["link add eth1 type ifb", "link add eth2 type ifb", "link set eth1 up", "link set eth2 up"])
    with host.entered():
        for words in (
            "dev eth1 root handle 7: htb",
            "dev eth1 parent 7: classid 7:1 htb rate 1mbit",
            "dev eth1 clsact",
        ):
            kind = "class" if "classid" in words else "qdisc"
            subprocess.run(["tc", kind, "add", *words.split()], check=True)
    with Untouched(host, target):
        report = netdevns.check({"eth1": "", "eth2": ""}, target.fd)
    assert [(f.device, f.severity, f.code, f.text.split(": ")[-1]) for f in report.findings] == [
        ("eth1", "loss", "loss.qdisc", "qdisc htb, with what hangs on it"),
        ("eth1", "loss", "loss.qdisc", "qdisc clsact, with what hangs on it"),
    ]
    moved = netdevns.move({"eth1": "", "eth2": ""}, target.fd)
    assert [len(m.not_carried) for m in moved] == [2, 0]
    with target.entered():
        left = subprocess.run(["tc", "qdisc", "show", "dev", "eth1"], check=True, capture_output=True, text=True).stdout
    assert "htb" not in left
    assert "clsact" not in left


def test_xdp_program_is_named(host: Namespace, target: Namespace) -> None:
    """P3: an XDP program travels with the device: a note says so."""
    host.batch(["link add eth1 type veth peer name peer"])
    attach_xdp(host, "eth1")
    report = netdevns.check({"eth1": ""}, target.fd)
    assert [(f.severity, f.code) for f in report.findings] == [("note", "device.xdp")]
    (moved,) = netdevns.move({"eth1": ""}, target.fd)
    assert moved.not_carried == ()
    assert "xdp" in target.ip_json("link show dev eth1")[0]


# ---- IPv6 that is switched off ----


def disable_ipv6(target: Namespace) -> None:
    target.sysctl("ipv6/conf/default/disable_ipv6", 1)


def test_ipv6_addresses_where_ipv6_is_disabled(sides: tuple[Namespace, Namespace]) -> None:
    """P3: IPv6 addresses cannot go where IPv6 is disabled: refused for the device that has some."""
    host, target = sides
    disable_ipv6(target)
    row = Bad("", {"eth1": {}, "eth2": {}}, "ipv6.disabled", errno.EACCES, ("disable_ipv6",))
    error = expect_refused(row, host, target, target.fd)
    assert [f.device for f in error.report.findings if f.severity == "error"] == ["eth1"]


def test_no_ipv6_addresses_where_ipv6_is_disabled(sides: tuple[Namespace, Namespace]) -> None:
    """P3: a device without IPv6 addresses, or with link-local ones only, may go there."""
    host, target = sides
    disable_ipv6(target)
    host.batch(["addr add 10.0.2.1/24 dev eth2", "addr add fe80::77/64 dev eth2"])
    netdevns.move({"eth2": {}}, target.fd)
    assert [a.address for a in target.addresses("eth2")] == ["10.0.2.1"]


# ---- default routes ----


def expect_default_route(host: Namespace, target: Namespace, device: str, force: bool) -> None:
    """Refused without `force`; with it, a note, and the move happens."""
    host.wait_until_quiet()
    if not force:
        row = Bad("", {device: "a"}, "device.default-route", errno.EBUSY, ("--force",), device)
        expect_refused(row, host, target, target.fd)
        return
    with Untouched(host, target):
        report = netdevns.check({device: "a"}, target.fd, force=True)
    assert report.ok
    assert ("device.default-route", "note") in [(f.code, f.severity) for f in report.findings]
    netdevns.move({device: "a"}, target.fd, force=True)
    assert "a" in target.names()


ETH1 = ["link set eth1 up"]
PORT = ["link set eth2 up", "link set eth2 master br0", "link set br0 up", "addr add 10.5.0.1/24 dev br0"]
DEFAULTS: dict[str, tuple[str, list[str]]] = {
    "gateway": ("eth1", ["route add default via 10.0.0.9"]),
    "device": ("eth1", ["route add default dev eth1"]),
    "inet6": ("eth1", ["route add ::/0 via 2001:db8::9"]),
    "multipath": ("eth1", ["route add default nexthop via 10.0.0.9 nexthop via 10.0.0.8"]),
    "inet6 multipath": ("eth1", ["route add ::/0 nexthop via 2001:db8::9 nexthop via 2001:db8::8"]),
    "nexthop object": ("eth1", ["nexthop add id 7 via 10.0.0.9 dev eth1", "route add default nhid 7"]),
    "nexthop group": (
        "eth1",
        ["nexthop add id 7 via 10.0.0.9 dev eth1", "nexthop add id 8 group 7", "route add default nhid 8"],
    ),
    "other metric": ("eth1", ["route add default via 10.0.0.9 metric 4000"]),
    "bridge port": ("eth2", [*PORT, "route add default via 10.5.0.9"]),
}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("force", [False, True], ids=["refused", "forced"])
@pytest.mark.parametrize("case", DEFAULTS.values(), ids=DEFAULTS)
def test_default_route(sides: tuple[Namespace, Namespace], case: tuple[str, list[str]], force: bool) -> None:
    """P3: a device that carries a default route of the main table, however, does not leave unless it is forced to."""
    device, routes = case
    sides[0].batch(routes)
    if routes[:4] == PORT:
        time.sleep(1.2)  # a port's carrier, too, is looked at once a second, and nothing tells whether it was
    expect_default_route(*sides, device, force)


@pytest.mark.parametrize("force", [False, True], ids=["refused", "forced"])
@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("macvlan", marks=pytest.mark.kinds("macvlan")),
        pytest.param("vlan", marks=pytest.mark.kinds("vlan")),
        pytest.param("ipvlan", marks=pytest.mark.kinds("ipvlan")),
    ],
)
def test_default_route_of_an_upper(sides: tuple[Namespace, Namespace], kind: str, force: bool) -> None:
    """P3: nor does the lower of one that does."""
    host, _ = sides
    upper = [kinds.create(kind, "up1", "eth1"), "link set up1 up", "addr add 10.6.0.1/24 dev up1"]
    host.batch([*upper, "route add default via 10.6.0.9"])
    expect_default_route(*sides, "eth1", force)


@pytest.mark.smoke
@pytest.mark.kinds("bond")
@pytest.mark.parametrize("force", [False, True], ids=["refused", "forced"])
def test_default_route_of_a_bond(sides: tuple[Namespace, Namespace], force: bool) -> None:
    """P3: nor does a port of a bond that does."""
    sides[0].batch(
        [
            "link add bond0 type bond",
            "link set peer down",
            "link set peer master bond0",
            "link set bond0 up",
            "addr add 10.6.0.1/24 dev bond0",
            "route add default via 10.6.0.9",
        ]
    )
    expect_default_route(*sides, "peer", force)


@pytest.mark.parametrize(
    "route",
    ["route add default via 10.0.0.9 table 100", "route add unreachable default", "route add 0.0.0.0/1 via 10.0.0.9"],
    ids=["other table", "unreachable", "half"],
)
def test_what_is_no_default_route(sides: tuple[Namespace, Namespace], route: str) -> None:
    """P3: a default route of another table, or of no device, does not count."""
    sides[0].batch([route])
    assert netdevns.check({"eth1": "a"}, sides[1].fd).ok


def test_default_route_elsewhere(sides: tuple[Namespace, Namespace]) -> None:
    """P3: a default route of another device is no reason to refuse."""
    sides[0].batch(["route add default via 10.0.0.9"])
    assert netdevns.check({"eth2": "a"}, sides[1].fd).ok


# ---- configurations ----

NETWORK = {"namespaces": [{"type": "pid"}, {"type": "network", "path": "TARGET"}]}


def config(devices: object, **linux: object) -> str:
    return json.dumps({"ociVersion": "1.3.0", "linux": NETWORK | {"netDevices": devices} | linux})


CONFIGS: dict[str, tuple[str, str]] = {
    "empty file": ("", "not valid JSON"),
    "truncated": (config({"eth1": {}})[:-9], "not valid JSON"),
    "no JSON": ("{'eth1': }", "not valid JSON"),
    "no text": ("\udcff\udcfe", "not valid JSON"),
    "deep": ("[" * 100_000, "not valid JSON"),
    "array": ("[]", "an array"),
    "null": ("null", "null"),
    "number": ("23", "23"),
    "string": ('"x"', "a string"),
    "linux is a list": ('{"linux": []}', "linux"),
    "linux is null": ('{"linux": null}', "linux"),
    "netDevices is a list": (config(["eth1"]), "linux.netDevices"),
    "netDevices is null": (config(None), "linux.netDevices"),
    "device is a string": (config({"eth1": "net0"}), "linux.netDevices.eth1"),
    "device is null": (config({"eth1": None}), "linux.netDevices.eth1"),
    "name is a number": (config({"eth1": {"name": 23}}), "linux.netDevices.eth1.name"),
    "name is null": (config({"eth1": {"name": None}}), "linux.netDevices.eth1.name"),
    "name is true": (config({"eth1": {"name": True}}), "linux.netDevices.eth1.name"),
    "device twice": (config({"eth1": {}}).replace('"eth1": {}', '"eth1": {}, "eth1": {"name": "b"}'), "twice"),
    "no network namespace": (config({"eth1": {}}, namespaces=[{"type": "pid"}]), "no network namespace"),
    "no namespaces": (config({"eth1": {}}, namespaces=[]), "no network namespace"),
    "namespaces is an object": (config({"eth1": {}}, namespaces={}), "linux.namespaces"),
    "path is a number": (config({"eth1": {}}, namespaces=[{"type": "network", "path": 3}]), "path"),
    "relative path": (config({"eth1": {}}, namespaces=[{"type": "network", "path": "ns/net"}]), "absolute"),
    "no path": (config({"eth1": {}}, namespaces=[{"type": "network"}]), "--pid"),
    "own namespace": (
        config({"eth1": {}}, namespaces=[{"type": "network", "path": "/proc/thread-self/ns/net"}]),
        "already",
    ),
    "no namespace there": (config({"eth1": {}}, namespaces=[{"type": "network", "path": "/nonexistent"}]), "/nonex"),
    "unknown device": (config({"eth1": {}, "nope": {}}), "nope"),
    "bad name": (config({"eth1": {"name": "a/b"}}), "a/b"),
    "lone surrogate": (config({"eth1": {"name": "a\ud800/"}}), "has a lone surrogate, which is no text"),
}


@pytest.fixture
def write(tmp_path: Path, target: Namespace) -> Iterator[Callable[[str], str]]:
    def to_file(text: str) -> str:
        file = tmp_path / "config.json"
        file.write_bytes(text.replace("TARGET", target.path).encode("utf-8", "surrogateescape"))
        return str(file)

    return to_file


@pytest.mark.sampled(2)
@pytest.mark.parametrize("case", CONFIGS.values(), ids=CONFIGS)
def test_bad_configuration(
    sides: tuple[Namespace, Namespace],
    write: Callable[[str], str],
    case: tuple[str, str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """S1, S2: a configuration that is not what the schema says exits with 2, one line names the place in it."""
    host, target = sides
    text, says = case
    path = write(text)
    with Untouched(host, target):
        assert cli.main(["apply", "--config", path]) == 2
        out, err = capsys.readouterr()
        assert cli.main(["apply", "--config", path, "--json"]) == 2
    line, last = [line for line in err.splitlines() if not line.startswith("netdevns: next: ")]
    assert says in line
    assert last == "netdevns: nothing was touched"
    assert out == ""
    shown = json.loads(capsys.readouterr().out)
    assert shown["moved"] == []
    assert shown["error"]["rolled_back"] is True


def test_configuration_that_cannot_be_read(
    sides: tuple[Namespace, Namespace], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """DESIGN 4.2: a bundle without a config.json is an invalid configuration."""
    with Untouched(*sides):
        assert cli.main(["apply", "--bundle", str(tmp_path), "--pid", "1"]) == 2
        assert cli.main(["apply", "--config", str(tmp_path), "--pid", "1"]) == 2
    assert "No such file" in capsys.readouterr().err


@pytest.mark.parametrize(
    "extra",
    [
        {"unknown": 1},
        {"annotations": {"x": "y"}},
        {"linux": {"unknown": [1]}},
        {"linux": {"netDevices": {"eth2": {"unknown": {"name": 23}, "name": "net0"}}}},
        {"linux": {"namespaces": [{"type": "network", "path": "TARGET", "x": 1}, {"type": "moon"}, 23]}},
    ],
    ids=["top", "annotations", "linux", "device", "namespace"],
)
def test_unknown_keys_are_ignored(
    sides: tuple[Namespace, Namespace], write: Callable[[str], str], extra: dict[str, Any]
) -> None:
    """S2: an implementation must not fail on keys that it does not know, anywhere."""
    _, target = sides
    full = json.loads(config({"eth2": {"name": "net0"}}))
    full = {**full, **extra, "linux": {**full["linux"], **extra.get("linux", {})}}
    assert cli.main(["apply", "--config", write(json.dumps(full))]) == 0
    assert "net0" in target.names()


def test_apply_moves_what_the_configuration_asks_for(
    sides: tuple[Namespace, Namespace], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """S1 to S7: `apply --bundle` moves all devices of config.json, also one that carries a default route."""
    host, target = sides
    host.batch(["route add default via 10.0.0.9"])
    text = config({"eth1": {"name": "net0"}, "eth2": {"name": "mv%d"}, "eth3": {"name": ""}})
    (tmp_path / "config.json").write_text(text.replace("TARGET", "/nonexistent/netns"))
    assert cli.main(["apply", "--bundle", str(tmp_path), "--netns", target.path, "--json"]) == 0
    moved = json.loads(capsys.readouterr().out)["moved"]
    assert [m["name"] for m in moved] == ["net0", "mv0", "eth3"]
    assert target.names() == {"taken", "net0", "mv0", "eth3"}
    assert [a.address for a in target.addresses("net0")] == ["10.0.0.1", "2001:db8::1"]


def test_apply_without_devices(
    sides: tuple[Namespace, Namespace], write: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    """S1: netDevices is optional: nothing to do is no failure."""
    with Untouched(*sides):
        path = write('{"linux": {"namespaces": [{"type": "network"}]}}')
        assert cli.main(["apply", "--config", path, "--netns", sides[1].path]) == 0
    assert "nothing to do" in capsys.readouterr().out
