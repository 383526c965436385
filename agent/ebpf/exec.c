/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * A process runs a new program.
 *
 * Seen when the new program is in place and nothing of it has run: arguments and environment are those the kernel copied to
 * the new stack, so the caller can no longer change them, and what a script's interpreter is given is what is reported.
 */
#include "inode.h"
#include "path.h"

#define CGROUP_DEPTH 32

/* cgroups whose path has been told. */
struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_LRU_HASH);
	MAP_NUMBER(max_entries, 2048);
	MAP_TYPE(key, u64);
	MAP_TYPE(value, u8);
} told_cgroups SEC(".maps");

INLINE void fill_executable(struct exec_body *body, struct inode *inode)
{
	body->inode = inode->i_ino;
	body->size = inode->i_size;
	body->mtime_ns = modify_time(inode);
	body->ctime_ns = change_time(inode);
	body->dev = device_of(inode);
	body->mode = inode->i_mode;
	body->links = inode->i_nlink;
}

/* Appends the name at `from`, as it was given to exec. */
VERIFIED_ALONE int append_filename(s32 slot)
{
	struct scratch *scratch = scratch_at(slot);
	long length;

	if (!scratch || scratch->length > TEXT_END - TEXT_MAX)
		return 0;
	length = bpf_probe_read_kernel_str(&scratch->record[scratch->length], TEXT_MAX, (void *)scratch->from);
	if (length <= 1)
		return 0;
	scratch->length += length - 1;
	return length - 1;
}

/* One step from a cgroup to the one above it; its name goes before what is in `walk`. */
VERIFIED_ALONE int cgroup_step(s32 slot)
{
	struct scratch *scratch = scratch_at(slot);
	struct kernfs_node *node, *parent;
	u32 at, length;

	if (!scratch)
		return STEP_DONE;
	node = (void *)scratch->walk_dentry;
	parent = HAS(struct kernfs_node, __parent) ? LOAD(node, __parent) : LOAD((struct kernfs_node___old *)node, parent);
	at = scratch->walk_at;
	length = bpf_probe_read_kernel_str(scratch->key.text, sizeof(scratch->key.text), LOAD(node, name));
	if (!parent || at > TEXT_MAX || length <= 1 || length > NAME_MAX || at < length)
		return STEP_DONE;
	at -= length; /* the NUL makes room for the slash */
	scratch->walk[at & (TEXT_MAX - 1)] = '/';
	bpf_probe_read_kernel(&scratch->walk[(at & (TEXT_MAX - 1)) + 1], (length - 1) & NAME_MAX, scratch->key.text);
	scratch->walk_at = at;
	scratch->walk_dentry = (u64)parent;
	return STEP_ON;
}

/* Appends the cgroup's path in the unified hierarchy, if it was not told before. */
VERIFIED_ALONE int append_cgroup(s32 slot, u64 id)
{
	struct scratch *scratch = scratch_at(slot);

	if (!scratch || bpf_map_lookup_elem(&told_cgroups, &id))
		return 0;
	scratch->walk_at = TEXT_MAX;
	scratch->walk_flags = 0;
	scratch->walk_dentry = (u64)FIELD(FIELD(FIELD(current_task(), cgroups), dfl_cgrp), kn);
	for (int step = 0; step < CGROUP_DEPTH; step++)
		if (cgroup_step(slot) == STEP_DONE)
			break;
	return append_walk(slot);
}

/* Appends the beginning and the end of arguments that are longer than their room; user space knows where the cut is. */
VERIFIED_ALONE int append_ends(s32 slot, u64 from, u64 bytes)
{
	struct scratch *scratch = scratch_at(slot);
	u32 at;

	if (!scratch)
		return 0;
	raise_flag(scratch, FLAG_ARGV_CUT);
	at = scratch->length;
	if (at > TEXT_END || bpf_probe_read_user(&scratch->record[at], ARGV_HEAD, (void *)from))
		return 0;
	if (bpf_probe_read_user(&scratch->record[at + ARGV_HEAD], ARGV_MAX - ARGV_HEAD, (void *)(from + bytes - (ARGV_MAX - ARGV_HEAD))))
		return 0;
	scratch->length = at + ARGV_MAX;
	return ARGV_MAX;
}

/* Appends the argument strings as they lie in the process. A page that is not in memory makes them unreadable from here. */
VERIFIED_ALONE int append_argv(s32 slot, u64 from, u64 bytes)
{
	struct scratch *scratch = scratch_at(slot);
	u64 length = AT_MOST(bytes, ARGV_MAX);

	if (!scratch || scratch->length > TEXT_END)
		return 0;
	if (bpf_probe_read_user(&scratch->record[scratch->length], length, (void *)from)) {
		raise_flag(scratch, FLAG_ARGV_UNREAD);
		return 0;
	}
	scratch->length += length;
	return length;
}

VERIFIED_ALONE int append_env(s32 slot, u64 from, u64 bytes)
{
	struct scratch *scratch = scratch_at(slot);
	u64 length = AT_MOST(bytes, ENV_MAX);

	if (!scratch || scratch->length > TEXT_END + ARGV_MAX)
		return 0;
	if (bytes > ENV_MAX)
		raise_flag(scratch, FLAG_ENV_CUT);
	if (bpf_probe_read_user(&scratch->record[scratch->length], length, (void *)from)) {
		raise_flag(scratch, FLAG_ENV_CUT);
		return 0;
	}
	scratch->length += length;
	return length;
}

/* match-proto: sched_process_exec(struct task_struct *task, pid_t old_pid, struct linux_binprm *bprm) */
SEC("tp_btf/sched_process_exec")
int on_exec(u64 *ctx)
{
	struct task_struct *task = (void *)ctx[0];
	struct linux_binprm *bprm = (void *)ctx[2];
	struct mm_struct *mm = task->mm;
	struct file *file = bprm->file;
	u64 cgroup = bpf_get_current_cgroup_id();
	struct scratch *scratch;
	struct exec_body *body;
	u8 tells_cgroup;
	s32 slot;

	COUNT(KIND_EXEC, generated);
	slot = begin_record(KIND_EXEC, sizeof(struct exec_body));
	scratch = scratch_at(slot);
	if (slot == NO_SLOT || !scratch)
		return 0;
	body = body_of(scratch);
	fill_executable(body, file->f_inode);
	body->argc = bprm->argc;
	body->argv_bytes = mm->arg_end - mm->arg_start;
	body->env_bytes = mm->env_end - mm->env_start;
	if (bprm->interp != bprm->filename)
		raise_flag(scratch, FLAG_SCRIPT);
	body->exe_len = append_path(slot, file->f_path.dentry, file->f_path.mnt);
	body->cwd_len = append_path(slot, task->fs->pwd.dentry, task->fs->pwd.mnt);
	scratch->from = (u64)bprm->filename;
	body->filename_len = append_filename(slot);
	body->cgroup_len = append_cgroup(slot, cgroup);
	if (body->argv_bytes > ARGV_MAX)
		body->argv_len = append_ends(slot, mm->arg_start, body->argv_bytes);
	else
		body->argv_len = append_argv(slot, mm->arg_start, body->argv_bytes);
	body->env_len = append_env(slot, mm->env_start, body->env_bytes);
	tells_cgroup = body->cgroup_len > 0;
	if (!finish_record(slot, RING_PROCESS) && tells_cgroup)
		bpf_map_update_elem(&told_cgroups, &cgroup, &tells_cgroup, BPF_ANY);
	return 0;
}
