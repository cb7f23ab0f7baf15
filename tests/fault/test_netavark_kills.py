"""The netavark plugin is killed at each call, or one fails: no device is lost, and the next request settles it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.support.attacks import Ended, Tally, finish, sample, traced
from tests.support.restored import assert_equal_soon

from .prepared import Host
from .reasons import BLUE

FEW = 4
FAILING = ("openat", "setns", "socket", "write", "sendto", "recvmmsg", "linkat", "mkdirat", "unlink", "flock")
NETWORK = {"name": "nic1", "id": "1" * 64, "driver": "netdevns", "options": {"device": "eth1"}}
REQUEST = {
    "container_id": "c" * 64,
    "container_name": "c1",
    "port_mappings": None,
    "network": NETWORK,
    "network_options": {"interface_name": "net0", "static_ips": None, "static_mac": None},
}


class Plugin(Host):
    """The plugin, as netavark starts it, with a namespace that lives on."""

    def request(self, what: str, *inject: str) -> Ended:
        """One request, under strace."""
        words = ("-m", "netdevns", "netavark", what, str(BLUE))
        return traced(lambda under: self.start_python(words, under), *inject)[0]

    def start_python(
        self, words: tuple[str, ...], under: tuple[str, ...] = (), document: object = REQUEST
    ) -> subprocess.Popen[str]:
        return self.start([sys.executable, *words], json.dumps(document), under)

    def plainly(self, what: str, document: object = REQUEST) -> tuple[str, str, int]:
        return finish(self.start_python(("-m", "netdevns", "netavark", what, str(BLUE)), document=document))


@pytest.fixture
def host() -> Iterator[Plugin]:
    with Plugin("native") as found:
        yield found


def done(host: Plugin, what: str) -> list[str]:
    out, err, code = host.plainly(what)
    return [] if (code, err) == (0, "") else [f"{what}: {code}: {out}{err}"]


def calls(host: Plugin, what: str) -> list[tuple[str, int]]:
    """The calls of a request that succeeds; all is as before it."""
    if what == "teardown":
        assert done(host, "setup") == []
    whole = host.request(what)
    assert whole.code == 0, whole
    assert done(host, "teardown" if what == "setup" else "setup") == []
    assert done(host, "teardown") == []
    return whole.own


def settled(host: Plugin, *following: str) -> list[str]:
    """What is wrong after these requests, the last of which is a teardown."""
    wrong = [line for what in following for line in done(host, what)]
    return wrong + host.differs() + host.left()


@pytest.mark.thorough
@pytest.mark.sampled(1, 3)
@pytest.mark.timeout(900)
@pytest.mark.parametrize("following", [("teardown",), ("setup", "teardown"), ("recover", "setup", "teardown")])
@pytest.mark.parametrize("what", ["setup", "teardown"])
def test_killed_at_any_call(host: Plugin, what: str, following: tuple[str, ...], tally: Tally) -> None:
    """Nothing is lost: the teardown that follows, or another setup before it, leaves the host as it was."""
    for call, number in sample(calls(host, what), FEW, 200):
        if what == "teardown":
            assert done(host, "setup") == []
        ended = host.request(what, f"{call}:signal=KILL:when={number}")
        wrong = []
        if following[0] == "recover":
            out, err, code = host.plain("recover")
            wrong += [f"recover: {code}: {out}{err}"] if code else []
        wrong += settled(host, *(each for each in following if each != "recover"))
        tally.count(f"{call} {number}", "killed" if ended.code == -signal.SIGKILL else "not reached", wrong, ended)


@pytest.mark.thorough
@pytest.mark.sampled(1, 2)
@pytest.mark.parametrize("what", ["setup", "teardown"])
def test_failing_calls(host: Plugin, what: str, tally: Tally) -> None:
    """It is done, or an error says what is not; "nothing was touched" is true; the next teardown settles the rest."""
    for call, number in sample([(call, n) for call, n in calls(host, what) if call in FAILING], FEW, 200):
        if what == "teardown":
            assert done(host, "setup") == []
        ended = host.request(what, f"{call}:error=EIO:when={number}")
        is_home = "eth1" in host.host.names()
        wrong = []
        if ended.code == 0:
            wrong += [] if is_home == (what == "teardown") else ["it says that it is done"]
        else:
            said = json.loads(ended.out)["error"] if ended.out else ended.err
            wrong += ["internal error"] if "internal error" in said else []
            wrong += ["untrue"] if "nothing was touched" in said and is_home == (what == "teardown") else []
        tally.count(f"{call} {number}", str(ended.code), wrong + settled(host, "teardown"), ended)


def test_reader_that_has_gone(host: Plugin) -> None:
    """A setup whose answer nobody reads is undone: podman would remove the namespace with the device."""
    with host.start_python(("-m", "netdevns", "netavark", "setup", str(BLUE))) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(60) == 1
    assert host.differs() + host.left() == []


def test_default_route(host: Plugin) -> None:
    """The uplink is refused, in one line with the remedy, unless that is forced; it comes home with its route."""
    host.host.ip("route add default via 10.0.0.9 dev eth1")
    before = host.host.dump()
    out, _, code = host.plainly("setup")
    assert code == 2
    assert "carries a default route of the host; to move it anyway, create the network with --opt force=true" in out
    assert_equal_soon(before, host.host)
    forced = {**REQUEST, "network": {**NETWORK, "options": {"device": "eth1", "force": "true"}}}
    for what in "setup", "teardown":
        out, _, code = host.plainly(what, forced)
        assert code == 0, out
    assert_equal_soon(before, host.host)
