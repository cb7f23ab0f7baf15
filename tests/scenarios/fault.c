/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * For LD_PRELOAD: sends of a process that stays fail, from the `first`-th to the `last`-th after fault_arm (from 1; 0: none).
 * A send that fails has sent nothing. Only netlink: of what a process writes to its pipes nothing is seen here.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static long first_failing, last_failing, sends;
static int error;

/* Returns how many sends there were since the last call. */
int fault_arm(int first, int last, int code)
{
	const long seen = sends;

	first_failing = first;
	last_failing = last;
	error = code;
	sends = 0;
	return (int)seen;
}

static int fails(void)
{
	sends++;
	if (sends < first_failing || sends > last_failing)
		return 0;
	errno = error;
	return 1;
}

ssize_t send(int fd, const void *data, size_t len, int flags)
{
	return fails() ? -1 : syscall(SYS_sendto, fd, data, len, flags, NULL, 0);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
	return fails() ? -1 : syscall(SYS_sendmsg, fd, message, flags);
}
