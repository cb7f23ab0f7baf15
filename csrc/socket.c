/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* Opens NETLINK_ROUTE sockets in a network namespace. */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/stat.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#define ANSWER_TIMEOUT_S 10

/* Reads or writes in one call: a file of /proc/sys takes a whole value at once. */
static void do_file(struct nd_file *file)
{
	const int fd = open(file->path, (file->write ? O_WRONLY : O_RDONLY) | O_CLOEXEC);
	ssize_t n;

	if (!file->write)
		file->text[0] = '\0';
	if (fd < 0) {
		file->code = -errno;
		return;
	}
	do
		n = file->write ? write(fd, file->text, strnlen(file->text, sizeof file->text))
				: read(fd, file->text, sizeof file->text - 1);
	while (n < 0 && errno == EINTR);
	file->code = n < 0 ? -errno : 0;
	if (!file->write)
		file->text[n < 0 ? 0 : n] = '\0';
	close(fd);
}

static int open_here(struct nd_sock *s, struct nd_file *files, size_t nfiles)
{
	s->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	if (s->fd < 0)
		return -errno;
	for (size_t i = 0; i < nfiles; i++)
		do_file(&files[i]);
	return 0;
}

/* A descriptor of the namespace that the calling thread has just made. */
static int open_made(int *made)
{
	*made = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	return *made < 0 ? -errno : 0;
}

/*
 * The one function that leaves the calling thread's namespace.
 *
 * Signals are blocked, so that no handler runs (and opens sockets) in the other namespace. sigprocmask(2) blocks them for this
 * thread alone; pthread_sigmask would bind the object to glibc >= 2.32. Cancellation is disabled, because open, read and
 * close are cancellation points, and cleanup handlers would run there; pthread_setcancelstate needs no -lpthread.
 * /proc/self is the main thread's namespace, /proc/thread-self the calling thread's (probe netns.setns.one-thread).
 */
static int open_there(struct nd_sock *s, int netns_fd, struct nd_file *files, size_t nfiles, int *made, struct nd_err *err)
{
	sigset_t all, before;
	int home, code, cancel;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
	home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	if (home < 0) {
		code = nd_err_set(err, ND_STEP_OPEN, -errno, "cannot open /proc/thread-self/ns/net, the way back");
		pthread_setcancelstate(cancel, NULL);
		return code;
	}
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &before);
	/* The way back is tried first: a caller may have the right to enter the other namespace and not the right to return. */
	if (setns(home, CLONE_NEWNET) < 0) {
		code = nd_err_set(err, ND_STEP_OPEN, -errno, "setns into this thread's own namespace, the way back, was refused");
	} else if (made ? unshare(CLONE_NEWNET) < 0 : setns(netns_fd, CLONE_NEWNET) < 0) {
		code = nd_err_set(err, ND_STEP_OPEN, -errno, made ? "a new network namespace was refused" : "setns into the namespace was refused");
	} else {
		code = made ? open_made(made) : 0;
		if (!code)
			code = open_here(s, files, nfiles);
		if (code)
			nd_err_set(err, ND_STEP_OPEN, code, "cannot open a NETLINK_ROUTE socket in the namespace");
		if (setns(home, CLONE_NEWNET) < 0) {
			if (!code)
				close(s->fd);
			s->fd = -1;
			code = nd_err_set(err, ND_STEP_OPEN, -ENOTRECOVERABLE,
					  "setns back failed: this thread is in the wrong network namespace and must end");
		}
	}
	sigprocmask(SIG_SETMASK, &before, NULL);
	close(home);
	pthread_setcancelstate(cancel, NULL);
	return code;
}

int nd_sock_create(struct nd_sock *s, int netns_fd, struct nd_file *files, size_t nfiles, struct nd_err *err)
{
	int code;

	memset(s, 0, sizeof *s);
	s->fd = -1;
	if (netns_fd >= 0)
		return open_there(s, netns_fd, files, nfiles, NULL, err);
	code = open_here(s, files, nfiles);
	return code ? nd_err_set(err, ND_STEP_OPEN, code, "cannot open a NETLINK_ROUTE socket") : 0;
}

/* Options, address and time limit of a socket that was just opened. */
static int set_up(struct nd_sock *s, struct nd_err *err)
{
	static const int options[] = { NETLINK_EXT_ACK, NETLINK_CAP_ACK, NETLINK_GET_STRICT_CHK };
	const struct timeval limit = { .tv_sec = ANSWER_TIMEOUT_S };
	struct sockaddr_nl addr = { .nl_family = AF_NETLINK };
	socklen_t len = sizeof addr;
	const int on = 1;
	int code;

	for (size_t i = 0; i < sizeof options / sizeof options[0]; i++)
		if (setsockopt(s->fd, SOL_NETLINK, options[i], &on, sizeof on) < 0 && errno != ENOPROTOOPT)
			goto fail;
	if (setsockopt(s->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) < 0 ||
	    bind(s->fd, (const struct sockaddr *)&addr, sizeof addr) < 0 ||
	    getsockname(s->fd, (struct sockaddr *)&addr, &len) < 0)
		goto fail;
	/* The kernel chooses it; the process id is only its first choice (probe acks.echo.second-socket). */
	s->portid = addr.nl_pid;
	err->code = 0;
	return 0;
fail:
	code = nd_err_set(err, ND_STEP_OPEN, -errno, "cannot set up a NETLINK_ROUTE socket");
	nd_sock_close(s);
	return code;
}

int nd_sock_open(struct nd_sock *s, int netns_fd, struct nd_file *files, size_t nfiles, struct nd_err *err)
{
	const int code = nd_sock_create(s, netns_fd, files, nfiles, err);

	return code ? code : set_up(s, err);
}

int nd_sock_open_new(struct nd_sock *s, int *netns_fd, struct nd_err *err)
{
	int code;

	memset(s, 0, sizeof *s);
	s->fd = *netns_fd = -1;
	code = open_there(s, -1, NULL, 0, netns_fd, err);
	if (!code)
		code = set_up(s, err);
	if (code && *netns_fd >= 0) {
		close(*netns_fd);
		*netns_fd = -1;
	}
	return code;
}

void nd_sock_close(struct nd_sock *s)
{
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
}

uint64_t nd_sock_cookie(const struct nd_sock *s)
{
	uint64_t cookie = 0;
	socklen_t len = sizeof cookie;

	return getsockopt(s->fd, SOL_SOCKET, ND_SO_NETNS_COOKIE, &cookie, &len) < 0 ? 0 : cookie;
}

/* By system call number: fstat(3) would bind the object to glibc >= 2.33. */
static long inode_of(int fd, struct statx *found)
{
	return syscall(SYS_statx, fd, "", AT_EMPTY_PATH, STATX_INO, found);
}

int nd_netns_differ(int source_fd, int target_fd, struct nd_err *err)
{
	struct statx source, target;

	err->code = 0;
	if (inode_of(source_fd, &source) < 0 || inode_of(target_fd, &target) < 0)
		return nd_err_set(err, ND_STEP_OPEN, -errno, "not a descriptor of a namespace");
	if (source.stx_ino == target.stx_ino && source.stx_dev_major == target.stx_dev_major &&
	    source.stx_dev_minor == target.stx_dev_minor)
		return nd_err_set(err, ND_STEP_OPEN, -EINVAL, "target and source are one network namespace");
	return 0;
}
