/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * System calls, in one of two ways that user space chooses when it loads the programs:
 *
 * - `NAME_call` sits on the tracepoint of one call (events/syscalls/sys_enter_X, sys_exit_X). The kernel looks a call's number up in
 *   a bit map and runs nothing for the others: this is the cheap way.
 * - `NAME` is jumped to by one program that runs at the entry, or the return, of every call. This needs no tracefs and no
 *   CONFIG_FTRACE_SYSCALLS, and costs every call twice as much.
 *
 * Both run the same body. Calls of 32-bit programs on a 64-bit
 * kernel have other numbers; they are passed over.
 */
#pragma once

#include "emit.h"

#define SYSCALLS 512
#define TS_COMPAT 2
#define MAYBE __attribute__((unused))

struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_PROG_ARRAY);
	MAP_NUMBER(max_entries, SYSCALLS);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, u32);
} at_entry SEC(".maps");

struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_PROG_ARRAY);
	MAP_NUMBER(max_entries, SYSCALLS);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, u32);
} at_return SEC(".maps");

/* What a program on the tracepoint of a returning call is given. */
struct call_returned {
	u64 reserved;
	s64 number;
	s64 result;
};

INLINE bool is_compat(void)
{
	return FIELD(current_task(), thread_info.status) & TS_COMPAT;
}

/* Defines both forms of the program that looks at a call when it is entered. */
#define AT_ENTRY(name)                                                                                                     \
	INLINE int name##_body(const struct pt_regs *regs);                                                                \
	SEC("tp_btf/sys_enter") int name(u64 *ctx)                                                                         \
	{                                                                                                                  \
		return is_compat() ? 0 : name##_body((void *)ctx[0]);                                                      \
	}                                                                                                                  \
	SEC("tracepoint") int name##_call(void *ctx)                                                                       \
	{                                                                                                                  \
		(void)ctx;                                                                                                 \
		if (is_stopped())                                                                                          \
			return 0;                                                                                          \
		name##_body(bpf_task_pt_regs(bpf_get_current_task_btf()));                                                 \
		return 0;                                                                                                  \
	}                                                                                                                  \
	INLINE int name##_body(MAYBE const struct pt_regs *regs)

/* The same for a call that returns, with what it gives back. */
#define AT_RETURN(name)                                                                                                    \
	INLINE int name##_body(MAYBE const struct pt_regs *regs, s64 result);                                                    \
	SEC("tp_btf/sys_exit") int name(u64 *ctx)                                                                          \
	{                                                                                                                  \
		return is_compat() ? 0 : name##_body((void *)ctx[0], ctx[1]);                                              \
	}                                                                                                                  \
	SEC("tracepoint") int name##_call(struct call_returned *ctx)                                                       \
	{                                                                                                                  \
		if (is_stopped())                                                                                          \
			return 0;                                                                                          \
		name##_body(bpf_task_pt_regs(bpf_get_current_task_btf()), ctx->result);                                    \
		return 0;                                                                                                  \
	}                                                                                                                  \
	INLINE int name##_body(MAYBE const struct pt_regs *regs, s64 result)
