/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* What can be known before a move: names, permission, what never leaves, clashes in the target. By requests that change nothing. */
#include "batch.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define WINDOW 32	/* look-ups in one send: a default receive buffer holds about 90 answers (probe dumps.datagram.look-ups) */
#define ND_IFLA_ALT_IFNAME 53

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
	vsnprintf(f->text, sizeof f->text, format, arguments);
	va_end(arguments);
	f->finding = (struct netdevns_finding){ .code = code, .severity = severity, .error = error, .name = f->name,
						.device = m ? (int)(m - b->members) : -1, .other = f->other, .text = f->text };
	b->found[b->found_count++] = f;
	return f;
}

void nd_batch_forget(struct netdevns_batch *b)
{
	for (size_t i = 0; i < b->found_count; i++)
		free(b->found[i]);
	b->found_count = 0;
}

/* A finding about a name: the name at fault, and the device that has it. */
static int find_name(struct netdevns_batch *b, const char *code, int error, const struct nd_member *m, const char *name,
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
	/* As the kernel answers: the attribute's length is looked at before the name (probe message.bad.name-too-long). */
	return strlen(name) >= ND_NAME_SIZE ? ERANGE : EINVAL;
}

static int check_name(struct netdevns_batch *b, const struct nd_member *m)
{
	if (m->why_ifname && !nd_name_may_be_altname(m->ifname) &&
	    !nd_batch_find(b, "device.invalid-name", NETDEVNS_ERROR, ENODEV, m, "%s: no device can have that name: %s", m->ifname,
			   m->why_ifname))
		return -ENOMEM;
	if (!m->why_wanted || (m->why_ifname && strcmp(m->wanted, m->ifname) == 0))
		return 0;
	if (m->is_template)
		return find_name(b, "name.template", too_long(m->wanted), m, m->wanted, "", 0, "is no template: ", m->why_wanted);
	return find_name(b, "name.invalid", too_long(m->wanted), m, m->wanted, "", 0, "is no valid name: ", m->why_wanted);
}

/* By the wanted name, and those of one name in their order. */
static int by_wanted(const void *a, const void *b)
{
	const struct nd_member *const x = *(const struct nd_member *const *)a, *const y = *(const struct nd_member *const *)b;
	const int order = strcmp(x->wanted, y->wanted);

	return order ? order : (x > y) - (x < y);
}

/* The first member that wants the name of each one that is not the first: in the order of the members, in `first`. */
static int find_twins(struct netdevns_batch *b, const struct nd_member **first)
{
	const struct nd_member **const sorted = malloc((b->count + 1) * sizeof *sorted);
	size_t count = 0;

	if (!sorted)
		return -ENOMEM;
	for (size_t i = 0; i < b->count; i++)
		if (!b->members[i].is_template && !b->members[i].why_wanted)
			sorted[count++] = &b->members[i];
	qsort(sorted, count, sizeof *sorted, by_wanted);
	for (size_t i = 1, at = 0; i < count; i++) {
		if (strcmp(sorted[i]->wanted, sorted[at]->wanted) == 0)
			first[sorted[i] - b->members] = sorted[at];
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
		const struct nd_member *const m = &b->members[i];

		code = check_name(b, m);
		if (!code && first[i])
			code = find_name(b, "name.twice", EEXIST, m, m->wanted, first[i]->ifname, 0, "is also wanted for ", first[i]->ifname);
	}
	free(first);
	return code;
}

/* ---- the source ------------------------------------------------------------------------------------------------------------------ */

/*
 * The answer to the message `number` of the last request: 0, or the errno of a refusal; 1: there is none. Answers are in the order of
 * their requests; *pos, from 0 on, is behind the last one.
 */
static int answer(const struct netdevns_batch *b, size_t number, size_t *pos, struct nd_view *v)
{
	struct nd_err e;

	while (nd_view_next(b->reply.data, b->reply.used, pos, v) > 0)
		if (v->seq - b->first_seq == number)
			return v->type == NLMSG_ERROR ? nd_view_error(v, &e) : 0;
	return 1;
}

/* An empty RTM_NEWLINK for an ifindex that nobody has: ENODEV to those who may change links, EPERM to others. */
static void put_may_change(struct nd_msg *m)
{
	static const struct ifinfomsg nobody = { .ifi_index = INT32_MAX };

	nd_msg_begin(m, RTM_NEWLINK, NLM_F_ACK, &nobody, sizeof nobody);
}

static int check_permission(struct netdevns_batch *b, int refused, const char *code, const char *side)
{
	if (refused == -EPERM && !nd_batch_find(b, code, NETDEVNS_ERROR, EPERM, NULL,
						"%s: CAP_NET_ADMIN is missing in the %s network namespace; run this as root", side, side))
		return -ENOMEM;
	return 0;
}

/*
 * From 6.15 on the kernel says which devices never leave; before, a move into its own namespace answers EINVAL for these, and
 * changes nothing for others (probes kinds.own-namespace.bridge, message.ns-fd.own).
 */
static int check_immutable(struct netdevns_batch *b, struct nd_err *err)
{
	for (size_t i = 0; i < b->count; i++) {
		const struct nd_member *const m = &b->members[i];
		const struct ifinfomsg head = { .ifi_index = m->link.ifindex };
		_Alignas(8) unsigned char bytes[64];
		struct nd_msg msg;
		int stays = m->link.immutable > 0;

		if (m->dev && m->link.immutable < 0) {
			nd_msg_init(&msg, bytes, sizeof bytes);
			nd_msg_begin(&msg, RTM_NEWLINK, NLM_F_ACK, &head, sizeof head);
			nd_msg_put_u32(&msg, IFLA_NET_NS_FD, (uint32_t)b->source_fd);
			stays = nd_sock_exchange(&b->source, &msg, NULL, err) == -EINVAL;
		}
		if (m->dev && stays && !nd_batch_find(b, "device.immutable", NETDEVNS_ERROR, EINVAL, m,
						      "%s: the kernel never moves %s%s into another network namespace", m->ifname,
						      m->link.kind[0] ? m->link.kind : "it", m->link.kind[0] ? " devices" : ""))
			return -ENOMEM;
	}
	return 0;
}

/*
 * The kernel deletes a vxlan or macsec when the device leaves on which it lies (drivers/net/vxlan, vxlan_netdevice_event();
 * drivers/net/macsec.c, macsec_notify()), and what lies on it.
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
	put_may_change(&m);
	code = nd_batch_ask(b, &b->source, &m, NULL, err);
	if (!code)
		code = check_permission(b, answer(b, 0, &pos, &v), "permission.source", "source");
	if (!code)
		code = check_immutable(b, err);
	for (size_t i = 0; i < b->count && !code; i++)
		if (b->members[i].dev && ends(b, &b->members[i]) &&
		    !nd_batch_find(b, "device.ends", NETDEVNS_ERROR, EBUSY, &b->members[i],
				   "%s: the kernel deletes it when its lower device leaves: move only one of both", b->members[i].ifname))
			code = -ENOMEM;
	return code;
}

/* ---- the target -------------------------------------------------------------------------------------------------------------------- */

/* A name that nobody may have in the target: a wanted one, or an alternative name that travels with its device. */
struct claim {
	const struct nd_member *m;
	int is_altname;
	char name[128];
};

void nd_put_getlink_named(struct nd_msg *m, const char *name)
{
	static const struct ifinfomsg any = { .ifi_family = AF_UNSPEC };

	nd_msg_begin(m, RTM_GETLINK, 0, &any, sizeof any);
	nd_msg_put_u32(m, IFLA_EXT_MASK, ND_RTEXT_FILTER_SKIP_STATS);
	nd_msg_put_name(m, strlen(name) < ND_NAME_SIZE ? IFLA_IFNAME : ND_IFLA_ALT_IFNAME, name);
}

static int add_claim(struct nd_memory *claims, const struct nd_member *m, const char *name, size_t len, int is_altname)
{
	struct claim c = { .m = m, .is_altname = is_altname };

	nd_text_copy(c.name, sizeof c.name, name, len);
	return nd_memory_append(claims, &c, sizeof c);
}

static int collect(struct netdevns_batch *b, struct nd_memory *claims)
{
	int code = 0;

	for (size_t i = 0; i < b->count && !code; i++) {
		const struct nd_member *const m = &b->members[i];
		struct nd_view link;
		size_t pos = 0, at = 0, len;
		const char *name;

		if (m->dev && m->link.has_altnames && nd_view_next(b->links.data + m->link.at, m->link.len, &pos, &link) > 0)
			while (!code && (name = nd_link_altname(&link, &at, &len)))
				code = add_claim(claims, m, name, len, 1);
		if (!code && !m->is_template && !m->why_wanted)
			code = add_claim(claims, m, m->wanted, strlen(m->wanted), 0);
	}
	return code;
}

/* Wanted names that a device of the batch has as an alternative name. */
static int check_altnames(struct netdevns_batch *b, const struct claim *claims, size_t count)
{
	int is_any = 0;

	for (size_t i = 0; i < count; i++)
		is_any |= claims[i].is_altname;
	for (size_t i = 0; i < b->count && is_any; i++) {
		const struct nd_member *const m = &b->members[i], *owner = NULL;
		int code = 0;

		for (size_t k = 0; k < count && !owner; k++)
			if (claims[k].is_altname && strcmp(claims[k].name, m->wanted) == 0)
				owner = claims[k].m;
		if (owner == m)
			code = find_name(b, "name.own-altname", EEXIST, m, m->wanted, "", 0, "is an alternative name of the device itself; remove it", "");
		else if (owner)
			code = find_name(b, "name.twice", EEXIST, m, m->wanted, owner->ifname, 0, "is an alternative name of ", owner->ifname);
		if (code)
			return code;
	}
	return 0;
}

static int check_claim(struct netdevns_batch *b, const struct claim *c, const struct nd_view *v)
{
	struct nd_link link;
	const char *code = "altname.taken", *text = "is taken in the target, as its alternative name would be, by ";

	if (nd_link_summarize(&link, v))
		return -EBADMSG;
	if (strcmp(c->name, c->m->wanted) == 0) {
		const int is_name = strcmp(link.name, c->name) == 0;

		code = is_name ? "name.taken" : "name.taken-altname";
		text = is_name ? "is taken in the target by " : "is taken in the target, as an alternative name, by ";
	}
	return find_name(b, code, EEXIST, c->m, c->name, link.name, link.ifindex, text, link.name);
}

static int check_claims(struct netdevns_batch *b, const struct claim *claims, size_t count, struct nd_err *err)
{
	_Alignas(8) unsigned char bytes[WINDOW * 192];

	for (size_t at = 0; at < count; at += WINDOW) {
		const size_t window = count - at < WINDOW ? count - at : WINDOW;
		struct nd_view v;
		struct nd_msg m;
		size_t pos = 0;
		int code;

		nd_msg_init(&m, bytes, sizeof bytes);
		for (size_t i = 0; i < window; i++)
			nd_put_getlink_named(&m, claims[at + i].name);
		code = nd_batch_ask(b, &b->target, &m, NULL, err);
		for (size_t i = 0; i < window && !code; i++) {
			const int refused = answer(b, i, &pos, &v);

			if (refused == 0)
				code = check_claim(b, &claims[at + i], &v);
			else if (refused != -ENODEV && refused != -EINVAL)
				code = nd_err_set(err, ND_STEP_EXCHANGE, refused < 0 ? refused : -EBADMSG, "a look-up of a name failed");
		}
		if (code)
			return code;
	}
	return 0;
}

/* Whether IFLA_NEW_IFINDEX counts (from 5.13 on): 0 is out of its range then; before, there is no such device. */
static int is_ifindex_honoured(struct netdevns_batch *b, int *honoured, struct nd_err *err)
{
	static const struct ifinfomsg nobody = { .ifi_index = INT32_MAX };
	_Alignas(8) unsigned char bytes[128];
	struct nd_view v;
	struct nd_msg m;
	size_t pos = 0;
	int code;

	nd_msg_init(&m, bytes, sizeof bytes);
	put_may_change(&m);
	nd_msg_begin(&m, RTM_NEWLINK, NLM_F_ACK, &nobody, sizeof nobody);
	nd_msg_put_u32(&m, ND_IFLA_NEW_IFINDEX, 0);
	code = nd_batch_ask(b, &b->target, &m, NULL, err);
	if (code)
		return code;
	code = check_permission(b, answer(b, 0, &pos, &v), "permission.target", "target");
	*honoured = answer(b, 1, &pos, &v) != -ENODEV;
	return code;
}

/* One window of look-ups by ifindex in the target: the device's own where it is free, otherwise a free one above all. */
static int choose_window(struct netdevns_batch *b, struct nd_member *const *members, size_t count, const int32_t *candidates,
			 int honoured, struct nd_err *err)
{
	_Alignas(8) unsigned char bytes[WINDOW * 64];
	struct nd_view v;
	struct nd_msg m;
	size_t pos = 0;
	int code;

	nd_msg_init(&m, bytes, sizeof bytes);
	for (size_t i = 0; i < count; i++)
		nd_put_getlink(&m, candidates[i], NULL);
	code = nd_batch_ask(b, &b->target, &m, NULL, err);
	for (size_t i = 0; i < count && !code; i++) {
		const int refused = answer(b, i, &pos, &v);

		if (refused == -ENODEV) {
			members[i]->dev->target_ifindex = candidates[i];
			members[i]->dev->ifindex_unsure = !honoured;
		} else if (refused && refused != -ENODEV) {
			code = nd_err_set(err, ND_STEP_EXCHANGE, refused < 0 ? refused : -EBADMSG, "a look-up of an ifindex failed");
		}
	}
	return code;
}

/* The same ifindex where it is free in the target, otherwise a free one above all of the batch's. */
static int choose_ifindexes(struct netdevns_batch *b, int honoured, struct nd_err *err)
{
	int64_t next = 0, distance = 1;
	int code = 0, is_first = 1, todo = 1;

	for (size_t i = 0; i < b->count; i++)
		if (b->members[i].dev && b->members[i].link.ifindex >= next)
			next = (int64_t)b->members[i].link.ifindex + 1;
	for (; todo && !code; is_first = 0) {
		struct nd_member *members[WINDOW];
		int32_t candidates[WINDOW];
		size_t count = 0;

		todo = 0;
		for (size_t i = 0; i < b->count && !code; i++) {
			struct nd_member *const m = &b->members[i];

			if (!m->dev || m->dev->target_ifindex)
				continue;
			todo = 1;
			if (!is_first && next >= INT32_MAX)
				return nd_err_set(err, ND_STEP_NONE, -ENOSPC, "no free ifindex was found in the target");
			members[count] = m;
			candidates[count++] = is_first ? m->link.ifindex : (int32_t)next++;
			if (count == WINDOW) {
				code = choose_window(b, members, count, candidates, honoured, err);
				count = 0;
			}
		}
		if (count && !code)
			code = choose_window(b, members, count, candidates, honoured, err);
		/* Further away each time: where many devices are, their numbers lie side by side. */
		next += is_first ? 0 : distance;
		distance *= is_first ? 1 : 2;
	}
	return code;
}

/* Where IPv6 is not known to work in the target. */
static int check_ipv6(struct netdevns_batch *b)
{
	const struct nd_file *const file = &b->disable_ipv6;

	if (!file->code && strcmp(file->text, "0\n") == 0)
		return 0;
	for (size_t i = 0; i < b->count; i++) {
		const struct nd_member *const m = &b->members[i];
		struct nd_addr a;
		size_t pos = 0;
		int has = 0;

		while (m->dev && !has && nd_addr_next_of(m->dev, &pos, &a))
			has = a.head.ifa_family == AF_INET6 && nd_addr_in(&a, ND_SET_PROTECTED);
		if (!has)
			continue;
		if (file->code && file->code != -ENOENT)	/* which alone says that there is no IPv6 */
			return nd_batch_find(b, "system", NETDEVNS_ERROR, -file->code, NULL, "target: %s could not be read: %s", file->path,
					     strerror(-file->code)) ? 0 : -ENOMEM;
		if (!nd_batch_find(b, "ipv6.disabled", NETDEVNS_ERROR, EACCES, m, "%s: it has IPv6 addresses, but IPv6 is %s in the target",
				   m->ifname, file->code ? "not available" : "disabled (net.ipv6.conf.default.disable_ipv6)"))
			return -ENOMEM;
	}
	return 0;
}

int nd_batch_check_target(struct netdevns_batch *b, struct nd_err *err)
{
	struct nd_memory claims = { .size = 0 };
	int honoured = 0, code = is_ifindex_honoured(b, &honoured, err);

	if (!code)
		code = collect(b, &claims);
	if (!code)
		code = check_altnames(b, (const struct claim *)(void *)claims.data, claims.used / sizeof(struct claim));
	if (!code)
		code = check_claims(b, (const struct claim *)(void *)claims.data, claims.used / sizeof(struct claim), err);
	nd_memory_free(&claims);
	if (!code)
		code = choose_ifindexes(b, honoured, err);
	return code ? code : check_ipv6(b);
}
