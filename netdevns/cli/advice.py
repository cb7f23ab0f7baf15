"""The next command to type after an error or a check: what the findings' hints say, with the arguments that were given.

For people only: nothing here is stable.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from ..reports import Device, Finding
from ..text import quote

# sudo looks for commands here and not in the caller's PATH (Debian's secure_path).
SUDO_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Asked:
    """What was typed.

    Attributes:
        command: "move", "check", ...
        devices: DEV -> NAME or None, of the command line; a bundle's are not in it.
        options: What stands behind them, without --json.
        target, source: NETNS, as given.
    """

    command: str
    devices: Mapping[str, str | None] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    target: str | None = None
    source: str | None = None

    def line(self, command: str | None = None, *, sudo: bool = False) -> list[str]:
        """The words to type, or another command with the same arguments."""
        words = [*_program(sudo), command or self.command]
        devices = [f"{device}={name}" if name else device for device, name in self.devices.items()]
        if any(device.startswith("-") for device in devices):  # the kernel allows it, and argparse takes an option
            return [*words, *self.options, "--", *devices]
        return [*words, *devices, *self.options]


def after_check(findings: Iterable[Finding], asked: Asked) -> list[str]:
    """What was asked for, corrected, if that is all it takes; then the other commands that help."""
    errors = [finding for finding in findings if finding.severity == "error"]
    if not errors:
        return _typed([asked.line({"check": "apply" if not asked.devices else "move"}.get(asked.command))])
    hints = [(e.device, shlex.split(e.hint or "")) for e in errors]
    if (None, ["sudo"]) in hints:
        return _typed([asked.line(sudo=True)])
    commands = [hint for _, hint in hints if len(hint) > 1]
    commands = [[*_program(), *words] if program == "netdevns" else [program, *words] for program, *words in commands]
    return _typed([*_corrected(hints, asked), *commands])


def after_show(devices: Iterable[Device], asked: Asked) -> list[str]:
    """What to type before a move of these devices."""
    movable = {device.name: "NAME" for device in devices if device.movable}
    options = ("--to", "NETNS", *(["--from", asked.source] if asked.source else []))
    return _typed([replace(asked, command="check", devices=movable, options=options).line()]) if movable else []


def after_failure(asked: Asked, *, left_in_target: bool) -> list[str]:
    """Where to look after a move that began."""
    if left_in_target:
        return _typed([[*_program(), "show", "--netns", asked.target or ""]])
    return _typed([asked.line("check")])


def _corrected(hints: Iterable[tuple[str | None, list[str]]], asked: Asked) -> list[list[str]]:
    """The command line with every hint in it; none if one is not a single word, or is about no DEV of the line."""
    devices, options, real_names = dict(asked.devices), asked.options, dict[str, str]()
    for device, hint in hints:
        if hint == ["--force"]:
            options = (*options, *(hint if "--force" not in options else []))
        elif len(hint) == 1 and device in devices:
            real, _, name = hint[0].partition("=")
            if real == device:
                devices[device] = name
            else:
                real_names[device] = real
        else:
            return []
    corrected = {real_names.get(device, device): name for device, name in devices.items()}
    return [replace(asked, devices=corrected, options=options).line()] if len(corrected) == len(devices) else []


def _typed(lines: Iterable[list[str]]) -> list[str]:
    """As they are typed; what cannot or would not be typed is left out."""
    return [*dict.fromkeys(filter(None, (quote.command_line(*line) for line in lines)))]


def _program(sudo: bool = False) -> list[str]:
    if os.path.basename(sys.argv[0]) == "__main__.py":
        return [*["sudo"][:sudo], sys.executable, *["-I"][: sys.flags.isolated], "-m", "netdevns"]
    found = shutil.which("netdevns", path=SUDO_PATH if sudo else None)
    return [*["sudo"][:sudo], "netdevns" if found or not sudo else os.path.abspath(sys.argv[0])]


def argument(text: str) -> str | int:
    """A NETNS argument: as `NetNS.open`, with an open descriptor as fd:N."""
    if text.startswith("fd:") and text[3:].isascii() and text[3:].isdigit():
        return int(text[3:])
    return text
