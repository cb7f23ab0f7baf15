/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* Declarations that the files of the core share: not an interface. */
#ifndef ND_INTERNAL_H
#define ND_INTERNAL_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "binding.h"
#include "netdevns-core.h"

#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <string.h>
#include <sys/socket.h>

/*
 * Newer than the oldest supported headers, where they are enumerators, so #ifdef cannot find them. The running kernel
 * may not know them.
 */
#define ND_IFLA_NEW_IFINDEX 49	/* linux/if_link.h, 5.5; as a request since 5.13 (probe message.new-ifindex.free) */
#define ND_IFA_PROTO 11		/* linux/if_addr.h, 5.18 (probe addresses.protocol.ipv4) */
#define ND_RTA_NH_ID 30		/* linux/rtnetlink.h, 5.3 */
#define ND_IFLA_PROP_LIST 52	/* linux/if_link.h, 5.5 */
#define ND_IFLA_ALT_IFNAME 53	/* the same */
#define ND_IFLA_INET6_TOKEN 7	/* linux/if_link.h, 3.10 */
#define ND_ALTNAME_SIZE 128	/* linux/if.h, ALTIFNAMSIZ */
#define ND_IFLA_PERM_ADDRESS 54	/* linux/if_link.h, 5.6 */
#define ND_IFLA_PARENT_DEV_NAME 56	/* linux/if_link.h, 5.14 */
#define ND_IFLA_NETNS_IMMUTABLE 67	/* linux/if_link.h, 6.15 */
#define ND_RTEXT_FILTER_SKIP_STATS (1u << 3)
/* asm/socket.h, 5.14 (probe netns.cookie.same): the number depends on the architecture. */
#ifdef SO_NETNS_COOKIE
#define ND_SO_NETNS_COOKIE SO_NETNS_COOKIE
#elif defined(__sparc__)
#define ND_SO_NETNS_COOKIE 0x50
#elif defined(__hppa__)
#define ND_SO_NETNS_COOKIE 0x4045
#else
#define ND_SO_NETNS_COOKIE 71
#endif

#define ND_ATTR_HDR sizeof(struct nlattr)	/* NLA_HDRLEN, which is a signed int */
#define ND_HEADER_MAX 64	/* no family header is longer */
#define ND_MEMORY_MIN 4096u	/* room for one answer about a link */
#define ND_FOREVER 0xffffffffu	/* INFINITY_LIFE_TIME */

/* NLMSG_ALIGNTO and NLA_ALIGNTO are both 4. */
static inline size_t nd_align(size_t len)
{
	return (len + 3) & ~(size_t)3;
}

/* Copies at most size - 1 bytes and terminates. */
void nd_text_copy(char *to, size_t size, const char *from, size_t len);

/*
 * Fills err (zeroing the rest) and returns code. text may be NULL. Inline, so that an analyser of one file sees that a
 * failure is not 0.
 */
static inline int nd_err_set(struct nd_err *err, int step, int code, const char *text)
{
	memset(err, 0, sizeof *err);
	err->code = code;
	err->step = step;
	nd_text_copy(err->text, sizeof err->text, text, text ? strlen(text) : 0);
	return code;
}

/* The end of a function: a failure's step, or no code after a success. */
static inline int nd_end(struct nd_err *err, int step, int code)
{
	if (code)
		err->step = step;
	else
		err->code = 0;
	return code;
}

/* Writes the three numbers of nd_spans for a message of `buf`; returns where those of the next one go. */
uint32_t *nd_span_put(uint32_t *span, const void *buf, const struct nd_view *v);

/* The attribute walk behind nd_view_attr, for attributes without a message (nested ones). */
const unsigned char *nd_attr_find(const unsigned char *attrs, size_t total, uint16_t type, size_t *len);

/* An attribute's payload; data is NULL where the attribute is missing. */
struct nd_attr {
	const unsigned char *data;
	size_t len;
};

/*
 * One walk over `total` bytes of attributes, for readers that want several: table[type] for each type below `count`. A
 * damaged list ends the walk; of duplicates the last one counts, as in the kernel's nla_parse.
 */
void nd_attrs_read(const unsigned char *attrs, size_t total, struct nd_attr *table, size_t count);

/* A link: its header, and its attributes by type (IFLA_*). */
struct nd_link_attrs {
	struct ifinfomsg head;
	struct nd_attr attrs[ND_IFLA_NETNS_IMMUTABLE + 1];
};

/* Reads an RTM_NEWLINK. A message without a whole header: -EBADMSG, and *link is all zeros. */
int nd_link_read(const struct nd_view *v, struct nd_link_attrs *link);

/* Whether both links lack the attribute or have it with the same payload. */
int nd_attr_same(const struct nd_attr *a, const struct nd_attr *b);

/* A u32; 0: it is missing or has another length. */
uint32_t nd_attr_u32(const struct nd_attr *a);

/* A u32 attribute, or the fallback where it is missing or has another length. */
uint32_t nd_view_u32(const struct nd_view *v, size_t header_len, uint16_t type, uint32_t fallback);

/* The addresses of a replay or a comparison. */
enum nd_set {
	ND_SET_PROTECTED,	/* permanent and of global scope: the OCI runtime-spec protects these */
	ND_SET_ALL,		/* every scope and lifetime: for an undo */
};

/* One address, of a snapshot or as read back. */
struct nd_addr {
	struct nd_view v;
	struct ifaddrmsg head;
	uint32_t flags;		/* all 32 bits, from IFA_FLAGS */
	uint32_t valid_lft, preferred_lft;	/* seconds; ND_FOREVER */
	struct nd_attr attrs[ND_IFA_PROTO + 1];	/* by IFA_* */
};

/* Steps through the addresses in `len` bytes. 0: no more. */
int nd_addr_next(const void *data, size_t len, size_t *pos, struct nd_addr *a);

/* The same through those of the snapshot. */
static inline int nd_addr_next_of(const struct nd_dev *dev, size_t *pos, struct nd_addr *a)
{
	return nd_addr_next((const unsigned char *)dev + dev->addrs, dev->addrs_len, pos, a);
}

/* Fills the rest from a.v, a message about an address with a whole header. */
void nd_addr_read(struct nd_addr *a);

/* The same address for the kernel: family, prefix length, IFA_LOCAL and IFA_ADDRESS. */
int nd_addr_same(const struct nd_addr *a, const struct nd_addr *b);

int nd_addr_in(const struct nd_addr *a, enum nd_set set);

/*
 * The label as the kernel would change it in a rename: `old` -> name, `old:x` -> `name:x`, others stay. Returns 0 if there is
 * none. *cut: the new label would have more than 15 bytes, so it is the plain name.
 */
int nd_addr_label(const struct nd_dev *dev, const char *name, const struct nd_addr *a, char label[ND_NAME_SIZE], int *cut);

/* A link's own MAC address; a bond's slave has the bond's until it leaves (probe kinds.port-state.bond). */
struct nd_attr nd_own_mac(const struct nd_link_attrs *link);

/* Whether a link has its former MAC address; with `may_have_left`, also the one from before it joined its bond. */
int nd_same_mac(const struct nd_link_attrs *was, const struct nd_link_attrs *is, int may_have_left);

/* One replay: addresses into a namespace, and IFF_UP between the families if `up`. */
struct nd_replay {
	struct nd_sock *sock;
	const char *name;	/* of the device in that namespace */
	const char *wanted;	/* name or template that it must match; NULL: none */
	int32_t ifindex;	/* of the device in that namespace */
	enum nd_set set;
	int up;
	int keep_going;		/* for an undo: continues after a refused address */
};

int nd_replay_run(struct nd_dev *dev, const struct nd_replay *r, struct nd_err *err);

/* Reads the device's link and addresses into the free part of its memory and compares with the snapshot. */
int nd_replay_compare(struct nd_dev *dev, const struct nd_replay *r, struct nd_err *err);

/* Compares messages that were read already. */
int nd_replay_compare_with(const struct nd_dev *dev, const struct nd_replay *r, const struct nd_view *link, const void *addrs,
		    size_t addrs_len, struct nd_err *err);

/* Makes a network namespace, and opens a socket in it; *netns_fd is the caller's. Otherwise as nd_sock_open. */
int nd_sock_open_new(struct nd_sock *s, int *netns_fd, struct nd_err *err);

/* As nd_sock_open, without options, address and time limit. After a failure s->fd is -1. */
int nd_sock_create(struct nd_sock *s, int netns_fd, struct nd_file *files, size_t nfiles, struct nd_err *err);

/* -EINVAL if the snapshot must stay: a move was sent, and no undo has restored the device since. */
int nd_dev_moved_already(const struct nd_dev *dev, struct nd_err *err);

/* Whether a name is the wanted one, or one that the kernel makes from the template: prefix, number, suffix. */
int nd_name_is_wanted(const char *wanted, const char *name);

/* Whether the link of an RTM_NEWLINK has that name. */
int nd_link_has_name(const struct nd_view *link, const char *name);

/* Where the snapshot in the device's memory ends and the free part begins. */
size_t nd_dev_end(const struct nd_dev *dev);

/* Appends an RTM_GETLINK by ifindex; or, if that is 0, by name, which also finds alternative names. */
void nd_put_getlink(struct nd_msg *m, int32_t ifindex, const char *name);

/* How well a link matches that of a snapshot. */
enum nd_likeness {
	ND_UNLIKE,		/* another kind, a MAC address of another length, or other hardware */
	ND_ALIKE_BUT_LINK,	/* another MAC address, and another IFLA_LINK */
	ND_ALIKE,		/* another MAC address */
	ND_ALIKE_AND_FIXED,	/* another MAC address; but the same permanent one, parent device or IFLA_LINK */
	ND_SAME,		/* the same MAC address */
};

/* The result of a look-up of one link, extracted as the reply arrives, which may have 64 KiB (alternative names). */
struct nd_seen {
	const struct nd_dev *dev;	/* the link is compared with its snapshot */
	uint32_t number;		/* the look-up's index in the request, from 0 */
	int before;			/* the reply to the message before it: 0 or -errno */
	int code;			/* the reply to the look-up: 0 or -errno; 1: none yet */
	struct nd_err err;		/* if it was refused */
	int32_t ifindex;
	char name[ND_NAME_SIZE];
	enum nd_likeness likeness;
};

/* Takes a reply to the message `number` of the request. */
void nd_seen_take(struct nd_seen *seen, const struct nd_view *v, uint32_t number);

/* As nd_sock_exchange. If `seen` is not NULL, it gets each reply, and the result is only that of the exchange. */
int nd_exchange(struct nd_sock *s, struct nd_msg *req, struct nd_buf *reply, struct nd_seen *seen, struct nd_err *err);

/* Looks a link up by ifindex, or by name if that is 0. -ENODEV: there is none. */
int nd_look_up(struct nd_dev *dev, struct nd_sock *sock, int32_t ifindex, const char *name, struct nd_seen *seen,
	       struct nd_err *err);

/*
 * Sets dev->place (and ifindex, name) by a search in both namespaces; for a device in the source *seen is its look-up. Negative:
 * the search failed, and the place is unknown.
 */
int nd_find(struct nd_dev *dev, struct nd_sock *source, struct nd_sock *target, struct nd_seen *seen, struct nd_err *err);

/* Whether names and offsets are valid: a damaged record must not lead outside the memory. */
int nd_dev_is_sound(const struct nd_dev *dev);

/* Searches the target alone. 1: found; 0: not there; negative: the search failed. */
int nd_find_in_target(struct nd_dev *dev, struct nd_sock *target, struct nd_err *err);

/* Reads link and addresses of `ifindex` by one exchange, behind `used` bytes of the device's memory. */
int nd_dev_read(struct nd_dev *dev, struct nd_sock *sock, int32_t ifindex, size_t used, struct nd_buf *reply,
		struct nd_err *err);

#endif
