/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * Searches records of killed moves, and loans, below /run/netdevns. The hook in Python acts on them; here is only checked whether one
 * of them names a device of the request, or its container.
 */
#define _GNU_SOURCE
#include "hook.h"
#include "../layout.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOAN_NAME_MAX 200	/* bytes of a container's id in a file name, to which a suffix is added */

static const char TXN[] = ND_LOCK_DIR "/txn", LOANS[] = ND_LOCK_DIR "/loan";

/* Whether a file concerns the request; any result but 0 counts as "yes". */
typedef int concerns(int dirfd, const char *name, const struct hook_request *request);

/* Checks each file of a directory. 0: none concerns the request. */
static int any(const char *path, concerns *asked, const struct hook_request *request)
{
	const int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	const struct dirent *entry;
	const char *why;
	int found = 0;
	DIR *dir;

	if (fd < 0)
		return errno != ENOENT;
	dir = nd_folder_check(fd, &why) ? NULL : fdopendir(fd);
	if (!dir) {
		close(fd);
		return 1;
	}
	while (!found && (errno = 0, entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			found = asked(fd, entry->d_name, request);
	found |= errno != 0 && !found;
	closedir(dir);
	return found;
}

/* ---- devices ----------------------------------------------------------------------------------------------------------------------- */

/* Searches an attribute with that name at any offset, without parsing the record, which may be long. */
static int has_name(const char *data, size_t len, const char *ifname)
{
	char pattern[4 + ND_WORD_SIZE];
	const size_t name_len = strlen(ifname);
	const uint16_t head[] = { (uint16_t)(4 + name_len), A_IFNAME };

	if (name_len >= ND_WORD_SIZE)
		return 0;
	memcpy(pattern, head, sizeof head);
	memcpy(pattern + sizeof head, ifname, name_len);
	return memmem(data, len, pattern, sizeof head + name_len) != NULL;
}

static int names_a_device(int dirfd, const char *name, const struct hook_request *request)
{
	const char *why;
	char *data = NULL;
	size_t len = 0;
	const int fd = nd_file_open(dirfd, name, O_RDONLY, &why);
	int found;

	if (fd < 0)
		return fd != -ENOENT;
	found = hook_read(fd, &data, &len) != 0;	/* as large as a document at most */
	close(fd);
	for (size_t i = 0; i < request->count && !found; i++)
		found = has_name(data, len, request->devices[i].ifname);
	free(data);
	return found;
}

int hook_is_concerned(const struct hook_request *request)
{
	return any(TXN, names_a_device, request) || any(LOANS, names_a_device, request);
}

/* ---- the container ----------------------------------------------------------------------------------------------------------------- */

void hook_loan_name(char name[ND_FILE_NAME_SIZE], const struct hook_request *request)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+@=,", digits[] = "0123456789ABCDEF";
	size_t used = 0;

	for (size_t i = 0; i < request->id_len && used + 3 < ND_FILE_NAME_SIZE; i++) {
		const unsigned char c = (unsigned char)request->id[i];

		if ((c && strchr(plain, c)) || (c == '.' && i)) {
			name[used++] = (char)c;
			continue;
		}
		name[used++] = '%';
		name[used++] = digits[c >> 4];
		name[used++] = digits[c & 15];
	}
	name[used < LOAN_NAME_MAX ? used : LOAN_NAME_MAX] = '\0';
}

static int is_of_container(int dirfd, const char *name, const struct hook_request *request)
{
	char loan[ND_FILE_NAME_SIZE];
	size_t len;

	(void)dirfd;
	hook_loan_name(loan, request);
	len = strlen(loan);
	return strncmp(name, loan, len) == 0 && (!name[len] || name[len] == '~');
}

/* A record that is locked belongs to a running move. */
static int is_unlocked(int dirfd, const char *name, const struct hook_request *request)
{
	const char *why;
	const int fd = nd_file_open(dirfd, name, O_RDONLY, &why);
	int found;

	(void)request;
	if (fd < 0)
		return fd != -ENOENT;
	found = flock(fd, LOCK_SH | LOCK_NB) == 0 || errno != EWOULDBLOCK;
	close(fd);
	return found;
}

int hook_has_to_return(const struct hook_request *request)
{
	return any(LOANS, is_of_container, request) || any(TXN, is_unlocked, request);
}
