/*
 * A contestant that consists of whole processes: starts them, one after the other, and measures from fork to exit.
 * In C and small, so that neither the fork of a large process nor its memory counts (ru_maxrss survives an exec).
 *
 *     launch [-i FILE] COMMAND ... [--then [-i FILE] COMMAND ...]
 *
 * -i: the command's standard input, /dev/null otherwise. The command's own standard output goes nowhere.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "protocol.h"

static void child(const char *input, char **command)
{
	const int in = open(input, O_RDONLY), out = open("/dev/null", O_WRONLY);

	if (in >= 0 && out >= 0 && dup2(in, 0) == 0 && dup2(out, 1) == 1) {
		if (in > 2)
			close(in);
		if (out > 2)
			close(out);
		execvp(command[0], command);
	}
	fprintf(stderr, "launch: %s: %s\n", command[0], strerror(errno));
	_exit(127);
}

static int run(char **command, struct rusage *used)
{
	const char *input = "/dev/null";
	int status;
	pid_t pid;

	if (!strcmp(command[0], "-i")) {
		input = command[1];
		command += 2;
	}
	pid = fork();
	if (pid == 0)
		child(input, command);
	if (pid < 0 || wait4(pid, &status, 0, used) != pid)
		return 126;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int main(int argc, char **argv)
{
	double start, user = 0, system = 0;
	long peak_kib = 0;

	if (argc < 2 || !wait_for_start())
		return argc < 2 ? 2 : 0;
	start = monotonic_s();
	for (int at = 1, end; at < argc; at = end + 1) {
		struct rusage used;
		int code;

		for (end = at; end < argc && strcmp(argv[end], "--then"); end++)
			;
		argv[end] = NULL;
		code = run(argv + at, &used);
		if (code) {
			fprintf(stderr, "launch: %s: exit code %d\n", argv[at], code);
			return 1;
		}
		user += seconds(used.ru_utime);
		system += seconds(used.ru_stime);
		if (used.ru_maxrss > peak_kib)
			peak_kib = used.ru_maxrss;
	}
	printf("{\"wall_s\": %.9f, \"cpu_s\": %.6f, \"user_s\": %.6f, \"system_s\": %.6f, \"max_rss_kib\": %ld}\n",
	       monotonic_s() - start, user + system, user, system, peak_kib);
	fflush(stdout);
	wait_for_end();
	return 0;
}
