"""The driver of repairs, on a made-up kind of state and a socket that does what the test says."""

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
    """What is there, and the socket: a request adds its body to what is there, unless it is refused."""

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
        """All that is asked for is a link."""
        head = struct.Struct("=IHHII").pack
        link = wire.IFINFOMSG.pack(0, 1, 70, 0, 0)
        size = len(request) // 32 or 1
        return 1, b"".join(head(16 + len(link), uapi.RTM_NEWLINK, 0, 1 + n, 0) + link for n in range(size))


class Made(Kind):
    """The names of `wanted` are to be there."""

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
    return [(each.ifindex, each.words, each.is_unrestorable) for each in restorer.left(HERE)]


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
    """Of the others nothing is sent; it is told all the same."""
    world = World()
    restorer = made(world, Made(world, DOWN, [b"one"]))
    restorer.run([DOWN], HERE, {71})
    assert (world.sent, left(restorer)) == ([], [(70, "one", False)])


def test_refused_together_and_sent_alone() -> None:
    """P1: where the request for several is refused, each is sent alone; those are told that were refused."""
    world = World()
    world.refused = lambda request: errno.EPERM if b"two" in request else 0
    restorer = made(world, Made(world, UP, [b"one", b"two"], together=True))
    restorer.run([UP], HERE)
    assert world.sent == [b"one+two", b"one", b"two"]
    assert left(restorer) == [(70, f"two: {os.strerror(errno.EPERM)}", False)]


@pytest.mark.parametrize(("stage", "times", "ends"), [(DOWN, 1, True), (DOWN, 9, False), (UP, 1, False)])
def test_device_that_is_busy(stage: int, times: int, ends: bool) -> None:
    """P1: what a driver sets only while the device is down is sent once more when it is; not when all are up."""
    world = World()
    codes = [errno.EBUSY] * times
    world.refused = lambda request: codes.pop() if request == b"one" and codes else 0
    restorer = made(world, Made(world, stage, [b"one"]))
    restorer.run([stage], HERE)
    downs = [request for request in world.sent if request != b"one"]
    assert downs == ([wire.link_message(uapi.RTM_NEWLINK, uapi.NLM_F_ACK, 70, up=False)] if stage == DOWN else [])
    assert left(restorer) == ([] if ends else [(70, f"one: {BUSY}", False)])


def test_late_is_tried_until_it_is_taken() -> None:
    """P1: a bond refuses an active slave until it has seen its link."""
    world = World()
    codes = [errno.EINVAL] * 3
    world.refused = lambda _: codes.pop() if codes else 0
    restorer = made(world, Made(world, LATE, [b"one"]))
    restorer.run([LATE], HERE)
    assert (world.sent, left(restorer)) == ([b"one"] * 4, [])


def test_late_is_not_tried_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """P1: after LATE_S it is told."""
    monkeypatch.setattr(restore, "LATE_S", 0.05)
    world = World()
    world.refused = lambda _: errno.EINVAL
    restorer = made(world, Made(world, LATE, [b"one"]))
    restorer.run([LATE], HERE)
    assert 2 <= len(world.sent) <= 8
    assert left(restorer) == [(70, f"one: {os.strerror(errno.EINVAL)}", False)]


def test_taken_and_still_not_there() -> None:
    """P7: what the kernel took, and what is not there all the same, is told."""
    world = World()
    restorer = made(world, Made(world, UP, [b"one"]))
    restorer.run([UP], HERE)
    world.there.clear()
    assert left(restorer) == [(70, "one", False)]


def test_somebody_who_changes_as_fast() -> None:
    """Each pass finds something else: it ends, and what is left is told."""
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
    ("failing", "told", "sent"),
    [(1, [], [b"one"]), (2, [(70, "one", False)], []), (9, [(0, UNASKED, False)], [])],
)
def test_kernel_that_cannot_be_asked(failing: int, told: list[tuple[int, str, bool]], sent: list[bytes]) -> None:
    """P7: what could not be asked in its stage is tried once more at the end; if that fails, too, it is told."""
    world = World()
    world.unanswered = lambda number: number <= failing
    restorer = made(world, Made(world, UP, [b"one"]))
    restorer.run([UP], HERE)
    assert (left(restorer), world.sent) == (told, sent)


def test_what_nothing_puts_back() -> None:
    """P7: it is told as lost for good, and nothing is sent."""
    world = World()

    class Lost(Made):
        def repairs(self, before: View, now: View, here: Here) -> Iterable[Repair]:
            del before, now
            yield Repair(here[7], LATE, "a qdisc", None)

    restorer = made(world, Lost(world, LATE, []))
    restorer.run([LATE], HERE)
    assert (world.sent, left(restorer)) == ([], [(70, "a qdisc", True)])


def test_nothing_was_there() -> None:
    """A kind of which nothing was read, and nothing is in links, is not asked for."""
    world = World()
    kind = Made(world, UP, [b"one"])
    kind.is_in_links = False
    restorer = made(world, kind)
    restorer.run([UP], HERE)
    assert (left(restorer), world.dumps) == ([], 0)


def test_carried_over_or_ended() -> None:
    """Where things are carried over, what cannot be asked ends the move."""
    world = World()
    world.unanswered = lambda _: True
    kind = Made(world, UP, [b"one"])
    before = View({7: wire.Link(memoryview(wire.IFINFOMSG.pack(0, 1, 7, 0, 0)))})
    restorer = restore.Restorer([kind], world, -1, before, preserve=True)  # type: ignore[arg-type]
    with pytest.raises(EngineError):
        restorer.run([UP], HERE)
