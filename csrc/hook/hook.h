/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * The OCI hook without an interpreter: createRuntime moves devices, poststop ends if there is nothing to restore. Other work
 * is handed over to `netdevns hook`, in Python, before anything is changed: handover.c lists it.
 */
#ifndef NETDEVNS_HOOK_H
#define NETDEVNS_HOOK_H

#include "../batch.h"
#include "json.h"

#include <sys/types.h>

#define HOOK_VERSION "0.1.0"	/* that of netdevns/__init__.py: work is handed over to the same version */

#define HOOK_NOTHING "nothing was touched"

/* As netdevns/limits.py. */
#define HOOK_DOCUMENT_BYTES_MAX (16u << 20)	/* of the state, and of a config.json */
#define HOOK_ANNOTATED_MAX 256			/* devices that the annotations of one document ask for */
#define HOOK_LINES_MAX 64			/* of the report of a failure */
#define HOOK_LINE_BYTES_MAX 400
#define HOOK_ID_BYTES_MAX 128			/* of a container's id in the log */
#define HOOK_LOG_BYTES_MAX (256u << 10)

/* Exit codes, as netdevns/text/outcome.py. */
enum hook_code { HOOK_DONE, HOOK_FAILED, HOOK_REFUSED, HOOK_LEFT, HOOK_HAND_OVER = -1 };

/* ---- report.c ------------------------------------------------------------------------------------------------------------------ */

/* The report of a failure. */
struct hook_report {
	char lines[HOOK_LINES_MAX][HOOK_LINE_BYTES_MAX + 1];
	size_t count;		/* of all lines; those beyond HOOK_LINES_MAX are dropped */
	char container[HOOK_ID_BYTES_MAX + 3];	/* "id: ", which each line in the log begins with; "": unknown */
};

/* Adds a line, control characters escaped; the middle of a long line is cut out. */
void hook_say(struct hook_report *report, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Sets the container whose id the log shows. */
void hook_report_container(struct hook_report *report, const char *id);
/* Writes them to stderr (not with exit code 0), hook.log and syslog, where those of an exit code 0 are notices. */
void hook_report_send(const struct hook_report *report, int code);

/* ---- request.c: the devices that the hook is asked to move ------------------------------------------------------------------------- */

/* The hook's own arguments. */
struct hook_arguments {
	int is_poststop;
	char **allowed;		/* globs */
	size_t allowed_count;
	char **devices;		/* DEV or DEV=NAME, in `text` */
	size_t device_count;
	char *text;
	size_t text_used;
};

struct hook_device {
	const char *ifname, *wanted;
};

/* A checked document; its decoded strings have separate memory. */
struct hook_document {
	char *text;
	const char *value;	/* an object */
	char *strings, *free;	/* as long as the text; the first free byte */
};

struct hook_request {
	struct hook_document state, config;
	const char *id, *bundle;
	size_t id_len;
	pid_t pid;		/* 0: there is none */
	const char *netns_path;	/* of the namespace that config.json joins; NULL: a new one */
	struct hook_device *devices;
	size_t count, size;
};

/* 0, or -1: invalid arguments. `arguments` has room for argc pointers in each list. */
int hook_arguments_read(struct hook_arguments *arguments, int argc, char **argv);
void hook_arguments_free(struct hook_arguments *arguments);
/* Reads a descriptor to its end, and adds a NUL. -EFBIG: more than HOOK_DOCUMENT_BYTES_MAX, and only one byte more was read. */
int hook_read(int fd, char **text, size_t *len);
/* Takes ownership of `text`. 0, or -1 and the reason. */
int hook_state_read(struct hook_request *request, char *text, size_t len, struct hook_report *why);
/* The bundle's config.json. */
int hook_config_read(struct hook_request *request, struct hook_report *why);
/*
 * A string's content and a NUL; NULL: not a string. Each is decoded once, and none is longer than its JSON text.
 * *len: its length; if `len` is NULL, a string that contains a NUL is not accepted.
 */
const char *hook_string(struct hook_document *document, const char *value, size_t *len);
/* devices.c: collects the devices of config.json, of the arguments and of allowed annotations. */
int hook_devices_read(struct hook_request *request, const struct hook_arguments *arguments, struct hook_report *why);
void hook_request_free(struct hook_request *request);

/* ---- earlier.c ------------------------------------------------------------------------------------------------------------------- */

/* Whether a record or a loan names one of the devices, or cannot be read: then Python takes over. */
int hook_is_concerned(const struct hook_request *request);
/* Whether poststop has something to do: the container's loan, or a record of a move whose process was killed. */
int hook_has_to_return(const struct hook_request *request);
/* The name of a container's loan, without directory. */
void hook_loan_name(char name[ND_FILE_NAME_SIZE], const struct hook_request *request);

/* ---- move.c -------------------------------------------------------------------------------------------------------------------------- */

/* The name of a blocked signal that is pending; NULL: there is none. */
const char *hook_interrupted(void);
/* Moves the devices, and writes the loan. `pidfd`: of the container's process. HOOK_HAND_OVER: nothing was changed. */
int hook_move(struct hook_request *request, int pidfd, struct hook_report *report);

/* ---- handover.c ---------------------------------------------------------------------------------------------------------------------- */

/*
 * Executes `netdevns hook` with these arguments and the state on its stdin (NULL: the current stdin). Returns only if it cannot be
 * started, and reports why.
 */
void hook_hand_over(int argc, char **argv, const char *state, size_t len, struct hook_report *report);

#endif
