"""Finds container runtimes and their managers: versions, whether they move devices themselves, CDI and NRI.

Versions that were tried: docs/operator.md, "Supported runtimes".
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ..text.quote import printable, quoted
from .conf import Toml
from .finding import ERROR, OK, WARNING, Finding
from .host import BY_HAND, Host, NotIsolated, NotRun, by_root, run, why_untrusted
from .installations import NRI_FOLDER, Installation

CHECK = "runtimes"
NRI_SOCKET = "/var/run/nri/nri.sock"
RUNTIMES = ("runc", "crun", "youki")
_NUMBERS = re.compile(r"(?<![\w.])v?(\d+)\.(\d+)(?:\.(\d+))?")
_DAEMON_JSON = "/etc/docker/daemon.json"


@dataclass(frozen=True)
class _Manager:
    """A program that starts containers by a runtime.

    Attributes:
        path, version: Its file, and the first line of its --version.
        ways: Those of the installations of netdevns.
    """

    host: Host
    conf: Toml
    ways: frozenset[str]
    path: str
    version: str

    @property
    def numbers(self) -> tuple[int, int] | None:
        found = _NUMBERS.search(self.version)
        return (int(found[1]), int(found[2])) if found else None

    def is_older(self, *numbers: int) -> bool:
        return self.numbers is not None and self.numbers < numbers

    def found(self, severity: str, text: str, hint: str) -> Finding:
        return Finding(CHECK, severity, self.path, f"{self.version}: {text}", None if severity == OK else hint)

    def ok(self, text: str) -> Finding:
        return Finding(CHECK, OK, self.path, f"{self.version}: {text}")


def check(host: Host, found: Sequence[Installation], conf: Toml) -> Iterator[Finding]:
    """Asks each runtime and manager for its version, and judges whether it reads the installations."""
    ways = frozenset(each.way for each in found)
    has_runtime = False
    for name in RUNTIMES:
        for path in host.find(name):
            has_runtime = True
            yield _runtime(host, name, path)
    if not has_runtime:
        yield Finding(CHECK, WARNING, "runtimes", f"no {', '.join(RUNTIMES)} in the usual folders", "install runc")
    for name, judge in _MANAGERS.items():
        for path in host.find(name):
            version, problem = _version(host, path)
            yield problem or judge(_Manager(host, conf, ways, path, version))
    for path, why in conf.invalid.items():
        yield Finding(CHECK, ERROR, path, f"not valid TOML: {printable(why)}", "correct it: its program fails, too")


def _version(host: Host, path: str) -> tuple[str, Finding | None]:
    """What a program says with --version, in one line; or a finding: it was not started, or failed."""
    real = host.path(path)
    if why := _why_not(real):
        return "", Finding(CHECK, WARNING, path, f"not started: {why}", "only root should be able to replace it")
    try:
        done = run([real, "--version"])
    except NotIsolated as e:
        return "", Finding(CHECK, WARNING, path, f"not started: {e}", by_root())
    except NotRun as e:
        return "", Finding(CHECK, WARNING, path, f"its version is not known: {printable(str(e))}", BY_HAND)
    lines = done.stdout.decode(errors="backslashreplace").strip().splitlines()
    if done.returncode or not lines:
        return "", Finding(CHECK, WARNING, path, f"its version is not known: exit code {done.returncode}", BY_HAND)
    return quoted(lines[0]), None


def _why_not(path: str) -> str:
    """Why a program must not be started: another user could replace it, or the interpreter of a script; or ""."""
    if why := why_untrusted(path):
        return why
    try:
        with open(path, "rb") as file:
            first = file.readline(256)
    except OSError as e:
        return f"{printable(path)}: {e.strerror}"
    words = first[2:].split()
    return why_untrusted(*(word.decode() for word in words[:1])) if first.startswith(b"#!") and first.isascii() else ""


def _runtime(host: Host, name: str, path: str) -> Finding:
    version, problem = _version(host, path)
    if problem is not None:
        return problem
    if _has_net_devices(host, path):
        text = "moves linux.netDevices itself, before hooks run; what it loses: docs/losses.md"
    else:
        text = "does not know linux.netDevices: a hook moves the devices"
    return Finding(CHECK, OK, path, f"{version}: {text}" if name in version else f"{name} {version}: {text}")


def native(host: Host) -> list[str] | None:
    """The paths of runtimes that move linux.netDevices themselves; None: there is none, but some cannot be asked."""
    paths = [path for name in RUNTIMES for path in host.find(name)]
    answers = {path: _has_net_devices(host, path) for path in paths if not _why_not(host.path(path))}
    found = [path for path, answer in answers.items() if answer]
    return found or (None if None in answers.values() else [])


def _has_net_devices(host: Host, path: str) -> bool | None:
    """Whether `features` reports linux.netDevices (features-linux.md of runtime-spec 1.3); None: it is not started."""
    try:
        answer = json.loads(run([host.path(path), "features"]).stdout)
        return answer["linux"]["netDevices"]["enabled"] is True
    except NotIsolated:
        return None
    except (NotRun, ValueError, RecursionError, KeyError, TypeError):  # older ones have no such command, or no such key
        return False


def _podman(podman: _Manager) -> Finding:
    if podman.is_older(4, 4):
        is_needed = "netavark" in podman.ways and not {"cdi", "hooks.d"} & podman.ways
        severity, hint = ERROR if is_needed else OK, "netdevns cdi KIND DEV=NAME --install, or a newer podman"
        return podman.found(severity, "CDI and hooks.d, but no netavark plugins", hint)
    if "netavark" in podman.ways and not podman.host.find("netavark"):
        text = "there is no netavark, so networks of driver netdevns do not work"
        return podman.found(WARNING, text, "install netavark")
    return podman.ok("CDI, hooks.d, netavark plugins")


def _docker(docker: _Manager) -> Finding:
    severity = WARNING if "cdi" in docker.ways else OK
    if docker.is_older(25, 0):
        hint = "docker 28, or the wrapper of docs/operator.md"
        return docker.found(severity, "its --device takes paths only, no CDI names", hint)
    if not docker.is_older(28, 0):
        return docker.ok("CDI")
    try:
        has_cdi = json.loads(docker.host.text(_DAEMON_JSON) or "{}")["features"]["cdi"] is True
    except (ValueError, RecursionError, KeyError, TypeError):
        has_cdi = False
    if has_cdi:
        return docker.ok(f"CDI, by {_DAEMON_JSON}")
    return docker.found(severity, f"CDI is off in {_DAEMON_JSON}", '"features": {"cdi": true} there')


def _containerd(containerd: _Manager) -> Finding:
    conf, host, nri = containerd.conf, containerd.host, ("plugins", "io.containerd.nri.v1.nri")
    if "nri" in containerd.ways:
        disabled = conf.value("containerd", *nri, "disable")
        if disabled is True or (disabled is None and containerd.is_older(2, 0)):  # off by default in 1.7
            hint = 'disable = false in [plugins."io.containerd.nri.v1.nri"] of /etc/containerd/config.toml'
            return containerd.found(
                ERROR, f"NRI is off: it takes no connection, and starts no plugin of {NRI_FOLDER}", hint
            )
        socket = [NRI_SOCKET, *conf.paths("containerd", *nri, "socket_path")][-1]
        if host.is_running("containerd") and not host.exists(socket):
            text = f"it runs, but there is no {printable(socket)}: its NRI is off"
            return containerd.found(ERROR, text, "restart containerd; its journal says why")
        return containerd.ok("NRI is on")
    if "cdi" in containerd.ways and containerd.is_older(2, 0):
        text = "CDI only where its CRI has enable_cdi = true, from 1.7 on; its ctr takes paths only"
        return containerd.found(WARNING, text, "containerd 2")
    return containerd.ok("CDI and NRI" if not containerd.is_older(2, 0) else "CDI and NRI are off by default")


def _crio(crio: _Manager) -> Finding:
    if "nri" in crio.ways and crio.conf.value("crio", "crio", "nri", "enable_nri") is False:
        return crio.found(ERROR, "NRI is off: it starts no plugin", "enable_nri = true in [crio.nri] of crio.conf")
    return crio.ok("CDI, hooks.d, NRI (not tried)")


def _plain(manager: _Manager) -> Finding:
    return Finding(CHECK, OK, manager.path, manager.version)


_MANAGERS: dict[str, Callable[[_Manager], Finding]] = {
    "podman": _podman,
    "netavark": _plain,
    "docker": _docker,
    "containerd": _containerd,
    "nerdctl": _plain,
    "crio": _crio,
}
