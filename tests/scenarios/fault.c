/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * For LD_PRELOAD: sends or receives of a process that stays fail, from the `first`-th to the `last`-th after fault_arm (from 1;
 * 0: none). A send that fails has sent nothing; a receive that fails leaves the answer unread, and the request was done.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { SEND, RECEIVE };

static long first_failing, last_failing, calls[2];
static int failing, error;

/* `what`: 0 for sends, 1 for receives. Returns how many of these there were since the last call. */
int fault_arm(int what, int first, int last, int code)
{
	const long seen = calls[what];

	failing = what;
	first_failing = first;
	last_failing = last;
	error = code;
	calls[SEND] = calls[RECEIVE] = 0;
	return (int)seen;
}

static int fails(int what)
{
	calls[what]++;
	if (what != failing || calls[what] < first_failing || calls[what] > last_failing)
		return 0;
	errno = error;
	return 1;
}

ssize_t send(int fd, const void *data, size_t len, int flags)
{
	return fails(SEND) ? -1 : syscall(SYS_sendto, fd, data, len, flags, NULL, 0);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
	return fails(SEND) ? -1 : syscall(SYS_sendmsg, fd, message, flags);
}

int recvmmsg(int fd, struct mmsghdr *messages, unsigned int n, int flags, struct timespec *timeout)
{
	return fails(RECEIVE) ? -1 : (int)syscall(SYS_recvmmsg, fd, messages, n, flags, timeout);
}
