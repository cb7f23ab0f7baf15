/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * Functions for the Python package besides netdevns-core.h: lists of messages, found by one call instead of one for each message;
 * and the phases of a batch whose devices Python has found and checked. Not an interface: it changes without notice.
 */
#ifndef ND_BINDING_H
#define ND_BINDING_H

#include "netdevns-core.h"

/* cffi: begin (build_ffi.py compiles the declarations between the two marks into the Python package) */

/* Consecutive messages about one device's addresses: bytes, padding included. */
struct nd_run {
	uint32_t at, len;
	int32_t ifindex;
};

/* Finds runs of RTM_NEWADDR and RTM_DELADDR messages. Returns their number, of which `count` are written; or -EBADMSG. */
int nd_addr_runs(const void *messages, uint32_t len, struct nd_run *runs, int count);

/* Three numbers for each message: its type, and where its body begins and ends. Returns as nd_addr_runs does. */
int nd_spans(const void *messages, uint32_t len, uint32_t *spans, int count);

/* The same for RTM_NEWROUTE of default routes, and of routes that the kernel did not make with an address. */
int nd_route_spans(const void *messages, uint32_t len, uint32_t *spans, int count);

/* Copies the RTM_NEWADDR messages that nd_dev_up_and_replay skips: not permanent, or not of global scope. Returns their bytes. */
size_t nd_addr_unprotected(const void *addrs, size_t len, void *to);

/* ---- the phases of a batch: snapshot.c, phases.c ----------------------------------------------------------------------- */

struct nd_member;
struct netdevns_batch;

/* Why a phase failed. */
struct nd_failure {
	struct nd_err err;
	const char *step;
	int32_t device;		/* its index; -1: of none, or of all */
};

/* A device for a batch, without a snapshot. -EINVAL: a name of 0 or more than 15 bytes. */
int nd_member_open(struct nd_member **m, const char *ifname, const char *wanted, int32_t ifindex, struct nd_err *err);
void nd_member_free(struct nd_member *m);
/* At least `size` bytes of memory for its device, whose address may change. 0 or -ENOMEM. */
int nd_member_reserve(struct nd_member *m, size_t size);

/* Devices whose links were read and checked. */
struct nd_plan {
	struct nd_sock *source, *target, *notify;
	struct nd_member **members;	/* those that move, then the uppers that stay in the source */
	size_t count, all;		/* of those that move; of all */
	const void *links;		/* their RTM_NEWLINK messages, in the same order, each at a multiple of 4 bytes */
	size_t links_len;
	int target_fd;
	uint32_t *moves, *replays;	/* out: indexes of members, in the order of the moves and of the replays */
};

/* A batch of them, which borrows everything but the links. -ENOMEM; -EBADMSG: the links are not the members'. */
int nd_phases_open(struct netdevns_batch **batch, const struct nd_plan *plan, struct nd_err *err);
void nd_phases_close(struct netdevns_batch *b);

/* The phases, in this order. 0, or f->err.code. Those that end in _next are called until all members are done. */
int nd_batch_snapshot(struct netdevns_batch *b, struct nd_failure *f);
int nd_batch_set_down(struct netdevns_batch *b, struct nd_failure *f);
int nd_batch_move_next(struct netdevns_batch *b, struct nd_failure *f);
/* Merges addresses that changed after the snapshot. *is_late: there were some, so a record must be written again. */
int nd_batch_catch_up(struct netdevns_batch *b, int *is_late, struct nd_failure *f);
int nd_batch_replay_next(struct netdevns_batch *b, struct nd_failure *f);
int nd_batch_verify_next(struct netdevns_batch *b, struct nd_failure *f);

/* cffi: end */

#endif
