"""The frames of the multiplexer and of ttrpc, with the bytes of a real session."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netdevns.nri import framing, messages
from netdevns.nri.framing import DATA_BYTES, PLUGIN, REQUEST, RESPONSE, RUNTIME, Frame, Unpacker
from netdevns.nri.messages import Configuration, Request, Response
from netdevns.nri.protobuf import Malformed
from tests.property.profiles import examples

SESSION = [line.split() for line in Path(__file__).with_name("session.hex").read_text().splitlines() if line[0] != "#"]


def frames(who: str) -> list[Frame]:
    """What one side has sent."""
    unpacker = Unpacker()
    return [frame for sender, data in SESSION if sender == who for frame in unpacker.feed(bytes.fromhex(data))]


FROM_RUNTIME, FROM_PLUGIN = frames("runtime"), frames("plugin")
FRAMES = st.builds(
    Frame, st.sampled_from([PLUGIN, RUNTIME]), st.integers(0, 2**32 - 1), st.integers(0, 255), st.binary(max_size=60)
)


def test_real_calls():
    """containerd's calls, in their order; each answer has its call's number."""
    registered, *calls = FROM_RUNTIME
    assert (registered.connection, registered.kind, Response.decode(registered.data)) == (RUNTIME, RESPONSE, Response())
    assert {(each.connection, each.kind) for each in calls} == {(PLUGIN, REQUEST)}
    methods = [Request.decode(each.data).method for each in calls]
    life = ["StateChange", "CreateContainer", "StateChange", "StateChange"]
    assert methods == ["Configure", "Synchronize", *life, *life]
    assert [each.stream for each in calls] == [each.stream for each in FROM_PLUGIN[1:]] == list(range(1, 21, 2))
    assert all(0 < Request.decode(each.data).timeout_s <= 2 for each in calls)


def test_real_pods():
    """The pod of the session: its namespace's path is there on run and stop, and absent on remove."""
    found = [messages.event(Request.decode(each.data)) for each in FROM_RUNTIME[3:7]]
    assert [name for name, _ in found] == ["RunPodSandbox", "CreateContainer", "StopPodSandbox", "RemovePodSandbox"]
    ran, created, stopped, removed = (pod for _, pod in found)
    assert (ran.name, ran.namespace, ran.label, len(ran.id)) == ("web", "default", "default/web", 64)
    assert ran.annotations["org.netdevns.device.eth1"] == "net0"
    assert ran.netns == created.netns == stopped.netns
    assert ran.netns.startswith("/var/run/netns/cni-")
    assert (ran.pid > 0, removed.netns) == (True, "")
    assert ran.id == removed.id


def test_real_configuration():
    """The runtime's name, version and patience."""
    assert Configuration.decode(Request.decode(FROM_RUNTIME[1].data).payload) == Configuration(
        "containerd", "2.1.9+unknown", 2.0
    )


def test_golden_bytes():
    """The plugin writes what containerd has understood."""
    sent = [bytes.fromhex(data) for who, data in SESSION if who == "plugin"]
    register = Frame(RUNTIME, 1, REQUEST, messages.registration("netdevns", "90"))
    assert register.packed() == sent[0]
    assert Frame(PLUGIN, 1, RESPONSE, Response(messages.subscription()).encode()).packed() == sent[1]
    assert Frame(PLUGIN, 3, RESPONSE, Response().encode()).packed() == sent[2]
    refused = Response.decode(FROM_PLUGIN[8].data)
    assert (refused.code, refused.text[:10]) == (messages.UNKNOWN, "netdevns: ")
    assert Frame(PLUGIN, 15, RESPONSE, refused.encode()).packed() == sent[8]


@examples(100, 5_000)
@given(st.lists(FRAMES, max_size=5), st.lists(st.integers(0, 400), max_size=8))
def test_cut_anywhere(sent, cuts):
    """Frames arrive in whatever parts the socket gives."""
    data, unpacker, found = b"".join(each.packed() for each in sent), Unpacker(), []
    for begin, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(data)], strict=True):
        found += unpacker.feed(data[begin:end])
    assert found == sent


@examples(100, 5_000)
@given(FRAMES, st.integers(1, 30))
def test_message_in_several_frames(sent, size):
    """A message may lie in several frames of the multiplexer."""
    whole = sent.packed()[8:]
    parts = [whole[at : at + size] for at in range(0, len(whole), size)]
    unpacker, found = Unpacker(), []
    for part in parts:
        found += unpacker.feed(framing._MUX.pack(sent.connection, len(part)) + part)
    assert found == [sent]


@examples(300, 20_000)
@given(st.binary(max_size=300))
def test_random_bytes(data):
    """Whatever arrives is taken apart or refused."""
    try:
        list(Unpacker().feed(data))
    except Malformed:
        return


def test_other_connections_are_ignored():
    """As by the runtime; what follows is read."""
    frame = Frame(PLUGIN, 1, REQUEST, b"abc")
    assert list(Unpacker().feed(Frame(7, 1, REQUEST, b"x").packed() + frame.packed())) == [frame]


@pytest.mark.parametrize(
    "data", [b"\0\0\0\1\0\x40\0\x0b", b"\0\0\0\1\xff\xff\xff\xff", b"\0\0\0\1\0\0\0\x0a\0\x40\0\1\0\0\0\1\1\0"]
)
def test_too_long(data):
    """A length beyond 4 MiB is refused before anything is stored."""
    with pytest.raises(Malformed, match="are allowed"):
        list(Unpacker().feed(data))


def test_longest_message():
    """4 MiB are taken."""
    frame = Frame(PLUGIN, 1, REQUEST, bytes(DATA_BYTES))
    assert list(Unpacker().feed(frame.packed())) == [frame]
