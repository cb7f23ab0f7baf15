/* How a contestant in C talks to the round that measures it (worker.py: the same in Python). */
#ifndef BENCH_PROTOCOL_H
#define BENCH_PROTOCOL_H

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

static inline double seconds(struct timeval t)
{
	return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

static inline double monotonic_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Reports that the set-up is done, and waits for the line that starts the job; 0: end of file instead. */
static inline int wait_for_start(void)
{
	char line[64];

	puts("ready");
	fflush(stdout);
	return fgets(line, sizeof line, stdin) != NULL;
}

/* Stays until the other side closes its end: the exit is not measured. */
static inline void wait_for_end(void)
{
	while (getchar() != EOF)
		;
}

/* Of this process alone: ru_maxrss has what its parent was before the exec. */
static inline long peak_kib(void)
{
	FILE *file = fopen("/proc/self/status", "re");
	char line[256];
	long kib = 0;

	while (file && fgets(line, sizeof line, file))
		if (sscanf(line, "VmHWM: %ld", &kib) == 1)
			break;
	if (file)
		fclose(file);
	return kib;
}

/* One job of a process that stays: waits for the start, times the job, prints the answer, waits for the end. */
static inline void measured(void (*job)(void *), void *argument)
{
	struct rusage before, after;
	double start, wall, user, system;

	if (!wait_for_start())
		return;
	getrusage(RUSAGE_SELF, &before);
	start = monotonic_s();
	job(argument);
	wall = monotonic_s() - start;
	getrusage(RUSAGE_SELF, &after);
	user = seconds(after.ru_utime) - seconds(before.ru_utime);
	system = seconds(after.ru_stime) - seconds(before.ru_stime);
	printf("{\"wall_s\": %.9f, \"cpu_s\": %.6f, \"user_s\": %.6f, \"system_s\": %.6f, \"max_rss_kib\": %ld}\n", wall,
	       user + system, user, system, peak_kib());
	fflush(stdout);
	wait_for_end();
}

#endif
