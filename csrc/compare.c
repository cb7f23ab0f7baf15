/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* Reads a device back and compares it with its snapshot. */
#include "internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#define HEADER sizeof(struct ifaddrmsg)

static int same_in(const struct nd_addr *a, const struct nd_addr *b, uint16_t type)
{
	return nd_attr_same(&a->attrs[type], &b->attrs[type]);
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

/* Compares an address (b) with that of the snapshot (a). Returns the difference in words; NULL: none. */
static const char *difference(const struct nd_dev *dev, const struct nd_replay *r, const struct nd_addr *a,
			      const struct nd_addr *b)
{
	/* The kernel sets SECONDARY (IPv6: TEMPORARY) by itself (probes addresses.flag.ipv4-secondary,
	 * addresses.flag.ipv6-temporary): a secondary address whose primary was not replayed becomes a primary one. */
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
 * Each address of the set must be there, unchanged and in the order of the snapshot. Others may lie between them, such as the
 * link-local address that the kernel adds (probe addresses.ipv6.link-local.own).
 */
static int compare_addresses(const struct nd_dev *dev, const struct nd_replay *r, const void *back, size_t back_len,
			     struct nd_err *err)
{
	struct nd_addr a, b;
	size_t pos = 0, at = 0, scan;
	const char *what;
	int found, is_ordered;

	while (nd_addr_next_of(dev, &pos, &a)) {
		if (!nd_addr_in(&a, r->set))
			continue;
		/* The order counts for protected addresses only: the kernel may have added a link-local one before an undo. */
		is_ordered = nd_addr_in(&a, ND_SET_PROTECTED);
		found = 0;
		scan = is_ordered ? at : 0;
		while (!found && nd_addr_next(back, back_len, &scan, &b))
			found = nd_addr_same(&a, &b);
		if (found && is_ordered)
			at = scan;
		if (!found) {
			scan = 0;
			while (is_ordered && !found && nd_addr_next(back, back_len, &scan, &b))
				found = nd_addr_same(&a, &b);
			say_address(&a, found ? "is out of order" : "is missing", err);
			return err->code;
		}
		what = difference(dev, r, &a, &b);
		if (what) {
			say_address(&a, what, err);
			return err->code;
		}
	}
	return 0;
}

static int is_name(const struct nd_attr *a, const char *name)
{
	const size_t len = strlen(name);

	return a->data && strnlen((const char *)a->data, a->len) == len && memcmp(a->data, name, len) == 0;
}

int nd_link_has_name(const struct nd_view *link, const char *name)
{
	struct nd_attr found;

	found.data = nd_view_attr(link, sizeof(struct ifinfomsg), IFLA_IFNAME, &found.len);
	return is_name(&found, name);
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
	struct nd_link_attrs was, is;
	struct nd_view v;
	size_t pos = 0;

	if (nd_view_next((const unsigned char *)dev + dev->link, dev->link_len, &pos, &v) <= 0 || nd_link_read(&v, &was))
		return nd_err_set(err, ND_STEP_VERIFY, -EINVAL, "no snapshot to compare with");
	if (nd_link_read(link, &is))
		return nd_err_set(err, ND_STEP_VERIFY, -EBADMSG, "no link in the answer");
	if (!is_name(&is.attrs[IFLA_IFNAME], r->name) || (r->wanted && !nd_name_is_wanted(r->wanted, r->name)))
		return nd_err_set(err, ND_STEP_VERIFY, -ESTALE, "it has another name");
	if (!(is.head.ifi_flags & IFF_UP) != !r->up)
		return nd_err_set(err, ND_STEP_VERIFY, -ESTALE, r->up ? "it is not up" : "it is up");
	if (!nd_same_mac(&was, &is, !r->keep_going))
		return nd_err_set(err, ND_STEP_VERIFY, -ESTALE, "the MAC address changed");
	for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++)
		if (!nd_attr_same(&was.attrs[kept[i].type], &is.attrs[kept[i].type]))
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
