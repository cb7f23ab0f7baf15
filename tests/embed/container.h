/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* The container's process, in namespaces of its own, until its execve. */
#ifndef EMBED_CONTAINER_H
#define EMBED_CONTAINER_H

#include "config.h"
#include <signal.h>
#include <sys/types.h>

struct container {
	pid_t pid;	/* 0: none */
	int sock;	/* to it; -1: none */
	sigset_t mask;	/* that it begins with */
};

/* Each returns 0, or has said why not. */

/* Starts it, in the network namespace netns_fd (-1: a new one), and waits until it is ready but for its execve. */
int container_launch(struct container *c, const struct config *config, int netns_fd);
/* Lets it go on; 0: it has called execve, and maybe has ended since. */
int container_go(struct container *c);

void container_kill(const struct container *c);

#endif
