/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Files are opened, created, and closed after writing, by system calls. What the calls pass by is in beyond.c.
 *
 * - What was opened is read from the descriptor that the call returned: the kernel's file, not the caller's words.
 * - Not seen here: writes through a mapping after the close, closes by exec.
 */
#include "open.h"

#define FD_WORDS 16 /* descriptors up to 1,023 are looked at when a process ends */
#define BITS_PER_WORD 64
#define FD_BATCH 8 /* descriptors that are read at once then; a table has a multiple of 64 */
#define CLOSE_RANGE_CLOEXEC 4

/* At the return of open, openat, openat2, creat, open_by_handle_at */
AT_RETURN(on_open)
{
	return result < 0 ? 0 : file_opened(file_of(result));
}

/* A descriptor of the current task is about to be closed. */
INLINE int descriptor_closes(u32 descriptor)
{
	return file_closes((u64)file_of(descriptor));
}

/* At the entry of close */
AT_ENTRY(on_close)
{
	descriptor_closes(regs->di);
	return 0;
}

/* At the entry of dup2, dup3: the target is closed first */
AT_ENTRY(on_dup)
{
	if (regs->di != regs->si && file_of(regs->di))
		descriptor_closes(regs->si);
	return 0;
}

/* Closes what is open among the descriptors of one word of the table's bit map, from `first` to `last`. */
VERIFIED_ALONE int word_closes(u32 word, u32 first, u32 last)
{
	struct fdtable *table = fdtable_of_current();
	u32 descriptor = word * BITS_PER_WORD;
	u64 open = 0;

	bpf_probe_read_kernel(&open, sizeof(open), (void *)FIELD(table, open_fds) + word * sizeof(open));
	for (int bit = 0; bit < BITS_PER_WORD && open; bit++) {
		if ((open & 1) && descriptor >= first && descriptor <= last)
			descriptor_closes(descriptor);
		open >>= 1;
		descriptor++;
	}
	return 0;
}

INLINE void range_closes(u32 first, u32 last)
{
	struct fdtable *table = fdtable_of_current();
	u32 limit = FIELD(table, max_fds);

	for (u32 word = 0; word < FD_WORDS; word++) {
		if (word * BITS_PER_WORD >= limit)
			break;
		word_closes(word, first, last);
	}
}

/* At the entry of close_range */
AT_ENTRY(on_close_range)
{
	if (!(regs->dx & CLOSE_RANGE_CLOEXEC))
		range_closes(regs->di, regs->si);
	return 0;
}

/* Closes what the descriptors from `first` on lead to. One file under several numbers, as a terminal is, is looked at once. */
VERIFIED_ALONE int batch_closes(u32 first)
{
	struct fdtable *table = fdtable_of_current();
	u64 files[FD_BATCH] = {}, before = 0;

	bpf_probe_read_kernel(files, sizeof(files), (void *)FIELD(table, fd) + first * sizeof(files[0]));
	for (int i = 0; i < FD_BATCH; i++) {
		if (files[i] && files[i] != before)
			file_closes(files[i]);
		before = files[i];
	}
	return 0;
}

/* Closes whatever is open among the descriptors of one word of the table's bit map. */
INLINE void whole_word_closes(struct fdtable *table, u32 word)
{
	u64 open = 0;

	bpf_probe_read_kernel(&open, sizeof(open), (void *)FIELD(table, open_fds) + word * sizeof(open));
	for (u32 first = 0; first < BITS_PER_WORD && open; first += FD_BATCH) {
		if (open & ((1 << FD_BATCH) - 1))
			batch_closes(word * BITS_PER_WORD + first);
		open >>= FD_BATCH;
	}
}

/* The kernel closes what a process leaves open, after this. match-proto: sched_process_exit(struct task_struct *task) */
SEC("tp_btf/sched_process_exit")
int on_exit_files(u64 *ctx)
{
	struct task_struct *task = (void *)ctx[0];
	struct fdtable *table;
	u32 limit;

	if (task->signal->live.counter > 0 || !task->files)
		return 0;
	table = fdtable_of_current();
	limit = FIELD(table, max_fds);
	for (u32 word = 0; word < FD_WORDS && word * BITS_PER_WORD < limit; word++)
		whole_word_closes(table, word);
	return 0;
}
