/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#define _GNU_SOURCE
#include "container.h"
#include "journal.h"
#include <err.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* What the process says: code 0 when it is ready, then only if its execve failed. */
struct report {
	int code;
	char what[60];
};

static const char *enter_root(const struct config *c)
{
	if (mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL))
		return "mounts";
	if (mount(c->root, c->root, "none", MS_BIND | MS_REC, NULL) || chdir(c->root))
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

/* Until all else is ready it waits; it ends when the parent does. */
static void process(const struct container *c, const struct config *config, int netns_fd, int sock)
{
	static char path[] = "PATH=/usr/sbin:/usr/bin:/sbin:/bin", *standard[] = { path, NULL };
	char go;

	if (netns_fd >= 0 && setns(netns_fd, CLONE_NEWNET))
		report(sock, config->network);
	report(sock, enter_root(config));
	if (read(sock, &go, 1) != 1)
		_exit(127);
	environ = config->env[0] ? (char **)config->env : standard;
	if (chdir(config->cwd))
		report(sock, config->cwd);
	sigprocmask(SIG_SETMASK, &c->mask, NULL);
	execvp(config->args[0], config->args);
	report(sock, config->args[0]);
}

/* Waits for its next word. */
static int answer(const struct container *c, int is_exec)
{
	struct report r = { 0 };
	const ssize_t got = recv(c->sock, &r, sizeof r, 0);
	int is_fork = 1;

	if (got == sizeof r) {
		if (r.code)
			warnx("%s: %s", r.what, strerror(r.code));
		return r.code;
	}
	/* It closed its end: by execve, or by its death. It was not waited for, so it is there to be asked. */
	if (!got && is_exec && process_started(c->pid, &is_fork) && !is_fork)
		return 0;
	warnx("the container's process was killed before it could start");
	return ECHILD;
}

int container_launch(struct container *c, const struct config *config, int netns_fd)
{
	const int flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC | SIGCHLD;
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends)) {
		warn("socketpair");
		return -1;
	}
	c->pid = (pid_t)syscall(SYS_clone, netns_fd >= 0 ? flags : flags | CLONE_NEWNET, NULL, NULL, NULL, NULL);
	if (!c->pid) {
		close(ends[0]);	/* else it would not be told of the parent's end */
		process(c, config, netns_fd, ends[1]);
	}
	if (c->pid < 0)
		warn("clone");
	close(ends[1]);
	c->sock = ends[0];
	return c->pid < 0 ? -1 : answer(c, 0);
}

int container_go(struct container *c)
{
	if (send(c->sock, "g", 1, MSG_NOSIGNAL) == 1)
		return answer(c, 1);
	warnx("the container's process was killed before it could start");
	return -1;
}

void container_kill(const struct container *c)
{
	if (c->pid > 0) {
		kill(c->pid, SIGKILL);
		waitpid(c->pid, NULL, 0);
	}
}
