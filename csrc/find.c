/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* Looks links up, and finds the device again after a failure. */
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

/* An attribute in IFLA_LINKINFO. */
static const unsigned char *info_of(const struct nd_link_attrs *link, uint16_t type, size_t *len)
{
	const struct nd_attr *const info = &link->attrs[IFLA_LINKINFO];

	*len = 0;
	return info->data ? nd_attr_find(info->data, info->len, type, len) : NULL;
}

struct nd_attr nd_own_mac(const struct nd_link_attrs *link)
{
	struct nd_attr own = { .data = NULL };
	size_t n;
	const unsigned char *found = info_of(link, IFLA_INFO_SLAVE_KIND, &n);

	if (found && n == sizeof "bond" && memcmp(found, "bond", n) == 0) {
		found = info_of(link, IFLA_INFO_SLAVE_DATA, &n);
		if (found)
			own.data = nd_attr_find(found, n, IFLA_BOND_SLAVE_PERM_HWADDR, &own.len);
	}
	return own.data ? own : link->attrs[IFLA_ADDRESS];
}

int nd_same_mac(const struct nd_link_attrs *was, const struct nd_link_attrs *is, int may_have_left)
{
	const struct nd_attr *const a = &was->attrs[IFLA_ADDRESS], *const b = &is->attrs[IFLA_ADDRESS];
	struct nd_attr own;

	if (nd_attr_same(a, b))
		return 1;
	if (!a->data || !b->data || !may_have_left)
		return 0;
	own = nd_own_mac(was);
	return nd_attr_same(&own, b);
}

/* How well a link matches the one of the snapshot. */
static enum nd_likeness likeness(const struct nd_dev *dev, const struct nd_link_attrs *link)
{
	/*
	 * Attributes that no request can change. IFLA_LINK: the other end of a veth, the lower device of a VLAN. A driver
	 * may change the permanent MAC address: igbvf sets it to the present one whenever the device goes down
	 * (drivers/net/ethernet/intel/igbvf/netdev.c, igbvf_reset()), so a known parent device outweighs it.
	 */
	static const uint16_t fixed[] = { ND_IFLA_PARENT_DEV_NAME, ND_IFLA_PERM_ADDRESS, IFLA_LINK };
	enum nd_likeness found = ND_ALIKE;
	struct nd_link_attrs was;
	struct nd_view v;
	size_t pos = 0, alen, blen;
	const unsigned char *a, *b;

	if (nd_view_next((const unsigned char *)dev + dev->link, dev->link_len, &pos, &v) <= 0 || nd_link_read(&v, &was))
		return ND_UNLIKE;
	a = info_of(&was, IFLA_INFO_KIND, &alen);
	b = info_of(link, IFLA_INFO_KIND, &blen);
	if (alen != blen || (a && b && memcmp(a, b, alen) != 0))
		return ND_UNLIKE;
	if (was.attrs[IFLA_ADDRESS].len != link->attrs[IFLA_ADDRESS].len)
		return ND_UNLIKE;
	for (size_t i = 0; i < sizeof fixed / sizeof fixed[0]; i++) {
		const struct nd_attr *const p = &was.attrs[fixed[i]], *const q = &link->attrs[fixed[i]];
		const int both = p->data && q->data;

		if (both && nd_attr_same(p, q))
			found = found == ND_ALIKE ? ND_ALIKE_AND_FIXED : found;
		else if (both && fixed[i] == ND_IFLA_PERM_ADDRESS && found == ND_ALIKE_AND_FIXED)
			continue;
		else if (both && fixed[i] != IFLA_LINK)	/* the ifindex of a lower device changes if that moves, too */
			return ND_UNLIKE;
		else if (both && found == ND_ALIKE)
			found = ND_ALIKE_BUT_LINK;
	}
	return nd_same_mac(&was, link, 1) ? ND_SAME : found;
}

void nd_seen_take(struct nd_seen *seen, const struct nd_view *v, uint32_t number)
{
	struct nd_link_attrs link;
	const struct nd_attr *const name = &link.attrs[IFLA_IFNAME];

	if (number != seen->number) {
		seen->before = v->type == NLMSG_ERROR ? nd_view_error(v, &seen->err) : 0;
		return;
	}
	seen->code = v->type == NLMSG_ERROR ? nd_view_error(v, &seen->err) : 0;
	if (seen->code)
		return;
	if (v->type != RTM_NEWLINK || nd_link_read(v, &link) || !name->data || name->len > ND_NAME_SIZE) {
		seen->code = nd_err_set(&seen->err, ND_STEP_EXCHANGE, -EBADMSG, "not a link in the answer");
		return;
	}
	seen->ifindex = link.head.ifi_index;
	nd_text_copy(seen->name, sizeof seen->name, (const char *)name->data, strnlen((const char *)name->data, name->len));
	seen->likeness = likeness(seen->dev, &link);
}

/* Sends a request whose message `number`, the last one, is a look-up of a link. */
static int look(struct nd_sock *sock, struct nd_msg *m, uint32_t number, struct nd_seen *seen, struct nd_err *err)
{
	struct nd_buf nothing = { .harmless = 1 };
	int code;

	seen->number = number;
	seen->code = 1;
	code = nd_exchange(sock, m, &nothing, seen, err);
	if (code == 0 && seen->code > 0)
		return nd_err_set(err, ND_STEP_EXCHANGE, -EBADMSG, "no link in the answer");
	if (code == 0 && seen->code < 0)
		*err = seen->err;
	return code ? code : seen->code;
}

int nd_look_up(struct nd_dev *dev, struct nd_sock *sock, int32_t ifindex, const char *name, struct nd_seen *seen,
	       struct nd_err *err)
{
	_Alignas(8) unsigned char bytes[128];
	struct nd_msg m;

	memset(seen, 0, sizeof *seen);
	seen->dev = dev;
	nd_msg_init(&m, bytes, sizeof bytes);
	nd_put_getlink(&m, ifindex, ifindex ? NULL : name);
	return look(sock, &m, 0, seen, err);
}

static int has_our_name(const struct nd_dev *dev, const char *name)
{
	return strcmp(name, dev->ifname) == 0 || strcmp(name, dev->wanted) == 0 || (dev->name[0] && strcmp(name, dev->name) == 0);
}

/* What a link with the right ifindex or name must match to be the device. */
enum trust {
	BY_MAC,		/* of the same kind, with its MAC address */
	BY_NAME,	/* no other device can have the ifindex: also with another MAC address, but one of its names */
	BY_IFINDEX,	/* also with another MAC address and name (find_renamed) */
};

/*
 * 1: found; 0: not there; negative: the look-up failed. Another device may have taken its name or ifindex, so the link's kind
 * and hardware are compared with the snapshot, too.
 */
static int try_at(struct nd_dev *dev, struct nd_sock *sock, int32_t ifindex, const char *name, enum trust trust,
		  struct nd_seen *seen, struct nd_err *err)
{
	const int code = nd_look_up(dev, sock, ifindex, name, seen, err);

	if (code == -ENODEV)
		return 0;
	if (code < 0)
		return code;
	/* A look-up by name also finds alternative names (probe message.key.altname-as-name). */
	if (!ifindex && name && strcmp(seen->name, name) != 0)
		return 0;
	switch (seen->likeness) {
	case ND_SAME:
		return 1;
	case ND_ALIKE_AND_FIXED:
		return trust == BY_IFINDEX || (trust == BY_NAME && has_our_name(dev, seen->name));
	case ND_ALIKE:
		return (trust == BY_IFINDEX && dev->name[0]) || (trust == BY_NAME && has_our_name(dev, seen->name));
	case ND_ALIKE_BUT_LINK:
		return trust == BY_NAME && has_our_name(dev, seen->name);
	default:
		return 0;
	}
}

static void is_in_target(struct nd_dev *dev, const struct nd_seen *seen)
{
	dev->place = ND_PLACE_TARGET;
	dev->target_ifindex = seen->ifindex;
	dev->ifindex_unsure = 0;
	memcpy(dev->name, seen->name, sizeof dev->name);
}

/*
 * The last resort, after the container gave the device another name and another MAC address: its ifindex in the target, which
 * nd_dev_move requested. No other device has it as long as the device exists. Either the device is known to have arrived
 * there (dev->name), or the link has the same permanent MAC address, parent device or other end (IFLA_LINK), which the
 * container cannot change; and none of these may differ.
 *
 * A hostile container can delete a virtual device and create one of the same kind with that ifindex, which is then moved to
 * the source in its place. It could do the same with a copy of name and MAC address, which looks the same.
 * The container loses that device and gains nothing in the source: the device is set up as the snapshot says, and nd_dev_undo
 * reports the differences that remain.
 */
static int find_renamed(struct nd_dev *dev, struct nd_sock *target, struct nd_err *err)
{
	struct nd_seen seen;
	const int found = dev->target_ifindex && !dev->ifindex_unsure
			  ? try_at(dev, target, dev->target_ifindex, NULL, BY_IFINDEX, &seen, err) : 0;

	if (found > 0)
		is_in_target(dev, &seen);
	return found;
}

int nd_find_in_target(struct nd_dev *dev, struct nd_sock *target, struct nd_err *err)
{
	const char *names[] = { strchr(dev->wanted, '%') ? dev->name : dev->wanted, dev->ifname };
	struct nd_seen seen;
	int found = 0;

	if (dev->target_ifindex)
		found = try_at(dev, target, dev->target_ifindex, NULL, dev->ifindex_unsure ? BY_MAC : BY_NAME, &seen, err);
	for (size_t i = 0; i < 2 && found == 0; i++)
		if (names[i][0])
			found = try_at(dev, target, 0, names[i], BY_MAC, &seen, err);
	/* Another device, perhaps made by the container, has its name and MAC address, but its ifindex is still there. */
	if (found > 0 && dev->name[0] && seen.ifindex != dev->target_ifindex) {
		const int renamed = find_renamed(dev, target, err);

		if (renamed)
			return renamed;
	}
	if (found > 0)
		is_in_target(dev, &seen);
	return found;
}

static int find_in_source(struct nd_dev *dev, struct nd_sock *source, int32_t ifindex, enum trust trust, struct nd_seen *seen,
			  struct nd_err *err)
{
	const int found = try_at(dev, source, ifindex, dev->ifname, trust, seen, err);

	if (found > 0) {
		dev->place = ND_PLACE_SOURCE;
		dev->ifindex = seen->ifindex;
	}
	return found;
}

/*
 * The source comes first: a device that never left has its ifindex there. Its name in the source comes after the target: a new
 * device with that name looks the same if there is no MAC address (tun) or a shared one (ipvlan).
 */
int nd_find(struct nd_dev *dev, struct nd_sock *source, struct nd_sock *target, struct nd_seen *seen, struct nd_err *err)
{
	int found;

	dev->place = ND_PLACE_UNKNOWN;
	found = find_in_source(dev, source, dev->ifindex, BY_MAC, seen, err);
	if (found == 0)
		found = nd_find_in_target(dev, target, err);
	if (found == 0)
		found = find_in_source(dev, source, 0, BY_MAC, seen, err);
	if (found == 0)	/* with another MAC address: only if it is nowhere else */
		found = find_in_source(dev, source, dev->ifindex, BY_NAME, seen, err);
	if (found == 0)
		found = find_renamed(dev, target, err);
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
	return nd_end(err, ND_STEP_NONE, nd_find(dev, source, target, &seen, err));
}

/*
 * 1: no device has the ifindex; 0: it is taken. *honoured: the kernel knows IFLA_NEW_IFINDEX. The request in front of the look-up
 * changes nothing: it asks for IFLA_NEW_IFINDEX 0 for a device that does not exist. A kernel that knows the attribute refuses
 * the 0 (probe message.new-ifindex.zero), an older one returns ENODEV.
 */
static int is_free(const struct nd_dev *dev, struct nd_sock *sock, int32_t ifindex, int *honoured, struct nd_err *err)
{
	static const struct ifinfomsg none = { .ifi_index = INT32_MAX };
	_Alignas(8) unsigned char bytes[128];
	struct nd_seen seen = { .dev = dev };
	struct nd_msg m;
	int code;

	nd_msg_init(&m, bytes, sizeof bytes);
	nd_msg_begin(&m, RTM_NEWLINK, 0, &none, sizeof none);
	nd_msg_put_u32(&m, ND_IFLA_NEW_IFINDEX, 0);
	nd_put_getlink(&m, ifindex, NULL);
	code = look(sock, &m, 1, &seen, err);
	*honoured = seen.before != -ENODEV;
	return code == -ENODEV ? 1 : code;
}

int nd_dev_choose(struct nd_dev *dev, struct nd_dev *const *batch, size_t n, struct nd_sock *target, struct nd_err *err)
{
	int64_t ifindex = dev->ifindex, step = 1;
	int honoured = 0, found = 0;

	err->code = 0;
	if (!dev->link_len)
		return nd_err_set(err, ND_STEP_NONE, -EINVAL, "no snapshot");
	/* The step doubles, because the ifindexes of many devices are adjacent. */
	for (; ifindex < INT32_MAX; ifindex += step, step *= 2) {
		found = 1;
		for (size_t i = 0; i < n && found; i++)
			found = batch[i] == dev || batch[i]->target_ifindex != ifindex;
		if (found)
			found = is_free(dev, target, (int32_t)ifindex, &honoured, err);
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
