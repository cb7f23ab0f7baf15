"""containerd of a Debian suite with its CRI, on a machine of its own, and the plugin beside it."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.namespaces import Namespace
from tests.support.processes import processes, wait_until
from tests.support.restored import assert_equal_soon

from .container import ENV, NETDEVNS, Machine

CACHE = Path(__file__).parents[2] / ".cache/nri"  # of tools/nri_fetch.py
SUITES = ("sid", "trixie")
RUN = "/run/containerd"
SOCKET = f"{RUN}/containerd.sock"
NRI = "/run/nri/nri.sock"
IMAGE = "localhost/pause:1"
START_S = 120  # of containerd, or of the plugin under strace
PREFIX = "org.netdevns.device."
PREPARE = " && ".join(
    [
        "mkdir -p /run/etc /run/cni /run/lib/cni /run/netns /run/tmp",
        "mount -t tmpfs tmpfs /var/lib",  # of host-local and the CNI results
        "mkdir -p /var/lib/cni",
    ]
)
CNI = {
    "cniVersion": "1.0.0",
    "name": "pods",
    "plugins": [{"type": "ptp", "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.99.0.0/16"}]]}}],
}
# By suite: containerd 2.1 and 1.7.
CONFIG = {
    "sid": """
version = 3
{top}
[plugins."io.containerd.cri.v1.images"]
snapshotter = "native"
[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "{image}"
[plugins."io.containerd.cri.v1.runtime"]
restrict_oom_score_adj = true
enable_unprivileged_ports = false
enable_unprivileged_icmp = false
[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["{packages}/usr/lib/cni"]
conf_dir = "/run/cni"
[plugins."io.containerd.cri.v1.runtime".containerd]
default_runtime_name = "runc"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
{strict}
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
BinaryName = "{packages}/usr/sbin/runc"
""",
    "trixie": """
version = 2
{top}
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{image}"
restrict_oom_score_adj = true
enable_unprivileged_ports = false
enable_unprivileged_icmp = false
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{packages}/usr/lib/cni"
conf_dir = "/run/cni"
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "native"
default_runtime_name = "runc"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
{strict}
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
BinaryName = "{packages}/usr/sbin/runc"
""",
}
NRI_CONFIG = """
[plugins."io.containerd.nri.v1.nri"]
disable = false
socket_path = "{nri}"
plugin_path = "/run/nri/plugins"
plugin_config_path = "/run/nri/conf.d"
plugin_registration_timeout = "60s"
plugin_request_timeout = "{timeout_s}s"
"""


def program(suite: str, path: str) -> str:
    """Where a program of a suite is; `path` as in the package."""
    return str(CACHE / suite / "packages" / path)


def is_fetched(suite: str) -> bool:
    """Whether the programs are there, and the protocol."""
    return all(os.path.exists(program(each, "usr/bin/containerd")) for each in ("sid", suite))


def annotations(**devices: str) -> dict[str, str]:
    """The annotations of a pod: host name = name in the pod."""
    return {f"{PREFIX}{device}": name for device, name in devices.items()}


def _image(rootfs: Path) -> bytes:
    """An OCI image of busybox, as a tar file; its process sleeps."""
    blobs: dict[str, bytes] = {}

    def blob(data: bytes, kind: str) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        blobs[f"blobs/sha256/{digest}"] = data
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}", "size": len(data)}

    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.add(rootfs, arcname=".")
    layer = blob(packed.getvalue(), "layer.v1.tar")
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": ["/bin/sleep", "1000000"], "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
    }
    described = blob(json.dumps(config).encode(), "config.v1+json")
    manifest = {"schemaVersion": 2, "config": described, "layers": [layer]}
    manifest["mediaType"] = "application/vnd.oci.image.manifest.v1+json"
    entry = blob(json.dumps(manifest).encode(), "manifest.v1+json")
    entry["annotations"] = {"io.containerd.image.name": IMAGE}
    blobs["index.json"] = json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode()
    blobs["oci-layout"] = b'{"imageLayoutVersion": "1.0.0"}'
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, data in blobs.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return packed.getvalue()


class Pods:
    """containerd on a machine, and the plugin."""

    def __init__(self, suite: str, machine: Machine, cgroup: str, timeout_s: int) -> None:
        from .cri import Cri

        self.suite = suite
        self.machine = machine
        self.cgroup = cgroup
        self.timeout_s = timeout_s
        self.containerd: subprocess.Popen[bytes] | None = None
        self.plugin: subprocess.Popen[bytes] | None = None
        self.strict = ""
        self.cri = Cri(machine.path(SOCKET), cgroup)

    @classmethod
    @contextlib.contextmanager
    def started(cls, suite: str, host: Namespace, rootfs: Path, timeout_s: int) -> Iterator[Pods]:
        """containerd runs with this plugin_request_timeout. Raises OSError: the kernel does not allow a machine."""
        with Machine(host, PREPARE) as machine:
            found = cls(suite, machine, f"/netdevns-{secrets.token_hex(4)}", timeout_s)
            machine.path("/run/cni/10-pods.conflist").write_text(json.dumps(CNI))
            machine.path("/run/pause.tar").write_bytes(_image(rootfs))
            try:
                found.start_containerd()
                words = [
                    program(suite, "usr/bin/ctr"),
                    "--address",
                    SOCKET,
                    "--namespace",
                    "k8s.io",
                    "images",
                    "import",
                ]
                machine.run([*words, "--local", "--snapshotter=native", "/run/pause.tar"]).check_returncode()
                yield found
            finally:
                found.close()

    def close(self) -> None:
        self.end_plugin()
        for name in ("containerd", "plugin"):  # pytest shows what was printed before a failure
            path = self.machine.path(f"/run/{name}.log")
            print(path.read_text()[-20000:] if path.exists() else f"no {path}")
        print(self.machine.hook_log())
        with contextlib.suppress(self.cri.error):
            for pod in self.cri.pods() if self.containerd else ():
                self.cri.stop(pod)
                self.cri.remove(pod)
        self.end_containerd()
        self.cri.close()
        groups = self._cgroups()
        inside = {pid for group in groups for pid in _processes_in(group)}
        for pid in processes(RUN) | inside:  # shims, and sandboxes that failed to start: containerd leaves both
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not processes(RUN), "no shim is left")
        for path in groups:
            wait_until(lambda path=path: _is_removed(path), f"{path} can be removed")

    def _cgroups(self) -> list[Path]:
        """Those of the pods, the innermost first; os.walk passes over those that other tests remove meanwhile."""
        walked = (Path(path) for path, _, _ in os.walk("/sys/fs/cgroup", topdown=False))
        return [path for path in walked if self.cgroup[1:] in path.parts]

    # ---- containerd ----

    def start_containerd(self) -> None:
        """Starts it, and waits until it takes pods."""
        packages = CACHE / self.suite / "packages"
        top = f'root = "{RUN}/root"\nstate = "{RUN}/state"\n[grpc]\naddress = "{SOCKET}"\n'
        config = CONFIG[self.suite].format(top=top, image=IMAGE, packages=packages, strict=self.strict)
        config += NRI_CONFIG.format(nri=NRI, timeout_s=self.timeout_s)
        self.machine.path("/run/containerd.toml").write_text(config)
        log = self.machine.path("/run/containerd.log").open("ab")
        path = f"PATH={packages}/usr/bin:{packages}/usr/sbin:{ENV['PATH']}"
        containerd = program(self.suite, "usr/bin/containerd")
        words = ["env", path, "TMPDIR=/run/tmp", containerd, "--config", "/run/containerd.toml"]
        with log:
            self.containerd = self.machine.popen(words, stdout=log, stderr=log)
        wait_until(self.cri.is_ready, "containerd takes pods", START_S)

    def end_containerd(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Ends containerd; its pods live on."""
        if self.containerd is not None:
            _ended(self.containerd, number)
        self.containerd = None

    def log(self) -> str:
        """What containerd has logged."""
        return self.machine.path("/run/containerd.log").read_text()

    # ---- the plugin ----

    def start_plugin(self, *arguments: str, under: tuple[str, ...] = ()) -> None:
        """Starts the plugin, and waits until containerd has synchronized it."""
        before = self.connections()
        log = self.machine.path("/run/plugin.log").open("ab")
        with log:
            words = [*under, *NETDEVNS, "nri", "--socket", NRI, *arguments]
            self.plugin = self.machine.popen(words, stdout=log, stderr=log)
        wait_until(lambda: self.is_connected(before), "the plugin is connected", START_S)

    def is_connected(self, before: int) -> bool:
        assert self.plugin is not None
        assert self.plugin.poll() is None, self.said()
        return self.connections() > before

    def connections(self) -> int:
        """How often containerd has taken a plugin that connected to it."""
        return len(re.findall(r'plugin \\"[0-9]+-netdevns\\" connected', self.log()))

    def end_plugin(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ends the plugin; returns its exit code."""
        code = _ended(self.plugin, number) if self.plugin is not None else 0
        wait_until(lambda: not processes(f"--socket\0{NRI}"), "the plugin ends, also where strace has ended first")
        self.plugin = None
        return code

    def said(self) -> str:
        """What the plugin has printed."""
        return self.machine.path("/run/plugin.log").read_text()

    def has_ended(self) -> bool:
        """Whether the plugin has."""
        return self.plugin is not None and self.plugin.poll() is not None

    def is_dead(self) -> bool:
        """Whether it does not run any more; strace, which it may run under, ends after it."""
        straces = processes("strace\0-f")
        return not processes(f"--socket\0{NRI}") - straces

    # ---- pods ----

    @contextlib.contextmanager
    def inside(self, pod: str) -> Iterator[Namespace]:
        """The network namespace of a pod."""
        fd = os.open(self.machine.path(self.cri.netns(pod)), os.O_RDONLY | os.O_CLOEXEC)
        with Namespace(fd, "pod") as namespace:
            yield namespace

    def links(self, pod: str) -> set[str]:
        """The devices of a pod that CNI has not made."""
        with self.inside(pod) as namespace:
            return set(namespace.names()) - {"lo", "eth0"}

    @contextlib.contextmanager
    def restored(self) -> Iterator[None]:
        """All of the host is as before when the block ends; nothing is on loan, and no record is left."""
        before = self.machine.host.dump()
        yield
        assert_equal_soon(before, self.machine.host, timeout_s=20)
        for folder in ("loan", "txn", "aside"):
            path = self.machine.path(f"/run/netdevns/{folder}")
            wait_until(lambda path=path: not path.exists() or not list(path.iterdir()), f"{path} is empty")

    def refused(self, *arguments: Any, **options: Any) -> str:
        """A pod whose containers must not start; returns the reason that kubelet gets."""
        pod = self.cri.run(*arguments, **options)
        try:
            why = self.why_no_container(pod)
        finally:
            self.cri.stop(pod)
            self.cri.remove(pod)
        assert why, "the container has started"
        return why

    def why_no_container(self, pod: str) -> str:
        """Starts a container; the reason where that is refused, or ""."""
        try:
            self.cri.container(pod, "c1", IMAGE, ["/bin/sleep", "1000"])
        except self.cri.error as e:
            return str(e.details())
        return ""

    def loans(self) -> dict[str, str]:
        """The devices on loan, and to whom."""
        said = json.loads(self.machine.netdevns("show", "--json").stdout)["loans"]
        return {each["device"]: each["container"] for each in said}


def _ended(process: subprocess.Popen[bytes], number: signal.Signals) -> int:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)  # it has its own session
    return process.wait(60)


def _processes_in(cgroup: Path) -> set[int]:
    with contextlib.suppress(OSError):  # it may be removed meanwhile
        return {int(pid) for pid in (cgroup / "cgroup.procs").read_text().split()}
    return set()


def _is_removed(path: Path) -> bool:
    with contextlib.suppress(OSError):  # busy, as long as a process ends there
        path.rmdir()
    return not path.exists()


def why_not(suite: str) -> str:
    """Why no pod can be tried here; "": it can."""
    if not is_fetched(suite):
        return f"there is no containerd of {suite}; tools/nri_fetch.py fetches it"
    if shutil.which("busybox", path=ENV["PATH"]) is None:
        return "there is no busybox; install busybox-static"
    return ""
