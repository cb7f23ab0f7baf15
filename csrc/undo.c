/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * Undoes a batch: uppers return first, then lowers; lowers come up first. Every step can be repeated, and one that fails does
 * not stop the others: m->missing lists the differences.
 */
#include "batch.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#define DELETE_WINDOW 64	/* messages; an error for each fits into a default receive buffer */

void nd_member_lacks(struct nd_member *m, const char *format, ...)
{
	char text[256];
	va_list arguments;

	va_start(arguments, format);
	nd_text_format(text, sizeof text, format, arguments);
	va_end(arguments);
	if (m->missing.used)
		m->missing.used--;	/* the NUL */
	if (nd_memory_grow(&m->missing, sizeof text + 4)) {
		m->is_lacking = m->lacks_memory = 1;
		m->is_unrestorable = 0;
		return;
	}
	if (m->missing.used)
		nd_memory_append(&m->missing, "; ", 2);
	nd_memory_append(&m->missing, text, strlen(text) + 1);
	m->is_lacking = 1;
	m->is_unrestorable = 0;
}

static void lacks(struct nd_member *m, const struct nd_err *e)
{
	m->lacks_memory |= e->code == -ENOMEM;
	if (e->code == -ESTALE)
		nd_member_lacks(m, "%s", e->text);
	else
		nd_member_lacks(m, "%s%s%s", strerror(-e->code), e->text[0] ? ": " : "", e->text);
}

int nd_link_down(struct nd_sock *sock, int32_t ifindex, struct nd_err *err)
{
	const struct ifinfomsg head = { .ifi_index = ifindex, .ifi_change = IFF_UP };
	_Alignas(8) unsigned char bytes[32];
	struct nd_msg m;

	nd_msg_init(&m, bytes, sizeof bytes);
	nd_msg_begin(&m, RTM_NEWLINK, NLM_F_ACK, &head, sizeof head);
	return nd_sock_exchange(sock, &m, NULL, err);
}

/* ---- return ---------------------------------------------------------------------------------------------------------------------- */

static void bring(struct netdevns_batch *b, struct nd_member *m)
{
	struct nd_err e;

	m->missing.used = 0;
	m->is_lacking = m->is_unrestorable = m->lacks_memory = 0;
	if (nd_member_return(b, m, &e))
		lacks(m, &e);
}

/* Whether it is in the source. A search for one on top of it also finds a device that has replaced it. */
static int is_home(const struct nd_member *m)
{
	return m->touched && m->dev->place == ND_PLACE_SOURCE && !m->is_replaced;
}

/* Removes added alternative names, which may be names of other devices of the batch. 1: there were some. */
static int remove_added(struct netdevns_batch *b, struct nd_member *m)
{
	struct nd_view was, now;
	struct nd_memory memory = { .size = 0 };
	struct nd_err e;
	size_t pos = 0;
	int found = 0;

	if (!is_home(m) || !nd_member_snapshot(m, &was) ||
	    nd_batch_link(b, b->source, m->dev->ifindex, &now, &e) || nd_memory_append(&memory, now.start, nd_align(now.len)))
		return 0;
	nd_view_next(memory.data, memory.used, &pos, &now);
	for (size_t at = 0, len; !found;) {
		const char *const name = nd_link_altname(&now, &at, &len);

		if (!name)
			break;
		found = !nd_link_has_altname(&was, name, len);
	}
	if (found)	/* the comparison detects a refusal */
		nd_altnames_send(b->source, ND_RTM_DELLINKPROP, m->dev->ifindex, &now, &was, &e);
	nd_memory_free(&memory);
	return found;
}

/* The identity of an upper depends on the place of its lower device (nd_member_return). */
static void find_all(struct netdevns_batch *b)
{
	struct nd_err e;

	for (size_t i = 0; i < b->count; i++)
		if (b->members[i]->touched && b->members[i]->dev->place == ND_PLACE_UNKNOWN)
			nd_member_find(b, b->members[i], &e);
}

static void bring_all(struct netdevns_batch *b)
{
	int again = 0;

	find_all(b);
	for (size_t i = 0; i < b->count; i++)
		if (b->moves[i]->touched)
			bring(b, b->moves[i]);
	for (size_t i = 0; i < b->count; i++)
		again |= remove_added(b, b->members[i]);
	for (size_t i = 0; i < b->count && again; i++)
		if (b->moves[i]->touched)
			bring(b, b->moves[i]);
	for (size_t i = 0; i < b->count; i++) {
		struct nd_member *const m = b->members[i];

		if (is_home(m) && m->dev->ifindex != m->link.ifindex)
			nd_member_lacks(m, "ifindex %d", (int)m->link.ifindex);
	}
}

/* ---- restore ------------------------------------------------------------------------------------------------------------------------ */

static int restore_step(struct netdevns_batch *b, struct nd_member *m, struct nd_err *err)
{
	return nd_dev_undo(m->dev, b->source, b->target, b->source_fd, ND_UNDO_RESTORE, err);
}

static void settings(struct netdevns_batch *b, struct nd_member *m, enum nd_stage stage)
{
	const struct nd_member *const lower = m->link.lower ? nd_batch_member(b, m->link.lower) : NULL;
	struct nd_settings s = { .lower = lower ? lower->dev->ifindex : 0 };
	struct nd_memory words = { .size = 0 };
	struct nd_view was, now;
	struct nd_err e;

	if (!nd_member_snapshot(m, &was))
		return;
	s.was = &was;
	s.now = &now;
	if (nd_batch_link(b, b->source, m->dev->ifindex, &now, &e) ||
	    nd_settings_restore(b->source, nd_batch_visit(b), &s, stage, &words, &e)) {
		if (stage == ND_STAGE_UP)
			lacks(m, &e);
	} else if (words.used) {
		nd_member_lacks(m, "%s", (const char *)words.data);
	}
	nd_memory_free(&words);
}

/*
 * A macvlan whose lower device left and came back: the move flushed the lower's unicast filter, to which IFF_UP adds its MAC again
 * (probe links.mac-list.unicast). It may be up already, if an interrupted undo returned it before its lower device.
 */
static int must_reopen(const struct netdevns_batch *b, const struct nd_member *m)
{
	const int is_macvlan = strcmp(m->link.kind, "macvlan") == 0 || strcmp(m->link.kind, "macvtap") == 0;

	return is_macvlan && m->dev->was_up && m->link.lower && nd_batch_member(b, m->link.lower);
}

/* Deletes the snapshot's IPv4 addresses, with several requests in one send. */
static int remove_ipv4(struct netdevns_batch *b, const struct nd_member *m, struct nd_err *err)
{
	_Alignas(8) unsigned char bytes[DELETE_WINDOW * 64];
	struct nd_addr a;
	struct nd_msg msg;
	size_t pos = 0, count = 0;
	int more, code = 0;

	nd_msg_init(&msg, bytes, sizeof bytes);
	do {
		more = nd_addr_next_of(m->dev, &pos, &a);
		if (more && a.head.ifa_family == AF_INET && a.attrs[IFA_LOCAL].len == 4) {
			struct ifaddrmsg head = a.head;

			head.ifa_index = (uint32_t)m->dev->ifindex;
			nd_msg_begin(&msg, RTM_DELADDR, 0, &head, sizeof head);
			nd_msg_put(&msg, IFA_LOCAL, a.attrs[IFA_LOCAL].data, 4);
			count++;
		}
		if (count == DELETE_WINDOW || (count && !more)) {
			nd_msg_ack(&msg);
			code = nd_sock_exchange(b->source, &msg, NULL, err);
			nd_msg_init(&msg, bytes, sizeof bytes);
			count = 0;
		}
	} while (more && (!code || code == -EADDRNOTAVAIL));	/* a secondary address is deleted with its primary */
	return code == -EADDRNOTAVAIL ? 0 : code;
}

/* Whether an IPv4 address of the snapshot was read back with another label. */
static int is_relabelled(const struct nd_member *m)
{
	const unsigned char *const back = (const unsigned char *)m->dev + m->dev->back;
	struct nd_addr was, now;
	size_t pos = 0;

	while (m->dev->back_len && nd_addr_next_of(m->dev, &pos, &was))
		for (size_t at = 0; was.head.ifa_family == AF_INET && nd_addr_next(back, m->dev->back_len, &at, &now);)
			if (nd_addr_same(&was, &now) && !nd_attr_same(&was.attrs[IFA_LABEL], &now.attrs[IFA_LABEL]))
				return 1;
	return 0;
}

/*
 * Reports addresses that the kernel made for privacy (RFC 8981): when they are added again they keep their lifetime, but the kernel
 * does not replace them: those of the snapshot that are not temporary any more.
 */
static void say_temporary(struct nd_member *m)
{
	const unsigned char *const back = (const unsigned char *)m->dev + m->dev->back;
	const int is_lacking = m->is_lacking;
	char text[INET6_ADDRSTRLEN];
	struct nd_addr was, now;
	size_t pos = 0;

	while (nd_addr_next_of(m->dev, &pos, &was)) {
		int is_temporary = 0;

		if (was.head.ifa_family != AF_INET6 || !(was.flags & IFA_F_TEMPORARY) || was.attrs[IFA_ADDRESS].len != 16)
			continue;
		for (size_t at = 0; !is_temporary && m->dev->back_len && nd_addr_next(back, m->dev->back_len, &at, &now);)
			is_temporary = nd_addr_same(&was, &now) && (now.flags & IFA_F_TEMPORARY);
		if (!is_temporary && inet_ntop(AF_INET6, was.attrs[IFA_ADDRESS].data, text, sizeof text)) {
			nd_member_lacks(m, "that %s is temporary", text);
			m->is_unrestorable = !is_lacking;
		}
	}
}

/* Restores settings, then addresses and IFF_UP, whose effect depends on sysctls. */
static void restore(struct netdevns_batch *b, struct nd_member *m)
{
	struct nd_err e;

	m->differs = 0;
	if (must_reopen(b, m) && nd_link_down(b->source, m->dev->ifindex, &e))
		lacks(m, &e);
	settings(b, m, ND_STAGE_DOWN);
	if (!nd_member_step(b, m, restore_step, &e))
		return;
	/* A refused rename of an earlier try may have changed the labels (inetdev_changename), which a replay does not restore. */
	if (is_relabelled(m) && remove_ipv4(b, m, &e))
		lacks(m, &e);
	/*
	 * Its lower device brought it up, and the kernel made a link-local address that is still tentative; or it should
	 * not be up: repeated from the down state.
	 */
	if (nd_link_down(b->source, m->dev->ifindex, &e) || nd_member_step(b, m, restore_step, &e))
		m->differs = 1;
}

int nd_batch_restore(struct netdevns_batch *b)
{
	int left = 0;

	bring_all(b);
	for (size_t i = 0; i < b->count; i++) {
		struct nd_member *const m = b->replays[i];

		if (is_home(m))
			restore(b, m);
	}
	for (size_t i = 0; i < b->count; i++) {
		struct nd_member *const m = b->replays[i];
		struct nd_err e;

		if (!is_home(m))
			continue;
		settings(b, m, ND_STAGE_UP);
		if (m->differs && nd_member_step(b, m, restore_step, &e))
			lacks(m, &e);
		else
			say_temporary(m);
	}
	for (size_t i = 0; i < b->count; i++)
		left += b->members[i]->touched && b->members[i]->is_lacking;
	return left;
}
