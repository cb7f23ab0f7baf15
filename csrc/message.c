/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* Builds and parses netlink messages (linux/netlink.h). No system calls. */
#include "internal.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

void nd_text_copy(char *to, size_t size, const char *from, size_t len)
{
	const size_t n = len < size ? len : size - 1;

	if (n)
		memcpy(to, from, n);
	to[n] = '\0';
}

void nd_msg_init(struct nd_msg *m, void *buf, size_t size)
{
	memset(m, 0, sizeof *m);
	m->data = buf;
	m->size = size;
}

/* Reserves zeroed room at the end of the request: padding must not leak old memory to the kernel or into a file. */
static unsigned char *reserve(struct nd_msg *m, size_t room)
{
	unsigned char *at;

	if (m->err)
		return NULL;
	if (room > m->size - m->used) {
		m->err = -EOVERFLOW;
		return NULL;
	}
	at = m->data + m->used;
	memset(at, 0, room);
	m->used += room;
	return at;
}

void nd_msg_begin(struct nd_msg *m, uint16_t type, uint16_t flags, const void *header, size_t header_len)
{
	const size_t len = NLMSG_HDRLEN + header_len;
	struct nlmsghdr h = { .nlmsg_type = type, .nlmsg_flags = (uint16_t)(flags | NLM_F_REQUEST) };
	const size_t start = m->used;
	unsigned char *at;

	if (header_len > ND_HEADER_MAX) {
		m->err = m->err ? m->err : -EOVERFLOW;
		return;
	}
	at = reserve(m, nd_align(len));
	if (!at)
		return;
	m->last = start;
	/* The aligned length: attributes follow at once, and the kernel ignores the padding of a header without attributes. */
	h.nlmsg_len = (uint32_t)nd_align(len);
	memcpy(at, &h, sizeof h);
	if (header_len)
		memcpy(at + NLMSG_HDRLEN, header, header_len);
}

/*
 * The kernel silently drops the requests behind one with a wrong length (probe message.bad.length-in-a-batch). Fields are
 * set by memcpy because the caller's memory has no declared type.
 */
static void set_len(struct nd_msg *m)
{
	const uint32_t len = (uint32_t)(m->used - m->last);

	memcpy(m->data + m->last + offsetof(struct nlmsghdr, nlmsg_len), &len, sizeof len);
}

void nd_msg_put(struct nd_msg *m, uint16_t type, const void *data, size_t len)
{
	const size_t room = nd_align(ND_ATTR_HDR + len);
	struct nlattr a = { .nla_type = type };
	unsigned char *at;

	if (len > UINT16_MAX - ND_ATTR_HDR) {
		m->err = m->err ? m->err : -EOVERFLOW;
		return;
	}
	at = reserve(m, room);
	if (!at)
		return;
	a.nla_len = (uint16_t)(ND_ATTR_HDR + len);
	memcpy(at, &a, sizeof a);
	if (len)
		memcpy(at + ND_ATTR_HDR, data, len);
	set_len(m);
}

void nd_msg_put_u32(struct nd_msg *m, uint16_t type, uint32_t value)
{
	nd_msg_put(m, type, &value, sizeof value);
}

void nd_msg_put_name(struct nd_msg *m, uint16_t type, const char *name)
{
	nd_msg_put(m, type, name, strlen(name) + 1);
}

void nd_msg_ack(struct nd_msg *m)
{
	uint16_t flags;
	unsigned char *at;

	if (m->err || m->used == 0)
		return;
	at = m->data + m->last + offsetof(struct nlmsghdr, nlmsg_flags);
	memcpy(&flags, at, sizeof flags);
	flags = (uint16_t)(flags | NLM_F_ACK);
	memcpy(at, &flags, sizeof flags);
}

int nd_view_next(const void *buf, size_t len, size_t *pos, struct nd_view *v)
{
	const unsigned char *at;
	struct nlmsghdr h;
	size_t left, step;

	if (*pos >= len)
		return 0;
	at = (const unsigned char *)buf + *pos;
	left = len - *pos;
	if (left < NLMSG_HDRLEN)
		return -EBADMSG;
	memcpy(&h, at, sizeof h);
	if (h.nlmsg_len < NLMSG_HDRLEN || h.nlmsg_len > left)
		return -EBADMSG;
	v->type = h.nlmsg_type;
	v->flags = h.nlmsg_flags;
	v->seq = h.nlmsg_seq;
	v->portid = h.nlmsg_pid;
	v->start = at;
	v->len = h.nlmsg_len;
	v->body = at + NLMSG_HDRLEN;
	v->body_len = h.nlmsg_len - NLMSG_HDRLEN;
	/* The last message of a datagram may lack its padding. */
	step = nd_align(h.nlmsg_len);
	*pos = step > left ? len : *pos + step;
	return 1;
}

uint32_t *nd_span_put(uint32_t *span, const void *buf, const struct nd_view *v)
{
	const uint32_t at = (uint32_t)(v->body - (const unsigned char *)buf);

	*span++ = v->type;
	*span++ = at;
	*span++ = at + (uint32_t)v->body_len;
	return span;
}

int nd_spans(const void *messages, uint32_t len, uint32_t *spans, int count)
{
	size_t pos = 0;
	struct nd_view v;
	int found = 0, more;

	while ((more = nd_view_next(messages, len, &pos, &v)) == 1)
		if (found++ < count)
			spans = nd_span_put(spans, messages, &v);
	return more < 0 ? more : found;
}

const unsigned char *nd_attr_find(const unsigned char *attrs, size_t total, uint16_t type, size_t *len)
{
	const unsigned char *found = NULL;
	size_t pos = 0;

	while (total - pos >= ND_ATTR_HDR) {
		struct nlattr a;

		memcpy(&a, attrs + pos, sizeof a);
		if (a.nla_len < ND_ATTR_HDR || a.nla_len > total - pos)
			break;
		if ((a.nla_type & NLA_TYPE_MASK) == type) {
			found = attrs + pos + ND_ATTR_HDR;
			*len = a.nla_len - ND_ATTR_HDR;
		}
		if (nd_align(a.nla_len) >= total - pos)
			break;
		pos += nd_align(a.nla_len);
	}
	return found;
}

void nd_attrs_read(const unsigned char *attrs, size_t total, struct nd_attr *table, size_t count)
{
	memset(table, 0, count * sizeof *table);
	while (total >= ND_ATTR_HDR) {
		struct nlattr a;

		memcpy(&a, attrs, sizeof a);
		if (a.nla_len < ND_ATTR_HDR || a.nla_len > total)
			break;
		if ((a.nla_type & NLA_TYPE_MASK) < count)
			table[a.nla_type & NLA_TYPE_MASK] =
				(struct nd_attr){ .data = attrs + ND_ATTR_HDR, .len = a.nla_len - ND_ATTR_HDR };
		if (nd_align(a.nla_len) >= total)
			break;
		attrs += nd_align(a.nla_len);
		total -= nd_align(a.nla_len);
	}
}

int nd_link_read(const struct nd_view *v, struct nd_link_attrs *link)
{
	if (v->body_len < sizeof link->head) {
		memset(link, 0, sizeof *link);
		return -EBADMSG;
	}
	memcpy(&link->head, v->body, sizeof link->head);
	nd_attrs_read(v->body + sizeof link->head, v->body_len - sizeof link->head, link->attrs,
		      sizeof link->attrs / sizeof link->attrs[0]);
	return 0;
}

int nd_attr_same(const struct nd_attr *a, const struct nd_attr *b)
{
	if (!a->data || !b->data)
		return !a->data && !b->data;
	return a->len == b->len && memcmp(a->data, b->data, a->len) == 0;
}

const unsigned char *nd_view_attr(const struct nd_view *v, size_t header_len, uint16_t type, size_t *len)
{
	const size_t skip = nd_align(header_len);

	*len = 0;
	if (skip > v->body_len)
		return NULL;
	return nd_attr_find(v->body + skip, v->body_len - skip, type, len);
}

uint32_t nd_attr_u32(const struct nd_attr *a)
{
	uint32_t value = 0;

	if (a->data && a->len == sizeof value)
		memcpy(&value, a->data, sizeof value);
	return value;
}

uint32_t nd_view_u32(const struct nd_view *v, size_t header_len, uint16_t type, uint32_t fallback)
{
	size_t len;
	const unsigned char *p = nd_view_attr(v, header_len, type, &len);
	uint32_t value;

	if (!p || len != sizeof value)
		return fallback;
	memcpy(&value, p, sizeof value);
	return value;
}

int nd_view_error(const struct nd_view *v, struct nd_err *err)
{
	struct nlmsgerr e;
	size_t skip, len;
	const unsigned char *p;

	if (v->type != NLMSG_ERROR || v->body_len < sizeof e)
		return nd_err_set(err, ND_STEP_EXCHANGE, -EBADMSG, "a malformed error message");
	memcpy(&e, v->body, sizeof e);
	if (e.error > 0 || e.error == INT_MIN)
		return nd_err_set(err, ND_STEP_EXCHANGE, -EBADMSG, "an error message with a positive code");
	nd_err_set(err, ND_STEP_EXCHANGE, e.error, NULL);
	if (!(v->flags & NLM_F_ACK_TLVS))
		return e.error;
	/* Without NLM_F_CAPPED the kernel echoes the whole request in front of the attributes (probe acks.options.ext-ack). */
	skip = sizeof e;
	if (!(v->flags & NLM_F_CAPPED)) {
		if (e.msg.nlmsg_len < NLMSG_HDRLEN || e.msg.nlmsg_len > v->body_len)
			return e.error;
		skip = offsetof(struct nlmsgerr, msg) + nd_align(e.msg.nlmsg_len);
	}
	if (skip > v->body_len)
		return e.error;
	p = nd_attr_find(v->body + skip, v->body_len - skip, NLMSGERR_ATTR_MSG, &len);
	if (p)
		nd_text_copy(err->text, sizeof err->text, (const char *)p, strnlen((const char *)p, len));
	p = nd_attr_find(v->body + skip, v->body_len - skip, NLMSGERR_ATTR_OFFS, &len);
	if (p && len == sizeof err->offset)
		memcpy(&err->offset, p, sizeof err->offset);
	return e.error;
}
