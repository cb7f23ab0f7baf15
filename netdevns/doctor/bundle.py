"""Judges one OCI bundle: its devices, the way by which they come, its hooks, and the checks of the move."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence

from .. import api
from ..batch import checks, losses
from ..errors import ConfigInvalid
from ..nri.hook import SANDBOX
from ..oci import config_json, hook, hook_command
from ..oci.annotations import PREFIX
from ..oci.annotations import devices as annotated
from ..recovery.store import TXN
from ..reports import Report
from ..system.folders import JOURNAL_DIR, why_unwritable
from ..text.outcome import Usage
from ..text.quote import command, printable, quoted
from .devices import keeping, why_lost
from .finding import ERROR, OK, WARNING, Finding
from .host import AS_ROOT, Host
from .lines import Line, Trials, names_netdevns, of_hook, of_strict

CHECK = "bundle"
STAGES = hook_command.STAGES
_SEVERITIES = {"error": ERROR, "loss": WARNING, "note": OK}
_CHECK = "docs/findings.md"
_FORM = "write the hooks of docs/hooks.md"
_NO_TARGET = "/dev/null/target"  # nothing can be there


class Bundle:
    """A config.json.

    Attributes:
        path: The file.
        devices: The devices that its container gets: host name -> name.
        findings: Those about the file itself.
    """

    def __init__(self, where: str) -> None:
        """`where`: a bundle, or its config.json."""
        self.path = os.path.join(where, "config.json") if os.path.isdir(where) else where
        self.devices: dict[str, str] = {}
        self.findings: list[Finding] = []
        self.lines: list[Line] = []
        self.stages: set[str] = set()
        self.is_native = False  # asks by linux.netDevices
        self._allowed: list[str] = []
        self.config: Mapping[str, object] = {}
        try:
            self.config = config_json.load(self.path)
            self._read()
        except ConfigInvalid as e:
            hint = (
                "correct it; docs/hooks.md has the form"
                if self.config
                else "give a bundle's folder, or its config.json"
            )
            self.add(ERROR, str(e).removeprefix(f"{printable(self.path)}: "), hint)

    def add(self, severity: str, text: str, hint: str) -> None:
        self.findings.append(Finding(CHECK, severity, self.path, printable(text), hint))

    def _read(self) -> None:
        """Raises ConfigInvalid."""
        hooks = self.config.get("hooks")
        given: dict[str, str] = {}
        for stage, entries in hooks.items() if config_json.is_object(hooks) else ():
            for each in entries if isinstance(entries, list) else ():
                given |= self._hook(stage, each)
        native = config_json.net_devices(self.config)
        self.is_native = bool(native)
        sources = [("the hook's argument", given), ("config.json", native)]
        sources.append(("an annotation", annotated(self.config, "config.json", self._allowed)))
        self.devices = hook.merged(sources)

    def _hook(self, stage: str, entry: object) -> dict[str, str]:
        """The devices in the arguments of a hook."""
        if strict := of_strict(entry):
            self.lines.append(strict)
            return {}
        line = of_hook(entry)
        if line is None:
            if names_netdevns(entry):
                self.add(WARNING, f"hooks.{stage}: does not start netdevns in a known form: it was not tried", _FORM)
            return {}
        try:
            arguments = hook_command.Arguments(line.arguments)
        except Usage as e:
            self.add(ERROR, f"hooks.{stage}: {e}", _FORM)
            return {}
        if arguments.stage != stage:
            self.add(ERROR, f"hooks.{stage} has the line for {arguments.stage}", f"move it to hooks.{arguments.stage}")
            return {}
        self.lines.append(line)
        self.stages.add(stage)
        self._allowed += arguments.allowed
        return {device: name or device for device, name in arguments.devices.items()}

    @property
    def is_of_pod(self) -> bool:
        """Whether a runtime of Kubernetes made it, so that `netdevns nri` moves the devices of its annotations."""
        annotations = self.config.get("annotations")
        return config_json.is_object(annotations) and any(key in annotations for key in SANDBOX)

    def refused_annotations(self) -> list[str]:
        """The host names of annotations that no --allow admits."""
        annotations = self.config.get("annotations")
        keys = annotations if config_json.is_object(annotations) else ()
        asked = [key.removeprefix(PREFIX) for key in keys if key.startswith(PREFIX)]
        return [name for name in asked if name not in self.devices]


def check(host: Host, bundle: Bundle, trials: Trials, native: Sequence[str] | None) -> Iterator[Finding]:
    """Judges a bundle; `native`: the runtimes here that move linux.netDevices themselves; None: that is not known."""
    yield from bundle.findings
    if not bundle.config or any(finding.severity == ERROR for finding in bundle.findings):
        return
    for line in {line.start: line for line in bundle.lines}.values():
        trial = trials.of(line)
        text = f"hook {printable(line.program)}: {trial.text}"
        yield Finding(CHECK, trial.severity, bundle.path, text, trial.hint)
    yield from _way(bundle, native)
    if bundle.devices:
        yield from _move(host, bundle)


def _way(bundle: Bundle, native: Sequence[str] | None) -> Iterator[Finding]:
    """By which way the devices come."""

    def found(severity: str, text: str, hint: str | None = None) -> Finding:
        return Finding(CHECK, severity, bundle.path, text, hint)

    if bundle.is_of_pod and not bundle.devices and not bundle.stages:
        yield _of_pod(bundle)
        return
    pairs = ", ".join(f"{quoted(device)} -> {quoted(name)}" for device, name in bundle.devices.items())
    for name in bundle.refused_annotations():
        text = f"its annotation asks for {quoted(name)}, which no --allow of a hook admits: it is ignored"
        yield found(ERROR, text, command("netdevns", "hooks-dir", "--allow", name, "--install"))
    if not bundle.devices:
        text = "asks for no device: neither by linux.netDevices, an annotation, nor a hook's arguments"
        yield found(ERROR, text, 'docs/hooks.md, "Devices"; some managers drop linux.netDevices')
    elif STAGES[0] in bundle.stages:
        yield found(OK, f"{pairs}: moved by its createRuntime hook")
    elif native and bundle.is_native:
        yield found(OK, f"{pairs}: moved by the runtime itself, if that is {', '.join(native)}")
    elif native is None and bundle.is_native:
        text = f"{pairs}: no createRuntime hook of netdevns; whether a runtime here moves linux.netDevices is not known"
        yield found(WARNING, text, AS_ROOT)
    else:
        text = f"{pairs}: no createRuntime hook of netdevns, and no runtime here moves linux.netDevices itself"
        yield found(ERROR, text, "add the hooks of docs/hooks.md")
    if STAGES[0] in bundle.stages and STAGES[1] not in bundle.stages:
        text = "no poststop hook of netdevns: no device is restored when the container ends"
        yield found(WARNING, text, "add the poststop hook of docs/hooks.md, or netdevns units --install")


def _of_pod(bundle: Bundle) -> Finding:
    if asked := bundle.refused_annotations():
        text = (
            f"a container of a pod that asks for {', '.join(map(quoted, asked))}: moved by `netdevns nri`, if allowed"
        )
        return Finding(CHECK, OK, bundle.path, text)
    text = "a container of a pod without annotations of devices, or whose runtime does not pass them on"
    return Finding(CHECK, WARNING, bundle.path, text, 'docs/pods.md; "pod_annotations" of containerd passes them on')


def _move(host: Host, bundle: Bundle) -> Iterator[Finding]:
    """The findings of `netdevns check` for the devices that are here; the others are among the devices."""
    here = {name: inside for name, inside in bundle.devices.items() if name in (host.nics or {})}
    try:
        target = config_json.network_namespace(bundle.config)
    except ConfigInvalid as e:
        yield Finding(CHECK, ERROR, bundle.path, printable(str(e)), "give the container a network namespace of its own")
        return
    if not here:
        return
    if target is None:
        yield from _lost(host, here)
    report = _from_here(here) if target is None else api.check(here, target, force=True)
    for each in report.findings:
        hint = each.hint or (None if each.severity == "note" else _CHECK)
        subject = quoted(each.device or bundle.path)
        yield Finding(CHECK, _SEVERITIES[each.severity], subject, each.text.removeprefix(f"{subject}: "), hint)
    if report.ok and why_unwritable(host.path(JOURNAL_DIR), TXN) is None:
        where = "" if target is None else f" to {printable(target)}"
        yield Finding(CHECK, OK, bundle.path, f"a move of {', '.join(map(quoted, here))}{where} would succeed")


def _lost(host: Host, devices: Mapping[str, str]) -> Iterator[Finding]:
    """The devices that the end of a container deletes, whose namespace has no path."""
    for name, inside in devices.items():
        if why := why_lost((host.nics or {})[name]):
            yield Finding(CHECK, WARNING, quoted(name), why, f"{keeping(name, inside)}, and its path in config.json")


def _from_here(devices: Mapping[str, str]) -> Report:
    """The findings of a move into a namespace that does not exist yet."""
    with checks.examine(devices, _NO_TARGET, None, force=True) as plan:
        losses.ask_addresses(plan)
        findings = tuple(each for each in plan.report().findings if each.code != "netns.open")
    return Report(all(each.severity != "error" for each in findings), findings)
