"""Both hooks with runc and crun: what a container had is written down, and given back when it ends.

A device that software made dies with its namespace; one that does not is in tests/physical. Where a container joins a
namespace by path, that lives on: its devices are given back by hand here, as an operator would.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from netdevns.recovery import returns
from tests.support.namespaces import Namespace
from tests.support.processes import wait_until
from tests.support.restored import assert_equal_soon

from .container import ARRIVED, CONTAINER, DEVICES, WIRES, Bundle, Machine, Runtime, Seen, furnish, hook, hook_words
from .test_hook_process import Container, opened, sleeping

LOANS = "/run/netdevns/loan"


def loans(machine: Machine) -> list[str]:
    path = machine.path(LOANS)
    return sorted(entry.name for entry in path.iterdir()) if path.exists() else []


def write(bundle: Bundle, devices: dict[str, object], **how: Any) -> None:
    """A config.json with both hooks."""
    bundle.write(devices, **how)
    path = bundle.path / "config.json"
    poststop = {**hook(), "args": [*hook_words(), "poststop"]}
    config = json.loads(path.read_text()) | {"hooks": {"createRuntime": [hook()], "poststop": [poststop]}}
    path.write_text(json.dumps(config))


def poststop(machine: Machine, state: object) -> tuple[int, str]:
    done = machine.run([*hook_words(), "poststop"], stdin=json.dumps(state).encode())
    assert done.stdout == ""
    return done.returncode, done.stderr


def test_loan_lives_as_long_as_the_container(host: Namespace, runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    """P5: from create to delete there is a loan under the container's id, and `show` has a line for it."""
    furnish(host)
    write(bundle, DEVICES)
    with runtime.created(bundle, tmp_path / "output"):
        assert loans(runtime.machine) == [CONTAINER]
        shown = runtime.machine.netdevns("show").stdout
        for host_name, name in {"eth1": "net0", "mv0": "eth%d", "eth2": "eth2"}.items():
            line = f"on loan: {host_name} as {name}, to container {CONTAINER} ({LOANS}/{CONTAINER})"
            assert line in shown
            missed = runtime.machine.netdevns("show", host_name).stderr
            assert re.search(rf"run `netdevns return {CONTAINER}`$", missed, re.MULTILINE), missed
        host.ip("link add name eth1 type ifb")  # another device of that name: both are shown
        shown = runtime.machine.netdevns("show", "eth1").stdout
        line = f"on loan: eth1 as net0, to container {CONTAINER} ({LOANS}/{CONTAINER})"
        remedy = f"`netdevns return {CONTAINER}` restores the lent one if it has come back"
        assert f"{line}, but a device with this name is here: {remedy}" in shown
        assert "on loan: eth2" not in shown
        host.ip("link del eth1")
    assert loans(runtime.machine) == []
    assert runtime.machine.hook_log() == "" or "ended with the container" in runtime.machine.hook_log()


@pytest.mark.thorough
def test_again_and_again(host: Namespace, runtime: Runtime, bundle: Bundle) -> None:
    """P5: a container can be run again and again: each run has its devices, and leaves no loan."""
    for _ in range(3):
        furnish(host)
        write(bundle, DEVICES)
        done = runtime.run(bundle)
        assert done.returncode == 0, done.stderr
        assert Seen.parse(done.stdout).addresses == ARRIVED
        assert loans(runtime.machine) == []
        wait_until(lambda: host.names() == set(), "the wires are gone with the devices")


def test_without_a_poststop_hook(host: Namespace, runtime: Runtime, bundle: Bundle) -> None:
    """P5: where none is configured, the next container's hook clears what ended, with a line: loans do not pile up."""
    for number in range(4):
        furnish(host)
        bundle.write(DEVICES)
        done = runtime.run(bundle, f"c{number}")
        assert done.returncode == 0, done.stderr
        assert loans(runtime.machine) == [f"c{number}"]
        wait_until(lambda: host.names() == set(), "the wires are gone with the devices")
        said = [line.split(" ", 1)[1].split(": ") for line in runtime.machine.hook_log().splitlines()]
        words = "ended with its container, as virtual devices do unless it moved them on"
        found = [(container, sorted(devices.split(", ")), text) for container, devices, text in said]
        assert found == [(f"c{n}", sorted(DEVICES), words) for n in range(1, number + 1)]


@pytest.mark.thorough
def test_live_namespace(host: Namespace, runtime: Runtime, bundle: Bundle) -> None:
    """P5, S9: in a namespace that has a path the devices stay; their loan is kept, and that is no failure."""
    furnish(host)
    with runtime.machine.named_namespace("blue") as blue:
        write(bundle, DEVICES, network={"type": "network", "path": "/run/netns/blue"})
        begin = time.monotonic()
        done = runtime.run(bundle)
        assert time.monotonic() - begin < returns.WAIT_S  # nothing to wait for: it is mounted
        assert done.returncode == 0, done.stderr
        assert blue.names() == set(ARRIVED)
        assert loans(runtime.machine) == [CONTAINER]
        said = runtime.machine.hook_log()
        assert "eth1: its network namespace still exists; the device stays there" in said
        done = runtime.machine.netdevns("return", CONTAINER, "--json")
        assert done.returncode == 0
        assert {x["location"] for x in json.loads(done.stdout)["recovered"]} == {"target"}
        # Thrown back, as a NIC would be.
        blue.batch(["link set net0 down", "addr flush dev net0"])
        blue.give("net0", host)
        assert "eth1: undone: restored" in runtime.machine.netdevns("return").stdout
        found = [a for link in host.ip_json("addr show eth1") for a in link["addr_info"] if a["scope"] == "global"]
        assert sorted(a["local"] for a in found) == ["192.0.2.10", "192.0.2.11"]
        assert loans(runtime.machine) == [CONTAINER]  # of the others


# ---- the hook as a process ------------------------------------------------------------------------------------------


IDS = ["c1", "../../etc/passwd", "a/b", ".", "..", ".x", "x" * 1000, "\n", "\x00", "ü", "%2F"]


@pytest.mark.sampled(12, 3)
@pytest.mark.parametrize("id_", IDS)
def test_any_id(host: Namespace, machine: Machine, bundle: Bundle, id_: str) -> None:
    """P5: under any container id the loan is one file of the folder, and is found by that id."""
    furnish(host)
    bundle.write({"eth1": {"name": "net0"}})
    with sleeping(machine, "unshare", "--net") as pid, opened(f"/proc/{pid}/ns/net", "c") as namespace:
        container = Container(pid, bundle, namespace)
        done = machine.hook(container.state(id=id_))
        assert (done.returncode, done.stderr) == (0, "")
        assert len(loans(machine)) == 1
        found = {path.name for path in machine.path("/run/netdevns").iterdir() if path.suffix != ".lock"}
        assert found == {"txn", "loan"}
        assert poststop(machine, container.state(id="another", pid=None)) == (0, "")
        assert len(loans(machine)) == 1
    namespace.close()
    code, said = poststop(machine, container.state(id=id_, pid=None))
    assert (code, said) == (
        0,
        "netdevns: eth1: ended with the container, as virtual devices do unless it moved them on\n",
    )
    assert loans(machine) == []


@pytest.mark.parametrize(
    ("stdin", "reason"),
    [
        (b"", "not valid JSON"),
        (b"[]", "a JSON object is needed"),
        (b'{"id": 7, "bundle": "/"}', "id: a string is needed"),
    ],
)
def test_bad_state(machine: Machine, stdin: bytes, reason: str) -> None:
    """S14: poststop reads the state as strictly."""
    done = machine.run([*hook_words(), "poststop"], stdin=stdin)
    assert done.returncode == 2
    assert reason in done.stderr
    assert reason in machine.hook_log()


def test_source_that_is_gone(machine: Machine, bundle: Bundle) -> None:
    """P5: a device whose source namespace ended first lives on in the container: poststop does not call it ended."""
    bundle.write({"eth1": {"name": "net0"}})
    with machine.named_namespace("blue") as blue:
        blue.ip("link add eth1 type ifb")
    with sleeping(machine, "unshare", "--net") as pid, opened(f"/proc/{pid}/ns/net", "c") as namespace:
        state = Container(pid, bundle, namespace).state()
        words = ["nsenter", "--net=/run/netns/blue", *hook_words(), "createRuntime"]
        machine.run(words, stdin=json.dumps(state).encode()).check_returncode()
        machine.run(["ip", "netns", "del", "blue"]).check_returncode()
        said = "netdevns: eth1: its source namespace is gone; the device stays where it is\n"
        assert poststop(machine, state) == (0, said)
        assert namespace.names() == {"net0"}


def test_nothing_on_loan(machine: Machine, bundle: Bundle) -> None:
    """S15: a container that had no devices: poststop says and makes nothing."""
    state = {"id": "c1", "bundle": str(bundle.path)}
    assert poststop(machine, state) == (0, "")
    assert not machine.path("/run/netdevns").exists()


def test_failed_hook_lends_nothing(host: Namespace, machine: Machine, bundle: Bundle) -> None:
    """P1: after a refusal nothing is on loan."""
    furnish(host)
    bundle.write({"eth1": {"name": "net0"}, "nope": {}})
    with sleeping(machine, "unshare", "--net") as pid, opened(f"/proc/{pid}/ns/net", "c") as namespace:
        assert machine.hook(Container(pid, bundle, namespace).state()).returncode == 2
    assert loans(machine) == []
    assert host.names() == WIRES | set(DEVICES)


def test_hook_that_is_listed_twice(host: Namespace, machine: Machine, bundle: Bundle) -> None:
    """P5: the second of two equal hooks lends nothing a second time."""
    furnish(host)
    bundle.write({"eth1": {"name": "net0"}})
    with sleeping(machine, "unshare", "--net") as pid, opened(f"/proc/{pid}/ns/net", "c") as namespace:
        container = Container(pid, bundle, namespace)
        assert machine.hook(container.state()).returncode == 0
        assert machine.hook(container.state()).returncode == 0
        assert loans(machine) == ["c1"]


def test_device_of_another_container(host: Namespace, machine: Machine, bundle: Bundle) -> None:
    """P9: a device that is on loan is not mistaken for one that has the wanted name: the hook refuses."""
    furnish(host)
    bundle.write({"eth1": {"name": "net0"}})
    with (
        sleeping(machine, "unshare", "--net") as first,
        sleeping(machine, "unshare", "--net") as second,
        opened(f"/proc/{first}/ns/net", "c1") as c1,
        opened(f"/proc/{second}/ns/net", "c2") as c2,
    ):
        assert machine.hook(Container(first, bundle, c1).state()).returncode == 0
        c2.ip("link add net0 type ifb")
        before = c2.dump()
        done = machine.hook(state := Container(second, bundle, c2).state(id="c2"))
        assert done.returncode == 2
        said = done.stderr.splitlines()
        assert said[0] == "netdevns: eth1: no such device in this network namespace"
        assert any(line.startswith("netdevns: eth1: on loan to container c1 ") for line in said)
        assert said[-1] == "netdevns: nothing was touched"
        assert c2.dump() == before
        c2.ip("link del net0")
        c1.give("net0", c2)  # by a runtime: the loan is out of date
        assert machine.hook(state).returncode == 0


def test_interrupted_after_a_return(host: Namespace, machine: Machine, bundle: Bundle) -> None:
    """P5: a hook that restored a device, and is interrupted while it waits for another loan, reports the device."""
    furnish(host)
    bundle.write({"eth1": {"name": "net0"}})
    before = host.dump()
    with sleeping(machine, "unshare", "--net") as pid, opened(f"/proc/{pid}/ns/net", "c") as namespace:
        container = Container(pid, bundle, namespace)
        assert machine.hook(container.state()).returncode == 0
        namespace.batch(["link set net0 down", "addr flush dev net0"])
        namespace.give("net0", host)  # as the kernel would return a NIC
        held = machine.path(f"{LOANS}/c9")
        shutil.copy(machine.path(f"{LOANS}/c1"), held)
        os.utime(held, (0, 0))  # the oldest is the last
        with held.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            argv = [*hook_words(), "createRuntime"]
            with machine.popen(argv, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
                assert process.stdin is not None
                assert process.stderr is not None
                process.stdin.write(json.dumps(container.state(id="c2")).encode())
                process.stdin.close()
                wait_until(lambda: not machine.path(f"{LOANS}/c1").exists(), "the first loan is returned")
                process.terminate()
                said = process.stderr.read().decode().splitlines()
        assert process.returncode == 1
        assert said == [
            "netdevns: interrupted by SIGTERM; nothing else was touched",
            "netdevns: eth1: restored first, after a killed move or an ended container: restored",
        ]
    assert_equal_soon(before, host)


def test_folder_that_others_may_write_to(host: Namespace, machine: Machine, bundle: Bundle) -> None:
    """P5: a folder that others may write to is not trusted: nothing is moved, and nothing is returned."""
    furnish(host)
    bundle.write({"eth1": {"name": "net0"}})
    before = host.dump()
    machine.run(["sh", "-c", "mkdir -p -m 700 /run/netdevns; mkdir /run/netdevns/loan; chmod 777 /run/netdevns/loan; "
                 "echo >/run/netdevns/loan/x"]).check_returncode()  # fmt: skip
    with sleeping(machine, "unshare", "--net") as pid, opened(f"/proc/{pid}/ns/net", "c") as namespace:
        container = Container(pid, bundle, namespace)
        done = machine.hook(container.state())
        assert done.returncode in (1, 2)
        assert "others may write to it" in done.stderr
        code, said = poststop(machine, container.state())
        assert code == 2
        assert "others may write to it" in said
    assert_equal_soon(before, host)
