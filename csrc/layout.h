/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* The format of a record, which layout.c validates and record.c writes: docs/records.md. Not an interface. */
#ifndef ND_LAYOUT_H
#define ND_LAYOUT_H

#include "batch.h"

#define ND_RECORD_VERSION 3

/* Message types of netdevns. Lower ones are the kernel's. */
enum section_type { HEAD = 0xF000, SOURCE, TARGET, DEVICE, UPPER, STATE, LOAN, END };

/* Attributes: of HEAD and END; of SOURCE and TARGET; of DEVICE and UPPER; of STATE; of LOAN. */
enum { A_VERSION = 1, A_BOOT, A_CHECKSUM, A_PRESERVE, A_LENDS, A_PID, A_SINCE_MS };
enum { A_WHERE = 1, A_COOKIE, A_DEV, A_INO, A_OF_PID, A_OF_START, A_PID_NS };
enum { A_HOST_NAME = 1, A_IFNAME, A_WANTED, A_IFINDEX, A_ASKED, A_UNSURE, A_DEPTH };
enum { A_KIND = 1 };
enum { A_CONTAINER = 1 };

/* A message of netdevns, and the kernel's messages behind it. */
struct nd_section {
	uint16_t type;
	const unsigned char *attrs, *body;
	size_t attrs_len, body_len;
};

/* The CRC-32 of zlib (ISO 3309). */
uint32_t nd_checksum(const unsigned char *data, size_t len);
/* Whether a section, by its header, is a device that is marked as restored (ND_RECORD_RESTORED). */
int nd_section_is_restored(const unsigned char *header);

/*
 * Validates a whole record before it is used. 0, and the number of its devices; -EBADMSG or -EPROTO as nd_record_parse.
 * The functions below read only a valid record.
 */
int nd_layout_judge(const unsigned char *data, size_t len, size_t *devices, struct nd_err *err);

/* Steps through the sections; *pos starts at 0. 0: no more. */
int nd_section_next(const unsigned char *data, size_t len, size_t *pos, struct nd_section *s);
/* 0 where it is missing. */
uint64_t nd_section_number(const struct nd_section *s, uint16_t type);
/* As a C string. 0: it is missing, does not fit, or has a NUL in it; then it is "". */
int nd_section_text(const struct nd_section *s, uint16_t type, char *text, size_t size);

#endif
