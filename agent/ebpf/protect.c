/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * The agent's own protection: what others would do to it, its files and its kernel programs is refused (BPF LSM), and told.
 *
 * - Nothing is refused before user space has said for whom (`guards`), nor after it has switched that off. Nothing is pinned: with
 *   the agent ends all of it.
 * - Never refused: the host's first process, the process that started the agent, and the kernel.
 * - A file is known by device and inode, so that another name for it changes nothing. Of a folder that is guarded as a tree
 *   everything below is guarded, to a depth of GUARD_DEPTH.
 * - Every refusal is an event with its result, -EPERM; of a mount, the hook of the system call tells.
 *
 * signal  numbers: signal, agent's pid, agent's start, result
 * ptrace  numbers: how (enum refused_reach), agent's pid, agent's start, result
 * bpf     numbers: command, 0, 0, 0, result
 */
#include "fact.h"
#include "file.h"

#define EPERM 1
#define PF_KTHREAD 0x200000
#define NS_PER_TICK 10000000 /* of the start of a process in /proc */
#define GUARD_DEPTH 8
#define O_TRUNC 01000
#define PTRACE_MODE_ATTACH 2
#define FS_IOC_SETFLAGS 0x40086602
#define FS_IOC_FSSETXATTR 0x401c5820
#define SIGHUP 1
#define SIGCHLD 17
#define SIGCONT 18
#define SIGURG 23
#define SIGWINCH 28

/* Goes on where `enum reach` of reach.c ends. */
enum refused_reach { REACH_ACCESS = 5, REACH_LIMIT };

/* How an inode is guarded. protect.rs has the same. */
enum guarded {
	GUARDED = 1,      /* its content and its attributes */
	GUARDED_TREE = 2, /* everything in it */
	GUARDED_NAME = 4, /* its name: it is not removed, renamed or replaced */
};

/* Who is guarded, and against whom not. */
struct guard {
	u32 agent;
	u32 starter;
	u64 starter_start_ticks;
	u32 mounts;	    /* the namespace in which what is guarded has its names */
	u32 starter_mounts; /* the starter's, from which mounts may spread to the agent's */
	u32 is_on;
	u32 reserved;
};

struct inode_key {
	u64 inode;
	u32 dev;
	u32 reserved;
};

/* A program, map or link, by the command that would give a descriptor of it. */
struct object_key {
	u32 command;
	u32 id;
};

struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_ARRAY);
	MAP_NUMBER(max_entries, 1);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, struct guard);
} guards SEC(".maps");

struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_HASH);
	MAP_NUMBER(max_entries, 1024);
	MAP_TYPE(key, struct inode_key);
	MAP_TYPE(value, u32); /* enum guarded */
} guarded_inodes SEC(".maps");

struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_HASH);
	MAP_NUMBER(max_entries, 1024);
	MAP_TYPE(key, struct object_key);
	MAP_TYPE(value, u32);
} guarded_objects SEC(".maps");

/* Who is to be guarded against the current task, or NULL. */
INLINE const struct guard *guard_against_current(void)
{
	struct task_struct *task = current_task();
	u32 only = 0, tgid = FIELD(task, tgid);
	const struct guard *guard = bpf_map_lookup_elem(&guards, &only);

	if (!guard || !guard->is_on || tgid == guard->agent || tgid == 1 || (FIELD(task, flags) & PF_KTHREAD))
		return NULL;
	if (tgid == guard->starter && FIELD(FIELD(task, group_leader), start_boottime) / NS_PER_TICK == guard->starter_start_ticks)
		return NULL;
	return guard;
}

INLINE u32 guarded_as(struct inode *inode)
{
	struct inode_key key = { .inode = LOAD(inode, i_ino), .dev = device_of(inode) };
	u32 *found = bpf_map_lookup_elem(&guarded_inodes, &key);

	return found ? *found : 0;
}

/* Whether this name is guarded: itself in one of the ways of `itself`, or by a tree above it. */
VERIFIED_ALONE int is_guarded(u64 address, u32 itself)
{
	struct dentry *dentry = (void *)address, *parent;
	u32 asked = itself;

	for (int depth = 0; depth < GUARD_DEPTH && dentry; depth++) {
		if (guarded_as(LOAD(dentry, d_inode)) & asked)
			return 1;
		asked = GUARDED_TREE;
		parent = LOAD(dentry, d_parent);
		if (parent == dentry)
			break;
		dentry = parent;
	}
	return 0;
}

VERIFIED_ALONE int tell_refused(u32 kind, u32 change, u64 address, u64 mount)
{
	struct dentry *dentry = (void *)address;
	struct scratch *scratch;
	struct file_body *body;
	s32 slot;

	COUNT(kind, generated);
	slot = begin_record(kind, sizeof(struct file_body));
	scratch = scratch_at(slot);
	if (slot == NO_SLOT || !scratch)
		return 0;
	body = body_of(scratch);
	fill_file(body, LOAD(dentry, d_inode), 0);
	body->change = change;
	raise_flag(scratch, FLAG_REFUSED);
	body->path_len = append_path(slot, dentry, (void *)mount);
	return finish_record(slot, RING_PROCESS);
}

INLINE int refuse_at(u32 kind, u32 change, u64 dentry, u64 mount, u32 itself)
{
	if (!guard_against_current() || !is_guarded(dentry, itself))
		return 0;
	tell_refused(kind, change, dentry, mount);
	return -EPERM;
}

/* match-proto: task_kill(struct task_struct *target, struct kernel_siginfo *info, int signal, const struct cred *cred) */
SEC("lsm/task_kill")
int guard_signal(u64 *ctx)
{
	struct task_struct *target = (void *)ctx[0];
	const struct guard *guard = guard_against_current();
	u32 signal = ctx[2];
	struct fact_body *body;
	s32 slot;

	if (!guard || LOAD(target, tgid) != (s32)guard->agent)
		return 0;
	if (!signal || signal == SIGHUP || signal == SIGCHLD || signal == SIGCONT || signal == SIGURG || signal == SIGWINCH)
		return 0;
	slot = begin_fact(KIND_SIGNAL);
	body = fact_of(slot);
	if (slot == NO_SLOT || !body)
		return -EPERM;
	body->number[0] = signal;
	body->number[1] = LOAD(target, tgid);
	body->number[2] = LOAD(LOAD(target, group_leader), start_boottime);
	body->number[3] = -EPERM;
	finish_record(slot, RING_PROCESS);
	return -EPERM;
}

INLINE int refuse_reach(u32 reach, struct task_struct *target)
{
	const struct guard *guard = guard_against_current();
	struct fact_body *body;
	s32 slot;

	if (!guard || LOAD(target, tgid) != (s32)guard->agent)
		return 0;
	slot = begin_fact(KIND_PTRACE);
	body = fact_of(slot);
	if (slot == NO_SLOT || !body)
		return -EPERM;
	body->number[0] = reach;
	body->number[1] = LOAD(target, tgid);
	body->number[2] = LOAD(LOAD(target, group_leader), start_boottime);
	body->number[3] = -EPERM;
	finish_record(slot, RING_PROCESS);
	return -EPERM;
}

/* Tracing, and /proc/PID/mem and its kin. match-proto: ptrace_access_check(struct task_struct *target, unsigned int mode) */
SEC("lsm/ptrace_access_check")
int guard_reach(u64 *ctx)
{
	if (!(ctx[1] & PTRACE_MODE_ATTACH))
		return 0;
	return refuse_reach(REACH_ACCESS, (void *)ctx[0]);
}

/* match-proto: task_setrlimit(struct task_struct *target, unsigned int resource, struct rlimit *limit) */
SEC("lsm/task_setrlimit")
int guard_limit(u64 *ctx)
{
	return refuse_reach(REACH_LIMIT, (void *)ctx[0]);
}

/* match-proto: file_open(struct file *file) */
SEC("lsm/file_open")
int guard_open(u64 *ctx)
{
	struct file *file = (void *)ctx[0];

	if (!(LOAD(file, f_mode) & FMODE_WRITE) && !(LOAD(file, f_flags) & O_TRUNC))
		return 0;
	return refuse_at(KIND_FILE_OPEN, CHANGE_NONE, (u64)LOAD(file, f_path.dentry), (u64)LOAD(file, f_path.mnt), GUARDED);
}

/* match-proto: file_ioctl(struct file *file, unsigned int command, unsigned long argument) */
SEC("lsm/file_ioctl")
int guard_flags(u64 *ctx)
{
	struct file *file = (void *)ctx[0];
	u32 command = ctx[1];

	if (command != FS_IOC_SETFLAGS && command != FS_IOC_FSSETXATTR)
		return 0;
	return refuse_at(KIND_FILE_ATTR, CHANGE_NONE, (u64)LOAD(file, f_path.dentry), (u64)LOAD(file, f_path.mnt), GUARDED);
}

INLINE int refuse_at_path(u32 kind, u32 change, struct path *path)
{
	return refuse_at(kind, change, (u64)LOAD(path, dentry), (u64)LOAD(path, mnt), GUARDED);
}

/* match-proto: path_chmod(const struct path *path, umode_t mode) */
SEC("lsm/path_chmod")
int guard_mode(u64 *ctx)
{
	return refuse_at_path(KIND_FILE_ATTR, CHANGE_MODE, (void *)ctx[0]);
}

/* match-proto: path_chown(const struct path *path, kuid_t uid, kgid_t gid) */
SEC("lsm/path_chown")
int guard_owner(u64 *ctx)
{
	return refuse_at_path(KIND_FILE_ATTR, CHANGE_OWNER, (void *)ctx[0]);
}

/* match-proto: path_truncate(const struct path *path) */
SEC("lsm/path_truncate")
int guard_size(u64 *ctx)
{
	return refuse_at_path(KIND_FILE_ATTR, CHANGE_SIZE, (void *)ctx[0]);
}

/* An argument, read as memory: a number that the verifier need not know as a pointer. */
INLINE u64 argument_of(void *ctx, u32 number)
{
	u64 value = 0;

	bpf_probe_read_kernel(&value, sizeof(value), ctx + number * sizeof(value));
	return value;
}

/* A name in this folder would come, go or change. */
INLINE int refuse_name(u32 kind, u64 folder, u64 dentry)
{
	return refuse_at(kind, CHANGE_NONE, dentry, (u64)LOAD((struct path *)folder, mnt), GUARDED | GUARDED_NAME);
}

/* match-proto: (const struct path *folder, struct dentry *dentry, ...) */
#define GUARD_NAME(hook, name, kind)                                                                                       \
	SEC("lsm/" hook) int name(void *ctx)                                                                               \
	{                                                                                                                  \
		return refuse_name(kind, argument_of(ctx, 0), argument_of(ctx, 1));                                        \
	}

GUARD_NAME("path_unlink", guard_unlink, KIND_FILE_DELETE)
GUARD_NAME("path_rmdir", guard_rmdir, KIND_FILE_DELETE)
GUARD_NAME("path_mkdir", guard_mkdir, KIND_FILE_CREATE)
GUARD_NAME("path_mknod", guard_mknod, KIND_FILE_CREATE) /* also asked for files that an open makes */
GUARD_NAME("path_symlink", guard_symlink, KIND_FILE_CREATE)

/* match-proto: path_rename(const struct path *folder, struct dentry *from, const struct path *to_folder, struct dentry *to) */
SEC("lsm/path_rename")
int guard_rename(void *ctx)
{
	int refused = refuse_name(KIND_FILE_RENAME, argument_of(ctx, 0), argument_of(ctx, 1));

	return refused ? refused : refuse_name(KIND_FILE_RENAME, argument_of(ctx, 2), argument_of(ctx, 3));
}

/* match-proto: path_link(struct dentry *old, const struct path *folder, struct dentry *new) */
SEC("lsm/path_link")
int guard_link(void *ctx)
{
	int refused = refuse_name(KIND_FILE_LINK, argument_of(ctx, 1), argument_of(ctx, 0));

	return refused ? refused : refuse_name(KIND_FILE_LINK, argument_of(ctx, 1), argument_of(ctx, 2));
}

/*
 * Another file system over a guarded folder would hide it. A service with a file system view of its own gets the mounts of the
 * service manager's namespace too. In further namespaces a mount hides nothing from the agent.
 */
INLINE int refuse_mount(struct path *path)
{
	const struct guard *guard = guard_against_current();
	u32 mounts;

	if (!guard)
		return 0;
	mounts = FIELD(FIELD(FIELD(current_task(), nsproxy), mnt_ns), ns.inum);
	if (mounts != guard->mounts && mounts != guard->starter_mounts)
		return 0;
	return is_guarded((u64)LOAD(path, dentry), GUARDED) ? -EPERM : 0;
}

/* match-proto: sb_mount(const char *device, const struct path *path, const char *type, unsigned long flags, void *data) */
SEC("lsm/sb_mount")
int guard_mount(u64 *ctx)
{
	return refuse_mount((void *)ctx[1]);
}

/* match-proto: move_mount(const struct path *from, const struct path *to) */
SEC("lsm/move_mount")
int guard_move_mount(u64 *ctx)
{
	return refuse_mount((void *)ctx[1]);
}

/* A descriptor of a program, map or link of the agent's would let its holder change it. match-proto: bpf(int command, union bpf_attr *attributes, ...) */
SEC("lsm/bpf")
int guard_bpf(u64 *ctx)
{
	struct object_key key = { .command = (u32)ctx[0] };
	struct fact_body *body;
	s32 slot;

	bpf_probe_read_kernel(&key.id, sizeof(key.id), (void *)ctx[1]);
	if (!bpf_map_lookup_elem(&guarded_objects, &key) || !guard_against_current())
		return 0;
	slot = begin_fact(KIND_BPF_LOAD);
	body = fact_of(slot);
	if (slot == NO_SLOT || !body)
		return -EPERM;
	body->number[0] = key.command;
	body->number[4] = -EPERM;
	finish_record(slot, RING_PROCESS);
	return -EPERM;
}
