/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Programs of a blocked content do not start (BPF LSM), as far as user space has said which files have it.
 *
 * - A file is known by device and inode, and refused as long as its size and the time of the last change of its content are those
 *   with which user space knew its content. Another name, another mode or owner free nothing; written anew, it is another file.
 * - The time of the last change of anything is told, not compared: where it is another one, user space looks at the content again.
 * - Asked about each file of an exec: of a script about the script first, then about its interpreter.
 * - Where nothing is listed, an exec costs one look into an empty table. Nothing is pinned: with the agent ends all of it.
 * - Each refusal is told in a ring of its own; what found no room there is counted.
 */
#include "inode.h"

#define EPERM 1
#define GIVEN_MAX 256

struct blocked_file {
	u64 inode;
	u32 dev;
	u32 reserved;
};

/* What must be as it was when the content was known. */
struct blocked_state {
	u64 size;
	u64 mtime_ns;
};

/* Who was refused what, as agent/sensor/src/ebpf/block.rs reads it. */
struct refusal {
	u64 start_ns; /* since boot, of the thread group leader */
	struct blocked_file file;
	struct blocked_state state;
	u64 ctime_ns;
	u32 tgid;
	u32 uid;
	char given[GIVEN_MAX]; /* the name by which it was to be run, NUL at its end */
};

struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_HASH);
	MAP_NUMBER(max_entries, 4096 + 8); /* the files of the list, one more while it is full, and the canary */
	MAP_NUMBER(map_flags, BPF_F_NO_PREALLOC);
	MAP_TYPE(key, struct blocked_file);
	MAP_TYPE(value, struct blocked_state);
} blocked_files SEC(".maps");

struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_RINGBUF);
	MAP_NUMBER(max_entries, 64 * 1024);
} refusals SEC(".maps");

/* Refusals that found no room in the ring. */
struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_ARRAY);
	MAP_NUMBER(max_entries, 1);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, u64);
} refusals_untold SEC(".maps");

INLINE void tell_refusal(struct linux_binprm *bprm, struct inode *inode, const struct blocked_file *file,
			 const struct blocked_state *state)
{
	struct task_struct *task = current_task();
	struct cred *cred = (void *)FIELD(task, cred);
	struct refusal refusal = {
		.start_ns = FIELD(FIELD(task, group_leader), start_boottime),
		.file = *file,
		.state = *state,
		.ctime_ns = change_time(inode),
		.tgid = FIELD(task, tgid),
		.uid = FIELD(cred, uid.val),
	};
	u32 only = 0;
	u64 *untold;

	bpf_probe_read_kernel_str(refusal.given, sizeof(refusal.given), LOAD(bprm, interp));
	if (!bpf_ringbuf_output(&refusals, &refusal, sizeof(refusal), BPF_RB_FORCE_WAKEUP))
		return;
	untold = bpf_map_lookup_elem(&refusals_untold, &only);
	if (untold)
		__sync_fetch_and_add(untold, 1);
}

/* match-proto: bprm_check_security(struct linux_binprm *bprm) */
SEC("lsm/bprm_check_security")
int block_exec(u64 *ctx)
{
	struct linux_binprm *bprm = (void *)ctx[0];
	struct inode *inode = LOAD(LOAD(bprm, file), f_inode);
	struct blocked_file file = { .inode = LOAD(inode, i_ino), .dev = device_of(inode) };
	const struct blocked_state *known = bpf_map_lookup_elem(&blocked_files, &file);
	struct blocked_state now;

	if (!known)
		return 0;
	now.size = LOAD(inode, i_size);
	now.mtime_ns = modify_time(inode);
	if (known->size != now.size || known->mtime_ns != now.mtime_ns)
		return 0;
	tell_refusal(bprm, inode, &file, &now);
	return -EPERM;
}
