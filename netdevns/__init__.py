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
    Each device in the target, UP, under the wanted name, with every permanent address of global scope unchanged (the
    runtime-spec's rule), usable at once, in the same order, and with the link's attributes. `Moved.not_carried` lists
    other state that the kernel drops; `check` lists it before the move (but not sysctls, which depend on the target).

WHAT FAILS
    CheckFailed: nothing was touched. MoveFailed: everything was restored, except what `left` lists. Both are
    NetDevErrors, a kind of OSError, with the kernel's errno and its extended ack text (`extack`).

    >>> netdevns.move({"eth2": "net0"}, "green")
    Traceback (most recent call last):
        ...
    netdevns.errors.CheckFailed: green: cannot open the network namespace /run/netns/green: No such file or directory

THREADS, SIGNALS, PROCESSES
    The calls block and release the GIL; there is no shared state, and no descriptor stays open. An exception during a
    move (KeyboardInterrupt, too) undoes it before it propagates. A process that is killed cannot undo: give `move` a
    directory as `journal`, and `recover`, or the next move of the same devices, undoes the move.

ENVIRONMENT
    NETDEVNS_ENGINE=reference chooses the pure Python engine, which needs no compiled core and is slower.

PRIVILEGES
    CAP_NET_ADMIN in both network namespaces, and CAP_SYS_ADMIN to enter the target (setns(2)).

SEE ALSO
    help(netdevns.move), help(netdevns.check), help(netdevns.NetNS), help(netdevns.oci); `netdevns --help`; the OCI
    runtime-spec 1.3, config-linux.md "Network Devices"; network_namespaces(7), rtnetlink(7).
"""

import importlib

__version__ = "0.1.0"

TYPE_CHECKING = False  # importing typing takes 5 ms
if TYPE_CHECKING:
    from . import oci
    from .api import check, move, recover, snapshot
    from .errors import CheckFailed, ConfigInvalid, MoveFailed, NetDevError
    from .reports import Finding, Recovered, Report, Snapshot
    from .results import Address, Left, Moved
    from .system.folders import JOURNAL_DIR
    from .system.netns import NetNS

# The module of each public name, loaded on first use: `import netdevns` stays fast (`./tools/bench startup`).
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


if not TYPE_CHECKING:  # with __getattr__, a type checker would accept any name

    def __getattr__(name: str) -> object:
        if name not in _HOME:
            raise AttributeError(f"module 'netdevns' has no attribute {name!r}")
        module = importlib.import_module(f"netdevns.{_HOME[name]}")
        value = module if name == "oci" else getattr(module, name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
