"""Reads `linux.netDevices` and the network namespace of a config.json, and the state of a hook.

Source: runtime-spec 1.3, config-linux.md ("Network Devices", "Namespaces"), runtime.md ("State"), schema/.
Unknown keys anywhere are ignored: an implementation must not fail on them (config.md, "Extensibility").
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import TypeGuard

from .. import limits
from ..errors import ConfigInvalid
from ..system import inputs
from ..text.quote import printable, quoted

NO_MEMORY = "there is too little memory for it"


class _Object(dict[str, object]):
    """A JSON object that remembers its duplicate keys: a device listed twice is an error."""

    twice: Mapping[str, None] | tuple[()] = ()

    @classmethod
    def of(cls, pairs: Sequence[tuple[str, object]]) -> _Object:
        made = cls(pairs)
        if len(made) != len(pairs):
            seen: set[str] = set()
            twice: dict[str, None] = {}  # in their order
            for key, _ in pairs:
                if key in seen:
                    twice[key] = None
                seen.add(key)
            made.twice = twice
        return made


def parse(data: bytes, what: str) -> Mapping[str, object]:
    """Reads a JSON object.

    Args:
        data: UTF-8.
        what: Its name in an error.

    Raises:
        ConfigInvalid: Not JSON, truncated, nested too deeply, not an object, or too large for the memory.
    """
    try:
        parsed = json.loads(data, object_pairs_hook=_Object.of)
    except MemoryError:
        why = NO_MEMORY
    except (ValueError, RecursionError) as e:  # ValueError: JSONDecodeError and UnicodeDecodeError, too
        why = f"not valid JSON: {e or type(e).__name__}"
    else:
        why = ""
    if why:  # raised outside the handlers, whose exception keeps the parsed objects alive
        raise ConfigInvalid(f"{what}: {why}")
    if not isinstance(parsed, _Object):
        raise ConfigInvalid(f"{what}: a JSON object is needed, not {kind(parsed)}")
    return parsed


def load(path: str) -> Mapping[str, object]:
    """Reads a config.json.

    Args:
        path: The file, a regular one of at most 16 MiB; symbolic links are followed.

    Returns:
        The parsed object, for `net_devices` and `network_namespace`; its members are not checked.

    Raises:
        ConfigInvalid: It cannot be read, is larger, or is not a JSON object.
    """
    what = printable(path)
    try:
        data = inputs.read_file(path, limits.CONFIG_BYTES)
    except OSError as e:
        raise ConfigInvalid(f"{what}: cannot be read: {e.strerror}") from None
    except MemoryError:
        raise ConfigInvalid(f"{what}: cannot be read: {NO_MEMORY}") from None
    except ValueError:  # a NUL byte, or a lone surrogate
        raise ConfigInvalid(f"{what}: cannot be read: no file can have that name") from None
    return parse(data, what)


def net_devices(config: Mapping[str, object]) -> dict[str, str]:
    """The devices that a configuration asks for.

    Args:
        config: A parsed config.json.

    Returns:
        {host name: name in the container}, in the order of the configuration; an absent or empty name is the host name.
        Names are not checked; `check` does that for all together. JSON is UTF-8, and `os.fsencode` of these names
        yields the same bytes in any locale.

    Raises:
        ConfigInvalid: A type that the schema does not allow, a device listed twice, a name with a lone surrogate, or
            more than 4,096 devices.

    Example:
        >>> from netdevns import oci
        >>> oci.net_devices({"linux": {"netDevices": {"eth1": {"name": "net0"}, "mv0": {}}}})
        {'eth1': 'net0', 'mv0': 'mv0'}

    Source: runtime-spec 1.3, config-linux.md "Network Devices"; schema/defs-linux.json "NetDevice".
    """
    linux = _object(config, "config", "linux", "linux")
    devices = _object(linux, "linux", "netDevices", "linux.netDevices")
    for twice in getattr(devices, "twice", ()):
        raise ConfigInvalid(f"linux.netDevices.{quoted(twice)}: this device is listed twice")
    inputs.limit_devices("linux.netDevices", len(devices))
    wanted = {}
    for host_name, value in devices.items():
        place = f"linux.netDevices.{quoted(host_name)}"
        if not is_object(value):
            raise ConfigInvalid(f'{place}: an object such as {{"name": "net0"}} is needed, not {kind(value)}')
        name = value.get("name", "")
        if not isinstance(name, str):
            raise ConfigInvalid(f"{place}.name: a string is needed, not {kind(name)}")
        device = inputs.text(host_name, place)
        wanted[device] = inputs.text(name, f"{place}.name") or device
    return wanted


def network_namespace(config: Mapping[str, object]) -> str | None:
    """The path of the network namespace that a configuration joins; None: it gets a new one.

    Args:
        config: A parsed config.json.

    Raises:
        ConfigInvalid: The container would use the host's network namespace, or the path is invalid.

    Source: runtime-spec 1.3, config-linux.md "Namespaces".
    """
    entry = network_entry(config)
    if entry is None:
        raise ConfigInvalid("linux.namespaces has no network namespace: the container would use the host's own")
    path = entry.get("path", "")
    if not isinstance(path, str):
        raise ConfigInvalid(f"linux.namespaces: the network namespace's path must be a string, not {kind(path)}")
    if path and not path.startswith("/"):
        raise ConfigInvalid(f'linux.namespaces: the path "{quoted(path)}" must be absolute')
    return inputs.text(path, "linux.namespaces: the path") or None


def network_entry(config: Mapping[str, object]) -> Mapping[str, object] | None:
    """The first entry of type "network" among a configuration's namespaces; None: there is none.

    Args:
        config: A parsed config.json.

    Raises:
        ConfigInvalid: `linux` is not an object, or its namespaces are not an array.
    """
    linux = _object(config, "config", "linux", "linux")
    namespaces = linux.get("namespaces", [])
    if not isinstance(namespaces, list):
        raise ConfigInvalid(f"linux.namespaces: an array is needed, not {kind(namespaces)}")
    for namespace in namespaces:
        if is_object(namespace) and namespace.get("type") == "network":
            return namespace
    return None


def features() -> dict[str, object]:
    """The runtime-spec's Features structure for this package.

    Returns:
        The object that `netdevns features` prints as JSON. Keys for features of a runtime (mount options, cgroups, ...)
        are absent, which the spec defines as "unknown".

    Source: runtime-spec 1.3, features.md ("ociVersionMin" and "ociVersionMax" are required), features-linux.md.
    """
    return {
        # Any ociVersion of a config.json is accepted; netDevices came with 1.3.0.
        "ociVersionMin": "1.0.0",
        "ociVersionMax": "1.3.0",
        "hooks": ["createRuntime", "poststop"],
        "linux": {"netDevices": {"enabled": True}},
    }


class State:
    """The state of a container, which its runtime passes to a hook.

    Attributes:
        id: The container's.
        bundle: An absolute path.
        pid: The container's process in the hook's pid namespace; 0: there is none.
        document: The parsed state.

    Source: runtime-spec 1.3, runtime.md "State"; config.md "POSIX-platform Hooks".
    """

    __slots__ = ("bundle", "document", "id", "pid")

    def __init__(self, data: bytes) -> None:
        """Parses state JSON of at most 16 MiB. Raises ConfigInvalid. The pid is optional: runc's poststop has none."""
        if len(data) > limits.STATE_BYTES:
            raise ConfigInvalid(f"state on stdin: larger than {inputs.called(limits.STATE_BYTES)}")
        state = parse(data, "state on stdin")
        id_, bundle, pid = state.get("id"), state.get("bundle"), state.get("pid", 0)
        if not isinstance(id_, str) or not id_:
            raise ConfigInvalid("state on stdin: id: a string is needed")
        if not isinstance(bundle, str) or not os.path.isabs(bundle):
            raise ConfigInvalid("state on stdin: bundle: an absolute path is needed")
        if isinstance(pid, bool) or not isinstance(pid, int) or not 0 <= pid <= 0x7FFFFFFF:  # pid_t
            raise ConfigInvalid("state on stdin: pid: a positive number is needed")
        inputs.text(id_, "state on stdin: id")
        self.document = state
        self.id = id_  # not converted to the locale: it is not a file name
        self.bundle = inputs.text(bundle, "state on stdin: bundle")
        self.pid = pid


def is_object(value: object) -> TypeGuard[Mapping[str, object]]:
    """Whether it is a JSON object: a parsed dict, or another mapping of a caller."""
    return isinstance(value, Mapping)


def kind(value: object) -> str:
    """A JSON value's type, with the value where it is short; for a message."""
    if value is None:
        return "null"
    if isinstance(value, (bool, int, float)):
        shown = json.dumps(value)
        return shown if len(shown) <= limits.QUOTED else f"a number of {len(shown)} digits"
    if isinstance(value, str):
        return "a string"
    return "an array" if isinstance(value, list) else "an object"


def _object(parent: Mapping[str, object], parent_place: str, key: str, place: str) -> Mapping[str, object]:
    """A member that must be an object where it is present."""
    if not is_object(parent):
        raise ConfigInvalid(f"{parent_place}: an object is needed, not {kind(parent)}")
    value = parent.get(key, {})
    if not is_object(value):
        raise ConfigInvalid(f"{place}: an object is needed, not {kind(value)}")
    return value
