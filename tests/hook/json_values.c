/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * Shows what csrc/hook/json.h makes of texts, for test_json.py: reads a u32 length and so many bytes, again and again, and
 * answers with a line each. Or, for libFuzzer, walks through each input.
 */
#include "hook/json.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static FILE *out;

static void show_string(const char *value)
{
	char *const to = malloc(json_length(value));
	const ptrdiff_t length = to ? json_string(value, to) : -1;

	for (ptrdiff_t i = 0; i < length; i++)
		fprintf(out, "%02x", (unsigned char)to[i]);
	free(to);
}

static void show(const char *value)
{
	const char open = *value;
	const char *key, *each, *separator = "";
	int64_t number;

	switch (open) {
	case '{':
	case '[':
		fputc(open, out);
		while ((each = json_next(&value, &key))) {
			fputs(separator, out);
			separator = ",";
			if (key) {
				show_string(key);
				fputc(':', out);
			}
			show(each);
		}
		fputc(open == '{' ? '}' : ']', out);
		break;
	case '"':
		fputc('"', out);
		show_string(value);
		fputc('"', out);
		break;
	default:
		if (json_integer(value, &number) == 0)
			fprintf(out, "%lld", (long long)number);
		else
			fprintf(out, "%.*s", (int)json_length(value), value);
	}
}

static void answer(const char *text, size_t len)
{
	const char *why, *found;
	const char *const value = json_document(text, len, &why);

	if (!value) {
		fprintf(out, "not valid JSON: %s\n", why);
		return;
	}
	show(value);
	found = json_member(value, "name");
	if (found) {
		fputs(" name ", out);
		show(found);
	}
	fputc('\n', out);
}

#ifdef FUZZ

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *const text = malloc(size + 1);

	if (!out)
		out = fopen("/dev/null", "w");
	if (!text || !out)
		abort();
	memcpy(text, data, size);
	text[size] = '\0';
	answer(text, size);
	free(text);
	return 0;
}

#else

int main(void)
{
	uint32_t len;

	out = stdout;
	while (fread(&len, sizeof len, 1, stdin) == 1) {
		char *const text = malloc((size_t)len + 1);

		if (!text || fread(text, 1, len, stdin) != len)
			return 2;
		text[len] = '\0';
		answer(text, len);
		free(text);
		fflush(out);
	}
	return 0;
}

#endif
