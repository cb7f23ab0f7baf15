/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* struct netdevns_error: filled by the files of the batch, and copied to callers of each version. */
#include "batch.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

/* ---- the caller's copy ----------------------------------------------------------------------------------------------------- */

#define BYTES_UP_TO(field) (offsetof(struct netdevns_error, field) + sizeof ((struct netdevns_error *)NULL)->field)

/*
 * What a caller has of the struct: a version that adds a field at the end adds a line. The first line also serves callers whose
 * version is refused.
 */
static size_t bytes_of(uint32_t version)
{
	static const struct { uint32_t version; size_t bytes; } ends[] = { { 200, BYTES_UP_TO(text) } };
	size_t bytes = ends[0].bytes;

	for (size_t i = 1; i < sizeof ends / sizeof ends[0]; i++)
		if (version >= ends[i].version)
			bytes = ends[i].bytes;
	return bytes;
}

int nd_error_give(uint32_t version, const struct netdevns_error *e, struct netdevns_error *err)
{
	if (err)
		memcpy(err, e, bytes_of(version));
	return e->code;
}

int nd_version_check(uint32_t version, const char *step, struct netdevns_error *err)
{
	if (version <= NETDEVNS_VERSION && version / 100 == NETDEVNS_VERSION / 100)
		return 0;
	return nd_batch_fail(err, -EPROTO, step, -1, "the program was compiled with netdevns.h %u, but this library is %u: compile it again with the library's header",
			     version, (unsigned)NETDEVNS_VERSION);
}

/* ---- filling --------------------------------------------------------------------------------------------------------------- */

int nd_batch_fail(struct netdevns_error *err, int code, const char *step, int device, const char *format, ...)
{
	va_list arguments;

	memset(err, 0, sizeof *err);
	err->code = code;
	err->step = step;
	err->device = device;
	va_start(arguments, format);
	nd_text_format(err->text, sizeof err->text, format, arguments);
	va_end(arguments);
	return code;
}

int nd_batch_succeed(struct netdevns_error *err)
{
	memset(err, 0, sizeof *err);
	err->device = -1;
	err->step = "";
	return 0;
}

int nd_batch_no_memory(struct netdevns_error *err, const char *step)
{
	return nd_batch_fail(err, -ENOMEM, step, -1, "out of memory; nothing was changed");
}

/* ---- devices that are not restored ----------------------------------------------------------------------------------------- */

#define MORE_SIZE sizeof " and 4096 more"
#define REMEDY_SIZE 120	/* what nd_error_left appends to the list, and its caller to that */

static const char *missing(const struct nd_member *m)
{
	return m->missing.used ? (const char *)m->missing.data : "out of memory";
}

void nd_member_place(const struct nd_member *m, char text[ND_PLACE_SIZE])
{
	static const char *const places[] = { "not found", "in the source", "in the target", "gone" };
	const int has_name = m->dev->place == ND_PLACE_TARGET && m->dev->name[0];

	snprintf(text, ND_PLACE_SIZE, "%s%s%s", places[m->dev->place], has_name ? ", as " : "", has_name ? m->dev->name : "");
	nd_text_one_line(text, ND_PLACE_SIZE);
}

/* One device, its place, and details, or "". */
static void name_left(const struct nd_member *m, const char *before, const char *detail, char *text, size_t size)
{
	char place[ND_PLACE_SIZE];

	nd_member_place(m, place);
	snprintf(text, size, "%s%s (%s)%s%s", before, m->ifname, place, detail[0] ? ": " : "", detail);
	nd_text_one_line(text, size);
}

void nd_error_left(const struct netdevns_batch *b, struct netdevns_error *err)
{
	const size_t room = sizeof err->text - REMEDY_SIZE;
	size_t used;
	int listed = 0;
	char text[sizeof err->text];

	nd_text_cut(err->text, room - 2 * MORE_SIZE);
	used = strlen(err->text);
	used += (size_t)snprintf(err->text + used, sizeof err->text - used, "%sNOT restored:", used ? "; " : "");
	for (size_t i = 0; i < b->count && listed < err->left; i++) {
		const struct nd_member *const m = b->members[i];
		size_t len;

		if (!m->touched || !m->is_lacking)
			continue;
		name_left(m, listed ? ", " : " ", err->left == 1 ? missing(m) : "", text, sizeof text);
		if (err->left == 1)
			nd_text_cut(text, room - used);
		len = strlen(text);
		if (used + len + (listed + 1 < err->left ? MORE_SIZE : 0) > room)
			break;
		memcpy(err->text + used, text, len + 1);
		used += len;
		listed++;
	}
	if (listed < err->left)
		used += (size_t)snprintf(err->text + used, sizeof err->text - used, listed ? " and %d more" : " %d devices",
					 err->left - listed);
	snprintf(err->text + used, sizeof err->text - used, "; %s tries again",
		 b->record.fd >= 0 ? "the record is kept, and a recovery" : "netdevns_batch_undo");
}
