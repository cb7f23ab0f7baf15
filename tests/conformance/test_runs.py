"""Real runs: each probe has its own process and namespaces, and leaves nothing."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from netdevns.cli.main import main
from netdevns.conformance import expected, runner, system, world
from netdevns.conformance.probe import ROOT, SPEC, VARIES, Probe
from netdevns.conformance.world import Namespace, Reply, World
from tests.support.namespaces import in_child
from tests.support.processes import processes, pss_bytes, wait_until
from tests.support.require import require

pytestmark = pytest.mark.usefixtures("namespaces")
QUICK = ["message.ns-fd.*", "clash.wanted-*", "clash.template-old-*", "message.new-ifindex.*"]
PR_SET_DUMPABLE = 4  # linux/prctl.h
COMMAND = [sys.executable, "-m", "netdevns", "conformance"]
Make = Callable[..., Probe]
Only = Callable[..., None]


def move(w: World) -> str:
    """A probe: the errno and the place of a device that is moved to a taken name."""
    device = w.source.device(b"eth1")
    w.target.device(b"net0")
    attrs = world.requests.ns_fd(w.target.fd) + world.requests.named(b"net0")
    return f"{w.source.request(world.requests.set_link(device.ifindex, attrs)).error} {w.place(device)}"


def marked(letter: str) -> str:
    """A glob for the probes of `message` that identifies this run's processes."""
    return f"[m{letter}{os.getpid()}]essage.*"


RIGHT = "EEXIST target eth1 down"


def outcome(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    (found,) = json.loads(capsys.readouterr().out)["probes"]
    return dict(found)


def test_a_correct_expectation(made: Make, only: Only, capsys: pytest.CaptureFixture[str]) -> None:
    """Status ok, exit code 0: the control for the tests below."""
    only([made(move, kind=SPEC)], {"test.made": [["5.10", RIGHT]]})
    assert main(["conformance", "--format", "json"]) == 0
    assert outcome(capsys) == {
        "id": "test.made",
        "class": "spec",
        "status": "ok",
        "value": RIGHT,
        "expected": RIGHT,
        "reason": None,
    }


@pytest.mark.sampled(3)
@pytest.mark.parametrize(("kind", "code"), [(SPEC, 1), ("abi", 1), (VARIES, 0)])
def test_a_wrong_expectation_is_caught(
    kind: str, code: int, made: Make, only: Only, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status changed, with both values; exit code 1 unless the probe varies."""
    only([made(move, kind=kind)], {"test.made": [["5.10", "ok target net0 down"]]})
    assert main(["conformance", "--json"]) == code
    found = outcome(capsys)
    assert (found["status"], found["value"], found["expected"]) == ("changed", RIGHT, "ok target net0 down")


def test_a_kernel_that_lies_is_caught(
    made: Make, only: Only, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kernel that answers a clash with success is reported as changed."""
    real = Namespace.request

    def lie(self: Namespace, message: bytes) -> Reply:
        reply = real(self, message)
        return Reply("ok") if reply.error == "EEXIST" else reply

    monkeypatch.setattr(Namespace, "request", lie)
    only([made(move, kind=SPEC)], {"test.made": [["5.10", RIGHT]]})
    assert main(["conformance", "--json"]) == 1
    assert outcome(capsys)["value"] == "ok target eth1 down"


def test_a_kernel_that_moves_nothing_is_caught(
    made: Make, only: Only, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kernel that ignores IFLA_NET_NS_FD is noticed: probes find the device."""
    monkeypatch.setattr(world.requests, "ns_fd", lambda _: b"")
    only([made(move, kind=SPEC)], {"test.made": [["5.10", RIGHT]]})
    assert main(["conformance", "--json"]) == 1
    assert str(outcome(capsys)["value"]).split()[1] == "source"


@pytest.mark.thorough
def test_a_missing_kind_is_skipped(made: Make, only: Only, capsys: pytest.CaptureFixture[str]) -> None:
    """n/a with the reason, and SKIP in KTAP: neither a pass nor a failure."""
    probe_ = made(lambda w: w.source.make(b"nosuchkind", b"x0"))
    only([probe_], {"test.made": [["5.10", 1]]})
    assert main(["conformance", "--json"]) == 0
    found = outcome(capsys)
    assert (found["status"], found["value"]) == ("n/a", None)
    assert found["reason"] == "no nosuchkind devices in this kernel"
    assert main(["conformance", "--format", "ktap"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "ok 1 test.made # SKIP no nosuchkind devices in this kernel"


@pytest.mark.thorough
def test_a_probe_that_fails_hangs_or_dies_is_an_error(made: Make) -> None:
    """Each error has a reason, the other probes run, and the answers are in order."""

    def hang(_: World) -> None:
        if os.fork():
            signal.pause()
        time.sleep(60)

    (hung,) = runner.run([made(hang, "a.hang")], jobs=2, limit_s=0.5)
    assert (hung.status, hung.reason) == ("error", "no end after 0.5 s")
    probes = [
        made(lambda _: 1 // 0, "a.raise"),
        made(lambda _: os.kill(os.getpid(), signal.SIGKILL), "a.die"),
        made(lambda _: {1, 2}, "a.set"),
        made(lambda _: "fine", "a.fine"),
    ]
    raised, died, unfit, fine = runner.run(probes, jobs=2)
    assert raised.status == "error"
    assert "ZeroDivisionError" in str(raised.reason)
    assert (died.status, died.reason) == ("error", "the probe's process died")
    assert unfit.status == "error"
    assert fine == runner.Answer("ok", "fine")


@pytest.mark.thorough
def test_a_probe_that_is_alone_has_no_other_beside_it(made: Make, tmp_path: object) -> None:
    """It waits for the probes before it, and none starts while it runs."""
    log = f"{tmp_path}/log"

    def noted(name: str) -> Callable[[World], None]:
        def run(_: World) -> None:
            for word in ("begin", "end"):
                with open(log, "a", encoding="ascii") as file:
                    file.write(f"{name} {word}\n")
                time.sleep(0.05)

        return run

    probes = [made(noted(n), f"a.{n}", alone=n == "c") for n in "abcde"]
    runner.run(probes, jobs=4)
    with open(log, encoding="ascii") as file:
        words = file.read().split("\n")
    at = words.index("c begin")
    assert words[at + 1] == "c end"
    assert {word[0] for word in words[:at]} == {"a", "b"}


@pytest.mark.thorough
@pytest.mark.sampled(6)
@pytest.mark.parametrize("leave", ["descriptor", "child", "thread", "error", "nothing"])
def test_a_worker_in_which_a_probe_left_something_is_ended(leave: str, made: Make) -> None:
    """The next probe gets a new worker, or the same one if nothing was left."""

    def litter(_: World) -> int:
        if leave == "descriptor":
            os.open("/dev/null", os.O_RDONLY)
        elif leave == "child" and os.fork() == 0:
            time.sleep(60)
            os._exit(0)
        elif leave == "thread":
            threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
        elif leave == "error":
            raise OSError(1, "an error")
        return os.getpid()

    probes = [made(lambda _: os.getpid(), "a.a"), made(litter, "a.b"), made(lambda _: os.getpid(), "a.c")]
    before, _, after = runner.run(probes, jobs=1)
    assert (before.value == after.value) is (leave == "nothing")


@pytest.mark.thorough
def test_each_probe_has_a_world_of_its_own(made: Make) -> None:
    """A fresh namespace has only lo, and numbers devices from the beginning, after any earlier probe."""

    def look(w: World) -> list[object]:
        before = [link.name.decode() for link in w.source.links()]
        return [before, w.source.device(b"eth1").ifindex, w.target.fd != w.source.fd]

    answers = runner.run([made(look, f"a.n{n}") for n in range(4)])
    assert len({json.dumps(answer.value) for answer in answers}) == 1
    assert answers[0].value[0][0] == "lo"  # type: ignore[index]


@pytest.mark.thorough
def test_three_runs_are_identical() -> None:
    """The documents are the same bytes, whatever the number of jobs."""
    texts = {
        subprocess.run([*COMMAND, "--format", "json", "--jobs", jobs, *QUICK], capture_output=True, check=False).stdout
        for jobs in ("1", "3", "2")
    }
    assert len(texts) == 1
    assert len(json.loads(texts.pop())["probes"]) > len(QUICK)


def wrong(document: dict[str, Any], data: expected.Data) -> list[str]:
    """The probes whose results are our bugs: errors, and changes on a measured kernel."""
    bad = ["error"] if not expected.is_measured(data, document["kernel"]) else ["error", "changed"]
    must = [each for each in document["probes"] if each["status"] == "error" or each["class"] != VARIES]
    return [f"{each['id']}: {each['reason'] or each['value']}" for each in must if each["status"] in bad]


@pytest.mark.thorough
def test_expectations_hold_on_this_kernel() -> None:
    """The package's probes run without an error, and on a measured kernel those of class spec and abi agree."""
    done = subprocess.run([*COMMAND, "--format", "json"], capture_output=True, text=True, check=False)
    document = json.loads(done.stdout)
    assert wrong(document, expected.load()) == []
    assert done.returncode in ((0,) if expected.is_measured(expected.load(), os.uname().release) else (0, 1))


@pytest.mark.parametrize(
    ("status", "kind", "kernel", "bad"),
    [
        ("changed", "abi", "6.18.44-local", True),
        ("changed", SPEC, "6.18.44-local", True),
        ("changed", VARIES, "6.18.44-local", False),
        ("changed", SPEC, "6.17.1", False),
        ("error", VARIES, "6.17.1", True),
        ("error", VARIES, "6.18", True),
        ("n/a", SPEC, "6.18", False),
    ],
)
def test_which_results_are_our_bugs(status: str, kind: str, kernel: str, bad: bool) -> None:
    """An unmeasured kernel may differ, but no probe may be an error there."""
    probe = {"id": "a.b", "class": kind, "status": status, "value": 1, "reason": "why"}
    assert bool(wrong({"kernel": kernel, "probes": [probe]}, {"kernels": {"6.18": "6.18.44"}})) is bad


@pytest.mark.thorough
@pytest.mark.parametrize("signal_", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_run_leaves_nothing(signal_: signal.Signals) -> None:
    """No process of the runner, of a probe or of its children is left, and so no namespace."""
    word = marked("i")
    running = subprocess.Popen(
        [*COMMAND, "--jobs=2", "--json", word], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        wait_until(lambda: len(processes(word)) >= 4)  # command, helper, keeper, worker
        running.send_signal(signal_)
        _, err = running.communicate(timeout=20)
    finally:
        running.kill()
        running.wait()
    assert b"Traceback" not in err
    wait_until(lambda: not processes(word))


def test_a_run_leaves_no_mount_file_or_descriptor(made: Make) -> None:
    """A probe's mounts and files are gone after the run."""

    def litter(w: World) -> bool:
        with open("/run/netdevns-litter", "w", encoding="ascii") as file:
            file.write(str(w.source.fd))
        return os.path.exists("/run/netdevns-litter")

    def state() -> tuple[object, ...]:
        with open("/proc/self/mounts", encoding="ascii") as file:
            return file.read(), sorted(os.listdir("/run")), sorted(os.listdir("/proc/self/fd"))

    before = state()
    assert [answer.value for answer in runner.run([made(litter)])] == [True]
    assert state() == before


@pytest.mark.thorough
def test_an_ordinary_user_can_run_it(made: Make) -> None:
    """In a user namespace the answers are the same; a probe that needs real root is n/a, with the reason."""
    probes = [made(move), made(lambda w: w.is_root, "a.root", needs=(ROOT,)), made(lambda w: w.is_root, "a.user")]

    def as_user() -> list[tuple[object, ...]] | None:
        if system.is_real_root():
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            # After setuid(2) a process is not dumpable, and may not write its uid_map.
            ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)
        try:
            return [(a.status, a.value, a.reason) for a in runner.run(probes)]
        except runner.NoNamespaces:
            return None

    found = in_child(as_user)
    if found is None:
        require("netns", "no user namespaces for an ordinary user")
    moved, root, user = found
    assert moved[:2] == ("ok", RIGHT)
    assert root == ("n/a", None, "needs root of the machine, not of a user namespace")
    assert user[:2] == ("ok", False)


def test_keys_of_the_document() -> None:
    """The document has kernel, arch and probes, without date and time."""
    done = subprocess.run([*COMMAND, "--json", "message.key.none"], capture_output=True, text=True, check=False)
    document = json.loads(done.stdout)
    assert set(document) == {"kernel", "arch", "probes"}
    assert [set(p) for p in document["probes"]] == [{"id", "class", "status", "value", "expected", "reason"}]
    assert done.stderr == ""


@pytest.mark.thorough
def test_memory() -> None:
    """A run takes at most 64 MiB in all its processes (PSS)."""
    mark, most = marked("m"), 0
    running = subprocess.Popen([*COMMAND, "--jobs=4", "--json", mark], stdout=subprocess.DEVNULL)
    while running.poll() is None:
        most = max(most, pss_bytes(processes(mark)))
        time.sleep(0.02)
    assert running.returncode in (0, 1)  # 1: the running kernel differs from the expected results
    assert 1 << 20 < most <= 64 << 20
