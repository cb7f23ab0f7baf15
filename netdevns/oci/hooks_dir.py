"""hooks.d: the files by which podman and CRI-O start hooks of their own accord, for containers with an annotation.

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

# podman 4.3.1 reads no other folder of its own accord.
FOLDER = "/usr/share/containers/oci/hooks.d"
BASE = "/usr/share"  # on every system; what is missing below it is made
ANNOTATIONS = "^" + re.escape(PREFIX)
_STAGES = {"netdevns-createRuntime.json": "createRuntime", "netdevns-poststop.json": "poststop"}


def run(args: argparse.Namespace) -> int:
    """The command: shows the files, or installs or removes them; returns the exit code."""
    if not args.allow and args.action != "uninstall":
        complain(["without --allow no container gets a device by annotation"], 0)

    def make() -> Mapping[str, object]:
        return documents(args.allow, is_installed=args.action == "install", with_python=args.python)

    return install.offer(args, (FOLDER, BASE), lambda: list(_STAGES), make, is_ours)


def documents(
    allowed: Sequence[str], *, is_installed: bool = False, with_python: bool = False
) -> dict[str, dict[str, object]]:
    """What is in the files: file name -> hook.

    Args:
        allowed: Globs of host names that a container may ask for by annotation.
        is_installed, with_python: As `hook_line.command` has them.

    Raises:
        Refused: An empty glob, or one that JSON cannot carry; no hook would work here.
    """
    if "" in allowed:
        raise Refused("--allow: the glob is empty; write the names of devices that containers may ask for, as in eth*")
    options = [word for glob in allowed for word in ("--allow", glob)]
    words = hook_line.command(is_installed=is_installed, with_python=with_python)
    made: dict[str, dict[str, object]] = {}
    for name, stage in _STAGES.items():
        arguments = options if stage == "createRuntime" else []
        made[name] = {
            "version": "1.0.0",
            "hook": hook_line.entry(words, stage, *arguments),
            "when": {"annotations": {ANNOTATIONS: ".*"}},
            "stages": [stage],
        }
    return made


def is_ours(parsed: object) -> bool:
    """Whether a file was made by `documents`."""
    return isinstance(parsed, Mapping) and hook_line.is_ours(parsed.get("hook"))
