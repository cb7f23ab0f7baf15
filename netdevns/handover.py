"""Devices that a hook was asked for, to a container's process: all of them, those that a runtime has moved apart."""

from __future__ import annotations

from collections.abc import Mapping

from . import errors, lookups, names, recovery, transaction, wire
from .engine import EngineError, Socket
from .journal import JOURNAL_DIR
from .netns import CURRENT, NetNS
from .oci import State


def to_process(state: State, devices: Mapping[str, str]) -> None:
    """Moves devices into the network namespace of a container's process.

    Args:
        state: The container's.
        devices: Host name -> name in the container.

    Raises:
        ConfigInvalid: It has no network namespace of its own; nothing was touched.
        NetDevError: As `move`.
    """
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
