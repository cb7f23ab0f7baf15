"""Paths of mounts, as in /proc/self/mountinfo."""

from __future__ import annotations

import pytest

from netdevns.system import mounts


@pytest.mark.parametrize(
    ("written", "path"),
    [
        (rb"/run/netns/blue", b"/run/netns/blue"),
        (rb"/run/a\040b\011c\012d\134e", b"/run/a b\tc\nd\\e"),
        (rb"\134040", b"\\040"),
        (b"/run/\xc3\xa9\\043", b"/run/\xc3\xa9#"),
    ],
)
def test_octal_escapes_of_a_path(written: bytes, path: bytes) -> None:
    """White space, backslash and "#" are written as three octal digits, all other bytes as they are."""
    assert mounts.unescaped(written) == path
