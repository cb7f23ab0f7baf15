"""Loans without a kernel: file names, aged lifetimes, and the parts of a dump that belong to a device."""

from __future__ import annotations

import shlex
import struct
from collections import defaultdict
from pathlib import Path

import pytest

from netdevns import limits
from netdevns.cli import usage
from netdevns.errors import NetDevError
from netdevns.netlink import ifaddr, route, uapi, wire
from netdevns.oci import handover
from netdevns.recovery import loan_state, loans, return_home
from netdevns.state.kind import View
from netdevns.state.routes import Routes

FOREVER = 0xFFFFFFFF


def test_longest_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An id that no attribute of a loan can hold is refused before a device moves, with a line."""
    monkeypatch.setattr(handover, "JOURNAL_DIR", str(tmp_path))
    with handover.open_lender("x" * limits.CONTAINER_BYTES):
        pass
    with pytest.raises(NetDevError, match="the container's id has 4098 bytes, at most 4096 are allowed"):
        handover.open_lender("é" * 2049)


# ---- file names -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("container", "name"),
    [
        ("c1", "c1"),
        ("0123abcdef" * 6, "0123abcdef" * 6),
        ("a.b_c-d+e@f", "a.b_c-d+e@f"),
        (".", "%2E"),
        ("..", "%2E."),
        (".hidden", "%2Ehidden"),
        ("a/b", "a%2Fb"),
        ("../../x", "%2E.%2F..%2Fx"),
        ("a%2Fb", "a%252Fb"),
        ("a~b", "a%7Eb"),
        ("\n\0", "%0A%00"),
        ("ü", "%C3%BC"),
        ("\ud800", "%ED%A0%80"),
        ("", ""),
        ("x" * 1000, "x" * 200),
    ],
)
def test_file_name(container: str, name: str) -> None:
    """P5: an id becomes a file name: no separator, no leading dot, not too long, and "~" reserved for suffixes."""
    assert loans.file_name(container) == name
    assert len(loans.file_name(container)) + 17 <= 255


# ---- lifetimes ------------------------------------------------------------------------------------------------------


def address(family: int, local: bytes, *, flags: int = 0, lifetimes: tuple[int, int] | None = None) -> bytes:
    """An RTM_NEWADDR as in a dump; lifetimes: preferred, valid."""
    attrs = wire.attr(uapi.IFA_LOCAL if family == uapi.AF_INET else uapi.IFA_ADDRESS, local)
    if lifetimes is not None:
        attrs += wire.attr(uapi.IFA_CACHEINFO, ifaddr.CACHEINFO.pack(*lifetimes, 11, 22))
    attrs += wire.attr_u32(uapi.IFA_FLAGS, flags)
    head = ifaddr.IFADDRMSG.pack(family, 24, flags & 0xFF, 0, 7)
    return wire.message(uapi.RTM_NEWADDR, 0, head + attrs)


def lifetimes(messages: bytes) -> list[tuple[object, object, int]]:
    found = ifaddr.addresses(messages)
    return [(a["preferred_lft_s"], a["valid_lft_s"], int(str(a["flags"]))) for a in found]


@pytest.mark.parametrize("family", [uapi.AF_INET, uapi.AF_INET6])
@pytest.mark.parametrize(
    ("before", "elapsed_s", "after"),
    [
        ((FOREVER, FOREVER), 10**9, (None, None, 0)),
        ((0, FOREVER), 10, (0, None, 0)),
        ((100, 200), 0, (100, 200, 0)),
        ((100, 200), 60, (40, 140, 0)),
        ((100, 200), 100, (0, 100, uapi.IFA_F_DEPRECATED)),
        ((100, 200), 199, (0, 1, uapi.IFA_F_DEPRECATED)),
        ((100, 200), 200, None),
        ((100, 200), 10**9, None),
        ((FOREVER, 200), 100, (None, 100, 0)),
        ((50, FOREVER), 100, (0, None, uapi.IFA_F_DEPRECATED)),
    ],
)
def test_lifetimes_are_shortened(
    family: int, before: tuple[int, int], elapsed_s: int, after: tuple[object, object, int] | None
) -> None:
    """P5: remaining lifetimes are restored; an expired address is left out, one no longer preferred is deprecated."""
    local = bytes(4 if family == uapi.AF_INET else 16)
    aged = loan_state.aged(address(family, local, lifetimes=before), elapsed_s)
    assert lifetimes(aged) == ([] if after is None else [after])


def test_only_lifetimes_change() -> None:
    """P5: all other bytes of the kernel's message stay; so does an address without lifetimes."""
    plain = address(uapi.AF_INET, b"\x0a\0\0\1", flags=uapi.IFA_F_PERMANENT)
    lasting = address(uapi.AF_INET, b"\x0a\0\0\2", flags=uapi.IFA_F_PERMANENT, lifetimes=(FOREVER, FOREVER))
    assert loan_state.aged(plain + lasting, 1000) == plain + lasting
    ending = address(uapi.AF_INET, b"\x0a\0\0\3", lifetimes=(5000, 5000))
    assert loan_state.aged(ending, 1000) == ending.replace(
        struct.pack("=II", 5000, 5000), struct.pack("=II", 4000, 4000)
    )


@pytest.mark.parametrize(
    ("now", "flags", "after"),
    [
        ((4900, 4900), 0, (4900, 4900, 0)),
        ((40, 140), 0, (40, 140, 0)),
        ((30, 100), 0, (40, 140, 0)),  # shorter than what is left
        ((0, 9000), uapi.IFA_F_DEPRECATED, (0, 9000, uapi.IFA_F_DEPRECATED)),
        ((FOREVER, FOREVER), uapi.IFA_F_PERMANENT, (None, None, uapi.IFA_F_PERMANENT)),
    ],
)
def test_renewed_lease_is_kept(now: tuple[int, int], flags: int, after: tuple[object, object, int]) -> None:
    """P1: an address that is there with a longer lifetime keeps that, and the flags that follow from it."""
    before = address(uapi.AF_INET, b"\x0a\0\0\1", lifetimes=(100, 200))
    there = address(uapi.AF_INET, b"\x0a\0\0\1", flags=flags, lifetimes=now)
    other = address(uapi.AF_INET, b"\x0a\0\0\2", lifetimes=(5000, 5000))
    assert lifetimes(loan_state.aged(before, 60, other + there)) == [after]


def test_renewed_lease_outlives_the_recorded_one() -> None:
    """P1: of an expired address, only one that was renewed is restored."""
    before = address(uapi.AF_INET, b"\x0a\0\0\1", lifetimes=(10, 20))
    there = address(uapi.AF_INET, b"\x0a\0\0\1", lifetimes=(500, 500))
    assert loan_state.aged(before, 60) == b""
    assert lifetimes(loan_state.aged(before, 60, there)) == [(500, 500, 0)]


def test_damaged_address() -> None:
    """P5: an attribute with a wrong length ends the parsing; the message stays unchanged."""
    bad = bytearray(address(uapi.AF_INET, b"\x0a\0\0\1"))
    struct.pack_into("=H", bad, 24, 500)
    assert loan_state.aged(bytes(bad), 1000) == bytes(bad)


# ---- routes of a device ---------------------------------------------------------------------------------------------


def a_route(
    oif: int, *, dst: bytes = b"\x0a\0\0\0", family: int = uapi.AF_INET, legs: tuple[int, ...] = (), **more: bytes
) -> bytes:
    attrs = wire.attr(uapi.RTA_DST, dst)
    if legs:
        attrs += wire.attr(uapi.RTA_MULTIPATH, b"".join(route.RTNEXTHOP.pack(8, 0, 0, leg) for leg in legs))
    elif oif:
        attrs += wire.attr_u32(uapi.RTA_OIF, oif)
    for name, value in more.items():
        attrs += wire.attr(getattr(uapi, name), value)
    return wire.message(uapi.RTM_NEWROUTE, 0, route.RTMSG.pack(family, 24, 0, 0, 254, 4, 0, 1, 0) + attrs)


def lent(dump: bytes, here: set[int], ended: set[bytes], elapsed_s: int) -> bytes:
    before = View({}, state={"routes": dump})
    return Routes().lend(before, dict.fromkeys(here, 0), elapsed_s, ended)


def test_own_routes() -> None:
    """P5: routes that use only the device; none of another, of both, of none, or with an expired address as src."""
    own, other = a_route(7), a_route(8)
    both, unreachable = a_route(0, legs=(7, 8)), a_route(0)
    ended = a_route(7, RTA_PREFSRC=b"\x0a\0\0\5")
    dump = own + other + both + unreachable + ended + a_route(0, legs=(7, 7))
    assert lent(dump, {7}, {b"\x0a\0\0\5"}, 0) == own + a_route(0, legs=(7, 7))
    assert lent(dump, {7, 8}, set(), 0) == own + other + both + ended + a_route(0, legs=(7, 7))


@pytest.mark.parametrize(("elapsed_s", "left"), [(0, 1000), (9, 100), (10, None), (99, None)])
def test_expired_routes_are_left_out(elapsed_s: int, left: int | None) -> None:
    """P5: an IPv6 route that has expired meanwhile is not restored; rta_expires is in hundredths of a second."""

    def made(ticks: int) -> bytes:
        return a_route(
            7, family=uapi.AF_INET6, dst=bytes(16), RTA_CACHEINFO=struct.pack("=IIiIIIII", 0, 0, ticks, 0, 0, 0, 0, 0)
        )

    assert lent(made(1000), {7}, set(), elapsed_s) == (b"" if left is None else made(left))
    assert lent(made(0), {7}, set(), elapsed_s) == made(0)


# ---- the link -------------------------------------------------------------------------------------------------------


def link(*, ifindex: int = 7, flags: int = 0x1002, **attrs: bytes) -> wire.Link:
    packed = b"".join(wire.attr(getattr(uapi, name), value) for name, value in attrs.items())
    return wire.Link(memoryview(wire.IFINFOMSG.pack(0, 1, ifindex, flags, 0) + packed))


U32 = struct.Struct("=I").pack


@pytest.mark.parametrize("what", ["IFLA_PARENT_DEV_NAME", "IFLA_PARENT_DEV_BUS_NAME", "IFLA_PERM_ADDRESS"])
def test_origin(what: str) -> None:
    """P5: hardware is identified by bus, parent device and permanent MAC, not by name, ifindex and MAC."""
    a = link(**{what: b"x\0"}, IFLA_IFNAME=b"eth1\0", IFLA_ADDRESS=b"\2\0\0\0\0\1")
    b = link(**{what: b"x\0"}, IFLA_IFNAME=b"net0\0", IFLA_ADDRESS=b"\2\0\0\0\0\2", ifindex=9)
    c = link(**{what: b"y\0"}, IFLA_IFNAME=b"eth1\0", IFLA_ADDRESS=b"\2\0\0\0\0\1")
    assert loan_state.origin(a.body) == loan_state.origin(b.body) != loan_state.origin(c.body)


MAC, OTHER_MAC = b"\2\0\0\0\0\1", b"\2\0\0\0\0\2"


@pytest.mark.parametrize(
    ("parent", "mac", "ifindex", "is_same"),
    [
        pytest.param(b"0000:01:10.0\0", MAC, 9, True, id="same MAC"),
        pytest.param(b"0000:01:10.0\0", OTHER_MAC, 7, True, id="same ifindex"),
        pytest.param(b"0000:01:10.0\0", OTHER_MAC, 9, False, id="another port of the same parent"),
        pytest.param(b"0000:01:10.2\0", MAC, 7, False, id="another parent"),
        pytest.param(None, MAC, 7, False, id="no parent"),
    ],
)
def test_changed_permanent_mac(parent: bytes | None, mac: bytes, ifindex: int, is_same: bool) -> None:
    """P5: if a driver (igbvf) changed the permanent MAC, parent and ifindex, or parent and MAC, identify a device."""
    had = {"IFLA_PARENT_DEV_NAME": b"0000:01:10.0\0"} if parent else {}
    has = {"IFLA_PARENT_DEV_NAME": parent} if parent else {}
    was = link(**had, IFLA_PERM_ADDRESS=b"\2\0\0\0\0\x99", IFLA_ADDRESS=MAC)
    now = link(**has, IFLA_PERM_ADDRESS=mac, IFLA_ADDRESS=mac, ifindex=ifindex)
    assert return_home.may_be(was, now) is is_same


def test_renumbered() -> None:
    """P5: a snapshot for another ifindex is otherwise unchanged."""
    before = link(IFLA_MTU=U32(1500))
    after = wire.Link(next(wire.messages(loan_state.renumbered(before, 99))).body)
    assert after.ifindex == 99
    assert bytes(after.body) == bytes(before.body)[:4] + U32(99) + bytes(before.body)[8:]


@pytest.mark.parametrize("label", ["edge/web", "web", "a/b:c", "edge/web:1"])
def test_loan_of_a_pod(label: str) -> None:
    """Its id names the sandbox and the pod; messages name the pod, and the command that ends it."""
    loan = loans.of_pod("5" * 64, label)
    assert loans.pod_of(loan) == ("5" * 64, label)
    assert loans.network_of(loan) is None
    assert loans.holder(loan, ()) == f"to pod {label}"
    assert loans.live_command(loan, ()).startswith("kubectl delete pod --namespace ")
    assert loans.command(loan, ()) == f"netdevns return {loan}"


@pytest.mark.parametrize("name", ["a$(touch PWNED)", "net0; rm", "it's", "a b"])
def test_commands_for_a_loan_are_quoted(name: str) -> None:
    """An id, or the name of a prepared namespace, of a network or of a pod, may have characters of the shell."""
    loan, of_network = loans.of_pod("5" * 64, f"edge/{name}"), f"{'5' * 64}:{name}"
    assert shlex.split(loans.command(name, ())) == ["netdevns", "return", name]
    assert shlex.split(loans.command(name, {name})) == ["netdevns", "prepare", name, "--undo"]
    assert shlex.split(loans.live_command(loan, ()))[-3:] == ["--namespace", "edge", name]
    assert shlex.split(loans.live_command(of_network, ()))[-2:] == [name, "5" * 12]


def test_command_for_a_loan_that_looks_like_an_option() -> None:
    """runc allows such an id."""
    words = shlex.split(loans.command("-x", ()))
    assert usage.parser(defaultdict(lambda: None)).parse_args(words[1:]).container == "-x"


@pytest.mark.parametrize("container", ["", "pod", "pod:", "pod:x", "pod::a/b", f"{'5' * 64}:pod:a/b", "POD:x:a/b"])
def test_no_loan_of_a_pod(container: str) -> None:
    """Other ids are those of containers."""
    assert loans.pod_of(container) is None
