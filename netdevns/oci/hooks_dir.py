"""Makes the hooks.d files by which podman and CRI-O start a hook for containers with certain annotations.

Source: containers/common, oci-hooks(5), version 1.0.0. A file has one command line, so each stage has a file.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence

from ..text.output import complain
from . import hook_line, install
from .annotations import PREFIX
from .hook_line import Refused

# The only folder that podman 4.3.1 reads by default.
FOLDER = "/usr/share/containers/oci/hooks.d"
BASE = "/usr/share"  # exists on every system; missing folders below it are made
ANNOTATIONS = "^" + re.escape(PREFIX)
_STAGES = {"netdevns-createRuntime.json": "createRuntime", "netdevns-poststop.json": "poststop"}


def run(args: argparse.Namespace) -> int:
    """Runs the command: shows, installs or removes the files; returns the exit code."""
    if not args.allow and args.action != "uninstall":
        complain(["without --allow no container gets a device by annotation"], 0)

    def make() -> Mapping[str, object]:
        return documents(args.allow, is_installed=args.action == "install", with_python=args.python)

    return install.offer(args, (FOLDER, BASE), lambda: list(_STAGES), make, is_ours)


def documents(
    allowed: Sequence[str], *, is_installed: bool = False, with_python: bool = False
) -> dict[str, dict[str, object]]:
    """The files' contents: file name -> hook.

    Args:
        allowed: Globs of host names that a container may ask for by annotation.
        is_installed, with_python: As for `hook_line.command`.

    Raises:
        Refused: A glob is empty or not UTF-8, or no hook would work here.
    """
    if "" in allowed:
        raise Refused("--allow: the glob is empty; write a pattern of device names, such as eth*")
    options = [word for glob in allowed for word in ("--allow", glob)]
    words = hook_line.command(is_installed=is_installed, with_python=with_python)
    made: dict[str, dict[str, object]] = {}
    for name, stage in _STAGES.items():
        arguments = options if stage == "createRuntime" else []
        made[name] = document(hook_line.entry(words, stage, *arguments), stage)
    return made


def document(hook: Mapping[str, object], stage: str) -> dict[str, object]:
    """The contents of a file that starts a hook at a stage for each container with annotations of devices."""
    return {"version": "1.0.0", "hook": hook, "when": {"annotations": {ANNOTATIONS: ".*"}}, "stages": [stage]}


def is_ours(parsed: object) -> bool:
    """Whether a file was made by `documents`."""
    return isinstance(parsed, Mapping) and hook_line.is_ours(parsed.get("hook"))
