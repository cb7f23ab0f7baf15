/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* Shared by the phases of a batch: exchanges with growing replies, steps of one device, the member of a link. */
#include "batch.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/utsname.h>

/* ---- exchanges ------------------------------------------------------------------------------------------------------------ */

/* One exchange, whose replies are appended to b->reply. */
static int ask_once(struct netdevns_batch *b, struct nd_sock *sock, struct nd_msg *req, const struct nd_filter *filter,
		    uint32_t *first_seq, struct nd_err *err)
{
	const size_t used = b->reply.used;

	for (;;) {
		struct nd_buf reply = { .data = b->reply.data, .size = b->reply.size, .used = used, .filter = filter, .harmless = 1 };
		const int code = nd_sock_exchange(sock, req, &reply, err);

		b->reply.used = code ? used : reply.used;
		*first_seq = reply.first_seq;
		if (code != -EOVERFLOW || reply.need <= b->reply.size)
			return code;
		if (nd_memory_grow(&b->reply, reply.need + reply.need / 4 - used))
			return nd_err_set(err, ND_STEP_EXCHANGE, -ENOMEM, "out of memory");
	}
}

/* The number of a request's messages, and where their second half begins. */
static size_t count_messages(const struct nd_msg *req, size_t *middle)
{
	struct nd_view v;
	size_t count = 0, pos = 0, half = 0;

	while (nd_view_next(req->data, req->used, &pos, &v) > 0)
		count++;
	for (pos = 0; half < count / 2 && nd_view_next(req->data, req->used, &pos, &v) > 0;)
		half++;
	*middle = pos;
	return count;
}

/* Adds to the seq of each reply from `at` on. */
static void renumber(struct nd_memory *reply, size_t at, uint32_t more)
{
	struct nd_view v;

	for (size_t next = at; more && nd_view_next(reply->data, reply->used, &next, &v) > 0; at = next) {
		const uint32_t seq = v.seq + more;

		memcpy(reply->data + at + offsetof(struct nlmsghdr, nlmsg_seq), &seq, sizeof seq);
	}
}

/*
 * The same, split in halves while the receive buffer does not hold the replies: those of links with many alternative
 * names are long.
 */
static int ask(struct netdevns_batch *b, struct nd_sock *sock, struct nd_msg *req, const struct nd_filter *filter, uint32_t *first_seq,
	       struct nd_err *err)
{
	const size_t used = b->reply.used;
	int code = ask_once(b, sock, req, filter, first_seq, err);
	size_t middle, count, second;
	struct nd_msg half = *req;
	uint32_t seq;

	if (code != -ENOBUFS)
		return code;
	count = count_messages(req, &middle);
	if (count < 2)
		return code;
	half.used = middle;
	code = ask(b, sock, &half, filter, first_seq, err);
	second = b->reply.used;
	half.data = req->data + middle;
	half.size = half.used = req->used - middle;
	if (!code)
		code = ask(b, sock, &half, filter, &seq, err);
	if (code)
		b->reply.used = used;
	else
		renumber(&b->reply, second, *first_seq + (uint32_t)(count / 2) - seq);
	return code;
}

int nd_batch_ask(struct netdevns_batch *b, struct nd_sock *sock, struct nd_msg *req, const struct nd_filter *filter,
		 struct nd_err *err)
{
	b->reply.used = 0;
	return ask(b, sock, req, filter, &b->first_seq, err);
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

int nd_batch_dump_links(struct netdevns_batch *b, struct nd_sock *sock, const struct nd_filter *filter, int with_statistics,
			struct nd_err *err)
{
	static const struct ifinfomsg all = { .ifi_family = AF_UNSPEC };
	_Alignas(8) unsigned char bytes[64];
	struct nd_msg m;

	nd_msg_init(&m, bytes, sizeof bytes);
	nd_msg_begin(&m, RTM_GETLINK, NLM_F_DUMP, &all, sizeof all);
	if (!with_statistics)
		nd_msg_put_u32(&m, IFLA_EXT_MASK, ND_RTEXT_FILTER_SKIP_STATS);
	return nd_batch_dump(b, sock, &m, filter, err);
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

int nd_batch_has_link(struct netdevns_batch *b, struct nd_sock *sock, const char *name, struct nd_link *link, struct nd_view *v)
{
	_Alignas(8) unsigned char bytes[64 + ND_WORD_SIZE];
	struct nd_msg m;
	struct nd_err e;
	size_t pos = 0;

	nd_msg_init(&m, bytes, sizeof bytes);
	nd_put_getlink_named(&m, name);
	return !nd_batch_dump(b, sock, &m, NULL, &e) && nd_view_next(b->reply.data, b->reply.used, &pos, v) > 0 &&
	       !nd_link_summarize(link, v) && strcmp(link->name, name) == 0;
}

/* ---- members -------------------------------------------------------------------------------------------------------------- */

struct nd_member *nd_member_new(const char *ifname, const char *wanted)
{
	struct nd_member *const m = calloc(1, sizeof *m);

	if (!m)
		return NULL;
	m->is_template = strchr(wanted, '%') != NULL;
	nd_text_copy(m->ifname, sizeof m->ifname, ifname, strlen(ifname));
	nd_text_copy(m->wanted, sizeof m->wanted, wanted, strlen(wanted));
	return m;
}

void nd_member_free(struct nd_member *m)
{
	free(m->dev);
	nd_memory_free(&m->missing);
	nd_memory_free(&m->addresses);
	nd_memory_free(&m->arrived);
	free(m);
}

void nd_batch_append(struct netdevns_batch *b, struct nd_member *m)
{
	m->index = b->count;
	b->members[b->count++] = m;
	b->all = b->count;
}

int nd_member_reserve(struct nd_member *m, size_t size)
{
	struct nd_dev *more;

	if (size <= m->dev->size)
		return 0;
	more = size > UINT32_MAX ? NULL : realloc(m->dev, size);
	if (!more)
		return -ENOMEM;
	m->dev = more;
	nd_dev_resize(more, size);
	return 0;
}

int nd_member_step(struct netdevns_batch *b, struct nd_member *m, nd_step *step, struct nd_err *err)
{
	for (;;) {
		const int code = step(b, m, err);

		if (code != -EOVERFLOW || m->dev->need <= m->dev->size)
			return code;
		if (nd_member_reserve(m, m->dev->need))
			return nd_err_set(err, err->step, -ENOMEM, "out of memory");
	}
}

static int find_step(struct netdevns_batch *b, struct nd_member *m, struct nd_err *err)
{
	return nd_dev_find(m->dev, b->source, b->target, err);
}

int nd_member_find(struct netdevns_batch *b, struct nd_member *m, struct nd_err *err)
{
	return nd_member_step(b, m, find_step, err);
}

int nd_member_fail(const struct nd_member *m, const char *step, const struct nd_err *e, struct netdevns_error *err)
{
	static const struct { const char *step, *text; } words[] = {
		{ "snapshot", "its addresses could not be read" },	{ "down", "it could not be set down" },
		{ "notify", "addresses that were added meanwhile could not be read" }, { "move", "the move failed" },
		{ "replay", "its addresses could not be set in the target" }, { "verify", "it did not arrive unchanged" },
		{ "record", "the record of this move could not be written" }, { "undo", "it could not be restored" },
	};
	const char *text = "netlink request failed";
	const int has_errno = e->code != -ESTALE;

	for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
		if (strcmp(words[i].step, step) == 0)
			text = words[i].text;
	if (strcmp(step, "move") == 0 && e->code == -EEXIST)
		text = "its name was taken in the target meanwhile";
	return nd_batch_fail(err, e->code, step, m ? (int)m->index : -1, "%s%s%s%s%s%s%s", m ? m->ifname : "", m ? ": " : "", text,
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

/*
 * Before 6.6 a move leaves alternative names in the table of the source, where they stay taken (probe
 * clash.own-altname.left-behind). Only the kernel's version shows this; where the fix was backported, the fallback works
 * as well.
 */
int nd_batch_moves_altnames(struct netdevns_batch *b)
{
	struct utsname name;
	char *end;
	long major, minor;

	if (b->moves_altnames < 0 && !uname(&name)) {
		major = strtol(name.release, &end, 10);
		minor = *end == '.' ? strtol(end + 1, NULL, 10) : 0;
		b->moves_altnames = major > 6 || (major == 6 && minor >= 6);
	}
	return b->moves_altnames != 0;
}
