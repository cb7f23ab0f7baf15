"""Names in a move: which ones the kernel accepts, how it expands templates, and when a device may be renamed."""

from __future__ import annotations

from ...netlink import uapi, wire
from ..probe import ABI, SPEC, VARIES, Value, probe
from ..requests import address, altnames, named, ns_fd, set_link
from ..world import Device, Reply, SetupFailed, World
from .clash import MOVE, move, with_altname

VALID = "net/core/dev.c, dev_valid_name"
TEMPLATE = "net/core/dev.c, __dev_alloc_name"
POLICY = "net/core/rtnetlink.c, ifla_policy"
RENAME = "net/core/dev.c, dev_change_name"
TAKEN = "EEXIST"


def pinned(world: World) -> Device:
    """A device whose name is taken in the target, so that a new name is checked within the move."""
    world.target.device(b"eth1")
    return world.source.device(b"eth1")


# ---- every byte ----

BYTES = {
    0x00: "are accepted, except white space; NUL ends the name",
    0x20: "are accepted, except space, %, / and :",
    0xA0: "are accepted, except 0xa0, white space in Latin-1",
}


@probe(
    "names.byte.{}",
    ABI,
    "In names, bytes of {}.",
    source=VALID,
    cases={f"{n:02x}-{n + 31:02x}": (n,) for n in range(0, 256, 32)},
    texts={
        f"{n:02x}-{n + 31:02x}": f"0x{n:02x} to 0x{n + 31:02x} {BYTES.get(n, 'are accepted')}"
        for n in range(0, 256, 32)
    },
)
def byte(world: World, first: int) -> Value:
    device = pinned(world)
    wanted = {n: b"n" + bytes([n]) + b"x" for n in range(first, first + 32)}
    # Each is an alternative name in the target, which may be anything: a valid name is EEXIST, and nothing moves.
    bystander = world.target.device(b"bystander")
    world.target.must(altnames(bystander.ifindex, [name for number, name in wanted.items() if number]))
    found: dict[str, list[str]] = {}
    for number, name in wanted.items():
        reply = move(world, device, name)
        if reply.error != TAKEN:
            found.setdefault(f"{reply.error}, {world.place(device)}", []).append(f"{number:02x}")
        if reply.error == "ok":
            device = world.source.device(b"eth1")
    return found


# ---- lengths, and invalid names ----


@probe("names.length.{}", SPEC, "A name of {} is accepted.", source=POLICY, cases={"1": (1,), "15": (15,)},
       texts={"1": "one byte", "15": "15 bytes"})  # fmt: skip
def length(world: World, count: int) -> Value:
    device = world.source.device(b"eth1")
    return world.outcome(device, move(world, device, b"abcdefghijklmnopq"[:count]))


@probe(
    "names.length.{}",
    SPEC,
    "A name of {} bytes is refused with ERANGE before anything moves.",
    source=POLICY,
    cases={"16": (16,), "127": (127,)},
)
def too_long(world: World, count: int) -> Value:
    device = world.source.device(b"eth1")
    return world.outcome(device, move(world, device, b"x" * count))


@probe("names.empty.old-free", SPEC, "With an empty IFLA_IFNAME, a device keeps its name.", source=MOVE)
def empty(world: World) -> Value:
    device = world.source.device(b"eth1")
    return world.outcome(device, move_empty(world, device))


@probe(
    "names.empty.old-taken",
    SPEC,
    "With an empty IFLA_IFNAME, a device whose name is taken in the target stays in the source.",
    source=MOVE,
)
def empty_taken(world: World) -> Value:
    device = pinned(world)
    return {"refused": move_empty(world, device).error != "ok", "device": world.place(device)}


def move_empty(world: World, device: Device) -> Reply:
    return world.source.request(set_link(device.ifindex, ns_fd(world.target.fd) + named(b"")))


REFUSED = {
    "dot": b".",
    "dot-dot": b"..",
    "slash-first": b"/net0",
    "colon": b"net0:1",
    "space-first": b" net0",
    "newline": b"net0\n",
    "byte-a0": b"net\xa0",  # white space in Latin-1, and the second byte of many UTF-8 characters
    "percent": b"net%",
    "percent-s": b"net%s",
    "percent-percent": b"net%%",
    "percent-width": b"net%5d",
    "percent-zero-width": b"net%02d",
    "percent-escaped": b"net%%d",
    "two-templates": b"n%dt%d",
}


@probe(
    "names.refused.{}",
    SPEC,
    "The name {} is refused with EINVAL, and nothing moves, if the old one is taken in the target.",
    source=f"{VALID}; {TEMPLATE}",
    cases={name: (wanted,) for name, wanted in REFUSED.items()},
    texts={name: ascii(wanted.decode("latin-1")) for name, wanted in REFUSED.items()},
)
def refused(world: World, name: bytes) -> Value:
    device = pinned(world)
    return world.outcome(device, move(world, device, name))


@probe(
    "names.refused-late.all",
    SPEC,
    "An invalid name leaves the device in the target, under its old name, if that is free there (EINVAL).",
    source=MOVE,
)
def refused_late(world: World) -> Value:
    found: dict[str, list[str]] = {}
    for number, (case, name) in enumerate(REFUSED.items()):
        device = world.source.device(b"eth%d" % number)
        reply = move(world, device, name)
        place = world.place(device).replace(f"eth{number}", "old-name")
        found.setdefault(f"{reply.error}, {place}", []).append(case)
    return found


ALLOWED = {"number": "0", "dots": "...", "minus": "-net0", "at": "net0@eth1", "utf-8": "nét0", "lo-like": "lo0"}


@probe(
    "names.allowed.{}",
    ABI,
    "The name {} is accepted.",
    source=VALID,
    cases={name: (wanted.encode(),) for name, wanted in ALLOWED.items()},
    texts={name: repr(wanted) for name, wanted in ALLOWED.items()},
)
def allowed(world: World, name: bytes) -> Value:
    device = world.source.device(b"eth1")
    return world.outcome(device, move(world, device, name))


@probe(
    "names.case.differs",
    ABI,
    "Names that differ in case only are different.",
    source="net/core/dev.c, __dev_get_by_name",
)
def case_differs(world: World) -> Value:
    device = world.source.device(b"eth1")
    world.target.device(b"net0")
    return world.outcome(device, move(world, device, b"NET0"))


# ---- the two names that are directories of /proc/sys/net ----

RESERVED = {
    f"{name}-{old}": (name.encode(), old == "old-taken")
    for name in ("all", "default")
    for old in ("old-free", "old-taken")
}


@probe(
    "names.reserved.{}",
    ABI,
    "The name {}.",
    source="net/ipv4/devinet.c, sysctl_dev_name_is_allowed, inetdev_init; net/ipv6/addrconf.c, addrconf_notify",
    cases=RESERVED,
    texts={
        f"{name}-{old}": f"`{name}` {outcome}"
        for name in ("all", "default")
        for old, outcome in (
            ("old-free", "is refused after the move if the old name is free (EINVAL)"),
            ("old-taken", "is accepted if the old name is taken, and the device then takes no addresses"),
        )
    },
)
def reserved(world: World, name: bytes, is_taken: bool) -> Value:
    device = pinned(world) if is_taken else world.source.device(b"eth1")
    reply = move(world, device, name)
    found = world.find(device)
    if found is None or found[0] != "target":
        raise SetupFailed("the device did not move to the target")
    added = {
        key: world.target.request(address(found[1].ifindex, text)).error
        for key, text in (("ipv4", "192.0.2.1/24"), ("ipv6", "2001:db8::1/64"))
    }
    return {"error": reply.error, "device": world.place(device), **added}


# ---- templates ----

# Devices and alternative names in the target, and the wanted name.
TEMPLATES: dict[str, tuple[str, tuple[bytes, ...], tuple[bytes, ...], bytes]] = {
    "alone": ("%d becomes 0", (), (), b"%d"),
    "first": ("%dnet becomes 0net", (), (), b"%dnet"),
    "middle": ("n%dt becomes n0t", (), (), b"n%dt"),
    "gap": ("net%d becomes net1 if 0 and 2 are taken", (b"net0", b"net2"), (), b"net%d"),
    "zero-free": ("net%d becomes net0 if only 1 is taken", (b"net1",), (), b"net%d"),
    "gap-altname": (
        "net%d becomes net3 if 0 and 2 are taken and 1 is an alternative name",
        (b"net0", b"net2"),
        (b"net1",),
        b"net%d",
    ),
    "altname-above": (
        "net%d becomes net1 if 0 is taken and 7 is an alternative name",
        (b"net0",),
        (b"net7",),
        b"net%d",
    ),
    "leading-zero": ("net%d becomes net0 if net00 is taken", (b"net00",), (), b"net%d"),
    "leading-sign": ("net%d becomes net0 if net+0 is taken", (b"net+0",), (), b"net%d"),
    "longer-name": ("net%d becomes net0 if net0.1 is taken", (b"net0.1",), (), b"net%d"),
    "longest": ("abcdefghijklm%d becomes abcdefghijklm0", (), (), b"abcdefghijklm%d"),
}


@probe(
    "names.template.{}",
    ABI,
    "The template {}.",
    source=TEMPLATE,
    cases={name: case[1:] for name, case in TEMPLATES.items()},
    texts={name: case[0] for name, case in TEMPLATES.items()},
)
def template(world: World, names: tuple[bytes, ...], others: tuple[bytes, ...], wanted: bytes) -> Value:
    device = world.source.device(b"eth1")
    for name in names:
        world.target.device(name)
    if others:
        bystander = world.target.device(b"bystander")
        world.target.must(altnames(bystander.ifindex, others))
    return world.outcome(device, move(world, device, wanted))


@probe(
    "names.template.too-long",
    SPEC,
    "A template of 16 bytes is refused with ERANGE, although the name would fit.",
    source=POLICY,
)
def template_too_long(world: World) -> Value:
    device = world.source.device(b"eth1")
    return world.outcome(device, move(world, device, b"abcdefghijklmn%d"))


@probe(
    "names.template.no-room",
    VARIES,
    "The outcome of a template whose next number does not fit; truncated, it is an alternative name in the target.",
    source=TEMPLATE,
)
def template_no_room(world: World) -> Value:
    device = pinned(world)
    # 13 bytes leave room for two digits, and all hundred numbers are taken. Truncated, the next one is 10 again. From
    # 6.7 on (7ad17b04dc7b, "trust the bitmap") the kernel does not check whether that is taken. It is no device's name
    # here: two devices of one name are a WARN_ON in device_rename, which ends a machine with panic_on_warn.
    bystander = world.target.device(b"bystander")
    world.target.must(altnames(bystander.ifindex, [b"abcdefghijklm%d" % number for number in range(100)]))
    return world.outcome(device, move(world, device, b"abcdefghijklm%d"))


@probe(
    "names.template.own-altname",
    ABI,
    "A template skips a number that is an alternative name of the device itself.",
    source=TEMPLATE,
)
def template_own_altname(world: World) -> Value:
    device = with_altname(world.source, b"eth1", b"net0")
    return world.outcome(device, move(world, device, b"net%d"))


@probe(
    "names.template.source-taken",
    ABI,
    "A template does not skip a number that is taken in the source only.",
    source=TEMPLATE,
)
def template_source(world: World) -> Value:
    device = world.source.device(b"eth1")
    world.source.device(b"net0")
    return world.outcome(device, move(world, device, b"net%d"))


# ---- devices that are up; two devices that exchange namespaces ----


@probe("names.up.old-free", SPEC, "A device that was up can be renamed after the move.", source=RENAME)
def up_free(world: World) -> Value:
    device = world.source.device(b"eth1")
    world.source.must(set_link(device.ifindex, up=True))
    return world.outcome(device, move(world, device, b"net0"))


@probe("names.up.old-taken", SPEC, "A device that was up can be renamed within the move.", source=MOVE)
def up_taken(world: World) -> Value:
    device = pinned(world)
    world.source.must(set_link(device.ifindex, up=True))
    return world.outcome(device, move(world, device, b"net0"))


@probe("names.up.in-place", VARIES, "The outcome of renaming a device that is up, in place.", source=RENAME)
def up_in_place(world: World) -> Value:
    device = world.source.device(b"eth1")
    world.source.must(set_link(device.ifindex, up=True))
    return world.outcome(device, world.source.request(set_link(device.ifindex, named(b"net0"))))


@probe(
    "names.up.in-the-move-and-renamed",
    ABI,
    "IFF_UP and IFLA_IFNAME in the message of the move rename the device, then set it up.",
    source="net/core/rtnetlink.c, do_setlink",
)
def up_and_renamed(world: World) -> Value:
    device = world.source.device(b"eth1")
    reply = world.source.request(set_link(device.ifindex, ns_fd(world.target.fd) + named(b"net0"), up=True))
    return world.outcome(device, reply)


@probe(
    "names.exchange.third-name",
    SPEC,
    "Two devices of one name can exchange namespaces if the first one moves under a third name.",
    source=MOVE,
)
def exchange(world: World) -> Value:
    here, there = world.source.device(b"eth1"), world.target.device(b"eth1")
    errors = [move(world, here, b"eth1-new").error]
    errors.append(world.target.request(set_link(there.ifindex, ns_fd(world.source.fd))).error)
    found = world.find(here)
    if found is None:
        raise SetupFailed("the first device was not found")
    errors.append(world.target.request(set_link(found[1].ifindex, named(b"eth1"))).error)
    return {"errors": errors, "devices": [world.place(here), world.place(there)]}


@probe(
    "names.notifications.one-rename",
    ABI,
    "A device that is renamed after the move is announced in the target under both names.",
    source=RENAME,
)
def announced(world: World) -> Value:
    device = world.source.device(b"eth1")
    listener = world.target.listener(1)
    move(world, device, b"net0")
    seen = [wire.Link(m.body).name.decode() for m in listener.read() if m.type == uapi.RTM_NEWLINK]
    return sorted(set(seen), key=seen.index)
