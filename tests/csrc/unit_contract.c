/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* Rules for all functions, and for the thread that calls them. */
#include "unit.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- nd_err after a success ---- */

#define SUCCEEDS(call) (err.code = -EXFULL, CHECK((call) == 0), CHECK(err.code == 0))

/* The functions that need no privilege; tests/unit/engine/test_device_*.py has those of a move. */
static void no_code_after_a_success(void)
{
	_Alignas(8) unsigned char request[64], answers[8192], drained[1 << 17];
	struct nd_buf reply = { .data = answers, .size = sizeof answers }, notes = { .data = drained, .size = sizeof drained };
	struct nd_dev *dev = lo(ND_DEV_SIZE_MIN), *other = NULL, *batch[] = { dev };
	struct nd_sock s, watch;
	struct nd_err err;
	struct nd_msg m;
	void *memory = malloc(ND_DEV_SIZE_MIN);

	SUCCEEDS(nd_sock_open(&s, -1, NULL, 0, &err));
	SUCCEEDS(nd_sock_subscribe(&watch, -1, 65536, &err));
	SUCCEEDS(nd_sock_drain(&watch, &notes, &err));
	nd_msg_init(&m, request, sizeof request);
	nd_put_getlink(&m, 0, "lo");
	SUCCEEDS(nd_sock_exchange(&s, &m, &reply, &err));
	SUCCEEDS(nd_sock_exchange(&s, &m, NULL, &err));
	SUCCEEDS(nd_dev_init(&other, memory, ND_DEV_SIZE_MIN, "lo", "net0", &err));
	SUCCEEDS(nd_dev_snapshot(dev, &s, &err));
	SUCCEEDS(nd_dev_catch_up(dev, NULL, 0, &err));
	SUCCEEDS(nd_dev_find(dev, &s, &s, &err));
	SUCCEEDS(nd_dev_choose(dev, batch, 1, &s, &err));
	SUCCEEDS(nd_dev_undo(dev, &s, &s, -1, ND_UNDO_RESTORE, &err));
	SUCCEEDS(nd_dev_take(other, (unsigned char *)dev + dev->link, dev->link_len, (unsigned char *)dev + dev->addrs,
			     dev->addrs_len, &err));
	SUCCEEDS(nd_dev_load(other, (unsigned char *)dev + dev->link, dev->link_len, NULL, 0, &err));
	SUCCEEDS(nd_dev_undo(other, &s, &s, -1, 0, &err));
	nd_sock_close(&watch);
	nd_sock_close(&s);
	free(memory);
	free(dev);
}

static void namespaces_are_compared(void)
{
	const int one = open("/proc/self/ns/net", O_RDONLY), again = open("/proc/self/ns/net", O_RDONLY);
	const int other = open("/proc/self/ns/uts", O_RDONLY);
	struct nd_err err;

	SUCCEEDS(nd_netns_differ(one, other, &err));
	CHECK(nd_netns_differ(one, again, &err) == -EINVAL && err.code == -EINVAL && err.text[0]);
	CHECK(nd_netns_differ(one, one, &err) == -EINVAL);
	CHECK(nd_netns_differ(one, -1, &err) == -EBADF && err.code == -EBADF);
	close(one);
	close(again);
	close(other);
}

/* ---- a thread that is cancelled ---- */

struct visit {
	int fd;		/* the namespace */
	int code, ended;
	ino_t before, after;
	struct nd_sock s;
};

static ino_t current_netns(void)
{
	struct stat st;

	return stat("/proc/thread-self/ns/net", &st) < 0 ? 0 : st.st_ino;
}

static void visit(struct visit *v)
{
	struct nd_file files[] = { { .path = "/proc/sys/net/ipv4/ip_forward" } };
	struct nd_err err;

	v->before = current_netns();
	pthread_cancel(pthread_self());	/* takes effect at the next cancellation point: open */
	v->code = nd_sock_open(&v->s, v->fd, files, 1, &err);
	v->ended = 1;
	if (v->code == 0) {
		pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
		v->after = current_netns();
		pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
	}
}

#ifdef __clang__
#define ENDS_CANCELLED !__has_feature(address_sanitizer)	/* which accuses itself when a thread ends in that way */
#else
#define ENDS_CANCELLED 1
#endif

static void *visits(void *arg)
{
	visit(arg);
	if (ENDS_CANCELLED)
		pthread_testcancel();
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	return arg;
}

static void thread_is_not_cancelled_in_another_namespace(void)
{
	const int home = open("/proc/self/ns/net", O_RDONLY);
	struct visit v = { .s = { .fd = -1 } };
	struct nd_err err;
	pthread_t thread;
	void *result = NULL;

	CHECK(nd_sock_open(&v.s, home, NULL, 0, &err) == 0 || err.code == -EPERM);
	nd_sock_close(&v.s);
	if (err.code || unshare(CLONE_NEWNET) < 0) {	/* not permitted here */
		close(home);
		return;
	}
	v.fd = open("/proc/thread-self/ns/net", O_RDONLY);
	CHECK(setns(home, CLONE_NEWNET) == 0);
	CHECK(pthread_create(&thread, NULL, visits, &v) == 0 && pthread_join(thread, &result) == 0);
	CHECK(v.ended && v.code == 0 && v.s.fd >= 0 && (result == PTHREAD_CANCELED) == ENDS_CANCELLED);
	CHECK(v.before == v.after && v.before != 0);
	nd_sock_close(&v.s);
	close(v.fd);
	close(home);
}

const struct unit_case contract_cases[] = {
	{ "no_code_after_a_success", no_code_after_a_success },
	{ "namespaces_are_compared", namespaces_are_compared },
	{ "thread_is_not_cancelled_in_another_namespace", thread_is_not_cancelled_in_another_namespace },
	{ NULL, NULL },
};
