/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * Restores the settings of a link: compares two RTM_NEWLINK of it (link_settings.c, info_data.c, sysctls.c), sends what
 * differs, and reads the link again, until everything is restored or refused.
 *
 * Not here: the master and the settings of a port (NETDEVNS_MASTER); before 6.6, alternative names that the link lists and
 * no look-up finds after its namespace died (they are in `now`, so nothing is missing); ifindexes in IFLA_INFO_DATA
 * (IFLA_VXLAN_LINK), which are compared as numbers.
 */
#include "settings.h"

#include <errno.h>
#include <stdio.h>

enum part { LINK, SYSCTLS };

#define PASSES 8	/* another process may keep changing the device */
#define FILES_MAX 32	/* files written by one visit of the namespace */

/* ---- reading a link --------------------------------------------------------------------------------------------------- */

static int read_link(struct nd_set_link *link, const struct nd_view *v)
{
	const struct nd_attr *const attrs = link->attrs, *const info = link->info;

	link->v = v;
	if (v->type != RTM_NEWLINK || v->body_len < sizeof link->head)
		return -EBADMSG;
	memcpy(&link->head, v->body, sizeof link->head);
	nd_attrs_read(v->body + sizeof link->head, v->body_len - sizeof link->head, link->attrs, ND_ATTRS_MAX);
	nd_attrs_read(attrs[IFLA_LINKINFO].data, attrs[IFLA_LINKINFO].len, link->info, sizeof link->info / sizeof link->info[0]);
	nd_attrs_read(info[IFLA_INFO_DATA].data, info[IFLA_INFO_DATA].len, link->data, ND_ATTRS_MAX);
	nd_attrs_read(attrs[IFLA_AF_SPEC].data, attrs[IFLA_AF_SPEC].len, link->families, ND_ATTRS_MAX);
	return 0;
}

/*
 * Reads the link. Some kernels (5.10) report its token with statistics only, which are expensive, so these are
 * requested only where needed (probe sysctls.token.skip-stats).
 */
static int read_now(struct nd_repairs *r, struct nd_sock *sock, struct nd_err *err)
{
	const struct ifinfomsg head = { .ifi_index = r->now.head.ifi_index };
	_Alignas(8) unsigned char bytes[64];
	struct nd_buf reply = { .data = NULL };
	struct nd_msg m;
	size_t pos = 0, need = ND_MEMORY_MIN;
	int code;

	do {
		r->answer.used = 0;
		if (nd_memory_grow(&r->answer, need))
			return nd_err_set(err, ND_STEP_EXCHANGE, -ENOMEM, "out of memory");
		reply = (struct nd_buf){ .data = r->answer.data, .size = r->answer.size };
		nd_msg_init(&m, bytes, sizeof bytes);
		if (r->needs_statistics)
			nd_msg_begin(&m, RTM_GETLINK, 0, &head, sizeof head);
		else
			nd_put_getlink(&m, head.ifi_index, NULL);
		code = nd_sock_exchange(sock, &m, &reply, err);
		need = reply.need;
	} while (code == -EOVERFLOW && need > r->answer.size);
	if (code)
		return code;
	if (nd_view_next(reply.data, reply.used, &pos, &r->read) <= 0)
		return nd_err_set(err, ND_STEP_EXCHANGE, -EBADMSG, "a request was not answered");
	if (r->read.type == NLMSG_ERROR)
		return nd_view_error(&r->read, err);
	code = read_link(&r->now, &r->read);
	return code ? nd_err_set(err, ND_STEP_EXCHANGE, code, "not a link in the answer") : 0;
}

/* ---- sending ---------------------------------------------------------------------------------------------------------- */

static void compare(struct nd_repairs *r, enum part part)
{
	if (part == LINK)
		nd_repairs_of_link(r);
	else
		nd_repairs_of_sysctls(r);
}

/* Begins a list, after `now` was read. */
static void forget(struct nd_repairs *r)
{
	r->list.used = r->words.used = r->open = 0;
	r->is_about_to_be_up = (r->was.head.ifi_flags & ~r->now.head.ifi_flags & IFF_UP) != 0;
}

/* Chooses the request for several, or, if that was refused, the separate one; each once. Returns whether there is one. */
static int choose(struct nd_repairs *r, enum nd_stage stage)
{
	int any = 0;

	for (size_t i = 0; i < nd_repairs_count(r); i++) {
		struct nd_repair *const each = nd_repair_at(r, i);
		struct nd_request *request;

		if (!(each->stages & 1u << stage) || !each->together)
			continue;
		each->chosen = each->together;
		request = nd_request_at(r, each->together);
		if (request->state == ND_REQUEST_SENT && request->code && each->alone) {
			each->chosen = each->alone;
			request = nd_request_at(r, each->alone);
		}
		if (request->state == ND_REQUEST_NEW)
			request->state = ND_REQUEST_CHOSEN;
		any |= request->state == ND_REQUEST_CHOSEN;
	}
	return any;
}

static void note(struct nd_request *request, int code, const char *text)
{
	request->state = ND_REQUEST_SENT;
	request->code = code;
	nd_text_copy(request->text, sizeof request->text, text, strlen(text));
}

/*
 * Some drivers accept a setting only while the device is down (EBUSY; EPERM of a bond's slave): ND_STAGE_DOWN sets it
 * down then, and tries again.
 */
static void send_one(const struct nd_repairs *r, struct nd_sock *sock, struct nd_request *request, enum nd_stage stage)
{
	const struct ifinfomsg down = { .ifi_index = r->now.head.ifi_index, .ifi_change = IFF_UP };
	_Alignas(8) unsigned char bytes[64];
	struct nd_err err = { .code = 0 };
	struct nd_msg m;
	int code;

	nd_msg_init(&m, nd_request_bytes(request), request->len);
	m.used = request->len;
	code = nd_sock_exchange(sock, &m, NULL, &err);
	if ((code == -EBUSY || code == -EPERM) && stage == ND_STAGE_DOWN) {
		struct nd_msg again;

		nd_msg_init(&again, bytes, sizeof bytes);
		nd_msg_begin(&again, RTM_NEWLINK, NLM_F_ACK, &down, sizeof down);
		code = nd_sock_exchange(sock, &again, NULL, &err);
		if (!code)
			code = nd_sock_exchange(sock, &m, NULL, &err);
	}
	/* The exchange numbers a message; equal ones are to be found equal (nd_repairs_request). */
	memset(m.data + offsetof(struct nlmsghdr, nlmsg_seq), 0, sizeof(struct nlmsghdr) - offsetof(struct nlmsghdr, nlmsg_seq));
	note(request, code, code ? err.text : "");
}

/* Writes consecutive files by one visit of the namespace. */
static int write_files(struct nd_request *const *requests, size_t count, int visit_fd, struct nd_err *err)
{
	struct nd_file files[FILES_MAX];
	struct nd_sock visit;
	int code;

	if (count == 0)
		return 0;
	memset(files, 0, sizeof files);
	for (size_t i = 0; i < count; i++) {
		const char *const path = (const char *)nd_request_bytes(requests[i]), *const value = path + strlen(path) + 1;

		files[i].path = path;
		files[i].write = 1;
		nd_text_copy(files[i].text, sizeof files[i].text, value, strlen(value));
	}
	code = nd_sock_open(&visit, visit_fd, files, count, err);
	if (code)
		return code;
	nd_sock_close(&visit);
	for (size_t i = 0; i < count; i++)
		note(requests[i], files[i].code, "");
	return 0;
}

/* Sends the chosen requests, in the order of the list. */
static int send_chosen(const struct nd_repairs *r, struct nd_sock *sock, int visit_fd, enum nd_stage stage, struct nd_err *err)
{
	struct nd_request *files[FILES_MAX];
	size_t count = 0;
	int code = 0;

	for (size_t i = 0; !code && i < nd_repairs_count(r); i++) {
		const struct nd_repair *const each = nd_repair_at(r, i);
		struct nd_request *const request = each->chosen ? nd_request_at(r, each->chosen) : NULL;

		if (!request || request->state != ND_REQUEST_CHOSEN)
			continue;
		if (count == FILES_MAX || (count && !request->is_file)) {
			code = write_files(files, count, visit_fd, err);
			count = 0;
		}
		request->state = ND_REQUEST_SENT;
		if (request->is_file)
			files[count++] = request;
		else if (!code)
			send_one(r, sock, request, stage);
	}
	return code ? code : write_files(files, count, visit_fd, err);
}

/* Compares and sends until all requests of this stage were sent. */
static int restore(struct nd_repairs *r, enum part part, struct nd_sock *sock, int visit_fd, enum nd_stage stage,
		   struct nd_err *err)
{
	int code = 0;

	for (int pass = 0; !code && pass < PASSES; pass++) {
		forget(r);
		compare(r, part);
		if (r->code)
			return nd_err_set(err, ND_STEP_EXCHANGE, r->code, "out of memory");
		if (!choose(r, stage))
			return 0;
		code = send_chosen(r, sock, visit_fd, stage, err);
		if (!code)
			code = read_now(r, sock, err);
	}
	return code;
}

/* The kernel's refusal of a repair; NULL: none. */
static const struct nd_request *refusal(const struct nd_repairs *r, const struct nd_repair *each)
{
	const uint32_t numbers[] = { each->alone, each->together };

	for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
		if (numbers[i] && nd_request_at(r, numbers[i])->code)
			return nd_request_at(r, numbers[i]);
	return NULL;
}

static int same_words(const struct nd_repairs *r, const struct nd_repair *a, const struct nd_repair *b)
{
	return a->words_len == b->words_len && memcmp(r->words.data + a->words, r->words.data + b->words, a->words_len) == 0;
}

/* Appends the remaining differences, each once, with the kernel's error if it refused a request. */
static int report(struct nd_repairs *r, struct nd_memory *missing)
{
	const size_t count = nd_repairs_count(r);
	int code = r->code;

	for (size_t i = 0; !code && i < count; i++) {
		const struct nd_repair *const each = nd_repair_at(r, i);
		const struct nd_request *refused = NULL, *other;
		char text[ND_TEXT_SIZE + 128] = "";
		size_t k;

		for (k = 0; k < i && !same_words(r, each, nd_repair_at(r, k)); k++)
			;
		if (k < i)
			continue;
		for (k = i; k < count; k++)
			if (same_words(r, each, nd_repair_at(r, k)) && (other = refusal(r, nd_repair_at(r, k))))
				refused = other;
		if (refused)
			snprintf(text, sizeof text, ": %s%s%s", strerror(-refused->code), refused->text[0] ? ": " : "",
				 refused->text);
		if (missing->used)
			code = nd_memory_append(missing, "; ", 2);
		if (!code)
			code = nd_memory_append(missing, r->words.data + each->words, each->words_len);
		if (!code)
			code = nd_memory_append(missing, text, strlen(text) + 1);
		missing->used -= !code;	/* the NUL is not counted */
	}
	return code;
}

int nd_settings_restore(struct nd_sock *sock, int visit_fd, const struct nd_settings *settings, enum nd_stage stage,
			struct nd_memory *missing, struct nd_err *err)
{
	struct nd_repairs r;
	int code;

	memset(&r, 0, sizeof r);
	r.settings = settings;
	err->code = 0;
	if (read_link(&r.was, settings->was) || read_link(&r.now, settings->now))
		return nd_err_set(err, ND_STEP_EXCHANGE, -EBADMSG, "not a link");
	r.needs_statistics = (settings->token || nd_token_of(&r.was).data) && !nd_token_of(&r.now).data;
	code = r.needs_statistics ? read_now(&r, sock, err) : 0;
	if (!code)
		code = restore(&r, LINK, sock, visit_fd, stage, err);
	if (!code)
		code = restore(&r, SYSCTLS, sock, visit_fd, stage, err);
	if (!code && stage == ND_STAGE_UP) {
		forget(&r);
		compare(&r, LINK);
		compare(&r, SYSCTLS);
		code = report(&r, missing);
		if (code)
			nd_err_set(err, ND_STEP_EXCHANGE, code, "out of memory");
	}
	nd_memory_free(&r.list);
	nd_memory_free(&r.words);
	nd_memory_free(&r.requests);
	nd_memory_free(&r.answer);
	return code;
}
