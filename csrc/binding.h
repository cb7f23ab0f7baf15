/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * What the Python package needs besides netdevns-core.h: lists of messages, found by one call instead of one for each message.
 * Not an interface: it changes without notice.
 */
#ifndef ND_BINDING_H
#define ND_BINDING_H

#include "netdevns-core.h"

/* cffi: begin (build_ffi.py compiles the declarations between the two marks into the Python package) */

/* Addresses of one device that follow one another: bytes, padding included. */
struct nd_run {
	uint32_t at, len;
	int32_t ifindex;
};

/* Finds runs of RTM_NEWADDR and RTM_DELADDR messages. Returns their number, of which `count` are written; or -EBADMSG. */
int nd_addr_runs(const void *messages, uint32_t len, struct nd_run *runs, int count);

/* Three numbers for each message: its type, and where its body begins and ends. Returns as nd_addr_runs does. */
int nd_spans(const void *messages, uint32_t len, uint32_t *spans, int count);

/* The same for those RTM_NEWROUTE that are default routes or were not made by the kernel with an address. */
int nd_route_spans(const void *messages, uint32_t len, uint32_t *spans, int count);

/* Copies the RTM_NEWADDR messages that nd_dev_up_and_replay skips: not permanent, or not of global scope. Returns their bytes. */
size_t nd_addr_unprotected(const void *addrs, size_t len, void *to);

/* cffi: end */

#endif
