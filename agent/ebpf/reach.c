/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * A process reaches for another: it traces it, reads or writes its memory, or sends it a signal that ends or stops it.
 *
 * ptrace  numbers: request (enum reach), target's pid, target's start or 0, result
 * signal  numbers: signal, target's pid, target's start, 0
 */
#include "fact.h"

#define NR_PTRACE 101
#define NR_PROCESS_VM_READV 310
#define PTRACE_TRACEME 0
#define PTRACE_ATTACH 16
#define PTRACE_SEIZE 0x4206
#define SIGKILL 9
#define SIGTERM 15
#define SIGSTOP 19
#define SI_USER 0
#define SI_QUEUE -1
#define SI_TKILL -6
#define SEND_SIG_PRIV 1 /* instead of an address: sent by the kernel */

enum reach { REACH_ATTACH, REACH_SEIZE, REACH_TRACEME, REACH_READ, REACH_WRITE };

/* The start of the process that was attached to last: it is the first in its tracer's list. */
INLINE u64 start_of_tracee(u32 pid)
{
	struct task_struct *task = current_task();
	struct list_head *first = LOAD(task, ptraced.next);
	struct task_struct *tracee = (void *)first - OFFSET(struct task_struct, ptrace_entry);

	if (LOAD(tracee, pid) != (s32)pid)
		return 0;
	return LOAD(LOAD(tracee, group_leader), start_boottime);
}

INLINE int tell_reach(u32 reach, u32 pid, u64 start, s64 result)
{
	s32 slot;
	struct fact_body *body;

	if (is_repeated(KIND_PTRACE, (pid << 3 | reach) & 0xffff))
		return 0;
	slot = begin_fact(KIND_PTRACE);
	body = fact_of(slot);
	if (slot == NO_SLOT || !body)
		return 0;
	body->number[0] = reach;
	body->number[1] = pid;
	body->number[2] = start;
	body->number[3] = result;
	return finish_record(slot, RING_PROCESS);
}

/* At the return of ptrace, process_vm_readv, process_vm_writev */
AT_RETURN(on_ptrace)
{
	u32 pid = regs->di;

	if (regs->orig_ax != NR_PTRACE) {
		if (pid == bpf_get_current_pid_tgid() >> 32)
			return 0;
		return tell_reach(regs->orig_ax == NR_PROCESS_VM_READV ? REACH_READ : REACH_WRITE, pid, 0, result < 0 ? result : 0);
	}
	pid = regs->si;
	switch (regs->di) {
	case PTRACE_ATTACH:
		return tell_reach(REACH_ATTACH, pid, result ? 0 : start_of_tracee(pid), result);
	case PTRACE_SEIZE:
		return tell_reach(REACH_SEIZE, pid, result ? 0 : start_of_tracee(pid), result);
	case PTRACE_TRACEME:
		return tell_reach(REACH_TRACEME, 0, 0, result);
	}
	return 0;
}

/* What the kernel itself sends, timers included, is no act of the current process. */
INLINE bool is_sent_by_current(struct kernel_siginfo *info)
{
	s32 code;

	if ((u64)info <= SEND_SIG_PRIV)
		return (u64)info != SEND_SIG_PRIV;
	code = LOAD(info, si_code);
	return code == SI_USER || code == SI_QUEUE || code == SI_TKILL;
}

/* match-proto: signal_generate(int sig, struct kernel_siginfo *info, struct task_struct *task, int group, int result) */
SEC("tp_btf/signal_generate")
int on_signal(u64 *ctx)
{
	struct kernel_siginfo *info = (void *)ctx[1];
	struct task_struct *target = (void *)ctx[2];
	u32 number = ctx[0];
	struct fact_body *body;
	s32 slot;

	if (number != SIGKILL && number != SIGTERM && number != SIGSTOP)
		return 0;
	if (!is_sent_by_current(info))
		return 0;
	if ((u32)target->tgid == bpf_get_current_pid_tgid() >> 32)
		return 0;
	slot = begin_fact(KIND_SIGNAL);
	body = fact_of(slot);
	if (slot == NO_SLOT || !body)
		return 0;
	body->number[0] = number;
	body->number[1] = target->tgid;
	body->number[2] = target->group_leader->start_boottime;
	return finish_record(slot, RING_PROCESS);
}
