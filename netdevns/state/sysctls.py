"""Restores per-device IPv4 and IPv6 sysctls and the token, which a move resets to the target's defaults.

(probes sysctls.ipv4.move, sysctls.ipv6.move, sysctls.token.move)
One RTM_NEWLINK has them (IFLA_AF_SPEC), so the snapshot does, too: but the token on 5.10, and a few that no link
reports (docs/limits.md), which are not restored. IPv4's can be set by rtnetlink (probe
sysctls.netlink.ipv4); IPv6's cannot (probe sysctls.netlink.ipv6) and are written to /proc/sys/net. Layouts:
linux/if_link.h, linux/ip.h (IPV4_DEVCONF_*), linux/ipv6.h (DEVCONF_*). The tables below are ABI: the kernel only ever
adds values.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from struct import Struct

from ..engine import Socket, lookups
from ..netlink import ifaddr, uapi, wire
from .kind import DOWN, UP, File, Here, Kind, Repair, View

# By IPV4_DEVCONF_*, from 1 on. None: mc_forwarding, which is read-only: set while a program routes multicast there.
IPV4: tuple[str | None, ...] = (
    "forwarding", None, "proxy_arp", "accept_redirects", "secure_redirects", "send_redirects",
    "shared_media", "rp_filter", "accept_source_route", "bootp_relay", "log_martians", "tag", "arp_filter",
    "medium_id", "disable_xfrm", "disable_policy", "force_igmp_version", "arp_announce", "arp_ignore",
    "promote_secondaries", "arp_accept", "arp_notify", "accept_local", "src_valid_mark", "proxy_arp_pvlan",
    "route_localnet", "igmpv2_unsolicited_report_interval", "igmpv3_unsolicited_report_interval",
    "ignore_routes_with_linkdown", "drop_unicast_in_l2_multicast", "drop_gratuitous_arp", "bc_forwarding",
    "arp_evict_nocarrier",
)  # fmt: skip
# By DEVCONF_*, from 0 on. None: without a per-device file, or with a read-only one.
IPV6: tuple[str | None, ...] = (
    "forwarding", "hop_limit", "mtu", "accept_ra", "accept_redirects", "autoconf", "dad_transmits",
    "router_solicitations", "router_solicitation_interval", "router_solicitation_delay", "use_tempaddr",
    "temp_valid_lft", "temp_prefered_lft", "regen_max_retry", "max_desync_factor", "max_addresses",
    "force_mld_version", "accept_ra_defrtr", "accept_ra_pinfo", "accept_ra_rtr_pref", "router_probe_interval",
    "accept_ra_rt_info_max_plen", "proxy_ndp", "optimistic_dad", "accept_source_route", None, "disable_ipv6",
    "accept_dad", "force_tllao", "ndisc_notify", "mldv1_unsolicited_report_interval",
    "mldv2_unsolicited_report_interval", "suppress_frag_ndisc", "accept_ra_from_local", "use_optimistic",
    "accept_ra_mtu", None, "use_oif_addrs_only", "accept_ra_min_hop_limit", "ignore_routes_with_linkdown",
    "drop_unicast_in_l2_multicast", "drop_unsolicited_na", "keep_addr_on_down", "router_solicitation_max_interval",
    "seg6_enabled", "seg6_require_hmac", "enhanced_dad", "addr_gen_mode", "disable_policy",
    "accept_ra_rt_info_min_plen", "ndisc_tclass", "rpl_seg_enabled", "ra_defrtr_metric", "ioam6_enabled", "ioam6_id",
    "ioam6_id_wide", "ndisc_evict_nocarrier", "accept_untracked_na", "accept_ra_min_lft", "force_forwarding",
)  # fmt: skip
GEN_MODE = "ipv6.addr_gen_mode"
TOKEN = "ipv6.token"
ACCEPT_RA = "ipv6.accept_ra"
# Reported in milliseconds, written in seconds.
_SECONDS = ("router_solicitation_interval", "router_solicitation_delay", "router_probe_interval",
            "router_solicitation_max_interval")  # fmt: skip


class Sysctls(Kind):
    name = "sysctls"
    stages = (DOWN, UP)
    is_in_links = True
    messages = ((uapi.RTM_NEWLINK, wire.IFINFOMSG.size),)
    can_be_preserved = True

    def read(self, socket: Socket, links: Mapping[int, wire.Link], about: Collection[int]) -> bytes:
        """The tokens, on kernels whose links omit them."""
        if not is_token_omitted(links.values()):
            return b""
        return b"".join(
            message.padded()
            for message in wire.messages(lookups.dump(socket, DUMP_TOKENS))
            if message.type == uapi.RTM_NEWLINK and _ifindex(message.body) in about
        )

    def repairs(self, before: View, now: View, here: Here) -> Iterator[Repair]:
        """A device that is about to come up gets addr_gen_mode none for now, so that IFF_UP makes no link-local."""
        return self._repairs(before, now, here, suppress_link_local=True)

    def resets(self, before: View, ifindex: int, arrived: bytes) -> list[str]:
        return resets(before.links[ifindex], tokens_of(before.of(self.name)).get(ifindex), arrived)

    def preserve(self, before: View, there: View, here: Here) -> Iterator[Repair]:
        return self._repairs(before, there, here, suppress_link_local=False)

    def _repairs(self, before: View, now: View, here: Here, *, suppress_link_local: bool) -> Iterator[Repair]:
        tokens, tokens_now = tokens_of(before.of(self.name)), tokens_of(now.of(self.name))
        for ifindex, link in before.links.items():
            there = now.links.get(here.get(ifindex, 0))
            if there is None:
                continue
            was, is_ = Settings(link.body, tokens.get(ifindex)), Settings(there.body, tokens_now.get(there.ifindex))
            about_to_be_up = suppress_link_local and bool(link.flags & ~there.flags & uapi.IFF_UP)
            files: list[tuple[str, bytes | File]] = [*was.files(is_, there.name).items()]
            requests = was.requests(is_, there.ifindex, about_to_be_up=about_to_be_up)
            asked: list[tuple[str, bytes | File]] = [(name, each) for names, each in requests for name in names]
            todo = [*files, *asked]
            if TOKEN in dict(asked) and not was.accepts_advertisements:
                # The kernel refuses a token where it accepts no router advertisements (probe sysctls.token.set-no-ra).
                accept, refuse = (was.file(ACCEPT_RA, there.name, value) for value in (2, None))
                todo = [(TOKEN, accept), *asked, *files, (TOKEN, refuse)]
            done = {name for name, _ in todo}
            for name in was.differences(is_):
                if name not in done and not (about_to_be_up and name == GEN_MODE):
                    yield Repair(there.ifindex, UP, f"sysctl {name}", None)
            for stage in (DOWN, UP):  # again after IFF_UP, at which the kernel sets IPv6's MTU
                for name, request in todo:
                    yield Repair(there.ifindex, stage, f"sysctl {name}", request)


class Settings:
    """The sysctls in an RTM_NEWLINK.

    Attributes:
        values: "ipv4.rp_filter" -> 1, "ipv6.accept_ra" -> 2, ...
        token: The IPv6 interface identifier; zeros: none is set; None: not in the message (DUMP_TOKENS).
    """

    __slots__ = ("token", "values")

    def __init__(self, link: memoryview | bytes, token: bytes | None = None) -> None:
        """Parses the body of an RTM_NEWLINK, without malformed parts; `token`: from DUMP_TOKENS."""
        self.values: dict[str, int] = {}
        found = wire.attrs(memoryview(link), wire.IFINFOMSG.size, strict=False)
        families = wire.nested_attrs(found.get(uapi.IFLA_AF_SPEC))
        inet = wire.nested_attrs(families.get(uapi.AF_INET)).get(uapi.IFLA_INET_CONF, memoryview(b""))
        self.values.update(_named("ipv4", IPV4, wire.U32, inet))
        inet6 = wire.nested_attrs(families.get(uapi.AF_INET6))
        self.values.update(_named("ipv6", IPV6, wire.S32, inet6.get(uapi.IFLA_INET6_CONF, memoryview(b""))))
        own = inet6.get(uapi.IFLA_INET6_TOKEN)
        self.token = token if own is None else bytes(own)

    @property
    def accepts_advertisements(self) -> bool:
        """Whether router advertisements are accepted, or unknown (include/net/addrconf.h, ipv6_accept_ra())."""
        accept = self.values.get(ACCEPT_RA, 2)
        return accept == 2 if self.values.get("ipv6.forwarding") else accept != 0

    def differences(self, now: Settings) -> list[str]:
        """The names of settings that differ; one that is missing on either side does not count."""
        found = [name for name, value in self.values.items() if now.values.get(name, value) != value]
        if None not in (self.token, now.token) and self.token != now.token:
            found.append(TOKEN)
        return found

    def shown(self, name: str) -> str:
        """A value as in its file."""
        if name == TOKEN:
            return ifaddr.address_text(uapi.AF_INET6, self.token or bytes(16))
        value = self.values[name]
        return _written(name.partition(".")[2], value - (1 << 32) if value >> 31 == 1 else value)

    def requests(self, now: Settings, ifindex: int, *, about_to_be_up: bool) -> list[tuple[tuple[str, ...], bytes]]:
        """The RTM_NEWLINKs that restore IPv4's settings, the token and addr_gen_mode, each with the names that it sets.

        Three requests, as the kernel applies one as a whole or not at all, and refuses a token where no router
        advertisements are accepted (probe sysctls.token.set-no-ra). `about_to_be_up`: IFF_UP follows and must not make
        a link-local address, so addr_gen_mode becomes "none" for now: by rtnetlink, as writing its file would make one
        at once.
        """
        differ = self.differences(now)
        ids = [(i, f"ipv4.{name}") for i, name in enumerate(IPV4, 1) if f"ipv4.{name}" in differ]
        specs: list[tuple[tuple[str, ...], bytes]] = []
        if ids:
            conf = wire.nested(uapi.IFLA_INET_CONF, b"".join(wire.attr_u32(i, self.values[name]) for i, name in ids))
            specs.append((tuple(name for _, name in ids), wire.nested(uapi.AF_INET, conf)))
        if TOKEN in differ:
            token = wire.attr(uapi.IFLA_INET6_TOKEN, self.token or b"")
            specs.append(((TOKEN,), wire.nested(uapi.AF_INET6, token)))
        mode = uapi.IN6_ADDR_GEN_MODE_NONE if about_to_be_up else self.values.get(GEN_MODE)
        if mode is not None and now.values.get(GEN_MODE, mode) != mode:
            gen_mode = wire.attr(uapi.IFLA_INET6_ADDR_GEN_MODE, bytes([mode]))
            specs.append(((GEN_MODE,), wire.nested(uapi.AF_INET6, gen_mode)))
        flags = uapi.NLM_F_ACK
        return [
            (which, wire.link_message(uapi.RTM_NEWLINK, flags, ifindex, wire.nested(uapi.IFLA_AF_SPEC, spec)))
            for which, spec in specs
        ]

    def files(self, now: Settings, device: bytes) -> dict[str, File]:
        """The files of IPv6's settings that differ, by name, in the order to write them."""
        others = (TOKEN, GEN_MODE)
        differ = [n for n in self.differences(now) if n.startswith("ipv6.") and n not in others]
        # disable_ipv6 last: writing it removes or makes the link-local address, depending on the others.
        differ.sort(key=lambda n: n == "ipv6.disable_ipv6")
        return {name: self.file(name, device) for name in differ}

    def file(self, name: str, device: bytes, value: int | None = None) -> File:
        """The file of an IPv6 setting, with its value before or with `value`."""
        file = name.removeprefix("ipv6.")
        text = _written(file, self.values[name] if value is None else value)
        return File(f"/proc/sys/net/ipv6/conf/{os.fsdecode(device)}/{file}", text)


LISTED = 3  # more are reported by number only


def resets(link: wire.Link, token: bytes | None, arrived: bytes) -> list[str]:
    """The settings that a move reset, in short words: "sysctl ipv4.rp_filter 2 -> 0", or "5 sysctls".

    Makes no system call, and decodes nothing in the usual case, in which all are equal. IFF_UP sets ipv6.mtu to the
    device's MTU, so it is reported only if it differed from that (probe sysctls.ipv6.mtu). Left out are mc_forwarding,
    which is read-only, and stable_secret, which no link reports.

    Args:
        link: The device in the source.
        token: Its token there, if the link omits it.
        arrived: The RTM_NEWLINK from the target.
    """
    families = wire.nested_attrs(link.af_spec)
    inet, inet6 = (wire.nested_attrs(families.get(family)) for family in (uapi.AF_INET, uapi.AF_INET6))
    arrays = (inet.get(uapi.IFLA_INET_CONF, b""), inet6.get(uapi.IFLA_INET6_CONF, b""))
    has_token = any(inet6.get(uapi.IFLA_INET6_TOKEN, b"") if token is None else token)
    if not has_token and arrays[0] in arrived and arrays[1] in arrived:
        return []
    was, now = Settings(link.body), Settings(arrived[wire.NLMSGHDR.size :])
    was.token = was.token if token is None else token
    if now.token is None:
        now.token = was.token and bytes(len(was.token))  # the move clears it (probe sysctls.token.move)
    names = was.differences(now)
    if len(names) > LISTED:
        return [f"{len(names)} sysctls"]
    return [f"sysctl {name} {was.shown(name)} -> {now.shown(name)}" for name in names]


# The links with all IPv6 data: 5.10 omits the token from a link that is requested with RTEXT_FILTER_SKIP_STATS (probe
# sysctls.token.skip-stats).
DUMP_TOKENS = wire.message(uapi.RTM_GETLINK, uapi.NLM_F_DUMP, wire.IFINFOMSG.pack(uapi.AF_INET6, 0, 0, 0, 0))


def is_token_omitted(links: Iterable[wire.Link]) -> bool:
    """Whether these replies to RTM_GETLINK omit the token: all do if the first one with IPv6 does."""
    for link in links:
        families = wire.nested_attrs(link.af_spec)
        if uapi.AF_INET6 in families:
            return uapi.IFLA_INET6_TOKEN not in wire.nested_attrs(families[uapi.AF_INET6])
    return False


def tokens_of(dumped: bytes) -> dict[int, bytes]:
    """The tokens of DUMP_TOKENS, by ifindex."""
    found = {}
    for message in wire.messages(dumped):
        if message.type == uapi.RTM_NEWLINK and len(message.body) >= wire.IFINFOMSG.size:
            attrs = wire.attrs(message.body, wire.IFINFOMSG.size, strict=False)
            inet6 = wire.nested_attrs(attrs.get(uapi.IFLA_PROTINFO))
            if uapi.IFLA_INET6_TOKEN in inet6:
                found[_ifindex(message.body)] = bytes(inet6[uapi.IFLA_INET6_TOKEN])
    return found


def _ifindex(body: memoryview) -> int:
    return int(wire.IFINFOMSG.unpack_from(body)[2]) if len(body) >= wire.IFINFOMSG.size else 0


def _named(family: str, names: tuple[str | None, ...], number: Struct, array: memoryview) -> Iterator[tuple[str, int]]:
    for name, at in zip(names, range(0, len(array) - 3, 4), strict=False):
        if name:
            yield f"{family}.{name}", int(number.unpack_from(array, at)[0])


def _written(name: str, value: int) -> str:
    return str(value // 1000 if name in _SECONDS and value > 0 else value)
