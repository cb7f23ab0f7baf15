/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* The functions of a batch that check, move and undo; netdevns.h specifies them. */
#include "batch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* The result of a check: its first error. */
static int verdict(const struct netdevns_batch *b, struct netdevns_error *err)
{
	for (size_t i = 0; i < b->found_count; i++) {
		const struct netdevns_finding *const f = &b->found[i]->finding;

		if (f->severity == NETDEVNS_ERROR)
			return nd_batch_fail(err, -(f->error ? f->error : EIO), "check", f->device, "%s", f->text);
	}
	return nd_batch_succeed(err);
}

/* Looks up and checks. `is_move`: locks the devices until the batch is closed. */
static int examine(struct netdevns_batch *b, uint32_t accept, int is_move, struct netdevns_error *err)
{
	struct nd_err e = { .text = "" };
	int code;

	nd_batch_forget(b);
	code = nd_batch_check_names(b);
	if (!code)
		code = nd_batch_look_up(b, is_move, &e);
	if (!code && b->source->fd >= 0)
		code = nd_batch_check_source(b, &e);
	if (!code && b->target->fd >= 0)
		code = nd_batch_check_target(b, &e);
	if (!code && b->source->fd >= 0)
		code = nd_batch_detect(b, accept, &e);
	if (code == -ENOMEM)
		return nd_batch_no_memory(err, "check");
	if (code == -ENOTRECOVERABLE)	/* no findings: this thread must end */
		return nd_member_fail(NULL, "check", &e, err);
	if (code) {
		struct netdevns_error said;

		nd_member_fail(NULL, "check", &e, &said);
		if (!nd_batch_find(b, "system", NETDEVNS_ERROR, -code, NULL, "%s", said.text))
			return nd_batch_no_memory(err, "check");
	}
	return verdict(b, err);
}

/* Whether the batch may be checked or moved, with these bits. */
static int is_refused(struct netdevns_batch *b, uint32_t accept, const char *step, struct netdevns_error *err)
{
	if (nd_batch_may(b, step, err))
		return 1;
	if (!(accept & ~ND_STATE_ALL))
		return 0;
	nd_batch_forget(b);
	nd_batch_fail(err, -EINVAL, step, -1, "`accept` has bits that enum netdevns_state does not have: 0x%x", accept & ~ND_STATE_ALL);
	return 1;
}

int netdevns_batch_check(struct netdevns_batch *b, uint32_t accept, struct netdevns_error *err)
{
	struct netdevns_error e;

	if (!is_refused(b, accept, "check", &e))
		examine(b, accept, 0, &e);
	return nd_error_give(nd_batch_version(b), &e, err);
}

static int fail(const struct netdevns_batch *b, const struct nd_failure *f, struct netdevns_error *err)
{
	return nd_member_fail(f->device < 0 ? NULL : b->members[f->device], f->step, &f->err, err);
}

int nd_batch_content(struct netdevns_batch *b, struct nd_record_content *content, struct nd_err *err)
{
	struct nd_record_device *const devices = calloc(b->count + 1, sizeof *devices);
	int code;

	memset(content, 0, sizeof *content);
	content->devices = devices;
	content->count = b->count;
	content->since_ms = b->since_ms;
	content->loan = b->loan;
	if (!devices)
		return nd_err_set(err, ND_STEP_NONE, -ENOMEM, "out of memory");
	for (size_t i = 0; i < b->count; i++)
		devices[i] = (struct nd_record_device){ .dev = b->moves[i]->dev, .depth = b->moves[i]->depth };
	code = nd_identify(b->source_fd, b->source, &content->source, err);
	if (!code)
		code = nd_identify(b->target_fd, b->target, &content->target, err);
	if (!code && b->target_pid)
		code = nd_identify_process(&content->target, b->target_pid, err);
	return code;
}

static int write_record(struct netdevns_batch *b, struct netdevns_error *err)
{
	struct nd_record_content content;
	struct nd_err e;
	int code;

	if (b->record_dirfd < 0)
		return 0;
	code = nd_batch_content(b, &content, &e);
	if (!code)
		code = nd_record_write(&b->record, b->record_dirfd, &content, &e);
	free((void *)content.devices);
	return code ? nd_member_fail(NULL, "record", &e, err) : 0;
}

/* Whether the caller lets the move go on. */
static int go_on(struct netdevns_batch *b, struct nd_failure *f)
{
	if (!b->stop || !b->stop(b->caller, &f->err))
		return 0;
	return nd_failure_set(f, NULL, "move");
}

/* Writes the record again if addresses were added meanwhile. */
static int catch_up(struct netdevns_batch *b, struct netdevns_error *err)
{
	struct nd_failure f;
	int is_late;

	if (nd_batch_catch_up(b, &is_late, &f))
		return fail(b, &f, err);
	b->is_up_to_date = 1;
	return is_late ? write_record(b, err) : 0;
}

/* A hook's move is complete when its loan is written, and then its record is removed. */
static int mark_complete(const struct netdevns_batch *b, struct netdevns_error *err)
{
	struct nd_err e;

	if (b->record.fd < 0 || b->loan || !nd_record_mark(&b->record, 1))
		return 0;
	nd_err_set(&e, ND_STEP_NONE, -EIO, "the record cannot be completed");
	return nd_member_fail(NULL, "record", &e, err);
}

static int forward(struct netdevns_batch *b, struct netdevns_error *err)
{
	struct nd_failure f;
	int code = write_record(b, err);

	if (code)
		return code;
	code = go_on(b, &f) ? f.err.code : nd_batch_set_down(b, &f);
	while (!code && b->moved < b->count)
		code = go_on(b, &f) ? f.err.code : nd_batch_move_next(b, &f);
	if (code)
		return fail(b, &f, err);
	code = catch_up(b, err);
	if (code)
		return code;
	while (!code && b->replayed < b->count)
		code = go_on(b, &f) ? f.err.code : nd_batch_replay_next(b, &f);
	while (!code && b->verified < b->count)
		code = nd_batch_verify_next(b, &f);
	if (!code && go_on(b, &f))
		code = f.err.code;
	return code ? fail(b, &f, err) : mark_complete(b, err);
}

/* Whether there is state whose loss the caller accepted. */
static int has_losses(const struct netdevns_batch *b)
{
	for (size_t i = 0; i < b->found_count; i++)
		if (b->found[i]->finding.severity == NETDEVNS_LOSS && b->found[i]->finding.state)
			return 1;
	return 0;
}

/* Undoes the move. Returns how many devices are not restored completely. */
static int restore(struct netdevns_batch *b)
{
	const int left = nd_batch_restore(b);

	b->is_left = b->has_moved = left > 0;
	if (!left)
		nd_record_end(&b->record, 0);
	return left;
}

/* Undoes a move that failed: err has the failure, and the outcome is appended. */
static void back(struct netdevns_batch *b, int may_miss_late, struct netdevns_error *err)
{
	size_t used;

	for (size_t i = 0; i < b->count; i++)
		err->begun |= b->members[i]->touched;
	err->left = restore(b);
	if (err->left) {
		nd_error_left(b, err);
	} else {
		used = strlen(err->text);
		snprintf(err->text + used, sizeof err->text - used, "; %s%s", err->begun ? "all devices are restored" : "nothing was changed",
			 err->begun && has_losses(b) ? ", but not the state whose loss was accepted" : "");
	}
	used = strlen(err->text);
	if (may_miss_late && err->begun)
		snprintf(err->text + used, sizeof err->text - used, "; an address that was added during the move may be missing");
}

/* Locks the ifindexes that the devices will have in the target, as far as they are free, against other movers. */
static void arrive(struct netdevns_batch *b)
{
	int32_t *const ifindexes = calloc(b->count + 1, sizeof *ifindexes);

	for (size_t i = 0; ifindexes && i < b->count; i++)
		ifindexes[i] = b->members[i]->dev->target_ifindex;
	if (ifindexes && b->count) {
		qsort(ifindexes, b->count, sizeof *ifindexes, nd_by_number);
		nd_lock_arrive(&b->target_lock, ND_LOCK_DIR, b->target_fd, ifindexes, b->count);
	}
	free(ifindexes);
}

static int move(struct netdevns_batch *b, uint32_t accept, struct netdevns_error *err)
{
	struct netdevns_error late;
	int code = examine(b, accept, 1, err);

	if (code)
		return code;
	arrive(b);
	code = forward(b, err);
	if (code) {
		/* An undo restores late addresses, too. */
		back(b, !b->is_up_to_date && catch_up(b, &late), err);
		return code;
	}
	b->has_moved = 1;
	return nd_batch_succeed(err);
}

int netdevns_batch_move(struct netdevns_batch *b, uint32_t accept, struct netdevns_error *err)
{
	struct netdevns_error e;

	if (!is_refused(b, accept, "move", &e))
		move(b, accept, &e);
	return nd_error_give(nd_batch_version(b), &e, err);
}

int netdevns_batch_undo(struct netdevns_batch *b, struct netdevns_error *err)
{
	struct netdevns_error e;
	struct nd_err unused;
	int left;

	if (!b || !b->has_moved) {
		nd_batch_fail(&e, -EINVAL, "undo", -1, "%s", b ? "nothing has moved" : "there is no batch");
		return nd_error_give(nd_batch_version(b), &e, err);
	}
	if (b->record.fd >= 0)	/* a kill must not leave half of it */
		nd_record_mark(&b->record, 0);
	nd_batch_age(b, &unused);	/* the move may be long ago; after a failure, an expired address is restored, too */
	left = restore(b);
	nd_batch_succeed(&e);
	if (left) {
		nd_batch_fail(&e, -EIO, "undo", -1, "%s", "");
		e.begun = 1;
		e.left = left;
		for (size_t i = 0; i < b->count; i++) {
			if (b->members[i]->touched && b->members[i]->is_lacking && left == 1)
				e.device = (int)i;
			if (b->members[i]->touched && b->members[i]->lacks_memory)
				e.code = -ENOMEM;
		}
		nd_error_left(b, &e);
	}
	return nd_error_give(nd_batch_version(b), &e, err);
}
