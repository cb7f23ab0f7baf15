"""What starts a container with devices: each runtime as it is used, behind one interface."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.processes import wait_until

from .container import ENV, Bundle, Machine, Runtime, hook, make_rootfs

SLEEP = {"user": {"uid": 0, "gid": 0}, "args": ["/bin/sleep", "3600"], "env": ["PATH=/bin"], "cwd": "/"}


class NotHere(Exception):
    """Why something cannot be played with this runtime, or on this machine."""


@dataclass(frozen=True)
class Refused(Exception):
    """No container was started."""

    code: int
    said: str


class Player:
    """A runtime on a machine. Its containers sleep."""

    def __init__(self, machine: Machine, folder: Path) -> None:
        self.machine, self.folder = machine, folder

    def start(self, container: str, devices: Mapping[str, str], network: str | None) -> int:
        """Starts a container with these devices; `network`: the namespace that it joins, None for one of its own.

        Returns:
            The container's process.

        Raises:
            Refused: It was not started.
        """
        raise NotImplementedError

    def end(self, container: str) -> None:
        """Ends a container and forgets it; nothing happens where there is none."""
        raise NotImplementedError

    def containers(self) -> list[str]:
        """The containers that it knows."""
        raise NotImplementedError

    def pid(self, container: str) -> int:
        """The process of a container that runs."""
        raise NotImplementedError

    def is_running(self, container: str) -> bool:
        """Whether the runtime says so."""
        raise NotImplementedError

    @contextlib.contextmanager
    def ready(self) -> Iterator[None]:
        """What it needs around it."""
        yield

    def rootfs(self, container: str) -> Path:
        """A root file system for one container: engines write into it."""
        path = self.folder / f"rootfs-{container}"
        if not path.exists():
            busybox = shutil.which("busybox", path=ENV["PATH"])
            if busybox is None:
                raise NotHere("there is no busybox; install busybox-static")
            make_rootfs(path, busybox)
        return path

    def folder_of(self, container: str) -> Path:
        path = self.folder / container
        path.mkdir(exist_ok=True)
        return path


class Bundled(Player):
    """runc or crun with a bundle. `native`: it moves the devices itself, and there is no hook."""

    def __init__(
        self, machine: Machine, folder: Path, *, name: str, program: str | None = None, native: bool = False
    ) -> None:
        super().__init__(machine, folder)
        self.native = native
        self.runtime = Runtime(name, machine, folder / "state", program)

    def _write(self, bundle: Bundle, devices: Mapping[str, str], network: str | None) -> None:
        entry = {"type": "network"} | ({"path": network} if network else {})
        wanted = {old: {"name": new} for old, new in devices.items()}
        if self.native:
            bundle.write(wanted, hooks=[], network=entry, process=SLEEP)
        elif self.runtime.moves_devices_itself():  # it must not see them: the hook's own arguments name them
            bundle.write(None, hooks=[hook(*as_arguments(devices))], network=entry, process=SLEEP)
        else:
            bundle.write(wanted, network=entry, process=SLEEP)

    def start(self, container: str, devices: Mapping[str, str], network: str | None) -> int:
        folder = self.folder_of(container)
        self._write(Bundle(folder, self.rootfs(container)), devices, network)
        said = folder / "said"
        done = self.runtime("create", "--bundle", str(folder), container, output=said)
        if done.returncode:
            raise Refused(done.returncode, said.read_text())
        self.runtime("start", container).check_returncode()
        return self.pid(container)

    def end(self, container: str) -> None:
        self.runtime("delete", "--force", container)

    def containers(self) -> list[str]:
        return self.runtime("list", "--quiet").stdout.split()

    def pid(self, container: str) -> int:
        pid = self.runtime.status(container)["pid"]
        assert isinstance(pid, int)
        return pid

    def is_running(self, container: str) -> bool:
        return bool(self.runtime.status(container)["status"] == "running")


class Podman(Player):
    """podman with a folder of hooks (hooks.d), whose arguments name the devices."""

    def __init__(self, machine: Machine, folder: Path, *, program: str, runtime: str) -> None:
        super().__init__(machine, folder)
        # A runroot of more than 50 letters is refused.
        places = [f"--root={folder / 'root'}", "--runroot=/run/podman", "--tmpdir=/run/podman/tmp"]
        options = ["--storage-driver=vfs", "--cgroup-manager=cgroupfs", "--events-backend=file", f"--runtime={runtime}"]
        self.prefix = [program, *places, *options]

    def _run(self, *arguments: str, output: Path | None = None) -> subprocess.CompletedProcess[str]:
        return self.machine.run([*self.prefix, *arguments], output=output)

    def start(self, container: str, devices: Mapping[str, str], network: str | None) -> int:
        folder = self.folder_of(container)
        spec = {"version": "1.0.0", "hook": hook(*as_arguments(devices)), "when": {"always": True}}
        (folder / "netdevns.json").write_text(json.dumps(spec | {"stages": ["createRuntime"]}))
        said = folder / "said"
        options = ["--detach", f"--name={container}", f"--network={f'ns:{network}' if network else 'none'}"]
        options += ["--log-driver=none", "--cgroups=disabled"]
        rootfs = str(self.rootfs(container))
        done = self._run(
            f"--hooks-dir={folder}", "run", *options, "--rootfs", rootfs, "/bin/sleep", "3600", output=said
        )
        if done.returncode:
            raise Refused(done.returncode, said.read_text())
        return self.pid(container)

    def end(self, container: str) -> None:
        self._run("rm", "--force", "--time=0", container)

    def containers(self) -> list[str]:
        return self._run("ps", "--quiet").stdout.split()  # those that run: one that could not start stays listed

    def pid(self, container: str) -> int:
        return int(self._run("inspect", "--format={{.State.Pid}}", container).stdout)

    def is_running(self, container: str) -> bool:
        return self._run("inspect", "--format={{.State.Running}}", container).stdout.strip() == "true"

    @contextlib.contextmanager
    def ready(self) -> Iterator[None]:
        try:
            yield
        finally:
            self._run("rm", "--all", "--force", "--time=0")


class Containerd(Player):
    """containerd's `ctr run --config`, whose types drop netDevices: the hook's arguments name the devices."""

    def __init__(self, machine: Machine, folder: Path, *, packages: Path, runtime: str) -> None:
        super().__init__(machine, folder)
        self.programs, self.runtime = packages / "usr/bin", runtime
        self.socket = "/run/containerd/netdevns.sock"

    def _ctr(self, *arguments: str, output: Path | None = None) -> subprocess.CompletedProcess[str]:
        return self.machine.run([str(self.programs / "ctr"), f"--address={self.socket}", *arguments], output=output)

    def start(self, container: str, devices: Mapping[str, str], network: str | None) -> int:
        folder = self.folder_of(container)
        entry = {"type": "network"} | ({"path": network} if network else {})
        hooks = [hook(*as_arguments(devices))]
        Bundle(folder, self.rootfs(container)).write(None, hooks=hooks, network=entry, process=SLEEP)
        said = folder / "said"
        config = str(folder / "config.json")
        options = ["--detach", "--null-io", f"--runc-binary={self.runtime}", "--config", config]
        done = self._ctr("run", *options, container, output=said)
        if done.returncode:
            raise Refused(done.returncode, said.read_text())
        return self.pid(container)

    def end(self, container: str) -> None:
        self._ctr("task", "delete", "--force", container)
        self._ctr("container", "delete", container)

    def containers(self) -> list[str]:
        return self._ctr("task", "list", "--quiet").stdout.split()

    def _task(self, container: str) -> list[str]:
        lines = [line.split() for line in self._ctr("task", "list").stdout.splitlines()]
        return next((words for words in lines if words[0] == container), [container, "0", "gone"])

    def pid(self, container: str) -> int:
        return int(self._task(container)[1])

    def is_running(self, container: str) -> bool:
        return self._task(container)[2] == "RUNNING"

    @contextlib.contextmanager
    def ready(self) -> Iterator[None]:
        config = self.folder / "config.toml"
        cri = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime"]
        config.write_text(
            f'version = 2\nroot = "{self.folder}/root"\nstate = "/run/containerd"\n'
            f"disabled_plugins = {json.dumps(cri)}\n"
            f'[grpc]\naddress = "{self.socket}"\n'
        )
        log = self.folder / "containerd.log"
        path = f"PATH={self.programs}:{ENV['PATH']}"
        argv = ["env", path, str(self.programs / "containerd"), "--config", str(config)]
        with log.open("wb") as file, self.machine.popen(argv, stdin=subprocess.DEVNULL, stdout=file, stderr=file) as it:
            try:
                answers = lambda: self._ctr("version").returncode == 0 or it.poll() is not None  # noqa: E731
                wait_until(answers, "containerd answers", 120)
                if it.poll() is not None:
                    raise NotHere(f"containerd does not start: {log.read_text().strip().splitlines()[-1]}")
                yield
            finally:
                for container in self.containers():
                    self.end(container)
                os.kill(it.pid, signal.SIGTERM)


def as_arguments(devices: Mapping[str, str]) -> Sequence[str]:
    """Arguments of the hook."""
    return [f"{old}={new}" for old, new in devices.items()]
