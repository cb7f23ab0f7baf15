/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* Checks JSON text, and walks checked text. Source: RFC 8259; UTF-8 as in RFC 3629, section 4. */
#include "json.h"

#include <string.h>

#define DEPTH_MAX 64
#define NUMBER_MAX 4000	/* characters; Python reads integers of up to 4,300 digits */

/* ---- check ------------------------------------------------------------------------------------------------------------------- */

/* The state of a check. The NUL behind the text ends it: no value, string or comma begins with one. */
struct check {
	const char *at, *why;
};

static int fail(struct check *c, const char *why)
{
	c->why = why;
	return -1;
}

static const char *past_white(const char *p)
{
	return p + strspn(p, " \t\r\n");
}

static size_t digits(const char *p)
{
	return strspn(p, "0123456789");
}

/* The value of four hexadecimal digits, or -1. */
static int hex4(const char *p)
{
	int value = 0;

	for (int i = 0; i < 4; i++) {
		static const char all[] = "0123456789abcdef";
		const char *const found = p[i] ? strchr(all, p[i] | 0x20) : NULL;	/* 0x20: to lower case; digits have it */

		if (!found || (p[i] < 'A' && (p[i] < '0' || p[i] > '9')))
			return -1;
		value = value << 4 | (int)(found - all);
	}
	return value;
}

static int is_high(int code)
{
	return code >= 0xd800 && code < 0xdc00;
}

static int is_low(int code)
{
	return code >= 0xdc00 && code < 0xe000;
}

/* The length of a UTF-8 character; 0: invalid. */
static size_t utf8_length(const unsigned char *p)
{
	static const struct {
		unsigned char first, last, second_least, second_most;
		size_t more;
	} forms[] = {
		{ 0x20, 0x7f, 0, 0, 0 },	  { 0xc2, 0xdf, 0x80, 0xbf, 1 }, { 0xe0, 0xe0, 0xa0, 0xbf, 2 },
		{ 0xe1, 0xec, 0x80, 0xbf, 2 }, { 0xed, 0xed, 0x80, 0x9f, 2 }, { 0xee, 0xef, 0x80, 0xbf, 2 },
		{ 0xf0, 0xf0, 0x90, 0xbf, 3 }, { 0xf1, 0xf3, 0x80, 0xbf, 3 }, { 0xf4, 0xf4, 0x80, 0x8f, 3 },
	};

	for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
		if (*p < forms[i].first || *p > forms[i].last)
			continue;
		if (forms[i].more && (p[1] < forms[i].second_least || p[1] > forms[i].second_most))
			return 0;
		for (size_t n = 2; n <= forms[i].more; n++)
			if (p[n] < 0x80 || p[n] > 0xbf)
				return 0;
		return 1 + forms[i].more;
	}
	return 0;
}

/* Checks an escape, behind its backslash. */
static int check_escape(struct check *c)
{
	int code;

	if (*c->at != 'u') {
		if (!*c->at || !strchr("\"\\/bfnrt", *c->at))
			return fail(c, "an unknown escape");
		c->at++;
		return 0;
	}
	code = hex4(c->at + 1);
	if (code < 0)
		return fail(c, "an escape without four hexadecimal digits");
	c->at += 5;
	if (is_low(code) || (is_high(code) && (c->at[0] != '\\' || c->at[1] != 'u' || !is_low(hex4(c->at + 2)))))
		return fail(c, "a surrogate without its other half");
	c->at += is_high(code) ? 6 : 0;
	return 0;
}

static int check_string(struct check *c)
{
	for (c->at++; *c->at != '"';) {
		if (*c->at == '\\') {
			c->at++;
			if (check_escape(c))
				return -1;
			continue;
		}
		const size_t length = utf8_length((const unsigned char *)c->at);

		if (!length)
			return fail(c, *c->at ? "a control character, or invalid UTF-8" : "an unterminated string");
		c->at += length;
	}
	c->at++;
	return 0;
}

static int check_number(struct check *c)
{
	const char *const begin = c->at;
	size_t found;

	c->at += *c->at == '-';
	found = digits(c->at);
	if (!found || (*c->at == '0' && found > 1))
		return fail(c, "no value");
	c->at += found;
	if (*c->at == '.') {
		found = digits(++c->at);
		if (!found)
			return fail(c, "a number without a fraction behind its point");
		c->at += found;
	}
	if (*c->at == 'e' || *c->at == 'E') {
		c->at += 1 + (c->at[1] == '+' || c->at[1] == '-');
		found = digits(c->at);
		if (!found)
			return fail(c, "a number without an exponent");
		c->at += found;
	}
	return c->at - begin > NUMBER_MAX ? fail(c, "a number of more than 4,000 characters") : 0;
}

static int check_value(struct check *c, int depth);

static int check_members(struct check *c, int depth)
{
	const char open = *c->at, close = open == '{' ? '}' : ']';

	if (depth == DEPTH_MAX)
		return fail(c, "arrays and objects nested too deeply");
	c->at = past_white(c->at + 1);
	if (*c->at == close) {
		c->at++;
		return 0;
	}
	for (;; c->at = past_white(c->at + 1)) {
		if (open == '{') {
			if (*c->at != '"')
				return fail(c, "a member without a name");
			if (check_string(c))
				return -1;
			c->at = past_white(c->at);
			if (*c->at != ':')
				return fail(c, "a member without a value");
			c->at = past_white(c->at + 1);
		}
		if (check_value(c, depth + 1))
			return -1;
		c->at = past_white(c->at);
		if (*c->at == close)
			break;
		if (*c->at != ',')
			return fail(c, "neither a comma nor an end behind a value");
	}
	c->at++;
	return 0;
}

static int check_value(struct check *c, int depth)
{
	static const char *const words[] = { "true", "false", "null" };

	switch (*c->at) {
	case '{':
	case '[':
		return check_members(c, depth);
	case '"':
		return check_string(c);
	default:
		for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
			if (strncmp(c->at, words[i], strlen(words[i])) == 0) {
				c->at += strlen(words[i]);
				return 0;
			}
		return check_number(c);
	}
}

const char *json_document(const char *text, size_t len, const char **why)
{
	const char *const begin = past_white(text);
	struct check c = { begin, NULL };

	if (!check_value(&c, 0)) {
		c.at = past_white(c.at);
		if (c.at != text + len)
			fail(&c, "data behind the value");
	}
	*why = c.why;
	return c.why ? NULL : begin;
}

/* ---- walk: only checked text ---------------------------------------------------------------------------------------------------- */

static const char *string_end(const char *p)
{
	for (p++; *p != '"'; p++)
		p += *p == '\\';
	return p + 1;
}

static const char *value_end(const char *p)
{
	int depth = 0;

	if (*p == '"')
		return string_end(p);
	if (*p != '{' && *p != '[')
		return p + strcspn(p, ",]} \t\r\n");
	do {
		if (*p == '"') {
			p = string_end(p);
			continue;
		}
		depth += (*p == '{' || *p == '[') - (*p == '}' || *p == ']');
		p++;
	} while (depth);
	return p;
}

const char *json_next(const char **at, const char **key)
{
	const char *p = *at;

	*key = NULL;
	if (*p != '{' && *p != '[' && *p != ',')
		return NULL;
	p = past_white(p + 1);
	if (*p == '}' || *p == ']')
		return NULL;
	if (*p == '"') {
		const char *const behind = past_white(string_end(p));

		if (*behind == ':') {	/* only a member's name is followed by a colon */
			*key = p;
			p = past_white(behind + 1);
		}
	}
	*at = past_white(value_end(p));
	return p;
}

const char *json_member(const char *object, const char *name)
{
	const char *found = NULL, *key, *value;

	if (!object || *object != '{')
		return NULL;
	while ((value = json_next(&object, &key)))
		if (key && json_equals(key, name))
			found = value;
	return found;
}

size_t json_length(const char *value)
{
	return (size_t)(value_end(value) - value);
}

static char *put_utf8(char *to, unsigned code)
{
	const int more = code < 0x80 ? 0 : code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
	static const unsigned char lead[] = { 0, 0xc0, 0xe0, 0xf0 };

	*to++ = (char)(lead[more] | code >> 6 * more);
	for (int i = more - 1; i >= 0; i--)
		*to++ = (char)(0x80 | (code >> 6 * i & 0x3f));
	return to;
}

/* Decodes one character of a string to UTF-8 in `to`, at most 4 bytes; advances both. */
static void decode(const char **at, char **to)
{
	static const char names[] = "bfnrt", values[] = "\b\f\n\r\t";
	const char *p = *at;
	unsigned code;

	if (*p != '\\') {
		*(*to)++ = *p;
		*at = p + 1;
		return;
	}
	if (*++p != 'u') {
		const char *const named = strchr(names, *p);

		*(*to)++ = named ? values[named - names] : *p;
		*at = p + 1;
		return;
	}
	code = (unsigned)hex4(p + 1);
	p += 5;
	if (is_high((int)code)) {	/* the check has found the other half */
		code = 0x10000 + ((code & 0x3ff) << 10 | ((unsigned)hex4(p + 2) & 0x3ff));
		p += 6;
	}
	*to = put_utf8(*to, code);
	*at = p;
}

ptrdiff_t json_string(const char *value, char *to)
{
	char *const begin = to;

	if (*value != '"')
		return -1;
	for (value++; *value != '"';)
		decode(&value, &to);
	*to = '\0';
	return to - begin;
}

int json_equals(const char *value, const char *words)
{
	if (*value != '"')
		return 0;
	for (value++; *value != '"';) {
		char character[4], *end = character;

		decode(&value, &end);
		if (strncmp(words, character, (size_t)(end - character)) != 0 || !character[0])
			return 0;
		words += end - character;
	}
	return !*words;
}

int json_integer(const char *value, int64_t *number)
{
	const int is_negative = *value == '-';
	const char *p = value + is_negative;
	uint64_t found = 0;

	if (!digits(p) || p[digits(p)] == '.' || (p[digits(p)] | 0x20) == 'e')
		return -1;
	for (; digits(p); p++) {
		if (found > (INT64_MAX - (uint64_t)(*p - '0')) / 10)
			return -1;
		found = 10 * found + (uint64_t)(*p - '0');
	}
	*number = is_negative ? -(int64_t)found : (int64_t)found;
	return 0;
}
