"""Steps of a device that are called again, after a failure or a success."""

import contextlib
import errno
import struct

import pytest

from netdevns.engine import PLACE_TARGET, RESTORE, RETURN, Device, EngineError
from tests.unit import messages as nl
from tests.unit.engine.steps import IPV4, IPV6, PEER6, SECOND, Run, failure, is_move, local, refuse
from tests.unit.fake import World, device


def taken(made: Run, name: str = "net0") -> None:
    """A device in the target takes that name."""
    made.world.target.links[50] = (0, World.attributes(name, bytes.fromhex("020000000099")))


def test_move_that_left_it_under_its_old_name_renames_it(run):
    """A repeated move renames a device that is in the target under another name, or fails as the first did."""
    made = run(IPV4)
    taken(made)
    for _ in range(3):
        assert failure(made.move).errno == errno.EEXIST
        assert (made.dev.place, made.dev.name, made.dev.target_ifindex) == (PLACE_TARGET, b"eth1", 7)
    made.replay()
    e = failure(made.verify)
    assert (e.errno, e.extack) == (errno.ESTALE, "it has another name")
    del made.world.target.links[50]
    made.move()
    assert (made.dev.place, made.dev.name) == (PLACE_TARGET, b"net0")
    made.replay()
    made.verify()
    assert sum(is_move(r) for r in made.world.source.trace) == 1


def test_second_move_changes_nothing(run):
    """For a device that is there under the wanted name nothing is sent."""
    made = run(IPV4, dev=device("net%d"))
    made.move()
    before = len(made.world.source.trace), len(made.world.target.trace)
    made.move()
    assert (len(made.world.source.trace), len(made.world.target.trace)) == before
    assert made.dev.name == b"net0"


@pytest.mark.parametrize(
    ("wanted", "name", "is_right"),
    [
        ("net0", "net0", True),
        ("net0", "net1", False),
        ("net%d", "net0", True),
        ("net%d", "net17", True),
        ("net%d", "net", False),
        ("net%d", "net01", False),
        ("net%d", "net1x", False),
        ("net%d", "nat1", False),
        ("n%dx", "n3x", True),
        ("n%dx", "n3", False),
        ("n%dx", "nx", False),
        ("%d", "7", True),
        ("%d1", "11", True),
        ("%d1", "1", False),
    ],
)
def test_verify_compares_the_name_with_the_wanted_one(run, wanted, name, is_right):
    """A literal name is equal; a template's has the prefix, a number as the kernel prints it, and the suffix."""
    made = run(IPV4, dev=device(wanted))
    made.move()
    made.replay()
    flags, attributes = made.world.target.links[7]
    made.world.target.links[7] = flags, attributes | {nl.IFLA_IFNAME: name.encode() + b"\0"}
    made.dev.find(made.source, made.target)  # which reads the name back
    assert made.dev.name == name.encode()
    made.replay()  # the label follows it
    if is_right:
        made.verify()
    else:
        assert failure(made.verify).extack == "it has another name"


@pytest.mark.parametrize("how", ["snapshot", "take", "load"])
@pytest.mark.parametrize("moved", ["arrived", "refused"])
def test_snapshot_after_a_move_is_refused(run, how, moved):
    """The snapshot that an undo needs is not overwritten; after the undo a new one can be taken."""
    made = run(IPV4, IPV6)
    link, addresses = made.dev.link_message, made.dev.addresses
    if moved == "refused":
        made.world.source.fault = refuse(errno.EPERM, times=1, when=is_move)
        failure(made.move)
    else:
        made.move()

    def again():
        if how == "snapshot":
            made.dev.snapshot(made.source)
        elif how == "take":
            made.dev.snapshot(made.source, (link, addresses))
        else:
            made.dev.load(link, addresses)

    e = failure(again)
    assert (e.errno, e.step) == (errno.EINVAL, "snapshot")
    assert e.extack.startswith("it was moved already")
    assert (made.dev.link_message, made.dev.addresses) == (link, addresses)
    made.undo()
    assert sorted(made.world.source.links) == [7]
    assert len(made.world.source.addresses) == 2
    again()
    assert len(made.dev.addresses) == len(addresses)


@pytest.mark.parametrize("why", ["refused", "renamed", "gone", "dump"])
def test_snapshot_that_fails_leaves_the_earlier_one(run, why):
    """A failed snapshot leaves link, addresses and ifindex of the earlier one, which the move and its undo use."""
    made = run(IPV4, IPV6)
    before = made.dev.link_message, made.dev.addresses, made.dev.ifindex, made.dev.was_up, made.dev.place
    source = made.world.source
    flags, attributes = source.links[7]
    if why in ("refused", "dump"):
        asked = nl.RTM_GETLINK if why == "refused" else nl.RTM_GETADDR
        source.fault = refuse(errno.EPERM, times=1, when=lambda r: r.type == asked)
    elif why == "renamed":
        source.links[7] = flags, attributes | {nl.IFLA_IFNAME: b"other\0"}
    else:
        del source.links[7]
    failure(made.dev.snapshot, made.source)
    assert (made.dev.link_message, made.dev.addresses, made.dev.ifindex, made.dev.was_up, made.dev.place) == before
    source.links[7] = flags, attributes
    made.move()
    made.replay()
    made.verify()


def test_snapshot_can_be_taken_again(run):
    """The last snapshot counts."""
    made = run(IPV4)
    made.world.source.addresses.append(IPV6)
    made.dev.snapshot(made.source)
    assert made.dev.addresses == nl.padded(nl.message(20, IPV4, seq=1003, flags=2)) + nl.padded(
        nl.message(20, IPV6, seq=1003, flags=2)
    )


STEPS = ("snapshot", "move", "replay", "verify", "return", "restore")


def steps_of(made: Run) -> dict:
    return {
        "snapshot": lambda: made.dev.snapshot(made.source),
        "move": made.move,
        "replay": made.replay,
        "verify": made.verify,
        "return": lambda: made.undo(RETURN),
        "restore": lambda: made.undo(RESTORE),
    }


def fail_once(made: Run, number: int, *, obeyed: bool) -> list[int]:
    """Refuses the message with that number, counted over both namespaces; returns the countdown."""
    left = [number]

    def fault(_: nl.Request) -> int:
        left[0] -= 1
        return errno.EPERM if left[0] == -1 else 0

    for side in (made.world.source, made.world.target):
        setattr(side, "late_fault" if obeyed else "fault", fault)
    return left


def no_more_faults(made: Run) -> None:
    for side in (made.world.source, made.world.target):
        side.fault = side.late_fault = lambda _: 0


@pytest.mark.parametrize("wanted", ["net0", "net%d"])
@pytest.mark.parametrize("unsure", [False, True])
@pytest.mark.parametrize("obeyed", [False, True], ids=["refused", "obeyed-and-refused"])
@pytest.mark.parametrize("step", STEPS)
def test_every_step_is_called_again_after_each_failure(run, step, obeyed, unsure, wanted):
    """After a failure of any of its messages, a step succeeds when it is repeated, also twice, and so do the others.

    But an address that was refused alone is then behind the others, which verify and undo report.
    """
    for number in range(40):
        made = run(IPV4, SECOND, IPV6, PEER6, dev=device(wanted, unsure=unsure))
        flags, attributes, addresses = made.world.source._seen(7)
        made.dev.snapshot(made.source)
        steps, is_replayed = steps_of(made), step in ("replay", "restore")
        for name in STEPS[: STEPS.index(step)]:
            steps[name]()
        left = fail_once(made, number, obeyed=obeyed)
        with contextlib.suppress(EngineError):
            steps[step]()
        no_more_faults(made)
        for name in STEPS[STEPS.index(step) :]:
            for _ in range(2):
                try:
                    steps[name]()
                except EngineError as e:
                    is_reported = is_replayed and not obeyed and e.extack.endswith("is out of order")
                    if name not in ("verify", "restore") or not is_reported:
                        raise
        assert made.world.source._seen(7)[:2] == (flags, attributes)
        assert {*map(local, made.world.source._seen(7)[2])} == {*map(local, addresses)}
        if left[0] >= 0:  # it has no message of that number
            assert number > 0
            return
    raise AssertionError("a step of 40 messages")


@pytest.mark.native
@pytest.mark.parametrize("wanted", ["net0", "net%d"])
@pytest.mark.parametrize("unsure", [False, True])
def test_no_code_is_left_after_a_success(run, unsure, wanted, monkeypatch):
    """nd_err.code is 0 after each step that succeeds, also if requests were refused in between."""
    steps = []

    def step(self, call, *args):
        self._err.code = -errno.EXFULL
        while call(self.raw, *args, self._err):
            assert self._err.code == -errno.EOVERFLOW
            self._reserve(self.raw.need)
        assert self._err.code == 0, call
        steps.append(call)

    monkeypatch.setattr(Device, "_step", step)
    made = run(IPV4, IPV6, PEER6, dev=device(wanted, unsure=unsure))
    made.world.target.fault = refuse(errno.ESRCH, when=lambda r: r.type == nl.RTM_DELROUTE)
    made.dev.find(made.source, made.target)
    made.move()
    made.move()
    made.dev.find(made.source, made.target)
    made.replay()
    made.verify()
    arrived = bytes(made.dev.arrived)
    (length,) = struct.unpack_from("=I", arrived)
    made.dev.verify(made.target, (arrived[:length], arrived[(length + 3) & ~3 :]))
    made.undo(RETURN)
    made.undo(RESTORE)
    made.undo()
    assert len(set(steps)) == 7
