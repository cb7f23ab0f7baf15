/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * A small container runtime that moves devices: how csrc/ is embedded in one.
 *
 *	embed start BUNDLE	starts what its config.json says, and writes the process's pid to stdout
 *	embed recover		restores the devices of a `start` that was killed
 *
 * Of config.json: process.args, env and cwd, root.path, hostname, the network namespace's path, and linux.netDevices. No cgroups,
 * capabilities, mounts, users or hooks: it is about the devices. They move when all is ready but the process's execve, and
 * come back if that fails, too. Exit codes: 0 done; 1 failed, the devices are restored; 2 refused, nothing was changed; 3 some
 * device is not as before: the record is kept.
 */
#define _GNU_SOURCE
#include "container.h"
#include "netdevns.h"
#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int refuse(const struct netdevns_error *e)
{
	warnx("%s", e->text);	/* -ENOTRECOVERABLE: this process is in a wrong network namespace; it ends in any case */
	return e->left ? 3 : e->begun ? 1 : 2;
}

/* Moves the devices. 0, or the exit code. */
static int move(struct netdevns_batch **batch, const struct config *c, const struct container *container)
{
	struct netdevns_error e;
	int code = netdevns_batch_open(batch, NETDEVNS_VERSION, -1, container->netns_fd, &e);

	for (int i = 0; !code && i < c->devices; i++)
		code = netdevns_batch_add(*batch, c->ifname[i], c->wanted[i], &e);
	if (!code)
		code = netdevns_batch_record(*batch, container->records_fd, &e);
	if (!code)
		code = netdevns_batch_move(*batch, 0, &e);
	return code ? refuse(&e) : 0;
}

static int was_interrupted(void)
{
	sigset_t pending;

	sigpending(&pending);
	if (!sigismember(&pending, SIGINT) && !sigismember(&pending, SIGTERM) && !sigismember(&pending, SIGHUP))
		return 0;
	warnx("interrupted");
	return 1;
}

static int try(struct netdevns_batch **batch, const struct config *c, struct container *container)
{
	struct netdevns_error e;
	int status;

	if (container_launch(container, c) || (c->devices && container_keep(container)))
		return 2;
	status = c->devices ? move(batch, c, container) : 0;
	if (status)
		return status;
	if (!was_interrupted() && !container_go(container))
		return 0;
	container_kill(container);	/* its namespace stays: container_keep holds it */
	return c->devices && netdevns_batch_undo(*batch, &e) ? refuse(&e) : 1;
}

static int start(const char *bundle)
{
	struct container container = { .sock = -1, .netns_fd = -1, .records_fd = -1, .lock_fd = -1 };
	struct netdevns_batch *batch = NULL;
	struct config config;
	const char *why;
	sigset_t every;
	int status;

	if (chdir(bundle))
		err(2, "%s", bundle);
	if ((why = config_read(&config))) {
		warnx("%s/config.json: %s%s%s", bundle, why, errno ? ": " : "", errno ? strerror(errno) : "");
		config_end(&config);
		return 2;
	}
	sigfillset(&every);	/* one that comes meanwhile is looked for in the end: was_interrupted */
	sigprocmask(SIG_BLOCK, &every, &container.mask);
	status = try(&batch, &config, &container);
	if (status)
		container_kill(&container);
	netdevns_batch_close(batch);
	if (status == 3)
		warnx("%s is kept: `embed recover` tries again", container.folder);
	else if (container_forget(&container))
		warnx("%s stays: %s; remove it yourself", container.folder, strerror(errno));
	if (!status && (printf("%d\n", (int)container.pid) < 0 || fflush(stdout)))
		warn("the container runs as process %d; stdout", (int)container.pid);
	container_close(&container);
	config_end(&config);
	sigprocmask(SIG_SETMASK, &container.mask, NULL);
	return status;
}

/* One that was left. 0, or 3: it is kept. */
static int put_back(const char *name)
{
	struct container c = { .sock = -1, .netns_fd = -1, .records_fd = -1, .lock_fd = -1 };
	struct netdevns_error e = { 0 };
	char report[4096] = "";
	int code = container_reopen(&c, name);

	/* If the process runs, the move was complete. Otherwise the devices are not in use. */
	if (!code && c.records_fd >= 0)
		code = netdevns_recover(NETDEVNS_VERSION, c.records_fd, !container_runs(&c), report, sizeof report, &e);
	fputs(report, stdout);
	if (code)
		warnx("%s: %s", c.folder, e.code ? e.text : strerror(-code));
	else if ((code = container_forget(&c)))
		warnx("%s: %s", c.folder, strerror(errno));
	container_close(&c);
	return code ? 3 : 0;
}

static int recover(void)
{
	const int lock_fd = containers_lock(1);
	DIR *const dir = opendir(CONTAINERS);
	struct dirent *entry;
	int status = 0;

	while (dir && (entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			status |= put_back(entry->d_name);
	if (dir)
		closedir(dir);
	if (lock_fd >= 0)
		close(lock_fd);
	return status;
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "start"))
		return start(argv[2]);
	if (argc == 2 && !strcmp(argv[1], "recover"))
		return recover();
	errx(2, "usage: embed start BUNDLE | embed recover");
}
