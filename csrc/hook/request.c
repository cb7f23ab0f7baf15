/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* Reads the hook's arguments, the state on its stdin and the bundle's config.json. As netdevns/oci/config_json.py. */
#define _GNU_SOURCE
#include "hook.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define PART_BYTES (64u << 10)

/* ---- arguments --------------------------------------------------------------------------------------------------------------------- */

/* Copied, as it is split; argv is handed over unchanged. */
static void add_device(struct hook_arguments *arguments, const char *word)
{
	const size_t size = strlen(word) + 1;

	memcpy(arguments->text + arguments->text_used, word, size);
	arguments->devices[arguments->device_count++] = arguments->text + arguments->text_used;
	arguments->text_used += size;
}

int hook_arguments_read(struct hook_arguments *arguments, int argc, char **argv)
{
	size_t size = 1;
	int at = 2;

	for (int i = 0; i < argc; i++)
		size += strlen(argv[i]) + 1;
	arguments->text = malloc(size);
	if (!arguments->text || argc < 2 || (strcmp(argv[1], "createRuntime") != 0 && strcmp(argv[1], "poststop") != 0))
		return -1;
	arguments->is_poststop = argv[1][0] == 'p';
	for (; at < argc && strcmp(argv[at], "--") != 0; at++) {
		if (strcmp(argv[at], "--allow") == 0 && at + 1 < argc)
			arguments->allowed[arguments->allowed_count++] = argv[++at];
		else if (strncmp(argv[at], "--allow=", 8) == 0)
			arguments->allowed[arguments->allowed_count++] = argv[at] + 8;
		else if (argv[at][0] == '-')
			return -1;
		else
			add_device(arguments, argv[at]);
	}
	for (at++; at < argc; at++)	/* the kernel allows names that begin with "-" */
		add_device(arguments, argv[at]);
	for (size_t i = 0; i < arguments->allowed_count; i++)
		if (!arguments->allowed[i][0])
			return -1;
	return arguments->is_poststop && (arguments->allowed_count || arguments->device_count) ? -1 : 0;
}

/* ---- documents --------------------------------------------------------------------------------------------------------------------- */

int hook_read(int fd, char **text, size_t *len)
{
	const size_t most = HOOK_DOCUMENT_BYTES_MAX + 1;
	size_t size = 0;
	ssize_t n;

	*text = NULL;
	*len = 0;
	do {
		if (*len + 1 >= size && size <= most) {
			char *const more = realloc(*text, size = size ? 2 * size : PART_BYTES);

			if (!more)
				return -ENOMEM;
			*text = more;
		}
		n = read(fd, *text + *len, (size - 1 < most ? size - 1 : most) - *len);
		if (n > 0)
			*len += (size_t)n;
	} while ((n > 0 && *len < most) || (n < 0 && errno == EINTR));
	if (n < 0)
		return -errno;
	(*text)[*len] = '\0';
	return *len == most ? -EFBIG : 0;
}

/*
 * The file is checked through O_PATH first: a real open waits for a FIFO's writer, rewinds a tape. The second open is of the same file,
 * by its descriptor. A descriptor, or -errno.
 */
static int open_regular(const char *path)
{
	const int seen = open(path, O_PATH | O_CLOEXEC);
	char again[32];
	struct stat is;
	int found;

	if (seen < 0)
		return -errno;
	if (fstat(seen, &is) < 0) {
		found = -errno;
	} else if (!S_ISREG(is.st_mode)) {
		found = S_ISDIR(is.st_mode) ? -EISDIR : -EINVAL;
	} else {
		snprintf(again, sizeof again, "/proc/self/fd/%d", seen);
		found = open(again, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
		found = found < 0 ? -errno : found;
	}
	close(seen);
	return found;
}

/* Checks a text; the document then owns it. 0: it is an object. */
static int take(struct hook_document *document, char *text, size_t len, const char *what, struct hook_report *why)
{
	const char *reason;

	document->text = text;
	document->strings = document->free = malloc(len + 1);
	if (!document->strings) {
		hook_say(why, "%s: out of memory", what);
		return -1;
	}
	document->value = json_document(text, len, &reason);
	if (document->value && *document->value == '{')
		return 0;
	hook_say(why, "%s: %s%s", what, reason ? "not valid JSON: " : "", reason ? reason : "a JSON object is needed");
	return -1;
}

static void document_free(struct hook_document *document)
{
	free(document->text);
	free(document->strings);
}

const char *hook_string(struct hook_document *document, const char *value, size_t *len)
{
	char *const begin = document->free;
	const ptrdiff_t length = value ? json_string(value, begin) : -1;

	if (length < 0 || (!len && strlen(begin) != (size_t)length))
		return NULL;
	if (len)
		*len = (size_t)length;
	document->free = begin + length + 1;
	return begin;
}

int hook_state_read(struct hook_request *request, char *text, size_t len, struct hook_report *why)
{
	struct hook_document *const state = &request->state;
	const char *pid;
	int64_t number = 0;

	if (take(state, text, len, "state on stdin", why))
		return -1;
	request->id = hook_string(state, json_member(state->value, "id"), &request->id_len);
	request->bundle = hook_string(state, json_member(state->value, "bundle"), NULL);
	pid = json_member(state->value, "pid");
	if (!request->id || !request->id_len)
		hook_say(why, "state on stdin: id: a string is needed");
	else if (!request->bundle || request->bundle[0] != '/')
		hook_say(why, "state on stdin: bundle: an absolute path is needed");
	else if (pid && (json_integer(pid, &number) || number < 0 || number > INT_MAX))
		hook_say(why, "state on stdin: pid: a positive number is needed");
	else
		request->pid = (pid_t)number;
	return why->count ? -1 : 0;
}

int hook_config_read(struct hook_request *request, struct hook_report *why)
{
	char *path = NULL, *text = NULL;
	size_t len = 0;
	int fd = asprintf(&path, "%s/config.json", request->bundle) < 0 ? -ENOMEM : open_regular(path), code = fd;

	if (fd >= 0) {
		code = hook_read(fd, &text, &len);
		close(fd);
	}
	if (code < 0) {
		hook_say(why, "%s/config.json: cannot be read: %s", request->bundle,
			 code == -EFBIG ? "larger than 16 MiB" : code == -EINVAL ? "not a regular file" : strerror(-code));
		free(text);
	} else {
		code = take(&request->config, text, len, path, why);
	}
	free(path);
	return code < 0 ? -1 : 0;
}

void hook_arguments_free(struct hook_arguments *arguments)
{
	free(arguments->text);
	free(arguments->devices);
	free(arguments->allowed);
}

void hook_request_free(struct hook_request *request)
{
	document_free(&request->state);
	document_free(&request->config);
	free(request->devices);
}
