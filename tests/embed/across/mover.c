/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * csrc/netdevns.h from a command line, for tests:
 *
 *	mover check|move|undo ACCEPT RECORDS TARGET DEV[=NAME]...	RECORDS: a directory or -
 *	mover recover UNDO_COMPLETE RECORDS
 *
 * "undo" moves before. Findings go to stdout, one a line: DEVICE CODE SEVERITY ERRNO STATE; so do the lines of a recovery. Exit
 * codes: 0 done; 1 failed, restored; 2 refused, nothing was changed; 3 some device is not as before.
 */
#define _GNU_SOURCE
#include "netdevns.h"

#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int opened(const char *path)
{
	const int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		err(2, "%s", path);
	return fd;
}

static int fail(const struct netdevns_error *e)
{
	warnx("%s: %s", e->step, e->text);
	return e->left ? 3 : e->begun ? 1 : 2;
}

static int recover(int undo_complete, int dirfd)
{
	static char report[1 << 16];
	struct netdevns_error e;
	const int code = netdevns_recover(NETDEVNS_VERSION, dirfd, undo_complete, report, sizeof report, &e);

	fputs(report, stdout);
	if (code)
		warnx("%s: %s", strerror(-code), e.text);
	return code ? 3 : 0;
}

static int run(struct netdevns_batch *batch, const char *job, uint32_t accept, struct netdevns_error *e)
{
	int code;

	if (strcmp(job, "check") == 0)
		return netdevns_batch_check(batch, accept, e);
	code = netdevns_batch_move(batch, accept, e);
	if (!code && strcmp(job, "undo") == 0)
		code = netdevns_batch_undo(batch, e);
	return code;
}

int main(int argc, char **argv)
{
	struct netdevns_batch *batch;
	struct netdevns_error e;
	const struct netdevns_finding *f;
	const struct netdevns_device *d;
	int code;

	if (argc == 4 && strcmp(argv[1], "recover") == 0)
		return recover(atoi(argv[2]), opened(argv[3]));
	if (argc < 6)
		errx(2, "usage: see mover.c");
	code = netdevns_batch_open(&batch, NETDEVNS_VERSION, -1, opened(argv[4]), &e);
	for (int i = 5; !code && i < argc; i++) {
		char *wanted = argv[i], *const ifname = strsep(&wanted, "=");

		code = netdevns_batch_add(batch, ifname, wanted, &e);
	}
	if (!code && strcmp(argv[3], "-") != 0)
		code = netdevns_batch_record(batch, opened(argv[3]), &e);
	if (!code)
		code = run(batch, argv[1], (uint32_t)strtoul(argv[2], NULL, 0), &e);
	for (size_t i = 0; batch && (f = netdevns_batch_finding(batch, i)); i++)
		printf("%s %s %d %d %u\n", f->device < 0 ? "-" : netdevns_batch_device(batch, (size_t)f->device)->ifname, f->code,
		       f->severity, f->error, f->state);
	for (size_t i = 0; code && e.left && batch && (d = netdevns_batch_device(batch, i)); i++)
		if (d->missing[0])
			warnx("%s: not restored: %s", d->ifname, d->missing);
	code = code ? fail(&e) : 0;
	netdevns_batch_close(batch);
	return code;
}
