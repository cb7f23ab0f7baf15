"""A new kind of state takes one class: it is read, reported, recorded, restored, lent and shown.

Labels of addresses (RFC 6724), which `ip addrlabel` can tie to a device. The kernel keeps them when the device leaves,
so these tests remove them meanwhile.
"""

from __future__ import annotations

import errno
import os
import signal
import struct
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import pytest

import netdevns
from netdevns import state
from netdevns.cli import show
from netdevns.engine import EngineError, Socket, lookups
from netdevns.netlink import uapi, wire
from netdevns.recovery import returns
from netdevns.state.kind import UP, Finding, Here, Kind, Leaving, Repair, View
from tests.support import steps
from tests.support.namespaces import Namespace
from tests.support.restored import assert_equal_soon

from .crashes import BeforeStep, records
from .lending import end, furnished, lend, outcomes, throw_back

RTM_NEWADDRLABEL, RTM_GETADDRLABEL = 72, 74
ADDRLBLMSG = struct.Struct("=BxBBII")  # family, prefixlen, flags, index, seq
LABEL = "prefix 2001:db8:1::/48 dev eth1 label 77"


class Labels(Kind):
    name = "labels"
    stages = (UP,)
    messages = ((RTM_NEWADDRLABEL, ADDRLBLMSG.size),)

    def read(self, socket: Socket, links: Mapping[int, wire.Link], about: Collection[int]) -> bytes:
        del links
        request = wire.message(RTM_GETADDRLABEL, uapi.NLM_F_DUMP, ADDRLBLMSG.pack(uapi.AF_INET6, 0, 0, 0, 0))
        dumped = wire.messages(lookups.dump(socket, request))
        return b"".join(m.padded() for m in dumped if m.type == RTM_NEWADDRLABEL and _ifindex(m.body) in about)

    def findings(self, before: View, leaving: Leaving) -> Iterator[Finding]:
        for ifindex, _ in _labels(before.of(self.name), {}):
            if ifindex in leaving.ifindexes:
                yield Finding(ifindex, "loss.label", "a label")

    def repairs(self, before: View, now: View, here: Here) -> Iterator[Repair]:
        there = {body for _, body in _labels(now.of(self.name), {})}
        for ifindex, body in _labels(before.of(self.name), here):
            if ifindex in here and body not in there:
                request = wire.message(RTM_NEWADDRLABEL, uapi.NLM_F_CREATE | uapi.NLM_F_ACK, body)
                yield Repair(here[ifindex], UP, "a label", request)


def _ifindex(body: memoryview | bytes) -> int:
    return int(ADDRLBLMSG.unpack_from(body)[3])


def _labels(messages: bytes, here: Here) -> Iterator[tuple[int, bytes]]:
    """The ifindex of each, and its body with the present one."""
    for message in wire.messages(messages):
        family, prefixlen, flags, ifindex, _ = ADDRLBLMSG.unpack_from(message.body)
        head = ADDRLBLMSG.pack(family, prefixlen, flags, here.get(ifindex, ifindex), 0)
        yield ifindex, head + bytes(message.body[ADDRLBLMSG.size :])


@pytest.fixture
def host(host: Namespace, monkeypatch: pytest.MonkeyPatch) -> Namespace:
    monkeypatch.setattr(state, "KINDS", [*state.KINDS, Labels()])
    furnished(host, monkeypatch)
    host.ip(f"addrlabel add {LABEL}")
    return host


def remove(host: Namespace) -> None:
    host.ip("addrlabel flush")  # the device may be elsewhere, so it cannot be named


def has_label(host: Namespace) -> bool:
    return LABEL in " ".join(host.ip("addrlabel show").split())


@pytest.mark.usefixtures("host")
def test_reported_and_shown(target: Namespace) -> None:
    """P7: its losses are reported before and after a move, and by `show`."""
    report = netdevns.check({"eth1": "net0"}, target.fd)
    assert ("loss.label", "eth1: a move loses: a label") in [(f.code, f.text) for f in report.findings]
    assert "a label" in show.devices(["eth1"])[0].not_carried
    (moved,) = netdevns.move({"eth1": "net0"}, target.fd)
    assert "a label" in moved.not_carried


def test_restored_after_a_failure(host: Namespace, target: Namespace, before_step: BeforeStep) -> None:
    """P1: a failed move restores it."""
    before = host.dump()

    def fail() -> None:
        remove(host)
        raise EngineError(errno.EIO, "made to fail", "move")

    before_step("move", 2, fail)
    with pytest.raises(netdevns.MoveFailed) as raised:
        netdevns.move({"eth1": "net0", "eth2": "net1"}, target.fd)
    assert (raised.value.left, has_label(host)) == ((), True)
    assert_equal_soon(before, host)


def test_refused_repair_is_reported(
    host: Namespace, target: Namespace, before_step: BeforeStep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P7: a refused repair is reported with the kernel's error."""
    real = Socket.command

    def refuse(self: Socket, request: bytes) -> None:
        if struct.unpack_from("=H", request, 4) == (RTM_NEWADDRLABEL,):
            raise EngineError(errno.ENOBUFS, "made to fail", "exchange")
        real(self, request)

    def fail() -> None:
        remove(host)
        raise EngineError(errno.EIO, "made to fail", "move")

    monkeypatch.setattr(Socket, "command", refuse)
    before_step("move", 2, fail)
    with pytest.raises(netdevns.MoveFailed) as raised:
        netdevns.move({"eth1": "net0", "eth2": "net1"}, target.fd)
    (left,) = raised.value.left
    assert (left.device, left.location) == ("eth1", "source")
    assert left.missing == ("a label: No buffer space available: made to fail",)


def test_recorded_and_restored_after_a_kill(host: Namespace, target: Namespace, directory: str) -> None:
    """P5: it is in the record of a killed move, and `recover` restores it."""
    before = host.dump()
    child = os.fork()
    if child == 0:  # a process of its own, which has the kind, too

        def kill(*_: Any) -> None:
            os.kill(os.getpid(), signal.SIGKILL)

        setattr(*steps.before("up_and_replay", kill))
        try:
            netdevns.move({"eth1": "net0"}, target.fd, journal=directory)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    remove(host)
    assert [each.outcome for each in netdevns.recover(directory)] == ["undone"]
    assert (has_label(host), records(directory)) == (True, [])
    assert_equal_soon(before, host)


def test_returned_home(host: Namespace, target: Namespace, directory: str) -> None:
    """P5: it is in a loan, and restored with the device."""
    lend(directory, target, {"eth1": "net0"})
    remove(host)
    throw_back(target, ["net0"], host)
    end(target)
    assert outcomes(returns.return_loans(directory)) == [("eth1", "undone", "source")]
    assert has_label(host)
