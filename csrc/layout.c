/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * Judges the form of a record: one that is torn, damaged or without a part that it must have is refused before anything is done.
 * As netdevns/recovery/layout.py, byte for byte: docs/records.md.
 */
#include "layout.h"

#include <errno.h>

/* The attributes of each type of section: bit N for the attribute N. */
#define BIT(attribute) (1u << (attribute))
#define OF_NETNS (BIT(A_COOKIE) | BIT(A_DEV) | BIT(A_INO) | BIT(A_OF_PID) | BIT(A_OF_START) | BIT(A_PID_NS))
#define OF_LINK (BIT(A_IFINDEX) | BIT(A_ASKED) | BIT(A_UNSURE) | BIT(A_DEPTH))
#define OF_NAMES (BIT(A_HOST_NAME) | BIT(A_IFNAME) | BIT(A_WANTED))

static const struct {
	unsigned int numbers, texts;
} required[] = {
	[HEAD - HEAD] = { BIT(A_VERSION) | BIT(A_PID) | BIT(A_SINCE_MS), BIT(A_BOOT) | BIT(A_PRESERVE) },
	[SOURCE - HEAD] = { OF_NETNS, BIT(A_WHERE) },
	[TARGET - HEAD] = { OF_NETNS, BIT(A_WHERE) },
	[DEVICE - HEAD] = { OF_LINK, OF_NAMES },
	[UPPER - HEAD] = { OF_LINK, OF_NAMES },
	[STATE - HEAD] = { 0, BIT(A_KIND) },
	[LOAN - HEAD] = { 0, BIT(A_CONTAINER) },
	[END - HEAD] = { BIT(A_CHECKSUM), 0 },
};

/* Continues a CRC, four bits at a time. */
static uint32_t add(uint32_t crc, const unsigned char *data, size_t len)
{
	static const uint32_t table[16] = {
		0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
		0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c, 0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
	};

	for (size_t i = 0; i < len; i++) {
		crc ^= data[i];
		crc = table[crc & 15] ^ crc >> 4;
		crc = table[crc & 15] ^ crc >> 4;
	}
	return crc;
}

uint32_t nd_checksum(const unsigned char *data, size_t len)
{
	return ~add(UINT32_MAX, data, len);
}

int nd_section_is_restored(const unsigned char *header)
{
	struct nlmsghdr head;

	memcpy(&head, header, sizeof head);
	return head.nlmsg_type == DEVICE && head.nlmsg_seq == ND_RECORD_RESTORED;
}

/* The checksum of messages as they were written: without the marks of restored devices. */
static uint32_t checksum_unmarked(const unsigned char *data, size_t len)
{
	static const unsigned char none[sizeof(uint32_t)];
	uint32_t crc = UINT32_MAX;
	struct nd_view v;
	size_t pos = 0, done = 0;

	while (nd_view_next(data, len, &pos, &v) > 0) {
		const size_t seq = (size_t)(v.start - data) + offsetof(struct nlmsghdr, nlmsg_seq);

		if (!nd_section_is_restored(v.start))
			continue;
		crc = add(add(crc, data + done, seq - done), none, sizeof none);
		done = seq + sizeof none;
	}
	return ~add(crc, data + done, len - done);
}

static int damaged(struct nd_err *err, const char *text)
{
	return nd_err_set(err, ND_STEP_NONE, -EBADMSG, text);
}

static int attrs_are_sound(const unsigned char *at, size_t len)
{
	while (len >= ND_ATTR_HDR) {
		struct nlattr a;

		memcpy(&a, at, sizeof a);
		if (a.nla_len < ND_ATTR_HDR || a.nla_len > len)
			return 0;
		if (nd_align(a.nla_len) >= len)
			break;
		at += nd_align(a.nla_len);
		len -= nd_align(a.nla_len);
	}
	return 1;
}

/* A 64-bit number. 0: it is missing. */
static int number_of(const struct nd_section *s, uint16_t type, uint64_t *number)
{
	size_t len = 0;
	const unsigned char *const at = nd_attr_find(s->attrs, s->attrs_len, type, &len);

	*number = 0;
	if (!at || len != sizeof *number)
		return 0;
	memcpy(number, at, sizeof *number);
	return 1;
}

uint64_t nd_section_number(const struct nd_section *s, uint16_t type)
{
	uint64_t found;

	number_of(s, type, &found);
	return found;
}

int nd_section_text(const struct nd_section *s, uint16_t type, char *text, size_t size)
{
	size_t len = 0;
	const unsigned char *const at = nd_attr_find(s->attrs, s->attrs_len, type, &len);

	text[0] = '\0';
	if (!at || len >= size || memchr(at, '\0', len))
		return 0;
	nd_text_copy(text, size, (const char *)at, len);
	return 1;
}

int nd_section_next(const unsigned char *data, size_t len, size_t *pos, struct nd_section *s)
{
	struct nd_view v;
	size_t end;

	if (nd_view_next(data, len, pos, &v) <= 0)
		return 0;
	s->type = v.type;
	s->attrs = v.body;
	s->attrs_len = v.body_len;
	s->body = data + *pos;
	for (end = *pos; nd_view_next(data, len, &end, &v) > 0 && v.type < HEAD; *pos = end)
		;
	s->body_len = (size_t)(data + *pos - s->body);
	return 1;
}

static int judge_version(const struct nd_section *s, struct nd_err *err)
{
	uint64_t version;

	if (!number_of(s, A_VERSION, &version))
		return damaged(err, "a number is missing");
	if (version != ND_RECORD_VERSION)
		return nd_err_set(err, ND_STEP_NONE, -EPROTO, "it has another version of the record format");
	return 0;
}

/* Checks the sequence of messages: complete, sections at its beginning and end, the checksum. */
static int judge_frame(const unsigned char *data, size_t len, struct nd_err *err)
{
	struct nd_section s = { .type = 0 };
	struct nd_view v;
	size_t pos = 0;
	uint16_t first = 0;
	int got, code;

	while ((got = nd_view_next(data, len, &pos, &v)) > 0) {
		uint64_t sum;

		if (s.type == END)
			return damaged(err, "data after its end");
		if (v.type < HEAD && !first)
			return damaged(err, "it has no header");
		if (v.type < HEAD)
			continue;
		s.type = v.type;
		s.attrs = v.body;
		s.attrs_len = v.body_len;
		if (!attrs_are_sound(v.body, v.body_len))
			return damaged(err, "an attribute has a wrong length");
		/* Before anything else, which may mean something else then. */
		code = !first && v.type == HEAD ? judge_version(&s, err) : 0;
		if (code)
			return code;
		first = first ? first : v.type;
		if (v.type == END && (!number_of(&s, A_CHECKSUM, &sum) || sum != checksum_unmarked(data, (size_t)(v.start - data))))
			return damaged(err, "wrong checksum");
	}
	if (got < 0)
		return damaged(err, "a netlink message with a wrong length");
	return first == HEAD && s.type == END ? 0 : damaged(err, "it is truncated");
}

/* Checks the ifindex of a link, and the nested attributes that are parsed later. */
static int link_is_sound(const struct nd_view *v)
{
	static const uint16_t nested[] = { IFLA_LINKINFO, ND_IFLA_PROP_LIST, IFLA_XDP };
	struct ifinfomsg head;
	size_t len;

	memcpy(&head, v->body, sizeof head);
	if (head.ifi_index <= 0)
		return 0;
	for (size_t i = 0; i < sizeof nested / sizeof nested[0]; i++) {
		const unsigned char *const at = nd_view_attr(v, sizeof(struct ifinfomsg), nested[i], &len);

		if (at && !attrs_are_sound(at, len))
			return 0;
	}
	return !nd_view_attr(v, sizeof(struct ifinfomsg), ND_IFLA_NETNS_IMMUTABLE, &len) || len;
}

/* The kernel's messages behind a device: its link, then addresses. */
static int judge_snapshot(const struct nd_section *s, struct nd_err *err)
{
	struct nd_view v;
	size_t pos = 0;
	int links = 0;

	while (nd_view_next(s->body, s->body_len, &pos, &v) > 0) {
		const int is_link = v.type == RTM_NEWLINK;
		const size_t header = is_link ? sizeof(struct ifinfomsg) : sizeof(struct ifaddrmsg);

		if ((links ? v.type != RTM_NEWADDR : !is_link) || v.body_len < header)
			return damaged(err, "unexpected kernel message");
		links += is_link;
		if (!attrs_are_sound(v.body + header, v.body_len - header))
			return damaged(err, "an attribute has a wrong length");
		if (is_link && !link_is_sound(&v))
			return damaged(err, "malformed link");
	}
	return links ? 0 : damaged(err, "a snapshot is missing");
}

static int judge_device(const struct nd_section *s, struct nd_err *err)
{
	char ifname[ND_NAME_SIZE], wanted[ND_NAME_SIZE];

	/* It becomes a part of paths below /proc/sys. */
	if (!nd_section_text(s, A_IFNAME, ifname, sizeof ifname) || nd_name_why_invalid(ifname) ||
	    !nd_section_text(s, A_WANTED, wanted, sizeof wanted) || !wanted[0])
		return damaged(err, "invalid device name");
	if (nd_section_number(s, A_IFINDEX) > INT32_MAX || nd_section_number(s, A_ASKED) > INT32_MAX)
		return damaged(err, "invalid ifindex");
	return judge_snapshot(s, err);
}

static int judge_section(const struct nd_section *s, struct nd_err *err)
{
	const size_t type = (size_t)(s->type - HEAD);

	/* Not known: a later netdevns of the same version may add what older ones need not understand. */
	if (type >= sizeof required / sizeof required[0])
		return 0;
	for (uint16_t a = 1; a < 32; a++) {
		uint64_t ignored;
		size_t len;

		if ((required[type].numbers & BIT(a)) && !number_of(s, a, &ignored))
			return damaged(err, "a number is missing");
		if ((required[type].texts & BIT(a)) && !nd_attr_find(s->attrs, s->attrs_len, a, &len))
			return damaged(err, "a name is missing");
	}
	return s->type == DEVICE || s->type == UPPER ? judge_device(s, err) : 0;
}

/* Each section, and how many there are of each type. */
static int judge_sections(const unsigned char *data, size_t len, size_t *devices, struct nd_err *err)
{
	size_t counts[END - HEAD + 1] = { 0 };
	struct nd_section s;
	size_t pos = 0;
	int lends = 0;

	while (nd_section_next(data, len, &pos, &s)) {
		uint64_t loan;
		size_t n;
		const int code = judge_section(&s, err);

		if (code)
			return code;
		if (s.type >= HEAD && s.type <= END)
			counts[s.type - HEAD]++;
		if (s.type == HEAD && nd_attr_find(s.attrs, s.attrs_len, A_LENDS, &n)) {
			if (!number_of(&s, A_LENDS, &loan))
				return damaged(err, "a number is missing");
			lends |= loan != 0;
		}
	}
	for (uint16_t type = HEAD; type <= TARGET; type++)
		if (counts[type - HEAD] != 1)
			return damaged(err, "a section that must occur once is missing or repeated");
	if (counts[DEVICE - HEAD] > ND_DEVICES_MAX)
		return damaged(err, "it has more devices than a move can have");
	if (counts[UPPER - HEAD] || counts[STATE - HEAD])
		return nd_err_set(err, ND_STEP_NONE, -EPROTO, "it has state that the C library does not restore: use netdevns recover");
	if (counts[LOAN - HEAD] || lends)
		return nd_err_set(err, ND_STEP_NONE, -EPROTO, "it is of a loan, which the C library does not know: use netdevns recover");
	*devices = counts[DEVICE - HEAD];
	return 0;
}

int nd_layout_judge(const unsigned char *data, size_t len, size_t *devices, struct nd_err *err)
{
	const int code = judge_frame(data, len, err);

	return code ? code : judge_sections(data, len, devices, err);
}
