"""Names in a move: which ones the kernel takes, what it makes of a template, and who may be renamed."""

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
    """A device whose name is taken in the target, so that a wish is judged within the move and not after it."""
    world.target.device(b"eth1")
    return world.source.device(b"eth1")


# ---- every byte ----


@probe(
    "names.byte.{}",
    ABI,
    "A wanted name of three bytes with one of {} in the middle: which are not taken as they are.",
    source=VALID,
    cases={f"{n:02x}-{n + 31:02x}": (n,) for n in range(0, 256, 32)},
    texts={f"{n:02x}-{n + 31:02x}": f"0x{n:02x} to 0x{n + 31:02x}" for n in range(0, 256, 32)},
)
def byte(world: World, first: int) -> Value:
    device = pinned(world)
    wanted = {n: b"n" + bytes([n]) + b"x" for n in range(first, first + 32)}
    # All are alternative names there, which may be anything: a good name is taken, and nothing has to move for it.
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


# ---- lengths, and names that are none ----


@probe("names.length.{}", SPEC, "A wanted name of {} bytes.", source=POLICY, cases={"1": (1,), "15": (15,)})
def length(world: World, count: int) -> Value:
    device = world.source.device(b"eth1")
    return world.outcome(device, move(world, device, b"abcdefghijklmnopq"[:count]))


@probe(
    "names.length.{}",
    SPEC,
    "A wanted name of {} bytes is refused before anything moves.",
    source=POLICY,
    cases={"16": (16,), "127": (127,)},
)
def too_long(world: World, count: int) -> Value:
    device = world.source.device(b"eth1")
    return world.outcome(device, move(world, device, b"x" * count))


@probe("names.empty.old-free", SPEC, "An empty name means that the device keeps its own.", source=MOVE)
def empty(world: World) -> Value:
    device = world.source.device(b"eth1")
    return world.outcome(device, move_empty(world, device))


@probe("names.empty.old-taken", SPEC, "An empty name, and its own is taken there: it stays.", source=MOVE)
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
    "byte-a0": b"net\xa0",  # white space of isspace() in Latin-1, and half of many a character in UTF-8
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
    "A wanted name that no device may have, and its old one is taken there: {}.",
    source=f"{VALID}; {TEMPLATE}",
    cases={name: (wanted,) for name, wanted in REFUSED.items()},
)
def refused(world: World, name: bytes) -> Value:
    device = pinned(world)
    return world.outcome(device, move(world, device, name))


@probe(
    "names.refused-late.all",
    SPEC,
    "The same names, and its old one is free there: where the device is after each.",
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


@probe(
    "names.allowed.{}",
    ABI,
    "A wanted name that looks wrong and is not: {}.",
    source=VALID,
    cases={
        "number": (b"0",),
        "dots": (b"...",),
        "minus": (b"-net0",),
        "at": (b"net0@eth1",),
        "utf-8": ("nét0".encode(),),
        "lo-like": (b"lo0",),
    },
)
def allowed(world: World, name: bytes) -> Value:
    device = world.source.device(b"eth1")
    return world.outcome(device, move(world, device, name))


@probe("names.case.differs", ABI, "Upper and lower case are two names.", source="net/core/dev.c, __dev_get_by_name")
def case_differs(world: World) -> Value:
    device = world.source.device(b"eth1")
    world.target.device(b"net0")
    return world.outcome(device, move(world, device, b"NET0"))


# ---- the two names that are folders of /proc/sys/net ----

RESERVED = {
    f"{name}-{old}": (name.encode(), old == "old-taken")
    for name in ("all", "default")
    for old in ("old-free", "old-taken")
}


@probe(
    "names.reserved.{}",
    ABI,
    "A wanted name that is a folder of /proc/sys/net/ipv4/conf: {}; and whether the device takes addresses there.",
    source="net/ipv4/devinet.c, sysctl_dev_name_is_allowed, inetdev_init; net/ipv6/addrconf.c, addrconf_notify",
    cases=RESERVED,
)
def reserved(world: World, name: bytes, is_taken: bool) -> Value:
    device = pinned(world) if is_taken else world.source.device(b"eth1")
    reply = move(world, device, name)
    found = world.find(device)
    if found is None or found[0] != "target":
        raise SetupFailed("the device did not come to the target")
    added = {
        key: world.target.request(address(found[1].ifindex, text)).error
        for key, text in (("ipv4", "192.0.2.1/24"), ("ipv6", "2001:db8::1/64"))
    }
    return {"error": reply.error, "device": world.place(device), **added}


# ---- templates ----

# Devices and alternative names that are in the target, and what is asked for.
TEMPLATES: dict[str, tuple[str, tuple[bytes, ...], tuple[bytes, ...], bytes]] = {
    "alone": ("%d is all of it", (), (), b"%d"),
    "first": ("%d is in front", (), (), b"%dnet"),
    "middle": ("%d is in the middle", (), (), b"n%dt"),
    "gap": ("0 and 2 are taken there", (b"net0", b"net2"), (), b"net%d"),
    "zero-free": ("only 1 is taken there", (b"net1",), (), b"net%d"),
    "gap-altname": ("0 and 2 are devices there, 1 an alternative name", (b"net0", b"net2"), (b"net1",), b"net%d"),
    "altname-above": ("0 is a device there, 7 an alternative name", (b"net0",), (b"net7",), b"net%d"),
    "leading-zero": ("00 is a device there", (b"net00",), (), b"net%d"),
    "leading-sign": ("+0 is a device there", (b"net+0",), (), b"net%d"),
    "longer-name": ("0.1 is a device there", (b"net0.1",), (), b"net%d"),
    "longest": ("13 bytes are in front of %d", (), (), b"abcdefghijklm%d"),
}


@probe(
    "names.template.{}",
    ABI,
    "What the kernel makes of a template: {}.",
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
    "A template of 16 bytes is refused, though the name would fit.",
    source=POLICY,
)
def template_too_long(world: World) -> Value:
    device = world.source.device(b"eth1")
    return world.outcome(device, move(world, device, b"abcdefghijklmn%d"))


@probe(
    "names.template.no-room",
    VARIES,
    "A template whose next number no longer fits into 15 bytes; what is left of it is an alternative name there.",
    source=TEMPLATE,
)
def template_no_room(world: World) -> Value:
    device = pinned(world)
    # 13 bytes leave room for two digits, and all hundred numbers are taken. Cut off, the next one is 10 again. From
    # 6.7 on (7ad17b04dc7b, "trust the bitmap") nobody looks whether that is taken. It is no device's name here: of two
    # devices with one name the kernel warns (WARN_ON of device_rename), which ends a machine with panic_on_warn.
    bystander = world.target.device(b"bystander")
    world.target.must(altnames(bystander.ifindex, [b"abcdefghijklm%d" % number for number in range(100)]))
    return world.outcome(device, move(world, device, b"abcdefghijklm%d"))


@probe(
    "names.template.own-altname",
    ABI,
    "A template whose number 0 is an alternative name of the device itself.",
    source=TEMPLATE,
)
def template_own_altname(world: World) -> Value:
    device = with_altname(world.source, b"eth1", b"net0")
    return world.outcome(device, move(world, device, b"net%d"))


@probe(
    "names.template.source-taken",
    ABI,
    "A template whose number 0 is a device's in the source alone: the source does not count.",
    source=TEMPLATE,
)
def template_source(world: World) -> Value:
    device = world.source.device(b"eth1")
    world.source.device(b"net0")
    return world.outcome(device, move(world, device, b"net%d"))


# ---- devices that are up; two devices that change places ----


@probe("names.up.old-free", SPEC, "A device that is up is renamed after the move.", source=RENAME)
def up_free(world: World) -> Value:
    device = world.source.device(b"eth1")
    world.source.must(set_link(device.ifindex, up=True))
    return world.outcome(device, move(world, device, b"net0"))


@probe("names.up.old-taken", SPEC, "A device that is up is renamed within the move.", source=MOVE)
def up_taken(world: World) -> Value:
    device = pinned(world)
    world.source.must(set_link(device.ifindex, up=True))
    return world.outcome(device, move(world, device, b"net0"))


@probe("names.up.in-place", VARIES, "A device that is up gets another name where it is.", source=RENAME)
def up_in_place(world: World) -> Value:
    device = world.source.device(b"eth1")
    world.source.must(set_link(device.ifindex, up=True))
    return world.outcome(device, world.source.request(set_link(device.ifindex, named(b"net0"))))


@probe(
    "names.up.in-the-move-and-renamed",
    ABI,
    "IFF_UP and a name in the message of the move: the name is given before the device comes up.",
    source="net/core/rtnetlink.c, do_setlink",
)
def up_and_renamed(world: World) -> Value:
    device = world.source.device(b"eth1")
    reply = world.source.request(set_link(device.ifindex, ns_fd(world.target.fd) + named(b"net0"), up=True))
    return world.outcome(device, reply)


@probe(
    "names.exchange.third-name",
    SPEC,
    "Two devices of one name change their namespaces, the first under a third name meanwhile.",
    source=MOVE,
)
def exchange(world: World) -> Value:
    here, there = world.source.device(b"eth1"), world.target.device(b"eth1")
    errors = [move(world, here, b"eth1-new").error]
    errors.append(world.target.request(set_link(there.ifindex, ns_fd(world.source.fd))).error)
    found = world.find(here)
    if found is None:
        raise SetupFailed("the first device is gone")
    errors.append(world.target.request(set_link(found[1].ifindex, named(b"eth1"))).error)
    return {"errors": errors, "devices": [world.place(here), world.place(there)]}


@probe(
    "names.notifications.one-rename",
    ABI,
    "The names under which the target is told of a device that is renamed after the move.",
    source=RENAME,
)
def told(world: World) -> Value:
    device = world.source.device(b"eth1")
    listener = world.target.listener(1)
    move(world, device, b"net0")
    seen = [wire.Link(m.body).name.decode() for m in listener.told() if m.type == uapi.RTM_NEWLINK]
    return sorted(set(seen), key=seen.index)
