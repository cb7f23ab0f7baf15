/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * State that a move drops and that the batch does not restore (enum netdevns_state): each kind by a dump of its own, before
 * anything changes. Layouts: linux/rtnetlink.h, linux/nexthop.h, linux/neighbour.h.
 */
#include "batch.h"

#include <errno.h>
#include <linux/neighbour.h>
#include <linux/nexthop.h>
#include <linux/pkt_sched.h>
#include <stdio.h>
#include <stdlib.h>

#define ND_NHA_MAX 16
#define RTA_COUNT (ND_RTA_NH_ID + 1)

struct detection {
	struct netdevns_batch *b;
	int32_t *ifindexes;		/* of the members, ascending */
	size_t count;
	struct nd_filter filter;	/* the same */
	struct nd_memory nexthops;	/* struct nexthop: the devices of nexthop objects */
	struct nd_memory sources;	/* the `src` of IPv4 routes of other devices: 4 bytes each */
	struct nd_memory defaults;	/* ifindexes of devices with a default route */
};

/* One device of a nexthop object; of a group one of each member. */
struct nexthop {
	uint32_t id;
	int32_t ifindex;
};

static void mark(struct netdevns_batch *b, int32_t ifindex, uint32_t state)
{
	struct nd_member *const m = nd_batch_member(b, ifindex);

	if (m)
		m->state |= state;
}

static uint32_t u32(const struct nd_attr *a)
{
	uint32_t value = 0;

	if (a->data && a->len == sizeof value)
		memcpy(&value, a->data, sizeof value);
	return value;
}

/* `filter`: only what is about the members; NULL: all. */
static int dump(struct detection *d, uint16_t type, const void *header, size_t header_len, const struct nd_filter *filter,
		struct nd_err *err)
{
	_Alignas(8) unsigned char bytes[64];
	struct nd_msg m;
	int code;

	nd_msg_init(&m, bytes, sizeof bytes);
	nd_msg_begin(&m, type, NLM_F_DUMP, header, header_len);
	code = nd_batch_dump(d->b, &d->b->source, &m, filter, err);
	if (code == -EOPNOTSUPP) {	/* a kernel that was built without it */
		d->b->reply.used = 0;
		return 0;
	}
	return code;
}

/* ---- nexthop objects ------------------------------------------------------------------------------------------------------------ */

static int add_nexthop(struct detection *d, uint32_t id, int32_t ifindex)
{
	const struct nexthop found = { .id = id, .ifindex = ifindex };

	return nd_memory_append(&d->nexthops, &found, sizeof found);
}

/* The devices of a group are those of its members, which were dumped before it or are found by a second pass. */
static int add_group(struct detection *d, uint32_t id, const struct nd_attr *group)
{
	int code = 0;

	for (size_t at = 0; group->len - at >= sizeof(struct nexthop_grp) && !code; at += sizeof(struct nexthop_grp)) {
		const size_t known = d->nexthops.used;
		struct nexthop_grp member;

		memcpy(&member, group->data + at, sizeof member);
		for (size_t i = 0; i + sizeof(struct nexthop) <= known && !code; i += sizeof(struct nexthop)) {
			struct nexthop n;

			memcpy(&n, d->nexthops.data + i, sizeof n);
			if (n.id == member.id)
				code = add_nexthop(d, id, n.ifindex);
		}
		if (group->len - at < 2 * sizeof member)
			break;
	}
	return code;
}

static int detect_nexthops(struct detection *d, struct nd_err *err)
{
	static const struct nhmsg all = { .nh_family = AF_UNSPEC };
	int code = dump(d, RTM_GETNEXTHOP, &all, sizeof all, NULL, err);

	for (int groups = 0; groups < 2 && !code; groups++) {
		struct nd_view v;
		size_t pos = 0;

		while (!code && nd_view_next(d->b->reply.data, d->b->reply.used, &pos, &v) > 0) {
			struct nd_attr found[ND_NHA_MAX];

			if (v.type != RTM_NEWNEXTHOP || v.body_len < sizeof all)
				continue;
			nd_attrs_read(v.body + sizeof all, v.body_len - sizeof all, found, ND_NHA_MAX);
			if (groups && found[NHA_GROUP].data)
				code = add_group(d, u32(&found[NHA_ID]), &found[NHA_GROUP]);
			else if (!groups && found[NHA_OIF].data)
				code = add_nexthop(d, u32(&found[NHA_ID]), (int32_t)u32(&found[NHA_OIF]));
		}
	}
	for (size_t i = 0; i + sizeof(struct nexthop) <= d->nexthops.used && !code; i += sizeof(struct nexthop)) {
		struct nexthop n;

		memcpy(&n, d->nexthops.data + i, sizeof n);
		mark(d->b, n.ifindex, NETDEVNS_NEXTHOPS);
	}
	return code;
}

/* ---- routes ------------------------------------------------------------------------------------------------------------------------ */

/* What is done with each device of a route. */
struct use {
	struct detection *d;
	int is_default, is_added;	/* of the main table; not the kernel's own */
	int is_ours;			/* one of them is in the batch */
	int code;
};

static void use_device(struct use *u, int32_t ifindex)
{
	if (u->is_default && !u->code)
		u->code = nd_memory_append(&u->d->defaults, &ifindex, sizeof ifindex);
	if (nd_batch_member(u->d->b, ifindex)) {
		u->is_ours = 1;
		if (u->is_added)
			mark(u->d->b, ifindex, NETDEVNS_ROUTES);
	}
}

static void use_multipath(struct use *u, const struct nd_attr *legs)
{
	size_t pos = 0;

	while (legs->len - pos >= sizeof(struct rtnexthop)) {
		struct rtnexthop leg;

		memcpy(&leg, legs->data + pos, sizeof leg);
		if (leg.rtnh_len < sizeof leg || leg.rtnh_len > legs->len - pos)
			return;
		use_device(u, leg.rtnh_ifindex);
		if (nd_align(leg.rtnh_len) >= legs->len - pos)
			return;
		pos += nd_align(leg.rtnh_len);
	}
}

static void use_nexthop(struct use *u, uint32_t id)
{
	for (size_t i = 0; i + sizeof(struct nexthop) <= u->d->nexthops.used; i += sizeof(struct nexthop)) {
		struct nexthop n;

		memcpy(&n, u->d->nexthops.data + i, sizeof n);
		if (n.id == id)
			use_device(u, n.ifindex);
	}
}

static int take_route(struct detection *d, const struct nd_view *v)
{
	struct nd_attr found[RTA_COUNT];
	struct use u = { .d = d };
	struct rtmsg head;
	uint32_t table;

	memcpy(&head, v->body, sizeof head);
	nd_attrs_read(v->body + sizeof head, v->body_len - sizeof head, found, RTA_COUNT);
	table = found[RTA_TABLE].data ? u32(&found[RTA_TABLE]) : head.rtm_table;
	u.is_default = head.rtm_dst_len == 0 && head.rtm_type == RTN_UNICAST && table == RT_TABLE_MAIN;
	u.is_added = head.rtm_protocol != RTPROT_KERNEL;
	if (!u.is_default && !u.is_added)
		return 0;
	if (found[RTA_OIF].data)
		use_device(&u, (int32_t)u32(&found[RTA_OIF]));
	if (found[RTA_MULTIPATH].data)
		use_multipath(&u, &found[RTA_MULTIPATH]);
	if (found[ND_RTA_NH_ID].data)
		use_nexthop(&u, u32(&found[ND_RTA_NH_ID]));
	/* The kernel deletes an IPv4 route of the main table with the address that is its `src`, whichever device it leaves by. */
	if (!u.code && u.is_added && !u.is_ours && head.rtm_family == AF_INET && table == RT_TABLE_MAIN && found[RTA_PREFSRC].len == 4)
		u.code = nd_memory_append(&d->sources, found[RTA_PREFSRC].data, 4);
	return u.code;
}

/* A member with an IPv4 address that is the `src` of a route of another device. */
static void use_sources(struct detection *d)
{
	for (size_t i = 0; i < d->b->count; i++) {
		struct nd_member *const m = &d->b->members[i];
		struct nd_addr a;
		size_t pos = 0;

		while (m->dev && nd_addr_next_of(m->dev, &pos, &a))
			for (size_t at = 0; at + 4 <= d->sources.used; at += 4)
				if (a.head.ifa_family == AF_INET && a.attrs[IFA_LOCAL].len == 4 &&
				    memcmp(a.attrs[IFA_LOCAL].data, d->sources.data + at, 4) == 0)
					m->state |= NETDEVNS_ROUTES;
	}
}

static int detect_routes(struct detection *d, struct nd_err *err)
{
	static const struct rtmsg all = { .rtm_family = AF_UNSPEC };
	struct nd_view v;
	size_t pos = 0;
	int code = dump(d, RTM_GETROUTE, &all, sizeof all, &d->filter, err);

	while (!code && nd_view_next(d->b->reply.data, d->b->reply.used, &pos, &v) > 0)
		if (v.type == RTM_NEWROUTE && v.body_len >= sizeof all)
			code = take_route(d, &v);
	use_sources(d);
	return code;
}

/* ---- neighbours -------------------------------------------------------------------------------------------------------------------- */

/* The MAC of a device that lies on the member: it is in the member's unicast filter. */
static int is_of_upper(const struct netdevns_batch *b, int32_t ifindex, const struct nd_attr *mac)
{
	for (size_t i = 0; i < b->seen_count; i++)
		if (b->seen[i].lower == ifindex && mac->len <= sizeof b->seen[i].mac && memcmp(b->seen[i].mac, mac->data, mac->len) == 0)
			return 1;
	return 0;
}

static int detect_neighbours(struct detection *d, uint8_t family, uint8_t flags, struct nd_err *err)
{
	const struct ndmsg all = { .ndm_family = family, .ndm_flags = flags };
	struct nd_view v;
	size_t pos = 0;
	const int code = dump(d, RTM_GETNEIGH, &all, sizeof all, &d->filter, err);

	while (!code && nd_view_next(d->b->reply.data, d->b->reply.used, &pos, &v) > 0) {
		struct nd_attr found[NDA_LLADDR + 1];
		struct ndmsg head;

		if (v.type != RTM_NEWNEIGH || v.body_len < sizeof head)
			continue;
		memcpy(&head, v.body, sizeof head);
		nd_attrs_read(v.body + sizeof head, v.body_len - sizeof head, found, NDA_LLADDR + 1);
		/* Of the bridges' table: an entry of the device's own filter. A bridge's is lost with the master. */
		if (head.ndm_family == AF_BRIDGE && (!(head.ndm_flags & NTF_SELF) || found[NDA_DST].data || !found[NDA_LLADDR].len ||
						     is_of_upper(d->b, head.ndm_ifindex, &found[NDA_LLADDR])))
			continue;
		mark(d->b, head.ndm_ifindex, NETDEVNS_NEIGHBOURS);
	}
	return code;
}

/* The numbers that neightbl_set() takes; not REACHABLE_TIME, which the kernel draws by lot, nor the same one twice (QUEUE_LEN). */
static const uint16_t parameters[] = { NDTPA_BASE_REACHABLE_TIME, NDTPA_RETRANS_TIME, NDTPA_GC_STALETIME, NDTPA_DELAY_PROBE_TIME,
				       NDTPA_APP_PROBES, NDTPA_UCAST_PROBES, NDTPA_MCAST_PROBES, NDTPA_ANYCAST_DELAY,
				       NDTPA_PROXY_DELAY, NDTPA_PROXY_QLEN, NDTPA_LOCKTIME, NDTPA_QUEUE_LENBYTES,
				       17 /* NDTPA_MCAST_REPROBES */, 19 /* NDTPA_INTERVAL_PROBE_TIME_MS */ };
#define NDTPA_COUNT 20

/* The first message of a table has the defaults, with which a device begins; then there is one for each device. */
static int detect_parameters(struct detection *d, uint8_t family, struct nd_err *err)
{
	const struct ndtmsg all = { .ndtm_family = family };
	struct nd_attr defaults[NDTPA_COUNT] = { { .data = NULL } };
	struct nd_view v;
	size_t pos = 0;
	const int code = dump(d, RTM_GETNEIGHTBL, &all, sizeof all, NULL, err);

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
				mark(d->b, (int32_t)u32(&parms[NDTPA_IFINDEX]), NETDEVNS_NEIGH_PARAMETERS);
	}
	return code;
}

/* ---- qdiscs, and what the links say ---------------------------------------------------------------------------------------------- */

/* What the kernel gives a device by itself has the handle 0. */
static int detect_qdiscs(struct detection *d, struct nd_err *err)
{
	static const struct tcmsg all = { .tcm_family = AF_UNSPEC };
	struct nd_view v;
	size_t pos = 0;
	const int code = dump(d, RTM_GETQDISC, &all, sizeof all, &d->filter, err);

	while (!code && nd_view_next(d->b->reply.data, d->b->reply.used, &pos, &v) > 0) {
		struct tcmsg head;

		if (v.type != RTM_NEWQDISC || v.body_len < sizeof head)
			continue;
		memcpy(&head, v.body, sizeof head);
		if (head.tcm_handle && (head.tcm_parent == TC_H_ROOT || head.tcm_parent == TC_H_INGRESS))
			mark(d->b, head.tcm_ifindex, NETDEVNS_QDISC);
	}
	return code;
}

static void detect_links(struct detection *d)
{
	struct netdevns_batch *const b = d->b;

	for (size_t i = 0; i < b->count; i++)
		if (b->members[i].dev && b->members[i].link.master)
			b->members[i].state |= NETDEVNS_MASTER;
	for (size_t i = 0; i < b->seen_count; i++)
		if (b->seen[i].lower && !nd_batch_member(b, b->seen[i].ifindex))
			mark(b, b->seen[i].lower, NETDEVNS_UPPER);
}

/*
 * A default route makes all carriers that lie below its device: its lower, and the ports of a master. Masters were not dumped
 * with the batch's links, so the way is walked from the members up.
 */
static int carries_default(const struct detection *d, int32_t ifindex)
{
	for (size_t at = 0; at + sizeof ifindex <= d->defaults.used; at += sizeof ifindex)
		if (memcmp(d->defaults.data + at, &ifindex, sizeof ifindex) == 0)
			return 1;
	return 0;
}

#define LEVELS_MAX 64	/* of masters and uppers; the kernel allows 8 (MAX_NEST_DEV) */

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
	code = nd_batch_link(b, &b->source, master, &v, err);
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
	code = detect_nexthops(d, err);
	if (!code)
		code = detect_routes(d, err);
	if (!code)
		code = detect_neighbours(d, AF_UNSPEC, 0, err);
	if (!code)
		code = detect_neighbours(d, AF_UNSPEC, NTF_PROXY, err);
	if (!code)
		code = detect_neighbours(d, AF_BRIDGE, 0, err);
	if (!code)	/* each family alone: a dump of both may lack IPv6's (probe neighbours.parameters.dump) */
		code = detect_parameters(d, AF_INET, err);
	if (!code)
		code = detect_parameters(d, AF_INET6, err);
	if (!code)
		code = detect_qdiscs(d, err);
	for (size_t i = 0; i < d->b->count && !code; i++) {
		struct nd_member *const m = &d->b->members[i];
		const int below = m->dev ? is_below_default(d, m->link.ifindex, m->link.master, 0, err) : 0;

		if (below < 0)
			code = below;
		else if (below)
			m->state |= NETDEVNS_DEFAULT_ROUTE;
	}
	return code;
}

/* ---- findings -------------------------------------------------------------------------------------------------------------------------- */

static int tell(struct netdevns_batch *b, uint32_t accept)
{
	static const struct { uint32_t state; const char *code, *text; } kinds[] = {
		{ NETDEVNS_DEFAULT_ROUTE, "device.default-route", "it carries a default route" },
		{ NETDEVNS_UPPER, "loss.upper", "a device on top of it, which stays behind" },
		{ NETDEVNS_MASTER, "loss.master", "its master" },
		{ NETDEVNS_NEIGH_PARAMETERS, "loss.neigh-parameters", "neighbour parameters" },
		{ NETDEVNS_QDISC, "loss.qdisc", "a qdisc, with its classes and filters" },
		{ NETDEVNS_NEXTHOPS, "loss.nexthops", "nexthop objects" },
		{ NETDEVNS_ROUTES, "loss.routes", "routes" },
		{ NETDEVNS_NEIGHBOURS, "loss.neighbours", "permanent neighbours" },
	};

	for (size_t i = 0; i < b->count; i++) {
		const struct nd_member *const m = &b->members[i];

		for (size_t k = 0; m->dev && k < sizeof kinds / sizeof kinds[0]; k++) {
			const int is_accepted = (accept & kinds[k].state) != 0;
			struct nd_found *f;

			if (!(m->state & kinds[k].state))
				continue;
			f = nd_batch_find(b, kinds[k].code, is_accepted ? NETDEVNS_LOSS : NETDEVNS_ERROR, is_accepted ? 0 : EBUSY, m,
					  "%s: %s: a move loses it, and a failed one does not restore it%s", m->ifname, kinds[k].text,
					  is_accepted ? "" : "; accept that, or use the Python package, which restores it");
			if (!f)
				return -ENOMEM;
			f->finding.state = kinds[k].state;
		}
		if (m->dev && m->link.has_xdp &&
		    !nd_batch_find(b, "device.xdp", NETDEVNS_NOTE, 0, m, "%s: its XDP program stays attached", m->ifname))
			return -ENOMEM;
	}
	return 0;
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
		code = tell(b, accept);
	free(d.ifindexes);
	nd_memory_free(&d.nexthops);
	nd_memory_free(&d.sources);
	nd_memory_free(&d.defaults);
	return code;
}
