/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* Declarations that the files of the unit test share. */
#ifndef ND_UNIT_H
#define ND_UNIT_H

#include "internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct unit_case {
	const char *name;
	void (*run)(void);
};

extern const struct unit_case device_cases[], contract_cases[];	/* the last one has no name */

#define CHECK(condition) ((condition) ? (void)0 : fail(#condition, __FILE__, __LINE__))
void fail(const char *condition, const char *file, int line);

/* A copy in memory of exactly its size: a sanitizer or valgrind finds a byte that is read behind it. The caller frees it. */
void *exactly(const void *data, size_t len);

/* Memory for a device named lo, the one that every namespace has. The caller frees it. */
struct nd_dev *lo(size_t size);

#endif
