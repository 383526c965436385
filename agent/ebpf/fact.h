/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Records that hold a few numbers and texts: how they are opened, how a text of the caller is appended, how they are handed over.
 *
 * Texts from the caller's memory are the caller's words: another thread may have rewritten them since the call used them.
 */
#pragma once

#include "path.h"
#include "syscall.h"

#define GIVEN_MAX 1024

/* Opens a record of this kind, counted as generated, with all numbers and lengths zero. */
VERIFIED_ALONE int begin_fact(u32 kind)
{
	struct scratch *scratch;
	s32 slot;

	COUNT(kind, generated);
	slot = begin_record(kind, sizeof(struct fact_body));
	scratch = scratch_at(slot);
	if (slot == NO_SLOT || !scratch)
		return NO_SLOT;
	__builtin_memset(body_of(scratch), 0, sizeof(struct fact_body));
	return slot;
}

INLINE struct fact_body *fact_of(s32 slot)
{
	struct scratch *scratch = scratch_at(slot);

	return scratch ? body_of(scratch) : NULL;
}

/* Appends a string of the caller's memory, without its NUL. Gives its length, 0 if it cannot be read. */
VERIFIED_ALONE int append_user_text(s32 slot, u64 from)
{
	struct scratch *scratch = scratch_at(slot);
	long length;

	if (!scratch || !from || scratch->length > TEXT_END - TEXT_MAX)
		return 0;
	length = bpf_probe_read_user_str(&scratch->record[scratch->length], GIVEN_MAX, (void *)from);
	if (length <= 1)
		return 0;
	scratch->length += length - 1;
	return length - 1;
}

/* Appends the path of the file behind a descriptor of the caller. */
VERIFIED_ALONE int append_path_of(s32 slot, s32 descriptor)
{
	struct file *file = file_of(descriptor);

	if (!file)
		return 0;
	return append_path(slot, LOAD(file, f_path.dentry), LOAD(file, f_path.mnt));
}

/* What was told of a process before, so that a fact that it makes thousands of times is told once. */
struct told_key {
	u64 start_ns;
	u32 tgid;
	u32 what;
};

struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_LRU_HASH);
	MAP_NUMBER(max_entries, 8192);
	MAP_TYPE(key, struct told_key);
	MAP_TYPE(value, u64);
} told_facts SEC(".maps");

/* Whether this process made this fact before. If so it is counted as part of the one that was told. */
INLINE bool is_repeated(u32 kind, u32 what)
{
	struct task_struct *leader = FIELD(current_task(), group_leader);
	struct told_key key = { .start_ns = FIELD(leader, start_boottime), .tgid = FIELD(leader, tgid), .what = kind << 16 | what };
	u64 once = 1, *times = bpf_map_lookup_elem(&told_facts, &key);

	if (!times) {
		bpf_map_update_elem(&told_facts, &key, &once, BPF_ANY);
		return false;
	}
	__sync_fetch_and_add(times, 1);
	COUNT(kind, generated);
	COUNT(kind, aggregated);
	return true;
}
