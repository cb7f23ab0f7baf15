"""The replay of a device's addresses in the target: their selection, order, flags and labels."""

import errno

import pytest

from tests.unit import messages as nl
from tests.unit.engine.steps import IPV4, IPV6, PEER6, SECOND, SECOND6, U32, Run, failure, flags_of, local, refuse
from tests.unit.fake import device


def label_of(body: bytes) -> bytes:
    return nl.attrs(body[8:])[nl.IFA_LABEL].rstrip(b"\0")


def replayed(run_: Run) -> list[nl.Request]:
    run_.world.target.trace.clear()
    run_.replay()
    return run_.world.target.trace


def test_replay_needs_a_device_in_the_target(run):
    """A replay of a device that did not move changes nothing."""
    made = run(IPV4)
    e = failure(made.replay)
    assert (e.errno, e.step) == (errno.EINVAL, "replay")
    assert made.world.target.trace == []


def test_replay_order(run):
    """IPv4 in dump order, IFF_UP, IPv6 in reverse dump order, as pairs: IFA_F_NODAD, IFA_F_NOPREFIXROUTE first."""
    made = run(IPV4, SECOND, IPV6, SECOND6)
    made.move()
    sent = [(local(r.body), flags_of(r.body)) if r.type == nl.RTM_NEWADDR else "up" for r in replayed(made)]
    assert sent == [
        ("10.0.0.1", 0x80), ("10.0.0.2", 0x80), "up",
        ("2001:db8::2", 0x282), ("2001:db8::2", 0x80), ("2001:db8::1", 0x282), ("2001:db8::1", 0x80),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("addresses", "dropped"),
    [
        pytest.param([PEER6], 1, id="no-address"),
        pytest.param([PEER6, nl.address_body("2001:db8:2::5/64", 7)], 0, id="another-address"),
        pytest.param([PEER6, nl.address_body("2001:db8:2::5/64", 7, flags=0x280)], 1, id="which-has-no-route"),
        pytest.param([PEER6, nl.address_body("2001:db8:2::5/65", 7)], 1, id="of-another-length"),
        pytest.param([PEER6, nl.address_body("2001:db8:2::5/64", 7, more={nl.IFA_RT_PRIORITY: U32(5)})], 1, id="m"),
        pytest.param([PEER6, nl.address_body("2001:db8:2::5/64", 7, flags=0xC0)], 0, id="tentative"),
        pytest.param([PEER6, nl.address_body("2001:db8:3::1/64", 7, peer="2001:db8:2::9")], 2, id="two-peers"),
        pytest.param([nl.address_body("2001:db8:2::9/64", 7, peer="2001:db8:2::1")], 0, id="own-prefix"),
        pytest.param([nl.address_body("2001:db8:1::1/128", 7, peer="2001:db8:2::1")], 0, id="peer-alone"),
        pytest.param([nl.address_body("2001:db8:1::1/64", 7, peer="2001:db8:2::1", flags=0x280)], 0, id="no-route"),
        pytest.param([IPV4, IPV6], 0, id="no-peer"),
    ],
)
def test_peer_prefix_route_is_deleted_unless_an_address_has_it(run, addresses, dropped):
    """The route of a peer's prefix is deleted, unless it is an address's prefix route with the same metric."""
    made = run(*addresses)
    made.move()
    made.replay()
    assert sum(r.type == nl.RTM_DELROUTE for r in made.world.target.trace) == dropped


def test_prefix_route_of_another_address_stays(run):
    """The prefix route of an address that the kernel or a router added in the target stays."""
    made = run(PEER6)
    made.move()
    made.world.target.addresses.append(nl.address_body("2001:db8:2::abcd/64", 7, flags=0, lifetimes=(9, 9)))
    made.replay()
    assert not any(r.type == nl.RTM_DELROUTE for r in made.world.target.trace)


@pytest.mark.parametrize(
    ("address", "carried"),
    [
        pytest.param(IPV4, True, id="permanent-global"),
        pytest.param(nl.address_body("10.0.0.9/24", 7, flags=0, lifetimes=(9, 9)), False, id="lifetime"),
        pytest.param(nl.address_body("10.0.0.9/24", 7, scope=253), False, id="scope-link"),
        pytest.param(nl.address_body("10.0.0.9/24", 7, scope=200), False, id="scope-site"),
        pytest.param(nl.address_body("fe80::1/64", 7, scope=253), False, id="link-local"),
        pytest.param(
            nl.address_body("2001:db8::9/64", 7, flags=0x80, lifetimes=(0, nl.FOREVER)), True, id="deprecated"
        ),
    ],
)
def test_protected_addresses_are_carried(run, address, carried):
    """Only permanent addresses of global scope arrive, by the runtime-spec's rule."""
    made = run(address)
    made.move()
    assert any(r.type == nl.RTM_NEWADDR for r in replayed(made)) == carried


@pytest.mark.parametrize(
    ("flags", "sent"),
    [
        pytest.param(0x80, [0x282, 0x80], id="usable"),
        pytest.param(0x280, [0x282, 0x280], id="noprefixroute"),
        pytest.param(0xA0, [0x2A2, 0xA0], id="deprecated"),
        pytest.param(0x82, [0x82], id="nodad-itself"),
        pytest.param(0xC0, [0xC0], id="tentative"),
        pytest.param(0x88, [0x88], id="dadfailed"),
        pytest.param(0x84, [0x84], id="optimistic"),
    ],
)
def test_nodad_only_for_what_was_usable(run, flags, sent):
    """An IPv6 address that had completed DAD skips it; any other runs it again."""
    made = run(nl.address_body("2001:db8::1/64", 7, flags=flags))
    made.move()
    assert [flags_of(r.body) for r in replayed(made) if r.type == nl.RTM_NEWADDR] == sent


@pytest.mark.parametrize(
    ("label", "wanted", "expected", "cut"),
    [
        pytest.param(b"eth1", "net0", b"net0", 0, id="plain"),
        pytest.param(b"eth1:vip", "net0", b"net0:vip", 0, id="with-suffix"),
        pytest.param(b"eth1:", "net0", b"net0:", 0, id="empty-suffix"),
        pytest.param(b"eth10", "net0", b"eth10", 0, id="another-name"),
        pytest.param(b"other:x", "net0", b"other:x", 0, id="another-prefix"),
        pytest.param(b"eth", "net0", b"eth", 0, id="shorter"),
        pytest.param(b"eth1:1234567", "a23456789", b"a23456789:1234567"[:9], 1, id="one-byte-too-long"),
        pytest.param(b"eth1:12345", "a23456789", b"a23456789:12345", 0, id="15-bytes"),
        pytest.param(b"eth1:123456", "a23456789", b"a23456789", 1, id="16-bytes"),
        pytest.param(b"eth1:x", "a23456789012345", b"a23456789012345", 1, id="longest-name"),
    ],
)
def test_label_follows_the_name(run, label, wanted, expected, cut):
    """old -> new, old:x -> new:x, others unchanged; one that does not fit becomes the name, and is counted."""
    made = run(nl.address_body("10.0.0.1/24", 7, more={nl.IFA_LABEL: label + b"\0"}), dev=device(wanted))
    made.move()
    (address,) = [r for r in replayed(made) if r.type == nl.RTM_NEWADDR]
    assert label_of(address.body) == expected
    assert made.dev.cut_labels == cut
    made.verify()


def test_cut_labels_are_counted_once(run):
    """A repeated replay does not count them again."""
    made = run(nl.address_body("10.0.0.1/24", 7, more={3: b"eth1:x\0"}), dev=device("a23456789012345"))
    made.move()
    made.replay()
    made.replay()
    assert made.dev.cut_labels == 1


def test_replay_sends_only_what_can_be_set(run):
    """Attributes that RTM_NEWADDR does not accept are not sent: a later kernel may dump others."""
    made = run(nl.address_body("10.0.0.1/24", 7, more={nl.IFA_PROTO: b"\3", 10: U32(9), 99: b"new"}))
    made.move()
    (address,) = [r for r in replayed(made) if r.type == nl.RTM_NEWADDR]
    assert set(address.attrs()) == {nl.IFA_ADDRESS, nl.IFA_LOCAL, nl.IFA_CACHEINFO, nl.IFA_PROTO, nl.IFA_FLAGS}


def test_replay_of_many_addresses_goes_in_windows(run):
    """At most 120 messages a send, the last of each acked, IFF_UP once between the families."""
    made = run(
        *[nl.address_body(f"10.0.{i // 200}.{i % 200}/32", 7) for i in range(150)],
        *[nl.address_body(f"2001:db8::{i:x}/128", 7) for i in range(100)],
    )
    made.move()
    made.world.target.datagrams.clear()
    made.replay()
    windows = made.world.target.datagrams
    assert max(map(len, windows)) <= 120
    assert sum(map(len, windows)) == 150 + 1 + 2 * 100
    assert len(windows) >= 3
    assert all([bool(r.flags & nl.NLM_F_ACK) for r in w] == [False] * (len(w) - 1) + [True] for w in windows)
    assert [r.type for w in windows for r in w].index(nl.RTM_NEWLINK) == 150
    made.verify()


def test_refusal_in_the_first_window_ends_the_replay(run):
    """A refusal in the first of several windows is the result, and no further window is sent."""
    made = run(*[nl.address_body(f"10.0.{i // 200}.{i % 200}/32", 7) for i in range(300)])
    made.move()
    made.world.target.datagrams.clear()
    made.world.target.fault = refuse(errno.EADDRNOTAVAIL, when=lambda r: r.type == 20 and local(r.body) == "10.0.0.5")
    e = failure(made.replay)
    assert (e.errno, e.step, e.index) == (errno.EADDRNOTAVAIL, "replay", 5)
    assert len(made.world.target.datagrams) == 1


def test_refusal_of_a_whole_window_is_read(run):
    """If all 120 messages of a window are refused, all errors are read, and the first is the result."""
    made = run(*[nl.address_body(f"10.0.{i // 200}.{i % 200}/32", 7) for i in range(300)])
    made.move()
    made.world.target.fault = refuse(errno.EPERM)
    e = failure(made.replay)
    assert (e.errno, e.index) == (errno.EPERM, 0)


def test_replay_twice_is_harmless(run):
    """NLM_F_REPLACE: a second replay of the same addresses changes nothing."""
    made = run(IPV4, SECOND, IPV6)
    made.move()
    made.replay()
    before = list(made.world.target.addresses)
    made.replay()
    assert made.world.target.addresses == before
    made.verify()
