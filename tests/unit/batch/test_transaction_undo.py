"""A step of the batch that fails is undone, and an undo that fails names the devices that are left."""

import errno
import struct
from itertools import groupby

import pytest

from netdevns.engine import EngineError
from netdevns.engine.failed import Failed
from tests.unit import messages as nl
from tests.unit.batch.setting import VERIFY, Setting, fail_verify, state
from tests.unit.fake import Namespace, World


def names(namespace: Namespace) -> dict[int, str]:
    return {i: a[nl.IFLA_IFNAME].rstrip(b"\0").decode() for i, (_, a) in namespace.links.items()}


# ---- a step fails --------------------------------------------------------------------------------------------------

BACK = "all devices are restored"
STEPS = [
    pytest.param(0, "snapshot", None, "the addresses of the devices could not be read", id="snapshot"),
    pytest.param(0, "snapshot", "eth1", "its addresses could not be read", id="snapshot-first"),
    pytest.param(1, "down", "eth1", "it could not be set down", id="down"),
    pytest.param(2, "move", "eth1", "the move failed", id="move-first"),
    pytest.param(3, "move", "eth2", "the move failed", id="move-second"),
    pytest.param(5, "replay", "eth1", "its addresses could not be set in the target", id="replay-first"),
    pytest.param(6, "replay", "eth2", "its addresses could not be set in the target", id="replay-second"),
    pytest.param(VERIFY, "verify", None, "the devices could not be read in the target", id="verify"),
    pytest.param(VERIFY, "verify", "eth1", "it did not arrive unchanged", id="verify-first"),
    pytest.param(VERIFY, "verify", "eth2", "it did not arrive unchanged", id="verify-second"),
]


@pytest.mark.parametrize(("at", "step", "device", "words"), STEPS)
@pytest.mark.parametrize("after", [False, True], ids=["not-done", "done-all-the-same"])
def test_failed_step_is_undone(setting, at, step, device, words, after):
    """Any step may fail, before or after its effect: all is as before, and the error names the step and the device."""
    made = setting()
    failed = Failed(made.device(device), step, errno.EPERM, "because")
    made.strike.at, made.strike.after = {at: failed}, after
    e = made.failed()
    assert state(made.world) == made.before
    assert (e.errno, e.extack, e.device, e.step, e.netns, e.left, e.rolled_back) == (
        errno.EPERM, "because", device, step, "there", (), True,
    )  # fmt: skip
    whose = device or {"snapshot": "here", "verify": "there"}[step]
    assert str(e) == f"{whose}: {words}: Operation not permitted: because; {BACK}"
    if step != "snapshot" and device:
        assert e.location == "source"


def test_location_after_a_failed_snapshot(setting):
    """A device that was not touched is in the source."""
    made = setting()
    made.strike.at = {0: Failed(made.device("eth1"), "snapshot", errno.EIO, "")}
    assert made.failed().location == "source"


def test_failed_comparison_has_no_errno(setting):
    """ESTALE is the core's own code for a difference: errno is 0, the text has the difference."""
    made = setting()

    def another(flags: int, attributes: dict[int, bytes], addresses: list[bytes]) -> tuple[int, dict, list[bytes]]:
        return flags, attributes | {nl.IFLA_MTU: struct.pack("=I", 1300)}, addresses

    made.world.target.tamper = another
    e = made.failed()
    assert (e.errno, e.device, e.extack) == (0, "eth1", "the MTU changed")
    assert str(e) == f"eth1: it did not arrive unchanged: {e.extack}; {BACK}"


def test_name_taken_meanwhile(setting):
    """EEXIST in a move: the name was taken after the check. The device had left already; it is back."""

    def taken(world: World) -> None:
        world.target.links[5] = (0, World.attributes("net2", bytes(6)))

    made = setting(prepare=taken)
    e = made.failed()
    assert (e.errno, e.device, e.location) == (errno.EEXIST, "eth2", "source")
    assert 'the name "net2" was taken in the target meanwhile' in str(e)
    assert state(made.world) == made.before


def test_refused_link_of_the_down_batch_is_named(setting):
    """The index of the refused message identifies the device."""
    made = setting()
    made.world.source.fault = lambda r: errno.EPERM if r.type == nl.RTM_NEWLINK and r.ifindex == 8 else 0
    e = made.failed()
    assert (e.device, e.step) == ("eth2", "down")
    assert e.left == ()


def test_untouched_devices_are_left_alone(setting):
    """After a failure before the first change, the undo sends nothing."""
    made = setting()
    made.strike.at = {0: EngineError(errno.EIO, "", "snapshot")}
    made.failed()
    assert made.strike.calls == ["phases.snapshot", "phases.catch_up"]
    assert made.world.source.datagrams == made.world.target.datagrams == []


def test_undo_order(setting):
    """Uppers are moved back first; lowers are restored first; routes come last."""
    made = setting(depths={8: 1})
    made.strike.at = {VERIFY: EngineError(errno.EIO, "", "verify")}
    made.failed()
    assert [call for call, _ in groupby(made.strike.calls[VERIFY + 1 :])] == [
        "eth2.find", "target.query", "eth2.undo",  # alternative names that were added there
        "eth1.find", "target.query", "eth1.undo",
        "source.query", "eth1.undo",  # state before the addresses, then the addresses
        "source.query", "eth2.undo",
        "source.query", "source.command", "source.query",  # routes; the comparison
    ]  # fmt: skip
    replays = [d[0].ifindex for d in made.world.source.datagrams if d[0].type == nl.RTM_NEWADDR]
    assert replays == [7, 8]


def test_undo_restores_routes(setting):
    """A route that vanished with its device is restored, once."""
    made = setting()
    made.strike.at = {VERIFY: EngineError(errno.EIO, "", "verify")}
    made.failed()
    assert len(made.world.source.routes) == 1


def test_undo_restores_a_port(setting):
    """A move releases the port of a bridge; the undo enslaves it again."""

    def enslaved(world: World) -> None:
        flags, attributes = world.source.links[7]
        world.source.links[7] = (flags, attributes | {nl.IFLA_MASTER: struct.pack("=I", 50)})

    made = setting(prepare=enslaved)
    made.strike.at = {VERIFY: EngineError(errno.EIO, "", "verify")}
    e = made.failed()
    assert e.left == ()
    assert state(made.world) == made.before


# ---- the undo fails ------------------------------------------------------------------------------------------------


def test_device_that_cannot_return_is_left(setting):
    """`left` names it, where it is, under which name and ifindex, and what is missing; the others are back."""
    made = setting()
    fail_verify(made)
    made.world.target.fault = lambda r: (
        errno.EPERM if r.type == nl.RTM_NEWLINK and nl.IFLA_NET_NS_FD in r.attrs() and r.ifindex == 7 else 0
    )
    e = made.failed()
    (left,) = e.left
    assert (left.device, left.location, left.name, left.ifindex, left.missing) == (
        "eth1", "target", "net1", 7, ("Operation not permitted",),
    )  # fmt: skip
    assert not e.rolled_back
    assert str(e).endswith("; NOT restored: eth1")
    assert names(made.world.source) == {8: "eth2"}


def test_routes_that_cannot_be_read_are_left(setting):
    """A refused dump does not count as an empty one: no route is added twice, and the error is reported."""
    made = setting()
    fail_verify(made)
    made.world.source.fault = lambda r: errno.ENOMEM if r.type == nl.RTM_GETROUTE else 0
    (left,) = made.failed().left
    assert (left.device, left.missing) == ("eth1", ("routes: Cannot allocate memory",))
    assert made.world.source.routes == []


def test_address_that_cannot_be_restored_is_left(setting):
    """It is in the source, but not as it was."""
    made = setting()
    fail_verify(made)
    made.world.source.fault = lambda r: errno.EINVAL if r.type == nl.RTM_NEWADDR and b"\x0a\0\x08\1" in r.body else 0
    (left,) = made.failed().left
    assert (left.device, left.location, left.name, left.missing) == (
        "eth2", "source", "eth2", ("10.0.8.1/24 is missing",),
    )  # fmt: skip


def take_ifindex(made: Setting) -> None:
    """While eth1 is away, another device in the source takes its ifindex, 7."""

    def occupy(request: nl.Request) -> int:
        if request.type == nl.RTM_NEWADDR:
            made.world.source.links.setdefault(7, (0, World.attributes("other", bytes(6))))
        return 0

    made.world.target.fault = occupy


def test_other_ifindex_is_left(setting):
    """A device that came back with another ifindex is not as before."""
    made = setting()
    fail_verify(made)
    take_ifindex(made)
    (left,) = made.failed().left
    assert (left.device, left.location, left.name, left.ifindex) == ("eth1", "source", "eth1", 100)
    assert left.missing == ("ifindex 7",)


def test_routes_follow_another_ifindex(setting):
    """A route of a device that came back with another ifindex is not restored on the device that has the old one."""
    made = setting()
    fail_verify(made)
    take_ifindex(made)
    made.failed()
    assert {nl.attrs(r[12:])[4] for r in made.world.source.routes} <= {struct.pack("=I", 100)}


def test_gone_device_is_left(setting):
    """A device that vanished is reported as gone."""
    made = setting()

    def vanish(request: nl.Request) -> int:
        if request.type == nl.RTM_NEWADDR and request.ifindex == 8:
            made.world.target.links.pop(7, None)
        return 0

    made.world.target.fault = vanish
    e = made.failed()
    (left,) = e.left
    assert (left.device, left.location, left.name, left.ifindex) == ("eth1", "gone", None, None)


def test_route_that_cannot_be_restored_is_left(setting):
    """The route is reported with the first device."""
    made = setting()
    fail_verify(made)
    made.world.source.fault = lambda r: errno.ENETUNREACH if r.type == nl.RTM_NEWROUTE else 0
    (left,) = made.failed().left
    assert (left.device, left.missing) == ("eth1", ("route 10.9.0.0/24: Network is unreachable",))


def test_route_that_exists_already_is_no_failure(setting):
    """EEXIST: the kernel or another process has added it."""
    made = setting()
    fail_verify(made)

    def faster(request: nl.Request) -> int:
        if request.type != nl.RTM_NEWROUTE:
            return 0
        made.world.source.routes.append(request.body)
        return errno.EEXIST

    made.world.source.fault = faster
    assert made.failed().left == ()


@pytest.mark.parametrize("which", [nl.RTM_GETROUTE, nl.RTM_GETNEXTHOP], ids=["routes", "nexthops"])
def test_undo_whose_routes_cannot_be_read(setting, which):
    """The dumps after the undo fail: the devices are back, and the failure is reported."""
    made = setting()
    fail_verify(made)
    made.world.source.fault = lambda request: errno.EAGAIN if request.type == which else 0
    (left,) = made.failed().left
    assert left.missing == ("routes: Resource temporarily unavailable",)
    assert names(made.world.source) == {7: "eth1", 8: "eth2"}


def test_undo_goes_on_when_a_master_look_up_fails(setting):
    """A failed look-up does not stop the undo of other state, and is tried again at the end."""

    def enslaved(world: World) -> None:
        flags, attributes = world.source.links[7]
        world.source.links[7] = (flags, attributes | {nl.IFLA_MASTER: struct.pack("=I", 50)})

    made = setting(prepare=enslaved)
    fail_verify(made)
    made.strike.at[15] = EngineError(errno.ENOBUFS, "", "exchange")
    assert made.strike.calls[15:16] in ([], ["source.query"])
    assert made.failed().left == ()
    assert state(made.world) == made.before
