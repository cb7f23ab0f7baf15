/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* The handle of a batch: opens and closes it, adds devices, returns results; netdevns.h specifies the functions. */
#include "batch.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define HERE "/proc/thread-self/ns/net"
#define REPLY_BYTES (256 << 10)	/* at first: the links of 150 devices */

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

int nd_batch_succeed(struct netdevns_error *err)
{
	memset(err, 0, sizeof *err);
	err->device = -1;
	err->step = "";
	return 0;
}

int nd_batch_no_memory(struct netdevns_error *err, const char *step)
{
	return nd_batch_fail(err, -ENOMEM, step, -1, "out of memory; nothing was changed");
}

/* ---- the handle ------------------------------------------------------------------------------------------------------------ */

/* Makes room for one more member. */
static int grow(struct netdevns_batch *b)
{
	const size_t size = b->size ? 2 * b->size : 16;
	struct nd_member **more;

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
	struct nd_member *m;

	if (!wanted || !wanted[0])
		wanted = ifname;
	if (b->has_moved)
		return nd_batch_fail(err, -EINVAL, "add", -1, "the batch has moved already: open another one");
	if (b->count == ND_DEVICES_MAX)
		return nd_batch_fail(err, -E2BIG, "add", -1, "at most %d devices can be moved together", ND_DEVICES_MAX);
	if (strlen(ifname) >= ND_WORD_SIZE || strlen(wanted) >= ND_WORD_SIZE)
		return nd_batch_fail(err, -ENAMETOOLONG, "add", -1, "a name has more than %d bytes", ND_WORD_SIZE - 1);
	m = grow(b) ? NULL : nd_member_new(ifname, wanted);
	if (!m)
		return nd_batch_no_memory(err, "add");
	m->why_ifname = strchr(ifname, '%') ? "it contains \"%\"" : nd_name_why_invalid(ifname);
	m->why_wanted = m->is_template ? nd_name_why_no_template(wanted) : nd_name_why_invalid(wanted);
	nd_batch_append(b, m);
	return nd_batch_succeed(err);
}

struct netdevns_batch *nd_batch_new(void)
{
	struct netdevns_batch *const b = calloc(1, sizeof *b);

	if (!b)
		return NULL;
	b->source_fd = b->target_fd = b->record_dirfd = -1;
	b->source = &b->own_source;
	b->target = &b->own_target;
	b->notify = &b->own_notify;
	b->source->fd = b->target->fd = b->notify->fd = -1;
	b->moves_altnames = -1;
	if (nd_memory_grow(&b->reply, REPLY_BYTES)) {
		free(b);
		return NULL;
	}
	nd_lock_init(&b->lock);
	nd_lock_init(&b->target_lock);
	nd_record_init(&b->record);
	return b;
}

int nd_batch_visit(const struct netdevns_batch *b)
{
	struct stat here, source;

	if (stat(HERE, &here) < 0 || fstat(b->source_fd, &source) < 0)
		return b->source_fd;
	return here.st_dev == source.st_dev && here.st_ino == source.st_ino ? -1 : b->source_fd;
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
		return nd_batch_fail(err, -EPROTO, "open", -1, "the program was compiled with netdevns.h %u, but this library is %u: compile it again with the library's header",
				     version, (unsigned)NETDEVNS_VERSION);
	b = nd_batch_new();
	if (!b)
		return nd_batch_no_memory(err, "open");
	b->source_fd = source_fd < 0 ? open(HERE, O_RDONLY | O_CLOEXEC) : fcntl(source_fd, F_DUPFD_CLOEXEC, 3);
	b->target_fd = fcntl(target_fd, F_DUPFD_CLOEXEC, 3);
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
	return nd_batch_succeed(err);
}

int netdevns_batch_record(struct netdevns_batch *b, int dirfd, struct netdevns_error *err)
{
	struct nd_err e;
	int fd, code;

	if (b->has_moved)	/* its record is in the earlier directory */
		return nd_batch_fail(err, -EINVAL, "record", -1, "the batch has moved already: open another one");
	fd = fcntl(dirfd, F_DUPFD_CLOEXEC, 3);
	code = fd < 0 ? nd_err_set(&e, ND_STEP_NONE, -errno, "no descriptor of a directory") : nd_record_may_use(fd, &e);
	if (code) {
		if (fd >= 0)
			close(fd);
		return nd_batch_fail(err, code, "record", -1, "%s: %s", strerror(-code), e.text);
	}
	if (b->record_dirfd >= 0)
		close(b->record_dirfd);
	b->record_dirfd = fd;
	return nd_batch_succeed(err);
}

void nd_batch_close_sockets(struct netdevns_batch *b)
{
	nd_sock_close(b->source);
	nd_sock_close(b->target);
	nd_sock_close(b->notify);
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
	for (size_t i = 0; i < b->all; i++)
		nd_member_free(b->members[i]);
	free(b->members);
	free(b->by_name);
	free(b->by_ifindex);
	free(b->by_target);
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

/* ---- results ------------------------------------------------------------------------------------------------------------------ */

const struct netdevns_finding *netdevns_batch_finding(const struct netdevns_batch *b, size_t i)
{
	return i < b->found_count ? &b->found[i]->finding : NULL;
}

const struct netdevns_device *netdevns_batch_device(const struct netdevns_batch *b, size_t i)
{
	struct nd_member *const m = i < b->count ? b->members[i] : NULL;
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
