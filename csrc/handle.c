/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* The handle of a batch: opens and closes it, adds devices, returns results; netdevns.h specifies the functions. */
#include "batch.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define HERE "/proc/thread-self/ns/net"
#define REPLY_BYTES (256 << 10)	/* at first: the links of 150 devices */

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

int nd_batch_may(const struct netdevns_batch *b, const char *step, struct netdevns_error *err)
{
	if (b && !b->has_moved)
		return 0;
	return nd_batch_fail(err, -EINVAL, step, -1, "%s", b ? "the batch has moved already: open another one" : "there is no batch");
}

uint32_t nd_batch_version(const struct netdevns_batch *b)
{
	return b ? b->version : 0;
}

static int add(struct netdevns_batch *b, const char *ifname, const char *wanted, struct netdevns_error *err)
{
	struct nd_member *m;

	if (nd_batch_may(b, "add", err))
		return err->code;
	if (!ifname)
		return nd_batch_fail(err, -EINVAL, "add", -1, "a device needs a name");
	if (!wanted || !wanted[0])
		wanted = ifname;
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

int netdevns_batch_add(struct netdevns_batch *b, const char *ifname, const char *wanted, struct netdevns_error *err)
{
	struct netdevns_error e;

	add(b, ifname, wanted, &e);
	return nd_error_give(nd_batch_version(b), &e, err);
}

struct netdevns_batch *nd_batch_new(void)
{
	struct netdevns_batch *const b = calloc(1, sizeof *b);

	if (!b)
		return NULL;
	b->version = NETDEVNS_VERSION;
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

/* Fills an empty handle. */
static int open_netns(struct netdevns_batch *b, int source_fd, int target_fd, struct netdevns_error *err)
{
	struct nd_err e;

	/* Another negative number is a failed open of the caller's, not a wish for this thread's namespace. */
	b->source_fd = source_fd == -1 ? open(HERE, O_RDONLY | O_CLOEXEC) : fcntl(source_fd, F_DUPFD_CLOEXEC, 3);
	if (b->source_fd < 0)
		return nd_batch_fail(err, -errno, "open", -1, "source: %s", strerror(errno));
	b->target_fd = fcntl(target_fd, F_DUPFD_CLOEXEC, 3);
	if (b->target_fd < 0)
		return nd_batch_fail(err, -errno, "open", -1, "target: %s", strerror(errno));
	if (!is_netns(b->source_fd) || !is_netns(b->target_fd))
		return nd_batch_fail(err, -EINVAL, "open", -1, "%s: not a network namespace", is_netns(b->source_fd) ? "target" : "source");
	if (nd_netns_differ(b->source_fd, b->target_fd, &e))
		return nd_batch_fail(err, e.code, "open", -1, "%s", e.text);
	return nd_batch_succeed(err);
}

int netdevns_batch_open(struct netdevns_batch **batch, uint32_t version, int source_fd, int target_fd, struct netdevns_error *err)
{
	struct netdevns_batch *b;
	struct netdevns_error e;

	if (batch)
		*batch = NULL;
	if (nd_version_check(version, "open", &e))
		return nd_error_give(version, &e, err);
	if (!batch) {
		nd_batch_fail(&e, -EINVAL, "open", -1, "there is no pointer to put the batch in");
		return nd_error_give(version, &e, err);
	}
	b = nd_batch_new();
	if (!b) {
		nd_batch_no_memory(&e, "open");
		return nd_error_give(version, &e, err);
	}
	b->version = version;
	if (open_netns(b, source_fd, target_fd, &e))
		netdevns_batch_close(b);
	else
		*batch = b;
	return nd_error_give(version, &e, err);
}

static int set_records(struct netdevns_batch *b, int dirfd, struct netdevns_error *err)
{
	struct nd_err e;
	int fd, code;

	if (nd_batch_may(b, "record", err))	/* the record of one that has moved is in the earlier directory */
		return err->code;
	fd = fcntl(dirfd, F_DUPFD_CLOEXEC, 3);
	code = fd < 0 ? nd_err_set(&e, ND_STEP_NONE, -errno, "records need the descriptor of a directory") : nd_record_may_use(fd, &e);
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

int netdevns_batch_record(struct netdevns_batch *b, int dirfd, struct netdevns_error *err)
{
	struct netdevns_error e;

	set_records(b, dirfd, &e);
	return nd_error_give(nd_batch_version(b), &e, err);
}

void nd_batch_close_sockets(struct netdevns_batch *b)
{
	nd_sock_close(b->source);
	nd_sock_close(b->target);
	nd_sock_close(b->notify);
}

void netdevns_batch_close(struct netdevns_batch *b)
{
	int fds[3];

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
	fds[0] = b->source_fd;
	fds[1] = b->target_fd;
	fds[2] = b->record_dirfd;
	for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	free(b);
}

/* ---- results ------------------------------------------------------------------------------------------------------------------ */

const struct netdevns_finding *netdevns_batch_finding(const struct netdevns_batch *b, size_t i)
{
	return b && i < b->found_count ? &b->found[i]->finding : NULL;
}

const struct netdevns_device *netdevns_batch_device(const struct netdevns_batch *b, size_t i)
{
	struct nd_member *const m = b && i < b->count ? b->members[i] : NULL;
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
