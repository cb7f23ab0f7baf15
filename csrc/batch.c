/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* The batch: its handle, and the phases in a row. What each function promises: netdevns.h. */
#include "batch.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* ---- errors -------------------------------------------------------------------------------------------------- */

int nd_batch_fail(struct netdevns_error *err, int code, const char *step, int device, const char *format, ...)
{
	va_list arguments;

	memset(err, 0, sizeof *err);
	err->code = code;
	err->step = step;
	err->device = device;
	va_start(arguments, format);
	vsnprintf(err->text, sizeof err->text, format, arguments);
	va_end(arguments);
	nd_text_one_line(err->text, sizeof err->text);
	return code;
}

static int succeed(struct netdevns_error *err)
{
	memset(err, 0, sizeof *err);
	err->device = -1;
	err->step = "";
	return 0;
}

static int no_memory(struct netdevns_error *err, const char *step)
{
	return nd_batch_fail(err, -ENOMEM, step, -1, "out of memory; nothing was changed");
}

/* Room for one more. */
static int grow(struct netdevns_batch *b)
{
	const size_t size = b->size ? 2 * b->size : 16;
	struct nd_member *more;

	if (b->count < b->size)
		return 0;
	more = realloc(b->members, size * sizeof *more);
	if (!more)
		return -ENOMEM;
	b->members = more;
	b->size = size;
	return 0;
}

int netdevns_batch_add(struct netdevns_batch *b, const char *ifname, const char *wanted, struct netdevns_error *err)
{
	struct nd_member m = { .touched = 0 };

	if (!wanted || !wanted[0])
		wanted = ifname;
	if (b->has_moved)
		return nd_batch_fail(err, -EINVAL, "add", -1, "the batch has moved already: open another one");
	if (b->count == ND_DEVICES_MAX)
		return nd_batch_fail(err, -E2BIG, "add", -1, "at most %d devices can be moved together", ND_DEVICES_MAX);
	if (strlen(ifname) >= ND_WORD_SIZE || strlen(wanted) >= ND_WORD_SIZE)
		return nd_batch_fail(err, -ENAMETOOLONG, "add", -1, "a name has more than %d bytes", ND_WORD_SIZE - 1);
	m.is_template = strchr(wanted, '%') != NULL;
	m.why_ifname = strchr(ifname, '%') ? "it contains \"%\"" : nd_name_why_invalid(ifname);
	m.why_wanted = m.is_template ? nd_name_why_no_template(wanted) : nd_name_why_invalid(wanted);
	memcpy(m.ifname, ifname, strlen(ifname));
	memcpy(m.wanted, wanted, strlen(wanted));
	if (grow(b))
		return no_memory(err, "add");
	b->members[b->count++] = m;
	return succeed(err);
}

/* ---- the handle ------------------------------------------------------------------------------------------------------------ */

struct netdevns_batch *nd_batch_new(void)
{
	struct netdevns_batch *const b = calloc(1, sizeof *b);

	if (!b)
		return NULL;
	b->source_fd = b->target_fd = b->visit_fd = b->record_dirfd = -1;
	b->source.fd = b->target.fd = b->notify.fd = -1;
	nd_lock_init(&b->lock);
	nd_lock_init(&b->target_lock);
	nd_record_init(&b->record);
	return b;
}

static int is_netns(int fd)
{
	return ioctl(fd, NS_GET_NSTYPE) == CLONE_NEWNET;
}

int netdevns_batch_open(struct netdevns_batch **batch, uint32_t version, int source_fd, int target_fd, struct netdevns_error *err)
{
	struct netdevns_batch *b;
	struct nd_err e;
	int code;

	*batch = NULL;
	if (version > NETDEVNS_VERSION || version / 100 != NETDEVNS_VERSION / 100)
		return nd_batch_fail(err, -EPROTO, "open", -1, "compiled with the version %u of netdevns.h, and this is %u", version,
				     (unsigned)NETDEVNS_VERSION);
	b = nd_batch_new();
	if (!b)
		return no_memory(err, "open");
	b->source_fd = source_fd < 0 ? open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC) : fcntl(source_fd, F_DUPFD_CLOEXEC, 3);
	b->target_fd = fcntl(target_fd, F_DUPFD_CLOEXEC, 3);
	b->visit_fd = source_fd < 0 ? -1 : b->source_fd;
	if (b->source_fd < 0 || b->target_fd < 0)
		code = nd_batch_fail(err, -errno, "open", -1, "%s: %s", b->source_fd < 0 ? "source" : "target", strerror(errno));
	else if (!is_netns(b->source_fd) || !is_netns(b->target_fd))
		code = nd_batch_fail(err, -EINVAL, "open", -1, "%s: not a network namespace",
				     is_netns(b->source_fd) ? "target" : "source");
	else if (nd_netns_differ(b->source_fd, b->target_fd, &e))
		code = nd_batch_fail(err, e.code, "open", -1, "%s", e.text);
	else
		code = 0;
	if (code) {
		netdevns_batch_close(b);
		return code;
	}
	*batch = b;
	return succeed(err);
}

int netdevns_batch_record(struct netdevns_batch *b, int dirfd, struct netdevns_error *err)
{
	const int fd = fcntl(dirfd, F_DUPFD_CLOEXEC, 3);
	const int code = fd < 0 ? -errno : nd_record_may_use(fd);

	if (code) {
		if (fd >= 0)
			close(fd);
		return nd_batch_fail(err, code, "record", -1, "the directory of records: %s",
				     code == -EPERM ? "it is another user's, or others may write to it" : strerror(-code));
	}
	if (b->record_dirfd >= 0)
		close(b->record_dirfd);
	b->record_dirfd = fd;
	return succeed(err);
}

void nd_batch_close_sockets(struct netdevns_batch *b)
{
	nd_sock_close(&b->source);
	nd_sock_close(&b->target);
	nd_sock_close(&b->notify);
}

void netdevns_batch_close(struct netdevns_batch *b)
{
	if (!b)
		return;
	nd_record_end(&b->record, b->is_left);
	nd_batch_close_sockets(b);
	nd_lock_release(&b->lock);
	nd_lock_release(&b->target_lock);
	nd_batch_forget(b);
	for (size_t i = 0; i < b->count; i++) {
		struct nd_member *const m = &b->members[i];

		free(m->dev);
		nd_memory_free(&m->missing);
		nd_memory_free(&m->addresses);
	}
	free(b->members);
	free(b->by_name);
	free(b->by_ifindex);
	free(b->moves);
	free(b->replays);
	free(b->seen);
	free(b->found);
	nd_memory_free(&b->links);
	nd_memory_free(&b->reply);
	nd_memory_free(&b->notifications);
	for (int *const fds[] = { &b->source_fd, &b->target_fd, &b->record_dirfd }, i = 0; i < 3; i++)
		if (*fds[i] >= 0)
			close(*fds[i]);
	free(b);
}

/* ---- check, move, undo ------------------------------------------------------------------------------------------------------- */

/* The result of a check: its first error. */
static int verdict(const struct netdevns_batch *b, struct netdevns_error *err)
{
	for (size_t i = 0; i < b->found_count; i++) {
		const struct netdevns_finding *const f = &b->found[i]->finding;

		if (f->severity == NETDEVNS_ERROR)
			return nd_batch_fail(err, -(f->error ? f->error : EIO), "check", f->device, "%s", f->text);
	}
	return succeed(err);
}

/* Looks up and checks. `is_move`: takes the devices, so that nobody else moves them until the batch is closed. */
static int examine(struct netdevns_batch *b, uint32_t accept, int is_move, struct netdevns_error *err)
{
	struct nd_err e = { .text = "" };
	int code;

	nd_batch_forget(b);
	code = nd_batch_check_names(b);
	if (!code)
		code = nd_batch_look_up(b, is_move, &e);
	if (!code && b->source.fd >= 0)
		code = nd_batch_check_source(b, &e);
	if (!code && b->target.fd >= 0)
		code = nd_batch_check_target(b, &e);
	if (!code && b->source.fd >= 0)
		code = nd_batch_detect(b, accept, &e);
	if (code == -ENOMEM)
		return no_memory(err, "check");
	if (code) {
		struct netdevns_error said;

		nd_member_fail(b, NULL, "check", &e, &said);
		if (!nd_batch_find(b, "system", NETDEVNS_ERROR, -code, NULL, "%s", said.text))
			return no_memory(err, "check");
	}
	return verdict(b, err);
}

int netdevns_batch_check(struct netdevns_batch *b, uint32_t accept, struct netdevns_error *err)
{
	if (b->has_moved)
		return nd_batch_fail(err, -EINVAL, "check", -1, "the batch has moved already: open another one");
	return examine(b, accept, 0, err);
}

static int forward(struct netdevns_batch *b, struct netdevns_error *err)
{
	int code = nd_batch_write_record(b, err);

	if (!code)
		code = nd_batch_set_down(b, err);
	for (size_t i = 0; !code && i < b->count; i++)
		code = nd_batch_move_next(b, err);
	if (!code)
		code = nd_batch_catch_up(b, err);
	for (size_t i = 0; !code && i < b->count; i++)
		code = nd_batch_replay_next(b, err);
	if (!code)
		code = nd_batch_verify(b, err);
	return code;
}

static void append(char *text, size_t size, const char *word)
{
	const size_t used = strlen(text);

	snprintf(text + used, size - used, "%s", word);
}

/* Restores; err is what failed before, and gets what became of it. */
static int back(struct netdevns_batch *b, struct netdevns_error *err)
{
	const size_t used = strlen(err->text);

	for (size_t i = 0; i < b->count; i++)
		err->begun |= b->members[i].touched;
	err->left = nd_batch_restore(b);
	b->is_left = err->left > 0;
	b->has_moved = b->is_left;
	if (!b->is_left) {
		nd_record_end(&b->record, 0);
		snprintf(err->text + used, sizeof err->text - used, err->begun ? "; all devices are restored" : "; nothing was changed");
		return err->code;
	}
	snprintf(err->text + used, sizeof err->text - used, "; NOT as before:");
	for (size_t i = 0; i < b->count; i++)
		if (b->members[i].touched && b->members[i].is_lacking) {
			append(err->text, sizeof err->text, " ");
			append(err->text, sizeof err->text, b->members[i].ifname);
		}
	return err->code;
}

/* Takes the ifindexes that the devices will have in the target, as far as nobody has them: who finds one there lets it be. */
static void arrive(struct netdevns_batch *b)
{
	int32_t *const ifindexes = calloc(b->count + 1, sizeof *ifindexes);

	for (size_t i = 0; ifindexes && i < b->count; i++)
		ifindexes[i] = b->members[i].dev->target_ifindex;
	if (ifindexes && b->count) {
		qsort(ifindexes, b->count, sizeof *ifindexes, nd_by_number);
		nd_lock_arrive(&b->target_lock, ND_LOCK_DIR, b->target_fd, ifindexes, b->count);
	}
	free(ifindexes);
}

int netdevns_batch_move(struct netdevns_batch *b, uint32_t accept, struct netdevns_error *err)
{
	int code, may_miss_late = 0;

	if (b->has_moved)
		return nd_batch_fail(err, -EINVAL, "move", -1, "the batch has moved already: open another one");
	code = examine(b, accept, 1, err);
	if (code)
		return code;
	arrive(b);
	code = forward(b, err);
	if (code) {
		struct netdevns_error late;

		if (!b->is_up_to_date && nd_batch_catch_up(b, &late))	/* addresses that were added belong to the undo, too */
			may_miss_late = 1;
		back(b, err);
		if (may_miss_late)
			append(err->text, sizeof err->text, "; an address that was added during the move may be missing");
		return err->code;
	}
	b->has_moved = 1;
	return succeed(err);
}

int netdevns_batch_undo(struct netdevns_batch *b, struct netdevns_error *err)
{
	if (!b->has_moved)
		return nd_batch_fail(err, -EINVAL, "undo", -1, "nothing has moved");
	nd_batch_fail(err, -EIO, "undo", -1, "the move was undone");
	back(b, err);
	return err->left ? err->code : succeed(err);
}

/* ---- results ------------------------------------------------------------------------------------------------------------------ */

const struct netdevns_finding *netdevns_batch_finding(const struct netdevns_batch *b, size_t i)
{
	return i < b->found_count ? &b->found[i]->finding : NULL;
}

const struct netdevns_device *netdevns_batch_device(const struct netdevns_batch *b, size_t i)
{
	struct nd_member *const m = i < b->count ? &b->members[i] : NULL;
	struct netdevns_device *const d = m ? &m->shown : NULL;

	if (!d)
		return NULL;
	memset(d, 0, sizeof *d);
	d->ifname = m->ifname;
	d->name = m->dev ? m->dev->name : "";
	d->host_ifindex = m->link.ifindex;
	d->ifindex = m->dev && m->dev->name[0] ? m->dev->target_ifindex : 0;
	d->location = m->dev ? m->dev->place : NETDEVNS_UNKNOWN;
	d->missing = m->missing.used ? (const char *)m->missing.data : m->is_lacking ? "out of memory" : "";
	d->addresses = m->addresses.data;
	d->addresses_len = m->addresses.used;
	return d;
}
