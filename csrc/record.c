/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * Writes a batch as a record, with which another process can undo the move if this one is killed, and reads it. As
 * netdevns/recovery/record.py.
 */
#include "layout.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define BOOT_ID "/proc/sys/kernel/random/boot_id"
#define BOOT_SIZE 64

/* The id of this boot, without its newline. */
static int boot_id(char boot[BOOT_SIZE], struct nd_err *err)
{
	const int fd = open(BOOT_ID, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, boot, BOOT_SIZE - 1);
	const int code = n < 0 ? -errno : 0;

	if (fd >= 0)
		close(fd);
	if (code)
		return nd_err_set(err, ND_STEP_NONE, code, "cannot read " BOOT_ID);
	while (n > 0 && (boot[n - 1] == '\n' || boot[n - 1] == ' '))
		n--;
	boot[n] = '\0';
	return 0;
}

/* ---- writing ---- */

static void put_number(struct nd_msg *m, uint16_t type, uint64_t number)
{
	nd_msg_put(m, type, &number, sizeof number);
}

static void put_text(struct nd_msg *m, uint16_t type, const char *text)
{
	nd_msg_put(m, type, text, strlen(text));
}

/* Appends the kernel's messages unchanged, padded. */
static void put_dumped(struct nd_msg *m, const void *data, size_t len)
{
	const size_t room = nd_align(len);

	if (m->err)
		return;
	if (room > m->size - m->used) {
		m->err = -EOVERFLOW;
		return;
	}
	memset(m->data + m->used, 0, room);
	if (len)
		memcpy(m->data + m->used, data, len);
	m->used += room;
}

static void put_head(struct nd_msg *m, const char *boot, const struct nd_record_content *content)
{
	const struct nd_loan *const loan = content->loan;

	nd_msg_begin(m, HEAD, 0, NULL, 0);
	put_number(m, A_VERSION, ND_RECORD_VERSION);
	put_text(m, A_BOOT, boot);
	put_text(m, A_PRESERVE, "");
	put_number(m, A_PID, content->pid ? content->pid : (uint64_t)getpid());
	put_number(m, A_SINCE_MS, content->since_ms);
	if (!loan)
		return;
	put_number(m, A_LENDS, loan->number);
	if (!content->is_loan)
		return;
	nd_msg_begin(m, LOAN, 0, NULL, 0);
	nd_msg_put(m, A_CONTAINER, loan->container, loan->container_len);
}

static void put_netns(struct nd_msg *m, uint16_t type, const struct nd_identity *id)
{
	nd_msg_begin(m, type, 0, NULL, 0);
	put_text(m, A_WHERE, id->where);
	put_number(m, A_COOKIE, id->cookie);
	put_number(m, A_DEV, id->dev);
	put_number(m, A_INO, id->ino);
	put_number(m, A_OF_PID, id->of_pid);
	put_number(m, A_OF_START, id->of_start);
	put_number(m, A_PID_NS, id->pid_ns);
}

static void put_device(struct nd_msg *m, const struct nd_record_device *device)
{
	const struct nd_dev *const dev = device->dev;
	const unsigned char *const memory = (const unsigned char *)dev;
	/* The link without the flags, seq and portid of the reply. */
	const struct nlmsghdr head = { .nlmsg_len = dev->link_len, .nlmsg_type = RTM_NEWLINK, .nlmsg_flags = NLM_F_REQUEST };

	nd_msg_begin(m, DEVICE, 0, NULL, 0);
	put_text(m, A_HOST_NAME, dev->ifname);
	put_text(m, A_IFNAME, dev->ifname);
	put_text(m, A_WANTED, dev->wanted);
	put_number(m, A_IFINDEX, (uint64_t)(uint32_t)dev->ifindex);
	put_number(m, A_ASKED, (uint64_t)(uint32_t)dev->target_ifindex);
	put_number(m, A_UNSURE, dev->ifindex_unsure != 0);
	put_number(m, A_DEPTH, device->depth);
	put_dumped(m, &head, sizeof head);
	put_dumped(m, memory + dev->link + sizeof head, dev->link_len - sizeof head);
	put_dumped(m, memory + dev->addrs, dev->addrs_len);
}

/* An upper bound of the size. 0: a device has no snapshot. */
static size_t room_for(const struct nd_record_content *content)
{
	size_t room = 1024 + strlen(content->source.where) + strlen(content->target.where);

	if (content->is_loan)
		room += content->loan->container_len;
	for (size_t i = 0; i < content->count; i++) {
		const struct nd_dev *const dev = content->devices[i].dev;

		if (dev->link_len < NLMSG_HDRLEN || !nd_dev_is_sound(dev))
			return 0;
		room += 256 + nd_align(dev->link_len) + nd_align(dev->addrs_len);
	}
	return room;
}

int nd_record_encode(unsigned char **data, size_t *len, const struct nd_record_content *content, struct nd_err *err)
{
	const size_t room = room_for(content);
	char boot[BOOT_SIZE];
	struct nd_msg m;
	int code;

	*data = NULL;
	if (!room)
		return nd_err_set(err, ND_STEP_NONE, -EINVAL, "a device without a snapshot");
	code = boot_id(boot, err);
	if (code)
		return code;
	*data = malloc(room);
	if (!*data)
		return nd_err_set(err, ND_STEP_NONE, -ENOMEM, NULL);
	nd_msg_init(&m, *data, room);
	put_head(&m, boot, content);
	put_netns(&m, SOURCE, &content->source);
	put_netns(&m, TARGET, &content->target);
	for (size_t i = 0; i < content->count; i++)
		put_device(&m, &content->devices[i]);
	*len = m.used;
	nd_msg_begin(&m, END, 0, NULL, 0);
	put_number(&m, A_CHECKSUM, nd_checksum(*data, *len));
	*len = m.used;
	err->code = m.err;
	if (!m.err && *len > ND_RECORD_BYTES_MAX)
		nd_err_set(err, ND_STEP_NONE, -EFBIG, "the record of this move would be larger than 16 MiB");
	if (err->code) {
		free(*data);
		*data = NULL;
	}
	return err->code;
}

/* ---- reading ---- */

static void load_netns(const struct nd_section *s, struct nd_identity *id)
{
	id->cookie = nd_section_number(s, A_COOKIE);
	id->dev = nd_section_number(s, A_DEV);
	id->ino = nd_section_number(s, A_INO);
	id->of_pid = nd_section_number(s, A_OF_PID);
	id->of_start = nd_section_number(s, A_OF_START);
	id->pid_ns = nd_section_number(s, A_PID_NS);
	nd_section_text(s, A_WHERE, id->where, sizeof id->where);	/* only a hint; dropped if it does not fit */
}

static int load_device(const struct nd_section *s, size_t at, struct nd_record_device *device, struct nd_err *err)
{
	const uint64_t depth = nd_section_number(s, A_DEPTH);
	char ifname[ND_NAME_SIZE], wanted[ND_NAME_SIZE];
	struct nd_dev *dev = NULL;
	struct nd_view link;
	size_t pos = 0, size;
	int code;

	nd_section_text(s, A_IFNAME, ifname, sizeof ifname);
	nd_section_text(s, A_WANTED, wanted, sizeof wanted);
	nd_view_next(s->body, s->body_len, &pos, &link);
	/* Memory for nd_dev_load: the snapshot, and the same again for later reads. */
	size = 2 * (nd_align(sizeof *dev) + s->body_len) + ND_MEMORY_MIN;
	device->dev = calloc(1, size);
	if (!device->dev)
		return nd_err_set(err, ND_STEP_NONE, -ENOMEM, NULL);
	code = nd_dev_init(&dev, device->dev, size, ifname, wanted, err);
	if (!code)
		code = nd_dev_load(dev, link.start, link.len, s->body + pos, s->body_len - pos, err);
	if (code)
		return nd_err_set(err, ND_STEP_NONE, -EBADMSG, "malformed snapshot");
	dev->target_ifindex = (int32_t)nd_section_number(s, A_ASKED);
	dev->ifindex_unsure = nd_section_number(s, A_UNSURE) != 0;
	device->depth = depth > UINT32_MAX ? UINT32_MAX : (uint32_t)depth;
	device->at = at;
	return 0;
}

static int load_head(const struct nd_section *s, struct nd_recovered *found, struct nd_err *err)
{
	char boot[BOOT_SIZE], then[BOOT_SIZE];
	size_t len = 0;
	const int code = boot_id(boot, err);

	if (code)
		return code;
	found->pid = nd_section_number(s, A_PID);
	found->since_ms = nd_section_number(s, A_SINCE_MS);
	found->is_of_this_boot = nd_section_text(s, A_BOOT, then, sizeof then) && strcmp(boot, then) == 0;
	nd_attr_find(s->attrs, s->attrs_len, A_PRESERVE, &len);
	/* Preserved state is not compared, so the move may be incomplete. */
	found->is_to_be_undone = len != 0;
	return 0;
}

/* Whether END, whose header lies in front of its attributes, has the mark of a complete move. */
static int is_marked(const struct nd_section *end)
{
	struct nlmsghdr head;

	memcpy(&head, end->attrs - NLMSG_HDRLEN, sizeof head);
	return head.nlmsg_seq == ND_RECORD_COMPLETE;
}

static int load(const unsigned char *data, size_t len, struct nd_recovered *found, struct nd_err *err)
{
	struct nd_section s;
	size_t pos = 0;
	int code = 0;

	while (!code && nd_section_next(data, len, &pos, &s)) {
		if (s.type == HEAD)
			code = load_head(&s, found, err);
		else if (s.type == SOURCE)
			load_netns(&s, &found->source);
		else if (s.type == TARGET)
			load_netns(&s, &found->target);
		else if (s.type == END)
			found->is_complete = is_marked(&s);
		else if (s.type == DEVICE && !nd_section_is_restored(s.attrs - NLMSG_HDRLEN))
			code = load_device(&s, (size_t)(s.attrs - NLMSG_HDRLEN - data), &found->devices[found->count++], err);
	}
	return code;
}

int nd_record_parse(const void *data, size_t len, struct nd_recovered *found, struct nd_err *err)
{
	size_t count;
	int code = nd_layout_judge(data, len, &count, err);

	memset(found, 0, sizeof *found);
	if (code)
		return code;
	found->devices = calloc(count + 1, sizeof *found->devices);
	if (!found->devices)
		return nd_err_set(err, ND_STEP_NONE, -ENOMEM, NULL);
	code = load(data, len, found, err);
	if (code)
		nd_recovered_free(found);
	else
		err->code = 0;
	return code;
}

void nd_recovered_free(struct nd_recovered *found)
{
	for (size_t i = 0; i < found->count; i++)
		free(found->devices[i].dev);
	free(found->devices);
	memset(found, 0, sizeof *found);
}
