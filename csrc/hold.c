/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* The locks of a batch: its devices, and those that lie on them. */
#include "batch.h"

#include <errno.h>
#include <stdlib.h>

static const struct nd_link *link_at(const struct netdevns_batch *b, int32_t ifindex)
{
	for (size_t i = 0; i < b->seen_count; i++)
		if (b->seen[i].ifindex == ifindex)
			return &b->seen[i];
	return NULL;
}

/* Sets *above to the ifindexes of the batch and of all that lie on it, ascending (to be freed). Negative: out of memory. */
static long with_uppers(const struct netdevns_batch *b, int32_t **above)
{
	size_t count = 0, before;

	*above = calloc(b->seen_count + 1, sizeof **above);
	if (!*above)
		return -ENOMEM;
	for (size_t i = 0; i < b->seen_count; i++)
		if (nd_batch_named(b, b->seen[i].name))
			(*above)[count++] = b->seen[i].ifindex;
	do {	/* once for each level of stacking */
		before = count;
		qsort(*above, count, sizeof **above, nd_by_number);
		for (size_t i = 0; i < b->seen_count; i++) {
			const struct nd_link *const link = &b->seen[i];

			if (link->lower && bsearch(&link->lower, *above, before, sizeof **above, nd_by_number) &&
			    !bsearch(&link->ifindex, *above, before, sizeof **above, nd_by_number))
				(*above)[count++] = link->ifindex;
		}
	} while (count > before);
	return (long)count;
}

/* Takes the batch and what lies on it. 1: some are new, so what was read of them may be old. */
int nd_batch_hold(struct netdevns_batch *b, struct nd_err *err)
{
	int32_t *ifindexes, busy;
	uint32_t pid;
	const long count = with_uppers(b, &ifindexes);
	const struct nd_link *link;
	int code;

	if (count < 0)
		return nd_err_set(err, ND_STEP_NONE, -ENOMEM, "out of memory");
	code = nd_lock_hold(&b->lock, ND_LOCK_DIR, b->source_fd, ifindexes, (size_t)count, ND_LOCK_WAIT_MS, &busy, &pid);
	free(ifindexes);
	if (code == -EBUSY) {
		struct nd_found *f;

		link = link_at(b, busy);
		f = nd_batch_find(b, "device.busy", NETDEVNS_ERROR, EBUSY, nd_batch_named(b, link ? link->name : ""),
				  "%s is being moved by process %u", link ? link->name : "a device", pid);
		if (!f)
			return nd_err_set(err, ND_STEP_NONE, -ENOMEM, "out of memory");
		nd_text_copy(f->name, sizeof f->name, link ? link->name : "", link ? strlen(link->name) : 0);
		f->finding.ifindex = busy;
		return 0;
	}
	if (code == 1 || code == -ENOMEM)
		return code;
	if (code == -EMFILE || code == -ENFILE || code == -EIO)	/* another mover has them perhaps */
		return nd_err_set(err, ND_STEP_NONE, code, "the devices cannot be locked in " ND_LOCK_DIR);
	/* Without the directory the lock cannot be had: no reason to refuse a move that root asks for in a small container. */
	return 0;
}
