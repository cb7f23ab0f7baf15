/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * The per-device settings of IPv4 and IPv6 that a move resets to the defaults of the namespace. RTM_NEWLINK reports them all
 * (IFLA_AF_SPEC); it sets those of IPv4, the token and addr_gen_mode, while those of IPv6 are written to /proc/sys/net.
 * (probes sysctls.netlink.ipv4, sysctls.netlink.ipv6)
 * The tables are ABI (linux/ip.h, linux/ipv6.h): values are only ever added.
 */
#include "settings.h"

#include <stdio.h>

#define INET6_ADDR_GEN_MODE 8
#define GEN_MODE_NONE 1	/* IN6_ADDR_GEN_MODE_NONE */

/* By IPV4_DEVCONF_*, from 1 on. NULL: mc_forwarding, which is state of a multicast routing program. */
static const char *const IPV4[] = {
	"forwarding", NULL, "proxy_arp", "accept_redirects", "secure_redirects", "send_redirects", "shared_media", "rp_filter",
	"accept_source_route", "bootp_relay", "log_martians", "tag", "arp_filter", "medium_id", "disable_xfrm", "disable_policy",
	"force_igmp_version", "arp_announce", "arp_ignore", "promote_secondaries", "arp_accept", "arp_notify", "accept_local",
	"src_valid_mark", "proxy_arp_pvlan", "route_localnet", "igmpv2_unsolicited_report_interval",
	"igmpv3_unsolicited_report_interval", "ignore_routes_with_linkdown", "drop_unicast_in_l2_multicast",
	"drop_gratuitous_arp", "bc_forwarding", "arp_evict_nocarrier",
};

enum { FORWARDING = 0, ACCEPT_RA = 3, DISABLE_IPV6 = 26, ADDR_GEN_MODE = 47 };
/* By DEVCONF_*, from 0 on. NULL: no file for the device, or a read-only one. */
static const char *const IPV6[] = {
	"forwarding", "hop_limit", "mtu", "accept_ra", "accept_redirects", "autoconf", "dad_transmits", "router_solicitations",
	"router_solicitation_interval", "router_solicitation_delay", "use_tempaddr", "temp_valid_lft", "temp_prefered_lft",
	"regen_max_retry", "max_desync_factor", "max_addresses", "force_mld_version", "accept_ra_defrtr", "accept_ra_pinfo",
	"accept_ra_rtr_pref", "router_probe_interval", "accept_ra_rt_info_max_plen", "proxy_ndp", "optimistic_dad",
	"accept_source_route", NULL, "disable_ipv6", "accept_dad", "force_tllao", "ndisc_notify",
	"mldv1_unsolicited_report_interval", "mldv2_unsolicited_report_interval", "suppress_frag_ndisc", "accept_ra_from_local",
	"use_optimistic", "accept_ra_mtu", NULL, "use_oif_addrs_only", "accept_ra_min_hop_limit", "ignore_routes_with_linkdown",
	"drop_unicast_in_l2_multicast", "drop_unsolicited_na", "keep_addr_on_down", "router_solicitation_max_interval",
	"seg6_enabled", "seg6_require_hmac", "enhanced_dad", "addr_gen_mode", "disable_policy", "accept_ra_rt_info_min_plen",
	"ndisc_tclass", "rpl_seg_enabled", "ra_defrtr_metric", "ioam6_enabled", "ioam6_id", "ioam6_id_wide",
	"ndisc_evict_nocarrier", "accept_untracked_na", "accept_ra_min_lft", "force_forwarding",
};

/* Reported in milliseconds, written in seconds. */
static int is_in_seconds(size_t i)
{
	return i == 8 || i == 9 || i == 20 || i == 43;
}

/* An array of 32-bit numbers. */
static int has_value(const struct nd_attr *conf, size_t i)
{
	return conf->data && i < conf->len / 4;
}

static int32_t value_at(const struct nd_attr *conf, size_t i, int32_t fallback)
{
	int32_t value = fallback;

	if (has_value(conf, i))
		memcpy(&value, conf->data + 4 * i, sizeof value);
	return value;
}

/* A setting that one of the two lacks is not a difference. */
static int differs(const struct nd_attr *was, const struct nd_attr *now, size_t i)
{
	return has_value(was, i) && has_value(now, i) && value_at(was, i, 0) != value_at(now, i, 0);
}

static struct nd_attr in_family(const struct nd_set_link *link, unsigned family, uint16_t type)
{
	const struct nd_attr *const in = &link->families[family];
	struct nd_attr found = { .data = NULL };

	if (in->data)
		found.data = nd_attr_find(in->data, in->len, type, &found.len);
	return found;
}

struct nd_attr nd_token_of(const struct nd_set_link *link)
{
	return in_family(link, AF_INET6, ND_IFLA_INET6_TOKEN);
}

/* ---- by rtnetlink ------------------------------------------------------------------------------------------------------ */

/* One request for all settings of IPv4. */
static void ipv4(struct nd_repairs *r)
{
	const struct nd_attr was = in_family(&r->was, AF_INET, IFLA_INET_CONF);
	const struct nd_attr now = in_family(&r->now, AF_INET, IFLA_INET_CONF);
	const size_t count = sizeof IPV4 / sizeof IPV4[0];
	size_t nests[3];
	uint32_t request = 0;
	int any = 0;

	nests[0] = nd_nest_begin(nd_repairs_begin(r, 0, 0), IFLA_AF_SPEC);
	nests[1] = nd_nest_begin(&r->m, AF_INET);
	nests[2] = nd_nest_begin(&r->m, IFLA_INET_CONF);
	for (size_t i = 0; i < count; i++)
		if (IPV4[i] && differs(&was, &now, i)) {
			nd_msg_put_u32(&r->m, (uint16_t)(i + 1), (uint32_t)value_at(&was, i, 0));
			any = 1;
		}
	if (!any)
		return;
	for (size_t i = 3; i-- > 0;)
		nd_nest_end(&r->m, nests[i]);
	request = nd_repairs_request(r);
	for (size_t i = 0; i < count; i++)
		if (IPV4[i] && differs(&was, &now, i)) {
			nd_repairs_say(r, "sysctl ipv4.%s", IPV4[i]);
			nd_repairs_add(r, ND_BOTH_STAGES, request, 0);
		}
}

static uint32_t inet6_request(struct nd_repairs *r, uint16_t type, const void *data, size_t len)
{
	size_t nests[2];

	nests[0] = nd_nest_begin(nd_repairs_begin(r, 0, 0), IFLA_AF_SPEC);
	nests[1] = nd_nest_begin(&r->m, AF_INET6);
	nd_msg_put(&r->m, type, data, len);
	nd_nest_end(&r->m, nests[1]);
	nd_nest_end(&r->m, nests[0]);
	return nd_repairs_request(r);
}

/*
 * IFF_UP must not make a link-local address, so addr_gen_mode is "none" until a device is up. It is set by rtnetlink:
 * writing the file would make one at once.
 */
static void gen_mode(struct nd_repairs *r, const struct nd_attr *was, const struct nd_attr *now)
{
	const int32_t mode = r->is_about_to_be_up ? GEN_MODE_NONE : value_at(was, ADDR_GEN_MODE, -1);
	const unsigned char byte = (unsigned char)mode;

	if (mode < 0 || value_at(now, ADDR_GEN_MODE, mode) == mode)
		return;
	nd_repairs_say(r, "sysctl ipv6.addr_gen_mode");
	nd_repairs_add(r, ND_BOTH_STAGES, inet6_request(r, INET6_ADDR_GEN_MODE, &byte, sizeof byte), 0);
}

/* ---- by files --------------------------------------------------------------------------------------------------------- */

static uint32_t file(struct nd_repairs *r, size_t i, int32_t value)
{
	const struct nd_attr *const name = &r->now.attrs[IFLA_IFNAME];
	char path[128], text[16], ifname[ND_NAME_SIZE];

	nd_text_copy(ifname, sizeof ifname, (const char *)name->data, name->len);
	snprintf(path, sizeof path, "/proc/sys/net/ipv6/conf/%s/%s", ifname, IPV6[i]);
	snprintf(text, sizeof text, "%d", value > 0 && is_in_seconds(i) ? value / 1000 : value);
	return nd_repairs_file(r, path, text);
}

/* disable_ipv6 comes last: setting it removes or makes the link-local address, by the other settings. */
static void ipv6(struct nd_repairs *r, const struct nd_attr *was, const struct nd_attr *now)
{
	const size_t count = sizeof IPV6 / sizeof IPV6[0];

	for (size_t k = 0; k <= count; k++) {
		const size_t i = k < count ? k : DISABLE_IPV6;

		if (!IPV6[i] || i == ADDR_GEN_MODE || k == DISABLE_IPV6 || !differs(was, now, i))
			continue;
		nd_repairs_say(r, "sysctl ipv6.%s", IPV6[i]);
		nd_repairs_add(r, ND_BOTH_STAGES, file(r, i, value_at(was, i, 0)), 0);
	}
}

/* As ipv6_accept_ra() in include/net/addrconf.h; also true if not known. */
static int accepts_advertisements(const struct nd_attr *conf)
{
	const int32_t accept = value_at(conf, ACCEPT_RA, 2);

	return value_at(conf, FORWARDING, 0) ? accept == 2 : accept != 0;
}

static void add_token(struct nd_repairs *r, uint32_t request)
{
	nd_repairs_say(r, "sysctl ipv6.token");
	nd_repairs_add(r, ND_BOTH_STAGES, request, 0);
}

/*
 * The kernel refuses a token while it accepts no router advertisements (probe sysctls.token.set-no-ra), but keeps one that was set
 * before. So they are accepted for a moment.
 */
void nd_repairs_of_sysctls(struct nd_repairs *r)
{
	const struct nd_attr was = in_family(&r->was, AF_INET6, IFLA_INET6_CONF);
	const struct nd_attr now = in_family(&r->now, AF_INET6, IFLA_INET6_CONF);
	const struct nd_attr given = { .data = r->settings->token, .len = 16 };
	const struct nd_attr token_now = nd_token_of(&r->now);
	struct nd_attr token = nd_token_of(&r->was);
	int sets_token, accept;

	if (!token.data)
		token = given;
	sets_token = token.data && token_now.data && !nd_attr_same(&token, &token_now);
	accept = sets_token && !accepts_advertisements(&was);
	if (accept)
		add_token(r, file(r, ACCEPT_RA, 2));
	else
		ipv6(r, &was, &now);
	ipv4(r);
	if (sets_token)
		add_token(r, inet6_request(r, ND_IFLA_INET6_TOKEN, token.data, token.len));
	gen_mode(r, &was, &now);
	if (!accept)
		return;
	ipv6(r, &was, &now);
	add_token(r, file(r, ACCEPT_RA, value_at(&was, ACCEPT_RA, 0)));
}
