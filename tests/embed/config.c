/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#define _GNU_SOURCE
#include "config.h"
#include "hook/json.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A string's content, NUL-terminated, behind *to, which moves on; NULL: no string, or one that C cannot hold. */
static const char *string(const char *value, char **to)
{
	char *const begin = *to;
	const ptrdiff_t length = value ? json_string(value, begin) : -1;

	if (length < 0 || strlen(begin) != (size_t)length)
		return NULL;
	*to = begin + length + 1;
	return begin;
}

/* Strings into a list that ends with NULL. 0: it is none, or too long. */
static int list(const char *array, char **to, char **memory)
{
	const char *key, *value;
	int n = 0;

	if (!array || *array != '[')
		return 0;
	while ((value = json_next(&array, &key)))
		if (n == CONFIG_LIST - 1 || !(to[n++] = (char *)string(value, memory)))
			return 0;
	return 1;
}

/* linux.netDevices: an object of objects whose `name`, if there is one, is a string (SPEC S1, S2). */
static const char *devices(struct config *c, const char *object, char **memory)
{
	const char *key, *value;

	if (!object)
		return NULL;
	if (*object != '{')
		return "linux.netDevices is no object";
	for (; (value = json_next(&object, &key)); c->devices++) {
		const char *name = json_member(value, "name");

		if (c->devices == CONFIG_LIST - 1)
			return "linux.netDevices has too many devices";
		c->ifname[c->devices] = string(key, memory);
		c->wanted[c->devices] = name ? string(name, memory) : c->ifname[c->devices];
		if (*value != '{' || !c->ifname[c->devices] || !c->wanted[c->devices])
			return "linux.netDevices: a value is an object, and its name a string";
	}
	return NULL;
}

static const char *take(struct config *c, const char *text, size_t len)
{
	const char *process, *spaces, *key, *value, *why;
	char *memory = c->memory;

	text = json_document(text, len, &why);
	if (!text || *text != '{')
		return "it is no JSON object";
	process = json_member(text, "process");
	spaces = json_member(json_member(text, "linux"), "namespaces");
	c->root = string(json_member(json_member(text, "root"), "path"), &memory);
	if (!c->root)
		return "root.path is no string";
	if (!list(json_member(process, "args"), c->args, &memory) || !c->args[0])
		return "process.args is no list of strings, or an empty or a long one";
	if (json_member(process, "env") && !list(json_member(process, "env"), c->env, &memory))
		return "process.env is no list of strings, or a long one";
	c->cwd = json_member(process, "cwd") ? string(json_member(process, "cwd"), &memory) : "/";
	c->hostname = string(json_member(text, "hostname"), &memory);
	spaces = spaces && *spaces == '[' ? spaces : "[]";
	while ((value = json_next(&spaces, &key))) {
		const char *type = string(json_member(value, "type"), &memory);

		if (type && !strcmp(type, "network"))
			c->network = string(json_member(value, "path"), &memory);
	}
	why = devices(c, json_member(json_member(text, "linux"), "netDevices"), &memory);
	return why || c->cwd ? why : "process.cwd is no string";
}

const char *config_read(struct config *c)
{
	const int fd = open("config.json", O_RDONLY | O_CLOEXEC);
	const char *why = "it cannot be read";
	char *text = NULL;
	struct stat st;
	ssize_t got = -1;

	memset(c, 0, sizeof *c);
	if (fd >= 0 && !fstat(fd, &st) && (text = malloc((size_t)st.st_size + 1)))
		got = read(fd, text, (size_t)st.st_size);
	/* Each string is taken once, and none is longer than what it is written as. */
	if (got >= 0 && (c->memory = malloc((size_t)got + 1))) {
		text[got] = '\0';
		errno = 0;
		why = take(c, text, (size_t)got);
	}
	free(text);
	if (fd >= 0)
		close(fd);
	return why;
}

void config_end(struct config *c)
{
	free(c->memory);
	c->memory = NULL;
}
