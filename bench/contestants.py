"""The contestants: the command lines of their processes, which all speak the protocol of worker.py."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tests.support.namespaces import Namespace

from . import container
from . import layout as layouts
from .build import BATCH, BUILT, GO_PEER, HOOK, STATIC_HOOK, TOP
from .results import C_BATCH
from .scenario import Scenario

WORKER = [sys.executable, str(TOP / "bench" / "worker.py")]
LAUNCH = str(BUILT / "launch")


@dataclass
class Setting:
    """A contestant's environment: `host`, with the devices, in which its processes start, and empty targets."""

    scenario: Scenario
    host: Namespace
    targets: list[Namespace]
    folder: Path  # for its files, on a tmpfs
    stack: contextlib.ExitStack  # resources that end with the round
    spare: Namespace | None = None  # the target of a warm-up move before the job; None: no warm-up
    environment: dict[str, str] = field(default_factory=dict)  # of its processes

    @property
    def pairs(self) -> list[str]:
        return [f"{old}={new}" for old, new in self.scenario.layout.names.items()]

    @property
    def fds(self) -> list[str]:
        return [str(target.fd) for target in self.targets]

    def file(self, name: str, text: str) -> str:
        path = self.folder / name
        path.write_text(text)
        return str(path)

    def warm(self, process: int) -> list[str]:
        """The option for a warm-up move; makes the devices for it."""
        if self.spare is None:
            return []
        names = [f"warm{process}a", f"warm{process}b"]  # two: a batch
        self.host.batch(layouts.up(names))
        return ["--warm", ",".join([str(self.spare.fd), *names])]

    def shares(self) -> list[tuple[int, list[int]]]:
        """The number of a target, and those of the devices that one process moves there."""
        if len(self.targets) == 1:
            return [(0, list(range(self.scenario.layout.devices)))]
        return [(n, [n]) for n in range(len(self.targets))]


Commands = Callable[[Setting], list[list[str]]]


@dataclass(frozen=True)
class Contestant:
    name: str
    commands: Commands
    stays: bool = False  # its processes start before the job, and can do a warm-up move
    moves: int | None = None  # the number of devices, the first ones; None: as in the scenario
    relabels: bool = True  # a renamed device's IPv4 labels follow; runc and crun leave some


def floor(variant: str) -> Commands:
    def commands(setting: Setting) -> list[list[str]]:
        program = str(BUILT / "floor")
        found = []
        for target, devices in setting.shares():
            words = [*setting.warm(target), variant, setting.fds[target], *(setting.pairs[n] for n in devices)]
            found.append([LAUNCH, program, "--now", *words] if setting.scenario.cold else [program, *words])
        return found

    return commands


def staying(path: Path) -> Commands:
    """A program that stays: [--warm FD,NAME,...] TARGET_FD OLD=NEW ..."""

    def commands(setting: Setting) -> list[list[str]]:
        return [
            [str(path), *setting.warm(target), setting.fds[target], *(setting.pairs[n] for n in devices)]
            for target, devices in setting.shares()
        ]

    return commands


def python(job: str, *options: str) -> Commands:
    """One process for each target."""

    def commands(setting: Setting) -> list[list[str]]:
        found = []
        for target, devices in setting.shares():
            words = [job, *options, *setting.warm(target), setting.fds[target]]
            words += [setting.pairs[n] for n in devices]
            found.append([LAUNCH, *WORKER, "--now", *words] if setting.scenario.cold else [*WORKER, *words])
        return found

    return commands


def netdevns(engine: str, *options: str, record: bool = False) -> Commands:
    def commands(setting: Setting) -> list[list[str]]:
        setting.environment["NETDEVNS_ENGINE"] = engine
        task = setting.scenario.task
        with_record = ["--journal", str(setting.folder / "txn")] if record else []
        return python(task, *options, *with_record)(setting)

    return commands


def threads(engine: str) -> Commands:
    """One process with a thread for each target."""

    def commands(setting: Setting) -> list[list[str]]:
        setting.environment["NETDEVNS_ENGINE"] = engine
        return [[*WORKER, "threads", *setting.warm(0), ",".join(setting.fds), *setting.pairs]]

    return commands


def command(setting: Setting) -> list[list[str]]:
    to = ["--to", f"/run/netns/{setting.targets[0].name}"]
    return [[LAUNCH, sys.executable, "-m", "netdevns", "move", *setting.pairs, *to]]


def hook(setting: Setting, engine: str = "native", words: Sequence[str] = HOOK) -> list[list[str]]:
    """The hook as a runtime starts it: the state on stdin, the container's process in the target."""
    setting.environment["NETDEVNS_ENGINE"] = engine
    with setting.targets[0].entered():
        container = subprocess.Popen(["sleep", "3600"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    setting.stack.callback(container.wait)
    setting.stack.callback(container.kill)
    devices = {old: {"name": new} for old, new in setting.scenario.layout.names.items()}
    linux = {"linux": {"netDevices": devices}} if devices else {}
    setting.file("config.json", json.dumps({"ociVersion": "1.3.0", **linux}))
    state = {"ociVersion": "1.3.0", "id": "bench", "status": "creating", "pid": container.pid}
    file = setting.file("state.json", json.dumps({**state, "bundle": str(setting.folder)}))
    return [[LAUNCH, "-i", file, *words]]


def ip_batch(setting: Setting) -> list[list[str]]:
    """Two processes: one moves the devices, one adds their addresses from a given list."""
    found = []
    for target, devices in setting.shares():
        name = setting.targets[target].name
        away, there = ip_lines(setting, name, devices)
        there_file = setting.file(f"there{target}", "\n".join(there) + "\n")
        away_file = setting.file(f"away{target}", "\n".join(away) + "\n")
        second = ["--then", "-i", there_file, "ip", "-n", name, "-batch", "-"]
        found.append([LAUNCH, "-i", away_file, "ip", "-batch", "-", *second])
    return found


def ip_per_step(setting: Setting) -> list[list[str]]:
    """A shell script with a process for each command."""
    name = setting.targets[0].name
    script = ["set -e"]
    for n in range(setting.scenario.layout.devices):
        away, there = ip_lines(setting, name, [n])
        script += [f"ip {line}" for line in away] + [f"ip -n {name} {line}" for line in there]
    return [[LAUNCH, "sh", setting.file("script.sh", "\n".join(script) + "\n")]]


def ip_lines(setting: Setting, target: str, devices: list[int]) -> tuple[list[str], list[str]]:
    """The commands of `ip` in the source, and those in the target."""
    layout = setting.scenario.layout
    away = [f"link set dev d{n} netns {target} name net{n}" for n in devices]
    there: list[str] = []
    for n in devices:
        there += layouts.replay(f"net{n}", layout.ipv4_of(n), [])
        there.append(f"link set net{n} up")
        there += layouts.replay(f"net{n}", [], layout.ipv6_of(n))
    return away, there


def process(*argv: str, engine: str = "native") -> Commands:
    def commands(setting: Setting) -> list[list[str]]:
        setting.environment["NETDEVNS_ENGINE"] = engine
        return [[LAUNCH, sys.executable, *argv]]

    return commands


def _all() -> dict[str, Commands]:
    found: dict[str, Commands] = {
        "floor plain": floor("plain"),
        "floor plain-one-ack": floor("plain-one-ack"),
        "floor phased": floor("phased"),
        "netdevns command": command,
        "netdevns hook": hook,
        "netdevns hook reference": partial(hook, engine="reference"),
        "netdevns-hook": partial(hook, words=STATIC_HOOK),
        "true": lambda _: [[LAUNCH, "/bin/true"]],
        "ip -batch": ip_batch,
        "ip per step": ip_per_step,
        "pyroute2": python("pyroute2"),
        "go": staying(GO_PEER),
        C_BATCH: staying(BATCH),
        "bare python": python("nothing"),
        "python": process("-c", "pass"),
        "python isolated": process("-I", "-S", "-E", "-c", "pass"),
    }
    for engine in ("native", "reference"):
        found[f"netdevns {engine}"] = netdevns(engine)
        found[f"netdevns {engine} record"] = netdevns(engine, record=True)
        found[f"netdevns {engine} first"] = netdevns(engine, "--first")
        found[f"netdevns {engine} threads"] = threads(engine)
        found[f"netdevns {engine} import"] = process("-c", "import netdevns", engine=engine)
        found[f"netdevns {engine} import, move"] = process("-c", "import netdevns; netdevns.move", engine=engine)
    return found


def _stays(name: str) -> bool:
    who, _, what = name.partition(" ")
    return who in ("floor", "pyroute2", "go") or (who == "netdevns" and what.split()[0] in ("native", "reference", "C"))


CONTESTANTS = {
    name: Contestant(name, commands, stays=_stays(name), moves=0 if name == "bare python" else None)
    for name, commands in _all().items()
} | {
    name: Contestant(name, container.start(hook, devices), moves=devices, relabels=hook is not container.OWN_MOVE)
    for name, (hook, devices) in container.STARTS.items()
}


def takes_part(name: str, scenario: Scenario) -> bool:
    """Whether a runtime is installed, or the Go peer built; that takes no part with IPv6.

    bench/go could keep those addresses, as it lists them first. But the runtime's code that it stands for sets a device
    down before it lists them, when the kernel has dropped IPv6's: a time for that would mislead.
    """
    if scenario.runtime:
        return container.runs(scenario.runtime, name)
    return name != "go" or (os.access(GO_PEER, os.X_OK) and not scenario.layout.ipv6)
