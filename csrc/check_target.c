/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* Checks names and permission in the target, and finds free ifindexes there. Its requests change nothing. */
#include "batch.h"

#include <errno.h>
#include <stdlib.h>

/* A name that must be free in the target: a wanted one, or an alternative name that moves with its device. */
struct claim {
	const struct nd_member *m;
	int is_altname;
	char name[ND_ALTNAME_SIZE];
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
		const struct nd_member *const m = b->members[i];
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
		const struct nd_member *const m = b->members[i];
		size_t k = 0;
		int code = 0;

		while (k < count && !(claims[k].is_altname && strcmp(claims[k].name, m->wanted) == 0))
			k++;
		if (k < count && claims[k].m == m)
			code = nd_batch_find_name(b, "name.own-altname", EEXIST, m, m->wanted, "", 0,
						  "is an alternative name of the device itself; remove it", "");
		else if (k < count)
			code = nd_batch_find_name(b, "name.twice", EEXIST, m, m->wanted, claims[k].m->ifname, 0,
						  "is an alternative name of ", claims[k].m->ifname);
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
	return nd_batch_find_name(b, code, EEXIST, c->m, c->name, link.name, link.ifindex, text, link.name);
}

static int check_claims(struct netdevns_batch *b, const struct claim *claims, size_t count, struct nd_err *err)
{
	_Alignas(8) unsigned char bytes[ND_LOOK_WINDOW * 192];

	for (size_t at = 0; at < count; at += ND_LOOK_WINDOW) {
		const size_t window = count - at < ND_LOOK_WINDOW ? count - at : ND_LOOK_WINDOW;
		struct nd_view v;
		struct nd_msg m;
		size_t pos = 0;
		int code;

		nd_msg_init(&m, bytes, sizeof bytes);
		for (size_t i = 0; i < window; i++)
			nd_put_getlink_named(&m, claims[at + i].name);
		code = nd_batch_ask(b, b->target, &m, NULL, err);
		for (size_t i = 0; i < window && !code; i++) {
			const int refused = nd_batch_answer(b, i, &pos, &v);

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

/* Whether the kernel honours IFLA_NEW_IFINDEX (from 5.13 on): it refuses the value 0; before, it reports ENODEV. */
static int is_ifindex_honoured(struct netdevns_batch *b, int *honoured, struct nd_err *err)
{
	static const struct ifinfomsg nobody = { .ifi_index = INT32_MAX };
	_Alignas(8) unsigned char bytes[128];
	struct nd_view v;
	struct nd_msg m;
	size_t pos = 0;
	int code;

	nd_msg_init(&m, bytes, sizeof bytes);
	nd_put_may_change(&m);
	nd_msg_begin(&m, RTM_NEWLINK, NLM_F_ACK, &nobody, sizeof nobody);
	nd_msg_put_u32(&m, ND_IFLA_NEW_IFINDEX, 0);
	code = nd_batch_ask(b, b->target, &m, NULL, err);
	if (code)
		return code;
	code = nd_batch_check_permission(b, nd_batch_answer(b, 0, &pos, &v), "permission.target", "target");
	*honoured = nd_batch_answer(b, 1, &pos, &v) != -ENODEV;
	return code;
}

/*
 * Looks a window of ifindexes up in the target. Each free one goes to the member at that index or, with `any`, to the next one
 * that has none yet; *left is the number of members without one.
 */
static int choose_window(struct netdevns_batch *b, struct nd_member *const *members, size_t *left, const int32_t *candidates, size_t count,
			 int any, struct nd_err *err)
{
	_Alignas(8) unsigned char bytes[ND_LOOK_WINDOW * 64];
	struct nd_view v;
	struct nd_msg m;
	size_t pos = 0, next = 0;
	int code;

	nd_msg_init(&m, bytes, sizeof bytes);
	for (size_t i = 0; i < count; i++)
		nd_put_getlink(&m, candidates[i], NULL);
	code = nd_batch_ask(b, b->target, &m, NULL, err);
	for (size_t i = 0; i < count && !code && *left; i++) {
		const int refused = nd_batch_answer(b, i, &pos, &v);

		if (refused == -ENODEV) {
			while (any && members[next]->dev->target_ifindex)
				next++;
			members[any ? next : i]->dev->target_ifindex = candidates[i];
			--*left;
		} else if (refused) {
			code = nd_err_set(err, ND_STEP_EXCHANGE, refused < 0 ? refused : -EBADMSG, "a look-up of an ifindex failed");
		}
	}
	return code;
}

/* Chooses, where a device's ifindex is taken in the target, a free one above all of the batch's. */
static int choose_others(struct netdevns_batch *b, size_t left, int64_t first, struct nd_err *err)
{
	struct nd_member **const members = calloc(left, sizeof *members);
	int64_t distance = left > 8 ? (int64_t)left : 8;
	size_t count = 0;
	int code = members ? 0 : nd_err_set(err, ND_STEP_NONE, -ENOMEM, "out of memory");

	for (size_t i = 0; i < b->count && members; i++)
		if (b->members[i]->dev && !b->members[i]->dev->target_ifindex)
			members[count++] = b->members[i];
	while (left && !code) {
		const size_t wanted = left > 8 ? left : 8;

		for (size_t at = 0; at < wanted && left && !code; at += ND_LOOK_WINDOW) {
			const size_t window = wanted - at < ND_LOOK_WINDOW ? wanted - at : ND_LOOK_WINDOW;
			int32_t candidates[ND_LOOK_WINDOW];

			if (first > INT32_MAX - (int64_t)wanted)
				code = nd_err_set(err, ND_STEP_NONE, -ENOSPC, "no free ifindex was found in the target");
			for (size_t i = 0; i < window && !code; i++)
				candidates[i] = (int32_t)(first + (int64_t)(at + i));
			if (!code)
				code = choose_window(b, members, &left, candidates, window, 1, err);
		}
		/* The step grows, because the ifindexes of many devices are adjacent. */
		first += distance;
		distance *= 2;
	}
	free(members);
	return code;
}

/* Chooses the source's ifindexes, where they are free in the target. */
static int choose_ifindexes(struct netdevns_batch *b, int honoured, struct nd_err *err)
{
	struct nd_member *members[ND_LOOK_WINDOW];
	int32_t candidates[ND_LOOK_WINDOW];
	size_t count = 0, left = 0;
	int64_t first = 1;
	int code = 0;

	for (size_t i = 0; i < b->count; i++) {
		struct nd_member *const m = b->members[i];

		if (m->dev) {
			m->dev->ifindex_unsure = !honoured;
			first = m->link.ifindex >= first ? (int64_t)m->link.ifindex + 1 : first;
			members[count] = m;
			candidates[count++] = m->link.ifindex;
			left++;
		}
		if (count && (count == ND_LOOK_WINDOW || i + 1 == b->count)) {
			code = choose_window(b, members, &left, candidates, count, 0, err);
			count = 0;
		}
		if (code)
			return code;
	}
	return left ? choose_others(b, left, first, err) : 0;
}

/* Adds findings for devices with IPv6 addresses if IPv6 does not work in the target. */
static int check_ipv6(struct netdevns_batch *b)
{
	const struct nd_file *const file = &b->disable_ipv6;

	if (!file->code && strcmp(file->text, "0\n") == 0)
		return 0;
	for (size_t i = 0; i < b->count; i++) {
		const struct nd_member *const m = b->members[i];
		struct nd_addr a;
		size_t pos = 0;
		int has = 0;

		while (m->dev && !has && nd_addr_next_of(m->dev, &pos, &a))
			has = a.head.ifa_family == AF_INET6 && nd_addr_in(&a, ND_SET_PROTECTED);
		if (!has)
			continue;
		if (file->code && file->code != -ENOENT)	/* ENOENT: the kernel has no IPv6 */
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
