/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * Writes a hook's report to stderr, and to hook.log and syslog, as some runtimes drop stderr. The same files, limits and waits as
 * netdevns/oci/hook_log.py.
 */
#define _GNU_SOURCE
#include "hook.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define LOG "hook.log"
#define SYSLOG "/dev/log"
#define DAEMON (3 << 3)	/* RFC 3164: the facility; with the severity in the low bits */
#define SEVERITY_ERR 3
#define SEVERITY_NOTICE 5
#define STDERR_WAIT_MS 1000	/* for a stopped reader, all lines together */
#define LOCK_WAIT_MS 500
#define SYSLOG_WAIT_MS 200	/* all lines together */
#define PAUSE_MS 1

/* 0: the time is over. */
static int pause_until(int64_t end_ms)
{
	const struct timespec pause = { .tv_nsec = PAUSE_MS * 1000000 };

	if (nd_now_ms() >= end_ms)
		return 0;
	nanosleep(&pause, NULL);
	return 1;
}

/* Cuts out the middle: a line begins with the device and ends with the reason. UTF-8 stays valid. */
static void cut(char line[HOOK_LINE_BYTES_MAX + 1], const char *text, size_t len)
{
	const size_t half = (HOOK_LINE_BYTES_MAX - 24) / 2;
	size_t head = half, tail = len - half;

	while (head && (text[head] & 0xc0) == 0x80)
		head--;
	while (tail < len && (text[tail] & 0xc0) == 0x80)
		tail++;
	snprintf(line, HOOK_LINE_BYTES_MAX + 1, "%.*s... (%zu bytes) ...%s", (int)head, text, len, text + tail);
}

void hook_say(struct hook_report *report, const char *format, ...)
{
	char *text = NULL;
	va_list arguments;
	int len;

	if (report->count++ >= HOOK_LINES_MAX)
		return;
	va_start(arguments, format);
	len = vasprintf(&text, format, arguments);
	va_end(arguments);
	if (len < 0) {
		snprintf(report->lines[report->count - 1], HOOK_LINE_BYTES_MAX + 1, "out of memory");
		return;
	}
	if (len > HOOK_LINE_BYTES_MAX)
		cut(report->lines[report->count - 1], text, (size_t)len);
	else
		memcpy(report->lines[report->count - 1], text, (size_t)len + 1);
	nd_text_one_line(report->lines[report->count - 1], HOOK_LINE_BYTES_MAX + 1);
	free(text);
}

void hook_report_container(struct hook_report *report, const char *id)
{
	char *const label = report->container;
	size_t len = strlen(id);

	if (len > HOOK_ID_BYTES_MAX)
		for (len = HOOK_ID_BYTES_MAX; len && ((unsigned char)id[len] & 0xc0) == 0x80; len--)
			;
	memcpy(label, id, len);
	label[len] = '\0';
	nd_text_one_line(label, HOOK_ID_BYTES_MAX + 1);
	strcat(label, ": ");
}

/* ---- stderr ------------------------------------------------------------------------------------------------------------------------ */

static void complain(const struct hook_report *report, size_t count)
{
	const int64_t end = nd_now_ms() + STDERR_WAIT_MS;

	for (size_t i = 0; i < count; i++) {
		struct pollfd stderr_ = { .fd = 2, .events = POLLOUT };
		const int64_t left = end - nd_now_ms();

		/* A writable pipe takes 4 KiB (pipe(7), PIPE_BUF). O_NONBLOCK would also affect other users of the open file. */
		if (poll(&stderr_, 1, left > 0 ? (int)left : 0) <= 0 || dprintf(2, "netdevns: %s\n", report->lines[i]) < 0)
			return;
	}
}

/* ---- hook.log ---------------------------------------------------------------------------------------------------------------------- */

/* Whether the locked file still has the name: another hook may have rotated the log. 1, 0: not now, or -errno. */
static int is_current(int dirfd, int fd, off_t more)
{
	struct stat is, named;

	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? 0 : -errno;
	if (fstat(fd, &is) < 0)
		return -errno;
	if (fstatat(dirfd, LOG, &named, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!is.st_nlink || is.st_dev != named.st_dev || is.st_ino != named.st_ino)
		return 0;
	if (is.st_size + more <= HOOK_LOG_BYTES_MAX)
		return 1;
	if (is.st_size > HOOK_LOG_BYTES_MAX && ftruncate(fd, HOOK_LOG_BYTES_MAX) < 0)
		return -errno;
	return renameat(dirfd, LOG, dirfd, LOG ".old") < 0 ? -errno : 0;
}

/* Appends under a lock, so that hooks that rotate the log at the same time lose no line. 1, 0: another hook is writing, or -errno. */
static int append(int dirfd, const char *text, size_t len, const char **why)
{
	const int fd = nd_file_open(dirfd, LOG, O_WRONLY | O_APPEND | O_CREAT, why);
	int done, code;

	if (fd < 0)
		return fd;
	done = is_current(dirfd, fd, (off_t)len);
	code = done > 0 ? nd_write_all(fd, text, len) : 0;
	close(fd);
	return code ? code : done;
}

/* Writes the log: 0, or -errno and the reason. */
static int log_lines(const struct hook_report *report, size_t count, const char **why)
{
	static char text[HOOK_LINES_MAX * (sizeof report->lines[0] + sizeof report->container + 32)];
	const int64_t end = nd_now_ms() + LOCK_WAIT_MS;
	const time_t now = time(NULL);
	struct tm utc;
	char stamp[32];
	size_t len = 0;
	int dirfd, done;

	strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
	for (size_t i = 0; i < count; i++)
		len += (size_t)snprintf(text + len, sizeof text - len, "%s %s%s\n", stamp, report->container, report->lines[i]);
	dirfd = nd_folder_open(ND_LOCK_DIR, why);
	if (dirfd < 0)
		return dirfd;
	while ((done = append(dirfd, text, len, why)) == 0)
		if (!pause_until(end)) {
			*why = "another process has locked it";
			done = -EWOULDBLOCK;
			break;
		}
	close(dirfd);
	return done < 0 ? done : 0;
}

/* ---- syslog ------------------------------------------------------------------------------------------------------------------------ */

/*
 * syslog(3) blocks until syslogd reads, so a stopped one would delay each container. Errors of the
 * socket are not reported: the lines are on stderr and in the log.
 */
static void send_lines(const struct hook_report *report, size_t count, int severity)
{
	const int64_t end = nd_now_ms() + SYSLOG_WAIT_MS;
	const struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = SYSLOG };
	const int sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	char line[sizeof report->lines[0] + sizeof report->container + 64];

	if (sock < 0)
		return;
	if (connect(sock, (const struct sockaddr *)&address, sizeof address) == 0)
		for (size_t i = 0; i < count; i++) {
			const int len = snprintf(line, sizeof line, "<%d>netdevns[%d]: %s%s", DAEMON | severity, getpid(),
						 report->container, report->lines[i]);

			while (send(sock, line, (size_t)len, MSG_NOSIGNAL) < 0 && errno == EAGAIN && pause_until(end))
				;
		}
	close(sock);
}

void hook_report_send(const struct hook_report *report, int code)
{
	static struct hook_report sent;
	size_t count = report->count < HOOK_LINES_MAX ? report->count : HOOK_LINES_MAX;
	const char *why = NULL;
	int unlogged;

	sent = *report;
	if (report->count > HOOK_LINES_MAX)
		snprintf(sent.lines[count - 1], HOOK_LINE_BYTES_MAX + 1, "and %zu more", report->count - HOOK_LINES_MAX + 1);
	if (!count)
		return;
	if (code != HOOK_DONE)	/* what a successful move did not carry is for the log */
		complain(&sent, count);
	unlogged = log_lines(&sent, count, &why);
	send_lines(&sent, count, code == HOOK_DONE ? SEVERITY_NOTICE : SEVERITY_ERR);
	if (unlogged) {
		sent.count = 0;
		hook_say(&sent, ND_LOCK_DIR "/" LOG ": cannot be written: %s", why ? why : strerror(-unlogged));
		complain(&sent, 1);
	}
}
