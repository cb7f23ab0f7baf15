/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* A scanner of JSON text: it is looked through once (json_end), and then walked without a tree. */
#define _GNU_SOURCE
#include "config.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEPTH 64	/* of arrays and objects in each other */

static const char *space(const char *p)
{
	return p + strspn(p, " \t\r\n");
}

/* The end of a string, behind its quotation mark; NULL: it is none. */
static const char *string_end(const char *p)
{
	if (*p++ != '"')
		return NULL;
	for (; *p != '"'; p++) {
		if ((unsigned char)*p < ' ')
			return NULL;	/* the text's end, too */
		if (*p != '\\')
			continue;
		p++;
		if (!*p || !strchr("\"\\/bfnrtu", *p) || (*p == 'u' && strspn(p + 1, "0123456789abcdefABCDEF") < 4))
			return NULL;
	}
	return p + 1;
}

/* The end of the value that begins at p; NULL: it is none. Numbers and words are passed over, whatever they say. */
static const char *json_end(const char *p, int depth)
{
	const char open = *p, close = open == '{' ? '}' : ']';

	if (open == '"')
		return string_end(p);
	if (open != '{' && open != '[') {
		const size_t len = strspn(p, "+-.0123456789abcdefghijklmnopqrstuvwxyzE");

		return len ? p + len : NULL;
	}
	p = space(p + 1);
	if (*p == close)
		return p + 1;
	for (; depth < DEPTH; p = space(p + 1)) {
		if (open == '{') {
			p = string_end(p);
			if (!p || *(p = space(p)) != ':')
				return NULL;
			p = space(p + 1);
		}
		p = json_end(p, depth + 1);
		if (!p)
			return NULL;
		p = space(p);
		if (*p == close)
			return p + 1;
		if (*p != ',')
			return NULL;
	}
	return NULL;
}

/* Steps through an object or array that json_end has seen; *at: its value, then where it stands. NULL: no more. */
static const char *next(const char **at, const char **key)
{
	const char *p = space(*at + 1), *end = string_end(p);

	if (**at == '}' || **at == ']' || *p == '}' || *p == ']')
		return NULL;
	*key = p;
	if (end && *space(end) == ':')
		p = space(space(end) + 1);
	end = json_end(p, 0);
	if (!end)
		return NULL;
	*at = space(end);
	return p;
}

static unsigned hex4(const char *p)
{
	const char digits[5] = { p[0], p[1], p[2], p[3], 0 };

	return (unsigned)strtoul(digits, NULL, 16);
}

/* Appends one character as UTF-8. */
static char *put_utf8(char *to, unsigned c)
{
	const int more = c < 0x80 ? 0 : c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
	static const unsigned char lead[] = { 0, 0xc0, 0xe0, 0xf0 };

	*to++ = (char)(lead[more] | c >> 6 * more);
	for (int i = more - 1; i >= 0; i--)
		*to++ = (char)(0x80 | (c >> 6 * i & 0x3f));
	return to;
}

/* A string's content, NUL-terminated, behind *to, which moves on; NULL: no string, or one that C cannot hold. */
static const char *string(const char *p, char **to)
{
	static const char names[] = "bfnrt", values[] = "\b\f\n\r\t";
	char *const begin = *to, *out = begin;

	if (!p || *p != '"')
		return NULL;
	while (*++p != '"') {
		unsigned c;

		if (*p != '\\') {
			*out++ = *p;
		} else if (*++p != 'u') {
			const char *named = strchr(names, *p);

			*out++ = named ? values[named - names] : *p;
		} else {
			c = hex4(p + 1);
			p += 4;
			if (c >= 0xd800 && c < 0xdc00 && p[1] == '\\' && p[2] == 'u' && hex4(p + 3) >> 10 == 0x37) {
				c = 0x10000 + ((c & 0x3ff) << 10 | (hex4(p + 3) & 0x3ff));
				p += 6;
			}
			if (!c || (c >= 0xd800 && c < 0xe000))
				return NULL;
			out = put_utf8(out, c);
		}
	}
	*out = '\0';
	*to = out + 1;
	return begin;
}

/* The value of an object's member; of several the last one counts. NULL: there is none, or no object. */
static const char *member(const char *object, const char *name)
{
	const char *found = NULL, *key, *value;
	const size_t len = strlen(name);

	if (!object || *object != '{')
		return NULL;
	while ((value = next(&object, &key)))
		if (!strncmp(key + 1, name, len) && key[1 + len] == '"')
			found = value;
	return found;
}

/* Strings into a list that ends with NULL. 0: it is none, or too long. */
static int list(const char *array, char **to, char **memory)
{
	const char *key, *value;
	int n = 0;

	if (!array || *array != '[')
		return 0;
	while ((value = next(&array, &key)))
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
	for (; (value = next(&object, &key)); c->devices++) {
		const char *name = member(value, "name");

		if (c->devices == CONFIG_LIST - 1)
			return "linux.netDevices has too many devices";
		c->ifname[c->devices] = string(key, memory);
		c->wanted[c->devices] = name ? string(name, memory) : c->ifname[c->devices];
		if (*value != '{' || !c->ifname[c->devices] || !c->wanted[c->devices])
			return "linux.netDevices: a value is an object, and its name a string";
	}
	return NULL;
}

static const char *take(struct config *c, const char *text)
{
	const char *end = json_end(text, 0), *process, *spaces, *key, *value, *why;
	char *memory = c->memory;

	if (!end || *space(end) || *text != '{')
		return "it is no JSON object";
	process = member(text, "process");
	spaces = member(member(text, "linux"), "namespaces");
	c->root = string(member(member(text, "root"), "path"), &memory);
	if (!c->root)
		return "root.path is no string";
	if (!list(member(process, "args"), c->args, &memory) || !c->args[0])
		return "process.args is no list of strings, or an empty or a long one";
	if (member(process, "env") && !list(member(process, "env"), c->env, &memory))
		return "process.env is no list of strings, or a long one";
	c->cwd = member(process, "cwd") ? string(member(process, "cwd"), &memory) : "/";
	c->hostname = string(member(text, "hostname"), &memory);
	spaces = spaces && *spaces == '[' ? spaces : "[]";
	while ((value = next(&spaces, &key))) {
		const char *type = string(member(value, "type"), &memory);

		if (type && !strcmp(type, "network"))
			c->network = string(member(value, "path"), &memory);
	}
	why = devices(c, member(member(text, "linux"), "netDevices"), &memory);
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
		why = take(c, space(text));
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
