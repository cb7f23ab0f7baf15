/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* Ages the addresses of a record: until its recovery, lifetimes have run on. As netdevns/recovery/loan_state.py. */
#include "batch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LASTING (IFA_F_PERMANENT | IFA_F_DEPRECATED)	/* flags that follow from the lifetimes */
#define TIME_NS "/proc/self/ns/time"
#define INITIAL "time:[4026531834]"	/* its text in the initial time namespace: linux/nsfs.h, TIME_NS_INIT_INO */

/* The offset of this process' time namespace; 0 where it is not known. The kernel shows that for children only: time_namespaces(7). */
static int64_t offset_ms(void)
{
	char own[32] = "", children[32] = "", text[256] = "", *at;
	int64_t ms = 0;
	int fd;

	if (readlink(TIME_NS, own, sizeof own - 1) < 0 || strcmp(own, INITIAL) == 0 ||
	    readlink(TIME_NS "_for_children", children, sizeof children - 1) < 0 || strcmp(own, children) != 0)
		return 0;
	fd = open("/proc/self/timens_offsets", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	/* Without scanf, which would be a tenth of a static hook. A line: "boottime", seconds, nanoseconds. */
	at = read(fd, text, sizeof text - 1) > 0 ? strstr(text, "boottime ") : NULL;
	if (at) {
		ms = strtoll(at + sizeof "boottime", &at, 10) * 1000;
		ms += strtoll(at, NULL, 10) / 1000000;
	}
	close(fd);
	return ms;
}

uint64_t nd_since_boot_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (uint64_t)((int64_t)now.tv_sec * 1000 + (int64_t)now.tv_nsec / 1000000 - offset_ms());
}

/* Rounded up: a lifetime may become shorter by a recovery, never longer. */
static uint32_t elapsed_s(uint64_t since_ms)
{
	const uint64_t now = nd_since_boot_ms(), elapsed = now > since_ms ? (now - since_ms + 999) / 1000 : 0;

	return elapsed < ND_FOREVER ? (uint32_t)elapsed : ND_FOREVER - 1;
}

static uint32_t shorter(uint32_t lifetime, uint32_t elapsed)
{
	return lifetime == ND_FOREVER ? lifetime : lifetime > elapsed ? lifetime - elapsed : 0;
}

/* Sets the lifetimes of a message, and the flags of LASTING. */
static void put(unsigned char *message, const struct nd_addr *a, uint32_t valid, uint32_t preferred, uint32_t lasting)
{
	unsigned char *const info = message + (a->attrs[IFA_CACHEINFO].data - a->v.start);
	const struct nd_attr *const all = &a->attrs[IFA_FLAGS];
	const uint32_t flags = (a->flags & ~(uint32_t)LASTING) | lasting;

	memcpy(info + offsetof(struct ifa_cacheinfo, ifa_prefered), &preferred, sizeof preferred);
	memcpy(info + offsetof(struct ifa_cacheinfo, ifa_valid), &valid, sizeof valid);
	message[NLMSG_HDRLEN + offsetof(struct ifaddrmsg, ifa_flags)] = (unsigned char)flags;
	if (all->data && all->len == sizeof flags)
		memcpy(message + (all->data - a->v.start), &flags, sizeof flags);
}

/* Ages one address that expires. 0: it has expired, and is not there with a longer lifetime. */
static int age_one(unsigned char *message, const struct nd_addr *a, uint32_t elapsed, const void *there, size_t there_len)
{
	const uint32_t valid = shorter(a->valid_lft, elapsed), preferred = shorter(a->preferred_lft, elapsed);
	struct nd_addr b;
	size_t pos = 0;
	int found = 0;

	while (!found && nd_addr_next(there, there_len, &pos, &b))
		found = nd_addr_same(a, &b);
	if (found && (b.valid_lft > valid || (b.valid_lft == valid && b.preferred_lft > preferred))) {
		put(message, a, b.valid_lft, b.preferred_lft, b.flags & LASTING);
		return 1;
	}
	put(message, a, valid, preferred, (a->flags & LASTING) | (a->preferred_lft && !preferred ? IFA_F_DEPRECATED : 0));
	return valid != 0;
}

size_t nd_addrs_age(void *addrs, size_t len, uint32_t elapsed, const void *there, size_t there_len)
{
	unsigned char *const data = addrs;
	size_t pos = 0, kept = 0;
	struct nd_addr a;

	while (nd_addr_next(data, len, &pos, &a)) {
		const size_t at = (size_t)(a.v.start - data), size = nd_align(a.v.len) < len - at ? nd_align(a.v.len) : len - at;

		if (a.valid_lft != ND_FOREVER && !age_one(data + at, &a, elapsed, there, there_len))
			continue;
		memmove(data + kept, data + at, size);
		kept += size;
	}
	return kept;
}

static int has_lifetimes(const struct nd_dev *dev)
{
	struct nd_addr a;
	size_t pos = 0;

	while (nd_addr_next_of(dev, &pos, &a))
		if (a.valid_lft != ND_FOREVER)
			return 1;
	return 0;
}

int nd_batch_age(struct netdevns_batch *b, struct nd_err *err)
{
	const uint32_t elapsed = elapsed_s(b->since_ms);

	for (size_t i = 0; i < b->count; i++) {
		struct nd_member *const m = b->members[i];
		int code;

		if (!has_lifetimes(m->dev))
			continue;
		/* In the source it may have a renewed lease. The move back from the target removes all addresses. */
		code = nd_member_find(b, m, err);
		b->reply.used = 0;
		if (!code && m->dev->place == ND_PLACE_SOURCE)
			code = nd_batch_dump_addresses(b, b->source, &m->dev->ifindex, 1, err);
		if (code)
			return code;
		m->dev->addrs_len = (uint32_t)nd_addrs_age((unsigned char *)m->dev + m->dev->addrs, m->dev->addrs_len, elapsed,
							   b->reply.data, b->reply.used);
	}
	b->since_ms += (uint64_t)elapsed * 1000;
	err->code = 0;
	return 0;
}
