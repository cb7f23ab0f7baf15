/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* Sends a request and reads the replies. */
#include "internal.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

/*
 * Each datagram is received into a slot. Those of a dump have at most NLMSG_GOODSIZE (8 KiB), unless the socket has ever offered
 * a bigger buffer (probes dumps.datagram.room-8, dumps.datagram.room-32). So a slot has that size, and one system call
 * fills eight. One link may need more, for its alternative names: up to 64 KiB; then see widen.
 */
#define SLOT_SIZE 8192u
#define SLOTS 8u
#define MEMORY_SIZE (9 * SLOT_SIZE)	/* one link with 64 KiB of alternative names, which Linux 7.2 lists first, and the rest */
#define TRIES 8
#define DRAIN_MAX 100000	/* datagrams */

/* The state of an exchange. */
struct wait {
	uint32_t first, last;	/* seq of the request's first and last message */
	int last_acked;		/* the last one asks for an ack, so only an ack ends the exchange */
	int is_dump;		/* the last one is a dump: any number of datagrams */
	int done;
	int interrupted;	/* NLM_F_DUMP_INTR was seen */
	size_t refusals;
	size_t cut;		/* bytes of the longest datagram that did not fit into a slot; 0: none */
	struct nd_seen *seen;	/* of a look-up: gets each reply. NULL: another request */
};

static int number(struct nd_sock *s, struct nd_msg *req, struct wait *w)
{
	struct nd_view v;
	size_t pos = 0;
	int got;

	memset(w, 0, sizeof *w);
	w->first = s->seq + 1;
	while ((got = nd_view_next(req->data, req->used, &pos, &v)) > 0) {
		unsigned char *at = req->data + (v.start - req->data);

		s->seq++;
		memcpy(at + offsetof(struct nlmsghdr, nlmsg_seq), &s->seq, sizeof s->seq);
		memcpy(at + offsetof(struct nlmsghdr, nlmsg_pid), &s->portid, sizeof s->portid);
		w->last_acked = (v.flags & NLM_F_ACK) != 0;
		w->is_dump = (v.flags & NLM_F_DUMP) == NLM_F_DUMP;
	}
	w->last = s->seq;
	return got < 0 || req->used == 0 ? -EINVAL : 0;
}

/* Keeps a reply: appended if there is room, otherwise only counted. */
static void keep(struct nd_buf *reply, const struct nd_view *v)
{
	const size_t room = nd_align(v->len);

	reply->need += room;
	if (reply->need > reply->size)
		return;
	/* The message may lie in the reply already (slots), and the bytes behind it are not zero then. */
	memmove(reply->data + reply->used, v->start, v->len);
	memset(reply->data + reply->used + v->len, 0, room - v->len);
	reply->used += room;
}

static int says_so(const struct nd_view *v, int code)
{
	return v->body_len >= sizeof(struct nlmsgerr) && memcmp(v->body, &code, sizeof code) == 0;
}

/* Takes a message. A reply to this request has its seq and this socket's portid (probe acks.echo.pid-zero); others are skipped. */
static int take(const struct nd_sock *s, struct wait *w, const struct nd_view *v, struct nd_buf *reply, struct nd_err *err)
{
	struct nd_err refusal;
	int code = 0;

	if (v->portid != s->portid || v->seq - w->first > w->last - w->first)
		return 0;
	if (v->flags & NLM_F_DUMP_INTR)
		w->interrupted = 1;
	if (v->type == NLMSG_NOOP)
		return 0;
	if (v->type == NLMSG_OVERRUN)
		return nd_err_set(err, ND_STEP_EXCHANGE, -ENOBUFS, "the kernel reports lost replies");
	if (v->type == NLMSG_DONE && v->body_len >= sizeof code)
		memcpy(&code, v->body, sizeof code);
	if (v->type == NLMSG_ERROR) {
		code = nd_view_error(v, &refusal);
		/* Malformed, unless -EBADMSG is the code that the kernel sent. */
		if (code == -EBADMSG && !says_so(v, code)) {
			*err = refusal;
			return code;
		}
	} else if (code < 0) {
		nd_err_set(&refusal, ND_STEP_EXCHANGE, code, "the dump was ended by an error");
		if (reply) {
			*err = refusal;
			return code;
		}
	}
	if (code < 0 && !reply && !w->seen && w->refusals++ == 0) {
		*err = refusal;
		err->index = v->seq - w->first;
	}
	if (v->seq == w->last && (v->type == NLMSG_ERROR || v->type == NLMSG_DONE ||
				  (!(v->flags & NLM_F_MULTI) && !w->last_acked)))
		w->done = 1;
	if (w->seen)
		nd_seen_take(w->seen, v, v->seq - w->first);
	else if (reply && v->type != NLMSG_DONE && (!reply->filter || nd_filter_keeps(reply->filter, v)))
		keep(reply, v);
	return 0;
}

static int take_datagram(const struct nd_sock *s, struct wait *w, const void *data, size_t len, struct nd_buf *reply,
			 struct nd_err *err)
{
	struct nd_view v;
	size_t pos = 0;
	int got, code;

	while ((got = nd_view_next(data, len, &pos, &v)) > 0) {
		code = take(s, w, &v, reply, err);
		if (code)
			return code;
	}
	return got < 0 ? nd_err_set(err, ND_STEP_EXCHANGE, got, "a netlink message with a wrong length") : 0;
}

/*
 * Chooses where datagrams are received: slots in `memory`; or, if one slot is longer than that, the free part of the caller's
 * reply. Returns the number of slots; *size is the size of each.
 */
static unsigned int slots(const struct nd_sock *s, const struct nd_buf *reply, unsigned char *memory, unsigned char **at,
			  size_t *size)
{
	*at = memory;
	*size = s->slot ? s->slot : SLOT_SIZE;
	if (*size <= MEMORY_SIZE)
		return MEMORY_SIZE / *size < SLOTS ? (unsigned int)(MEMORY_SIZE / *size) : SLOTS;
	if (reply && reply->size - reply->used >= *size)
		*at = reply->data + reply->used;
	else
		*size = MEMORY_SIZE;
	return 1;
}

/*
 * A look-up of a link whose datagram is longer than all of `memory` uses the beginning: the kernel puts the name and the MAC
 * address, and up to 6.18 the kind, before the long lists (rtnl_fill_ifinfo). 1: the first message was cut to `size`.
 */
static int shorten(const struct wait *w, unsigned char *data, size_t size)
{
	const uint32_t len = (uint32_t)size;

	if (!w->seen || size != MEMORY_SIZE)
		return 0;
	memcpy(data + offsetof(struct nlmsghdr, nlmsg_len), &len, sizeof len);
	return 1;
}

/*
 * Reads datagrams: no more than the request has messages, unless it is a dump. The kernel's address has nl_pid 0; a datagram of
 * another process is not a reply.
 */
static int receive(const struct nd_sock *s, struct wait *w, struct nd_buf *reply, struct nd_err *err)
{
	_Alignas(8) unsigned char memory[MEMORY_SIZE];
	struct sockaddr_nl from[SLOTS];
	struct iovec iov[SLOTS];
	struct mmsghdr burst[SLOTS];
	unsigned char *at;
	size_t size;
	unsigned int count = slots(s, reply, memory, &at, &size);
	int n, code;

	if (!w->is_dump && w->last - w->first < count)
		count = w->last - w->first + 1;
	memset(burst, 0, sizeof burst);
	memset(from, 0, sizeof from);
	for (unsigned int i = 0; i < count; i++) {
		iov[i] = (struct iovec){ .iov_base = at + i * size, .iov_len = size };
		burst[i].msg_hdr.msg_iov = &iov[i];
		burst[i].msg_hdr.msg_iovlen = 1;
		burst[i].msg_hdr.msg_name = &from[i];
		burst[i].msg_hdr.msg_namelen = sizeof from[i];
	}
	do	/* MSG_TRUNC: msg_len is the length of the datagram, also where that is more than the slot's */
		n = recvmmsg(s->fd, burst, count, MSG_WAITFORONE | MSG_TRUNC, NULL);
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno == ENOBUFS)
		return nd_err_set(err, ND_STEP_EXCHANGE, -ENOBUFS, "the kernel dropped replies");
	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		return nd_err_set(err, ND_STEP_EXCHANGE, -ETIMEDOUT, "no answer from the kernel");
	if (n < 0)
		return nd_err_set(err, ND_STEP_EXCHANGE, -errno, "recvmmsg failed");
	for (int i = 0; i < n; i++) {
		const struct msghdr *h = &burst[i].msg_hdr;
		size_t len = burst[i].msg_len;

		if (h->msg_namelen >= sizeof from[i] && from[i].nl_family == AF_NETLINK && from[i].nl_pid != 0)
			continue;
		if (len == 0)
			return nd_err_set(err, ND_STEP_EXCHANGE, -EBADMSG, "an empty datagram");
		if (len > size && !shorten(w, at, size)) {
			w->cut = len > w->cut ? len : w->cut;
			continue;
		}
		code = take_datagram(s, w, at + (size_t)i * size, len > size ? size : len, reply, err);
		if (code)
			return code;
	}
	return w->cut ? nd_err_set(err, ND_STEP_EXCHANGE, -EMSGSIZE, "an answer that is too long: look whether it was done") : 0;
}

static int exchange_once(struct nd_sock *s, struct nd_msg *req, struct wait *w, struct nd_buf *reply, struct nd_seen *seen,
			 struct nd_err *err)
{
	ssize_t sent;
	int code = number(s, req, w);

	if (code)
		return nd_err_set(err, ND_STEP_EXCHANGE, code, "not a netlink request");
	w->seen = seen;
	if (reply)
		reply->first_seq = w->first;
	do
		sent = send(s->fd, req->data, req->used, 0);
	while (sent < 0 && errno == EINTR);
	if (sent < 0)
		return nd_err_set(err, ND_STEP_EXCHANGE, -errno, "send failed");
	while (!w->done) {
		code = receive(s, w, reply, err);
		if (code)
			return code;
	}
	return w->refusals ? err->code : 0;
}

/* RTM_GET* alone. The kernel knows them by the same two bits (rtnetlink_rcv_msg). */
static int is_query(const struct nd_msg *req)
{
	struct nd_view v;
	size_t pos = 0;

	while (nd_view_next(req->data, req->used, &pos, &v) > 0)
		if (v.type < RTM_BASE || (v.type & 3) != (RTM_GETLINK & 3))
			return 0;
	return 1;
}

/* Reads the remaining replies to an abandoned request: its dump must end before the next one can begin. */
static void drain(const struct nd_sock *s)
{
	unsigned char byte;

	for (int i = 0; i < DRAIN_MAX; i++)
		if (recv(s->fd, &byte, sizeof byte, MSG_DONTWAIT | MSG_TRUNC) < 0 && errno != EINTR && errno != ENOBUFS)
			return;
}

/*
 * After a reply that was longer than a slot, and so is lost: enlarges the slots of this socket, also for later requests
 * (the datagrams of a dump grow with the buffer that is offered). 0: the request changes nothing and can be sent again.
 */
static int widen(struct nd_sock *s, const struct nd_msg *req, struct nd_buf *reply, const struct wait *w, struct nd_err *err)
{
	size_t size = SLOT_SIZE;

	while (size < w->cut && 2 * size <= MEMORY_SIZE)
		size *= 2;
	if (size < w->cut)
		size = w->cut <= MEMORY_SIZE ? MEMORY_SIZE : nd_align(w->cut);
	if (size > s->slot)
		s->slot = (uint32_t)size;
	if (!is_query(req) && !(reply && reply->harmless))
		return -EMSGSIZE;
	if (size <= MEMORY_SIZE || w->seen)
		return 0;
	if (!reply)
		return -EMSGSIZE;
	if (reply->size - reply->used >= size)
		return 0;
	reply->need = reply->used + size;
	return nd_err_set(err, ND_STEP_EXCHANGE, -EOVERFLOW, "one answer does not fit");
}

int nd_exchange(struct nd_sock *s, struct nd_msg *req, struct nd_buf *reply, struct nd_seen *seen, struct nd_err *err)
{
	const size_t used = reply ? reply->used : 0;
	struct wait w = { .cut = 0 };
	int code = 0;

	err->code = 0;
	if (req->err)
		return nd_err_set(err, ND_STEP_EXCHANGE, req->err, "the request does not fit");
	for (int i = 0; i < TRIES; i++) {
		if (reply) {
			reply->used = used;
			reply->need = used;
		}
		code = exchange_once(s, req, &w, reply, seen, err);
		if (code == -ENOBUFS || w.cut)
			drain(s);
		if (w.cut) {
			code = widen(s, req, reply, &w, err);
			if (!code)
				continue;
		}
		if (!code && w.interrupted)
			continue;
		if (!code && reply && reply->need > reply->size)
			code = nd_err_set(err, ND_STEP_EXCHANGE, -EOVERFLOW, "the reply does not fit");
		if (code && reply) {
			reply->used = used;
			reply->need = code == -EOVERFLOW ? reply->need : 0;
		}
		if (!code)
			err->code = 0;
		return code;
	}
	if (reply) {
		reply->used = used;
		reply->need = 0;
	}
	return nd_err_set(err, ND_STEP_EXCHANGE, -EAGAIN, "the dump was interrupted each time by changes");
}

int nd_sock_exchange(struct nd_sock *s, struct nd_msg *req, struct nd_buf *reply, struct nd_err *err)
{
	return nd_exchange(s, req, reply, NULL, err);
}
