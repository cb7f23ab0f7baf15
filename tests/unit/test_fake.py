"""The helpers themselves: a wrong fake would make every test below a wrong one."""

from netdevns.engine import PLACE_TARGET
from tests.unit import messages as nl
from tests.unit.fake import World, device


def test_a_plain_move_succeeds_in_the_model():
    """The model of two namespaces lets an untampered move pass: its failures in other tests are those asked for."""
    world = World(nl.address_body("10.0.0.1/24", 7), nl.address_body("2001:db8::1/64", 7))
    with world.sockets() as (source, target):
        moved = device()
        moved.snapshot(source)
        moved.move(source, target, world.TARGET_FD)
        moved.up_and_replay(target)
        moved.verify(target)
    assert (moved.place, moved.name, moved.target_ifindex) == (PLACE_TARGET, b"net0", 7)
    assert world.source.links == {}
    assert len(world.target.addresses) == 2
