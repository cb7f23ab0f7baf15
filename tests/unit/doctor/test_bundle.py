"""One bundle: whether it asks for devices, and by which way they come."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from netdevns.doctor import bundle
from netdevns.doctor.bundle import Bundle
from netdevns.doctor.lines import Trials

from .made import HOOK, Tree, entry, worse

HOOKS = {"createRuntime": [entry("createRuntime")], "poststop": [entry("poststop")]}
NETWORK = {"namespaces": [{"type": "network"}]}
DEVICES = {"linux": {"netDevices": {"eth1": {"name": "net0"}}, **NETWORK}}


def examined(tree: Tree, config: object, native: tuple[str, ...] = ()) -> list[str]:
    """What is not ok; the devices are not here, so no move is checked."""
    tree.hook()
    path = tree.write("/bundle/config.json", config)
    host = tree.host()
    found = bundle.check(host, Bundle(str(path.parent)), Trials(host), native)
    return [line.replace(str(path), "config.json") for line in worse(found)]


@pytest.mark.parametrize("key", ["io.kubernetes.cri.sandbox-id", "io.kubernetes.cri-o.SandboxID"])
def test_container_of_a_pod(tree: Tree, key: str) -> None:
    """The NRI plugin moves its devices, not a hook; the hook of `nri --strict` has a known form."""
    strict = {"path": HOOK.replace("-hook", ""), "args": ["netdevns", "nri", "--hook", "--allow", "eth*"]}
    config = {"hooks": {"createRuntime": [strict]}, "linux": NETWORK}
    asks = {key: "1", "org.netdevns.device.eth1": "net0"}
    assert examined(tree, {**config, "annotations": asks}) == []
    (found,) = examined(tree, {**config, "annotations": {key: "1"}})
    assert "a container of a pod without annotations of devices" in found


def test_all_is_well(tree: Tree) -> None:
    """Devices and both hooks; or a runtime that moves them itself."""
    assert examined(tree, {**DEVICES, "hooks": HOOKS}) == []
    assert examined(tree, DEVICES, ("/usr/bin/runc",)) == []


LACKS: dict[str, tuple[object, str]] = {
    "no hook": (
        DEVICES,
        "eth1 -> net0: no createRuntime hook of netdevns, and no runtime here moves linux.netDevices itself",
    ),
    "no devices": (
        {"hooks": HOOKS, "linux": NETWORK},
        "asks for no device: neither by linux.netDevices, an annotation, nor a",
    ),
    "an annotation": (
        {"hooks": HOOKS, "annotations": {"org.netdevns.device.eth1": "net0"}, **DEVICES},
        "",
    ),
    "an annotation alone": (
        {"hooks": HOOKS, "annotations": {"org.netdevns.device.eth2": "net2"}, **DEVICES},
        "its annotation asks for eth2, which no --allow of a hook admits: it is ignored",
    ),
    "two names": (
        {
            "hooks": {"createRuntime": [entry("createRuntime", "eth1=other")], "poststop": [entry("poststop")]},
            **DEVICES,
        },
        'eth1: the hook\'s argument says "other", config.json says "net0"; give one name',
    ),
    "the host's network": (
        {"hooks": HOOKS, "linux": {"netDevices": {"eth1": {}}}},
        "linux.namespaces has no network namespace",
    ),
    "another stage": (
        {"hooks": {"createContainer": [entry("createRuntime")], "poststop": [entry("poststop")]}, **DEVICES},
        "hooks.createContainer has the line for createRuntime",
    ),
    "no stage": (
        {"hooks": {"createRuntime": [entry("eth1")]}, **DEVICES},
        "hooks.createRuntime: hook: the stage is missing",
    ),
    "a schema error": ({"linux": {"netDevices": {"eth1": "net0"}}}, "linux.netDevices.eth1: an object such as"),
    "no JSON": ("{", "not valid JSON: "),
    "no object": ([], "a JSON object is needed, not an array"),
}


@pytest.mark.parametrize(("config", "text"), LACKS.values(), ids=LACKS)
def test_what_is_wrong(config: object, text: str, tree: Tree) -> None:
    """One error, with its reason."""
    found = examined(tree, config)
    assert len(found) == bool(text), found
    assert all(each.startswith(f"error config.json: {text}") for each in found)


def test_no_poststop(tree: Tree) -> None:
    """The device moves, and does not come home."""
    found = examined(tree, {"hooks": {"createRuntime": HOOKS["createRuntime"]}, **DEVICES})
    assert found == ["warning config.json: no poststop hook of netdevns: no device is restored when the container ends"]


def test_hook_that_does_not_run(tree: Tree) -> None:
    """Hooks of a bundle are tried as those of other files."""
    gone = {stage: [entry(stage, path="/opt/gone/netdevns-hook")] for stage in HOOKS}
    (found,) = examined(tree, {"hooks": gone, **DEVICES})
    assert found == "error config.json: hook /opt/gone/netdevns-hook: there is no /opt/gone/netdevns-hook"


def test_unknown_line(tree: Tree) -> None:
    """A wrapper may work: a warning, and the bundle has no known hook."""
    wrapper = {"path": "/usr/local/bin/wrap", "args": ["wrap", "netdevns", "createRuntime"]}
    found = examined(tree, {"hooks": {"createRuntime": [wrapper]}, **DEVICES})
    assert (
        found[0]
        == "warning config.json: hooks.createRuntime: does not start netdevns in a known form: it was not tried"
    )


@pytest.mark.parametrize("hooks", [7, {"createRuntime": 7}, {"createRuntime": [7, None, {}]}, {"": [[]]}])
def test_any_hooks(hooks: object, tree: Tree) -> None:
    """No shape of the JSON ends it."""
    assert len(examined(tree, {"hooks": hooks, **DEVICES})) == 1


@pytest.mark.parametrize("name", ["nothing", "/dev/null/x", "a\0b"])
def test_no_bundle(name: str, tmp_path: Path, tree: Tree) -> None:
    """A path that leads nowhere."""
    made = Bundle(str(tmp_path / name))
    host = tree.host()
    (found,) = bundle.check(host, made, Trials(host), ())
    assert (found.severity, "cannot be read: " in found.text) == ("error", True)


def test_file_instead_of_a_bundle(tree: Tree) -> None:
    """BUNDLE may be the config.json."""
    path = tree.write("/x/other.json", DEVICES)
    made = Bundle(str(path))
    assert (made.path, made.devices) == (str(path), {"eth1": "net0"})


def test_devices_of_all_sources(tree: Tree) -> None:
    """Arguments, config.json and allowed annotations: as the hook merges them."""
    hooks: Mapping[str, object] = {"createRuntime": [entry("createRuntime", "--allow", "eth*", "mv0", path=HOOK)]}
    config = {**DEVICES, "hooks": hooks, "annotations": {"org.netdevns.device.eth2": "", "org.netdevns.device.x": "y"}}
    made = Bundle(str(tree.write("/b/config.json", config)))
    assert made.devices == {"mv0": "mv0", "eth1": "net0", "eth2": "eth2"}
    assert made.refused_annotations() == ["x"]
