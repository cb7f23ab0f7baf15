/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * Fuzzes the reader of records. With clang's libFuzzer, or (-DFUZZ_MAIN) with a loop of its own: fuzz SECONDS SEED-FILE..., whose
 * last line says how many inputs were tried. An input: one byte, whose first bit says whether the checksum is made right; then a
 * record. What is taken must be the same when it is written and read again.
 */
#include "batch.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define INPUT_MAX 16384
#define END 0xF007
#define END_BYTES 28	/* nlmsghdr, and an attribute of 12 bytes */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint32_t crc32(const uint8_t *data, size_t len)
{
	uint32_t crc = 0xffffffff;

	for (size_t i = 0; i < len; i++) {
		crc ^= data[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc & 1 ? crc >> 1 ^ 0xedb88320 : crc >> 1;
	}
	return ~crc;
}

/* Where the first END begins, its checksum is made right. */
static void seal(uint8_t *data, size_t len)
{
	struct nd_view v;
	size_t pos = 0;

	while (nd_view_next(data, len, &pos, &v) > 0) {
		const size_t at = (size_t)(v.start - data);
		const uint64_t sum = crc32(data, at);

		if (v.type != END || len - at < END_BYTES)
			continue;
		memcpy(data + at + END_BYTES - sizeof sum, &sum, sizeof sum);
		return;
	}
}

static int is_same(const struct nd_recovered *a, const struct nd_recovered *b)
{
	int same = a->count == b->count && a->since_ms == b->since_ms &&
		   memcmp(&a->source, &b->source, offsetof(struct nd_identity, where)) == 0 &&
		   memcmp(&a->target, &b->target, offsetof(struct nd_identity, where)) == 0 &&
		   strcmp(a->source.where, b->source.where) == 0 && strcmp(a->target.where, b->target.where) == 0;

	for (size_t i = 0; same && i < a->count; i++) {
		const struct nd_dev *const x = a->devices[i].dev, *const y = b->devices[i].dev;

		same = x->ifindex == y->ifindex && x->target_ifindex == y->target_ifindex && x->link_len == y->link_len &&
		       x->addrs_len == y->addrs_len && strcmp(x->wanted, y->wanted) == 0 && strcmp(x->ifname, y->ifname) == 0 &&
		       a->devices[i].depth == b->devices[i].depth && x->ifindex_unsure == y->ifindex_unsure &&
		       memcmp((const uint8_t *)x + x->addrs, (const uint8_t *)y + y->addrs, x->addrs_len) == 0;
	}
	return same;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct nd_recovered found, again;
	unsigned char *written;
	struct nd_err err;
	uint8_t *copy;
	size_t len;

	if (!size)
		return 0;
	copy = malloc(size);	/* of exactly that size, for the sanitizer */
	if (!copy)
		abort();
	memcpy(copy, data + 1, size - 1);
	copy = realloc(copy, size - 1 ? size - 1 : 1);
	if (!copy)
		abort();
	if (data[0] & 1)
		seal(copy, size - 1);
	if (nd_record_parse(copy, size - 1, &found, &err) == 0) {
		const struct nd_record_content content = { .source = found.source, .target = found.target, .devices = found.devices,
							   .count = found.count, .since_ms = found.since_ms };

		if (nd_record_encode(&written, &len, &content, &err) ||
		    nd_record_parse(written, len, &again, &err) || !is_same(&found, &again))
			abort();
		nd_recovered_free(&again);
		free(written);
	} else if (!err.text[0] || found.count || found.devices) {
		abort();
	}
	nd_recovered_free(&found);
	free(copy);
	return 0;
}

/* ---- without libFuzzer ---- */

#ifdef FUZZ_MAIN

static uint64_t random_state = 88172645463325252u;

static uint32_t below(size_t n)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (uint32_t)((random_state >> 11) % n);
}

static size_t mutate(uint8_t *data, size_t size)
{
	const size_t at = below(size), len = below(size - at < 64 ? size - at : 64);

	switch (below(4)) {
	case 0:
		data[at] ^= (uint8_t)(1u << below(8));
		break;
	case 1:
		data[at] = (uint8_t)below(256);
		break;
	case 2:	/* leaves something out */
		memmove(data + at, data + at + len, size - at - len);
		size -= len;
		break;
	default:	/* something twice */
		if (size + len > INPUT_MAX)
			break;
		memmove(data + at + len, data + at, size - at);
		size += len;
	}
	return size;
}

int main(int argc, char **argv)
{
	const time_t end = time(NULL) + (argc > 1 ? atol(argv[1]) : 0);
	static uint8_t data[INPUT_MAX];
	unsigned long tried = 0;

	random_state ^= (uint64_t)getpid() << 32 ^ (uint64_t)time(NULL);
	printf("# state %llu\n", (unsigned long long)random_state);
	do {
		FILE *const file = fopen(argv[2 + below(argc > 3 ? (size_t)argc - 2 : 1)], "rb");
		size_t size;

		if (!file)
			return 2;
		size = fread(data, 1, sizeof data, file);
		fclose(file);
		for (int round = 0; round < 20 && size > 8; round++, tried++) {
			size = mutate(data, size);
			data[0] |= below(4) != 0;
			alarm(10);
			LLVMFuzzerTestOneInput(data, size);
		}
	} while (time(NULL) < end);
	printf("%lu inputs\n", tried);
	return 0;
}

#endif
