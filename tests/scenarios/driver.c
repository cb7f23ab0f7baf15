/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * csrc/netdevns.h in a process that stays: reads requests, one a line, and answers each by a line of JSON. Names and texts are
 * hexadecimal in both, so that any byte can be in them.
 *
 *	open SOURCE TARGET HERE DROP USER NAME:WANTED ...	paths; 0 or 1; capabilities as a mask; a path or -
 *	check ACCEPT, move ACCEPT, undo, end
 *	fault WHAT FIRST LAST	of the sends (0) or receives (1) that follow (fault.c); answers how many there were until now
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "netdevns.h"

extern int fault_arm(int what, int first, int last, int code) __attribute__((weak));

static int home_fd, source_fd = -1, target_fd = -1;
static struct netdevns_batch *batch;

static _Noreturn void die(const char *what)
{
	perror(what);
	exit(1);
}

static void put_text(const char *name, const char *text)
{
	printf(",\"%s\":\"", name);
	for (; *text; text++)
		printf("%02x", (unsigned char)*text);
	printf("\"");
}

static void put_bytes(const char *name, const void *data, size_t len)
{
	const unsigned char *const bytes = data;

	printf(",\"%s\":\"", name);
	for (size_t i = 0; i < len; i++)
		printf("%02x", bytes[i]);
	printf("\"");
}

static void put_findings(void)
{
	const struct netdevns_finding *f;

	printf(",\"findings\":[");
	for (size_t i = 0; batch && (f = netdevns_batch_finding(batch, i)); i++) {
		printf("%s{\"device\":%d,\"severity\":%d,\"errno\":%d,\"state\":%u,\"ifindex\":%d", i ? "," : "", f->device,
		       f->severity, f->error, f->state, f->ifindex);
		put_text("code", f->code);
		put_text("name", f->name);
		put_text("other", f->other);
		put_text("text", f->text);
		printf("}");
	}
	printf("]");
}

static void put_devices(void)
{
	const struct netdevns_device *d;

	printf(",\"devices\":[");
	for (size_t i = 0; batch && (d = netdevns_batch_device(batch, i)); i++) {
		printf("%s{\"host_ifindex\":%d,\"ifindex\":%d,\"location\":%d", i ? "," : "", d->host_ifindex, d->ifindex,
		       d->location);
		put_text("device", d->ifname);
		put_text("name", d->name);
		put_text("missing", d->missing);
		put_bytes("addresses", d->addresses, d->addresses_len);
		printf("}");
	}
	printf("]");
}

static void answer(int result, const struct netdevns_error *err)
{
	const int is_failure = result != 0;

	printf("{\"result\":%d,\"code\":%d,\"device\":%d,\"left\":%d", result, is_failure ? err->code : 0,
	       is_failure ? err->device : -1, is_failure ? err->left : 0);
	put_text("step", is_failure && err->step ? err->step : "");
	put_text("text", is_failure ? err->text : "");
	put_findings();
	put_devices();
	printf("}\n");
}

/* In place: the text is half as long. */
static char *unhex(char *text)
{
	char *to = text;

	for (const char *from = text; from[0] && from[1]; from += 2) {
		const char digits[] = { from[0], from[1], '\0' };

		*to++ = (char)strtol(digits, NULL, 16);
	}
	*to = '\0';
	return text;
}

static void drop_capabilities(uint64_t mask)
{
	struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct sets[2];

	if (syscall(SYS_capget, &head, sets))
		die("capget");
	for (int i = 0; i < 2; i++) {
		const uint32_t kept = ~(uint32_t)(mask >> (32 * i));

		sets[i].effective &= kept;
		sets[i].permitted &= kept;
		sets[i].inheritable &= kept;
	}
	if (syscall(SYS_capset, &head, sets))
		die("capset");
}

static int open_path(const char *path)
{
	const int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		die(path);
	return fd;
}

/* The caller's own namespaces and capabilities. */
static void become(int is_here, uint64_t drop, const char *user)
{
	int fd;

	if (is_here && setns(source_fd, CLONE_NEWNET))
		die("setns");
	if (strcmp(user, "-") != 0) {
		fd = open_path(user);
		if (setns(fd, CLONE_NEWUSER))
			die("setns");
		close(fd);
	}
	if (drop)
		drop_capabilities(drop);
}

/* What is given up cannot be had again: a child does it, to the end of this scenario. Returns whether this is the parent. */
static int leave_to_child(uint64_t drop, const char *user)
{
	pid_t child;

	if (!drop && strcmp(user, "-") == 0)
		return 0;
	child = fork();
	if (child < 0)
		die("fork");
	if (child > 0 && waitpid(child, NULL, 0) < 0)
		die("waitpid");
	return child > 0;
}

/* Returns whether a child had this scenario. */
static int open_batch(void)
{
	const char *const source = strtok(NULL, " "), *const target = strtok(NULL, " ");
	const int is_here = atoi(strtok(NULL, " "));
	const uint64_t drop = strtoull(strtok(NULL, " "), NULL, 16);
	const char *const user = strtok(NULL, " ");
	struct netdevns_error err;
	char *asked;
	int r;

	if (leave_to_child(drop, user))
		return 1;
	netdevns_batch_close(batch);	/* of a test that failed */
	source_fd = open_path(source);
	target_fd = open_path(target);
	become(is_here, drop, user);
	r = netdevns_batch_open(&batch, NETDEVNS_VERSION, is_here ? -1 : source_fd, target_fd, &err);
	while (!r && (asked = strtok(NULL, " "))) {
		char *const wanted = strchr(asked, ':');

		*wanted = '\0';
		r = netdevns_batch_add(batch, unhex(asked), unhex(wanted + 1), &err);
	}
	answer(r, &err);
	return 0;
}

static void end(void)
{
	netdevns_batch_close(batch);
	batch = NULL;
	close(source_fd);
	close(target_fd);
	printf("{}\n");
	fflush(stdout);
	if (setns(home_fd, CLONE_NEWNET))	/* a child that may not is at its end */
		exit(0);
}

static void fault(void)
{
	const int what = atoi(strtok(NULL, " ")), first = atoi(strtok(NULL, " ")), last = atoi(strtok(NULL, " "));

	printf("{\"calls\":%d}\n", fault_arm ? fault_arm(what, first, last, EIO) : 0);
}

static uint32_t bits(void)
{
	return (uint32_t)strtoul(strtok(NULL, " "), NULL, 10);
}

int main(void)
{
	struct netdevns_error err;
	char *line = NULL;
	size_t size = 0;
	ssize_t len;
	const pid_t self = getpid();

	home_fd = open_path("/proc/thread-self/ns/net");
	while ((len = getline(&line, &size, stdin)) > 0) {
		const char *verb;
		int is_end;

		line[len - 1] = '\0';
		verb = strtok(line, " ");
		is_end = strcmp(verb, "end") == 0;
		if (strcmp(verb, "open") == 0 && open_batch())
			continue;
		if (strcmp(verb, "check") == 0)
			answer(netdevns_batch_check(batch, bits(), &err), &err);
		else if (strcmp(verb, "move") == 0)
			answer(netdevns_batch_move(batch, bits(), &err), &err);
		else if (strcmp(verb, "undo") == 0)
			answer(netdevns_batch_undo(batch, &err), &err);
		else if (strcmp(verb, "fault") == 0)
			fault();
		else if (is_end)
			end();
		fflush(stdout);
		if (is_end && getpid() != self)
			exit(0);
	}
	free(line);
	return 0;
}
