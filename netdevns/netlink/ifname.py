"""Checks interface names, which are bytes, by the kernel's rules.

Sources: net/core/dev.c (dev_valid_name, __dev_alloc_name), net/ipv4/devinet.c (sysctl_dev_name_is_allowed).
"""

import os

from . import uapi

# isspace() of the kernel's own ctype table, which counts the no-break space of Latin-1 (probe names.byte.a0-bf).
_RESERVED = (b"all", b"default")
_WHITE = b"\t\n\v\f\r \xa0"


def why_invalid(name: bytes) -> str | None:
    """Why the kernel refuses a name that is no template, or None."""
    if name.isalnum() and len(name) < uapi.IFNAMSIZ and name not in _RESERVED:
        return None  # the common case
    if not name:
        return "it is empty"
    if len(name) >= uapi.IFNAMSIZ:
        return f"it has {len(name)} bytes, at most {uapi.IFNAMSIZ - 1} are allowed"
    if name in (b".", b".."):
        return "the kernel refuses it"
    if name in _RESERVED:
        # The kernel refuses these names only after the move: the device is then in the target under its old name, or
        # has the new name and takes no address (probes names.reserved.all-old-free, names.reserved.all-old-taken).
        # Source: net/ipv4/devinet.c.
        return "the kernel keeps it for net.ipv4.conf"
    for byte in name:  # also refused only after the move (probes clash.invalid-old-free, names.refused-late.all)
        if byte in b"/:":
            return f'it contains "{chr(byte)}"'
        if byte in _WHITE:
            return f"it contains white space (byte 0x{byte:02x})"
        if byte == 0:
            return "it contains a NUL byte"
    return None


def may_be_altname(name: bytes) -> bool:
    """Whether a name is too long for a device, but not for an alternative name (ALTIFNAMSIZ)."""
    return uapi.IFNAMSIZ <= len(name) < uapi.ALTIFNAMSIZ and why_invalid(name[: uapi.IFNAMSIZ - 1]) is None


def is_template(name: bytes) -> bool:
    """Whether the kernel treats the name as a template; a valid template passes why_invalid_template."""
    return b"%" in name


def why_invalid_template(name: bytes) -> str | None:
    """Why the kernel refuses a name with a "%" in it, or None: exactly one, followed by "d"."""
    # Also refused only after the move (probe clash.two-templates-old-free).
    if name.count(b"%") != 1:
        return 'a template may contain only one "%"'
    if b"%d" not in name:
        return '"%" must be followed by "d", as in "eth%d"'
    return why_invalid(name)


def encode(name: str) -> bytes:
    """The bytes of a name; UTF-8 where the locale cannot encode it. The kernel accepts any (probe names.byte.80-9f)."""
    try:
        return os.fsencode(name)
    except UnicodeEncodeError:
        return name.encode("utf-8", "surrogatepass")
