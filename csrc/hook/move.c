/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* Moves a container's devices, and writes its loan. As netdevns/oci/handover.py. */
#define _GNU_SOURCE
#include "hook.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

/* A move in progress. */
struct way {
	struct hook_request *request;
	struct hook_report *report;
	struct netdevns_batch *batch;
	int pidfd, target_fd, loans_fd;
	struct nd_loan loan;
};

static int has_ended(int pidfd)
{
	struct pollfd process = { .fd = pidfd, .events = POLLIN };

	return poll(&process, 1, 0) != 0;
}

const char *hook_interrupted(void)
{
	sigset_t waiting;

	sigpending(&waiting);
	return sigismember(&waiting, SIGINT) == 1 ? "SIGINT" : sigismember(&waiting, SIGTERM) == 1 ? "SIGTERM" :
	       sigismember(&waiting, SIGHUP) == 1 ? "SIGHUP" : NULL;
}

/* Whether to stop: a signal is pending, or the container's process has ended. */
static int stop(void *caller, struct nd_err *err)
{
	const struct way *const w = caller;
	const char *const name = hook_interrupted();

	if (name)
		return nd_err_set(err, ND_STEP_NONE, -EINTR, name);
	return has_ended(w->pidfd) ? nd_err_set(err, ND_STEP_NONE, -ESRCH, "the container's process has ended") : 0;
}

/* ---- namespaces and folders -------------------------------------------------------------------------------------------------------- */

static int is_same_file(int fd, const char *path)
{
	struct stat is, named;

	return fstat(fd, &is) == 0 && stat(path, &named) == 0 && is.st_dev == named.st_dev && is.st_ino == named.st_ino;
}

/* Opens the namespace of the container's process, which must be the one that config.json names, if it names one. */
static int open_target(struct way *w)
{
	char path[64];

	snprintf(path, sizeof path, "/proc/%d/ns/net", (int)w->request->pid);
	w->target_fd = open(path, O_RDONLY | O_CLOEXEC);
	if (w->target_fd < 0 || w->pidfd < 0 || has_ended(w->pidfd)) {
		hook_say(w->report, "pid:%d: the container's process has ended, or has no pidfd", (int)w->request->pid);
		return -1;
	}
	if (!w->request->netns_path || is_same_file(w->target_fd, w->request->netns_path))
		return 0;
	hook_say(w->report, "its process %d is not in the network namespace that config.json names, %s", (int)w->request->pid,
		 w->request->netns_path);
	return -1;
}

/* A folder below /run/netdevns, made if it does not exist. A descriptor, or -1. */
static int open_folder(struct way *w, const char *path)
{
	const char *why;
	int fd = nd_folder_open(ND_LOCK_DIR, &why);

	if (fd >= 0) {
		close(fd);
		fd = nd_folder_open(path, &why);
	}
	if (fd < 0)
		hook_say(w->report, "%s: %s", path, why ? why : strerror(-fd));
	return fd < 0 ? -1 : fd;
}

static int begin_loan(struct way *w)
{
	uint64_t number;

	if (getrandom(&number, sizeof number, 0) != (ssize_t)sizeof number) {
		hook_say(w->report, "getrandom: %s", strerror(errno));
		return -1;
	}
	w->loan = (struct nd_loan){ .container = w->request->id, .container_len = w->request->id_len, .number = number >> 1 | 1 };
	return 0;
}

/* ---- devices that a runtime has moved already -------------------------------------------------------------------------------------- */

/*
 * Removes devices from the request that are absent here and have their name in the target: the runtime has moved them. Returns how
 * many; 0 if there are other errors, too.
 */
static size_t leave_out(struct way *w)
{
	const struct netdevns_finding *f;
	struct nd_link link;
	struct nd_view v;
	size_t left_out = 0, kept = 0;
	char *const absent = calloc(w->request->count + 1, 1);

	for (size_t i = 0; absent && (f = netdevns_batch_finding(w->batch, i)); i++) {
		if (f->severity != NETDEVNS_ERROR || f->device < 0)
			continue;
		if (strcmp(f->code, "device.unknown") != 0 ||
		    !nd_batch_has_link(w->batch, w->batch->target, w->request->devices[f->device].wanted, &link, &v)) {
			free(absent);
			return 0;
		}
		absent[f->device] = 1;
	}
	for (size_t i = 0; absent && i < w->request->count; i++) {
		if (absent[i])
			left_out++;
		else
			w->request->devices[kept++] = w->request->devices[i];
	}
	if (absent)
		w->request->count = kept;
	free(absent);
	return left_out;
}

/* ---- the move ---------------------------------------------------------------------------------------------------------------------- */

static int open_batch(struct way *w)
{
	struct netdevns_error e;
	const int records_fd = open_folder(w, ND_LOCK_DIR "/txn");
	int code = records_fd < 0 ? -1 : netdevns_batch_open(&w->batch, NETDEVNS_VERSION, -1, w->target_fd, &e);

	if (records_fd < 0)
		return -1;
	if (!code)
		code = netdevns_batch_record(w->batch, records_fd, &e);
	for (size_t i = 0; !code && i < w->request->count; i++)
		code = netdevns_batch_add(w->batch, w->request->devices[i].ifname, w->request->devices[i].wanted, &e);
	close(records_fd);
	if (code) {
		hook_say(w->report, "%s", e.text);
		return -1;
	}
	w->batch->loan = &w->loan;
	w->batch->target_pid = (uint32_t)w->request->pid;
	w->batch->stop = stop;
	w->batch->caller = w;
	return 0;
}

/* Reports the failure, and where each device is that was not restored completely. */
static int report_left(struct way *w, const struct netdevns_error *e)
{
	static const char *const places[] = { "not found: the search failed", "in its old namespace", "in the target namespace",
					      "gone: in neither namespace" };
	const struct netdevns_device *d;

	hook_say(w->report, "%s", e->text);
	for (size_t i = 0; e->left && (d = netdevns_batch_device(w->batch, i)); i++)
		if (d->missing[0])
			hook_say(w->report, "%s: %s; not restored: %s", d->ifname, places[d->location], d->missing);
	return e->left ? HOOK_LEFT : HOOK_FAILED;
}

/* The words of a finding about this device's addresses that are not carried; NULL: it is another one. */
static const char *loss_of(const struct netdevns_finding *f, size_t device)
{
	static const char before[] = ": a move loses: ";
	const char *const words = f->severity == NETDEVNS_LOSS && f->device == (int)device ? strstr(f->text, before) : NULL;

	return words ? words + sizeof before - 1 : NULL;
}

/* A line for each device that lost addresses or labels. One with other state to lose is handed over to the hook in Python. */
static void report_losses(struct way *w)
{
	for (size_t device = 0; device < w->request->count; device++) {
		const uint32_t labels = w->batch->members[device]->dev->cut_labels;
		const struct netdevns_finding *f;
		char words[HOOK_LINE_BYTES_MAX] = "";
		size_t len = 0;

		for (size_t i = 0; (f = netdevns_batch_finding(w->batch, i)); i++) {
			const char *const loss = loss_of(f, device);

			if (loss && len < sizeof words)
				len += (size_t)snprintf(words + len, sizeof words - len, ", %s", loss);
		}
		if (labels && len < sizeof words)
			len += (size_t)snprintf(words + len, sizeof words - len, ", %" PRIu32 " label%s", labels, labels > 1 ? "s" : "");
		if (len)
			hook_say(w->report, "%s: not carried: %s", w->request->devices[device].ifname, words + 2);
	}
}

/* The last step: writes the loan; without a loan the move is undone. */
static int lend(struct way *w)
{
	struct nd_record_content content;
	struct netdevns_error undone;
	char name[ND_FILE_NAME_SIZE];
	struct nd_err e;
	int code = nd_batch_content(w->batch, &content, &e);

	content.is_loan = 1;
	hook_loan_name(name, w->request);
	if (!code)
		code = nd_loan_write(w->loans_fd, name, &content, &e);
	free((void *)content.devices);
	if (!code && !stop(w, &e)) {
		report_losses(w);
		return HOOK_DONE;
	}
	if (!code)
		unlinkat(w->loans_fd, name, 0);
	hook_say(w->report, "%s: %s%s%s", code ? "the loan cannot be written" : "the move was interrupted", strerror(-e.code),
		 e.text[0] ? ": " : "", e.text);
	netdevns_batch_undo(w->batch, &undone);
	if (undone.left)
		return report_left(w, &undone);
	hook_say(w->report, "all devices are restored");
	return HOOK_FAILED;
}

/* Whether another mover holds a device. The wait for its lock is over; the hook in Python would repeat it. */
static int is_busy(struct way *w)
{
	const struct netdevns_finding *f;
	int found = 0;

	for (size_t i = 0; (f = netdevns_batch_finding(w->batch, i)); i++) {
		if (strcmp(f->code, "device.busy") != 0)
			continue;
		hook_say(w->report, "%s", f->text);
		found = 1;
	}
	if (found)
		hook_say(w->report, HOOK_NOTHING);
	return found;
}

/* One try. HOOK_HAND_OVER: nothing was changed. */
static int move(struct way *w, int *again)
{
	struct netdevns_error e;
	int code;

	*again = 0;
	if (open_batch(w))
		return HOOK_HAND_OVER;
	if (!netdevns_batch_move(w->batch, 0, &e))
		return lend(w);
	if (e.begun || e.left)
		return report_left(w, &e);
	if (is_busy(w))
		return HOOK_REFUSED;
	*again = leave_out(w) > 0;
	code = *again && !w->request->count ? HOOK_DONE : HOOK_HAND_OVER;
	if (!*again)
		hook_say(w->report, "%s", e.text);
	return code;
}

int hook_move(struct hook_request *request, int pidfd, struct hook_report *report)
{
	struct way w = { .request = request, .report = report, .pidfd = pidfd, .target_fd = -1, .loans_fd = -1 };
	int code = HOOK_HAND_OVER, again = 1;

	if (!open_target(&w) && (w.loans_fd = open_folder(&w, ND_LOCK_DIR "/loan")) >= 0 && !begin_loan(&w))
		while (again && (code = move(&w, &again)) == HOOK_HAND_OVER && again) {
			netdevns_batch_close(w.batch);
			w.batch = NULL;
		}
	netdevns_batch_close(w.batch);
	if (w.loans_fd >= 0)
		close(w.loans_fd);
	if (w.target_fd >= 0)
		close(w.target_fd);
	return code;
}
