/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * What test_records.py asks of the C library's records, locks and identities. Arguments: what to do, then its own. A line on stdout
 * for each answer, beginning with a code (0 or -errno); commands are read from stdin until it ends.
 */
#include "batch.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define SIZE_MAX_BYTES (64u << 20)
#define SINCE_MS 4711	/* as test_records.py */

static void *must(void *p)
{
	if (!p) {
		perror("records");
		exit(2);
	}
	return p;
}

static int open_or_end(const char *path, int flags)
{
	const int fd = open(path, flags | O_CLOEXEC);

	if (fd < 0) {
		perror(path);
		exit(2);
	}
	return fd;
}

static unsigned char *read_file(const char *path, size_t *len)
{
	const int fd = open_or_end(path, O_RDONLY);
	struct stat is;

	if (fstat(fd, &is) < 0 || is.st_size > (off_t)SIZE_MAX_BYTES)
		exit(2);
	unsigned char *const data = must(malloc((size_t)is.st_size + 1));

	*len = 0;
	for (ssize_t n; (n = read(fd, data + *len, (size_t)is.st_size - *len)) > 0;)
		*len += (size_t)n;
	close(fd);
	return data;
}

static void print_hex(const char *what, const void *data, size_t len)
{
	printf(" %s=", what);
	for (size_t i = 0; i < len; i++)
		printf("%02x", ((const unsigned char *)data)[i]);
}

static void print_err(int code, const struct nd_err *err)
{
	printf("%d %s\n", code, code ? err->text : "");
}

/* A line of stdin, without its newline. 0: there is none. */
static int next_line(char line[256])
{
	fflush(stdout);
	if (!fgets(line, 256, stdin))
		return 0;
	line[strcspn(line, "\n")] = '\0';
	return 1;
}

/* ---- records ---- */

static void print_netns(const char *what, const struct nd_identity *id)
{
	printf("%s cookie=%" PRIu64 " dev=%" PRIu64 " ino=%" PRIu64 " of_pid=%" PRIu64 " of_start=%" PRIu64 " pid_ns=%" PRIu64,
	       what, id->cookie, id->dev, id->ino, id->of_pid, id->of_start, id->pid_ns);
	print_hex("where", id->where, strlen(id->where));
	puts("");
}

static void print_found(const struct nd_recovered *found)
{
	printf("0 pid=%" PRIu64 " since_ms=%" PRIu64 " this_boot=%d complete=%d undo=%d\n", found->pid, found->since_ms,
	       found->is_of_this_boot, found->is_complete, found->is_to_be_undone);
	print_netns("source", &found->source);
	print_netns("target", &found->target);
	for (size_t i = 0; i < found->count; i++) {
		const struct nd_dev *const dev = found->devices[i].dev;
		const unsigned char *const memory = (const unsigned char *)dev;

		printf("device ifindex=%d asked=%d unsure=%d depth=%u", dev->ifindex, dev->target_ifindex, dev->ifindex_unsure,
		       found->devices[i].depth);
		print_hex("ifname", dev->ifname, strlen(dev->ifname));
		print_hex("wanted", dev->wanted, strlen(dev->wanted));
		print_hex("link", memory + dev->link, dev->link_len);
		print_hex("addresses", memory + dev->addrs, dev->addrs_len);
		puts("");
	}
}

/* parse FILE: all that is in it. */
static int parse(char **argv)
{
	struct nd_recovered found;
	struct nd_err err;
	size_t len;
	unsigned char *const data = read_file(argv[0], &len);
	const int code = nd_record_parse(data, len, &found, &err);

	if (code)
		print_err(code, &err);
	else
		print_found(&found);
	nd_recovered_free(&found);
	free(data);
	return 0;
}

/* judge FILE: of many records, each with its length in front (u32), the codes alone. */
static int judge(char **argv)
{
	size_t len, at = 0;
	unsigned char *const data = read_file(argv[0], &len);

	for (uint32_t size; len - at >= sizeof size; at += size) {
		struct nd_recovered found;
		struct nd_err err;

		memcpy(&size, data + at, sizeof size);
		at += sizeof size;
		if (size > len - at)
			return 2;
		/* Memory of exactly that size, for sanitizers and valgrind. */
		unsigned char *const copy = must(malloc(size ? size : 1));

		memcpy(copy, data + at, size);
		printf("%d\n", nd_record_parse(copy, size, &found, &err));
		nd_recovered_free(&found);
		free(copy);
	}
	free(data);
	return 0;
}

/* NAME WANTED ASKED UNSURE DEPTH LINK-FILE ADDRESSES-FILE */
static void load(struct nd_record_device *device, char **argv)
{
	size_t link_len, addrs_len;
	unsigned char *const link = read_file(argv[5], &link_len), *const addrs = read_file(argv[6], &addrs_len);
	const size_t size = 65536 + 2 * (link_len + addrs_len);
	struct nd_err err;

	if (nd_dev_init(&device->dev, must(malloc(size)), size, argv[0], argv[1], &err) ||
	    nd_dev_load(device->dev, link, link_len, addrs, addrs_len, &err)) {
		fprintf(stderr, "%s\n", err.text);
		exit(2);
	}
	device->dev->target_ifindex = atoi(argv[2]);
	device->dev->ifindex_unsure = atoi(argv[3]);
	device->depth = (uint32_t)atoi(argv[4]);
	free(link);
	free(addrs);
}

/* write DIRECTORY SOURCE TARGET DEVICE...: then, from stdin, again, complete, undo, end, keep or close. */
static int write_record(int argc, char **argv)
{
	const int dirfd = open_or_end(argv[0], O_RDONLY | O_DIRECTORY);
	const int netns[2] = { open_or_end(argv[1], O_RDONLY), open_or_end(argv[2], O_RDONLY) };
	const size_t count = (size_t)(argc - 3) / 7;	/* at most 8 */
	static struct nd_record_device devices[8];
	static struct nd_record_content content;
	struct nd_identity *const ids[2] = { &content.source, &content.target };
	struct nd_record record;
	struct nd_err err;
	char line[256] = "again";

	for (int i = 0; i < 2; i++) {
		struct nd_sock sock;

		if (nd_sock_open(&sock, netns[i], NULL, 0, &err) || nd_identify(netns[i], &sock, ids[i], &err))
			exit(2);
		nd_sock_close(&sock);
	}
	for (size_t i = 0; i < count && i < 8; i++)
		load(&devices[i], argv + 3 + 7 * i);
	content.devices = devices;
	content.count = count;
	content.since_ms = SINCE_MS;
	nd_record_init(&record);
	do {
		int code = 0;

		if (strcmp(line, "again") == 0) {
			code = nd_record_write(&record, dirfd, &content, &err);
			printf("%d %s\n", code, code ? err.text : record.name);
		} else if (strcmp(line, "complete") == 0 || strcmp(line, "undo") == 0) {
			printf("%d\n", nd_record_mark(&record, line[0] == 'c'));
		} else if (strcmp(line, "close") == 0) {
			nd_record_close(&record);
			puts("0");
		} else {
			printf("%d\n", nd_record_end(&record, strcmp(line, "keep") == 0));
		}
	} while (next_line(line));
	nd_record_close(&record);
	for (size_t i = 0; i < count; i++)
		free(devices[i].dev);
	close(netns[0]);
	close(netns[1]);
	close(dirfd);
	return 0;
}

/* walk DIRECTORY: lists the records that no process holds, with errors. Stdin, after each record: end, keep or close it. */
static int walk(char **argv)
{
	const int dirfd = open_or_end(argv[0], O_RDONLY | O_DIRECTORY);
	struct nd_record_list list;
	struct nd_record record;
	struct nd_err err;
	int code = nd_record_list(&list, dirfd, &err);
	char line[256];

	nd_record_init(&record);
	if (code)
		print_err(code, &err);
	while (!code && (code = nd_record_next(&list, &record, &err)) != 0) {
		if (code < 0) {
			printf("%d %s %s\n", code, record.name, err.text);
		} else {
			struct nd_recovered found;

			code = nd_record_read(&record, &found, &err);
			printf("%d %s %s\n", code, record.name, code ? err.text : found.is_to_be_undone ? "undo" : "");
			nd_recovered_free(&found);
			if (!next_line(line))
				break;
			if (strcmp(line, "close") == 0)
				nd_record_close(&record);
			else
				printf("%d\n", nd_record_end(&record, strcmp(line, "keep") == 0));
		}
		code = 0;
	}
	nd_record_close(&record);
	nd_record_list_free(&list);
	close(dirfd);
	return 0;
}

/* ---- identities ---- */

static void find(const char *what, const struct nd_identity *id)
{
	struct nd_err err;
	struct stat is;
	const int fd = nd_identity_open(id, &err);

	if (fd < 0)
		printf("%s %d %s\n", what, fd, err.text);
	else if (fstat(fd, &is) == 0)
		printf("%s 0 %" PRIu64 ":%" PRIu64 "\n", what, (uint64_t)is.st_dev, (uint64_t)is.st_ino);
	if (fd >= 0)
		close(fd);
}

/* find FILE: the namespaces of a record. */
static int find_both(char **argv)
{
	struct nd_recovered found;
	struct nd_err err;
	size_t len;
	unsigned char *const data = read_file(argv[0], &len);
	const int code = nd_record_parse(data, len, &found, &err);

	if (code) {
		print_err(code, &err);
	} else {
		find("source", &found.source);
		find("target", &found.target);
	}
	nd_recovered_free(&found);
	free(data);
	return 0;
}

/* ---- locks ---- */

static size_t numbers(char *text, int32_t *ifindexes, size_t size)
{
	size_t count = 0;

	for (char *part = strtok(text, " "); part && count < size; part = strtok(NULL, " "))
		ifindexes[count++] = atoi(part);
	return count;
}

/* lock DIRECTORY NETNS WAIT_MS: from stdin "hold N...", "arrive N..." or "release". */
static int lock(char **argv)
{
	const int netns_fd = open_or_end(argv[1], O_RDONLY), wait_ms = atoi(argv[2]);
	int32_t ifindexes[128], busy = 0;
	uint32_t pid = 0;
	struct nd_lock held;
	char line[256];

	nd_lock_init(&held);
	while (next_line(line)) {
		char *const space = strchr(line, ' ');
		const size_t count = space ? numbers(space + 1, ifindexes, 128) : 0;

		if (strncmp(line, "hold", 4) == 0) {
			const int code = nd_lock_hold(&held, argv[0], netns_fd, ifindexes, count, wait_ms, &busy, &pid);

			printf("%d %d %" PRIu32 "\n", code, busy, pid);
		} else if (strncmp(line, "arrive", 6) == 0) {
			nd_lock_arrive(&held, argv[0], netns_fd, ifindexes, count);
			puts("0");
		} else {
			nd_lock_release(&held);
			puts("0");
		}
	}
	nd_lock_release(&held);
	close(netns_fd);
	return 0;
}

int main(int argc, char **argv)
{
	const char *const what = argc > 2 ? argv[1] : "";

	if (strcmp(what, "parse") == 0)
		return parse(argv + 2);
	if (strcmp(what, "judge") == 0)
		return judge(argv + 2);
	if (strcmp(what, "write") == 0 && argc >= 5)
		return write_record(argc - 2, argv + 2);
	if (strcmp(what, "walk") == 0)
		return walk(argv + 2);
	if (strcmp(what, "find") == 0)
		return find_both(argv + 2);
	if (strcmp(what, "lock") == 0 && argc == 5)
		return lock(argv + 2);
	fputs("usage: records parse|judge|walk|find FILE | write DIRECTORY SOURCE TARGET DEVICE... | lock DIRECTORY NETNS WAIT_MS\n",
	      stderr);
	return 2;
}
