"""--strict: containers of a pod without its devices are refused while the plugin is dead; with a real containerd."""

from __future__ import annotations

import json
import re
import signal
import sys
from typing import Any

import pytest

from .pods import SUITES, Pods, annotations, program

pytestmark = pytest.mark.thorough  # containerd is fetched for the full run; without it: test_nri_played.py
NET0 = annotations(eth1="net0")
FOLDER = "/run/etc"
TASKS = "/run/containerd/state/io.containerd.runtime.v2.task/k8s.io"
REFUSED = "pod default/web: eth1: not in the pod: `netdevns nri` was not connected to the runtime"


@pytest.fixture
def strict(pods: Pods) -> Pods:
    """containerd with the file of --strict, and with the configuration that it asks for."""
    spec = pods.machine.run([program(pods.suite, "usr/bin/ctr"), "oci", "spec"])
    spec.check_returncode()
    words = [sys.executable, "-m", "netdevns", "nri", "--strict", "containerd", "--allow", "eth*"]
    done = pods.machine.run([*words, "--install", "--dir", FOLDER], stdin=spec.stdout.encode())
    assert (done.returncode, done.stdout) == (0, f"wrote {FOLDER}/netdevns-spec.json\n"), done
    _, _, asked = done.stderr.strip().partition(": base_runtime_spec")
    pods.strict = "\n".join(f"base_runtime_spec{asked}".split(" and "))
    pods.end_containerd()
    pods.start_containerd()
    return pods


@pytest.mark.parametrize("pods", SUITES, indirect=True)
def test_refused_without_the_plugin(strict: Pods) -> None:
    """The sandbox starts, containers do not, until the plugin is there; pods without annotations are not affected."""
    with strict.restored():
        pod = strict.cri.run("web", NET0)
        assert REFUSED in strict.why_no_container(pod)
        assert REFUSED in strict.machine.hook_log()
        other = strict.cri.run("other", annotations(mv0=""))  # which is not allowed
        assert strict.why_no_container(other) == ""
        plain = strict.cri.run("plain", {})
        assert strict.why_no_container(plain) == ""
        strict.start_plugin("--allow", "eth*")
        assert strict.why_no_container(pod) == ""
        assert strict.links(pod) == {"net0"}
        for each in (pod, other, plain):
            strict.cri.stop(each)


def test_dead_plugin(strict: Pods) -> None:
    """A pod that has its devices gets further containers without the plugin."""
    strict.start_plugin("--allow", "eth*")
    with strict.restored():
        pod = strict.cri.run("web", NET0)
        strict.end_plugin(signal.SIGKILL)
        assert strict.why_no_container(pod) == ""
        strict.start_plugin("--allow", "eth*")
        strict.cri.stop(pod)


def configuration(pods: Pods) -> dict[str, Any]:
    """The config.json of a container, without what names it, its pod or their processes."""
    pod = pods.cri.run("plain", {})
    assert pods.why_no_container(pod) == ""
    (path,) = (each for each in pods.machine.path(TASKS).iterdir() if each.name != pod)
    text = (path / "config.json").read_text().replace(pod, "POD").replace(path.name, "ID")
    pods.cri.stop(pod)
    pods.cri.remove(pod)
    return dict(json.loads(re.sub("/proc/[0-9]+/", "/proc/PID/", text)))


@pytest.mark.parametrize("pods", SUITES, indirect=True)
def test_containers_are_as_without_it(pods: Pods, request: pytest.FixtureRequest) -> None:
    """With the file, a container has the same configuration as without, and the hook."""
    before = configuration(pods)
    request.getfixturevalue("strict")
    after = configuration(pods)
    assert len(after.pop("hooks")["createRuntime"]) == 1
    assert after == before


def test_file(strict: Pods) -> None:
    """It is containerd's own spec and one hook; a second install replaces the hook; --uninstall removes the file."""
    path = strict.machine.path(f"{FOLDER}/netdevns-spec.json")
    made = json.loads(path.read_text())
    words = [sys.executable, "-m", "netdevns", "nri", "--strict", "containerd", "--allow", "x"]
    again = strict.machine.run([*words, "--install", "--dir", FOLDER], stdin=path.read_bytes())
    assert again.returncode == 0, again
    replaced = json.loads(path.read_text())
    (before,), (after,) = (each.pop("hooks")["createRuntime"] for each in (made, replaced))
    assert made == replaced
    assert (before["args"][-2:], after["args"][-2:]) == (["--allow", "eth*"], ["--allow", "x"])
    gone = strict.machine.run([*words, "--uninstall", "--dir", FOLDER])
    assert (gone.returncode, gone.stdout) == (0, f"removed {FOLDER}/netdevns-spec.json\n")
    assert not path.exists()
