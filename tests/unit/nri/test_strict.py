"""--strict: the hook's decision, and the files for containerd and CRI-O."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable

import pytest

from netdevns.nri import hook, strict
from netdevns.oci import hook_log, hooks_dir
from netdevns.oci.config_json import State
from netdevns.oci.hook_line import Refused

SANDBOX = "1" * 64
CONTAINERD = {
    "io.kubernetes.cri.container-type": "container",
    "io.kubernetes.cri.sandbox-id": SANDBOX,
    "io.kubernetes.cri.sandbox-namespace": "edge",
    "io.kubernetes.cri.sandbox-name": "web",
}
CRIO = {
    "io.kubernetes.cri-o.ContainerType": "container",
    "io.kubernetes.cri-o.SandboxID": SANDBOX,
    "io.kubernetes.pod.namespace": "edge",
    "io.kubernetes.pod.name": "web",
}
ASKS = {"org.netdevns.device.eth7": "net0"}
HOOK = {"path": "/usr/bin/netdevns", "args": ["/usr/bin/netdevns", "nri", "--hook", "--allow", "eth*"]}


def state(annotations: object) -> str:
    return json.dumps({"ociVersion": "1.0.2", "id": "c1", "bundle": "/", "pid": 1, "annotations": annotations})


Hook = Callable[..., tuple[int, str]]


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Hook:
    """Runs the hook in this process: its exit code, and what it prints and logs."""
    logged: list[str] = []
    monkeypatch.setattr(hook_log, "log", lambda lines, **_: logged.extend(lines))

    def run(stdin: str, *arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        code = hook.program(arguments)
        out, err = capsys.readouterr()
        assert out == ""
        assert all(any(line in said for said in err.splitlines()) for line in logged)
        assert bool(logged) == bool(err)
        return code, err

    return run


@pytest.mark.parametrize("runtime", [CONTAINERD, CRIO])
def test_without_its_device(refused: Hook, runtime: dict[str, str]) -> None:
    """A container whose pod lacks an allowed device is refused, in one line."""
    words = "not in the pod: `netdevns nri` was not connected to the runtime, or could not move them; see hook.log"
    code, said = refused(state(runtime | ASKS), "--allow", "edge/eth7")
    assert (code, said) == (1, f"netdevns: pod edge/web: eth7: {words}\n")


@pytest.mark.parametrize(
    ("annotations", "allowed"),
    [
        (CONTAINERD, "eth7"),
        (CONTAINERD | ASKS, "eth1"),
        (CONTAINERD | ASKS, "default/eth7"),
        (CONTAINERD | ASKS | {"io.kubernetes.cri.container-type": "sandbox"}, "eth7"),
        (CRIO | ASKS | {"io.kubernetes.cri-o.ContainerType": "sandbox"}, "eth7"),
        (ASKS, "eth7"),
        ({}, "eth7"),
        (None, "eth7"),
        ({"x": 1}, "eth7"),
    ],
)
def test_passes(refused: Hook, annotations: object, allowed: str) -> None:
    """Sandboxes, containers of no pod, and those without annotations of allowed devices."""
    assert refused(state(annotations), "--allow", allowed) == (0, "")


@pytest.mark.parametrize(
    ("stdin", "allowed", "words"),
    [
        ("", "eth7", "state on stdin: "),
        ("{", "eth7", "state on stdin: "),
        (state(CONTAINERD | {"org.netdevns.device.eth7": 5}), "eth7", "a string is needed, not 5"),
        (state(CONTAINERD | ASKS), "", '--allow "": write GLOB or NAMESPACE/GLOB'),
    ],
)
def test_invalid(refused: Hook, stdin: str, allowed: str, words: str) -> None:
    """A container is refused where the hook cannot tell: exit code 2."""
    code, said = refused(stdin, "--allow", allowed)
    assert code == 2
    assert words in said
    assert "nothing was touched" in said


def test_as_a_process() -> None:
    """As a runtime starts it; an argument that it does not know refuses the container, too."""
    words = [sys.executable, "-m", "netdevns", "nri", "--hook", "--allow"]
    for more, code in ((["eth1"], 0), ([], 2), (["eth1", "eth2"], 2)):
        done = subprocess.run([*words, *more], input=state(CRIO | ASKS).encode(), capture_output=True, timeout=60)
        assert (done.returncode, done.stdout) == (code, b"")


def test_pod_of_another_runtime_is_none() -> None:
    """Not a pod's: no sandbox is named."""
    assert hook.pod_of(State(state(ASKS).encode())) is None
    pod = hook.pod_of(State(state(CRIO | ASKS).encode()))
    assert pod == {"id": SANDBOX, "name": "web", "namespace": "edge"}


def test_base_spec() -> None:
    """The hook is the first one; an earlier one of netdevns is replaced, and others stay."""
    other = {"path": "/bin/true", "args": ["true"]}
    hooks = {"createRuntime": [other, {**HOOK, "timeout": 1}], "poststop": [other]}
    spec = {"ociVersion": "1.2.0", "process": {"cwd": "/", "rlimits": [{}]}, "hooks": hooks}
    made = strict.base_spec(spec, HOOK)
    hooks = {"createRuntime": [HOOK, other], "poststop": [other]}
    assert made == {"ociVersion": "1.2.0", "process": {"cwd": "/"}, "hooks": hooks}
    assert strict.is_ours(made)
    assert strict.is_ours(hooks_dir.document(HOOK, "createRuntime"))


@pytest.mark.parametrize(
    "parsed", [None, [], {}, {"hook": {"args": "nri --hook"}}, {"hooks": {"createRuntime": 3}}, b"x"]
)
def test_others_files(parsed: object) -> None:
    """A file without the hook is none of netdevns'."""
    assert not strict.is_ours(parsed)


@pytest.mark.parametrize("more", [{"hooks": 3}, {"hooks": {"createRuntime": "x"}}, {"process": [1]}])
def test_odd_spec(more: dict[str, object]) -> None:
    """A spec whose hooks or process are of another type is refused."""
    with pytest.raises(Refused, match="is needed"):
        strict.base_spec({"ociVersion": "1.2.0", **more}, HOOK)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("stdin", ["", "{", "[]", "{}", '{"ociVersion": 3}'])
def test_no_spec(stdin: str) -> None:
    """Without containerd's spec on stdin: exit code 2, and the command to type."""
    words = [sys.executable, "-m", "netdevns", "nri", "--strict", "containerd", "--allow", "x"]
    done = subprocess.run(words, input=stdin, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert "stdin of --strict containerd: " in done.stderr


def test_closed_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal, or no stdin at all, gets the command to type."""
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    for stdin in (None, terminal):
        monkeypatch.setattr(sys, "stdin", stdin)
        with pytest.raises(Refused, match=r"ctr oci spec \| netdevns nri --strict containerd --allow GLOB"):
            strict._spec()


@pytest.mark.parametrize(
    "arguments", [("--install",), ("--dir", "/tmp"), ("--strict", "containerd", "--allow", ""), ("--strict", "docker")]
)
def test_usage(arguments: tuple[str, ...]) -> None:
    """Options that do not belong together, or a runtime that is not known: exit code 2."""
    words = [sys.executable, "-m", "netdevns", "nri", *arguments]
    assert subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=60).returncode == 2
