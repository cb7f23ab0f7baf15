"""The OCI runtime-spec's side: `linux.netDevices` and the network namespace of a config.json, and the state of a hook.

Source: runtime-spec 1.3, config-linux.md ("Network Devices", "Namespaces"), runtime.md ("State"), schema/.
Unknown keys anywhere are ignored: an implementation must not fail on them (config.md, "Extensibility").
"""

from __future__ import annotations

import os

from . import jsonscan
from .errors import ConfigInvalid
from .jsonscan import is_object, kind
from .names import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class _Object(dict[str, object]):
    """A JSON object that remembers which keys it had twice; elsewhere that is nobody's business, for devices it is."""

    twice: tuple[str, ...] = ()

    @classmethod
    def of(cls, pairs: Iterable[tuple[str, object]]) -> _Object:
        made = cls()
        for key, value in pairs:
            if key in made:
                made.twice += (key,)
            made[key] = value
        return made


def parse(data: bytes, what: str) -> Mapping[str, object]:
    """Reads a JSON object.

    Args:
        data: UTF-8.
        what: What to call it in an error.

    Raises:
        ConfigInvalid: Not JSON, truncated, nested too deeply, or no object.
    """
    try:
        parsed = jsonscan.loads(data, _Object.of)
    except (ValueError, RecursionError) as e:  # ValueError: JSONDecodeError and UnicodeDecodeError, too
        raise ConfigInvalid(f"{what}: not valid JSON: {e or type(e).__name__}") from None
    if not isinstance(parsed, _Object):
        raise ConfigInvalid(f"{what}: a JSON object is needed, not {kind(parsed)}")
    return parsed


def load(path: str) -> Mapping[str, object]:
    """Reads a config.json.

    Args:
        path: The file.

    Returns:
        What is in it, unjudged: for `net_devices` and `network_namespace`.

    Raises:
        ConfigInvalid: It cannot be read, or is no JSON object.
    """
    what = printable(path)
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as e:
        raise ConfigInvalid(f"{what}: cannot be read: {e.strerror}") from None
    except ValueError:  # a NUL byte, or a lone surrogate out of JSON
        raise ConfigInvalid(f"{what}: cannot be read: no file can have that name") from None
    return parse(data, what)


def net_devices(config: Mapping[str, object]) -> dict[str, str]:
    """The devices that a configuration asks for.

    Args:
        config: A parsed config.json.

    Returns:
        {host name: name in the container}, in the order of the configuration; an absent or empty name is the host name.
        Names are not judged here: `check` does that for all of them at once.

    Raises:
        ConfigInvalid: A type that the schema does not allow, or a device listed twice.

    Example:
        >>> from netdevns import oci
        >>> oci.net_devices({"linux": {"netDevices": {"eth1": {"name": "net0"}, "mv0": {}}}})
        {'eth1': 'net0', 'mv0': 'mv0'}

    Source: runtime-spec 1.3, config-linux.md "Network Devices"; schema/defs-linux.json "NetDevice".
    """
    linux = _object(config, "config", "linux", "linux")
    devices = _object(linux, "linux", "netDevices", "linux.netDevices")
    for twice in getattr(devices, "twice", ()):
        raise ConfigInvalid(f"linux.netDevices.{printable(twice)}: this device is listed twice")
    wanted = {}
    for host_name, value in devices.items():
        place = f"linux.netDevices.{printable(host_name)}"
        if not is_object(value):
            raise ConfigInvalid(f'{place}: an object such as {{"name": "net0"}} is needed, not {kind(value)}')
        name = value.get("name", "")
        if not isinstance(name, str):
            raise ConfigInvalid(f"{place}.name: a string is needed, not {kind(name)}")
        wanted[host_name] = name or host_name
    return wanted


def network_namespace(config: Mapping[str, object]) -> str | None:
    """The path of the network namespace that a configuration joins; None: it gets a new one.

    Args:
        config: A parsed config.json.

    Raises:
        ConfigInvalid: It has no network namespace of its own: its devices are the host's, nothing can be moved.

    Source: runtime-spec 1.3, config-linux.md "Namespaces".
    """
    linux = _object(config, "config", "linux", "linux")
    namespaces = linux.get("namespaces", [])
    if not isinstance(namespaces, list):
        raise ConfigInvalid(f"linux.namespaces: an array is needed, not {kind(namespaces)}")
    for namespace in namespaces:
        if is_object(namespace) and namespace.get("type") == "network":
            path = namespace.get("path", "")
            if not isinstance(path, str):
                raise ConfigInvalid(
                    f"linux.namespaces: the network namespace's path must be a string, not {kind(path)}"
                )
            if path and not path.startswith("/"):
                raise ConfigInvalid(f'linux.namespaces: the path "{printable(path)}" must be absolute')
            return path or None
    raise ConfigInvalid("linux.namespaces has no network namespace: the container would use the host's own")


def features() -> dict[str, object]:
    """The runtime-spec's Features structure, with what this package does of it.

    Returns:
        What `netdevns features` prints as JSON. Keys for what is a runtime's and not ours (mount options, cgroups, ...)
        are absent, which the spec defines as "unknown".

    Source: runtime-spec 1.3, features.md ("ociVersionMin" and "ociVersionMax" are required), features-linux.md.
    """
    return {
        # A config.json's ociVersion is not looked at, so any is accepted; netDevices came with 1.3.0.
        "ociVersionMin": "1.0.0",
        "ociVersionMax": "1.3.0",
        "hooks": ["createRuntime", "poststop"],
        "linux": {"netDevices": {"enabled": True}},
    }


class State:
    """What a hook gets to know of its container.

    Attributes:
        id: The container's.
        bundle: An absolute path.
        pid: Of the container's process, as the hook's namespace sees it; 0: there is none.
        document: All of it, as it was parsed.

    Source: runtime-spec 1.3, runtime.md "State"; config.md "POSIX-platform Hooks".
    """

    __slots__ = ("bundle", "document", "id", "pid")

    def __init__(self, data: bytes) -> None:
        """Reads state JSON. Raises ConfigInvalid. A pid is not required: runc's poststop state has none."""
        state = parse(data, "state on stdin")
        id_, bundle, pid = state.get("id"), state.get("bundle"), state.get("pid", 0)
        if not isinstance(id_, str) or not id_:
            raise ConfigInvalid("state on stdin: id: a string is needed")
        if not isinstance(bundle, str) or not os.path.isabs(bundle):
            raise ConfigInvalid("state on stdin: bundle: an absolute path is needed")
        if isinstance(pid, bool) or not isinstance(pid, int) or pid < 0:
            raise ConfigInvalid("state on stdin: pid: a positive number is needed")
        self.document = state
        self.id = id_
        self.bundle = bundle
        self.pid = pid


def _object(parent: Mapping[str, object], parent_place: str, key: str, place: str) -> Mapping[str, object]:
    """A member that must be an object where it is present."""
    if not is_object(parent):
        raise ConfigInvalid(f"{parent_place}: an object is needed, not {kind(parent)}")
    value = parent.get(key, {})
    if not is_object(value):
        raise ConfigInvalid(f"{place}: an object is needed, not {kind(value)}")
    return value
