/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* Sorts the devices of a batch for the moves and for the replays. */
#include "batch.h"

#include <errno.h>
#include <stdlib.h>

/* A device is one deeper than its lower device in the batch. */
void nd_batch_set_depths(struct netdevns_batch *b)
{
	for (size_t i = 0; i < b->count; i++) {
		struct nd_member *const m = b->members[i];
		const struct nd_member *lower = m->link.lower ? nd_batch_member(b, m->link.lower) : NULL;

		m->depth = 0;
		for (; m->dev && lower && lower != m && m->depth < b->count; m->depth++)
			lower = lower->link.lower ? nd_batch_member(b, lower->link.lower) : NULL;
	}
}

struct rank {
	size_t index;
	uint32_t depth;
	int is_template, has_altnames;
};

/*
 * Uppers before lowers: an upper that is complete in the target would lose its IPv6 addresses when its lower arrives. Literal
 * names before templates, those that bring alternative names first: "eth%d" must not take the "eth0" that another device wants
 * or brings along. Otherwise in the order of netdevns_batch_add.
 */
static int by_move(const void *a, const void *b)
{
	const struct rank *const x = a, *const y = b;

	if (x->depth != y->depth)
		return x->depth > y->depth ? -1 : 1;
	if (x->is_template != y->is_template)
		return x->is_template - y->is_template;
	if (x->has_altnames != y->has_altnames)
		return y->has_altnames - x->has_altnames;
	return x->index < y->index ? -1 : 1;
}

static int by_replay(const void *a, const void *b)
{
	const struct rank *const x = a, *const y = b;

	if (x->depth != y->depth)
		return x->depth < y->depth ? -1 : 1;
	return x->index < y->index ? -1 : 1;
}

int nd_batch_set_orders(struct netdevns_batch *b, struct nd_err *err)
{
	struct rank *const ranks = calloc(b->count + 1, sizeof *ranks);
	struct nd_member **const moves = realloc(b->moves, (b->count + 1) * sizeof *moves);
	struct nd_member **replays;

	b->moves = moves ? moves : b->moves;
	replays = realloc(b->replays, (b->count + 1) * sizeof *replays);
	b->replays = replays ? replays : b->replays;
	if (!ranks || !moves || !replays) {
		free(ranks);
		return nd_err_set(err, ND_STEP_NONE, -ENOMEM, "out of memory");
	}
	for (size_t i = 0; i < b->count; i++) {
		const struct nd_member *const m = b->members[i];

		ranks[i] = (struct rank){ .index = i, .depth = m->depth, .is_template = m->is_template,
					  .has_altnames = m->link.has_altnames };
	}
	qsort(ranks, b->count, sizeof *ranks, by_replay);
	for (size_t i = 0; i < b->count; i++)
		replays[i] = b->members[ranks[i].index];
	qsort(ranks, b->count, sizeof *ranks, by_move);
	for (size_t i = 0; i < b->count; i++)
		moves[i] = b->members[ranks[i].index];
	free(ranks);
	b->moved = b->replayed = b->verified = b->unread_bytes = 0;
	b->is_up_to_date = 0;
	b->notifications.used = 0;
	return 0;
}
