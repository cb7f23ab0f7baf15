"""Nothing is imported once a device was touched: where a module cannot be read any more, the outcome is the same.

That is how it is when descriptors run out, or while a package is being upgraded. From the first RTM_NEWLINK on, the
check's included, every import fails; the exit code, what is printed, and where the devices are must not change.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import netdevns
from tests.support.attacks import finish

from .reasons import BLUE, Place

MOVE = ("move", "eth1=net0", "--to", BLUE.name)
LOG = Path("/run/netdevns/hook.log")
BUNDLE = "BUNDLE"
APPLY = ("apply", "--bundle", BUNDLE, "--netns", BLUE.name)
HOOK = ("hook", "createRuntime", "eth1=net0")
FAILURES = {
    "success": "",
    "undone": "up_and_replay",
    "left": "up_and_replay,undo",
    "interrupted": "up_and_replay,interrupt",
    "interrupted and left": "up_and_replay,undo,interrupt",
}
# What follows a program's or a record's name is the same.
ANY = (r"/tmp/\w+", r"[0-9a-f]{16}", r"pid:\d+", r"\S*python\S* -m netdevns|\S*late.py")


def plain(text: str) -> str:
    for pattern in ANY:
        text = re.sub(pattern, "...", text)
    return text


def outcome(engine: str, command: tuple[str, ...], fail: str, before: str, *, late: bool) -> tuple[object, ...]:
    """Of one command in a place of its own: exit code, output, and what is where."""
    with Place(engine) as place:
        if before == "killed":
            place.prepare("recover")
        elif before == "lent":
            assert place.run("hook").code == 0
            place.process.kill()
            place.process.wait()
        elif before == "home":  # under the container's name, as the kernel throws a NIC back
            assert place.run("hook").code == 0
            place.process.kill()
            place.process.wait()
            netdevns.move({"net0": "net0"}, place.host.fd, source=place.target.fd)
        elif before == "taken":
            place.target.ip("link add net0 type ifb")
        elif before == "unknown":
            place.host.ip("link del eth1")
        environment = {"NETDEVNS_FAIL": fail, "NETDEVNS_LATE": "1" if late else ""}
        command = tuple(str(place.bundle) if word == BUNDLE else word for word in command)
        out, err, code = finish(place.python("-m", "tests.fault.late", *command, **environment))
        links = {side.name: sorted(side.names()) for side in (place.host, place.target)}
        shown = [a for link in place.host.ip_json("addr show") for a in link["addr_info"]]
        addresses = sorted(a["local"] for a in shown)
        log = re.sub(r"\S+Z ", "", LOG.read_text()) if LOG.exists() else ""
        return code, plain(out), plain(err), links, addresses, plain(log)


def same(engine: str, command: tuple[str, ...], fail: str = "", before: str = "") -> tuple[object, ...]:
    usual = outcome(engine, command, fail, before, late=False)
    assert outcome(engine, command, fail, before, late=True) == usual
    return usual


CODES = {"success": 0, "undone": 1, "left": 3, "interrupted": 1, "interrupted and left": 3}


@pytest.mark.sampled(5, 3)
@pytest.mark.parametrize("how", FAILURES)
@pytest.mark.parametrize("command", [MOVE, (*MOVE, "--json"), HOOK], ids=["move", "json", "hook"])
def test_move(engine: str, command: tuple[str, ...], how: str) -> None:
    """A move that succeeds, fails, is interrupted, or leaves something."""
    code, _, err, links, _, _ = same(engine, command, FAILURES[how])
    assert (code, err != "") == (CODES[how], how != "success")
    assert ("eth1" in links["host"]) == (how != "success")


@pytest.mark.sampled(1, 2)
@pytest.mark.thorough
@pytest.mark.parametrize("before", ["taken", "unknown"])
@pytest.mark.parametrize("command", [MOVE, (*MOVE, "--json"), HOOK], ids=["move", "json", "hook"])
def test_refusal(engine: str, command: tuple[str, ...], before: str) -> None:
    """A check that refuses: its probes are RTM_NEWLINKs already."""
    code, _, err, _, _, _ = same(engine, command, before=before)
    assert (code, "nothing was touched" in str(err)) == (2, True)


@pytest.mark.thorough
def test_preserve(engine: str) -> None:
    """What is only loaded to carry something over."""
    assert same(engine, (*MOVE, "--preserve", "sysctls,routes,neighbours"))[0] == 0


@pytest.mark.thorough
@pytest.mark.parametrize("how", ["success", "left"])
def test_apply(engine: str, how: str) -> None:
    """The devices of a bundle."""
    assert same(engine, APPLY, FAILURES[how])[0] == CODES[how]


@pytest.mark.sampled(1, 2)
@pytest.mark.thorough
@pytest.mark.parametrize("command", [("recover",), ("recover", "--json")], ids=["people", "json"])
@pytest.mark.parametrize("how", ["success", "left"])
def test_recover(engine: str, command: tuple[str, ...], how: str) -> None:
    """A record of a killed move, put back or not."""
    code = same(engine, command, FAILURES[how], "killed")[0]
    assert code == CODES[how]


@pytest.mark.sampled(1, 2)
@pytest.mark.thorough
@pytest.mark.parametrize(
    "command", [("return", "c1"), ("return", "c1", "--json"), ("hook", "poststop")], ids=["people", "json", "poststop"]
)
@pytest.mark.parametrize("how", ["success", "left"])
def test_return(engine: str, command: tuple[str, ...], how: str) -> None:
    """A device that is back, and gets its own again or not."""
    code, _, _, links, _, _ = same(engine, command, FAILURES[how], "home")
    assert (code, "eth1" in links["host"]) == (CODES[how], True)


@pytest.mark.thorough
def test_hook_undoes_a_killed_move(engine: str) -> None:
    """A hook that first recovers what another one had begun."""
    assert same(engine, HOOK, before="killed")[0] == 0


@pytest.mark.thorough
def test_library(engine: str) -> None:
    """A caller of `move` gets its results, decodes them, and a failure's `left`, without another import."""
    program = """
import sys
from netdevns import NetDevError, move
sys.argv = ["late", "library"]
import tests.fault.late
try:
    print(*((m.name, m.not_carried, m.addresses) for m in move({"eth1": "net0"}, %r)))
except NetDevError as e:
    print(e, e.left, e.rolled_back)
"""
    for how in ("success", "left"):
        said = set()
        for late in ("", "1"):
            with Place(engine) as place:
                environment = {"NETDEVNS_FAIL": FAILURES[how], "NETDEVNS_LATE": late}
                out, err, code = finish(place.python("-c", program % str(BLUE), **environment))
                assert (code, err) == (0, "")
                said.add(out)
        (out,) = said
        assert ("Left(device='eth1'" if how == "left" else "address='2001:db8::1'") in out
