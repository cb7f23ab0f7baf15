"""A system call of a command fails: the first line says why and of what, another one where things are.

Each call from the first netlink socket on. Short: a few; NETDEVNS_ATTACK=long: each, in each of the ways.
"""

from __future__ import annotations

import errno
import itertools
import os
import re
import shutil
from collections.abc import Callable

import pytest

from tests.support import require
from tests.support.attacks import Ended, sample

from .reasons import BLUE, COMMANDS, OWN, Place

ERRORS = ("EPERM", "EIO", "EMFILE", "ENOMEM")
CALLS = ("sendto", "recvmmsg", "socket", "bind", "getsockname", "setsockopt", "setns", "openat", "read", "write",
         "flock", "renameat", "unlinkat")  # fmt: skip
USED_UP = ("recover", "return", "poststop")  # what these work on is there once
NAMES_SOMETHING = re.compile(rf"\beth1\b|{BLUE.name}|{OWN}|pid:\d|/\w+")
SAYS_WHERE = re.compile("nothing was touched|all devices are restored|as before|would be refused|kept: |is kept")


@pytest.fixture(autouse=True)
def _needs_strace() -> None:
    if not shutil.which("strace"):
        require("netns", "no strace here")


def wrong(what: str, ended: Ended, error: str) -> list[str]:
    """What is wrong with what a command said whose call failed."""
    if ended.code == 0:
        return []
    # A check's findings and what became of records are results: on stdout, and without the program's name.
    lines = [*ended.err.splitlines(), *([] if what == "show" else ended.out.splitlines())]
    lines = [line for line in lines if not line.startswith(("loss ", "note "))]
    first = lines[0] if lines else ""
    reasons = {os.strerror(getattr(errno, error)), os.strerror(errno.ENOTRECOVERABLE)}
    found = []
    if not any(reason in first for reason in reasons):
        found.append("the first line is no reason")
    if not NAMES_SOMETHING.search(first):
        found.append("the first line names no device, namespace or file")
    if first.count(os.strerror(getattr(errno, error))) > 1:
        found.append("the first line says it twice")
    if what != "show" and not any(map(SAYS_WHERE.search, lines)):
        found.append("where things are is not said")
    if re.search("Traceback|internal error|is not available", ended.err + ended.out):
        found.append("this is not true, or not for users")
    return [f"{what}, exit code {ended.code}: {each}\n{ended.out}{ended.err}" for each in found]


@pytest.mark.thorough
@pytest.mark.sampled(4)
@pytest.mark.parametrize("what", COMMANDS)
def test_first_line_is_the_reason(engine: str, what: str, show: Callable[[str], None]) -> None:
    """The reason is a line of its own, and the first one, whichever call fails."""
    lost: list[str] = []
    with Place(engine) as place:
        place.prepare(what)
        clean = place.run(what)
    assert clean.code == 0, clean
    every = [(call, number) for call in CALLS for number in clean.numbers(call)]
    place, failed = Place(engine), 0
    chosen = sample(itertools.product(every, ERRORS), 1 if what in USED_UP else 3)
    try:
        place.prepare(what)
        for (call, number), error in chosen:
            ended = place.run(what, f"{call}:error={error}:when={number}")
            failed += ended.code != 0
            lost += [f"{call} {number} {error}: {each}" for each in wrong(what, ended, error)]
            if what in USED_UP or not place.is_as_before():
                place.close()
                place = Place(engine)
                place.prepare(what)
    finally:
        place.close()
    show(f"reasons of {what}, {engine}: {len(chosen)} calls failed, {failed} errors, {len(lost)} wrong")
    assert not lost, "\n".join(lost)


# ---- what was wrong once ----


def test_no_socket_for_notifications(engine: str) -> None:
    """The last socket of the preparation is refused: only the next command was printed, and no reason."""
    with Place(engine) as place:
        ended = place.run("move", "socket:error=EPERM:when=3")
        assert (ended.code, ended.err.splitlines()) == (
            2,
            [
                f"netdevns: {OWN}: cannot watch for changes of addresses: Operation not permitted: "
                "cannot open a NETLINK_ROUTE socket",
                "netdevns: nothing was touched",
            ],
        )
        assert place.is_as_before()


@pytest.mark.sampled(3)
@pytest.mark.parametrize("error", ["EIO", "EMFILE", "ENOENT"])
def test_file_that_cannot_be_read(engine: str, error: str) -> None:
    """Only ENOENT says that there is no IPv6; of another error the file and the errno are named."""
    with Place(engine) as place:
        file = "/proc/sys/net/ipv6/conf/default/disable_ipv6"
        # Of the target: behind it only records and loans are read.
        numbers = reversed(place.run("check").numbers("openat"))
        number = next(n for n in numbers if file in place.run("check", f"openat:error=EIO:when={n}").out)
        ended = place.run("check", f"openat:error={error}:when={number}")
        said = f"error  {BLUE.name}: {file} could not be read: {os.strerror(getattr(errno, error))}"
        if error == "ENOENT":
            said = f"error  eth1: it has IPv6 addresses, but IPv6 is not available there: {BLUE.name}"
        assert (ended.code, ended.out.splitlines()[0]) == (2, said)


@pytest.mark.thorough
@pytest.mark.parametrize(("number", "who"), [(0, OWN), (-2, BLUE.name)], ids=["source", "target"])
def test_namespace_that_cannot_be_asked(engine: str, number: int, who: str) -> None:
    """Which one is said."""
    with Place(engine) as place:
        at = place.run("check").numbers("sendto")[number]
        ended = place.run("check", f"sendto:error=EIO:when={at}")
        said = f"error  {who}: netlink request failed: Input/output error: send failed"
        assert (ended.code, ended.out.splitlines()[0]) == (2, said)


def test_hook_that_cannot_leave_the_container(engine: str) -> None:
    """A failed setns(2) back ends the hook: it does not take the container's namespace for the host's."""
    with Place(engine) as place:
        clean = place.run("hook")
        back = clean.numbers("setns")[2]
    with Place(engine) as place:
        ended = place.run("hook", f"setns:error=EIO:when={back}")
        assert ended.code == 2
        assert "State not recoverable: setns back failed" in ended.err.splitlines()[0]
