/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Memory becomes executable that is not simply a program's or a library's file mapped to be run.
 *
 * Told are mappings that are anonymous, writable at the same time, or of a file without a name, and every change of protection
 * to executable. A process that compiles at run time does this thousands of times: of each form its first is told, the others
 * count as aggregated.
 *
 * numbers: address, length, protection, call (0 mprotect, 1 mmap), backing (enum backing); texts: path
 */
#include "fact.h"
#include "inode.h"

#define NR_MMAP 9
#define PROT_WRITE 2
#define PROT_EXEC 4
#define MAP_ANONYMOUS 0x20
#define ERRORS_FROM -4095L

enum backing { BACKING_UNKNOWN, BACKING_ANONYMOUS, BACKING_NAMELESS, BACKING_FILE };

INLINE int tell_executable(u64 address, u64 length, u32 protection, bool is_mapping, u32 backing, s32 descriptor)
{
	struct fact_body *body;
	s32 slot;

	if (is_repeated(KIND_MEM_EXEC, is_mapping << 8 | backing << 4 | (protection & 7)))
		return 0;
	slot = begin_fact(KIND_MEM_EXEC);
	body = fact_of(slot);
	if (slot == NO_SLOT || !body)
		return 0;
	body->number[0] = address;
	body->number[1] = length;
	body->number[2] = protection;
	body->number[3] = is_mapping;
	body->number[4] = backing;
	if (descriptor >= 0)
		body->text_len[0] = append_path_of(slot, descriptor);
	return finish_record(slot, RING_PROCESS);
}

/* At the return of mprotect, pkey_mprotect */
AT_RETURN(on_mprotect)
{
	if (result || !(regs->dx & PROT_EXEC))
		return 0;
	return tell_executable(regs->di, regs->si, regs->dx, false, BACKING_UNKNOWN, -1);
}

/* At the return of mmap */
AT_RETURN(on_mmap)
{
	u32 protection = regs->dx;
	struct file *file;

	if (!(protection & PROT_EXEC) || (result < 0 && result >= ERRORS_FROM))
		return 0;
	if (regs->r10 & MAP_ANONYMOUS)
		return tell_executable(result, regs->si, protection, true, BACKING_ANONYMOUS, -1);
	file = file_of(regs->r8);
	if (file && LOAD(LOAD(file, f_inode), i_nlink) == 0)
		return tell_executable(result, regs->si, protection, true, BACKING_NAMELESS, regs->r8);
	if (protection & PROT_WRITE)
		return tell_executable(result, regs->si, protection, true, BACKING_FILE, regs->r8);
	return 0;
}
