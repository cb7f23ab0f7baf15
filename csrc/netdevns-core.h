/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * The layer below netdevns.h, for callers that need less than a batch: netlink messages, sockets, and the steps that move one
 * network device into another network namespace, with its name and its addresses, or back. Plain C11 and libc: no
 * allocation, no global state, no output, no threads.
 *
 * One device (a function returns 0 or -errno; struct nd_err has the details):
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
 * nd_dev_transfer is nd_dev_snapshot, nd_dev_move, nd_dev_up_and_replay, nd_dev_verify and, after a failure, nd_dev_undo. Several
 * devices go through these phase by phase: snapshot all, move all, and so on; after a failure ND_UNDO_RETURN for all, then
 * ND_UNDO_RESTORE for all. Upper devices (a VLAN) move before their lower ones, and are replayed after them.
 *
 * Every step can be repeated, after a success and after a failure. nd_dev_snapshot, nd_dev_take and nd_dev_load are
 * refused (-EINVAL) once a move was sent, until an undo has restored the device; if one fails, the earlier snapshot stays.
 * nd_dev_move looks for a device whose place is unknown, and renames a device that a failure left in the target under
 * another name than the wanted one; where the name is still taken, it fails again. If the kernel refused an address, a second
 * nd_dev_up_and_replay adds it, but out of order: nd_dev_verify and nd_dev_undo report that (-ESTALE). nd_dev_undo of a
 * device that equals its snapshot changes nothing.
 *
 * The caller checks first, because these functions do not: that the wanted name is valid and free in the target (also as
 * an alternative name), that the namespaces differ (nd_netns_differ), that the device can be moved (not lo, not a bridge).
 *
 * Common misreadings:
 *  - An error of nd_dev_move does not mean that the device stayed. dev->place says where it is.
 *  - -EOVERFLOW: the caller's memory is too small; `need`, in struct nd_dev or nd_buf, is a sufficient size. Steps of a
 *    device (nd_dev_*) and nd_sock_drain are then repeated with that much. An exchange may have been done all the same
 *    (nd_sock_exchange): only a query is repeated.
 *  - -ENOBUFS: the kernel dropped replies or notifications. The requests may or may not have been done: read the state again.
 *  - A device is looked up by name once. After that only its ifindex is used: IFLA_IFNAME in a request also matches
 *    alternative names (probe message.key.altname-as-name).
 */
#ifndef NETDEVNS_CORE_H
#define NETDEVNS_CORE_H

#include <stddef.h>
#include <stdint.h>

/*
 * The version of this header. The ones grow when something is added. The hundreds grow when something is taken away or changes
 * its meaning, or a struct changes: compile again, and do not undo from a struct nd_dev that other hundreds wrote.
 */
#define ND_VERSION 300

#ifdef __cplusplus
extern "C" {
#endif

/* cffi: begin (build_ffi.py compiles the declarations between the two marks into the Python package) */

#define ND_NAME_SIZE 16		/* IFNAMSIZ: 15 bytes and a NUL */
#define ND_TEXT_SIZE 192	/* extack texts are cut to this, NUL included */
#define ND_DEV_SIZE_MIN 8192	/* bytes of memory that suffice for a device with a few addresses */

/* ---- errors ---------------------------------------------------------------------------------------------------- */

enum nd_step {
	ND_STEP_NONE,
	ND_STEP_OPEN,		/* a socket in a namespace */
	ND_STEP_EXCHANGE,	/* nd_sock_exchange */
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
	uint32_t index;			/* the message of the request that the kernel refused, from 0 */
	uint32_t offset;		/* NLMSGERR_ATTR_OFFS: the offending attribute's offset in it; 0: unknown */
	char text[ND_TEXT_SIZE];	/* the kernel's extack text, or one of netdevns; may be empty */
};

/* ---- message: build and parse; no system calls -------------------------------------------------------------------- */

/* A request being built: one or more netlink messages in the caller's memory. An error stays: check it once, at the end. */
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

/* Appends one attribute to the last message; nlmsg_len is right after each call. */
void nd_msg_put(struct nd_msg *m, uint16_t type, const void *data, size_t len);
void nd_msg_put_u32(struct nd_msg *m, uint16_t type, uint32_t value);
void nd_msg_put_name(struct nd_msg *m, uint16_t type, const char *name);	/* with its NUL */

/* Adds NLM_F_ACK to the last message. */
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

/* Steps through messages; *pos starts at 0. Returns 1 (a message), 0 (end) or -EBADMSG (a wrong length). */
int nd_view_next(const void *buf, size_t len, size_t *pos, struct nd_view *v);

/*
 * Finds an attribute behind a fixed header of `header_len` bytes. Returns its payload (NULL: it is missing) and its length.
 * Each length is checked before a field is read; a damaged list ends the search. Of duplicates the last one counts, as in
 * the kernel's nla_parse.
 */
const unsigned char *nd_view_attr(const struct nd_view *v, size_t header_len, uint16_t type, size_t *len);

/* NLMSG_ERROR (0: an ack): returns its code (0 or negative errno) and fills err, extack included. -EBADMSG: malformed. */
int nd_view_error(const struct nd_view *v, struct nd_err *err);

/* ---- socket: open in a namespace, one exchange ---------------------------------------------------------------------- */

struct nd_sock {
	int fd;
	uint32_t portid;	/* from getsockname */
	uint32_t seq;		/* of the last message that was sent */
	uint32_t slot;		/* bytes for one reply; 0: 8 KiB. Grows if the kernel's replies are longer */
};

/* A small file under /proc/sys/net to be read or written inside the namespace. */
struct nd_file {
	const char *path;
	int write;	/* 1: `text` is written to the file; 0: the file is read into it */
	char text[64];	/* NUL-terminated; longer content is cut */
	int code;	/* 0 or -errno */
};

/*
 * Opens a NETLINK_ROUTE socket in the namespace `netns_fd` (-1: the calling thread's), and reads or writes `files` there.
 * A file that fails has a code, but the function does not fail.
 *
 * A socket acts in the namespace that it was opened in, as long as it is open (probe netns.socket.stays). With netns_fd >= 0
 * the calling thread visits that namespace: meanwhile all signals are blocked, and the thread cannot be cancelled. The way
 * back (/proc/thread-self/ns/net) is opened and tried before it leaves. Needs CAP_SYS_ADMIN in the user namespace that owns
 * the network namespace and in the caller's user namespace, as setns(2) says.
 *
 * -ENOTRECOVERABLE: the way back failed. Nothing was sent, but this thread is in the wrong namespace and must end. (In a
 * single-threaded program: the process.)
 */
int nd_sock_open(struct nd_sock *s, int netns_fd, struct nd_file *files, size_t nfiles, struct nd_err *err);
void nd_sock_close(struct nd_sock *s);

/*
 * 0: the descriptors refer to two namespaces. -EINVAL: to the same one: a move would rename the device there and drop its
 * addresses. To be called before nd_dev_move; nd_dev_transfer calls it.
 */
int nd_netns_differ(int source_fd, int target_fd, struct nd_err *err);

/* SO_NETNS_COOKIE: the identity of the socket's namespace, never reused (probe death.cookie.unique); 0: before 5.14. */
uint64_t nd_sock_cookie(const struct nd_sock *s);

/* The devices that the caller of a dump is interested in. */
struct nd_filter {
	const int32_t *ifindexes;	/* ascending */
	size_t count;
	const char *names;	/* of links: `names_count` times ND_NAME_SIZE bytes, filled with NULs, ascending */
	size_t names_count;
};

/*
 * 1: the reply concerns one of these devices; 0: it does not.
 *  - RTM_NEWADDR, RTM_NEWQDISC, RTM_NEWNEIGHTBL: it has one of the ifindexes.
 *  - RTM_NEWNEIGH: the same, and it is permanent, noarp (of a unicast address), a proxy or of a routing daemon
 *    (NTF_EXT_LEARNED); but no multicast group, and no noarp entry, in a bridge's table.
 *  - RTM_NEWROUTE: the kernel may drop it when such a device leaves: it goes through one of them, or has a `src` and is not
 *    the kernel's own, or names a nexthop object and no device; and each default route.
 *  - RTM_NEWLINK: it has one of the names; or it is on top of any other device of this namespace (a VLAN, a macvlan).
 *  - Other types, and damaged messages: 1.
 */
int nd_filter_keeps(const struct nd_filter *filter, const struct nd_view *v);

/* Caller's memory for replies. */
struct nd_buf {
	unsigned char *data;
	size_t size;
	size_t used;
	size_t need;		/* after -EOVERFLOW: sufficient size in bytes, as far as known */
	uint32_t first_seq;	/* of the request: a reply's seq - first_seq is the index of the message that it answers */
	const struct nd_filter *filter;	/* NULL: all replies are kept; otherwise those for which nd_filter_keeps is 1 */
	int harmless;		/* 1: the request changes nothing, although it is not only RTM_GET*: it may be sent again */
};

/*
 * Numbers all messages of `req`, sends them in one datagram and reads until the last one is answered: by an ack if it asks for
 * one, by NLMSG_DONE if it is a dump (only the last may be one), otherwise by its reply.
 *
 * With a `reply`, every reply is appended to it, errors (NLMSG_ERROR) included, and the result says only whether the
 * exchange worked. With NULL the first refusal is the result. The kernel answers a change without NLM_F_ACK only if it
 * refuses it (probe acks.batch.ack-on-last).
 *
 * An interrupted dump (NLM_F_DUMP_INTR on any of its messages: probe dumps.interrupted.links.a-move-away) is requested
 * again, with the messages before it, up to 8 times; then -EAGAIN. A partial dump is never returned.
 *
 * A reply may be longer than a slot of 8 KiB (a link with many alternative names): then a query (RTM_GET* only, or
 * reply->harmless) is sent again with longer slots, and, beyond 72 KiB, with one in the reply.
 *
 * Signals do not end an exchange. Returns 0, or:
 *  -EOVERFLOW: the reply is too small, reply->need is the size. The request was done: repeat it only if it is a query.
 *  -ENOBUFS: the kernel dropped replies: read the state again.  -EBADMSG: a message with a wrong length.
 *  -EMSGSIZE: a reply to a change is longer than a slot: read the state again.  -ETIMEDOUT: no reply within 10 s.
 *  Others: those of send(2) and recvmmsg(2).
 */
int nd_sock_exchange(struct nd_sock *s, struct nd_msg *req, struct nd_buf *reply, struct nd_err *err);

/*
 * Opens, in the namespace `netns_fd` (-1: the calling thread's), a socket that is notified of every change of an address there.
 * Open it before the first snapshot, drain it after the moves and before the first replay, and pass the notifications to
 * nd_dev_catch_up: then an address that another process adds between snapshot and move is not lost. `buffer_bytes`: room for
 * notifications until they are drained, about 1 KiB each; cut to net.core.rmem_max without CAP_NET_ADMIN in the initial user
 * namespace.
 */
int nd_sock_subscribe(struct nd_sock *s, int netns_fd, int buffer_bytes, struct nd_err *err);

/*
 * Appends the RTM_NEWADDR and RTM_DELADDR messages that have arrived, without waiting. The kernel sends those about a drop before
 * the ack of the request that caused it. -EOVERFLOW: provide notifications->need bytes, keep the first notifications->used of
 * them, and call again; nothing was lost. -ENOBUFS: the kernel dropped notifications (probe notify.overflow), so an address
 * may have been added that the snapshot lacks: undo.
 */
int nd_sock_drain(struct nd_sock *s, struct nd_buf *notifications, struct nd_err *err);

/* ---- device: the steps of a move ------------------------------------------------------------------------------------- */

enum nd_place {
	ND_PLACE_UNKNOWN,
	ND_PLACE_SOURCE,
	ND_PLACE_TARGET,
	ND_PLACE_GONE,		/* in neither */
};

/*
 * A device that is being moved, at the start of the caller's memory; its messages follow at offsets. Plain data without
 * pointers: it can be written to a file, and another process can undo the move.
 */
struct nd_dev {
	uint32_t size;			/* bytes of memory, this struct included */
	uint32_t need;			/* after -EOVERFLOW: a sufficient size */
	char ifname[ND_NAME_SIZE];	/* in the source */
	char wanted[ND_NAME_SIZE];	/* in the target: a name, or a template with one %d */
	char name[ND_NAME_SIZE];	/* in the target, as read back; empty until it has arrived */
	int32_t ifindex;		/* in the source; 0: not resolved yet */
	int32_t target_ifindex;		/* in the target; before a move: the one to request (0: the kernel chooses) */
	int32_t ifindex_unsure;		/* 1: it is taken, or the kernel may ignore IFLA_NEW_IFINDEX (before 5.13) */
	int32_t place;			/* enum nd_place */
	int32_t was_up;			/* IFF_UP at the snapshot */
	uint32_t cut_labels;		/* labels old:x whose new:x has more than 15 bytes: they become the plain name */
	uint32_t link, link_len;	/* snapshot: the RTM_NEWLINK message */
	uint32_t addrs, addrs_len;	/* snapshot: RTM_NEWADDR messages of every scope and lifetime, in dump order */
	uint32_t back, back_len;	/* read by the last nd_dev_verify: RTM_NEWLINK, then RTM_NEWADDR messages */
	uint32_t sent;			/* 1: a move was sent and not undone since */
	uint32_t late;			/* 1: nd_dev_catch_up has changed the snapshot */
};

/* Prepares the memory (aligned to 8 bytes). -EINVAL: a name of 0 or more than 15 bytes. -EOVERFLOW: less than a struct nd_dev. */
int nd_dev_init(struct nd_dev **dev, void *memory, size_t size, const char *ifname, const char *wanted, struct nd_err *err);

/* To be called when the memory was moved or now has `size` bytes (realloc, a file that was read). */
void nd_dev_resize(struct nd_dev *dev, size_t size);

/*
 * Sets the snapshot from a record: the RTM_NEWLINK message and the RTM_NEWADDR messages as they were dumped. ifindex is that of
 * the link; the device's place is unknown. -EBADMSG: the messages are damaged; -EOVERFLOW: dev->need is the size.
 */
int nd_dev_load(struct nd_dev *dev, const void *link, size_t link_len, const void *addrs, size_t addrs_len, struct nd_err *err);

/*
 * The same with replies just read in the source (one dump for many devices instead of one exchange for each): the result
 * of nd_dev_snapshot without its exchange. Less memory suffices; later steps may need more. -ENODEV: the link has another
 * name.
 */
int nd_dev_take(struct nd_dev *dev, const void *link, size_t link_len, const void *addrs, size_t addrs_len, struct nd_err *err);

/* Finds the device: sets dev->place, and its name and ifindex there. Changes nothing in the kernel. Needs a snapshot. */
int nd_dev_find(struct nd_dev *dev, struct nd_sock *source, struct nd_sock *target, struct nd_err *err);

/*
 * Reads the link and its addresses, which the kernel drops in a move, by one exchange; before that, looks the name up if
 * dev->ifindex is 0. -ENODEV: no device has that name (an alternative name is refused). -EOVERFLOW: dev->need is the size for
 * this and the following steps.
 */
int nd_dev_snapshot(struct nd_dev *dev, struct nd_sock *source, struct nd_err *err);

/*
 * Brings the snapshot up to date with notifications of nd_sock_drain (those about other devices are skipped): adds addresses
 * that were added or changed after it, in the kernel's order, and removes IPv4 addresses that a request deleted. A deleted
 * IPv6 address stays: its notification looks like that of a move. May be repeated. -EOVERFLOW: dev->need is the size.
 */
int nd_dev_catch_up(struct nd_dev *dev, const void *notifications, size_t len, struct nd_err *err);

/*
 * Chooses the ifindex that nd_dev_move requests in the target: that of the source, or a free one above it which no device
 * of `batch` has chosen. A record that was written before the move then suffices to find the device under any name that the kernel
 * makes from a template. Sets dev->ifindex_unsure if the kernel would choose (before 5.13). -EINVAL: no snapshot; -ENOSPC:
 * none was found.
 */
int nd_dev_choose(struct nd_dev *dev, struct nd_dev *const *batch, size_t n, struct nd_sock *target, struct nd_err *err);

/*
 * Moves and renames by one RTM_NEWLINK. After a failure the device may have left: if the old name is free in the
 * target, the kernel moves first and renames afterwards (probe clash.wanted-name). So after an error both namespaces are
 * searched, and dev->place, name and target_ifindex are those found. A device that is in the target already is renamed
 * unless it has the wanted name.
 */
int nd_dev_move(struct nd_dev *dev, struct nd_sock *source, struct nd_sock *target, int target_fd, struct nd_err *err);

/*
 * Adds the protected addresses (IFA_F_PERMANENT and RT_SCOPE_UNIVERSE) in the target and sets the link up: IPv4 in dump
 * order, IFF_UP, IPv6 in reverse dump order, by one send (of at most 120 messages; more addresses: more sends).
 */
int nd_dev_up_and_replay(struct nd_dev *dev, struct nd_sock *target, struct nd_err *err);

/*
 * Reads the device in the target and compares: the name (the wanted one, or one that its template can make), IFF_UP, MAC
 * address, MTU and other attributes of the link, the protected addresses with their attributes and in their order. An IPv6
 * address that was usable must not be tentative. -ESTALE: the text names the difference.
 */
int nd_dev_verify(struct nd_dev *dev, struct nd_sock *target, struct nd_err *err);

/* The same with messages that were just read in the target. They are not copied: dev->back stays. */
int nd_dev_compare(struct nd_dev *dev, const void *link, size_t link_len, const void *addrs, size_t addrs_len, struct nd_err *err);

#define ND_UNDO_RETURN 1	/* back into the source, under its name and ifindex */
#define ND_UNDO_RESTORE 2	/* its addresses of every scope and lifetime, its up state; read back and compared */

/*
 * Restores the device: finds it, moves it back if it is in the target, compares, and adds its addresses if they differ (a move
 * that failed may have dropped them: probe clash.addresses.after-an-error). A refused address does not end the replay;
 * the first failure is the result. -ESTALE: it is back, but something differs; -EINVAL: a damaged record, nothing was changed.
 * After a failure dev->place, name and the ifindexes say where the device is: an obstacle to its return (-EEXIST: an
 * alternative name in the source) can be removed, and the undo called again.
 *
 * Restored: name, ifindex where it is free, all addresses of the device, their connected routes, IFF_UP. Not restored: other
 * routes, nexthop objects, neighbours, the master, sysctls, qdiscs, and other state that the kernel dropped when the
 * device left.
 */
int nd_dev_undo(struct nd_dev *dev, struct nd_sock *source, struct nd_sock *target, int source_fd, int parts,
		struct nd_err *err);

/*
 * All steps for a single device; undoes after a failure. The result is that of the step; undo_err->code is that of the undo.
 * -EINVAL: source_fd and target_fd refer to the same namespace.
 */
int nd_dev_transfer(struct nd_dev *dev, struct nd_sock *source, struct nd_sock *target, int source_fd, int target_fd,
		    struct nd_err *err, struct nd_err *undo_err);

/* cffi: end */

#ifdef __cplusplus
}
#endif
#endif
