"""Moves that the checks refuse: every code of docs/findings.md, and what is against several devices at once."""

# ruff: noqa: E501  # a row is a line
# fmt: off

from __future__ import annotations

import errno
import os

from tests.support.namespaces import CAP_NET_ADMIN, CAP_SYS_ADMIN

from .rows import Finding, Row, found, row

HOST = """
    ifb eth1
    ifb eth2
    ifb eth3
    link property add dev eth1 altname alt1
    link property add dev eth1 altname a-name-of-more-than-15-bytes
    link property add dev eth2 altname alt2
    up eth1
    addr add 10.0.0.1/24 dev eth1
"""
TARGET = """
    ifb taken index 301
    ifb other index 302
    link property add dev taken altname taken-alt
    link property add dev other altname other-alt
    link property add dev other altname another-altname-of-many-bytes
"""


def _bad(id_: str, devices: str | dict[str, str] | tuple[tuple[str, str], ...], *findings: Finding, **more: object) -> Row:
    fields = {"target": TARGET, **more}
    return row(f"refused {id_}", fields.pop("source", HOST), devices, *findings, **fields)  # type: ignore[arg-type]


def _invalid(id_: str, name: str, code: str = "name.invalid", **more: object) -> Row:
    number = errno.ERANGE if len(os.fsencode(name)) > 15 else errno.EINVAL
    return _bad(id_, {"eth1": name}, found(code, name=name, errno=number), **more)


PYTHON = ("native", "reference")  # a C string has no NUL

INVALID = [
    _invalid("16 bytes", "sixteen-bytes-xx", smoke=True),
    _invalid("17 bytes", "seventeen-bytes-x"),
    _invalid("200 bytes", "n" * 200),
    _invalid("16 bytes of UTF-8", "\u00e9" * 8),
    _invalid("slash", "a/b", smoke=True),
    _invalid("slash first", "/a"),
    _invalid("slash alone", "/"),
    _invalid("colon", "a:b"),
    _invalid("colon last", "net0:"),
    _invalid("blank", "a b"),
    _invalid("blank first", " a"),
    _invalid("blank last", "a "),
    _invalid("tab", "a\tb"),
    _invalid("newline", "a\nb"),
    _invalid("vertical tab", "a\vb"),
    _invalid("form feed", "a\fb"),
    _invalid("carriage return", "a\rb"),
    _invalid("0xa0", "a\udca0b"),
    _invalid("0xa0 in a letter", "a\u00e0b"),
    _invalid("nul", "a\0b", only=PYTHON),
    _invalid("dot", "."),
    _invalid("two dots", ".."),
    _invalid("all", "all"),
    _invalid("default", "default"),
    _invalid("%s", "eth%s", "name.template"),
    _invalid("two %d", "e%dh%d", "name.template", smoke=True),
    _invalid("lone %", "eth%", "name.template"),
    _invalid("% first", "%eth", "name.template"),
    _invalid("%%d", "eth%%d", "name.template"),
    _invalid("%D", "eth%D", "name.template"),
    _invalid("%0d", "eth%0d", "name.template"),
    _invalid("template of 16 bytes", "abcdefghijklmn%d", "name.template"),
    _invalid("template with a slash", "a/%d", "name.template"),
    _invalid("template with a colon", "a:%d", "name.template"),
    _invalid("template with a blank", "a %d", "name.template"),
    _invalid("template with 0xa0", "a\udca0%d", "name.template"),
]

UNKNOWN = [
    _bad("unknown", "nope", found("device.unknown", "nope"), smoke=True),
    _bad("unknown with a name", "nope=net0", found("device.unknown", "nope")),
    _bad("unknown and known", "nope=a eth1=b", found("device.unknown", "nope")),
    _bad("known and unknown", "eth1=b nope=a", found("device.unknown", "nope")),
    _bad("two unknown", "nope=a no=b", found("device.unknown", "nope"), found("device.unknown", "no")),
    _bad("a device of the target", "taken=a", found("device.unknown", "taken")),
    _bad("unknown, in another namespace", "nope", found("device.unknown", "nope"), is_here=False),
    *(
        _bad(f"no name of a device, {word}", {name: "a"}, found("device.invalid-name", name), only=only)
        for word, name, only in [
            ("empty", "", ()),
            ("slash", "a/b", ()),
            ("blank", "a b", ()),
            ("colon", "eth1:0", ()),
            ("dot", ".", ()),
            ("two dots", "..", ()),
            ("all", "all", ()),
            ("default", "default", ()),
            ("template", "eth%d", ()),
            ("percent", "eth%", ()),
            ("0xa0", "a\udca0", ()),
            ("nul", "a\0", PYTHON),
            ("of 16 bytes", "x" * 16, ()),
            ("of 127 bytes", "x" * 127, ()),
            ("of 128 bytes", "x" * 128, ()),
            ("of 255 bytes", "x" * 255, ()),
        ]
    ),
    _bad("no name of a device, kept", {"a/b": ""}, found("device.invalid-name", "a/b")),
    _bad("no name of a device, and no name", {"a/b": "c/d"}, found("device.invalid-name", "a/b"), found("name.invalid", "a/b", "c/d")),
    _bad("altname", "alt1=a", found("device.altname", "alt1", other="eth1"), smoke=True),
    _bad("altname without a name", "alt1", found("device.altname", "alt1", other="eth1")),
    _bad("long altname", "a-name-of-more-than-15-bytes=a", found("device.altname", "a-name-of-more-than-15-bytes", other="eth1")),
    _bad("altname and its device", "alt1=a eth1=b", found("device.altname", "alt1", other="eth1")),
    _bad("device and its altname", "eth1=b alt1=a", found("device.altname", "alt1", other="eth1")),
    _bad("long altname beside a device", {"a-name-of-more-than-15-bytes": "a", "eth2": "b"}, found("device.altname", "a-name-of-more-than-15-bytes", other="eth1")),
    _bad("two altnames", "alt1=a alt2=b", found("device.altname", "alt1", other="eth1"), found("device.altname", "alt2", other="eth2")),
    _bad("one device twice", (("eth1", "a"), ("eth1", "b")), found("device.twice", other="eth1"), only=("c",)),
    _bad("one device twice to one name", (("eth1", "a"), ("eth1", "a")), found("name.twice", name="a", other="eth1"), found("device.twice", other="eth1"), only=("c",)),
    _bad("one device twice, kept", (("eth1", ""), ("eth1", "")), found("name.twice", name="eth1", other="eth1"), found("device.twice", other="eth1"), only=("c",)),
]


def _taken(device: str = "eth1", name: str = "taken", code: str = "name.taken", other: str = "taken", ifindex: int = 301) -> Finding:
    return found(code, device, name=name, other=other, ifindex=ifindex)


CLASHES = [
    _bad("name taken", "eth1=taken", _taken(), smoke=True),
    _bad("name taken, of two", "eth1=a eth2=taken", _taken("eth2")),
    _bad("name taken twice", "eth1=taken eth2=other", _taken(), _taken("eth2", "other", other="other", ifindex=302)),
    _bad("old name taken", "eth1", _taken(name="eth1", other="eth1"), target="ifb eth1 index 301"),
    _bad("old name given and taken", "eth1=eth1", _taken(name="eth1", other="eth1"), target="ifb eth1 index 301"),
    _bad("name of lo", "eth1=lo", _taken(name="lo", other="lo", ifindex=1)),
    _bad("name taken, from another namespace", "eth1=taken", _taken(), is_here=False),
    _bad("name is an altname", "eth1=taken-alt", _taken(name="taken-alt", code="name.taken-altname"), smoke=True),
    _bad("old name is an altname", "eth1", _taken(name="eth1", code="name.taken-altname"), target="ifb taken index 301\nlink property add dev taken altname eth1"),
    _bad("names taken by a name and an altname", "eth1=taken eth2=other-alt", _taken(), _taken("eth2", "other-alt", "name.taken-altname", "other", 302)),
    _bad("own altname", "eth1=alt1", found("name.own-altname", name="alt1"), smoke=True),
    _bad("own altname in the target", "eth1=alt1", found("name.own-altname", name="alt1"), _taken(name="alt1", other="alt1"), _taken(name="alt1", other="alt1"), target="ifb alt1 index 301", is_modelled=False),
    _bad("altname taken by a name", "eth1=a", _taken(name="alt1", code="altname.taken", other="alt1"), target="ifb alt1 index 301", smoke=True),
    _bad("altname taken by an altname", "eth1=a", _taken(name="alt1", code="altname.taken"), target="ifb taken index 301\nlink property add dev taken altname alt1"),
    _bad("long altname taken", "eth1=a", _taken(name="a-name-of-more-than-15-bytes", code="altname.taken"), target="ifb taken index 301\nlink property add dev taken altname a-name-of-more-than-15-bytes"),
    _bad("both altnames taken", "eth1=a", _taken(name="alt1", code="altname.taken", other="alt1"), _taken(name="a-name-of-more-than-15-bytes", code="altname.taken", other="alt1"), target="ifb alt1 index 301\nlink property add dev alt1 altname a-name-of-more-than-15-bytes"),
    _bad("altname and name taken", "eth1=taken", _taken(name="alt1", code="altname.taken", other="other", ifindex=302), _taken(), target="ifb taken index 301\nifb other index 302\nlink property add dev other altname alt1"),
    _bad("altname taken of the second", "eth3=x eth2=a", _taken("eth2", "alt2", "altname.taken", "alt2"), target="ifb alt2 index 301"),
    _bad("two to one name", "eth1=a eth2=a", found("name.twice", "eth2", name="a", other="eth1"), smoke=True),
    _bad("three to one name", "eth1=a eth2=a eth3=a", found("name.twice", "eth2", name="a", other="eth1"), found("name.twice", "eth3", name="a", other="eth1")),
    _bad("two and two to one name", "eth1=a eth2=b eth3=b lo=a", found("name.twice", "eth3", name="b", other="eth2"), found("name.twice", "lo", name="a", other="eth1"), found("device.immutable", "lo")),
    _bad("to the name that another keeps", "eth1=eth2 eth2", found("name.twice", "eth2", name="eth2", other="eth1")),
    _bad("keeps the name that another gets", "eth2 eth1=eth2", found("name.twice", "eth1", name="eth2", other="eth2")),
    _bad("two to a taken name", "eth1=taken eth2=taken", found("name.twice", "eth2", name="taken", other="eth1"), _taken(), _taken("eth2")),
    _bad("altname of another of the batch", "eth2=alt1 eth1=x", found("name.twice", "eth2", name="alt1", other="eth1", ), is_modelled=False),
    _bad("altname of an earlier one of the batch", "eth1=x eth2=alt1", found("name.twice", "eth2", name="alt1", other="eth1")),
    _bad("altnames crosswise", "eth1=alt2 eth2=alt1", found("name.twice", name="alt2", other="eth2"), found("name.twice", "eth2", name="alt1", other="eth1")),
    _bad("altname of a device that stays", "eth3=alt1", end="ok", source="ifb eth1\nifb eth3\nlink property add dev eth1 altname alt1", target=""),
    _bad("unknown to a taken name", "nope=taken", found("device.unknown", "nope"), _taken("nope")),
    _bad("unknown and known to one name", "nope=a eth1=a", found("name.twice", name="a", other="nope"), found("device.unknown", "nope")),
    _bad("bad name of an unknown device", "nope=a/b", found("name.invalid", "nope", "a/b"), found("device.unknown", "nope")),
    _bad("altname of the device to a taken name", "alt1=taken", found("device.altname", "alt1", other="eth1"), _taken("alt1")),
]

KINDS = [
    _bad("lo", "lo=net0", found("device.immutable", "lo"), smoke=True),
    _bad("lo, kept", "lo", found("device.immutable", "lo"), _taken("lo", "lo", other="lo", ifindex=1)),
    _bad("bridge", "br0=net0", found("device.immutable", "br0"), source="bridge br0"),
    _bad("bridge with a port", "br0=net0", found("device.immutable", "br0"), source="bridge br0\nveth eth1\nlink set eth1 master br0\nsettle"),
    _bad("bridge beside a device", "eth1=a br0=b", found("device.immutable", "br0"), source="bridge br0\nifb eth1"),
    _bad("bridge and lo", "br0=a lo=b", found("device.immutable", "br0"), found("device.immutable", "lo"), source="bridge br0"),
    _bad("bridge, in another namespace", "br0=net0", found("device.immutable", "br0"), source="bridge br0", is_here=False),
    _bad("bridge to a taken name", "br0=taken", found("device.immutable", "br0"), _taken("br0"), source="bridge br0"),
]

PLACES = [
    _bad("the same namespace", "eth1=a", found("netns.same", None), to="source", smoke=True),
    _bad("the same namespace, given", "eth1=a", found("netns.same", None), to="source", is_here=False),
    *(
        _bad(f"target is {word}", "eth1=a", found("netns.open", None, errno=errno.EINVAL), to=path)
        for word, path in [
            ("a file", "/etc/passwd"),
            ("a device", "/dev/null"),
            ("a folder", "/tmp"),
            ("a file of proc", "/proc/self/status"),
            ("a uts namespace", "/proc/self/ns/uts"),
            ("a mount namespace", "/proc/self/ns/mnt"),
            ("a user namespace", "/proc/self/ns/user"),
            ("a pid namespace", "/proc/self/ns/pid"),
            ("an ipc namespace", "/proc/self/ns/ipc"),
            ("a cgroup namespace", "/proc/self/ns/cgroup"),
        ]
    ),
]

SIX = "ifb eth1\nup eth1\naddr add 2001:db8::1/64 dev eth1 nodad"
OFF = "sysctl ipv6/conf/default/disable_ipv6 1"
NO6 = found("ipv6.disabled")
IPV6 = [
    _bad("ipv6 disabled", "eth1=net0", NO6, source=SIX, target=OFF, smoke=True),
    _bad("ipv6 disabled everywhere", "eth1=net0", NO6, source=SIX, target="sysctl ipv6/conf/all/disable_ipv6 1"),
    _bad("ipv6 disabled, of two", "eth1=a eth2=b", NO6, source=f"{SIX}\nifb eth2\nup eth2\naddr add 10.0.0.1/24 dev eth2", target=OFF),
    _bad("ipv6 disabled, of both", "eth1=a eth2=b", NO6, found("ipv6.disabled", "eth2"), source=f"{SIX}\nifb eth2\nup eth2\naddr add 2001:db8::2/64 dev eth2 nodad", target=OFF),
    _bad("ipv6 disabled, device down", "eth1=a", NO6, source="ifb eth1\naddr add 2001:db8::1/64 dev eth1 nodad\nsettle", target=OFF),
    _bad("ipv6 disabled, deprecated address", "eth1=a", NO6, source="ifb eth1\nup eth1\naddr add 2001:db8::1/64 dev eth1 nodad preferred_lft 0", target=OFF),
    _bad("ipv6 disabled, in another namespace", "eth1=a", NO6, source=SIX, target=OFF, is_here=False),
    _bad("ipv6 disabled, name taken", "eth1=x", _taken(name="x", other="x"), NO6, source=SIX, target=f"{OFF}\nifb x index 301"),
    _bad("ipv6 disabled, IPv4 alone", "eth1=a", end="ok", source="ifb eth1\nup eth1\naddr add 10.0.0.1/24 dev eth1", target=OFF),
    _bad("ipv6 disabled, link-local alone", "eth1=a", found("loss.addresses"), source="ifb eth1\nup eth1\naddr add fe80::7/64 dev eth1 nodad", target=OFF),
    _bad("ipv6 disabled, lifetime", "eth1=a", found("loss.addresses"), source="ifb eth1\nup eth1\naddr add 2001:db8::1/64 dev eth1 nodad valid_lft 99 preferred_lft 9", target=OFF),
    _bad("ipv6 disabled, no address", "eth1=a", end="ok", source="ifb eth1\nup eth1", target=OFF),
    _bad("ipv6 disabled on a device of the target", "eth1=a", end="ok", source=SIX, target="ifb x\nsysctl ipv6/conf/x/disable_ipv6 1"),
    _bad("ipv6 disabled in the source", "eth1=a", end="ok", source="sysctl ipv6/conf/all/disable_ipv6 1\nifb eth1\nup eth1\naddr add 10.0.0.1/24 dev eth1", target=""),
]

PERMISSIONS = [
    _bad("no CAP_NET_ADMIN", "eth1=a", found("permission.source", None), found("permission.target", None), drop=(CAP_NET_ADMIN,), smoke=True),
    _bad("no CAP_SYS_ADMIN", "eth1=a", found("permission.target", None), drop=(CAP_SYS_ADMIN,), smoke=True),
    _bad("no CAP_SYS_ADMIN, given source", "eth1=a", found("permission.source", None), found("permission.target", None), drop=(CAP_SYS_ADMIN,), is_here=False),
    _bad("no capability", "eth1=a", found("permission.target", None), found("permission.source", None), drop=tuple(range(40))),
    _bad("no capability, unknown device", "nope=a", found("permission.target", None), found("device.unknown", "nope"), found("permission.source", None), drop=tuple(range(40))),
    _bad("no CAP_NET_ADMIN, name taken", "eth1=taken", found("permission.source", None), found("permission.target", None), _taken(), drop=(CAP_NET_ADMIN,)),
    _bad("root of the source's user namespace alone", "eth1=a", found("permission.target", None), source=("user", "ifb eth1"), enter="source", smoke=True),
    _bad("root of the target's user namespace alone", "eth1=a", found("permission.target", None), found("permission.source", None), source="ifb eth1", target=("user",), enter="target"),
]

BUSY = [
    _bad("busy", "eth1=a", found("device.busy", name="eth1", ifindex=101), busy=("source", 101, 120.0)),
    _bad("busy upper", "low=b", found("device.busy", None, name="mv0", ifindex=103), source="veth low\nup low\nmacvlan mv0 low\nup mv0", busy=("source", 103, 120.0), accept=128),
    _bad("busy for a moment", "eth1=a", end="ok", busy=("source", 101, 0.4), smoke=True),
    _bad("busy, another device", "eth1=a", end="ok", busy=("source", 102, 120.0)),
    _bad("busy number in the target", "eth1=a", end="ok", busy=("target", 101, 120.0)),
]

MANY = [
    _bad("several at once", "nope=a eth1=taken eth2=a/b eth3=e%s lo=z", found("name.invalid", "eth2", "a/b"), found("name.template", "eth3", "e%s"), found("device.unknown", "nope"), found("device.immutable", "lo"), _taken(), smoke=True),
    _bad("unknown, altname, taken", "nope=x alt1=y eth2=other", found("device.unknown", "nope"), found("device.altname", "alt1", other="eth1"), _taken("eth2", "other", other="other", ifindex=302)),
    _bad("invalid names of both sides", {"a/b": "c:d", "eth1": "e f"}, found("device.invalid-name", "a/b"), found("name.invalid", "a/b", "c:d"), found("name.invalid", name="e f")),
    _bad("invalid, then twice", "eth1=a/b eth2=a/b", found("name.invalid", name="a/b"), found("name.invalid", "eth2", "a/b")),
    _bad("no names of the same kind", {"a/b": "", "c/d": ""}, found("device.invalid-name", "a/b"), found("device.invalid-name", "c/d")),
    _bad("4097 devices", tuple((f"d{n}", "") for n in range(4097)), found("device.too-many", None), smoke=True),
]

ROWS = [*INVALID, *UNKNOWN, *CLASHES, *KINDS, *PLACES, *IPV6, *PERMISSIONS, *BUSY, *MANY]
