"""`netdevns prepare` and its undo, killed at each call: no device is lost, and the next command settles the rest."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.attacks import Ended, Tally, finish, sample, traced
from tests.support.restored import differences

from .reasons import Place

NAME, PATH = "kill-test", Path("/run/netns/kill-test")


class Host(Place):
    def _make(self) -> None:
        super()._make()
        # As `ip netns` does, it makes the folder a mount of its own, which another test could not remove.
        self.stack.callback(subprocess.run, ["umount", "--lazy", "/run/netns"], check=False)

    def command(self, *arguments: str, inject: tuple[str, ...] = ()) -> Ended:
        return traced(lambda under: self.python("-m", "netdevns", *arguments, under=under), *inject)[0]

    def plain(self, *arguments: str) -> tuple[str, str, int]:
        return finish(self.python("-m", "netdevns", *arguments))

    def left(self) -> list[str]:
        """What says that a namespace was prepared, or a device moved."""
        folders = [Path("/run/netdevns", folder) for folder in ("prepared", "loan", "txn")]
        found = [str(path) for folder in folders if folder.exists() for path in folder.iterdir()]
        return found + ([str(PATH)] if PATH.exists() else [])


@pytest.fixture
def host() -> Iterator[Host]:
    with Host("native") as found:
        yield found


FAILING = ("mount", "openat", "unshare", "write", "sendto", "linkat", "mkdirat")
PREPARE, UNDO = ("prepare", NAME, "eth1=net0"), ("prepare", NAME, "--undo")


def settled(host: Host, before: dict[str, object]) -> list[str]:
    """What is wrong after `recover`, and `--undo` where a namespace is there still."""
    wrong = []
    out, err, code = host.plain("recover")
    if code:
        wrong.append(f"recover: {code}: {out}{err}")
    if PATH.exists():
        out, err, code = host.plain(*UNDO)
        if code:
            wrong.append(f"--undo: {code}: {out}{err}")
    return wrong + differences(host.host.dump, before) + host.left()


@pytest.mark.parametrize("what", ["prepare", "undo"])
def test_killed_at_any_call(host: Host, what: str, tally: Tally) -> None:
    """Nothing is lost: `recover`, and `--undo` where it had been complete, leave the host as it was."""
    host.host.wait_until_quiet()
    before = host.host.dump()
    if what == "undo":
        assert host.plain(*PREPARE)[2] == 0
    whole = host.command(*(PREPARE if what == "prepare" else UNDO))
    assert whole.code == 0, whole
    if what == "prepare":
        assert host.plain(*UNDO)[2] == 0
    for call, number in sample(whole.own, 20, 200):
        if what == "undo":
            out, err, code = host.plain(*PREPARE)
            assert code == 0, (out, err)
        arguments = PREPARE if what == "prepare" else UNDO
        ended = host.command(*arguments, inject=(f"{call}:signal=KILL:when={number}",))
        end = "killed" if ended.code else "not reached"
        tally.count(f"{call} {number}", end, settled(host, before), ended)


def test_failing_calls(host: Host, tally: Tally) -> None:
    """It is done, or refused, or undone, where a call fails; the next command settles the rest."""
    host.host.wait_until_quiet()
    before = host.host.dump()
    whole = host.command(*PREPARE)
    assert whole.code == 0
    assert host.plain(*UNDO)[2] == 0
    possible = [
        (call, n)
        for call, n in whole.own
        if call in ("mount", "openat", "unshare", "write", "sendto", "linkat", "mkdirat")
    ]
    for call, number in sample(possible, 20, 200):
        ended = host.command(*PREPARE, inject=(f"{call}:error=EIO:when={number}",))
        tally.count(f"{call} {number}", str(ended.code), settled(host, before), ended)
