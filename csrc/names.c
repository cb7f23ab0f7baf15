/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* The kernel's rules for interface names. Sources: net/core/dev.c, dev_valid_name() and __dev_alloc_name(). */
#include "batch.h"

#include <string.h>

/* isspace() of the kernel's own table, which counts the no-break space of Latin-1 (probe names.byte.a0-bf). */
static int is_white(unsigned char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r') || c == 0xa0;
}

static const char *why_invalid(const char *name, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (name[i] == '/')
			return "it contains \"/\"";
		if (name[i] == ':')
			return "it contains \":\"";
		if (is_white((unsigned char)name[i]))
			return "it contains white space";
	}
	return NULL;
}

const char *nd_name_why_invalid(const char *name)
{
	const size_t len = strlen(name);

	if (len == 0)
		return "it is empty";
	if (len >= ND_NAME_SIZE)
		return "it has more than 15 bytes";
	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return "the kernel refuses it";
	/*
	 * Names of directories below /proc/sys/net/ipv4/conf. The kernel refuses them only after the move: the device is in the
	 * target under its old name by then; or it has the name, and no address can be added (net/ipv4/devinet.c,
	 * sysctl_dev_name_is_allowed()).
	 */
	if (strcmp(name, "all") == 0 || strcmp(name, "default") == 0)
		return "the kernel keeps it for net.ipv4.conf";
	return why_invalid(name, len);
}

const char *nd_name_why_no_template(const char *name)
{
	const char *const percent = strchr(name, '%');

	if (!percent || strchr(percent + 1, '%'))
		return "a template may contain only one \"%\"";
	if (percent[1] != 'd')
		return "\"%\" must be followed by \"d\", as in \"eth%d\"";
	return nd_name_why_invalid(name);
}

int nd_name_may_be_altname(const char *name)
{
	const size_t len = strlen(name);

	return len >= ND_NAME_SIZE && len < ND_ALTNAME_SIZE && !why_invalid(name, ND_NAME_SIZE - 1);
}
