"""The OCI runtime-spec's side of netdevns: config.json, hooks, CDI.

Public is what reads a config.json and a hook's state; each name is loaded on first use.

    >>> from netdevns import oci
    >>> oci.net_devices({"linux": {"netDevices": {"eth1": {"name": "net0"}, "eth2": {}}}})
    {'eth1': 'net0', 'eth2': 'eth2'}
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .config_json import State, features, load, net_devices, network_namespace, parse

__all__ = ["State", "features", "load", "net_devices", "network_namespace", "parse"]

if not TYPE_CHECKING:  # a type checker must refuse what is not in the list

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module 'netdevns.oci' has no attribute {name!r}")
        from . import config_json

        return getattr(config_json, name)
