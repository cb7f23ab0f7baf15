/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* Sockets and devices: limits, calls in the wrong order, memory that is too small, answers that the kernel never gives. */
#include "unit.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

struct nd_dev *lo(size_t size)
{
	struct nd_dev *dev = NULL;
	struct nd_err err;
	void *memory = malloc(size);

	if (!memory)
		abort();
	CHECK(nd_dev_init(&dev, memory, size, "lo", "net0", &err) == 0);
	return dev;
}

static struct nd_sock here(void)
{
	struct nd_sock s;
	struct nd_err err;

	CHECK(nd_sock_open(&s, -1, NULL, 0, &err) == 0);
	return s;
}

/* ---- sockets ---- */

static void socket_that_cannot_be_opened(void)
{
	const int null = open("/dev/null", O_RDONLY);
	struct nd_sock s;
	struct nd_err err;

	CHECK(nd_sock_open(&s, null, NULL, 0, &err) < 0);
	CHECK(s.fd == -1 && err.code < 0 && err.step == ND_STEP_OPEN && err.text[0] != '\0');
	nd_sock_close(&s);
	close(null);
	s = here();
	CHECK(s.fd >= 0 && s.portid != 0);
	nd_sock_close(&s);
	nd_sock_close(&s);	/* harmless */
	CHECK(s.fd == -1);
}

static void files_are_read_on_the_way(void)
{
	struct nd_file files[] = { { .path = "/proc/sys/net/ipv4/ip_forward", .code = 1 },
				   { .path = "/proc/sys/net/none", .text = "old", .code = 1 },
				   { .path = "/proc/version", .code = 1 } };
	struct nd_sock s;
	struct nd_err err;

	CHECK(nd_sock_open(&s, -1, files, 3, &err) == 0);
	CHECK(files[0].code == 0 && (strcmp(files[0].text, "0\n") == 0 || strcmp(files[0].text, "1\n") == 0));
	CHECK(files[1].code == -ENOENT && files[1].text[0] == '\0');
	CHECK(files[2].code == 0 && strlen(files[2].text) == sizeof files[2].text - 1);	/* cut */
	nd_sock_close(&s);
}

static void too_small_for_a_reply(void)
{
	_Alignas(8) unsigned char request[64], few[16];
	struct nd_buf reply = { .data = few, .size = sizeof few };
	struct nd_sock s = here();
	struct nd_err err;
	struct nd_msg m;

	nd_msg_init(&m, request, sizeof request);
	nd_put_getlink(&m, 0, "lo");
	CHECK(nd_sock_exchange(&s, &m, &reply, &err) == -EOVERFLOW);
	CHECK(reply.used == 0 && reply.need > sizeof few && err.code == -EOVERFLOW);
	reply = (struct nd_buf){ .data = malloc(reply.need), .size = reply.need };
	CHECK(nd_sock_exchange(&s, &m, &reply, &err) == 0);
	CHECK(reply.used == reply.size && reply.used == reply.need && reply.first_seq == s.seq);
	free(reply.data);
	nd_sock_close(&s);
}

static void request_that_is_none(void)
{
	struct nd_sock s = here();
	struct nd_err err;
	struct nd_msg m;

	nd_msg_init(&m, NULL, 0);
	CHECK(nd_sock_exchange(&s, &m, NULL, &err) == -EINVAL && err.code == -EINVAL);
	nd_sock_close(&s);
}

/* ---- devices ---- */

static void limits_of_a_device(void)
{
	_Alignas(8) static unsigned char memory[ND_DEV_SIZE_MIN];
	static const char *const bad[] = { "", "0123456789abcdef" };
	struct nd_dev *dev;
	struct nd_err err;

	memset(memory, 0xa5, sizeof memory);
	for (size_t i = 0; i < 2; i++) {
		dev = (struct nd_dev *)(void *)memory;
		CHECK(nd_dev_init(&dev, memory, sizeof memory, bad[i], "net0", &err) == -EINVAL && !dev && err.text[0]);
		CHECK(nd_dev_init(&dev, memory, sizeof memory, "eth1", bad[i], &err) == -EINVAL && !dev);
	}
	CHECK(nd_dev_init(&dev, memory, sizeof *dev - 1, "eth1", "net0", &err) == -EOVERFLOW && !dev);
#if SIZE_MAX > UINT32_MAX
	CHECK(nd_dev_init(&dev, memory, (size_t)UINT32_MAX + 1, "eth1", "net0", &err) == -EOVERFLOW && !dev);
#endif
	CHECK(memory[0] == 0xa5);
	CHECK(nd_dev_init(&dev, memory, sizeof memory, "0123456789abcde", "n", &err) == 0 && (void *)dev == memory);
	CHECK(strcmp(dev->ifname, "0123456789abcde") == 0 && strcmp(dev->wanted, "n") == 0);
	CHECK(dev->size == sizeof memory && dev->place == ND_PLACE_UNKNOWN && dev->need == 0 && dev->ifindex == 0);
	dev->need = 5;
	nd_dev_resize(dev, SIZE_MAX);
	CHECK(dev->size == UINT32_MAX && dev->need == 0);
}

static void steps_without_a_snapshot(void)
{
	struct nd_sock s = here();
	struct nd_dev *dev = lo(ND_DEV_SIZE_MIN);
	struct nd_err err;

	CHECK(nd_dev_move(dev, &s, &s, -1, &err) == -EINVAL && err.step == ND_STEP_MOVE);
	CHECK(nd_dev_up_and_replay(dev, &s, &err) == -EINVAL && err.step == ND_STEP_REPLAY);
	CHECK(nd_dev_verify(dev, &s, &err) == -EINVAL && err.step == ND_STEP_VERIFY);
	CHECK(nd_dev_undo(dev, &s, &s, -1, ND_UNDO_RETURN | ND_UNDO_RESTORE, &err) == 0 && err.code == 0);
	free(dev);
	nd_sock_close(&s);
}

static void snapshot_of_a_device_that_is_not_there(void)
{
	struct nd_sock s = here();
	struct nd_dev *dev = lo(ND_DEV_SIZE_MIN);
	struct nd_err err;

	memcpy(dev->ifname, "no-such-device", 15);
	CHECK(nd_dev_snapshot(dev, &s, &err) == -ENODEV && err.code == -ENODEV && err.step == ND_STEP_SNAPSHOT);
	CHECK(dev->place == ND_PLACE_UNKNOWN && dev->ifindex == 0);
	free(dev);
	nd_sock_close(&s);
}

/* Plain data: the snapshot is found again in a copy elsewhere, as in a record read back by another process. */
static void snapshot_survives_a_copy(void)
{
	struct nd_sock s = here();
	struct nd_dev *dev = lo(ND_DEV_SIZE_MIN), *copy = malloc(2 * ND_DEV_SIZE_MIN);
	struct nd_err err;
	struct nd_view link;
	size_t pos = 0;

	if (!copy)
		abort();
	CHECK(nd_dev_snapshot(dev, &s, &err) == 0 && dev->place == ND_PLACE_SOURCE && dev->ifindex > 0);
	memset(copy, 0xa5, 2 * ND_DEV_SIZE_MIN);
	memcpy(copy, dev, nd_dev_end(dev));
	free(dev);
	nd_dev_resize(copy, 2 * ND_DEV_SIZE_MIN);
	CHECK(nd_view_next((unsigned char *)copy + copy->link, copy->link_len, &pos, &link) == 1 && link.type == RTM_NEWLINK);
	CHECK(nd_dev_undo(copy, &s, &s, -1, ND_UNDO_RESTORE, &err) == 0 && err.code == 0);	/* nothing changed */
	free(copy);
	nd_sock_close(&s);
}

/* A damaged record is refused before anything behind the memory, or behind a name, is touched. */
static void record_that_lies(void)
{
	struct nd_sock s = here();
	struct nd_dev *dev = lo(ND_DEV_SIZE_MIN), good;
	struct nd_err err;

	CHECK(nd_dev_snapshot(dev, &s, &err) == 0);
	good = *dev;
	for (int lie = 0; lie < 8; lie++) {
		*dev = good;
		switch (lie) {
		case 0: dev->addrs = dev->size + 1; break;
		case 1: dev->addrs_len = dev->size; break;
		case 2: dev->addrs_len = UINT32_MAX - dev->addrs + 1; break;
		case 3: dev->link = 4; break;
		case 4: dev->link_len = UINT32_MAX; break;
		case 5: memset(dev->ifname, 'x', sizeof dev->ifname); break;
		case 6: memset(dev->wanted, 'x', sizeof dev->wanted); break;
		default: memset(dev->name, 'x', sizeof dev->name); break;
		}
		CHECK(nd_dev_undo(dev, &s, &s, -1, ND_UNDO_RETURN | ND_UNDO_RESTORE, &err) == -EINVAL);
		CHECK(err.code == -EINVAL && err.step == ND_STEP_UNDO);
	}
	free(dev);
	nd_sock_close(&s);
}

/* An ack where a link was asked for: refused, not taken for a link. */
static void ack_instead_of_a_link(void)
{
	struct { struct nlmsghdr h; int code; struct nlmsghdr request; } ack = {
		.h = { .nlmsg_len = sizeof ack, .nlmsg_type = NLMSG_ERROR, .nlmsg_seq = 1, .nlmsg_pid = 77 } };
	struct nd_dev *dev = lo(ND_DEV_SIZE_MIN);
	struct nd_sock s = { .portid = 77 };
	struct nd_err err;
	int pair[2];

	CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) == 0);
	s.fd = pair[0];
	CHECK(send(pair[1], &ack, sizeof ack, 0) == sizeof ack);
	CHECK(nd_dev_snapshot(dev, &s, &err) == -EBADMSG && err.code == -EBADMSG && err.step == ND_STEP_SNAPSHOT);
	nd_sock_close(&s);
	close(pair[1]);
	free(dev);
}

/* ---- ifindex in the target ---- */

/* lo's ifindex, 1, is taken in each namespace: a free one is chosen that no other device of the batch has. */
static void free_ifindex_is_chosen(void)
{
	struct nd_dev *dev = lo(ND_DEV_SIZE_MIN), *other = lo(ND_DEV_SIZE_MIN), *batch[] = { dev, other };
	struct nd_sock s = here();
	struct nd_err err;

	CHECK(nd_dev_choose(dev, batch, 2, &s, &err) == -EINVAL && err.code == -EINVAL);
	CHECK(nd_dev_snapshot(dev, &s, &err) == 0 && nd_dev_snapshot(other, &s, &err) == 0);
	CHECK(nd_dev_choose(dev, batch, 2, &s, &err) == 0 && err.code == 0);
	CHECK(dev->target_ifindex > 1 && dev->place == ND_PLACE_SOURCE);
	CHECK(nd_dev_choose(other, batch, 2, &s, &err) == 0);
	CHECK(other->target_ifindex > 1 && other->target_ifindex != dev->target_ifindex);
	dev->ifindex = 999999;	/* free, and so kept */
	CHECK(nd_dev_choose(dev, batch, 2, &s, &err) == 0 && dev->target_ifindex == 999999);
	other->ifindex = 999999;
	CHECK(nd_dev_choose(other, batch, 2, &s, &err) == 0 && other->target_ifindex == 1000000);
	dev->ifindex = INT32_MAX;
	CHECK(nd_dev_choose(dev, batch, 2, &s, &err) == -ENOSPC && dev->target_ifindex == 999999);
	nd_sock_close(&s);
	CHECK(nd_dev_choose(other, batch, 2, &s, &err) < 0 && err.code < 0);
	free(dev);
	free(other);
}

/* ---- labels ---- */

static int label_of(const char *label, const char *name, char out[ND_NAME_SIZE], int *cut)
{
	static const struct ifaddrmsg head = { .ifa_family = AF_INET };
	_Alignas(8) unsigned char bytes[64];
	struct nd_dev dev = { .ifname = "eth1" };
	struct nd_addr a;
	struct nd_msg m;
	size_t pos = 0;

	memset(&a, 0, sizeof a);
	nd_msg_init(&m, bytes, sizeof bytes);
	nd_msg_begin(&m, RTM_NEWADDR, 0, &head, sizeof head);
	nd_msg_put_u32(&m, IFA_LOCAL, 0);
	if (label)
		nd_msg_put(&m, IFA_LABEL, label, strlen(label));	/* the kernel's NUL may be missing */
	CHECK(nd_addr_next(bytes, m.used, &pos, &a) == 1);
	return nd_addr_label(&dev, name, &a, out, cut);
}

static void labels_follow_the_name(void)
{
	static const struct { const char *label, *name, *want; int cut; } rows[] = {
		{ "eth1", "net0", "net0", 0 },
		{ "eth1:x", "net0", "net0:x", 0 },
		{ "eth10", "net0", "eth10", 0 },
		{ "other", "net0", "other", 0 },
		{ "eth1:", "net0", "net0:", 0 },
		{ "eth1:x", "0123456789abc", "0123456789abc:x", 0 },
		{ "eth1:x", "0123456789abcd", "0123456789abcd", 1 },
	};
	char label[ND_NAME_SIZE];
	int cut;

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		CHECK(label_of(rows[i].label, rows[i].name, label, &cut) == 1);
		CHECK(strcmp(label, rows[i].want) == 0 && cut == rows[i].cut);
	}
	CHECK(label_of(NULL, "net0", label, &cut) == 0);
}

const struct unit_case device_cases[] = {
	{ "socket_that_cannot_be_opened", socket_that_cannot_be_opened },
	{ "files_are_read_on_the_way", files_are_read_on_the_way },
	{ "too_small_for_a_reply", too_small_for_a_reply },
	{ "request_that_is_none", request_that_is_none },
	{ "limits_of_a_device", limits_of_a_device },
	{ "steps_without_a_snapshot", steps_without_a_snapshot },
	{ "snapshot_of_a_device_that_is_not_there", snapshot_of_a_device_that_is_not_there },
	{ "snapshot_survives_a_copy", snapshot_survives_a_copy },
	{ "record_that_lies", record_that_lies },
	{ "ack_instead_of_a_link", ack_instead_of_a_link },
	{ "free_ifindex_is_chosen", free_ifindex_is_chosen },
	{ "labels_follow_the_name", labels_follow_the_name },
	{ NULL, NULL },
};
