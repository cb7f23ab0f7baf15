/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* Read back and compare: what is there now with what the snapshot says. */
#include "internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#define HEADER sizeof(struct ifaddrmsg)

static int same_attr(const struct nd_view *a, const struct nd_view *b, size_t header, uint16_t type)
{
	size_t alen, blen;
	const unsigned char *p = nd_view_attr(a, header, type, &alen), *q = nd_view_attr(b, header, type, &blen);

	if (!p || !q)
		return !p && !q;
	return alen == blen && memcmp(p, q, alen) == 0;
}

static int same_in(const struct nd_addr *a, const struct nd_addr *b, uint16_t type)
{
	const struct nd_attr *const p = &a->attrs[type], *const q = &b->attrs[type];

	if (!p->data || !q->data)
		return !p->data && !q->data;
	return p->len == q->len && memcmp(p->data, q->data, p->len) == 0;
}

int nd_addr_same(const struct nd_addr *a, const struct nd_addr *b)
{
	return a->head.ifa_family == b->head.ifa_family && a->head.ifa_prefixlen == b->head.ifa_prefixlen &&
	       same_in(a, b, IFA_LOCAL) && same_in(a, b, IFA_ADDRESS);
}

static int same_lifetime(uint32_t was, uint32_t is)
{
	return was == ND_FOREVER || is == ND_FOREVER ? was == is : is <= was;
}

/* NULL: as it should be; otherwise what differs. */
static const char *difference(const struct nd_dev *dev, const struct nd_replay *r, const struct nd_addr *a,
			      const struct nd_addr *b)
{
	/* SECONDARY (IPv6: TEMPORARY) is the kernel's verdict (probes addresses.flag.ipv4-secondary,
	 * addresses.flag.ipv6-temporary): a secondary whose primary is not carried becomes one. */
	uint32_t ignored = IFA_F_SECONDARY;
	char want[ND_NAME_SIZE];
	const char *have;
	int cut;

	if (a->flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED))
		ignored |= IFA_F_TENTATIVE | IFA_F_DADFAILED;
	if (a->preferred_lft != ND_FOREVER && a->preferred_lft != 0)
		ignored |= IFA_F_DEPRECATED;
	if ((a->flags ^ b->flags) & ~ignored)
		return (b->flags & ~a->flags & IFA_F_TENTATIVE) ? "is tentative, but was usable" : "has other flags";
	if (a->head.ifa_scope != b->head.ifa_scope)
		return "has another scope";
	if (!same_in(a, b, IFA_BROADCAST))
		return "has another broadcast address";
	if (!same_in(a, b, IFA_RT_PRIORITY))
		return "has another metric";
	if (!same_in(a, b, ND_IFA_PROTO))
		return "has another protocol";
	if (!same_lifetime(a->valid_lft, b->valid_lft) || !same_lifetime(a->preferred_lft, b->preferred_lft))
		return "has another lifetime";
	if (nd_addr_label(dev, r->name, a, want, &cut)) {
		have = (const char *)b->attrs[IFA_LABEL].data;
		if (!have || strnlen(have, b->attrs[IFA_LABEL].len) != strlen(want) || memcmp(have, want, strlen(want)) != 0)
			return "has another label";
	}
	return NULL;
}

static void say_address(const struct nd_addr *a, const char *what, struct nd_err *err)
{
	char text[INET6_ADDRSTRLEN + 8] = "an address";
	const struct nd_attr *const p = &a->attrs[a->attrs[IFA_LOCAL].data ? IFA_LOCAL : IFA_ADDRESS];
	size_t len;

	if (p->data && ((a->head.ifa_family == AF_INET && p->len == 4) || (a->head.ifa_family == AF_INET6 && p->len == 16)) &&
	    inet_ntop(a->head.ifa_family, p->data, text, INET6_ADDRSTRLEN)) {
		const unsigned n = a->head.ifa_prefixlen;
		char *end = text + strlen(text);

		*end++ = '/';
		if (n >= 100)
			*end++ = (char)('0' + n / 100);
		if (n >= 10)
			*end++ = (char)('0' + n / 10 % 10);
		*end++ = (char)('0' + n % 10);
		*end = '\0';
	}
	nd_err_set(err, ND_STEP_VERIFY, -ESTALE, text);
	len = strlen(err->text);
	nd_text_copy(err->text + len, sizeof err->text - len, " ", 1);
	nd_text_copy(err->text + len + 1, sizeof err->text - len - 1, what, strlen(what));
}

/*
 * Each address of the set must be there, as it was, and in the order of the snapshot; others in between are not ours,
 * such as the kernel's own link-local (probe addresses.ipv6.link-local.own).
 */
static int compare_addresses(const struct nd_dev *dev, const struct nd_replay *r, const void *back, size_t back_len,
			     struct nd_err *err)
{
	struct nd_addr a, b;
	size_t pos = 0, at = 0, scan;
	const char *what;
	int found;

	while (nd_addr_next_of(dev, &pos, &a)) {
		if (!nd_addr_in(&a, r->set))
			continue;
		found = 0;
		scan = at;
		while (!found && nd_addr_next(back, back_len, &scan, &b))
			found = nd_addr_same(&a, &b);
		if (found) {
			at = scan;
		} else {
			/* Undo may meet a link-local that the kernel made by itself; for the rest order is part of the promise. */
			scan = 0;
			while (!found && nd_addr_next(back, back_len, &scan, &b))
				found = nd_addr_same(&a, &b);
			if (!found || nd_addr_in(&a, ND_SET_PROTECTED)) {
				say_address(&a, found ? "is out of order" : "is missing", err);
				return err->code;
			}
		}
		what = difference(dev, r, &a, &b);
		if (what) {
			say_address(&a, what, err);
			return err->code;
		}
	}
	return 0;
}

int nd_link_has_name(const struct nd_view *link, const char *name)
{
	size_t len;
	const char *const found = (const char *)nd_view_attr(link, sizeof(struct ifinfomsg), IFLA_IFNAME, &len);

	return found && strnlen(found, len) == strlen(name) && memcmp(found, name, strlen(name)) == 0;
}

int nd_replay_compare_with(const struct nd_dev *dev, const struct nd_replay *r, const struct nd_view *link, const void *addrs,
		    size_t addrs_len, struct nd_err *err)
{
	static const struct {
		uint16_t type;
		const char *text;
	} kept[] = {
		{ IFLA_BROADCAST, "the link's broadcast address changed" },
		{ IFLA_MTU, "the MTU changed" },
		{ IFLA_TXQLEN, "the transmit queue length changed" },
		{ IFLA_IFALIAS, "the alias changed" },
		{ IFLA_GROUP, "the group changed" },
		{ IFLA_NUM_TX_QUEUES, "the number of transmit queues changed" },
		{ IFLA_NUM_RX_QUEUES, "the number of receive queues changed" },
		{ IFLA_GSO_MAX_SIZE, "gso_max_size changed" },
	};
	struct nd_view was;
	size_t pos = 0;
	struct ifinfomsg head;

	if (nd_view_next((const unsigned char *)dev + dev->link, dev->link_len, &pos, &was) <= 0)
		return nd_err_set(err, ND_STEP_VERIFY, -EINVAL, "no snapshot to compare with");
	memcpy(&head, link->body, sizeof head);
	if (!nd_link_has_name(link, r->name) || (r->wanted && !nd_name_is_wanted(r->wanted, r->name)))
		return nd_err_set(err, ND_STEP_VERIFY, -ESTALE, "it has another name");
	if (!(head.ifi_flags & IFF_UP) != !r->up)
		return nd_err_set(err, ND_STEP_VERIFY, -ESTALE, r->up ? "it is not up" : "it is up");
	if (!nd_same_mac(&was, link, !r->keep_going))
		return nd_err_set(err, ND_STEP_VERIFY, -ESTALE, "the MAC address changed");
	for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++)
		if (!same_attr(&was, link, sizeof head, kept[i].type))
			return nd_err_set(err, ND_STEP_VERIFY, -ESTALE, kept[i].text);
	return compare_addresses(dev, r, addrs, addrs_len, err);
}

int nd_replay_compare(struct nd_dev *dev, const struct nd_replay *r, struct nd_err *err)
{
	struct nd_view link;
	struct nd_buf reply;
	size_t pos = 0;
	int code = nd_dev_read(dev, r->sock, r->ifindex, nd_dev_end(dev), &reply, err);

	if (code)
		return code;
	dev->back = (uint32_t)nd_dev_end(dev);
	dev->back_len = (uint32_t)reply.used;
	if (nd_view_next(reply.data, reply.used, &pos, &link) <= 0)
		return nd_err_set(err, ND_STEP_VERIFY, -EBADMSG, "no link in the answer");
	return nd_replay_compare_with(dev, r, &link, reply.data + pos, reply.used - pos, err);
}
