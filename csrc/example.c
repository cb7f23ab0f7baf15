/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * `example NETNS-PATH DEV[=NAME]...` moves devices of this namespace into another one, all or none. Exit codes: 0 done;
 * 1 failed, each is back (with what, says nd_dev_undo); 2 refused, nothing was touched; 3 one is not (the lines say what).
 * The caller's business: the order, uppers (a VLAN) before lowers; signals; what netdevns-core.h says that is not checked.
 */
#define _GNU_SOURCE
#include "netdevns-core.h"
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct batch {
	struct nd_sock source, target;
	int source_fd, target_fd, n;
	struct nd_dev *devs[64];	/* each in memory of its own, which can grow */
};

/* One step of all, lowers first where links are set up. Only an undo goes on after a failure. */
static int all(struct batch *b, enum nd_step step, int parts)
{
	static const char *const steps[] = { "", "open", "exchange", "snapshot", "move", "replay", "verify", "undo" };
	static const char *const places[] = { "unknown place", "in the source", "in the target", "gone" };
	int failed = 0;

	for (int i = 0; i < b->n && (!failed || parts); i++) {
		struct nd_dev **d = &b->devs[step == ND_STEP_REPLAY || parts == ND_UNDO_RESTORE ? b->n - 1 - i : i], *more;
		struct nd_err e = { 0 };
		const int code = step == ND_STEP_SNAPSHOT ? nd_dev_snapshot(*d, &b->source, &e) :
				 step == ND_STEP_MOVE ? nd_dev_move(*d, &b->source, &b->target, b->target_fd, &e) :
				 step == ND_STEP_REPLAY ? nd_dev_up_and_replay(*d, &b->target, &e) :
				 step == ND_STEP_VERIFY ? nd_dev_verify(*d, &b->target, &e) :
				 nd_dev_undo(*d, &b->source, &b->target, b->source_fd, parts, &e);

		if (code == -EOVERFLOW && (*d)->need > (*d)->size && (more = realloc(*d, (*d)->need))) {
			nd_dev_resize(*d = more, more->need);
			i--;	/* too little memory is no failure: nothing was accepted, the same again with enough */
		} else if (code && ++failed) {
			warnx("%s (%s): %s: %s", (*d)->ifname, places[(*d)->place], steps[step], *e.text ? e.text : strerror(-code));
		}
	}
	return failed;
}

#ifndef ND_EXAMPLE_PART	/* defined: what is above is a part of a larger program (tests/embed) */
int main(int argc, char **argv)
{
	struct batch b = { .source.fd = -1, .target.fd = -1 };
	struct nd_err e = { 0 };
	int status = 2;

	if (argc < 3 || argc > 66)
		errx(2, "usage: NETNS-PATH DEV[=NAME]... (up to 64)");
	if ((b.target_fd = open(argv[1], O_RDONLY | O_CLOEXEC)) < 0 ||
	    (b.source_fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)) < 0)
		err(2, "%s", b.target_fd < 0 ? argv[1] : "/proc/thread-self/ns/net");
	if (!nd_netns_differ(b.source_fd, b.target_fd, &e) && !nd_sock_open(&b.source, -1, NULL, 0, &e))
		nd_sock_open(&b.target, b.target_fd, NULL, 0, &e);
	for (; !e.code && argv[2 + b.n]; b.n++) {
		char *name = argv[2 + b.n], *ifname = strsep(&name, "=");
		struct nd_dev *d = b.devs[b.n] = malloc(ND_DEV_SIZE_MIN);

		e.code = d ? nd_dev_init(&d, d, ND_DEV_SIZE_MIN, ifname, name ? name : ifname, &e) : -ENOMEM;
	}
	if (e.code)
		warnx("%s: %s", argv[1 + b.n], *e.text ? e.text : strerror(-e.code));
	else if (!all(&b, ND_STEP_SNAPSHOT, 0))
		status = all(&b, ND_STEP_MOVE, 0) || all(&b, ND_STEP_REPLAY, 0) || all(&b, ND_STEP_VERIFY, 0);
	for (int part = ND_UNDO_RETURN; (status & 1) && part <= ND_UNDO_RESTORE; part++)
		status |= all(&b, ND_STEP_UNDO, part) ? 2 : 0;
	while (b.n > 0)
		free(b.devs[--b.n]);
	nd_sock_close(&b.source);
	nd_sock_close(&b.target);
	close(b.source_fd);
	close(b.target_fd);
	return status;
}
#endif
