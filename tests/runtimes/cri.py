"""The CRI of a containerd, over gRPC, with the protocol's own definition: what kubelet would call."""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .pods import CACHE

PROTO = CACHE / "sid/packages/usr/share/gocode/src/k8s.io/cri-api/pkg/apis/runtime/v1"
UID = "6a5ed7ac-0000-4000-8000-000000000001"
TIMEOUT_S = 60


def generated() -> tuple[Any, Any]:
    """The modules of api.proto; made once a process. Raises ImportError: there is no grpcio-tools."""
    if "api_pb2" not in sys.modules:
        os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
        from grpc_tools import protoc  # the extra `pods`

        with tempfile.TemporaryDirectory() as folder:
            arguments = [f"-I{PROTO}", f"--python_out={folder}", f"--grpc_python_out={folder}", "api.proto"]
            assert protoc.main(["protoc", *arguments]) == 0
            sys.path.insert(0, folder)
            try:
                importlib.import_module("api_pb2_grpc")
            finally:
                sys.path.remove(folder)
    return sys.modules["api_pb2"], sys.modules["api_pb2_grpc"]


class Cri:
    """A client.

    Args:
        socket: containerd's.
        cgroup: The parent of the pods' cgroups.
    """

    def __init__(self, socket: Path, cgroup: str) -> None:
        import grpc

        self.api, stubs = generated()
        self.error = grpc.RpcError
        self._channel = grpc.insecure_channel(f"unix://{socket}")
        self._stub = stubs.RuntimeServiceStub(self._channel)
        self._cgroup = cgroup
        self._configs: dict[str, Any] = {}
        self._attempts = 0

    def close(self) -> None:
        self._channel.close()

    def version(self) -> str:
        return str(self._stub.Version(self.api.VersionRequest(), timeout=2, wait_for_ready=True).runtime_version)

    def is_ready(self) -> bool:
        """Whether pods can be started: also CNI."""
        try:
            status = self._stub.Status(self.api.StatusRequest(), timeout=2, wait_for_ready=True).status
        except self.error:
            return False
        return all(each.status for each in status.conditions if each.type in ("RuntimeReady", "NetworkReady"))

    def run(
        self, name: str, annotations: Mapping[str, str], namespace: str = "default", *, host_network: bool = False
    ) -> str:
        """Starts a pod's sandbox; returns its id. Raises grpc.RpcError."""
        config = self.api.PodSandboxConfig(
            metadata={"name": name, "uid": UID, "namespace": namespace},
            annotations=dict(annotations),
            linux={"cgroup_parent": self._cgroup},
        )
        if host_network:
            config.linux.security_context.namespace_options.network = self.api.NODE
        request = self.api.RunPodSandboxRequest(config=config)
        pod = str(self._stub.RunPodSandbox(request, timeout=TIMEOUT_S).pod_sandbox_id)
        self._configs[pod] = config
        return pod

    def stop(self, pod: str) -> None:
        self._stub.StopPodSandbox(self.api.StopPodSandboxRequest(pod_sandbox_id=pod), timeout=TIMEOUT_S)

    def remove(self, pod: str) -> None:
        self._stub.RemovePodSandbox(self.api.RemovePodSandboxRequest(pod_sandbox_id=pod), timeout=TIMEOUT_S)

    def pods(self) -> dict[str, bool]:
        """All pods' sandboxes, and whether each is ready."""
        items = self._stub.ListPodSandbox(self.api.ListPodSandboxRequest(), timeout=TIMEOUT_S).items
        return {str(each.id): each.state == self.api.SANDBOX_READY for each in items}

    def netns(self, pod: str) -> str:
        """The path of a pod's network namespace, on the machine."""
        return f"/run/netns/{self._info(pod)['netNS']}"

    def _info(self, pod: str) -> dict[str, str]:
        import json

        request = self.api.PodSandboxStatusRequest(pod_sandbox_id=pod, verbose=True)
        info = json.loads(self._stub.PodSandboxStatus(request, timeout=TIMEOUT_S).info["info"])
        spaces = info["runtimeSpec"]["linux"]["namespaces"]
        path = next((each.get("path", "") for each in spaces if each["type"] == "network"), "")
        return {"netNS": path.rpartition("/")[2], "pid": str(info["pid"])}

    def pid(self, pod: str) -> int:
        """The process of a pod's sandbox."""
        return int(self._info(pod)["pid"])

    def container(self, pod: str, name: str, image: str, command: list[str]) -> str:
        """Creates and starts a container in a pod; returns its id. Raises grpc.RpcError."""
        self._attempts += 1  # kubelet counts, too: one that failed keeps its name
        metadata = {"name": name, "attempt": self._attempts}
        config = self.api.ContainerConfig(metadata=metadata, image={"image": image}, command=command)
        request = self.api.CreateContainerRequest(pod_sandbox_id=pod, config=config, sandbox_config=self._configs[pod])
        container = str(self._stub.CreateContainer(request, timeout=TIMEOUT_S).container_id)
        self._stub.StartContainer(self.api.StartContainerRequest(container_id=container), timeout=TIMEOUT_S)
        return container

    def execute(self, container: str, *command: str) -> str:
        """Runs a command in a container; returns what it prints. Raises grpc.RpcError."""
        request = self.api.ExecSyncRequest(container_id=container, cmd=command, timeout=10)
        return str(self._stub.ExecSync(request, timeout=TIMEOUT_S).stdout.decode())
