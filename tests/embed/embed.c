/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * A small container runtime that moves devices: what it takes to embed csrc/ in one.
 *
 *	embed start BUNDLE	starts what its config.json says, and writes the process's pid to stdout
 *	embed recover		puts back what a killed `start` has left on its way
 *
 * Of config.json: process.args, env and cwd, root.path, hostname, the network namespace's path, and linux.netDevices, uppers
 * (a VLAN) before lowers. No cgroups, capabilities, mounts, users or hooks: it is about the devices. These move when all
 * is ready but the process's execve, and come back if that fails, too. Exit codes: 0 done; 1 failed, the devices are back;
 * 2 refused, nothing was touched; 3 something could not be put back: the record is kept (journal.h).
 */
#define _GNU_SOURCE
#define ND_EXAMPLE_PART	/* struct batch, and all(): a step of all devices */
#include "example.c"
#include "container.h"
#include "journal.h"
#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>

struct start {
	struct config config;
	struct container container;
	struct batch batch;
	struct journal journal;
};

static int undo(struct batch *b)
{
	int status = 1;

	for (int part = ND_UNDO_RETURN; part <= ND_UNDO_RESTORE; part++)
		status |= all(b, ND_STEP_UNDO, part) ? 2 : 0;
	return status;
}

/* The namespaces' sockets; target_fd is open. */
static int open_batch(struct batch *b, const char *target)
{
	struct nd_err e = { 0 };
	struct stat here, there;

	b->source_fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	if (b->source_fd < 0 || b->target_fd < 0 || fstat(b->source_fd, &here) || fstat(b->target_fd, &there)) {
		warn("%s", target);
		return -1;
	}
	if (here.st_dev == there.st_dev && here.st_ino == there.st_ino) {
		warnx("%s is the host's own network namespace: a device would only be renamed", target);
		return -1;
	}
	if (!nd_sock_open(&b->source, -1, NULL, 0, &e) && !nd_sock_open(&b->target, b->target_fd, NULL, 0, &e))
		return 0;
	warnx("%s: %s", target, *e.text ? e.text : strerror(-e.code));
	if (e.code == -ENOTRECOVERABLE)
		_exit(2);	/* this thread is in a wrong namespace; nothing was sent to anybody */
	return -1;
}

static void close_batch(struct batch *b)
{
	while (b->n > 0)
		free(b->devs[--b->n]);
	nd_sock_close(&b->source);
	nd_sock_close(&b->target);
	if (b->source_fd >= 0)
		close(b->source_fd);
	if (b->target_fd >= 0)
		close(b->target_fd);
}

/* ---- start ----------------------------------------------------------------------------------------------------------- */

/* Looks at the devices, and writes the record. */
static int prepare(struct start *s)
{
	struct batch *b = &s->batch;
	const struct config *c = &s->config;
	char target[32];
	int code;

	snprintf(target, sizeof target, "/proc/%d/ns/net", (int)s->container.pid);
	if (b->target_fd < 0)
		b->target_fd = open(target, O_RDONLY | O_CLOEXEC);
	if (open_batch(b, c->network ? c->network : target))
		return -1;
	for (int i = 0; i < c->devices; i++) {
		void *memory = calloc(1, ND_DEV_SIZE_MIN);	/* it is written to a file: no byte by chance */
		struct nd_dev *d;
		struct nd_err e = { 0 };

		if (!memory || nd_dev_init(&d, memory, ND_DEV_SIZE_MIN, c->ifname[i], c->wanted[i], &e)) {
			warnx("%s: %s", c->ifname[i], memory ? e.text : strerror(ENOMEM));
			free(memory);
			return -1;
		}
		b->devs[b->n++] = d;
	}
	if (all(b, ND_STEP_SNAPSHOT, 0))
		return -1;
	for (int i = 0; i < b->n; i++) {	/* what the record has to say */
		struct nd_err e;

		if (nd_dev_choose(b->devs[i], b->devs, (size_t)b->n, &b->target, &e)) {
			warnx("%s: %s", b->devs[i]->ifname, *e.text ? e.text : strerror(-e.code));
			return -1;
		}
	}
	code = journal_begin(&s->journal, b->target_fd);
	if (!code)
		code = journal_write(&s->journal, nd_sock_cookie(&b->source), s->container.pid, b->devs, b->n);
	if (code)
		warnx("%s: %s", JOURNAL_DIR, strerror(-code));
	return code;
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

/* From here on something changes. */
static int commit(struct start *s)
{
	struct batch *b = &s->batch;

	if (all(b, ND_STEP_MOVE, 0) || all(b, ND_STEP_REPLAY, 0) || all(b, ND_STEP_VERIFY, 0) || was_interrupted())
		return 1;
	return container_go(&s->container) ? 1 : 0;
}

/* 0, 1 or 2: nothing was touched. */
static int try(struct start *s)
{
	struct batch *b = &s->batch;
	const struct config *c = &s->config;

	if (c->network && (b->target_fd = open(c->network, O_RDONLY | O_CLOEXEC)) < 0) {
		warn("%s", c->network);
		return 2;
	}
	if (container_launch(&s->container, c, b->target_fd) || (c->devices && prepare(s)))
		return 2;
	return commit(s);
}

static int start(const char *bundle)
{
	struct start s = { .batch = { .source.fd = -1, .target.fd = -1, .source_fd = -1, .target_fd = -1 },
			   .journal.fd = -1, .container.sock = -1 };
	const char *why;
	sigset_t every;
	int status, code;

	if (chdir(bundle))
		err(2, "%s", bundle);
	if ((why = config_read(&s.config))) {
		warnx("%s/config.json: %s%s%s", bundle, why, errno ? ": " : "", errno ? strerror(errno) : "");
		config_end(&s.config);
		return 2;
	}
	sigfillset(&every);	/* one that comes meanwhile is looked for in the end: was_interrupted */
	sigprocmask(SIG_BLOCK, &every, &s.container.mask);
	status = try(&s);
	if (status)
		container_kill(&s.container);	/* its namespace stays: the record holds it */
	if (status == 1)
		status = undo(&s.batch);
	if (status == 3)
		warnx("%s is kept: `embed recover` tries again", s.journal.path);
	else if ((code = journal_end(&s.journal)))
		warnx("%s stays: %s; remove it yourself", s.journal.path, strerror(-code));
	if (!status && (printf("%d\n", (int)s.container.pid) < 0 || fflush(stdout)))
		warn("the container runs as process %d; stdout", (int)s.container.pid);
	close_batch(&s.batch);
	if (s.container.sock >= 0)
		close(s.container.sock);
	config_end(&s.config);
	sigprocmask(SIG_SETMASK, &s.container.mask, NULL);
	return status;
}

/* ---- recover --------------------------------------------------------------------------------------------------------- */

/* Whether the container runs: then all is complete. A process that waits for a parent that is dead is ended. */
static int runs(const struct journal_head *head)
{
	struct pollfd process = { .fd = (int)syscall(SYS_pidfd_open, head->pid, 0), .events = POLLIN };
	int is_fork = 0, is_it;

	if (process.fd < 0)
		return 0;
	is_it = process_started((pid_t)head->pid, &is_fork) == head->started;
	if (is_it && is_fork && !syscall(SYS_pidfd_send_signal, process.fd, SIGKILL, NULL, 0))
		poll(&process, 1, -1);
	close(process.fd);
	return is_it && !is_fork;
}

/* What is locked now was left. */
static int put_back(struct journal *j)
{
	struct batch b = { .source.fd = -1, .target.fd = -1, .source_fd = -1, .target_fd = -1 };
	struct journal_head head;
	int status = 3;

	b.n = journal_read(j, &head, b.devs);
	if (b.n < 0) {
		warnx("%s: %s", j->path, strerror(-b.n));
		b.n = 0;
	} else if (!b.n || runs(&head)) {
		status = 0;
	} else {
		b.target_fd = open(j->pin, O_RDONLY | O_CLOEXEC);
		if (!open_batch(&b, j->pin)) {
			if (nd_sock_cookie(&b.source) != head.source)
				warnx("%s is of another network namespace: recover there", j->path);
			else
				status = undo(&b) & 2 ? 3 : 0;
			for (int i = 0; !status && i < b.n; i++)
				printf("%s is back\n", b.devs[i]->ifname);
		}
	}
	close_batch(&b);
	return status;
}

static int recover(void)
{
	struct dirent *entry;
	int status = 0, code;
	DIR *dir = opendir(JOURNAL_DIR);

	while (dir && (entry = readdir(dir))) {
		struct journal j = { .fd = -1 };
		char *end = strchr(entry->d_name, '.');

		if (end == entry->d_name)
			continue;
		if (end)
			*end = '\0';	/* a pin: its record is all that there is to say about it */
		code = journal_open(&j, entry->d_name);
		if (!code && put_back(&j)) {
			status = 3;
			close(j.fd);
		} else if (code < 0 || (code = journal_end(&j))) {
			warnx("%s: %s", j.path, strerror(-code));
			status = 3;
		}
	}
	if (dir)
		closedir(dir);
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
