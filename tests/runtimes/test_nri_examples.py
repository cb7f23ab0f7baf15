"""examples/kubernetes: the manifests are valid, and what they name is there; none was run on a cluster."""

from __future__ import annotations

import configparser
import io
import re
import shlex
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from netdevns import JOURNAL_DIR
from netdevns.cli import usage
from netdevns.nri.messages import Pod
from netdevns.nri.rules import Rules
from tests.support.require import require_module

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples/kubernetes"
VERSIONS = ("1.28", "1.34")


def manifest(name: str) -> dict[str, Any]:
    """A manifest, parsed."""
    require_module("nri", "yaml")
    import yaml

    document: dict[str, Any] = yaml.safe_load((FOLDER / name).read_text())
    return document


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.name)
def test_manifest_is_valid(path: Path, version: str) -> None:
    """Against Kubernetes' own schema, in which an unknown field is an error."""
    require_module("nri", "kubernetes_validate")
    import kubernetes_validate

    document = manifest(path.name)
    kubernetes_validate.validate(document, version, strict=True)
    document["spec"]["nosuch"] = 1
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(document, version, strict=True)


def test_daemonset_has_what_the_plugin_needs() -> None:
    """The host's network and processes, the runtime's socket, the pods' namespaces as they are mounted, the records."""
    spec = manifest("daemonset.yaml")["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert (spec["hostNetwork"], spec["hostPID"], container["securityContext"]) == (True, True, {"privileged": True})
    paths = {each["name"]: each["hostPath"]["path"] for each in spec["volumes"]}
    mounts = {each["name"]: each for each in container["volumeMounts"]}
    assert {name: mounts[name]["mountPath"] for name in paths} == paths
    assert {*paths.values()} == {"/var/run/nri", "/var/run/netns", JOURNAL_DIR}
    assert mounts["netns"]["mountPropagation"] == "HostToContainer"


def test_pod_gets_its_device_from_the_daemonset() -> None:
    """The annotations of the one are what the other allows."""
    (container,) = manifest("daemonset.yaml")["spec"]["template"]["spec"]["containers"]
    allow = container["args"]
    assert allow[::2] == ["--allow"] * (len(allow) // 2)
    pod = manifest("pod.yaml")["metadata"]
    found = Pod("1", pod["name"], pod["namespace"], pod["annotations"])
    assert Rules.parse(allow[1::2], []).devices(found) == {"eth1": "net0"}


def test_service() -> None:
    """It starts the plugin with valid arguments, and again whenever that ends."""
    unit = configparser.ConfigParser(strict=True)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(FOLDER / "netdevns-nri.service")
    program, *words = shlex.split(unit["Service"]["ExecStart"])
    assert (program, unit["Service"]["Restart"]) == ("/usr/bin/netdevns", "always")
    arguments = usage.parser(defaultdict(lambda: lambda _: 0)).parse_args(words)
    assert (arguments.command, arguments.allow) == ("nri", ["edge/eth[1-9]"])


def test_containerfile() -> None:
    """It copies files that are there, and ends in the plugin."""
    require_module("nri", "dockerfile_parse")
    from dockerfile_parse import DockerfileParser

    parser = DockerfileParser(fileobj=io.BytesIO((FOLDER / "Containerfile").read_bytes()))
    words = [(each["instruction"], each["value"]) for each in parser.structure]
    assert {name for name, _ in words} == {"COMMENT", "FROM", "RUN", "WORKDIR", "COPY", "ENTRYPOINT"}
    copied = [path for name, value in words if name == "COPY" and "--from" not in value for path in value.split()[:-1]]
    assert len(copied) == 10
    assert [path for path in copied if not (ROOT / path).exists()] == []
    assert words[-1] == ("ENTRYPOINT", '["netdevns", "nri"]')


def test_manifests_of_the_page() -> None:
    """docs/pods.md shows no option and no annotation that is not known."""
    page = (ROOT / "docs/pods.md").read_text()
    assert {*re.findall(r"--[a-z-]+", " ".join(re.findall(r"netdevns nri [^`\n]*", page)))} <= {
        "--allow", "--force", "--strict", "--install", "--uninstall", "--socket", "--index",
    }  # fmt: skip
