/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* What all phases of a batch share: exchanges whose answers grow, the steps of one device, and which link is which member. */
#include "batch.h"

#include <errno.h>
#include <stdlib.h>

/* ---- exchanges ------------------------------------------------------------------------------------------------------------ */

int nd_batch_ask(struct netdevns_batch *b, struct nd_sock *sock, struct nd_msg *req, const struct nd_filter *filter,
		 struct nd_err *err)
{
	int code;

	for (;;) {
		struct nd_buf reply = { .data = b->reply.data, .size = b->reply.size, .filter = filter, .harmless = 1 };

		code = nd_sock_exchange(sock, req, &reply, err);
		b->reply.used = code ? 0 : reply.used;
		b->first_seq = reply.first_seq;
		if (code != -EOVERFLOW || reply.need <= b->reply.size)
			return code;
		if (nd_memory_grow(&b->reply, reply.need + reply.need / 4))
			return nd_err_set(err, ND_STEP_EXCHANGE, -ENOMEM, "out of memory");
	}
}

int nd_batch_dump(struct netdevns_batch *b, struct nd_sock *sock, struct nd_msg *req, const struct nd_filter *filter,
		  struct nd_err *err)
{
	const int code = nd_batch_ask(b, sock, req, filter, err);
	struct nd_view first;
	size_t pos = 0;

	if (!code && nd_view_next(b->reply.data, b->reply.used, &pos, &first) > 0 && first.type == NLMSG_ERROR)
		return nd_view_error(&first, err);
	return code;
}

int nd_batch_link(struct netdevns_batch *b, struct nd_sock *sock, int32_t ifindex, struct nd_view *link, struct nd_err *err)
{
	_Alignas(8) unsigned char bytes[128];
	struct nd_msg m;
	size_t pos = 0;
	int code;

	nd_msg_init(&m, bytes, sizeof bytes);
	nd_put_getlink(&m, ifindex, NULL);
	code = nd_batch_dump(b, sock, &m, NULL, err);
	if (code)
		return code;
	if (nd_view_next(b->reply.data, b->reply.used, &pos, link) <= 0 || link->type != RTM_NEWLINK ||
	    link->body_len < sizeof(struct ifinfomsg))
		return nd_err_set(err, ND_STEP_EXCHANGE, -EBADMSG, "no link in the answer");
	return 0;
}

/* ---- members -------------------------------------------------------------------------------------------------------------- */

int nd_member_step(struct netdevns_batch *b, struct nd_member *m, nd_step *step, struct nd_err *err)
{
	for (;;) {
		const int code = step(b, m, err);
		struct nd_dev *more;

		if (code != -EOVERFLOW || m->dev->need <= m->dev->size)
			return code;
		more = realloc(m->dev, m->dev->need);
		if (!more)
			return nd_err_set(err, err->step, -ENOMEM, "out of memory");
		m->dev = more;
		nd_dev_resize(more, more->need);
	}
}

static int index_of(const struct netdevns_batch *b, const struct nd_member *m)
{
	return m ? (int)(m - b->members) : -1;
}

int nd_member_fail(const struct netdevns_batch *b, const struct nd_member *m, const char *step, const struct nd_err *e,
		   struct netdevns_error *err)
{
	static const struct { const char *step, *text; } words[] = {
		{ "snapshot", "its addresses could not be read" },	{ "down", "it could not be set down" },
		{ "notify", "addresses that were added meanwhile are not known" }, { "move", "the move failed" },
		{ "replay", "its addresses could not be set in the target" }, { "verify", "it did not arrive as it was" },
		{ "record", "the record of this move could not be written" }, { "undo", "it could not be restored" },
	};
	const char *text = "the kernel could not be asked";
	const int has_errno = e->code != -ESTALE;

	for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
		if (strcmp(words[i].step, step) == 0)
			text = words[i].text;
	if (strcmp(step, "move") == 0 && e->code == -EEXIST)
		text = "its name was taken in the target meanwhile";
	return nd_batch_fail(err, e->code, step, index_of(b, m), "%s%s%s%s%s%s%s", m ? m->ifname : "", m ? ": " : "", text,
			     has_errno ? ": " : "", has_errno ? strerror(-e->code) : "", e->text[0] ? ": " : "", e->text);
}

struct nd_member *nd_batch_member(const struct netdevns_batch *b, int32_t ifindex)
{
	size_t low = 0, high = b->there;

	while (low < high) {
		const size_t middle = low + (high - low) / 2;
		struct nd_member *const m = b->by_ifindex[middle];

		if (m->link.ifindex == ifindex)
			return m;
		if (m->link.ifindex < ifindex)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

struct nd_member *nd_batch_named(const struct netdevns_batch *b, const char *ifname)
{
	size_t low = 0, high = b->by_name ? b->count : 0;

	while (low < high) {
		const size_t middle = low + (high - low) / 2;

		if (strcmp(b->by_name[middle]->ifname, ifname) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return b->by_name && low < b->count && strcmp(b->by_name[low]->ifname, ifname) == 0 ? b->by_name[low] : NULL;
}
