"""Contestants that are a container's start by runc or crun, with and without a hook: `create` and `start`, no `delete`;
and by tests/embed, the small runtime in C.

"runc" and "crun" are the machine's, "runc-newest" and "crun-newest" those that move `linux.netDevices` themselves
(tools/losses_fetch.py). The container joins the target, as it joins a pod's namespace, so that its devices can be
verified. A `delete` is no part of a start, and takes runc a poll of 100 ms.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import netdevns
from tests.runtimes.container import ENV, Bundle, Runtime, has_net_devices, make_rootfs
from tests.support.namespaces import Namespace
from tools.losses_run import PACKAGES

from . import results
from .build import BUILT, EMBED, HOOK, STATIC_HOOK

if TYPE_CHECKING:
    from .contestants import Setting

NAME = "bench"
NEWEST = {"runc-newest": PACKAGES / "usr/sbin/runc", "crun-newest": PACKAGES / "usr/bin/crun"}
SLEEP = {"user": {"uid": 0, "gid": 0}, "args": ["/bin/busybox", "sleep", "3600"], "env": [], "cwd": "/"}
Hook = dict[str, Any]
# The cost of any hook: a process that reads the state (crun 1.8.1 fails if the hook does not).
EMPTY: Hook = {"path": "/bin/cat", "args": ["cat"]}
# As in README.md.
OURS: Hook = {
    "path": sys.executable,
    "args": HOOK,
}


STATIC: Hook = {"path": STATIC_HOOK[0], "args": STATIC_HOOK}
# No hook: the runtime moves the devices in netDevices.
OWN_MOVE: Hook = {}
# No hook: the devices are moved before the container starts, as by `netdevns prepare`.
PREPARED: Hook = {}


def program_of(runtime: str) -> str | None:
    """None: not installed."""
    if runtime in NEWEST:
        return str(NEWEST[runtime]) if NEWEST[runtime].exists() else None
    return str(EMBED) if runtime == "embed" else shutil.which(runtime, path=ENV["PATH"])


def version_of(runtime: str) -> str:
    """Empty: not installed."""
    if (program := program_of(runtime)) is None:
        return ""
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"\d+(\.\d+)+", said)
    return found[0] if found else ""


def runs(runtime: str, name: str) -> bool:
    """Whether it can be measured: runtime and busybox are installed, and this is not User Mode Linux."""
    program = program_of(runtime)
    if program is None or not shutil.which("busybox", path=ENV["PATH"]) or is_uml():
        return False
    hook, devices = STARTS[name]
    if runtime == "embed":
        return hook is OWN_MOVE or not hook
    return hook is not OWN_MOVE or (devices > 0 and moves_devices_itself(program))


def is_uml() -> bool:
    with open("/proc/cpuinfo") as file:
        return "User Mode Linux" in file.read()


def start(hook: Hook | None, devices: int = 0) -> Callable[[Setting], list[list[str]]]:
    """A contestant's commands: a container with some of the devices, with or without a hook."""

    def commands(setting: Setting) -> list[list[str]]:
        runtime = setting.scenario.runtime
        program = program_of(runtime)
        assert program
        folder = Path(tempfile.mkdtemp(prefix="container-", dir=setting.folder)).resolve()
        make_rootfs(folder / "rootfs", shutil.which("busybox", path=ENV["PATH"]) or "busybox")
        wanted = {old: {"name": new} for old, new in list(setting.scenario.layout.names.items())[:devices]}
        hooks = [hook] if hook else []
        if hook is PREPARED:
            with setting.host.entered():
                netdevns.move(wanted, setting.targets[0].fd)
            wanted = {}
        elif hook and runtime != "embed":
            # A newer runtime moves devices in netDevices before the hook runs: the hook's arguments name them.
            hooks = [{**hook, "args": [*hook["args"], *setting.pairs[:devices]]}]
            wanted = {}
        network = {"type": "network", "path": f"/run/netns/{setting.targets[0].name}"}
        Bundle(folder, folder / "rootfs").write(wanted or None, hooks=hooks, network=network, process=SLEEP)
        if runtime == "embed":
            setting.stack.callback(end_processes_in, setting.targets[0])
            return [[*inside("true"), str(BUILT / "launch"), program, "start", str(folder)]]
        kind = runtime.removesuffix("-newest")
        options = [program, *Runtime.OPTIONS[kind], "--root", str(folder / "state")]
        setting.stack.callback(
            subprocess.run, [*options, "delete", "--force", NAME], check=False, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        launch = [*inside(Runtime.PREPARE[kind]), str(BUILT / "launch")]
        return [[*launch, *options, "create", "--bundle", str(folder), NAME, "--then", *options, "start", NAME]]

    return commands


def inside(prepare: str) -> list[str]:
    """Prefixes a command with a mount namespace, prepared by a line of shell."""
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", f'{prepare} && exec "$@"', "sh"]


def end_processes_in(namespace: Namespace) -> None:
    """tests/embed keeps no state for a `delete`."""
    wanted = os.fstat(namespace.fd)
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if os.path.samestat(os.stat(f"/proc/{pid}/ns/net"), wanted):
                os.kill(int(pid), signal.SIGKILL)


@functools.cache
def moves_devices_itself(program: str) -> bool:
    return has_net_devices(subprocess.run([program, "features"], capture_output=True, text=True, check=False))


_HOOKS = dict(zip(results.WAYS, (PREPARED, STATIC, OWN_MOVE, OURS), strict=True))
# The hook of each start, and the number of devices that arrive.
STARTS: dict[str, tuple[Hook | None, int]] = {
    results.BARE_START: (None, 0),
    **dict(zip(results.IDLE, [(EMPTY, 0), (STATIC, 0), (OURS, 0)], strict=True)),
    **{f"{way}, {text}": (_HOOKS[way], count) for way in results.WAYS for count, text in results.COUNTS.items()},
}
