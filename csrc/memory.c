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

void nd_text_one_line(char *text, size_t size)
{
	for (char *at = text; *at; at++) {
		const unsigned char c = (unsigned char)*at;
		const size_t used = strlen(text);
		char hex[5];

		if (c >= ' ' && c != 0x7f)
			continue;
		if (used + 4 > size) {	/* no room for three bytes more */
			*at = '?';
			continue;
		}
		snprintf(hex, sizeof hex, "\\x%02x", c);
		memmove(at + 4, at + 1, used - (size_t)(at - text));
		memcpy(at, hex, 4);
		at += 3;
	}
}
