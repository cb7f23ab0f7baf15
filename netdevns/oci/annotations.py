"""Reads the devices that a container's annotations ask for, as far as the operator allows them.

One annotation a device, as podman splits values at commas: `org.netdevns.device.<host name>: <name in the container>`.
Their author may not be trusted, so those whose host name matches no GLOB of the operator (`--allow`) are ignored.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from .. import limits
from ..errors import ConfigInvalid
from ..system.inputs import text
from ..text.quote import quoted
from .config_json import is_object, kind

PREFIX = "org.netdevns.device."


def devices(document: Mapping[str, object], where: str, allowed: Sequence[str]) -> dict[str, str]:
    """The allowed devices that the annotations of a document ask for.

    Args:
        document: The state or a config.json, with a member "annotations".
        where: Its name in an error.
        allowed: Globs for host names; none: no device is allowed.

    Returns:
        {host name: name in the container}, in the document's order; an empty name is the host name. Names are not
        checked; `check` does that for all together.

    Raises:
        ConfigInvalid: An allowed annotation's value is not a string, has a lone surrogate, or is listed twice; or there
            are more than 256.
    """
    annotations = document.get("annotations", {})
    if not is_object(annotations):
        raise ConfigInvalid(f"{where}: annotations: an object is needed, not {kind(annotations)}")
    twice = getattr(annotations, "twice", ())
    found: dict[str, str] = {}
    for key, value in annotations.items():
        host_name = key.removeprefix(PREFIX)
        if not key.startswith(PREFIX) or not is_admitted(as_argument(host_name), allowed):
            continue
        if key in twice:
            raise ConfigInvalid(f"{where}: annotations: {quoted(key)}: it is listed twice")
        if not isinstance(value, str):
            raise ConfigInvalid(f"{where}: annotations: {quoted(key)}: a string is needed, not {kind(value)}")
        device = text(host_name, f"{where}: annotations")
        found[device] = text(value, f"{where}: annotations: {quoted(key)}") or device
    if len(found) > limits.ANNOTATED:
        raise ConfigInvalid(f"{where}: annotations: {len(found)} of them name devices; at most {limits.ANNOTATED} may")
    return found


def as_argument(host_name: str) -> str:
    """A host name in the locale of the command line's globs; also one with a lone surrogate."""
    return host_name if host_name.isascii() else os.fsdecode(host_name.encode("utf-8", "surrogatepass"))


def is_admitted(host_name: str, allowed: Sequence[str]) -> bool:
    """Whether one of the globs matches the name; case counts, as for the kernel's names."""
    return any(fnmatchcase(host_name, glob) for glob in allowed)
