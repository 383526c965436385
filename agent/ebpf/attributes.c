/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * A file's mode, owner, times, extended attributes or size are changed by name or through a descriptor.
 *
 * A name is the caller's (FLAG_NAME_GIVEN), a descriptor's path the kernel's. Truncation through a descriptor is a modification,
 * seen at its close.
 */
#include "fact.h"
#include "file.h"

#define NR_TRUNCATE 76
#define NR_CHMOD 90
#define NR_FCHMOD 91
#define NR_CHOWN 92
#define NR_FCHOWN 93
#define NR_LCHOWN 94
#define NR_SETXATTR 188
#define NR_LSETXATTR 189
#define NR_FSETXATTR 190
#define NR_REMOVEXATTR 197
#define NR_LREMOVEXATTR 198
#define NR_FREMOVEXATTR 199
#define NR_FCHOWNAT 260
#define NR_FCHMODAT 268
#define NR_UTIMENSAT 280
#define NR_FCHMODAT2 452

struct changed {
	u32 change;
	u32 mode;
	u32 uid;
	u32 gid;
	u64 attribute; /* its name, in the caller's memory */
};

INLINE int finish_changed(s32 slot, struct file_body *body, const struct changed *about)
{
	body->change = about->change;
	body->owner_uid = about->uid;
	body->owner_gid = about->gid;
	if (about->change == CHANGE_MODE)
		body->mode = (body->mode & S_IFMT) | about->mode;
	if (about->attribute)
		body->attribute_len = append_user_text(slot, about->attribute);
	return finish_record(slot, RING_OTHER);
}

INLINE int tell_by_name(s32 folder, u64 name, const struct changed *about)
{
	s32 slot = begin_named(KIND_FILE_ATTR, folder, name);
	struct file_body *body = file_body_of(slot);

	return slot == NO_SLOT || !body ? 0 : finish_changed(slot, body, about);
}

INLINE int tell_by_descriptor(s32 descriptor, const struct changed *about)
{
	struct file *file = file_of(descriptor);
	struct scratch *scratch;
	struct file_body *body;
	u32 start, length;
	s32 slot;

	if (!file)
		return 0;
	COUNT(KIND_FILE_ATTR, generated);
	slot = begin_record(KIND_FILE_ATTR, sizeof(struct file_body));
	scratch = scratch_at(slot);
	if (slot == NO_SLOT || !scratch)
		return 0;
	start = scratch->length;
	length = append_path(slot, LOAD(file, f_path.dentry), LOAD(file, f_path.mnt));
	if (is_own() || !(interest_in(slot, start, length) & WATCHED)) {
		COUNT(KIND_FILE_ATTR, filtered);
		return drop_record(slot);
	}
	body = body_of(scratch);
	fill_file(body, LOAD(file, f_inode), 0);
	body->path_len = length;
	return finish_changed(slot, body, about);
}

/* At the return of chmod, fchmod, fchmodat, fchmodat2 */
AT_RETURN(on_chmod)
{
	struct changed about = { .change = CHANGE_MODE };

	if (result)
		return 0;
	if (regs->orig_ax == NR_CHMOD || regs->orig_ax == NR_FCHMOD)
		about.mode = regs->si;
	else
		about.mode = regs->dx;
	if (regs->orig_ax == NR_CHMOD)
		return tell_by_name(AT_FDCWD, regs->di, &about);
	if (regs->orig_ax == NR_FCHMOD)
		return tell_by_descriptor(regs->di, &about);
	return tell_by_name(regs->di, regs->si, &about);
}

/* At the return of chown, lchown, fchown, fchownat */
AT_RETURN(on_chown)
{
	struct changed about = { .change = CHANGE_OWNER };

	if (result)
		return 0;
	if (regs->orig_ax == NR_FCHOWNAT) {
		about.uid = regs->dx;
		about.gid = regs->r10;
		return tell_by_name(regs->di, regs->si, &about);
	}
	about.uid = regs->si;
	about.gid = regs->dx;
	if (regs->orig_ax == NR_FCHOWN)
		return tell_by_descriptor(regs->di, &about);
	return tell_by_name(AT_FDCWD, regs->di, &about);
}

/* At the return of setxattr, lsetxattr, fsetxattr, removexattr, lremovexattr, fremovexattr */
AT_RETURN(on_xattr)
{
	struct changed about = { .change = CHANGE_XATTR };

	if (result)
		return 0;
	about.attribute = regs->si;
	if (regs->orig_ax == NR_FSETXATTR || regs->orig_ax == NR_FREMOVEXATTR)
		return tell_by_descriptor(regs->di, &about);
	return tell_by_name(AT_FDCWD, regs->di, &about);
}

/* At the return of truncate, utimensat */
AT_RETURN(on_attribute)
{
	struct changed about = { .change = CHANGE_TIMES };

	if (result)
		return 0;
	if (regs->orig_ax == NR_TRUNCATE) {
		about.change = CHANGE_SIZE;
		return tell_by_name(AT_FDCWD, regs->di, &about);
	}
	if (!regs->si)
		return tell_by_descriptor(regs->di, &about);
	return tell_by_name(regs->di, regs->si, &about);
}
