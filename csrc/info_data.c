/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * Compares IFLA_INFO_DATA, whose format depends on the kind of device, and makes the requests that restore it.
 * Layouts: linux/if_link.h (IFLA_MACVLAN_*, IFLA_VLAN_*, IFLA_TUN_*, IFLA_HSR_*), linux/can/netlink.h.
 */
#include "settings.h"

enum how {
	PLAIN,		/* sent as reported; zeros if it was not, as most kinds do not report zeros */
	COUNT,		/* state, not a setting: not compared */
	WHEN_UP,	/* sent separately, while the device is up */
	QOS_MAP,	/* entries; 0 removes one */
	MACS,		/* a set */
	ONE,		/* PLAIN, but the default is 1 and not reported */
	FLAGS_MASK,	/* flags and a mask: reported with a full mask; a request's mask selects the changes (struct ifla_vlan_flags) */
	MASK_FLAGS,	/* mask and flags (struct can_ctrlmode) */
};

enum { MACVLAN_MACADDR_MODE = 3, MACVLAN_MACADDR_DATA = 5, MACADDR_FLUSH = 2, MACADDR_SET = 3, VLAN_QOS_MAPPING = 1 };

static const struct entry {
	const char *kind;
	uint16_t type;
	enum how how;
	const char *words;	/* NULL: "attribute N" */
} ENTRIES[] = {
	/*
	 * A macvlan in passthru mode changes its lower device's promiscuity count with the flag nopromisc, also
	 * while it is down, and IFF_UP counts it again (drivers/net/macvlan.c). The COUNTs are those of the MACs, which are compared, and
	 * the queue length that the lower device's port uses for all macvlans on it.
	 */
	{ "macvlan", 1, PLAIN, "mode" }, { "macvlan", 2, WHEN_UP, "flags" }, { "macvlan", 5, MACS, "source MACs" },
	{ "macvlan", 6, COUNT, NULL }, { "macvlan", 7, PLAIN, "bcqueuelen" }, { "macvlan", 8, COUNT, NULL },
	{ "macvlan", 9, ONE, "bclim" },
	{ "ipvlan", 1, PLAIN, "mode" }, { "ipvlan", 2, PLAIN, "flags" },
	{ "vlan", 1, PLAIN, "id" }, { "vlan", 2, FLAGS_MASK, "flags" }, { "vlan", 3, QOS_MAP, "egress QoS map" },
	{ "vlan", 4, QOS_MAP, "ingress QoS map" }, { "vlan", 5, PLAIN, "protocol" },
	{ "vxlan", 1, PLAIN, "id" }, { "vxlan", 2, PLAIN, "group" }, { "vxlan", 4, PLAIN, "local" },
	{ "vxlan", 5, PLAIN, "ttl" }, { "vxlan", 6, PLAIN, "tos" }, { "vxlan", 7, PLAIN, "learning" },
	{ "vxlan", 8, PLAIN, "ageing" }, { "vxlan", 9, PLAIN, "limit" }, { "vxlan", 15, PLAIN, "port" },
	/* COUNT: the state, and error counters. */
	{ "can", 1, PLAIN, "bit timing" }, { "can", 4, COUNT, NULL }, { "can", 5, MASK_FLAGS, "control mode" },
	{ "can", 6, PLAIN, "restart-ms" }, { "can", 8, COUNT, NULL }, { "can", 9, PLAIN, "data bit timing" },
	{ "can", 11, PLAIN, "termination" },
	/* COUNT: the number of queues that processes have open. */
	{ "tun", 1, PLAIN, "owner" }, { "tun", 2, PLAIN, "group" }, { "tun", 6, PLAIN, "persist" }, { "tun", 8, COUNT, NULL },
	{ "tun", 9, COUNT, NULL },
	/* COUNT: the next sequence number. */
	{ "hsr", 5, COUNT, NULL },
};

/* These kinds replace all settings at once: a request clears those that it omits (net/ipv4/ip_tunnel.c and its users). */
static const char *const WHOLE[] = { "ipip", "sit", "gre", "gretap", "erspan", "vti", "vti6", "ip6tnl", "ip6gre", "ip6gretap",
				     "ip6erspan", "xfrm" };

static const struct nd_attr NOTHING;

static const struct entry *entry_of(const char *kind, uint16_t type)
{
	static const struct entry unknown = { .how = PLAIN };
	const char *const alike = strcmp(kind, "macvtap") == 0 ? "macvlan" : strcmp(kind, "ipvtap") == 0 ? "ipvlan" : kind;

	for (size_t i = 0; i < sizeof ENTRIES / sizeof ENTRIES[0]; i++)
		if (ENTRIES[i].type == type && strcmp(ENTRIES[i].kind, alike) == 0)
			return &ENTRIES[i];
	return &unknown;
}

static int is_whole(const char *kind)
{
	for (size_t i = 0; i < sizeof WHOLE / sizeof WHOLE[0]; i++)
		if (strcmp(WHOLE[i], kind) == 0)
			return 1;
	return 0;
}

/* The map's value for `from`; the last entry counts. 0: none. */
static uint32_t mapped(const struct nd_attr *map, uint32_t from)
{
	struct nd_attr each;
	uint32_t entry[2], to = 0;	/* struct ifla_vlan_qos_mapping: from, to */
	size_t pos = 0;

	while (nd_attr_next(map, &pos, &each)) {
		if (each.len != sizeof entry)
			continue;
		memcpy(entry, each.data, sizeof entry);
		to = entry[0] == from ? entry[1] : to;
	}
	return to;
}

/* Appends the entries that differ; an added one is set to 0, which removes it. Returns whether there are any. */
static int put_map(struct nd_msg *m, uint16_t type, const struct nd_attr *was, const struct nd_attr *now)
{
	const struct nd_attr *const maps[] = { was, now };
	const size_t nest = nd_nest_begin(m, type);
	struct nd_attr each;
	uint32_t entry[2];
	int differs = 0;

	for (size_t i = 0; i < 2; i++)
		for (size_t pos = 0; nd_attr_next(maps[i], &pos, &each);) {
			if (each.len != sizeof entry)
				continue;
			memcpy(entry, each.data, sizeof entry);
			entry[1] = mapped(was, entry[0]);
			if (entry[1] == mapped(now, entry[0]) || (i && entry[1]))
				continue;
			nd_msg_put(m, VLAN_QOS_MAPPING, entry, sizeof entry);
			differs = 1;
		}
	nd_nest_end(m, nest);
	return differs;
}

/* Whether each attribute of a list is in another one, in any order. */
static int is_subset(const struct nd_attr *list, const struct nd_attr *of)
{
	struct nd_attr each, other;
	size_t pos = 0, scan;

	while (nd_attr_next(list, &pos, &each)) {
		scan = 0;
		do
			if (!nd_attr_next(of, &scan, &other))
				return 0;
		while (!nd_attr_same(&each, &other));
	}
	return 1;
}

/* Appends the attribute that restores it. 0: it does not differ; -1: it does, and cannot be restored. */
static int put_data(struct nd_msg *m, enum how how, uint16_t type, const struct nd_attr *was, const struct nd_attr *now)
{
	static const unsigned char zeros[256];
	uint32_t pair[2], pair_now[2];
	const uint32_t one = 1;

	if (how == QOS_MAP)
		return put_map(m, type, was, now);
	if (how == MACS && is_subset(was, now) && is_subset(now, was))
		return 0;
	if (how == MACS) {
		nd_msg_put_u32(m, MACVLAN_MACADDR_MODE, was->len ? MACADDR_SET : MACADDR_FLUSH);
		if (was->len)
			nd_msg_put(m, type | NLA_F_NESTED, was->data, was->len);
		return 1;
	}
	if (how == COUNT || nd_attr_same(was, now))
		return 0;
	if ((how == FLAGS_MASK || how == MASK_FLAGS) && was->data && now->data && was->len == sizeof pair &&
	    now->len == sizeof pair) {
		const size_t flags = how == MASK_FLAGS, mask = !flags;

		memcpy(pair, was->data, sizeof pair);
		memcpy(pair_now, now->data, sizeof pair_now);
		pair[mask] = pair[flags] ^ pair_now[flags];
		nd_msg_put(m, type, pair, sizeof pair);
	} else if (how == ONE && !was->len) {
		nd_msg_put_u32(m, type, one);
	} else if (was->data) {
		nd_msg_put(m, type, was->data, was->len);
	} else if (now->len && now->len <= sizeof zeros) {
		nd_msg_put(m, type, zeros, now->len);
	} else {
		return -1;
	}
	return 1;
}

/* A request with IFLA_INFO_DATA, which begins with the attributes in `data`. */
static void begin_data(struct nd_repairs *r, size_t nests[2], const struct nd_attr *data)
{
	const struct nd_attr *const kind = &r->now.info[IFLA_INFO_KIND];

	nests[0] = nd_nest_begin(nd_repairs_begin(r, 0, 0), IFLA_LINKINFO);
	nd_msg_put(&r->m, IFLA_INFO_KIND, kind->data, kind->len);
	nests[1] = r->m.used;
	nd_msg_put(&r->m, IFLA_INFO_DATA | NLA_F_NESTED, data->data, data->len);
}

static uint32_t end_data(struct nd_repairs *r, const size_t nests[2])
{
	nd_nest_end(&r->m, nests[1]);
	nd_nest_end(&r->m, nests[0]);
	return nd_repairs_request(r);
}

/* One attribute that differs. `together`: the request for all of them. */
static void add_one(struct nd_repairs *r, const char *kind, uint16_t type, uint32_t together, int whole)
{
	const struct nd_attr *const was = &r->was.data[type], *const now = &r->now.data[type];
	const struct entry *const entry = entry_of(kind, type);
	const int waits = entry->how == WHEN_UP && r->is_about_to_be_up;
	uint32_t alone = 0;
	size_t nests[2];

	if (!whole) {
		begin_data(r, nests, &NOTHING);
		if (put_data(&r->m, entry->how, type, was, now) > 0)
			alone = end_data(r, nests);
	}
	if (entry->words)
		nd_repairs_say(r, "%s %s", kind, entry->words);
	else
		nd_repairs_say(r, "%s attribute %u", kind, type);
	nd_repairs_say_change(r, was, now);
	if (entry->how == WHEN_UP)
		together = alone;
	nd_repairs_add(r, waits ? 1u << ND_STAGE_UP : ND_BOTH_STAGES, alone || whole ? together : 0, alone);
}

void nd_repairs_of_data(struct nd_repairs *r)
{
	const struct nd_attr *const was = r->was.data, *const now = r->now.data;
	const struct nd_attr *const name = &r->was.info[IFLA_INFO_KIND], *const data = &r->was.info[IFLA_INFO_DATA];
	int differs[ND_ATTRS_MAX] = { 0 }, any = 0, whole;
	uint32_t together;
	size_t nests[2];
	char kind[64];

	nd_text_copy(kind, sizeof kind, (const char *)name->data, name->len);
	whole = is_whole(kind);
	begin_data(r, nests, &NOTHING);	/* a draft: it shows what differs */
	for (uint16_t type = 0; type < ND_ATTRS_MAX; type++) {
		if (was[type].data || now[type].data)
			differs[type] = put_data(&r->m, entry_of(kind, type)->how, type, &was[type], &now[type]);
		any |= differs[type];
	}
	if (!any)
		return;
	begin_data(r, nests, whole ? data : &NOTHING);
	for (uint16_t type = 0; type < ND_ATTRS_MAX; type++)
		if (!whole && differs[type] > 0 && entry_of(kind, type)->how != WHEN_UP)
			put_data(&r->m, entry_of(kind, type)->how, type, &was[type], &now[type]);
	together = end_data(r, nests);
	for (uint16_t type = 0; type < ND_ATTRS_MAX; type++)
		if (differs[type])
			add_one(r, kind, type, together, whole);
}
