/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#define _GNU_SOURCE
#include "journal.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static const char MAGIC[8] = "ndembed";

static int small_file(const char *path, char *to, size_t size)
{
	const int fd = open(path, O_RDONLY | O_CLOEXEC);
	const ssize_t got = fd < 0 ? -1 : read(fd, to, size - 1);
	const int code = got < 0 ? -errno : 0;

	to[got < 0 ? 0 : got] = '\0';
	if (fd >= 0)
		close(fd);
	return code;
}

uint64_t process_started(pid_t pid, int *is_fork)
{
	char path[32], text[512];
	const char *at;
	unsigned flags;
	unsigned long long started;

	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	/* proc(5): flags is field 9, starttime 22; the name, field 2, can have anything in it. 0x40: PF_FORKNOEXEC. */
	if (small_file(path, text, sizeof text) || !(at = strrchr(text, ')')) ||
	    sscanf(at, ") %*c %*d %*d %*d %*d %*d %u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu", &flags,
		   &started) != 2)
		return 0;
	*is_fork = flags & 0x40 ? 1 : 0;
	return started;
}

/* Up to the end of its snapshot; behind it is only room for later steps. */
static size_t used(const struct nd_dev *dev)
{
	const size_t link = (size_t)dev->link + dev->link_len, addrs = (size_t)dev->addrs + dev->addrs_len;

	return link > addrs ? link : addrs;
}

static void set_pin(struct journal *j)
{
	snprintf(j->pin, sizeof j->pin, "%.50s.net", j->path);
}

/* 1: the locked record still has its name; 0: somebody took it away; negative: that cannot be told. */
static int is_left(const struct journal *j)
{
	struct stat st;

	return fstat(j->fd, &st) ? -errno : st.st_nlink > 0;
}

int journal_begin(struct journal *j, int target_fd)
{
	char there[32];
	int fd, left;

	if (mkdir(JOURNAL_DIR, 0700) && errno != EEXIST)
		return -errno;
	do {	/* a recovery may take a new one, which says nothing, away before it is locked */
		if (j->fd >= 0)
			close(j->fd);
		snprintf(j->path, sizeof j->path, JOURNAL_DIR "/XXXXXX");
		j->fd = mkostemp(j->path, O_CLOEXEC);
		set_pin(j);
		if (j->fd < 0 || flock(j->fd, LOCK_EX))
			return -errno;
		left = is_left(j);
	} while (!left);
	if (left < 0)
		return left;
	fd = open(j->pin, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	close(fd);
	snprintf(there, sizeof there, "/proc/self/fd/%d", target_fd);
	return mount(there, j->pin, "none", MS_BIND, NULL) ? -errno : 0;
}

int journal_write(struct journal *j, uint64_t source, pid_t pid, struct nd_dev *const *devices, int count)
{
	struct journal_head head = { .version = ND_VERSION, .count = (uint32_t)count, .source = source, .pid = pid };
	struct iovec parts[1 + JOURNAL_DEVICES] = { { &head, sizeof head } };
	ssize_t written;
	int is_fork;

	memcpy(head.magic, MAGIC, sizeof MAGIC);
	small_file("/proc/sys/kernel/random/boot_id", head.boot, sizeof head.boot);
	head.started = process_started(pid, &is_fork);
	head.bytes = sizeof head;
	for (int i = 0; i < count; i++) {
		parts[1 + i] = (struct iovec){ devices[i], used(devices[i]) };
		head.bytes += used(devices[i]);
	}
	written = writev(j->fd, parts, 1 + count);
	return written < 0 ? -errno : (uint64_t)written != head.bytes ? -ENOSPC : 0;
}

int journal_end(struct journal *j)
{
	int code = 0;

	if (!*j->path)
		return 0;
	if (unlink(j->path) && errno != ENOENT)
		code = -errno;
	if (!code && umount2(j->pin, MNT_DETACH) && errno != EINVAL && errno != ENOENT)
		code = -errno;
	if (!code && unlink(j->pin) && errno != ENOENT)
		code = -errno;
	if (j->fd >= 0)
		close(j->fd);
	j->fd = -1;
	return code;
}

int journal_open(struct journal *j, const char *name)
{
	int left;

	snprintf(j->path, sizeof j->path, JOURNAL_DIR "/%.16s", name);
	set_pin(j);
	j->fd = open(j->path, O_RDWR | O_CLOEXEC);
	if (j->fd < 0)
		return errno == ENOENT ? 1 : -errno;
	if (flock(j->fd, LOCK_EX))
		return -errno;
	left = is_left(j);
	return left < 0 ? left : !left;
}

int journal_read(struct journal *j, struct journal_head *head, struct nd_dev **devices)
{
	char boot[sizeof head->boot];
	struct stat st;
	struct nd_dev first;
	int n = 0;

	if (fstat(j->fd, &st))
		return -errno;
	if ((size_t)st.st_size < sizeof *head || read(j->fd, head, sizeof *head) != sizeof *head ||
	    head->bytes != (uint64_t)st.st_size)
		return 0;
	small_file("/proc/sys/kernel/random/boot_id", boot, sizeof boot);
	if (strncmp(boot, head->boot, sizeof boot) != 0)
		return 0;
	if (memcmp(head->magic, MAGIC, sizeof MAGIC) != 0 || head->version / 100 != ND_VERSION / 100 ||
	    head->count > JOURNAL_DEVICES)
		return -EBADMSG;
	for (off_t at = sizeof *head; n < (int)head->count; at += (off_t)used(&first), n++) {
		devices[n] = NULL;
		if (pread(j->fd, &first, sizeof first, at) != sizeof first || used(&first) < sizeof first ||
		    used(&first) > first.size || used(&first) > head->bytes || !(devices[n] = calloc(1, first.size)) ||
		    pread(j->fd, devices[n], used(&first), at) != (ssize_t)used(&first)) {
			for (; n >= 0; n--)
				free(devices[n]);
			return -EBADMSG;
		}
	}
	return n;
}
