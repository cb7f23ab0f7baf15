/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * netdevns: moves existing network devices into another network namespace, with their names and addresses: all of them, or
 * none. Plain C11 and libc. csrc/README.md says how to vendor it, csrc/example.c is a whole program.
 *
 *	struct netdevns_batch *batch = NULL;
 *	struct netdevns_error err;
 *
 *	if (netdevns_batch_open(&batch, NETDEVNS_VERSION, -1, container_netns_fd, &err) ||
 *	    netdevns_batch_add(batch, "eth1", "net0", &err) ||
 *	    netdevns_batch_move(batch, 0, &err))
 *		fprintf(stderr, "%s\n", err.text);
 *	netdevns_batch_close(batch);
 *
 * A function returns 0, or -errno and fills `err`, which may be NULL. A batch or a device's name that is NULL is refused
 * (-EINVAL). A move that fails restores every device before it returns: names, ifindexes (before Linux 5.13 the kernel chooses
 * them: a new one counts as not restored, as does one that is taken), addresses of every scope and lifetime, the routes that the kernel makes with them, alternative names, MTU, MAC address and the other settings of
 * RTM_NEWLINK, the sysctls of the device, and whether it is up. State that it cannot restore (enum netdevns_state) is detected
 * before anything changes, and refused unless the caller accepts to lose it.
 *
 * A batch moves once: after a move that succeeded, or whose undo could not restore everything, add, record, check and move
 * return -EINVAL until netdevns_batch_undo has restored everything. netdevns_batch_undo returns -EINVAL if nothing has moved.
 *
 * Threads: a handle belongs to one thread at a time; handles do not share anything, there are no globals. Opening a socket in
 * another namespace takes the calling thread there and back, with all signals blocked. -ENOTRECOVERABLE: the way back was
 * refused; nothing was sent, but this thread is in the wrong network namespace and must end. A call needs up to 120 KiB of
 * stack: musl's default for a thread, 128 KiB, suffices.
 *
 * Fork and exec: descriptors are close-on-exec. A child must not use a handle of its parent's, nor close it. One that is forked
 * after netdevns_batch_open and does not exec holds the locks of the devices and of the record, also when its parent has died:
 * until it ends, netdevns_recover silently skips the record. So fork the container first.
 *
 * Signals: their dispositions are the caller's. netdevns_batch_move and netdevns_recover write records, and the process id at
 * 4 * ifindex of a file of locks. Such a write beyond RLIMIT_FSIZE ends a process by SIGXFSZ, unless it ignores or catches it:
 * then a record that cannot be written is -EFBIG, and the process id is left out.
 *
 * Needs CAP_NET_ADMIN in both namespaces and CAP_SYS_ADMIN to enter the target (-EPERM). Linux >= 5.10.
 */
#ifndef NETDEVNS_H
#define NETDEVNS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#ifndef NETDEVNS_LOCAL	/* define it to build these files into a library that exports none of them */
#pragma GCC visibility push(default)	/* in a shared library that is built with -fvisibility=hidden, this is all that it exports */
#endif

/*
 * The version of this header, which the caller passes to netdevns_batch_open and netdevns_recover. It grows when something is
 * added: structs at their end, enumerators, functions. A library serves callers that were compiled with its version or an older
 * one; it refuses a newer one (-EPROTO). A removal or a change of meaning raises the major version (the hundreds), and older
 * major versions are refused as well. The library writes only the fields that a caller's version has, also where it refuses it.
 */
#define NETDEVNS_VERSION 200

struct netdevns_batch;

/* The caller's; the library fills it. After a failure: */
struct netdevns_error {
	int code;		/* -errno; 0 after a success */
	const char *step;	/* "open", "add", "check", "record", "down", "notify", "move", "replay", "verify", "undo", "recover" */
	int device;		/* its index in the order of netdevns_batch_add; -1: a namespace, or the whole batch */
	int begun;		/* 0: refused, nothing was changed; 1: it failed after it began, and was undone */
	int left;		/* devices that are not restored completely; 0: all are restored, or nothing was changed */
	char text[512];		/* one line, not empty: device and failure; devices that are not restored, with places and remedy */
};

/*
 * State that a move drops and this library does not restore after a failure. Bits of `accept`; netdevns_finding names the state
 * found.
 */
enum netdevns_state {
	NETDEVNS_DEFAULT_ROUTE = 1 << 0,	/* a default route of the main table; to accept it, pass NETDEVNS_ROUTES, too */
	NETDEVNS_MASTER = 1 << 1,		/* its bridge, bond, team or vrf, with the port's settings, FDB and MDB */
	NETDEVNS_ROUTES = 1 << 2,		/* routes added by hand or by a daemon, also those of other devices */
	NETDEVNS_NEXTHOPS = 1 << 3,		/* nexthop objects */
	NETDEVNS_NEIGHBOURS = 1 << 4,		/* permanent, noarp and extern_learn neighbours; proxies; MAC addresses listened to */
	NETDEVNS_NEIGH_PARAMETERS = 1 << 5,	/* neighbour parameters (NDTPA_*) that are not the default */
	NETDEVNS_QDISC = 1 << 6,		/* queueing disciplines and filters */
	NETDEVNS_UPPER = 1 << 7			/* a device on top of it that stays: IPv6 addresses, routes, MTU, the lower device's filter */
};

/*
 * Opens a batch. `version`: NETDEVNS_VERSION. `source_fd`: the network namespace that the devices are in; -1, and no other
 * negative number: the calling thread's. `target_fd`: the one they go to. Both are duplicated. *batch is NULL after a failure.
 *
 * -EPROTO: a version that this library does not serve: compile the caller again. -EBADF: no descriptor. -EINVAL: not network
 * namespaces, or twice the same one.
 */
int netdevns_batch_open(struct netdevns_batch **batch, uint32_t version, int source_fd, int target_fd, struct netdevns_error *err);

/*
 * Adds a device by its name (not an alternative one). `wanted`: its name in the target, or a template with one "%d";
 * NULL or "": the same. Nothing is looked up yet. -E2BIG: more than 4,096. -ENAMETOOLONG: a name of more than 255 bytes.
 */
int netdevns_batch_add(struct netdevns_batch *batch, const char *ifname, const char *wanted, struct netdevns_error *err);

/*
 * Looks the devices up and checks everything that can be known before a move; changes nothing. `accept`: bits of enum
 * netdevns_state, no others (-EINVAL). The result is that of the first finding that is an error. A check takes no locks: a
 * move checks again, so this is for callers that want to report all findings beforehand.
 */
int netdevns_batch_check(struct netdevns_batch *batch, uint32_t accept, struct netdevns_error *err);

enum netdevns_severity {
	NETDEVNS_NOTE,
	NETDEVNS_LOSS,		/* the move drops it, and the runtime-spec does not protect it */
	NETDEVNS_ERROR		/* the move is refused */
};

struct netdevns_finding {
	const char *code;	/* "name.taken", ...: stable, listed in docs/findings.md */
	int severity;		/* enum netdevns_severity */
	int error;		/* the errno of the refusal, positive; 0: none */
	int device;		/* in the order of netdevns_batch_add; -1: a namespace, or the whole batch */
	uint32_t state;		/* the bit of enum netdevns_state, or 0 */
	const char *name;	/* the name at fault; "": none */
	const char *other;	/* the device that has it, or is an obstacle; "": none */
	int32_t ifindex;	/* of that one */
	const char *text;	/* one line for people */
};

/* The findings of the last check or move, in their order; NULL behind the last one. Valid until the next call for this batch. */
const struct netdevns_finding *netdevns_batch_finding(const struct netdevns_batch *batch, size_t i);

/*
 * Protects the next move against the death of the process: before the first change a record is written into the directory
 * `dirfd`. An undo that restores everything removes the record, otherwise netdevns_batch_close does, unless a device is not
 * restored. A process that dies leaves it, and netdevns_recover restores the devices.
 * The directory (-ENOTDIR) must belong to the caller's user and not be writable by others (-EPERM: chmod 0700). `dirfd` is
 * duplicated.
 *
 * The target must outlive the process: bind-mount the namespace before the move, or let a process in it wait. A virtual device
 * is deleted with its namespace; hardware returns to the initial one, from which netdevns_recover restores it.
 */
int netdevns_batch_record(struct netdevns_batch *batch, int dirfd, struct netdevns_error *err);

/*
 * Moves all devices, or none: checks, moves, replays the addresses that the runtime-spec protects (permanent and of global
 * scope), sets the links up, reads back and compares. After a failure, which is the result, everything is restored; err->left
 * says whether that succeeded. Devices are looked up before they are locked: one that another mover has already taken away is
 * -ENODEV, without a wait. An empty batch succeeds.
 *
 * Locks: waits up to 5 s for another mover of one of the devices (-EBUSY). Movers use locks in /run/netdevns, which are held until
 * netdevns_batch_close. Root is refused (-EPERM) if that directory is not safe: a link, no directory, of another user, or
 * writable by others. If no lock can be had for another reason (no /run, a read-only or full one, a caller that may not write
 * there), the devices move without one, and a NETDEVNS_NOTE with the code "lock.none" reports it: netdevns_batch_finding.
 */
int netdevns_batch_move(struct netdevns_batch *batch, uint32_t accept, struct netdevns_error *err);

/*
 * Undoes a move that succeeded, or repeats an undo that could not restore everything. -EIO: devices are not restored completely;
 * -ENOMEM: they are not, and memory was short. err->text lists them with their places, err->left is their number, and
 * netdevns_batch_device has the differences; err->device is the index if it is one device. The undo can be repeated.
 */
int netdevns_batch_undo(struct netdevns_batch *batch, struct netdevns_error *err);

enum netdevns_location {
	NETDEVNS_UNKNOWN,
	NETDEVNS_SOURCE,
	NETDEVNS_TARGET,
	NETDEVNS_GONE		/* in neither namespace */
};

struct netdevns_device {
	const char *ifname;		/* in the source */
	const char *name;		/* in the target, as read back; "": it has not arrived */
	int32_t host_ifindex;		/* in the source */
	int32_t ifindex;		/* in the target; 0: it has not arrived */
	int location;			/* enum netdevns_location: where it is now */
	const char *missing;		/* after an undo: state that is not restored, "; " between two; "": none */
	const void *addresses;		/* RTM_NEWADDR messages that were read back in the target */
	size_t addresses_len;		/* bytes */
};

/* A device, in the order of netdevns_batch_add; NULL behind the last one. Valid until the next call. */
const struct netdevns_device *netdevns_batch_device(const struct netdevns_batch *batch, size_t i);

/*
 * Ends a batch: the devices stay where they are. The record is removed if the last move or undo left nothing unrestored. NULL:
 * does nothing.
 */
void netdevns_batch_close(struct netdevns_batch *batch);

/*
 * Restores the devices of every record in the directory `dirfd` whose process has died. `version`: NETDEVNS_VERSION. A batch whose
 * netdevns_batch_move succeeded stays in the target as long as that exists, whatever the container has changed since. With
 * `undo_complete` it is moved back, too: right for a caller that closes its batch only when the container runs. `report` (or NULL)
 * of `size` bytes gets whole lines, one for each device or record, each of at most 1,024 bytes and with a "\n"; if there is no
 * room for all, the last one is "and N more". A second call does no harm. Lifetimes of addresses have run on: one that has expired
 * since the move is not restored, and one that a device in the source has with a longer lifetime, as of a renewed lease, keeps that.
 *
 * A device that is in neither namespace while the target exists is reported as kept: the container may have moved it on, and its
 * record is kept for when it is back, without the other devices. After the target's end a virtual device is reported as gone.
 * Neither is a failure. Returns the first failure, after all records were tried; the records at fault are kept, and tried by each
 * call:
 *
 *	-EIO		a device was not restored completely
 *	-ENOMEM		the same, or a record was not tried, as memory was short
 *	-EAGAIN		hardware is not back in the initial namespace yet: call again
 *	-EBUSY		another mover has one of the devices
 *	-EPROTO		a record with state that this library does not restore, or of another version; or nothing was tried, as
 *			the library does not serve `version`
 *	-EBADMSG	a record is damaged
 *	-EPERM		the directory, or a file in it, belongs to another user or can be written by others; or rights are missing
 *	-ESRCH		a record was written in another pid namespace
 *	-ENOTDIR, -EBADF	`dirfd` is no descriptor of a directory
 *	-EMFILE, -ENFILE, ...	no descriptor is left, or another failure of the system; nothing was changed
 *
 * To hand a record to the command `netdevns recover`, move its file to /run/netdevns/txn (docs/embedding.md).
 */
int netdevns_recover(uint32_t version, int dirfd, int undo_complete, char *report, size_t size, struct netdevns_error *err);

#ifndef NETDEVNS_LOCAL
#pragma GCC visibility pop
#endif
#ifdef __cplusplus
}
#endif
#endif
