/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * Hands over to the hook in Python, which is installed beside this one, before anything is changed: requests that are refused (it reports
 * the reason and the remedy), devices with state that C does not restore, records and loans that name a device, and poststop's loans.
 */
#define _GNU_SOURCE
#include "hook.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define PYTHON "netdevns"

extern char **environ;

/* The state in a pipe, which has room for 64 KiB. A descriptor, or -1. */
static int in_pipe(const char *state, size_t len)
{
	int ends[2], code;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -1;
	code = fcntl(ends[1], F_GETPIPE_SZ) < (int)len ? -1 : nd_write_all(ends[1], state, len);
	close(ends[1]);
	if (!code)
		return ends[0];
	close(ends[0]);
	return -1;
}

/* The same in a file without a name. */
static int in_file(const char *state, size_t len)
{
	const int fd = memfd_create("state", MFD_CLOEXEC);

	if (fd < 0 || (nd_write_all(fd, state, len) == 0 && lseek(fd, 0, SEEK_SET) == 0))
		return fd;
	close(fd);
	return -1;
}

/* Provides the state on stdin again: in a pipe, as RLIMIT_FSIZE limits every file; in a file if a pipe has no room for it. */
static int put_on_stdin(const char *state, size_t len)
{
	int fd = in_pipe(state, len), code;

	if (fd < 0)
		fd = in_file(state, len);
	if (fd < 0)
		return -1;
	code = dup2(fd, 0) < 0 ? -1 : 0;
	close(fd);
	return code;
}

/* Drops variables that change an interpreter's behaviour or modules: a hook runs as root. */
static char **clean_environment(void)
{
	static char no_user_site[] = "PYTHONNOUSERSITE=1";
	size_t count = 0;
	char **kept;

	while (environ && environ[count])
		count++;
	kept = calloc(count + 2, sizeof *kept);
	if (!kept)
		return NULL;
	count = 0;
	for (char **at = environ; at && *at; at++)
		if (strncmp(*at, "PYTHON", 6) != 0)
			kept[count++] = *at;
	kept[count] = no_user_site;
	return kept;
}

void hook_hand_over(int argc, char **argv, const char *state, size_t len, struct hook_report *report)
{
	static char hook[] = "hook";
	char path[PATH_MAX + sizeof PYTHON], *slash;
	const ssize_t n = readlink("/proc/self/exe", path, PATH_MAX - 1);
	char **const arguments = calloc((size_t)argc + 2, sizeof *arguments), **environment;

	path[n > 0 ? n : 0] = '\0';
	slash = strrchr(path, '/');
	if (slash)
		snprintf(slash + 1, sizeof path - (size_t)(slash + 1 - path), PYTHON);
	environment = clean_environment();
	if (slash && arguments && environment && access(path, X_OK) == 0 && (!state || put_on_stdin(state, len) == 0)) {
		arguments[0] = path;
		arguments[1] = hook;
		for (int i = 1; i < argc; i++)
			arguments[i + 1] = argv[i];
		execve(path, arguments, environment);
	}
	/* For example after an upgrade of Python, which breaks a virtual environment. */
	hook_say(report, "%s: cannot be started: %s; install netdevns there again", slash ? path : PYTHON, strerror(errno));
	free(arguments);
	free(environment);
}
