/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * csrc/netdevns.h called in ways that its comments exclude or allow at the edge:
 *
 *	interface null TARGET			no error object, no batch, no name
 *	interface guard TARGET			nothing is written behind the struct netdevns_error of this version
 *	interface losses TARGET			prints the losses of a check of eth1
 *	interface report DIRECTORY SIZE VERSION	prints the report of a recovery, and its result
 */
#define _GNU_SOURCE
#include "netdevns.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WANT(result, call) want(result, call, #call)

static void want(long result, long is, const char *call)
{
	if (result != is)
		errx(1, "%s: %ld, not %ld", call, is, result);
}

static int opened(const char *path)
{
	const int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		err(1, "%s", path);
	return fd;
}

static void null(int target_fd)
{
	struct netdevns_batch *b = NULL;
	struct netdevns_error e;

	WANT(-EPROTO, netdevns_batch_open(&b, NETDEVNS_VERSION + 1, -1, target_fd, NULL));
	WANT(-EINVAL, netdevns_batch_open(NULL, NETDEVNS_VERSION, -1, target_fd, &e));
	WANT(-EBADF, netdevns_batch_open(&b, NETDEVNS_VERSION, -1, -1, NULL));
	WANT(-EBADF, netdevns_batch_open(&b, NETDEVNS_VERSION, -ENOENT, target_fd, &e));
	if (b || strcmp(e.text, "source: Bad file descriptor") != 0)
		errx(1, "%s", e.text);
	WANT(0, netdevns_batch_open(&b, NETDEVNS_VERSION, -1, target_fd, NULL));
	WANT(-EINVAL, netdevns_batch_add(b, NULL, "net0", NULL));
	WANT(0, netdevns_batch_add(b, "eth0", "net0", NULL));
	WANT(-EBADF, netdevns_batch_record(b, -1, NULL));
	WANT(-ENOTDIR, netdevns_batch_record(b, target_fd, NULL));
	WANT(-EINVAL, netdevns_batch_check(b, 1u << 31, NULL));
	WANT(0, netdevns_batch_check(b, NETDEVNS_UPPER, NULL));
	WANT(-EINVAL, netdevns_batch_move(b, 2 * NETDEVNS_UPPER, NULL));
	WANT(-EINVAL, netdevns_batch_undo(b, NULL));
	WANT(0, netdevns_batch_move(b, 0, NULL));
	WANT(-EINVAL, netdevns_batch_move(b, 0, NULL));
	WANT(0, netdevns_batch_undo(b, NULL));
	netdevns_batch_close(b);
	WANT(-EINVAL, netdevns_batch_add(NULL, "eth0", NULL, &e));
	WANT(-EINVAL, netdevns_batch_record(NULL, target_fd, NULL));
	WANT(-EINVAL, netdevns_batch_check(NULL, 0, NULL));
	WANT(-EINVAL, netdevns_batch_move(NULL, 0, NULL));
	WANT(-EINVAL, netdevns_batch_undo(NULL, NULL));
	WANT(1, !netdevns_batch_device(NULL, 0) && !netdevns_batch_finding(NULL, 0));
	netdevns_batch_close(NULL);
	WANT(-EBADF, netdevns_recover(NETDEVNS_VERSION, -1, 0, NULL, 100, NULL));
	WANT(-EPROTO, netdevns_recover(NETDEVNS_VERSION - 100, -1, 0, NULL, 0, NULL));
}

static void guard(int target_fd)
{
	struct { struct netdevns_error e; unsigned char behind[4096]; } caller;
	struct netdevns_batch *b;

	memset(&caller, 0x55, sizeof caller);
	WANT(-EBADF, netdevns_batch_open(&b, NETDEVNS_VERSION, -1, -1, &caller.e));
	WANT(-EPROTO, netdevns_batch_open(&b, NETDEVNS_VERSION + 99, -1, -1, &caller.e));
	WANT(0, netdevns_batch_open(&b, NETDEVNS_VERSION, -1, target_fd, &caller.e));
	WANT(0, netdevns_batch_add(b, "eth0", "net0", &caller.e));
	WANT(-EBADF, netdevns_batch_record(b, -1, &caller.e));
	WANT(0, netdevns_batch_check(b, 0, &caller.e));
	WANT(0, netdevns_batch_move(b, 0, &caller.e));
	WANT(0, netdevns_batch_undo(b, &caller.e));
	WANT(-EINVAL, netdevns_batch_undo(b, &caller.e));
	netdevns_batch_close(b);
	WANT(-EPROTO, netdevns_recover(NETDEVNS_VERSION + 99, -1, 0, NULL, 0, &caller.e));
	WANT(-EBADF, netdevns_recover(NETDEVNS_VERSION, -1, 0, NULL, 0, &caller.e));
	for (size_t i = 0; i < sizeof caller.behind; i++)
		WANT(0x55, caller.behind[i]);
}

static void losses(int target_fd)
{
	const struct netdevns_finding *f;
	struct netdevns_batch *b;

	WANT(0, netdevns_batch_open(&b, NETDEVNS_VERSION, -1, target_fd, NULL));
	WANT(0, netdevns_batch_add(b, "eth1", "net1", NULL));
	WANT(0, netdevns_batch_check(b, 0, NULL));
	for (size_t i = 0; (f = netdevns_batch_finding(b, i)); i++)
		if (f->severity == NETDEVNS_LOSS)
			puts(f->text);
	netdevns_batch_close(b);
}

static void report(const char *path, size_t size, uint32_t version)
{
	char *const text = malloc(size ? size : 1);	/* a sanitizer sees what is written behind it */
	struct netdevns_error e;
	const int code = netdevns_recover(version, opened(path), 0, text, size, &e);

	printf("%d %s\n%s", code, e.text, text && size ? text : "");
	free(text);
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "null") == 0)
		null(opened(argv[2]));
	else if (argc == 3 && strcmp(argv[1], "guard") == 0)
		guard(opened(argv[2]));
	else if (argc == 3 && strcmp(argv[1], "losses") == 0)
		losses(opened(argv[2]));
	else if (argc == 5 && strcmp(argv[1], "report") == 0)
		report(argv[2], strtoul(argv[3], NULL, 10), (uint32_t)strtoul(argv[4], NULL, 10));
	else
		errx(2, "usage: see interface.c");
	return 0;
}
