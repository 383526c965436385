/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * A file was opened, and a file is about to be closed: what is done then, whatever led there.
 *
 * A file below a watched path that is opened for writing is remembered until it is closed. At a close it is compared: size or
 * change time moved, then it was modified. The change time has the grain of a clock tick, so a file that had changed within the
 * tick before it was opened counts as modified without proof at its last close; a new file that is still empty does not.
 */
#pragma once

#include "file.h"

#define TICK_NS 10000000ULL

struct written {
	u64 inode;
	u64 size;
	u64 changed_ns;
	u64 since_ns; /* since boot: opened, or last told */
	u32 dev;
	u32 is_new;
};

/* Files below watched paths that are open for writing, by the address of the open file. */
struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_LRU_HASH);
	MAP_NUMBER(max_entries, 16384);
	MAP_TYPE(key, u64);
	MAP_TYPE(value, struct written);
} open_for_writing SEC(".maps");

INLINE void remember(struct file *file, struct inode *inode, bool is_new)
{
	u64 key = (u64)file;
	struct written written = {
		.inode = LOAD(inode, i_ino),
		.size = LOAD(inode, i_size),
		.changed_ns = change_time(inode),
		.since_ns = bpf_ktime_get_boot_ns(),
		.dev = device_of(inode),
		.is_new = is_new,
	};

	bpf_map_update_elem(&open_for_writing, &key, &written, BPF_ANY);
}

INLINE void forget(struct file *file)
{
	u64 key = (u64)file;

	bpf_map_delete_elem(&open_for_writing, &key);
}

/* Walks the path of an opened file and says it, if anybody wants to know. The record was begun as `kind`. */
INLINE int tell_opened(s32 slot, struct scratch *scratch, struct file *file, bool secret_name)
{
	struct record_header *header = (void *)scratch->record;
	struct file_body *body = body_of(scratch);
	struct inode *inode = LOAD(file, f_inode);
	u32 start = scratch->length;
	u32 mode = LOAD(file, f_mode);
	u32 kind = header->kind;
	u32 length, interest;
	bool secret;

	length = append_path(slot, LOAD(file, f_path.dentry), LOAD(file, f_path.mnt));
	interest = interest_in(slot, start, length);
	secret = secret_name || (interest & SECRET);
	if (mode & FMODE_WRITE) {
		if (interest & WATCHED)
			remember(file, inode, kind == KIND_FILE_CREATE);
		else
			forget(file);
	}
	if (kind == KIND_FILE_CREATE ? !(interest & WATCHED) : !secret) {
		COUNT(kind, filtered);
		return drop_record(slot);
	}
	if (secret)
		raise_flag(scratch, FLAG_SECRET);
	fill_file(body, inode, LOAD(file, f_flags));
	body->path_len = length;
	finish_record(slot, RING_OTHER);
	return 0;
}

/* A file was opened by the current task. */
INLINE int file_opened(struct file *file)
{
	const struct settings *set = settings_now();
	struct scratch *scratch;
	struct inode *inode;
	bool secret_name;
	u32 kind, mode;
	s32 slot;

	if (!set)
		return 0;
	inode = LOAD(file, f_inode);
	mode = LOAD(file, f_mode);
	if (!file || (LOAD(inode, i_mode) & S_IFMT) != S_IFREG || (LOAD(file, f_flags) & O_PATH))
		return 0;
	kind = mode & FMODE_CREATED ? KIND_FILE_CREATE : KIND_FILE_OPEN;
	COUNT(kind, generated);
	slot = begin_record(kind, sizeof(struct file_body));
	scratch = scratch_at(slot);
	if (slot == NO_SLOT || !scratch)
		return 0;
	secret_name = may_be_secret(slot, (u64)LOAD(file, f_path.dentry));
	if (is_own() || !(secret_name || set->secret_trees || mode & (FMODE_WRITE | FMODE_CREATED))) {
		COUNT(kind, filtered);
		return drop_record(slot);
	}
	return tell_opened(slot, scratch, file, secret_name);
}

INLINE bool is_last_reference(struct file *file)
{
	if (HAS(struct file, f_ref))
		return LOAD(file, f_ref.refcnt.counter) == 0;
	return LOAD((struct file___old *)file, f_count.counter) == 1;
}

/* Whether the file changed since it was remembered. Without proof only the last close counts: there is no later look. */
INLINE bool was_modified(const struct written *written, u64 changed_ns, u64 size, bool is_last)
{
	const struct settings *set = settings_now();

	if (changed_ns != written->changed_ns || size != written->size)
		return true;
	if (!is_last || (written->is_new && !size))
		return false;
	return set && changed_ns + TICK_NS >= written->since_ns + set->wall_offset_ns;
}

VERIFIED_ALONE int tell_modified(u64 address)
{
	struct file *file = (void *)address;
	struct scratch *scratch;
	struct file_body *body;
	s32 slot;

	COUNT(KIND_FILE_MODIFY, generated);
	if (is_own()) {
		COUNT(KIND_FILE_MODIFY, filtered);
		return 0;
	}
	slot = begin_record(KIND_FILE_MODIFY, sizeof(struct file_body));
	scratch = scratch_at(slot);
	if (slot == NO_SLOT || !scratch)
		return 0;
	body = body_of(scratch);
	fill_file(body, LOAD(file, f_inode), LOAD(file, f_flags));
	body->path_len = append_path(slot, LOAD(file, f_path.dentry), LOAD(file, f_path.mnt));
	return finish_record(slot, RING_OTHER);
}

/* A file is about to be closed by the current task. */
VERIFIED_ALONE int file_closes(u64 address)
{
	struct file *file = (void *)address;
	u64 key = address;
	struct written *written;
	struct inode *inode;
	u64 changed_ns, size;
	bool modified, is_last;

	if (!file || !(LOAD(file, f_mode) & FMODE_WRITE))
		return 0;
	written = bpf_map_lookup_elem(&open_for_writing, &key);
	if (!written)
		return 0;
	inode = LOAD(file, f_inode);
	if (LOAD(inode, i_ino) != written->inode || device_of(inode) != written->dev) {
		forget(file); /* the address has become another file's */
		return 0;
	}
	changed_ns = change_time(inode);
	size = LOAD(inode, i_size);
	is_last = is_last_reference(file);
	modified = was_modified(written, changed_ns, size, is_last);
	written->changed_ns = changed_ns;
	written->size = size;
	if (is_last)
		forget(file);
	else if (modified)
		written->since_ns = bpf_ktime_get_boot_ns();
	return modified ? tell_modified(key) : 0;
}
