"""The per-device settings that a move resets to the target's defaults: IPv4 and IPv6 sysctls, and the token.

(probes sysctls.ipv4.move, sysctls.ipv6.move, sysctls.token.move)
One RTM_NEWLINK tells them all (IFLA_AF_SPEC), so the snapshot has them already. IPv4's are set by rtnetlink again
(probe sysctls.netlink.ipv4); those of IPv6 cannot be (probe sysctls.netlink.ipv6) and are written in /proc/sys/net.
Layouts: linux/if_link.h, linux/ip.h (IPV4_DEVCONF_*), linux/ipv6.h (DEVCONF_*). The tables below are ABI: values are
only ever added.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from struct import Struct

from ..netlink import ifaddr, uapi, wire

# By IPV4_DEVCONF_*, from 1 on. None: mc_forwarding is no setting, but says that a program routes multicast there.
IPV4: tuple[str | None, ...] = (
    "forwarding", None, "proxy_arp", "accept_redirects", "secure_redirects", "send_redirects",
    "shared_media", "rp_filter", "accept_source_route", "bootp_relay", "log_martians", "tag", "arp_filter",
    "medium_id", "disable_xfrm", "disable_policy", "force_igmp_version", "arp_announce", "arp_ignore",
    "promote_secondaries", "arp_accept", "arp_notify", "accept_local", "src_valid_mark", "proxy_arp_pvlan",
    "route_localnet", "igmpv2_unsolicited_report_interval", "igmpv3_unsolicited_report_interval",
    "ignore_routes_with_linkdown", "drop_unicast_in_l2_multicast", "drop_gratuitous_arp", "bc_forwarding",
    "arp_evict_nocarrier",
)  # fmt: skip
# By DEVCONF_*, from 0 on. None: no file of that device, or one that cannot be written.
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
# Told in milliseconds, written in seconds.
_SECONDS = ("router_solicitation_interval", "router_solicitation_delay", "router_probe_interval",
            "router_solicitation_max_interval")  # fmt: skip


class Settings:
    """What an RTM_NEWLINK tells of them.

    Attributes:
        values: "ipv4.rp_filter" -> 1, "ipv6.accept_ra" -> 2, ...
        token: The IPv6 interface identifier; zeros: there is none; None: it was not told (DUMP_TOKENS).
    """

    __slots__ = ("token", "values")

    def __init__(self, link: memoryview | bytes) -> None:
        """Reads the body of an RTM_NEWLINK; what is damaged or missing is left out."""
        self.values: dict[str, int] = {}
        families = _attrs(_attrs(memoryview(link), wire.IFINFOMSG.size).get(uapi.IFLA_AF_SPEC))
        inet = _attrs(families.get(uapi.AF_INET)).get(uapi.IFLA_INET_CONF, memoryview(b""))
        self.values.update(_named("ipv4", IPV4, wire.U32, inet))
        inet6 = _attrs(families.get(uapi.AF_INET6))
        self.values.update(_named("ipv6", IPV6, wire.S32, inet6.get(uapi.IFLA_INET6_CONF, memoryview(b""))))
        token = inet6.get(uapi.IFLA_INET6_TOKEN)
        self.token = None if token is None else bytes(token)

    def differences(self, now: Settings) -> list[str]:
        """What is not as it was, by name; a setting that one of the two does not have is none."""
        found = [name for name, value in self.values.items() if now.values.get(name, value) != value]
        if None not in (self.token, now.token) and self.token != now.token:
            found.append(TOKEN)
        return found

    def shown(self, name: str) -> str:
        """A value as its file has it."""
        if name == TOKEN:
            return ifaddr.address_text(uapi.AF_INET6, self.token or bytes(16))
        value = self.values[name]
        return _written(name.partition(".")[2], value - (1 << 32) if value >> 31 == 1 else value)

    def requests(self, now: Settings, ifindex: int, *, about_to_be_up: bool) -> list[tuple[tuple[str, ...], bytes]]:
        """What differs of IPv4's, the token and addr_gen_mode, and the RTM_NEWLINK that sets it as it was.

        One for each of the three: the kernel takes a request as a whole, and refuses a token where no router
        advertisements are accepted (probe sysctls.token.set-no-ra). `about_to_be_up`: IFF_UP comes next and must not
        make a link-local address, so addr_gen_mode is "none" for now. By rtnetlink: writing its file would make one at
        once.
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

    def files(self, now: Settings, name: bytes) -> dict[str, str | None]:
        """Path -> text for IPv6's that differ, for a device of that name, in the order to write them in."""
        others = (TOKEN, GEN_MODE)
        differ = [n.removeprefix("ipv6.") for n in self.differences(now) if n.startswith("ipv6.") and n not in others]
        # disable_ipv6 last: setting it removes or makes the link-local address, as the others say.
        differ.sort(key=lambda n: n == "disable_ipv6")
        where = f"/proc/sys/net/ipv6/conf/{os.fsdecode(name)}"
        return {f"{where}/{n}": _written(n, self.values[f"ipv6.{n}"]) for n in differ}


LISTED = 3  # of more only the count is reported


def resets(link: wire.Link, token: bytes | None, arrived: bytes) -> list[str]:
    """What a move reset, in short words: "sysctl ipv4.rp_filter 2 -> 0", or "5 sysctls".

    Without a system call, and without decoding anything where all is equal, which is the rule. ipv6.mtu is compared
    like the others: IFF_UP sets it to the device's MTU, so only one that differed from that is reported (probe
    sysctls.ipv6.mtu). Left out are mc_forwarding, which is no setting, and stable_secret, which no link reports.

    Args:
        link: The device in the source.
        token: Its token there, where the link does not tell it.
        arrived: The RTM_NEWLINK that was read in the target.
    """
    families = _attrs(link.af_spec)
    inet, inet6 = (_attrs(families.get(family)) for family in (uapi.AF_INET, uapi.AF_INET6))
    arrays = (inet.get(uapi.IFLA_INET_CONF, b""), inet6.get(uapi.IFLA_INET6_CONF, b""))
    has_token = any(inet6.get(uapi.IFLA_INET6_TOKEN, b"") if token is None else token)
    if not has_token and arrays[0] in arrived and arrays[1] in arrived:
        return []
    was, now = Settings(link.body), Settings(arrived[wire.NLMSGHDR.size :])
    was.token = was.token if token is None else token
    if now.token is None:
        now.token = was.token and bytes(len(was.token))  # none is left (probe sysctls.token.move)
    names = was.differences(now)
    if len(names) > LISTED:
        return [f"{len(names)} sysctls"]
    return [f"sysctl {name} {was.shown(name)} -> {now.shown(name)}" for name in names]


# With all about IPv6: 5.10 tells no token of a link that is asked for with RTEXT_FILTER_SKIP_STATS (probe
# sysctls.token.skip-stats).
DUMP_TOKENS = wire.message(uapi.RTM_GETLINK, uapi.NLM_F_DUMP, wire.IFINFOMSG.pack(uapi.AF_INET6, 0, 0, 0, 0))


def is_token_untold(links: Iterable[wire.Link]) -> bool:
    """Whether these answers to RTM_GETLINK leave the token out: all do where the first one with IPv6 does."""
    for link in links:
        families = _attrs(link.af_spec)
        if uapi.AF_INET6 in families:
            return uapi.IFLA_INET6_TOKEN not in _attrs(families[uapi.AF_INET6])
    return False


def tokens(dumped: bytes) -> dict[int, bytes]:
    """The tokens, by ifindex."""
    found = {}
    for message in wire.messages(dumped):
        if message.type == uapi.RTM_NEWLINK and len(message.body) >= wire.IFINFOMSG.size:
            inet6 = _attrs(_attrs(message.body, wire.IFINFOMSG.size).get(uapi.IFLA_PROTINFO))
            if uapi.IFLA_INET6_TOKEN in inet6:
                found[wire.IFINFOMSG.unpack_from(message.body)[2]] = bytes(inet6[uapi.IFLA_INET6_TOKEN])
    return found


def _attrs(view: memoryview | None, at: int = 0) -> dict[int, memoryview]:
    return {} if view is None else wire.attrs(view, at, strict=False)


def _named(family: str, names: tuple[str | None, ...], number: Struct, array: memoryview) -> Iterator[tuple[str, int]]:
    for name, at in zip(names, range(0, len(array) - 3, 4), strict=False):
        if name:
            yield f"{family}.{name}", int(number.unpack_from(array, at)[0])


def _written(name: str, value: int) -> str:
    return str(value // 1000 if name in _SECONDS and value > 0 else value)
