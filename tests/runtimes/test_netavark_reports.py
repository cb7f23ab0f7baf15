"""The netavark plugin without podman: what it reports where a setup follows another one, or is taken back."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.namespaces import Namespace
from tests.support.processes import wait_until
from tests.support.restored import assert_equal_soon

from .container import NETDEVNS, WIRES, Machine, furnish

CONTAINER = "0123456789ab" + "c" * 52
REQUEST = {
    "container_id": CONTAINER,
    "container_name": "c1",
    "port_mappings": None,
    "network": {"name": "nic1", "id": "1" * 64, "driver": "netdevns", "options": {"device": "eth1"}},
    "network_options": {"interface_name": "net0", "static_ips": None, "static_mac": None},
}
WORDS = [*NETDEVNS, "netavark"]


@pytest.fixture
def place(host: Namespace, machine: Machine) -> Machine:
    """A machine with the devices of most tests."""
    furnish(host)
    return machine


def asked(machine: Machine, what: str, name: str) -> tuple[int, Any]:
    """The plugin's exit code and answer."""
    done = machine.run([*WORDS, what, f"/run/netns/{name}"], stdin=json.dumps(REQUEST).encode())
    return done.returncode, json.loads(done.stdout) if done.stdout else None


def loans(machine: Machine) -> list[str]:
    return [each.name for each in machine.path("/run/netdevns/loan").iterdir()]


def test_second_setup_in_a_namespace_that_is_missing(host: Namespace, place: Machine) -> None:
    """It fails, and its answer says that the device of the first one was restored."""
    before = host.dump()
    with place.named_namespace("blue"):
        assert asked(place, "setup", "blue")[0] == 0
        assert "eth1" not in host.names()
        code, answer = asked(place, "setup", "red")
    assert code == 2
    first, then, verdict = answer["error"].split("; ")
    assert first.startswith("/run/netns/red: cannot open the network namespace")
    assert then == "eth1: restored first, after a killed move or an ended container: restored"
    assert verdict == "nothing else was touched"
    assert loans(place) == []
    assert_equal_soon(before, host)


def full_pipe() -> tuple[int, int]:
    """A pipe that takes no further byte until it is read."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    try:
        while True:
            os.write(writer, bytes(4096))
    except BlockingIOError:
        os.set_blocking(writer, True)
    return reader, writer


def unread(place: Machine, meanwhile: Callable[[], None]) -> tuple[int, list[str]]:
    """A setup in the namespace blue whose answer is not read: its exit code and stderr; then netavark ends."""
    reader, writer = full_pipe()
    words = [*WORDS, "setup", "/run/netns/blue"]
    with place.popen(words, stdin=subprocess.PIPE, stdout=writer, stderr=subprocess.PIPE) as process:
        os.close(writer)
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(json.dumps(REQUEST).encode())
        process.stdin.close()
        wait_until(lambda: place.path("/run/netdevns/loan").exists() and loans(place) != [], "the device is on loan")
        wait_until(lambda: not [*place.path("/run/netdevns/txn").iterdir()], "the move is complete")
        meanwhile()
        os.close(reader)
        said = process.stderr.read().decode().splitlines()
    assert said[0] == "netdevns: eth1: netavark does not read the answer: Broken pipe"
    return process.returncode, said[1:]


def test_namespace_that_ends_before_the_answer_is_read(host: Namespace, place: Machine) -> None:
    """The device has ended with it, and no line calls it restored."""
    place.named_namespace("blue").close()

    def delete() -> None:
        place.run(["ip", "netns", "del", "blue"]).check_returncode()
        wait_until(lambda: host.names() & WIRES == {"wire2"}, "the device has ended")

    text = "not found: a veth ends with its network namespace, unless the container had moved it on"
    assert unread(place, delete) == (3, [f"netdevns: eth1: {text}"])
    assert loans(place) == []


def test_setup_that_cannot_be_taken_back(place: Machine) -> None:
    """Its loan cannot be read: no line says that nothing was touched, as the device is in the container."""
    with place.named_namespace("blue") as blue:
        # A folder that others may write to is not trusted.
        code, said = unread(place, lambda: place.path("/run/netdevns/loan").chmod(0o777))
        assert (code, blue.names()) == (3, {"net0"})
        assert len(said) == 1
        assert "others may write to it" in said[0]
