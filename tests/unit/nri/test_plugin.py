"""The plugin as a process, with a runtime that the test plays: dispatch, errors, reconnection, its end."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netdevns import limits
from netdevns.nri import framing, messages
from netdevns.nri.framing import Frame
from netdevns.nri.messages import Request, Response
from netdevns.nri.plugin import Plugin
from netdevns.nri.pods import Pods
from netdevns.nri.protobuf import Malformed, Message, encoded
from netdevns.nri.rules import Rules
from netdevns.nri.worker import Job, Worker
from tests.property.profiles import examples

from .runtime import Connected, Runtime, pod

OK = Response()
CONFIGURATION = encoded({2: "containerd", 3: "v9", 5: 20_000})


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Runtime]:
    found = Runtime(tmp_path)
    yield found
    found.close()


@pytest.fixture
def plugin(runtime: Runtime) -> Iterator[Connected]:
    """The plugin, registered and synchronized."""
    runtime.start("--allow", "eth*")
    with runtime.connected() as connected:
        connected.registered()
        assert connected.call("Configure", CONFIGURATION).code == 0
        assert connected.call("Synchronize") == OK
        yield connected


def test_registration(runtime: Runtime) -> None:
    """Name and index; then it subscribes to the four events of pods and containers."""
    runtime.start("--index", "07")
    with runtime.connected() as connected:
        method, payload = connected.registered()
        message = Message(payload)
        assert (method, message.text(1), message.text(2)) == ("RegisterPlugin", "netdevns", "07")
        assert Message(connected.call("Configure", CONFIGURATION).payload).number(2) == 0b1111
        assert runtime.end()[0] == 0


def test_unknown_calls(plugin: Connected) -> None:
    """UNIMPLEMENTED, by which a newer runtime falls back; other events are of no interest."""
    assert plugin.call("UpdatePodSandbox").code == messages.UNIMPLEMENTED
    assert plugin.call("RunPodSandbox", service="nri.pkg.api.v9.Plugin").code == messages.UNIMPLEMENTED
    assert plugin.call("StateChange", encoded({1: 10, 2: pod()})) == OK
    assert plugin.call("Shutdown") == OK


@pytest.mark.parametrize("dialect", ["StateChange", "methods"])
def test_dialects(plugin: Connected, dialect: str) -> None:
    """A pod's life in the dialect of NRI 0.8, and in that of newer ones; a pod in the host's network is refused."""
    asks = pod(eth1="net0")

    def call(number: int, method: str, of: bytes) -> Response:
        if dialect == "StateChange":
            return plugin.call("StateChange", encoded({1: number, 2: of}))
        return plugin.call(method, encoded({1: of}))

    for of in (pod(), asks):
        assert call(1, "RunPodSandbox", of) == OK
    assert plugin.call("CreateContainer", encoded({1: pod()})) == OK
    refused = plugin.call("CreateContainer", encoded({1: asks}))
    assert refused.code == messages.UNKNOWN
    assert refused.text.startswith("netdevns: pod default/web uses the host's network namespace")
    for number, method in ((2, "StopPodSandbox"), (3, "RemovePodSandbox")):
        assert call(number, method, asks) == OK


def test_synchronize_in_parts(plugin: Connected) -> None:
    """`more` is answered with `more`; the last part without."""
    first = plugin.call("Synchronize", encoded({1: pod(eth1=""), 3: 1}))
    assert Message(first.payload).number(2) == 1
    assert plugin.call("Synchronize", encoded({1: pod(eth1="")})) == OK


def test_synchronize_without_an_end(runtime: Runtime, plugin: Connected) -> None:
    """Pods without annotations of devices are not kept, and of others as many as limits.PODS are."""
    for of in (pod(), pod(eth1="")):
        part = encoded({1: of}) * (limits.PODS // 2 + 1) + encoded({3: 1})
        codes = [plugin.call("Synchronize", part).code for _ in range(2)]
    assert codes == [0, messages.INVALID]
    assert plugin.call("Synchronize", encoded({1: pod(eth1="")})) == OK
    assert "more than 4096 pods have annotations of devices: what was missed is not settled" in runtime.end()[1]


@pytest.mark.parametrize(
    ("method", "payload"),
    [
        ("StateChange", b"\xff"),
        ("RunPodSandbox", b"\x0a\x05a"),
        ("Synchronize", b"\x0a\x02\x0a\xff"),
        ("Configure", b"\x08"),
    ],
)
def test_malformed_calls(plugin: Connected, method: str, payload: bytes) -> None:
    """An error of this call; the next one is answered."""
    assert plugin.call(method, payload).code == messages.INVALID
    assert plugin.call("Shutdown") == OK


@pytest.mark.parametrize("data", [b"\0\0\0\1\xff\xff\xff\xff", b"\0\0\0\1\0\0\0\x0b\0\0\0\1\0\0\0\1\1\0\xff"])
def test_malformed_frames(runtime: Runtime, plugin: Connected, data: bytes) -> None:
    """The plugin closes the connection, says why, and connects again."""
    plugin.socket.sendall(data)
    with pytest.raises(EOFError):
        plugin.receive()
    with runtime.connected() as again:
        again.registered()
        assert again.call("Configure", CONFIGURATION).code == 0
        code, said = runtime.end()
    assert code == 0
    assert f"{runtime.path}: the runtime sends no NRI: " in said


def test_refused_registration(runtime: Runtime) -> None:
    """The reason is reported once; the plugin tries again."""
    runtime.start()
    for _ in range(2):
        with runtime.connected() as connected:
            connected.registered(Response(code=2, text="no such plugin, please"))
            with pytest.raises(EOFError):
                connected.receive()
    _, said = runtime.end()
    assert said.count("the runtime refuses this plugin: no such plugin, please") == 1


def test_ends_although_the_runtime_never_pauses(runtime: Runtime, plugin: Connected) -> None:
    """A signal counts between two calls, and so do the answers of the worker."""
    calls = Frame(framing.PLUGIN, 99, framing.REQUEST, Request("", "", b"").encode()).packed() * 1000

    def call() -> None:
        with contextlib.suppress(OSError):
            while True:
                plugin.socket.sendall(calls)

    def read() -> None:
        with contextlib.suppress(OSError):
            while plugin.socket.recv(1 << 20):
                pass

    for each in (call, read):
        threading.Thread(target=each, daemon=True).start()
    time.sleep(0.3)
    assert runtime.end()[0] == 0


def test_ends_although_the_runtime_is_patient(runtime: Runtime) -> None:
    """A settlement that goes on is answered at once, not at its time of an hour."""
    runtime.start("--allow", "eth*")
    with runtime.connected() as connected:
        connected.registered()
        assert connected.call("Configure", encoded({5: 3_600_000})).code == 0
        settle = encoded({1: pod("/proc/1/ns/net", eth1="") + encoded({9: 1})}) * 4000
        create = encoded({1: pod("/proc/1/ns/net")})
        first, second = connected.send_at_once(("Synchronize", settle), ("CreateContainer", create))
        answer = connected.receive()
        assert (answer.stream, Response.decode(answer.data)) == (second, OK)  # all is read by then
        assert runtime.end()[0] == 0
        answer = connected.receive()
        assert (answer.stream, Response.decode(answer.data)) == (first, OK)


def test_runtime_that_does_not_answer(runtime: Runtime) -> None:
    """One that accepts the connection only: it is reported once, and waited for."""
    code = "from netdevns.nri import plugin; plugin.CONFIGURE_S = 0.2; from netdevns.cli.main import main; main()"
    words = [sys.executable, "-c", code, "nri", "--socket", runtime.path, "--allow", "eth*"]
    runtime.process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    assert runtime.process.stderr is not None
    with runtime.connected() as connected:
        line = runtime.process.stderr.readline()
        assert line == "netdevns: connected, but the runtime has not answered for 0.2 s: waiting for it\n"
        time.sleep(0.5)  # in which it is not repeated
        connected.registered()
        assert connected.call("Configure", CONFIGURATION).code == 0
        said = runtime.end()[1]
    assert "waiting for it" not in said
    assert said.endswith("netdevns: connected to containerd v9\n")


def test_restarted_runtime(runtime: Runtime, plugin: Connected) -> None:
    """The plugin connects again when the runtime has ended."""
    plugin.socket.close()
    with runtime.connected() as again:
        again.registered()
        assert again.call("Synchronize") == OK
        code, said = runtime.end()
    assert (code, "the runtime has ended" in said) == (0, True)


WAITING = "waiting for the runtime (is NRI enabled in the runtime's configuration?)"


def test_socket_of_no_runtime(tmp_path: Path) -> None:
    """As one that is not there: no process listens, also where a runtime has ended."""
    path = tmp_path / "nri.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    words = [sys.executable, "-m", "netdevns", "nri", "--allow", "x", "--socket", str(path)]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = process.stderr.readline()
        process.terminate()
    assert said == f"netdevns: {path}: Connection refused; {WAITING}\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_ends_while_it_waits(tmp_path: Path, number: int) -> None:
    """Without a runtime it waits, says so once, and a signal ends it."""
    words = [sys.executable, "-m", "netdevns", "nri", "--allow", "x", "--socket", str(tmp_path / "none.sock")]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = process.stderr.readline()
        time.sleep(1.2 if number == signal.SIGTERM else 0)  # it tries again
        os.kill(process.pid, number)
        rest = process.stderr.read()
    assert process.returncode == 0
    lines = [line for line in (said + rest).splitlines() if "hook.log: cannot be written" not in line]
    assert lines == [f"netdevns: {tmp_path}/none.sock: No such file or directory; {WAITING}"]


@pytest.mark.parametrize(
    ("path", "words"),
    [("/dev/null", "Connection refused"), ("/" + "x" * 200, "AF_UNIX path too long"), ("/", "refused")],
)
def test_no_such_socket(path: str, words: str) -> None:
    """A path that is no socket, or that none can have, is reported once, and tried again."""
    process = subprocess.Popen(
        [sys.executable, "-m", "netdevns", "nri", "--allow", "x", "--socket", path], stderr=subprocess.PIPE, text=True
    )
    with process:
        assert process.stderr is not None
        assert words in process.stderr.readline()
        process.terminate()
    assert process.returncode == 0


def test_started_by_the_runtime(runtime: Runtime) -> None:
    """It uses the connection that it inherits, with the name and index of its file, and ends with that."""
    mine, its = socket.socketpair()
    variables = {"NRI_PLUGIN_SOCKET": str(its.fileno()), "NRI_PLUGIN_NAME": "nics", "NRI_PLUGIN_IDX": "05"}
    process = runtime.start(env={**os.environ, **variables}, pass_fds=[its.fileno()])
    its.close()
    with mine:
        connected = Connected(mine)
        _, payload = connected.registered()
        assert (Message(payload).text(1), Message(payload).text(2)) == ("nics", "05")
        assert connected.call("Configure", CONFIGURATION).code == 0
    assert process.wait(20) == 0


@pytest.mark.parametrize("given", ["77", "x", "-1", "1e3", "9" * 30, ""])
def test_no_such_connection(runtime: Runtime, given: str) -> None:
    """A variable that names no socket: one line, and exit code 1."""
    process = runtime.start("--allow", "x", env={**os.environ, "NRI_PLUGIN_SOCKET": given})
    _, said = process.communicate(timeout=20)
    assert (process.returncode, said) == (1, f"netdevns: NRI_PLUGIN_SOCKET={given}: Bad file descriptor\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--allow", ""), '--allow "": write GLOB or NAMESPACE/GLOB'),
        (("--allow", "x y/eth*"), '--allow "x y/eth*": no Kubernetes namespace has a blank or a slash in its name'),
        (("--allow", "y/z/eth*"), '--allow "y/z/eth*": no Kubernetes namespace has a blank or a slash in its name'),
        (("--allow", "edge/"), '--allow "edge/": write'),
        (("--force", "/eth1"), '--force "/eth1": write'),
        (("--index", "7"), "--index: two digits are needed"),
        (("--socket", ""), "--socket: the path is empty"),
        (("--index", "٠١"), "--index: two digits are needed"),
    ],
)
def test_usage(runtime: Runtime, arguments: tuple[str, ...], words: str) -> None:
    """Exit code 2, and the reason."""
    process = runtime.start(*arguments)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 2
    assert words in said


METHODS = [*messages.EVENTS.values(), "StateChange", "Configure", "Synchronize", "Shutdown", "UpdatePodSandbox", ""]
PIECES = st.one_of(st.binary(max_size=30), st.sampled_from([pod(), pod(eth1="x"), pod("/a\0b", eth1="\U0001f600")]))


@examples(300, 5_000)
@given(st.sampled_from(METHODS), st.lists(st.tuples(st.integers(1, 9), PIECES), max_size=3), st.binary(max_size=20))
def test_any_payload(method: str, fields: list[tuple[int, bytes]], tail: bytes) -> None:
    """A payload of whatever bytes is answered, given to the worker, or refused as malformed: no other error."""
    done: list[object] = []
    plugin = object.__new__(Plugin)
    plugin._rules, plugin._timeout_s, plugin._said = Rules.parse(["eth*"], []), 2.0, "connected"
    plugin._open, plugin._pods = [], []
    plugin._of_runtime = Pods(plugin._rules, lambda *said: done.append(said))
    plugin._worker = SimpleNamespace(submit=done.append, settle=lambda *job: done.append(job))  # type: ignore[assignment]
    plugin._say = done.append  # type: ignore[method-assign, assignment]
    payload = b"".join(encoded({number: piece}) for number, piece in fields) + tail
    try:
        response = plugin._taken(1, Request(messages.PLUGIN_SERVICE, method, payload))
    except Malformed:
        return
    assert response is not None or done
    for job in plugin._open:
        assert job.end < time.monotonic() + 2


# ---- the worker ------------------------------------------------------------------------------------------------------


def test_job_is_answered_once() -> None:
    """The worker answers it, or the end of its time does: the first of them, and only that one."""
    begin, woken = threading.Event(), threading.Event()

    def slowly() -> Response:
        begin.wait(10)
        return OK

    worker = Worker(woken.set, lambda line: None, lambda: None, 1)  # noqa: ARG005
    late, early = (Job(number, slowly, OK, 0) for number in (1, 3))
    assert late.claim()
    for job in (late, early):
        worker.submit(job)
    begin.set()
    assert woken.wait(10)
    assert worker.end(10)
    assert [job.number for job, _ in worker.answers] == [3]
    assert not late.claim()
    assert not early.claim()


def test_unexpected_error() -> None:
    """It is reported, and the answer is an error, unless the call is never refused; the thread goes on."""
    said: list[str] = []
    worker = Worker(lambda: None, said.append, lambda: None, 1)
    for number, late in ((1, Response(code=messages.DEADLINE)), (3, OK)):
        worker.submit(Job(number, lambda: 1 // 0, late, 0))  # type: ignore[arg-type, return-value]
    worker.submit(Job(5, lambda: OK, OK, 0))
    assert worker.end(10)
    assert [(job.number, response.code) for job, response in worker.answers] == [(1, messages.INTERNAL), (3, 0), (5, 0)]
    assert len(said) == 2
    assert said[0].startswith("internal error at test_plugin.py:")


def test_steps_give_way() -> None:
    """Jobs are done between two steps of a settlement, which is answered at its end."""
    done: list[str] = []
    begin = threading.Event()

    def step(name: str, wait: bool = False) -> None:
        done.append(name)
        if wait:
            worker.submit(Job(3, lambda: done.append("job") or OK, OK, 0))
            begin.wait(10)

    worker = Worker(lambda: None, lambda line: None, lambda: None, 1)  # noqa: ARG005
    steps = iter([lambda _: step("a", wait=True), lambda _: step("b")])
    settling = Job(1, lambda: OK, OK, 0)
    worker.settle(settling, steps, 1)
    begin.set()
    while len(worker.answers) < 2:
        time.sleep(0.01)
    assert worker.end(10)
    assert done == ["a", "job", "b"]
    assert [job.number for job, _ in worker.answers] == [3, 1]
