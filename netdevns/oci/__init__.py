"""Connects netdevns to OCI runtimes: config.json, hooks and CDI.

The functions that read a config.json and a hook's state are public.

    >>> from netdevns import oci
    >>> oci.net_devices({"linux": {"netDevices": {"eth1": {"name": "net0"}, "eth2": {}}}})
    {'eth1': 'net0', 'eth2': 'eth2'}
"""

from .config_json import State, features, load, net_devices, network_namespace, parse

__all__ = ["State", "features", "load", "net_devices", "network_namespace", "parse"]
