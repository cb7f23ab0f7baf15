"""What may be missing on a machine, and when that is a failure.

NETDEVNS_REQUIRE is a comma-separated list: netns (privileges for fresh network namespaces), uml, runtimes, native
(runtimes with netDevices of their own, which tools/runtimes fetches), compilers (and what else tests/csrc builds and
looks with), pyright, ship (the extra of that name), shells (zsh and fish, and what judges the man page), bench (the
extra of that name, and Go with the library of bench/go), units (systemd and udev, which tools/units_fetch.py fetches),
podman (of newer suites, which tools/podman_fetch.py fetches), daemons (udev and others of trixie, which
tools/daemons_fetch.py fetches),
nri (containerd, which tools/nri_fetch.py fetches),
kinds (the device kinds in kinds.REQUIRED), physical (the NIC of tests/physical). Without it a test that lacks something
skips and says why.
"""

import importlib.util
import os
from typing import NoReturn

import pytest


def required(name: str) -> bool:
    """Whether NETDEVNS_REQUIRE asks for it."""
    return name in os.environ.get("NETDEVNS_REQUIRE", "").split(",")


def require(name: str, reason: str) -> NoReturn:
    """Ends the test that lacks `name`: a skip, or a failure where NETDEVNS_REQUIRE asks for it."""
    if required(name):
        pytest.fail(f"{reason} (NETDEVNS_REQUIRE has {name})", pytrace=False)
    pytest.skip(reason)


def require_module(name: str, module: str) -> None:
    """Ends the test as `require` does, unless the module can be imported."""
    if importlib.util.find_spec(module) is None:
        require(name, f"there is no {module}; tools/test installs it")
