/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * Fuzzes the core with answers that the kernel never gives. Linked with --wrap for send and recvmmsg: the input takes the
 * kernel's place. Built for clang's libFuzzer or, with -DFUZZ_MAIN, as a program: fuzz SECONDS SEED-FILE..., whose last line
 * has the number of inputs. A sanitizer ends it at the first wrong access; an input that takes 10 s is a hang.
 *
 * An input: the first byte chooses the functions, the next three their arguments; then chunks, each with its length (2 bytes,
 * little-endian): the datagrams of the answers, in turn. An empty chunk, and each answer after the last, is an ack or a
 * refusal.
 */
#include "internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PORTID 4711u
#define INPUT_MAX 16384

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
ssize_t __wrap_send(int fd, const void *data, size_t len, int flags);
int __wrap_recvmmsg(int fd, struct mmsghdr *burst, unsigned int n, int flags, struct timespec *timeout);

/* ---- the kernel ---- */

static struct {
	const uint8_t *data;	/* the rest of the input */
	size_t size;
	uint32_t first, last;	/* seq of the request's first and last message */
	unsigned int answered;
	int refuses;		/* after the end of the input: each n-th request is refused; 0: none */
	int lies;		/* seq and portid stay as in the input */
} kernel;

/* The next chunk of the input. 0: used up. */
static size_t chunk(const uint8_t **data)
{
	size_t len;

	if (kernel.size < 2)
		return 0;
	len = (size_t)kernel.data[0] | (size_t)kernel.data[1] << 8;
	kernel.data += 2;
	kernel.size -= 2;
	if (len > kernel.size)
		len = kernel.size;
	*data = kernel.data;
	kernel.data += len;
	kernel.size -= len;
	return len;
}

/* Turns messages into answers: their seq in the input is the index of the request's message. */
static void address(uint8_t *data, size_t len)
{
	const uint32_t portid = PORTID;
	struct nlmsghdr head;
	size_t at = 0;

	while (!kernel.lies && len - at >= sizeof head) {
		memcpy(&head, data + at, sizeof head);
		head.nlmsg_seq = kernel.first + head.nlmsg_seq % (kernel.last - kernel.first + 1);
		head.nlmsg_pid = portid;
		memcpy(data + at, &head, sizeof head);
		if (head.nlmsg_len < sizeof head || nd_align(head.nlmsg_len) > len - at)
			return;
		at += nd_align(head.nlmsg_len);
	}
}

static size_t acknowledge(uint8_t *to)
{
	struct {
		struct nlmsghdr head;
		struct nlmsgerr error;
	} ack = { .head = { .nlmsg_len = sizeof ack, .nlmsg_type = NLMSG_ERROR, .nlmsg_seq = kernel.last, .nlmsg_pid = PORTID } };

	kernel.answered++;
	if (kernel.refuses && kernel.answered % (unsigned int)kernel.refuses == 0)
		ack.error.error = -ENODEV;
	memcpy(to, &ack, sizeof ack);
	return sizeof ack;
}

ssize_t __wrap_send(int fd, const void *data, size_t len, int flags)
{
	struct nd_view v;
	size_t pos = 0, count = 0;

	(void)fd;
	(void)flags;
	while (nd_view_next(data, len, &pos, &v) > 0) {
		kernel.last = v.seq;
		if (count++ == 0)
			kernel.first = v.seq;
	}
	return (ssize_t)len;
}

int __wrap_recvmmsg(int fd, struct mmsghdr *burst, unsigned int n, int flags, struct timespec *timeout)
{
	const uint8_t *data = NULL;
	unsigned int got = 0;

	(void)fd, (void)timeout;
	while (got < n && kernel.size >= 2) {
		const struct iovec *iov = burst[got].msg_hdr.msg_iov;
		const size_t whole = chunk(&data), len = whole < iov->iov_len ? whole : iov->iov_len;

		if (!whole)
			break;
		memcpy(iov->iov_base, data, len);
		address(iov->iov_base, len);
		burst[got].msg_hdr.msg_namelen = 0;
		burst[got].msg_hdr.msg_flags = whole > len ? MSG_TRUNC : 0;
		burst[got++].msg_len = (unsigned int)(flags & MSG_TRUNC ? whole : len);
		/* The end of an answer, by nlmsg_flags and nlmsg_type. */
		if (len >= sizeof(struct nlmsghdr) && ((data[6] & NLM_F_MULTI) == 0 || data[4] == NLMSG_DONE))
			break;
	}
	if (!got) {
		burst[0].msg_hdr.msg_namelen = 0;
		burst[0].msg_hdr.msg_flags = 0;
		burst[0].msg_len = (unsigned int)acknowledge(burst[0].msg_hdr.msg_iov->iov_base);
		got = 1;
	}
	return (int)got;
}

/* ---- the fuzzed functions ---- */

/* Memory of exactly that size, for the sanitizer. */
static void *exactly(const void *data, size_t size)
{
	void *copy = malloc(size ? size : 1);

	if (!copy)
		abort();
	if (data && size)
		memcpy(copy, data, size);
	return copy;
}

static void parse(const uint8_t *data, size_t size)
{
	static const size_t headers[] = { 0, 4, 8, 12, 16, 64, 65536 };
	void *copy = exactly(data, size);
	volatile unsigned char sum = 0;
	struct nd_view v;
	struct nd_err err;
	size_t pos = 0, len;

	while (nd_view_next(copy, size, &pos, &v) > 0) {
		for (size_t h = 0; h < sizeof headers / sizeof headers[0]; h++) {
			for (uint16_t type = 0; type < 64; type++) {
				const unsigned char *p = nd_view_attr(&v, headers[h], type, &len);

				for (size_t i = 0; p && i < len; i++)
					sum = (unsigned char)(sum ^ p[i]);
			}
		}
		if (nd_view_error(&v, &err) < 0 && memchr(err.text, '\0', sizeof err.text) == NULL)
			abort();
	}
	free(copy);
}

static void exchange(const uint8_t *how)
{
	static const int32_t ifindexes[] = { 1, 7, 9 };
	static const char names[2][ND_NAME_SIZE] = { "eth1", "lo" };
	const struct nd_filter filter = { .ifindexes = ifindexes, .count = 3, .names = names[0], .names_count = 2 };
	struct nd_sock s = { .fd = -1, .portid = PORTID, .seq = how[1] };
	struct nd_buf reply = { .size = (size_t)how[2] * 64 };
	unsigned char *request = exactly(NULL, 4096);
	struct nd_err err;
	struct nd_msg m;

	reply.data = exactly(NULL, reply.size);
	nd_msg_init(&m, request, 4096);
	for (int i = 0; i <= how[1] % 5; i++)
		nd_put_getlink(&m, i, NULL);
	if (how[0] & 4)
		nd_msg_ack(&m);
	if (how[0] & 32)
		reply.filter = &filter;
	if (nd_sock_exchange(&s, &m, how[0] & 8 ? NULL : &reply, &err) == 0 && reply.used > reply.size)
		abort();
	free(reply.data);
	free(request);
}

/* All steps, also after failures; `how` also says how the device is damaged before the undo. */
static void steps(struct nd_dev *dev, const uint8_t *how)
{
	struct nd_sock source = { .fd = -1, .portid = PORTID }, target = source;
	struct nd_err err;

	if (how[0] & 4) {
		const uint8_t *link = NULL, *addrs = NULL;
		const size_t link_len = chunk(&link), addrs_len = chunk(&addrs);
		void *a = exactly(link, link_len), *b = exactly(addrs, addrs_len);
		uint32_t spans[2 * 3];
		struct nd_run runs[2];

		nd_addr_runs(b, (uint32_t)addrs_len, runs, 2);
		nd_spans(b, (uint32_t)addrs_len, spans, 2);
		nd_route_spans(a, (uint32_t)link_len, spans, 2);
		if (how[1] & 64)
			nd_dev_take(dev, a, link_len, b, addrs_len, &err);
		else
			nd_dev_load(dev, a, link_len, b, addrs_len, &err);
		nd_dev_find(dev, &source, &target, &err);
		nd_dev_compare(dev, a, link_len, b, addrs_len, &err);
		free(a);
		free(b);
	} else {
		nd_dev_snapshot(dev, &source, &err);
	}
	if (how[0] & 16)
		nd_dev_choose(dev, &dev, 1, &target, &err);
	nd_dev_move(dev, &source, &target, 99, &err);
	nd_dev_up_and_replay(dev, &target, &err);
	nd_dev_verify(dev, &target, &err);
	if (how[0] & 8) {	/* as from a record: any byte may be wrong, but the size, which nd_dev_resize sets */
		const uint32_t size = dev->size;

		((unsigned char *)dev)[how[2] % sizeof *dev] ^= how[3];
		nd_dev_resize(dev, size);
	}
	nd_dev_undo(dev, &source, &target, 98, ND_UNDO_RETURN, &err);
	nd_dev_undo(dev, &source, &target, 98, ND_UNDO_RESTORE, &err);
}

static void device(const uint8_t *how)
{
	const size_t size = ND_DEV_SIZE_MIN + (size_t)(how[1] & 7) * 4096;
	unsigned char *memory = exactly(NULL, size);
	struct nd_dev *dev;
	struct nd_err err;

	if (nd_dev_init(&dev, memory, size, "eth1", how[1] & 8 ? "net%d" : "net0", &err))
		abort();
	dev->target_ifindex = how[1] & 16 ? 7 : 0;
	dev->ifindex_unsure = (how[1] & 32) != 0;
	steps(dev, how);
	if (dev->size != size || memchr(dev->name, '\0', sizeof dev->name) == NULL)
		abort();
	free(memory);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 4)
		return 0;
	memset(&kernel, 0, sizeof kernel);
	kernel.data = data + 4;
	kernel.size = size - 4;
	kernel.refuses = data[3] % 4;
	kernel.lies = (data[0] & 16) != 0;
	switch (data[0] & 3) {
	case 0:
		parse(data + 4, size - 4);
		break;
	case 1:
		exchange(data);
		break;
	default:
		device(data);
	}
	return 0;
}

/* ---- without libFuzzer ---- */

#ifdef FUZZ_MAIN

struct input {
	size_t size;
	uint8_t data[INPUT_MAX];
};

static uint64_t random_state = 88172645463325252u;

static uint32_t below(size_t n)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (uint32_t)((random_state >> 11) % n);
}

static void mutate(struct input *in)
{
	static const uint32_t odd[] = { 0, 1, 3, 4, 15, 16, 17, 20, 0x7fff, 0xfffc, 0xffff, 0x7fffffff, 0xfffffffc, 0xffffffff };
	const uint32_t value = odd[below(sizeof odd / sizeof odd[0])], at = below(in->size);
	size_t len = in->size - at;

	switch (below(5)) {
	case 0:
		in->data[at] ^= (uint8_t)(1u << below(8));
		break;
	case 1:
		in->data[at] = (uint8_t)below(256);
		break;
	case 2:
		memcpy(in->data + at, &value, len < 4 ? len : (size_t)2 << below(2));
		break;
	case 3:	/* leaves something out */
		len = below(len < 64 ? len : 64);
		memmove(in->data + at, in->data + at + len, in->size - at - len);
		in->size -= len;
		break;
	default:	/* something twice */
		len = below(len < 64 ? len : 64);
		if (in->size + len > sizeof in->data)
			break;
		memmove(in->data + at + len, in->data + at, in->size - at);
		in->size += len;
	}
}

int main(int argc, char **argv)
{
	const time_t end = time(NULL) + (argc > 1 ? atol(argv[1]) : 0);
	static struct input in;
	unsigned long tried = 0;
	FILE *file;

	random_state ^= (uint64_t)getpid() << 32 ^ (uint64_t)time(NULL);
	printf("# state %llu\n", (unsigned long long)random_state);
	do {
		file = fopen(argv[2 + below(argc > 3 ? (size_t)argc - 2 : 1)], "rb");
		if (!file)
			return 2;
		in.size = fread(in.data, 1, sizeof in.data, file);
		fclose(file);
		for (int round = 0; round < 200 && in.size > 8; round++, tried++) {
			mutate(&in);
			alarm(10);
			LLVMFuzzerTestOneInput(in.data, in.size);
		}
	} while (time(NULL) < end);
	printf("%lu inputs\n", tried);
	return 0;
}

#endif
