/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* Detects routes and nexthop objects that the kernel drops with a device. Layouts: linux/rtnetlink.h, linux/nexthop.h. */
#include "detect.h"

#include <errno.h>
#include <linux/nexthop.h>

#define ND_NHA_MAX 16
#define RTA_COUNT (ND_RTA_NH_ID + 1)

/* ---- nexthop objects ------------------------------------------------------------------------------------------------------------ */

static int add_nexthop(struct detection *d, uint32_t id, int32_t ifindex)
{
	const struct nexthop found = { .id = id, .ifindex = ifindex };

	return nd_memory_append(&d->nexthops, &found, sizeof found);
}

/* A group uses its members' devices; members that are dumped after it need a second pass. */
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

int nd_detect_nexthops(struct detection *d, struct nd_err *err)
{
	static const struct nhmsg all = { .nh_family = AF_UNSPEC };
	int code = nd_detect_dump(d, RTM_GETNEXTHOP, &all, sizeof all, NULL, err);

	for (int groups = 0; groups < 2 && !code; groups++) {
		struct nd_view v;
		size_t pos = 0;

		while (!code && nd_view_next(d->b->reply.data, d->b->reply.used, &pos, &v) > 0) {
			struct nd_attr found[ND_NHA_MAX];

			if (v.type != RTM_NEWNEXTHOP || v.body_len < sizeof all)
				continue;
			nd_attrs_read(v.body + sizeof all, v.body_len - sizeof all, found, ND_NHA_MAX);
			if (groups && found[NHA_GROUP].data)
				code = add_group(d, nd_attr_u32(&found[NHA_ID]), &found[NHA_GROUP]);
			else if (!groups && found[NHA_OIF].data)
				code = add_nexthop(d, nd_attr_u32(&found[NHA_ID]), (int32_t)nd_attr_u32(&found[NHA_OIF]));
		}
	}
	for (size_t i = 0; i + sizeof(struct nexthop) <= d->nexthops.used && !code; i += sizeof(struct nexthop)) {
		struct nexthop n;

		memcpy(&n, d->nexthops.data + i, sizeof n);
		nd_mark(d->b, n.ifindex, NETDEVNS_NEXTHOPS);
	}
	return code;
}

/* ---- routes ------------------------------------------------------------------------------------------------------------------------ */

/* The walk over the devices of a route. */
struct use {
	struct detection *d;
	int is_default, is_added;	/* in the main table; not made by the kernel */
	int is_ours;			/* a device of the batch is among them */
	int code;
};

static void use_device(struct use *u, int32_t ifindex)
{
	if (u->is_default && !u->code)
		u->code = nd_memory_append(&u->d->defaults, &ifindex, sizeof ifindex);
	if (nd_batch_member(u->d->b, ifindex)) {
		u->is_ours = 1;
		if (u->is_added)
			nd_mark(u->d->b, ifindex, NETDEVNS_ROUTES);
	}
}

static void use_multipath(struct use *u, const struct nd_attr *nexthops)
{
	size_t pos = 0;

	while (nexthops->len - pos >= sizeof(struct rtnexthop)) {
		struct rtnexthop nexthop;

		memcpy(&nexthop, nexthops->data + pos, sizeof nexthop);
		if (nexthop.rtnh_len < sizeof nexthop || nexthop.rtnh_len > nexthops->len - pos)
			return;
		use_device(u, nexthop.rtnh_ifindex);
		if (nd_align(nexthop.rtnh_len) >= nexthops->len - pos)
			return;
		pos += nd_align(nexthop.rtnh_len);
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
	if (head.rtm_protocol == RTPROT_KERNEL && head.rtm_dst_len)	/* skipped early: five of them for each device */
		return 0;
	nd_attrs_read(v->body + sizeof head, v->body_len - sizeof head, found, RTA_COUNT);
	table = found[RTA_TABLE].data ? nd_attr_u32(&found[RTA_TABLE]) : head.rtm_table;
	u.is_default = head.rtm_dst_len == 0 && head.rtm_type == RTN_UNICAST && table == RT_TABLE_MAIN;
	u.is_added = head.rtm_protocol != RTPROT_KERNEL;
	if (!u.is_default && !u.is_added)
		return 0;
	if (found[RTA_OIF].data)
		use_device(&u, (int32_t)nd_attr_u32(&found[RTA_OIF]));
	if (found[RTA_MULTIPATH].data)
		use_multipath(&u, &found[RTA_MULTIPATH]);
	if (found[ND_RTA_NH_ID].data)
		use_nexthop(&u, nd_attr_u32(&found[ND_RTA_NH_ID]));
	/* The kernel deletes an IPv4 route of the main table with the address that is its `src`, also if another device is its nexthop. */
	if (!u.code && u.is_added && !u.is_ours && head.rtm_family == AF_INET && table == RT_TABLE_MAIN && found[RTA_PREFSRC].len == 4)
		u.code = nd_memory_append(&d->sources, found[RTA_PREFSRC].data, 4);
	return u.code;
}

/* Marks members with an IPv4 address that is the `src` of another device's route. */
static void use_sources(struct detection *d)
{
	for (size_t i = 0; d->sources.used && i < d->b->count; i++) {
		struct nd_member *const m = d->b->members[i];
		struct nd_addr a;
		size_t pos = 0;

		while (m->dev && nd_addr_next_of(m->dev, &pos, &a))
			for (size_t at = 0; at + 4 <= d->sources.used; at += 4)
				if (a.head.ifa_family == AF_INET && a.attrs[IFA_LOCAL].len == 4 &&
				    memcmp(a.attrs[IFA_LOCAL].data, d->sources.data + at, 4) == 0)
					m->state |= NETDEVNS_ROUTES;
	}
}

int nd_detect_routes(struct detection *d, struct nd_err *err)
{
	static const struct rtmsg all = { .rtm_family = AF_UNSPEC };
	struct nd_view v;
	size_t pos = 0;
	int code = nd_detect_dump(d, RTM_GETROUTE, &all, sizeof all, &d->filter, err);

	while (!code && nd_view_next(d->b->reply.data, d->b->reply.used, &pos, &v) > 0)
		if (v.type == RTM_NEWROUTE && v.body_len >= sizeof all)
			code = take_route(d, &v);
	use_sources(d);
	return code;
}
