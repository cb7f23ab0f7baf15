"""Moves existing network devices into a container's network namespace, all of them or none, with their addresses.

SYNOPSIS
    Here is a host with a device eth1, and a namespace /run/netns/blue:

    >>> import netdevns
    >>> netdevns.check({"eth1": "net0"}, "blue").ok
    True
    >>> (moved,) = netdevns.move({"eth1": {"name": "net0"}}, "blue")
    >>> moved.host_name, moved.name
    ('eth1', 'net0')
    >>> [f"{a.address}/{a.prefixlen}" for a in moved.addresses]
    ['10.0.0.1/24', '2001:db8::1/64']

WHAT ARRIVES
    Each device in the target, UP, under the wanted name, with every permanent address of global scope as it was (the
    runtime-spec's rule), usable at once, in the same order; the link's own attributes too. What else the kernel drops
    in a move is named in `Moved.not_carried`, and before it by `check` (but not sysctls, which depend on the target).

WHAT FAILS
    CheckFailed: nothing was touched. MoveFailed: everything was put back, unless `left` says what could not be. Both
    are NetDevErrors, and these are OSErrors: with the kernel's errno and its own words (`extack`).

    >>> netdevns.move({"eth2": "net0"}, "green")
    Traceback (most recent call last):
        ...
    netdevns.errors.CheckFailed: green: cannot open the network namespace /run/netns/green: No such file or directory

THREADS, SIGNALS, PROCESSES
    The calls block and release the GIL; there is no shared state, and no descriptor stays open. Any exception on the
    way (KeyboardInterrupt, too) first undoes the move. A process that is killed cannot undo: give `move` a directory as
    `journal`, and `recover`, or the next move of the same devices, does it instead.

ENVIRONMENT
    NETDEVNS_ENGINE=reference chooses the engine that is Python alone; it needs no compiled core, and is slower.

PRIVILEGES
    CAP_NET_ADMIN in both network namespaces, and CAP_SYS_ADMIN for the visit to the target, as setns(2) says.

SEE ALSO
    help(netdevns.move), help(netdevns.check), help(netdevns.NetNS), help(netdevns.oci); `netdevns --help`; the OCI
    runtime-spec 1.3, config-linux.md "Network Devices"; network_namespaces(7), rtnetlink(7).
"""

import importlib

__version__ = "0.1.0"

TYPE_CHECKING = False  # typing's takes 5 ms to import
if TYPE_CHECKING:
    from . import oci
    from .api import check, move, recover, snapshot
    from .errors import CheckFailed, ConfigInvalid, MoveFailed, NetDevError
    from .reports import Finding, Recovered, Report, Snapshot
    from .results import Address, Left, Moved
    from .system.folders import JOURNAL_DIR
    from .system.netns import NetNS

# Where each public name lives. Loaded on first use: `import netdevns` takes no longer than a program that looks for its
# version must wait (`./tools/bench startup`).
_HOME = {
    "Address": "results",
    "CheckFailed": "errors",
    "ConfigInvalid": "errors",
    "Finding": "reports",
    "JOURNAL_DIR": "system.folders",
    "Left": "results",
    "MoveFailed": "errors",
    "Moved": "results",
    "NetDevError": "errors",
    "NetNS": "system.netns",
    "Recovered": "reports",
    "Report": "reports",
    "Snapshot": "reports",
    "check": "api",
    "move": "api",
    "oci": "oci",
    "recover": "api",
    "snapshot": "api",
}

__all__ = [
    "JOURNAL_DIR", "Address", "CheckFailed", "ConfigInvalid", "Finding", "Left", "MoveFailed", "Moved", "NetDevError",
    "NetNS", "Recovered", "Report", "Snapshot", "check", "move", "oci", "recover", "snapshot",
]  # fmt: skip


if not TYPE_CHECKING:  # a type checker must refuse what is not in the list

    def __getattr__(name: str) -> object:
        if name not in _HOME:
            raise AttributeError(f"module 'netdevns' has no attribute {name!r}")
        module = importlib.import_module(f"netdevns.{_HOME[name]}")
        value = module if name == "oci" else getattr(module, name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
