/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * JSON (RFC 8259), read in place: checked once as a whole, then walked without a tree and without memory of its
 * own. A value is the address of its first character in the text that json_document has checked.
 */
#ifndef NETDEVNS_JSON_H
#define NETDEVNS_JSON_H

#include <stddef.h>
#include <stdint.h>

/*
 * The value of a whole text, which has a NUL at text[len]; or NULL and the reason in *why, as words for "not valid JSON: ...".
 * Stricter than Python's json, which also takes NaN and Infinity, a surrogate without its other half, UTF-16 and UTF-32, a
 * byte order mark, arrays and objects more than 64 in each other, and a number of more than 4,000 characters.
 */
const char *json_document(const char *text, size_t len, const char **why);

/*
 * Steps through an object or an array: *at begins as the value itself. Returns the next member's or element's value, NULL behind
 * the last one. *key: the member's name, a string value; NULL in an array.
 */
const char *json_next(const char **at, const char **key);

/* The value of an object's member; of duplicates the last one counts. NULL: there is none, or it is not an object. */
const char *json_member(const char *object, const char *name);

/* A string's content as UTF-8, with a NUL behind it, in `to`, which needs as much room as the string takes in the text. Returns
 * its length in bytes, which a NUL in it (\u0000) does not end; -1: the value is no string. */
ptrdiff_t json_string(const char *value, char *to);

/* The length of a value in the text, quotation marks included. */
size_t json_length(const char *value);

/* Whether a string has this content. */
int json_equals(const char *value, const char *words);

/* An integer without fraction and exponent, in *number. -1: the value is no such number, or does not fit. */
int json_integer(const char *value, int64_t *number);

#endif
