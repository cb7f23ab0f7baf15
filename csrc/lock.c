/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* Locks devices by namespace and ifindex, with the same files as netdevns/system/exclusion.py: one mover at a time. */
#include "batch.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PAUSE_MS 5

void nd_lock_init(struct nd_lock *lock)
{
	memset(lock, 0, sizeof *lock);
	lock->dirfd = lock->fd = -1;
}

/* Locks or unlocks without waiting (count 0: all). 1: done; 0: another mover holds one of them; or -errno. */
static int set(int fd, short kind, int32_t first, size_t count)
{
	struct flock run = { .l_type = kind, .l_whence = SEEK_SET, .l_start = first, .l_len = (off_t)count };

	if (fcntl(fd, F_OFD_SETLK, &run) == 0)
		return 1;
	return errno == EAGAIN || errno == EACCES ? 0 : -errno;
}

/* Writes this pid for its ifindexes. If the file system is full, messages say "another process". */
static void sign(int fd, int32_t first, size_t count)
{
	uint32_t pids[64];
	off_t at = (off_t)first * (off_t)sizeof pids[0];

	for (size_t i = 0; i < sizeof pids / sizeof pids[0]; i++)
		pids[i] = (uint32_t)getpid();
	while (count) {
		const size_t n = count < sizeof pids / sizeof pids[0] ? count : sizeof pids / sizeof pids[0];

		if (pwrite(fd, pids, n * sizeof pids[0], at) < 0)
			return;
		at += (off_t)(n * sizeof pids[0]);
		count -= n;
	}
}

/* The process that wrote its pid; 0: it has ended, so the holder is another one that could not write its pid. */
static uint32_t mover(int fd, int32_t ifindex)
{
	char path[32];
	uint32_t pid;

	if (pread(fd, &pid, sizeof pid, (off_t)ifindex * (off_t)sizeof pid) != (ssize_t)sizeof pid)
		return 0;
	snprintf(path, sizeof path, "/proc/%" PRIu32, pid);
	return access(path, F_OK) == 0 ? pid : 0;
}

/* The device of a run that another mover holds. */
static int32_t busy_one(int fd, int32_t first, size_t count)
{
	struct flock run = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = first, .l_len = (off_t)count };

	if (fcntl(fd, F_OFD_GETLK, &run) < 0 || run.l_type == F_UNLCK || run.l_start < first)
		return first;
	return (int32_t)run.l_start;
}

int64_t nd_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Waits for a moment. 0: the time is over. */
static int wait_until(int64_t end_ms)
{
	const int64_t left = end_ms - nd_now_ms();
	const struct timespec pause = { .tv_nsec = (left < PAUSE_MS ? left : PAUSE_MS) * 1000000 };

	if (left <= 0)
		return 0;
	nanosleep(&pause, NULL);	/* a signal only makes it shorter */
	return 1;
}

/* The length of the run of adjacent ifindexes that begins at `at`: one lock. */
static size_t run_length(const int32_t *ifindexes, size_t at, size_t count)
{
	size_t n = 1;

	while (at + n < count && ifindexes[at + n] == ifindexes[at] + (int32_t)n)
		n++;
	return n;
}

static void give_back(struct nd_lock *lock)
{
	set(lock->fd, F_UNLCK, 0, 0);
	free(lock->held);
	lock->held = NULL;
	lock->count = 0;
}

/* Opens the file of the namespace, whose descriptor keeps the inode from being reused. */
static int open_of(struct nd_lock *lock, const char *dir, int netns_fd)
{
	char name[32];
	struct stat netns;
	int fd;

	if (fstat(netns_fd, &netns) < 0)
		return -errno;
	if (lock->fd >= 0)
		return lock->ino == (uint64_t)netns.st_ino ? 0 : -EINVAL;
	fd = lock->dirfd < 0 ? nd_folder_open(dir, &lock->why) : lock->dirfd;
	if (fd < 0)
		return fd;
	lock->dirfd = fd;
	snprintf(name, sizeof name, "%" PRIu64 ".lock", (uint64_t)netns.st_ino);
	fd = nd_file_open(lock->dirfd, name, O_RDWR | O_CREAT, &lock->why);
	if (fd < 0)
		return fd;
	lock->fd = fd;
	lock->ino = (uint64_t)netns.st_ino;
	return 0;
}

/* Merges the held and the wanted ifindexes, ascending. -EINVAL: they are not ascending. */
static int unite(const struct nd_lock *lock, const int32_t *ifindexes, size_t count, int32_t **all, size_t *total)
{
	size_t i = 0, j = 0, n = 0;

	for (size_t k = 0; k < count; k++)
		if (ifindexes[k] < 0 || (k && ifindexes[k] < ifindexes[k - 1]))
			return -EINVAL;
	*all = malloc((lock->count + count + 1) * sizeof **all);
	if (!*all)
		return -ENOMEM;
	while (i < lock->count || j < count) {
		const int is_held = j == count || (i < lock->count && lock->held[i] <= ifindexes[j]);
		const int32_t next = is_held ? lock->held[i++] : ifindexes[j++];

		if (!n || (*all)[n - 1] != next)
			(*all)[n++] = next;
	}
	*total = n;
	return 0;
}

/*
 * In ascending order, so that two movers never wait for each other: if one is missing, all are released first. A failure
 * leaves none locked.
 */
static int take(struct nd_lock *lock, const int32_t *all, size_t total, int wait_ms, int32_t *busy, uint32_t *pid)
{
	int64_t end = -1;

	if (lock->count)
		give_back(lock);
	for (size_t at = 0, n; at < total; at += n) {
		int code;

		n = run_length(all, at, total);
		while ((code = set(lock->fd, F_WRLCK, all[at], n)) == 0) {
			if (end < 0)
				end = nd_now_ms() + wait_ms;
			if (wait_until(end))
				continue;
			*busy = busy_one(lock->fd, all[at], n);
			*pid = mover(lock->fd, *busy);
			code = -EBUSY;
			break;
		}
		if (code < 0) {
			give_back(lock);
			return code;
		}
		sign(lock->fd, all[at], n);
	}
	return 0;
}

int nd_lock_may_be_held(int code)
{
	return code == -EMFILE || code == -ENFILE || code == -EIO;
}

int nd_lock_hold(struct nd_lock *lock, const char *dir, int netns_fd, const int32_t *ifindexes, size_t count, int wait_ms,
		 int32_t *busy, uint32_t *pid)
{
	int32_t *all = NULL;
	size_t total;
	int code;

	*busy = 0;
	*pid = 0;
	code = unite(lock, ifindexes, count, &all, &total);
	if (code)
		return code;
	if (count)
		code = open_of(lock, dir, netns_fd);
	if (code || total == lock->count)
		goto out;
	code = take(lock, all, total, wait_ms, busy, pid);
	if (code)
		goto out;
	lock->held = all;
	lock->count = total;
	return 1;
out:
	free(all);
	return code;
}

void nd_lock_arrive(struct nd_lock *lock, const char *dir, int netns_fd, const int32_t *ifindexes, size_t count)
{
	if (open_of(lock, dir, netns_fd))
		return;
	for (size_t at = 0, n; at < count; at += n) {
		int got;

		if (ifindexes[at] <= 0) {
			n = 1;
			continue;
		}
		/* One that another mover holds must not block the others: the run is halved until it is free or has one ifindex. */
		n = run_length(ifindexes, at, count);
		while ((got = set(lock->fd, F_WRLCK, ifindexes[at], n)) == 0 && n > 1)
			n = (n + 1) / 2;
		if (got > 0)
			sign(lock->fd, ifindexes[at], n);
	}
}

void nd_lock_release(struct nd_lock *lock)
{
	if (lock->fd >= 0) {
		give_back(lock);
		close(lock->fd);
	}
	if (lock->dirfd >= 0)
		close(lock->dirfd);
	nd_lock_init(lock);
}
