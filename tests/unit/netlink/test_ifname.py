"""Names: the kernel's rules (net/core/dev.c: dev_valid_name, __dev_alloc_name; its own isspace), byte by byte."""

import pytest

from netdevns.netlink import ifname

# The kernel's ctype table (lib/ctype.c) has white space at 9 to 13, 32, and 160, the no-break space of Latin-1.
KERNEL_WHITE = {9, 10, 11, 12, 13, 32, 160}


def kernel_takes(name: bytes) -> bool:
    """dev_valid_name, implemented a second time; a C name ends at a NUL, so it contains none."""
    return (
        0 < len(name) < 16
        and name not in (b".", b"..")
        and not any(byte in KERNEL_WHITE or byte in b"/:\0" for byte in name)
    )


@pytest.mark.parametrize("around", [(b"", b""), (b"e", b"h")], ids=["alone", "inside"])
def test_every_byte_of_a_name(around):
    """A name of one byte is refused exactly if the kernel refuses it; so is one with a byte in the middle, as a dot."""
    names = [bytes([byte]).join(around) for byte in range(256)]
    assert [name for name in names if (ifname.why_invalid(name) is None) != kernel_takes(name)] == []


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        pytest.param(b"eth0", None, id="plain"),
        pytest.param(b"a" * 15, None, id="15-bytes"),
        pytest.param(b"a" * 16, "it has 16 bytes, at most 15 are allowed", id="16-bytes"),
        pytest.param("ä".encode() * 8, "it has 16 bytes, at most 15 are allowed", id="8-letters-of-two-bytes"),
        pytest.param(b"", "it is empty", id="empty"),
        pytest.param(b".", "the kernel refuses it", id="dot"),
        pytest.param(b"..", "the kernel refuses it", id="two-dots"),
        pytest.param(b"...", None, id="three-dots"),
        pytest.param(b"eth0.5", None, id="vlan"),
        pytest.param(b"eth0:1", 'it contains ":"', id="colon"),
        pytest.param(b"a/b", 'it contains "/"', id="slash"),
        pytest.param(b"a b", "it contains white space (byte 0x20)", id="space"),
        pytest.param(b"a\xa0", "it contains white space (byte 0xa0)", id="no-break-space"),
        pytest.param("à".encode(), "it contains white space (byte 0xa0)", id="a-grave-in-utf-8"),
        pytest.param(b"a\0", "it contains a NUL byte", id="nul"),
        pytest.param(b"\xff\xfe", None, id="no-utf-8"),
        pytest.param(b"-h", None, id="dash"),
        pytest.param(b"all", "the kernel keeps it for net.ipv4.conf", id="all"),
        pytest.param(b"default", "the kernel keeps it for net.ipv4.conf", id="default"),
        pytest.param(b"all1", None, id="all1"),
    ],
)
def test_why_invalid(name, reason):
    """The reason is a phrase for a message."""
    assert ifname.why_invalid(name) == reason


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        pytest.param(b"eth%d", None, id="end"),
        pytest.param(b"%d", None, id="alone"),
        pytest.param(b"a%db", None, id="middle"),
        pytest.param(b"%", '"%" must be followed by "d", as in "eth%d"', id="percent"),
        pytest.param(b"eth%i", '"%" must be followed by "d", as in "eth%d"', id="other-letter"),
        pytest.param(b"d%", '"%" must be followed by "d", as in "eth%d"', id="wrong-order"),
        pytest.param(b"%d%d", 'a template may contain only one "%"', id="two"),
        pytest.param(b"%%d", 'a template may contain only one "%"', id="escaped"),
        pytest.param(b"%d%", 'a template may contain only one "%"', id="second-incomplete"),
        pytest.param(b"a b%d", "it contains white space (byte 0x20)", id="space"),
        pytest.param(b"%d:", 'it contains ":"', id="colon"),
        pytest.param(b"a" * 14 + b"%d", "it has 16 bytes, at most 15 are allowed", id="16-bytes"),
    ],
)
def test_why_invalid_template(name, reason):
    """A template has exactly one "%", followed by "d", and is a valid name besides."""
    assert ifname.is_template(name)
    assert ifname.why_invalid_template(name) == reason


@pytest.mark.parametrize(
    ("name", "encoded"),
    [
        pytest.param("eth0", b"eth0", id="ascii"),
        pytest.param("ä", b"\xc3\xa4", id="utf-8"),
        pytest.param("\udcff", b"\xff", id="byte-of-the-file-system"),
        pytest.param("\ud800", b"\xed\xa0\x80", id="lone-surrogate-of-json"),
    ],
)
def test_encode(name, encoded):
    """Names are bytes: a str is encoded as Python's file names are, and no str makes it fail."""
    assert ifname.encode(name) == encoded
