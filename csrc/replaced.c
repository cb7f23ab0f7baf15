/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * Checks whether another device has replaced one of the batch. Root in the target can delete a device and make one with its name,
 * ifindex and MAC address, but not on a device of the source, nor a tunnel whose packets leave from the source. Moved to the source,
 * such a veth or VXLAN would connect the host's addresses with the container. Devices of some kinds keep their lower device, peer
 * or the namespace of their packets for life, and the link reports the namespace.
 */
#include "batch.h"

#include <errno.h>
#include <linux/net_namespace.h>

static int is_one_of(const char *kind, const char *const kinds[], size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(kinds[i], kind) == 0)
			return 1;
	return 0;
}

/* Packets leave from the namespace that it was made in (get_link_net in include/net/rtnetlink.h). It may have a lower device. */
static int is_tunnel(const char *kind)
{
	static const char *const kinds[] = { "vxlan", "geneve", "gre", "gretap", "erspan", "ip6gre", "ip6gretap", "ip6erspan",
					     "ipip",  "ip6tnl", "sit", "vti",	 "vti6",   "xfrm",   "gtp" };

	return is_one_of(kind, kinds, sizeof kinds / sizeof kinds[0]);
}

static int is_bound(const char *kind)
{
	static const char *const kinds[] = { "veth", "netkit", "vxcan", "macvlan", "macvtap", "vlan", "ipvlan", "ipvtap", "macsec" };

	return is_one_of(kind, kinds, sizeof kinds / sizeof kinds[0]) || is_tunnel(kind);
}

/* Of these kinds the kernel does not report that namespace: ipvtap never, macvtap before 5.17, geneve and gtp at least up to 6.12. */
static int is_silent(const char *kind)
{
	static const char *const kinds[] = { "ipvtap", "macvtap", "geneve", "gtp" };

	return is_one_of(kind, kinds, sizeof kinds / sizeof kinds[0]);
}

#define NEST_MAX 8	/* devices on top of each other (the kernel's MAX_NEST_DEV) */
#define NO_NSID NETNSA_NSID_NOT_ASSIGNED

/*
 * The nsid of a namespace in another one, by RTM_GETNSID; NO_NSID: none. `type`: NETNSA_NSID or NETNSA_FD, how the socket's
 * namespace refers to it. `in`: the nsid of the other one there; NO_NSID: the socket's own. Returns whether the request succeeded.
 */
static int ask_nsid(struct netdevns_batch *b, struct nd_sock *sock, uint16_t type, uint32_t value, int32_t in, int32_t *found)
{
	static const struct rtgenmsg head = { .rtgen_family = AF_UNSPEC };
	_Alignas(8) unsigned char bytes[64];
	const unsigned char *data;
	struct nd_view v;
	struct nd_err e;
	struct nd_msg m;
	size_t pos = 0, len;

	*found = NO_NSID;
	nd_msg_init(&m, bytes, sizeof bytes);
	nd_msg_begin(&m, RTM_GETNSID, 0, &head, sizeof head);
	nd_msg_put_u32(&m, type, value);
	if (in != NO_NSID)
		nd_msg_put_u32(&m, NETNSA_TARGET_NSID, (uint32_t)in);
	if (nd_batch_dump(b, sock, &m, NULL, &e) || nd_view_next(b->reply.data, b->reply.used, &pos, &v) <= 0 ||
	    v.type != RTM_NEWNSID)
		return 0;
	data = nd_view_attr(&v, NLMSG_ALIGN(sizeof head), NETNSA_NSID, &len);
	if (data && len == sizeof *found)
		memcpy(found, data, sizeof *found);
	return 1;
}

/* IFLA_LINK, and the namespace of that ifindex. */
struct below {
	uint32_t ifindex;
	int32_t nsid;	/* NO_NSID: the same one as the link's */
};

/* A tunnel without a lower device may report itself (net/core/rtnetlink.c, nla_put_iflink). */
static struct below below(const struct nd_view *link)
{
	const size_t header = sizeof(struct ifinfomsg);
	struct below found = { .ifindex = nd_view_u32(link, header, IFLA_LINK, 0), .nsid = NO_NSID };
	const unsigned char *data;
	struct nd_link summary;
	size_t len;

	if (found.ifindex && !nd_link_summarize(&summary, link) && found.ifindex == (uint32_t)summary.ifindex && is_tunnel(summary.kind))
		found.ifindex = 0;
	data = nd_view_attr(link, header, IFLA_LINK_NETNSID, &len);
	if (data && len == sizeof found.nsid)
		memcpy(&found.nsid, data, sizeof found.nsid);
	return found;
}

/* Its lower device in the batch, or NULL. That is searched again: after a failed undo its place is not known. */
static const struct nd_member *lower_of(struct netdevns_batch *b, struct below was)
{
	struct nd_member *const lower = was.ifindex && was.nsid == NO_NSID ? nd_batch_member(b, (int32_t)was.ifindex) : NULL;
	struct nd_err e;

	if (lower && !nd_member_find(b, lower, &e) && lower->dev->place == ND_PLACE_GONE && !lower->is_sought)
		nd_member_search(b, lower);	/* under another ifindex */
	return lower;
}

/* In the target. The kernel assigns an nsid when it dumps a link there, so `now` was read before. */
static int is_below_another(struct netdevns_batch *b, const struct nd_member *m, struct below now)
{
	const struct nd_member *moved;
	struct nd_view view;
	struct below was;
	int32_t target, expected;

	if (!nd_member_snapshot(m, &view))
		return 0;
	was = below(&view);
	moved = lower_of(b, was);
	if (moved && moved->dev->place == ND_PLACE_TARGET)
		return now.ifindex != (uint32_t)moved->dev->target_ifindex || now.nsid != NO_NSID;
	if (moved && moved->dev->place == ND_PLACE_GONE && moved->is_sought)	/* its peer, whose search compares them */
		return 0;
	if (now.ifindex != (moved ? (uint32_t)moved->dev->ifindex : was.ifindex))
		return 1;
	if (!was.ifindex && !is_tunnel(m->link.kind))
		return 0;
	if (was.nsid == NO_NSID)
		return now.nsid == NO_NSID ? !is_silent(m->link.kind) :
					     ask_nsid(b, b->target, NETNSA_FD, (uint32_t)b->source_fd, NO_NSID, &expected) &&
						     now.nsid != expected;
	/* It was in a third namespace, or in the target, which got its nsid in the source by the move. */
	if (!ask_nsid(b, b->source, NETNSA_FD, (uint32_t)b->target_fd, NO_NSID, &target) || target == NO_NSID)
		return 0;
	if (target == was.nsid)
		return now.nsid != NO_NSID;
	return ask_nsid(b, b->source, NETNSA_NSID, (uint32_t)was.nsid, target, &expected) && now.nsid != expected;
}

int nd_member_is_replaced(struct netdevns_batch *b, const struct nd_member *m, const struct nd_view *now)
{
	return is_bound(m->link.kind) && is_below_another(b, m, below(now));
}

/* Whether it is on top of, or the peer of, a device of the target. */
static int is_from_target(struct netdevns_batch *b, const struct nd_link *link, struct below found)
{
	int32_t target;

	return is_bound(link->kind) && found.nsid != NO_NSID &&
	       ask_nsid(b, b->source, NETNSA_FD, (uint32_t)b->target_fd, NO_NSID, &target) && target == found.nsid;
}

/* A device of another kind has its name in the source. */
static int32_t of_another_kind(struct netdevns_batch *b, const struct nd_member *m)
{
	struct nd_link link;
	struct nd_view now;

	if (!nd_batch_has_link(b, b->source, m->ifname, &link, &now))
		return 0;
	return is_from_target(b, &link, below(&now)) ? link.ifindex : 0;
}

static int is_on_another(struct netdevns_batch *b, const struct nd_member *m)
{
	const struct nd_member *moved;
	struct nd_view was, now;
	struct below before, after;
	struct nd_err e;
	int32_t expected;

	if (!is_bound(m->link.kind) || !nd_member_snapshot(m, &was) || nd_batch_link(b, b->source, m->dev->ifindex, &now, &e))
		return 0;
	before = below(&was);
	after = below(&now);
	moved = lower_of(b, before);
	if (moved && moved->dev->place == ND_PLACE_TARGET)
		return after.ifindex != (uint32_t)moved->dev->target_ifindex ||
		       ((after.nsid != NO_NSID || !is_silent(m->link.kind)) &&
			ask_nsid(b, b->source, NETNSA_FD, (uint32_t)b->target_fd, NO_NSID, &expected) && after.nsid != expected);
	return after.ifindex != (moved ? (uint32_t)moved->dev->ifindex : before.ifindex) || after.nsid != before.nsid;
}

int32_t nd_member_stranger(struct netdevns_batch *b, const struct nd_member *m)
{
	if (m->dev->place == ND_PLACE_GONE)
		return of_another_kind(b, m);
	return m->dev->place == ND_PLACE_SOURCE && is_on_another(b, m) ? m->dev->ifindex : 0;
}

/*
 * Under its ifindex a device never left. Under another one it was returned by an earlier undo, or it ended in the target and this
 * is a new one. A device on top of another, or with a peer, ends with its namespace: where the target is gone, it is taken for new.
 */
int nd_member_is_namesake(struct netdevns_batch *b, const struct nd_member *m)
{
	for (int i = 0; m && i < NEST_MAX; i++, m = m->link.lower ? nd_batch_member(b, m->link.lower) : NULL) {
		if (m->dev->place != ND_PLACE_SOURCE || m->dev->ifindex == m->link.ifindex)
			return 0;
		if (is_bound(m->link.kind) && (b->target_is_gone || is_on_another(b, m)))
			return 1;
	}
	return 0;
}

/* ---- made after a record ----------------------------------------------------------------------------------------------------------------- */

int nd_member_survives(const struct nd_member *m)
{
	return !m->link.kind[0] || strcmp(m->link.kind, "can") == 0;
}

/* Never decreases during the life of a device, also in a container (probe links.carrier-changes.counted). */
static uint32_t carrier_changes(const struct nd_view *link)
{
	return nd_view_u32(link, sizeof(struct ifinfomsg), IFLA_CARRIER_CHANGES, 0);
}

/*
 * Whether a virtual device that was found by name and ifindex, but has another MAC address, was made after the record: it has another
 * peer or lower device, or fewer carrier changes. Once the target has ended, with the old device, the MAC address alone decides.
 */
static int is_made_anew(struct netdevns_batch *b, const struct nd_member *m)
{
	const int is_here = m->dev->place == ND_PLACE_SOURCE && m->dev->ifindex == m->link.ifindex;
	struct nd_link_attrs attrs_was, attrs_now;
	struct nd_view was, now;
	struct nd_err e;

	if (nd_member_survives(m) || !(is_here || (b->target_is_gone && m->dev->place == ND_PLACE_TARGET)))
		return 0;
	if (!nd_member_snapshot(m, &was) || nd_link_read(&was, &attrs_was) ||
	    nd_batch_link(b, is_here ? b->source : b->target, is_here ? m->dev->ifindex : m->dev->target_ifindex, &now, &e) ||
	    nd_link_read(&now, &attrs_now) || nd_same_mac(&attrs_was, &attrs_now, 1))
		return 0;
	return b->target_is_gone || carrier_changes(&now) < carrier_changes(&was) || nd_member_stranger(b, m) != 0;
}

void nd_batch_leave_new_ones(struct netdevns_batch *b)
{
	for (size_t i = 0; i < b->count; i++) {
		struct nd_member *const m = b->members[i];
		struct nd_err e;

		if (nd_member_find(b, m, &e) || !is_made_anew(b, m))
			continue;
		m->touched = 0;
		m->is_replaced = 1;
		m->dev->place = ND_PLACE_GONE;
		nd_member_lacks(m, "another device has its name in the source, and is left as it is");
	}
}

/* ---- under another ifindex ------------------------------------------------------------------------------------------------------------ */

struct candidate {
	int32_t ifindex;
	int has_mac;
	struct below below;
};

static struct nd_attr info_data(const struct nd_link_attrs *link)
{
	const struct nd_attr *const info = &link->attrs[IFLA_LINKINFO];
	struct nd_attr found = { .data = NULL };

	if (info->data)
		found.data = nd_attr_find(info->data, info->len, IFLA_INFO_DATA, &found.len);
	return found;
}

/* Kinds with the MAC address of their lower device; IFLA_INFO_DATA (a VLAN's id) differs. */
static int shares_a_mac(const char *kind)
{
	return strcmp(kind, "vlan") == 0 || strcmp(kind, "ipvlan") == 0 || strcmp(kind, "ipvtap") == 0;
}

/* Kinds of which a device has only one: its peer, or one VLAN with an id. */
static int lies_alone(const char *kind)
{
	return strcmp(kind, "veth") == 0 || strcmp(kind, "vlan") == 0;
}

static int is_alike(const struct nd_member *m, const struct nd_link_attrs *was, const struct nd_link_attrs *now)
{
	const struct nd_attr data = info_data(was), data_now = info_data(now);

	return !shares_a_mac(m->link.kind) || nd_attr_same(&data, &data_now);
}

/* The links of the target that are of its kind and belong to no other member. */
static int list_candidates(struct netdevns_batch *b, const struct nd_member *m, struct nd_memory *found)
{
	struct nd_link_attrs was, now;
	struct nd_view snapshot, v;
	struct nd_link link;
	struct nd_err e;
	size_t pos = 0;
	int code;

	code = nd_member_snapshot(m, &snapshot) && !nd_link_read(&snapshot, &was) ? nd_batch_dump_links(b, b->target, NULL, 0, &e) : -EINVAL;
	while (!code && nd_view_next(b->reply.data, b->reply.used, &pos, &v) > 0) {
		struct candidate c;
		size_t i = 0;

		if (v.type != RTM_NEWLINK || nd_link_summarize(&link, &v) || strcmp(link.kind, m->link.kind) != 0 ||
		    nd_link_read(&v, &now) || !is_alike(m, &was, &now))
			continue;
		while (i < b->count && (!b->members[i]->dev || b->members[i]->dev->place != ND_PLACE_TARGET ||
					b->members[i]->dev->target_ifindex != link.ifindex))
			i++;
		c = (struct candidate){ .ifindex = link.ifindex, .below = below(&v),
					.has_mac = was.attrs[IFLA_ADDRESS].data && nd_same_mac(&was, &now, 1) };
		if (i == b->count)
			code = nd_memory_append(found, &c, sizeof c);
	}
	return code;
}

/* The only one with its MAC address, or with its lower device if that has no other; 0: none, or several. */
static int32_t choose(struct netdevns_batch *b, const struct nd_member *m, const struct nd_memory *candidates, int by_mac)
{
	int32_t chosen = 0;

	for (size_t at = 0; at + sizeof(struct candidate) <= candidates->used; at += sizeof(struct candidate)) {
		struct candidate c;

		memcpy(&c, candidates->data + at, sizeof c);
		if (by_mac ? !c.has_mac : !c.below.ifindex || !lies_alone(m->link.kind))
			continue;
		if (is_bound(m->link.kind) && is_below_another(b, m, c.below))
			continue;
		if (chosen)
			return 0;
		chosen = c.ifindex;
	}
	return chosen;
}

void nd_member_search(struct netdevns_batch *b, struct nd_member *m)
{
	const int32_t was = m->dev->target_ifindex;
	const int32_t was_unsure = m->dev->ifindex_unsure;
	struct nd_memory candidates = { .size = 0 };
	struct nd_err e;
	int32_t chosen = 0;

	m->is_sought = 1;
	if (!list_candidates(b, m, &candidates)) {
		chosen = choose(b, m, &candidates, 1);
		chosen = chosen ? chosen : choose(b, m, &candidates, 0);
	}
	m->is_sought = 0;
	nd_memory_free(&candidates);
	if (!chosen)
		return;
	nd_member_restore_mac(b, b->target, m, chosen);	/* otherwise a device with its name or MAC address would be found instead */
	m->dev->target_ifindex = chosen;
	m->dev->ifindex_unsure = 0;
	if (!nd_member_find(b, m, &e) && m->dev->place == ND_PLACE_TARGET)
		return;
	m->dev->target_ifindex = was;
	m->dev->ifindex_unsure = was_unsure;
}
