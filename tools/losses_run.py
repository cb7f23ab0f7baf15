"""Runs one contestant through one scenario, in namespaces that are made for it alone, and has it judged."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from tests.runtimes.container import ENV, NETDEVNS, Bundle, Machine, Runtime, cable, make_rootfs, opened
from tests.support.namespaces import Namespace
from tools import losses_judge as judge
from tools import losses_racer
from tools.losses_rows import Row

TOP = Path(__file__).resolve().parents[1]
PACKAGES = TOP / ".cache/losses/packages"
CONTAINER = "web"
RACES = 20
PATIENCE_S = 60  # the kernel has one queue for DAD and carriers, which all namespaces of a busy machine share


@dataclass(frozen=True)
class Scene:
    """What a contestant finds."""

    row: Row
    machine: Machine
    folder: Path

    @property
    def pairs(self) -> list[str]:
        return [f"{old}={new}" for old, new in self.row.devices.items()]


@dataclass(frozen=True)
class Outcome:
    """What a contestant said, and what is wrong afterwards."""

    row: Row
    code: int
    said: str  # its error output
    findings: list[judge.Finding]


@dataclass(frozen=True)
class Contestant:
    """A tool, in the way in which it is used."""

    name: str
    version: Callable[[], str | None]  # None: not on this machine
    command: Callable[[Row], str]  # as it is shown
    run: Callable[[Scene], tuple[int, str]]
    prepare: str = "true"  # shell, on its machine


# ---- ip, pyroute2, netdevns -----------------------------------------------------------------------------------------


def _output(*argv: str | Path) -> str | None:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, env=ENV, check=False)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _ip_version() -> str | None:
    out = _output("ip", "-V")
    return out.replace("ip utility, iproute2-", "iproute2 ").partition(",")[0] if out else None


def _pyroute2_version() -> str | None:
    code = "import importlib.metadata as m; print('pyroute2', m.version('pyroute2'))"
    return _output(sys.executable, "-c", code)


def _netdevns_version() -> str | None:
    return _output(*NETDEVNS, "--version")


def _ip(row: Row) -> str:
    moves = [
        f"ip link set dev {old} netns blue name {new} && ip -n blue link set dev {new} up"
        for old, new in row.devices.items()
    ]
    return " && ".join(moves)


def _netdevns(row: Row) -> str:
    return shlex.join(["netdevns", "move", *(f"{a}={b}" for a, b in row.devices.items()), "--to", "blue"])


def _run_ip(scene: Scene) -> tuple[int, str]:
    done = scene.machine.run(["sh", "-c", _ip(scene.row)])
    return done.returncode, done.stderr


def _run_netdevns(scene: Scene) -> tuple[int, str]:
    done = scene.machine.run([*NETDEVNS, "move", *scene.pairs, "--to", "blue"])
    return done.returncode, done.stderr


def _scripted(name: str, version: Callable[[], str | None], interpreter: str, script: str) -> Contestant:
    """A script of tools/losses.d, which gets the target and the pairs."""

    def command(row: Row) -> str:
        return shlex.join([interpreter, script, "blue", *(f"{a}={b}" for a, b in row.devices.items())])

    def run(scene: Scene) -> tuple[int, str]:
        program = sys.executable if interpreter == "python3" else interpreter  # the one that has pyroute2
        done = scene.machine.run([program, str(TOP / script), "blue", *scene.pairs])
        return done.returncode, done.stderr

    return Contestant(name, version, command, run)


# ---- runc and crun --------------------------------------------------------------------------------------------------


def _program(name: str) -> Path | None:
    """The one that tools/losses_fetch.py fetched."""
    return next((p for p in (PACKAGES / "usr/sbin" / name, PACKAGES / "usr/bin" / name) if p.is_file()), None)


def _runtime_version(name: str) -> Callable[[], str | None]:
    def version() -> str | None:
        program = _program(name)
        out = _output(program, "--version") if program else None
        return out.partition("\n")[0].replace("version ", "") if out else None

    return version


def _net_devices(row: Row) -> dict[str, dict[str, str]]:
    return {old: {"name": new} for old, new in row.devices.items()}


def _network(row: Row) -> dict[str, str]:
    """The entry of config.json's `linux.namespaces`; none: the container is in the host's network namespace."""
    return {} if row.target_is_host else {"type": "network", "path": "/run/netns/blue"}


def _runtime_command(name: str) -> Callable[[Row], str]:
    return lambda _: f"{name} create --bundle BUNDLE {CONTAINER}"


def config_of(row: Row) -> str:
    """What is special in the config.json that runc and crun are given, for a reader."""
    network = _network(row)
    namespaces = f'"namespaces": [{json.dumps(network)}, ...]' if network else "no network namespace"
    return f'"netDevices": {json.dumps(_net_devices(row))}, {namespaces}'


def _runtime(name: str, scene: Scene) -> Runtime:
    return Runtime(name, scene.machine, scene.folder / "state", str(_program(name)))


def _run_runtime(name: str) -> Callable[[Scene], tuple[int, str]]:
    def run(scene: Scene) -> tuple[int, str]:
        rootfs, folder = scene.folder / "rootfs", scene.folder / "bundle"
        busybox = shutil.which("busybox", path=ENV["PATH"])
        assert busybox is not None  # tools/losses has it installed
        make_rootfs(rootfs, busybox)
        folder.mkdir()
        bundle = Bundle(folder, rootfs)
        bundle.write(_net_devices(scene.row), hooks=[], network=_network(scene.row))
        said = scene.folder / "said"
        done = _runtime(name, scene)("create", "--bundle", str(folder), CONTAINER, output=said)
        return done.returncode, said.read_text()

    return run


CONTESTANTS = {
    contestant.name: contestant
    for contestant in (
        Contestant("ip", _ip_version, _ip, _run_ip),
        _scripted("ip-script", _ip_version, "sh", "tools/losses.d/ip-script.sh"),
        _scripted("ip-restore", _ip_version, "sh", "tools/losses.d/ip-restore.sh"),
        _scripted("pyroute2", _pyroute2_version, "python3", "tools/losses.d/pyroute2-script.py"),
        *(
            Contestant(name, _runtime_version(name), _runtime_command(name), _run_runtime(name), Runtime.PREPARE[name])
            for name in ("runc", "crun")
        ),
        Contestant("netdevns", _netdevns_version, _netdevns, _run_netdevns),
    )
}


# ---- the scene ------------------------------------------------------------------------------------------------------


@contextmanager
def _scene(row: Row, contestant: Contestant) -> Iterator[tuple[Scene, Namespace, Namespace]]:
    with (
        Namespace.create("host") as host,
        host.entered(),
        Machine(host, contestant.prepare) as machine,
        tempfile.TemporaryDirectory(prefix="netdevns-losses-") as folder,
    ):
        host.sysctl("ipv6/conf/default/addr_gen_mode", 1)
        if row.target_is_host:
            machine.run(["ip", "netns", "attach", "blue", str(machine.pid)]).check_returncode()
            target = opened(machine.path("/run/netns/blue"), "blue")
        else:
            target = machine.named_namespace("blue")
        with target:
            for name, value in row.target_sysctls.items():
                target.sysctl(name, value)
            target.ip("link set lo up")  # now: a runtime that does so is no device that arrives
            if row.target:
                target.batch(row.target)
            cable(host, row.devices, row.host, PATIENCE_S)
            yield Scene(row, machine, Path(folder).resolve()), host, target


def play(row: Row, contestant: Contestant) -> Outcome:
    """One contestant in one scenario; a race is run again where the contestant was through before the racer came."""
    if not row.racer:
        return _play(row, contestant)
    for _ in range(RACES):
        outcome = _play(row, contestant)
        if outcome.code:
            return outcome
    text = f"not seen: it was quicker than the racer {RACES} times"
    return Outcome(row, 0, "", [judge.Finding("race", text, text)])


def _play(row: Row, contestant: Contestant) -> Outcome:
    with _scene(row, contestant) as (scene, host, target):
        before = host.dump(), target.dump()
        first = next(iter(row.devices))
        try:
            with losses_racer.racing(row.racer, target, host, first) if row.racer else nullcontext():
                code, said = contestant.run(scene)
            after = host.dump(), target.dump()  # at once: what is not usable yet counts
        finally:
            if contestant.name in Runtime.OPTIONS:
                _runtime(contestant.name, scene)("delete", "--force", CONTAINER)
    if row.racer:
        after = after[0], losses_racer.without(row.racer, after[1])
    findings = judge.said(code, must_succeed=row.must_arrive)
    if row.must_arrive:
        findings += judge.arrived(before[0], *after, row.names)
        if contestant.name != "netdevns":
            findings = [finding for finding in findings if finding.fact in row.facts]
    else:
        findings += judge.untouched(before, after, list(row.devices))
    return Outcome(row, code, said.strip(), findings)
