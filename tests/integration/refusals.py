"""A source and a target in which moves are refused, and the checks of a refusal."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

import netdevns
from netdevns.cli.main import main
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


def furnished(host: Namespace, target: Namespace) -> tuple[Namespace, Namespace]:
    """Both with their devices; the source is quiet."""
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
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert f"netdevns: {text}\n" in err
    assert err.splitlines()[-1] == "netdevns: nothing was touched"
    assert "Traceback" not in err
