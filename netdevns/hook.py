"""The OCI hook: state JSON on stdin; moves a container's devices before its process starts.

What real runtimes do (runc 1.1.5, 1.3.6; crun 1.8.1, 1.28; podman 4.3.1, 5.8.6): crun breaks when a hook leaves stdin
unread, and drops a hook's stderr, so errors go to a log as well; `--network host` runs hooks, too, with the host's own
namespace; runtimes with netDevices of their own have moved the devices already when createRuntime hooks run.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from . import errors, lookups, names, oci, recovery, transaction, wire
from .engine import EngineError, Socket
from .journal import JOURNAL_DIR
from .netns import CURRENT, NetNS


def create_runtime(data: bytes, arguments: Mapping[str, str | None]) -> None:
    """The createRuntime hook: moves what the arguments and the bundle's config.json ask for.

    Args:
        data: All of stdin.
        arguments: Device -> name of the hook's own arguments, which come from the operator.

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
    # Pinned once: whatever happens to the process meanwhile, one namespace is meant.
    with NetNS.open(f"pid:{state.pid}") as target, NetNS.open(CURRENT) as own:
        if target.same(own):
            raise errors.ConfigInvalid(
                f"container {names.printable(state.id)} has no network namespace of its own: "
                f"its process {state.pid} is in the host's, and devices are there already"
            )
        # First: what a killed hook left in the container must not be taken for what a runtime has moved.
        with transaction.open_journal(JOURNAL_DIR) as journal:
            recovery.before_move(journal, devices, own)
        devices = _not_there_yet(devices, target)
        # The operator named these devices for this container: a default route is no reason to refuse.
        transaction.transact(devices, target, force=True, journal=JOURNAL_DIR)


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


def _not_there_yet(devices: Mapping[str, str], target: NetNS) -> dict[str, str]:
    """Without the devices that a runtime with netDevices of its own has moved: absent here, there under their name."""
    encoded = {host_name: (names.encode(host_name), names.encode(name)) for host_name, name in devices.items()}
    literal = [h for h, (old, new) in encoded.items() if not names.why_invalid(old) and not names.is_template(new)]
    literal = [h for h in literal if not names.why_invalid(encoded[h][1])]
    try:
        with Socket() as here, Socket(target.fd) as there:
            old = lookups.ask(here, [wire.get_link(name=encoded[h][0]) for h in literal])
            new = lookups.ask(there, [wire.get_link(name=encoded[h][1]) for h in literal])
        done = {
            h
            for h, a, b in zip(literal, old, new, strict=True)
            if lookups.link_of(a) is None and (link := lookups.link_of(b)) is not None and link.name == encoded[h][1]
        }
    except EngineError:
        return dict(devices)  # the move's own checks say in full what is wrong, such as a missing capability
    return {host_name: name for host_name, name in devices.items() if host_name not in done}
