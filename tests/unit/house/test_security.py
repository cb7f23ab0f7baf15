"""SECURITY.md and docs/limits.md: what they point to is there, their numbers are the code's, and hooks have -I."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from netdevns import limits
from netdevns.netlink import uapi
from netdevns.oci import hook_command, install, trust
from netdevns.recovery import loans, returns, store
from netdevns.system import exclusion

ROOT = Path(__file__).resolve().parents[3]
SECURITY, LIMITS = ROOT / "SECURITY.md", ROOT / "docs" / "limits.md"
SHOWN = [
    *ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("csrc/*.md"), *ROOT.glob("examples/*.*"),
    ROOT / "netdevns" / "cli" / "manual.py", *(path for path in ROOT.glob("share/**/*") if path.is_file()),
]  # fmt: skip
# What starts netdevns through Python, as a shell or JSON has it, and what stands before it.
START = re.compile(r"(.{0,60}?)(?:-m[\", ]+netdevns\b|netdevns/__main__\.py)")


def rows() -> dict[str, list[str]]:
    """docs/limits.md: the input -> the other cells."""
    table = re.findall(r"^\| (.*) \|$", LIMITS.read_text(encoding="utf-8"), re.MULTILINE)
    cells = [[cell.strip() for cell in row.split("|")] for row in table]
    return {input_: others for input_, *others in cells[1:]}


@pytest.mark.parametrize("page", [SECURITY, LIMITS], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Each file that a page links, or names in the tests, is there."""
    found = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert found
    assert [link for link in found if not (page.parent / link).exists()] == []


def test_readme_leads_to_them() -> None:
    """A reader of README comes to both."""
    assert "(SECURITY.md)" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert "(docs/limits.md)" in SECURITY.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("input_", "number"),
    [
        ("config.json", limits.CONFIG_BYTES >> 20),
        ("state on stdin of a hook", limits.STATE_BYTES >> 20),
        ("devices of one request, from all sources", limits.DEVICES),
        ("devices that annotations ask for", limits.ANNOTATED),
        ("pods with such annotations, of one Synchronize of NRI", limits.PODS),
        ("a name quoted in a message", limits.QUOTED),
        ("a record or a loan in `/run/netdevns`", limits.RECORD_BYTES >> 20),
        ("lines about one failure, on stderr, in hook.log and in syslog each", limits.LINES),
        ("`/run/netdevns/hook.log`", limits.LOG_BYTES >> 10),
        ("a hook that waits for a reader of a full stderr", int(hook_command.STDERR_WAIT_S)),
        ("a device's name", uapi.IFNAMSIZ - 1),
        ("the id of a container, with the name of its podman network or pod", limits.CONTAINER_BYTES),
        ("the id of a container, in the name of its loan's file", loans.LONGEST),
        ("a file that `--install` writes", install.SIZE_MAX >> 20),
        ("such a file that `--install` or `--uninstall` finds", install.SIZE_MAX >> 20),
        ("the note in a folder that `--install` made", install.NOTE_MAX),
        ("symbolic links on the way to a folder or a program", trust.LINKS_MAX),
        ("a container's start that waits for another mover", int(exclusion.WAIT_S)),
        ("a poststop hook that waits for the kernel to return devices", int(returns.WAIT_S)),
        ("tries to undo a move that was killed", store.TRIES),
    ],
)
def test_limits_are_the_codes(input_: str, number: int) -> None:
    """The number in the table is the constant."""
    assert re.match(rf"{number:,}\b", rows()[input_][0])


def test_each_limit_has_its_cells() -> None:
    """Five columns, and an exit code of ours where there is one."""
    assert all(len(cells) == 4 for cells in rows().values())
    assert {cells[2][:1] for cells in rows().values() if not cells[2].startswith("-")} <= {"", "0", "1", "2", "3"}


def test_each_line_that_starts_it_has_isolation() -> None:
    """What a reader copies, like what `cdi` and `hooks-dir` write: -I stands before the module."""
    found, bare = 0, []
    for path in SHOWN:
        text = re.sub(r"\s+", " ", path.read_text(encoding="utf-8"))
        for before in START.findall(text):
            found += 1
            bare += [f"{path.name}: {before}"] if not re.search(r"(^|[\s\"`])-I\b", before) else []
    assert bare == []
    assert found >= 2


def test_programs_that_root_starts_have_isolation() -> None:
    """A Python script in docs/operator.md that runs as root: -I in its first line."""
    lines = re.findall(r"^#!.*python.*$", (ROOT / "docs" / "operator.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert lines
    assert all(line.endswith(" -I") for line in lines)
