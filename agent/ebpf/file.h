/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * What all file events share: the body, and paths as a caller wrote them.
 */
#pragma once

#include "inode.h"
#include "path.h"
#include "syscall.h"

#define AT_FDCWD -100
#define AT_REMOVEDIR 0x200
#define FMODE_WRITE 2
#define FMODE_CREATED 0x100000
#define O_PATH 010000000

INLINE void fill_file(struct file_body *body, struct inode *inode, u32 open_flags)
{
	body->inode = LOAD(inode, i_ino);
	body->size = LOAD(inode, i_size);
	body->mtime_ns = modify_time(inode);
	body->ctime_ns = change_time(inode);
	body->dev = device_of(inode);
	body->mode = LOAD(inode, i_mode);
	body->links = LOAD(inode, i_nlink);
	body->open_flags = open_flags;
	body->change = CHANGE_NONE;
	body->owner_uid = 0;
	body->owner_gid = 0;
	body->new_path_len = 0;
	body->attribute_len = 0;
}

INLINE void fill_name_only(struct file_body *body)
{
	__builtin_memset(body, 0, sizeof(*body));
}

/* Puts the folder that a caller's name is relative to into `walk`. */
INLINE void walk_base(s32 slot, struct scratch *scratch, s32 descriptor, bool absolute)
{
	struct fs_struct *fs = FIELD(current_task(), fs);
	struct file *file;

	if (absolute) {
		scratch->walk_dentry = (u64)FIELD(fs, root.dentry);
		scratch->walk_mount = (u64)FIELD(fs, root.mnt);
	} else if (descriptor == AT_FDCWD) {
		scratch->walk_dentry = (u64)FIELD(fs, pwd.dentry);
		scratch->walk_mount = (u64)FIELD(fs, pwd.mnt);
	} else {
		file = file_of(descriptor);
		scratch->walk_dentry = (u64)LOAD(file, f_path.dentry);
		scratch->walk_mount = (u64)LOAD(file, f_path.mnt);
	}
	walk_path(slot);
}

/* Appends the caller's name at `from`, made absolute but not resolved. Gives its length, 0 if it could not be read. */
VERIFIED_ALONE int append_given(s32 slot, s32 descriptor)
{
	struct scratch *scratch = scratch_at(slot);
	u32 start, end;
	char first = 0;
	long length;

	if (!scratch)
		return 0;
	start = scratch->length;
	bpf_probe_read_user(&first, 1, (void *)scratch->from);
	walk_base(slot, scratch, descriptor, first == '/');
	if (scratch->walk_at != TEXT_MAX)
		append_walk(slot);
	end = scratch->length;
	if (end > TEXT_END - TEXT_MAX)
		return 0;
	if (first != '/') {
		scratch->record[end] = '/';
		end++;
	}
	length = bpf_probe_read_user_str(&scratch->record[end], TEXT_MAX - 1, (void *)scratch->from);
	if (length <= 1)
		return 0;
	raise_flag(scratch, FLAG_NAME_GIVEN);
	scratch->length = end + length - 1;
	return scratch->length - start;
}

/* Whether a written path has steps that must be taken before it can be compared: `//`, `/./`, `/../`. */
VERIFIED_ALONE int is_roundabout(s32 slot, u32 offset, u32 length)
{
	struct scratch *scratch = scratch_at(slot);

	if (!scratch || offset > TEXT_END - TEXT_MAX || length >= PREFIX_MAX)
		return 1;
	for (u32 i = 0; i < PREFIX_MAX && i < length; i++) {
		char *at = &scratch->record[offset + i];

		if (at[0] == '/' && (at[1] == '/' || (at[1] == '.' && (at[2] == '.' || at[2] == '/'))))
			return 1;
	}
	return 0;
}

/* Whether changes at a path that a caller wrote are of interest. User space decides about roundabout ones. */
INLINE bool given_is_watched(s32 slot, u32 offset, u32 length)
{
	return (interest_in(slot, offset, length) & WATCHED) || is_roundabout(slot, offset, length);
}

/*
 * Opens a record of this kind about the file of this name, counted as generated. Gives its slot; or NO_SLOT, with what became
 * of it counted: filtered if changes there are of no interest, lost if the name cannot be read.
 */
VERIFIED_ALONE int begin_named(u32 kind, s32 folder, u64 name)
{
	struct scratch *scratch;
	struct file_body *body;
	u32 start, length;
	s32 slot;

	COUNT(kind, generated);
	slot = begin_record(kind, sizeof(struct file_body));
	scratch = scratch_at(slot);
	if (slot == NO_SLOT || !scratch)
		return NO_SLOT;
	start = scratch->length;
	scratch->from = name;
	length = append_given(slot, folder);
	if (!length) {
		COUNT(kind, lost_scratch);
		drop_record(slot);
		return NO_SLOT;
	}
	if (is_own() || !given_is_watched(slot, start, length)) {
		COUNT(kind, filtered);
		drop_record(slot);
		return NO_SLOT;
	}
	body = body_of(scratch);
	fill_name_only(body);
	body->path_len = length;
	return slot;
}

INLINE struct file_body *file_body_of(s32 slot)
{
	struct scratch *scratch = scratch_at(slot);

	return scratch ? body_of(scratch) : NULL;
}
