/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Paths: from a dentry up to the root of its mount namespace, and whether a path is watched.
 *
 * The path is the one below the root of the mount namespace that the file belongs to: in a container it begins at the
 * container's root, a chroot is not taken off. It is written from the end of `walk` towards its beginning, so the name is
 * whole even where the beginning no longer fits (FLAG_PATH_CUT).
 */
#pragma once

#include "process.h"

#define PATH_DEPTH 128
#define NAME_MAX 255

#define WATCHED 1 /* changes below it are events */
#define SECRET 2  /* opening it is an event */

/* Folders and files of interest by their full path. A folder's key ends in a slash, a file's in a NUL. */
struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_LPM_TRIE);
	MAP_NUMBER(map_flags, BPF_F_NO_PREALLOC);
	MAP_NUMBER(max_entries, 1024);
	MAP_TYPE(key, struct prefix_key);
	MAP_TYPE(value, u32);
} prefixes SEC(".maps");

/* The names, or beginnings of names, that a secret may have in its folder. A cheap question before the path is walked. */
struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_LPM_TRIE);
	MAP_NUMBER(map_flags, BPF_F_NO_PREALLOC);
	MAP_NUMBER(max_entries, 256);
	MAP_TYPE(key, struct prefix_key);
	MAP_TYPE(value, u32);
} secret_names SEC(".maps");

enum step { STEP_ON, STEP_DONE };

/* What a step asks of a dentry, as it lies there side by side. */
struct link_up {
	u64 parent;
	u32 hash;
	u32 length;
	u64 name;
};

INLINE void read_link_up(struct link_up *to, struct dentry *dentry)
{
	if (OFFSET(struct dentry, d_name) == OFFSET(struct dentry, d_parent) + sizeof(u64) && OFFSET(struct qstr, len) == sizeof(u32) &&
	    OFFSET(struct qstr, name) == sizeof(u64)) {
		bpf_probe_read_kernel(to, sizeof(*to), (void *)&dentry->d_parent);
		return;
	}
	to->parent = (u64)LOAD(dentry, d_parent);
	to->length = LOAD(dentry, d_name.len);
	to->name = (u64)LOAD(dentry, d_name.name);
}

/* Puts `/name` before what is in `walk`. */
INLINE enum step prepend(struct scratch *scratch, const struct link_up *link)
{
	u32 length = link->length;
	u32 at = scratch->walk_at;

	if (length > NAME_MAX || at > TEXT_MAX || at < length + 1) {
		scratch->walk_flags |= FLAG_PATH_CUT;
		return STEP_DONE;
	}
	at -= length + 1;
	scratch->walk[at & (TEXT_MAX - 1)] = '/';
	bpf_probe_read_kernel(&scratch->walk[(at & (TEXT_MAX - 1)) + 1], length & NAME_MAX, (void *)link->name);
	scratch->walk_at = at;
	return STEP_ON;
}

/* From here on the walk is in this mount. */
INLINE void walk_in(struct scratch *scratch, struct vfsmount *mount)
{
	scratch->walk_mount = (u64)mount;
	scratch->walk_root = (u64)LOAD(mount, mnt_root);
}

/* One step towards the root. The state is in the slot, so that the verifier sees this code once. */
VERIFIED_ALONE int walk_step(s32 slot)
{
	struct scratch *scratch = scratch_at(slot);
	struct link_up link = {};
	u64 dentry;
	enum step step;

	if (!scratch)
		return STEP_DONE;
	dentry = scratch->walk_dentry;
	if (dentry == scratch->walk_root) {
		struct mount *inner = (void *)scratch->walk_mount - OFFSET(struct mount, mnt);
		struct mount *outer = LOAD(inner, mnt_parent);

		if (outer == inner)
			return STEP_DONE;
		scratch->walk_dentry = (u64)LOAD(inner, mnt_mountpoint);
		walk_in(scratch, (void *)outer + OFFSET(struct mount, mnt));
		return STEP_ON;
	}
	read_link_up(&link, (void *)dentry);
	step = prepend(scratch, &link);
	if (link.parent == dentry) {
		scratch->walk_flags |= FLAG_PATH_DETACHED;
		return STEP_DONE;
	}
	scratch->walk_dentry = link.parent;
	return step;
}

/* Writes the path of (walk_dentry, walk_mount) into `walk`; `walk_at` then tells where it begins. */
VERIFIED_ALONE int walk_path(s32 slot)
{
	struct scratch *scratch = scratch_at(slot);

	if (!scratch)
		return -1;
	scratch->walk_at = TEXT_MAX;
	scratch->walk_flags = 0;
	walk_in(scratch, (void *)scratch->walk_mount);
	for (int step = 0; step < PATH_DEPTH; step++)
		if (walk_step(slot) == STEP_DONE)
			return 0;
	scratch->walk_flags |= FLAG_PATH_CUT;
	return 0;
}

/* Appends the walked path to the record, at least "/". Gives its length. */
VERIFIED_ALONE int append_walk(s32 slot)
{
	struct scratch *scratch = scratch_at(slot);
	u32 at, length, end;

	if (!scratch)
		return 0;
	at = scratch->walk_at;
	end = scratch->length;
	if (at > TEXT_MAX || end > TEXT_END - TEXT_MAX)
		return 0;
	raise_flag(scratch, scratch->walk_flags);
	if (at == TEXT_MAX) {
		scratch->record[end] = '/';
		scratch->length = end + 1;
		return 1;
	}
	length = TEXT_MAX - at;
	bpf_probe_read_kernel(&scratch->record[end], length, &scratch->walk[at]);
	scratch->length = end + length;
	return length;
}

INLINE int append_path(s32 slot, struct dentry *dentry, struct vfsmount *mount)
{
	struct scratch *scratch = scratch_at(slot);

	if (!scratch)
		return 0;
	scratch->walk_dentry = (u64)dentry;
	scratch->walk_mount = (u64)mount;
	walk_path(slot);
	return append_walk(slot);
}

/* Looks up what is known about the text at `offset` of the record. A full name (`whole`) also matches keys that end in NUL. */
VERIFIED_ALONE int interest_in(s32 slot, u32 offset, u32 length)
{
	struct scratch *scratch = scratch_at(slot);
	u32 *found;

	if (!scratch || offset > TEXT_END - TEXT_MAX || !length)
		return 0;
	if (length > PREFIX_MAX - 1)
		length = PREFIX_MAX - 1;
	bpf_probe_read_kernel(scratch->key.text, length & (PREFIX_MAX - 1), &scratch->record[offset]);
	scratch->key.text[length & (PREFIX_MAX - 1)] = 0;
	scratch->key.bits = (length + 1) * 8;
	found = bpf_map_lookup_elem(&prefixes, &scratch->key);
	return found ? *found : 0;
}

/* Whether the last name of a path may be a secret's. */
VERIFIED_ALONE int may_be_secret(s32 slot, u64 address)
{
	struct scratch *scratch = scratch_at(slot);
	struct dentry *dentry = (void *)address;
	u32 length;

	if (!scratch)
		return 0;
	length = LOAD(dentry, d_name.len) & NAME_MAX;
	bpf_probe_read_kernel(scratch->key.text, length, LOAD(dentry, d_name.name));
	scratch->key.text[length] = 0;
	scratch->key.bits = (length + 1) * 8;
	return bpf_map_lookup_elem(&secret_names, &scratch->key) != NULL;
}

INLINE struct fdtable *fdtable_of_current(void)
{
	return FIELD(FIELD(current_task(), files), fdt);
}

/* The file behind a descriptor of the current task, or NULL. */
INLINE struct file *file_of(u32 descriptor)
{
	struct fdtable *table = fdtable_of_current();
	struct file *file = NULL;

	if (descriptor >= FIELD(table, max_fds))
		return NULL;
	bpf_probe_read_kernel(&file, sizeof(file), (void *)FIELD(table, fd) + (u64)descriptor * sizeof(file));
	return file;
}
