/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * csrc/netdevns.h in a process that stays, which tests disturb: reads requests, one a line, and answers each by a line of JSON.
 * Names and texts are hexadecimal in both, so that any byte can be in them. Linked with --wrap of send, malloc, calloc, realloc.
 *
 *	open BATCH SOURCE TARGET	SOURCE: a path, or - for the caller's namespace
 *	add BATCH NAME WANTED, record BATCH DIRECTORY, check|move BATCH ACCEPT, undo|close BATCH
 *	both BATCH BATCH ACCEPT		moves both, each in a thread
 *	recover DIRECTORY UNDO_COMPLETE
 *	stop TYPE N	answers {"stopped":1} before the N-th send of messages of that type (0: any; MOVE: RTM_NEWLINK with
 *			IFLA_NET_NS_FD) and waits for a line; 0 0: never
 *	fail FIRST LAST	allocations that fail, counted from now on; answers how many there were since the last call
 *	interrupt USEC	SIGALRM each USEC microseconds; 0: no more; answers how many signals there were
 *
 * The handler of all signals that can be caught is installed without SA_RESTART.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "netdevns.h"

#define BATCHES 8
#define MOVE 1000
#define REPORT_SIZE (1 << 20)

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
ssize_t __real_send(int fd, const void *data, size_t len, int flags);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
ssize_t __wrap_send(int fd, const void *data, size_t len, int flags);

static struct netdevns_batch *batches[BATCHES];
static long allocations, first_failing, last_failing;
static long stop_type, stop_number;
static volatile sig_atomic_t signals;

static _Noreturn void die(const char *what)
{
	perror(what);
	exit(1);
}

/* ---- what is disturbed ---------------------------------------------------------------------------------------------------- */

static int fails(void)
{
	allocations++;
	return allocations >= first_failing && allocations <= last_failing;
}

void *__wrap_malloc(size_t size)
{
	return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
	return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size)
{
	return fails() ? NULL : __real_realloc(old, size);
}

static int has_attribute(const unsigned char *message, size_t len, size_t at, uint16_t type)
{
	struct nlattr a;

	for (; at + sizeof a <= len; at += (size_t)NLA_ALIGN(a.nla_len)) {
		memcpy(&a, message + at, sizeof a);
		if ((a.nla_type & NLA_TYPE_MASK) == type)
			return 1;
		if (a.nla_len < sizeof a)
			break;
	}
	return 0;
}

static int is_stop(const unsigned char *data, size_t len)
{
	struct nlmsghdr h;

	for (size_t at = 0; at + sizeof h <= len; at += (size_t)NLMSG_ALIGN(h.nlmsg_len)) {
		const size_t attributes = sizeof h + sizeof(struct ifinfomsg);

		memcpy(&h, data + at, sizeof h);
		if (!stop_type || h.nlmsg_type == stop_type)
			return 1;
		if (stop_type == MOVE && h.nlmsg_type == RTM_NEWLINK &&
		    has_attribute(data + at, h.nlmsg_len, attributes, IFLA_NET_NS_FD))
			return 1;
		if (h.nlmsg_len < sizeof h)
			break;
	}
	return 0;
}

static void wait_for_line(void)
{
	int c;

	printf("{\"stopped\":1}\n");
	fflush(stdout);
	do
		c = getchar();
	while (c != '\n' && c != EOF);
}

ssize_t __wrap_send(int fd, const void *data, size_t len, int flags)
{
	if (stop_number && is_stop(data, len) && --stop_number == 0)
		wait_for_line();
	return __real_send(fd, data, len, flags);
}

static void on_signal(int number)
{
	(void)number;
	signals++;
}

static void catch_all(void)
{
	static const int not_ours[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP, SIGSYS, SIGKILL, SIGSTOP };
	struct sigaction action = { .sa_handler = on_signal };

	for (int i = 1; i <= SIGRTMAX; i++) {
		size_t k = 0;

		while (k < sizeof not_ours / sizeof not_ours[0] && not_ours[k] != i)
			k++;
		if (k == sizeof not_ours / sizeof not_ours[0])
			sigaction(i, &action, NULL);	/* of two libc says EINVAL */
	}
}

static void interrupt(long usec)
{
	const struct itimerval each = { .it_interval.tv_usec = usec, .it_value.tv_usec = usec };
	const int seen = signals;

	if (setitimer(ITIMER_REAL, &each, NULL))
		die("setitimer");
	signals = 0;
	printf("{\"signals\":%d}\n", seen);
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
	char *const report = __real_malloc(REPORT_SIZE);
	const int dirfd = open_path(word(), O_DIRECTORY);
	struct netdevns_error err;

	if (!report)
		die("malloc");
	answer(netdevns_recover(dirfd, (int)number(), report, REPORT_SIZE, &err), &err, NULL, report);
	close(dirfd);
	free(report);
}

static void fail_allocations(void)
{
	const long seen = allocations;

	first_failing = number();
	last_failing = number();
	printf("{\"allocations\":%ld}\n", seen);
	allocations = 0;
}

static int is_not_for_a_batch(const char *verb)
{
	if (strcmp(verb, "both") == 0)
		both();
	else if (strcmp(verb, "recover") == 0)
		recover();
	else if (strcmp(verb, "interrupt") == 0)
		interrupt(number());
	else if (strcmp(verb, "fail") == 0)
		fail_allocations();
	else
		return 0;
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
		if (strcmp(verb, "stop") == 0) {
			stop_type = number();
			stop_number = number();
			printf("{}\n");
		} else if (!is_not_for_a_batch(verb)) {
			do_batch(verb);
		}
		fflush(stdout);
	}
	free(line);
	return 0;
}
