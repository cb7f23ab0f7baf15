/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * csrc/netdevns.h in a process that stays, which tests disturb: reads requests, one a line, and answers each by a line of JSON.
 * Names and texts are hexadecimal in both, so that any byte can be in them. Linked with --wrap of what disturb.c wraps.
 *
 *	open BATCH SOURCE TARGET	SOURCE: a path, or - for the caller's namespace
 *	add BATCH NAME WANTED, record BATCH DIRECTORY, check|move BATCH ACCEPT, undo|close BATCH
 *	both BATCH BATCH ACCEPT		moves both, each in a thread
 *	recover DIRECTORY UNDO_COMPLETE
 *	stop TYPE N	answers {"stopped":1} before the N-th send of messages of that type (0: any; MOVE: RTM_NEWLINK with
 *			IFLA_NET_NS_FD) and waits for a line; 0 0: never
 *	fail FIRST LAST	allocations that fail, counted from now on; answers how many there were since the last call
 *	interrupt USEC	SIGALRM each USEC microseconds; 0: no more; answers how many signals there were
 *	sockets N	the N-th socket from now on fails with ENOBUFS; 0: none
 *	unsent FIRST LAST	moves that are refused with ENOBUFS before they are sent, counted from now on; 0 0: none
 *	files N		RLIMIT_NOFILE, the soft limit
 *	enter PATH	the thread enters a network namespace
 *
 * The handler of all signals that can be caught is installed without SA_RESTART.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "disturb.h"
#include "netdevns.h"

#define BATCHES 8
#define REPORT_SIZE (1 << 20)

static struct netdevns_batch *batches[BATCHES];
_Noreturn void die(const char *what)
{
	perror(what);
	exit(1);
}

/* ---- answers ---------------------------------------------------------------------------------------------------------------- */

static void put_text(const char *name, const char *text)
{
	printf(",\"%s\":\"", name);
	for (; *text; text++)
		printf("%02x", (unsigned char)*text);
	printf("\"");
}

static void put_devices(const struct netdevns_batch *b)
{
	const struct netdevns_device *d;

	printf(",\"devices\":[");
	for (size_t i = 0; b && (d = netdevns_batch_device(b, i)); i++) {
		printf("%s{\"host_ifindex\":%d,\"ifindex\":%d,\"location\":%d", i ? "," : "", d->host_ifindex, d->ifindex,
		       d->location);
		put_text("device", d->ifname);
		put_text("name", d->name);
		put_text("missing", d->missing);
		printf("}");
	}
	printf("]");
}

static void answer(int result, const struct netdevns_error *err, const struct netdevns_batch *b, const char *report)
{
	printf("{\"result\":%d,\"code\":%d,\"device\":%d,\"begun\":%d,\"left\":%d", result, err->code, result ? err->device : -1,
	       err->begun, err->left);
	put_text("step", result ? err->step : "");
	put_text("text", result ? err->text : "");
	put_text("report", report);
	put_devices(b);
	printf("}\n");
}

/* ---- requests --------------------------------------------------------------------------------------------------------------- */

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

static char *word(void)
{
	char *const found = strtok(NULL, " ");

	if (!found)
		die("a word is missing");
	return found;
}

static long number(void)
{
	return strtol(word(), NULL, 10);
}

static int open_path(const char *path, int flags)
{
	const int fd = open(path, O_RDONLY | O_CLOEXEC | flags);

	if (fd < 0)
		die(path);
	return fd;
}

static int open_batch(size_t at, struct netdevns_error *err)
{
	const char *const source = word(), *const target = word();
	const int source_fd = strcmp(source, "-") == 0 ? -1 : open_path(source, 0), target_fd = open_path(target, 0);
	const int r = netdevns_batch_open(&batches[at], NETDEVNS_VERSION, source_fd, target_fd, err);

	close(target_fd);
	if (source_fd >= 0)
		close(source_fd);
	return r;
}

static int record(struct netdevns_batch *b, struct netdevns_error *err)
{
	const int dirfd = open_path(word(), O_DIRECTORY), r = netdevns_batch_record(b, dirfd, err);

	close(dirfd);
	return r;
}

struct mover {
	struct netdevns_batch *b;
	pthread_barrier_t *start;
	uint32_t accept;
	int result;
	struct netdevns_error err;
};

static void *run(void *data)
{
	struct mover *const m = data;

	pthread_barrier_wait(m->start);
	m->result = netdevns_batch_move(m->b, m->accept, &m->err);
	return NULL;
}

static void both(void)
{
	struct mover movers[2];
	pthread_t threads[2];
	pthread_barrier_t start;

	pthread_barrier_init(&start, NULL, 2);
	for (int i = 0; i < 2; i++)
		movers[i] = (struct mover){ .b = batches[number()], .start = &start };
	movers[0].accept = movers[1].accept = (uint32_t)number();
	for (int i = 0; i < 2; i++)
		if (pthread_create(&threads[i], NULL, run, &movers[i]))
			die("pthread_create");
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	pthread_barrier_destroy(&start);
	for (int i = 0; i < 2; i++)
		answer(movers[i].result, &movers[i].err, movers[i].b, "");
}

static void recover(void)
{
	static char report[REPORT_SIZE];
	const int dirfd = open_path(word(), O_DIRECTORY);
	struct netdevns_error err;

	answer(netdevns_recover(NETDEVNS_VERSION, dirfd, (int)number(), report, REPORT_SIZE, &err), &err, NULL, report);
	close(dirfd);
}

/* What disturbs the calls that follow. */
static int is_disturbance(const char *verb)
{
	if (strcmp(verb, "stop") == 0) {
		stop_type = number();
		stop_number = number();
		printf("{}\n");
	} else if (strcmp(verb, "interrupt") == 0) {
		interrupt(number());
	} else if (strcmp(verb, "fail") == 0) {
		const long first = number();

		fail_allocations(first, number());
	} else if (strcmp(verb, "unsent") == 0) {
		const long first = number();

		fail_moves(first, number());
	} else if (strcmp(verb, "sockets") == 0) {
		fail_socket(number());
	} else if (strcmp(verb, "files") == 0) {
		limit_files((rlim_t)number());
	} else if (strcmp(verb, "enter") == 0) {
		enter(word());
	} else {
		return 0;
	}
	return 1;
}

static int is_not_for_a_batch(const char *verb)
{
	if (strcmp(verb, "both") == 0)
		both();
	else if (strcmp(verb, "recover") == 0)
		recover();
	else
		return is_disturbance(verb);
	return 1;
}

static void do_batch(const char *verb)
{
	const size_t at = (size_t)number();
	struct netdevns_error err = { .step = "" };
	struct netdevns_batch *const b = batches[at];
	int r = 0;

	if (strcmp(verb, "open") == 0) {
		r = open_batch(at, &err);
	} else if (strcmp(verb, "add") == 0) {
		const char *const name = unhex(word());

		r = netdevns_batch_add(b, name, unhex(word()), &err);
	} else if (strcmp(verb, "record") == 0) {
		r = record(b, &err);
	} else if (strcmp(verb, "check") == 0) {
		r = netdevns_batch_check(b, (uint32_t)number(), &err);
	} else if (strcmp(verb, "move") == 0) {
		r = netdevns_batch_move(b, (uint32_t)number(), &err);
	} else if (strcmp(verb, "undo") == 0) {
		r = netdevns_batch_undo(b, &err);
	} else if (strcmp(verb, "close") == 0) {
		netdevns_batch_close(b);
		batches[at] = NULL;
	} else {
		die(verb);
	}
	stop_number = 0;
	answer(r, &err, batches[at], "");
}

int main(void)
{
	char *line = NULL;
	size_t size = 0;
	ssize_t len;

	catch_all();
	for (;;) {
		const char *verb;

		errno = 0;
		len = getline(&line, &size, stdin);
		if (len < 0 && errno == EINTR) {	/* between two requests: no half of one is read */
			clearerr(stdin);
			continue;
		}
		if (len <= 0)
			break;
		line[len - 1] = '\0';
		verb = strtok(line, " ");
		if (!is_not_for_a_batch(verb))
			do_batch(verb);
		fflush(stdout);
	}
	free(line);
	return 0;
}
