/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * Restores a link as an undo does.
 *
 *	settings save NETNS IFNAME FILE			writes its RTM_NEWLINK
 *	settings restore NETNS IFNAME FILE [TOKEN [LOWER]]	DOWN, IFF_UP where it was up, UP; prints what is missing
 *
 * NETNS: a path; "-": the present one; "peer:N": a socket of the test, which takes the kernel's part. TOKEN: 32 hex
 * digits, or "-".
 */
#include "batch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define ANSWER_BYTES (256 << 10)

static int fail(const char *step, const struct nd_err *err)
{
	fprintf(stderr, "settings: %s: %s: %s\n", step, strerror(-err->code), err->text);
	return 2;
}

/* Reads the link, which stays there until the next call. */
static int look_up(struct nd_sock *sock, const char *name, struct nd_view *link, struct nd_err *err)
{
	static _Alignas(8) unsigned char bytes[128], answer[ANSWER_BYTES];
	struct nd_buf reply = { .data = answer, .size = sizeof answer };
	struct nd_msg m;
	size_t pos = 0;
	int code;

	memset(link, 0, sizeof *link);
	nd_msg_init(&m, bytes, sizeof bytes);
	nd_put_getlink(&m, 0, name);
	code = nd_sock_exchange(sock, &m, &reply, err);
	if (code)
		return code;
	if (nd_view_next(answer, reply.used, &pos, link) != 1 || link->type != RTM_NEWLINK)
		return nd_err_set(err, ND_STEP_EXCHANGE, -ENODEV, name);
	return 0;
}

static int save(const struct nd_view *link, const char *path)
{
	const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	const ssize_t n = fd < 0 ? -1 : write(fd, link->start, link->len);

	if (fd >= 0)
		close(fd);
	return n == (ssize_t)link->len ? 0 : -EIO;
}

static size_t load(const char *path, unsigned char *data, size_t size)
{
	const int fd = open(path, O_RDONLY | O_CLOEXEC);
	const ssize_t len = fd < 0 ? -1 : read(fd, data, size);

	if (fd >= 0)
		close(fd);
	return len < 0 ? 0 : (size_t)len;
}

/* Sets IFF_UP between the stages if the link had it, whether or not ND_STAGE_DOWN cleared it. */
static int set_up(struct nd_sock *sock, const struct nd_view *was, const struct nd_view *now, struct nd_err *err)
{
	struct ifinfomsg before, head;
	_Alignas(8) unsigned char bytes[64];
	struct nd_msg m;

	memcpy(&before, was->body, sizeof before);
	memcpy(&head, now->body, sizeof head);
	if (!(before.ifi_flags & IFF_UP))
		return 0;
	head = (struct ifinfomsg){ .ifi_index = head.ifi_index, .ifi_flags = IFF_UP, .ifi_change = IFF_UP };
	nd_msg_init(&m, bytes, sizeof bytes);
	nd_msg_begin(&m, RTM_NEWLINK, NLM_F_ACK, &head, sizeof head);
	return nd_sock_exchange(sock, &m, NULL, err);
}

/* One stage, with the link as it is now; After ND_STAGE_DOWN, IFF_UP. */
static int do_stage(struct nd_sock *sock, int netns_fd, const char *name, struct nd_settings *settings, enum nd_stage stage,
		    struct nd_memory *missing, struct nd_err *err)
{
	struct nd_view now;
	int code = look_up(sock, name, &now, err);

	settings->now = &now;
	if (!code)
		code = nd_settings_restore(sock, netns_fd, settings, stage, missing, err);
	if (!code && stage == ND_STAGE_DOWN)
		code = set_up(sock, settings->was, &now, err);
	settings->now = NULL;
	return code;
}

static int from_hex(const char *text, unsigned char token[16])
{
	unsigned byte;

	for (size_t i = 0; i < 16; i++) {
		if (sscanf(text + 2 * i, "%2x", &byte) != 1)
			return 0;
		token[i] = (unsigned char)byte;
	}
	return 1;
}

static int restore(char **argv, struct nd_sock *sock, int netns_fd, const struct nd_view *was)
{
	struct nd_settings settings = { .was = was, .lower = argv[5] && argv[6] ? atoi(argv[6]) : 0 };
	struct nd_memory missing = { .data = NULL };
	struct nd_err err = { .code = 0 };
	unsigned char token[16];
	int code;

	if (argv[5] && strlen(argv[5]) == 32 && from_hex(argv[5], token))
		settings.token = token;
	code = do_stage(sock, netns_fd, argv[3], &settings, ND_STAGE_DOWN, &missing, &err);
	if (!code)
		code = do_stage(sock, netns_fd, argv[3], &settings, ND_STAGE_UP, &missing, &err);
	if (!code && missing.used)
		printf("%s\n", (const char *)missing.data);
	if (!code && missing.used && strlen((const char *)missing.data) != missing.used)
		code = nd_err_set(&err, ND_STEP_NONE, -EBADMSG, "no NUL behind the words");
	nd_memory_free(&missing);
	return code ? fail("restore", &err) : 0;
}

static int run(char **argv, struct nd_sock *sock, int netns_fd)
{
	static unsigned char data[ANSWER_BYTES];
	struct nd_err err = { .code = 0 };
	struct nd_view link;
	unsigned char *copy;
	size_t len, pos = 0;
	int result = 2;

	if (strcmp(argv[1], "save") == 0) {
		if (look_up(sock, argv[3], &link, &err))
			return fail("look-up", &err);
		return save(&link, argv[4]) ? 2 : 0;
	}
	/* In memory of exactly its size: a sanitizer finds what is read behind it. */
	len = load(argv[4], data, sizeof data);
	copy = malloc(len ? len : 1);
	if (!copy)
		abort();
	memcpy(copy, data, len);
	if (nd_view_next(copy, len, &pos, &link) == 1)
		result = restore(argv, sock, netns_fd, &link);
	free(copy);
	return result;
}

int main(int argc, char **argv)
{
	struct nd_err err = { .code = 0 };
	struct nd_sock sock = { .fd = -1 };
	int netns_fd = -1, result;

	if (argc < 5 || (strcmp(argv[1], "save") != 0 && strcmp(argv[1], "restore") != 0)) {
		fprintf(stderr, "settings: save|restore NETNS IFNAME FILE [TOKEN [LOWER]]\n");
		return 2;
	}
	if (strncmp(argv[2], "peer:", 5) == 0) {
		sock.fd = atoi(argv[2] + 5);
	} else {
		netns_fd = strcmp(argv[2], "-") == 0 ? -1 : open(argv[2], O_RDONLY | O_CLOEXEC);
		if ((strcmp(argv[2], "-") != 0 && netns_fd < 0) || nd_sock_open(&sock, netns_fd, NULL, 0, &err))
			return fail("open", &err);
	}
	result = run(argv, &sock, netns_fd);
	nd_sock_close(&sock);
	if (netns_fd >= 0)
		close(netns_fd);
	return result;
}
