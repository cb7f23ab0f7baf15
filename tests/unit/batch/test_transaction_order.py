"""The batch that succeeds: the order of its steps and of its results."""

import struct

from tests.unit import messages as nl
from tests.unit.fake import World


def test_phases(setting):
    """Snapshot all, all links down in one send, move all, replay all, verify all; no other request is sent."""
    made = setting()
    made.run()
    phases = "snapshot set_down move_next move_next catch_up replay_next replay_next verify_next"
    assert made.strike.calls == [f"phases.{phase}" for phase in phases.split()]
    asked = [[request.type for request in datagram] for datagram in made.world.source.datagrams]
    assert asked == [[nl.RTM_GETADDR], [nl.RTM_NEWLINK] * 2, [nl.RTM_NEWLINK], [nl.RTM_NEWLINK]]
    replay = [nl.RTM_NEWADDR, nl.RTM_NEWLINK, nl.RTM_NEWADDR, nl.RTM_NEWADDR]
    asked = [[request.type for request in datagram] for datagram in made.world.target.datagrams]
    assert asked == [replay, replay, [nl.RTM_GETADDR], [nl.RTM_GETLINK] * 2]


def test_results_are_in_the_order_of_the_mapping(setting):
    """One Moved for each device, with its state in the target, in the order of the request."""
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
    assert [d[0].ifindex for d in made.world.source.datagrams if nl.IFLA_NET_NS_FD in d[0].attrs()] == [8, 7]
    assert [d[0].ifindex for d in made.world.target.datagrams if d[0].type == nl.RTM_NEWADDR] == [7, 8]


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
    """A single device is set down with its move: a send of its own gains nothing."""
    made = setting({7: "net1"})
    made.run()
    assert [len(d) for d in made.world.source.datagrams if d[0].type == nl.RTM_NEWLINK] == [1]  # the move


def test_link_that_is_down_is_not_set_down(setting):
    """A link that is down is left out of the batch; with none left there is no send."""

    def down(world: World) -> None:
        world.source.links[7] = (0, world.source.links[7][1])

    made = setting(prepare=down)
    made.run()
    batches = [[r.ifindex for r in d] for d in made.world.source.datagrams if d[0].type == nl.RTM_NEWLINK]
    assert batches == [[8], [7], [8]]  # the down, two moves


def test_many_links_down_in_windows(setting):
    """More links than DOWN_WINDOW go in several sends, each with its own ack; look-ups in several, too."""

    def many(world: World) -> None:
        for ifindex in range(7, 157):
            world.source.links[ifindex] = (nl.IFF_UP, World.attributes(f"eth{ifindex - 6}", bytes(6)))

    made = setting({ifindex: f"net{ifindex}" for ifindex in range(7, 157)}, prepare=many)
    steps: list[tuple[str, int, int]] = []
    made.run(on_step=lambda *step: steps.append(step))
    windows = [d for d in made.world.source.datagrams if d[0].type == nl.RTM_NEWLINK and len(d) > 1]
    assert [step for step in steps if step[0] == "verify"] == [("verify", n, 150) for n in (32, 64, 96, 128, 150)]
    assert [len(w) for w in windows] == [64, 64, 22]
    assert all([bool(r.flags & nl.NLM_F_ACK) for r in w] == [False] * (len(w) - 1) + [True] for w in windows)
    assert all(device.touched for device in made.plan.devices)
