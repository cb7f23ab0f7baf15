/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * Looks the devices of a batch up: links and addresses by one dump each, which devices are on top of others, and the order in
 * which they move. A move holds their locks meanwhile.
 */
#include "batch.h"

#include <errno.h>
#include <stdlib.h>

#define NOTIFY_BYTES (4 << 20)
#define TRIES 8	/* a device was renamed during the look-up, or got another one on top of it */

/* ---- sockets ---------------------------------------------------------------------------------------------------------------- */

/* EPERM has a separate finding. */
static int open_one(struct netdevns_batch *b, struct nd_sock *sock, int netns_fd, struct nd_file *files, size_t nfiles, int is_source,
		    struct nd_err *err)
{
	const char *const side = is_source ? "source" : "target";
	const char *const code = is_source ? "permission.source" : "permission.target";

	if (!nd_sock_open(sock, netns_fd, files, nfiles, err))
		return 0;
	sock->fd = -1;
	if (err->code == -ENOTRECOVERABLE)	/* not a finding: this thread must end */
		return err->code;
	return nd_batch_find(b, err->code == -EPERM ? code : "system", NETDEVNS_ERROR, -err->code, NULL, "%s: %s: %s%s", side, err->text,
			     strerror(-err->code), err->code == -EPERM ? " (CAP_SYS_ADMIN and CAP_NET_ADMIN are needed)" : "") ? 0 : -ENOMEM;
}

static int open_sockets(struct netdevns_batch *b, int is_move, struct nd_err *err)
{
	const int visit_fd = nd_batch_visit(b);
	int code;

	nd_batch_close_sockets(b);
	b->disable_ipv6 = (struct nd_file){ .path = "/proc/sys/net/ipv6/conf/default/disable_ipv6" };
	code = open_one(b, b->source, visit_fd, NULL, 0, 1, err);
	if (!code)
		code = open_one(b, b->target, b->target_fd, &b->disable_ipv6, 1, 0, err);
	if (!code && is_move && b->source->fd >= 0)
		code = nd_sock_subscribe(b->notify, visit_fd, NOTIFY_BYTES, err);
	return code;
}

/* ---- links ------------------------------------------------------------------------------------------------------------------- */

static int is_askable(const struct nd_member *m)
{
	return !m->why_ifname || nd_name_may_be_altname(m->ifname);
}

static int by_ifname(const void *a, const void *b)
{
	const struct nd_member *const x = *(const struct nd_member *const *)a, *const y = *(const struct nd_member *const *)b;
	const int order = strcmp(x->ifname, y->ifname);

	return order ? order : x->index < y->index ? -1 : x->index > y->index;
}

int nd_by_link(const void *a, const void *b)
{
	const struct nd_member *const x = *(const struct nd_member *const *)a, *const y = *(const struct nd_member *const *)b;

	return (x->link.ifindex > y->link.ifindex) - (x->link.ifindex < y->link.ifindex);
}

/* b->by_name, and room for b->by_ifindex. */
static int index_names(struct netdevns_batch *b, struct nd_err *err)
{
	struct nd_member **const names = realloc(b->by_name, (b->count + 1) * sizeof *names);
	struct nd_member **ifindexes;

	b->by_name = names ? names : b->by_name;
	ifindexes = realloc(b->by_ifindex, (b->count + 1) * sizeof *ifindexes);
	b->by_ifindex = ifindexes ? ifindexes : b->by_ifindex;
	b->there = 0;
	if (!names || !ifindexes)
		return nd_err_set(err, ND_STEP_NONE, -ENOMEM, "out of memory");
	for (size_t i = 0; i < b->count; i++)
		names[i] = b->members[i];
	qsort(names, b->count, sizeof *names, by_ifname);
	return 0;
}

int nd_by_number(const void *a, const void *b)
{
	int32_t x, y;

	memcpy(&x, a, sizeof x);
	memcpy(&y, b, sizeof y);
	return (x > y) - (x < y);
}

/* The batch's names as nd_filter wants them, in *names (to be freed). */
static size_t sorted_names(const struct netdevns_batch *b, char **names)
{
	size_t count = 0;

	*names = calloc(b->count + 1, ND_NAME_SIZE);
	for (size_t i = 0; *names && i < b->count; i++)
		if (!b->by_name[i]->why_ifname)
			strcpy(*names + ND_NAME_SIZE * count++, b->by_name[i]->ifname);
	return count;
}

static int append_link(struct netdevns_batch *b, const struct nd_view *v, const struct nd_link_attrs *read, struct nd_err *err)
{
	const size_t at = b->links.used;

	if (b->seen_count == b->seen_size) {
		const size_t size = b->seen_size ? 2 * b->seen_size : 16;
		struct nd_link *const more = realloc(b->seen, size * sizeof *more);

		if (!more)
			return nd_err_set(err, ND_STEP_EXCHANGE, -ENOMEM, "out of memory");
		b->seen = more;
		b->seen_size = size;
	}
	if (nd_memory_append(&b->links, v->start, nd_align(v->len)))
		return nd_err_set(err, ND_STEP_EXCHANGE, -ENOMEM, "out of memory");
	nd_link_take(&b->seen[b->seen_count], read);
	b->seen[b->seen_count].at = at;
	b->seen[b->seen_count].len = v->len;
	b->seen_count++;
	return 0;
}

/* Whether it has IPv6 settings without a token. */
static int lacks_token(const struct nd_link_attrs *read)
{
	const struct nd_attr *const spec = &read->attrs[IFLA_AF_SPEC];
	const unsigned char *inet6;
	size_t len, token_len;

	if (!spec->data)
		return 0;
	inet6 = nd_attr_find(spec->data, spec->len, AF_INET6, &len);
	return inet6 && !nd_attr_find(inet6, len, ND_IFLA_INET6_TOKEN, &token_len);
}

/* One dump into b->links and b->seen. Returns whether a token is missing. */
static int dump_links_once(struct netdevns_batch *b, const struct nd_filter *filter, int with_statistics, struct nd_err *err)
{
	struct nd_link_attrs read;
	struct nd_view v;
	size_t pos = 0;
	int code, is_token_missing = 0;

	code = nd_batch_dump_links(b, b->source, filter, with_statistics, err);
	b->links.used = b->seen_count = 0;
	while (!code && nd_view_next(b->reply.data, b->reply.used, &pos, &v) > 0) {
		if (v.type != RTM_NEWLINK)
			continue;
		if (nd_link_read(&v, &read))
			code = nd_err_set(err, ND_STEP_EXCHANGE, -EBADMSG, "a truncated link message");
		else
			code = append_link(b, &v, &read, err);
		is_token_missing |= !code && lacks_token(&read);
	}
	return code ? code : is_token_missing;
}

/*
 * b->links and b->seen: the batch's links, and all links on top of another. 5.10 reports tokens with statistics only (probe
 * sysctls.token.skip-stats), and an undo needs them.
 */
static int dump_links(struct netdevns_batch *b, struct nd_err *err)
{
	struct nd_filter filter = { .count = 0 };
	char *names;
	int code;

	filter.names_count = sorted_names(b, &names);
	filter.names = names;
	if (!names)
		return nd_err_set(err, ND_STEP_EXCHANGE, -ENOMEM, "out of memory");
	code = dump_links_once(b, &filter, 0, err);
	if (code > 0)
		code = dump_links_once(b, &filter, 1, err);
	free(names);
	return code < 0 ? code : 0;
}

/* Looks up a name that the dump lacks: it is an alternative name, or there is no such device. */
static int ask_by_name(struct netdevns_batch *b, struct nd_member *m, struct nd_err *err)
{
	_Alignas(8) unsigned char bytes[256];
	struct nd_link link;
	struct nd_view v;
	struct nd_msg msg;
	size_t pos = 0;
	int code;

	nd_msg_init(&msg, bytes, sizeof bytes);
	nd_put_getlink_named(&msg, m->ifname);
	code = nd_batch_dump(b, b->source, &msg, NULL, err);
	if (code == -ENODEV || code == -EINVAL) {
		const int is_altname = nd_name_may_be_altname(m->ifname);

		return nd_batch_find(b, is_altname ? "device.invalid-name" : "device.unknown", NETDEVNS_ERROR, ENODEV, m,
				     is_altname ? "%s: no device can have that name" : "%s: no such device", m->ifname) ? 0 : -ENOMEM;
	}
	if (code)
		return code;
	if (nd_view_next(b->reply.data, b->reply.used, &pos, &v) > 0 && !nd_link_summarize(&link, &v)) {
		struct nd_found *const f = nd_batch_find(b, "device.altname", NETDEVNS_ERROR, ENODEV, m,
			"%s: this is an alternative name of %s; name the device itself: %s", m->ifname, link.name, link.name);

		if (!f)
			return -ENOMEM;
		nd_text_copy(f->other, sizeof f->other, link.name, strlen(link.name));
	}
	return 0;
}

/* ---- members -------------------------------------------------------------------------------------------------------------------- */

static int find_twin(struct netdevns_batch *b, const struct nd_member *m, const struct nd_member *twin)
{
	const int is_same_name = strcmp(m->ifname, twin->ifname) == 0;
	struct nd_found *const f = nd_batch_find(b, "device.twice", NETDEVNS_ERROR, EINVAL, m, "%s: %s%s", m->ifname,
						 is_same_name ? "the batch has it twice" : "this is the same device as ",
						 is_same_name ? "" : twin->ifname);

	if (!f)
		return -ENOMEM;
	nd_text_copy(f->other, sizeof f->other, twin->ifname, strlen(twin->ifname));
	return 0;
}

/* Clears the results of an earlier look-up, in case this one fails. */
static void forget(struct netdevns_batch *b)
{
	for (size_t i = 0; i < b->count; i++) {
		struct nd_member *const m = b->members[i];

		free(m->dev);
		m->dev = NULL;
		memset(&m->link, 0, sizeof m->link);
		m->state = m->depth = 0;
		m->touched = 0;
	}
	b->seen_count = b->there = 0;
}

/* Finds each member among the links. */
static int resolve(struct netdevns_batch *b, struct nd_err *err)
{
	int code = 0;

	for (size_t i = 0; i < b->seen_count; i++) {
		struct nd_member *const m = nd_batch_named(b, b->seen[i].name);	/* the first of that name */

		if (m && !m->why_ifname) {
			m->link = b->seen[i];
			b->by_ifindex[b->there++] = m;
		}
	}
	qsort(b->by_ifindex, b->there, sizeof *b->by_ifindex, nd_by_link);
	for (size_t i = 0; i < b->count && !code; i++) {
		struct nd_member *const m = b->members[i];

		if (!is_askable(m) || m->link.ifindex)
			continue;
		if (nd_batch_named(b, m->ifname) != m && nd_batch_named(b, m->ifname)->link.ifindex)
			code = find_twin(b, m, nd_batch_named(b, m->ifname));
		else
			code = ask_by_name(b, m, err);
	}
	return code;
}

int nd_batch_look_up(struct netdevns_batch *b, int is_move, struct nd_err *err)
{
	struct nd_failure f;
	int code, held = ND_HELD;

	forget(b);
	code = open_sockets(b, is_move, err);
	if (!code)
		code = index_names(b, err);
	if (code || b->source->fd < 0)
		return code;
	/* Before the dump, which takes long with many other devices, and would have to be repeated. */
	if (is_move)
		held = nd_batch_hold_named(b, err);
	if (held < 0)
		return held;
	for (int i = 0; i < TRIES; i++) {
		code = dump_links(b, err);
		if (code)
			return code;
		if (!is_move || held == ND_HELD_REFUSED)
			break;
		held = nd_batch_hold(b, err);
		if (held < 0)
			return held;
		if (held != ND_HELD_MORE)
			break;
	}
	b->since_ms = nd_since_boot_ms();
	code = resolve(b, err);
	if (!code) {
		code = nd_batch_snapshot(b, &f);
		*err = code ? f.err : *err;
	}
	if (code)
		return code;
	nd_batch_set_depths(b);
	return nd_batch_set_orders(b, err);
}
