"""Moves existing network devices into a container's network namespace, all of them or none, with their addresses.

    >>> import netdevns
    >>> netdevns.move({"eth1": {"name": "net0"}}, "pid:4711")        # doctest: +SKIP
    (Moved(host_name='eth1', name='net0', ...),)

What is protected, what fails how, and where a device is left: `help(netdevns.move)`.
"""

__version__ = "0.1.0"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from . import oci
    from .checks import check
    from .errors import CheckFailed, ConfigInvalid, MoveFailed, NetDevError
    from .lookups import snapshot
    from .netns import NetNS
    from .results import Address, Finding, Left, Moved, Report, Snapshot
    from .transaction import move

# Where each public name lives. Loaded on first use: a hook must start fast.
_HOME = {
    "Address": "results",
    "CheckFailed": "errors",
    "ConfigInvalid": "errors",
    "Finding": "results",
    "Left": "results",
    "MoveFailed": "errors",
    "Moved": "results",
    "NetDevError": "errors",
    "NetNS": "netns",
    "Report": "results",
    "Snapshot": "results",
    "check": "checks",
    "move": "transaction",
    "oci": "oci",
    "snapshot": "lookups",
}

__all__ = [
    "Address", "CheckFailed", "ConfigInvalid", "Finding", "Left", "MoveFailed", "Moved", "NetDevError", "NetNS",
    "Report", "Snapshot", "check", "move", "oci", "snapshot",
]  # fmt: skip


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'netdevns' has no attribute {name!r}")
    module = __import__(f"netdevns.{_HOME[name]}", fromlist=["*"])  # importlib alone costs a hook 0.3 ms
    value = module if name == "oci" else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
