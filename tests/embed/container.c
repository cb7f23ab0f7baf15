/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#define _GNU_SOURCE
#include "container.h"
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* When a process was started (0: there is none), and whether it has not called execve yet. */
static unsigned long long process_started(pid_t pid, int *is_fork)
{
	char path[32], text[512];
	const char *at;
	unsigned flags;
	unsigned long long started = 0;
	ssize_t got;
	int fd;

	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	got = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
	text[got < 0 ? 0 : got] = '\0';
	if (fd >= 0)
		close(fd);
	/* proc(5): flags is field 9, starttime 22; the name, field 2, can have anything in it. 0x40: PF_FORKNOEXEC. */
	at = strrchr(text, ')');
	if (!at || sscanf(at, ") %*c %*d %*d %*d %*d %*d %u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu", &flags, &started) != 2)
		return 0;
	*is_fork = flags & 0x40 ? 1 : 0;
	return started;
}

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

int container_launch(struct container *c, const struct config *config)
{
	const int flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC | SIGCHLD;
	const int joins = config->network != NULL;
	char path[32];
	int ends[2], is_fork;

	if (joins && (c->netns_fd = open(config->network, O_RDONLY | O_CLOEXEC)) < 0) {
		warn("%s", config->network);
		return -1;
	}
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends)) {
		warn("socketpair");
		return -1;
	}
	c->pid = (pid_t)syscall(SYS_clone, joins ? flags : flags | CLONE_NEWNET, NULL, NULL, NULL, NULL);
	if (!c->pid) {
		close(ends[0]);	/* else it would not see its parent's end */
		process(c, config, c->netns_fd, ends[1]);
	}
	if (c->pid < 0)
		warn("clone");
	close(ends[1]);
	c->sock = ends[0];
	if (c->pid < 0 || answer(c, 0))
		return -1;
	c->started = process_started(c->pid, &is_fork);
	snprintf(path, sizeof path, "/proc/%d/ns/net", (int)c->pid);
	if (c->netns_fd < 0 && (c->netns_fd = open(path, O_RDONLY | O_CLOEXEC)) < 0)
		warn("%s", path);
	return c->netns_fd < 0 ? -1 : 0;
}

int container_go(struct container *c)
{
	if (send(c->sock, "g", 1, MSG_NOSIGNAL) == 1)
		return answer(c, 1);
	warnx("the container's process was killed before it could start");
	return -1;
}

void container_kill(struct container *c)
{
	if (c->pid > 0) {
		kill(c->pid, SIGKILL);
		waitpid(c->pid, NULL, 0);
	}
	c->pid = 0;
}

/* ---- its folder ---- */

static const char *in(const struct container *c, const char *name)
{
	static char path[96];

	snprintf(path, sizeof path, "%s/%s", c->folder, name);
	return path;
}

static int write_process(const struct container *c)
{
	const int fd = open(in(c, "process"), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	const int n = fd < 0 ? -1 : dprintf(fd, "%d %llu\n", (int)c->pid, c->started);

	if (fd >= 0)
		close(fd);
	return n < 0 ? -1 : 0;
}

static int pin(const struct container *c)
{
	char there[32];
	const int fd = open(in(c, "net"), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0)
		return -1;
	close(fd);
	snprintf(there, sizeof there, "/proc/self/fd/%d", c->netns_fd);
	return mount(there, in(c, "net"), "none", MS_BIND, NULL);
}

int containers_lock(int alone)
{
	const int fd = open(CONTAINERS, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 || !flock(fd, alone ? LOCK_EX : LOCK_SH))
		return fd;
	close(fd);
	return -1;
}

int container_keep(struct container *c)
{
	if ((mkdir(CONTAINERS, 0700) && errno != EEXIST) || (c->lock_fd = containers_lock(0)) < 0) {
		warn(CONTAINERS);
		return -1;
	}
	snprintf(c->folder, sizeof c->folder, CONTAINERS "/XXXXXX");
	if (!mkdtemp(c->folder)) {
		warn(CONTAINERS);
		c->folder[0] = '\0';
		return -1;
	}
	if (!write_process(c) && !pin(c) && !mkdir(in(c, "records"), 0700))
		c->records_fd = open(in(c, "records"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (c->records_fd < 0)
		warn("%s", c->folder);
	return c->records_fd < 0 ? -1 : 0;
}

static int gone(int result)
{
	return result && errno != ENOENT && errno != EINVAL ? -1 : 0;
}

int container_forget(struct container *c)
{
	if (!c->folder[0])
		return 0;
	if (gone(rmdir(in(c, "records"))) || gone(umount2(in(c, "net"), MNT_DETACH)) || gone(unlink(in(c, "net"))) ||
	    gone(unlink(in(c, "process"))) || gone(rmdir(c->folder)))
		return -1;
	c->folder[0] = '\0';
	return 0;
}

void container_close(struct container *c)
{
	const int fds[] = { c->sock, c->netns_fd, c->records_fd, c->lock_fd };

	for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

int container_reopen(struct container *c, const char *name)
{
	FILE *file;
	int pid = 0, read = 0;

	snprintf(c->folder, sizeof c->folder, CONTAINERS "/%.16s", name);
	file = fopen(in(c, "process"), "re");
	if (file) {
		read = fscanf(file, "%d %llu", &pid, &c->started);
		fclose(file);
	}
	c->pid = read == 2 ? pid : 0;
	c->records_fd = open(in(c, "records"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return c->records_fd < 0 && errno != ENOENT ? -errno : 0;
}

int container_runs(const struct container *c)
{
	struct pollfd process = { .fd = c->pid > 0 ? (int)syscall(SYS_pidfd_open, c->pid, 0) : -1, .events = POLLIN };
	int is_fork = 0, is_it;

	if (process.fd < 0)
		return 0;
	is_it = process_started(c->pid, &is_fork) == c->started;
	if (is_it && is_fork && !syscall(SYS_pidfd_send_signal, process.fd, SIGKILL, NULL, 0))
		poll(&process, 1, -1);
	close(process.fd);
	return is_it && !is_fork;
}
