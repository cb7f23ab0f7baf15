/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * The C core as its callers see it: golden bytes, bounds, malformed input, limits, and calls in the wrong order. TAP on stdout;
 * arguments: --list, or names of cases. Parsed data lies in memory of exactly its size, so that a sanitizer or valgrind finds
 * each byte that is read behind it.
 */
#include "unit.h"

static int failures;

void fail(const char *condition, const char *file, int line)
{
	failures++;
	printf("# %s:%d: %s\n", file, line, condition);
}

void *exactly(const void *data, size_t len)
{
	void *copy = malloc(len ? len : 1);

	if (!copy)
		abort();
	memcpy(copy, data, len);
	return copy;
}

static const struct ifinfomsg LINK = { .ifi_index = 7 };

static void begin_link(struct nd_msg *m, void *buf, size_t size)
{
	nd_msg_init(m, buf, size);
	nd_msg_begin(m, RTM_NEWLINK, NLM_F_ACK, &LINK, sizeof LINK);
}

/* ---- building ---- */

/* Bytes of iproute2 6.1, see tests/unit/engine/test_golden.py; seq and portid are 0. */
static void golden_bytes(void)
{
	static const unsigned char move[] =
		"\x34\0\0\0\x10\0\x05\0\0\0\0\0\0\0\0\0" "\0\0\0\0\x07\0\0\0\0\0\0\0\0\0\0\0"
		"\x08\0\x1c\0\x04\0\0\0" "\x09\0\x03\0net0\0\0\0\0";
	static const unsigned char address[] =
		"\x44\0\0\0\x14\0\x05\x05\0\0\0\0\0\0\0\0" "\x02\x18\0\0\x07\0\0\0" "\x08\0\x02\0\x0a\0\0\x02"
		"\x0b\0\x03\0" "eth1:y\0\0" "\x08\0\x04\0\x0a\0\0\xff" "\x08\0\x09\0\x05\0\0\0" "\x08\0\x01\0\x0a\0\0\x02";
	const struct ifaddrmsg head = { .ifa_family = AF_INET, .ifa_prefixlen = 24, .ifa_index = 7 };
	_Alignas(8) unsigned char bytes[128];
	const uint16_t one = 1;
	struct nd_msg m;

	if (*(const unsigned char *)&one != 1)	/* recorded on a little-endian machine */
		return;
	begin_link(&m, bytes, sizeof bytes);
	nd_msg_put_u32(&m, IFLA_NET_NS_FD, 4);
	nd_msg_put_name(&m, IFLA_IFNAME, "net0");
	CHECK(m.err == 0 && m.used == sizeof move - 1 && memcmp(bytes, move, m.used) == 0);
	nd_msg_init(&m, bytes, sizeof bytes);
	nd_msg_begin(&m, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, &head, sizeof head);
	nd_msg_put(&m, IFA_LOCAL, "\x0a\0\0\x02", 4);
	nd_msg_put_name(&m, IFA_LABEL, "eth1:y");
	nd_msg_put(&m, IFA_BROADCAST, "\x0a\0\0\xff", 4);
	nd_msg_put_u32(&m, IFA_RT_PRIORITY, 5);
	nd_msg_put(&m, IFA_ADDRESS, "\x0a\0\0\x02", 4);
	nd_msg_ack(&m);
	CHECK(m.err == 0 && m.used == sizeof address - 1 && memcmp(bytes, address, m.used) == 0);
}

/* In each size that is too small: -EOVERFLOW, nothing behind the end. With malloc, a sanitizer looks, too. */
static void too_small_for_a_request(void)
{
	for (size_t size = 0; size <= 52; size++) {
		unsigned char *memory = malloc(size + 8);
		struct nd_msg m;

		if (!memory)
			abort();
		memset(memory, 0xa5, size + 8);
		begin_link(&m, memory, size);
		nd_msg_put_u32(&m, IFLA_NET_NS_FD, 4);
		nd_msg_put_name(&m, IFLA_IFNAME, "net0");
		CHECK(m.err == (size < 52 ? -EOVERFLOW : 0));
		CHECK(m.used <= size);
		for (size_t i = m.used; i < size + 8; i++)
			CHECK(memory[i] == 0xa5);
		free(memory);
	}
}

static void error_is_sticky(void)
{
	_Alignas(8) unsigned char bytes[40];
	struct nd_sock closed = { .fd = -1 };
	struct nd_err err;
	struct nd_msg m;

	begin_link(&m, bytes, sizeof bytes);
	nd_msg_put(&m, IFLA_IFALIAS, "longer than what is left", 24);
	nd_msg_put(&m, IFLA_IFALIAS, "", 0);
	nd_msg_begin(&m, RTM_DELLINK, 0, &LINK, 0);
	nd_msg_ack(&m);
	CHECK(m.err == -EOVERFLOW && m.used == 32);
	CHECK(nd_sock_exchange(&closed, &m, NULL, &err) == -EOVERFLOW && err.code == -EOVERFLOW && err.step == ND_STEP_EXCHANGE);
}

/* Without a family header the pointer may be NULL. */
static void header_of_no_bytes(void)
{
	_Alignas(8) unsigned char bytes[32];
	struct nd_msg m;

	nd_msg_init(&m, bytes, sizeof bytes);
	nd_msg_begin(&m, NLMSG_NOOP, 0, NULL, 0);
	nd_msg_put(&m, 1, NULL, 0);
	CHECK(m.err == 0 && m.used == 20);
}

static void lengths_that_no_message_has(void)
{
	static unsigned char bytes[70000], data[70000];
	struct nd_msg m;

	begin_link(&m, bytes, sizeof bytes);
	nd_msg_put(&m, IFLA_IFALIAS, data, UINT16_MAX - 4);
	CHECK(m.err == 0 && m.used == 32 + 65536);
	begin_link(&m, bytes, sizeof bytes);
	nd_msg_put(&m, IFLA_IFALIAS, data, UINT16_MAX - 3);
	CHECK(m.err == -EOVERFLOW && m.used == 32);
	begin_link(&m, bytes, sizeof bytes);
	nd_msg_put(&m, IFLA_IFALIAS, data, SIZE_MAX);
	CHECK(m.err == -EOVERFLOW && m.used == 32);
	nd_msg_init(&m, bytes, sizeof bytes);
	nd_msg_begin(&m, RTM_NEWLINK, 0, data, 65);
	CHECK(m.err == -EOVERFLOW && m.used == 0);
}

/* ---- reading ---- */

/* Counts the messages in `len` bytes with that nlmsg_len in the first; *end: 0 or -EBADMSG. */
static int walk(const void *data, size_t len, uint32_t first_len, int *end)
{
	unsigned char *copy = exactly(data, len);
	struct nd_view v;
	size_t pos = 0;
	int n = 0;

	if (len >= sizeof first_len)
		memcpy(copy, &first_len, sizeof first_len);
	while ((*end = nd_view_next(copy, len, &pos, &v)) > 0)
		n++;
	free(copy);
	return n;
}

static void messages_that_lie_about_their_length(void)
{
	_Alignas(8) unsigned char bytes[128];
	struct nd_msg m;
	int end;

	begin_link(&m, bytes, sizeof bytes);
	nd_msg_begin(&m, RTM_NEWLINK, 0, &LINK, sizeof LINK);
	for (size_t len = 0; len < 64; len++) {	/* cut anywhere */
		CHECK(walk(bytes, len, 32, &end) == (len >= 32));
		CHECK(end == (len == 0 || len == 32 ? 0 : -EBADMSG));
	}
	CHECK(walk(bytes, 64, 32, &end) == 2 && end == 0);
	CHECK(walk(bytes, 64, 64, &end) == 1 && end == 0);
	CHECK(walk(bytes, 33, 33, &end) == 1 && end == 0);	/* the last may lack its padding */
	for (uint32_t lie = 0; lie < 16; lie++)
		CHECK(walk(bytes, 64, lie, &end) == 0 && end == -EBADMSG);
	CHECK(walk(bytes, 64, 65, &end) == 0 && end == -EBADMSG);
	CHECK(walk(bytes, 64, UINT32_MAX, &end) == 0 && end == -EBADMSG);
	CHECK(walk(bytes, 64, UINT32_MAX - 2, &end) == 0 && end == -EBADMSG);
}

/* Looks for IFLA_IFNAME, the second attribute, with that nla_len in the first one. Returns the payload's length, or -1. */
static int look(uint16_t first_len, size_t cut)
{
	_Alignas(8) unsigned char bytes[64];
	const unsigned char *found;
	unsigned char *copy;
	struct nd_view v;
	struct nd_msg m;
	size_t pos = 0, len;

	begin_link(&m, bytes, sizeof bytes);
	nd_msg_put_u32(&m, IFLA_MTU, 1400);
	nd_msg_put_name(&m, IFLA_IFNAME, "net0");
	memcpy(bytes + 32, &first_len, sizeof first_len);
	memcpy(bytes, &(uint32_t){ (uint32_t)(m.used - cut) }, 4);
	copy = exactly(bytes, m.used - cut);
	CHECK(nd_view_next(copy, m.used - cut, &pos, &v) == 1);
	found = nd_view_attr(&v, sizeof LINK, IFLA_IFNAME, &len);
	CHECK(found ? memcmp(found, "net0", 5) == 0 : len == 0);
	CHECK(nd_view_attr(&v, v.body_len + 1, IFLA_IFNAME, &pos) == NULL && pos == 0);
	free(copy);
	return found ? (int)len : -1;
}

static void attributes_that_lie_about_their_length(void)
{
	CHECK(look(8, 0) == 5);
	CHECK(look(7, 0) == 5);	/* 7 and its padding are 8 */
	for (uint16_t lie = 0; lie < 4; lie++)
		CHECK(look(lie, 0) == -1);
	CHECK(look(21, 0) == -1);
	CHECK(look(UINT16_MAX, 0) == -1);
	for (size_t cut = 1; cut <= 3; cut++)
		CHECK(look(8, cut) == 5);	/* of the padding */
	for (size_t cut = 4; cut <= 12; cut++)
		CHECK(look(8, cut) == -1);
}

/* NLMSG_ERROR with that code, flags and, behind struct nlmsgerr, `len` bytes. */
static int read_error(int code, uint16_t flags, const void *more, size_t len, struct nd_err *err)
{
	struct nlmsgerr body = { .error = code, .msg = { .nlmsg_len = 36 } };
	unsigned char bytes[512], *copy;
	struct nd_view v;
	size_t pos = 0, all = NLMSG_HDRLEN + sizeof body + len;
	struct nlmsghdr h = { .nlmsg_len = (uint32_t)all, .nlmsg_type = NLMSG_ERROR, .nlmsg_flags = flags };

	memcpy(bytes, &h, sizeof h);
	memcpy(bytes + NLMSG_HDRLEN, &body, sizeof body);
	memcpy(bytes + NLMSG_HDRLEN + sizeof body, more, len);
	copy = exactly(bytes, all);
	CHECK(nd_view_next(copy, all, &pos, &v) == 1);
	code = nd_view_error(&v, err);
	CHECK(err->code == code && strlen(err->text) < ND_TEXT_SIZE);
	v.body_len = sizeof body - 1;
	CHECK(nd_view_error(&v, &(struct nd_err){ 0 }) == -EBADMSG);
	free(copy);
	return code;
}

static void errors_and_their_texts(void)
{
	_Alignas(8) unsigned char bytes[320];
	unsigned char *const attrs = bytes + NLMSG_HDRLEN;	/* built with a header, which is then skipped */
	struct nd_msg m;
	struct nd_err err;
	char text[250];

	CHECK(read_error(0, 0, "", 0, &err) == 0 && err.text[0] == '\0');
	CHECK(read_error(-EPERM, NLM_F_CAPPED, "", 0, &err) == -EPERM);
	CHECK(read_error(5, 0, "", 0, &err) == -EBADMSG);
	CHECK(read_error(INT32_MIN, 0, "", 0, &err) == -EBADMSG);
	memset(text, 'x', sizeof text);
	nd_msg_init(&m, bytes, sizeof bytes);
	nd_msg_begin(&m, NLMSG_NOOP, 0, "", 0);
	nd_msg_put(&m, NLMSGERR_ATTR_MSG, text, sizeof text);	/* 250 bytes without a NUL */
	nd_msg_put_u32(&m, NLMSGERR_ATTR_OFFS, 20);
	CHECK(read_error(-EINVAL, NLM_F_CAPPED | NLM_F_ACK_TLVS, attrs, m.used - NLMSG_HDRLEN, &err) == -EINVAL);
	CHECK(err.offset == 20 && strlen(err.text) == ND_TEXT_SIZE - 1);
	/* Not capped: a request of 36 bytes is echoed, 20 of them behind struct nlmsgerr. Here it is cut, then it is not. */
	CHECK(read_error(-EINVAL, NLM_F_ACK_TLVS, attrs, 12, &err) == -EINVAL && err.text[0] == '\0');
	memmove(attrs + 20, attrs, 24);
	memcpy(attrs + 20, &(uint16_t){ 24 }, 2);
	CHECK(read_error(-EINVAL, NLM_F_ACK_TLVS, attrs, 44, &err) == -EINVAL && strlen(err.text) == 20);
}

static const struct unit_case message_cases[] = {
	{ "golden_bytes", golden_bytes },
	{ "too_small_for_a_request", too_small_for_a_request },
	{ "error_is_sticky", error_is_sticky },
	{ "header_of_no_bytes", header_of_no_bytes },
	{ "lengths_that_no_message_has", lengths_that_no_message_has },
	{ "messages_that_lie_about_their_length", messages_that_lie_about_their_length },
	{ "attributes_that_lie_about_their_length", attributes_that_lie_about_their_length },
	{ "errors_and_their_texts", errors_and_their_texts },
	{ NULL, NULL },
};

static int is_wanted(const char *name, char **names)
{
	if (!*names)
		return 1;
	while (*names)
		if (strcmp(name, *names++) == 0)
			return 1;
	return 0;
}

int main(int argc, char **argv)
{
	const struct unit_case *const lists[] = { message_cases, device_cases, contract_cases };
	const int list = argc == 2 && strcmp(argv[1], "--list") == 0;
	int n = 0, bad = 0;

	for (size_t i = 0; i < 3; i++) {
		for (const struct unit_case *c = lists[i]; c->name; c++) {
			if (list) {
				puts(c->name);
			} else if (is_wanted(c->name, argv + 1)) {
				failures = 0;
				c->run();
				bad += failures != 0;
				printf("%s %d - %s\n", failures ? "not ok" : "ok", ++n, c->name);
			}
		}
	}
	if (!list)
		printf("1..%d\n", n);
	return bad || (!list && n == 0);
}
