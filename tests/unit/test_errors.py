"""The errors: what they carry, and that it survives a pickle (multiprocessing, asyncio's process pools)."""

import copy
import errno
import pickle

import pytest

import netdevns
from netdevns.errors import CheckFailed, ConfigInvalid, MoveFailed, NetDevError
from netdevns.reports import Finding, Report
from netdevns.results import Left

LEFT = (Left("eth1", "target", "net0", 7, ("Operation not permitted",)), Left("eth2", "gone", None, None, ()))
REPORT = Report(False, (Finding("eth1", "error", "name.taken", 'eth1: the name "net0" is taken'),))
STATE = {
    "errno": errno.EEXIST,
    "extack": "the kernel's words",
    "device": "eth1",
    "step": "move",
    "netns": "/run/netns/blue",
    "location": "target",
}

ERRORS = [
    pytest.param(NetDevError("plain"), id="plain"),
    pytest.param(NetDevError("full", **STATE, left=LEFT), id="full"),
    pytest.param(MoveFailed("moved", **STATE, left=LEFT), id="move-failed"),
    pytest.param(MoveFailed("back", **STATE), id="move-failed-back"),
    pytest.param(CheckFailed("checked", report=REPORT, **STATE), id="check-failed"),
    pytest.param(ConfigInvalid("linux.netDevices: no"), id="config-invalid"),
]


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_round_trip(error, protocol):
    """Class, text and every attribute are the same after a pickle of any protocol."""
    again = pickle.loads(pickle.dumps(error, protocol))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert again.args == error.args
    assert again.__dict__ == error.__dict__
    assert getattr(again, "errno", None) == getattr(error, "errno", None)


@pytest.mark.parametrize("error", ERRORS)
def test_copy(error):
    """copy.copy makes the same error."""
    again = copy.copy(error)
    assert (type(again), str(again), again.__dict__) == (type(error), str(error), error.__dict__)


def test_defaults():
    """Without details: errno 0, empty extack, nothing left, everything as before."""
    e = NetDevError("text")
    assert (e.errno, e.extack, e.device, e.step, e.netns, e.location, e.left, e.rolled_back) == (
        0, "", None, None, None, None, (), True,
    )  # fmt: skip


def test_rolled_back_is_exactly_nothing_left():
    """`left` is empty exactly when everything is as before."""
    assert [NetDevError("x", left=left).rolled_back for left in ((), LEFT)] == [True, False]


def test_errno_is_the_system_calls():
    """It is an OSError with the errno and the text: `except OSError` catches it."""
    e = MoveFailed("eth1: no", errno=errno.EPERM)
    assert isinstance(e, OSError)
    assert (e.errno, e.strerror, str(e)) == (errno.EPERM, "eth1: no", "eth1: no")


def test_errno_makes_no_other_class():
    """OSError turns into PermissionError and the like by errno; these stay what they are."""
    assert [type(cls("x", errno=errno.EPERM)) for cls in (NetDevError, MoveFailed)] == [NetDevError, MoveFailed]


def test_check_failed_has_the_report():
    """The report has every finding."""
    assert CheckFailed("x", report=REPORT).report is REPORT


def test_config_invalid_is_a_value_error():
    """A bad config.json is no system error."""
    assert issubclass(ConfigInvalid, ValueError)
    assert not issubclass(ConfigInvalid, OSError)


@pytest.mark.parametrize("name", sorted(netdevns.__all__))
def test_public_names_are_lazy_and_there(name):
    """Each name of `__all__` can be had from the package, and is the same each time."""
    assert getattr(netdevns, name) is getattr(netdevns, name)
    assert name in dir(netdevns)


def test_unknown_name():
    """A name that is not there is an AttributeError that says so."""
    with pytest.raises(AttributeError, match="module 'netdevns' has no attribute 'moove'"):
        _ = netdevns.moove
