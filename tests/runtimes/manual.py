"""docs/operator.md on a machine: what its commands need, and one that types them."""

from __future__ import annotations

import shlex
import subprocess

from tests.support import readme
from tests.support.attacks import TOP
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
# A root file system in a /srv of its own, where the checkout stays that may lie there.
WEB = """
    set -e
    mkdir /run/checkout
    mount --rbind "$1" /run/checkout
    mount -t tmpfs tmpfs /srv
    mkdir -p "$1"
    mount --rbind /run/checkout "$1"
    cp -a "$2" /srv/web
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
    podman.machine.run(["sh", "-c", WEB, "sh", str(TOP), str(podman.rootfs)]).check_returncode()


def typed(podman: Podman, line: str) -> subprocess.CompletedProcess[str]:
    """Types a line into a shell."""
    # podman 5 has a warning for the machine's administrator.
    quiet = "export PODMAN_IGNORE_CGROUPSV1_WARNING=1"
    return podman.machine.run(["sh", "-c", f"PATH=/run/bin:$PATH; {quiet}; {line}"])
