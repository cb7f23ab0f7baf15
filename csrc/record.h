/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* Records and loans, which outlive the process of a batch: record.c, store.c, identity.c; docs/records.md. Not an interface. */
#ifndef ND_RECORD_H
#define ND_RECORD_H

#include "internal.h"

#define ND_RECORD_BYTES_MAX (16u << 20)	/* netdevns/limits.py, RECORD_BYTES */
#define ND_RECORD_COMPLETE 0x646f6e65u	/* the seq of END; 0 before */
#define ND_RECORD_RESTORED 0x6261636bu	/* the seq of a DEVICE that a partial undo has restored; 0 before */
#define ND_END_BYTES 28	/* the last message: a header and one number, the checksum */
#define ND_FILE_NAME_SIZE 256	/* NAME_MAX and a NUL */
#define ND_WHERE_SIZE 4096	/* PATH_MAX */

/* A network namespace as a record knows it. Zeros: not known. */
struct nd_identity {
	uint64_t cookie, dev, ino, of_pid, of_start, pid_ns;
	char where[ND_WHERE_SIZE];	/* the mover's name for it; a path is only a hint */
};

/* Identifies the namespace of a descriptor and of a socket in it. */
int nd_identify(int netns_fd, const struct nd_sock *sock, struct nd_identity *id, struct nd_err *err);
/* Adds a process in the namespace, whose end is then noticed. -ESRCH: it has ended already. */
int nd_identify_process(struct nd_identity *id, uint32_t pid, struct nd_err *err);
/*
 * Opens the namespace: a descriptor. -ENOENT: it is gone. Any other code: the search failed, so the record must stay
 * (-ESRCH: it was recorded in another pid namespace). -ENOTRECOVERABLE: as nd_sock_open.
 */
int nd_identity_open(const struct nd_identity *id, struct nd_err *err);

/* A device in a record. */
struct nd_record_device {
	struct nd_dev *dev;	/* with a snapshot; target_ifindex is the requested one */
	uint32_t depth;
	size_t at;		/* its offset in the file that it was read from */
};

/* A parsed record; its devices own their memory (nd_recovered_free). */
struct nd_recovered {
	struct nd_identity source, target;
	struct nd_record_device *devices;	/* without those that are marked as restored */
	size_t count;
	uint64_t pid;		/* of its mover */
	uint64_t since_ms;	/* nd_since_boot_ms, before the snapshots */
	int is_of_this_boot;	/* 0: a reboot has reset its devices, so it is removed unread */
	int is_complete;	/* its mover has verified that every device arrived (nd_record_mark) */
	int is_to_be_undone;	/* even if complete in the target: by its name, or because it preserves state */
};

/* A loan, by which a poststop hook finds a container's devices: written when all have arrived, under the container's id. */
struct nd_loan {
	const char *container;
	size_t container_len;	/* may contain a NUL */
	uint64_t number;	/* not 0; also in the record of the move, so that a recovery removes the loan */
};

/* The content of a record to write. */
struct nd_record_content {
	struct nd_identity source, target;
	const struct nd_record_device *devices;
	size_t count;
	uint64_t since_ms;		/* nd_since_boot_ms, before the snapshots */
	uint64_t pid;			/* of the mover; 0: this process */
	const struct nd_loan *loan;	/* of the move; NULL: none */
	int is_loan;			/* writes the loan itself */
};

/* The bytes of a record; the caller frees them. -EFBIG: more than ND_RECORD_BYTES_MAX. */
int nd_record_encode(unsigned char **data, size_t *len, const struct nd_record_content *content, struct nd_err *err);
/*
 * -EBADMSG: damaged; -EPROTO: another version, or sections that this library does not restore (STATE, UPPER), or a loan.
 * After a failure there is nothing to be freed.
 */
int nd_record_parse(const void *data, size_t len, struct nd_recovered *found, struct nd_err *err);
void nd_recovered_free(struct nd_recovered *found);

/* The file of a record, locked (flock) as long as `fd` is open. The caller keeps the directory open. */
struct nd_record {
	int dirfd, fd;		/* -1: there is none */
	size_t len;		/* as written; 0: it was not written by this process */
	char name[ND_FILE_NAME_SIZE];
};

/* 0 or -errno */
int nd_write_all(int fd, const void *data, size_t len);
void nd_record_init(struct nd_record *record);
/* Whether records may be written to the directory. -ENOTDIR: it is none. -EPERM: it belongs to another user, or others may write to it. */
int nd_record_may_use(int dirfd, struct nd_err *err);
/*
 * Writes a record (docs/records.md), locked until it is ended or closed: first a temporary file, then its name, so it is
 * never seen incomplete. Replaces an earlier one of this struct; after a failure that one is unchanged.
 */
int nd_record_write(struct nd_record *record, int dirfd, const struct nd_record_content *content, struct nd_err *err);
/*
 * Writes a loan in the same way, and unlocks it: under `name`, or, if that is taken, under NAME~DIGITS, which is
 * then in `name`.
 */
int nd_loan_write(int dirfd, char name[ND_FILE_NAME_SIZE], const struct nd_record_content *content, struct nd_err *err);
/*
 * Says in a written record that its move is complete, so that a recovery leaves the devices to the container, or takes that back
 * before an undo. One system call, which a kill does not cut. 0 or -errno.
 */
int nd_record_mark(const struct nd_record *record, int is_complete);
/* Sets the seq of the message at that offset in the same way; that needs no space. */
int nd_record_set_seq(const struct nd_record *record, size_t at, uint32_t seq);
/*
 * Removes it, or (`keep`) unlocks and renames it so that a recovery undoes even a complete move. 0 or -errno; the
 * struct is empty either way. One that cannot be removed is emptied. 0 where there is none.
 */
int nd_record_end(struct nd_record *record, int keep);
/* Unlocks the record, which stays for another try. */
void nd_record_close(struct nd_record *record);
/* Reads an open record. As nd_record_parse, or the errno of read. */
int nd_record_read(const struct nd_record *record, struct nd_recovered *found, struct nd_err *err);

/* The files of a directory, oldest first, as they were when it was listed. */
struct nd_record_list {
	int dirfd;
	struct nd_record_file *files;
	size_t count, next;
	int is_cut;		/* 1: there are more than the 65,536 listed: call again when these are gone */
};

/* -EPERM: the directory belongs to another user, or others may write to it. */
int nd_record_list(struct nd_record_list *list, int dirfd, struct nd_err *err);
/*
 * The next record that no process holds: 1, and it is locked and open until the caller ends or closes it. 0: no more. -errno: one
 * is unusable, named by record->name (-EPERM: the text has the reason); report it, and continue. Temporary files (".x")
 * whose writer died are removed on the way.
 */
int nd_record_next(struct nd_record_list *list, struct nd_record *record, struct nd_err *err);
void nd_record_list_free(struct nd_record_list *list);

#endif
