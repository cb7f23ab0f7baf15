/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* Takes the snapshots of a batch: addresses by one dump for all, and links that were read before. */
#include "batch.h"

#include <errno.h>
#include <stdlib.h>

int nd_member_snapshot(const struct nd_member *m, struct nd_view *v)
{
	size_t pos = 0;

	return nd_view_next((const unsigned char *)m->dev + m->dev->link, m->dev->link_len, &pos, v) > 0;
}

void nd_put_getaddr(struct nd_msg *m, int32_t ifindex)
{
	const struct ifaddrmsg head = { .ifa_family = AF_UNSPEC, .ifa_index = (uint32_t)ifindex };

	nd_msg_begin(m, RTM_GETADDR, NLM_F_DUMP, &head, sizeof head);
}

int nd_batch_dump_addresses(struct netdevns_batch *b, struct nd_sock *sock, const int32_t *ifindexes, size_t count,
			    struct nd_err *err)
{
	const struct nd_filter filter = { .ifindexes = ifindexes, .count = count };
	_Alignas(8) unsigned char bytes[64];
	struct nd_msg m;

	nd_msg_init(&m, bytes, sizeof bytes);
	nd_put_getaddr(&m, count == 1 ? ifindexes[0] : 0);	/* the kernel filters by one (probe dumps.addresses.ifindex) */
	return nd_batch_dump(b, sock, &m, &filter, err);
}

int nd_batch_deal(struct netdevns_batch *b, const struct nd_memory *from, nd_find_member *find, struct nd_err *err)
{
	const int found = from->used ? nd_addr_runs(from->data, (uint32_t)from->used, NULL, 0) : 0;
	struct nd_run *const runs = calloc((size_t)(found > 0 ? found : 0) + 1, sizeof *runs);
	int code = found < 0 ? found : runs ? 0 : -ENOMEM;

	for (size_t i = 0; i < b->all; i++)
		b->members[i]->addresses.used = 0;
	if (!code && found)
		nd_addr_runs(from->data, (uint32_t)from->used, runs, found);
	for (int i = 0; i < found && !code; i++) {
		struct nd_member *const m = find(b, runs[i].ifindex);

		code = m ? nd_memory_append(&m->addresses, from->data + runs[i].at, runs[i].len) : 0;
	}
	free(runs);
	return code ? nd_err_set(err, ND_STEP_EXCHANGE, code, code == -ENOMEM ? "out of memory" : "malformed addresses") : 0;
}

static int take_step(struct netdevns_batch *b, struct nd_member *m, struct nd_err *err)
{
	return nd_dev_take(m->dev, b->links.data + m->link.at, m->link.len, m->addresses.data, m->addresses.used, err);
}

int nd_member_begin(struct nd_member *m, size_t size, struct nd_err *err)
{
	struct nd_dev *const dev = malloc(size);

	if (!dev)
		return nd_err_set(err, ND_STEP_SNAPSHOT, -ENOMEM, "out of memory");
	m->dev = dev;
	/* A device with an invalid wanted name does not move, but is checked. */
	return nd_dev_init(&m->dev, dev, size, m->ifname, m->why_wanted ? m->ifname : m->wanted, err);
}

static int take(struct netdevns_batch *b, struct nd_member *m, struct nd_err *err)
{
	const size_t size = nd_align(sizeof *m->dev) + nd_align(m->link.len) + 3 * m->addresses.used + 512;
	int code = 0;

	if (!m->dev)
		code = nd_member_begin(m, size, err);
	else if (nd_member_reserve(m, size))
		code = nd_err_set(err, ND_STEP_SNAPSHOT, -ENOMEM, "out of memory");
	return code ? code : nd_member_step(b, m, take_step, err);
}

int nd_batch_snapshot(struct netdevns_batch *b, struct nd_failure *f)
{
	int32_t *const ifindexes = calloc(b->there + 1, sizeof *ifindexes);
	struct nd_member *const only = b->there == 1 ? b->by_ifindex[0] : NULL;
	int code;

	if (!ifindexes) {
		nd_err_set(&f->err, ND_STEP_SNAPSHOT, -ENOMEM, "out of memory");
		return nd_failure_set(f, only, "snapshot");
	}
	for (size_t i = 0; i < b->there; i++)
		ifindexes[i] = b->by_ifindex[i]->link.ifindex;
	b->reply.used = 0;
	code = b->there ? nd_batch_dump_addresses(b, b->source, ifindexes, b->there, &f->err) : 0;
	free(ifindexes);
	if (!code)
		code = nd_batch_deal(b, &b->reply, nd_batch_member, &f->err);
	if (code)
		return nd_failure_set(f, only, "snapshot");
	for (size_t i = 0; i < b->there; i++)
		if (take(b, b->by_ifindex[i], &f->err))
			return nd_failure_set(f, b->by_ifindex[i], "snapshot");
	return 0;
}
