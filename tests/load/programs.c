/*
 * What an agent's BPF programs take of the processors while a command runs.
 *
 *   programs AGENT-PID COMMAND ARGUMENT...
 *
 * After the command's own output it prints one line of JSON for each program that ran: name, runs, ns.
 *
 * What stays true: the kernel measures only as long as this process lives (BPF_ENABLE_STATS, a descriptor, no sysctl), and
 * only programs that the agent itself holds are told. It exits with 1 if anything failed.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOST 1024

struct program {
	unsigned id;
	char name[BPF_OBJ_NAME_LEN];
	unsigned long long runs, ns;
};

struct programs {
	struct program of[MOST];
	unsigned count;
};

static long bpf(int command, union bpf_attr *attributes)
{
	return syscall(SYS_bpf, command, attributes, sizeof(*attributes));
}

static int look(struct program *program)
{
	struct bpf_prog_info info = { 0 };
	union bpf_attr open = { .prog_id = program->id };
	union bpf_attr ask = { .info.info_len = sizeof(info), .info.info = (unsigned long)&info };
	int fd = bpf(BPF_PROG_GET_FD_BY_ID, &open), good;

	if (fd < 0)
		return 0;
	ask.info.bpf_fd = fd;
	good = bpf(BPF_OBJ_GET_INFO_BY_FD, &ask) == 0;
	close(fd);
	memcpy(program->name, info.name, sizeof(info.name));
	program->runs = info.run_cnt;
	program->ns = info.run_time_ns;
	return good;
}

static void note(struct programs *programs, unsigned id)
{
	for (unsigned index = 0; index < programs->count; index++)
		if (programs->of[index].id == id)
			return;
	if (programs->count < MOST)
		programs->of[programs->count++].id = id;
}

/* The ids of the programs that the process has descriptors of, directly or through links. */
static int find(struct programs *programs, const char *pid)
{
	char path[512], line[256];
	struct dirent *entry;
	DIR *folder;

	snprintf(path, sizeof(path), "/proc/%s/fdinfo", pid);
	folder = opendir(path);
	while (folder && (entry = readdir(folder))) {
		FILE *file;
		unsigned id;

		snprintf(path, sizeof(path), "/proc/%s/fdinfo/%s", pid, entry->d_name);
		file = fopen(path, "r");
		while (file && fgets(line, sizeof(line), file))
			if (sscanf(line, "prog_id: %u", &id) == 1)
				note(programs, id);
		if (file)
			fclose(file);
	}
	if (folder)
		closedir(folder);
	return programs->count > 0;
}

static int run(char **argv)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		execv(argv[0], argv);
		_exit(1);
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return 0;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

int main(int argc, char **argv)
{
	static struct programs programs;
	union bpf_attr stats = { .enable_stats.type = BPF_STATS_RUN_TIME };

	if (argc < 3)
		return 2;
	if (!find(&programs, argv[1]) || bpf(BPF_ENABLE_STATS, &stats) < 0)
		return 1;
	for (unsigned index = 0; index < programs.count; index++)
		if (!look(&programs.of[index]))
			return 1;
	if (!run(argv + 2))
		return 1;
	for (unsigned index = 0; index < programs.count; index++) {
		struct program before = programs.of[index], *now = &programs.of[index];

		if (!look(now))
			return 1;
		if (now->runs > before.runs)
			printf("{\"program\":\"%s\",\"runs\":%llu,\"ns\":%llu}\n", now->name, now->runs - before.runs,
			       now->ns - before.ns);
	}
	return 0;
}
