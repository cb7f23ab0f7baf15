/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * Identifies a network namespace for a record, and finds it again in another process. As netdevns/recovery/identity.py.
 *
 * Inode numbers are reused at once (probe death.inode.reused); SO_NETNS_COOKIE (Linux 5.14) is not (probe
 * death.cookie.unique). Before that, the caller has to find the device inside.
 */
#include "batch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define PID_NS "/proc/self/ns/pid"
#define NETNS_DIR "/run/netns"
#define PATH_SIZE 512
#define PROCESS_PATH_SIZE 64
#define LOOKS_MAX 4000000	/* paths that are tried: several seconds */

struct search {
	const struct nd_identity *id;
	char link[32];		/* the text of a link to it: net:[INODE] */
	uint32_t looks;		/* paths that may still be tried */
	int fd;			/* the namespace; -1: not found yet */
	int sees_all;		/* root of the machine: a path that it may not read could be the namespace */
	int unseen;		/* -errno of a path that could not be read; 0: none */
	char path[PATH_SIZE];	/* that path */
	struct nd_err *err;
};

typedef int look(struct search *s, const char *path);

int nd_identify(int netns_fd, const struct nd_sock *sock, struct nd_identity *id, struct nd_err *err)
{
	struct stat netns, pids;

	memset(id, 0, sizeof *id);
	if (fstat(netns_fd, &netns) < 0 || stat(PID_NS, &pids) < 0)
		return nd_err_set(err, ND_STEP_OPEN, -errno, "the namespace cannot be identified");
	id->cookie = nd_sock_cookie(sock);
	id->dev = (uint64_t)netns.st_dev;
	id->ino = (uint64_t)netns.st_ino;
	id->pid_ns = (uint64_t)pids.st_ino;
	snprintf(id->where, sizeof id->where, "fd:%d", netns_fd);
	err->code = 0;
	return 0;
}

/* Notes why a path could not be read; one that does not exist does not count. */
static int missed(struct search *s, const char *path, int code)
{
	if (code == ENOENT || code == ESRCH || code == ENOTDIR)
		return 0;
	s->unseen = -code;
	nd_text_copy(s->path, sizeof s->path, path, strlen(path));
	return 0;
}

/*
 * Whether it is another user's process, which an ordinary user need not search. Root of the machine must: without CAP_SYS_PTRACE,
 * as in many containers, or with a security module, it may not read the namespaces of other users' processes.
 */
static int is_not_ours(const struct search *s, int code)
{
	return !s->sees_all && (code == EACCES || code == EPERM);
}

/* Whether the user is root of the initial user namespace: user_namespaces(7), "User and group ID mappings". */
static int is_root_of_machine(void)
{
	FILE *const map = fopen("/proc/self/uid_map", "re");
	unsigned long inside = 1, outside = 1, count = 0;
	const int got = map ? fscanf(map, "%lu %lu %lu", &inside, &outside, &count) : 0;

	if (map)
		fclose(map);
	return geteuid() == 0 && got == 3 && !inside && !outside && count == UINT32_MAX;
}

static int is_it(const struct nd_identity *id, const struct stat *is)
{
	return (uint64_t)is->st_dev == id->dev && (uint64_t)is->st_ino == id->ino;
}

/* Whether the open file is the namespace: 1, and s->fd has it; otherwise it is closed. */
static int judge(struct search *s, int fd)
{
	struct nd_sock sock;
	struct stat is;
	uint64_t cookie;
	int code;

	if (fstat(fd, &is) < 0 || !is_it(s->id, &is) || ioctl(fd, NS_GET_NSTYPE) != CLONE_NEWNET) {
		close(fd);
		return 0;
	}
	code = nd_sock_open(&sock, fd, NULL, 0, s->err);
	if (code) {
		close(fd);
		return code;
	}
	cookie = nd_sock_cookie(&sock);
	nd_sock_close(&sock);
	if (cookie != s->id->cookie) {
		close(fd);
		return 0;
	}
	s->fd = fd;
	return 1;
}

/* 1: it is the namespace, 0: it is not, or -errno: the search must end. */
static int try_path(struct search *s, const char *path)
{
	struct stat is;
	int fd;

	if (!s->looks)
		return nd_err_set(s->err, ND_STEP_OPEN, -E2BIG, "too many processes and mounts to look for the namespace");
	s->looks--;
	if (stat(path, &is) < 0)
		return is_not_ours(s, errno) ? 0 : missed(s, path, errno);
	if (!is_it(s->id, &is))
		return 0;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	return fd < 0 ? missed(s, path, errno) : judge(s, fd);
}

/* Follows a link below /proc only if its text is the namespace's: other targets (NFS, FUSE) could hang. */
static int try_link(struct search *s, const char *path)
{
	char text[sizeof s->link];
	ssize_t len;

	if (!s->looks)
		return try_path(s, path);
	s->looks--;
	len = readlink(path, text, sizeof text);
	if (len < 0)
		return is_not_ours(s, errno) ? 0 : missed(s, path, errno);
	if ((size_t)len != strlen(s->link) || memcmp(text, s->link, (size_t)len) != 0)
		return 0;
	return try_path(s, path);
}

/* Tries DIRECTORY/NAME for each name in it, or, with a `suffix`, DIRECTORY/NUMBER/SUFFIX for each number. */
static int try_each(struct search *s, const char *directory, const char *suffix, look *try)
{
	DIR *const dir = opendir(directory);
	const struct dirent *entry;
	char path[PATH_SIZE];
	int code = 0;

	if (!dir)
		return is_not_ours(s, errno) ? 0 : missed(s, directory, errno);
	while (!code && (errno = 0, entry = readdir(dir)) != NULL) {
		const char *const name = entry->d_name;

		if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ||
		    (suffix[0] && name[strspn(name, "0123456789")] != '\0'))
			continue;
		if ((size_t)snprintf(path, sizeof path, "%s/%s%s", directory, name, suffix) < sizeof path)
			code = try(s, path);
	}
	if (!code && errno && !is_not_ours(s, errno))
		missed(s, directory, errno);
	closedir(dir);
	return code;
}

static int try_descriptors(struct search *s, const char *path)
{
	return try_each(s, path, "", try_link);
}

/* mountinfo writes white space and backslashes as \ and three octal digits. */
static void unescape(char *text)
{
	const char *from = text;

	while (*from) {
		if (from[0] == '\\' && strspn(from + 1, "01234567") >= 3) {
			*text++ = (char)((from[1] - '0') * 64 + (from[2] - '0') * 8 + (from[3] - '0'));
			from += 4;
		} else {
			*text++ = *from++;
		}
	}
	*text = '\0';
}

/* Reads the next field of a line, cut to `size`; returns the blank, newline or EOF behind it. */
static int next_field(FILE *file, char *field, size_t size)
{
	size_t len = 0;
	int c;

	while ((c = getc(file)) != EOF && c != ' ' && c != '\n')
		if (len + 1 < size)
			field[len++] = (char)c;
	field[len] = '\0';
	return c;
}

/* Tries mounts of nsfs: the fourth field of the line is net:[INODE], the fifth the mount point (proc(5)). */
static int try_mounts_of(struct search *s, const char *mounts, const char *below)
{
	FILE *const file = fopen(mounts, "re");
	char root[sizeof s->link], place[ND_WHERE_SIZE], path[ND_WHERE_SIZE + 16], rest[2];
	int code = 0, end = '\n';

	if (!file)
		return *below && (errno == EACCES || errno == ENOENT) ? 0 : missed(s, mounts, errno);	/* another user's */
	while (!code && end != EOF) {
		for (int i = 0; i < 3; i++)
			end = next_field(file, rest, sizeof rest);
		if (end == ' ')
			end = next_field(file, root, sizeof root);
		if (end == ' ') {
			end = next_field(file, place, sizeof place);
			unescape(place);
			snprintf(path, sizeof path, "%s%s", below, place);
			if (strcmp(root, s->link) == 0)
				code = try_path(s, path);
		}
		while (end == ' ')
			end = next_field(file, rest, sizeof rest);
	}
	if (ferror(file))
		missed(s, mounts, EIO);
	fclose(file);
	return code;
}

/* In this mount namespace and that of process 1, which alone has mounts that are newer than a copied namespace. */
static int try_mounts(struct search *s)
{
	const int code = try_mounts_of(s, "/proc/self/mountinfo", "");

	return code ? code : try_mounts_of(s, "/proc/1/mountinfo", "/proc/1/root");
}

/*
 * Reads a process's start, in ticks since boot, which makes its pid unique; 0: it has ended. 0 or -errno;
 * `path` gets the file that was read.
 */
static int start_of(uint64_t pid, char path[PROCESS_PATH_SIZE], uint64_t *start)
{
	char text[2048], *at;
	ssize_t len;
	int fd, code;

	*start = 0;
	snprintf(path, PROCESS_PATH_SIZE, "/proc/%" PRIu64 "/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	len = read(fd, text, sizeof text - 1);
	code = len < 0 && errno != ESRCH ? -errno : 0;
	close(fd);
	text[len > 0 ? len : 0] = '\0';
	/* The 3rd and the 22nd field, behind the name, which is in parentheses and may contain anything (proc(5)). */
	at = strrchr(text, ')');
	if (!at || at[1] != ' ' || at[2] == 'Z' || at[2] == 'X')
		return code;
	for (int field = 2; field < 22 && at; field++)
		at = strchr(at + 1, ' ');
	*start = at ? strtoull(at + 1, NULL, 10) : 0;
	return 0;
}

int nd_identify_process(struct nd_identity *id, uint32_t pid, struct nd_err *err)
{
	char path[PROCESS_PATH_SIZE];
	const int code = start_of(pid, path, &id->of_start);

	id->of_pid = pid;
	if (code)
		return nd_err_set(err, ND_STEP_OPEN, code, path);
	if (!id->of_start)
		return nd_err_set(err, ND_STEP_OPEN, -ESRCH, "its process has ended");
	snprintf(id->where, sizeof id->where, "pid:%" PRIu32, pid);
	return 0;
}

/* Tries the process that the namespace was named by. */
static int try_process(struct search *s)
{
	char path[PROCESS_PATH_SIZE];
	uint64_t start;
	const int code = s->id->of_pid ? start_of(s->id->of_pid, path, &start) : 0;

	if (code)
		return is_not_ours(s, -code) ? 0 : missed(s, path, -code);
	if (!s->id->of_pid || start != s->id->of_start)
		return 0;
	snprintf(path, sizeof path, "/proc/%" PRIu64 "/ns/net", s->id->of_pid);
	return try_path(s, path);
}

/* Tries the likely paths first; a path is only a hint, the identity decides. */
static int try_all(struct search *s)
{
	int code = try_path(s, "/proc/thread-self/ns/net");

	if (!code && s->id->where[0] == '/')
		code = try_path(s, s->id->where);
	if (!code)
		code = try_process(s);
	if (!code)
		code = try_path(s, "/proc/1/ns/net");
	if (!code)
		code = try_each(s, NETNS_DIR, "", try_path);
	if (!code)
		code = try_each(s, "/proc", "/ns/net", try_link);
	if (!code)
		code = try_mounts(s);
	/* It may be kept alive only by a process's descriptor (probe death.kept-by.descriptor). */
	if (!code)
		code = try_each(s, "/proc", "/fd", try_descriptors);
	return code;
}

/* The -errno of a search that failed; never -ENOENT, for which the record would be removed. */
static int not_looked(struct nd_err *err, int code, const char *text)
{
	return nd_err_set(err, ND_STEP_OPEN, code == -ENOENT ? -EIO : code, text);
}

int nd_identity_open(const struct nd_identity *id, struct nd_err *err)
{
	struct search s = { .id = id, .looks = LOOKS_MAX, .fd = -1, .sees_all = is_root_of_machine(), .err = err };
	char text[ND_TEXT_SIZE];
	struct stat pids;
	int code;

	snprintf(s.link, sizeof s.link, "net:[%" PRIu64 "]", id->ino);
	code = try_all(&s);
	if (code > 0) {
		err->code = 0;
		return s.fd;
	}
	if (code < 0) {
		nd_text_copy(text, sizeof text, err->text, strlen(err->text));
		return not_looked(err, code, text);
	}
	if (s.unseen) {
		nd_text_copy(text, sizeof text, s.path, strlen(s.path));
		return not_looked(err, s.unseen, text);
	}
	if (stat(PID_NS, &pids) < 0)
		return not_looked(err, -errno, PID_NS);
	if ((uint64_t)pids.st_ino != id->pid_ns)
		return nd_err_set(err, ND_STEP_OPEN, -ESRCH, "it was recorded in another pid namespace, and is to be looked for there");
	return nd_err_set(err, ND_STEP_OPEN, -ENOENT, "the namespace is gone");
}
