/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* Memory that grows. */
#include "batch.h"

#include <errno.h>
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
