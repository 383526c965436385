/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * What is where in the file tree changes. Names are the caller's words; attempts that failed are told with their error.
 *
 * numbers: call (its number), flags, result; texts: source, target, type of file system
 */
#include "fact.h"

#define NR_PIVOT_ROOT 155
#define NR_MOUNT 165
#define NR_UMOUNT 166
#define NR_MOVE_MOUNT 429

INLINE void fill_mount(struct fact_body *body, s32 slot, const struct pt_regs *regs)
{
	body->number[1] = regs->r10;
	body->text_len[0] = append_user_text(slot, regs->di);
	body->text_len[1] = append_user_text(slot, regs->si);
	body->text_len[2] = append_user_text(slot, regs->dx);
}

/* At the return of mount, umount2, pivot_root, move_mount */
AT_RETURN(on_mount)
{
	s32 slot = begin_fact(KIND_MOUNT);
	struct fact_body *body = fact_of(slot);
	u64 call = regs->orig_ax;

	if (slot == NO_SLOT || !body)
		return 0;
	body->number[0] = call;
	body->number[2] = result;
	if (call == NR_MOUNT) {
		fill_mount(body, slot, regs);
	} else if (call == NR_UMOUNT) {
		body->number[1] = regs->si;
		body->text_len[1] = append_user_text(slot, regs->di);
	} else if (call == NR_PIVOT_ROOT) {
		body->text_len[0] = append_user_text(slot, regs->di);
		body->text_len[1] = append_user_text(slot, regs->si);
	} else if (call == NR_MOVE_MOUNT) {
		body->number[1] = regs->r8;
		body->text_len[0] = append_user_text(slot, regs->si);
		body->text_len[1] = append_user_text(slot, regs->r10);
	}
	return finish_record(slot, RING_PROCESS);
}
