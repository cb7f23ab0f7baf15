/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * The phases of a move after the snapshot (snapshot.c). A phase ends at the first device that fails; the caller decides what
 * follows (batch.c, and Python's transaction.py). A function *_next handles one device, or one window of look-ups.
 */
#include "batch.h"

#include <errno.h>
#include <stdlib.h>

#define DOWN_WINDOW 64		/* messages; an error for each fits into a default receive buffer */
#define UNREAD_BYTES (8 << 10)	/* of moved addresses, whose notifications fit into a buffer of net.core.rmem_max */

int nd_failure_set(struct nd_failure *f, const struct nd_member *m, const char *step)
{
	f->step = step;
	f->device = m ? (int32_t)m->index : -1;
	return f->err.code;
}

int nd_batch_set_down(struct netdevns_batch *b, struct nd_failure *f)
{
	_Alignas(8) unsigned char bytes[DOWN_WINDOW * 32];
	struct nd_member *window[DOWN_WINDOW];
	size_t count = 0;
	struct nd_msg m;

	nd_msg_init(&m, bytes, sizeof bytes);
	for (size_t i = 0; i < b->count && b->count > 1; i++) {
		struct nd_member *const member = b->moves[i];
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
		if (nd_sock_exchange(b->source, &m, NULL, &f->err))
			return nd_failure_set(f, window[f->err.index < count ? f->err.index : count - 1], "down");
		nd_msg_init(&m, bytes, sizeof bytes);
		count = 0;
	}
	return 0;
}

/* ---- move ------------------------------------------------------------------------------------------------------------------------ */

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

/* Builds the request that removes alternative names, of those by which the device can be found; empty: none. */
static int put_removal(struct netdevns_batch *b, const struct nd_member *m, const struct nd_view *link, struct nd_msg *removal,
		       struct nd_err *err)
{
	_Alignas(8) unsigned char bytes[256];
	size_t pos = 0, at, len, nest = 0;
	const char *altname;

	while ((altname = nd_link_altname(link, &pos, &len))) {
		char name[ND_ALTNAME_SIZE];
		struct nd_link found;
		struct nd_view v;
		struct nd_msg ask;
		int code;

		nd_text_copy(name, sizeof name, altname, len);
		nd_msg_init(&ask, bytes, sizeof bytes);
		nd_put_getlink_named(&ask, name);
		code = nd_batch_dump(b, b->source, &ask, NULL, err);
		at = 0;
		if (!code && nd_view_next(b->reply.data, b->reply.used, &at, &v) > 0 && !nd_link_summarize(&found, &v) &&
		    found.ifindex == m->link.ifindex) {
			nest = nest ? nest : nd_altnames_begin(removal, ND_RTM_DELLINKPROP, m->link.ifindex);
			nd_altname_put(removal, altname, len);
		} else if (code && code != -ENODEV && code != -EINVAL) {
			return code;
		}
	}
	if (nest)
		nd_nest_end(removal, nest);
	return 0;
}

/*
 * Before 6.6 a move leaves alternative names in the table of the source, where they stay taken (probe
 * clash.own-altname.left-behind): they are removed before it and added after it. A device that came back from a dead namespace
 * still lists its alternative names, but no look-up finds them, and they cannot be removed (seen on 5.10 and 6.1).
 */
static int take_altnames(struct netdevns_batch *b, const struct nd_member *m, struct nd_err *err)
{
	struct nd_memory memory = { .size = 0 };
	struct nd_view link;
	struct nd_msg removal;
	int code;

	if (!m->link.has_altnames || nd_batch_moves_altnames(b) || !nd_member_snapshot(m, &link))
		return 0;
	if (nd_memory_grow(&memory, link.len + 64))
		return nd_err_set(err, ND_STEP_MOVE, -ENOMEM, "out of memory");
	nd_msg_init(&removal, memory.data, memory.size);
	code = put_removal(b, m, &link, &removal, err);
	if (!code && removal.used)
		code = nd_sock_exchange(b->source, &removal, NULL, err);
	nd_memory_free(&memory);
	return code;
}

static int move_step(struct netdevns_batch *b, struct nd_member *m, struct nd_err *err)
{
	return nd_dev_move(m->dev, b->source, b->target, b->target_fd, err);
}

static int drain(struct netdevns_batch *b, struct nd_err *err)
{
	for (;;) {
		struct nd_buf notifications = { .data = b->notifications.data, .used = b->notifications.used, .size = b->notifications.size };
		const int code = nd_sock_drain(b->notify, &notifications, err);

		b->notifications.used = notifications.used;
		if (code != -EOVERFLOW)
			return code;
		if (nd_memory_grow(&b->notifications, notifications.need - notifications.used))
			return nd_err_set(err, ND_STEP_WATCH, -ENOMEM, "out of memory");
	}
}

int nd_batch_move_next(struct netdevns_batch *b, struct nd_failure *f)
{
	struct nd_member *const m = b->moves[b->moved];

	m->touched = 1;
	if (take_altnames(b, m, &f->err) || nd_member_step(b, m, move_step, &f->err))
		return nd_failure_set(f, m, "move");
	b->unread_bytes += m->dev->addrs_len;
	if (b->unread_bytes > UNREAD_BYTES) {
		b->unread_bytes = 0;
		if (drain(b, &f->err))
			return nd_failure_set(f, NULL, "notify");
	}
	b->moved++;
	return 0;
}

static int catch_up_step(struct netdevns_batch *b, struct nd_member *m, struct nd_err *err)
{
	(void)b;
	return nd_dev_catch_up(m->dev, m->addresses.data, m->addresses.used, err);
}

int nd_batch_catch_up(struct netdevns_batch *b, int *is_late, struct nd_failure *f)
{
	int code = drain(b, &f->err);

	*is_late = 0;
	if (!code)
		code = nd_batch_deal(b, &b->notifications, nd_batch_member, &f->err);
	for (size_t i = 0; i < b->all && !code; i++) {
		struct nd_member *const m = b->members[i];

		if (m->addresses.used && m->dev->link_len)
			code = nd_member_step(b, m, catch_up_step, &f->err);
		*is_late |= !code && m->dev->late;
	}
	return code ? nd_failure_set(f, NULL, "notify") : 0;
}

/* ---- replay and verify -------------------------------------------------------------------------------------------------------------- */

static int replay_step(struct netdevns_batch *b, struct nd_member *m, struct nd_err *err)
{
	return nd_dev_up_and_replay(m->dev, b->target, err);
}

int nd_batch_replay_next(struct netdevns_batch *b, struct nd_failure *f)
{
	struct nd_member *const m = b->replays[b->replayed];
	struct nd_view link;
	int code = nd_member_step(b, m, replay_step, &f->err);

	if (!code && m->link.has_altnames && !nd_batch_moves_altnames(b) && nd_member_snapshot(m, &link))
		code = nd_altnames_send(b->target, ND_RTM_NEWLINKPROP, m->dev->target_ifindex, &link, NULL, &f->err);
	if (code)
		return nd_failure_set(f, m, "replay");
	b->replayed++;
	return 0;
}

/* Whether the alternative names are the same as before. */
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

/* For nd_batch_deal: the member with an ifindex in the target. */
static int by_target(const void *a, const void *b)
{
	const struct nd_member *const x = *(const struct nd_member *const *)a, *const y = *(const struct nd_member *const *)b;

	return (x->dev->target_ifindex > y->dev->target_ifindex) - (x->dev->target_ifindex < y->dev->target_ifindex);
}

static struct nd_member *find_by_target(const struct netdevns_batch *b, int32_t ifindex)
{
	size_t low = 0, high = b->count;

	while (low < high) {
		const size_t middle = low + (high - low) / 2;
		const int32_t at = b->by_target[middle]->dev->target_ifindex;

		if (at == ifindex)
			return b->by_target[middle];
		if (at < ifindex)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

/* The addresses of several members in the target, in m->addresses. */
static int read_addresses(struct netdevns_batch *b, struct nd_err *err)
{
	int32_t *const ifindexes = calloc(b->count, sizeof *ifindexes);
	struct nd_member **const sorted = realloc(b->by_target, b->count * sizeof *sorted);
	int code;

	b->by_target = sorted ? sorted : b->by_target;
	if (!ifindexes || !sorted) {
		free(ifindexes);
		return nd_err_set(err, ND_STEP_VERIFY, -ENOMEM, "out of memory");
	}
	memcpy(sorted, b->members, b->count * sizeof *sorted);
	qsort(sorted, b->count, sizeof *sorted, by_target);
	for (size_t i = 0; i < b->count; i++)
		ifindexes[i] = sorted[i]->dev->target_ifindex;
	code = nd_batch_dump_addresses(b, b->target, ifindexes, b->count, err);
	free(ifindexes);
	return code ? code : nd_batch_deal(b, &b->reply, find_by_target, err);
}

static int compare(struct netdevns_batch *b, struct nd_member *m, const struct nd_view *link, struct nd_err *err)
{
	struct nd_view was;
	int code;

	if (link->type == NLMSG_ERROR)
		return nd_view_error(link, err);
	code = nd_dev_compare(m->dev, link->start, link->len, m->addresses.data, m->addresses.used, err);
	if (!code && m->link.has_altnames && nd_member_snapshot(m, &was) && !same_altnames(&was, link))
		code = nd_err_set(err, ND_STEP_VERIFY, -ESTALE, "its alternative names did not arrive");
	m->arrived.used = 0;
	if (!code && b->keeps_links && nd_memory_append(&m->arrived, link->start, link->len))
		code = nd_err_set(err, ND_STEP_VERIFY, -ENOMEM, "out of memory");
	return code;
}

/* The look-ups of the next window; of a single device also its addresses, which follow its link in b->reply. */
static int look(struct netdevns_batch *b, size_t window, struct nd_err *err)
{
	_Alignas(8) unsigned char bytes[ND_LOOK_WINDOW * 64];
	struct nd_msg m;

	nd_msg_init(&m, bytes, sizeof bytes);
	for (size_t i = 0; i < window; i++)
		nd_put_getlink(&m, b->members[b->verified + i]->dev->target_ifindex, NULL);
	if (b->count == 1)
		nd_put_getaddr(&m, b->members[0]->dev->target_ifindex);
	return nd_batch_ask(b, b->target, &m, NULL, err);
}

/* The addresses of the single device, behind its link. */
static int take_one(struct netdevns_batch *b, size_t pos, struct nd_err *err)
{
	struct nd_member *const m = b->members[0];
	struct nd_view first;
	size_t at = pos;

	m->addresses.used = 0;
	if (nd_view_next(b->reply.data, b->reply.used, &at, &first) > 0 && first.type == NLMSG_ERROR)
		return nd_view_error(&first, err);
	if (nd_memory_append(&m->addresses, b->reply.data + pos, b->reply.used - pos))
		return nd_err_set(err, ND_STEP_VERIFY, -ENOMEM, "out of memory");
	return 0;
}

int nd_batch_verify_next(struct netdevns_batch *b, struct nd_failure *f)
{
	const size_t left = b->count - b->verified, window = left < ND_LOOK_WINDOW ? left : ND_LOOK_WINDOW;
	const struct nd_member *const only = b->all == 1 ? b->members[0] : NULL;
	size_t pos = 0, done = 0;
	struct nd_view v;

	if ((b->verified == 0 && b->count > 1 && read_addresses(b, &f->err)) || look(b, window, &f->err))
		return nd_failure_set(f, only, "verify");
	while (nd_view_next(b->reply.data, b->reply.used, &pos, &v) > 0) {
		const size_t i = v.seq - b->first_seq;

		if (i >= window)
			continue;
		done++;
		if ((b->count == 1 && v.type != NLMSG_ERROR && take_one(b, pos, &f->err)) ||
		    compare(b, b->members[b->verified + i], &v, &f->err))
			return nd_failure_set(f, b->members[b->verified + i], "verify");
	}
	if (done < window) {
		nd_err_set(&f->err, ND_STEP_VERIFY, -EBADMSG, "a look-up was not answered");
		return nd_failure_set(f, only, "verify");
	}
	b->verified += window;
	return 0;
}
