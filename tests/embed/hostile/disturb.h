/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* Disturbs the calls that the batch makes: driver.c says how. */
#ifndef DISTURB_H
#define DISTURB_H

#include <sys/resource.h>

#define MOVE 1000	/* RTM_NEWLINK with IFLA_NET_NS_FD */

extern long stop_type, stop_number;

_Noreturn void die(const char *what);

void catch_all(void);
/* Each answers with a line. */
void interrupt(long usec);
void fail_allocations(long first, long last);
void fail_moves(long first, long last);
void fail_socket(long number);
void limit_files(rlim_t count);
void enter(const char *path);

#endif
