/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* Shared by detect.c and detect_routes.c. */
#ifndef ND_DETECT_H
#define ND_DETECT_H

#include "batch.h"

struct detection {
	struct netdevns_batch *b;
	int32_t *ifindexes;		/* of the members, ascending */
	size_t count;
	struct nd_filter filter;	/* the same */
	struct nd_memory nexthops;	/* struct nexthop: the devices of nexthop objects */
	struct nd_memory sources;	/* the `src` of IPv4 routes of other devices: 4 bytes each */
	struct nd_memory defaults;	/* ifindexes of devices with a default route */
};

/* One device of a nexthop object; of a group one of each member. */
struct nexthop {
	uint32_t id;
	int32_t ifindex;
};

/* Marks the member with that ifindex, if there is one. */
void nd_mark(struct netdevns_batch *b, int32_t ifindex, uint32_t state);
/* A dump into b->reply; empty where the kernel lacks the subsystem. `filter`: keeps messages about the members; NULL: all. */
int nd_detect_dump(struct detection *d, uint16_t type, const void *header, size_t header_len, const struct nd_filter *filter,
		   struct nd_err *err);
/* Nexthop objects, which routes need. */
int nd_detect_nexthops(struct detection *d, struct nd_err *err);
int nd_detect_routes(struct detection *d, struct nd_err *err);

#endif
