"""The helpers for probes, in real runs."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from netdevns.conformance import command, requests, runner, system, world
from netdevns.conformance.probe import Probe, Value
from netdevns.conformance.world import Namespace, World
from netdevns.netlink import uapi, wire

pytestmark = pytest.mark.usefixtures("namespaces")
Make = Callable[..., Probe]


@pytest.fixture
def run(made: Make) -> Callable[[Callable[[World], Value]], Value]:
    """Runs a function as a probe and returns its value."""

    def value(function: Callable[[World], Value]) -> Value:
        (answer,) = runner.run([made(function)])
        assert answer.status == "ok", answer.reason
        return answer.value

    return value


Run = Callable[[Callable[[World], Value]], Value]


def move(source: Namespace, ifindex: int, attrs: bytes) -> str:
    return source.request(requests.set_link(ifindex, attrs)).error


@pytest.mark.thorough
def test_a_device_is_found_under_another_name_and_ifindex(run: Run) -> None:
    """It is found by kind and MAC, in all namespaces of the world; a deleted one is `gone`."""

    def probe(w: World) -> Value:
        device, other = w.source.device(b"eth1"), w.source.device(b"eth2")
        w.target.device(b"x")  # takes the ifindex
        move(w.source, device.ifindex, requests.ns_fd(w.target.fd) + requests.named(b"net0"))
        places = [w.place(device), w.place(other)]
        w.source.must(requests.del_link(other.ifindex))
        return [*places, w.place(other)]

    assert run(probe) == ["target net0 down", "source eth2 down", "gone"]


def test_a_listener_has_all_notifications_of_a_request(run: Run) -> None:
    """The notifications of a move are in both listeners when the request returns, and are read once."""

    def probe(w: World) -> Value:
        device = w.source.device(b"eth1")
        listeners = w.source.listener(1), w.target.listener(1)
        move(w.source, device.ifindex, requests.ns_fd(w.target.fd))
        return [[m.type for m in each.read()] for _ in range(2) for each in listeners]

    source, target, *again = run(probe)  # type: ignore[misc]
    assert uapi.RTM_DELLINK in source
    assert uapi.RTM_NEWLINK in target
    assert again == [[], []]


def test_a_listener_waits_for_later_notifications(run: Run) -> None:
    """The kernel deletes a device some time after its namespace's end, and notifies the peer's namespace."""

    def probe(w: World) -> Value:
        w.source.make(b"veth", b"eth1")
        peer = w.source.known(b"p-eth1")
        gone = w.namespaces["gone"] = Namespace("gone")
        move(w.source, peer.ifindex, requests.ns_fd(gone.fd))
        listener = w.source.listener(1)
        w.namespaces.pop("gone").close()
        last = listener.until(lambda m: m.type == uapi.RTM_DELLINK)[-1]
        return wire.Link(last.body).name.decode()

    assert run(probe) == "eth1"


def test_irreversible_steps_stay_in_the_child(run: Run) -> None:
    """A capability is dropped in the child only; a child's error is raised in the probe."""

    def probe(w: World) -> Value:
        device = w.source.device(b"eth1")
        up = requests.set_link(device.ifindex, up=True)

        def without() -> str:
            system.drop_capabilities(system.CAP_NET_ADMIN)
            return w.source.request(up).error

        def in_user_namespace() -> str:
            system.enter_user_namespace()
            return w.source.request(up).error

        found: list[Value] = [str(system.run_in_child(f)) for f in (without, in_user_namespace)]
        try:
            system.run_in_child(lambda: 1 // 0)
        except system.ChildFailed as e:
            found.append(str(e).split(":")[0])
        return [*found, w.source.request(up).error]

    assert run(probe) == ["EPERM", "EPERM", "ZeroDivisionError", "ok"]


def test_requests_are_accepted(run: Run) -> None:
    """The kernel accepts built requests for devices, addresses, routes, alternative names and namespace ids."""

    def probe(w: World) -> Value:
        device = w.source.make(b"veth", b"eth1")
        ifindex = device.ifindex
        w.source.must(requests.set_link(ifindex, up=True))
        w.source.must(requests.address(ifindex, "192.0.2.1/24"))
        w.source.must(requests.address(ifindex, "2001:db8::1/64", flags=uapi.IFA_F_NODAD | uapi.IFA_F_NOPREFIXROUTE))
        w.source.must(requests.route(ifindex, "198.51.100.0/24"))
        w.source.must(requests.altnames(ifindex, [b"other"]))
        w.source.must(requests.new_nsid(w.target.fd, 7))
        types = (uapi.RTM_GETADDR, uapi.RTM_GETROUTE)
        return [len(w.source.dump(type_, uapi.AF_INET)) for type_ in types] + [
            w.source.link(b"eth1").altnames[0].decode(),  # type: ignore[union-attr]
            len(w.source.dump(uapi.RTM_GETADDR, uapi.AF_INET6)),
        ]

    addresses, routes, altname, addresses6 = run(probe)  # type: ignore[misc]
    assert (addresses, altname, addresses6) == (1, "other", 1)
    assert routes > 2  # the new one, the prefix route, and local ones, whose number differs between kernels


@pytest.mark.thorough
def test_extack_and_offset_of_a_refusal(run: Run) -> None:
    """A Reply has NLMSGERR_ATTR_MSG and the offset of the attribute at fault."""

    def probe(w: World) -> Value:
        device = w.source.device(b"eth1")
        reply = w.source.request(requests.set_link(device.ifindex, wire.attr(uapi.IFLA_MTU, b"")))
        return [reply.error, reply.said]

    error, said = run(probe)  # type: ignore[misc]
    assert error == "ERANGE"
    assert said["offset"] == wire.NLMSGHDR.size + wire.IFINFOMSG.size  # type: ignore[index, call-overload]
    assert said["extack"]  # type: ignore[index, call-overload]


def test_sysctls_are_those_of_the_namespace(run: Run) -> None:
    """Writing one leaves the other namespace unchanged."""

    def probe(w: World) -> Value:
        path = "ipv4/conf/default/rp_filter"
        before = w.target.sysctl(path)
        return [w.source.sysctl(path, 2), w.target.sysctl(path) == before]

    assert run(probe) == ["2", True]


@pytest.mark.thorough
def test_a_device_that_cannot_be_made_is_an_error(made: Make) -> None:
    """A taken name is a failed set-up, which is an error, not n/a."""

    def probe(w: World) -> Value:
        w.source.device(b"eth1")
        w.source.device(b"eth1")
        return None

    (answer,) = runner.run([made(probe)])
    assert (answer.status, str(answer.reason)[:11]) == ("error", "SetupFailed")


def test_errors_have_the_kernels_names() -> None:
    """A number with two names has the kernel's."""
    assert [world.error_name(n) for n in (0, 11, 22, 95, 524, 9999)] == [
        "ok", "EAGAIN", "EINVAL", "EOPNOTSUPP", "ENOTSUPP", "9999"
    ]  # fmt: skip


def test_progress_line_is_erased(monkeypatch: pytest.MonkeyPatch) -> None:
    """The progress is one line on a terminal, which is blank at the end."""
    written: list[str] = []

    class Terminal:
        def isatty(self) -> bool:
            return True

        def write(self, text: str) -> None:
            written.append(text)

        def flush(self) -> None:
            """Does nothing: writes are not buffered."""

    monkeypatch.setattr(sys, "stderr", Terminal())
    with command._Progress() as progress:
        progress(1, 118)
    assert written[0].endswith("\rnetdevns: 1 of 118 probes")
    assert written[-1].rsplit("\r", 1)[1] == ""
    assert "\n" not in "".join(written)
