"""Per-device sysctls, on this kernel: the tables of netdevns.state.sysctls are the kernel's, and all come back."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from unittest import mock

import pytest

import netdevns
from netdevns.engine import EngineError, Socket, lookups
from netdevns.netlink import uapi, wire
from netdevns.state import restore, sysctls
from tests.support import steps
from tests.support.namespaces import Namespace
from tests.support.restored import assert_equal_soon

# Sysctls of a device that cannot be written, or that RTM_NEWLINK does not carry (docs/limits.md).
UNREPORTED = {
    "ipv4": {"mc_forwarding"},
    "ipv6": {"mc_forwarding", "stable_secret", "ra_honor_pio_life", "ra_honor_pio_pflag", "regen_min_advance"},
}
# Another value, where 0 and 1 are none.
VALUES = {"ipv6.mtu": "1300", "ipv6.ra_defrtr_metric": "7", "ipv6.ioam6_id": "7", "ipv6.ioam6_id_wide": "7"}


def directory(family: str, device: str = "eth1") -> Path:
    return Path(f"/proc/sys/net/{family}/conf/{device}")


def written(path: Path, text: str) -> bool:
    """Writes a file; False: it takes no such value."""
    try:
        path.write_text(text)
    except OSError:
        return False
    return True


def settings(device: str = "eth1") -> sysctls.Settings:
    with Socket() as socket:
        return sysctls.Settings(lookups.ask(socket, [wire.get_link(name=device.encode())])[0].body)


@pytest.fixture
def eth1(host: Namespace) -> Namespace:
    host.batch(["link add eth1 type ifb", "link set eth1 up"])
    return host


def failed_move(target: Namespace) -> netdevns.MoveFailed:
    """Moves eth1; the last step fails, so all is undone."""

    def fail(_: int) -> None:
        raise EngineError(errno.EIO, "made to fail", "verify")

    with mock.patch.object(*steps.before("verify", fail)), pytest.raises(netdevns.MoveFailed) as raised:
        netdevns.move({"eth1": "net0"}, target.fd)
    return raised.value


@pytest.mark.smoke
@pytest.mark.usefixtures("eth1")
@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_every_setting_of_this_kernel_is_known(family: str) -> None:
    """A kernel with a setting that the table does not have would lose it silently: this test says its name."""
    known = {n for n in (sysctls.IPV4 if family == "ipv4" else sysctls.IPV6) if n}
    files = {path.name for path in directory(family).iterdir() if path.is_file()}
    assert files - known <= UNREPORTED[family]
    assert len(files & known) >= 29


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_each_name_is_the_kernels(eth1: Namespace, family: str) -> None:
    """Each file that can be written changes the value of its own name in the dump, and no other's."""
    tried = []
    for path in sorted(directory(family).iterdir()):
        name = f"{family}.{path.name}"
        if path.name in UNREPORTED[family] or not os.access(path, os.W_OK):
            continue
        was = path.read_text().strip()
        before = settings()
        if not written(path, VALUES.get(name, "0" if was not in ("0", "-1") else "1")):
            continue
        now = settings()
        changed = before.differences(now)
        assert changed == [name] or (name == "ipv6.disable_ipv6" and name in changed), name
        path.write_text(was)
        tried.append(name)
    assert len(tried) >= 25, tried
    assert eth1.links()["eth1"].up


def test_token(host: Namespace) -> None:
    """Every kernel sends the token with the statistics; one that sends it only with them (5.10) is recognised."""
    host.batch(["link add eth1 type veth peer name peer", "token set ::77 dev eth1"])
    ifindex = host.links()["eth1"].ifindex
    with Socket() as socket:
        (whole,) = lookups.ask(socket, [wire.link_message(uapi.RTM_GETLINK, 0, ifindex)])
        answers = lookups.ask(socket, [wire.get_link(ifindex)])
        dumped = sysctls.tokens_of(lookups.dump(socket, sysctls.DUMP_TOKENS))
    was, short = sysctls.Settings(whole.body), sysctls.Settings(answers[0].body)
    assert was.token == dumped[ifindex] == bytes(15) + b"\x77"
    assert short.token == (None if sysctls.is_token_omitted([wire.Link(answers[0].body)]) else was.token)
    # Not sent is not "none": it must not be taken for a change.
    assert was.differences(short) == short.differences(was) == []


@pytest.mark.smoke
def test_all_settings_come_back(eth1: Namespace, target: Namespace) -> None:
    """Each setting that can be changed, changed: after a failed move an independent dump is as before."""
    changed = 0
    for family in ("ipv4", "ipv6"):
        for path in sorted(directory(family).iterdir()):
            if path.name not in UNREPORTED[family] | {"disable_ipv6"}:
                was = path.read_text().strip()
                changed += written(path, VALUES.get(f"{family}.{path.name}", "1" if was in ("0", "-1") else "0"))
    eth1.wait_until_quiet()
    before = eth1.dump()

    raised = failed_move(target)
    assert raised.left == ()
    assert_equal_soon(before, eth1)
    assert changed >= 50


def test_other_default_in_the_source(eth1: Namespace, target: Namespace) -> None:
    """IPv6 is off by default in the source but on for this device: it is on again before the addresses come back."""
    eth1.ip("addr add 2001:db8::1/64 nodad dev eth1")
    eth1.sysctl("ipv6/conf/default/disable_ipv6", 1)
    eth1.wait_until_quiet()
    before = eth1.dump()

    raised = failed_move(target)
    assert raised.left == ()
    assert_equal_soon(before, eth1)


@pytest.mark.parametrize(("accept_ra", "forwarding"), [(0, 0), (1, 0), (1, 1), (2, 1)])
def test_token_beside_accept_ra_comes_back(host: Namespace, target: Namespace, accept_ra: int, forwarding: int) -> None:
    """A token is refused where router advertisements are, and may have been set before they were."""
    host.batch(["link add eth1 type veth peer name peer", "link set eth1 up", "token set ::77 dev eth1"])
    host.sysctl("ipv6/conf/eth1/forwarding", forwarding)
    host.sysctl("ipv6/conf/eth1/accept_ra", accept_ra)
    host.sysctl("ipv6/conf/default/accept_ra", 2 if accept_ra == 0 else 0)
    host.wait_until_quiet()
    before = host.dump()

    assert failed_move(target).left == ()
    assert_equal_soon(before, host)


def test_token_that_is_refused_is_all_that_is_reported(
    host: Namespace, target: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P7: the report names the token, with the kernel's words, and not accept_ra, which is 0 again."""
    host.batch(["link add eth1 type veth peer name peer", "link set eth1 up", "token set ::77 dev eth1"])
    host.sysctl("ipv6/conf/eth1/accept_ra", 0)
    token, real = wire.attr(uapi.IFLA_INET6_TOKEN, bytes(15) + b"\x77"), restore.Restorer._sent

    def refuse(self: restore.Restorer, request: bytes, ifindex: int) -> str:
        return "refused" if token in request else real(self, request, ifindex)

    monkeypatch.setattr(restore.Restorer, "_sent", refuse)
    (left,) = failed_move(target).left
    assert left.missing == ("sysctl ipv6.token: refused",)
    assert settings().values["ipv6.accept_ra"] == 0


def test_settings_without_accept_ra() -> None:
    """A record that lacks IFLA_INET6_CONF: nothing is said of router advertisements, and nothing raised."""
    assert sysctls.Settings(bytes(wire.IFINFOMSG.size), bytes(16)).accepts_advertisements


def test_setting_that_cannot_be_restored_is_reported(
    eth1: Namespace, target: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is named in `left`: nothing is lost silently."""
    eth1.sysctl("ipv6/conf/eth1/accept_ra", 2)
    monkeypatch.setattr(sysctls.Settings, "files", lambda *_: {})

    raised = failed_move(target)
    (left,) = raised.left
    assert left.missing == ("sysctl ipv6.accept_ra",)
