/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * Compares the attributes of two RTM_NEWLINK of a link. All are compared but LEFT_OUT; an unknown one, of a later
 * kernel, is reported but not sent, because a request with it could have other effects.
 */
#include "settings.h"

/* Newer than the oldest headers (internal.h). */
enum {
	PROTO_DOWN_REASON = 55,	/* 5.9 */
	PROTO_DOWN_REASON_MASK = 1,
	PROTO_DOWN_REASON_VALUE = 2,
	PARENT_DEV_BUS_NAME = 57,	/* 5.14 */
	GRO_MAX_SIZE = 58,	/* 5.18 */
	TSO_MAX_SIZE = 59,	/* 5.19 */
	TSO_MAX_SEGS = 60,
	ALLMULTI = 61,	/* 6.0 */
	GSO_IPV4_MAX_SIZE = 63,	/* 6.3 */
	GRO_IPV4_MAX_SIZE = 64,
	HEADROOM = 68,	/* 6.18 */
	TAILROOM = 69,
	FLAG_ECHO = 0x40000,	/* IFF_ECHO: linux/if.h, not net/if.h */
};

static const unsigned char LEFT_OUT[] = {
	/* Counters, and state that the kernel determines or that depends on other devices. */
	IFLA_STATS, IFLA_STATS64, IFLA_PAD, IFLA_PROMISCUITY, ALLMULTI, IFLA_OPERSTATE, IFLA_CARRIER, IFLA_CARRIER_CHANGES,
	IFLA_CARRIER_UP_COUNT, IFLA_CARRIER_DOWN_COUNT,
	/* A driver may get another interrupt each time the device is opened. */
	IFLA_MAP,
	/* The driver's limits: they follow a lower device or the peer, and the settings below. */
	IFLA_MIN_MTU, IFLA_MAX_MTU, TSO_MAX_SIZE, TSO_MAX_SEGS, HEADROOM, TAILROOM,
	/* Of the message. */
	IFLA_EVENT, IFLA_EXT_MASK, IFLA_NEW_NETNSID, IFLA_TARGET_NETNSID, ND_IFLA_NEW_IFINDEX,
	/* The caller's, or compared in another way. */
	IFLA_IFNAME, IFLA_MASTER, IFLA_PROTINFO, IFLA_QDISC, IFLA_AF_SPEC, ND_IFLA_PROP_LIST, IFLA_LINKINFO, IFLA_LINK,
	IFLA_LINK_NETNSID, IFLA_XDP, IFLA_PROTO_DOWN, PROTO_DOWN_REASON,
};

enum form { NUMBER, HEX, TEXT };
/* Settings of RTM_NEWLINK, in this order: gso_max_size and gro_max_size also set those of IPv4 (netif_set_gso_max_size). */
static const struct setting {
	uint16_t type;
	enum form form;
	const char *words;
} SET[] = {
	{ IFLA_ADDRESS, HEX, "MAC address" },
	{ IFLA_BROADCAST, HEX, "broadcast address" },
	{ IFLA_MTU, NUMBER, "MTU" },
	{ IFLA_TXQLEN, NUMBER, "transmit queue length" },
	{ IFLA_GROUP, NUMBER, "group" },
	{ IFLA_IFALIAS, TEXT, "alias" },
	{ IFLA_GSO_MAX_SIZE, NUMBER, "gso_max_size" },
	{ IFLA_GSO_MAX_SEGS, NUMBER, "gso_max_segs" },
	{ GRO_MAX_SIZE, NUMBER, "gro_max_size" },
	{ GSO_IPV4_MAX_SIZE, NUMBER, "gso_ipv4_max_size" },
	{ GRO_IPV4_MAX_SIZE, NUMBER, "gro_ipv4_max_size" },
	{ IFLA_LINKMODE, NUMBER, "link mode" },
};

/* Words for attributes that no request sets. */
static const char *const FIXED[ND_ATTRS_MAX] = {
	[IFLA_NUM_TX_QUEUES] = "number of transmit queues",
	[IFLA_NUM_RX_QUEUES] = "number of receive queues",
	[ND_IFLA_PERM_ADDRESS] = "permanent MAC address",
	[ND_IFLA_PARENT_DEV_NAME] = "parent device",
	[PARENT_DEV_BUS_NAME] = "bus of the parent device",
};

/* ifi_flags that userspace can set (__dev_change_flags), without IFF_UP; then those that it cannot. */
static const struct {
	uint32_t flag;
	int is_fixed;
	const char *name;
} FLAGS[] = {
	{ IFF_DEBUG, 0, "DEBUG" }, { IFF_NOTRAILERS, 0, "NOTRAILERS" }, { IFF_NOARP, 0, "NOARP" },
	{ IFF_PROMISC, 0, "PROMISC" }, { IFF_ALLMULTI, 0, "ALLMULTI" }, { IFF_MULTICAST, 0, "MULTICAST" },
	{ IFF_PORTSEL, 0, "PORTSEL" }, { IFF_AUTOMEDIA, 0, "AUTOMEDIA" }, { IFF_DYNAMIC, 0, "DYNAMIC" },
	{ IFF_BROADCAST, 1, "BROADCAST" }, { IFF_LOOPBACK, 1, "LOOPBACK" }, { IFF_POINTOPOINT, 1, "POINTOPOINT" },
	{ FLAG_ECHO, 1, "ECHO" },
};

static const struct {
	uint16_t type;
	uint32_t flag;
	const char *name;
} XDP_MODES[] = {
	{ IFLA_XDP_DRV_PROG_ID, XDP_FLAGS_DRV_MODE, "driver" },
	{ IFLA_XDP_SKB_PROG_ID, XDP_FLAGS_SKB_MODE, "generic" },
	{ IFLA_XDP_HW_PROG_ID, XDP_FLAGS_HW_MODE, "hardware" },
};

static struct nd_attr nested(const struct nd_attr *in, uint16_t type)
{
	struct nd_attr found = { .data = NULL };

	if (in->data)
		found.data = nd_attr_find(in->data, in->len, type, &found.len);
	return found;
}

/* A nested number; 0: there is none. */
static uint32_t nested_number(const struct nd_attr *in, uint16_t type)
{
	const struct nd_attr found = nested(in, type);

	return nd_attr_number(&found);
}

/* ---- alternative names -------------------------------------------------------------------------------------------------- */

size_t nd_altnames_begin(struct nd_msg *m, uint16_t type, int32_t ifindex)
{
	const struct ifinfomsg head = { .ifi_index = ifindex };
	const uint16_t create = type == ND_RTM_NEWLINKPROP ? NLM_F_CREATE | NLM_F_EXCL : 0;

	nd_msg_begin(m, type, create | NLM_F_ACK, &head, sizeof head);
	return nd_nest_begin(m, ND_IFLA_PROP_LIST);
}

void nd_altname_put(struct nd_msg *m, const char *name, size_t len)
{
	char copy[ND_ALTNAME_SIZE];

	nd_text_copy(copy, sizeof copy, name, len);
	nd_msg_put_name(m, ND_IFLA_ALT_IFNAME, copy);
}

size_t nd_altnames_put(struct nd_msg *m, uint16_t type, int32_t ifindex, const struct nd_view *link,
		       const struct nd_view *unless)
{
	size_t pos = 0, len, nest = 0, found = 0;
	const char *name;

	while ((name = nd_link_altname(link, &pos, &len))) {
		if (unless && nd_link_has_altname(unless, name, len))
			continue;
		if (found++ == 0)
			nest = nd_altnames_begin(m, type, ifindex);
		nd_altname_put(m, name, len);
	}
	if (found)
		nd_nest_end(m, nest);
	return found;
}

/* Removes added names, all by one request, or one by one. */
static void added_altnames(struct nd_repairs *r)
{
	const int32_t ifindex = r->now.head.ifi_index;
	size_t pos = 0, len, nest;
	uint32_t together;
	const char *name;

	if (!nd_altnames_put(nd_repairs_empty(r), ND_RTM_DELLINKPROP, ifindex, r->now.v, r->was.v))
		return;
	together = nd_repairs_request(r);
	while ((name = nd_link_altname(r->now.v, &pos, &len))) {
		if (nd_link_has_altname(r->was.v, name, len))
			continue;
		nest = nd_altnames_begin(nd_repairs_empty(r), ND_RTM_DELLINKPROP, ifindex);
		nd_altname_put(&r->m, name, len);
		nd_nest_end(&r->m, nest);
		nd_repairs_say(r, "alternative name \"");
		nd_repairs_say_text(r, name, len);
		nd_repairs_say(r, "\" was added");
		nd_repairs_add(r, ND_BOTH_STAGES, together, nd_repairs_request(r));
	}
}

static void lost_altnames(struct nd_repairs *r)
{
	const char *name, *before = "altname ";
	size_t pos = 0, len;

	if (!nd_altnames_put(nd_repairs_empty(r), ND_RTM_NEWLINKPROP, r->now.head.ifi_index, r->was.v, r->now.v))
		return;
	while ((name = nd_link_altname(r->was.v, &pos, &len))) {
		if (nd_link_has_altname(r->now.v, name, len))
			continue;
		nd_repairs_say(r, "%s", before);
		nd_repairs_say_text(r, name, len);
		before = ", ";
	}
	nd_repairs_add(r, ND_BOTH_STAGES, nd_repairs_request(r), 0);
}

/* ---- attributes ------------------------------------------------------------------------------------------------------- */

/* proto_down, and the reasons for it, which must be gone before it is cleared: both in one request. */
static void proto_down(struct nd_repairs *r)
{
	const struct nd_attr *const was = r->was.attrs, *const now = r->now.attrs;
	const uint32_t down = nd_attr_number(&was[IFLA_PROTO_DOWN]), down_now = nd_attr_number(&now[IFLA_PROTO_DOWN]);
	const uint32_t reasons = nested_number(&was[PROTO_DOWN_REASON], PROTO_DOWN_REASON_VALUE);
	const uint32_t changed = reasons ^ nested_number(&now[PROTO_DOWN_REASON], PROTO_DOWN_REASON_VALUE);
	const unsigned char byte = (unsigned char)down;
	size_t nest;

	if (down == down_now && !changed)
		return;
	nd_repairs_begin(r, 0, 0);
	if (changed) {
		nest = nd_nest_begin(&r->m, PROTO_DOWN_REASON);
		nd_msg_put_u32(&r->m, PROTO_DOWN_REASON_MASK, changed);
		nd_msg_put_u32(&r->m, PROTO_DOWN_REASON_VALUE, reasons);
		nd_nest_end(&r->m, nest);
	}
	if (down != down_now) {
		nd_msg_put(&r->m, IFLA_PROTO_DOWN, &byte, sizeof byte);
		nd_repairs_say(r, "proto_down %u -> %u", down, down_now);
	} else {
		nd_repairs_say(r, "reasons of proto_down");
	}
	nd_repairs_add(r, ND_BOTH_STAGES, nd_repairs_request(r), 0);
}

static struct nd_attr own_mac(const struct nd_view *v)
{
	struct nd_link_attrs link;

	nd_link_read(v, &link);	/* without a whole header there is none */
	return nd_own_mac(&link);
}

static void say_value(struct nd_repairs *r, enum form form, const struct nd_attr *a)
{
	for (size_t i = 0; form == HEX && i < a->len; i++)
		nd_repairs_say(r, i ? ":%02x" : "%02x", a->data[i]);
	if (form == HEX)
		return;
	nd_repairs_say(r, "\"");
	nd_repairs_say_text(r, (const char *)a->data, a->data ? strnlen((const char *)a->data, a->len) : 0);
	nd_repairs_say(r, "\"");
}

/* A missing value counts as an empty one. */
static int same_value(const struct nd_attr *was, const struct nd_attr *now)
{
	return was->len == now->len && (!was->len || memcmp(was->data, now->data, was->len) == 0);
}

static void attribute(struct nd_repairs *r, const struct setting *setting)
{
	const struct nd_attr *const now = &r->now.attrs[setting->type];
	struct nd_attr was = r->was.attrs[setting->type];
	uint32_t request = 0;

	if (same_value(&was, now))
		return;
	if (setting->type == IFLA_ADDRESS)
		was = own_mac(r->was.v);
	if (same_value(&was, now))
		return;
	/* An empty alias removes it; another attribute that is not reported is not known to this kernel. */
	if (was.len || setting->type == IFLA_IFALIAS) {
		nd_msg_put(nd_repairs_begin(r, 0, 0), setting->type, was.data, was.len);
		request = nd_repairs_request(r);
	}
	nd_repairs_say(r, "%s", setting->words);
	if (setting->form == NUMBER) {
		nd_repairs_say_change(r, &was, now);
	} else {
		nd_repairs_say(r, " ");
		say_value(r, setting->form, &was);
		nd_repairs_say(r, " -> ");
		say_value(r, setting->form, now);
	}
	nd_repairs_add(r, ND_BOTH_STAGES, request, 0);
}

static void flags(struct nd_repairs *r)
{
	const uint32_t was = r->was.head.ifi_flags, changed = was ^ r->now.head.ifi_flags;
	uint32_t settable = 0, request = 0;

	for (size_t i = 0; i < sizeof FLAGS / sizeof FLAGS[0]; i++)
		settable |= FLAGS[i].is_fixed ? 0 : changed & FLAGS[i].flag;
	/* Only these in ifi_change: all other flags, above all IFF_UP, must not change (probe message.flags.change-all). */
	if (settable) {
		nd_repairs_begin(r, was & settable, settable);
		request = nd_repairs_request(r);
	}
	for (size_t i = 0; i < sizeof FLAGS / sizeof FLAGS[0]; i++) {
		if (!(changed & FLAGS[i].flag))
			continue;
		nd_repairs_say(r, "flag %s %s", FLAGS[i].name, was & FLAGS[i].flag ? "on -> off" : "off -> on");
		nd_repairs_add(r, ND_BOTH_STAGES, FLAGS[i].is_fixed ? 0 : request, 0);
	}
}

/* Detaches a program that was attached meanwhile; an earlier one cannot be attached again. */
static void xdp(struct nd_repairs *r)
{
	const int32_t none = -1;

	for (size_t i = 0; i < sizeof XDP_MODES / sizeof XDP_MODES[0]; i++) {
		const uint32_t was = nested_number(&r->was.attrs[IFLA_XDP], XDP_MODES[i].type);
		const uint32_t now = nested_number(&r->now.attrs[IFLA_XDP], XDP_MODES[i].type);
		size_t nest;

		if (was && was != now) {
			nd_repairs_say(r, "XDP program %u (%s)", was, XDP_MODES[i].name);
			nd_repairs_add(r, ND_BOTH_STAGES, 0, 0);
		}
		if (!now || was == now)
			continue;
		nest = nd_nest_begin(nd_repairs_begin(r, 0, 0), IFLA_XDP);
		nd_msg_put(&r->m, IFLA_XDP_FD, &none, sizeof none);
		nd_msg_put_u32(&r->m, IFLA_XDP_FLAGS, XDP_MODES[i].flag);
		nd_nest_end(&r->m, nest);
		nd_repairs_say(r, "XDP program %u (%s) was attached", now, XDP_MODES[i].name);
		nd_repairs_add(r, ND_BOTH_STAGES, nd_repairs_request(r), 0);
	}
}

/* ---- attributes that no request sets ---------------------------------------------------------------------------------- */

static void others(struct nd_repairs *r)
{
	unsigned char is_known[ND_ATTRS_MAX] = { 0 };

	for (size_t i = 0; i < sizeof LEFT_OUT; i++)
		is_known[LEFT_OUT[i]] = 1;
	for (size_t i = 0; i < sizeof SET / sizeof SET[0]; i++)
		is_known[SET[i].type] = 1;
	for (unsigned type = 0; type < ND_ATTRS_MAX; type++) {
		if (is_known[type] || nd_attr_same(&r->was.attrs[type], &r->now.attrs[type]))
			continue;
		if (FIXED[type])
			nd_repairs_say(r, "%s", FIXED[type]);
		else
			nd_repairs_say(r, "attribute %u of RTM_NEWLINK", type);
		nd_repairs_add(r, ND_BOTH_STAGES, 0, 0);
	}
}

/* The lower device or the peer; with IFLA_LINK_NETNSID it is in another namespace, and did not move. */
static void lower_device(struct nd_repairs *r)
{
	const struct nd_attr *const netnsid = &r->was.attrs[IFLA_LINK_NETNSID];
	const struct nd_attr *const netnsid_now = &r->now.attrs[IFLA_LINK_NETNSID];
	const struct nd_attr *const kind = &r->was.info[IFLA_INFO_KIND];
	const uint32_t was = nd_attr_number(&r->was.attrs[IFLA_LINK]), now = nd_attr_number(&r->now.attrs[IFLA_LINK]);
	const uint32_t lower = was && !netnsid->data && r->settings->lower ? (uint32_t)r->settings->lower : was;

	if (nd_attr_same(netnsid, netnsid_now) && lower == now)
		return;
	nd_repairs_say(r, "%s (ifindex %u) -> (ifindex %u)%s",
		       kind->len == sizeof "veth" && memcmp(kind->data, "veth", kind->len) == 0 ? "peer" : "lower device", was,
		       now, !netnsid->data && netnsid_now->data ? " in another network namespace" : "");
	nd_repairs_add(r, ND_BOTH_STAGES, 0, 0);
}

/* Settings of address families other than IPv4 and IPv6, such as MCTP. */
static void families(struct nd_repairs *r)
{
	for (unsigned family = 0; family < ND_ATTRS_MAX; family++) {
		if (family == AF_INET || family == AF_INET6 || nd_attr_same(&r->was.families[family], &r->now.families[family]))
			continue;
		nd_repairs_say(r, "settings of address family %u", family);
		nd_repairs_add(r, ND_BOTH_STAGES, 0, 0);
	}
}

void nd_repairs_of_link(struct nd_repairs *r)
{
	added_altnames(r);
	nd_repairs_of_data(r);
	proto_down(r);
	for (size_t i = 0; i < sizeof SET / sizeof SET[0]; i++)
		attribute(r, &SET[i]);
	flags(r);
	xdp(r);
	others(r);
	lower_device(r);
	if (r->was.head.ifi_type != r->now.head.ifi_type) {
		nd_repairs_say(r, "hardware type %u -> %u", r->was.head.ifi_type, r->now.head.ifi_type);
		nd_repairs_add(r, ND_BOTH_STAGES, 0, 0);
	}
	families(r);
	lost_altnames(r);
}
