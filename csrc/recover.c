/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* Restores the devices of records whose process has died. The record's format: docs/records.md. */
#include "batch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define NOT_FOUND "not found in either namespace: deleted, or moved on by the container; " \
		  "its record is kept until it is back or its network namespace ends"
#define MORE_SIZE sizeof "and 4294967295 more\n"
#define INITIAL "/proc/1/ns/net"	/* to which the kernel returns the hardware of a namespace that ends */

struct recovery {
	char *report;
	size_t size, used;
	unsigned omitted;	/* lines */
	int undo_complete;
	int begun, left;
	struct netdevns_error *err;	/* the first failure */
};

static void report(struct recovery *r, const char *format, ...)
{
	char line[1024];	/* names may have control characters */
	va_list arguments;

	va_start(arguments, format);
	nd_text_format(line, sizeof line, format, arguments);
	va_end(arguments);
	if (r->omitted || r->used + strlen(line) + 1 + MORE_SIZE > r->size)
		r->omitted++;
	else
		r->used += (size_t)sprintf(r->report + r->used, "%s\n", line);
}

/* The last line, if there was no room for others. */
static void report_omitted(struct recovery *r)
{
	if (r->omitted && r->used + MORE_SIZE <= r->size)
		sprintf(r->report + r->used, "and %u more\n", r->omitted);
}

/* Reports a record that is kept; the first one is the result. */
static void keep(struct recovery *r, const struct nd_record *record, int code, const char *text)
{
	report(r, "record %s: kept: %s%s%s", record->name, strerror(-code), text[0] ? ": " : "", text);
	if (!r->err->code)
		nd_batch_fail(r->err, code, "recover", -1, "record %s: kept: %s%s%s", record->name, strerror(-code), text[0] ? ": " : "",
			      text);
}

/* Makes a batch of a record, which takes over its devices. */
static struct netdevns_batch *reopen(struct nd_recovered *found, int source_fd, int target_fd)
{
	struct netdevns_batch *const b = nd_batch_new();

	if (!b)
		return NULL;
	b->source_fd = source_fd;
	b->target_fd = target_fd;
	b->members = calloc(found->count + 1, sizeof *b->members);
	b->by_ifindex = calloc(found->count + 1, sizeof *b->by_ifindex);
	if (!b->members || !b->by_ifindex)
		return b;
	for (size_t i = 0; i < found->count; i++) {
		struct nd_member *const m = nd_member_new(found->devices[i].dev->ifname, found->devices[i].dev->wanted);
		struct nd_view v;

		if (!m) {
			b->source_fd = b->target_fd = -1;	/* owned by the caller */
			netdevns_batch_close(b);
			return NULL;
		}
		nd_batch_append(b, m);
		m->dev = found->devices[i].dev;
		found->devices[i].dev = NULL;
		m->depth = found->devices[i].depth;
		m->touched = 1;
		if (nd_member_snapshot(m, &v))
			nd_link_summarize(&m->link, &v);
		b->by_ifindex[b->there++] = m;
	}
	qsort(b->by_ifindex, b->there, sizeof *b->by_ifindex, nd_by_link);
	return b;
}

/*
 * Whether to leave the devices to the container: the mover has verified all of them, whatever the container has changed since. With
 * the target, the container has ended.
 */
static int is_complete(const struct recovery *r, const struct netdevns_batch *b, const struct nd_recovered *found)
{
	return found->is_complete && !found->is_to_be_undone && !r->undo_complete && !b->target_is_gone;
}

static void report_complete(struct recovery *r, struct netdevns_batch *b)
{
	for (size_t i = 0; i < b->count; i++) {
		struct nd_member *const m = b->members[i];
		struct nd_err e;

		if (!nd_member_find(b, m, &e) && m->dev->place == ND_PLACE_TARGET)
			report(r, "%s: complete in the target, as %s", m->ifname, m->dev->name);
		else
			report(r, "%s: complete; it has left the target since", m->ifname);
	}
}

/* Sockets, locks and orders for a record's batch. */
static int prepare(struct netdevns_batch *b, struct nd_err *err)
{
	int32_t *const ifindexes = calloc(b->count + 1, sizeof *ifindexes), busy;
	uint32_t pid;
	int code = ifindexes && b->members && b->by_ifindex ? nd_batch_set_orders(b, err) : -ENOMEM;

	if (!code)
		code = nd_sock_open(b->source, b->source_fd, NULL, 0, err);
	if (!code)
		code = nd_sock_open(b->target, b->target_fd, NULL, 0, err);
	for (size_t i = 0; !code && i < b->count; i++)
		ifindexes[i] = b->members[i]->link.ifindex;
	if (!code) {
		qsort(ifindexes, b->count, sizeof *ifindexes, nd_by_number);
		code = nd_lock_hold(&b->lock, ND_LOCK_DIR, b->source_fd, ifindexes, b->count, ND_LOCK_WAIT_MS, &busy, &pid);
		if (code == -EBUSY)
			nd_err_set(err, ND_STEP_UNDO, code, "another mover has one of its devices");
		else if (nd_lock_may_be_held(code))
			nd_err_set(err, ND_STEP_UNDO, code, "the devices cannot be locked in " ND_LOCK_DIR);
		else if (code != -ENOMEM)
			code = 0;	/* the directory of locks is not required */
	}
	if (code == -ENOMEM)
		nd_err_set(err, ND_STEP_UNDO, code, "out of memory");
	free(ifindexes);
	return code;
}

/*
 * The target has ended, and the source is the initial namespace, to which the kernel returned the devices. A device that is not under its
 * source ifindex has that of the target, as no move back would change it.
 */
static void look_in_source(struct netdevns_batch *b)
{
	for (size_t i = 0; i < b->count; i++) {
		struct nd_member *const m = b->members[i];
		struct nd_err e;

		if (m->is_replaced || nd_member_find(b, m, &e) || m->dev->place != ND_PLACE_TARGET)
			continue;
		m->dev->ifindex = m->dev->target_ifindex;
		m->dev->place = ND_PLACE_SOURCE;
		if (!nd_member_is_namesake(b, m))
			nd_member_restore_mac(b, b->source, m, m->dev->ifindex);
	}
}

/* What is left to do for a device, or a record: the worst of its devices'. */
enum outcome {
	DONE,		/* nothing */
	MISSING,	/* it may be back later: the container can move it on to a namespace that nobody finds, and back */
	NOT_BACK_YET,	/* the kernel returns it to the initial namespace */
	LEFT,		/* it is not restored completely */
	NOT_TRIED,	/* nothing was changed */
};

static enum outcome conclude(struct recovery *r, const struct netdevns_batch *b, const struct nd_member *m, const struct nd_record *record)
{
	const int is_gone = m->dev->place == ND_PLACE_GONE, has_ended = b->target_is_gone && is_gone && !m->is_replaced;
	const char *text = m->missing.used ? (const char *)m->missing.data : "out of memory";
	int code = m->lacks_memory ? -ENOMEM : -EIO;
	char place[ND_PLACE_SIZE];

	if (!m->is_lacking || m->is_unrestorable) {
		report(r, "%s: restored%s%s", m->ifname, m->is_lacking ? "; cannot be restored: " : "", m->is_lacking ? text : "");
		return DONE;
	}
	if (has_ended && !nd_member_survives(m)) {
		report(r, "%s: gone: in neither namespace: %s %s ends with its network namespace, unless the container had moved it on",
		       m->ifname, strchr("aeiou", m->link.kind[0]) ? "an" : "a", m->link.kind);
		return DONE;
	}
	if (is_gone && !b->target_is_gone) {
		report(r, "%s: kept: " NOT_FOUND, m->ifname);
		return MISSING;
	}
	if (has_ended) {
		code = -EAGAIN;
		text = "not back in the initial network namespace yet";
	}
	nd_member_place(m, place);
	report(r, "%s: %s%snot restored: %s", m->ifname, has_ended ? "" : place, has_ended ? "" : "; ", text);
	if (!r->err->code)
		nd_batch_fail(r->err, code, "recover", -1, "%s: not restored: %s; the record %s is kept", m->ifname, text, record->name);
	r->left++;
	return code == -EAGAIN ? NOT_BACK_YET : LEFT;
}

static int is_missing(const struct nd_member *m)
{
	return m->is_lacking && !m->is_unrestorable && m->dev->place == ND_PLACE_GONE;
}

/* Marks the restored devices of a record in place: there is no space for a shorter one. */
static void mark_restored(struct recovery *r, const struct nd_record *record, const struct nd_recovered *found,
			  const struct netdevns_batch *b)
{
	int code = 0;

	for (size_t i = 0; !code && i < b->count; i++)
		if (!is_missing(b->members[i]))
			code = nd_record_set_seq(record, found->devices[i].at, ND_RECORD_RESTORED);
	if (code)
		keep(r, record, code, "the next call restores all its devices again");
}

/*
 * Keeps the record of missing devices alone: the others are restored, and what others do with them from now on must not be undone
 * by the next call. Not inlined: the two paths in `content` would be on the stack of the undo, too.
 */
__attribute__((noinline))
static void keep_missing(struct recovery *r, struct nd_record *record, const struct nd_recovered *found, const struct netdevns_batch *b)
{
	struct nd_record_device *const devices = calloc(b->count + 1, sizeof *devices);
	struct nd_record_content content = { .source = found->source, .target = found->target, .devices = devices,
					     .since_ms = b->since_ms, .pid = found->pid };
	struct nd_err e;
	int is_written = 0;

	for (size_t i = 0; devices && i < b->count; i++) {
		struct nd_member *const m = b->members[i];

		if (!is_missing(m))
			continue;
		m->dev->ifindex = m->link.ifindex;
		devices[content.count++] = (struct nd_record_device){ .dev = m->dev, .depth = m->depth };
	}
	if (content.count && content.count < b->count) {
		is_written = !nd_record_write(record, record->dirfd, &content, &e);
		if (!is_written)
			mark_restored(r, record, found, b);
	}
	free(devices);
	if (is_written || !found->is_complete)
		nd_record_close(record);
	else	/* `undo_complete` of this call holds for the next one */
		nd_record_end(record, 1);
}

/* Undoes a batch, unless it is complete. */
static enum outcome settle(struct recovery *r, struct netdevns_batch *b, const struct nd_record *record, const struct nd_recovered *found)
{
	struct nd_err e;
	enum outcome outcome = DONE;

	if (prepare(b, &e)) {
		keep(r, record, e.code, e.text);
		return NOT_TRIED;
	}
	if (is_complete(r, b, found)) {
		report_complete(r, b);
		return DONE;
	}
	nd_batch_leave_new_ones(b);
	if (nd_netns_differ(b->source_fd, b->target_fd, &e))
		look_in_source(b);
	b->since_ms = found->since_ms;
	if (nd_batch_age(b, &e)) {
		keep(r, record, e.code, e.text);
		return NOT_TRIED;
	}
	r->begun = 1;
	nd_batch_restore(b);
	for (size_t i = 0; i < b->count; i++) {
		const enum outcome each = conclude(r, b, b->members[i], record);

		outcome = each > outcome ? each : outcome;
	}
	return outcome;
}

/* The target; where it is gone (*is_gone), the initial network namespace, or the source. */
static int open_target(const struct nd_recovered *found, int source_fd, int *is_gone, struct nd_err *err)
{
	const int found_fd = nd_identity_open(&found->target, err);
	int fd;

	*is_gone = found_fd == -ENOENT;
	if (!*is_gone)
		return found_fd;
	fd = open(INITIAL, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		fd = fcntl(source_fd, F_DUPFD_CLOEXEC, 3);
	return fd < 0 ? -errno : fd;
}

static void recover_one(struct recovery *r, struct nd_record *record)
{
	struct nd_recovered found;
	struct nd_err e = { .text = "" };
	struct netdevns_batch *b;
	int source_fd, target_fd, code = nd_record_read(record, &found, &e), target_is_gone = 0;
	enum outcome outcome = NOT_TRIED;

	if (code) {
		keep(r, record, code, e.text);
		nd_record_close(record);
		return;
	}
	source_fd = found.is_of_this_boot ? nd_identity_open(&found.source, &e) : -ENOENT;
	if (source_fd == -ENOENT) {
		report(r, "record %s: removed: %s", record->name,
		       found.is_of_this_boot ? "the network namespace of its devices is gone" : "the machine was booted since");
		nd_record_end(record, 0);
		nd_recovered_free(&found);
		return;
	}
	target_fd = source_fd < 0 ? source_fd : open_target(&found, source_fd, &target_is_gone, &e);
	if (target_fd < 0) {
		if (source_fd >= 0)
			close(source_fd);
		keep(r, record, target_fd, e.text);
	} else {
		b = reopen(&found, source_fd, target_fd);
		if (b) {
			b->target_is_gone = target_is_gone;
			outcome = settle(r, b, record, &found);
			if (outcome == MISSING)
				keep_missing(r, record, &found, b);
			netdevns_batch_close(b);
		} else {
			close(source_fd);
			close(target_fd);
			keep(r, record, -ENOMEM, "");
		}
	}
	nd_recovered_free(&found);
	if (outcome == DONE || outcome == LEFT)	/* a partial undo must not count as complete later */
		nd_record_end(record, outcome == LEFT);
	else
		nd_record_close(record);
}

/* All records of a directory. */
static void recover_all(struct recovery *r, int dirfd)
{
	struct nd_record_list list;
	struct nd_record record;
	struct nd_err e;
	int more, code = nd_record_list(&list, dirfd, &e);

	nd_batch_succeed(r->err);
	if (code) {
		nd_batch_fail(r->err, code, "recover", -1, "%s: %s", strerror(-code), e.text);
		return;
	}
	while ((more = nd_record_next(&list, &record, &e))) {
		if (more > 0)
			recover_one(r, &record);
		else
			keep(r, &record, more, e.text);
	}
	nd_record_list_free(&list);
	r->err->begun = r->begun;
	r->err->left = r->left;
}

int netdevns_recover(uint32_t version, int dirfd, int undo_complete, char *text, size_t size, struct netdevns_error *err)
{
	struct netdevns_error e;
	struct recovery r = { .report = text, .size = text ? size : 0, .undo_complete = undo_complete, .err = &e };

	if (r.size)
		text[0] = '\0';
	if (!nd_version_check(version, "recover", &e)) {
		recover_all(&r, dirfd);
		report_omitted(&r);
	}
	return nd_error_give(version, &e, err);
}
