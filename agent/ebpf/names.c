/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Names are made, taken away and changed: what is no opening of a file, and succeeded.
 *
 * The kernel's own view of the name is gone when the call returns, so the record has what the caller wrote, made absolute
 * (FLAG_NAME_GIVEN): symbolic links in it are not resolved, and another thread may have rewritten it meanwhile.
 */
#include "fact.h"
#include "file.h"

#define NR_LINK 86
#define NR_SYMLINK 88
#define NR_LINKAT 265
#define NR_MKDIR 83
#define NR_MKNOD 133
#define NR_MKDIRAT 258
#define S_IFDIR 0040000

INLINE int tell_deleted(s32 folder, u64 name)
{
	s32 slot = begin_named(KIND_FILE_DELETE, folder, name);

	return slot == NO_SLOT ? 0 : finish_record(slot, RING_OTHER);
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
	if (result)
		return 0;
	return tell_deleted(regs->di, regs->si);
}

/* At the return of rmdir */
AT_RETURN(on_rmdir)
{
	if (result)
		return 0;
	return tell_deleted(AT_FDCWD, regs->di);
}

/* A folder, a device, a pipe or a socket: files are made by opening them. */
INLINE int tell_made(s32 folder, u64 name, u32 mode)
{
	s32 slot = begin_named(KIND_FILE_CREATE, folder, name);
	struct file_body *body = file_body_of(slot);

	if (slot == NO_SLOT || !body)
		return 0;
	body->mode = mode;
	return finish_record(slot, RING_OTHER);
}

/* At the return of mkdir, mkdirat, mknod, mknodat */
AT_RETURN(on_make)
{
	u64 call = regs->orig_ax;

	if (result)
		return 0;
	if (call == NR_MKDIR || call == NR_MKNOD)
		return tell_made(AT_FDCWD, regs->di, regs->si | (call == NR_MKDIR ? S_IFDIR : 0));
	return tell_made(regs->di, regs->si, regs->dx | (call == NR_MKDIRAT ? S_IFDIR : 0));
}

/* Both names are in the record, or the event counts as lost. What a symbolic link says is not a name of ours: it stays as it is. */
INLINE int tell_two_names(u32 kind, u32 change, s32 from_folder, u64 from, s32 to_folder, u64 to)
{
	struct scratch *scratch;
	struct file_body *body;
	u32 start, middle, length, new_length;
	s32 slot;

	COUNT(kind, generated);
	slot = begin_record(kind, sizeof(struct file_body));
	scratch = scratch_at(slot);
	if (slot == NO_SLOT || !scratch)
		return 0;
	start = scratch->length;
	scratch->from = from;
	length = change == CHANGE_SYMBOLIC ? append_user_text(slot, from) : append_given(slot, from_folder);
	middle = scratch->length;
	scratch->from = to;
	new_length = append_given(slot, to_folder);
	if (!length || !new_length) {
		COUNT(kind, lost_scratch);
		return drop_record(slot);
	}
	if (is_own() || !(given_is_watched(slot, start, length) || given_is_watched(slot, middle, new_length))) {
		COUNT(kind, filtered);
		return drop_record(slot);
	}
	body = body_of(scratch);
	fill_name_only(body);
	body->change = change;
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
	return tell_two_names(KIND_FILE_RENAME, CHANGE_NONE, AT_FDCWD, regs->di, AT_FDCWD, regs->si);
}

/* At the return of renameat, renameat2 */
AT_RETURN(on_renameat)
{
	if (result)
		return 0;
	return tell_two_names(KIND_FILE_RENAME, CHANGE_NONE, regs->di, regs->si, regs->dx, regs->r10);
}

/* At the return of link, linkat, symlink, symlinkat */
AT_RETURN(on_link)
{
	u64 call = regs->orig_ax;

	if (result)
		return 0;
	if (call == NR_LINK)
		return tell_two_names(KIND_FILE_LINK, CHANGE_HARD, AT_FDCWD, regs->di, AT_FDCWD, regs->si);
	if (call == NR_LINKAT)
		return tell_two_names(KIND_FILE_LINK, CHANGE_HARD, regs->di, regs->si, regs->dx, regs->r10);
	if (call == NR_SYMLINK)
		return tell_two_names(KIND_FILE_LINK, CHANGE_SYMBOLIC, AT_FDCWD, regs->di, AT_FDCWD, regs->si);
	return tell_two_names(KIND_FILE_LINK, CHANGE_SYMBOLIC, AT_FDCWD, regs->di, regs->si, regs->dx);
}
