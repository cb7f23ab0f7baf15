/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* Parses the parts of a link that the batch uses. Layout: linux/if_link.h. */
#include "batch.h"

#include <errno.h>
#include <linux/if_link.h>
#include <string.h>

static void text(char *to, size_t size, const struct nd_attr *a)
{
	if (a->data)
		nd_text_copy(to, size, (const char *)a->data, strnlen((const char *)a->data, a->len));
}

/* The kind; and a vxlan's lower device, which is in IFLA_VXLAN_LINK. */
static void read_info(struct nd_link *link, const struct nd_attr *info)
{
	struct nd_attr found[IFLA_INFO_DATA + 1], data[IFLA_VXLAN_LINK + 1];

	if (!info->data)
		return;
	nd_attrs_read(info->data, info->len, found, sizeof found / sizeof found[0]);
	text(link->kind, sizeof link->kind, &found[IFLA_INFO_KIND]);
	if (strcmp(link->kind, "vxlan") == 0 && found[IFLA_INFO_DATA].data) {
		nd_attrs_read(found[IFLA_INFO_DATA].data, found[IFLA_INFO_DATA].len, data, sizeof data / sizeof data[0]);
		link->lower = (int32_t)nd_attr_u32(&data[IFLA_VXLAN_LINK]);
	}
}

int nd_link_summarize(struct nd_link *link, const struct nd_view *v)
{
	struct nd_link_attrs read;

	if (nd_link_read(v, &read)) {
		memset(link, 0, sizeof *link);
		return -EBADMSG;
	}
	nd_link_take(link, &read);
	return 0;
}

void nd_link_take(struct nd_link *link, const struct nd_link_attrs *read)
{
	const struct nd_attr *const attrs = read->attrs, *mac = &attrs[IFLA_ADDRESS];
	size_t attached_len;
	const unsigned char *attached = NULL;

	memset(link, 0, sizeof *link);
	link->ifindex = read->head.ifi_index;
	link->flags = read->head.ifi_flags;
	link->lower = (int32_t)nd_attr_u32(&attrs[IFLA_LINK]);
	link->master = (int32_t)nd_attr_u32(&attrs[IFLA_MASTER]);
	link->immutable = attrs[ND_IFLA_NETNS_IMMUTABLE].data ? attrs[ND_IFLA_NETNS_IMMUTABLE].data[0] != 0 : -1;
	text(link->name, sizeof link->name, &attrs[IFLA_IFNAME]);
	if (mac->data)
		memcpy(link->mac, mac->data, mac->len < sizeof link->mac ? mac->len : sizeof link->mac);
	if (attrs[IFLA_XDP].data)
		attached = nd_attr_find(attrs[IFLA_XDP].data, attrs[IFLA_XDP].len, IFLA_XDP_ATTACHED, &attached_len);
	link->has_altnames = attrs[ND_IFLA_PROP_LIST].data != NULL;
	link->has_xdp = attached && attached_len && attached[0];
	read_info(link, &attrs[IFLA_LINKINFO]);
	/* With IFLA_LINK_NETNSID the lower device is in another namespace. The IFLA_LINK of a veth is its peer. */
	if (attrs[IFLA_LINK_NETNSID].data || strcmp(link->kind, "veth") == 0)
		link->lower = 0;
}

const char *nd_link_altname(const struct nd_view *link, size_t *pos, size_t *len)
{
	size_t total;
	const unsigned char *const list = nd_view_attr(link, sizeof(struct ifinfomsg), ND_IFLA_PROP_LIST, &total);

	while (list && total > *pos && total - *pos >= ND_ATTR_HDR) {
		const unsigned char *const at = list + *pos;
		struct nlattr a;

		memcpy(&a, at, sizeof a);
		if (a.nla_len < ND_ATTR_HDR || a.nla_len > total - *pos)
			break;
		*pos += nd_align(a.nla_len);
		if ((a.nla_type & NLA_TYPE_MASK) == ND_IFLA_ALT_IFNAME) {
			*len = strnlen((const char *)at + ND_ATTR_HDR, a.nla_len - ND_ATTR_HDR);
			return (const char *)at + ND_ATTR_HDR;
		}
	}
	return NULL;
}

int nd_link_has_altname(const struct nd_view *link, const char *name, size_t len)
{
	size_t pos = 0, found_len;
	const char *found;

	while ((found = nd_link_altname(link, &pos, &found_len)))
		if (found_len == len && memcmp(found, name, len) == 0)
			return 1;
	return 0;
}
