/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * Keeps the replies of a dump that concern some devices. rtnetlink filters few dumps, and by one ifindex only. Dropping the
 * others as they arrive keeps memory and time from growing with the other devices of a namespace.
 */
#include "internal.h"

#include <linux/neighbour.h>
#include <string.h>

static int has(const struct nd_filter *filter, int32_t ifindex)
{
	size_t low = 0, high = filter->count;

	while (low < high) {
		const size_t middle = low + (high - low) / 2;

		if (filter->ifindexes[middle] == ifindex)
			return 1;
		if (filter->ifindexes[middle] < ifindex)
			low = middle + 1;
		else
			high = middle;
	}
	return 0;
}

/* Whether an attribute is one of the ifindexes. A damaged one counts, so that the caller sees it and reports it. */
static int names_one(const struct nd_filter *filter, const unsigned char *data, size_t len)
{
	int32_t ifindex;

	if (len != sizeof ifindex)
		return 1;
	memcpy(&ifindex, data, sizeof ifindex);
	return has(filter, ifindex);
}

/* The ifindex is 4 bytes behind the start of struct ifaddrmsg and struct tcmsg. */
static int body_names_one(const struct nd_filter *filter, const struct nd_view *v)
{
	return v->body_len < 8 || names_one(filter, v->body + 4, sizeof(int32_t));
}

/* Whether the link's name is one of the names. */
static int has_name(const struct nd_filter *filter, const struct nd_link_attrs *link)
{
	const struct nd_attr *const found = &link->attrs[IFLA_IFNAME];
	const size_t len = found->data ? strnlen((const char *)found->data, found->len) : 0;
	char name[ND_NAME_SIZE] = { 0 };
	size_t low = 0, high = filter->names_count;

	if (!found->data || len >= sizeof name)
		return 0;
	memcpy(name, found->data, len);
	while (low < high) {
		const size_t middle = low + (high - low) / 2;
		const int order = memcmp(filter->names + middle * sizeof name, name, sizeof name);

		if (order == 0)
			return 1;
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return 0;
}

/*
 * Permanent entries, noarp ones of unicast addresses, proxies, and those of a routing daemon; the kernel learns the others
 * again, or makes them itself (probe neighbours.noarp.arp). The bridge table also has the multicast groups that a device
 * listens to, which the kernel adds by itself (probe neighbours.move.permanent).
 */
static int neighbour_concerns(const struct nd_filter *filter, const struct nd_view *v)
{
	struct ndmsg head;
	size_t len;
	const unsigned char *mac;
	int is_noarp;

	if (v->body_len < sizeof head)
		return 1;
	memcpy(&head, v->body, sizeof head);
	is_noarp = (head.ndm_state & NUD_NOARP) && head.ndm_type == RTN_UNICAST && head.ndm_family != AF_BRIDGE;
	if (!has(filter, head.ndm_ifindex) ||
	    !((head.ndm_state & NUD_PERMANENT) || (head.ndm_flags & (NTF_PROXY | NTF_EXT_LEARNED)) || is_noarp))
		return 0;
	mac = head.ndm_family == AF_BRIDGE ? nd_view_attr(v, sizeof head, NDA_LLADDR, &len) : NULL;
	return !mac || len == 0 || !(mac[0] & 1);
}

/*
 * Whether a link is on top of another one of its namespace. IFLA_LINK of a veth is its peer (probe kinds.veth.link); with
 * IFLA_LINK_NETNSID the other link is in another namespace (probe kinds.upper-moves.vlan).
 */
static int lies_on_another(const struct nd_link_attrs *link)
{
	const struct nd_attr *const info = &link->attrs[IFLA_LINKINFO];
	size_t kind_len = 0;
	const unsigned char *kind = info->data ? nd_attr_find(info->data, info->len, IFLA_INFO_KIND, &kind_len) : NULL;

	if (kind && kind_len >= 5 && memcmp(kind, "vxlan", 5) == 0)	/* the other link is in IFLA_VXLAN_LINK, not IFLA_LINK */
		return 1;
	if (kind && kind_len >= 5 && memcmp(kind, "veth", 5) == 0)
		return 0;
	return link->attrs[IFLA_LINK].data && !link->attrs[IFLA_LINK_NETNSID].data;
}

static int multipath_names_one(const struct nd_filter *filter, const unsigned char *nexthops, size_t len)
{
	size_t pos = 0;

	while (len - pos >= sizeof(struct rtnexthop)) {
		struct rtnexthop nexthop;

		memcpy(&nexthop, nexthops + pos, sizeof nexthop);
		if (nexthop.rtnh_len < sizeof nexthop || nexthop.rtnh_len > len - pos || has(filter, nexthop.rtnh_ifindex))
			return 1;
		if (nd_align(nexthop.rtnh_len) >= len - pos)
			return 0;
		pos += nd_align(nexthop.rtnh_len);
	}
	return 0;
}

/*
 * Routes that the kernel may drop when one of the devices leaves, and default routes. It drops those that go out or come in
 * through the device, and those with a `src`, when that address leaves (probes routes.move.ipv4-src, routes.move.ipv6-src);
 * a `src` that the kernel chose is on a route of the same device. A route with a nexthop object lacks its device if
 * net.ipv4.nexthop_compat_mode is 0: it may be any.
 */
static int route_concerns(const struct nd_filter *filter, const struct nd_view *v)
{
	const size_t header = nd_align(sizeof(struct rtmsg));
	int by_nexthop = 0, by_device = 0;
	struct rtmsg head;
	size_t pos;

	if (v->body_len < header)
		return 1;
	memcpy(&head, v->body, sizeof head);
	if (head.rtm_dst_len == 0)
		return 1;
	for (pos = header; v->body_len - pos >= ND_ATTR_HDR;) {
		const unsigned char *data = v->body + pos + ND_ATTR_HDR;
		struct nlattr a;

		memcpy(&a, v->body + pos, sizeof a);
		if (a.nla_len < ND_ATTR_HDR || a.nla_len > v->body_len - pos)
			return 1;
		switch (a.nla_type & NLA_TYPE_MASK) {
		case RTA_OIF:
			by_device = 1;
			/* fall through */
		case RTA_IIF:
			if (names_one(filter, data, a.nla_len - ND_ATTR_HDR))
				return 1;
			break;
		case RTA_MULTIPATH:
			by_device = 1;
			if (multipath_names_one(filter, data, a.nla_len - ND_ATTR_HDR))
				return 1;
			break;
		case RTA_PREFSRC:
			if (head.rtm_protocol != RTPROT_KERNEL)
				return 1;
			break;
		case ND_RTA_NH_ID:
			by_nexthop = 1;
			break;
		default:
			break;
		}
		if (nd_align(a.nla_len) >= v->body_len - pos)
			break;
		pos += nd_align(a.nla_len);
	}
	return by_nexthop && !by_device;
}

/* Neighbour parameters of one device. The first message of each table has no ifindex: it has the defaults. */
static int parameters_of_one(const struct nd_filter *filter, const struct nd_view *v)
{
	size_t len, parms_len;
	const unsigned char *parms = nd_view_attr(v, sizeof(struct ndtmsg), NDTA_PARMS, &parms_len);
	const unsigned char *ifindex = parms ? nd_attr_find(parms, parms_len, NDTPA_IFINDEX, &len) : NULL;

	return ifindex && names_one(filter, ifindex, len);
}

int nd_filter_keeps(const struct nd_filter *filter, const struct nd_view *v)
{
	struct nd_link_attrs link;

	switch (v->type) {
	case RTM_NEWLINK:
		return nd_link_read(v, &link) || lies_on_another(&link) || has_name(filter, &link);
	case RTM_NEWADDR:
	case RTM_NEWQDISC:
		return body_names_one(filter, v);
	case RTM_NEWNEIGH:
		return neighbour_concerns(filter, v);
	case RTM_NEWROUTE:
		return route_concerns(filter, v);
	case RTM_NEWNEIGHTBL:
		return parameters_of_one(filter, v);
	default:
		return 1;
	}
}

int nd_route_spans(const void *messages, uint32_t len, uint32_t *spans, int count)
{
	size_t pos = 0;
	struct nd_view v;
	int found = 0, more;

	while ((more = nd_view_next(messages, len, &pos, &v)) == 1) {
		struct rtmsg head;

		if (v.type != RTM_NEWROUTE || v.body_len < sizeof head)
			continue;
		memcpy(&head, v.body, sizeof head);
		if (head.rtm_protocol == RTPROT_KERNEL && head.rtm_dst_len)
			continue;
		if (found++ < count)
			spans = nd_span_put(spans, messages, &v);
	}
	return more < 0 ? more : found;
}
