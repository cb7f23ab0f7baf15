"""The OCI hook: state JSON on stdin; moves a container's devices before its process starts.

What real runtimes do (runc 1.1.5, 1.3.6; crun 1.8.1, 1.28; podman 4.3.1, 5.8.6): crun breaks when a hook leaves stdin
unread, and drops a hook's stderr, so errors go to a log as well; `--network host` runs hooks, too, with the host's own
namespace; runtimes with netDevices of their own have moved the devices already when createRuntime hooks run.
"""

from __future__ import annotations

import os

from . import errors, names, oci

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def create_runtime(data: bytes, arguments: Mapping[str, str | None], begin: Callable[[], None] = lambda: None) -> None:
    """The createRuntime hook: moves what the arguments and the bundle's config.json ask for.

    Args:
        data: All of stdin.
        arguments: Device -> name of the hook's own arguments, which come from the operator.
        begin: Called when there is something to move, before anything is touched.

    Raises:
        ConfigInvalid: The state or the configuration; nothing was touched.
        NetDevError: As `move`.

    Source: runtime-spec 1.3, config.md "POSIX-platform Hooks" (createRuntime), runtime.md "State".
    """
    state = oci.State(data)
    config = oci.load(os.path.join(state.bundle, "config.json"))
    devices = _merge(arguments, oci.net_devices(config))
    if not devices:
        return
    if not state.pid:
        raise errors.ConfigInvalid("state on stdin: pid: a createRuntime hook needs the container's process")
    begin()
    from . import handover  # a hook without devices must not pay for it

    handover.to_process(state, devices)


def _merge(arguments: Mapping[str, str | None], configured: Mapping[str, str]) -> dict[str, str]:
    """Both sources; a device with two different names is an error that names both."""
    devices = {host_name: name or host_name for host_name, name in arguments.items()}
    for host_name, name in configured.items():
        if devices.setdefault(host_name, name) != name:
            raise errors.ConfigInvalid(
                f'{names.printable(host_name)}: the hook\'s argument says "{names.printable(devices[host_name])}", '
                f'config.json says "{names.printable(name)}"; say one'
            )
    return devices
