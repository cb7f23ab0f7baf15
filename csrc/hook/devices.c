/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * Collects the devices that the hook is asked to move, from its arguments, the bundle's config.json and annotations. As
 * netdevns/oci/hook.py and annotations.py, which report in full what is refused here.
 */
#include "hook.h"

#include <fnmatch.h>
#include <stdlib.h>

#define PREFIX "org.netdevns.device."

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Whether two members of an object have the same name. -1: out of memory. */
static int has_twice(const char *object)
{
	char *const text = malloc(json_length(object)), *to = text;
	const char *at = object, *key, **names;
	size_t count = 0;
	int found = 0;

	while (json_next(&at, &key))
		count++;
	names = calloc(count + 1, sizeof *names);
	if (!text || !names)
		found = -1;
	for (at = object, count = 0; !found && json_next(&at, &key); count++) {
		names[count] = to;
		to += json_string(key, to) + 1;
	}
	if (!found)
		qsort(names, count, sizeof *names, compare_names);
	for (size_t i = 1; i < count && !found; i++)
		found = strcmp(names[i - 1], names[i]) == 0;
	free(names);
	free(text);
	return found;
}

static const struct hook_device *device_of(const struct hook_request *request, const char *ifname)
{
	for (size_t i = 0; i < request->count; i++)
		if (strcmp(request->devices[i].ifname, ifname) == 0)
			return &request->devices[i];
	return NULL;
}

/* Adds a device; all sources must ask for the same name. `wanted`: "" for its host name. */
static int add(struct hook_request *request, const char *ifname, const char *wanted, struct hook_report *why)
{
	const struct hook_device *const other = device_of(request, ifname);

	wanted = wanted[0] ? wanted : ifname;
	if (other) {
		if (strcmp(other->wanted, wanted) == 0)
			return 0;
		hook_say(why, "%s: \"%s\" and \"%s\" are asked for; give one name", ifname, other->wanted, wanted);
		return -1;
	}
	if (request->count == ND_DEVICES_MAX) {
		hook_say(why, "more than %d devices, the maximum of one move", ND_DEVICES_MAX);
		return -1;
	}
	if (request->count == request->size) {
		const size_t size = request->size ? 2 * request->size : 16;
		struct hook_device *const more = realloc(request->devices, size * sizeof *more);

		if (!more) {
			hook_say(why, "out of memory");
			return -1;
		}
		request->devices = more;
		request->size = size;
	}
	request->devices[request->count++] = (struct hook_device){ ifname, wanted };
	return 0;
}

/* DEV or DEV=NAME, each device once. */
static int add_arguments(struct hook_request *request, const struct hook_arguments *arguments, struct hook_report *why)
{
	for (size_t i = 0; i < arguments->device_count; i++) {
		char *wanted = arguments->devices[i], *const ifname = strsep(&wanted, "=");

		if (!ifname[0] || device_of(request, ifname)) {
			hook_say(why, "%s: %s", ifname, ifname[0] ? "this device is given twice" : "no device is given; write DEV or DEV=NAME");
			return -1;
		}
		if (add(request, ifname, wanted ? wanted : "", why))
			return -1;
	}
	return 0;
}

/* A member that must be an object if it is present; `once`: its names must be unique. */
static int object_in(const char *parent, const char *name, int once, const char **found, struct hook_report *why)
{
	int twice;

	*found = json_member(parent, name);
	if (!*found)
		return 0;
	if (**found != '{') {
		hook_say(why, "%s: an object is needed", name);
		return -1;
	}
	twice = once ? has_twice(*found) : 0;
	if (twice)
		hook_say(why, "%s: %s", name, twice < 0 ? "out of memory" : "a name is listed twice");
	return twice ? -1 : 0;
}

/* linux.netDevices (runtime-spec 1.3, config-linux.md "Network Devices"). */
static int add_net_devices(struct hook_request *request, const char *linux_, struct hook_report *why)
{
	const char *devices, *key, *value;

	if (object_in(linux_, "netDevices", 1, &devices, why))
		return -1;
	while (devices && (value = json_next(&devices, &key))) {
		const char *const name = json_member(value, "name");
		const char *const ifname = hook_string(&request->config, key, NULL);
		const char *const wanted = name ? hook_string(&request->config, name, NULL) : "";

		if (*value != '{' || !ifname || !wanted) {
			hook_say(why, "linux.netDevices: an object such as {\"name\": \"net0\"} is needed");
			return -1;
		}
		if (add(request, ifname, wanted, why))
			return -1;
	}
	return 0;
}

/* The first network namespace among linux.namespaces. */
static int find_namespace(struct hook_request *request, const char *linux_, struct hook_report *why)
{
	const char *all = json_member(linux_, "namespaces"), *key, *value;

	if (all && *all != '[') {
		hook_say(why, "linux.namespaces: an array is needed");
		return -1;
	}
	while (all && (value = json_next(&all, &key))) {
		const char *const type = json_member(value, "type"), *path;

		if (!type || !json_equals(type, "network"))
			continue;
		path = json_member(value, "path");
		request->netns_path = path ? hook_string(&request->config, path, NULL) : "";
		if (!request->netns_path || (request->netns_path[0] && request->netns_path[0] != '/')) {
			hook_say(why, "linux.namespaces: the network namespace's path must be absolute");
			return -1;
		}
		if (!request->netns_path[0])
			request->netns_path = NULL;
		return 0;
	}
	return 0;
}

/* ---- annotations ------------------------------------------------------------------------------------------------------------------- */

/* 1: it matches, 0: it does not, -1: C and Python may read this glob differently. */
static int is_admitted(const char *ifname, const struct hook_arguments *arguments)
{
	int is_plain = 1, found = 0;

	for (const char *at = ifname; *at; at++)
		is_plain &= *at > 0;	/* ASCII */
	for (size_t i = 0; i < arguments->allowed_count; i++) {
		const char *const glob = arguments->allowed[i];
		const size_t start = strcspn(glob, "*?[");
		const int is_prefix = glob[start] == '*' && !glob[start + 1];

		if (!glob[start] || is_prefix)
			found |= is_prefix ? strncmp(ifname, glob, start) == 0 : strcmp(ifname, glob) == 0;
		else if (strchr(glob, '[') || !is_plain)
			return -1;
		else
			found |= fnmatch(glob, ifname, FNM_NOESCAPE) == 0;
	}
	return found;
}

/* 1: an annotation for an allowed device, 0: another one, or -1. */
static int add_annotation(struct hook_request *request, struct hook_document *document, const char *key, const char *value,
			  const struct hook_arguments *arguments, struct hook_report *why)
{
	const char *const name = hook_string(document, key, NULL), *wanted;
	const size_t prefix = sizeof PREFIX - 1;
	int admitted;

	if (!name || strncmp(name, PREFIX, prefix) != 0) {
		if (!name)
			hook_say(why, "annotations: a name with a NUL");
		return name ? 0 : -1;
	}
	admitted = is_admitted(name + prefix, arguments);
	if (admitted <= 0) {
		if (admitted)
			hook_say(why, "--allow: this glob is for the hook in Python");
		return admitted;
	}
	wanted = hook_string(document, value, NULL);
	if (!wanted) {
		hook_say(why, "annotations: %s: a string is needed", name);
		return -1;
	}
	return add(request, name + prefix, wanted, why) ? -1 : 1;
}

static int add_annotations(struct hook_request *request, struct hook_document *document, const struct hook_arguments *arguments,
			   struct hook_report *why)
{
	const char *annotations, *key, *value;
	size_t found = 0;

	if (!arguments->allowed_count)
		return 0;
	if (object_in(document->value, "annotations", 1, &annotations, why))
		return -1;
	while (annotations && (value = json_next(&annotations, &key))) {
		const int added = add_annotation(request, document, key, value, arguments, why);

		if (added < 0)
			return -1;
		found += (size_t)added;
	}
	if (found <= HOOK_ANNOTATED_MAX)
		return 0;
	hook_say(why, "annotations: %zu of them name devices; at most %d may", found, HOOK_ANNOTATED_MAX);
	return -1;
}

int hook_devices_read(struct hook_request *request, const struct hook_arguments *arguments, struct hook_report *why)
{
	const char *linux_;

	if (hook_config_read(request, why) || object_in(request->config.value, "linux", 0, &linux_, why) ||
	    add_arguments(request, arguments, why) || add_net_devices(request, linux_, why) ||
	    add_annotations(request, &request->state, arguments, why) || add_annotations(request, &request->config, arguments, why))
		return -1;
	return request->count ? find_namespace(request, linux_, why) : 0;
}
