/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* Makes a batch of devices that Python has found, for the same phases as in netdevns_batch_move. */
#include "batch.h"

#include <errno.h>
#include <stdlib.h>

int nd_member_open(struct nd_member **member, const char *ifname, const char *wanted, int32_t ifindex, struct nd_err *err)
{
	struct nd_member *const m = nd_member_new(ifname, wanted);
	int code = m ? nd_member_begin(m, sizeof *m->dev, err) : nd_err_set(err, ND_STEP_NONE, -ENOMEM, "out of memory");

	if (code) {
		if (m)
			nd_member_free(m);
		return code;
	}
	m->dev->ifindex = ifindex;
	*member = m;
	return 0;
}

/* Sets each member's link, and b->by_ifindex. */
static int take_links(struct netdevns_batch *b, const struct nd_plan *plan, struct nd_err *err)
{
	struct nd_view v;
	size_t pos = 0;

	if (nd_memory_append(&b->links, plan->links, plan->links_len))
		return nd_err_set(err, ND_STEP_SNAPSHOT, -ENOMEM, "out of memory");
	for (size_t i = 0; i < b->all; i++) {
		struct nd_member *const m = b->members[i];

		if (nd_view_next(b->links.data, b->links.used, &pos, &v) <= 0 || nd_link_summarize(&m->link, &v))
			return nd_err_set(err, ND_STEP_SNAPSHOT, -EBADMSG, "not the links of the batch");
		m->link.at = (size_t)((const unsigned char *)v.start - b->links.data);
		m->link.len = v.len;
		m->index = i;
		b->by_ifindex[b->there++] = m;
	}
	qsort(b->by_ifindex, b->there, sizeof *b->by_ifindex, nd_by_link);
	return 0;
}

int nd_phases_open(struct netdevns_batch **batch, const struct nd_plan *plan, struct nd_err *err)
{
	struct netdevns_batch *const b = nd_batch_new();
	int code;

	if (!b)
		return nd_err_set(err, ND_STEP_OPEN, -ENOMEM, "out of memory");
	b->source = plan->source;
	b->target = plan->target;
	b->notify = plan->notify;
	b->target_fd = plan->target_fd;
	b->count = plan->count;
	b->all = plan->all;
	b->keeps_links = 1;
	b->members = calloc(b->all + 1, sizeof *b->members);
	b->by_ifindex = calloc(b->all + 1, sizeof *b->by_ifindex);
	code = b->members && b->by_ifindex ? 0 : nd_err_set(err, ND_STEP_OPEN, -ENOMEM, "out of memory");
	for (size_t i = 0; !code && i < b->all; i++)
		b->members[i] = plan->members[i];
	if (!code)
		code = take_links(b, plan, err);
	if (!code)
		code = nd_batch_set_orders(b, err);
	if (code) {
		nd_phases_close(b);
		return code;
	}
	for (size_t i = 0; i < b->count; i++) {
		plan->moves[i] = (uint32_t)b->moves[i]->index;
		plan->replays[i] = (uint32_t)b->replays[i]->index;
	}
	*batch = b;
	return 0;
}

void nd_phases_close(struct netdevns_batch *b)
{
	b->count = b->all = 0;	/* the caller owns the members, the sockets and the namespace */
	b->source = &b->own_source;
	b->target = &b->own_target;
	b->notify = &b->own_notify;
	b->target_fd = -1;
	netdevns_batch_close(b);
}
