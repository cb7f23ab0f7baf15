/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * For LD_PRELOAD: makes system calls of a program fail with EIO. FAULT_CALL is send, recvmmsg or setns; the calls from the
 * FAULT_FIRST-th (from 1) to the FAULT_LAST-th fail. The answer to a failing recvmmsg stays unread: the request was done.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static int fails(const char *call)
{
	static long calls;
	const char *which = getenv("FAULT_CALL"), *first = getenv("FAULT_FIRST"), *last = getenv("FAULT_LAST");

	if (!which || !first || !last || strcmp(which, call) != 0)
		return 0;
	calls++;
	errno = EIO;
	return calls >= atol(first) && calls <= atol(last);
}

ssize_t send(int fd, const void *data, size_t len, int flags)
{
	return fails("send") ? -1 : sendto(fd, data, len, flags, NULL, 0);
}

int recvmmsg(int fd, struct mmsghdr *messages, unsigned int n, int flags, struct timespec *timeout)
{
	return fails("recvmmsg") ? -1 : (int)syscall(SYS_recvmmsg, fd, messages, n, flags, timeout);
}

int setns(int fd, int type)
{
	return fails("setns") ? -1 : (int)syscall(SYS_setns, fd, type);
}
