"""Runtimes and managers: their versions, and what they read."""

from __future__ import annotations

import errno
import json

import pytest

from netdevns.doctor import host, runtimes
from netdevns.doctor.conf import Toml
from netdevns.doctor.finding import Finding
from netdevns.doctor.installations import Installation
from netdevns.system import programs

from .made import Tree, said, worse

NATIVE = json.dumps({"ociVersionMax": "1.3.0", "linux": {"netDevices": {"enabled": True}}})


def examined(tree: Tree, *ways: str) -> list[Finding]:
    made = tree.host()
    found = [Installation(way, f"/{way}", way) for way in ways]
    return [each for each in runtimes.check(made, found, Toml(made)) if each.subject != "runtimes"]


@pytest.mark.parametrize(
    ("features", "text"),
    [
        (NATIVE, "moves linux.netDevices itself"),
        ('{"linux": {"netDevices": {"enabled": false}}}', "does not know linux.netDevices"),
        ('{"linux": {}}', "does not know linux.netDevices"),
        ("[[[", "does not know linux.netDevices"),
        (None, "does not know linux.netDevices"),
    ],
)
def test_net_devices(features: str | None, text: str, tree: Tree) -> None:
    """What `features` says decides; older runtimes have no such command."""
    tree.program("/usr/sbin/runc", "runc version 1.1.5+ds1", *([features] if features else []))
    (found,) = said(examined(tree))
    assert found.startswith(f"ok /usr/sbin/runc: runc version 1.1.5+ds1: {text}")
    assert bool(runtimes.native(tree.host())) == (features == NATIVE)


def test_no_runtime(tree: Tree) -> None:
    """A container needs one."""
    made = tree.host()
    assert worse(runtimes.check(made, [], Toml(made))) == [
        "warning runtimes: no runc, crun, youki in the usual folders"
    ]


def test_one_file_with_two_names(tree: Tree) -> None:
    """/bin is a link to /usr/bin; two files of one name are two runtimes."""
    tree.program("/usr/bin/crun", "crun version 1.8.1")
    (tree.root / "bin").symlink_to(tree.root / "usr/bin")
    tree.program("/usr/local/bin/crun", "crun version 1.28")
    assert [each.subject for each in examined(tree)] == ["/usr/local/bin/crun", "/usr/bin/crun"]


@pytest.mark.parametrize(("uid", "hint"), [(0, "run it by hand, with --version"), (4711, "sudo netdevns doctor")])
def test_program_that_cannot_be_isolated(uid: int, hint: str, tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """The remedy is the privilege, if there is a way to it."""

    def run(*_: object, **__: object) -> None:
        raise programs.NotIsolated(errno.EPERM, "it cannot be started isolated, so that it changes nothing")

    monkeypatch.setattr(programs, "run", run)
    monkeypatch.setattr(host.os, "geteuid", lambda: uid)
    tree.program("/usr/sbin/runc", "runc version 1.1.5+ds1")
    (found,) = examined(tree)
    assert found.severity == "warning"
    assert found.text == "not started: CAP_SYS_ADMIN is needed, so that it changes nothing"
    assert found.hint == hint


def test_program_of_another_is_not_started(tree: Tree, started: list[list[str]]) -> None:
    """Nor is a script whose interpreter another user could replace."""
    tree.write("/usr/bin/runc", "#!/bin/sh\necho 1\n", 0o757)
    shell = tree.write("/opt/sh", "#!/bin/sh\necho 1\n", 0o757)
    tree.write("/usr/bin/crun", f"#!{shell} -e\n", 0o755)
    tree.write("/usr/bin/podman", f"#! {shell}", 0o755)
    texts = worse(examined(tree))
    assert [each.partition(":")[0] for each in texts] == [
        "warning /usr/bin/runc",
        "warning /usr/bin/crun",
        "warning /usr/bin/podman",
    ]
    assert all("not started: " in each and "other users may write to it" in each for each in texts)
    assert runtimes.native(tree.host()) == []
    assert started == []


def test_program_that_fails(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its version is not known; the others' are."""
    monkeypatch.setattr(host, "RUN_S", 0.3)
    tree.write("/usr/bin/runc", "#!/bin/sh\nexec sleep 600\n", 0o755)
    assert said(examined(tree)) == ["warning /usr/bin/runc: its version is not known: it did not end within 0.3 s"]
    (tree.root / "usr/bin/runc").unlink()
    monkeypatch.setattr(host, "RUN_S", 60)
    tree.write("/usr/bin/crun", "#!/bin/sh\nexit 1\n", 0o755)
    tree.program("/usr/bin/youki", "youki 0.5.1\x1b[31m")
    assert said(examined(tree)) == [
        "warning /usr/bin/crun: its version is not known: exit code 1",
        "ok /usr/bin/youki: youki 0.5.1\\x1b[31m: does not know linux.netDevices: a hook moves the devices",
    ]


# The program, its version, the ways, further files, and the finding.
MANAGERS = {
    "podman": ("podman", "podman version 5.8.6", ["cdi"], {}, "ok: CDI, hooks.d, netavark plugins"),
    "old podman": ("podman", "podman version 4.3.1", ["cdi"], {}, "ok: CDI and hooks.d, but no netavark plugins"),
    "old podman, networks": (
        "podman",
        "podman version 4.3.1",
        ["netavark"],
        {},
        "error: CDI and hooks.d, but no netavark",
    ),
    "podman without netavark": ("podman", "podman version 5.4.2", ["netavark"], {}, "warning: there is no netavark"),
    "docker": ("docker", "Docker version 28.5.2, build 0aeb4b2", ["cdi"], {}, "ok: CDI"),
    "old docker": (
        "docker",
        "Docker version 20.10.24+dfsg1, build 297e128",
        ["cdi"],
        {},
        "warning: its --device takes paths",
    ),
    "old docker, no CDI": ("docker", "Docker version 20.10.24", [], {}, "ok: its --device takes paths"),
    "docker, CDI off": (
        "docker",
        "Docker version 26.1.5",
        ["cdi"],
        {},
        "warning: CDI is off in /etc/docker/daemon.json",
    ),
    "docker, CDI on": (
        "docker",
        "Docker version 26.1.5",
        ["cdi"],
        {"/etc/docker/daemon.json": {"features": {"cdi": True}}},
        "ok: CDI, by /etc/docker/daemon.json",
    ),
    "docker, no JSON": (
        "docker",
        "Docker version 26.1.5",
        ["cdi"],
        {"/etc/docker/daemon.json": "{"},
        "warning: CDI is off",
    ),
    "containerd": (
        "containerd",
        "containerd github.com/containerd/containerd/v2 2.1.9 x",
        ["cdi"],
        {},
        "ok: CDI and NRI",
    ),
    "old containerd": (
        "containerd",
        "containerd containerd.io 1.7.1 x",
        ["cdi"],
        {},
        "warning: CDI only where its CRI",
    ),
    "old containerd, NRI": ("containerd", "containerd containerd.io 1.7.1 x", ["nri"], {}, "error: NRI is off"),
    "old containerd, NRI on": (
        "containerd",
        "containerd containerd.io 1.7.1 x",
        ["nri"],
        {"/etc/containerd/config.toml": 'version = 2\n[plugins."io.containerd.nri.v1.nri"]\ndisable = false\n'},
        "ok: NRI is on",
    ),
    "containerd, NRI off": (
        "containerd",
        "containerd x 2.1.9 x",
        ["nri"],
        {"/etc/containerd/config.toml": 'version = 3\n[plugins."io.containerd.nri.v1.nri"]\ndisable = true\n'},
        "error: NRI is off",
    ),
    "containerd, NRI off in an imported file": (
        "containerd",
        "containerd x 2.1.9 x",
        ["nri"],
        {
            "/etc/containerd/config.toml": 'version = 3\nimports = ["/etc/containerd/conf.d/*.toml", 7]\n',
            "/etc/containerd/conf.d/nri.toml": '[plugins."io.containerd.nri.v1.nri"]\ndisable = true\n',
        },
        "error: NRI is off",
    ),
    "containerd, no socket": (
        "containerd",
        "containerd x 2.1.9 x",
        ["nri"],
        {"/proc/7/cmdline": "/usr/bin/containerd\0"},
        "error: it runs, but there is no /var/run/nri/nri.sock",
    ),
    "containerd, a socket": (
        "containerd",
        "containerd x 2.1.9 x",
        ["nri"],
        {"/proc/7/cmdline": "/usr/bin/containerd\0", "/var/run/nri/nri.sock": ""},
        "ok: NRI is on",
    ),
    "CRI-O, NRI off": (
        "crio",
        "crio version 1.30.1",
        ["nri"],
        {
            "/etc/crio/crio.conf": "[crio.nri]\nenable_nri = true\n",
            "/etc/crio/crio.conf.d/9.conf": "[crio.nri]\nenable_nri = false\n",
        },
        "error: NRI is off",
    ),
    "CRI-O": ("crio", "crio version 1.30.1", ["nri"], {}, "ok: CDI, hooks.d, NRI (not tried)"),
}


@pytest.mark.parametrize(("program", "version", "ways", "files", "text"), MANAGERS.values(), ids=MANAGERS)
def test_managers(program: str, version: str, ways: list[str], files: dict[str, object], text: str, tree: Tree) -> None:
    """Whether it reads what is installed, by its version (docs/operator.md) and its configuration."""
    path = f"/usr/bin/{program}"
    tree.program(path, version)
    for name, content in files.items():
        tree.write(name, content)
    severity, _, words = text.partition(": ")
    (found,) = said(examined(tree, *ways))
    assert found.startswith(f"{severity} {path}: {version}: {words}")


def test_invalid_toml(tree: Tree) -> None:
    """A file that its program cannot read, either."""
    tree.program("/usr/bin/containerd", "containerd x 2.1.9")
    tree.write("/etc/containerd/config.toml", "[plugins\n")
    found = worse(examined(tree, "nri"))
    assert found[0].startswith("error /etc/containerd/config.toml: not valid TOML: ")
