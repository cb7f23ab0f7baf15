/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* Shared by the files of the batch: not an interface. */
#ifndef ND_BATCH_H
#define ND_BATCH_H

#include "internal.h"
#include "netdevns.h"
#include "record.h"

#include <stdarg.h>

#define ND_DEVICES_MAX 4096
#define ND_WORD_SIZE 256	/* of a requested name, NUL included; longer ones would only lengthen messages */
#define ND_LOCK_DIR "/run/netdevns"
#define ND_LOCK_WAIT_MS 5000

#define ND_STATE_ALL (2u * NETDEVNS_UPPER - 1)	/* every bit of enum netdevns_state */

/*
 * error.c. The functions of netdevns.h fill an error of this version, and nd_error_give copies it to the caller: the fields that
 * the caller's version has, or nothing if it passed NULL. Returns its code.
 */
int nd_error_give(uint32_t version, const struct netdevns_error *e, struct netdevns_error *err);
/* -EPROTO: this library does not serve a caller of that version. */
int nd_version_check(uint32_t version, const char *step, struct netdevns_error *err);
/* A failure of the batch: code, step and device; text is a format for netdevns_error. Returns code. */
int nd_batch_fail(struct netdevns_error *err, int code, const char *step, int device, const char *format, ...)
	__attribute__((format(printf, 5, 6)));
/* No failure. 0. */
int nd_batch_succeed(struct netdevns_error *err);
/* -ENOMEM, before anything was changed. */
int nd_batch_no_memory(struct netdevns_error *err, const char *step);
/*
 * After an undo: appends the err->left devices that are not restored, with their places, as far as there is room, and what tries
 * again. Some 60 bytes remain free.
 */
void nd_error_left(const struct netdevns_batch *b, struct netdevns_error *err);
#define ND_PLACE_SIZE 96
/* Where a device is now, in words; printable. */
void nd_member_place(const struct nd_member *m, char text[ND_PLACE_SIZE]);

/* Memory that grows: data, bytes used, bytes allocated. */
struct nd_memory {
	unsigned char *data;
	size_t used, size;
};

/* Makes room for `more` bytes behind those in use. 0 or -ENOMEM, which changes nothing. */
int nd_memory_grow(struct nd_memory *m, size_t more);
int nd_memory_append(struct nd_memory *m, const void *data, size_t len);
void nd_memory_free(struct nd_memory *m);
/* Escapes control characters, and bytes that are no UTF-8, as \\xNN, so that a text is one line. */
void nd_text_one_line(char *text, size_t size);
/* Cuts a text that has more than `len` bytes, so that it ends with "...". */
void nd_text_cut(char *text, size_t len);
/* A text in one line; one that is too long ends with "...". */
void nd_text_format(char *text, size_t size, const char *format, va_list arguments) __attribute__((format(printf, 3, 0)));

/* ---- lock.c: one mover of a device at a time --------------------------------------------------------------------- */

/*
 * The devices that a mover holds in one network namespace: bytes of ND_LOCK_DIR/<inode>.lock, one for each ifindex, under a lock
 * of the open file description. The file has the holder's pid at 4 * ifindex.
 */
struct nd_lock {
	int dirfd;		/* ND_LOCK_DIR; -1: not opened yet */
	int fd;			/* the file of the namespace; -1: not opened yet */
	uint64_t ino;		/* of the namespace */
	int32_t *held;		/* ascending */
	const char *why;	/* why the directory or the file cannot be used; NULL: the errno says it */
	size_t count;
};

/* CLOCK_MONOTONIC */
int64_t nd_now_ms(void);
void nd_lock_init(struct nd_lock *lock);
/*
 * Locks further ifindexes (ascending) of the namespace `netns_fd`; `dir` is ND_LOCK_DIR, except in tests.
 * 1: some were not held, so earlier reads of the devices may be stale; 0: all were held. -EBUSY: another mover has *busy for
 * longer than wait_ms; *pid is its process, 0 if unknown; none is held any more. -EINVAL: not ascending, or another namespace
 * than before. Other codes: the directory cannot be used (-EPERM, -ENOTDIR, -ELOOP: it is not safe, lock->why).
 */
int nd_lock_hold(struct nd_lock *lock, const char *dir, int netns_fd, const int32_t *ifindexes, size_t count, int wait_ms,
		 int32_t *busy, uint32_t *pid);
/* Whether another mover may hold the devices after this failure: no descriptor was left, or the disk failed. */
int nd_lock_may_be_held(int code);
/*
 * Locks the ifindexes that devices will have in the target, in a separate nd_lock: without waiting, as far as they are free (0
 * is skipped). Failures are ignored: the locks of the source are the ones that count.
 */
void nd_lock_arrive(struct nd_lock *lock, const char *dir, int netns_fd, const int32_t *ifindexes, size_t count);
/* Unlocks explicitly before closing: a forked child may share the descriptor. */
void nd_lock_release(struct nd_lock *lock);

/* ---- settings.c: the settings of a link in RTM_NEWLINK and /proc/sys/net ------------------------------------------------ */

/* When a setting is restored: before the addresses and IFF_UP, or again when all devices are up. */
enum nd_stage { ND_STAGE_DOWN, ND_STAGE_UP };

/* A link, and the earlier RTM_NEWLINK that it is restored to. */
struct nd_settings {
	const struct nd_view *was, *now;	/* whole messages, requested with the same IFLA_EXT_MASK; `now` as just read */
	const unsigned char *token;	/* IPv6's, 16 bytes, where `was` lacks it (5.10, without statistics); NULL: not known */
	int32_t lower;			/* the present ifindex of the device that `was` names in IFLA_LINK; 0: the same */
};

/*
 * Restores a link to an earlier RTM_NEWLINK: MAC, MTU, flags but IFF_UP, alias, txqlen, group, gso and gro sizes,
 * IFLA_INFO_DATA of the kinds that accept it, proto_down, alternative names, XDP programs that were attached meanwhile are
 * detached, IFLA_AF_SPEC of IPv4, token, addr_gen_mode, and the files of IPv6 in the namespace `visit_fd` (-1: the calling
 * thread's). Sends only the differences. Not IFLA_MASTER (NETDEVNS_MASTER). `missing` gets, after
 * ND_STAGE_UP, a few words for each remaining difference, "; " between two ("MTU 1400 -> 1300"), and a NUL behind
 * them that is not counted. If a driver accepts a setting only while the device is down, ND_STAGE_DOWN sets it down, and
 * the device stays down. 0, or -errno: an exchange failed (a refused setting is not a failure, but in `missing`).
 */
int nd_settings_restore(struct nd_sock *sock, int visit_fd, const struct nd_settings *settings, enum nd_stage stage,
			struct nd_memory *missing, struct nd_err *err);

#define ND_RTM_NEWLINKPROP 108	/* linux/rtnetlink.h, 5.5 */
#define ND_RTM_DELLINKPROP 109

/* A nest in the message begun last: returns what nd_nest_end takes. */
size_t nd_nest_begin(struct nd_msg *m, uint16_t type);
void nd_nest_end(struct nd_msg *m, size_t nest);
/* Begins an RTM_NEWLINKPROP or RTM_DELLINKPROP, which adds or removes alternative names; returns their nest, for nd_nest_end. */
size_t nd_altnames_begin(struct nd_msg *m, uint16_t type, int32_t ifindex);
void nd_altname_put(struct nd_msg *m, const char *name, size_t len);
/* One with the names of `link` that `unless` (or NULL) lacks. Returns their number; 0: nothing appended. link->len + 64 bytes suffice. */
size_t nd_altnames_put(struct nd_msg *m, uint16_t type, int32_t ifindex, const struct nd_view *link, const struct nd_view *unless);

/*
 * folder.c. Directories and files, checked on the descriptor that is then used: no symbolic link, of the caller's user, not
 * writable by others; a file is a regular one with one name. A descriptor, or -errno; *why: the reason, or NULL.
 */
int nd_folder_open(const char *path, const char **why);	/* made if it does not exist */
int nd_file_open(int dirfd, const char *name, int flags, const char **why);
int nd_folder_check(int dirfd, const char **why);	/* 0 or -errno */

/* ---- the batch ---------------------------------------------------------------------------------------------------------- */

#define ND_MAC_SIZE 32	/* MAX_ADDR_LEN */

/* The parts of an RTM_NEWLINK that the batch uses. */
struct nd_link {
	int32_t ifindex;
	int32_t lower;		/* the lower device, in this namespace; 0: none. A veth's peer does not count */
	int32_t master;
	uint32_t flags;		/* IFF_* */
	int immutable;		/* 1: cannot move, 0: can move, -1: not reported (before 6.15) */
	int has_xdp, has_altnames;
	char name[ND_NAME_SIZE];
	char kind[ND_NAME_SIZE];	/* IFLA_INFO_KIND, cut; "": hardware */
	unsigned char mac[ND_MAC_SIZE];	/* filled with NULs */
	size_t at, len;			/* the message, in the memory that it was dumped to */
};

/* Parses one. -EBADMSG: the message has no complete header. */
int nd_link_summarize(struct nd_link *link, const struct nd_view *v);
/* The same from parsed attributes. */
void nd_link_take(struct nd_link *link, const struct nd_link_attrs *read);

/* Steps through the alternative names of a link: *pos begins at 0; NULL behind the last one. *len: bytes, without a NUL. */
const char *nd_link_altname(const struct nd_view *link, size_t *pos, size_t *len);
int nd_link_has_altname(const struct nd_view *link, const char *name, size_t len);

#define ND_LOOK_WINDOW 32	/* look-ups in one send: a default receive buffer holds about 90 answers (probe dumps.datagram.look-ups) */

#define ND_FDB (1u << 31)	/* part of NETDEVNS_NEIGHBOURS: entries of the device's unicast filter */

/* A device of the batch. */
struct nd_member {
	size_t index;		/* in the batch's members */
	char ifname[ND_WORD_SIZE], wanted[ND_WORD_SIZE];	/* as added */
	const char *why_ifname, *why_wanted;	/* why the names are invalid; NULL: they are valid */
	int is_template;	/* `wanted` has a "%" */
	struct nd_dev *dev;	/* NULL: not found; moves when its memory grows */
	struct nd_link link;	/* as it was looked up */
	uint32_t depth;		/* number of devices of the batch below it */
	uint32_t state;		/* enum netdevns_state: found on it, and ND_FDB */
	int touched;		/* a request that may have changed it was sent */
	struct nd_memory missing;	/* after an undo: text */
	int is_lacking;		/* `missing` is not empty, or its memory was short */
	int lacks_memory;	/* the undo, or `missing`, was short of memory */
	int is_unrestorable;	/* nothing can restore what `missing` names */
	int is_replaced;	/* another device has its name: that one is not changed */
	int is_sought;		/* during nd_member_search, which for a veth searches its peer, too */
	int differs;		/* its addresses differed when it was restored */
	struct nd_memory addresses;	/* as read back in the target */
	struct nd_memory arrived;	/* the RTM_NEWLINK read with them; empty unless the batch keeps it */
	struct netdevns_device shown;
};

struct nd_found {
	struct netdevns_finding finding;
	char name[256], other[256], text[640];
};

struct netdevns_batch {
	uint32_t version;	/* of the caller's netdevns.h */
	int source_fd, target_fd;
	struct nd_sock *source, *target, *notify;	/* of the handle, or of its user */
	struct nd_sock own_source, own_target, own_notify;
	struct nd_file disable_ipv6;	/* of the target, as read when its socket was opened */
	struct nd_lock lock, target_lock;
	struct nd_member **members;	/* in the order of netdevns_batch_add, then the uppers that stay in the source */
	size_t count, all, size;	/* of those that move; with those that stay; allocated */
	struct nd_member **by_name, **by_ifindex;	/* by ifname: those that move; by link.ifindex: all that were found */
	size_t there;			/* the latter's number */
	struct nd_member **by_target;	/* by the ifindex in the target: those that move; set by verify */
	struct nd_member **moves, **replays;	/* in the order of the moves, and of the replays */
	size_t moved, replayed, verified;
	size_t unread_bytes;		/* of moved addresses whose notifications were not read yet */
	int is_up_to_date;		/* notifications were merged into the snapshots */
	int moves_altnames;		/* result of nd_batch_moves_altnames; -1: not known yet */
	int keeps_links;		/* verify fills `arrived` */
	struct nd_memory links;		/* RTM_NEWLINK messages of the source: the batch's, and all links on top of another */
	struct nd_link *seen;		/* the same, parsed */
	size_t seen_count, seen_size;
	struct nd_memory reply;		/* of one exchange */
	uint32_t first_seq;		/* of its first message */
	struct nd_memory notifications;
	struct nd_found **found;
	size_t found_count, found_size;
	int record_dirfd;
	struct nd_record record;
	uint64_t since_ms;		/* the time to which the lifetimes of the snapshots refer; not later than they */
	const struct nd_loan *loan;	/* that the caller writes when all devices have arrived; NULL: none */
	uint32_t target_pid;		/* a process in the target; 0: not known */
	int (*stop)(void *caller, struct nd_err *err);	/* called before each step of a move; not 0: the move fails */
	void *caller;
	int has_moved;			/* a move succeeded, or failed and was not restored completely */
	int is_left;			/* some device was not restored completely */
	int target_is_gone;		/* a recovery: the initial namespace is in its place */
};

/* Whether it can still be changed, checked and moved: it exists, and has not moved. */
int nd_batch_may(const struct netdevns_batch *b, const char *step, struct netdevns_error *err);
/* The version of its caller; NULL: the oldest. */
uint32_t nd_batch_version(const struct netdevns_batch *b);
/* The content of its record; the caller frees content->devices, also after a failure. */
int nd_batch_content(struct netdevns_batch *b, struct nd_record_content *content, struct nd_err *err);
/* The descriptor by which the calling thread enters the source; -1: it is there already. */
int nd_batch_visit(const struct netdevns_batch *b);
/* An empty handle; NULL: out of memory. */
struct netdevns_batch *nd_batch_new(void);
/* One exchange. Its replies, errors included, are in b->reply, which grows. */
int nd_batch_ask(struct netdevns_batch *b, struct nd_sock *sock, struct nd_msg *req, const struct nd_filter *filter,
		 struct nd_err *err);
/* The same for a dump: an error is the result. */
int nd_batch_dump(struct netdevns_batch *b, struct nd_sock *sock, struct nd_msg *req, const struct nd_filter *filter,
		  struct nd_err *err);
/* All links, or those that the filter keeps, in b->reply. */
int nd_batch_dump_links(struct netdevns_batch *b, struct nd_sock *sock, const struct nd_filter *filter, int with_statistics,
			struct nd_err *err);
/* A link by ifindex, in b->reply. -ENODEV: there is none. */
int nd_batch_link(struct netdevns_batch *b, struct nd_sock *sock, int32_t ifindex, struct nd_view *link, struct nd_err *err);
/* Whether a device has that name, not as an alternative name; its link is in b->reply. */
int nd_batch_has_link(struct netdevns_batch *b, struct nd_sock *sock, const char *name, struct nd_link *link, struct nd_view *v);

/* Whether a move takes alternative names along (from 6.6 on). */
int nd_batch_moves_altnames(struct netdevns_batch *b);
/* Appends a member that moves; there must be room. */
void nd_batch_append(struct netdevns_batch *b, struct nd_member *m);
/* A member without a device; its names have less than ND_WORD_SIZE bytes. NULL: out of memory. */
struct nd_member *nd_member_new(const char *ifname, const char *wanted);
/* Runs a step of one device, again with more memory where it needs more. */
typedef int nd_step(struct netdevns_batch *b, struct nd_member *m, struct nd_err *err);
int nd_member_step(struct netdevns_batch *b, struct nd_member *m, nd_step *step, struct nd_err *err);
/* nd_dev_find. */
int nd_member_find(struct netdevns_batch *b, struct nd_member *m, struct nd_err *err);
/* A failure of a step in the batch's words. Returns code. */
int nd_member_fail(const struct nd_member *m, const char *step, const struct nd_err *e, struct netdevns_error *err);
struct nd_member *nd_batch_member(const struct netdevns_batch *b, int32_t ifindex);
struct nd_member *nd_batch_named(const struct netdevns_batch *b, const char *ifname);
/* Appends an RTM_GETLINK by name or alternative name. */
void nd_put_getlink_named(struct nd_msg *m, const char *name);

/* Copies to each member's m->addresses the messages of `from` about it; `find`: the member of an ifindex. */
typedef struct nd_member *nd_find_member(const struct netdevns_batch *b, int32_t ifindex);
int nd_batch_deal(struct netdevns_batch *b, const struct nd_memory *from, nd_find_member *find, struct nd_err *err);
/* The addresses of these devices (ascending), in b->reply. */
int nd_batch_dump_addresses(struct netdevns_batch *b, struct nd_sock *sock, const int32_t *ifindexes, size_t count,
			    struct nd_err *err);
/* Appends an RTM_GETADDR dump; 0: of all devices. */
void nd_put_getaddr(struct nd_msg *m, int32_t ifindex);
/* Allocates a member's device, without a snapshot. */
int nd_member_begin(struct nd_member *m, size_t size, struct nd_err *err);

/* lookup.c: opens the sockets, dumps links and addresses; members get their devices, depths and orders. */
/*
 * hold.c: locks the devices of the batch by their current names (nd_batch_hold_named), or those that were read and all on top of
 * them. ND_HELD_MORE: some were not held, so reads of them may be stale; ND_HELD_REFUSED: there is an error among the findings, and
 * none is held.
 */
enum nd_held { ND_HELD, ND_HELD_MORE, ND_HELD_REFUSED };
int nd_batch_hold_named(struct netdevns_batch *b, struct nd_err *err);
int nd_batch_hold(struct netdevns_batch *b, struct nd_err *err);
/* order.c: members' depths, and b->moves, b->replays. */
void nd_batch_set_depths(struct netdevns_batch *b);
int nd_batch_set_orders(struct netdevns_batch *b, struct nd_err *err);
int nd_batch_look_up(struct netdevns_batch *b, int is_move, struct nd_err *err);
void nd_batch_close_sockets(struct netdevns_batch *b);

/* check.c, detect.c: add findings. The result is an -errno of the kernel or of malloc, not that of a finding. */
struct nd_found *nd_batch_find(struct netdevns_batch *b, const char *code, int severity, int error, const struct nd_member *m,
			       const char *format, ...) __attribute__((format(printf, 6, 7)));
void nd_batch_forget(struct netdevns_batch *b);
/* A finding about a name: the name at fault, and the device that has it. 0 or -ENOMEM. */
int nd_batch_find_name(struct netdevns_batch *b, const char *code, int error, const struct nd_member *m, const char *name,
		       const char *other, int32_t ifindex, const char *text, const char *why);
/*
 * The reply to the message `number` of the last request: 0, or its -errno; 1: there is none. Replies are in the order of
 * their requests; *pos, from 0 on, is behind the last one read.
 */
int nd_batch_answer(const struct netdevns_batch *b, size_t number, size_t *pos, struct nd_view *v);
/* An empty RTM_NEWLINK for an unused ifindex: ENODEV with the right to change links, EPERM without. */
void nd_put_may_change(struct nd_msg *m);
int nd_batch_check_permission(struct netdevns_batch *b, int refused, const char *code, const char *side);
int nd_batch_check_names(struct netdevns_batch *b);
int nd_batch_check_source(struct netdevns_batch *b, struct nd_err *err);
int nd_batch_check_target(struct netdevns_batch *b, struct nd_err *err);
int nd_batch_detect(struct netdevns_batch *b, uint32_t accept, struct nd_err *err);

/* A phase failed, with f->err, at that member (NULL: at all, or none). Returns the code. */
int nd_failure_set(struct nd_failure *f, const struct nd_member *m, const char *step);
/* phases.c */
int nd_by_number(const void *a, const void *b);	/* of int32_t, for qsort */
int nd_by_link(const void *a, const void *b);	/* of pointers to members, by link.ifindex */
/* The RTM_NEWLINK of its snapshot. 0: there is none. */
int nd_member_snapshot(const struct nd_member *m, struct nd_view *v);
/* Adds (ND_RTM_NEWLINKPROP) or removes (ND_RTM_DELLINKPROP) the alternative names of a link that `unless` (or NULL) lacks. */
int nd_altnames_send(struct nd_sock *sock, uint16_t type, int32_t ifindex, const struct nd_view *link,
		     const struct nd_view *unless, struct nd_err *err);

/* Adds a few words to m->missing. */
void nd_member_lacks(struct nd_member *m, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Clears IFF_UP. */
int nd_link_down(struct nd_sock *sock, int32_t ifindex, struct nd_err *err);
/*
 * lifetimes.c: the milliseconds of CLOCK_BOOTTIME, which also runs in suspend, in the initial time namespace; shortens the lifetimes
 * of the snapshots by the time since b->since_ms, which it adds there, and removes expired addresses. One that is there with a longer
 * lifetime (a renewed lease) keeps that.
 */
uint64_t nd_since_boot_ms(void);
int nd_batch_age(struct netdevns_batch *b, struct nd_err *err);
/* The same of RTM_NEWADDR messages, in place, beside those of the device now. Returns the bytes that are left. */
size_t nd_addrs_age(void *addrs, size_t len, uint32_t elapsed_s, const void *there, size_t there_len);
/* undo.c: restores all touched devices. Returns how many are not restored completely. */
int nd_batch_restore(struct netdevns_batch *b);
/* replaced.c: whether another device has its name and ifindex. `now`: read in the target, and copied, as b->reply is reused. */
int nd_member_is_replaced(struct netdevns_batch *b, const struct nd_member *m, const struct nd_view *now);
/* The ifindex in the source of a device that came from the target instead, replaced after the check there; 0: none. */
int32_t nd_member_stranger(struct netdevns_batch *b, const struct nd_member *m);
/* Whether a device that did not come from the target is another one, which was found in the source by name and MAC address. */
int nd_member_is_namesake(struct netdevns_batch *b, const struct nd_member *m);
/* Whether its kind outlives its namespace: hardware, which has no kind, and CAN (rtnl_link_ops.netns_refund). */
int nd_member_survives(const struct nd_member *m);
/* In a recovery: leaves devices alone that are in the place of those of the record. */
void nd_batch_leave_new_ones(struct netdevns_batch *b);
/* Looks for a device that is gone or replaced: a move to a third namespace and back gives it another ifindex. */
void nd_member_search(struct netdevns_batch *b, struct nd_member *m);
/* way_back.c: returns a device to the source, also against a container that interferes. */
int nd_member_return(struct netdevns_batch *b, struct nd_member *m, struct nd_err *err);
/* Restores the MAC address, by which it is found under another ifindex. A driver may refuse. */
void nd_member_restore_mac(struct netdevns_batch *b, struct nd_sock *sock, const struct nd_member *m, int32_t ifindex);

/* names.c: the kernel's rules. NULL: valid; otherwise the reason. */
const char *nd_name_why_invalid(const char *name);
const char *nd_name_why_no_template(const char *name);
int nd_name_may_be_altname(const char *name);

#endif
