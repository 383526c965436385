/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * The kernel is extended: modules, and BPF programs. Attempts that failed are told with their error.
 *
 * module  numbers: action (0 load, 1 unload), result; texts: name, path, parameters
 * bpf     numbers: command, type of program, instructions, type of attachment, result; texts: name
 */
#include "fact.h"

#define NR_INIT_MODULE 175
#define NR_DELETE_MODULE 176
#define BPF_PROG_LOAD 5
#define BPF_PROG_ATTACH 8
#define BPF_RAW_TRACEPOINT_OPEN 17
#define BPF_LINK_CREATE 28

/* The members of union bpf_attr (include/uapi/linux/bpf.h) that are read, by their offset. */
#define LOAD_INSTRUCTIONS 4
#define LOAD_NAME 48
#define LOAD_ATTACH_TYPE 68
#define RAW_TRACEPOINT_NAME 0
#define ATTACH_TYPE 8

/* At the return of init_module, finit_module, delete_module */
AT_RETURN(on_module)
{
	s32 slot = begin_fact(KIND_MODULE_LOAD);
	struct fact_body *body = fact_of(slot);

	if (slot == NO_SLOT || !body)
		return 0;
	body->number[1] = result;
	if (regs->orig_ax == NR_DELETE_MODULE) {
		body->number[0] = 1;
		body->text_len[0] = append_user_text(slot, regs->di);
	} else if (regs->orig_ax == NR_INIT_MODULE) {
		body->text_len[2] = append_user_text(slot, regs->dx);
	} else {
		body->text_len[1] = append_path_of(slot, regs->di);
		body->text_len[2] = append_user_text(slot, regs->si);
	}
	return finish_record(slot, RING_PROCESS);
}

INLINE u32 user_u32(u64 from)
{
	u32 value = 0;

	bpf_probe_read_user(&value, sizeof(value), (void *)from);
	return value;
}

INLINE u64 user_u64(u64 from)
{
	u64 value = 0;

	bpf_probe_read_user(&value, sizeof(value), (void *)from);
	return value;
}

/* At the return of bpf */
AT_RETURN(on_bpf)
{
	u32 command = regs->di;
	u64 attributes = regs->si;
	struct fact_body *body;
	s32 slot;

	if (command != BPF_PROG_LOAD && command != BPF_PROG_ATTACH && command != BPF_RAW_TRACEPOINT_OPEN && command != BPF_LINK_CREATE)
		return 0;
	slot = begin_fact(KIND_BPF_LOAD);
	body = fact_of(slot);
	if (slot == NO_SLOT || !body)
		return 0;
	body->number[0] = command;
	body->number[4] = result;
	if (command == BPF_PROG_LOAD) {
		body->number[1] = user_u32(attributes);
		body->number[2] = user_u32(attributes + LOAD_INSTRUCTIONS);
		body->number[3] = user_u32(attributes + LOAD_ATTACH_TYPE);
		body->text_len[0] = append_user_text(slot, attributes + LOAD_NAME);
	} else if (command == BPF_RAW_TRACEPOINT_OPEN) {
		body->text_len[0] = append_user_text(slot, user_u64(attributes + RAW_TRACEPOINT_NAME));
	} else {
		body->number[3] = user_u32(attributes + ATTACH_TYPE);
	}
	return finish_record(slot, RING_PROCESS);
}
