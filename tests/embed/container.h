/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* The container's process, in namespaces of its own, until its execve; and a folder that holds its network namespace. */
#ifndef EMBED_CONTAINER_H
#define EMBED_CONTAINER_H

#include "config.h"
#include <signal.h>
#include <sys/types.h>

/* A folder for each start: `process`, its pid and when it began; `net`, a mount of its network namespace; `records`. */
#define CONTAINERS "/run/netdevns-embed"

struct container {
	pid_t pid;		/* 0: none */
	unsigned long long started;	/* in clock ticks: a pid alone can be another's */
	int sock;		/* to it; -1: none */
	int netns_fd;		/* its network namespace */
	int lock_fd;		/* of CONTAINERS, shared by those that start */
	int records_fd;		/* for netdevns_batch_record; -1: none */
	char folder[64];	/* "": none */
	sigset_t mask;		/* that the process begins with */
};

/* Each returns 0, or has said why not; container_forget and _reopen leave it to the caller. */

/* Starts it, and waits until it is ready but for its execve. */
int container_launch(struct container *c, const struct config *config);
/* Makes its folder: its network namespace then outlives its processes. */
int container_keep(struct container *c);
/* Lets it go on; 0: it has called execve, and maybe has ended since. */
int container_go(struct container *c);
void container_kill(struct container *c);

/* Removes its folder, if it has one. -1: errno. */
int container_forget(struct container *c);
void container_close(struct container *c);

/* A recovery (`alone`) waits until nobody starts, and keeps others from it. A descriptor, or -1. */
int containers_lock(int alone);
/* A container of a folder that was left. 0 or -errno; records_fd is -1 if nothing was moved yet. */
int container_reopen(struct container *c, const char *name);
/* Whether it has called execve and has not ended. A process that waits for a parent that is dead is ended. */
int container_runs(const struct container *c);

#endif
