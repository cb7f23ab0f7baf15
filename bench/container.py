"""Contestants that are a container's start by runc or crun, with and without a hook: `create` and `start`, no `delete`;
and by tests/embed, the small runtime in C.

The container joins the target, as it joins a pod's namespace: so its devices can be looked at. A `delete` is no part of
a start, and takes runc a poll of 100 ms.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import netdevns
from tests.runtimes.container import ENV, Bundle, Runtime, has_net_devices, make_rootfs, shown_without_devices
from tests.support.namespaces import Namespace

from . import results
from .build import BUILT, EMBED, HOOK, STATIC_HOOK

if TYPE_CHECKING:
    from .contestants import Setting

NAME = "bench"
SLEEP = {"user": {"uid": 0, "gid": 0}, "args": ["/bin/busybox", "sleep", "3600"], "env": [], "cwd": "/"}
Hook = dict[str, Any]
# What any hook takes: a process that reads the state (crun fails where nobody does).
EMPTY: Hook = {"path": "/bin/cat", "args": ["cat"]}
# As README.md has it.
OURS: Hook = {
    "path": sys.executable,
    "args": HOOK,
}


STATIC: Hook = {"path": STATIC_HOOK[0], "args": STATIC_HOOK}
# No hook: the runtime moves what netDevices asks for.
OWN_MOVE: Hook = {}
# No hook: the devices are there before the container starts, as `netdevns prepare` does it.
PREPARED: Hook = {}


def program_of(runtime: str) -> str | None:
    return str(EMBED) if runtime == "embed" else shutil.which(runtime, path=ENV["PATH"])


def runs(runtime: str, step: str) -> bool:
    """Whether it can be measured: runtime and busybox are installed, and this is no User Mode Linux."""
    program = program_of(runtime)
    if program is None or not shutil.which("busybox", path=ENV["PATH"]) or is_uml():
        return False
    hook, devices = STEPS[step]
    if hook is PREPARED:
        return runtime != "embed"
    itself = runtime == "embed" or (devices > 0 and moves_devices_itself(program))
    # runc has no option to be shown another config.json than the hook.
    return itself if hook is OWN_MOVE else not (itself and runtime == "runc")


def is_uml() -> bool:
    with open("/proc/cpuinfo") as file:
        return "User Mode Linux" in file.read()


def start(hook: Hook | None, devices: int = 0) -> Callable[[Setting], list[list[str]]]:
    """A contestant's commands: a container with so many of the devices, and with a hook or without."""

    def commands(setting: Setting) -> list[list[str]]:
        runtime = setting.scenario.runtime
        program = program_of(runtime)
        assert program
        folder = Path(tempfile.mkdtemp(prefix="container-", dir=setting.folder)).resolve()
        make_rootfs(folder / "rootfs", shutil.which("busybox", path=ENV["PATH"]) or "busybox")
        names = list(setting.scenario.layout.names.items())[:devices]
        bundle = Bundle(folder, folder / "rootfs")
        network = {"type": "network", "path": f"/run/netns/{setting.targets[0].name}"}
        wanted = {old: {"name": new} for old, new in names}
        if hook is PREPARED:
            with setting.host.entered():
                netdevns.move(wanted, setting.targets[0].fd)
            wanted = {}
        bundle.write(wanted or None, hooks=[hook] if hook else [], network=network, process=SLEEP)
        if runtime == "embed":
            setting.stack.callback(end_processes_in, setting.targets[0])
            return [[*inside("true"), str(BUILT / "launch"), program, "start", str(folder)]]
        options = [program, *Runtime.OPTIONS[runtime], "--root", str(folder / "state")]
        create = ["create", "--bundle", str(folder)]
        # It would move them before the hook does, and is not shown what the hook reads.
        if wanted and hook is not OWN_MOVE and moves_devices_itself(program):
            create += shown_without_devices(folder)
        setting.stack.callback(
            subprocess.run, [*options, "delete", "--force", NAME], check=False, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        launch = [*inside(Runtime.PREPARE[runtime]), str(BUILT / "launch")]
        return [[*launch, *options, *create, NAME, "--then", *options, "start", NAME]]

    return commands


def inside(prepare: str) -> list[str]:
    """What a command runs in: mounts of its own, which a line of shell has prepared."""
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", f'{prepare} && exec "$@"', "sh"]


def end_processes_in(namespace: Namespace) -> None:
    """Nobody else is told of a container that this one has started."""
    wanted = os.fstat(namespace.fd)
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if os.path.samestat(os.stat(f"/proc/{pid}/ns/net"), wanted):
                os.kill(int(pid), signal.SIGKILL)


@functools.cache
def moves_devices_itself(program: str) -> bool:
    return has_net_devices(subprocess.run([program, "features"], capture_output=True, text=True, check=False))


# The hook of each step, and how many devices arrive.
STEPS: dict[str, tuple[Hook | None, int]] = dict(
    zip(
        results.STEPS,
        [
            (None, 0),
            (EMPTY, 0),
            (OURS, 0),
            (OURS, 1),
            (OURS, 10),
            (STATIC, 0),
            (STATIC, 1),
            (STATIC, 10),
            (PREPARED, 1),
            (PREPARED, 10),
            (OWN_MOVE, 1),
            (OWN_MOVE, 10),
        ],
        strict=True,
    )
)
