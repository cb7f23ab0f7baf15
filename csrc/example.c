/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * `example NETNS-PATH DEV[=NAME]...` moves devices of this network namespace into another one, all or none. Exit codes: 0 done;
 * 1 failed, and every device is restored; 2 refused, nothing was changed; 3 a device is not restored completely: the lines name it.
 */
#define _GNU_SOURCE
#include "netdevns.h"

#include <err.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct netdevns_batch *batch;
	struct netdevns_error e;
	const struct netdevns_finding *finding;
	const struct netdevns_device *device;
	int target_fd, code;

	if (argc < 3)
		errx(2, "usage: NETNS-PATH DEV[=NAME]...");
	if ((target_fd = open(argv[1], O_RDONLY | O_CLOEXEC)) < 0)
		err(2, "%s", argv[1]);
	code = netdevns_batch_open(&batch, NETDEVNS_VERSION, -1, target_fd, &e);
	close(target_fd);
	for (int i = 2; !code && i < argc; i++) {
		char *wanted = argv[i], *const ifname = strsep(&wanted, "=");

		code = netdevns_batch_add(batch, ifname, wanted, &e);
	}
	if (!code)	/* 0: refuse to lose state that a failed move would not restore */
		code = netdevns_batch_move(batch, 0, &e);
	if (code)
		warnx("%s", e.text);
	for (size_t i = 0; code && batch && (finding = netdevns_batch_finding(batch, i)); i++)
		if (finding->severity == NETDEVNS_ERROR && strcmp(finding->text, e.text) != 0)
			warnx("%s", finding->text);
	for (size_t i = 0; e.left && (device = netdevns_batch_device(batch, i)); i++)
		if (device->missing[0] || device->location != NETDEVNS_SOURCE)
			warnx("%s: not restored: %s", device->ifname, device->missing);
	netdevns_batch_close(batch);
	return !code ? 0 : e.left ? 3 : e.begun ? 1 : 2;
}
