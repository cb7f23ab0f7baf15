/* SPDX-License-Identifier: Apache-2.0 */
/* A device that comes out of a record: its memory as it was kept, or the kernel's messages alone. */
#include "internal.h"

#include <errno.h>
#include <string.h>

int nd_dev_is_sound(const struct nd_dev *dev)
{
	const char *const names[] = { dev->ifname, dev->wanted, dev->name };

	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
		if (strnlen(names[i], ND_NAME_SIZE) == ND_NAME_SIZE)
			return 0;
	return dev->link >= sizeof *dev && (uint64_t)dev->link + dev->link_len <= dev->addrs &&
	       (uint64_t)dev->addrs + dev->addrs_len <= dev->size;
}

int nd_dev_load(struct nd_dev *dev, const void *link, size_t link_len, const void *addrs, size_t addrs_len, struct nd_err *err)
{
	const size_t room = nd_align(sizeof *dev) + nd_align(link_len) + nd_align(addrs_len);
	struct nd_view v;
	struct ifinfomsg head;
	size_t pos = 0;
	int got = nd_view_next(link, link_len, &pos, &v);

	if (got <= 0 || v.type != RTM_NEWLINK || v.body_len < sizeof head || v.len != link_len)
		return nd_err_set(err, ND_STEP_SNAPSHOT, -EBADMSG, "the link of the record is damaged");
	memcpy(&head, v.body, sizeof head);
	pos = 0;
	while ((got = nd_view_next(addrs, addrs_len, &pos, &v)) > 0)
		if (v.type != RTM_NEWADDR || v.body_len < sizeof(struct ifaddrmsg))
			break;
	if (got != 0)
		return nd_err_set(err, ND_STEP_SNAPSHOT, -EBADMSG, "the addresses of the record are damaged");
	/* As much again, for what later steps read. */
	if (room * 2 + ND_MEMORY_MIN > dev->size) {
		dev->need = (uint32_t)(room * 2 + ND_MEMORY_MIN);
		return nd_err_set(err, ND_STEP_SNAPSHOT, -ENOBUFS, "the device's memory is too small");
	}
	dev->need = 0;
	dev->ifindex = head.ifi_index;
	dev->was_up = (head.ifi_flags & IFF_UP) != 0;
	dev->link = (uint32_t)nd_align(sizeof *dev);
	dev->link_len = (uint32_t)link_len;
	dev->addrs = dev->link + (uint32_t)nd_align(link_len);
	dev->addrs_len = (uint32_t)addrs_len;
	dev->back_len = 0;
	dev->place = ND_PLACE_UNKNOWN;
	memcpy((unsigned char *)dev + dev->link, link, link_len);
	if (addrs_len)
		memcpy((unsigned char *)dev + dev->addrs, addrs, addrs_len);
	return 0;
}
