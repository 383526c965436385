/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Names are taken away and changed: unlink and rename that succeeded.
 *
 * The kernel's own view of the name is gone when the call returns, so the record has what the caller wrote, made absolute
 * (FLAG_NAME_GIVEN): symbolic links in it are not resolved, and another thread may have rewritten it meanwhile.
 */
#include "file.h"

INLINE int tell_deleted(s32 descriptor, u64 name)
{
	struct scratch *scratch;
	struct file_body *body;
	u32 start, length;
	s32 slot;

	COUNT(KIND_FILE_DELETE, generated);
	slot = begin_record(KIND_FILE_DELETE, sizeof(struct file_body));
	scratch = scratch_at(slot);
	if (slot == NO_SLOT || !scratch)
		return 0;
	start = scratch->length;
	scratch->from = name;
	length = append_given(slot, descriptor);
	if (!length) {
		COUNT(KIND_FILE_DELETE, lost_scratch);
		return drop_record(slot);
	}
	if (is_own() || !given_is_watched(slot, start, length)) {
		COUNT(KIND_FILE_DELETE, filtered);
		return drop_record(slot);
	}
	body = body_of(scratch);
	fill_name_only(body);
	body->path_len = length;
	finish_record(slot, RING_OTHER);
	return 0;
}

/* At the return of unlink */
AT_RETURN(on_unlink)
{
	if (result)
		return 0;
	return tell_deleted(AT_FDCWD, regs->di);
}

/* At the return of unlinkat */
AT_RETURN(on_unlinkat)
{
	if (result || (regs->dx & AT_REMOVEDIR))
		return 0;
	return tell_deleted(regs->di, regs->si);
}

/* Both names are in the record, or the event counts as lost. */
INLINE int tell_renamed(s32 from_folder, u64 from, s32 to_folder, u64 to)
{
	struct scratch *scratch;
	struct file_body *body;
	u32 start, middle, length, new_length;
	s32 slot;

	COUNT(KIND_FILE_RENAME, generated);
	slot = begin_record(KIND_FILE_RENAME, sizeof(struct file_body));
	scratch = scratch_at(slot);
	if (slot == NO_SLOT || !scratch)
		return 0;
	start = scratch->length;
	scratch->from = from;
	length = append_given(slot, from_folder);
	middle = scratch->length;
	scratch->from = to;
	new_length = append_given(slot, to_folder);
	if (!length || !new_length) {
		COUNT(KIND_FILE_RENAME, lost_scratch);
		return drop_record(slot);
	}
	if (is_own() || !(given_is_watched(slot, start, length) || given_is_watched(slot, middle, new_length))) {
		COUNT(KIND_FILE_RENAME, filtered);
		return drop_record(slot);
	}
	body = body_of(scratch);
	fill_name_only(body);
	body->path_len = length;
	body->new_path_len = new_length;
	finish_record(slot, RING_OTHER);
	return 0;
}

/* At the return of rename */
AT_RETURN(on_rename)
{
	if (result)
		return 0;
	return tell_renamed(AT_FDCWD, regs->di, AT_FDCWD, regs->si);
}

/* At the return of renameat, renameat2 */
AT_RETURN(on_renameat)
{
	if (result)
		return 0;
	return tell_renamed(regs->di, regs->si, regs->dx, regs->r10);
}
