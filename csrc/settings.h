/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* Shared by settings.c and the files that compare links: link_settings.c, info_data.c, sysctls.c. */
#ifndef ND_SETTINGS_H
#define ND_SETTINGS_H

#include "batch.h"

#define ND_ATTRS_MAX 128	/* higher types are not compared; Linux 7 has half as many */
#define ND_BOTH_STAGES (1u << ND_STAGE_DOWN | 1u << ND_STAGE_UP)

/* An RTM_NEWLINK with its attributes by type. */
struct nd_set_link {
	const struct nd_view *v;
	struct ifinfomsg head;
	struct nd_attr attrs[ND_ATTRS_MAX];
	struct nd_attr info[IFLA_INFO_SLAVE_DATA + 1];	/* of IFLA_LINKINFO */
	struct nd_attr data[ND_ATTRS_MAX];		/* of IFLA_INFO_DATA */
	struct nd_attr families[ND_ATTRS_MAX];		/* of IFLA_AF_SPEC */
};

/* The differences, and the requests that restore them, which are numbered: 0 is none. `code` is sticky: -ENOMEM. */
struct nd_repairs {
	const struct nd_settings *settings;
	struct nd_set_link was, now;
	int is_about_to_be_up;		/* IFF_UP comes next */
	int needs_statistics;		/* otherwise this kernel does not report the token */
	struct nd_memory list, words;	/* struct repair, and their words: of one comparison */
	struct nd_memory requests;	/* struct request, each followed by its bytes: of all comparisons */
	struct nd_memory answer;	/* the link, if it was read again */
	struct nd_view read;		/* of `answer` */
	size_t open;			/* where the words of the next repair begin */
	struct nd_msg m;		/* the request that is being built */
	int code;
};

/* repairs.c: room for a request, which nd_repairs_request keeps; equal ones are one. */
struct nd_msg *nd_repairs_empty(struct nd_repairs *r);
/* The same, with an RTM_NEWLINK begun. */
struct nd_msg *nd_repairs_begin(struct nd_repairs *r, uint32_t ifi_flags, uint32_t ifi_change);
uint32_t nd_repairs_request(struct nd_repairs *r);
/* A value for a file below /proc/sys/net. */
uint32_t nd_repairs_file(struct nd_repairs *r, const char *path, const char *value);
/* Append to the words of the next repair: a text; a text from outside; both values, where they are numbers. */
void nd_repairs_say(struct nd_repairs *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
void nd_repairs_say_text(struct nd_repairs *r, const char *text, size_t len);
void nd_repairs_say_change(struct nd_repairs *r, const struct nd_attr *was, const struct nd_attr *now);
/* Ends its words. `together`: its request, perhaps with others; `alone`: its separate request, if that is refused. */
void nd_repairs_add(struct nd_repairs *r, uint32_t stages, uint32_t together, uint32_t alone);

/* A request, followed by its bytes: a message, or path and value of a file, each with a NUL. */
struct nd_request {
	uint32_t len;
	int is_file;
	enum { ND_REQUEST_NEW, ND_REQUEST_CHOSEN, ND_REQUEST_SENT } state;
	int code;			/* if it was refused */
	char text[ND_TEXT_SIZE];
};

/* A difference. */
struct nd_repair {
	size_t words, words_len;
	uint32_t stages, together, alone, chosen;
};

struct nd_request *nd_request_at(const struct nd_repairs *r, uint32_t number);
unsigned char *nd_request_bytes(struct nd_request *request);
struct nd_repair *nd_repair_at(const struct nd_repairs *r, size_t i);
size_t nd_repairs_count(const struct nd_repairs *r);

/* Steps through attributes, duplicates included. 0: no more. */
int nd_attr_next(const struct nd_attr *list, size_t *pos, struct nd_attr *found);
/* A number of 1, 2 or 4 bytes; 0: none. */
uint32_t nd_attr_number(const struct nd_attr *a);

void nd_repairs_of_link(struct nd_repairs *r);
void nd_repairs_of_data(struct nd_repairs *r);
void nd_repairs_of_sysctls(struct nd_repairs *r);
/* IFLA_INET6_TOKEN; data is NULL where the link does not report it. */
struct nd_attr nd_token_of(const struct nd_set_link *link);

#endif
