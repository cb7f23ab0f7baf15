/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * netdevns: moves an existing network device into another network namespace, with its name and its addresses, or puts it
 * back. Plain C11 and libc: no allocation, no global state, no output, no threads. Vendor the .c files beside this header.
 *
 * The straight line for one device (error handling as in any C program: 0 or -errno, details in struct nd_err):
 *
 *	struct nd_sock source, target;
 *	struct nd_err err = {0}, undo_err = {0};
 *	static _Alignas(8) unsigned char area[65536];
 *	struct nd_dev *dev;
 *
 *	nd_sock_open(&source, -1, NULL, 0, &err);           // the calling thread's namespace
 *	nd_sock_open(&target, target_fd, NULL, 0, &err);    // the container's
 *	nd_dev_init(&dev, area, sizeof area, "eth1", "net0", &err);
 *	nd_dev_transfer(dev, &source, &target, source_fd, target_fd, &err, &undo_err);
 *
 * A batch (example.c) calls the five steps itself, phase by phase: snapshot all, move all, replay all, verify all; on any
 * failure undo all (ND_UNDO_RETURN for all, then ND_UNDO_RESTORE for all). Uppers (a VLAN) move before their lowers and are
 * replayed after them.
 *
 * Every step can be called again, after a success and after a failure. nd_dev_snapshot, nd_dev_take and nd_dev_load are
 * refused (-EINVAL) once a move was sent, until an undo has restored the device; one that fails leaves an earlier snapshot
 * as it was. nd_dev_move looks for a device whose place is unknown, and renames one that a failure left in the target under
 * another name than the wanted one; where the name is still taken, it fails again. Addresses of which one was refused are
 * complete after a second nd_dev_up_and_replay, but not in their order: nd_dev_verify says so, and so does nd_dev_undo of
 * those that it put back (-ESTALE). nd_dev_undo of a device that is as the snapshot says changes nothing.
 *
 * What the caller checks first, because the core does not: that the wanted name is valid and free in the target (also as
 * an alternative name), that the namespaces differ (nd_netns_differ), that the device may leave (not lo, not a bridge).
 *
 * Common misreadings:
 *  - An error of nd_dev_move does not mean that the device stayed. dev->place says where it is.
 *  - -EOVERFLOW: the caller's memory is too small; need, in struct nd_dev or nd_buf, says how much suffices. A step of a
 *    device (nd_dev_*) and nd_sock_drain are called again with that much. An exchange may have been done all the same
 *    (nd_sock_exchange): it is repeated only if it was a query.
 *  - -ENOBUFS: the kernel dropped replies or notifications. Whether the requests were done is unknown: look.
 *  - A device is looked up by name once. After that only its ifindex is used: IFLA_IFNAME in a request also matches
 *    alternative names (probe message.key.altname-as-name).
 */
#ifndef NETDEVNS_CORE_H
#define NETDEVNS_CORE_H

#include <stddef.h>
#include <stdint.h>

/*
 * The version of this header. The ones grow when something is added. The hundreds grow when something is taken away or means
 * something else, or a struct changes: compile again, and undo from no record of other hundreds (struct nd_dev).
 */
#define ND_VERSION 300

#ifdef __cplusplus
extern "C" {
#endif

/* cffi: begin (csrc/build_ffi.py compiles the declarations from here to the end mark into the Python binding) */

#define ND_NAME_SIZE 16		/* IFNAMSIZ: 15 bytes and a NUL */
#define ND_TEXT_SIZE 192	/* extack texts are cut to this, NUL included */
#define ND_DEV_SIZE_MIN 8192	/* bytes of memory that suffice for a device with a few addresses */

/* ---- errors ---------------------------------------------------------------------------------------------------- */

enum nd_step {
	ND_STEP_NONE,
	ND_STEP_OPEN,		/* a socket in a namespace */
	ND_STEP_EXCHANGE,	/* a plain exchange of the caller's */
	ND_STEP_SNAPSHOT,
	ND_STEP_MOVE,
	ND_STEP_REPLAY,		/* addresses and IFF_UP */
	ND_STEP_VERIFY,
	ND_STEP_UNDO,
	ND_STEP_WATCH,		/* notifications about addresses */
};

/* Set on failure only, except that nd_err.code is 0 after a success. */
struct nd_err {
	int code;			/* negative errno */
	int step;			/* enum nd_step */
	uint32_t index;			/* which message of the request the kernel refused, from 0 */
	uint32_t offset;		/* NLMSGERR_ATTR_OFFS: the offending attribute's offset in it; 0: not told */
	char text[ND_TEXT_SIZE];	/* the kernel's extack text, or ours; may be empty */
};

/* ---- message: build and parse; no system calls -------------------------------------------------------------------- */

/* A request being built: one or more netlink messages in the caller's memory. The error is sticky: check it once. */
struct nd_msg {
	unsigned char *data;
	size_t size;
	size_t used;
	size_t last;	/* offset of the message that nd_msg_put extends */
	int err;	/* 0 or -EOVERFLOW */
};

/* `buf` must be aligned to 4 bytes. */
void nd_msg_init(struct nd_msg *m, void *buf, size_t size);

/* Starts the next message with its fixed family header (struct ifinfomsg, ...). NLM_F_REQUEST is added. */
void nd_msg_begin(struct nd_msg *m, uint16_t type, uint16_t flags, const void *header, size_t header_len);

/* Appends one attribute to the message begun last; nlmsg_len is right after each call. */
void nd_msg_put(struct nd_msg *m, uint16_t type, const void *data, size_t len);
void nd_msg_put_u32(struct nd_msg *m, uint16_t type, uint32_t value);
void nd_msg_put_name(struct nd_msg *m, uint16_t type, const char *name);	/* with its NUL */

/* Adds NLM_F_ACK to the message begun last. */
void nd_msg_ack(struct nd_msg *m);

/* A received message: pointers into the reply, valid as long as it is. */
struct nd_view {
	uint16_t type;
	uint16_t flags;
	uint32_t seq;
	uint32_t portid;
	const unsigned char *start;	/* struct nlmsghdr */
	size_t len;			/* nlmsg_len */
	const unsigned char *body;	/* behind struct nlmsghdr */
	size_t body_len;
};

/* Steps through messages; *pos starts at 0. Returns 1 (a message), 0 (end) or -EBADMSG (a length that lies). */
int nd_view_next(const void *buf, size_t len, size_t *pos, struct nd_view *v);
/* All at once: three numbers each, the type, where the body begins and where it ends. Returns as nd_addr_runs does. */
int nd_spans(const void *buf, uint32_t len, uint32_t *spans, int count);
/* The same of RTM_NEWROUTE alone: routes that the kernel did not make with an address, and default routes. */
int nd_route_spans(const void *dumped, uint32_t len, uint32_t *spans, int count);

/*
 * Finds an attribute behind a fixed header of `header_len` bytes. Returns its payload (NULL: not there) and its length.
 * Every length on the way is checked before a field is read; a damaged list ends the search. With duplicates the last
 * one counts, as in the kernel's nla_parse.
 */
const unsigned char *nd_view_attr(const struct nd_view *v, size_t header_len, uint16_t type, size_t *len);

/* NLMSG_ERROR (0: an ack): returns its code (0 or negative errno) and fills err, extack included. -EBADMSG: malformed. */
int nd_view_error(const struct nd_view *v, struct nd_err *err);

/* ---- socket: open in a namespace, one exchange ---------------------------------------------------------------------- */

struct nd_sock {
	int fd;
	uint32_t portid;	/* from getsockname */
	uint32_t seq;		/* of the message sent last */
	uint32_t slot;		/* bytes for one answer; 0: 8 KiB. Grows where the kernel's answers are longer */
};

/* A small file under /proc/sys/net to be read or written inside the namespace. */
struct nd_file {
	const char *path;
	int write;	/* 1: `text` is written to it; 0: it is read */
	char text[64];	/* NUL-terminated; longer content is cut */
	int code;	/* 0 or -errno */
};

/*
 * Opens a NETLINK_ROUTE socket in the namespace `netns_fd` (-1: the calling thread's), and reads or writes `files` there.
 * A file that fails has its code, and does not make this fail.
 *
 * A socket acts in the namespace that it was opened in, for its whole life (probe netns.socket.stays). With netns_fd >= 0
 * the calling thread visits that namespace: all signals are blocked meanwhile, it cannot be cancelled, and the way back
 * (/proc/thread-self/ns/net) is opened and tried before it leaves. Needs CAP_SYS_ADMIN in the namespace's owner and
 * in the caller's own user namespace, as setns(2) says.
 *
 * -ENOTRECOVERABLE: the way back failed. Nothing was sent to anybody; but this thread is now in the wrong namespace and
 * must end. (In a single-threaded program: the process.)
 */
int nd_sock_open(struct nd_sock *s, int netns_fd, struct nd_file *files, size_t nfiles, struct nd_err *err);
void nd_sock_close(struct nd_sock *s);

/*
 * 0: two descriptors are of two namespaces. -EINVAL: they are of one: a move would rename the device there and drop its
 * addresses. Callers of nd_dev_move ask first; nd_dev_transfer does.
 */
int nd_netns_differ(int source_fd, int target_fd, struct nd_err *err);

/* SO_NETNS_COOKIE: which namespace this is, and never used twice (probe death.cookie.unique); 0: none (before 5.14). */
uint64_t nd_sock_cookie(const struct nd_sock *s);

/* Which devices a dump is to be about. */
struct nd_filter {
	const int32_t *ifindexes;	/* ascending */
	size_t count;
	const char *names;	/* of links: `names_count` times ND_NAME_SIZE bytes, filled with NULs, ascending */
	size_t names_count;
};

/*
 * Whether an answer is about one of these devices. RTM_NEWADDR, RTM_NEWQDISC, RTM_NEWNEIGHTBL: it names its ifindex;
 * RTM_NEWNEIGH: so it does, and is permanent, a proxy or somebody's, and no group's in a bridge's table; RTM_NEWROUTE: it
 * may go when such a device does: by one of them, with a `src` (the kernel's own apart), or by a nexthop object that alone
 * knows the device; and each default route. RTM_NEWLINK: it has one of the names, or lies on another device of this
 * namespace, whichever. Anything else, and what is damaged: 1.
 */
int nd_filter_keeps(const struct nd_filter *filter, const struct nd_view *v);

/* Caller's memory for replies. */
struct nd_buf {
	unsigned char *data;
	size_t size;
	size_t used;
	size_t need;		/* after -EOVERFLOW: bytes that would have sufficed, as far as is known */
	uint32_t first_seq;	/* of the request: seq - first_seq is the index of the message that is answered */
	const struct nd_filter *filter;	/* NULL: all answers are kept; else those that nd_filter_keeps */
	int harmless;		/* 1: the request changes nothing, though not all of it is RTM_GET*: it may be sent again */
};

/*
 * Sends all messages of `req` in one datagram (numbering them) and reads until the last one is answered: by an ack if it
 * asks for one, by NLMSG_DONE if it is a dump (only the last may be one), otherwise by its reply.
 *
 * With a `reply`, every answer is appended to it, refusals (NLMSG_ERROR) too, and the result says only whether the
 * exchange itself worked. With NULL the first refusal is the result. A message without NLM_F_ACK is answered only when
 * it is refused (probe acks.batch.ack-on-last).
 *
 * A dump that was interrupted (NLM_F_DUMP_INTR on any of its messages: probe dumps.interrupted.links.a-move-away) is asked
 * for again, with the messages before it, at most 8 times; then -EAGAIN. A partial dump is never returned.
 *
 * An answer of more than 8 KiB does not fit into a slot (alternative names of a link): a request that only asks (RTM_GET*,
 * or reply->harmless) is sent again with longer slots, and, beyond 64 KiB, with one in the reply.
 *
 * Signals do not end an exchange. Returns 0, or: -EOVERFLOW (the reply is too small for the answers, reply->need is the size.
 * The request was done all the same: repeat it only if it changes nothing), -ENOBUFS (replies were dropped: look), -EBADMSG (a
 * length that lies), -EMSGSIZE (too long an answer to what is no query: look), -ETIMEDOUT (none in 10 s; the kernel
 * answers before send returns), or what send and recvmmsg say.
 */
int nd_sock_exchange(struct nd_sock *s, struct nd_msg *req, struct nd_buf *reply, struct nd_err *err);

/*
 * Opens, in the namespace `netns_fd` (-1: the calling thread's), a socket that is told of every change of an address there.
 * Open it before the first snapshot, drain it after the moves and before the first replay, and hand what it was told to
 * nd_dev_catch_up: then an address that somebody adds between snapshot and move is not lost. `buffer_bytes`: room for what is not
 * yet drained, about 1 KiB a notification; without CAP_NET_ADMIN over the machine it is cut to net.core.rmem_max.
 */
int nd_sock_subscribe(struct nd_sock *s, int netns_fd, int buffer_bytes, struct nd_err *err);

/*
 * Appends the RTM_NEWADDR and RTM_DELADDR messages that came so far, without waiting. What a request of this thread's
 * dropped was told before its ack. -EOVERFLOW: give told->need bytes, keep the first told->used, and call again; nothing was
 * lost. -ENOBUFS: the kernel dropped notifications (probe notify.overflow): what was added
 * meanwhile is unknown, so undo.
 */
int nd_sock_drain(struct nd_sock *s, struct nd_buf *told, struct nd_err *err);

/* ---- device: the steps of a move ------------------------------------------------------------------------------------- */

enum nd_place {
	ND_PLACE_UNKNOWN,
	ND_PLACE_SOURCE,
	ND_PLACE_TARGET,
	ND_PLACE_GONE,		/* in neither */
};

/*
 * A device on its way, at the start of the caller's memory; everything else lies behind it at offsets. Plain data, no
 * pointers: it can be written to a file and undone from another process.
 */
struct nd_dev {
	uint32_t size;			/* bytes of memory, this struct included */
	uint32_t need;			/* after -EOVERFLOW: the size that would have sufficed */
	char ifname[ND_NAME_SIZE];	/* in the source */
	char wanted[ND_NAME_SIZE];	/* in the target: a name, or a template with one %d */
	char name[ND_NAME_SIZE];	/* in the target, as read back; empty until it was there */
	int32_t ifindex;		/* in the source; 0: not resolved yet */
	int32_t target_ifindex;		/* in the target: to be asked for with IFLA_NEW_IFINDEX (0: kernel's choice); then as is */
	int32_t ifindex_unsure;		/* 1: the target ifindex is busy or the kernel may ignore IFLA_NEW_IFINDEX (before 5.13) */
	int32_t place;			/* enum nd_place */
	int32_t was_up;			/* IFF_UP at the snapshot */
	uint32_t cut_labels;		/* labels old:x whose new:x has more than 15 bytes: they become the plain name */
	uint32_t link, link_len;	/* snapshot: the RTM_NEWLINK message */
	uint32_t addrs, addrs_len;	/* snapshot: RTM_NEWADDR messages of every scope and lifetime, in dump order */
	uint32_t back, back_len;	/* what nd_dev_verify read last: RTM_NEWLINK, then RTM_NEWADDR messages */
	uint32_t sent;			/* 1: a move of it was sent, and no undo has restored it since */
	uint32_t late;			/* 1: nd_dev_catch_up has found what the snapshot had not, or had otherwise */
};

/* Prepares the memory (aligned to 8 bytes). -EINVAL: a name of 0 or more than 15 bytes. -EOVERFLOW: less than a struct nd_dev. */
int nd_dev_init(struct nd_dev **dev, void *memory, size_t size, const char *ifname, const char *wanted, struct nd_err *err);

/* Tells the device that its memory was moved or extended to `size` bytes (realloc, a file read back). */
void nd_dev_resize(struct nd_dev *dev, size_t size);

/*
 * Takes a snapshot out of a record of the caller's: the RTM_NEWLINK message and the RTM_NEWADDR messages that it kept, as
 * they were dumped. ifindex is taken from the link. -EBADMSG: they are damaged; -EOVERFLOW: dev->need is the size.
 */
int nd_dev_load(struct nd_dev *dev, const void *link, size_t link_len, const void *addrs, size_t addrs_len, struct nd_err *err);

/*
 * The same out of answers of the source that were just read (all of a batch by one dump instead of one exchange each):
 * what nd_dev_snapshot does, without its exchange, and with no more memory than that; later steps may ask for more.
 * -ENODEV: the link has another name.
 */
int nd_dev_take(struct nd_dev *dev, const void *link, size_t link_len, const void *addrs, size_t addrs_len, struct nd_err *err);

/* Looks where the device is: sets dev->place, and its name and ifindex there. Changes nothing. Needs a snapshot. */
int nd_dev_find(struct nd_dev *dev, struct nd_sock *source, struct nd_sock *target, struct nd_err *err);

/*
 * Records what the kernel drops in a move: link and addresses, in one exchange; resolves the name first if ifindex is 0.
 * -ENODEV: no device of that *name* (an alternative name is refused, the text says whose it is).
 * -EOVERFLOW: dev->need is the size for this and the following steps.
 */
int nd_dev_snapshot(struct nd_dev *dev, struct nd_sock *source, struct nd_err *err);

/*
 * Brings the snapshot up to date with what nd_sock_drain told (messages about other devices are passed over): addresses that
 * were added or changed after it, in the order in which the kernel had them, and without those of IPv4 that a request
 * deleted. (Who deletes an IPv6 address is not told: it comes back.) May be repeated. -EOVERFLOW: dev->need is the size.
 */
int nd_dev_catch_up(struct nd_dev *dev, const void *told, size_t len, struct nd_err *err);

/* Copies the RTM_NEWADDR messages that no replay carries: not permanent, or not of global scope. Returns their bytes. */
size_t nd_addr_unprotected(const void *addrs, size_t len, void *to);

struct nd_run { uint32_t at, len; int32_t ifindex; };	/* bytes, padding included */
/* Finds messages about addresses of one device that follow one another. Returns how many runs, `count` written; or -EBADMSG. */
int nd_addr_runs(const void *told, uint32_t len, struct nd_run *runs, int count);

/*
 * Chooses the ifindex that nd_dev_move asks for in the target: the device's own, or a free one above it; and none that a
 * device of `batch` has. Then a record written before the move is enough to find it, whatever became of a template. Sets
 * dev->ifindex_unsure where the kernel would choose (before 5.13). -EINVAL: no snapshot; -ENOSPC: none was found.
 */
int nd_dev_choose(struct nd_dev *dev, struct nd_dev *const *batch, size_t n, struct nd_sock *target, struct nd_err *err);

/*
 * Moves and renames in one RTM_NEWLINK. A failure does not mean that the device stayed: where the old name is free in the
 * target, the kernel moves first and renames afterwards (probe clash.wanted-name); so after an error it is looked for
 * in both namespaces, and dev->place, name and target_ifindex say what was found. A device that is in the target already
 * keeps its name if that is the wanted one, and is renamed if it is not.
 */
int nd_dev_move(struct nd_dev *dev, struct nd_sock *source, struct nd_sock *target, int target_fd, struct nd_err *err);

/*
 * Replays the protected addresses (IFA_F_PERMANENT and RT_SCOPE_UNIVERSE) in the target and sets the link up: IPv4 in
 * dump order, IFF_UP, IPv6 in reverse dump order, in one send (more addresses: windows of at most 120 messages).
 */
int nd_dev_up_and_replay(struct nd_dev *dev, struct nd_sock *target, struct nd_err *err);

/*
 * Reads back and compares: name (the wanted one, or one that the template can make), IFF_UP, the link's own attributes,
 * every protected address with all it has, their order, and that no IPv6 address which was usable before is tentative now.
 * -ESTALE: something differs; the text says what.
 */
int nd_dev_verify(struct nd_dev *dev, struct nd_sock *target, struct nd_err *err);

/* The same with what was just read in the target, which is compared where it is: dev->back has nothing of it. */
int nd_dev_compare(struct nd_dev *dev, const void *link, size_t link_len, const void *addrs, size_t addrs_len, struct nd_err *err);

#define ND_UNDO_RETURN 1	/* back into the source, under its name and ifindex */
#define ND_UNDO_RESTORE 2	/* its addresses of every scope and lifetime, its up state; read back and compared */

/*
 * Puts the device back: finds it, moves it back if it is in the target, replays and compares. A move that failed may
 * have dropped the addresses (probe clash.addresses.after-an-error). Goes on after a failure of a part; the first one
 * is the result (-ESTALE: it is back, but something differs; -EINVAL: a damaged record, see struct nd_dev: nothing
 * was touched). After a failure dev->place, name and the ifindexes say where it is: what is in the way of its return (-EEXIST:
 * an alternative name) can be removed there, and the undo called again.
 *
 * What it restores: name, ifindex where it is free, all addresses of the device, their connected routes, and the up state.
 * What it does not: routes and nexthop objects of an administrator, permanent neighbours, the master, sysctls, qdiscs,
 * and whatever else the kernel dropped when the device left. A caller who wants these back keeps them himself.
 */
int nd_dev_undo(struct nd_dev *dev, struct nd_sock *source, struct nd_sock *target, int source_fd, int parts,
		struct nd_err *err);

/*
 * All steps for a single device; undoes on failure. The result is the step's failure; undo_err->code tells of the undo.
 * -EINVAL: source_fd and target_fd are of one namespace.
 */
int nd_dev_transfer(struct nd_dev *dev, struct nd_sock *source, struct nd_sock *target, int source_fd, int target_fd,
		    struct nd_err *err, struct nd_err *undo_err);

/* cffi: end */

#ifdef __cplusplus
}
#endif
#endif
