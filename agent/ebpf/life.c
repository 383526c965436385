/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * A process begins, and a process ends.
 *
 * - Only processes: a new thread is not an event, and the end of a process is that of its last thread.
 * - The end is seen whatever caused it: a return from main, a signal, an out-of-memory kill.
 */
#include "process.h"

#define EEXIST 17
#define SIGNAL_GROUP_EXIT 4 /* signal_struct.flags: group_exit_code holds the status */

struct process_key {
	u64 start_ns;
	u32 tgid;
	u32 reserved;
};

/* Ends already told, for kernels that do not say which thread was the last. */
struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_LRU_HASH);
	MAP_NUMBER(max_entries, 8192);
	MAP_TYPE(key, struct process_key);
	MAP_TYPE(value, u8);
} told_ends SEC(".maps");

/* match-proto: sched_process_fork(struct task_struct *parent, struct task_struct *child) */
SEC("tp_btf/sched_process_fork")
int on_fork(u64 *ctx)
{
	struct task_struct *child = (void *)ctx[1];
	struct scratch *scratch;
	struct fork_body *body;
	s32 slot;

	if (child->pid != child->tgid)
		return 0;
	COUNT(KIND_FORK, generated);
	slot = begin_record(KIND_FORK, sizeof(struct fork_body));
	scratch = scratch_at(slot);
	if (slot == NO_SLOT || !scratch)
		return 0;
	body = body_of(scratch);
	body->child_start_ns = child->start_boottime;
	body->child_tgid = child->tgid;
	body->child_ppid = child->real_parent->tgid;
	finish_record(slot, RING_PROCESS);
	return 0;
}

/* Two last threads that end at once both find nobody alive. The first of them to get here tells it. */
INLINE bool told_before(struct task_struct *task)
{
	struct process_key key = { .start_ns = task->group_leader->start_boottime, .tgid = task->tgid };
	u8 told = 1;

	/* Any other failure must not hide an end: better twice than never. */
	return bpf_map_update_elem(&told_ends, &key, &told, BPF_NOEXIST) == -EEXIST;
}

/*
 * Whether no other thread can be ending at the same time: there is none, and none was ever collected. What a thread used is added
 * here when it is; where the clock is as coarse as a tick its time may be none, but not its faults and switches as well.
 */
INLINE bool was_always_alone(struct task_struct *task)
{
	struct signal_struct *group = task->signal;

	return group->nr_threads == 1 && !group->sum_sched_runtime && !group->nvcsw && !group->nivcsw && !group->min_flt;
}

INLINE u32 wait_status(struct task_struct *task)
{
	if (task->signal->flags & SIGNAL_GROUP_EXIT)
		return task->signal->group_exit_code;
	return task->group_leader->exit_code;
}

/* match-proto: sched_process_exit(struct task_struct *task[, bool group_dead]) */
SEC("tp_btf/sched_process_exit")
int on_exit(u64 *ctx)
{
	struct task_struct *task = (void *)ctx[0];
	struct scratch *scratch;
	struct exit_body *body;
	s32 slot;

	if (task->signal->live.counter > 0 || (!was_always_alone(task) && told_before(task)))
		return 0;
	COUNT(KIND_EXIT, generated);
	slot = begin_record(KIND_EXIT, sizeof(struct exit_body));
	scratch = scratch_at(slot);
	if (slot == NO_SLOT || !scratch)
		return 0;
	body = body_of(scratch);
	body->status = wait_status(task);
	body->reserved = 0;
	finish_record(slot, RING_PROCESS);
	return 0;
}
