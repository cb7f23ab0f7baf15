"""podman of another Debian suite, with netavark, on a machine of its own: networks whose driver is netdevns."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.namespaces import Namespace

from .container import Machine, opened
from .podman import COPY, _cleaned_up

# What the machine changes is a copy, or lies under /run. netavark's own folders are below /run and /etc.
PREPARE = " && ".join(
    [
        "mount -t cgroup2 none /sys/fs/cgroup",
        "mount -t tmpfs tmpfs /dev/shm",
        "mount -t tmpfs tmpfs /var/tmp",
        *(COPY.format(folder) for folder in ("/etc", "/usr/share/containers")),
        "mkdir -p /run/local/upper /run/local/work /run/tmp",
        "mount -t overlay overlay -o lowerdir=/usr/local,upperdir=/run/local/upper,workdir=/run/local/work /usr/local",
    ]
)
CACHE = Path(__file__).parents[2] / ".cache/podman"  # of tools/podman_fetch.py
PLUGIN = "/usr/local/libexec/netavark/netdevns"
NETWORK = "nic1"
USER = 100_000  # root of a container with a user namespace
SUITES = ("trixie", "sid", "experimental")


def is_fetched(suite: str) -> bool:
    """Whether the podman of a suite is there."""
    return program(suite, "podman").exists() and program(suite, "netavark").exists()


def program(suite: str, name: str) -> Path:
    """Where a program of a suite is."""
    folder = "lib/podman" if name == "netavark" else "bin"
    return CACHE / suite / "packages/usr" / folder / name


@dataclass
class Networks:
    """podman of a suite."""

    suite: str
    machine: Machine

    @classmethod
    @contextlib.contextmanager
    def started(cls, suite: str, host: Namespace, rootfs: Path) -> Iterator[Networks]:
        """podman on a machine of its own; raises OSError where the kernel does not allow one."""
        with _cleaned_up(), Machine(host, PREPARE) as machine:
            found = cls(suite, machine)
            found.configure()
            # Where the users of a user namespace may write: a test's own folder is closed.
            copy = f"cp -a {rootfs} /run/rootfs && chmod 755 /run/rootfs && chown -R {USER}:{USER} /run/rootfs"
            machine.run(["sh", "-c", copy]).check_returncode()
            try:
                yield found
            finally:
                found("rm", "--all", "--force", "--time=0")

    def configure(self) -> None:
        """Writes what this podman needs to know, besides the folder of the plugins, which is a default one."""
        storage = '[storage]\ndriver = "vfs"\nrunroot = "/run/podman/runroot"\ngraphroot = "/run/podman/root"\n'
        lines = [
            "[engine]",
            'cgroup_manager = "cgroupfs"',
            'events_logger = "file"',
            'runtime = "crun"',
            'tmp_dir = "/run/podman/tmp"',
            f'helper_binaries_dir = ["{program(self.suite, "netavark").parent}"]',
            f'conmon_path = ["{program(self.suite, "conmon")}"]',
            "[engine.runtimes]",
            f'crun = ["{program(self.suite, "crun")}"]',
            "[containers]",
            'cgroups = "disabled"',
            "[network]",
            'network_backend = "netavark"',
            'network_config_dir = "/run/podman/networks"',
            'firewall_driver = "none"',
        ]
        self.machine.path("/etc/containers/storage.conf").write_text(storage)
        self.machine.path("/etc/containers/containers.conf").write_text("\n".join(lines) + "\n")

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.machine.run([str(program(self.suite, "podman")), *arguments])

    def ok(self, *arguments: str) -> str:
        """podman, which must succeed; returns what it prints."""
        done = self(*arguments)
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        return done.stdout.strip()

    def refused(self, *arguments: str) -> str:
        """podman, which must fail; returns what it prints on stderr."""
        done = self(*arguments)
        assert done.returncode != 0, (arguments, done.stdout, done.stderr)
        return done.stderr

    def install(self, *arguments: str) -> str:
        """Installs the plugin of this checkout; returns what the command prints."""
        done = self.machine.run([sys.executable, "-m", "netdevns", "netavark", "--install", *arguments])
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout

    @contextlib.contextmanager
    def disturbed(self, request: str, inject: str) -> Iterator[None]:
        """While the block runs, strace disturbs the plugin in one request; `inject`: as "unlink:signal=KILL:when=1"."""
        plugin = self.machine.path(PLUGIN)
        text = plugin.read_text()
        *_, line = text.splitlines()
        calls = inject.partition(":")[0]
        strace = f"exec strace -f -o /run/trace -e trace={calls} -e inject={inject} {line.removeprefix('exec ')}"
        plugin.write_text(f'#!/bin/sh\nif [ "$1" = {request} ]; then {strace}; fi\n{line}\n')
        try:
            yield
        finally:
            plugin.write_text(text)

    def create(self, device: str, network: str = NETWORK, *options: str) -> str:
        """A network of one device."""
        options_ = [word for option in (f"device={device}", *options) for word in ("--opt", option)]
        return self.ok("network", "create", "--driver", "netdevns", *options_, network)

    def run_words(self, *options: str, name: str = "c1", command: str = "sleep 1000") -> list[str]:
        """The arguments of podman that start a container in the background."""
        words = ["run", "--detach", "--name", name, "--stop-signal", "KILL", *options]
        return [*words, "--rootfs", "/run/rootfs", "/bin/sh", "-c", command]

    def run(self, *options: str, name: str = "c1", command: str = "sleep 1000") -> str:
        """Starts a container in the background."""
        return self.ok(*self.run_words(*options, name=name, command=command))

    def shell(self, command: str, name: str = "c1") -> str:
        """Runs a shell command in a container."""
        return self.ok("exec", name, "/bin/sh", "-c", command)

    def inspect(self, name: str = "c1") -> dict[str, Any]:
        (found,) = json.loads(self.ok("inspect", name))
        return dict(found)

    def popen(self, *arguments: str) -> subprocess.Popen[bytes]:
        """podman in the background."""
        return self.machine.popen([str(program(self.suite, "podman")), *arguments], stderr=subprocess.DEVNULL)

    def namespace(self, name: str = "c1") -> Namespace:
        """A container's network namespace."""
        return opened(self.machine.path(self.inspect(name)["NetworkSettings"]["SandboxKey"]), name)

    def request(self, container: str = "c" * 64, device: str = "eth1", name: str = "net0") -> str:
        """The path of a request as netavark 1.17.2 makes it, for a plugin that is started without it."""
        network = {"name": NETWORK, "id": "1" * 64, "driver": "netdevns", "options": {"device": device}}
        document = {
            "container_id": container,
            "container_name": "c1",
            "port_mappings": None,
            "network": network | {"dns_enabled": False, "internal": False, "ipv6_enabled": False, "subnets": None},
            "network_options": {"aliases": None, "interface_name": name, "static_ips": None, "static_mac": None},
        }
        path = f"/run/request-{container[:12]}.json"
        self.machine.path(path).write_text(json.dumps(document))
        return path
