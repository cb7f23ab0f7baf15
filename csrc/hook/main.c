/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * `netdevns-hook {createRuntime,poststop} [--allow GLOB ...] [DEV=NAME ...]`, the state on stdin (runtime-spec 1.3, config.md
 * "POSIX-platform Hooks", runtime.md "State"); or `netdevns-hook --version`. Exit codes: 0 done; 1 failed, all devices are
 * restored; 2 refused, nothing was changed; 3 a device is not restored completely: the lines name it.
 */
#define _GNU_SOURCE
#include "hook.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define STACK_BYTES (160u << 10)	/* 120 KiB for a call of the library (netdevns.h), and the environment */

/* Whether the stack suffices, after a lower limit was raised, which the kernel applies at once. */
static int has_stack(struct hook_report *report)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_STACK, &limit) < 0 || limit.rlim_cur >= STACK_BYTES)
		return 1;
	limit.rlim_cur = STACK_BYTES;
	if (limit.rlim_max < STACK_BYTES)	/* only with CAP_SYS_RESOURCE */
		limit.rlim_max = STACK_BYTES;
	if (setrlimit(RLIMIT_STACK, &limit) == 0)
		return 1;
	hook_say(report, "the limit of the stack (ulimit -s) is less than %u KiB", STACK_BYTES >> 10);
	hook_say(report, HOOK_NOTHING);
	return 0;
}

static int create_runtime(struct hook_request *request, const struct hook_arguments *arguments, struct hook_report *report)
{
	/* First: from now on a reused pid is noticed. */
	const int pidfd = request->pid ? (int)syscall(SYS_pidfd_open, request->pid, 0) : -1;
	int code = HOOK_HAND_OVER;

	if (hook_devices_read(request, arguments, report))
		goto out;
	if (!request->count)
		code = HOOK_DONE;
	else if (!request->pid)
		hook_say(report, "state on stdin: pid: a createRuntime hook needs the container's process");
	else if (hook_is_concerned(request))
		hook_say(report, "a record or a loan names one of the devices: run `netdevns recover`, `netdevns return`");
	else
		code = has_stack(report) ? hook_move(request, pidfd, report) : HOOK_REFUSED;
out:
	if (pidfd >= 0)
		close(pidfd);
	return code;
}

/* Blocks INT, TERM and HUP: a move checks for them between its steps, and is then undone. */
static void hold_signals(sigset_t *before)
{
	sigset_t held;

	sigemptyset(&held);
	sigaddset(&held, SIGINT);
	sigaddset(&held, SIGTERM);
	sigaddset(&held, SIGHUP);
	sigprocmask(SIG_BLOCK, &held, before);
}

int main(int argc, char **argv)
{
	static struct hook_report report;
	struct hook_request request = { .pid = 0 };
	struct hook_arguments arguments = { .allowed = NULL };
	struct sigaction ignored = { .sa_handler = SIG_IGN }, pipe_before;
	sigset_t before;
	char *text = NULL;
	size_t len = 0;
	int code, is_read, is_cut;

	if (argc == 2 && strcmp(argv[1], "--version") == 0)
		return puts("netdevns-hook " HOOK_VERSION) < 0 ? HOOK_FAILED : HOOK_DONE;
	arguments.allowed = calloc((size_t)argc + 1, sizeof(char *));
	arguments.devices = calloc((size_t)argc + 1, sizeof(char *));
	/* To its end, before anything can fail: runtimes break when a hook leaves its stdin unread. */
	code = hook_read(0, &text, &len);
	is_read = !code;
	is_cut = code == -EFBIG;
	hold_signals(&before);
	sigaction(SIGPIPE, &ignored, &pipe_before);	/* a stderr without a reader */
	sigaction(SIGXFSZ, &ignored, NULL);	/* a write beyond RLIMIT_FSIZE is EFBIG; Python ignores it, too */
	code = HOOK_HAND_OVER;
	if (!is_read || !arguments.allowed || !arguments.devices)
		hook_say(&report, "state on stdin: cannot be read");
	else if (hook_arguments_read(&arguments, argc, argv))
		hook_say(&report, "write: netdevns-hook createRuntime [--allow GLOB ...] [DEV=NAME ...], or netdevns-hook poststop");
	else if (!hook_state_read(&request, text, len, &report)) {
		hook_report_container(&report, request.id);
		if (!arguments.is_poststop)
			code = create_runtime(&request, &arguments, &report);
		else if (!hook_has_to_return(&request))
			code = HOOK_DONE;
		else
			hook_say(&report, "the container's devices are not restored: run `netdevns return %s`", request.id);
	}
	if (code == HOOK_HAND_OVER && hook_interrupted()) {	/* it would end the other hook before its report */
		report.count = 0;
		hook_say(&report, "interrupted (%s); " HOOK_NOTHING, hook_interrupted());
		code = HOOK_FAILED;
	}
	if (code == HOOK_HAND_OVER) {
		sigaction(SIGPIPE, &pipe_before, NULL);
		sigprocmask(SIG_SETMASK, &before, NULL);
		hook_hand_over(argc, argv, is_read || is_cut ? text : NULL, len, &report);
		hold_signals(&before);
		sigaction(SIGPIPE, &ignored, NULL);
		hook_say(&report, HOOK_NOTHING);
		code = HOOK_REFUSED;
	}
	hook_report_send(&report, code);
	if (!request.state.text)	/* otherwise the request owns it */
		free(text);
	hook_request_free(&request);
	hook_arguments_free(&arguments);
	return code;
}
