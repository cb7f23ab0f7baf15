"""A made-up host: a tree of files, and programs that say what a test wants."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from netdevns import __version__
from netdevns.doctor.finding import Finding
from netdevns.doctor.host import Host, Nic

HOOK = "/opt/netdevns/bin/netdevns-hook"


class Tree:
    """The files of a host below a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir()

    def write(self, path: str, content: object, mode: int = 0o644) -> Path:
        """Writes a file: a text, or a JSON document."""
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content if isinstance(content, str) else json.dumps(content))
        file.chmod(mode)
        return file

    def program(self, path: str, *says: str, code: int = 0) -> Path:
        """An executable script that prints a line by its first argument: "--version", then "features"."""
        lines = [f"'{option}') echo '{text}';;" for option, text in zip(("--version", "features"), says, strict=False)]
        return self.write(
            path, "\n".join(["#!/bin/sh", 'case "$1" in', *lines, "*) exit 1;;", "esac", f"exit {code}"]), 0o755
        )

    def hook(self, version: str = __version__) -> Path:
        """The hook in C, with the command and its interpreter beside it, which only say the version, and no device."""
        python = self.write("/opt/netdevns/bin/python3", PYTHON, 0o755)
        self.write("/opt/netdevns/lib/python3.11/os.py", "")  # hundreds of files in a real one
        self.write("/opt/netdevns/bin/netdevns", f"#!{python}\n", 0o755)
        return self.program(HOOK, f"netdevns-hook {version}")

    def process(self, pid: int, *words: str) -> None:
        self.write(f"/proc/{pid}/cmdline", "\0".join(words) + "\0")

    def host(self, *nics: Nic) -> Host:
        return Host(str(self.root), {nic.name: nic for nic in nics})


# Started with -B, the command, and its arguments: --version, or those of `show`.
PYTHON = f"""#!/bin/sh
[ "$3" = --version ] && echo netdevns {__version__} || echo '{{"devices": []}}'
"""


def entry(stage: str, *arguments: str, path: str = HOOK) -> dict[str, object]:
    """A hook in the form of the runtime-spec."""
    return {"path": path, "args": [path, stage, *arguments]}


def cdi_file(devices: Mapping[str, str], kind: str = "vendor.com/nic") -> dict[str, object]:
    """As `netdevns cdi` writes it."""
    hooks = {
        device: [{"hookName": "createRuntime", **entry("createRuntime", f"{device}={name}")}]
        for device, name in devices.items()
    }
    return {
        "cdiVersion": "0.3.0",
        "kind": kind,
        "devices": [{"name": device, "containerEdits": {"hooks": each}} for device, each in hooks.items()],
        "containerEdits": {"hooks": [{"hookName": "poststop", **entry("poststop")}]},
    }


def hooks_file(stage: str, *arguments: str) -> dict[str, object]:
    """As `netdevns hooks-dir` writes it."""
    when = {"annotations": {"^org\\.netdevns\\.device\\.": ".*"}}
    return {"version": "1.0.0", "hook": entry(stage, *arguments), "when": when, "stages": [stage]}


def said(findings: Iterable[Finding]) -> list[str]:
    """The findings as lines."""
    return [f"{finding.severity} {finding.subject}: {finding.text}" for finding in findings]


def worse(findings: Iterable[Finding]) -> list[str]:
    """Those that are not ok; each has a remedy."""
    found = [finding for finding in findings if finding.severity != "ok"]
    assert [finding for finding in found if not finding.hint] == []
    return said(found)
