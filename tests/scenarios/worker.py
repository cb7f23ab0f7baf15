"""One engine in a process that stays: reads requests, a JSON document a line, and answers each by another.

{"do": "open", "source": PATH, "target": PATH, "here": bool, "drop": [CAPABILITY, ...], "user": PATH or "",
 "devices": [[NAME, WANTED], ...], "force": bool}
{"do": "check"}  {"do": "move"}  {"do": "end"}
{"do": "fault", "first": N, "last": N}  of the sends that follow; answers how many there were until now
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import sys
import traceback
from typing import Any
from unittest import mock

import netdevns
from netdevns.batch import checks, losses
from netdevns.batch.findings import Found
from netdevns.batch.plan import Plan
from tests.support.namespaces import CLONE_NEWUSER, current, drop_capabilities, setns

Answer = dict[str, Any]
_libc = ctypes.CDLL(None, use_errno=True)


class Scenario:
    """What was opened: the namespaces, and what is asked for."""

    def __init__(self, asked: Answer) -> None:
        self.source = os.open(asked["source"], os.O_RDONLY | os.O_CLOEXEC)
        self.target = os.open(asked["target"], os.O_RDONLY | os.O_CLOEXEC)
        self.is_here = asked["here"]
        self.devices = dict(asked["devices"])
        self.force = asked["force"]
        if self.is_here:
            setns(self.source)
        if asked["user"]:
            fd = os.open(asked["user"], os.O_RDONLY | os.O_CLOEXEC)
            if _libc.setns(fd, CLONE_NEWUSER):
                raise OSError(ctypes.get_errno(), "setns")
            os.close(fd)
        if asked["drop"]:
            drop_capabilities(*asked["drop"])

    @property
    def where(self) -> int | None:
        return None if self.is_here else self.source

    def check(self) -> Answer:
        with checks.examine(self.devices, self.target, self.where, self.force) as plan:
            losses.ask_addresses(plan)
            found = [finding(each) for each in plan.found]
            error = next(iter(plan.errors), None)
            return {"end": "refused" if error else "ok", "errno": error.errno if error else 0, "findings": found}

    def move(self) -> Answer:
        found: list[Found] = []
        report = Plan.report

        def reported(plan: Plan) -> netdevns.Report:
            found[:] = plan.found  # with their operands, of which a report has only the text
            return report(plan)

        try:
            with mock.patch.object(Plan, "report", reported):
                moved = netdevns.move(self.devices, self.target, source=self.where, force=self.force)
        except netdevns.CheckFailed as e:
            return {"end": "refused", **place(e), "findings": [finding(each) for each in found]}
        except netdevns.MoveFailed as e:
            return {"end": "failed", **place(e), "left": [left(each) for each in e.left]}
        devices = [
            {"device": m.host_name, "name": m.name, "ifindex": m.ifindex, "host_ifindex": m.host_ifindex,
             "addresses": [[a.address, a.prefixlen] for a in m.addresses], "lost": [*m.not_carried]}
            for m in moved
        ]  # fmt: skip
        return {"end": "ok", "errno": 0, "devices": devices}

    def close(self) -> None:
        for fd in (self.source, self.target):
            os.close(fd)


def place(e: netdevns.NetDevError) -> Answer:
    return {"errno": e.errno or 0, "step": e.step, "device": e.device, "text": str(e)}


def left(each: netdevns.Left) -> Answer:
    return {"device": each.device, "location": each.location, "name": each.name, "missing": [*each.missing]}


def finding(each: Found) -> Answer:
    """A finding with its operands by the names that csrc/netdevns.h has for them."""
    operands = each.operands
    text = {name: os.fsdecode(operands.get(name, b"")) for name in ("name", "other", "upper")}
    return {
        "code": each.code,
        "device": each.device,
        "severity": each.severity,
        "errno": each.errno,
        "name": text["name"],
        "other": text["other"] or text["upper"],
        "ifindex": operands.get("ifindex", 0),
    }


def fault(asked: Answer) -> Answer:
    """Nothing where no fault.c is loaded."""
    if not hasattr(_libc, "fault_arm"):
        return {"calls": 0}
    return {"calls": _libc.fault_arm(asked["what"], asked["first"], asked["last"], errno.EIO)}


def serve(home: int) -> None:
    scenario: Scenario | None = None
    for line in iter(sys.stdin.readline, ""):
        asked = json.loads(line)
        answer: Answer = {}
        try:
            match asked["do"]:
                case "open":
                    # What is given up cannot be had again: a child does it, to the end of this scenario.
                    child = os.fork() if asked["drop"] or asked["user"] else -1
                    if child > 0:
                        os.waitpid(child, 0)
                        continue
                    scenario = Scenario(asked)
                case "fault":
                    answer = fault(asked)
                case "end":
                    assert scenario is not None
                    scenario.close()
                    with contextlib.suppress(OSError):
                        setns(home)
                case what:
                    answer = getattr(scenario, what)()
        except BaseException:
            answer = {"end": "crash", "text": traceback.format_exc()}
        print(json.dumps(answer), flush=True)
        if asked["do"] == "end" and child == 0:
            os._exit(0)


if __name__ == "__main__":
    serve(current())
