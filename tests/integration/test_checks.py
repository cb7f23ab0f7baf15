"""Devices and names that a check refuses, before anything is touched."""

from __future__ import annotations

import errno
import json
import os
from typing import Any

import pytest

import netdevns
from netdevns.cli.main import main
from tests.support import kinds
from tests.support.namespaces import Namespace
from tests.support.restored import Untouched

from .refusals import Bad, expect_command, expect_refused, furnished


@pytest.fixture
def sides(host: Namespace, target: Namespace) -> tuple[Namespace, Namespace]:
    return furnished(host, target)


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
    Bad(
        "long altname beside a device",
        {"a-name-of-more-than-15-bytes": "a", "eth2": "b"},
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
    assert main(["check", *arguments, "--to", f"fd:{target.fd}", "--json"]) == 2
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
    """P3: all findings are reported, not only the first; the error says how many more there are."""
    host, target = sides
    devices = {"nope": {}, "eth1": "taken", "eth2": "a/b", "eth3": "e%s", "br0": {}}
    with Untouched(host, target):
        with pytest.raises(netdevns.CheckFailed) as raised:
            netdevns.move(devices, target.fd)
        arguments = ["nope", "eth1=taken", "eth2=a/b", "eth3=e%s", "br0", "--to", f"fd:{target.fd}"]
        assert main(["move", *arguments]) == 2
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
