"""Finds the files by which other programs start netdevns: CDI, hooks.d, netavark, NRI, systemd.

Source: containers/common, oci-hooks(5) and containers.conf(5); Container Device Interface, SPEC.md, "CDI JSON
Specification"; netavark, plugin-API.md; containerd/nri, README.md, "Pre-Registered Plugins".
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from ..errors import ConfigInvalid
from ..oci import cdi, config_json, hook_command, hooks_dir, netavark
from ..oci.annotations import PREFIX
from ..text.outcome import Usage
from ..text.quote import command, printable, quoted
from .conf import Toml
from .finding import ERROR, OK, WARNING, Finding
from .host import Host, why_untrusted
from .lines import COMMAND, Line, Trials, names_netdevns, of_hook, of_script, of_strict, parse

CHECK = "installations"
CDI_FOLDERS = (cdi.FOLDER, "/var/run/cdi")  # a later one has priority
HOOKS_FOLDERS = (hooks_dir.FOLDER, "/etc/containers/oci/hooks.d", "/run/containers/oci/hooks.d")
NRI_FOLDER = "/opt/nri/plugins"
NETWORKS = "/etc/containers/networks"
_NRI_NAME = re.compile(r"[0-9]{2}-.+")
AGAIN = "correct it by hand, or write it again with --install"
_OURS = "only root should be able to write it: its programs are started as root"


@dataclass
class Installation:
    """A file by which another program starts netdevns.

    Attributes:
        way: "cdi", "hooks.d", "netavark", "nri" or "units".
        path: The file.
        what: What it is, for a message.
        lines: Its command lines.
        stages: Of the hooks among them.
        devices: The devices that it names: host name -> name in the container.
        cdi_names: The names by which runtimes know its devices: vendor.com/nic=eth1.
        problems: Findings about the file itself.
    """

    way: str
    path: str
    what: str
    lines: list[Line] = field(default_factory=list)
    stages: list[str] = field(default_factory=list)
    devices: dict[str, str] = field(default_factory=dict)
    cdi_names: list[str] = field(default_factory=list)
    problems: list[Finding] = field(default_factory=list)

    def problem(self, severity: str, text: str, hint: str) -> None:
        self.problems.append(Finding(CHECK, severity, self.path, text, hint))

    def add_hook(self, hook: object, place: str) -> None:
        """Adds a hook's line, stage and devices, or a problem."""
        if strict := of_strict(hook):  # it moves nothing
            self.lines.append(strict)
            return
        line = of_hook(hook)
        if line is None:
            if names_netdevns(hook):
                self.problem(WARNING, f"{place} does not start netdevns in a known form: it was not tried", AGAIN)
            return
        self.lines.append(line)
        try:
            arguments = hook_command.Arguments(line.arguments)
        except Usage as e:
            self.problem(ERROR, f"{place}: {printable(str(e))}", AGAIN)
            return
        self.stages.append(arguments.stage)
        self.devices |= {device: name or device for device, name in arguments.devices.items()}
        self.devices |= {glob: glob for glob in arguments.allowed if not re.search(r"[*?\[]", glob)}


def search(host: Host, conf: Toml) -> list[Installation]:
    """All installations of netdevns on a host."""
    return [*_cdi(host), *_hooks_dir(host, conf), *_netavark(host, conf), *_nri(host, conf), *_units(host)]


def check(host: Host, found: list[Installation], trials: Trials, *, is_bundle: bool = False) -> Iterator[Finding]:
    """Judges the installations, tries their lines, and finds conflicts between them.

    `is_bundle`: a bundle is examined, too, whose hooks may be enough.
    """
    if not found:
        text = "no CDI file, hooks.d file, netavark plugin, NRI plugin or unit starts netdevns"
        hint = "a hook in config.json (docs/hooks.md), or netdevns cdi KIND DEV=NAME --install"
        yield Finding(CHECK, OK if is_bundle else WARNING, "installations", text, None if is_bundle else hint)
    for each in found:
        problems = [*each.problems, *_tried(each, trials)]
        if each.path.startswith("/") and (why := why_untrusted(host.path(each.path))):
            hint = command("chown", "root:root", each.path)
            problems.append(Finding(CHECK, ERROR, each.path, f"{why}; {_OURS}", hint))
        yield from problems
        if not any(problem.severity != OK for problem in problems):
            runs = sorted({f"{trials.of(line).text}, {printable(line.program)}" for line in each.lines})
            yield Finding(CHECK, OK, each.path, "; ".join([each.what, *runs]))
    yield from _cdi_conflicts(found)
    yield from _pairs(found)


def _tried(each: Installation, trials: Trials) -> Iterator[Finding]:
    for line in {line.start: line for line in each.lines}.values():
        trial = trials.of(line)
        if trial.severity != OK:
            yield Finding(CHECK, trial.severity, each.path, trial.text, trial.hint)


def _pairs(found: list[Installation]) -> Iterator[Finding]:
    """hooks.d needs a file for each stage: without poststop no card is restored."""
    folders: dict[str, list[Installation]] = {}
    for each in found:
        if each.way == "hooks.d" and each.stages:
            folders.setdefault(os.path.dirname(each.path), []).append(each)
    for folder, files in folders.items():
        stages = {stage for each in files for stage in each.stages}
        for stage, text in (
            ("createRuntime", "no file for createRuntime: no container gets a device by annotation"),
            ("poststop", "no file for poststop: no device is restored when its container ends"),
        ):
            if stage not in stages:
                severity = ERROR if stage == "createRuntime" else WARNING
                yield Finding(CHECK, severity, folder, text, "netdevns hooks-dir --allow GLOB --install")


def _ours(host: Host, way: str, what: str, path: str) -> tuple[Installation, Mapping[str, object]] | None:
    """A JSON file that has to do with netdevns, and its object; {}, and a problem: it has none."""
    each = Installation(way, path, what)
    data = host.read(path)
    if data is None or COMMAND.encode() not in data:
        return None
    try:
        return each, config_json.parse(data, "the file")
    except ConfigInvalid as e:
        each.problem(ERROR, f"{printable(str(e))}; no runtime reads it", AGAIN)
        return each, {}


# ---- CDI -------------------------------------------------------------------------------------------------------------


def _cdi(host: Host) -> Iterator[Installation]:
    for path in host.files(CDI_FOLDERS, ".json"):
        opened = _ours(host, "cdi", "CDI", path)
        if opened is None:
            continue
        each, document = opened
        kind, devices = document.get("kind"), document.get("devices")
        each.what = f"CDI {quoted(kind) if isinstance(kind, str) else 'file'}"
        for device in devices if isinstance(devices, list) else ():
            if not config_json.is_object(device):
                continue
            each.cdi_names.append(printable(f"{kind}={device.get('name')}"))
            _cdi_edits(each, device.get("containerEdits"), f"device {quoted(str(device.get('name')))}")
        _cdi_edits(each, document.get("containerEdits"), "containerEdits")
        if document:
            each.what += f", devices {', '.join(each.cdi_names) or 'none'}"
            if document.get("cdiVersion") == cdi.NATIVE:
                text = f"CDI {cdi.NATIVE}: neither podman 6.1 nor containerd 2.1 reads this version"
                each.problem(WARNING, text, "netdevns cdi KIND DEV=NAME --install, without --cdi-version")
        yield each
    for path in host.files(CDI_FOLDERS, ".yaml"):
        if COMMAND.encode() in (host.read(path) or b""):
            each = Installation("cdi", path, "CDI file in YAML")
            each.problem(WARNING, "YAML, which is not read here: its lines were not tried", AGAIN)
            yield each


def _cdi_edits(each: Installation, edits: object, place: str) -> None:
    if not config_json.is_object(edits):
        return
    hooks, moved = edits.get("hooks"), edits.get("netDevices")
    for hook in hooks if isinstance(hooks, list) else ():
        each.add_hook(hook, place)
    for device in moved if isinstance(moved, list) else ():
        name = device.get("hostInterfaceName") if config_json.is_object(device) else None
        if isinstance(name, str):
            each.devices[name] = str(device.get("name") or name)


def _cdi_conflicts(found: list[Installation]) -> Iterator[Finding]:
    """A device of two files in one folder is in none, as they conflict; of two folders the later one counts."""
    seen: dict[str, Installation] = {}
    for each in found:
        for name in each.cdi_names:
            other = seen.setdefault(name, each)
            if other is each:
                continue
            if os.path.dirname(other.path) == os.path.dirname(each.path):
                text = f"{name} is in {printable(other.path)}, too: runtimes then know neither"
                yield Finding(CHECK, ERROR, each.path, text, f"remove {name} from one of them")
            else:
                text = f"{name} is in {printable(other.path)}, too: this file counts"
                yield Finding(CHECK, WARNING, each.path, text, f"remove {name} from one of them")


# ---- hooks.d ---------------------------------------------------------------------------------------------------------


def _hooks_dir(host: Host, conf: Toml) -> Iterator[Installation]:
    named = conf.paths("containers", "engine", "hooks_dir")
    by_crio = conf.paths("crio", "crio", "runtime", "hooks_dir")
    read = {os.path.realpath(host.path(folder)) for folder in (*(named or HOOKS_FOLDERS[:1]), *by_crio)}
    for path in host.files([*HOOKS_FOLDERS, *named, *by_crio], ".json"):
        opened = _ours(host, "hooks.d", "hooks.d", path)
        if opened is None:
            continue
        each, document = opened
        if document:
            each.add_hook(document.get("hook"), "hook")
            allowed = [word for line in each.lines for word in line.arguments if word.startswith("--allow")]
            other = "netdevns nri --strict" if of_strict(document.get("hook")) else "no known stage"
            each.what = f"hooks.d, {', '.join(each.stages) or other}"
            _when(each, document, bool(allowed))
        folder = os.path.dirname(path)
        if os.path.realpath(host.path(folder)) not in read:
            text = f"podman does not read {printable(folder)} by itself"
            each.problem(WARNING, text, f"netdevns hooks-dir --install, or hooks_dir in containers.conf: {folder}")
        yield each


def _when(each: Installation, document: Mapping[str, object], is_allowing: bool) -> None:
    stages, when = document.get("stages"), document.get("when")
    listed = stages if isinstance(stages, list) else []
    if each.stages and not {*each.stages} & {*map(str, listed)}:
        text = f"its hook is for {each.stages[0]}, but its stages are {quoted(', '.join(map(str, listed)))}"
        each.problem(ERROR, text, "netdevns hooks-dir --allow GLOB --install")
    asked = when.get("annotations") if config_json.is_object(when) else None
    if each.stages[:1] == ["createRuntime"] and config_json.is_object(asked) and not is_allowing:
        text = "its line has no --allow, so no annotation gets a device"
        each.problem(ERROR, text, "netdevns hooks-dir --allow GLOB --install")
    for key in asked if config_json.is_object(asked) else ():
        try:
            if re.search(key, f"{PREFIX}eth1"):
                return
        except re.error:
            continue
    if config_json.is_object(asked):
        text = f"its annotations do not match {PREFIX}DEV: no container starts it"
        each.problem(WARNING, text, "netdevns hooks-dir --allow GLOB --install")


# ---- netavark --------------------------------------------------------------------------------------------------------


def _netavark(host: Host, conf: Toml) -> Iterator[Installation]:
    folders = conf.paths("containers", "network", "netavark_plugin_dirs") or [*netavark.FOLDERS]
    plugins = []
    for folder in dict.fromkeys([*folders, *netavark.FOLDERS]):
        path = f"{folder}/{netavark.DRIVER}"
        text = host.text(path)
        if text is None:
            continue
        each = Installation("netavark", path, "netavark plugin")
        _launcher(host, each, text)
        if folder not in folders:
            each.problem(ERROR, "netavark_plugin_dirs in containers.conf does not name this folder", "add it there")
        plugins.append(each)
        yield each
    yield from _networks(host, conf, bool(plugins))


def _launcher(host: Host, each: Installation, text: str) -> None:
    """The line of a script that netavark or NRI starts."""
    line = of_script(text)
    if line is not None and line.start[0] == COMMAND:  # searched by the shell, in its default folders: NRI sets no PATH
        found = [*host.find(COMMAND), f"/usr/bin/{COMMAND}"]
        line = Line((found[0],), line.arguments)
    if line is None:
        each.problem(WARNING, "not a file that `netdevns --install` writes: it was not tried", AGAIN)
    else:
        each.lines.append(line)
    if not os.access(host.path(each.path), os.X_OK):
        each.problem(ERROR, "it is not executable", command("chmod", "755", each.path))


def _networks(host: Host, conf: Toml, has_plugin: bool) -> Iterator[Installation]:
    """podman's networks whose driver is netdevns: they name devices."""
    folders = conf.paths("containers", "network", "network_config_dir") or [NETWORKS]
    for path in host.files(folders, ".json"):
        opened = _ours(host, "netavark", "podman network", path)
        if opened is None or opened[1].get("driver") != netavark.DRIVER:
            continue
        each, document = opened
        each.what = f"podman network {quoted(str(document.get('name')))}"
        options = document.get("options")
        device = options.get("device") if config_json.is_object(options) else None
        if isinstance(device, str):
            each.devices[device] = device
            each.what += f", device {quoted(device)}"
        if not has_plugin:
            text = f"its driver is {netavark.DRIVER}, but there is no such plugin: podman starts no container in it"
            each.problem(ERROR, text, "netdevns netavark --install")
        yield each
    backend = conf.string("containers", "network", "network_backend")
    if backend == "cni" and has_plugin:
        each = Installation("netavark", "/etc/containers/containers.conf", "network_backend")
        each.problem(ERROR, "network_backend is cni: podman starts no netavark plugin", 'network_backend = "netavark"')
        yield each


# ---- NRI -------------------------------------------------------------------------------------------------------------


def _nri(host: Host, conf: Toml) -> Iterator[Installation]:
    folder = [NRI_FOLDER, *conf.paths("containerd", "plugins", "io.containerd.nri.v1.nri", "plugin_path")][-1]
    for name in host.names(folder):
        path = f"{folder}/{name}"
        text = host.text(path) if COMMAND in name or _is_script(host, path) else None
        if text is None or COMMAND not in name + text:
            continue
        each = Installation("nri", path, "NRI plugin")
        _launcher(host, each, text)
        if not _NRI_NAME.fullmatch(name):
            text = "its name is not NN-NAME, with two digits: the runtime does not start it"
            each.problem(ERROR, text, f"rename it to 10-{name}")
        yield each
    for pid, words in host.processes():
        if any(_is_command(word) and after == "nri" for word, after in pairwise(words)):
            each = Installation("nri", f"process {pid}", "NRI plugin, running")
            yield each


def _is_command(word: str) -> bool:
    """Whether a word of a process's command line is netdevns: a script is shown behind its interpreter."""
    return os.path.basename(word) == COMMAND or word.endswith(f"/{COMMAND}/__main__.py")


def _is_script(host: Host, path: str) -> bool:
    try:
        with open(host.path(path), "rb") as file:
            return os.path.isfile(host.path(path)) and file.read(2) == b"#!"
    except OSError:
        return False


# ---- systemd ---------------------------------------------------------------------------------------------------------


def _units(host: Host) -> Iterator[Installation]:
    folders = [f"{root}/systemd/system" for root in ("/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib")]
    for path in host.files(folders, ".service"):
        if not os.path.basename(path).startswith("netdevns-"):
            continue
        text = host.text(path) or ""
        for value in re.findall(r"^ExecStart=[:@!+-]*(.*)$", text, re.MULTILINE):
            if COMMAND not in value:
                continue
            each = Installation("units", path, "systemd unit")
            line = parse(_words(value))
            if line is None:
                each.problem(WARNING, "its ExecStart= has no known form: it was not tried", AGAIN)
            else:
                each.lines.append(line)
                each.devices |= _prepared(line)
                if line.arguments[:1] == ("nri",):
                    each.way, each.what = "nri", "NRI plugin, systemd unit"
            yield each


def _words(value: str) -> list[str]:
    try:
        return [word.replace("%%", "%") for word in shlex.split(value)]
    except ValueError:
        return []


def _prepared(line: Line) -> dict[str, str]:
    """The devices of `prepare NAME DEV[=NAME] ...`."""
    if line.arguments[:1] != ("prepare",):
        return {}
    pairs = (word.partition("=") for word in line.arguments[2:] if not word.startswith("-"))
    return {device: name or device for device, _, name in pairs}
