/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * The record of a start: the devices' memory as it is (struct nd_dev is plain data), written before the first change. A
 * process that is killed leaves it behind, unlocked; `embed recover` undoes from it.
 */
#ifndef EMBED_JOURNAL_H
#define EMBED_JOURNAL_H

#include "netdevns-core.h"
#include <sys/types.h>

#define JOURNAL_DIR "/run/netdevns-embed"
#define JOURNAL_DEVICES 64

struct journal {
	int fd;			/* locked as long as the process that made it is there; -1: none */
	char path[64];		/* the record */
	char pin[64];		/* a mount of the container's network namespace, which so outlives its processes */
};

struct journal_head {
	char magic[8];
	uint32_t version;	/* ND_VERSION: of other hundreds is another struct nd_dev */
	uint32_t count;		/* of devices */
	uint64_t bytes;		/* of the whole record: one that is shorter was being written, and nothing was changed */
	uint64_t source;	/* cookie of the namespace that the devices are of; 0: the kernel has none */
	uint64_t started;	/* when the container's process was, in clock ticks: a pid alone can be another's */
	int64_t pid;
	char boot[40];		/* /proc/sys/kernel/random/boot_id */
};

/* Each returns 0 or -errno. */
int journal_begin(struct journal *j, int target_fd);
int journal_write(struct journal *j, uint64_t source, pid_t pid, struct nd_dev *const *devices, int count);
/* Nothing is left of it; the record goes first: a pin without one is of no use to anybody. */
int journal_end(struct journal *j);

/* Opens and locks a record that was left, waiting for one that is being made. 1: it is gone meanwhile. */
int journal_open(struct journal *j, const char *name);
/* Reads it, each device into memory of its own (free). 0: nothing was changed yet, or before this boot. Else the count. */
int journal_read(struct journal *j, struct journal_head *head, struct nd_dev **devices);

/* When a process was started (0: there is none), and whether it has not called execve yet. */
uint64_t process_started(pid_t pid, int *is_fork);

#endif
