/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* Linked with --wrap of each function that is wrapped here. */
#define _GNU_SOURCE
#include "disturb.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
ssize_t __real_send(int fd, const void *data, size_t len, int flags);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
ssize_t __wrap_send(int fd, const void *data, size_t len, int flags);

int __real_socket(int domain, int type, int protocol);
int __wrap_socket(int domain, int type, int protocol);

long stop_type, stop_number;
static long allocations, first_failing, last_failing, failing_socket, moves, first_unsent, last_unsent;
static volatile sig_atomic_t signals;

static int fails(void)
{
	allocations++;
	return allocations >= first_failing && allocations <= last_failing;
}

void *__wrap_malloc(size_t size)
{
	return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
	return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size)
{
	return fails() ? NULL : __real_realloc(old, size);
}

static int has_attribute(const unsigned char *message, size_t len, size_t at, uint16_t type)
{
	struct nlattr a;

	for (; at + sizeof a <= len; at += (size_t)NLA_ALIGN(a.nla_len)) {
		memcpy(&a, message + at, sizeof a);
		if ((a.nla_type & NLA_TYPE_MASK) == type)
			return 1;
		if (a.nla_len < sizeof a)
			break;
	}
	return 0;
}

/* Whether one of the messages has that type: 0: any, MOVE, or RTM_*. */
static int has_type(const unsigned char *data, size_t len, long type)
{
	struct nlmsghdr h;

	for (size_t at = 0; at + sizeof h <= len; at += (size_t)NLMSG_ALIGN(h.nlmsg_len)) {
		const size_t attributes = sizeof h + sizeof(struct ifinfomsg);

		memcpy(&h, data + at, sizeof h);
		if (!type || h.nlmsg_type == type)
			return 1;
		if (type == MOVE && h.nlmsg_type == RTM_NEWLINK &&
		    has_attribute(data + at, h.nlmsg_len, attributes, IFLA_NET_NS_FD))
			return 1;
		if (h.nlmsg_len < sizeof h)
			break;
	}
	return 0;
}

static void wait_for_line(void)
{
	int c;

	printf("{\"stopped\":1}\n");
	fflush(stdout);
	do
		c = getchar();
	while (c != '\n' && c != EOF);
}

ssize_t __wrap_send(int fd, const void *data, size_t len, int flags)
{
	if (stop_number && has_type(data, len, stop_type) && --stop_number == 0)
		wait_for_line();
	if (last_unsent && has_type(data, len, MOVE) && ++moves >= first_unsent && moves <= last_unsent) {
		errno = ENOBUFS;
		return -1;
	}
	return __real_send(fd, data, len, flags);
}

static void on_signal(int number)
{
	(void)number;
	signals++;
}

void catch_all(void)
{
	static const int not_ours[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP, SIGSYS, SIGKILL, SIGSTOP };
	struct sigaction action = { .sa_handler = on_signal };

	for (int i = 1; i <= SIGRTMAX; i++) {
		size_t k = 0;

		while (k < sizeof not_ours / sizeof not_ours[0] && not_ours[k] != i)
			k++;
		if (k == sizeof not_ours / sizeof not_ours[0])
			sigaction(i, &action, NULL);	/* of two libc says EINVAL */
	}
}

void interrupt(long usec)
{
	const struct itimerval each = { .it_interval.tv_usec = usec, .it_value.tv_usec = usec };
	const int seen = signals;

	if (setitimer(ITIMER_REAL, &each, NULL))
		die("setitimer");
	signals = 0;
	printf("{\"signals\":%d}\n", seen);
}

void fail_allocations(long first, long last)
{
	printf("{\"allocations\":%ld}\n", allocations);
	first_failing = first;
	last_failing = last;
	allocations = 0;
}

void fail_moves(long first, long last)
{
	moves = 0;
	first_unsent = first;
	last_unsent = last;
	printf("{}\n");
}

void fail_socket(long number)
{
	failing_socket = number;
	printf("{}\n");
}

int __wrap_socket(int domain, int type, int protocol)
{
	if (failing_socket && --failing_socket == 0) {
		errno = ENOBUFS;
		return -1;
	}
	return __real_socket(domain, type, protocol);
}

void limit_files(rlim_t count)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		die("getrlimit");
	limit.rlim_cur = count < limit.rlim_max ? count : limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit))
		die("setrlimit");
	printf("{}\n");
}

void enter(const char *path)
{
	const int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || setns(fd, CLONE_NEWNET))
		die(path);
	close(fd);
	printf("{}\n");
}
