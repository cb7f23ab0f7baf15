"""Devices that a container's annotations ask for: whoever starts a container may write these, so the operator decides.

`org.netdevns.device.<host name>: <name in the container>`, one a device: podman splits values at commas. Only what a
GLOB of the operator's (`--allow`) admits by its host name; all others are as if they were not there, whatever they say.
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
    """The devices that the annotations of a document ask for, and may.

    Args:
        document: The state, or a config.json: what has a member "annotations".
        where: What to call it in an error.
        allowed: Globs for host names; none: nothing is admitted.

    Returns:
        {host name: name in the container}, in the document's order; an empty name is the host name. Names are not
        judged here: `check` does that for all of them at once.

    Raises:
        ConfigInvalid: An annotation that is admitted has no string, no text, or is there twice; or there are more than
            256 of them.
    """
    annotations = document.get("annotations", {})
    if not is_object(annotations):
        raise ConfigInvalid(f"{where}: annotations: an object is needed, not {kind(annotations)}")
    twice = getattr(annotations, "twice", ())
    found: dict[str, str] = {}
    for key, value in annotations.items():
        host_name = key.removeprefix(PREFIX)
        if not key.startswith(PREFIX) or not is_admitted(_as_argument(host_name), allowed):
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


def _as_argument(host_name: str) -> str:
    """A name as a glob of the command line is to match it; also one that is no text."""
    return host_name if host_name.isascii() else os.fsdecode(host_name.encode("utf-8", "surrogatepass"))


def is_admitted(host_name: str, allowed: Sequence[str]) -> bool:
    """Whether one of the globs is for this name; upper and lower case differ, as the kernel's names do."""
    return any(fnmatchcase(host_name, glob) for glob in allowed)
