/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* The two dispatchers of syscall.h. */
#include "syscall.h"

/* match-proto: sys_enter(struct pt_regs *regs, long id) */
SEC("tp_btf/sys_enter")
int on_sys_enter(u64 *ctx)
{
	bpf_tail_call(ctx, &at_entry, ctx[1]);
	return 0;
}

/* match-proto: sys_exit(struct pt_regs *regs, long ret) */
SEC("tp_btf/sys_exit")
int on_sys_exit(u64 *ctx)
{
	struct pt_regs *regs = (void *)ctx[0];

	bpf_tail_call(ctx, &at_return, regs->orig_ax);
	return 0;
}
