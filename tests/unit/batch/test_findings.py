"""The list of the findings' codes: complete, used, and safe to print with any operands."""

from __future__ import annotations

import ast
import errno
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import netdevns
from netdevns.batch.findings import CODES, WITH_LIFETIME, Found
from netdevns.netlink.ifname import encode
from netdevns.text import quote

PACKAGE = Path(netdevns.__file__).parent
NAME, WHERE, WORDS = b"net0", "blue", "words of the kernel"
FAILED = {"netns": WHERE, "errno": errno.EPERM, "extack": WORDS}

# The operands of each code, once for each form of its text.
OPERANDS: dict[str, list[dict[str, bytes | int | str]]] = {
    "device.invalid-name": [{}],
    "device.unknown": [{"source": WHERE}],
    "device.altname": [{"other": NAME, "wanted": NAME}],
    "device.twice": [{"other": NAME}],
    "device.too-many": [{"count": 5000}],
    "device.immutable": [{"kind": b"bridge"}, {"kind": b""}],
    "device.ends": [{}],
    "device.busy": [{"name": NAME, "ifindex": 7, "pid": pid} for pid in (0, 4711)],
    "device.default-route": [
        {"source": WHERE, "is_forced": forced, "is_annotated": annotated}
        for forced, annotated in ((False, False), (False, True), (True, False))
    ],
    "name.invalid": [{"name": b"a/b"}],
    "name.template": [{"name": b"a%b"}],
    "name.taken": [{"name": NAME, "other": NAME, "ifindex": 7, "source": WHERE, "target": WHERE}],
    "name.taken-altname": [{"name": NAME, "other": b"eth7", "ifindex": 7, "source": WHERE, "target": WHERE}],
    "name.own-altname": [{"name": NAME, "source": WHERE}],
    "name.twice": [{"name": NAME, "other": b"eth7", "is_altname": is_altname} for is_altname in (False, True)],
    "altname.taken": [
        {"name": NAME, "other": other, "ifindex": 7, "source": WHERE, "target": WHERE} for other in (NAME, b"eth7")
    ],
    "netns.open": [{"error": WORDS, "errno": errno.ENOENT, "is_name": is_name} for is_name in (False, True)],
    "netns.same": [{"where": WHERE}],
    "permission.source": [{"netns": WHERE}, {**FAILED, "what": "enter"}, {**FAILED, "what": "watch"}],
    "permission.target": [{"netns": WHERE}, {**FAILED, "what": "enter", "extack": "setns(2)"}],
    "ipv6.disabled": [{"target": WHERE, "is_disabled": is_disabled} for is_disabled in (False, True)],
    "record.kept": [{"why": WORDS, "record": "/run/netdevns/txn/1"}],
    "record.unwritable": [{"record": "/run/netdevns/txn", "why": WORDS, "errno": number} for number in (13, 30)],
    "system": [{**FAILED, "what": what} for what in ("ask", "enter", "reply", "socket", "watch", "/proc/sys/net/x")],
    **{f"loss.{kind}": [{"words": WORDS}] for kind in ("master", "port", "qdisc", "routes", "neighbours", "fdb")},
    "loss.upper": [{"upper": NAME, "ends": ends} for ends in (False, True)],
    "loss.addresses": [{"count": 1, "scope": 253}, {"count": 2, "scope": 7}, {"count": 2, "scope": WITH_LIFETIME}],
    "device.xdp": [{"words": WORDS}],
}
# About a network namespace, or the batch.
OF_NO_DEVICE = {
    "device.too-many", "netns.open", "netns.same", "permission.source", "permission.target", "system",
    "record.unwritable",
}  # fmt: skip
OF_EITHER = {"device.busy", "record.kept"}

HOSTILE = [b"a\nb", b"\x1b[31mred\x1b[0m", b"n" * 600, b"\xff\xfe", "\N{RIGHT-TO-LEFT OVERRIDE}x".encode(), b"{0}", b""]


def found(code: str, change: Callable[[bytes | int | str], bytes | int | str], host_name: str) -> Iterator[Found]:
    """One finding for each form of its text, with and without a device if both are possible."""
    devices = [None] if code in OF_NO_DEVICE else [host_name, None] if code in OF_EITHER else [host_name]
    for operands in OPERANDS[code]:
        for device in devices:
            of_device = {"name": encode(device)} if code == "device.busy" and device else {}
            yield Found(code, device, **{**{name: change(value) for name, value in operands.items()}, **of_device})


def test_operands_cover_each_code() -> None:
    """The table above has all codes, in the order of the list."""
    assert [*OPERANDS] == [*CODES]


def test_list_has_the_codes_in_use() -> None:
    """Every code in use is in the list, and every code in the list is in use."""
    used = set()
    for path in PACKAGE.rglob("*.py"):
        if path.name != "findings.py" and "conformance" not in path.parts:
            nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            used |= {n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    code = re.compile(r"(device|name|altname|netns|permission|record|loss)\.[a-z]+(-[a-z]+)*")
    assert CODES.keys() - used == set()
    assert {word for word in used if code.fullmatch(word)} - CODES.keys() == set()


@pytest.mark.parametrize("code", CODES)
def test_each_code_has_a_text(code: str) -> None:
    """With severity and errno; errors alone have an errno, and it is that of a system call."""
    for each in found(code, lambda value: value, "eth1"):
        assert each.text
        assert each.severity in ("error", "loss", "note")
        assert each.severity != "error" or each.errno in errno.errorcode
        assert each.hint is None or each.hint.isprintable()


@pytest.mark.parametrize("hostile", HOSTILE, ids=repr)
def test_text_is_one_printable_line_that_begins_with_the_device(hostile: bytes) -> None:
    """With any names, namespaces and extacks."""

    def change(value: bytes | int | str) -> bytes | int | str:
        return hostile if isinstance(value, bytes) else os.fsdecode(hostile) if value in (WHERE, WORDS) else value

    for each in (f for code in CODES for f in found(code, change, os.fsdecode(hostile) or "eth1")):
        assert each.text.isprintable()
        assert len(each.text) < 2000
        assert each.hint is None or each.hint.isprintable()
        if each.device is not None:
            assert each.text.startswith(quote.shown(encode(each.device)))


def test_words_of_a_loss_are_without_the_device() -> None:
    """`Moved.not_carried` has them device by device."""
    lost = Found("loss.addresses", "eth1", count=2, scope=253)
    assert (lost.words, lost.text) == ("2 addresses of link scope", "eth1: a move loses: 2 addresses of link scope")


@pytest.mark.parametrize("code", ["name.invalid", "name.template"])
def test_errno_of_a_name_that_is_too_long(code: str) -> None:
    """As in the kernel, ERANGE comes before EINVAL (probe message.bad.name-too-long)."""
    assert [Found(code, "eth1", name=b"%" * n).errno for n in (15, 16)] == [errno.EINVAL, errno.ERANGE]
