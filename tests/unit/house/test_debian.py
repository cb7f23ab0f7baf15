"""tools/debian.py: which mirror other suites are fetched from."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import debian

FOREIGN = "https://vendor.example/apt/ stable main\nhttp://mirror.example/debian-security/ trixie-security main\n"


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with what a pretended apt-get lists: URI, suite and component of each source."""
    listed, program = tmp_path / "listed", tmp_path / "apt-get"
    program.write_text(f"#!/bin/sh\ncat '{listed}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.delenv(debian.MIRROR_VARIABLE, raising=False)
    return listed


@pytest.mark.parametrize("uri", ["http://mirror.example/debian/", "mirror+file:/etc/apt/mirrors/debian.list"])
def test_mirror_is_that_of_apt(apt: Path, uri: str) -> None:
    """The first source that is Debian's archive, not a vendor's and not the security archive."""
    apt.write_text(f"{FOREIGN}{uri} trixie main\nhttp://second.example/debian/ trixie main\n")
    assert debian.machine_mirror() == uri


def test_mirror_of_the_variable_is_preferred(apt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NETDEVNS_DEBIAN_MIRROR replaces the mirror of apt."""
    apt.write_text("http://mirror.example/debian/ trixie main\n")
    monkeypatch.setenv("NETDEVNS_DEBIAN_MIRROR", "http://named.example/debian")
    assert debian.machine_mirror() == "http://named.example/debian"


def test_no_mirror_is_an_error_that_names_the_variable(apt: Path) -> None:
    """No host is contacted that the machine does not name itself."""
    apt.write_text(FOREIGN)
    with pytest.raises(debian.Fail, match="name no Debian mirror; set NETDEVNS_DEBIAN_MIRROR to"):
        debian.machine_mirror()
