/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * What happens to addresses between a snapshot and the move. The kernel tells of every address that a move, or setting a
 * link down, drops: RTM_DELADDR with all it had, in the order of a dump, before the request is answered (probes
 * notify.address.before-dellink, races.address-adder.ipv4, races.address-adder.ipv6).
 */
#include "internal.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#define SLOTS 64
#define SLOT_SIZE 1024	/* a notification about an address has about 100 bytes */
#define DOUBLE_WITHIN 16	/* addresses */
#define HEADER sizeof(struct ifaddrmsg)

int nd_sock_subscribe(struct nd_sock *s, int netns_fd, int buffer_bytes, struct nd_err *err)
{
	const struct sockaddr_nl addr = { .nl_family = AF_NETLINK,
					  .nl_groups = 1u << (RTNLGRP_IPV4_IFADDR - 1) | 1u << (RTNLGRP_IPV6_IFADDR - 1) };
	int code = nd_sock_create(s, netns_fd, NULL, 0, err);

	if (code)
		return code;
	/* Without CAP_NET_ADMIN over the machine: what net.core.rmem_max allows. Too little is told by nd_sock_drain. */
	if ((setsockopt(s->fd, SOL_SOCKET, SO_RCVBUFFORCE, &buffer_bytes, sizeof buffer_bytes) == 0 ||
	     setsockopt(s->fd, SOL_SOCKET, SO_RCVBUF, &buffer_bytes, sizeof buffer_bytes) == 0) &&
	    bind(s->fd, (const struct sockaddr *)&addr, sizeof addr) == 0) {
		err->code = 0;
		return 0;
	}
	code = nd_err_set(err, ND_STEP_WATCH, -errno, "cannot subscribe to notifications about addresses");
	nd_sock_close(s);
	return code;
}

/* The addresses of one notification. */
static void keep(struct nd_buf *told, const unsigned char *data, size_t len)
{
	struct nd_view v;
	size_t pos = 0;

	while (nd_view_next(data, len, &pos, &v) > 0) {
		if ((v.type != RTM_NEWADDR && v.type != RTM_DELADDR) || v.body_len < HEADER)
			continue;
		memset(told->data + told->used, 0, nd_align(v.len));
		memcpy(told->data + told->used, v.start, v.len);
		told->used += nd_align(v.len);
	}
}

int nd_sock_drain(struct nd_sock *s, struct nd_buf *told, struct nd_err *err)
{
	_Alignas(8) unsigned char slots[SLOTS][SLOT_SIZE];
	struct sockaddr_nl from[SLOTS];
	struct iovec iov[SLOTS];
	struct mmsghdr burst[SLOTS];
	int n;

	err->code = 0;
	memset(burst, 0, sizeof burst);
	for (int i = 0; i < SLOTS; i++) {
		iov[i] = (struct iovec){ .iov_base = slots[i], .iov_len = SLOT_SIZE };
		burst[i].msg_hdr.msg_iov = &iov[i];
		burst[i].msg_hdr.msg_iovlen = 1;
		burst[i].msg_hdr.msg_name = &from[i];
	}
	do {
		/* Before it is read: what does not fit would be lost. */
		told->need = told->used + sizeof slots;
		if (told->need > told->size)
			return nd_err_set(err, ND_STEP_WATCH, -EOVERFLOW, "the notifications do not fit");
		told->need = 0;
		for (int i = 0; i < SLOTS; i++)
			burst[i].msg_hdr.msg_namelen = sizeof from[i];
		do
			n = recvmmsg(s->fd, burst, SLOTS, MSG_DONTWAIT, NULL);
		while (n < 0 && errno == EINTR);
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return 0;
		if (n < 0)
			return nd_err_set(err, ND_STEP_WATCH, -errno,
					  errno == ENOBUFS ? "the kernel dropped notifications about addresses" : "recvmmsg failed");
		for (int i = 0; i < n; i++) {
			if (burst[i].msg_hdr.msg_flags & MSG_TRUNC)	/* lost, and not sent again */
				return nd_err_set(err, ND_STEP_WATCH, -ENOBUFS, "a notification of more than 1 KiB was lost");
			if (burst[i].msg_hdr.msg_namelen >= sizeof from[i] && from[i].nl_pid == 0)
				keep(told, slots[i], burst[i].msg_len);
		}
	} while (n == SLOTS);	/* fewer: there was no more. An overflow is told before anything else is read. */
	return 0;
}

/*
 * Where the same address lies in the snapshot: offset and padded length. 0: it is not there. The search begins at `hint`:
 * what is told next lies behind what was told last, and ten thousand addresses are not to be compared with each other.
 */
static size_t find(const struct nd_dev *dev, const struct nd_addr *told, size_t hint, size_t *at)
{
	const size_t from[] = { hint, 0 }, to[] = { dev->addrs_len, hint };
	struct nd_addr a;

	for (int part = 0; part < 2; part++) {
		size_t pos = from[part];

		while (pos < to[part] && nd_addr_next_of(dev, &pos, &a)) {
			if (nd_addr_same(&a, told)) {
				*at = (size_t)(a.v.start - ((const unsigned char *)dev + dev->addrs));
				return pos - *at;
			}
		}
	}
	return 0;
}

/*
 * Puts a message (NULL: nothing) in the place of `old` bytes of the snapshot's addresses; nd_dev_catch_up has made sure of the
 * room. `next`, where the next late address of IPv4 and of IPv6 goes, stays at the same neighbour.
 */
static void splice(struct nd_dev *dev, size_t at, size_t old, const struct nd_view *v, size_t next[2])
{
	unsigned char *const to = (unsigned char *)dev + dev->addrs + at;
	const size_t len = v ? nd_align(v->len) : 0;
	const uint16_t type = RTM_NEWADDR;

	if (len != old)
		memmove(to + len, to + old, dev->addrs_len - at - old);
	dev->addrs_len = (uint32_t)(dev->addrs_len - old + len);
	for (int i = 0; i < 2; i++)
		if (next[i] > at || (next[i] == at && !old && i == 1))	/* IPv6 stays behind IPv4 */
			next[i] = next[i] - old + len;
	if (!v)
		return;
	memset(to, 0, len);
	memcpy(to, v->start, v->len);
	memcpy(to + offsetof(struct nlmsghdr, nlmsg_type), &type, sizeof type);
}

/* Where the addresses of IPv6 begin: a dump of all families has IPv4's first (probe dumps.order.families). */
static size_t first_ipv6(const struct nd_dev *dev)
{
	struct nd_addr a;
	size_t pos = 0;

	while (nd_addr_next_of(dev, &pos, &a))
		if (a.head.ifa_family == AF_INET6)
			return (size_t)(a.v.start - ((const unsigned char *)dev + dev->addrs));
	return dev->addrs_len;
}

/*
 * A dump of one device's IPv6 addresses may list one twice, and no NLM_F_DUMP_INTR says so, as it does in a dump of all
 * devices' (probe dumps.interrupted.addresses.ipv6-added): what is added between two of its parts shifts the rest by one
 * (seen on 5.10 and 7.2). The second one lies close behind.
 */
static void drop_double(struct nd_dev *dev, size_t pos, const struct nd_addr *told, size_t next[2])
{
	struct nd_addr a;

	for (int i = 0; i < DOUBLE_WITHIN && nd_addr_next_of(dev, &pos, &a); i++) {
		if (nd_addr_same(&a, told)) {
			const size_t at = (size_t)(a.v.start - ((const unsigned char *)dev + dev->addrs));

			splice(dev, at, pos - at, NULL, next);
			dev->late = 1;
			return;
		}
	}
}

/* Whether what was told of an address is what the snapshot has of it; the header says who told it and when. */
static uint32_t is_as_it_was(const struct nd_dev *dev, size_t at, size_t old, const struct nd_view *v)
{
	const unsigned char *const was = (const unsigned char *)dev + dev->addrs + at;

	return old == nd_align(v->len) && memcmp(was + NLMSG_HDRLEN, v->body, v->body_len) == 0;
}

/*
 * Deleted on purpose is what the request of a process deleted: IPv4 says whose (nlmsg_pid), IPv6 never does. So an IPv6
 * address that somebody deletes between the snapshot and the move comes back: better one too many than one too few. An
 * expired one does not.
 */
static int is_deleted(const struct nd_addr *a)
{
	return a->valid_lft == 0 || (a->head.ifa_family != AF_INET6 && a->v.portid != 0);
}

/*
 * Takes one notification over. A drop is told in the order of a dump, so a late address goes behind the one of its family
 * that was told of last. A link that was set down before its move has two drops; an IPv6 address that was added in between
 * is newer than all others, so it is in front.
 */
static void take(struct nd_dev *dev, const struct nd_addr *a, size_t next[2])
{
	const int ipv6 = a->head.ifa_family == AF_INET6, is_new = a->v.type == RTM_NEWADDR;
	size_t at = next[ipv6];
	const size_t old = find(dev, a, at, &at);

	if (old)
		drop_double(dev, at + old, a, next);
	if (!is_new && is_deleted(a)) {
		dev->late |= old != 0;
		splice(dev, at, old, NULL, next);
	} else if (old || !is_new) {	/* a new one is still there, or its RTM_DELADDR follows and says where it was */
		dev->late |= !is_as_it_was(dev, at, old, &a->v);
		splice(dev, at, old, &a->v, next);
		next[ipv6] = at + nd_align(a->v.len);
	}
	/* A drop is told in one piece: what is told of next is the beginning of another. */
	if (is_new)
		next[ipv6] = ipv6 ? first_ipv6(dev) : 0;
}

/*
 * Whether what was told is the drop of what the snapshot has, all of it of each family that was told of, and nothing else:
 * so it is but for a race. Then nothing is to be taken over; ten thousand addresses need no more memory for it.
 */
static int is_as_dumped(const struct nd_dev *dev, const void *told, size_t len)
{
	const unsigned char *const addrs = (const unsigned char *)dev + dev->addrs;
	const size_t begin[] = { 0, first_ipv6(dev) }, end[] = { begin[1], dev->addrs_len };
	size_t pos = 0, at[] = { begin[0], begin[1] };
	struct nd_addr a;

	while (nd_view_next(told, len, &pos, &a.v) > 0) {
		struct nd_view was;
		int ipv6;

		if ((a.v.type != RTM_NEWADDR && a.v.type != RTM_DELADDR) || a.v.body_len < HEADER)
			continue;
		nd_addr_read(&a);
		if (a.head.ifa_index != (uint32_t)dev->ifindex)
			continue;
		ipv6 = a.head.ifa_family == AF_INET6;
		if (a.v.type == RTM_NEWADDR || is_deleted(&a) || at[ipv6] >= end[ipv6])
			return 0;
		if (nd_view_next(addrs, end[ipv6], &at[ipv6], &was) <= 0 || was.body_len != a.v.body_len ||
		    memcmp(was.body, a.v.body, a.v.body_len) != 0)
			return 0;
	}
	for (int i = 0; i < 2; i++)
		if (at[i] != begin[i] && at[i] < end[i])
			return 0;
	return 1;
}

int nd_dev_catch_up(struct nd_dev *dev, const void *told, size_t len, struct nd_err *err)
{
	struct nd_addr a;
	size_t pos = 0, next[2] = { 0, 0 };
	const uint64_t room = (uint64_t)nd_dev_end(dev) + nd_align(len);

	err->code = 0;
	if (!dev->link_len)
		return nd_err_set(err, ND_STEP_WATCH, -EINVAL, "no snapshot");
	if (is_as_dumped(dev, told, len))
		return 0;
	if (room > dev->size) {
		dev->need = (uint32_t)(room + len + ND_MEMORY_MIN);
		return nd_err_set(err, ND_STEP_WATCH, -EOVERFLOW, "the device's memory is too small");
	}
	dev->back_len = 0;
	next[1] = first_ipv6(dev);
	while (nd_view_next(told, len, &pos, &a.v) > 0) {
		if ((a.v.type != RTM_NEWADDR && a.v.type != RTM_DELADDR) || a.v.body_len < HEADER)
			continue;
		nd_addr_read(&a);
		if (a.head.ifa_index != (uint32_t)dev->ifindex)
			continue;
		take(dev, &a, next);
	}
	return 0;
}
