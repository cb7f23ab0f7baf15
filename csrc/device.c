/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* The steps of one device: snapshot, move, verify, undo. netdevns-core.h says how each can be repeated. */
#include "internal.h"

#include <errno.h>
#include <string.h>

int nd_dev_init(struct nd_dev **dev, void *memory, size_t size, const char *ifname, const char *wanted, struct nd_err *err)
{
	struct nd_dev *d = memory;
	const size_t old = strlen(ifname), new = strlen(wanted);

	*dev = NULL;
	if (old == 0 || old >= ND_NAME_SIZE || new == 0 || new >= ND_NAME_SIZE)
		return nd_err_set(err, ND_STEP_NONE, -EINVAL, "a name must have 1 to 15 bytes");
	if (size < sizeof *d || size > UINT32_MAX)
		return nd_err_set(err, ND_STEP_NONE, -EOVERFLOW, "a device needs at least the memory of a struct nd_dev");
	memset(d, 0, sizeof *d);
	d->size = (uint32_t)size;
	memcpy(d->ifname, ifname, old);
	memcpy(d->wanted, wanted, new);
	*dev = d;
	err->code = 0;
	return 0;
}

void nd_dev_resize(struct nd_dev *dev, size_t size)
{
	dev->size = size > UINT32_MAX ? UINT32_MAX : (uint32_t)size;
	dev->need = 0;
}

size_t nd_dev_end(const struct nd_dev *dev)
{
	return dev->link_len ? nd_align(dev->addrs + dev->addrs_len) : nd_align(sizeof *dev);
}

/*
 * Keeps the link and the addresses of one ifindex. Without NETLINK_GET_STRICT_CHK the kernel dumps the addresses of all devices
 * (probe dumps.addresses.ifindex).
 */
static int keep_own(struct nd_buf *reply, int32_t ifindex, struct nd_err *err)
{
	struct nd_view v;
	size_t pos = 0, kept = 0;
	int links = 0;

	while (nd_view_next(reply->data, reply->used, &pos, &v) > 0) {
		int32_t index = 0;
		int code;

		if (v.type == NLMSG_ERROR) {
			code = nd_view_error(&v, err);
			if (code)
				return code;
			continue;
		}
		/* ifi_index and ifa_index are both 4 bytes behind the header's start. */
		if (v.body_len >= 8)
			memcpy(&index, v.body + 4, sizeof index);
		if (index != ifindex || !(v.type == RTM_NEWADDR || (v.type == RTM_NEWLINK && v.body_len >= sizeof(struct ifinfomsg))))
			continue;
		/* The link comes first: readers expect it as the first message. */
		if (v.type == RTM_NEWADDR && links == 0)
			break;
		links += v.type == RTM_NEWLINK;
		memmove(reply->data + kept, v.start, nd_align(v.len));
		kept += nd_align(v.len);
	}
	reply->used = kept;
	return links == 1 ? 0 : nd_err_set(err, ND_STEP_EXCHANGE, -EBADMSG, "no link in the answer");
}

int nd_dev_read(struct nd_dev *dev, struct nd_sock *sock, int32_t ifindex, size_t used, struct nd_buf *reply,
		struct nd_err *err)
{
	const struct ifaddrmsg head = { .ifa_family = AF_UNSPEC, .ifa_index = (uint32_t)ifindex };
	_Alignas(8) unsigned char bytes[128];
	struct nd_msg m;
	int code;

	nd_msg_init(&m, bytes, sizeof bytes);
	nd_put_getlink(&m, ifindex, NULL);
	nd_msg_begin(&m, RTM_GETADDR, NLM_F_DUMP, &head, sizeof head);
	if (used > dev->size)
		return nd_err_set(err, ND_STEP_EXCHANGE, -EINVAL, "offsets behind the device's memory");
	*reply = (struct nd_buf){ .data = (unsigned char *)dev + used, .size = dev->size - used };
	code = nd_sock_exchange(sock, &m, reply, err);
	if (code == -EOVERFLOW && reply->need)
		dev->need = (uint32_t)(used + 2 * reply->need + ND_MEMORY_MIN);
	return code ? code : keep_own(reply, ifindex, err);
}

int nd_dev_moved_already(const struct nd_dev *dev, struct nd_err *err)
{
	if (!dev->sent && dev->place != ND_PLACE_TARGET)
		return 0;
	return nd_err_set(err, ND_STEP_SNAPSHOT, -EINVAL, "it was moved already: its snapshot is what an undo needs");
}

int nd_dev_snapshot(struct nd_dev *dev, struct nd_sock *source, struct nd_err *err)
{
	const size_t begin = nd_align(sizeof *dev);
	int32_t ifindex = dev->ifindex;
	struct nd_buf reply;
	struct nd_view link;
	struct ifinfomsg head;
	struct nd_seen seen;
	size_t pos = 0;
	int code = nd_dev_moved_already(dev, err);

	if (!code && !ifindex) {
		code = nd_look_up(dev, source, 0, dev->ifname, &seen, err);
		/* A look-up by name also finds alternative names (probe message.key.altname-as-name). */
		if (!code && strcmp(seen.name, dev->ifname) != 0)
			code = nd_err_set(err, ND_STEP_SNAPSHOT, -ENODEV, "this is an alternative name of another device");
		ifindex = seen.ifindex;
	}
	if (!code) {	/* behind an earlier snapshot, which stays after a failure */
		dev->back_len = 0;
		code = nd_dev_read(dev, source, ifindex, nd_dev_end(dev), &reply, err);
	}
	if (code) {
		err->step = ND_STEP_SNAPSHOT;
		return code;
	}
	nd_view_next(reply.data, reply.used, &pos, &link);
	memcpy(&head, link.body, sizeof head);
	if (!nd_link_has_name(&link, dev->ifname))
		return nd_err_set(err, ND_STEP_SNAPSHOT, -ENODEV, "it was renamed meanwhile");
	/* Later steps read as much again behind the snapshot: that room is required now, while nothing has changed. */
	dev->need = (uint32_t)(begin + 2 * reply.used + ND_MEMORY_MIN);
	if (dev->need > dev->size)
		return nd_err_set(err, ND_STEP_SNAPSHOT, -EOVERFLOW, "the device's memory is too small");
	memmove((unsigned char *)dev + begin, reply.data, reply.used);
	dev->need = 0;
	dev->ifindex = ifindex;
	dev->link = (uint32_t)begin;
	dev->addrs = dev->link + (uint32_t)pos;
	dev->link_len = (uint32_t)pos;
	dev->addrs_len = (uint32_t)(reply.used - pos);
	dev->late = 0;
	dev->was_up = (head.ifi_flags & IFF_UP) != 0;
	dev->place = ND_PLACE_SOURCE;
	err->code = 0;
	return 0;
}

/* One RTM_NEWLINK with namespace (unless -1), name and ifindex (unless 0): probe message.name.with-namespace. */
static int send_move(struct nd_sock *sock, int32_t ifindex, int netns_fd, const char *name, int32_t new_ifindex,
		     struct nd_err *err)
{
	const struct ifinfomsg head = { .ifi_index = ifindex };
	_Alignas(8) unsigned char bytes[128];
	struct nd_msg m;

	nd_msg_init(&m, bytes, sizeof bytes);
	nd_msg_begin(&m, RTM_NEWLINK, NLM_F_ACK, &head, sizeof head);
	if (netns_fd >= 0)
		nd_msg_put_u32(&m, IFLA_NET_NS_FD, (uint32_t)netns_fd);
	nd_msg_put_name(&m, IFLA_IFNAME, name);
	if (new_ifindex)
		nd_msg_put_u32(&m, ND_IFLA_NEW_IFINDEX, (uint32_t)new_ifindex);
	return nd_sock_exchange(sock, &m, NULL, err);
}

/*
 * A name that no other device has, for the time between a move and a rename. With a template, where the kernel also chooses the
 * ifindex (before 5.13, or the requested one is taken), neither name nor ifindex would be known after the move: the ack has
 * neither (probes message.new-ifindex.free, message.new-ifindex.taken). It ends in a letter, so no template makes it.
 */
static void temporary_name(const struct nd_dev *dev, const struct nd_sock *target, char name[ND_NAME_SIZE])
{
	static const char hex[] = "0123456789abcdef";
	uint32_t bits = target->portid * 2654435761u ^ (uint32_t)dev->ifindex;

	memcpy(name, "nd", 3);
	for (size_t i = 2; i < 9; i++, bits >>= 4)
		name[i] = hex[bits & 15];
	name[9] = hex[10 + bits % 6];
	name[10] = '\0';
}

int nd_name_is_wanted(const char *wanted, const char *name)
{
	const char *const percent = strchr(wanted, '%');
	const size_t before = percent ? (size_t)(percent - wanted) : 0, len = strlen(name);
	size_t digits = 0, after;

	if (!percent || percent[1] != 'd')
		return strcmp(wanted, name) == 0;
	after = strlen(percent + 2);
	if (len <= before + after || memcmp(name, wanted, before) != 0 || strcmp(name + len - after, percent + 2) != 0)
		return 0;
	while (name[before + digits] >= '0' && name[before + digits] <= '9')
		digits++;
	/* The kernel prints the number with %d. */
	return digits >= len - before - after && (name[before] != '0' || len - before - after == 1);
}

/* Gives the device in the target its wanted name, and reads the name back: `wanted` may be a template. */
static int rename_in_target(struct nd_dev *dev, struct nd_sock *target, struct nd_err *err)
{
	struct nd_err look;
	int code = send_move(target, dev->target_ifindex, -1, dev->wanted, 0, err);
	const int found = nd_find_in_target(dev, target, &look);

	if (!code && found < 0) {
		*err = look;
		code = look.code;
	}
	if (!code && found == 0)
		code = nd_err_set(err, ND_STEP_MOVE, -ENODEV, "it is not in the target any more");
	return code;
}

/* Moves the device, which is in the source. */
static int move_there(struct nd_dev *dev, struct nd_sock *source, struct nd_sock *target, int target_fd, struct nd_err *err)
{
	const int template = strchr(dev->wanted, '%') != NULL;
	const int unsure = dev->ifindex_unsure || dev->target_ifindex == 0;
	char name[ND_NAME_SIZE];
	struct nd_err look;
	struct nd_seen seen;
	int code;

	memcpy(name, dev->wanted, sizeof name);
	if (template && unsure)
		temporary_name(dev, target, name);
	dev->sent = 1;
	code = send_move(source, dev->ifindex, target_fd, name, dev->target_ifindex, err);
	if (code) {	/* the device may have left in spite of that (probes clash.wanted-name, clash.both-names) */
		nd_find(dev, source, target, &seen, &look);
		return code;
	}
	memcpy(dev->name, name, sizeof dev->name);
	dev->place = ND_PLACE_TARGET;
	if (!template && !unsure)
		return 0;
	/* The name that the kernel makes of a template cannot be predicted (probe clash.template-old-taken). */
	if (template && !unsure)
		dev->name[0] = '\0';
	dev->place = ND_PLACE_UNKNOWN;
	code = nd_find_in_target(dev, target, err);
	if (code < 0)
		return code;
	return code ? 0 : nd_err_set(err, ND_STEP_MOVE, -ENODEV, "it left, but is not in the target");
}

int nd_dev_move(struct nd_dev *dev, struct nd_sock *source, struct nd_sock *target, int target_fd, struct nd_err *err)
{
	struct nd_seen seen;
	int code = 0;

	err->code = 0;
	if (!dev->link_len || (dev->place == ND_PLACE_UNKNOWN && !dev->sent))
		return nd_err_set(err, ND_STEP_MOVE, -EINVAL, "no snapshot");
	/* An earlier move failed, and so did the search after it. */
	if (dev->place != ND_PLACE_SOURCE && dev->place != ND_PLACE_TARGET)
		code = nd_find(dev, source, target, &seen, err);
	if (!code && dev->place == ND_PLACE_GONE)
		code = nd_err_set(err, ND_STEP_MOVE, -ENODEV, "it is neither in the source nor in the target");
	if (!code && dev->place == ND_PLACE_SOURCE)
		code = move_there(dev, source, target, target_fd, err);
	/* It has a temporary name; or a move that failed has left it there under its old name. */
	if (!code && !nd_name_is_wanted(dev->wanted, dev->name))
		code = rename_in_target(dev, target, err);
	return nd_end(err, ND_STEP_MOVE, code);
}

int nd_dev_up_and_replay(struct nd_dev *dev, struct nd_sock *target, struct nd_err *err)
{
	const struct nd_replay r = { .sock = target, .name = dev->name, .ifindex = dev->target_ifindex,
				     .set = ND_SET_PROTECTED, .up = 1 };

	if (dev->place != ND_PLACE_TARGET)
		return nd_err_set(err, ND_STEP_REPLAY, -EINVAL, "it is not in the target");
	return nd_end(err, ND_STEP_REPLAY, nd_replay_run(dev, &r, err));
}

int nd_dev_verify(struct nd_dev *dev, struct nd_sock *target, struct nd_err *err)
{
	const struct nd_replay r = { .sock = target, .name = dev->name, .wanted = dev->wanted,
				     .ifindex = dev->target_ifindex, .set = ND_SET_PROTECTED, .up = 1 };

	if (dev->place != ND_PLACE_TARGET)
		return nd_err_set(err, ND_STEP_VERIFY, -EINVAL, "it is not in the target");
	return nd_end(err, ND_STEP_VERIFY, nd_replay_compare(dev, &r, err));
}

static int undo_return(struct nd_dev *dev, struct nd_sock *source, struct nd_sock *target, int source_fd, struct nd_err *err)
{
	const int32_t was = dev->ifindex;
	struct nd_err look;
	struct nd_seen seen;
	int code = nd_find(dev, source, target, &seen, err);

	if (code)
		return code;
	if (dev->place == ND_PLACE_SOURCE) {
		/* Its name may differ: renamed by another process (probe races.renamer), or by the kernel when the target ended. */
		if (strcmp(seen.name, dev->ifname) != 0)
			code = send_move(source, dev->ifindex, -1, dev->ifname, 0, err);
		return code;
	}
	if (dev->place == ND_PLACE_GONE)
		return nd_err_set(err, ND_STEP_UNDO, -ENODEV, "it is neither in the source nor in the target");
	code = send_move(target, dev->target_ifindex, source_fd, dev->ifname, was, err);
	/* Its ifindex is taken (probe message.new-ifindex.taken): it returns under another one. */
	if (code == -EBUSY)
		code = send_move(target, dev->target_ifindex, source_fd, dev->ifname, 0, err);
	if (nd_find(dev, source, target, &seen, &look) != 0 && !code) {
		*err = look;
		code = look.code;
	}
	if (dev->place == ND_PLACE_SOURCE)
		return 0;
	return code ? code : nd_err_set(err, ND_STEP_UNDO, -ENODEV, "it was moved back, but is not in the source");
}

int nd_dev_undo(struct nd_dev *dev, struct nd_sock *source, struct nd_sock *target, int source_fd, int parts,
		struct nd_err *err)
{
	struct nd_err replayed;
	int code = 0;

	err->code = 0;
	if (!dev->link_len)	/* no snapshot, so nothing was changed */
		return 0;
	if (!nd_dev_is_sound(dev))
		return nd_err_set(err, ND_STEP_UNDO, -EINVAL, "the record is damaged");
	if (parts & ND_UNDO_RETURN)
		code = undo_return(dev, source, target, source_fd, err);
	if (!code && (parts & ND_UNDO_RESTORE)) {
		const struct nd_replay r = { .sock = source, .name = dev->ifname, .ifindex = dev->ifindex,
					     .set = ND_SET_ALL, .up = dev->was_up, .keep_going = 1 };

		if (dev->place != ND_PLACE_SOURCE)
			return nd_err_set(err, ND_STEP_UNDO, -ENODEV, "it is not in the source");
		/* An unchanged device gets no request, so no process gets a notification. */
		code = nd_replay_compare(dev, &r, err);
		if (code && !(code == -EOVERFLOW && dev->need > dev->size)) {
			code = nd_replay_run(dev, &r, &replayed);
			if (code == -EOVERFLOW && dev->need > dev->size)
				*err = replayed;
			else
				code = nd_replay_compare(dev, &r, err);
		}
	}
	if (code) {
		err->step = ND_STEP_UNDO;
		return code;
	}
	if (parts & ND_UNDO_RESTORE)
		dev->sent = 0;
	err->code = 0;
	return 0;
}

int nd_dev_transfer(struct nd_dev *dev, struct nd_sock *source, struct nd_sock *target, int source_fd, int target_fd,
		    struct nd_err *err, struct nd_err *undo_err)
{
	int code = nd_netns_differ(source_fd, target_fd, err);

	undo_err->code = 0;
	if (!code)
		code = nd_dev_snapshot(dev, source, err);
	if (code)
		return code;
	code = nd_dev_move(dev, source, target, target_fd, err);
	if (!code)
		code = nd_dev_up_and_replay(dev, target, err);
	if (!code)
		code = nd_dev_verify(dev, target, err);
	if (code)
		nd_dev_undo(dev, source, target, source_fd, ND_UNDO_RETURN | ND_UNDO_RESTORE, undo_err);
	return code;
}
