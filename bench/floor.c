/*
 * The kernel's floor: the least that moves devices with their addresses, with no library, no check, no reading back and
 * no record. What it costs is what the kernel takes; what others cost beyond it is their own.
 *
 *     floor [--now] [--warm FD,NAME,...] plain|plain-one-ack|phased TARGET_FD OLD=NEW ...
 *
 * plain: device after device, one RTM_NEWLINK to move and rename, one send that replays the addresses and sets it up,
 * an ACK for each message. plain-one-ack: one ACK for each replay. phased: all links down in one send, all moves, then
 * all replays in as few sends as they fit in, one ACK for each send. --now: does the job at once and answers nothing (a whole process is measured). --warm: before it
 * is ready it moves these devices to another namespace: the job then is not the process's first.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "protocol.h"

#define WINDOW_MESSAGES 64 /* the ACKs of so many fit into any receive buffer */
#define WINDOW_BYTES 65536 /* less than any send buffer */
#define HIGH_IFINDEX 0x100000
#define FILTER_SKIP_STATS (1 << 3) /* RTEXT_FILTER_SKIP_STATS: a lookup of a name does not need them */

struct address {
	struct address *next;
	size_t len;	      /* of the body: struct ifaddrmsg and attributes, as dumped */
	unsigned char body[]; /* aligned: allocated */
};

struct device {
	const char *old, *new;
	int ifindex;
	struct address *ipv4, **ipv4_end, *ipv6;
};

struct sock {
	int fd;
	bool each_ack;
	uint32_t seq;
	size_t len, last, open; /* of the window; its last message; its open message's attributes end at len */
	unsigned messages;
	_Alignas(8) unsigned char window[WINDOW_BYTES + 65536];
};

static struct sock source, target;
static struct device *devices;
static unsigned count;
static _Alignas(8) unsigned char received[65536];

static void die(const char *what, int error)
{
	fprintf(stderr, "floor: %s: %s\n", what, strerror(error));
	exit(1);
}

static void sock_open(struct sock *s)
{
	const struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	const int on = 1;

	s->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	if (s->fd < 0 || connect(s->fd, (const struct sockaddr *)&kernel, sizeof kernel))
		die("socket", errno);
	setsockopt(s->fd, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof on);
	setsockopt(s->fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &on, sizeof on);
}

static ssize_t sock_receive(struct sock *s)
{
	ssize_t n;

	do
		n = recv(s->fd, received, sizeof received, 0);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		die("recv", errno);
	return n;
}

/* Sends the window and reads until its last message is answered; 0 or the first error, positive. */
static int sock_flush(struct sock *s)
{
	int error = 0;
	bool answered = s->messages == 0;

	if (answered)
		return 0;
	((struct nlmsghdr *)(s->window + s->last))->nlmsg_flags |= NLM_F_ACK;
	if (send(s->fd, s->window, s->len, 0) != (ssize_t)s->len)
		die("send", errno);
	while (!answered) {
		int n = (int)sock_receive(s);

		for (struct nlmsghdr *h = (void *)received; NLMSG_OK(h, (unsigned)n); h = NLMSG_NEXT(h, n)) {
			if (h->nlmsg_type != NLMSG_ERROR)
				continue;
			if (!error)
				error = -((struct nlmsgerr *)NLMSG_DATA(h))->error;
			answered = answered || h->nlmsg_seq == s->seq;
		}
	}
	s->len = s->messages = 0;
	return error;
}

static void flushed(struct sock *s, const char *what)
{
	const int error = sock_flush(s);

	if (error)
		die(what, error);
}

/* Opens a message; a window that is full goes first. Its length grows with each put. */
static void message(struct sock *s, uint16_t type, uint16_t flags, const void *head, size_t len)
{
	struct nlmsghdr *h;

	if (s->messages == (s->each_ack ? WINDOW_MESSAGES : 1u << 20) || s->len > WINDOW_BYTES)
		flushed(s, "replay");
	s->last = s->len;
	s->messages++;
	h = (void *)(s->window + s->last);
	*h = (struct nlmsghdr){ .nlmsg_len = (uint32_t)NLMSG_LENGTH(len), .nlmsg_type = type, .nlmsg_seq = ++s->seq };
	h->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags | (s->each_ack ? NLM_F_ACK : 0));
	memcpy(NLMSG_DATA(h), head, len);
	s->len += NLMSG_ALIGN(h->nlmsg_len);
}

static void put(struct sock *s, uint16_t type, const void *data, size_t len)
{
	struct rtattr *a = (void *)(s->window + s->len);

	*a = (struct rtattr){ .rta_len = (uint16_t)RTA_LENGTH(len), .rta_type = type };
	memset((unsigned char *)a + RTA_LENGTH(len), 0, RTA_SPACE(len) - RTA_LENGTH(len));
	memcpy(RTA_DATA(a), data, len);
	s->len += RTA_SPACE(len);
	((struct nlmsghdr *)(s->window + s->last))->nlmsg_len = (uint32_t)(s->len - s->last);
}

/* The ifindexes, by name: so many other devices as there may be cost nothing. One send for a window. */
static void look_up(void)
{
	const uint32_t mask = FILTER_SKIP_STATS;
	unsigned found = 0;

	for (unsigned at = 0; at < count; at = found) {
		const uint32_t first = source.seq + 1;
		const unsigned end = at + 32 < count ? at + 32 : count;

		for (unsigned i = at; i < end; i++) {
			message(&source, RTM_GETLINK, 0, &(struct ifinfomsg){ 0 }, sizeof(struct ifinfomsg));
			put(&source, IFLA_IFNAME, devices[i].old, strlen(devices[i].old) + 1);
			put(&source, IFLA_EXT_MASK, &mask, sizeof mask);
		}
		if (send(source.fd, source.window, source.len, 0) != (ssize_t)source.len)
			die("send", errno);
		source.len = source.messages = 0;
		while (found < end) {
			int n = (int)sock_receive(&source);

			for (struct nlmsghdr *h = (void *)received; NLMSG_OK(h, (unsigned)n); h = NLMSG_NEXT(h, n)) {
				if (h->nlmsg_type == NLMSG_ERROR)
					die("RTM_GETLINK", -((struct nlmsgerr *)NLMSG_DATA(h))->error);
				devices[at + h->nlmsg_seq - first].ifindex =
					((struct ifinfomsg *)NLMSG_DATA(h))->ifi_index;
				found++;
			}
		}
	}
}

static int by_ifindex(const void *a, const void *b)
{
	const struct device *x = *(struct device *const *)a, *y = *(struct device *const *)b;

	return (x->ifindex > y->ifindex) - (x->ifindex < y->ifindex);
}

/* Keeps a permanent address of universe scope: IPv4 in the dump's order, IPv6 reversed, as the kernel puts new ones first. */
static void keep(const struct nlmsghdr *h, struct device **sorted)
{
	const struct ifaddrmsg *m = NLMSG_DATA(h);
	struct device key = { .ifindex = (int)m->ifa_index }, *wanted = &key, **hit;
	struct address *a;

	if (m->ifa_scope != RT_SCOPE_UNIVERSE || !(m->ifa_flags & IFA_F_PERMANENT))
		return;
	hit = bsearch(&wanted, sorted, count, sizeof(struct device *), by_ifindex);
	if (!hit)
		return;
	a = malloc(sizeof *a + h->nlmsg_len - NLMSG_HDRLEN);
	if (!a)
		die("malloc", errno);
	a->len = h->nlmsg_len - NLMSG_HDRLEN;
	a->next = NULL;
	memcpy(a->body, m, a->len);
	if (m->ifa_family == AF_INET) {
		*(*hit)->ipv4_end = a;
		(*hit)->ipv4_end = &a->next;
	} else if (m->ifa_family == AF_INET6) {
		a->next = (*hit)->ipv6;
		(*hit)->ipv6 = a;
	}
}

/* One dump of all addresses, or, of a single device, of its own only. */
static void dump_addresses(void)
{
	const struct ifaddrmsg of = { .ifa_index = count == 1 ? (unsigned)devices[0].ifindex : 0 };
	struct device **sorted = calloc(count, sizeof *sorted);
	bool done = false;

	if (!sorted)
		die("calloc", errno);
	for (unsigned i = 0; i < count; i++)
		sorted[i] = &devices[i];
	qsort(sorted, count, sizeof *sorted, by_ifindex);
	message(&source, RTM_GETADDR, NLM_F_DUMP, &of, sizeof of);
	((struct nlmsghdr *)(source.window + source.last))->nlmsg_flags &= (uint16_t)~NLM_F_ACK;
	if (send(source.fd, source.window, source.len, 0) != (ssize_t)source.len)
		die("send", errno);
	source.len = source.messages = 0;
	while (!done) {
		int n = (int)sock_receive(&source);

		for (struct nlmsghdr *h = (void *)received; NLMSG_OK(h, (unsigned)n); h = NLMSG_NEXT(h, n)) {
			if (h->nlmsg_type == NLMSG_ERROR)
				die("RTM_GETADDR", -((struct nlmsgerr *)NLMSG_DATA(h))->error);
			if (h->nlmsg_type == NLMSG_DONE)
				done = true;
			else
				keep(h, sorted);
		}
	}
	free(sorted);
}

static void look(void)
{
	const bool each_ack = source.each_ack;

	source.each_ack = false;
	look_up();
	dump_addresses();
	source.each_ack = each_ack;
}

/* Requests the ifindex, so that the device need not be looked up there. */
static void move(struct device *d, uint32_t target_fd)
{
	static int next_high;

	for (;;) {
		const struct ifinfomsg m = { .ifi_index = d->ifindex };
		const int wanted = next_high ? next_high++ : d->ifindex;
		int error;

		message(&source, RTM_NEWLINK, 0, &m, sizeof m);
		put(&source, IFLA_NET_NS_FD, &target_fd, sizeof target_fd);
		put(&source, IFLA_IFNAME, d->new, strlen(d->new) + 1);
		put(&source, IFLA_NEW_IFINDEX, &wanted, sizeof wanted);
		error = sock_flush(&source);
		if (!error) {
			d->ifindex = wanted;
			return;
		}
		if (error != EBUSY || next_high)
			die("move", error);
		next_high = HIGH_IFINDEX;
	}
}

/* The same message, with what has to be different there: the ifindex, the label's name, no DAD. */
static void replay_address(const struct device *d, const struct address *a)
{
	struct ifaddrmsg m;
	int left = (int)(a->len - NLMSG_ALIGN(sizeof m));
	const size_t old_len = strlen(d->old);
	uint32_t flags;

	memcpy(&m, a->body, sizeof m);
	m.ifa_index = (unsigned)d->ifindex;
	if (m.ifa_family == AF_INET6)
		m.ifa_flags |= IFA_F_NODAD;
	flags = m.ifa_flags;
	message(&target, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &m, sizeof m);
	for (const struct rtattr *r = (const void *)(a->body + NLMSG_ALIGN(sizeof m)); RTA_OK(r, left);
	     r = RTA_NEXT(r, left)) {
		const char *label = RTA_DATA(r);
		char renamed[2 * IFNAMSIZ];

		if (r->rta_type == IFA_FLAGS) {
			memcpy(&flags, RTA_DATA(r), sizeof flags);
			flags |= m.ifa_flags;
			put(&target, IFA_FLAGS, &flags, sizeof flags);
		} else if (r->rta_type == IFA_LABEL && !strncmp(label, d->old, old_len)) {
			snprintf(renamed, sizeof renamed, "%s%s", d->new, label + old_len);
			put(&target, IFA_LABEL, renamed, strlen(renamed) + 1);
		} else {
			put(&target, r->rta_type, RTA_DATA(r), RTA_PAYLOAD(r));
		}
	}
}

static void set_up(struct sock *s, const struct device *d, bool up)
{
	const struct ifinfomsg m = {
		.ifi_index = d->ifindex, .ifi_flags = up ? IFF_UP : 0, .ifi_change = IFF_UP
	};

	message(s, RTM_NEWLINK, 0, &m, sizeof m);
}

static void replay(const struct device *d)
{
	for (const struct address *a = d->ipv4; a; a = a->next)
		replay_address(d, a);
	set_up(&target, d, true);
	for (const struct address *a = d->ipv6; a; a = a->next)
		replay_address(d, a);
}

static void job(const char *variant, int target_fd)
{
	const int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	const bool phased = !strcmp(variant, "phased");

	sock_open(&source);
	if (home < 0 || setns(target_fd, CLONE_NEWNET))
		die("setns", errno);
	sock_open(&target);
	if (setns(home, CLONE_NEWNET))
		die("setns", errno);
	close(home);
	target.each_ack = !strcmp(variant, "plain");
	look();
	if (phased) {
		for (unsigned i = 0; i < count; i++)
			set_up(&source, &devices[i], false);
		flushed(&source, "down");
	}
	for (unsigned i = 0; i < count; i++) {
		move(&devices[i], (uint32_t)target_fd);
		if (!phased) {
			replay(&devices[i]);
			flushed(&target, "replay");
		}
	}
	for (unsigned i = 0; phased && i < count; i++)
		replay(&devices[i]);
	flushed(&target, "replay");
	close(source.fd);
	close(target.fd);
}

/* The devices of the next job: OLD=NEW each, or a name that stays. */
static void set_devices(char **names, unsigned n)
{
	free(devices);
	count = n;
	devices = calloc(count, sizeof *devices);
	if (!devices)
		die("calloc", errno);
	for (unsigned i = 0; i < count; i++) {
		devices[i].old = strsep(&names[i], "=");
		devices[i].new = names[i] ? names[i] : devices[i].old;
		devices[i].ipv4_end = &devices[i].ipv4;
	}
}

static void warm_up(const char *variant, char *words)
{
	const int fd = atoi(strsep(&words, ","));
	char *names[16];
	unsigned n = 0;

	while (words && n < sizeof names / sizeof names[0])
		names[n++] = strsep(&words, ",");
	set_devices(names, n);
	job(variant, fd);
}

/* argv: VARIANT TARGET_FD ... */
static void job_of(void *argv)
{
	job(((char **)argv)[0], atoi(((char **)argv)[1]));
}

int main(int argc, char **argv)
{
	const bool now = argc > 1 && !strcmp(argv[1], "--now");
	char *warm = NULL;

	argc -= now;
	argv += now;
	if (argc > 2 && !strcmp(argv[1], "--warm")) {
		warm = argv[2];
		argc -= 2;
		argv += 2;
	}
	if (argc < 4) {
		fputs("usage: floor [--now] [--warm FD,NAME,...] plain|plain-one-ack|phased TARGET_FD OLD=NEW ...\n", stderr);
		return 2;
	}
	if (warm)
		warm_up(argv[1], warm);
	set_devices(argv + 3, (unsigned)argc - 3);
	if (now)
		job_of(argv + 1);
	else
		measured(job_of, argv + 1);
	return 0;
}
