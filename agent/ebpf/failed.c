/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * A process tried to run a program and could not. Path and arguments are the caller's words.
 *
 * numbers: result, argc, whether arguments are missing; texts: path, arguments with their NULs
 */
#include "fact.h"

#define ARGUMENTS_MAX 64
#define ARGUMENT_MAX 256
/* Of append_argument: nothing more in the list, and what cannot be read or does not fit. */
#define LIST_ENDS 0
#define UNREADABLE -1

/* Appends one argument with its NUL. Gives how many bytes that are, LIST_ENDS or UNREADABLE.
   Before 5.19 the kernel copies no NUL for an empty text. */
VERIFIED_ALONE int append_argument(s32 slot, u64 list, u32 index)
{
	struct scratch *scratch = scratch_at(slot);
	u64 argument = 0;
	long length;
	u32 at;

	if (!scratch || bpf_probe_read_user(&argument, sizeof(argument), (void *)(list + index * sizeof(argument))))
		return UNREADABLE;
	if (!argument)
		return LIST_ENDS;
	at = scratch->length;
	if (at > TEXT_END - TEXT_MAX)
		return UNREADABLE;
	length = bpf_probe_read_user_str(&scratch->record[at], ARGUMENT_MAX, (void *)argument);
	if (length < 0)
		return UNREADABLE;
	if (!length) {
		scratch->record[at] = 0;
		length = 1;
	}
	scratch->length += length;
	return length;
}

VERIFIED_ALONE int append_arguments(s32 slot, u64 list)
{
	struct fact_body *body = fact_of(slot);
	u32 total = 0;

	if (!body || !list)
		return 0;
	for (u32 index = 0; index < ARGUMENTS_MAX; index++) {
		s32 length = append_argument(slot, list, index);

		if (length == LIST_ENDS)
			return total;
		if (length < 0)
			break;
		total += length;
		body->number[1]++;
		if (length == ARGUMENT_MAX)
			body->number[2] = 1;
	}
	body->number[2] = 1;
	return total;
}

INLINE int tell_failed(s64 result, s32 folder, u64 path, u64 arguments)
{
	s32 slot = begin_fact(KIND_EXEC_FAILED);
	struct fact_body *body = fact_of(slot);

	if (slot == NO_SLOT || !body)
		return 0;
	body->number[0] = result;
	body->text_len[0] = append_user_text(slot, path);
	if (!body->text_len[0] && folder >= 0)
		body->text_len[0] = append_path_of(slot, folder);
	body->text_len[1] = append_arguments(slot, arguments);
	return finish_record(slot, RING_PROCESS);
}

/* At the return of execve */
AT_RETURN(on_execve)
{
	if (result < 0)
		tell_failed(result, -1, regs->di, regs->si);
	return 0;
}

/* At the return of execveat */
AT_RETURN(on_execveat)
{
	if (result < 0)
		tell_failed(result, regs->di, regs->si, regs->dx);
	return 0;
}
