"""docs/findings.md: every code, with its severity and errno; and the codes that csrc/ reports."""

from __future__ import annotations

import errno
import re
from pathlib import Path

from netdevns.batch.findings import CODES

TOP = Path(__file__).resolve().parents[3]
ROW = re.compile(r"^\| `([\w.-]+)` \| (\w+) \| ([\w-]+) \| .+ \|$", re.MULTILINE)


def test_page_has_all_codes() -> None:
    """In the list's order, each with the severity and errno of the list."""
    of_both, of_c = (TOP / "docs" / "findings.md").read_text(encoding="utf-8").split("Only C reports these")
    expected = [(code, found.severity, errno.errorcode.get(found.errno, "-")) for code, found in CODES.items()]
    assert ROW.findall(of_both) == expected
    assert [code for code, *_ in ROW.findall(of_c)] == ["loss.nexthops", "loss.neigh-parameters", "lock.none"]


def test_codes_of_c_are_on_the_page() -> None:
    """Each code that csrc/ has is on the page as it stands, and those of C alone are in csrc/."""
    page = {code for code, *_ in ROW.findall((TOP / "docs" / "findings.md").read_text(encoding="utf-8"))}
    found: set[str] = set()
    prefixes = "device|name|altname|netns|permission|ipv6|loss|lock"
    for path in (TOP / "csrc").glob("*.c"):
        found |= set(re.findall(rf'"((?:{prefixes})\.[^"]+)"', path.read_text()))
    assert {"loss.nexthops", "loss.neigh-parameters"} <= found
    assert found <= page, found - page
