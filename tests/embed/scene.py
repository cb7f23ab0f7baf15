"""A machine with devices, and a bundle that wants them: what the small runtime (embed.c) is started on."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

from tests.runtimes.container import TIMEOUT_S, Bundle, Machine, make_rootfs, opened
from tests.support import require, scene
from tests.support.namespaces import Namespace
from tests.support.restored import State, assert_equal_soon

# All numbers are given, so that scenes are equal. An ifb is destroyed with its namespace: what is lost is seen.
FURNISH = """
    link set lo up
    link add eth1 index 4711 address 02:00:00:00:00:01 mtu 1400 type ifb
    link add low index 4713 address 02:00:00:00:00:03 type ifb
    link set eth1 alias uplink up
    link set low up
    addr add 10.0.0.1/24 brd + label eth1:vip dev eth1
    addr add 10.0.0.2/24 dev eth1
    addr add 10.2.0.1/24 scope link dev eth1
    addr add 2001:db8::1/64 nodad dev eth1
    addr add 2001:db8::2/64 nodad preferred_lft 0 dev eth1
    addr add fe80::1/64 nodad dev eth1
    addr add 10.3.0.1/24 metric 7 dev low
    addr add 2001:db8:3::1/64 nodad dev low
"""
DEVICES: dict[str, object] = {"eth1": {"name": "net0"}, "low": {"name": "eth%d"}}
ARRIVED = {"net0", "eth0"}
STAYS = {"args": ["sleep", "3600"], "env": ["PATH=/bin"], "cwd": "/"}
RECORDS = "/run/netdevns-embed"


class Scene(scene.Scene):
    """What was started in it ends with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._pids: list[int] = []
        super().__init__()
        self.before["left"] = []

    def _make(self) -> None:
        busybox = shutil.which("busybox") or require("runtimes", "no busybox here")
        try:
            self.machine = self.stack.enter_context(Machine(self.host))
        except OSError as e:
            require("netns", str(e))
        self.host.batch(FURNISH)
        self.mounts = self.machine.mounts()
        self.stack.callback(self.end_containers)
        self.bundle = Bundle(self.folder, self.folder / "rootfs")
        if not self.bundle.rootfs.exists():
            make_rootfs(self.bundle.rootfs, busybox)
        self.bundle.write(DEVICES, process=STAYS)

    # ---- processes ----

    def popen(self, argv: list[str]) -> tuple[subprocess.Popen[bytes], Path, Path]:
        """Output goes to files: a container has them, too, and may stay."""
        files = self.folder / "out", self.folder / "err"
        with files[0].open("wb") as out, files[1].open("wb") as err:
            return self.machine.popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=err), *files

    def run(self, argv: list[str]) -> subprocess.CompletedProcess[str]:
        """Runs it to its end; a container that it starts ends with the scene."""
        process, out, err = self.popen(argv)
        try:
            code = process.wait(TIMEOUT_S)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
        done = subprocess.CompletedProcess(argv, code, out.read_text(), err.read_text())
        if re.fullmatch(r"\d+\n", done.stdout):
            self._pids.append(int(done.stdout))
        return done

    def adopt(self, pid: int) -> None:
        """A process that ends with the scene."""
        self._pids.append(pid)

    def end_containers(self) -> None:
        for pid in self._pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._pids.clear()

    # ---- what must hold ----

    def container(self, pid: int) -> Namespace:
        return opened(f"/proc/{pid}/ns/net", "container")

    def state(self) -> State:
        """All in the host, and what a start must not leave."""
        return super().state() | {"left": [f"process {pid}" for pid in left_processes()] + self.traces()}

    def not_as_before(self) -> list[str]:
        """What is otherwise than before anything was started."""
        return self.differences(self.before)

    def traces(self) -> list[str]:
        """Records and mounts that are left."""
        folder = self.machine.path(RECORDS)
        found = [f"record {name}" for name in (os.listdir(folder) if folder.exists() else [])]
        return found + (["a mount"] if self.machine.mounts() != self.mounts else [])

    def is_as_before(self) -> None:
        found = self.not_as_before()
        assert not found, found

    def is_complete(self, pid: int, complete: State) -> None:
        """The container has all, and the host nothing of it."""
        with self.container(pid) as container:
            assert_equal_soon(complete, container)
        left = [*self.host.names(), *self.traces()]
        assert not left, left


def left_processes() -> list[int]:
    """Those that are still the small runtime itself; zombies are gone."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            stat = Path("/proc", pid, "stat").read_text()
            if re.search(r"\(embed\) [^ZX]", stat):
                found.append(int(pid))
    return found
