/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* What outlives the process of a batch: record.c, store.c, identity.c; docs/records.md. Not an interface. */
#ifndef ND_RECORD_H
#define ND_RECORD_H

#include "internal.h"

#define ND_RECORD_BYTES_MAX (16u << 20)	/* netdevns/limits.py, RECORD_BYTES */
#define ND_FILE_NAME_SIZE 256	/* NAME_MAX and a NUL */
#define ND_WHERE_SIZE 4096	/* PATH_MAX */

/* A network namespace as a record knows it. Zeros: not known. */
struct nd_identity {
	uint64_t cookie, dev, ino, of_pid, of_start, pid_ns;
	char where[ND_WHERE_SIZE];	/* how the mover named it; a path is tried, nothing more */
};

/* Identifies the namespace of a descriptor and of a socket in it. */
int nd_identify(int netns_fd, const struct nd_sock *sock, struct nd_identity *id, struct nd_err *err);
/* It is the namespace of a process, by which it is known when that has ended. -ESRCH: it has already. */
int nd_identify_process(struct nd_identity *id, uint32_t pid, struct nd_err *err);
/*
 * Opens the namespace: a descriptor. -ENOENT: it is gone. Any other code: it could not be looked for, so the record must stay
 * (-ESRCH: it was recorded in another pid namespace). -ENOTRECOVERABLE: as nd_sock_open.
 */
int nd_identity_open(const struct nd_identity *id, struct nd_err *err);

/* What a record has of a device. */
struct nd_record_device {
	struct nd_dev *dev;	/* with a snapshot; target_ifindex is what was asked for */
	uint32_t depth;
};

/* A record that was read: its devices in memory of their own (nd_recovered_free). */
struct nd_recovered {
	struct nd_identity source, target;
	struct nd_record_device *devices;
	size_t count;
	uint64_t pid;		/* of its mover */
	int is_of_this_boot;	/* 0: the reboot reset its devices, so it is to be removed unread */
	int is_to_be_undone;	/* even if all is complete in the target: its name says so, or that something was to be preserved */
};

/* By what a poststop hook finds the devices of a container: written when all have arrived, under the container's id. */
struct nd_loan {
	const char *container;
	size_t container_len;	/* a NUL does not end it */
	uint64_t lent_ms;	/* CLOCK_BOOTTIME, before the snapshots */
	uint64_t number;	/* not 0; the record of the move has it, too: a recovery takes the loan back */
};

/* What a record is written of. */
struct nd_record_content {
	struct nd_identity source, target;
	const struct nd_record_device *devices;
	size_t count;
	const struct nd_loan *loan;	/* that the move makes; NULL: none */
	int is_loan;			/* it is the loan itself */
};

/* The bytes of a record; the caller frees them. -EFBIG: more than ND_RECORD_BYTES_MAX. */
int nd_record_encode(unsigned char **data, size_t *len, const struct nd_record_content *content, struct nd_err *err);
/*
 * -EBADMSG: damaged; -EPROTO: another version, or with what C does not restore: STATE or UPPER sections, or a loan.
 * After a failure there is nothing to be freed.
 */
int nd_record_parse(const void *data, size_t len, struct nd_recovered *found, struct nd_err *err);
void nd_recovered_free(struct nd_recovered *found);

/* The file of a record, locked (flock) as long as `fd` is open. The directory stays the caller's, who keeps it open. */
struct nd_record {
	int dirfd, fd;		/* -1: there is none */
	char name[ND_FILE_NAME_SIZE];
};

/* 0 or -errno */
int nd_write_all(int fd, const void *data, size_t len);
void nd_record_init(struct nd_record *record);
/* Whether records may be written to the directory. -EPERM: it is another user's, or others may write to it. */
int nd_record_may_use(int dirfd);
/*
 * Writes a record in the form of docs/records.md, locked until it is ended or closed: a temporary file, then its name, so it is
 * never seen half. In the place of an earlier one of this struct, if there is one; after a failure that one is as it was.
 */
int nd_record_write(struct nd_record *record, int dirfd, const struct nd_record_content *content, struct nd_err *err);
/*
 * Writes a loan in the same way, and gives its lock back: under `name`, or where another one has that under NAME~DIGITS, which is
 * then in `name`.
 */
int nd_loan_write(int dirfd, char name[ND_FILE_NAME_SIZE], const struct nd_record_content *content, struct nd_err *err);
/*
 * Removes it, or (`keep`) gives its lock back and names it so that a recovery undoes even a complete move. 0 or -errno; the
 * struct is empty either way. One that cannot be removed is emptied. 0 where there is none.
 */
int nd_record_end(struct nd_record *record, int keep);
/* Gives the lock back; the record stays as it is, for another try. */
void nd_record_close(struct nd_record *record);
/* Reads a record that is open. As nd_record_parse, or what read says. */
int nd_record_read(const struct nd_record *record, struct nd_recovered *found, struct nd_err *err);

/* The files of a directory, oldest first, as they were when it was listed. */
struct nd_record_list {
	int dirfd;
	struct nd_record_file *files;
	size_t count, next;
	int is_cut;		/* 1: there are more than were listed (65,536): call again when these are gone */
};

/* -EPERM: the directory is another user's, or others may write to it. */
int nd_record_list(struct nd_record_list *list, int dirfd, struct nd_err *err);
/*
 * The next record that nobody holds: 1, and it is locked and open until the caller ends or closes it. 0: no more. -errno: one that
 * cannot be used, record->name says which (-EPERM: the text says why); to be reported, and the walk goes on. Files without a name
 * yet (".x") whose writer died are removed on the way.
 */
int nd_record_next(struct nd_record_list *list, struct nd_record *record, struct nd_err *err);
void nd_record_list_free(struct nd_record_list *list);

#endif
