/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* Opens directories and files safely, as netdevns/system/folders.py does; directories above them are trusted. */
#include "batch.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define SAFELY (O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)	/* O_NONBLOCK: a FIFO must not hang a container's start */
#define MODE_DIR 0700
#define MODE_FILE 0600

static int judge(int fd, mode_t kind, const char **why)
{
	struct stat is;

	*why = NULL;
	if (fstat(fd, &is) < 0)
		return -errno;
	if ((is.st_mode & S_IFMT) != kind)
		*why = kind == S_IFDIR ? "no directory" : "no regular file";
	else if (is.st_uid != geteuid())
		*why = "belongs to another user";
	else if (is.st_mode & (S_IWGRP | S_IWOTH))
		*why = "others may write to it";
	else if (kind == S_IFREG && is.st_nlink > 1)
		*why = "it has another name, too: a hard link";
	return !*why ? 0 : kind == S_IFDIR && !S_ISDIR(is.st_mode) ? -ENOTDIR : -EPERM;
}

int nd_folder_check(int dirfd, const char **why)
{
	return judge(dirfd, S_IFDIR, why);
}

static int judged(int fd, mode_t kind, const char **why)
{
	const int code = judge(fd, kind, why);

	if (!code)
		return fd;
	close(fd);
	return code;
}

int nd_folder_open(const char *path, const char **why)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | SAFELY), code;

	*why = NULL;
	if (fd < 0 && errno == ENOENT && (mkdir(path, MODE_DIR) == 0 || errno == EEXIST))
		fd = open(path, O_RDONLY | O_DIRECTORY | SAFELY);
	if (fd >= 0)
		return judged(fd, S_IFDIR, why);
	code = -errno;
	if (code == -ELOOP || code == -ENOTDIR)
		*why = "a symbolic link, or no directory";
	return code;
}

int nd_file_open(int dirfd, const char *name, int flags, const char **why)
{
	struct stat is;
	int fd;

	*why = NULL;
	/* Checked before the open: opening a device can have an effect on it. */
	if (!(flags & O_CREAT)) {
		if (fstatat(dirfd, name, &is, AT_SYMLINK_NOFOLLOW) < 0)
			return -errno;
		if (!S_ISREG(is.st_mode)) {
			*why = "no regular file";
			return -EPERM;
		}
	}
	fd = openat(dirfd, name, flags | SAFELY, MODE_FILE);
	if (fd >= 0)
		return judged(fd, S_IFREG, why);
	if (errno != ELOOP)
		return -errno;
	*why = "no regular file";
	return -EPERM;
}

int nd_write_all(int fd, const void *data, size_t len)
{
	const unsigned char *at = data;

	while (len) {
		const ssize_t n = write(fd, at, len);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			at += n;
			len -= (size_t)n;
		}
	}
	return 0;
}
