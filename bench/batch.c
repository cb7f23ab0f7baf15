/*
 * A contestant: the batch in C (csrc/netdevns.h), as an embedder calls it, without a record.
 *
 *     batch [--warm FD,NAME,...] TARGET_FD OLD=NEW ...
 */
#define _GNU_SOURCE
#include "netdevns.h"

#include <err.h>
#include <string.h>

#include "protocol.h"

/* names: a descriptor of the target, then OLD[=NEW] each, up to a null pointer. Writes into OLD=NEW. */
static void job(void *names)
{
	char **name = names;
	struct netdevns_batch *batch;
	struct netdevns_error e;
	int code = netdevns_batch_open(&batch, NETDEVNS_VERSION, -1, atoi(*name), &e);

	while (!code && *++name) {
		char *wanted = *name, *const ifname = strsep(&wanted, "=");

		code = netdevns_batch_add(batch, ifname, wanted, &e);
	}
	if (!code)
		code = netdevns_batch_move(batch, 0, &e);
	if (code)
		errx(1, "%s", e.text);
	netdevns_batch_close(batch);
}

int main(int argc, char **argv)
{
	if (argc > 2 && !strcmp(argv[1], "--warm")) {
		char *words = argv[2], *names[16] = {0};

		for (unsigned n = 0; words && n < sizeof names / sizeof names[0] - 1; n++)
			names[n] = strsep(&words, ",");
		job(names);
		argc -= 2;
		argv += 2;
	}
	if (argc < 3)
		errx(2, "usage: batch [--warm FD,NAME,...] TARGET_FD OLD=NEW ...");
	measured(job, argv + 1);
	return 0;
}
