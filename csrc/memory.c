/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* Growing memory, and text in one line. */
#include "batch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

int nd_memory_grow(struct nd_memory *m, size_t more)
{
	size_t size = m->size ? m->size : 1024;
	unsigned char *data;

	if (more <= m->size - m->used)
		return 0;
	if (more > SIZE_MAX / 4 - m->used)
		return -ENOMEM;
	while (size < m->used + more)
		size *= 2;
	data = realloc(m->data, size);
	if (!data)
		return -ENOMEM;
	m->data = data;
	m->size = size;
	return 0;
}

int nd_memory_append(struct nd_memory *m, const void *data, size_t len)
{
	if (len == 0)
		return 0;
	if (nd_memory_grow(m, len))
		return -ENOMEM;
	memcpy(m->data + m->used, data, len);
	m->used += len;
	return 0;
}

void nd_memory_free(struct nd_memory *m)
{
	free(m->data);
	memset(m, 0, sizeof *m);
}

/* The length of the character that `at` begins with; 0: a control character, or no UTF-8. */
static size_t printable(const unsigned char *at)
{
	const size_t len = at[0] < 0x80 ? 1 : at[0] < 0xc2 ? 0 : at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : at[0] < 0xf5 ? 4 : 0;

	for (size_t i = 1; i < len; i++)
		if ((at[i] & 0xc0) != 0x80)
			return 0;
	switch (at[0]) {
	case 0xc2:	/* U+0080 to U+009F: control characters, too */
	case 0xe0:	/* up to 0x9f overlong */
		return at[1] < 0xa0 ? 0 : len;
	case 0xed:	/* surrogates */
		return at[1] < 0xa0 ? len : 0;
	case 0xf0:	/* overlong */
		return at[1] < 0x90 ? 0 : len;
	case 0xf4:	/* beyond U+10FFFF */
		return at[1] < 0x90 ? len : 0;
	default:
		return at[0] < ' ' || at[0] == 0x7f ? 0 : len;
	}
}

void nd_text_one_line(char *text, size_t size)
{
	for (char *at = text; *at;) {
		const size_t used = strlen(text), len = printable((unsigned char *)at);
		char hex[5];

		if (len || used + 4 > size) {	/* no room for three bytes more */
			if (!len)
				*at = '?';
			at += len ? len : 1;
			continue;
		}
		snprintf(hex, sizeof hex, "\\x%02x", (unsigned char)*at);
		memmove(at + 4, at + 1, used - (size_t)(at - text));
		memcpy(at, hex, 4);
		at += 4;
	}
}

void nd_text_cut(char *text, size_t len)
{
	if (strlen(text) <= len)
		return;
	len = len < 3 ? 0 : len - 3;
	while (len && ((unsigned char)text[len] & 0xc0) == 0x80)
		len--;
	strcpy(text + len, "...");
}

void nd_text_format(char *text, size_t size, const char *format, va_list arguments)
{
	const int n = vsnprintf(text, size, format, arguments);

	nd_text_one_line(text, size);
	if (n < 0 || (size_t)n >= size)
		nd_text_cut(text, size - 2);
}
