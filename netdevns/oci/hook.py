"""Runs the OCI hooks: devices move before a container's process starts, and are restored after its end.

Observed with runc 1.1.5 and 1.3.6, crun 1.8.1 and 1.28, podman 4.3.1 and 5.8.6: crun breaks when a hook leaves stdin
unread, and drops a hook's stderr, so errors go to a log as well; `--network host` runs hooks, too, with the host's
namespace; runtimes that support netDevices have moved the devices before createRuntime hooks run.

Modules that move devices are imported only when needed: a container without devices starts even if the compiled core is
missing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from .. import errors
from ..netlink import ifname
from ..system import inputs
from ..system.interrupts import Interrupts
from ..text import quote
from . import config_json
from .annotations import devices as annotated

if TYPE_CHECKING:  # as in errors.py
    from ..reports import Recovered

Source = tuple[str, Mapping[str, str]]  # its name in errors, and host name -> name


def create_runtime(
    data: bytes,
    arguments: Mapping[str, str | None],
    allowed: Sequence[str] = (),
    begin: Callable[[], Interrupts] = Interrupts,
) -> list[str]:
    """The createRuntime hook: moves the devices of its arguments, the annotations and the bundle's config.json.

    Args:
        data: All of stdin.
        arguments: Device -> name of the hook's arguments, which come from the operator.
        allowed: Globs for host names that annotations may ask for; their author may not be trusted.
        begin: Called if there are devices to move, before anything is touched: blocks signals.

    Returns:
        A line for each device that was restored first, after a killed move, or that lost state, such as routes.

    Raises:
        ConfigInvalid: The state or the configuration is invalid; nothing was touched.
        NetDevError: As `move`.

    Source: runtime-spec 1.3, config.md "POSIX-platform Hooks" (createRuntime), runtime.md "State".
    """
    state = config_json.State(data)
    held = _held(state.pid)  # first: from now on a reused pid is noticed
    try:
        return _create_runtime(state, held, arguments, allowed, begin)
    finally:
        if held >= 0:
            os.close(held)


def _held(pid: int) -> int:
    """A pidfd of a process, or -1; the error is reported where it is needed."""
    try:
        return os.pidfd_open(pid) if pid else -1
    except (AttributeError, OSError):  # AttributeError: Python was built with an old kernel's headers
        return -1


def _create_runtime(
    state: config_json.State,
    held: int,
    arguments: Mapping[str, str | None],
    allowed: Sequence[str],
    begin: Callable[[], Interrupts],
) -> list[str]:
    config = config_json.load(os.path.join(state.bundle, "config.json"))
    given = {host_name: name or host_name for host_name, name in arguments.items()}
    trusted = [("the hook's argument", given), ("config.json", config_json.net_devices(config))]
    devices = merged(trusted + _annotated(state, config, allowed))
    if not devices:
        return []
    if not state.pid:
        raise errors.ConfigInvalid("state on stdin: pid: a createRuntime hook needs the container's process")
    interrupts = begin()
    from . import handover

    # The operator named these for this container: a default route is no reason to refuse.
    forced = frozenset(host_name for _, source in trusted for host_name in source)
    return handover.to_process(state, held, config, devices, forced, interrupts)


def poststop(data: bytes, begin: Callable[[], Interrupts] = Interrupts) -> list[Recovered]:
    """The poststop hook: restores the container's devices that the kernel has returned.

    Args:
        data: All of stdin; runc's state has no pid by then.
        begin: Called if there are devices to restore, before anything is touched: blocks signals.

    Returns:
        One `Recovered` for each device that the container had on loan, and for each of a killed hook that cannot be
        restored. Other containers' loans are not read: a busy host has a thousand.

    Raises:
        ConfigInvalid: The state is invalid.
        OSError: The loans cannot be read.

    Source: runtime-spec 1.3, config.md "POSIX-platform Hooks" (poststop); runtime.md "Lifecycle".
    """
    state = config_json.State(data)
    from ..recovery import loans, returns, store

    killed, lent = loans.are_there(folder=store.TXN), loans.are_there()
    if not killed and not lent:
        return []
    interrupts = begin()

    wait_s = returns.WAIT_S
    # First: a createRuntime hook that was killed, for this container or another one.
    left = returns.undo_killed(wait_s=wait_s, interrupts=interrupts) if killed else []
    return left + returns.return_loans(container=state.id, wait_s=wait_s, is_ending=True, interrupts=interrupts)


def _annotated(state: config_json.State, config: Mapping[str, object], allowed: Sequence[str]) -> list[Source]:
    """The annotations' devices; runtimes copy config.json's annotations to the state, and may add others."""
    if not allowed:
        return []

    return [
        ("an annotation of the state", annotated(state.document, "state on stdin", allowed)),
        ("an annotation of config.json", annotated(config, "config.json", allowed)),
    ]


def merged(sources: Sequence[Source]) -> dict[str, str]:
    """Merges the devices of all sources; a device with two different names is an error that names both sources.

    Raises:
        ConfigInvalid: This, or there are more devices than one move may have.
    """
    devices: dict[str, str] = {}
    said_by: dict[str, str] = {}
    for who, source in sources:
        for host_name, name in source.items():
            first = said_by.setdefault(host_name, who)
            if devices.setdefault(host_name, name) != name:
                raise errors.ConfigInvalid(
                    f'{_shown(host_name)}: {first} says "{_shown(devices[host_name])}", '
                    f'{who} says "{_shown(name)}"; give one name'
                )
    inputs.limit_devices("the hook's arguments, annotations and config.json", len(devices))
    return devices


def _shown(name: str) -> str:
    """A name in a message, UTF-8 in any locale, as in the log."""
    return quote.shown(ifname.encode(name))
