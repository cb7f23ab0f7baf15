"""What a move returns: frozen, and with addresses that are decoded on first access."""

import copy
import dataclasses
import pickle

import pytest

from netdevns import results
from netdevns.netlink import ifaddr
from netdevns.results import Address, Moved
from tests.unit import messages as nl

LINK = nl.padded(nl.message(nl.RTM_NEWLINK, nl.link_body(7)))
DUMPED = LINK + b"".join(
    nl.padded(nl.message(nl.RTM_NEWADDR, body))
    for body in (
        nl.address_body("10.0.0.1/24", 7, more={nl.IFA_LABEL: b"net0\0"}),
        nl.address_body("2001:db8::1/64", 7, peer="2001:db8::2", lifetimes=(0, nl.FOREVER)),
        nl.address_body("fe80::1/64", 7, scope=253),
    )
)
FIELDS = {"host_name": "eth1", "name": "net0", "ifindex": 7, "host_ifindex": 3, "not_carried": ("qdisc tbf",)}
ADDRESSES = (
    Address("inet", "10.0.0.1", 24, None, None, "net0", "global", 0x80, None, None, None, None),
    Address("inet6", "2001:db8::1", 64, "2001:db8::2", None, None, "global", 0x80, None, None, None, 0),
)
EAGER = Moved(addresses=ADDRESSES, **FIELDS)


@pytest.fixture
def lazy() -> Moved:
    return Moved.lazy(DUMPED, **FIELDS)


@pytest.fixture
def decodings(monkeypatch):
    """How often a dump was decoded."""
    count = []
    decode = ifaddr.addresses
    monkeypatch.setattr(ifaddr, "addresses", lambda *a, **k: count.append(1) or decode(*a, **k))
    return count


def test_lazy_equals_eager(lazy):
    """A lazy result is equal to one that was made with its addresses, and has the same hash and text."""
    assert lazy == EAGER
    assert hash(lazy) == hash(EAGER)
    assert repr(lazy) == repr(EAGER)


def test_only_protected_addresses(lazy):
    """The kernel's own link-local is not what was carried."""
    assert [a.address for a in lazy.addresses] == ["10.0.0.1", "2001:db8::1"]


def test_decoded_at_the_first_look_only(lazy, decodings):
    """Nothing is decoded before it is accessed, and nothing twice."""
    assert (lazy.name, lazy.ifindex, decodings) == ("net0", 7, [])
    assert lazy.addresses is lazy.addresses
    assert len(decodings) == 1


@pytest.mark.parametrize("looked", [False, True], ids=["before-a-look", "after-a-look"])
@pytest.mark.parametrize(
    "again",
    [
        pytest.param(lambda m: pickle.loads(pickle.dumps(m)), id="pickle"),
        pytest.param(copy.copy, id="copy"),
        pytest.param(copy.deepcopy, id="deepcopy"),
        pytest.param(dataclasses.replace, id="replace"),
    ],
)
def test_copies_are_equal(lazy, again, looked):
    """A copy is equal, whether the addresses were decoded before or not."""
    if looked:
        _ = lazy.addresses
    assert again(lazy) == EAGER


def test_pickle_does_not_decode(lazy, decodings):
    """A result can be sent to another process as the bytes that it is."""
    pickle.loads(pickle.dumps(lazy))
    assert decodings == []


def test_asdict(lazy):
    """The JSON form: the fields and nothing else."""
    assert dataclasses.asdict(lazy) == FIELDS | {"addresses": tuple(map(dataclasses.asdict, ADDRESSES))}


def test_fields_are_frozen(lazy):
    """A result cannot be changed."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        lazy.name = "net1"
    with pytest.raises(dataclasses.FrozenInstanceError):
        lazy.addresses = ()


def test_unknown_attribute(lazy):
    """A wrong name is an AttributeError, not a decoding."""
    with pytest.raises(AttributeError):
        _ = lazy.adresses


def test_all_addresses_of_a_snapshot():
    """Without `protected` every scope is decoded."""
    assert [a.address for a in results.addresses(DUMPED)] == ["10.0.0.1", "2001:db8::1", "fe80::1"]
