/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* The files of records: written, locked, listed, ended. The same rules as netdevns/recovery/store.py (docs/records.md). */
#include "batch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MODE_FILE 0600
#define BEING_WRITTEN_S 10	/* a younger temporary file has a writer, perhaps before its flock */
#define FILES_MAX 65536
#define UNDO ".undo"

struct nd_record_file {
	int64_t written_s;
	long written_ns;
	char name[ND_FILE_NAME_SIZE];
};

/* ---- writing ---- */

void nd_record_init(struct nd_record *record)
{
	memset(record, 0, sizeof *record);
	record->dirfd = record->fd = -1;
}

int nd_record_may_use(int dirfd, struct nd_err *err)
{
	const char *why;
	const int code = nd_folder_check(dirfd, &why);

	err->code = 0;
	if (!code)
		return 0;
	return nd_err_set(err, ND_STEP_NONE, code, code != -EPERM ? "records need the descriptor of a directory" :
			  "the directory of records must belong to this user and not be writable by others (chmod 0700)");
}

void nd_record_close(struct nd_record *record)
{
	if (record->fd >= 0) {
		flock(record->fd, LOCK_UN);	/* a forked child may have the descriptor, too */
		close(record->fd);
	}
	nd_record_init(record);
}

/* Appends 16 random hexadecimal digits to the prefix. */
static int random_name(char name[ND_FILE_NAME_SIZE], const char *prefix)
{
	uint64_t number;
	ssize_t n;

	do
		n = getrandom(&number, sizeof number, 0);
	while (n < 0 && errno == EINTR);
	if (n != (ssize_t)sizeof number)
		return n < 0 ? -errno : -EIO;
	snprintf(name, ND_FILE_NAME_SIZE, "%s%016" PRIx64, prefix, number);
	return 0;
}

/* Makes a file that ends with its writer (O_TMPFILE), name ""; or, if that is not supported, one with a leading dot. */
static int unnamed_file(int dirfd, char unnamed[ND_FILE_NAME_SIZE])
{
	int fd = openat(dirfd, ".", O_RDWR | O_CLOEXEC | O_TMPFILE, MODE_FILE), code;

	unnamed[0] = '\0';
	if (fd >= 0)
		return fd;
	if (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL)
		return -errno;
	code = random_name(unnamed, ".");
	if (code)
		return code;
	fd = openat(dirfd, unnamed, O_RDWR | O_CLOEXEC | O_CREAT | O_EXCL, MODE_FILE);
	if (fd >= 0)
		return fd;
	code = -errno;
	unnamed[0] = '\0';
	return code;
}

static int give_name(int dirfd, int fd, char unnamed[ND_FILE_NAME_SIZE], const char *name)
{
	char path[32];

	if (unnamed[0]) {
		int code = linkat(dirfd, unnamed, dirfd, name, 0) < 0 ? -errno : 0;

		if (!code && unlinkat(dirfd, unnamed, 0) < 0) {	/* a file with two names would be refused */
			code = -errno;
			unlinkat(dirfd, name, 0);
		} else if (!code) {
			unnamed[0] = '\0';
		}
		return code;
	}
	/* linkat(2) describes this way to name a file without CAP_DAC_READ_SEARCH. */
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	return linkat(AT_FDCWD, path, dirfd, name, AT_SYMLINK_FOLLOW) < 0 ? -errno : 0;
}

/*
 * Writes a file, locks and names it; `name`: of the record that it replaces, or "". `wanted`: its name, or the beginning of it
 * if that is taken; "": a random one. A descriptor, or -errno.
 */
static int put_file(int dirfd, const unsigned char *data, size_t len, char name[ND_FILE_NAME_SIZE], const char *wanted)
{
	char unnamed[ND_FILE_NAME_SIZE], fresh[ND_FILE_NAME_SIZE] = "", prefix[ND_FILE_NAME_SIZE] = "";
	const int fd = unnamed_file(dirfd, unnamed);
	int code = fd < 0 ? fd : 0;

	if (code)
		return code;
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		code = -errno;
	if (!code)
		code = nd_write_all(fd, data, len);
	if (!code && wanted[0]) {
		snprintf(fresh, sizeof fresh, "%s", wanted);
		snprintf(prefix, sizeof prefix, "%.*s~", ND_FILE_NAME_SIZE - 18, wanted);
		code = give_name(dirfd, fd, unnamed, fresh);
	}
	if (!code ? !wanted[0] : code == -EEXIST) {
		code = random_name(fresh, prefix);
		if (!code)
			code = give_name(dirfd, fd, unnamed, fresh);
	}
	/* For a moment the move has two records, both with the state before it. */
	if (!code && name[0] && renameat(dirfd, fresh, dirfd, name) < 0) {
		code = -errno;
		unlinkat(dirfd, fresh, 0);
	}
	if (unnamed[0])
		unlinkat(dirfd, unnamed, 0);
	if (code) {
		close(fd);
		return code;
	}
	if (!name[0])
		memcpy(name, fresh, sizeof fresh);
	return fd;
}

/* A descriptor, or -errno. */
static int put_record(int dirfd, char name[ND_FILE_NAME_SIZE], const char *wanted, const struct nd_record_content *content,
		      size_t *len, struct nd_err *err)
{
	unsigned char *data;
	int fd, code = nd_record_may_use(dirfd, err);

	if (code)
		return code;
	code = nd_record_encode(&data, len, content, err);
	if (code)
		return code;
	fd = put_file(dirfd, data, *len, name, wanted);
	free(data);
	return fd < 0 ? nd_err_set(err, ND_STEP_NONE, fd, "the record cannot be written") : fd;
}

int nd_loan_write(int dirfd, char name[ND_FILE_NAME_SIZE], const struct nd_record_content *content, struct nd_err *err)
{
	char written[ND_FILE_NAME_SIZE] = "";
	size_t len;
	const int fd = put_record(dirfd, written, name, content, &len, err);

	if (fd < 0)
		return fd;
	memcpy(name, written, sizeof written);
	close(fd);
	err->code = 0;
	return 0;
}

int nd_record_write(struct nd_record *record, int dirfd, const struct nd_record_content *content, struct nd_err *err)
{
	size_t len = 0;
	const int fd = put_record(dirfd, record->name, "", content, &len, err);

	if (fd < 0)
		return fd;
	if (record->fd >= 0)
		close(record->fd);
	record->dirfd = dirfd;
	record->fd = fd;
	record->len = len;
	err->code = 0;
	return 0;
}

int nd_record_set_seq(const struct nd_record *record, size_t at, uint32_t seq)
{
	ssize_t n;

	do
		n = pwrite(record->fd, &seq, sizeof seq, (off_t)(at + offsetof(struct nlmsghdr, nlmsg_seq)));
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n == (ssize_t)sizeof seq ? 0 : -EIO;
}

int nd_record_mark(const struct nd_record *record, int is_complete)
{
	return nd_record_set_seq(record, record->len - ND_END_BYTES, is_complete ? ND_RECORD_COMPLETE : 0);
}

int nd_record_end(struct nd_record *record, int keep)
{
	char name[ND_FILE_NAME_SIZE + sizeof UNDO];
	int code = 0;

	if (record->fd < 0)
		return 0;
	if (!keep) {
		if (unlinkat(record->dirfd, record->name, 0) < 0)
			code = -errno;
		if (code && ftruncate(record->fd, 0) < 0)
			code = -errno;
	} else if (!strstr(record->name, UNDO)) {
		snprintf(name, sizeof name, "%s" UNDO, record->name);
		if (renameat(record->dirfd, record->name, record->dirfd, name) < 0)
			code = -errno;
	}
	nd_record_close(record);
	return code;
}

/* ---- reading ---- */

int nd_record_read(const struct nd_record *record, struct nd_recovered *found, struct nd_err *err)
{
	unsigned char *data;
	size_t size, len = 0;
	struct stat is;
	ssize_t n = 0;
	int code;

	memset(found, 0, sizeof *found);
	if (fstat(record->fd, &is) < 0)
		return nd_err_set(err, ND_STEP_NONE, -errno, "the record cannot be read");
	if (is.st_size > (off_t)ND_RECORD_BYTES_MAX)
		return nd_err_set(err, ND_STEP_NONE, -EBADMSG, "it is larger than a record can be");
	size = (size_t)is.st_size;
	data = malloc(size + 1);
	if (!data)
		return nd_err_set(err, ND_STEP_NONE, -ENOMEM, NULL);
	while (len < size && (n = pread(record->fd, data + len, size - len, (off_t)len)) > 0)
		len += (size_t)n;
	if (n < 0)
		code = nd_err_set(err, ND_STEP_NONE, -errno, "the record cannot be read");
	else
		code = nd_record_parse(data, len, found, err);
	free(data);
	if (!code && strstr(record->name, UNDO))
		found->is_to_be_undone = 1;
	return code;
}

static int newer(const void *a, const void *b)
{
	const struct nd_record_file *const x = a, *const y = b;

	if (x->written_s != y->written_s)
		return x->written_s > y->written_s ? -1 : 1;
	if (x->written_ns != y->written_ns)
		return x->written_ns > y->written_ns ? -1 : 1;
	return strcmp(x->name, y->name);
}

static int append(struct nd_record_list *list, size_t *room, const char *name)
{
	struct nd_record_file *file;
	struct stat is;

	if (list->count == *room) {
		const size_t more = *room ? 2 * *room : 64;

		file = realloc(list->files, more * sizeof *file);
		if (!file)
			return -ENOMEM;
		list->files = file;
		*room = more;
	}
	if (fstatat(list->dirfd, name, &is, AT_SYMLINK_NOFOLLOW) < 0)
		return 0;	/* removed meanwhile */
	file = &list->files[list->count++];
	file->written_s = is.st_mtim.tv_sec;
	file->written_ns = is.st_mtim.tv_nsec;
	nd_text_copy(file->name, sizeof file->name, name, strlen(name));
	return 0;
}

int nd_record_list(struct nd_record_list *list, int dirfd, struct nd_err *err)
{
	const struct dirent *entry;
	size_t room = 0;
	DIR *dir;
	int fd, code = nd_record_may_use(dirfd, err);

	memset(list, 0, sizeof *list);
	list->dirfd = dirfd;
	if (code)
		return code;
	fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);	/* a separate file position */
	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir) {
		code = nd_err_set(err, ND_STEP_NONE, -errno, "the directory cannot be read");
		if (fd >= 0)
			close(fd);
		return code;
	}
	while (!code && (errno = 0, entry = readdir(dir)) != NULL) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		if (list->count == FILES_MAX) {
			list->is_cut = 1;
			break;
		}
		code = append(list, &room, entry->d_name);
	}
	if (!code && !list->is_cut)
		code = -errno;
	closedir(dir);
	if (code) {
		nd_record_list_free(list);
		return nd_err_set(err, ND_STEP_NONE, code, "the directory cannot be read");
	}
	if (list->count)
		qsort(list->files, list->count, sizeof *list->files, newer);	/* of two that name a device, the older has its first state */
	err->code = 0;
	return 0;
}

/* Opens a record and takes its lock: 1; 0: it is held, or gone; or -errno. */
static int take(struct nd_record *record, struct nd_err *err)
{
	struct stat opened, named;
	const char *why;
	int code;

	record->fd = nd_file_open(record->dirfd, record->name, O_RDWR, &why);
	if (record->fd < 0) {
		code = record->fd;
		record->fd = -1;
		return code == -ENOENT ? 0 : nd_err_set(err, ND_STEP_NONE, code, why ? why : "the record cannot be opened");
	}
	if (flock(record->fd, LOCK_EX | LOCK_NB) < 0) {
		code = errno == EWOULDBLOCK ? 0 : nd_err_set(err, ND_STEP_NONE, -errno, "the record cannot be locked");
	} else if (fstat(record->fd, &opened) < 0 ||
		   fstatat(record->dirfd, record->name, &named, AT_SYMLINK_NOFOLLOW) < 0) {
		code = errno == ENOENT ? 0 : nd_err_set(err, ND_STEP_NONE, -errno, "the record cannot be checked");
	} else {	/* another process may have replaced the file meanwhile */
		code = opened.st_dev == named.st_dev && opened.st_ino == named.st_ino;
	}
	if (code <= 0) {
		close(record->fd);
		record->fd = -1;
	}
	return code;
}

int nd_record_next(struct nd_record_list *list, struct nd_record *record, struct nd_err *err)
{
	err->code = 0;
	while (list->next < list->count) {
		const struct nd_record_file *const file = &list->files[list->next++];
		const int has_name = file->name[0] != '.';
		int code;

		if (!has_name && (int64_t)time(NULL) - file->written_s < BEING_WRITTEN_S)
			continue;
		nd_record_init(record);
		record->dirfd = list->dirfd;
		memcpy(record->name, file->name, sizeof record->name);
		code = take(record, err);
		if (code < 0 || (code && has_name))
			return code;
		if (code)	/* its writer was killed before anything was changed */
			nd_record_end(record, 0);
	}
	nd_record_init(record);
	return 0;
}

void nd_record_list_free(struct nd_record_list *list)
{
	free(list->files);
	list->files = NULL;
	list->count = list->next = 0;
}
