"""Calls of a handle of csrc/netdevns.h in other orders than check, move, undo."""

from __future__ import annotations

import errno
from collections.abc import Iterator

import pytest

from tests.support.restored import assert_equal_soon

from .rows import FAILED, OK, REFUSED, Row, row
from .runners import Answer, CRunner
from .world import World

ROW = row(
    "sequence",
    "ifb eth1\nifb eth2\nup eth1 eth2\naddr add 10.0.0.1/24 dev eth1\naddr add 2001:db8::1/64 nodad dev eth2",
    "eth1=net0 eth2=net1",
)


class Opened:
    """A batch that is open, in its world."""

    def __init__(self, runner: CRunner, world: World, asked: Row = ROW) -> None:
        self.runner = runner
        self.world = world
        self.row = asked
        self.before = {side: getattr(world, side).dump() for side in ("source", "target")}
        assert runner.open(asked, world) is None

    def do(self, what: str) -> Answer:
        self.runner.ask(what, self.row)
        return self.runner.answer(self.row)

    def is_as_before(self) -> None:
        for side, state in self.before.items():
            assert_equal_soon(state, getattr(self.world, side))


@pytest.fixture(scope="module")
def runner() -> Iterator[CRunner]:
    with CRunner() as found:
        yield found


@pytest.fixture
def opened(runner: CRunner) -> Iterator[Opened]:
    with World(ROW) as world:
        yield Opened(runner, world)
        runner.end()


def test_check_again(opened: Opened) -> None:
    """A second check says the same as the first one."""
    first, second = opened.do("check"), opened.do("check")
    assert (first.end, first.findings) == (second.end, second.findings) == (OK, [])
    opened.is_as_before()


@pytest.mark.thorough
def test_check_after_a_change(opened: Opened) -> None:
    """A check and a move look again: what is taken meanwhile is found, and what is free again is moved."""
    assert opened.do("check").end == OK
    opened.world.target.ip("link add net0 type ifb")
    assert (opened.do("check").errno, opened.do("move").errno) == (errno.EEXIST, errno.EEXIST)
    opened.world.target.ip("link del net0")
    assert opened.do("move").end == OK


@pytest.mark.thorough
def test_move_without_a_check(opened: Opened) -> None:
    """A move checks for itself."""
    assert opened.do("move").end == OK
    assert opened.world.target.names() == {"net0", "net1"}


@pytest.mark.smoke
def test_move_again(opened: Opened) -> None:
    """A second move of a batch that is complete is refused, and changes nothing."""
    assert opened.do("move").end == OK
    there = opened.world.target.dump()
    assert opened.do("move").end != OK
    assert_equal_soon(there, opened.world.target)


@pytest.mark.smoke
def test_undo_without_a_move(opened: Opened) -> None:
    """An undo of a batch that was not moved changes nothing."""
    opened.do("undo")
    opened.is_as_before()
    assert opened.do("move").end == OK


@pytest.mark.thorough
def test_undo_again(opened: Opened) -> None:
    """A second undo changes nothing."""
    assert opened.do("move").end == OK
    assert opened.do("undo").end == OK
    opened.do("undo")
    opened.is_as_before()


@pytest.mark.smoke
def test_move_after_an_undo(opened: Opened) -> None:
    """Either it is refused, and all stays as before, or it is a move like any other."""
    assert opened.do("move").end == OK
    assert opened.do("undo").end == OK
    said = opened.do("move")
    if said.end == OK:
        assert opened.world.target.names() == {"net0", "net1"}
    else:
        assert said.end in (REFUSED, FAILED)
        opened.is_as_before()


@pytest.mark.thorough
def test_undo_of_a_device_that_has_ended(opened: Opened) -> None:
    """A device that was deleted in the target is reported as gone; the other one is restored."""
    assert opened.do("move").end == OK
    opened.world.target.ip("link del net0")
    said = opened.do("undo")
    places = {each["device"]: each["location"] for each in said.devices}
    assert (said.end, said.left_count, places) == (FAILED, 1, {"eth1": "gone", "eth2": "source"})
    assert opened.world.source.names() == {"eth2"}


@pytest.mark.thorough
def test_undo_of_a_device_that_was_changed(opened: Opened) -> None:
    """What the container changed meanwhile is taken back."""
    assert opened.do("move").end == OK
    lines = ["set dev net0 mtu 1300 alias theirs txqueuelen 7 group 9", "property add dev net1 altname theirs"]
    opened.world.target.batch([f"link {line}" for line in lines])
    opened.world.target.batch(["addr add 10.77.0.1/24 dev net0", "link set dev net1 down name x"])
    assert opened.do("undo").end == OK
    opened.is_as_before()


@pytest.mark.thorough
def test_undo_where_the_name_is_taken(opened: Opened) -> None:
    """A name that was taken in the source meanwhile: reported; once it is free, the next undo restores all."""
    assert opened.do("move").end == OK
    opened.world.source.ip("link add eth1 index 900 type ifb")
    said = opened.do("undo")
    assert (said.end, said.left_count) == (FAILED, 1)
    assert said.left["eth1"]
    opened.world.source.ip("link del dev eth1 type ifb")
    assert opened.do("undo").end == OK
    opened.is_as_before()


@pytest.mark.thorough
def test_no_device(runner: CRunner) -> None:
    """A batch without devices has no findings; its move moves nothing."""
    empty = row("empty", "ifb eth1", ())
    with World(empty) as world:
        opened = Opened(runner, world, empty)
        assert (opened.do("check").findings, opened.do("move").devices) == ([], [])
        opened.is_as_before()
        runner.end()


@pytest.mark.thorough
def test_close_leaves_the_devices(runner: CRunner) -> None:
    """A batch that is closed without an undo leaves the devices in the target."""
    with World(ROW) as world:
        opened = Opened(runner, world)
        assert opened.do("move").end == OK
        runner.end()
        assert world.target.names() == {"net0", "net1"}
        assert world.source.names() == set()
