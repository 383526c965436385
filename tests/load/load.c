/*
 * Loads for the benchmarks of the sensor, and what each cost.
 *
 *   load exec COUNT SECONDS WORKERS TINY PREFIX   TINY is spawned COUNT times, or for SECONDS if COUNT is 0;
 *                                                 its argument is --mark=PREFIX-WORKER-NUMBER
 *   load files CYCLES WORKERS DIR PREFIX          create, write, rename, delete; the name begins with
 *                                                 PREFIX-PID-NUMBER, PID being the worker's
 *   load private-files ... (as files)             the same on a tmpfs that only this process sees at DIR
 *   load reuse COUNT WORKERS TINY PREFIX          families of a parent and three children whose process ids
 *                                                 are used again and again, see reuse()
 *   load command COUNT PROGRAM ARGUMENT...        PROGRAM is run COUNT times
 *
 * What stays true: it prints one line of JSON when it is done, with the CPU time of itself and of every
 * process below it, so that work the kernel does inside their system calls is in it. It exits with 1 if
 * anything failed, and stops by itself.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* The process ids that reuse() goes round in: about as few as a PID namespace can have (301). */
#define POOL 300
#define CHILDREN 3
/* Where reuse()'s parents find the common counter. */
#define COUNTER_FD 100

static char *const empty_environment[] = { "PATH=/usr/bin:/bin", NULL };

/* Done and failed, by all workers; shared memory. */
struct tally {
	unsigned long done, failed, next;
};

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec + now.tv_nsec / 1e9;
}

static long micros(struct timeval time)
{
	return time.tv_sec * 1000000L + time.tv_usec;
}

static int ended_well(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return 0;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static int run(const char *program, char *const argv[], char *const environment[])
{
	pid_t pid;

	return posix_spawn(&pid, program, NULL, NULL, argv, environment) == 0 && ended_well(pid);
}

static void count(struct tally *tally, int good)
{
	__atomic_fetch_add(good ? &tally->done : &tally->failed, 1, __ATOMIC_RELAXED);
}

/* Forks the workers, each doing `work`, and waits for them. */
static void with_workers(struct tally *tally, int workers, void (*work)(struct tally *, int, char **), char **arguments)
{
	for (int worker = 0; worker < workers; worker++) {
		pid_t pid = fork();

		if (pid == 0) {
			work(tally, worker, arguments);
			_exit(0);
		}
		if (pid < 0)
			count(tally, 0);
	}
	while (wait(NULL) > 0 || errno == EINTR)
		;
}

/* COUNT SECONDS WORKERS TINY PREFIX */
static void exec_worker(struct tally *tally, int worker, char **arguments)
{
	long all = atol(arguments[0]), workers = atol(arguments[2]);
	double end = seconds() + atof(arguments[1]);
	char mark[128], *argv[] = { arguments[3], mark, NULL };

	for (long number = 0; all ? worker + number * workers < all : seconds() < end; number++) {
		snprintf(mark, sizeof(mark), "--mark=%s-%d-%ld", arguments[4], worker, number);
		count(tally, run(arguments[3], argv, empty_environment));
	}
}

static int cycle(const char *folder, const char *prefix, long number)
{
	char made[4096], renamed[4096], text[32];
	int length, fd, good;

	snprintf(made, sizeof(made), "%s/%s-%d-%ld.new", folder, prefix, getpid(), number);
	snprintf(renamed, sizeof(renamed), "%s/%s-%d-%ld.dat", folder, prefix, getpid(), number);
	length = snprintf(text, sizeof(text), "line %ld\n", number);
	fd = open(made, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
	if (fd < 0)
		return 0;
	good = write(fd, text, length) == length;
	return (close(fd) == 0) & (rename(made, renamed) == 0) & (unlink(renamed) == 0) & good;
}

/* CYCLES WORKERS DIR PREFIX */
static void file_worker(struct tally *tally, int worker, char **arguments)
{
	long all = atol(arguments[0]), workers = atol(arguments[1]);

	for (long number = worker; number < all; number += workers)
		count(tally, cycle(arguments[2], arguments[3], number));
}

static int hide_tmpfs_at(const char *folder)
{
	return unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
	       mount("none", folder, "tmpfs", 0, NULL) == 0;
}

static long pid_limit(void)
{
	FILE *file = fopen("/proc/sys/kernel/pid_max", "r");
	long limit = 0;

	if (file && fscanf(file, "%ld", &limit) != 1)
		limit = 0;
	if (file)
		fclose(file);
	return limit;
}

/* A fork whose child has the next free process id of the pool. */
static pid_t fork_into_pool(struct tally *tally, long first)
{
	for (int attempt = 0; attempt < 10 * POOL; attempt++) {
		pid_t wanted = first + __atomic_fetch_add(&tally->next, 1, __ATOMIC_RELAXED) % POOL;
		struct clone_args args = {
			.exit_signal = SIGCHLD,
			.set_tid = (unsigned long)&wanted,
			.set_tid_size = 1,
		};
		pid_t pid = syscall(SYS_clone3, &args, sizeof(args));

		if (pid >= 0 || errno != EEXIST)
			return pid;
	}
	return -1;
}

/*
 * One family. The parent has run itself anew as "load family", with its serial number among its arguments,
 * and each child runs TINY with --child=PREFIX-SERIAL-CHILD: every one of them says whose child it is, in
 * words that no process id can blur.
 */
static int family(char **arguments)
{
	const char *tiny = arguments[0], *prefix = arguments[1], *serial = arguments[2];
	long first = atol(arguments[3]);
	struct tally *tally = mmap(NULL, sizeof(*tally), PROT_READ | PROT_WRITE, MAP_SHARED, COUNTER_FD, 0);
	int good = tally != MAP_FAILED;
	char mark[128], *argv[] = { (char *)tiny, mark, NULL };

	for (int child = 0; good && child < CHILDREN; child++) {
		pid_t pid = fork_into_pool(tally, first);

		if (pid == 0) {
			snprintf(mark, sizeof(mark), "--child=%s-%s-%d", prefix, serial, child);
			execve(tiny, argv, empty_environment);
			_exit(1);
		}
		good = pid > 0 && ended_well(pid);
	}
	return good ? 0 : 1;
}

/* COUNT WORKERS TINY PREFIX; COUNT is that of processes, a family being four. */
static void reuse_worker(struct tally *tally, int worker, char **arguments)
{
	long families = atol(arguments[0]) / (1 + CHILDREN), workers = atol(arguments[1]);
	char serial[32], first[32], mark[128];
	char *argv[] = { "load", "family", arguments[2], arguments[3], serial, first, mark, NULL };

	snprintf(first, sizeof(first), "%ld", pid_limit() - POOL - 1);
	for (long number = worker; number < families; number += workers) {
		pid_t pid;

		snprintf(serial, sizeof(serial), "%ld", number);
		snprintf(mark, sizeof(mark), "--parent=%s-%ld", arguments[3], number);
		pid = fork_into_pool(tally, atol(first));
		if (pid == 0) {
			execve("/proc/self/exe", argv, empty_environment);
			_exit(1);
		}
		count(tally, pid > 0 && ended_well(pid));
	}
}

static void command(struct tally *tally, char **arguments)
{
	for (long number = atol(arguments[0]); number > 0; number--)
		count(tally, run(arguments[1], arguments + 1, environ));
}

static int report(const struct tally *tally, double began)
{
	struct rusage own, below;

	getrusage(RUSAGE_SELF, &own);
	getrusage(RUSAGE_CHILDREN, &below);
	printf("{\"done\":%lu,\"failed\":%lu,\"wall_us\":%ld,\"user_us\":%ld,\"system_us\":%ld}\n", tally->done,
	       tally->failed, (long)((seconds() - began) * 1e6), micros(own.ru_utime) + micros(below.ru_utime),
	       micros(own.ru_stime) + micros(below.ru_stime));
	return tally->failed ? 1 : 0;
}

/* Shared by the workers, and by what they execute. */
static struct tally *new_tally(void)
{
	int fd = memfd_create("load", 0);

	if (fd < 0 || ftruncate(fd, sizeof(struct tally)) || dup2(fd, COUNTER_FD) < 0)
		return MAP_FAILED;
	return mmap(NULL, sizeof(struct tally), PROT_READ | PROT_WRITE, MAP_SHARED, COUNTER_FD, 0);
}

static int is(char **argv, int argc, const char *word, int least)
{
	return strcmp(argv[1], word) == 0 && argc >= 2 + least;
}

int main(int argc, char **argv)
{
	double began = seconds();
	struct tally *tally;

	if (argc < 2)
		return 2;
	if (is(argv, argc, "family", 4))
		return family(argv + 2);
	tally = new_tally();
	if (tally == MAP_FAILED)
		return 1;
	if (is(argv, argc, "private-files", 4) && !hide_tmpfs_at(argv[4]))
		return 1;
	if (is(argv, argc, "exec", 5))
		with_workers(tally, atoi(argv[4]), exec_worker, argv + 2);
	else if (is(argv, argc, "files", 4) || is(argv, argc, "private-files", 4))
		with_workers(tally, atoi(argv[3]), file_worker, argv + 2);
	else if (is(argv, argc, "reuse", 4))
		with_workers(tally, atoi(argv[3]), reuse_worker, argv + 2);
	else if (is(argv, argc, "command", 2))
		command(tally, argv + 2);
	else
		return 2;
	return report(tally, began);
}
