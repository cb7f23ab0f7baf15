"""The driver of repairs, with a fake kind of state and a scripted socket."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable, Iterable

import pytest

from netdevns.engine import EngineError
from netdevns.netlink import uapi, wire
from netdevns.state import restore
from netdevns.state.kind import DOWN, LATE, UP, Here, Kind, Repair, View

HERE = {7: 70}
BUSY = os.strerror(errno.EBUSY)


class World:
    """The present state, and the socket: a request adds its body to the state, unless it is refused."""

    def __init__(self) -> None:
        self.there: set[bytes] = set()
        self.sent: list[bytes] = []
        self.refused: Callable[[bytes], int] = lambda _: 0
        self.dumps = 0
        self.unanswered: Callable[[int], bool] = lambda _: False

    def command(self, request: bytes) -> None:
        self.sent.append(request)
        if code := self.refused(request):
            raise EngineError(code, "", "exchange")
        self.there.update(request.split(b"+"))

    def query(self, request: bytes, *_: object) -> tuple[int, bytes]:
        """The only query is for a link."""
        head = struct.Struct("=IHHII").pack
        link = wire.IFINFOMSG.pack(0, 1, 70, 0, 0)
        size = len(request) // 32 or 1
        return 1, b"".join(head(16 + len(link), uapi.RTM_NEWLINK, 0, 1 + n, 0) + link for n in range(size))


class Made(Kind):
    """The state to restore is the names in `wanted`."""

    name = "made"
    stages = (DOWN, UP, LATE)
    is_in_links = True

    def __init__(self, world: World, stage: int, wanted: Iterable[bytes], *, together: bool = False) -> None:
        self.world = world
        self.stage = stage
        self.wanted = list(wanted)
        self.together = together

    def read(self, *_: object) -> bytes:
        self.world.dumps += 1
        if self.world.unanswered(self.world.dumps):
            raise EngineError(errno.EAGAIN, "", "exchange")
        return b"+".join(sorted(self.world.there))

    def repairs(self, before: View, now: View, here: Here) -> Iterable[Repair]:
        del before
        missing = [name for name in self.wanted if name not in now.of(self.name).split(b"+")]
        for name in missing:
            request = b"+".join(missing) if self.together else name
            yield Repair(here[7], self.stage, name.decode(), request, name if self.together else None)


def made(world: World, kind: Kind) -> restore.Restorer:
    before = View({7: wire.Link(memoryview(wire.IFINFOMSG.pack(0, 1, 7, 0, 0)))})
    return restore.Restorer([kind], world, -1, before)  # type: ignore[arg-type]


def left(restorer: restore.Restorer) -> list[tuple[int, str, bool]]:
    return [(each.ifindex, each.words, each.is_unrestorable) for each in restorer.unrestored(HERE)]


def test_sent_in_its_stage_once() -> None:
    """Nothing before its stage, one request for each, nothing left."""
    world = World()
    restorer = made(world, Made(world, UP, [b"one", b"two"]))
    restorer.run([DOWN], HERE)
    assert world.sent == []
    restorer.run([UP], HERE)
    restorer.run([UP], HERE)
    assert (world.sent, left(restorer)) == ([b"one", b"two"], [])


def test_only_some_devices() -> None:
    """Nothing is sent for the other devices, but their differences are reported."""
    world = World()
    restorer = made(world, Made(world, DOWN, [b"one"]))
    restorer.run([DOWN], HERE, {71})
    assert (world.sent, left(restorer)) == ([], [(70, "one", False)])


def test_refused_together_and_sent_alone() -> None:
    """P1: if a shared request is refused, each repair is sent alone; the refused ones are reported."""
    world = World()
    world.refused = lambda request: errno.EPERM if b"two" in request else 0
    restorer = made(world, Made(world, UP, [b"one", b"two"], together=True))
    restorer.run([UP], HERE)
    assert world.sent == [b"one+two", b"one", b"two"]
    assert left(restorer) == [(70, f"two: {os.strerror(errno.EPERM)}", False)]


@pytest.mark.parametrize(("stage", "times", "ends"), [(DOWN, 1, True), (DOWN, 9, False), (UP, 1, False)])
def test_device_that_is_busy(stage: int, times: int, ends: bool) -> None:
    """P1: a setting that a driver accepts only from a device that is down is sent again after setting it down.

    Not in the stages in which all devices are up.
    """
    world = World()
    codes = [errno.EBUSY] * times
    world.refused = lambda request: codes.pop() if request == b"one" and codes else 0
    restorer = made(world, Made(world, stage, [b"one"]))
    restorer.run([stage], HERE)
    downs = [request for request in world.sent if request != b"one"]
    assert downs == ([wire.link_message(uapi.RTM_NEWLINK, uapi.NLM_F_ACK, 70, up=False)] if stage == DOWN else [])
    assert left(restorer) == ([] if ends else [(70, f"one: {BUSY}", False)])


def test_late_is_tried_until_accepted() -> None:
    """P1: a bond refuses an active slave until it has noticed its link."""
    world = World()
    codes = [errno.EINVAL] * 3
    world.refused = lambda _: codes.pop() if codes else 0
    restorer = made(world, Made(world, LATE, [b"one"]))
    restorer.run([LATE], HERE)
    assert (world.sent, left(restorer)) == ([b"one"] * 4, [])


def test_late_tries_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """P1: after LATE_S the difference is reported."""
    monkeypatch.setattr(restore, "LATE_S", 0.05)
    world = World()
    world.refused = lambda _: errno.EINVAL
    restorer = made(world, Made(world, LATE, [b"one"]))
    restorer.run([LATE], HERE)
    assert 2 <= len(world.sent) <= 8
    assert left(restorer) == [(70, f"one: {os.strerror(errno.EINVAL)}", False)]


def test_accepted_without_effect() -> None:
    """P7: an accepted request without effect is reported."""
    world = World()
    restorer = made(world, Made(world, UP, [b"one"]))
    restorer.run([UP], HERE)
    world.there.clear()
    assert left(restorer) == [(70, "one", False)]


def test_another_process_changes_the_device() -> None:
    """If each pass finds another difference, the passes end, and the last one is reported."""
    world = World()
    kind = Made(world, UP, [b"0"])

    def change(request: bytes) -> int:
        kind.wanted = [b"%d" % (int(request) + 1)]
        return 0

    world.refused = change
    restorer = made(world, kind)
    restorer.run([UP], HERE)
    assert len(world.sent) == restore.PASSES
    assert left(restorer) == [(70, str(restore.PASSES), False)]


UNASKED = f"made: {os.strerror(errno.EAGAIN)}"


@pytest.mark.parametrize(
    ("failing", "reported", "sent"),
    [(1, [], [b"one"]), (2, [(70, "one", False)], []), (9, [(0, UNASKED, False)], [])],
)
def test_failed_exchange_is_tried_again(failing: int, reported: list[tuple[int, str, bool]], sent: list[bytes]) -> None:
    """P7: a stage whose exchange failed is tried again at the end; a second failure is reported."""
    world = World()
    world.unanswered = lambda number: number <= failing
    restorer = made(world, Made(world, UP, [b"one"]))
    restorer.run([UP], HERE)
    assert (left(restorer), world.sent) == (reported, sent)


def test_unrestorable_difference() -> None:
    """P7: an unrestorable difference is reported as such, and nothing is sent."""
    world = World()

    class Lost(Made):
        def repairs(self, before: View, now: View, here: Here) -> Iterable[Repair]:
            del before, now
            yield Repair(here[7], LATE, "a qdisc", None)

    restorer = made(world, Lost(world, LATE, []))
    restorer.run([LATE], HERE)
    assert (world.sent, left(restorer)) == ([], [(70, "a qdisc", True)])


def test_empty_state_is_not_read_again() -> None:
    """A kind without state before, and without state in links, is not read again."""
    world = World()
    kind = Made(world, UP, [b"one"])
    kind.is_in_links = False
    restorer = made(world, kind)
    restorer.run([UP], HERE)
    assert (left(restorer), world.dumps) == ([], 0)


def test_failed_exchange_ends_preserve() -> None:
    """With `preserve`, a failed exchange ends the move."""
    world = World()
    world.unanswered = lambda _: True
    kind = Made(world, UP, [b"one"])
    before = View({7: wire.Link(memoryview(wire.IFINFOMSG.pack(0, 1, 7, 0, 0)))})
    restorer = restore.Restorer([kind], world, -1, before, preserve=True)  # type: ignore[arg-type]
    with pytest.raises(EngineError):
        restorer.run([UP], HERE)
