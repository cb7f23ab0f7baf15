/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* Locks the devices of a batch, and those on top of them. */
#include "batch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Sets *above to the ifindexes of the batch and of all devices on top of it, ascending (to be freed). Negative: out of memory. */
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

/* Adds the finding that another mover holds a device. */
static int find_busy(struct netdevns_batch *b, int32_t ifindex, uint32_t pid, struct nd_err *err)
{
	struct nd_link link = { .ifindex = 0 };
	char mover[sizeof "process 4294967295"] = "another process";
	struct nd_found *f;
	struct nd_view v;
	int code = nd_batch_link(b, b->source, ifindex, &v, err);

	if (!code)
		code = nd_link_summarize(&link, &v);
	if (code && code != -ENODEV)
		return code;
	if (pid)
		snprintf(mover, sizeof mover, "process %u", pid);
	f = nd_batch_find(b, "device.busy", NETDEVNS_ERROR, EBUSY, nd_batch_named(b, link.name), "%s is being moved by %s",
			  link.ifindex ? link.name : "a device", mover);
	if (!f)
		return nd_err_set(err, ND_STEP_NONE, -ENOMEM, "out of memory");
	nd_text_copy(f->name, sizeof f->name, link.name, strlen(link.name));
	f->finding.ifindex = ifindex;
	return ND_HELD_REFUSED;
}

/* Another mover may hold the devices, or its locks cannot be trusted: to move without a lock would not be safe. */
static int must_hold(int code)
{
	if (nd_lock_may_be_held(code))
		return 1;
	return (code == -EPERM || code == -ENOTDIR || code == -ELOOP) && geteuid() == 0;
}

/* Reports that the devices cannot be locked, once: a note, or an error where the move is refused for it. */
static int find_none(struct netdevns_batch *b, int code, struct nd_err *err)
{
	const int is_error = must_hold(code), is_unsafe = b->lock.why != NULL;
	const char *const why = is_unsafe ? b->lock.why : strerror(-code);

	for (size_t i = 0; i < b->found_count; i++)
		if (strcmp(b->found[i]->finding.code, "lock.none") == 0)
			return is_error ? ND_HELD_REFUSED : ND_HELD;
	if (!nd_batch_find(b, "lock.none", is_error ? NETDEVNS_ERROR : NETDEVNS_NOTE, is_error ? is_unsafe ? EPERM : -code : 0, NULL,
			   "%s: the devices cannot be locked against other movers: %s%s", ND_LOCK_DIR, why,
			   is_unsafe ? "; it must be a directory of this user, with mode 0700" : ""))
		return nd_err_set(err, ND_STEP_NONE, -ENOMEM, "out of memory");
	return is_error ? ND_HELD_REFUSED : ND_HELD;
}

static int hold(struct netdevns_batch *b, const int32_t *ifindexes, size_t count, struct nd_err *err)
{
	int32_t busy;
	uint32_t pid;
	const int code = nd_lock_hold(&b->lock, ND_LOCK_DIR, b->source_fd, ifindexes, count, ND_LOCK_WAIT_MS, &busy, &pid);

	if (code == -EBUSY)
		return find_busy(b, busy, pid, err);
	if (code == -ENOMEM)
		return nd_err_set(err, ND_STEP_NONE, code, "out of memory");
	if (code < 0)
		return find_none(b, code, err);
	return code == 1 ? ND_HELD_MORE : ND_HELD;
}

int nd_batch_hold(struct netdevns_batch *b, struct nd_err *err)
{
	int32_t *ifindexes;
	const long count = with_uppers(b, &ifindexes);
	int code;

	if (count < 0)
		return nd_err_set(err, ND_STEP_NONE, -ENOMEM, "out of memory");
	code = hold(b, ifindexes, (size_t)count, err);
	free(ifindexes);
	return code;
}

/* Adds the ifindexes of ND_LOOK_WINDOW members from `at` on, of those that exist. */
static int ask_ifindexes(struct netdevns_batch *b, size_t at, int32_t *ifindexes, size_t *count, struct nd_err *err)
{
	_Alignas(8) unsigned char bytes[ND_LOOK_WINDOW * 64];
	size_t asked = 0, pos = 0;
	struct ifinfomsg head;
	struct nd_view v;
	struct nd_msg m;
	int code;

	nd_msg_init(&m, bytes, sizeof bytes);
	for (size_t i = at; i < b->count && i < at + ND_LOOK_WINDOW; i++) {
		if (b->by_name[i]->why_ifname)
			continue;
		nd_put_getlink(&m, 0, b->by_name[i]->ifname);
		asked++;
	}
	if (!asked)
		return 0;
	code = nd_batch_ask(b, b->source, &m, NULL, err);
	while (!code && nd_view_next(b->reply.data, b->reply.used, &pos, &v) > 0) {
		if (v.type != RTM_NEWLINK || v.body_len < sizeof head)
			continue;	/* no such device: reported later */
		memcpy(&head, v.body, sizeof head);
		ifindexes[(*count)++] = head.ifi_index;
	}
	return code;
}

int nd_batch_hold_named(struct netdevns_batch *b, struct nd_err *err)
{
	int32_t *const ifindexes = calloc(b->count + 1, sizeof *ifindexes);
	size_t count = 0, different = 0;
	int code = ifindexes ? 0 : nd_err_set(err, ND_STEP_NONE, -ENOMEM, "out of memory");

	for (size_t at = 0; at < b->count && !code; at += ND_LOOK_WINDOW)
		code = ask_ifindexes(b, at, ifindexes, &count, err);
	if (!code) {
		qsort(ifindexes, count, sizeof *ifindexes, nd_by_number);
		for (size_t i = 0; i < count; i++)	/* two names may be of the same device, one an alternative name */
			if (!different || ifindexes[different - 1] != ifindexes[i])
				ifindexes[different++] = ifindexes[i];
		code = hold(b, ifindexes, different, err);
	}
	free(ifindexes);
	return code;
}
