/* SPDX-License-Identifier: Apache-2.0 */
/* NETLINK_ROUTE sockets: opening one in a namespace, and one exchange. */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

/*
 * A dump's datagram has at most NLMSG_GOODSIZE (8 KiB) unless a bigger buffer was once offered (probes
 * dumps.datagram.room-8, dumps.datagram.room-32), so all slots have that size. Eight are read by one system call.
 */
#define SLOTS 8
#define SLOT_SIZE 8192
#define DUMP_TRIES 8
#define ANSWER_TIMEOUT_S 10

/* One read or one write: a file of /proc/sys takes a value whole. */
static void do_file(struct nd_file *file)
{
	const int fd = open(file->path, (file->write ? O_WRONLY : O_RDONLY) | O_CLOEXEC);
	ssize_t n;

	if (!file->write)
		file->text[0] = '\0';
	if (fd < 0) {
		file->code = -errno;
		return;
	}
	do
		n = file->write ? write(fd, file->text, strnlen(file->text, sizeof file->text))
				: read(fd, file->text, sizeof file->text - 1);
	while (n < 0 && errno == EINTR);
	file->code = n < 0 ? -errno : 0;
	if (!file->write)
		file->text[n < 0 ? 0 : n] = '\0';
	close(fd);
}

static int open_here(struct nd_sock *s, struct nd_file *files, size_t nfiles)
{
	s->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	if (s->fd < 0)
		return -errno;
	for (size_t i = 0; i < nfiles; i++)
		do_file(&files[i]);
	return 0;
}

/*
 * The one function that leaves the calling thread's namespace. Signals are blocked: a handler must not run (and open
 * sockets) in the wrong namespace: of this thread alone, which is what sigprocmask(2) means on Linux (pthread_sigmask would
 * bind the object to glibc >= 2.32). /proc/thread-self and not /proc/self (probe netns.setns.one-thread).
 */
static int open_there(struct nd_sock *s, int netns_fd, struct nd_file *files, size_t nfiles, struct nd_err *err)
{
	sigset_t all, before;
	int home, code;

	home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	if (home < 0)
		return nd_err_set(err, ND_STEP_OPEN, -errno, "cannot open /proc/thread-self/ns/net, the way back");
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &before);
	/* The way back is tried before it is needed: who may enter the other namespace need not have the right to return. */
	if (setns(home, CLONE_NEWNET) < 0) {
		code = nd_err_set(err, ND_STEP_OPEN, -errno, "setns into this thread's own namespace, the way back, was refused");
	} else if (setns(netns_fd, CLONE_NEWNET) < 0) {
		code = nd_err_set(err, ND_STEP_OPEN, -errno, "setns into the namespace was refused");
	} else {
		code = open_here(s, files, nfiles);
		if (code)
			nd_err_set(err, ND_STEP_OPEN, code, "cannot open a NETLINK_ROUTE socket in the namespace");
		if (setns(home, CLONE_NEWNET) < 0) {
			if (!code)
				close(s->fd);
			s->fd = -1;
			code = nd_err_set(err, ND_STEP_OPEN, -ENOTRECOVERABLE,
					  "setns back failed: this thread is in the wrong network namespace and must end");
		}
	}
	sigprocmask(SIG_SETMASK, &before, NULL);
	close(home);
	return code;
}

int nd_sock_create(struct nd_sock *s, int netns_fd, struct nd_file *files, size_t nfiles, struct nd_err *err)
{
	int code;

	memset(s, 0, sizeof *s);
	s->fd = -1;
	if (netns_fd >= 0)
		return open_there(s, netns_fd, files, nfiles, err);
	code = open_here(s, files, nfiles);
	return code ? nd_err_set(err, ND_STEP_OPEN, code, "cannot open a NETLINK_ROUTE socket") : 0;
}

int nd_sock_open(struct nd_sock *s, int netns_fd, struct nd_file *files, size_t nfiles, struct nd_err *err)
{
	static const int options[] = { NETLINK_EXT_ACK, NETLINK_CAP_ACK, NETLINK_GET_STRICT_CHK };
	const struct timeval limit = { .tv_sec = ANSWER_TIMEOUT_S };
	struct sockaddr_nl addr = { .nl_family = AF_NETLINK };
	socklen_t len = sizeof addr;
	const int on = 1;
	int code = nd_sock_create(s, netns_fd, files, nfiles, err);

	if (code)
		return code;
	for (size_t i = 0; i < sizeof options / sizeof options[0]; i++)
		if (setsockopt(s->fd, SOL_NETLINK, options[i], &on, sizeof on) < 0 && errno != ENOPROTOOPT)
			goto fail;
	if (setsockopt(s->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) < 0 ||
	    bind(s->fd, (const struct sockaddr *)&addr, sizeof addr) < 0 ||
	    getsockname(s->fd, (struct sockaddr *)&addr, &len) < 0)
		goto fail;
	/* The kernel's choice: the process id is only its first try (probe acks.echo.second-socket). */
	s->portid = addr.nl_pid;
	return 0;
fail:
	code = nd_err_set(err, ND_STEP_OPEN, -errno, "cannot set up a NETLINK_ROUTE socket");
	nd_sock_close(s);
	return code;
}

void nd_sock_close(struct nd_sock *s)
{
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
}

uint64_t nd_sock_cookie(const struct nd_sock *s)
{
	uint64_t cookie = 0;
	socklen_t len = sizeof cookie;

	return getsockopt(s->fd, SOL_SOCKET, ND_SO_NETNS_COOKIE, &cookie, &len) < 0 ? 0 : cookie;
}

/* What an exchange waits for and has seen. */
struct wait {
	uint32_t first, last;	/* seq of the request's first and last message */
	int last_acked;		/* the last one asks for an ack: only that ends it */
	int done;
	int interrupted;	/* NLM_F_DUMP_INTR was seen */
	size_t refusals;
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
	}
	w->last = s->seq;
	return got < 0 || req->used == 0 ? -EINVAL : 0;
}

/* Keeps an answer: appended where there is room, counted where there is none. */
static void keep(struct nd_buf *reply, const struct nd_view *v)
{
	const size_t room = nd_align(v->len);

	reply->need += room;
	if (reply->need > reply->size)
		return;
	memset(reply->data + reply->used, 0, room);
	memcpy(reply->data + reply->used, v->start, v->len);
	reply->used += room;
}

static int says_so(const struct nd_view *v, int code)
{
	return v->body_len >= sizeof(struct nlmsgerr) && memcmp(v->body, &code, sizeof code) == 0;
}

/* One message of the kernel's. Only what answers this request counts: its seq, our portid (probe acks.echo.pid-zero). */
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
		/* Malformed: the kernel's own -EBADMSG is what the message says. */
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
	if (code < 0 && !reply && w->refusals++ == 0) {
		*err = refusal;
		err->index = v->seq - w->first;
	}
	if (v->seq == w->last && (v->type == NLMSG_ERROR || v->type == NLMSG_DONE ||
				  (!(v->flags & NLM_F_MULTI) && !w->last_acked)))
		w->done = 1;
	if (reply && v->type != NLMSG_DONE && (!reply->sieve || nd_sieve_keeps(reply->sieve, v)))
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

/* Reads a burst. The kernel's address has nl_pid 0; a datagram of another process is not an answer. */
static int receive(const struct nd_sock *s, struct wait *w, struct nd_buf *reply, struct nd_err *err)
{
	_Alignas(8) unsigned char slots[SLOTS][SLOT_SIZE];
	struct sockaddr_nl from[SLOTS];
	struct iovec iov[SLOTS];
	struct mmsghdr burst[SLOTS];
	int n, code;

	memset(burst, 0, sizeof burst);
	memset(from, 0, sizeof from);
	for (int i = 0; i < SLOTS; i++) {
		iov[i] = (struct iovec){ .iov_base = slots[i], .iov_len = SLOT_SIZE };
		burst[i].msg_hdr.msg_iov = &iov[i];
		burst[i].msg_hdr.msg_iovlen = 1;
		burst[i].msg_hdr.msg_name = &from[i];
		burst[i].msg_hdr.msg_namelen = sizeof from[i];
	}
	do
		n = recvmmsg(s->fd, burst, SLOTS, MSG_WAITFORONE, NULL);
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno == ENOBUFS)
		return nd_err_set(err, ND_STEP_EXCHANGE, -ENOBUFS, "the kernel dropped replies");
	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		return nd_err_set(err, ND_STEP_EXCHANGE, -ETIMEDOUT, "no answer from the kernel");
	if (n < 0)
		return nd_err_set(err, ND_STEP_EXCHANGE, -errno, "recvmmsg failed");
	for (int i = 0; i < n; i++) {
		const struct msghdr *h = &burst[i].msg_hdr;

		if (h->msg_namelen >= sizeof from[i] && from[i].nl_family == AF_NETLINK && from[i].nl_pid != 0)
			continue;
		if (burst[i].msg_len == 0)
			return nd_err_set(err, ND_STEP_EXCHANGE, -EBADMSG, "an empty datagram");
		if (h->msg_flags & MSG_TRUNC)
			return nd_err_set(err, ND_STEP_EXCHANGE, -EMSGSIZE, "an answer of more than 8 KiB");
		code = take_datagram(s, w, slots[i], burst[i].msg_len, reply, err);
		if (code)
			return code;
	}
	return 0;
}

static int exchange_once(struct nd_sock *s, struct nd_msg *req, struct wait *w, struct nd_buf *reply, struct nd_err *err)
{
	ssize_t sent;
	int code = number(s, req, w);

	if (code)
		return nd_err_set(err, ND_STEP_EXCHANGE, code, "not a netlink request");
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

int nd_sock_exchange(struct nd_sock *s, struct nd_msg *req, struct nd_buf *reply, struct nd_err *err)
{
	const size_t used = reply ? reply->used : 0;
	struct wait w;
	int code;

	err->code = 0;
	if (req->err)
		return nd_err_set(err, ND_STEP_EXCHANGE, req->err, "the request does not fit");
	for (int i = 0; i < DUMP_TRIES; i++) {
		if (reply) {
			reply->used = used;
			reply->need = used;
		}
		code = exchange_once(s, req, &w, reply, err);
		if (code) {
			if (reply) {
				reply->used = used;
				reply->need = 0;
			}
			return code;
		}
		if (!w.interrupted) {
			if (reply && reply->need > reply->size)
				return nd_err_set(err, ND_STEP_EXCHANGE, -ENOBUFS, "the reply does not fit");
			return 0;
		}
	}
	if (reply) {
		reply->used = used;
		reply->need = 0;
	}
	return nd_err_set(err, ND_STEP_EXCHANGE, -EAGAIN, "the dump was interrupted each time by changes");
}
