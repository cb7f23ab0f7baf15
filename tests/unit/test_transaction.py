"""The batch: its order, and that whatever goes wrong is undone. The real engine on a model of two namespaces.

Two devices, eth1 (ifindex 7) and eth2 (8), each with an IPv4 and an IPv6 address, go to net1 and net2.
"""

import errno
import struct
import threading
import types

import pytest

from netdevns import transaction
from netdevns.engine import EngineError
from netdevns.errors import MoveFailed
from netdevns.member import Member
from netdevns.plan import Item, Plan

from . import netlink as nl
from .fake import Namespace, World
from .setting import Setting, state

MACS = {7: World.MAC, 8: b"\x02\0\0\0\0\x08"}
ADDRESSES = [
    nl.address_body("10.0.7.1/24", 7, more={nl.IFA_LABEL: b"eth1\0"}),
    nl.address_body("10.0.8.1/24", 8, more={nl.IFA_LABEL: b"eth2:x\0"}),
    nl.address_body("2001:db8:7::1/64", 7),
    nl.address_body("2001:db8:8::1/64", 8),
]
ROUTE = (
    struct.pack("=8BI", 2, 24, 0, 0, 254, 3, 0, 1, 0) + nl.attr(4, struct.pack("=I", 7)) + nl.attr(1, b"\x0a\x09\0\0")
)


@pytest.fixture
def setting():
    """`setting(...)` begins; the sockets are closed after the test. `prepare` changes the world before the plan."""
    stack = []

    def begin(wanted=None, depths=None, prepare=lambda _: None) -> Setting:
        world = World(*ADDRESSES)
        world.source.links[8] = (nl.IFF_UP, World.attributes("eth2", MACS[8]))
        world.source.routes = [ROUTE]
        prepare(world)
        sockets = world.sockets()
        stack.append(sockets)
        return Setting(*sockets.__enter__(), world, wanted or {7: "net1", 8: "net2"}, depths or {})

    yield begin
    for sockets in stack:
        sockets.__exit__(None, None, None)


def names(namespace: Namespace) -> dict[int, str]:
    return {i: a[nl.IFLA_IFNAME].rstrip(b"\0").decode() for i, (_, a) in namespace.links.items()}


# ---- forward -------------------------------------------------------------------------------------------------------


def test_phases(setting):
    """Snapshot all, all links down in one send, move all, replay all, verify all; nothing else is asked."""
    made = setting()
    made.run()
    assert made.strike.calls == [
        "source.query", "eth1.snapshot", "eth2.snapshot", "source.command", "eth1.move", "eth2.move",
        "eth1.up_and_replay", "eth2.up_and_replay", "target.query", "target.query", "eth1.verify", "eth2.verify",
    ]  # fmt: skip


def test_results_are_in_the_order_of_the_mapping(setting):
    """One Moved a device, as it is in the target, in the order of what was asked for."""
    made = setting(depths={8: 1})
    moved = made.run()
    assert [(m.host_name, m.name, m.ifindex, m.host_ifindex) for m in moved] == [
        ("eth1", "net1", 7, 7),
        ("eth2", "net2", 8, 8),
    ]
    assert [[a.address for a in m.addresses] for m in moved] == [
        ["10.0.7.1", "2001:db8:7::1"],
        ["10.0.8.1", "2001:db8:8::1"],
    ]
    assert [a.label for m in moved for a in m.addresses if a.family == "inet"] == ["net1", "net2:x"]


def test_uppers_leave_first_and_come_up_last(setting):
    """A device whose lower is in the batch, too, moves before it and is replayed after it."""
    made = setting(depths={8: 1})
    made.run()
    steps = [c for c in made.strike.calls if c.endswith((".move", ".up_and_replay"))]
    assert steps == ["eth2.move", "eth1.move", "eth1.up_and_replay", "eth2.up_and_replay"]


def test_literal_names_before_templates(setting):
    """ "net%d" must not take the "net0" that another device of the batch wants."""
    made = setting({7: "net%d", 8: "net0"})
    assert [m.name for m in made.run()] == ["net1", "net0"]


def test_down_batch(setting):
    """Links that are up are set down in one send, the last one acked; the order is that of the moves."""
    made = setting(depths={8: 1})
    made.run()
    (batch,) = [d for d in made.world.source.datagrams if d[0].type == nl.RTM_NEWLINK and len(d) > 1]
    assert [(r.ifindex, bool(r.flags & nl.NLM_F_ACK)) for r in batch] == [(8, False), (7, True)]
    assert {r.body[8:] for r in batch} == {struct.pack("=II", 0, nl.IFF_UP)}


def test_no_down_batch_for_one_device(setting):
    """For a single device it gains nothing."""
    made = setting({7: "net1"})
    made.run()
    assert "source.command" not in made.strike.calls


def test_what_is_down_is_not_set_down(setting):
    """A link that is down is left out of the batch; with none left there is no send."""

    def down(world: World) -> None:
        world.source.links[7] = (0, world.source.links[7][1])

    made = setting(prepare=down)
    made.run()
    batches = [[r.ifindex for r in d] for d in made.world.source.datagrams if d[0].type == nl.RTM_NEWLINK]
    assert batches == [[8], [7], [8]]  # the down, two moves


def test_many_links_down_in_windows():
    """More links than DOWN_WINDOW go in several sends, each with its own ack."""
    sent: list[bytes] = []
    plan = Plan([], False)
    plan.source_socket = types.SimpleNamespace(command=sent.append)
    batch = transaction.Batch(plan, None)
    link = types.SimpleNamespace(flags=1)
    for i in range(150):
        device = types.SimpleNamespace(ifindex=100 + i)
        batch.move_order.append(Member(Item(f"e{i}", None), device, link))
    batch._down()
    windows = [nl.requests(s) for s in sent]
    assert [len(w) for w in windows] == [64, 64, 22]
    assert all([bool(r.flags & nl.NLM_F_ACK) for r in w] == [False] * (len(w) - 1) + [True] for w in windows)
    assert all(m.touched for m in batch.move_order)


# ---- a step fails --------------------------------------------------------------------------------------------------

BACK = "devices, addresses and routes are back as before"
STEPS = [
    pytest.param(0, "snapshot", None, "the addresses of the devices could not be read", id="snapshot"),
    pytest.param(1, "snapshot", "eth1", "its addresses could not be read", id="snapshot-first"),
    pytest.param(2, "snapshot", "eth2", "its addresses could not be read", id="snapshot-second"),
    pytest.param(3, "down", "eth1", "it could not be set down", id="down"),
    pytest.param(4, "move", "eth1", "the move failed", id="move-first"),
    pytest.param(5, "move", "eth2", "the move failed", id="move-second"),
    pytest.param(6, "replay", "eth1", "its addresses could not be set in the target", id="replay-first"),
    pytest.param(7, "replay", "eth2", "its addresses could not be set in the target", id="replay-second"),
    pytest.param(8, "verify", None, "what arrived in the target could not be read", id="verify-links"),
    pytest.param(9, "verify", None, "what arrived in the target could not be read", id="verify-addresses"),
    pytest.param(10, "verify", "eth1", "it did not arrive as it was", id="verify-first"),
    pytest.param(11, "verify", "eth2", "it did not arrive as it was", id="verify-second"),
]


@pytest.mark.parametrize(("at", "step", "device", "words"), STEPS)
@pytest.mark.parametrize("after", [False, True], ids=["not-done", "done-all-the-same"])
def test_failed_step_is_undone(setting, at, step, device, words, after):
    """Whichever step fails, and whether it was done or not: all is as before, and the error says what and where."""
    made = setting()
    made.strike.at, made.strike.after = {at: EngineError(errno.EPERM, "because", "exchange")}, after
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
    made.strike.at = {1: EngineError(errno.EIO, "", "snapshot")}
    assert made.failed().location == "source"


def test_comparison_that_fails_is_no_system_call(setting):
    """ESTALE is the engine's word for a difference: errno is 0, the text says what differs."""
    made = setting()
    made.strike.at = {10: EngineError(errno.ESTALE, "the MTU changed", "verify")}
    e = made.failed()
    assert (e.errno, e.extack) == (0, "the MTU changed")
    assert str(e) == f"eth1: it did not arrive as it was: the MTU changed; {BACK}"


def test_name_taken_meanwhile(setting):
    """EEXIST in a move: somebody took the name after the check. The device had left already; it is back."""

    def taken(world: World) -> None:
        world.target.links[5] = (0, World.attributes("net2", bytes(6)))

    made = setting(prepare=taken)
    e = made.failed()
    assert (e.errno, e.device, e.location) == (errno.EEXIST, "eth2", "source")
    assert 'the name "net2" was taken in the target meanwhile' in str(e)
    assert state(made.world) == made.before


def test_refused_link_of_the_down_batch_is_named(setting):
    """The index of the refused message says which device it was."""
    made = setting()
    made.world.source.fault = lambda r: errno.EPERM if r.type == nl.RTM_NEWLINK and r.ifindex == 8 else 0
    e = made.failed()
    assert (e.device, e.step) == ("eth2", "down")
    assert e.left == ()


def test_untouched_devices_are_left_alone(setting):
    """A failure before the first change: nobody is sent anything in an undo."""
    made = setting()
    made.strike.at = {1: EngineError(errno.EIO, "", "snapshot")}
    made.failed()
    assert made.strike.calls == ["source.query", "eth1.snapshot"]


def test_undo_order(setting):
    """Uppers are moved back first; lowers are restored first; routes come last."""
    made = setting(depths={8: 1})
    made.strike.at = {11: EngineError(errno.EIO, "", "verify")}
    made.failed()
    assert made.strike.calls[12:] == [
        "eth2.find", "target.query", "eth2.undo",  # alternative names that were added there
        "eth1.find", "target.query", "eth1.undo",
        "source.query",  # and those that came along
        "source.query", "eth1.undo", "source.query",  # link, master, alternative names, sysctls; link and sysctls again
        "source.query", "eth2.undo", "source.query",
        "source.query", "source.command", "source.query", "source.query",  # routes, nexthop objects, routes by gateways
        "source.query", "source.query", "source.query",  # is all there?
    ]  # fmt: skip
    replays = [d[0].ifindex for d in made.world.source.datagrams if d[0].type == nl.RTM_NEWADDR]
    assert replays == [7, 8]


def test_undo_puts_routes_back(setting):
    """A route that went with its device is there again, once."""
    made = setting()
    made.strike.at = {11: EngineError(errno.EIO, "", "verify")}
    made.failed()
    assert len(made.world.source.routes) == 1


def test_undo_puts_a_port_back(setting):
    """A move releases the port of a bridge; the undo enslaves it again."""

    def enslaved(world: World) -> None:
        flags, attributes = world.source.links[7]
        world.source.links[7] = (flags, attributes | {nl.IFLA_MASTER: struct.pack("=I", 50)})

    made = setting(prepare=enslaved)
    made.strike.at = {11: EngineError(errno.EIO, "", "verify")}
    e = made.failed()
    assert e.left == ()
    assert state(made.world) == made.before


# ---- the undo fails ------------------------------------------------------------------------------------------------


def fail_verify(made: Setting) -> None:
    made.strike.at[11] = EngineError(errno.EIO, "", "verify")


def test_device_that_cannot_come_back_is_left(setting):
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
    assert str(e).endswith("; NOT as before: eth1")
    assert names(made.world.source) == {8: "eth2"}


def test_routes_that_cannot_be_looked_at_are_left(setting):
    """A dump that is refused is not an empty one: nothing is added twice, and the error is told."""
    made = setting()
    fail_verify(made)
    made.world.source.fault = lambda r: errno.ENOMEM if r.type == nl.RTM_GETROUTE else 0
    (left,) = made.failed().left
    assert (left.device, left.missing) == ("eth1", ("routes: Cannot allocate memory",))
    assert made.world.source.routes == []


def test_address_that_cannot_come_back_is_left(setting):
    """It is in the source, but not as it was."""
    made = setting()
    fail_verify(made)
    made.world.source.fault = lambda r: errno.EINVAL if r.type == nl.RTM_NEWADDR and b"\x0a\0\x08\1" in r.body else 0
    (left,) = made.failed().left
    assert (left.device, left.location, left.name, left.missing) == (
        "eth2", "source", "eth2", ("10.0.8.1/24 is missing",),
    )  # fmt: skip


def take_ifindex(made: Setting) -> None:
    """While eth1 is away, somebody in the source takes its ifindex, 7."""

    def occupy(request: nl.Request) -> int:
        if request.type == nl.RTM_NEWADDR:
            made.world.source.links.setdefault(7, (0, World.attributes("other", bytes(6))))
        return 0

    made.world.target.fault = occupy


def test_other_ifindex_is_left(setting):
    """It had to come back under another number: that is not as before."""
    made = setting()
    fail_verify(made)
    take_ifindex(made)
    (left,) = made.failed().left
    assert (left.device, left.location, left.name, left.ifindex) == ("eth1", "source", "eth1", 100)
    assert left.missing == ("ifindex 7",)


def test_routes_follow_another_ifindex(setting):
    """A route of a device that came back under another number is never given to whoever has its old one."""
    made = setting()
    fail_verify(made)
    take_ifindex(made)
    made.failed()
    assert {nl.attrs(r[12:])[4] for r in made.world.source.routes} <= {struct.pack("=I", 100)}


def test_gone_device_is_left(setting):
    """A device that vanished is nowhere."""
    made = setting()

    def vanish(request: nl.Request) -> int:
        if request.type == nl.RTM_NEWADDR and request.ifindex == 8:
            made.world.target.links.pop(7, None)
        return 0

    made.world.target.fault = vanish
    e = made.failed()
    (left,) = e.left
    assert (left.device, left.location, left.name, left.ifindex) == ("eth1", "gone", None, None)


def test_route_that_cannot_come_back_is_left(setting):
    """It is told with the first device, in words."""
    made = setting()
    fail_verify(made)
    made.world.source.fault = lambda r: errno.ENETUNREACH if r.type == nl.RTM_NEWROUTE else 0
    (left,) = made.failed().left
    assert (left.device, left.missing) == ("eth1", ("route 10.9.0.0/24: Network is unreachable",))


def test_route_that_is_there_already_is_no_failure(setting):
    """EEXIST: the kernel, or somebody, was faster."""
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
def test_undo_whose_routes_cannot_be_asked(setting, which):
    """The dump after the undo fails: the devices are back, and that nobody knows of the routes is told."""
    made = setting()
    fail_verify(made)
    made.strike.at[27 if which == nl.RTM_GETNEXTHOP else 25] = EngineError(errno.EAGAIN, "", "exchange")
    (left,) = made.failed().left
    assert left.missing == ("routes: Resource temporarily unavailable",)
    assert names(made.world.source) == {7: "eth1", 8: "eth2"}


def test_undo_goes_on_when_a_master_cannot_be_asked(setting):
    """A look-up that fails on the way must not end the undo of the others."""

    def enslaved(world: World) -> None:
        flags, attributes = world.source.links[7]
        world.source.links[7] = (flags, attributes | {nl.IFLA_MASTER: struct.pack("=I", 50)})

    made = setting(prepare=enslaved)
    fail_verify(made)
    made.strike.at[19] = EngineError(errno.ENOBUFS, "", "exchange")
    assert made.strike.calls[19:20] in ([], ["source.query"])
    e = made.failed()
    assert [left.device for left in e.left] == ["eth1"]
    assert [a for a in made.world.source.addresses if a[4] == 8]


# ---- interrupts ----------------------------------------------------------------------------------------------------

FORWARD, UNDO = range(12), range(12, 26)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", FORWARD)
def test_interrupt_at_every_call_is_undone(setting, at, after):
    """KeyboardInterrupt before or after any call of the engine: all is as before, then it propagates."""
    made = setting()
    made.strike.at, made.strike.after = {at: KeyboardInterrupt()}, after
    with pytest.raises(KeyboardInterrupt) as caught:
        made.run()
    assert state(made.world) == made.before
    cause = caught.value.__cause__
    assert isinstance(cause, MoveFailed)
    assert (cause.step, cause.left, cause.device) == ("interrupt", (), None)
    assert str(cause) == "interrupted (KeyboardInterrupt); devices, addresses and routes are back as before"


@pytest.mark.parametrize("exception", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", UNDO)
def test_interrupt_at_every_call_of_the_undo(setting, at, after, exception):
    """A second interrupt, anywhere in the undo, does not end it: it begins again, and all is as before."""
    made = setting()
    made.strike.at, made.strike.after = {11: KeyboardInterrupt(), at: exception()}, after
    with pytest.raises(KeyboardInterrupt):
        made.run()
    assert len(made.strike.calls) > 24
    assert state(made.world) == made.before


def test_impatient_user(setting):
    """An interrupt at every second call of the undo: it still comes to its end."""
    made = setting()
    fail_verify(made)
    made.strike.at |= {at: KeyboardInterrupt() for at in (12, 14, 17, 21, 26)}
    made.failed()
    assert state(made.world) == made.before


@pytest.mark.parametrize("exception", [MemoryError, ValueError, GeneratorExit])
@pytest.mark.parametrize("at", FORWARD)
def test_any_exception_is_undone(setting, at, exception):
    """Whatever is raised, by a signal handler for instance, is undone, then propagates."""
    made = setting()
    made.strike.at = {at: exception()}
    with pytest.raises(exception):
        made.run()
    assert state(made.world) == made.before


@pytest.mark.parametrize("at", UNDO)
def test_any_exception_in_the_undo(setting, at):
    """A signal handler may raise what it likes (TimeoutError for an alarm): in the undo, too, it does not end it."""
    made = setting()
    made.strike.at = {11: KeyboardInterrupt(), at: TimeoutError()}
    with pytest.raises((KeyboardInterrupt, TimeoutError)):
        made.run()
    assert state(made.world) == made.before


def test_interrupt_after_a_failed_undo_tells_what_is_left(setting):
    """The interrupt propagates; its cause says which device is where."""
    made = setting()
    made.strike.at = {11: KeyboardInterrupt()}
    made.world.target.fault = lambda r: (
        errno.EPERM if r.type == nl.RTM_NEWLINK and nl.IFLA_NET_NS_FD in r.attrs() else 0
    )
    with pytest.raises(KeyboardInterrupt) as caught:
        made.run()
    assert [(left.device, left.location) for left in caught.value.__cause__.left] == [
        ("eth1", "target"),
        ("eth2", "target"),
    ]


# ---- time-out ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("looks", "device"),
    [
        pytest.param(0, "eth1", id="before-the-first-move"),
        pytest.param(1, "eth2", id="before-the-second-move"),
        pytest.param(2, "eth1", id="before-the-first-replay"),
        pytest.param(3, "eth2", id="before-the-second-replay"),
    ],
)
def test_time_out(setting, monkeypatch, looks, device):
    """The time is looked at before each device is moved and before each is replayed; then all is undone."""
    made = setting()
    clock = iter([0.0] * looks + [5.0] * 9)
    monkeypatch.setattr(transaction.time, "monotonic", lambda: next(clock))
    e = made.failed(deadline=5.0)
    assert (e.errno, e.step, e.device, e.left) == (errno.ETIMEDOUT, "time-out", device, ())
    assert str(e) == f"{device}: the time was over before this device; devices, addresses and routes are back as before"
    assert state(made.world) == made.before


def test_in_time(setting, monkeypatch):
    """A move that is done before its deadline is a move."""
    made = setting()
    monkeypatch.setattr(transaction.time, "monotonic", lambda: 4.9)
    assert len(made.run(deadline=5.0)) == 2


def test_no_thread_is_started(setting):
    """A batch runs in the calling thread: nothing is left running after it."""
    made = setting()
    before = threading.active_count()
    made.run()
    assert threading.active_count() == before


# ---- who watches ---------------------------------------------------------------------------------------------------


class Watcher:
    """An `on_step` that records, beside the engine's calls, and raises at one of its calls."""

    def __init__(self, made: Setting, at: int = -1, error: BaseException | None = None) -> None:
        self.made, self.at, self.error = made, at, error
        self.told: list[tuple[str, int, int]] = []

    def __call__(self, *step) -> None:
        self.told.append(step)
        self.made.strike.calls.append(f"told {step}")
        if len(self.told) - 1 == self.at:
            raise self.error

    def run(self):
        return transaction.Batch(self.made.plan, None, self).run(transaction.Batch.results)


FORWARD_STEPS = [(step, done, 2) for step in ("move", "replay", "verify") for done in (1, 2)]
UNDO_STEPS = [("undo", done, 2) for done in (0, 1, 2)]
LAST_VERIFY = 16  # what is told is among the calls, too


def test_steps_are_told(setting):
    """Each step of each device when it is done, between two calls of the engine."""
    made = setting()
    watcher = Watcher(made)
    watcher.run()
    assert watcher.told == FORWARD_STEPS
    assert made.strike.calls[4:8] == ["eth1.move", "told ('move', 1, 2)", "eth2.move", "told ('move', 2, 2)"]


def test_an_undo_is_told(setting):
    """That it begins, then each device that is back."""
    made = setting()
    made.strike.at = {LAST_VERIFY: EngineError(errno.EIO, "", "verify")}
    watcher = Watcher(made)
    with pytest.raises(MoveFailed):
        watcher.run()
    assert watcher.told[-3:] == UNDO_STEPS
    assert state(made.world) == made.before


def test_what_does_not_come_back_is_not_told_to_be(setting):
    """The count is of devices that are back in the source."""
    made = setting()
    made.strike.at = {LAST_VERIFY: EngineError(errno.EIO, "", "verify")}
    made.world.target.fault = lambda r: (
        errno.EPERM if r.type == nl.RTM_NEWLINK and nl.IFLA_NET_NS_FD in r.attrs() and r.ifindex == 7 else 0
    )
    watcher = Watcher(made)
    with pytest.raises(MoveFailed):
        watcher.run()
    assert [done for step, done, _ in watcher.told if step == "undo"] == [0, 0, 1]


@pytest.mark.parametrize("at", range(len(FORWARD_STEPS)))
def test_a_watcher_that_fails_stops_nothing(setting, at):
    """An Exception of the callback ends its calls; the batch arrives."""
    made = setting()
    watcher = Watcher(made, at, OSError("nobody reads"))
    assert [m.name for m in watcher.run()] == ["net1", "net2"]
    assert len(watcher.told) == at + 1


@pytest.mark.parametrize("at", range(5, 8))
def test_a_watcher_that_fails_in_the_undo_loses_nothing(setting, at):
    """The undo goes on without it."""
    made = setting()
    made.strike.at = {LAST_VERIFY: EngineError(errno.EIO, "", "verify")}
    watcher = Watcher(made, at, ValueError("a mistake"))
    with pytest.raises(MoveFailed) as caught:
        watcher.run()
    assert caught.value.left == ()
    assert len(watcher.told) == at + 1
    assert state(made.world) == made.before


@pytest.mark.parametrize("at", range(len(FORWARD_STEPS)))
def test_an_interrupt_of_the_watcher_undoes(setting, at):
    """Ctrl-C while it is told: undone as anywhere else."""
    made = setting()
    with pytest.raises(KeyboardInterrupt):
        Watcher(made, at, KeyboardInterrupt()).run()
    assert state(made.world) == made.before


@pytest.mark.parametrize("at", range(5, 8))
def test_an_interrupt_of_the_watcher_in_the_undo(setting, at):
    """Ctrl-C while the undo is told: it begins again, and all is as before."""
    made = setting()
    made.strike.at = {LAST_VERIFY: EngineError(errno.EIO, "", "verify")}
    with pytest.raises(MoveFailed):
        Watcher(made, at, KeyboardInterrupt()).run()
    assert state(made.world) == made.before
