/* How a contestant in C talks to the round that measures it (worker.py says the same in Python). */
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

/* Says that the set-up is done, and waits for the line that starts the job; 0 if nobody wants it any more. */
static inline int told_to_start(void)
{
	char line[64];

	puts("ready");
	fflush(stdout);
	return fgets(line, sizeof line, stdin) != NULL;
}

/* Stays until the other side closes its end: how long an exit takes is nobody's business. */
static inline void wait_for_end(void)
{
	while (getchar() != EOF)
		;
}

#endif
