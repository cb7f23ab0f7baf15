"""docs/operator.md on a machine: what its commands need, and one that types them."""

from __future__ import annotations

import shlex
import subprocess

from tests.support import readme
from tests.support.namespaces import Namespace

from .container import NETDEVNS
from .podman import Podman

BLOCKS = readme.commands(readme.OPERATOR)
DEVICES = """
    link add eth1 type veth peer name wire1
    link add eth2 type veth peer name wire2
    address add 192.0.2.10/24 dev eth1
    address add 203.0.113.5/24 dev eth2
    link set wire1 up
    link set wire2 up
    link set eth1 up
    link set eth2 up
"""


def needs_annotations(block: list[str]) -> bool:
    """Whether a block starts a container with an annotation: tests/runtimes/test_podman_annotations.py runs it."""
    return any("--annotation" in line for line in block)


def furnish(host: Namespace, podman: Podman) -> None:
    """The devices, the root file system in /srv/web, and `netdevns` and `podman` as commands."""
    host.batch(DEVICES)
    podman.configure()
    program = podman.machine.path("/run/bin/netdevns")
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shlex.join(NETDEVNS)} "$@"\n')
    program.chmod(0o755)
    web = f"mount -t tmpfs tmpfs /srv && cp -a {podman.rootfs} /srv/web"
    podman.machine.run(["sh", "-c", web]).check_returncode()


def typed(podman: Podman, line: str) -> subprocess.CompletedProcess[str]:
    """Types a line into a shell."""
    return podman.machine.run(["sh", "-c", f"PATH=/run/bin:$PATH; {line}"])
