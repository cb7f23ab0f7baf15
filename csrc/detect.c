/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * Detects state that a move drops and the batch does not restore (enum netdevns_state), each kind by a dump, before
 * anything changes. Layouts: linux/rtnetlink.h, linux/nexthop.h, linux/neighbour.h.
 */
#include "detect.h"

#include <errno.h>
#include <linux/neighbour.h>
#include <linux/pkt_sched.h>
#include <stdio.h>
#include <stdlib.h>

#define LEVELS_MAX 64	/* of masters and uppers; the kernel allows 8 (MAX_NEST_DEV) */

void nd_mark(struct netdevns_batch *b, int32_t ifindex, uint32_t state)
{
	struct nd_member *const m = nd_batch_member(b, ifindex);

	if (m)
		m->state |= state;
}

/* `filter`: keeps messages about the members; NULL: all. */
int nd_detect_dump(struct detection *d, uint16_t type, const void *header, size_t header_len, const struct nd_filter *filter,
		struct nd_err *err)
{
	_Alignas(8) unsigned char bytes[64];
	struct nd_msg m;
	int code;

	nd_msg_init(&m, bytes, sizeof bytes);
	nd_msg_begin(&m, type, NLM_F_DUMP, header, header_len);
	code = nd_batch_dump(d->b, d->b->source, &m, filter, err);
	if (code == -EOPNOTSUPP) {	/* the kernel was built without it */
		d->b->reply.used = 0;
		return 0;
	}
	return code;
}

/* ---- neighbours -------------------------------------------------------------------------------------------------------------------- */

/* Whether a link is on top of the member, at any depth. */
static int lies_on(const struct netdevns_batch *b, const struct nd_link *link, int32_t ifindex, int level)
{
	if (link->lower == ifindex)
		return 1;
	for (size_t i = 0; i < b->seen_count && link->lower && level < LEVELS_MAX; i++)
		if (b->seen[i].ifindex == link->lower)
			return lies_on(b, &b->seen[i], ifindex, level + 1);
	return 0;
}

/* Whether a MAC is that of a device on top of the member, which the kernel keeps in the member's unicast filter. */
static int is_of_upper(const struct netdevns_batch *b, int32_t ifindex, const struct nd_attr *mac)
{
	for (size_t i = 0; i < b->seen_count; i++)
		if (mac->len <= sizeof b->seen[i].mac && memcmp(b->seen[i].mac, mac->data, mac->len) == 0 &&
		    lies_on(b, &b->seen[i], ifindex, 0))
			return 1;
	return 0;
}

/*
 * Whether a noarp entry is as the kernel makes them on a device without ARP: with the device's MAC, or with none (probe
 * neighbours.noarp.no-arp).
 */
static int is_without_arp(const struct netdevns_batch *b, const struct ndmsg *head, const struct nd_attr *mac)
{
	static const unsigned char none[ND_MAC_SIZE];
	const struct nd_member *const m = nd_batch_member(b, head->ndm_ifindex);

	if (!(head->ndm_state & NUD_NOARP) || (head->ndm_flags & (NTF_PROXY | NTF_EXT_LEARNED)) || mac->len > sizeof none)
		return 0;
	return !mac->len || memcmp(mac->data, none, mac->len) == 0 || (m && memcmp(mac->data, m->link.mac, mac->len) == 0);
}

static int detect_neighbours(struct detection *d, uint8_t family, uint8_t flags, struct nd_err *err)
{
	const struct ndmsg all = { .ndm_family = family, .ndm_flags = flags };
	struct nd_view v;
	size_t pos = 0;
	const int code = nd_detect_dump(d, RTM_GETNEIGH, &all, sizeof all, &d->filter, err);

	while (!code && nd_view_next(d->b->reply.data, d->b->reply.used, &pos, &v) > 0) {
		struct nd_attr found[NDA_LLADDR + 1];
		struct ndmsg head;

		if (v.type != RTM_NEWNEIGH || v.body_len < sizeof head)
			continue;
		memcpy(&head, v.body, sizeof head);
		nd_attrs_read(v.body + sizeof head, v.body_len - sizeof head, found, NDA_LLADDR + 1);
		/* An entry of the device's own filter. A bridge's entries are lost with the master. */
		if (head.ndm_family == AF_BRIDGE && (!(head.ndm_flags & NTF_SELF) || found[NDA_DST].data || !found[NDA_LLADDR].len ||
						     is_of_upper(d->b, head.ndm_ifindex, &found[NDA_LLADDR])))
			continue;
		if (is_without_arp(d->b, &head, &found[NDA_LLADDR]))
			continue;
		nd_mark(d->b, head.ndm_ifindex, head.ndm_family == AF_BRIDGE ? ND_FDB : NETDEVNS_NEIGHBOURS);
	}
	return code;
}

/* Parameters that neightbl_set() accepts, without REACHABLE_TIME, which the kernel randomizes, and QUEUE_LEN, a duplicate. */
static const uint16_t parameters[] = { NDTPA_BASE_REACHABLE_TIME, NDTPA_RETRANS_TIME, NDTPA_GC_STALETIME, NDTPA_DELAY_PROBE_TIME,
				       NDTPA_APP_PROBES, NDTPA_UCAST_PROBES, NDTPA_MCAST_PROBES, NDTPA_ANYCAST_DELAY,
				       NDTPA_PROXY_DELAY, NDTPA_PROXY_QLEN, NDTPA_LOCKTIME, NDTPA_QUEUE_LENBYTES,
				       17 /* NDTPA_MCAST_REPROBES */, 19 /* NDTPA_INTERVAL_PROBE_TIME_MS */ };
#define NDTPA_COUNT 20

/* The first message of a table has a new device's defaults; the others have one device's parameters each. */
static int detect_parameters(struct detection *d, uint8_t family, struct nd_err *err)
{
	const struct ndtmsg all = { .ndtm_family = family };
	struct nd_attr defaults[NDTPA_COUNT] = { { .data = NULL } };
	struct nd_view v;
	size_t pos = 0;
	const int code = nd_detect_dump(d, RTM_GETNEIGHTBL, &all, sizeof all, NULL, err);

	while (!code && nd_view_next(d->b->reply.data, d->b->reply.used, &pos, &v) > 0) {
		struct nd_attr found[NDTA_PARMS + 1], parms[NDTPA_COUNT];

		if (v.type != RTM_NEWNEIGHTBL || v.body_len < sizeof all)
			continue;
		nd_attrs_read(v.body + sizeof all, v.body_len - sizeof all, found, NDTA_PARMS + 1);
		if (!found[NDTA_PARMS].data)
			continue;
		nd_attrs_read(found[NDTA_PARMS].data, found[NDTA_PARMS].len, parms, NDTPA_COUNT);
		if (!parms[NDTPA_IFINDEX].data)
			memcpy(defaults, parms, sizeof defaults);
		for (size_t i = 0; parms[NDTPA_IFINDEX].data && i < sizeof parameters / sizeof parameters[0]; i++)
			if (!nd_attr_same(&defaults[parameters[i]], &parms[parameters[i]]))
				nd_mark(d->b, (int32_t)nd_attr_u32(&parms[NDTPA_IFINDEX]), NETDEVNS_NEIGH_PARAMETERS);
	}
	return code;
}

/* ---- qdiscs, and state in the links ------------------------------------------------------------------------------------------------ */

/* The kernel's default qdisc has the handle 0. */
static int detect_qdiscs(struct detection *d, struct nd_err *err)
{
	static const struct tcmsg all = { .tcm_family = AF_UNSPEC };
	struct nd_view v;
	size_t pos = 0;
	const int code = nd_detect_dump(d, RTM_GETQDISC, &all, sizeof all, &d->filter, err);

	while (!code && nd_view_next(d->b->reply.data, d->b->reply.used, &pos, &v) > 0) {
		struct tcmsg head;

		if (v.type != RTM_NEWQDISC || v.body_len < sizeof head)
			continue;
		memcpy(&head, v.body, sizeof head);
		if (head.tcm_handle && (head.tcm_parent == TC_H_ROOT || head.tcm_parent == TC_H_INGRESS))
			nd_mark(d->b, head.tcm_ifindex, NETDEVNS_QDISC);
	}
	return code;
}

static void detect_links(struct detection *d)
{
	struct netdevns_batch *const b = d->b;

	for (size_t i = 0; i < b->count; i++)
		if (b->members[i]->dev && b->members[i]->link.master)
			b->members[i]->state |= NETDEVNS_MASTER;
	for (size_t i = 0; i < b->seen_count; i++)
		if (b->seen[i].lower && !nd_batch_member(b, b->seen[i].ifindex))
			nd_mark(b, b->seen[i].lower, NETDEVNS_UPPER);
}

/*
 * The devices below that of a default route carry it, too: its lower device, and the ports of a master. Masters were not dumped
 * with the batch's links, so the search goes from the members up.
 */
static int carries_default(const struct detection *d, int32_t ifindex)
{
	for (size_t at = 0; at + sizeof ifindex <= d->defaults.used; at += sizeof ifindex)
		if (memcmp(d->defaults.data + at, &ifindex, sizeof ifindex) == 0)
			return 1;
	return 0;
}

static int is_below_default(struct detection *d, int32_t ifindex, int32_t master, int level, struct nd_err *err)
{
	struct netdevns_batch *const b = d->b;
	struct nd_link link;
	struct nd_view v;
	int code;

	if (carries_default(d, ifindex))
		return 1;
	if (level == LEVELS_MAX || !d->defaults.used)
		return 0;
	for (size_t i = 0; i < b->seen_count; i++) {
		if (b->seen[i].lower != ifindex)
			continue;
		code = is_below_default(d, b->seen[i].ifindex, b->seen[i].master, level + 1, err);
		if (code)
			return code;
	}
	if (!master)
		return 0;
	code = nd_batch_link(b, b->source, master, &v, err);
	if (code)
		return code == -ENODEV ? 0 : code;
	if (nd_link_summarize(&link, &v))
		return 0;
	return is_below_default(d, link.ifindex, link.master, level + 1, err);
}

static int detect_all(struct detection *d, struct nd_err *err)
{
	int code;

	detect_links(d);
	code = nd_detect_nexthops(d, err);
	if (!code)
		code = nd_detect_routes(d, err);
	if (!code)
		code = detect_neighbours(d, AF_UNSPEC, 0, err);
	if (!code)
		code = detect_neighbours(d, AF_UNSPEC, NTF_PROXY, err);
	if (!code)
		code = detect_neighbours(d, AF_BRIDGE, 0, err);
	if (!code)	/* one family at a time: a dump of both may lack IPv6's (probe neighbours.parameters.dump) */
		code = detect_parameters(d, AF_INET, err);
	if (!code)
		code = detect_parameters(d, AF_INET6, err);
	if (!code)
		code = detect_qdiscs(d, err);
	for (size_t i = 0; i < d->b->count && !code; i++) {
		struct nd_member *const m = d->b->members[i];
		const int below = m->dev ? is_below_default(d, m->link.ifindex, m->link.master, 0, err) : 0;

		if (below < 0)
			code = below;
		else if (below)
			m->state |= NETDEVNS_DEFAULT_ROUTE;
	}
	return code;
}

/* ---- findings -------------------------------------------------------------------------------------------------------------------------- */

#define BIT(name) name, #name

static int find_loss(struct netdevns_batch *b, const struct nd_member *m, const char *code, uint32_t state, const char *bit,
		     uint32_t accept, const char *what, const char *other)
{
	const int is_accepted = (accept & state) != 0;
	struct nd_found *const f = nd_batch_find(b, code, is_accepted ? NETDEVNS_LOSS : NETDEVNS_ERROR, is_accepted ? 0 : EBUSY, m,
		"%s %s%s%s%s%s", m->ifname, what, other, is_accepted ? "" : "; to accept that, pass ", is_accepted ? "" : bit,
		is_accepted ? "" : "; the Python package restores it after a failure");

	if (!f)
		return -ENOMEM;
	f->finding.state = state;
	nd_text_copy(f->other, sizeof f->other, other, strlen(other));
	return 0;
}

static int find_uppers(struct netdevns_batch *b, const struct nd_member *m, uint32_t accept)
{
	int code = 0;

	for (size_t i = 0; i < b->seen_count && !code; i++)
		if (b->seen[i].lower == m->link.ifindex && !nd_batch_member(b, b->seen[i].ifindex))
			code = find_loss(b, m, "loss.upper", BIT(NETDEVNS_UPPER), accept,
					 "has a device on top of it that stays and loses state: ", b->seen[i].name);
	return code;
}

/* The kernel's link-local address, marked from 5.18 on; before, one made of the MAC counts. The target's kernel makes it again. */
static int is_kernels(const struct nd_addr *a, const unsigned char *mac)
{
	const struct nd_attr *const address = &a->attrs[IFA_ADDRESS], *const protocol = &a->attrs[ND_IFA_PROTO];

	if (address->len != 16 || address->data[0] != 0xfe || address->data[1] != 0x80)
		return 0;
	if (protocol->len == 1 && protocol->data[0] == 3 /* IFAPROT_KERNEL_LL */)
		return 1;
	return address->data[11] == 0xff && address->data[12] == 0xfe && address->data[13] == mac[3];
}

/* Of addresses, for a message: the scope by name, as rt_scopes(5) has it, or by number. */
static const char *scope_text(unsigned scope, char text[static 32])
{
	static const struct { unsigned scope; const char *name; } names[] = {
		{ RT_SCOPE_UNIVERSE, "global" }, { RT_SCOPE_SITE, "site" }, { RT_SCOPE_LINK, "link" }, { RT_SCOPE_HOST, "host" },
		{ RT_SCOPE_NOWHERE, "nowhere" },
	};

	snprintf(text, 32, "of %u scope", scope);
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
		if (names[i].scope == scope)
			snprintf(text, 32, "of %s scope", names[i].name);
	return text;
}

/* Reports addresses that the runtime-spec does not protect, by scope; an undo restores them. */
static int find_addresses(struct netdevns_batch *b, const struct nd_member *m)
{
	enum { WITH_LIFETIME = UINT8_MAX + 1 };
	size_t counts[WITH_LIFETIME + 1] = { 0 }, pos = 0;
	struct nd_addr a;

	if (m->link.flags & IFF_LOOPBACK)	/* which cannot move */
		return 0;
	while (nd_addr_next_of(m->dev, &pos, &a)) {
		if (nd_addr_in(&a, ND_SET_PROTECTED))
			continue;
		if (!(a.flags & IFA_F_PERMANENT))
			counts[WITH_LIFETIME]++;
		else if (!is_kernels(&a, m->link.mac))
			counts[a.head.ifa_scope]++;
	}
	for (unsigned scope = 0; scope <= WITH_LIFETIME; scope++) {
		char text[32];
		const char *const what = scope == WITH_LIFETIME ? "with a lifetime" : scope_text(scope, text);

		if (counts[scope] &&
		    !nd_batch_find(b, "loss.addresses", NETDEVNS_LOSS, 0, m, "%s: a move loses: %zu address%s %s", m->ifname, counts[scope],
				   counts[scope] > 1 ? "es" : "", what))
			return -ENOMEM;
	}
	return 0;
}

static int find_state(struct netdevns_batch *b, const struct nd_member *m, uint32_t accept)
{
	static const struct { uint32_t found, state; const char *bit, *code, *text; } kinds[] = {
		{ NETDEVNS_DEFAULT_ROUTE, BIT(NETDEVNS_DEFAULT_ROUTE), "device.default-route", "carries a default route that a move drops" },
		{ NETDEVNS_MASTER, BIT(NETDEVNS_MASTER), "loss.master", "has a master that it leaves with a move" },
		{ NETDEVNS_NEIGH_PARAMETERS, BIT(NETDEVNS_NEIGH_PARAMETERS), "loss.neigh-parameters", "has neighbour parameters that a move drops" },
		{ NETDEVNS_QDISC, BIT(NETDEVNS_QDISC), "loss.qdisc", "has a qdisc, with classes and filters, that a move drops" },
		{ NETDEVNS_NEXTHOPS, BIT(NETDEVNS_NEXTHOPS), "loss.nexthops", "has nexthop objects that a move drops" },
		{ NETDEVNS_ROUTES, BIT(NETDEVNS_ROUTES), "loss.routes", "has routes that a move drops" },
		{ NETDEVNS_NEIGHBOURS, BIT(NETDEVNS_NEIGHBOURS), "loss.neighbours", "has permanent or noarp neighbours that a move drops" },
		{ ND_FDB, BIT(NETDEVNS_NEIGHBOURS), "loss.fdb", "listens to MAC addresses besides its own, which a move drops" },
	};
	int code = 0;

	for (size_t k = 0; k < sizeof kinds / sizeof kinds[0] && !code; k++)
		if (m->state & kinds[k].found)
			code = find_loss(b, m, kinds[k].code, kinds[k].state, kinds[k].bit, accept, kinds[k].text, "");
	return code;
}

static int find_all(struct netdevns_batch *b, uint32_t accept)
{
	int code = 0;

	for (size_t i = 0; i < b->count && !code; i++) {
		const struct nd_member *const m = b->members[i];

		if (!m->dev)
			continue;
		code = find_uppers(b, m, accept);
		if (!code)
			code = find_state(b, m, accept);
		if (!code)
			code = find_addresses(b, m);
		if (!code && m->link.has_xdp &&
		    !nd_batch_find(b, "device.xdp", NETDEVNS_NOTE, 0, m, "%s: its XDP program stays attached", m->ifname))
			code = -ENOMEM;
	}
	return code;
}

int nd_batch_detect(struct netdevns_batch *b, uint32_t accept, struct nd_err *err)
{
	struct detection d = { .b = b };
	int code = 0;

	d.ifindexes = calloc(b->count + 1, sizeof *d.ifindexes);
	if (!d.ifindexes)
		return -ENOMEM;
	for (; d.count < b->there; d.count++)
		d.ifindexes[d.count] = b->by_ifindex[d.count]->link.ifindex;
	d.filter = (struct nd_filter){ .ifindexes = d.ifindexes, .count = d.count };
	if (d.count)
		code = detect_all(&d, err);
	if (!code)
		code = find_all(b, accept);
	free(d.ifindexes);
	nd_memory_free(&d.nexthops);
	nd_memory_free(&d.sources);
	nd_memory_free(&d.defaults);
	return code;
}
