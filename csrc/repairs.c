/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* The list of a link's differences: for each its words, and the request that restores it. No system calls. */
#include "settings.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#define SHOWN_MAX 128	/* bytes of a text in a message; every alternative name fits */

/* ---- requests --------------------------------------------------------------------------------------------------------- */

struct nd_request *nd_request_at(const struct nd_repairs *r, uint32_t number)
{
	return (struct nd_request *)(void *)(r->requests.data + number - 1);
}

unsigned char *nd_request_bytes(struct nd_request *request)
{
	return (unsigned char *)(request + 1);
}

/* Keeps the `len` bytes behind the next request's header, unless an equal request exists. */
static uint32_t keep(struct nd_repairs *r, size_t len, int is_file)
{
	const struct nd_request new = { .len = (uint32_t)len, .is_file = is_file };
	const uint32_t end = (uint32_t)r->requests.used + 1;

	for (uint32_t at = 1; at < end;) {
		struct nd_request *const old = nd_request_at(r, at);

		if (old->len == len && old->is_file == is_file &&
		    memcmp(nd_request_bytes(old), nd_request_bytes(nd_request_at(r, end)), len) == 0)
			return at;
		at += (uint32_t)(sizeof new + nd_align(old->len));
	}
	memcpy(r->requests.data + r->requests.used, &new, sizeof new);
	r->requests.used += sizeof new + nd_align(len);
	return end;
}

/* Room for a request of `len` bytes. */
static unsigned char *room(struct nd_repairs *r, size_t len)
{
	if (!r->code && r->requests.used + sizeof(struct nd_request) + len > UINT32_MAX / 2)
		r->code = -ENOMEM;
	if (!r->code)
		r->code = nd_memory_grow(&r->requests, sizeof(struct nd_request) + nd_align(len));
	return r->code ? NULL : r->requests.data + r->requests.used + sizeof(struct nd_request);
}

struct nd_msg *nd_repairs_empty(struct nd_repairs *r)
{
	/* Requests consist of attributes that were read: room for all of both links, and some headers. */
	const size_t size = r->was.v->len + r->now.v->len + 1024;
	unsigned char *const at = room(r, size);

	nd_msg_init(&r->m, at, at ? size : 0);
	return &r->m;
}

struct nd_msg *nd_repairs_begin(struct nd_repairs *r, uint32_t ifi_flags, uint32_t ifi_change)
{
	const struct ifinfomsg head = { .ifi_index = r->now.head.ifi_index, .ifi_flags = ifi_flags, .ifi_change = ifi_change };

	nd_msg_begin(nd_repairs_empty(r), RTM_NEWLINK, NLM_F_ACK, &head, sizeof head);
	return &r->m;
}

uint32_t nd_repairs_request(struct nd_repairs *r)
{
	if (!r->code)
		r->code = r->m.err;
	return r->code ? 0 : keep(r, r->m.used, 0);
}

uint32_t nd_repairs_file(struct nd_repairs *r, const char *path, const char *value)
{
	const size_t len = strlen(path) + 1, value_len = strlen(value) + 1;
	unsigned char *const at = room(r, len + value_len);

	if (!at)
		return 0;
	memcpy(at, path, len);
	memcpy(at + len, value, value_len);
	return keep(r, len + value_len, 1);
}

/* ---- words ------------------------------------------------------------------------------------------------------------ */

void nd_repairs_say(struct nd_repairs *r, const char *format, ...)
{
	va_list arguments;
	char text[2 * SHOWN_MAX];
	int len;

	va_start(arguments, format);
	len = vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	if (!r->code && len > 0)
		r->code = nd_memory_append(&r->words, text, (size_t)len < sizeof text ? (size_t)len : sizeof text - 1);
}

/* Appends a text from outside for a terminal: ASCII, in one line, shortened. */
void nd_repairs_say_text(struct nd_repairs *r, const char *text, size_t len)
{
	const size_t shown = len > SHOWN_MAX ? SHOWN_MAX / 2 : len;

	for (size_t i = 0; i < shown; i++)
		if (text[i] == '\n' || text[i] == '\r' || text[i] == '\t')
			nd_repairs_say(r, "\\%c", text[i] == '\n' ? 'n' : text[i] == '\r' ? 'r' : 't');
		else
			nd_repairs_say(r, text[i] >= ' ' && text[i] <= '~' ? "%c" : "\\x%02x", (unsigned char)text[i]);
	if (shown < len)
		nd_repairs_say(r, "\xe2\x80\xa6 (%zu characters)", len);
}

uint32_t nd_attr_number(const struct nd_attr *a)
{
	uint32_t value = 0;
	uint16_t value16;

	if (!a->data)
		return 0;
	if (a->len == sizeof value)
		memcpy(&value, a->data, sizeof value);
	if (a->len != sizeof value16)
		return a->len == 1 ? a->data[0] : value;
	memcpy(&value16, a->data, sizeof value16);
	return value16;
}

/* Both values, where they are numbers. */
void nd_repairs_say_change(struct nd_repairs *r, const struct nd_attr *was, const struct nd_attr *now)
{
	if (was->data && now->data && was->len == now->len && (was->len == 1 || was->len == 2 || was->len == 4))
		nd_repairs_say(r, " %u -> %u", nd_attr_number(was), nd_attr_number(now));
}

void nd_repairs_add(struct nd_repairs *r, uint32_t stages, uint32_t together, uint32_t alone)
{
	const struct nd_repair each = { .words = r->open, .words_len = r->words.used - r->open, .stages = stages,
				     .together = together, .alone = alone };

	if (!r->code)
		r->code = nd_memory_append(&r->list, &each, sizeof each);
	r->open = r->words.used;
}

struct nd_repair *nd_repair_at(const struct nd_repairs *r, size_t i)
{
	return (struct nd_repair *)(void *)r->list.data + i;
}

size_t nd_repairs_count(const struct nd_repairs *r)
{
	return r->list.used / sizeof(struct nd_repair);
}

/* ---- attributes ------------------------------------------------------------------------------------------------------- */

size_t nd_nest_begin(struct nd_msg *m, uint16_t type)
{
	const size_t at = m->used;

	nd_msg_put(m, type | NLA_F_NESTED, NULL, 0);
	return at;
}

void nd_nest_end(struct nd_msg *m, size_t nest)
{
	const uint16_t len = (uint16_t)(m->used - nest);

	if (!m->err && m->used - nest > UINT16_MAX)
		m->err = -EOVERFLOW;
	if (!m->err)
		memcpy(m->data + nest + offsetof(struct nlattr, nla_len), &len, sizeof len);
}

int nd_attr_next(const struct nd_attr *list, size_t *pos, struct nd_attr *found)
{
	struct nlattr a;

	if (!list->data || *pos >= list->len || list->len - *pos < ND_ATTR_HDR)
		return 0;
	memcpy(&a, list->data + *pos, sizeof a);
	if (a.nla_len < ND_ATTR_HDR || a.nla_len > list->len - *pos)
		return 0;
	*found = (struct nd_attr){ .data = list->data + *pos + ND_ATTR_HDR, .len = a.nla_len - ND_ATTR_HDR };
	*pos += nd_align(a.nla_len);
	return 1;
}
