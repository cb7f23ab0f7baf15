"""Suggests the next command after an error or a check, from the findings' hints and the given arguments.

For people only: nothing here is stable.
"""

from __future__ import annotations

import errno
import os
import shlex
import shutil
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from .. import limits
from ..reports import Device, Finding
from ..text import quote

# sudo searches these for commands, not the caller's PATH (Debian's secure_path).
SUDO_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Asked:
    """A command line as typed.

    Attributes:
        command: "move", "check", ...
        devices: DEV -> NAME or None, of the command line; without a bundle's.
        options: The words behind them, without --json.
        target, source: NETNS, as given.
    """

    command: str
    devices: Mapping[str, str | None] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    target: str | None = None
    source: str | None = None

    def line(self, command: str | None = None, *, sudo: bool = False) -> list[str]:
        """The words to type; `command`: another one with the same arguments."""
        words = [*_program(sudo), command or self.command]
        devices = [f"{device}={name}" if name else device for device, name in self.devices.items()]
        if any(device.startswith("-") for device in devices):  # allowed by the kernel, but an option to argparse
            return [*words, *self.options, "--", *devices]
        return [*words, *devices, *self.options]


def after_check(findings: Iterable[Finding], asked: Asked) -> list[str]:
    """The corrected command line, if a correction is enough; then the other commands that help."""
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
    """The check to run before a move of these devices."""
    movable = {device.name: "NAME" for device in devices if device.movable}
    options = ("--to", "NETNS", *(["--from", asked.source] if asked.source else []))
    return _typed([replace(asked, command="check", devices=movable, options=options).line()]) if movable else []


def after_failure(asked: Asked, *, left_in_target: bool) -> list[str]:
    """The command that shows the cause or the devices after a failed move."""
    if left_in_target:
        return _typed([[*_program(), "show", "--netns", asked.target or ""]])
    return _typed([asked.line("check")])


def after_refusal(asked: Asked, e: BaseException) -> list[str]:
    """The same command by sudo, if a privilege was missing."""
    return _typed([asked.line(sudo=True)]) if _is_for_root(e) else []


def as_root(typed: Iterable[str], e: BaseException | None) -> list[str]:
    """As `after_refusal`, for a message; `typed`: the words behind the program; `e`: the error below a failure."""
    return [f"next: {line}" for line in _typed([[*_program(sudo=True), *typed]])] if _is_for_root(e) else []


def _is_for_root(e: BaseException | None) -> bool:
    """Whether a privilege was missing, and this is not root, whom sudo does not help."""
    return getattr(e, "errno", None) in (errno.EACCES, errno.EPERM) and os.geteuid() != 0


def _corrected(hints: Iterable[tuple[str | None, list[str]]], asked: Asked) -> list[list[str]]:
    """The command line with all hints applied; none if one has several words, or concerns no DEV of the line.

    None, too, where --force is the remedy: pasted without a thought, it would cut off a host that is reached by its
    default route.
    """
    devices, real_names = dict(asked.devices), dict[str, str]()
    for device, hint in hints:
        if len(hint) == 1 and hint != ["--force"] and device in devices:
            real, _, name = hint[0].partition("=")
            if real == device:
                devices[device] = name
            else:
                real_names[device] = real
        else:
            return []
    corrected = {real_names.get(device, device): name for device, name in devices.items()}
    return [replace(asked, devices=corrected).line()] if len(corrected) == len(devices) else []


def _typed(lines: Iterable[list[str]]) -> list[str]:
    """The lines as shell commands, without those that cannot be typed."""
    return [*dict.fromkeys(filter(None, (quote.command_line(*line) for line in lines)))]


def _program(sudo: bool = False) -> list[str]:
    if os.path.basename(sys.argv[0]) == "__main__.py":
        return [*["sudo"][:sudo], sys.executable, *["-I"][: sys.flags.isolated], "-m", "netdevns"]
    found = shutil.which("netdevns", path=SUDO_PATH if sudo else None)
    return [*["sudo"][:sudo], "netdevns" if found or not sudo else os.path.abspath(sys.argv[0])]


def argument(text: str) -> str | int:
    """A NETNS argument as `NetNS.open` takes it; fd:N is an open descriptor, unless N is longer than any number."""
    if text.startswith("fd:") and text[3:].isascii() and text[3:].isdigit() and len(text) <= limits.QUOTED:
        return int(text[3:])
    return text
