"""`preserve`: neighbours, stacked devices, a failure while state is set, and the command's `--preserve`."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import netdevns
from netdevns.cli.main import main
from netdevns.engine import EngineError
from netdevns.netlink import wire
from netdevns.state.kind import Kind
from netdevns.state.neighbours import Neighbours
from netdevns.state.restore import Restorer
from netdevns.state.routes import Routes
from netdevns.state.sysctls import Sysctls
from tests.support import steps
from tests.support.namespaces import Namespace
from tests.support.restored import Restored

from .preserved import ALL, DEVICES, ROUTES, furnished, not_carried, others, routes, setting


@pytest.fixture
def sides(host: Namespace, target: Namespace) -> tuple[Namespace, Namespace]:
    return furnished(host, target)


# ---- neighbours ----


@pytest.mark.smoke
def test_neighbours_are_carried(renumbered: tuple[Namespace, Namespace]) -> None:
    """Permanent and noarp neighbours and proxies of both families are preserved; learned ones are not."""
    host, target = renumbered
    host.batch(
        """
        neigh add 10.0.0.9 lladdr 02:00:00:00:00:99 nud permanent dev eth0
        neigh add 2001:db8:1::9 lladdr 02:00:00:00:00:98 nud permanent dev eth1
        neigh add 10.1.0.8 lladdr 02:00:00:00:00:95 nud noarp dev eth1
        neigh add 10.0.0.8 lladdr 02:00:00:00:00:97 nud reachable dev eth0
        neigh add 10.5.0.9 lladdr 02:00:00:00:00:96 nud permanent dev stays
        neigh add proxy 10.1.0.200 dev eth1
        neigh add proxy 2001:db8::200 dev eth0
        """
    )
    moved = netdevns.move(DEVICES, target.fd, preserve=["neighbours"])
    found = [n for n in target.ip_json("neigh show") if n["state"] == ["PERMANENT"]]
    assert sorted((n["dst"], n["dev"], n["lladdr"]) for n in found) == [
        ("10.0.0.9", "net0", "02:00:00:00:00:99"),
        ("2001:db8:1::9", "net1", "02:00:00:00:00:98"),
    ]
    assert [n["state"] for n in target.ip_json("neigh show 10.1.0.8 dev net1 nud all")] == [["NOARP"]]
    assert target.ip_json("neigh show 10.0.0.8 dev net0") == []
    proxies = sorted((n["dst"], n["dev"]) for n in target.ip_json("neigh show proxy"))
    assert proxies == [("10.1.0.200", "net1"), ("2001:db8::200", "net0")]
    assert not_carried(moved) == {}


# ---- together ----


@pytest.mark.kinds("vlan")
def test_stacked_devices(renumbered: tuple[Namespace, Namespace]) -> None:
    """A VLAN and its lower keep each their own routes, neighbours and sysctls."""
    host, target = renumbered
    host.batch(
        """
        link add link eth0 name eth0.5 type vlan id 5
        link set eth0.5 up
        addr add 10.3.0.1/24 dev eth0.5
        route add 192.0.2.0/24 via 10.3.0.9
        route add 192.0.3.0/24 nexthop via 10.3.0.9 nexthop via 10.0.0.9
        neigh add 10.3.0.9 lladdr 02:00:00:00:00:99 nud permanent dev eth0.5
        """
    )
    host.sysctl("ipv4/conf/eth0.5/rp_filter", 2)
    host.wait_until_quiet()
    devices = {"eth0": "net0", "eth0.5": "net0.5"}
    expected = routes(host, devices)
    moved = netdevns.move(devices, target.fd, preserve=ALL)
    assert routes(target, {name: name for name in devices.values()}) == expected
    assert len(expected) == 2
    assert [setting(target, f"ipv4/conf/{name}/rp_filter") for name in ("net0", "net0.5")] == ["0", "2"]
    assert [n["dev"] for n in target.ip_json("neigh show nud permanent")] == ["net0.5"]
    assert not_carried(moved) == {}


@pytest.fixture
def everything(sides: tuple[Namespace, Namespace]) -> tuple[Namespace, Namespace]:
    """A source with something of each kind."""
    host, _ = sides
    host.batch(ROUTES)
    host.ip("neigh add 10.0.0.9 lladdr 02:00:00:00:00:99 nud permanent dev eth0")
    host.ip("neigh add proxy 2001:db8::200 dev eth1")
    for name, value in {
        "ipv4/conf/eth0/rp_filter": 2,
        "ipv6/conf/eth1/accept_ra": 2,
        "ipv6/conf/eth0/mtu": 1300,
    }.items():
        host.sysctl(name, value)
    host.wait_until_quiet()
    return sides


def failing(real: Callable[..., Any], nth: int, error: BaseException) -> Callable[..., Any]:
    """The function, with the n-th call (from 1) made to fail."""
    calls: Iterator[int] = iter(range(1, 10000))

    def call(*args: Any) -> Any:
        if next(calls) == nth:
            raise error
        return real(*args)

    return call


@pytest.mark.sampled(2)
@pytest.mark.parametrize("nth", [1, 2, 4, 12])
@pytest.mark.parametrize(
    ("error", "code"),
    [(EngineError(errno.ENOBUFS, "made to fail", "exchange"), errno.ENOBUFS), (wire.Malformed("what"), errno.EBADMSG)],
    ids=["refused", "malformed"],
)
def test_exchange_fails(
    everything: tuple[Namespace, Namespace], monkeypatch: pytest.MonkeyPatch, nth: int, error: Exception, code: int
) -> None:
    """S11: a failed exchange while state is set undoes the batch, and leaves nothing in the target."""
    host, target = everything
    monkeypatch.setattr(Restorer, "_look", failing(Restorer._look, nth, error))
    with Restored(host, target), pytest.raises(netdevns.MoveFailed) as raised:
        netdevns.move(DEVICES, target.fd, preserve=ALL)
    failed = raised.value
    assert (failed.step, failed.errno, failed.device, failed.left) == ("carry", code, None, ())
    assert "preserved state could not be set in the target" in str(failed)


@pytest.mark.parametrize(("kind", "nth"), [(Sysctls, 1), (Sysctls, 4), (Neighbours, 1), (Routes, 1)])
def test_interruption(
    everything: tuple[Namespace, Namespace], monkeypatch: pytest.MonkeyPatch, kind: type[Kind], nth: int
) -> None:
    """S11: Ctrl-C while state is set undoes the batch, then propagates."""
    host, target = everything
    monkeypatch.setattr(kind, "preserve", failing(kind.preserve, nth, KeyboardInterrupt()))
    with Restored(host, target), pytest.raises(KeyboardInterrupt) as raised:
        netdevns.move(DEVICES, target.fd, preserve=ALL)
    assert isinstance(raised.value.__cause__, netdevns.MoveFailed)
    assert raised.value.__cause__.left == ()


def test_failure_after_all_was_carried(
    everything: tuple[Namespace, Namespace], monkeypatch: pytest.MonkeyPatch
) -> None:
    """S11: a failed comparison, with everything in the target already, undoes the batch."""
    host, target = everything
    seen = []

    def fail(_: int) -> None:
        seen.append(len(routes(target, {"net0": "net0", "net1": "net1"})))
        raise EngineError(errno.EIO, "made to fail", "verify")

    monkeypatch.setattr(*steps.before("verify", fail))
    with Restored(host, target), pytest.raises(netdevns.MoveFailed) as raised:
        netdevns.move(DEVICES, target.fd, preserve=ALL)
    assert raised.value.left == ()
    assert seen == [20]


# ---- the command, and types ----


def test_command(everything: tuple[Namespace, Namespace], capsys: pytest.CaptureFixture[str]) -> None:
    """--preserve KIND,... works for `move` and `check`, and is in the command that `check` advises."""
    host, target = everything
    to = ["--to", f"fd:{target.fd}", "--preserve", "routes,sysctls"]
    assert main(["check", "eth0=net0", "eth1=net1", *to]) == 0
    assert f"--to fd:{target.fd} --preserve routes,sysctls" in capsys.readouterr().out
    expected = routes(host, DEVICES)
    assert main(["move", "eth0=net0", "eth1=net1", *to, "--json"]) == 0
    reported = [others(m["not_carried"]) for m in json.loads(capsys.readouterr().out)["moved"]]
    assert reported == [("1 neighbour",), ("1 neighbour",)]
    assert len(routes(target, {"net0": "net0", "net1": "net1"})) == len(expected)
    assert setting(target, "ipv4/conf/net0/rp_filter") == "2"
    assert target.ip_json("neigh show nud permanent") == []


@pytest.mark.parametrize("command", ["move", "check"])
@pytest.mark.parametrize(
    ("kinds", "wrong"), [("routes,qdiscs", "qdiscs"), ("", ""), ("routes,", ""), ("Routes", "Routes")]
)
def test_command_with_an_unknown_kind(
    sides: tuple[Namespace, Namespace], capsys: pytest.CaptureFixture[str], command: str, kinds: str, wrong: str
) -> None:
    """Exit code 2 and one line that names the kinds."""
    host, target = sides
    with Restored(host, target):
        assert main([command, "eth0=net0", "--to", f"fd:{target.fd}", "--preserve", kinds]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        f'netdevns: --preserve: unknown kind "{wrong}"; known are sysctls, routes, neighbours',
        "netdevns: nothing was touched",
    ]


def test_command_for_a_bundle(sides: tuple[Namespace, Namespace], capsys: pytest.CaptureFixture[str]) -> None:
    """`check` of a bundle checks what `apply` would do, which preserves nothing."""
    assert main(["check", "--bundle", "/nowhere", "--preserve", "routes"]) == 2
    assert "--preserve is not for a bundle" in capsys.readouterr().err
    assert sides[0].names() == {"eth0", "eth1", "peer", "stays"}


@pytest.mark.parametrize(
    ("preserve", "error"),
    [("routes", TypeError), (b"routes", TypeError), (None, TypeError), ([7], TypeError), (["qdiscs"], ValueError)],
)
def test_wrong_values(sides: tuple[Namespace, Namespace], preserve: Any, error: type[Exception]) -> None:
    """Wrong Python types and an unknown kind are refused first."""
    host, target = sides
    with Restored(host, target):
        for function in (netdevns.move, netdevns.check):
            with pytest.raises(error, match="preserve"):
                function({"eth0": "net0"}, target.fd, preserve=preserve)
