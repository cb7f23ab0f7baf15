/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* Reads the addresses of a snapshot, and adds them in a namespace. */
#include "internal.h"

#include <errno.h>
#include <string.h>

/*
 * A window is one send. If the kernel refuses all of its messages, the errors must fit into the receive buffer, or they are lost
 * (probe acks.overflow.errors); the default one holds about 250 (probe acks.overflow.208-kib).
 */
#define WINDOW_MESSAGES 120
#define WINDOW_BYTES 16384
#define HEADER sizeof(struct ifaddrmsg)
#define IP6_RT_PRIO_ADDRCONF 256	/* net/ip6_route.h: the metric of an address's routes */

void nd_addr_read(struct nd_addr *a)
{
	const struct nd_attr *const found = a->attrs;

	memcpy(&a->head, a->v.body, HEADER);
	nd_attrs_read(a->v.body + HEADER, a->v.body_len - HEADER, a->attrs, sizeof a->attrs / sizeof a->attrs[0]);
	a->flags = a->head.ifa_flags;
	if (found[IFA_FLAGS].data && found[IFA_FLAGS].len == sizeof a->flags)
		memcpy(&a->flags, found[IFA_FLAGS].data, sizeof a->flags);
	a->valid_lft = a->preferred_lft = ND_FOREVER;
	if (found[IFA_CACHEINFO].data && found[IFA_CACHEINFO].len >= sizeof(struct ifa_cacheinfo)) {
		const unsigned char *const p = found[IFA_CACHEINFO].data;

		memcpy(&a->preferred_lft, p + offsetof(struct ifa_cacheinfo, ifa_prefered), sizeof a->preferred_lft);
		memcpy(&a->valid_lft, p + offsetof(struct ifa_cacheinfo, ifa_valid), sizeof a->valid_lft);
	}
}

int nd_addr_next(const void *data, size_t len, size_t *pos, struct nd_addr *a)
{
	while (nd_view_next(data, len, pos, &a->v) > 0)
		if (a->v.type == RTM_NEWADDR && a->v.body_len >= HEADER) {
			nd_addr_read(a);
			return 1;
		}
	return 0;
}

/* config-linux.md, "Network Devices": IFA_F_PERMANENT and RT_SCOPE_UNIVERSE, any family. */
int nd_addr_in(const struct nd_addr *a, enum nd_set set)
{
	return set == ND_SET_ALL || ((a->flags & IFA_F_PERMANENT) && a->head.ifa_scope == RT_SCOPE_UNIVERSE);
}

int nd_addr_label(const struct nd_dev *dev, const char *name, const struct nd_addr *a, char label[ND_NAME_SIZE], int *cut)
{
	const size_t old = strnlen(dev->ifname, ND_NAME_SIZE), new = strlen(name);
	const char *const p = (const char *)a->attrs[IFA_LABEL].data;
	size_t len;

	*cut = 0;
	if (!p)
		return 0;
	len = strnlen(p, a->attrs[IFA_LABEL].len);
	if (len < old || memcmp(p, dev->ifname, old) != 0 || (len > old && p[old] != ':')) {
		nd_text_copy(label, ND_NAME_SIZE, p, len);
		return 1;
	}
	nd_text_copy(label, ND_NAME_SIZE, name, new);
	*cut = new + len - old >= ND_NAME_SIZE;
	if (!*cut)
		nd_text_copy(label + new, ND_NAME_SIZE - new, p + old, len - old);
	return 1;
}

/*
 * A permanent address with the preferred lifetime 0. A dump of IPv4 has the lifetime "forever" for it; only the flag differs
 * (probe addresses.lifetime.ipv4-preferred-zero).
 */
static int is_deprecated_ipv4(const struct nd_addr *a)
{
	const uint32_t both = IFA_F_PERMANENT | IFA_F_DEPRECATED;

	return a->head.ifa_family == AF_INET && (a->flags & both) == both;
}

/*
 * Appends an address as it was dumped, with another ifindex, label and flags. Attributes that RTM_NEWADDR does not take are left
 * out. With NLM_F_REPLACE the request can be repeated (probes addresses.exists.ipv4-replace, addresses.exists.ipv6-replace),
 * and replaces the link-local address that the kernel has added (probe addresses.ipv6.link-local.replaced-after-up).
 */
static void put_address(struct nd_msg *m, struct nd_dev *dev, const struct nd_replay *r, const struct nd_addr *a, uint32_t flags)
{
	static const uint16_t as_is[] = { IFA_ADDRESS, IFA_LOCAL,	IFA_BROADCAST, IFA_ANYCAST,
					  IFA_CACHEINFO, IFA_RT_PRIORITY, ND_IFA_PROTO };
	const struct ifa_cacheinfo never_preferred = { .ifa_prefered = 0, .ifa_valid = ND_FOREVER };
	struct ifaddrmsg head = a->head;
	char label[ND_NAME_SIZE];
	int cut;

	head.ifa_index = (uint32_t)r->ifindex;
	head.ifa_flags = (unsigned char)flags;
	nd_msg_begin(m, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, &head, sizeof head);
	for (size_t i = 0; i < sizeof as_is / sizeof as_is[0]; i++) {
		const struct nd_attr *const p = &a->attrs[as_is[i]];

		if (p->data && as_is[i] == IFA_CACHEINFO && is_deprecated_ipv4(a))
			nd_msg_put(m, IFA_CACHEINFO, &never_preferred, sizeof never_preferred);
		else if (p->data)
			nd_msg_put(m, as_is[i], p->data, p->len);
	}
	if (nd_addr_label(dev, r->name, a, label, &cut)) {
		nd_msg_put_name(m, IFA_LABEL, label);
		dev->cut_labels += (uint32_t)cut;
	}
	nd_msg_put_u32(m, IFA_FLAGS, flags);
}

struct window {
	_Alignas(8) unsigned char bytes[WINDOW_BYTES];
	struct nd_msg m;
	size_t messages;
	int first_code;		/* the first failure of a replay with keep_going */
};

static int flush(struct window *w, const struct nd_replay *r, struct nd_err *err)
{
	struct nd_err later;
	int code;

	if (w->messages == 0)
		return 0;
	nd_msg_ack(&w->m);
	code = nd_sock_exchange(r->sock, &w->m, NULL, w->first_code ? &later : err);
	nd_msg_init(&w->m, w->bytes, sizeof w->bytes);
	w->messages = 0;
	if (code && !w->first_code)
		w->first_code = code;
	return r->keep_going ? 0 : code;
}

/* Makes room for the messages of one address (two for IPv6): sends the window if it is full. */
static int make_room(struct window *w, const struct nd_replay *r, size_t len, struct nd_err *err)
{
	if (w->messages + 2 <= WINDOW_MESSAGES && w->m.used + 2 * (len + 64) <= sizeof w->bytes)
		return 0;
	return flush(w, r, err);
}

/* An IPv6 address that has completed duplicate address detection (DAD). */
static int is_proven(const struct nd_addr *a)
{
	const uint32_t unproven = IFA_F_TENTATIVE | IFA_F_DADFAILED | IFA_F_NODAD | IFA_F_OPTIMISTIC;

	return a->head.ifa_family == AF_INET6 && !(a->flags & unproven);
}

/*
 * Appends one address. An IPv6 address that has completed DAD is added with IFA_F_NODAD: its MAC address and link are the same, so
 * it is usable at once (probe addresses.ipv6.dad.up-nodad). A second message replaces the flags by its own: clearing
 * IFA_F_NODAD starts no DAD and keeps the order (probes addresses.ipv6.dad.replaced, addresses.ipv6.order.replaced). For a
 * tentative or duplicate address the kernel repeats DAD.
 *
 * The first message has IFA_F_NOPREFIXROUTE, too. When an address that has a prefix route is replaced, the kernel takes any route
 * of that prefix on the device for it, and deletes that if its metric differs (modify_prefix_route). If the address has
 * none yet, the kernel only adds one.
 */
static int replay_one(struct window *w, struct nd_dev *dev, const struct nd_replay *r, const struct nd_addr *a,
		      struct nd_err *err)
{
	int code;

	code = make_room(w, r, a->v.len, err);
	if (code)
		return code;
	if (is_proven(a)) {
		put_address(&w->m, dev, r, a, a->flags | IFA_F_NODAD | IFA_F_NOPREFIXROUTE);
		w->messages++;
	}
	put_address(&w->m, dev, r, a, a->flags);
	w->messages++;
	return 0;
}

static void put_up(struct window *w, const struct nd_replay *r)
{
	/* With ~0 in ifi_change the kernel would clear the other flags (probe message.flags.change-all). */
	const struct ifinfomsg head = { .ifi_index = r->ifindex, .ifi_flags = IFF_UP, .ifi_change = IFF_UP };

	nd_msg_begin(&w->m, RTM_NEWLINK, 0, &head, sizeof head);
	w->messages++;
}

/* Lists the offsets of the IPv6 messages, in the free part of the device's memory, for a walk backwards. */
static int index_ipv6(struct nd_dev *dev, uint32_t **offsets, size_t *n, struct nd_err *err)
{
	const size_t end = nd_dev_end(dev);
	struct nd_view v;
	size_t pos = 0, before = 0;

	*offsets = (uint32_t *)(void *)((unsigned char *)dev + end);
	*n = 0;
	dev->back_len = 0;
	while (nd_view_next((unsigned char *)dev + dev->addrs, dev->addrs_len, &pos, &v) > 0) {
		if (v.body_len >= HEADER && v.body[offsetof(struct ifaddrmsg, ifa_family)] == AF_INET6) {
			if (end + (*n + 1) * sizeof **offsets > dev->size) {
				dev->need = (uint32_t)(end * 2 + 4096);
				return nd_err_set(err, ND_STEP_REPLAY, -EOVERFLOW, "the device's memory is too small");
			}
			(*offsets)[(*n)++] = (uint32_t)before;
		}
		before = pos;
	}
	return 0;
}

/*
 * In an undo, usable link-local addresses are added before IFF_UP (probe addresses.ipv6.link-local.again-before-up). After it the
 * kernel may have added the same address as tentative, and replacing that does not end DAD.
 */
static int replay_link_locals(struct window *w, struct nd_dev *dev, const struct nd_replay *r, const uint32_t *ipv6, size_t n,
			      struct nd_err *err)
{
	struct nd_addr a;
	int code = 0;

	while (!code && n-- > 0) {
		size_t pos = ipv6[n];

		if (!nd_addr_next_of(dev, &pos, &a) || a.head.ifa_scope != RT_SCOPE_LINK || !is_proven(&a))
			continue;
		code = make_room(w, r, a.v.len, err);
		if (!code) {
			put_address(&w->m, dev, r, &a, a.flags | IFA_F_NODAD | IFA_F_NOPREFIXROUTE);
			w->messages++;
		}
	}
	return code;
}

/* Clears the bits behind the prefix. */
static void mask_prefix(unsigned char address[16], unsigned prefixlen)
{
	for (unsigned i = 0; i < 16; i++) {
		const unsigned keep = prefixlen >= 8 * (i + 1) ? 8 : prefixlen <= 8 * i ? 0 : prefixlen - 8 * i;

		address[i] = (unsigned char)(address[i] & (0xff00u >> keep));
	}
}

/* A connected route. The kernel adds it with an address, unless that has IFA_F_NOPREFIXROUTE. */
struct prefix {
	unsigned char dst[16];
	unsigned len;
	uint32_t metric;
};

/* The connected route of an IPv6 address, or that of its peer's prefix (IFA_ADDRESS beside IFA_LOCAL). 0: it has none. */
static int prefix_of(const struct nd_addr *a, int peer, struct prefix *p)
{
	const struct nd_attr *const local = &a->attrs[IFA_LOCAL], *const metric = &a->attrs[IFA_RT_PRIORITY];
	const struct nd_attr *const from = local->data && !peer ? local : &a->attrs[IFA_ADDRESS];

	if (a->head.ifa_family != AF_INET6 || (a->flags & IFA_F_NOPREFIXROUTE) || !from->data || from->len != 16 ||
	    (peer && !local->data))
		return 0;
	memset(p, 0, sizeof *p);
	memcpy(p->dst, from->data, sizeof p->dst);
	p->len = a->head.ifa_prefixlen;
	mask_prefix(p->dst, p->len);
	p->metric = IP6_RT_PRIO_ADDRCONF;
	if (metric->data && metric->len == sizeof p->metric)
		memcpy(&p->metric, metric->data, sizeof p->metric);
	return 1;
}

/* Whether it is the connected route of one of these addresses. */
static int is_explained(const struct prefix *p, const void *addrs, size_t len)
{
	struct nd_addr a;
	struct prefix own;
	size_t pos = 0;

	while (nd_addr_next(addrs, len, &pos, &a))
		if (a.head.ifa_prefixlen == p->len && prefix_of(&a, 0, &own) && memcmp(&own, p, sizeof own) == 0)
			return 1;
	return 0;
}

static int drop_route(const struct nd_replay *r, const struct prefix *p, struct nd_err *err)
{
	const struct rtmsg head = { .rtm_family = AF_INET6, .rtm_dst_len = (unsigned char)p->len, .rtm_table = RT_TABLE_MAIN,
				    .rtm_protocol = RTPROT_KERNEL, .rtm_type = RTN_UNICAST };
	_Alignas(8) unsigned char bytes[128];
	struct nd_msg m;
	int code;

	nd_msg_init(&m, bytes, sizeof bytes);
	nd_msg_begin(&m, RTM_DELROUTE, NLM_F_ACK, &head, sizeof head);
	nd_msg_put(&m, RTA_DST, p->dst, sizeof p->dst);
	nd_msg_put_u32(&m, RTA_OIF, (uint32_t)r->ifindex);
	nd_msg_put_u32(&m, RTA_PRIORITY, p->metric);
	code = nd_sock_exchange(r->sock, &m, NULL, err);
	return code == -ESRCH ? 0 : code;
}

/*
 * Deletes the routes for peers' prefixes. The kernel adds an address with a route of 128 bits to its peer; when the address is
 * replaced, it adds another for the whole prefix (inet6_addr_modify), which the source did not have. A kernel that adds none
 * answers ESRCH. A route stays if it is also the connected one of an address that the device has now: a replayed one, or
 * one that the kernel has added meanwhile (fe80::/64, a router's prefix).
 */
static int drop_peer_routes(struct nd_dev *dev, const struct nd_replay *r, const uint32_t *ipv6, size_t n, struct nd_err *err)
{
	const size_t used = nd_dev_end(dev) + n * sizeof *ipv6;
	struct nd_buf there = { .data = NULL };
	struct prefix own, peer;
	struct nd_addr a;
	int code = 0;

	for (size_t i = 0; i < n && !code; i++) {
		size_t pos = ipv6[i];

		if (!nd_addr_next_of(dev, &pos, &a) || !nd_addr_in(&a, r->set) || a.head.ifa_prefixlen >= 128 ||
		    !prefix_of(&a, 1, &peer) || !prefix_of(&a, 0, &own) || memcmp(&own, &peer, sizeof own) == 0)
			continue;
		if (!there.data)
			code = nd_dev_read(dev, r->sock, r->ifindex, used, &there, err);
		if (!code && !is_explained(&peer, there.data, there.used))
			code = drop_route(r, &peer, err);
	}
	return code;
}

int nd_replay_run(struct nd_dev *dev, const struct nd_replay *r, struct nd_err *err)
{
	struct window w;	/* w.bytes is not zeroed: that would double the instructions of all steps */
	struct nd_addr a;
	uint32_t *ipv6;
	size_t pos = 0, n;
	int code;

	dev->cut_labels = 0;
	w.messages = 0;
	w.first_code = 0;
	nd_msg_init(&w.m, w.bytes, sizeof w.bytes);
	code = index_ipv6(dev, &ipv6, &n, err);
	/* IPv4 before IFF_UP, in dump order: primary before secondary addresses (probe addresses.ipv4.order.replayed). */
	while (!code && nd_addr_next_of(dev, &pos, &a))
		if (a.head.ifa_family != AF_INET6 && nd_addr_in(&a, r->set))
			code = replay_one(&w, dev, r, &a, err);
	if (!code && r->set == ND_SET_ALL)
		code = replay_link_locals(&w, dev, r, ipv6, n, err);
	if (!code && r->up)
		put_up(&w, r);
	/*
	 * IPv6 after IFF_UP: an address with a peer that is added with IFA_F_NODAD while the link is down never gets its peer
	 * route (probe addresses.ipv6.routes.peer). In reverse dump order: the kernel lists the newest of a scope first
	 * (probes addresses.ipv6.order.newest, addresses.ipv6.order.scope).
	 */
	for (size_t i = n; i-- > 0 && !code;) {
		pos = ipv6[i];
		if (nd_addr_next_of(dev, &pos, &a) && nd_addr_in(&a, r->set))
			code = replay_one(&w, dev, r, &a, err);
	}
	if (!code)
		code = flush(&w, r, err);
	if (!code)
		code = drop_peer_routes(dev, r, ipv6, n, err);
	if (!code)
		code = w.first_code;
	return nd_end(err, ND_STEP_REPLAY, code);
}
