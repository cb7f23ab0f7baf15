/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* Sets a device's snapshot from messages of a record or of a dump. */
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

/* Checks that there are one RTM_NEWLINK and any number of RTM_NEWADDR. Returns the damage in words; NULL: none. */
static const char *damage(const void *link, size_t link_len, const void *addrs, size_t addrs_len, struct nd_view *v)
{
	struct nd_view address;
	size_t pos = 0;
	int got = nd_view_next(link, link_len, &pos, v);

	if (got <= 0 || v->type != RTM_NEWLINK || v->body_len < sizeof(struct ifinfomsg) || v->len != link_len)
		return "the link of the record is damaged";
	pos = 0;
	while ((got = nd_view_next(addrs, addrs_len, &pos, &address)) > 0)
		if (address.type != RTM_NEWADDR || address.body_len < sizeof(struct ifaddrmsg))
			break;
	return got ? "the addresses of the record are damaged" : NULL;
}

/* Copies the messages. `spare`: bytes that the next steps need behind them. */
static int put(struct nd_dev *dev, const struct nd_view *link, const void *addrs, size_t addrs_len, size_t spare,
	       struct nd_err *err)
{
	const size_t room = nd_align(sizeof *dev) + nd_align(link->len) + nd_align(addrs_len);
	struct ifinfomsg head;

	memcpy(&head, link->body, sizeof head);
	if (room + spare > dev->size) {
		dev->need = (uint32_t)(room + spare);
		return nd_err_set(err, ND_STEP_SNAPSHOT, -EOVERFLOW, "the device's memory is too small");
	}
	dev->need = 0;
	dev->ifindex = head.ifi_index;
	dev->was_up = (head.ifi_flags & IFF_UP) != 0;
	dev->link = (uint32_t)nd_align(sizeof *dev);
	dev->link_len = (uint32_t)link->len;
	dev->addrs = dev->link + (uint32_t)nd_align(link->len);
	dev->addrs_len = (uint32_t)addrs_len;
	dev->back_len = 0;
	dev->late = 0;
	dev->place = ND_PLACE_UNKNOWN;
	memcpy((unsigned char *)dev + dev->link, link->start, link->len);
	if (addrs_len)
		memcpy((unsigned char *)dev + dev->addrs, addrs, addrs_len);
	err->code = 0;
	return 0;
}

int nd_dev_load(struct nd_dev *dev, const void *link, size_t link_len, const void *addrs, size_t addrs_len, struct nd_err *err)
{
	struct nd_view v;
	const char *const damaged = damage(link, link_len, addrs, addrs_len, &v);
	const int code = nd_dev_moved_already(dev, err);

	if (code)
		return code;
	if (damaged)
		return nd_err_set(err, ND_STEP_SNAPSHOT, -EBADMSG, damaged);
	/* The same room again, for the messages that later steps read. */
	return put(dev, &v, addrs, addrs_len, nd_align(sizeof *dev) + nd_align(link_len) + nd_align(addrs_len) + ND_MEMORY_MIN, err);
}

int nd_dev_take(struct nd_dev *dev, const void *link, size_t link_len, const void *addrs, size_t addrs_len, struct nd_err *err)
{
	struct nd_view v;
	const char *const damaged = damage(link, link_len, addrs, addrs_len, &v);
	int code = nd_dev_moved_already(dev, err);

	if (code)
		return code;
	if (damaged)
		return nd_err_set(err, ND_STEP_SNAPSHOT, -EBADMSG, damaged);
	if (!nd_link_has_name(&v, dev->ifname))
		return nd_err_set(err, ND_STEP_SNAPSHOT, -ENODEV, "it was renamed meanwhile");
	/* For nd_dev_catch_up: a link that was set down before its move has two notifications of each address. */
	code = put(dev, &v, addrs, addrs_len, 2 * addrs_len + 512, err);
	if (!code)
		dev->place = ND_PLACE_SOURCE;
	return code;
}

int nd_dev_compare(struct nd_dev *dev, const void *link, size_t link_len, const void *addrs, size_t addrs_len, struct nd_err *err)
{
	const struct nd_replay r = { .name = dev->name, .wanted = dev->wanted, .ifindex = dev->target_ifindex,
				     .set = ND_SET_PROTECTED, .up = 1 };
	struct nd_view v;
	int code;

	if (dev->place != ND_PLACE_TARGET || !dev->link_len)
		return nd_err_set(err, ND_STEP_VERIFY, -EINVAL, "it is not in the target");
	if (damage(link, link_len, addrs, addrs_len, &v))
		return nd_err_set(err, ND_STEP_VERIFY, -EBADMSG, "no link in the answer");
	code = nd_replay_compare_with(dev, &r, &v, addrs, addrs_len, err);
	return nd_end(err, ND_STEP_VERIFY, code);
}

size_t nd_addr_unprotected(const void *addrs, size_t len, void *to)
{
	struct nd_view v;
	size_t pos = 0, used = 0;

	while (nd_view_next(addrs, len, &pos, &v) > 0) {
		struct ifaddrmsg head;

		if (v.type != RTM_NEWADDR || v.body_len < sizeof(struct ifaddrmsg))
			continue;
		memcpy(&head, v.body, sizeof head);	/* IFA_F_PERMANENT is in its 8 flags; IFA_FLAGS is not needed */
		if ((head.ifa_flags & IFA_F_PERMANENT) && head.ifa_scope == RT_SCOPE_UNIVERSE)
			continue;
		if (nd_align(v.len) > len - used)	/* the last one may lack its padding */
			break;
		memset((unsigned char *)to + used, 0, nd_align(v.len));
		memcpy((unsigned char *)to + used, v.start, v.len);
		used += nd_align(v.len);
	}
	return used;
}

int nd_addr_runs(const void *messages, uint32_t len, struct nd_run *runs, int count)
{
	struct nd_run run = { 0, 0, 0 };
	struct nd_view v;
	size_t pos = 0;
	int code, found = 0;

	while ((code = nd_view_next(messages, len, &pos, &v)) > 0) {
		uint32_t at = (uint32_t)(v.start - (const unsigned char *)messages);
		struct ifaddrmsg head;

		if ((v.type != RTM_NEWADDR && v.type != RTM_DELADDR) || v.body_len < sizeof head)
			continue;
		memcpy(&head, v.body, sizeof head);
		if (!found || run.ifindex != (int32_t)head.ifa_index || run.at + run.len != at) {
			run.at = at;
			run.ifindex = (int32_t)head.ifa_index;
			found++;
		}
		run.len = (uint32_t)pos - run.at;
		if (found <= count)
			runs[found - 1] = run;
	}
	return code ? code : found;
}
