/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* The batch's own parts, which share this header: not an interface. */
#ifndef ND_BATCH_H
#define ND_BATCH_H

#include "internal.h"
#include "netdevns.h"
#include "record.h"

#define ND_DEVICES_MAX 4096
#define ND_WORD_SIZE 256	/* of a name as it was asked for, NUL included; a longer one only makes messages long */
#define ND_LOCK_DIR "/run/netdevns"
#define ND_LOCK_WAIT_MS 5000

/* A failure of the batch: code, step and device; text is a format for netdevns_error. Returns code. */
int nd_batch_fail(struct netdevns_error *err, int code, const char *step, int device, const char *format, ...)
	__attribute__((format(printf, 5, 6)));
/* No failure. 0. */
int nd_batch_succeed(struct netdevns_error *err);
/* -ENOMEM, before anything was changed. */
int nd_batch_no_memory(struct netdevns_error *err, const char *step);

/* Memory that grows: data, bytes used, bytes there. */
struct nd_memory {
	unsigned char *data;
	size_t used, size;
};

/* Room for `more` bytes behind those that are used. 0 or -ENOMEM, which changes nothing. */
int nd_memory_grow(struct nd_memory *m, size_t more);
int nd_memory_append(struct nd_memory *m, const void *data, size_t len);
void nd_memory_free(struct nd_memory *m);
/* Control characters become \\xNN: a name may have a newline, and a text is one line. */
void nd_text_one_line(char *text, size_t size);

/* ---- lock.c: one mover at a time (P8) ----------------------------------------------------------------------------------- */

/*
 * The devices that a mover holds in one network namespace: bytes of ND_LOCK_DIR/<inode>.lock, one for each ifindex, under a lock
 * of the open file description. The holder's pid stands in the file at 4 * ifindex.
 */
struct nd_lock {
	int dirfd;		/* ND_LOCK_DIR; -1: not opened yet */
	int fd;			/* the file of the namespace; -1: not opened yet */
	uint64_t ino;		/* of the namespace */
	int32_t *held;		/* ascending */
	size_t count;
};

/* CLOCK_MONOTONIC */
int64_t nd_now_ms(void);
void nd_lock_init(struct nd_lock *lock);
/*
 * Holds these ifindexes (ascending) of the namespace `netns_fd` besides those that are held; `dir` is ND_LOCK_DIR but in tests.
 * 1: new ones, so what was read of the devices before may be old; 0: all were held already. -EBUSY: another mover has *busy for
 * longer than wait_ms; *pid is its process, 0 if unknown; none is held any more. -EINVAL: not ascending, or another namespace
 * than before. Other codes: the directory cannot be used (-EPERM: it is another user's, or others may write to it).
 */
int nd_lock_hold(struct nd_lock *lock, const char *dir, int netns_fd, const int32_t *ifindexes, size_t count, int wait_ms,
		 int32_t *busy, uint32_t *pid);
/*
 * Holds the ifindexes that devices will have in the target, in a nd_lock of its own: without waiting, as far as they are free (0
 * is left out). No failure matters: where locks must be had, those of the source are.
 */
void nd_lock_arrive(struct nd_lock *lock, const char *dir, int netns_fd, const int32_t *ifindexes, size_t count);
/* Explicitly, not by closing alone: a forked child may have the descriptor, too. */
void nd_lock_release(struct nd_lock *lock);

/* ---- settings.c: what RTM_NEWLINK and /proc/sys/net set of a link ------------------------------------------------------ */

/* When a setting is restored: before the addresses and IFF_UP, or once more when all are up. */
enum nd_stage { ND_STAGE_DOWN, ND_STAGE_UP };

/* A link, and the earlier RTM_NEWLINK that it is to be set by. */
struct nd_settings {
	const struct nd_view *was, *now;	/* whole messages, asked for with one IFLA_EXT_MASK; `now` as it was just read */
	const unsigned char *token;	/* IPv6's, 16 bytes, where `was` lacks it (5.10, without statistics); NULL: not known */
	int32_t lower;			/* the present ifindex of the device that `was` names in IFLA_LINK; 0: the same */
};

/*
 * Sets a link as an earlier RTM_NEWLINK of it says: MAC, MTU, flags but IFF_UP, alias, txqlen, group, gso and gro sizes,
 * IFLA_INFO_DATA of the kinds that take it, proto_down, alternative names, XDP programs that were attached meanwhile are
 * detached, IFLA_AF_SPEC of IPv4, token, addr_gen_mode, and the files of IPv6 in the namespace `visit_fd` (-1: the calling
 * thread's). Sends what differs, and nothing where nothing does. Not IFLA_MASTER (NETDEVNS_MASTER). `missing` gets, after
 * ND_STAGE_UP, a few words for each thing that still differs, "; " between two ("MTU 1400 -> 1300"), and a NUL behind
 * them that is not counted. A driver that takes something only while the device is down gets it so in ND_STAGE_DOWN, and
 * the device stays down. 0, or -errno: the kernel could not be asked (a refusal is no failure: it is in `missing`).
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
/* One with those of `link` that `unless` (or NULL) has not. Returns how many; 0: nothing was appended. `link->len` + 64 bytes suffice. */
size_t nd_altnames_put(struct nd_msg *m, uint16_t type, int32_t ifindex, const struct nd_view *link, const struct nd_view *unless);

/*
 * folder.c. Directories and files of ours alone, checked on the descriptor that is then used: no symbolic link, of the caller's user, not
 * writable by others; a file is a regular one with one name. A descriptor, or -errno; *why: what is wrong with it, or NULL.
 */
int nd_folder_open(const char *path, const char **why);	/* made if it does not exist */
int nd_file_open(int dirfd, const char *name, int flags, const char **why);
int nd_folder_check(int dirfd, const char **why);	/* 0 or -errno */

/* ---- the batch ---------------------------------------------------------------------------------------------------------- */

/* What the batch reads of an RTM_NEWLINK. */
struct nd_link {
	int32_t ifindex;
	int32_t lower;		/* the device below, in this namespace; 0: none. A veth's peer is none */
	int32_t master;
	uint32_t flags;		/* IFF_* */
	int immutable;		/* 1: never leaves, 0: may leave, -1: this kernel does not say (before 6.15) */
	int has_xdp, has_altnames;
	char name[ND_NAME_SIZE];
	char kind[ND_NAME_SIZE];	/* IFLA_INFO_KIND, cut; "": hardware */
	unsigned char mac[8];		/* the first bytes */
	size_t at, len;			/* the message, in the memory that it was dumped to */
};

/* Reads one. -EBADMSG: a message without a whole header. */
int nd_link_summarize(struct nd_link *link, const struct nd_view *v);
/* The same out of one that was read. */
void nd_link_take(struct nd_link *link, const struct nd_link_attrs *read);

/* Steps through the alternative names of a link: *pos begins at 0; NULL behind the last one. *len: bytes, without a NUL. */
const char *nd_link_altname(const struct nd_view *link, size_t *pos, size_t *len);
int nd_link_has_altname(const struct nd_view *link, const char *name, size_t len);

#define ND_LOOK_WINDOW 32	/* look-ups in one send: a default receive buffer holds about 90 answers (probe dumps.datagram.look-ups) */

#define ND_FDB (1u << 31)	/* of NETDEVNS_NEIGHBOURS: MACs that the device listens to */

/* A device of the batch. */
struct nd_member {
	size_t index;		/* in the batch's members */
	char ifname[ND_WORD_SIZE], wanted[ND_WORD_SIZE];	/* as they were added */
	const char *why_ifname, *why_wanted;	/* why no device can have these names; NULL: it can */
	int is_template;	/* `wanted` has a "%" */
	struct nd_dev *dev;	/* NULL: not found; memory that grows */
	struct nd_link link;	/* as it was looked up */
	uint32_t depth;		/* on how many others of the batch it lies, one on the other */
	uint32_t state;		/* enum netdevns_state: found on it, and ND_FDB */
	int touched;		/* something was sent that may have changed it */
	struct nd_memory missing;	/* after an undo, a text */
	int is_lacking;		/* there is one */
	int differs;		/* its addresses were not as before when it was restored */
	struct nd_memory addresses;	/* as read back in the target */
	struct nd_memory arrived;	/* the RTM_NEWLINK of that moment; empty unless the batch keeps it */
	struct netdevns_device shown;
};

struct nd_found {
	struct netdevns_finding finding;
	char name[256], other[256], text[640];
};

struct netdevns_batch {
	int source_fd, target_fd;
	struct nd_sock *source, *target, *notify;	/* those of the handle, or its user's */
	struct nd_sock own_source, own_target, own_notify;
	struct nd_file disable_ipv6;	/* of the target, as read when its socket was opened */
	struct nd_lock lock, target_lock;
	struct nd_member **members;	/* in the order of netdevns_batch_add; behind them those that stay in the source, on top of one */
	size_t count, all, size;	/* of those that move; with those that stay; room */
	struct nd_member **by_name, **by_ifindex;	/* by ifname: those that move; by link.ifindex: all that are there */
	size_t there;			/* the latter's number */
	struct nd_member **by_target;	/* by the ifindex in the target: those that move; set by verify */
	struct nd_member **moves, **replays;	/* in the order in which they move, and come up */
	size_t moved, replayed, verified;
	size_t unread_bytes;		/* of addresses that were moved, whose notifications were not read yet */
	int is_up_to_date;		/* the snapshots have what was added after them */
	int moves_altnames;		/* nd_batch_moves_altnames, once it was asked; -1 before */
	int keeps_links;		/* verify fills `arrived` */
	struct nd_memory links;		/* RTM_NEWLINK messages of the source: of the batch, and what lies on another one */
	struct nd_link *seen;		/* the same, read */
	size_t seen_count, seen_size;
	struct nd_memory reply;		/* of one exchange */
	uint32_t first_seq;		/* of its first message */
	struct nd_memory notifications;
	struct nd_found **found;
	size_t found_count, found_size;
	int record_dirfd;
	struct nd_record record;
	const struct nd_loan *loan;	/* that the caller makes when all has arrived; NULL: none */
	uint32_t target_pid;		/* the process that the target is of; 0: not known */
	int (*stop)(void *caller, struct nd_err *err);	/* asked before each step of the way forward; not 0: the move fails */
	void *caller;
	int has_moved;			/* a move succeeded, or failed and was not restored whole */
	int is_left;			/* some device is not as before */
};

/* What its record is written of; the caller frees content->devices, also after a failure. */
int nd_batch_record(struct netdevns_batch *b, struct nd_record_content *content, struct nd_err *err);
/* By what the calling thread enters the source: -1 where it is there, which the thread that opened the batch was perhaps. */
int nd_batch_visit(const struct netdevns_batch *b);
/* An empty handle; NULL: out of memory. */
struct netdevns_batch *nd_batch_new(void);
/* One exchange, whose answers are in b->reply, which grows. Refusals are among them. */
int nd_batch_ask(struct netdevns_batch *b, struct nd_sock *sock, struct nd_msg *req, const struct nd_filter *filter,
		 struct nd_err *err);
/* The same for a dump: a refusal is the result. */
int nd_batch_dump(struct netdevns_batch *b, struct nd_sock *sock, struct nd_msg *req, const struct nd_filter *filter,
		  struct nd_err *err);
/* All links, or those that the filter keeps, in b->reply. */
int nd_batch_dump_links(struct netdevns_batch *b, struct nd_sock *sock, const struct nd_filter *filter, int with_statistics,
			struct nd_err *err);
/* A link by ifindex, in b->reply. -ENODEV: not there. */
int nd_batch_link(struct netdevns_batch *b, struct nd_sock *sock, int32_t ifindex, struct nd_view *link, struct nd_err *err);
/* Whether there is a device of that name, which is no alternative name; its link, in b->reply. */
int nd_batch_has_link(struct netdevns_batch *b, struct nd_sock *sock, const char *name, struct nd_link *link, struct nd_view *v);

/* Whether a move takes alternative names along (from 6.6 on). */
int nd_batch_moves_altnames(struct netdevns_batch *b);
/* Behind the others: it moves. There is room. */
void nd_batch_append(struct netdevns_batch *b, struct nd_member *m);
/* Whose names have less than ND_WORD_SIZE bytes, without a device. NULL: out of memory. */
struct nd_member *nd_member_new(const char *ifname, const char *wanted);
/* A step of one device, with more memory where it asks for more. */
typedef int nd_step(struct netdevns_batch *b, struct nd_member *m, struct nd_err *err);
int nd_member_step(struct netdevns_batch *b, struct nd_member *m, nd_step *step, struct nd_err *err);
/* nd_dev_find. */
int nd_member_find(struct netdevns_batch *b, struct nd_member *m, struct nd_err *err);
/* A failure of a step, as the batch says it. Returns code. */
int nd_member_fail(const struct nd_member *m, const char *step, const struct nd_err *e, struct netdevns_error *err);
struct nd_member *nd_batch_member(const struct netdevns_batch *b, int32_t ifindex);
struct nd_member *nd_batch_named(const struct netdevns_batch *b, const char *ifname);
/* Appends an RTM_GETLINK by a name of a device or an alternative one. */
void nd_put_getlink_named(struct nd_msg *m, const char *name);

/* Gives each member the messages about it out of `from`, in m->addresses; `find`: the member of an ifindex. */
typedef struct nd_member *nd_find_member(const struct netdevns_batch *b, int32_t ifindex);
int nd_batch_deal(struct netdevns_batch *b, const struct nd_memory *from, nd_find_member *find, struct nd_err *err);
/* The addresses of these devices (ascending), in b->reply. */
int nd_batch_dump_addresses(struct netdevns_batch *b, struct nd_sock *sock, const int32_t *ifindexes, size_t count,
			    struct nd_err *err);
/* Appends an RTM_GETADDR dump; 0: of all devices. */
void nd_put_getaddr(struct nd_msg *m, int32_t ifindex);
/* Gives a member its device, without a snapshot. */
int nd_member_begin(struct nd_member *m, size_t size, struct nd_err *err);

/* lookup.c: opens the sockets, dumps links and addresses; members get their devices, depths and orders. */
/*
 * hold.c: takes the devices of the batch, as they are called now (nd_batch_hold_named), or those that were read and what lies on
 * them. ND_HELD_MORE: some are new, so what was read of them may be old; ND_HELD_BY_ANOTHER: a finding says so, and none is held.
 */
enum nd_held { ND_HELD, ND_HELD_MORE, ND_HELD_BY_ANOTHER };
int nd_batch_hold_named(struct netdevns_batch *b, struct nd_err *err);
int nd_batch_hold(struct netdevns_batch *b, struct nd_err *err);
/* order.c: members' depths, and b->moves, b->replays. */
void nd_batch_set_depths(struct netdevns_batch *b);
int nd_batch_set_orders(struct netdevns_batch *b, struct nd_err *err);
int nd_batch_look_up(struct netdevns_batch *b, int is_move, struct nd_err *err);
void nd_batch_close_sockets(struct netdevns_batch *b);

/* check.c, detect.c: findings. The result is -errno of the kernel's or of malloc, not that of a finding. */
struct nd_found *nd_batch_find(struct netdevns_batch *b, const char *code, int severity, int error, const struct nd_member *m,
			       const char *format, ...) __attribute__((format(printf, 6, 7)));
void nd_batch_forget(struct netdevns_batch *b);
/* A finding about a name: the name at fault, and the device that has it. 0 or -ENOMEM. */
int nd_batch_find_name(struct netdevns_batch *b, const char *code, int error, const struct nd_member *m, const char *name,
		       const char *other, int32_t ifindex, const char *text, const char *why);
/*
 * The answer to the message `number` of the last request: 0, or the errno of a refusal; 1: there is none. Answers are in the order of
 * their requests; *pos, from 0 on, is behind the last one.
 */
int nd_batch_answer(const struct netdevns_batch *b, size_t number, size_t *pos, struct nd_view *v);
/* An empty RTM_NEWLINK for an ifindex that nobody has: ENODEV to those who may change links, EPERM to others. */
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
/* Adds (ND_RTM_NEWLINKPROP) or removes (ND_RTM_DELLINKPROP) the alternative names of a link that `unless` (or NULL) has not. */
int nd_altnames_send(struct nd_sock *sock, uint16_t type, int32_t ifindex, const struct nd_view *link,
		     const struct nd_view *unless, struct nd_err *err);

/* Adds a few words to m->missing. */
void nd_member_lacks(struct nd_member *m, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Clears IFF_UP. */
int nd_link_down(struct nd_sock *sock, int32_t ifindex, struct nd_err *err);
/* undo.c: restores what was touched. Returns how many devices are not as before. */
int nd_batch_restore(struct netdevns_batch *b);
/* replaced.c: another device has its name and ifindex. `now`: read in the target, and copied, as b->reply is used. */
int nd_member_is_replaced(struct netdevns_batch *b, const struct nd_member *m, const struct nd_view *now);
/* The ifindex, at home, of another device that has just come from the target in its place, replaced after the look there; 0: none. */
int32_t nd_member_stranger(struct netdevns_batch *b, const struct nd_member *m);
/* Looks for one that is gone, or that another device has the place of: a move to a third namespace and back gives it another ifindex. */
void nd_member_search(struct netdevns_batch *b, struct nd_member *m);
/* way_back.c: brings one home, also out of a container that fights for it. */
int nd_member_return(struct netdevns_batch *b, struct nd_member *m, struct nd_err *err);
/* Sets the MAC address of the snapshot, without which it is not found under another ifindex. A driver may refuse that. */
void nd_member_restore_mac(struct netdevns_batch *b, struct nd_sock *sock, const struct nd_member *m, int32_t ifindex);

/* names.c: the kernel's rules. NULL: valid; else why it is not. */
const char *nd_name_why_invalid(const char *name);
const char *nd_name_why_no_template(const char *name);
int nd_name_may_be_altname(const char *name);

#endif
