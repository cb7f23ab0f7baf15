/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small container runtime that moves devices: what it takes to embed csrc/ in one.
 *
 *	embed start BUNDLE	starts what its config.json says, and writes the process's pid to stdout
 *	embed recover		puts back what a killed `start` has left on its way
 *
 * Of config.json: process.args, env and cwd, root.path, hostname, the network namespace's path, and linux.netDevices, uppers
 * (a VLAN) before lowers. No cgroups, capabilities, mounts, users or hooks: it is about the devices. These move when all
 * is ready but the process's execve, and come back if that fails, too. Exit codes: 0 done; 1 failed, all is as before;
 * 2 refused, nothing was touched; 3 something could not be put back: the record is kept (journal.h).
 */
#define _GNU_SOURCE
#define ND_EXAMPLE_PART	/* struct batch, and all(): a step of all devices */
#include "example.c"
#include "config.h"
#include "journal.h"
#include <dirent.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

struct start {
	struct config config;
	struct batch batch;
	struct journal journal;
	sigset_t mask;	/* the caller's; meanwhile all signals are blocked */
	pid_t pid;	/* the container's process */
	int sock;	/* to it */
};

/* What the container's process says: code 0 when it is ready, then only if execve failed. */
struct report {
	int code;
	char what[60];
};

static int undo(struct batch *b)
{
	int status = 1;

	for (int part = ND_UNDO_RETURN; part <= ND_UNDO_RESTORE; part++)
		status |= all(b, ND_STEP_UNDO, part) ? 2 : 0;
	return status;
}

/* The namespaces' sockets. target_fd is open; source_fd will be. */
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

/* ---- the container's process ---------------------------------------------------------------------------------------- */

static const char *enter_root(const struct config *c)
{
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return "mounts";
	if (mount(c->root, c->root, NULL, MS_BIND | MS_REC, NULL) || chdir(c->root))
		return c->root;
	if (syscall(SYS_pivot_root, ".", ".") || umount2(".", MNT_DETACH) || chdir("/"))
		return "pivot_root";
	if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) && errno != ENOENT)
		return "/proc";
	return c->hostname && sethostname(c->hostname, strlen(c->hostname)) ? "hostname" : NULL;
}

static void report(int sock, const char *what)
{
	struct report r = { .code = what ? errno : 0 };

	snprintf(r.what, sizeof r.what, "%s", what ? what : "");
	if (send(sock, &r, sizeof r, MSG_NOSIGNAL) != sizeof r || what)
		_exit(127);
}

/* Until all others are ready it waits; it ends when the parent does. */
static void container(struct start *s, int sock)
{
	static char path[] = "PATH=/usr/sbin:/usr/bin:/sbin:/bin", *standard[] = { path, NULL };
	char go;

	if (s->batch.target_fd >= 0 && setns(s->batch.target_fd, CLONE_NEWNET))
		report(sock, s->config.network);
	report(sock, enter_root(&s->config));
	if (read(sock, &go, 1) != 1)
		_exit(127);
	environ = s->config.env[0] ? s->config.env : standard;
	if (chdir(s->config.cwd))
		report(sock, s->config.cwd);
	sigprocmask(SIG_SETMASK, &s->mask, NULL);
	execvp(s->config.args[0], s->config.args);
	report(sock, s->config.args[0]);
}

static int launch(struct start *s)
{
	const int flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC | SIGCHLD;
	int ends[2];

	if (s->config.network && (s->batch.target_fd = open(s->config.network, O_RDONLY | O_CLOEXEC)) < 0) {
		warn("%s", s->config.network);
		return -1;
	}
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends)) {
		warn("socketpair");
		return -1;
	}
	s->pid = (pid_t)syscall(SYS_clone, s->config.network ? flags : flags | CLONE_NEWNET, NULL, NULL, NULL, NULL);
	if (!s->pid) {
		close(ends[0]);	/* else it would not be told of the parent's end */
		container(s, ends[1]);
	}
	if (s->pid < 0)
		warn("clone");
	close(ends[1]);
	s->sock = ends[0];
	return s->pid < 0 ? -1 : 0;
}

/* Waits for its next word. 0: it is ready, or has called execve. */
static int answer(const struct start *s, int is_exec)
{
	struct report r = { 0 };
	const ssize_t got = recv(s->sock, &r, sizeof r, 0);
	int is_fork = 1;

	if (got == sizeof r) {
		if (r.code)
			warnx("%s: %s", r.what, strerror(r.code));
		return r.code;
	}
	/* It closed its end: by execve, or by its death. It was not waited for, so it is there to be asked. */
	if (!got && is_exec && process_started(s->pid, &is_fork) && !is_fork)
		return 0;
	warnx("the container's process was killed before it could start");
	return ECHILD;
}

/* ---- start ----------------------------------------------------------------------------------------------------------- */

/* Looks at the devices, and writes the record. */
static int prepare(struct start *s)
{
	struct batch *b = &s->batch;
	const struct config *c = &s->config;
	char target[32];
	int code;

	snprintf(target, sizeof target, "/proc/%d/ns/net", (int)s->pid);
	if (b->target_fd < 0)
		b->target_fd = open(target, O_RDONLY | O_CLOEXEC);
	if (open_batch(b, c->network ? c->network : target))
		return -1;
	for (int i = 0; i < c->devices; i++) {
		struct nd_dev *d = malloc(ND_DEV_SIZE_MIN);
		struct nd_err e = { 0 };

		if (!d || nd_dev_init(&d, d, ND_DEV_SIZE_MIN, c->ifname[i], c->wanted[i], &e)) {
			warnx("%s: %s", c->ifname[i], d ? e.text : strerror(ENOMEM));
			free(d);
			return -1;
		}
		b->devs[b->n++] = d;
	}
	if (all(b, ND_STEP_SNAPSHOT, 0))
		return -1;
	code = journal_begin(&s->journal, b->target_fd);
	if (!code)
		code = journal_write(&s->journal, nd_sock_cookie(&b->source), s->pid, b->devs, b->n);
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
	return send(s->sock, "g", 1, MSG_NOSIGNAL) != 1 || answer(s, 1) ? 1 : 0;
}

static int start(const char *bundle)
{
	struct start s = { .batch = { .source.fd = -1, .target.fd = -1, .source_fd = -1, .target_fd = -1 },
			   .journal.fd = -1, .sock = -1 };
	sigset_t every;
	const char *why;
	int status = 2, code;

	if (chdir(bundle))
		err(2, "%s", bundle);
	if ((why = config_read(&s.config))) {
		warnx("%s/config.json: %s%s%s", bundle, why, errno ? ": " : "", errno ? strerror(errno) : "");
		config_end(&s.config);
		return 2;
	}
	sigfillset(&every);
	sigprocmask(SIG_BLOCK, &every, &s.mask);
	if (!launch(&s) && !answer(&s, 0) && (!s.config.devices || !prepare(&s)))
		status = commit(&s);
	if (status && s.pid > 0) {
		kill(s.pid, SIGKILL);	/* first, so that it does not see its devices leave; the record keeps its namespace */
		waitpid(s.pid, NULL, 0);
	}
	if (status == 1)
		status = undo(&s.batch);
	if (status == 3)
		warnx("%s is kept: `embed recover` tries again", s.journal.path);
	else if ((code = journal_end(&s.journal)))
		warnx("%s stays: %s; remove it yourself", s.journal.path, strerror(-code));
	if (!status) {
		printf("%d\n", (int)s.pid);
		fflush(stdout);
	}
	close_batch(&s.batch);
	if (s.sock >= 0)
		close(s.sock);
	config_end(&s.config);
	sigprocmask(SIG_SETMASK, &s.mask, NULL);
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
