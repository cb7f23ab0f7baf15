/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* Checks a batch in the source: names, permission, devices that cannot move. Its requests change nothing. */
#include "batch.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- findings --------------------------------------------------------------------------------------------------------------- */

struct nd_found *nd_batch_find(struct netdevns_batch *b, const char *code, int severity, int error, const struct nd_member *m,
			       const char *format, ...)
{
	struct nd_found *const f = calloc(1, sizeof *f);
	va_list arguments;

	if (f && b->found_count == b->found_size) {
		const size_t size = b->found_size ? 2 * b->found_size : 16;
		struct nd_found **const more = realloc(b->found, size * sizeof *more);

		if (!more) {
			free(f);
			return NULL;
		}
		b->found = more;
		b->found_size = size;
	}
	if (!f)
		return NULL;
	va_start(arguments, format);
	nd_text_format(f->text, sizeof f->text, format, arguments);
	va_end(arguments);
	f->finding = (struct netdevns_finding){ .code = code, .severity = severity, .error = error, .name = f->name,
						.device = m ? (int)m->index : -1, .other = f->other, .text = f->text };
	b->found[b->found_count++] = f;
	return f;
}

void nd_batch_forget(struct netdevns_batch *b)
{
	for (size_t i = 0; i < b->found_count; i++)
		free(b->found[i]);
	b->found_count = 0;
}

/* A finding about a name, with the device that has it. */
int nd_batch_find_name(struct netdevns_batch *b, const char *code, int error, const struct nd_member *m, const char *name,
		     const char *other, int32_t ifindex, const char *text, const char *why)
{
	struct nd_found *const f = nd_batch_find(b, code, NETDEVNS_ERROR, error, m, "%s: \"%s\" %s%s", m->ifname, name, text, why);

	if (!f)
		return -ENOMEM;
	nd_text_copy(f->name, sizeof f->name, name, strlen(name));
	nd_text_copy(f->other, sizeof f->other, other, strlen(other));
	f->finding.ifindex = ifindex;
	return 0;
}

/* ---- names within the batch --------------------------------------------------------------------------------------------------- */

static int too_long(const char *name)
{
	/* The kernel's errno: it checks the attribute's length before the name (probe message.bad.name-too-long). */
	return strlen(name) >= ND_NAME_SIZE ? ERANGE : EINVAL;
}

static int check_name(struct netdevns_batch *b, const struct nd_member *m)
{
	if (m->why_ifname && !nd_name_may_be_altname(m->ifname) &&
	    !nd_batch_find(b, "device.invalid-name", NETDEVNS_ERROR, ENODEV, m, "%s: no device can have that name: %s",
			   m->ifname[0] ? m->ifname : "\"\"", m->why_ifname))
		return -ENOMEM;
	if (!m->why_wanted || (m->why_ifname && strcmp(m->wanted, m->ifname) == 0))
		return 0;
	if (m->is_template)
		return nd_batch_find_name(b, "name.template", too_long(m->wanted), m, m->wanted, "", 0, "is no template: ", m->why_wanted);
	return nd_batch_find_name(b, "name.invalid", too_long(m->wanted), m, m->wanted, "", 0, "is no valid name: ", m->why_wanted);
}

/* By the wanted name; members with the same one in their order. */
static int by_wanted(const void *a, const void *b)
{
	const struct nd_member *const x = *(const struct nd_member *const *)a, *const y = *(const struct nd_member *const *)b;
	const int order = strcmp(x->wanted, y->wanted);

	return order ? order : x->index < y->index ? -1 : x->index > y->index;
}

/* Fills `first`, in the order of the members: of each that is not the first to want its name, the one that is. */
static int find_twins(struct netdevns_batch *b, const struct nd_member **first)
{
	const struct nd_member **const sorted = malloc((b->count + 1) * sizeof *sorted);
	size_t count = 0;

	if (!sorted)
		return -ENOMEM;
	for (size_t i = 0; i < b->count; i++)
		if (!b->members[i]->is_template && !b->members[i]->why_wanted)
			sorted[count++] = b->members[i];
	qsort(sorted, count, sizeof *sorted, by_wanted);
	for (size_t i = 1, at = 0; i < count; i++) {
		if (strcmp(sorted[i]->wanted, sorted[at]->wanted) == 0)
			first[sorted[i]->index] = sorted[at];
		else
			at = i;
	}
	free(sorted);
	return 0;
}

int nd_batch_check_names(struct netdevns_batch *b)
{
	const struct nd_member **const first = calloc(b->count + 1, sizeof *first);
	int code = first ? find_twins(b, first) : -ENOMEM;

	for (size_t i = 0; i < b->count && !code; i++) {
		const struct nd_member *const m = b->members[i];

		code = check_name(b, m);
		if (!code && first[i])
			code = nd_batch_find_name(b, "name.twice", EEXIST, m, m->wanted, first[i]->ifname, 0, "is also wanted for ", first[i]->ifname);
	}
	free(first);
	return code;
}

/* ---- the source ------------------------------------------------------------------------------------------------------------------ */

/*
 * The reply to the message `number` of the last request: 0, or its -errno; 1: there is none. Replies are in the order of
 * their requests; *pos, from 0 on, is behind the last one read.
 */
int nd_batch_answer(const struct netdevns_batch *b, size_t number, size_t *pos, struct nd_view *v)
{
	struct nd_err e;

	while (nd_view_next(b->reply.data, b->reply.used, pos, v) > 0)
		if (v->seq - b->first_seq == number)
			return v->type == NLMSG_ERROR ? nd_view_error(v, &e) : 0;
	return 1;
}

/* An empty RTM_NEWLINK for an unused ifindex: ENODEV with the right to change links, EPERM without. */
void nd_put_may_change(struct nd_msg *m)
{
	static const struct ifinfomsg nobody = { .ifi_index = INT32_MAX };

	nd_msg_begin(m, RTM_NEWLINK, NLM_F_ACK, &nobody, sizeof nobody);
}

int nd_batch_check_permission(struct netdevns_batch *b, int refused, const char *code, const char *side)
{
	if (refused == -EPERM && !nd_batch_find(b, code, NETDEVNS_ERROR, EPERM, NULL,
						"CAP_NET_ADMIN is missing in the %s network namespace", side))
		return -ENOMEM;
	return 0;
}

/*
 * From 6.15 on the kernel reports which devices cannot move; before, a move into the same namespace returns EINVAL for these, and
 * changes nothing for others (probes kinds.own-namespace.bridge, message.ns-fd.own).
 */
static int ask_immutable(struct netdevns_batch *b, size_t at, size_t count, int *stays, struct nd_err *err)
{
	_Alignas(8) unsigned char bytes[ND_LOOK_WINDOW * 64];
	size_t asked[ND_LOOK_WINDOW], n = 0, pos = 0;
	struct nd_view v;
	struct nd_msg msg;
	int code;

	nd_msg_init(&msg, bytes, sizeof bytes);
	for (size_t i = 0; i < count; i++) {
		const struct nd_member *const m = b->members[at + i];
		const struct ifinfomsg head = { .ifi_index = m->link.ifindex };

		stays[i] = m->dev && m->link.immutable > 0;
		if (!m->dev || m->link.immutable >= 0)
			continue;
		nd_msg_begin(&msg, RTM_NEWLINK, NLM_F_ACK, &head, sizeof head);
		nd_msg_put_u32(&msg, IFLA_NET_NS_FD, (uint32_t)b->source_fd);
		asked[n++] = i;
	}
	code = n ? nd_batch_ask(b, b->source, &msg, NULL, err) : 0;
	for (size_t k = 0; k < n && !code; k++)
		stays[asked[k]] = nd_batch_answer(b, k, &pos, &v) == -EINVAL;
	return code;
}

static int check_immutable(struct netdevns_batch *b, struct nd_err *err)
{
	for (size_t at = 0; at < b->count; at += ND_LOOK_WINDOW) {
		const size_t count = b->count - at < ND_LOOK_WINDOW ? b->count - at : ND_LOOK_WINDOW;
		int stays[ND_LOOK_WINDOW];
		const int code = ask_immutable(b, at, count, stays, err);

		if (code)
			return code;
		for (size_t i = 0; i < count; i++) {
			const struct nd_member *const m = b->members[at + i];

			if (stays[i] && !nd_batch_find(b, "device.immutable", NETDEVNS_ERROR, EINVAL, m,
						       "%s: the kernel never moves %s%s into another network namespace", m->ifname,
						       m->link.kind[0] ? m->link.kind : "it", m->link.kind[0] ? " devices" : ""))
				return -ENOMEM;
		}
	}
	return 0;
}

/*
 * The kernel deletes a vxlan or macsec when its lower device moves (drivers/net/vxlan, vxlan_netdevice_event();
 * drivers/net/macsec.c, macsec_notify()), and all devices on top of it.
 */
static int ends(const struct netdevns_batch *b, const struct nd_member *m)
{
	for (size_t depth = 0; m && depth < b->count; depth++) {
		const struct nd_member *const lower = m->link.lower ? nd_batch_member(b, m->link.lower) : NULL;

		if (lower && (strcmp(m->link.kind, "vxlan") == 0 || strcmp(m->link.kind, "macsec") == 0))
			return 1;
		m = lower;
	}
	return 0;
}

int nd_batch_check_source(struct netdevns_batch *b, struct nd_err *err)
{
	_Alignas(8) unsigned char bytes[64];
	struct nd_view v;
	struct nd_msg m;
	size_t pos = 0;
	int code;

	nd_msg_init(&m, bytes, sizeof bytes);
	nd_put_may_change(&m);
	code = nd_batch_ask(b, b->source, &m, NULL, err);
	if (!code)
		code = nd_batch_check_permission(b, nd_batch_answer(b, 0, &pos, &v), "permission.source", "source");
	if (!code)
		code = check_immutable(b, err);
	for (size_t i = 0; i < b->count && !code; i++)
		if (b->members[i]->dev && ends(b, b->members[i]) &&
		    !nd_batch_find(b, "device.ends", NETDEVNS_ERROR, EBUSY, b->members[i],
				   "%s: the kernel deletes it when its lower device moves: move only one of both", b->members[i]->ifname))
			code = -ENOMEM;
	return code;
}
