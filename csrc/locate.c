/* SPDX-License-Identifier: Apache-2.0 */
/* Where is the device? Look-ups of one link, and finding ours again after something went wrong. */
#include "internal.h"

#include <errno.h>
#include <string.h>

void nd_put_getlink(struct nd_msg *m, int32_t ifindex, const char *name)
{
	const struct ifinfomsg head = { .ifi_index = ifindex };

	nd_msg_begin(m, RTM_GETLINK, 0, &head, sizeof head);
	nd_msg_put_u32(m, IFLA_EXT_MASK, ND_RTEXT_FILTER_SKIP_STATS);
	if (name)
		nd_msg_put_name(m, IFLA_IFNAME, name);
}

int nd_look_up(struct nd_sock *sock, int32_t ifindex, const char *name, struct nd_seen *seen, struct nd_err *err)
{
	_Alignas(8) unsigned char bytes[128];
	struct nd_buf reply = { .data = seen->answer, .size = sizeof seen->answer };
	struct nd_msg m;
	struct ifinfomsg head;
	size_t pos = 0, len;
	const unsigned char *p;
	int code;

	nd_msg_init(&m, bytes, sizeof bytes);
	nd_put_getlink(&m, ifindex, ifindex ? NULL : name);
	code = nd_sock_exchange(sock, &m, &reply, err);
	if (code < 0)
		return code;
	if (nd_view_next(reply.data, reply.used, &pos, &seen->link) <= 0)
		return nd_err_set(err, ND_STEP_EXCHANGE, -EBADMSG, "no link in the answer");
	code = seen->link.type == NLMSG_ERROR ? nd_view_error(&seen->link, err) : 0;
	if (code < 0)
		return code;
	p = nd_view_attr(&seen->link, sizeof head, IFLA_IFNAME, &len);
	if (seen->link.type != RTM_NEWLINK || !p || len > ND_NAME_SIZE)
		return nd_err_set(err, ND_STEP_EXCHANGE, -EBADMSG, "not a link in the answer");
	memcpy(&head, seen->link.body, sizeof head);
	seen->ifindex = head.ifi_index;
	seen->flags = head.ifi_flags;
	nd_text_copy(seen->name, sizeof seen->name, (const char *)p, strnlen((const char *)p, len));
	return 0;
}

static const unsigned char *kind_of(const struct nd_view *link, size_t *len)
{
	size_t n;
	const unsigned char *info = nd_view_attr(link, sizeof(struct ifinfomsg), IFLA_LINKINFO, &n);

	*len = 0;
	return info ? nd_attr_find(info, n, IFLA_INFO_KIND, len) : NULL;
}

/* A bond gives its slaves its own MAC, and back theirs when they leave (probe kinds.port-state.bond). */
static const unsigned char *mac_before_bond(const struct nd_view *link, size_t *len)
{
	size_t total, n;
	const unsigned char *info = nd_view_attr(link, sizeof(struct ifinfomsg), IFLA_LINKINFO, &total), *found;

	found = info ? nd_attr_find(info, total, IFLA_INFO_SLAVE_KIND, &n) : NULL;
	if (!found || n != sizeof "bond" || memcmp(found, "bond", n) != 0)
		return NULL;
	found = nd_attr_find(info, total, IFLA_INFO_SLAVE_DATA, &n);
	return found ? nd_attr_find(found, n, IFLA_BOND_SLAVE_PERM_HWADDR, len) : NULL;
}

int nd_same_mac(const struct nd_view *was, const struct nd_view *is, int may_have_left)
{
	size_t alen = 0, blen = 0;
	const unsigned char *b = nd_view_attr(is, sizeof(struct ifinfomsg), IFLA_ADDRESS, &blen);
	const unsigned char *a = nd_view_attr(was, sizeof(struct ifinfomsg), IFLA_ADDRESS, &alen);

	if (!a || !b)
		return !a && !b;
	if (alen == blen && memcmp(a, b, alen) == 0)
		return 1;
	a = may_have_left ? mac_before_bond(was, &alen) : NULL;
	return a && alen == blen && memcmp(a, b, alen) == 0;
}

static int has_our_name(const struct nd_dev *dev, const char *name)
{
	return strcmp(name, dev->ifname) == 0 || strcmp(name, dev->wanted) == 0 || (dev->name[0] && strcmp(name, dev->name) == 0);
}

/*
 * Names and numbers can be taken by others: the one we look for has the snapshot's kind and its MAC address, too; or, where
 * that was changed meanwhile, still the ifindex that it must have and one of its names.
 */
static int is_ours(const struct nd_dev *dev, const struct nd_view *link, int sure, const char *name)
{
	const size_t header = sizeof(struct ifinfomsg);
	struct nd_view was;
	size_t pos = 0, alen, blen;
	const unsigned char *a, *b;

	if (nd_view_next((const unsigned char *)dev + dev->link, dev->link_len, &pos, &was) <= 0)
		return 0;
	a = kind_of(&was, &alen);
	b = kind_of(link, &blen);
	if (alen != blen || (a && b && memcmp(a, b, alen) != 0))
		return 0;
	nd_view_attr(&was, header, IFLA_ADDRESS, &alen);
	nd_view_attr(link, header, IFLA_ADDRESS, &blen);
	if (alen != blen)
		return 0;
	return nd_same_mac(&was, link, 1) || (sure && has_our_name(dev, name));
}

/* 1: found and ours; 0: not there; negative: could not be looked up. `sure`: nobody else can have that ifindex. */
static int try_at(struct nd_dev *dev, struct nd_sock *sock, int32_t ifindex, const char *name, int sure,
		  struct nd_seen *seen, struct nd_err *err)
{
	const int code = nd_look_up(sock, ifindex, name, seen, err);

	if (code == -ENODEV)
		return 0;
	if (code < 0)
		return code;
	/* Matched by an alternative name (probe message.key.altname-as-name). */
	if (!ifindex && strcmp(seen->name, name) != 0)
		return 0;
	return is_ours(dev, &seen->link, sure, seen->name);
}

int nd_find_in_target(struct nd_dev *dev, struct nd_sock *target, struct nd_err *err)
{
	const char *names[] = { strchr(dev->wanted, '%') ? dev->name : dev->wanted, dev->ifname };
	struct nd_seen seen;
	int found = 0;

	if (dev->target_ifindex)
		found = try_at(dev, target, dev->target_ifindex, NULL, !dev->ifindex_unsure, &seen, err);
	for (size_t i = 0; i < 2 && found == 0; i++)
		if (names[i][0])
			found = try_at(dev, target, 0, names[i], 0, &seen, err);
	if (found > 0) {
		dev->place = ND_PLACE_TARGET;
		dev->target_ifindex = seen.ifindex;
		dev->ifindex_unsure = 0;	/* from now on it is known */
		memcpy(dev->name, seen.name, sizeof dev->name);
	}
	return found;
}

static int find_in_source(struct nd_dev *dev, struct nd_sock *source, int32_t ifindex, int sure, struct nd_seen *seen,
			  struct nd_err *err)
{
	const int found = try_at(dev, source, ifindex, dev->ifname, sure, seen, err);

	if (found > 0) {
		dev->place = ND_PLACE_SOURCE;
		dev->ifindex = seen->ifindex;
	}
	return found;
}

/*
 * The source first: a device that never left is still there under its own ifindex. By its name there only behind the target:
 * without a MAC (tun), or with a shared one (ipvlan), a new device of that name is not ours while ours is in the target.
 */
int nd_find(struct nd_dev *dev, struct nd_sock *source, struct nd_sock *target, struct nd_seen *seen, struct nd_err *err)
{
	int found;

	dev->place = ND_PLACE_UNKNOWN;
	found = find_in_source(dev, source, dev->ifindex, 0, seen, err);
	if (found == 0)
		found = nd_find_in_target(dev, target, err);
	if (found == 0)
		found = find_in_source(dev, source, 0, 0, seen, err);
	if (found == 0)	/* with another MAC address now: only if it is nowhere else */
		found = find_in_source(dev, source, dev->ifindex, 1, seen, err);
	if (found < 0)
		return found;
	if (found == 0)
		dev->place = ND_PLACE_GONE;
	return 0;
}

int nd_dev_find(struct nd_dev *dev, struct nd_sock *source, struct nd_sock *target, struct nd_err *err)
{
	struct nd_seen seen;

	err->code = 0;
	if (!dev->link_len || !nd_dev_is_sound(dev))
		return nd_err_set(err, ND_STEP_NONE, -EINVAL, dev->link_len ? "the record is damaged" : "no snapshot");
	return nd_find(dev, source, target, &seen, err);
}

/*
 * 1: nobody has that ifindex; 0: it is taken. *honoured: whether IFLA_NEW_IFINDEX counts. 0 is out of its range, where it is
 * looked at (probe message.new-ifindex.zero); else there is no such device. Both are refused, and change nothing.
 */
static int is_free(struct nd_sock *sock, int32_t ifindex, int *honoured, struct nd_err *err)
{
	static const struct ifinfomsg nobody = { .ifi_index = INT32_MAX };
	_Alignas(8) unsigned char bytes[128], answers[2 * 8192];
	struct nd_buf reply = { .data = answers, .size = sizeof answers };
	struct nd_view v;
	struct nd_msg m;
	size_t pos = 0;
	int code, found = -EBADMSG;

	nd_msg_init(&m, bytes, sizeof bytes);
	nd_msg_begin(&m, RTM_NEWLINK, 0, &nobody, sizeof nobody);
	nd_msg_put_u32(&m, ND_IFLA_NEW_IFINDEX, 0);
	nd_put_getlink(&m, ifindex, NULL);
	code = nd_sock_exchange(sock, &m, &reply, err);
	if (code < 0)
		return code;
	while (nd_view_next(reply.data, reply.used, &pos, &v) > 0) {
		code = v.type == NLMSG_ERROR ? nd_view_error(&v, err) : 0;
		if (v.seq == reply.first_seq)
			*honoured = code != -ENODEV;
		else
			found = code == -ENODEV ? 1 : code;
	}
	return found == -EBADMSG ? nd_err_set(err, ND_STEP_EXCHANGE, found, "no link in the answer") : found;
}

int nd_dev_choose(struct nd_dev *dev, struct nd_dev *const *batch, size_t n, struct nd_sock *target, struct nd_err *err)
{
	int64_t ifindex = dev->ifindex, step = 1;
	int honoured = 0, found = 0;

	err->code = 0;
	if (!dev->link_len)
		return nd_err_set(err, ND_STEP_NONE, -EINVAL, "no snapshot");
	/* Further away each time: where many devices are, their numbers lie side by side. */
	for (; ifindex < INT32_MAX; ifindex += step, step *= 2) {
		found = 1;
		for (size_t i = 0; i < n && found; i++)
			found = batch[i] == dev || batch[i]->target_ifindex != ifindex;
		if (found)
			found = is_free(target, (int32_t)ifindex, &honoured, err);
		if (found)
			break;
	}
	if (found < 0)
		return found;
	if (!found)
		return nd_err_set(err, ND_STEP_NONE, -ENOSPC, "no free ifindex was found in the target");
	err->code = 0;
	dev->target_ifindex = (int32_t)ifindex;
	dev->ifindex_unsure = !honoured;
	return 0;
}
