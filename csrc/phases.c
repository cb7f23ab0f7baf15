/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * The phases of a move, over devices with snapshots. A phase ends at the first device that fails; what follows from that is
 * the caller's (batch.c). What ends in _next does one device.
 */
#include "batch.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/utsname.h>

#define DOWN_WINDOW 64		/* messages; a refusal of each still fits into a default receive buffer */
#define LOOK_WINDOW 32
#define UNREAD_BYTES (8 << 10)	/* of addresses that were moved: fewer than a buffer of net.core.rmem_max holds */

int nd_batch_write_record(struct netdevns_batch *b, struct netdevns_error *err)
{
	struct nd_identity source, target;
	struct nd_record_device *devices;
	struct nd_err e;
	int code;

	if (b->record_dirfd < 0)
		return 0;
	devices = calloc(b->count + 1, sizeof *devices);
	if (!devices)
		return nd_batch_fail(err, -ENOMEM, "record", -1, "out of memory");
	for (size_t i = 0; i < b->count; i++)
		devices[i] = (struct nd_record_device){ .dev = b->members[b->moves[i]].dev, .depth = b->members[b->moves[i]].depth };
	code = nd_identify(b->source_fd, &b->source, &source, &e);
	if (!code)
		code = nd_identify(b->target_fd, &b->target, &target, &e);
	if (!code)
		code = nd_record_write(&b->record, b->record_dirfd, &source, &target, devices, b->count, &e);
	free(devices);
	return code ? nd_member_fail(b, NULL, "record", &e, err) : 0;
}

int nd_batch_set_down(struct netdevns_batch *b, struct netdevns_error *err)
{
	_Alignas(8) unsigned char bytes[DOWN_WINDOW * 32];
	struct nd_member *window[DOWN_WINDOW];
	size_t count = 0;
	struct nd_msg m;
	struct nd_err e;

	nd_msg_init(&m, bytes, sizeof bytes);
	for (size_t i = 0; i < b->count && b->count > 1; i++) {
		struct nd_member *const member = &b->members[b->moves[i]];
		/* ifi_change must be exactly IFF_UP: ~0 would clear the other flags (probe message.flags.change-all). */
		const struct ifinfomsg head = { .ifi_index = member->link.ifindex, .ifi_change = IFF_UP };

		if (member->link.flags & IFF_UP) {
			member->touched = 1;
			window[count++] = member;
			nd_msg_begin(&m, RTM_NEWLINK, 0, &head, sizeof head);
		}
		if (count == 0 || (count < DOWN_WINDOW && i + 1 < b->count))
			continue;
		nd_msg_ack(&m);
		if (nd_sock_exchange(&b->source, &m, NULL, &e))
			return nd_member_fail(b, window[e.index < count ? e.index : count - 1], "down", &e, err);
		nd_msg_init(&m, bytes, sizeof bytes);
		count = 0;
	}
	return 0;
}

/* ---- move ------------------------------------------------------------------------------------------------------------------------ */

/*
 * Before 6.6 a move leaves alternative names in the table of the old namespace, where they block a name: they are removed before
 * it and added after it. The kernel does not say whether it does; what is done without need works as well.
 */
int nd_moves_altnames(void)
{
	struct utsname name;
	char *end;
	long major, minor;

	if (uname(&name))
		return 1;
	major = strtol(name.release, &end, 10);
	minor = *end == '.' ? strtol(end + 1, NULL, 10) : 0;
	return major > 6 || (major == 6 && minor >= 6);
}

int nd_altnames_send(struct nd_sock *sock, uint16_t type, int32_t ifindex, const struct nd_view *link,
		     const struct nd_view *unless, struct nd_err *err)
{
	struct nd_memory memory = { .size = 0 };
	struct nd_msg m;
	int code = 0;

	if (nd_memory_grow(&memory, link->len + 64))
		return nd_err_set(err, ND_STEP_EXCHANGE, -ENOMEM, "out of memory");
	nd_msg_init(&m, memory.data, memory.size);
	if (nd_altnames_put(&m, type, ifindex, link, unless))
		code = nd_sock_exchange(sock, &m, NULL, err);
	nd_memory_free(&memory);
	return code;
}

int nd_member_snapshot(const struct nd_member *m, struct nd_view *v)
{
	size_t pos = 0;

	return nd_view_next((const unsigned char *)m->dev + m->dev->link, m->dev->link_len, &pos, v) > 0;
}

static int move_step(struct netdevns_batch *b, struct nd_member *m, struct nd_err *err)
{
	return nd_dev_move(m->dev, &b->source, &b->target, b->target_fd, err);
}

static int drain(struct netdevns_batch *b, struct nd_err *err)
{
	for (;;) {
		struct nd_buf told = { .data = b->notifications.data, .used = b->notifications.used, .size = b->notifications.size };
		const int code = nd_sock_drain(&b->notify, &told, err);

		b->notifications.used = told.used;
		if (code != -EOVERFLOW)
			return code;
		if (nd_memory_grow(&b->notifications, told.need - told.used))
			return nd_err_set(err, ND_STEP_WATCH, -ENOMEM, "out of memory");
	}
}

int nd_batch_move_next(struct netdevns_batch *b, struct netdevns_error *err)
{
	struct nd_member *const m = &b->members[b->moves[b->moved]];
	struct nd_view link;
	struct nd_err e;
	int code = 0;

	m->touched = 1;
	if (m->link.has_altnames && !nd_moves_altnames() && nd_member_snapshot(m, &link))
		code = nd_altnames_send(&b->source, ND_RTM_DELLINKPROP, m->link.ifindex, &link, NULL, &e);
	if (!code)
		code = nd_member_step(b, m, move_step, &e);
	if (code)
		return nd_member_fail(b, m, "move", &e, err);
	b->unread_bytes += m->dev->addrs_len;
	if (b->unread_bytes > UNREAD_BYTES) {
		b->unread_bytes = 0;
		if (drain(b, &e))
			return nd_member_fail(b, NULL, "notify", &e, err);
	}
	b->moved++;
	return 0;
}

static int catch_up_step(struct netdevns_batch *b, struct nd_member *m, struct nd_err *err)
{
	(void)b;
	return nd_dev_catch_up(m->dev, m->addresses.data, m->addresses.used, err);
}

int nd_batch_catch_up(struct netdevns_batch *b, struct netdevns_error *err)
{
	struct nd_err e;
	int is_late = 0, code = drain(b, &e);

	if (!code)
		code = nd_batch_deal(b, &b->notifications, nd_batch_member, &e);
	for (size_t i = 0; i < b->count && !code; i++) {
		struct nd_member *const m = &b->members[i];

		if (m->addresses.used)
			code = nd_member_step(b, m, catch_up_step, &e);
		is_late |= !code && m->dev->late;
	}
	if (code)
		return nd_member_fail(b, NULL, "notify", &e, err);
	b->is_up_to_date = 1;
	return is_late ? nd_batch_write_record(b, err) : 0;
}

/* ---- replay and verify -------------------------------------------------------------------------------------------------------------- */

static int replay_step(struct netdevns_batch *b, struct nd_member *m, struct nd_err *err)
{
	return nd_dev_up_and_replay(m->dev, &b->target, err);
}

int nd_batch_replay_next(struct netdevns_batch *b, struct netdevns_error *err)
{
	struct nd_member *const m = &b->members[b->replays[b->replayed]];
	struct nd_view link;
	struct nd_err e;
	int code = nd_member_step(b, m, replay_step, &e);

	if (!code && m->link.has_altnames && !nd_moves_altnames() && nd_member_snapshot(m, &link))
		code = nd_altnames_send(&b->target, ND_RTM_NEWLINKPROP, m->dev->target_ifindex, &link, NULL, &e);
	if (code)
		return nd_member_fail(b, m, "replay", &e, err);
	b->replayed++;
	return 0;
}

/* Every alternative name arrived, and no other. */
static int same_altnames(const struct nd_view *was, const struct nd_view *is)
{
	size_t at = 0, len;
	const char *name;

	while ((name = nd_link_altname(was, &at, &len)))
		if (!nd_link_has_altname(is, name, len))
			return 0;
	for (at = 0; (name = nd_link_altname(is, &at, &len));)
		if (!nd_link_has_altname(was, name, len))
			return 0;
	return 1;
}

static int by_target(const void *a, const void *b)
{
	const struct nd_member *const x = *(const struct nd_member *const *)a, *const y = *(const struct nd_member *const *)b;

	return (x->dev->target_ifindex > y->dev->target_ifindex) - (x->dev->target_ifindex < y->dev->target_ifindex);
}

static struct nd_member *find_by_target(const struct netdevns_batch *b, int32_t ifindex)
{
	size_t low = 0, high = b->there;

	while (low < high) {
		const size_t middle = low + (high - low) / 2;
		const int32_t at = b->by_ifindex[middle]->dev->target_ifindex;

		if (at == ifindex)
			return b->by_ifindex[middle];
		if (at < ifindex)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

/* The addresses of all members in the target, in m->addresses. */
static int read_addresses(struct netdevns_batch *b, struct nd_err *err)
{
	const struct ifaddrmsg head = { .ifa_family = AF_UNSPEC,
					.ifa_index = b->count == 1 ? (uint32_t)b->members[0].dev->target_ifindex : 0 };
	int32_t *const ifindexes = calloc(b->count, sizeof *ifindexes);
	const struct nd_filter filter = { .ifindexes = ifindexes, .count = b->count };
	_Alignas(8) unsigned char bytes[64];
	struct nd_msg m;
	int code;

	if (!ifindexes)
		return nd_err_set(err, ND_STEP_VERIFY, -ENOMEM, "out of memory");
	qsort(b->by_ifindex, b->there, sizeof *b->by_ifindex, by_target);
	for (size_t i = 0; i < b->there; i++)
		ifindexes[i] = b->by_ifindex[i]->dev->target_ifindex;
	nd_msg_init(&m, bytes, sizeof bytes);
	nd_msg_begin(&m, RTM_GETADDR, NLM_F_DUMP, &head, sizeof head);
	code = nd_batch_dump(b, &b->target, &m, &filter, err);
	free(ifindexes);
	if (!code)
		code = nd_batch_deal(b, &b->reply, find_by_target, err);
	qsort(b->by_ifindex, b->there, sizeof *b->by_ifindex, nd_by_link);	/* as all others want it */
	return code;
}

static int compare(struct nd_member *m, const struct nd_view *link, struct nd_err *err)
{
	struct nd_view was;
	int code;

	if (link->type == NLMSG_ERROR)
		return nd_view_error(link, err);
	code = nd_dev_compare(m->dev, link->start, link->len, m->addresses.data, m->addresses.used, err);
	if (!code && m->link.has_altnames && nd_member_snapshot(m, &was) && !same_altnames(&was, link))
		code = nd_err_set(err, ND_STEP_VERIFY, -ESTALE, "its alternative names did not arrive");
	return code;
}

int nd_batch_verify(struct netdevns_batch *b, struct netdevns_error *err)
{
	_Alignas(8) unsigned char bytes[LOOK_WINDOW * 64];
	struct nd_err e;

	if (b->count && read_addresses(b, &e))
		return nd_member_fail(b, NULL, "verify", &e, err);
	for (size_t at = 0; at < b->count; at += LOOK_WINDOW) {
		const size_t window = b->count - at < LOOK_WINDOW ? b->count - at : LOOK_WINDOW;
		size_t pos = 0, done = 0;
		struct nd_view v;
		struct nd_msg m;

		nd_msg_init(&m, bytes, sizeof bytes);
		for (size_t i = 0; i < window; i++)
			nd_put_getlink(&m, b->members[at + i].dev->target_ifindex, NULL);
		if (nd_batch_ask(b, &b->target, &m, NULL, &e))
			return nd_member_fail(b, NULL, "verify", &e, err);
		while (nd_view_next(b->reply.data, b->reply.used, &pos, &v) > 0) {
			const size_t i = v.seq - b->first_seq;

			if (i >= window)
				continue;
			done++;
			if (compare(&b->members[at + i], &v, &e))
				return nd_member_fail(b, &b->members[at + i], "verify", &e, err);
		}
		if (done < window) {
			nd_err_set(&e, ND_STEP_VERIFY, -EBADMSG, "a look-up was not answered");
			return nd_member_fail(b, NULL, "verify", &e, err);
		}
	}
	return 0;
}
