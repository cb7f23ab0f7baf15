/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * Brings a snapshot up to date with the changes of addresses between it and the move. A move, and setting a link down, drop
 * addresses, and the kernel sends a notification of each: RTM_DELADDR with all its attributes, in the order of a dump, before
 * the request is answered (probes notify.address.before-dellink, races.address-adder.ipv4, races.address-adder.ipv6).
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
	/* Without CAP_NET_ADMIN in the initial user namespace at most net.core.rmem_max. nd_sock_drain reports an overflow. */
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

/* Appends the messages about addresses of one datagram. */
static void keep(struct nd_buf *notifications, const unsigned char *data, size_t len)
{
	struct nd_view v;
	size_t pos = 0;

	while (nd_view_next(data, len, &pos, &v) > 0) {
		if ((v.type != RTM_NEWADDR && v.type != RTM_DELADDR) || v.body_len < HEADER)
			continue;
		memset(notifications->data + notifications->used, 0, nd_align(v.len));
		memcpy(notifications->data + notifications->used, v.start, v.len);
		notifications->used += nd_align(v.len);
	}
}

int nd_sock_drain(struct nd_sock *s, struct nd_buf *notifications, struct nd_err *err)
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
		/* Checked before the read: a notification without room would be lost. */
		notifications->need = notifications->used + sizeof slots;
		if (notifications->need > notifications->size)
			return nd_err_set(err, ND_STEP_WATCH, -EOVERFLOW, "the notifications do not fit");
		notifications->need = 0;
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
			if (burst[i].msg_hdr.msg_flags & MSG_TRUNC)	/* the kernel does not send it again */
				return nd_err_set(err, ND_STEP_WATCH, -ENOBUFS, "a notification of more than 1 KiB was lost");
			if (burst[i].msg_hdr.msg_namelen >= sizeof from[i] && from[i].nl_pid == 0)
				keep(notifications, slots[i], burst[i].msg_len);
		}
	} while (n == SLOTS);	/* fewer: there were no more. The kernel reports an overflow before it delivers anything else. */
	return 0;
}

/*
 * Finds the same address in the snapshot: sets its offset, and returns its padded length; 0: it is not there. The search begins
 * at `hint`: notifications come in the snapshot's order, so ten thousand addresses are not compared with each other.
 */
static size_t find(const struct nd_dev *dev, const struct nd_addr *wanted, size_t hint, size_t *at)
{
	const size_t from[] = { hint, 0 }, to[] = { dev->addrs_len, hint };
	struct nd_addr a;

	for (int part = 0; part < 2; part++) {
		size_t pos = from[part];

		while (pos < to[part] && nd_addr_next_of(dev, &pos, &a)) {
			if (nd_addr_same(&a, wanted)) {
				*at = (size_t)(a.v.start - ((const unsigned char *)dev + dev->addrs));
				return pos - *at;
			}
		}
	}
	return 0;
}

/*
 * Replaces `old` bytes of the snapshot's addresses by a message (NULL: by nothing); nd_dev_catch_up has checked the room. The
 * offsets `next`, where the next late addresses of IPv4 and of IPv6 go, stay at the same neighbours.
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

/* The offset of the IPv6 addresses: a dump of all families has those of IPv4 first (probe dumps.order.families). */
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
 * Removes a second copy of an address. A dump of one device's IPv6 addresses may list one twice without NLM_F_DUMP_INTR: an
 * address that is added between two parts of the dump shifts the rest by one (seen on 5.10 and 7.2; a dump of all devices
 * has the flag: probe dumps.interrupted.addresses.ipv6-added). The copy lies close behind.
 */
static void drop_double(struct nd_dev *dev, size_t pos, const struct nd_addr *first, size_t next[2])
{
	struct nd_addr a;

	for (int i = 0; i < DOUBLE_WITHIN && nd_addr_next_of(dev, &pos, &a); i++) {
		if (nd_addr_same(&a, first)) {
			const size_t at = (size_t)(a.v.start - ((const unsigned char *)dev + dev->addrs));

			splice(dev, at, pos - at, NULL, next);
			dev->late = 1;
			return;
		}
	}
}

/* Whether a notification equals the snapshot's message; their headers differ (seq, portid). */
static uint32_t is_unchanged(const struct nd_dev *dev, size_t at, size_t old, const struct nd_view *v)
{
	const unsigned char *const was = (const unsigned char *)dev + dev->addrs + at;

	return old == nd_align(v->len) && memcmp(was + NLMSG_HDRLEN, v->body, v->body_len) == 0;
}

/*
 * Whether a process deleted the address. A notification about IPv4 has the portid of the request, one about IPv6 has not. So an
 * IPv6 address that is deleted between the snapshot and the move comes back, which is better than losing one. An expired one
 * (valid lifetime 0) does not.
 */
static int is_deleted(const struct nd_addr *a)
{
	return a->valid_lft == 0 || (a->head.ifa_family != AF_INET6 && a->v.portid != 0);
}

/*
 * Applies one notification. The RTM_DELADDR of a drop come in the order of a dump, so a late address goes behind the last one of
 * its family. A link that was set down before its move has two drops; an IPv6 address that was added between them is newer
 * than the others, so it goes in front.
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
	} else if (old || !is_new) {	/* the place of a new address follows from its RTM_DELADDR */
		dev->late |= !is_unchanged(dev, at, old, &a->v);
		splice(dev, at, old, &a->v, next);
		next[ipv6] = at + nd_align(a->v.len);
	}
	/* An RTM_NEWADDR ends a drop: the next RTM_DELADDR begins another. */
	if (is_new)
		next[ipv6] = ipv6 ? first_ipv6(dev) : 0;
}

/* Steps to the next notification about the device; its attributes alone are read. 0: no more. */
static int next_own(const struct nd_dev *dev, const void *notifications, size_t len, size_t *pos, struct nd_addr *a)
{
	while (nd_view_next(notifications, len, pos, &a->v) > 0) {
		if ((a->v.type != RTM_NEWADDR && a->v.type != RTM_DELADDR) || a->v.body_len < HEADER)
			continue;
		memcpy(&a->head, a->v.body, HEADER);
		if (a->head.ifa_index != (uint32_t)dev->ifindex)
			continue;
		nd_addr_read(a);
		return 1;
	}
	return 0;
}

/*
 * Whether the notifications are the drop of all addresses of the snapshot (or of all of one family) and nothing else, as always
 * when no other process changes addresses. Then the snapshot stays, and ten thousand addresses need no second room.
 */
static int is_as_dumped(const struct nd_dev *dev, const void *notifications, size_t len)
{
	const unsigned char *const addrs = (const unsigned char *)dev + dev->addrs;
	const size_t begin[] = { 0, first_ipv6(dev) }, end[] = { begin[1], dev->addrs_len };
	size_t pos = 0, at[] = { begin[0], begin[1] };
	struct nd_addr a;

	while (next_own(dev, notifications, len, &pos, &a)) {
		const int ipv6 = a.head.ifa_family == AF_INET6;
		struct nd_view was;

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

int nd_dev_catch_up(struct nd_dev *dev, const void *notifications, size_t len, struct nd_err *err)
{
	struct nd_addr a;
	size_t pos = 0, next[2] = { 0, 0 };
	const uint64_t room = (uint64_t)nd_dev_end(dev) + nd_align(len);

	err->code = 0;
	if (!dev->link_len)
		return nd_err_set(err, ND_STEP_WATCH, -EINVAL, "no snapshot");
	if (is_as_dumped(dev, notifications, len))
		return 0;
	if (room > dev->size) {
		dev->need = (uint32_t)(room + len + ND_MEMORY_MIN);
		return nd_err_set(err, ND_STEP_WATCH, -EOVERFLOW, "the device's memory is too small");
	}
	dev->back_len = 0;
	next[1] = first_ipv6(dev);
	while (next_own(dev, notifications, len, &pos, &a))
		take(dev, &a, next);
	return 0;
}
