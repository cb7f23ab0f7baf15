"""The batch that succeeds: the order of its steps and of its results."""

import struct
import types

from netdevns.engine import phases
from tests.unit import messages as nl
from tests.unit.fake import World


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
    link = types.SimpleNamespace(flags=1, altnames=())
    devices = [
        types.SimpleNamespace(ifindex=100 + i, link=link, depth=0, wanted=b"e", touched=False) for i in range(150)
    ]
    made = phases.Phases(types.SimpleNamespace(command=sent.append), None, -1, None, devices, ())
    made.set_down()
    windows = [nl.requests(s) for s in sent]
    assert [len(w) for w in windows] == [64, 64, 22]
    assert all([bool(r.flags & nl.NLM_F_ACK) for r in w] == [False] * (len(w) - 1) + [True] for w in windows)
    assert all(device.touched for device in devices)
