"""Files that start netdevns: those that are found, and what is wrong with them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from netdevns import __version__
from netdevns.doctor import installations
from netdevns.doctor.conf import Toml
from netdevns.doctor.finding import Finding
from netdevns.doctor.lines import Trials
from netdevns.oci import cdi, hooks_dir, netavark, units

from .made import HOOK, Tree, cdi_file, entry, hooks_file, said, worse

ROOT = Path(__file__).parents[3]
CDI, HOOKS = "/etc/cdi/vendor.com-nic.json", "/usr/share/containers/oci/hooks.d"
PLUGIN = "/usr/local/libexec/netavark/netdevns"
LAUNCHER = '#!/bin/sh\n# Written by `netdevns netavark`.\nexec /opt/netdevns/bin/netdevns netavark "$@"\n'
RUNS = f"runs netdevns-hook {__version__}, {HOOK}"


def examined(tree: Tree) -> list[Finding]:
    host = tree.host()
    conf = Toml(host)
    return [*installations.check(host, installations.search(host, conf), Trials(host))]


def install_hooks(tree: Tree, folder: str = HOOKS) -> None:
    tree.hook()
    tree.write(f"{folder}/netdevns-createRuntime.json", hooks_file("createRuntime", "--allow", "eth*"))
    tree.write(f"{folder}/netdevns-poststop.json", hooks_file("poststop"))


def test_nothing_is_installed(tree: Tree) -> None:
    """A warning, as a hook may be in a config.json; other files of the same folders are not looked at."""
    tree.write("/etc/cdi/nvidia.json", {"kind": "nvidia.com/gpu"})
    tree.write(f"{HOOKS}/oci-systemd.json", "no JSON")
    (found,) = examined(tree)
    assert (found.severity, found.subject) == ("warning", "installations")
    (found,) = installations.check(tree.host(), [], Trials(tree.host()), is_bundle=True)
    assert (found.severity, found.subject) == ("ok", "installations")


def test_all_is_well(tree: Tree) -> None:
    """One line for each file: what it is, and which netdevns it runs."""
    install_hooks(tree)
    tree.write(CDI, cdi_file({"eth1": "net0", "eth2": "eth%d"}))
    tree.write(PLUGIN, LAUNCHER, 0o755)
    tree.write(
        "/etc/containers/networks/nic1.json", {"name": "nic1", "driver": "netdevns", "options": {"device": "eth3"}}
    )
    assert said(examined(tree)) == [
        f"ok {CDI}: CDI vendor.com/nic, devices vendor.com/nic=eth1, vendor.com/nic=eth2; {RUNS}",
        f"ok {HOOKS}/netdevns-createRuntime.json: hooks.d, createRuntime; {RUNS}",
        f"ok {HOOKS}/netdevns-poststop.json: hooks.d, poststop; {RUNS}",
        f"ok {PLUGIN}: netavark plugin; runs netdevns {__version__}, /opt/netdevns/bin/netdevns",
        "ok /etc/containers/networks/nic1.json: podman network nic1, device eth3",
    ]


def test_devices(tree: Tree) -> None:
    """All files name devices: arguments, globs without a wildcard, networks and units of `prepare`."""
    tree.write(CDI, cdi_file({"eth1": "net0"}))
    tree.write(f"{HOOKS}/a.json", hooks_file("createRuntime", "--allow", "eth2", "--allow", "eth[3-9]"))
    tree.write("/etc/containers/networks/nic1.json", {"driver": "netdevns", "options": {"device": "eth4"}})
    unit = 'ExecStart=:/opt/netdevns/bin/netdevns prepare blue eth5=net5 "eth6"\n'
    tree.write("/etc/systemd/system/netdevns-prepare-blue.service", f"[Service]\n{unit}")
    host = tree.host()
    found = [each.devices for each in installations.search(host, Toml(host))]
    assert found == [{"eth1": "net0"}, {"eth2": "eth2"}, {"eth4": "eth4"}, {"eth5": "net5", "eth6": "eth6"}]


@pytest.mark.parametrize("path", ["/etc/cdi/x.json", f"{HOOKS}/x.json"])
def test_truncated_file(path: str, tree: Tree) -> None:
    """No runtime reads it."""
    tree.write(path, '{"netdevns": [')
    (found,) = [each for each in examined(tree) if each.subject == path]
    assert found.severity == "error"
    assert "not valid JSON" in found.text


@pytest.mark.parametrize(
    ("path", "mode"), [(CDI, 0o666), (CDI, 0o664), (f"{HOOKS}/netdevns-poststop.json", 0o602), (PLUGIN, 0o777)]
)
def test_file_that_others_may_write(path: str, mode: int, tree: Tree) -> None:
    """Who writes it becomes root."""
    install_hooks(tree)
    tree.write(CDI, cdi_file({"eth1": "net0"}))
    tree.write(PLUGIN, LAUNCHER, 0o755)
    (tree.root / path.lstrip("/")).chmod(mode)
    (found,) = worse(examined(tree))
    assert found.startswith(
        f"error {path}: {tree.root}{path}: other users may write to it (mode {mode:04o}); only root"
    )


def test_missing_hook(tree: Tree) -> None:
    """Each file whose program is gone is named."""
    tree.write(CDI, cdi_file({"eth1": "net0"}))
    assert worse(examined(tree)) == [f"error {CDI}: there is no {HOOK}"]


@pytest.mark.parametrize(
    ("hook", "text"),
    [
        (entry("createruntime", "eth1"), "error {}: device eth1: hook: the stage is missing or unknown"),
        (entry("createRuntime", "--allow"), "error {}: device eth1: hook: --allow: a GLOB for host names is missing"),
        (
            {"path": "/bin/sh", "args": ["sh", "-c", "netdevns-hook createRuntime eth1"]},
            "warning {}: device eth1 does not start netdevns in a known form",
        ),
    ],
)
def test_lines_by_hand(hook: dict[str, object], text: str, tree: Tree) -> None:
    """A line that netdevns refuses is an error; one of an unknown form was not tried."""
    tree.hook()
    edits = {"hooks": [{"hookName": "createRuntime", **hook}]}
    tree.write(CDI, {"kind": "vendor.com/nic", "devices": [{"name": "eth1", "containerEdits": edits}]})
    assert worse(examined(tree))[0].startswith(text.format(CDI))


def test_cdi_name_in_two_files(tree: Tree) -> None:
    """In one folder they conflict, and neither is known; /run/cdi has priority over /etc/cdi."""
    tree.hook()
    for path in ("/etc/cdi/a.json", "/etc/cdi/b.json"):
        tree.write(path, cdi_file({"eth1": "net0"}))
    tree.write("/var/run/cdi/c.json", cdi_file({"eth1": "net1"}))
    assert worse(examined(tree)) == [
        "error /etc/cdi/b.json: vendor.com/nic=eth1 is in /etc/cdi/a.json, too: runtimes then know neither",
        "warning /var/run/cdi/c.json: vendor.com/nic=eth1 is in /etc/cdi/a.json, too: this file counts",
    ]


def test_native_cdi(tree: Tree) -> None:
    """It has no hook, and no runtime yet reads it; its devices are known."""
    tree.write(CDI, cdi.document("vendor.com/nic", {"eth1": "net0"}, cdi.NATIVE))
    host = tree.host()
    (found,) = installations.search(host, Toml(host))
    assert found.devices == {"eth1": "net0"}
    assert "neither podman 6.1 nor containerd 2.1 reads this version" in worse(examined(tree))[0]


def test_yaml(tree: Tree) -> None:
    """A file that is not read is named."""
    tree.write("/etc/cdi/nic.yaml", "kind: vendor.com/nic # netdevns")
    assert worse(examined(tree)) == [
        "warning /etc/cdi/nic.yaml: YAML, which is not read here: its lines were not tried"
    ]


# ---- hooks.d -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stage", "text"),
    [
        ("createRuntime", "error {}: no file for createRuntime: no container gets a device by annotation"),
        ("poststop", "warning {}: no file for poststop: no device is restored when its container ends"),
    ],
)
def test_half_of_hooks_dir(stage: str, text: str, tree: Tree) -> None:
    """A stage without its file."""
    install_hooks(tree)
    (tree.root / HOOKS.lstrip("/") / f"netdevns-{stage}.json").unlink()
    assert worse(examined(tree)) == [text.format(HOOKS)]


def test_no_glob(tree: Tree) -> None:
    """Without --allow no annotation gets a device."""
    install_hooks(tree)
    path = f"{HOOKS}/netdevns-createRuntime.json"
    tree.write(path, hooks_file("createRuntime"))
    assert worse(examined(tree)) == [f"error {path}: its line has no --allow, so no annotation gets a device"]


def test_other_annotations(tree: Tree) -> None:
    """A pattern that no annotation of netdevns matches; one that is no pattern at all does not, either."""
    install_hooks(tree)
    path = f"{HOOKS}/netdevns-createRuntime.json"
    when = {"annotations": {"^com\\.example\\.": ".*", "(": ".*"}}
    tree.write(path, {**hooks_file("createRuntime", "--allow", "eth1"), "when": when})
    (found,) = worse(examined(tree))
    assert found == f"warning {path}: its annotations do not match org.netdevns.device.DEV: no container starts it"


def test_wrong_stage(tree: Tree) -> None:
    """A line for one stage in a file for another one."""
    install_hooks(tree)
    path = f"{HOOKS}/netdevns-poststop.json"
    tree.write(path, {**hooks_file("poststop"), "stages": ["createContainer"]})
    assert worse(examined(tree)) == [f"error {path}: its hook is for poststop, but its stages are createContainer"]


@pytest.mark.parametrize("configured", [False, True])
def test_folder_that_podman_does_not_read(configured: bool, tree: Tree) -> None:
    """/etc/containers/oci/hooks.d, unless a hooks_dir of containers.conf names it; the last file counts."""
    folder = "/etc/containers/oci/hooks.d"
    install_hooks(tree, folder)
    tree.write("/usr/share/containers/containers.conf", '[engine]\nhooks_dir = ["/nowhere"]\n')
    if configured:
        tree.write("/etc/containers/containers.conf.d/x.conf", f'[engine]\nhooks_dir = ["{folder}"]\n')
    text = f"podman does not read {folder} by itself"
    assert [text in each for each in worse(examined(tree))] == ([] if configured else [True, True])


@pytest.mark.parametrize("value", ['"/a"', "7", "[7]", '["rel", "/a\\u0000b"]', '{x = "/a"}'])
def test_any_configuration(value: str, tree: Tree) -> None:
    """Only absolute paths are folders."""
    install_hooks(tree)
    tree.write(
        "/etc/containers/containers.conf", f"[engine]\nhooks_dir = {value}\n[network]\nnetwork_config_dir = {value}\n"
    )
    tree.write("/etc/containerd/config.toml", f"imports = {value}\n")
    assert all("podman does not read" in each for each in worse(examined(tree)))


def test_own_files_are_well(tree: Tree) -> None:
    """What `hooks-dir --install` writes has no problem but the program's folder, which is the checkout's."""
    for name, document in hooks_dir.documents(["eth*"], with_python=True).items():
        tree.write(f"{HOOKS}/{name}", document)
    host = tree.host()
    found = installations.search(host, Toml(host))
    assert [each.stages for each in found] == [["createRuntime"], ["poststop"]]
    assert [each.problems for each in found] == [[], []]


# ---- netavark ------------------------------------------------------------------------------------------------------


def test_own_plugin_is_well(tree: Tree) -> None:
    """What `netavark --install` writes has a known form."""
    tree.write(PLUGIN, netavark.launcher(), 0o755)
    host = tree.host()
    (found,) = installations.search(host, Toml(host))
    assert (len(found.lines), found.problems) == (1, [])


def test_network_without_its_plugin(tree: Tree) -> None:
    """podman starts no container in it."""
    path = "/etc/containers/networks/nic1.json"
    tree.write(path, {"name": "nic1", "driver": "netdevns", "options": {"device": "eth3"}})
    (found,) = worse(examined(tree))
    assert found.startswith(f"error {path}: its driver is netdevns, but there is no such plugin")


def test_plugin_that_netavark_does_not_start(tree: Tree) -> None:
    """No right to execute it, another folder, another backend."""
    tree.hook()
    tree.write(PLUGIN, LAUNCHER, 0o644)
    conf = '[network]\nnetavark_plugin_dirs = ["/opt/plugins"]\nnetwork_backend = "cni"\n'
    tree.write("/etc/containers/containers.conf", conf)
    texts = [found.partition(": ")[2] for found in worse(examined(tree))]
    assert texts == [
        "it is not executable",
        "netavark_plugin_dirs in containers.conf does not name this folder",
        "network_backend is cni: podman starts no netavark plugin",
    ]


# ---- NRI -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "texts"), [("10-netdevns", []), ("netdevns", ["its name is not NN-NAME"]), ("1-netdevns", ["its name is"])]
)
def test_nri_plugin(name: str, texts: list[str], tree: Tree) -> None:
    """The runtime starts NN-NAME only; what is installed there beside it is not looked at."""
    tree.hook()
    tree.write(f"/opt/nri/plugins/{name}", '#!/bin/sh\nexec /opt/netdevns/bin/netdevns nri "$@"\n', 0o755)
    tree.write("/opt/nri/plugins/20-other", "\x7fELF", 0o755)
    found = worse(examined(tree))
    assert len(found) == len(texts)
    assert all(text in each for text, each in zip(texts, found, strict=True))


def test_nri_plugin_without_a_folder(tree: Tree) -> None:
    """`exec netdevns`: the shell searches it in its default folders, as NRI sets no PATH."""
    tree.write("/opt/nri/plugins/90-netdevns", '#!/bin/sh\nexec netdevns nri --allow "eth*"\n', 0o755)
    assert worse(examined(tree)) == ["error /opt/nri/plugins/90-netdevns: there is no /usr/bin/netdevns"]
    tree.hook()
    tree.write("/usr/bin/netdevns", (tree.root / "opt/netdevns/bin/netdevns").read_text(), 0o755)
    assert worse(examined(tree)) == []


def test_nri_unit(tree: Tree) -> None:
    """The example of docs/pods.md is an NRI plugin, so that a runtime without NRI is an error."""
    tree.hook()
    unit = (ROOT / "examples/kubernetes/netdevns-nri.service").read_text(encoding="utf-8")
    tree.write("/etc/systemd/system/netdevns-nri.service", unit.replace("/usr/bin/", "/opt/netdevns/bin/"))
    (found,) = installations.search(tree.host(), Toml(tree.host()))
    assert (found.way, found.problems) == ("nri", [])
    assert worse(examined(tree)) == []


def test_strict_hook(tree: Tree) -> None:
    """The file of `nri --strict cri-o` has a known form, and needs no poststop hook."""
    tree.hook()
    hook = {"path": HOOK.replace("-hook", ""), "args": ["netdevns", "nri", "--hook", "--allow", "eth*"]}
    path = f"{HOOKS}/netdevns-nri.json"
    tree.write(path, hooks_dir.document(hook, "createRuntime"))
    text = f"hooks.d, netdevns nri --strict; runs netdevns {__version__}, /opt/netdevns/bin/netdevns"
    assert said(examined(tree)) == [f"ok {path}: {text}"]


def test_nri_process(tree: Tree) -> None:
    """A plugin that runs by itself, as in a DaemonSet."""
    tree.process(76, "/bin/sh", "-c", "netdevns nri")
    tree.process(77, "/usr/bin/python3", "-IS", "/usr/bin/netdevns", "nri")
    assert said(examined(tree)) == ["ok process 77: NRI plugin, running"]


# ---- systemd -------------------------------------------------------------------------------------------------------


def test_unit_of_a_removed_installation(tree: Tree) -> None:
    """Its program is tried, too."""
    path = "/etc/systemd/system/netdevns-return.service"
    tree.write(path, "[Service]\nExecStart=:/opt/gone/bin/netdevns return --arrived\n")
    assert worse(examined(tree)) == [f"error {path}: there is no /opt/gone/bin/netdevns"]


def test_own_units_are_known(tree: Tree) -> None:
    """What `units --install` writes has a known form, also with blanks and percent signs in its paths."""
    words = [
        "/opt/my %venv/bin/python3.11",
        "-I",
        "-S",
        "-c",
        "import sys; sys.path += ['/a b', '/c']; import netdevns.__main__",
    ]
    texts = units.common(words) | {"netdevns-prepare-b.service": units.prepare(words, "b", {"eth1": "net0"})}
    for name, text in texts.items():
        tree.write(f"/etc/systemd/system/{name}", text)
    host = tree.host()
    found = installations.search(host, Toml(host))
    assert {os.path.basename(each.path) for each in found} == {
        f"netdevns-{n}.service" for n in ("prepare-b", "recover", "return")
    }
    assert [each.problems for each in found] == [[], [], []]
    assert {line.start for each in found for line in each.lines} == {tuple(words)}
    assert found[0].devices == {"eth1": "net0"}


# ---- hostile files -------------------------------------------------------------------------------------------------

HOSTILE: dict[str, object] = {
    "no object": [],
    "devices": {"kind": 7, "devices": {"netdevns": 1}, "containerEdits": [7]},
    "hooks": {"kind": "a", "devices": [7, {"name": 7, "containerEdits": {"hooks": "netdevns"}}]},
    "args": {"hook": {"path": ["netdevns"], "args": {"netdevns": 1}}, "stages": 7, "when": {"annotations": [7]}},
    "names": {
        "kind": "\x1b[31m\n",
        "devices": [{"name": "\ud800", "containerEdits": {"netDevices": [7, {}, {"hostInterfaceName": 7}]}}],
        "x": "netdevns",
    },
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("path", [CDI, f"{HOOKS}/x.json", "/etc/containers/networks/x.json"])
def test_any_json(content: object, path: str, tree: Tree) -> None:
    """No shape of JSON ends the search."""
    tree.write(path, content)
    for each in examined(tree):
        assert each.severity in ("ok", "warning", "error")


@pytest.mark.parametrize("path", [CDI, f"{HOOKS}/x.json", PLUGIN, "/opt/nri/plugins/10-netdevns"])
def test_no_regular_file(path: str, tree: Tree) -> None:
    """A FIFO keeps nobody waiting, and is named; so is a folder, and a file of 2 MiB."""
    file = tree.write(path, "")
    for make in (lambda: os.mkfifo(file), lambda: file.mkdir(), lambda: file.write_bytes(b"netdevns" * (1 << 18))):
        file.rmdir() if file.is_dir() else file.unlink()
        make()
        host = tree.host()
        installations.search(host, Toml(host))
        assert [*host.unread] == [path]


def test_link_of_another(tmp_path: Path, tree: Tree) -> None:
    """A file behind another user's link is not to be trusted."""
    tree.hook()
    real = tmp_path / "real.json"
    os.rename(tree.write(CDI, cdi_file({"eth1": "net0"})), real)
    link = tree.root / CDI.lstrip("/")
    link.symlink_to(real)
    os.chown(link, 4711, 4711, follow_symlinks=False)
    assert "this symbolic link belongs to user 4711" in worse(examined(tree))[0]
