/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * Returns a device to the source, also against a container that interferes. A move can be refused for names: for that of the
 * device and, from 6.6 on, for each of its alternative names, of which root in the target can add any. Added names are
 * removed in the target first; if one is added again each time, the device goes through a private network namespace that no other
 * process can enter.
 */
#include "batch.h"

#include <errno.h>
#include <stdio.h>
#include <sys/random.h>
#include <unistd.h>

/*
 * Attempts to remove names and move in one send, before the private namespace is used. A loop in C that adds one alternative
 * name defeats 1 of 5 of them; one that adds three, now and then 200 in a row (Linux 6.18, 2 processors).
 */
#define TRIES 4
#define REPLACED "another device has its name and ifindex there, or it got another peer or lower device: it stays there"
#define REQUEST_BYTES 70000	/* all alternative names of a link (at most 64 KiB), and a move */

static int return_step(struct netdevns_batch *b, struct nd_member *m, struct nd_err *err)
{
	return nd_dev_undo(m->dev, b->source, b->target, b->source_fd, ND_UNDO_RETURN, err);
}

static int go_home(struct netdevns_batch *b, struct nd_member *m, struct nd_err *err)
{
	int code = nd_member_step(b, m, return_step, err);
	struct nd_err e;

	/* In the source and up under another name; before 6.2 only a device that is down can be renamed. */
	if (code == -EBUSY && m->dev->place == ND_PLACE_SOURCE && !nd_link_down(b->source, m->dev->ifindex, &e))
		code = nd_member_step(b, m, return_step, err);
	return code;
}

/* ---- alternative names ---------------------------------------------------------------------------------------------------------------- */

static int set_mac(struct nd_sock *sock, int32_t ifindex, const unsigned char *mac, size_t len)
{
	const struct ifinfomsg head = { .ifi_index = ifindex };
	_Alignas(8) unsigned char bytes[96];
	struct nd_err e;
	struct nd_msg msg;

	nd_msg_init(&msg, bytes, sizeof bytes);
	nd_msg_begin(&msg, RTM_NEWLINK, NLM_F_ACK, &head, sizeof head);
	nd_msg_put(&msg, IFLA_ADDRESS, mac, len);
	return nd_sock_exchange(sock, &msg, NULL, &e);
}

void nd_member_restore_mac(struct netdevns_batch *b, struct nd_sock *sock, const struct nd_member *m, int32_t ifindex)
{
	struct nd_link_attrs link, link_now;
	struct nd_view was, now;
	struct nd_attr mac;
	struct nd_err e;

	if (!nd_member_snapshot(m, &was) || nd_link_read(&was, &link) || nd_batch_link(b, sock, ifindex, &now, &e) ||
	    nd_link_read(&now, &link_now))
		return;
	mac = nd_own_mac(&link);
	if (!mac.data || mac.len > 32 || nd_attr_same(&mac, &link_now.attrs[IFLA_ADDRESS]))	/* MAX_ADDR_LEN */
		return;
	/* Some drivers accept it only while the device is down. */
	if (set_mac(sock, ifindex, mac.data, mac.len) && !nd_link_down(sock, ifindex, &e))
		set_mac(sock, ifindex, mac.data, mac.len);
}

/* Its link in the target, in `memory`. -ENODEV: it is gone; -ESTALE: another device has replaced it. */
static int read_there(struct netdevns_batch *b, const struct nd_member *m, struct nd_memory *memory, struct nd_view *now,
		      struct nd_err *err)
{
	const int code = nd_batch_link(b, b->target, m->dev->target_ifindex, now, err);
	size_t pos = 0;

	if (code)
		return code;
	memory->used = 0;
	if (nd_memory_append(memory, now->start, nd_align(now->len)))
		return nd_err_set(err, ND_STEP_UNDO, -ENOMEM, "out of memory");
	nd_view_next(memory->data, memory->used, &pos, now);
	return nd_member_is_replaced(b, m, now) ? nd_err_set(err, ND_STEP_UNDO, -ESTALE, REPLACED) : 0;
}

/* Removes names that were added in the target; before 6.6 all, which would stay taken there. */
static int free_altnames(struct netdevns_batch *b, struct nd_member *m, struct nd_err *err)
{
	struct nd_memory memory = { .size = 0 };
	struct nd_view was, now;
	int code = nd_member_find(b, m, err);

	if (!code && m->dev->place == ND_PLACE_GONE)
		nd_member_search(b, m);
	if (code || m->dev->place != ND_PLACE_TARGET || !nd_member_snapshot(m, &was))
		return code;
	code = read_there(b, m, &memory, &now, err);
	if (code == -ESTALE) {	/* it may still be there, too */
		nd_member_search(b, m);
		code = read_there(b, m, &memory, &now, err);
	}
	if (!code) {
		code = nd_altnames_send(b->target, ND_RTM_DELLINKPROP, m->dev->target_ifindex, &now,
					nd_batch_moves_altnames(b) ? &was : NULL, err);
		nd_member_restore_mac(b, b->target, m, m->dev->target_ifindex);
	} else if (code == -ENODEV) {
		code = 0;
	}
	nd_memory_free(&memory);
	return code;
}

/* ---- against interference --------------------------------------------------------------------------------------------------------------- */

static void put_home(struct nd_msg *msg, const struct netdevns_batch *b, const struct nd_member *m, int32_t ifindex, int with_number)
{
	const struct ifinfomsg head = { .ifi_index = ifindex };

	nd_msg_begin(msg, RTM_NEWLINK, NLM_F_ACK, &head, sizeof head);
	nd_msg_put_u32(msg, IFLA_NET_NS_FD, (uint32_t)b->source_fd);
	nd_msg_put_name(msg, IFLA_IFNAME, m->ifname);
	if (with_number)
		nd_msg_put_u32(msg, ND_IFLA_NEW_IFINDEX, (uint32_t)m->link.ifindex);
}

/* Removes the names that `unless` (or NULL) lacks, and moves it to the source, in one send; `request`: REQUEST_BYTES. */
static int return_in_one_send(struct netdevns_batch *b, struct nd_sock *there, struct nd_member *m, int32_t ifindex, const struct nd_view *unless,
		  int with_number, struct nd_memory *request, struct nd_err *err)
{
	struct nd_link link;
	struct nd_view now;
	struct nd_msg msg;
	int code = nd_batch_link(b, there, ifindex, &now, err);

	if (code)
		return code;
	if (nd_link_summarize(&link, &now) || strcmp(link.kind, m->link.kind) != 0)
		return nd_err_set(err, ND_STEP_UNDO, -ENODEV, "another device has its ifindex");
	nd_msg_init(&msg, request->data, request->size);
	nd_altnames_put(&msg, ND_RTM_DELLINKPROP, ifindex, &now, unless);
	put_home(&msg, b, m, ifindex, with_number);
	return nd_sock_exchange(there, &msg, NULL, err);
}

static void unguessable(char name[ND_NAME_SIZE])
{
	unsigned char bytes[6] = { 0 };

	if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
		memcpy(bytes, &name, sizeof bytes);	/* a stack address, as a random number */
	snprintf(name, ND_NAME_SIZE, "nd%02x%02x%02x%02x%02x%02x", bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5]);
}

static int rename_in(struct nd_sock *sock, int32_t ifindex, int netns_fd, struct nd_err *err)
{
	const struct ifinfomsg head = { .ifi_index = ifindex };
	_Alignas(8) unsigned char bytes[96];
	char name[ND_NAME_SIZE];
	struct nd_msg m;

	unguessable(name);
	nd_msg_init(&m, bytes, sizeof bytes);
	nd_msg_begin(&m, RTM_NEWLINK, NLM_F_ACK, &head, sizeof head);
	if (netns_fd >= 0)
		nd_msg_put_u32(&m, IFLA_NET_NS_FD, (uint32_t)netns_fd);
	nd_msg_put_name(&m, IFLA_IFNAME, name);
	return nd_sock_exchange(sock, &m, NULL, err);
}

/* The ifindexes in a new namespace: lo, and devices that the machine makes in each; at most `max`. */
static size_t list(struct netdevns_batch *b, struct nd_sock *sock, int32_t *ifindexes, size_t max)
{
	struct nd_view v;
	struct nd_err e;
	size_t pos = 0, count = 0;

	if (nd_batch_dump_links(b, sock, NULL, 0, &e))
		return 0;
	while (count < max && nd_view_next(b->reply.data, b->reply.used, &pos, &v) > 0)
		if (v.type == RTM_NEWLINK && v.body_len >= sizeof(struct ifinfomsg))
			memcpy(&ifindexes[count++], v.body + offsetof(struct ifinfomsg, ifi_index), sizeof *ifindexes);
	return count;
}

#define TRANSIT_MAX 32

/* Moves a device that cannot return to the source back to the target: it would end with the private namespace. */
static int return_from(struct netdevns_batch *b, struct nd_sock *transit, struct nd_member *m, const int32_t *there, size_t count,
		     struct nd_memory *request, struct nd_err *err)
{
	int32_t now[TRANSIT_MAX + 1];
	const size_t found = list(b, transit, now, TRANSIT_MAX + 1);
	struct nd_view was;
	int code = nd_err_set(err, ND_STEP_UNDO, -ENODEV, "it is not in the namespace on its way");

	for (size_t i = 0; i < found; i++) {
		size_t k = 0;

		while (k < count && there[k] != now[i])
			k++;
		if (k < count)
			continue;
		if (nd_member_snapshot(m, &was)) {
			nd_member_restore_mac(b, transit, m, now[i]);
			code = return_in_one_send(b, transit, m, now[i], &was, 1, request, err);
			/* Another device in the source may have its ifindex by now, or one of its alternative names. */
			if (code)
				code = return_in_one_send(b, transit, m, now[i], &was, 0, request, err);
			if (code)
				code = return_in_one_send(b, transit, m, now[i], NULL, 0, request, err);
		}
		for (int tries = 0; code && tries < TRIES; tries++) {
			struct nd_err e;

			if (!rename_in(transit, now[i], b->target_fd, &e))
				break;
		}
	}
	return code;
}

/*
 * Moves it to a private namespace, removes the names there, and moves it to the source. If the process is killed in between, the
 * namespace ends: a virtual device ends with it, a NIC returns to the initial one.
 */
static int through_transit(struct netdevns_batch *b, struct nd_member *m, struct nd_memory *request, struct nd_err *err)
{
	int32_t there[TRANSIT_MAX];
	struct nd_sock transit;
	size_t count;
	int fd, code = nd_sock_open_new(&transit, &fd, err);

	if (code)
		return code;
	count = list(b, &transit, there, TRANSIT_MAX);
	/* Devices of each new namespace, above all lo, get names that no device will want. */
	for (size_t i = 0; i < count && !code; i++)
		code = rename_in(&transit, there[i], -1, err);
	if (!code) {
		rename_in(b->target, m->dev->target_ifindex, fd, err);
		code = return_from(b, &transit, m, there, count, request, err);
	}
	nd_sock_close(&transit);
	close(fd);
	return code;
}

static void insist(struct netdevns_batch *b, struct nd_member *m, struct nd_err *err)
{
	struct nd_memory request = { .size = 0 };	/* allocated before the device is in a namespace that ends with this function */
	struct nd_view was;
	int code = -EEXIST;

	if (nd_memory_grow(&request, REQUEST_BYTES)) {
		nd_err_set(err, ND_STEP_UNDO, -ENOMEM, "out of memory");
		return;
	}
	for (int i = 0; i < TRIES && code && nd_member_snapshot(m, &was); i++) {
		code = return_in_one_send(b, b->target, m, m->dev->target_ifindex, &was, 1, &request, err);
		/* A removed name or the move failed: find the device. */
		if (code && (nd_member_find(b, m, err) || m->dev->place != ND_PLACE_TARGET))
			break;
	}
	if (code && m->dev->place == ND_PLACE_TARGET)
		through_transit(b, m, &request, err);
	nd_memory_free(&request);
}

/* Moves a device that is not the batch's back to the target. */
static void expel(struct netdevns_batch *b, struct nd_member *m, int32_t ifindex)
{
	const struct ifinfomsg head = { .ifi_index = ifindex };
	_Alignas(8) unsigned char bytes[64];
	struct nd_err e;
	struct nd_msg msg;

	nd_msg_init(&msg, bytes, sizeof bytes);
	nd_msg_begin(&msg, RTM_NEWLINK, NLM_F_ACK, &head, sizeof head);
	nd_msg_put_u32(&msg, IFLA_NET_NS_FD, (uint32_t)b->target_fd);
	/* Its name, or one that the container gave it, may be taken there. */
	if (nd_sock_exchange(b->source, &msg, NULL, &e))
		rename_in(b->source, ifindex, b->target_fd, &e);
	nd_member_find(b, m, &e);
}

int nd_member_return(struct netdevns_batch *b, struct nd_member *m, struct nd_err *err)
{
	struct nd_err e;
	int32_t stranger;
	int code = free_altnames(b, m, &e), was_there;

	was_there = m->dev->place == ND_PLACE_TARGET;
	m->is_replaced = code == -ESTALE;
	if (m->is_replaced)
		return nd_err_set(err, ND_STEP_UNDO, code, REPLACED);
	if (!was_there && nd_member_is_namesake(b, m)) {
		m->is_replaced = 1;
		m->dev->place = ND_PLACE_GONE;
		return nd_err_set(err, ND_STEP_UNDO, -ESTALE, "another device has its name in the source, and is left as it is");
	}
	code = go_home(b, m, err);
	if (code == -EEXIST && m->dev->place == ND_PLACE_TARGET) {
		insist(b, m, &e);
		code = go_home(b, m, err);
	}
	stranger = was_there ? nd_member_stranger(b, m) : 0;
	if (!stranger)
		return code;
	expel(b, m, stranger);
	m->is_replaced = 1;
	return nd_err_set(err, ND_STEP_UNDO, -ESTALE, REPLACED);
}
