/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * System calls: one program at entry and one at return, each of which jumps to the program for that call, if there is one.
 *
 * User space fills the jump tables with the numbers of its architecture. A call that nobody asked for costs a table lookup.
 * Numbers of 32-bit calls on a 64-bit kernel mean other calls; they are passed over.
 */
#pragma once

#include "bpf.h"

#define SYSCALLS 512
#define TS_COMPAT 2

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

INLINE bool is_compat(void)
{
	return FIELD(current_task(), thread_info.status) & TS_COMPAT;
}
