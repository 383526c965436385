/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Files that are used beyond the system calls which the main programs look at: through a ring (io_uring), and by 32-bit calls.
 *
 * - These functions of the kernel are behind every way, so what a main program tells is left out here, by the number of the call
 *   at hand. A worker of a ring and a 32-bit call have no such number.
 * - A name is asked about (security_path_x) and then changed (vfs_x), by one thread. What is asked has folder and mount, and is
 *   noted until it is done; what is not done is forgotten with the next note of the thread, or as the oldest.
 * - The path is the kernel's own, links resolved, as it was before the change.
 * - Not seen: what file systems and the kernel do for themselves.
 */
#include "fact.h"
#include "open.h"

#define PF_EXITING 0x4
#define PF_IO_WORKER 0x10
#define PF_KTHREAD 0x200000
#define NAME_MAX 255
/* Of the results of functions that give an address: where addresses begin, and the errors. */
#define KERNEL_ADDRESSES 0xff00000000000000ULL
#define FIRST_ERROR 0xfffffffffffff000ULL
#define NO_CALL -1

#define NR_OPEN 2
#define NR_CLOSE 3
#define NR_DUP2 33
#define NR_EXECVE 59
#define NR_RENAME 82
#define NR_MKDIR 83
#define NR_RMDIR 84
#define NR_CREAT 85
#define NR_LINK 86
#define NR_UNLINK 87
#define NR_SYMLINK 88
#define NR_OPENAT 257
#define NR_MKDIRAT 258
#define NR_UNLINKAT 263
#define NR_RENAMEAT 264
#define NR_LINKAT 265
#define NR_SYMLINKAT 266
#define NR_DUP3 292
#define NR_OPEN_BY_HANDLE_AT 304
#define NR_RENAMEAT2 316
#define NR_EXECVEAT 322
#define NR_CLOSE_RANGE 436
#define NR_OPENAT2 437

/* A name in its folder, as the kernel has it. */
struct place {
	u64 folder;
	u64 mount;
	u32 length;
	u32 reserved;
	char name[NAME_MAX + 1];
};

/* What a thread has asked leave to change. */
struct asked {
	u64 dentry;
	struct place from;
	struct place to;
	struct file_body file;
};

struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_HASH);
	MAP_NUMBER(map_flags, BPF_F_NO_PREALLOC);
	MAP_NUMBER(max_entries, 1024);
	MAP_TYPE(key, u64); /* the thread */
	MAP_TYPE(value, struct asked);
} asked_names SEC(".maps");

/* The number of the system call that the current task is in, or NO_CALL where a main program does not look. */
INLINE s64 call_at_hand(void)
{
	struct task_struct *task = bpf_get_current_task_btf();

	if ((task->flags & PF_IO_WORKER) || (task->thread_info.status & TS_COMPAT))
		return NO_CALL;
	return bpf_task_pt_regs(task)->orig_ax;
}

/* Whether this is not the act of a process. */
INLINE bool is_nobody(u32 also)
{
	return bpf_get_current_task_btf()->flags & (PF_KTHREAD | also);
}

INLINE void note_place(struct place *place, struct dentry *dentry, u64 mount)
{
	place->folder = (u64)LOAD(dentry, d_parent);
	place->mount = (u64)mount;
	place->length = LOAD(dentry, d_name.len) & NAME_MAX;
	bpf_probe_read_kernel(place->name, place->length & NAME_MAX, LOAD(dentry, d_name.name));
}

/* Notes what this thread is about to change: `from` and, if it is not 0, `to`. What cannot be noted is counted as lost at once. */
VERIFIED_ALONE int note_asked(u32 kind, u64 dentry, u64 from, u64 to, u64 mount)
{
	u64 thread = bpf_get_current_pid_tgid();
	s32 slot = take_slot();
	struct scratch *scratch = scratch_at(slot);
	struct asked *asked;
	long error = -1;

	if (slot != NO_SLOT && scratch) {
		asked = (void *)scratch->record;
		asked->dentry = dentry;
		note_place(&asked->from, (void *)from, mount);
		if (to)
			note_place(&asked->to, (void *)to, mount);
		fill_file(&asked->file, LOAD((struct dentry *)from, d_inode), 0);
		error = bpf_map_update_elem(&asked_names, &thread, asked, BPF_ANY);
		give_slot(slot);
	}
	if (error) {
		COUNT(kind, generated);
		COUNT(kind, lost_scratch);
	}
	return 0;
}

/* What this thread has asked leave for, if it was about this name. */
INLINE struct asked *asked_about(u64 dentry)
{
	u64 thread = bpf_get_current_pid_tgid();
	struct asked *asked = bpf_map_lookup_elem(&asked_names, &thread);

	return asked && asked->dentry == dentry ? asked : NULL;
}

INLINE void forget_asked(void)
{
	u64 thread = bpf_get_current_pid_tgid();

	bpf_map_delete_elem(&asked_names, &thread);
}

/* Appends the path of the first or the second name that was asked about. Gives its length. */
VERIFIED_ALONE int append_place(s32 slot, u32 second)
{
	u64 thread = bpf_get_current_pid_tgid();
	struct asked *asked = bpf_map_lookup_elem(&asked_names, &thread);
	struct scratch *scratch = scratch_at(slot);
	struct place *place;
	u32 start, end;

	if (!asked || !scratch)
		return 0;
	place = second ? &asked->to : &asked->from;
	start = scratch->length;
	if (append_path(slot, (void *)place->folder, (void *)place->mount) == 1)
		scratch->length = start; /* the root's own slash is the name's */
	end = scratch->length;
	if (end > TEXT_END - TEXT_MAX)
		return 0;
	scratch->record[end] = '/';
	bpf_probe_read_kernel(&scratch->record[end + 1], place->length & NAME_MAX, place->name);
	scratch->length = end + 1 + (place->length & NAME_MAX);
	return scratch->length - start;
}

/* Appends a text of the kernel's, without its NUL. Gives its length, 0 if it cannot be read. */
VERIFIED_ALONE int append_kernel_text(s32 slot, u64 from)
{
	struct scratch *scratch = scratch_at(slot);
	long length;

	if (!scratch || scratch->length > TEXT_END - TEXT_MAX)
		return 0;
	length = bpf_probe_read_kernel_str(&scratch->record[scratch->length], GIVEN_MAX, (void *)from);
	if (length <= 1)
		return 0;
	scratch->length += length - 1;
	return length - 1;
}

/*
 * Says what was asked for and is done. `made` is the inode that has come to be, or 0; `text` what a symbolic link says.
 */
VERIFIED_ALONE int tell_asked(u32 kind, u32 change, u64 made, u64 text)
{
	u64 thread = bpf_get_current_pid_tgid();
	struct asked *asked = bpf_map_lookup_elem(&asked_names, &thread);
	bool is_pair = change == CHANGE_HARD || kind == KIND_FILE_RENAME;
	struct scratch *scratch;
	struct file_body *body;
	u32 start, middle;
	s32 slot;

	COUNT(kind, generated);
	slot = begin_record(kind, sizeof(struct file_body));
	scratch = scratch_at(slot);
	if (slot == NO_SLOT || !scratch)
		return 0;
	start = scratch->length;
	body = body_of(scratch);
	if (!asked)
		goto lost;
	if (made)
		fill_file(body, (void *)made, 0);
	else
		__builtin_memcpy(body, &asked->file, sizeof(*body));
	body->change = change;
	body->path_len = change == CHANGE_SYMBOLIC ? append_kernel_text(slot, text) : append_place(slot, 0);
	middle = scratch->length;
	if (is_pair || change == CHANGE_SYMBOLIC)
		body->new_path_len = append_place(slot, is_pair);
	if (!body->path_len || (change != CHANGE_NONE && !body->new_path_len))
		goto lost;
	if (is_own() || !(interest_in(slot, start, body->path_len) & WATCHED ||
			  interest_in(slot, middle, body->new_path_len) & WATCHED)) {
		COUNT(kind, filtered);
		return drop_record(slot);
	}
	return finish_record(slot, RING_OTHER);
lost:
	COUNT(kind, lost_scratch);
	return drop_record(slot);
}

/* What the function was called with. */
INLINE u64 argument(void *ctx, u32 number)
{
	u64 value = 0;

	bpf_get_func_arg(ctx, number, &value);
	return value;
}

/* What the function gave back. */
INLINE s32 result_of(void *ctx)
{
	u64 result = -1;

	bpf_get_func_ret(ctx, &result);
	return result;
}

/* Defines a program on a function. Until the agent has gone over all of them when it ends, it does nothing. */
#define TRAMPOLINE(section, name)                                                                                          \
	INLINE int name##_body(void *ctx);                                                                                 \
	SEC(section) int name(void *ctx)                                                                                   \
	{                                                                                                                  \
		if (!is_stopped())                                                                                         \
			name##_body(ctx);                                                                                  \
		return 0;                                                                                                  \
	}                                                                                                                  \
	INLINE int name##_body(void *ctx)

/* A name is about to be taken away. match-proto: (const struct path *folder, struct dentry *dentry) */
INLINE int is_removed(void *ctx, bool is_told)
{
	struct path *folder = (void *)argument(ctx, 0);

	if (is_told || is_nobody(0) || result_of(ctx))
		return 0;
	return note_asked(KIND_FILE_DELETE, argument(ctx, 1), argument(ctx, 1), 0, (u64)LOAD(folder, mnt));
}

TRAMPOLINE("fexit/security_path_unlink", on_unlink_asked)
{
	s64 call = call_at_hand();

	return is_removed(ctx, call == NR_UNLINKAT || call == NR_UNLINK);
}

TRAMPOLINE("fexit/security_path_rmdir", on_rmdir_asked)
{
	s64 call = call_at_hand();

	return is_removed(ctx, call == NR_UNLINKAT || call == NR_RMDIR);
}

/* What was asked about is done, if it succeeded. */
INLINE int is_done(void *ctx, u64 dentry, u32 kind, u32 change, u64 text)
{
	u64 made = 0;

	if (!asked_about(dentry))
		return 0;
	if (change == CHANGE_SYMBOLIC)
		made = (u64)LOAD((struct dentry *)dentry, d_inode);
	if (!result_of(ctx))
		tell_asked(kind, change, made, text);
	forget_asked();
	return 0;
}

/* match-proto: (idmap, struct inode *folder, struct dentry *dentry, struct inode **delegated) */
TRAMPOLINE("fexit/vfs_unlink", on_unlink_done)
{
	return is_done(ctx, argument(ctx, 2), KIND_FILE_DELETE, CHANGE_NONE, 0);
}

/* match-proto: (idmap, struct inode *folder, struct dentry *dentry) */
TRAMPOLINE("fexit/vfs_rmdir", on_rmdir_done)
{
	return is_done(ctx, argument(ctx, 2), KIND_FILE_DELETE, CHANGE_NONE, 0);
}

/* match-proto: (const struct path *folder, struct dentry *from, const struct path *to_folder, struct dentry *to, u32 flags) */
TRAMPOLINE("fexit/security_path_rename", on_rename_asked)
{
	struct path *folder = (void *)argument(ctx, 0);
	s64 call = call_at_hand();

	if (call == NR_RENAME || call == NR_RENAMEAT || call == NR_RENAMEAT2 || is_nobody(0) || result_of(ctx))
		return 0;
	return note_asked(KIND_FILE_RENAME, argument(ctx, 1), argument(ctx, 1), argument(ctx, 3), (u64)LOAD(folder, mnt));
}

/* match-proto: (struct renamedata *data) */
TRAMPOLINE("fexit/vfs_rename", on_rename_done)
{
	struct renamedata *data = (void *)argument(ctx, 0);

	return is_done(ctx, (u64)LOAD(data, old_dentry), KIND_FILE_RENAME, CHANGE_NONE, 0);
}

/* match-proto: (const struct path *folder, struct dentry *dentry, umode_t mode) */
TRAMPOLINE("fexit/security_path_mkdir", on_mkdir_asked)
{
	struct path *folder = (void *)argument(ctx, 0);
	s64 call = call_at_hand();

	if (call == NR_MKDIR || call == NR_MKDIRAT || is_nobody(0) || result_of(ctx))
		return 0;
	return note_asked(KIND_FILE_CREATE, argument(ctx, 1), argument(ctx, 1), 0, (u64)LOAD(folder, mnt));
}

/*
 * match-proto: (idmap, struct inode *folder, struct dentry *dentry, umode_t mode). Gives an error; since 6.15 the folder's name,
 * which may be another than was asked about, or the error in the place of an address.
 */
TRAMPOLINE("fexit/vfs_mkdir", on_mkdir_done)
{
	u64 dentry = argument(ctx, 2), result = -1;

	if (!asked_about(dentry))
		return 0;
	bpf_get_func_ret(ctx, &result);
	if (result >= KERNEL_ADDRESSES && result < FIRST_ERROR)
		dentry = result;
	else if (result)
		dentry = 0;
	if (dentry)
		tell_asked(KIND_FILE_CREATE, CHANGE_NONE, (u64)LOAD((struct dentry *)dentry, d_inode), 0);
	forget_asked();
	return 0;
}

/* match-proto: (struct dentry *old, const struct path *folder, struct dentry *new) */
TRAMPOLINE("fexit/security_path_link", on_link_asked)
{
	struct path *folder = (void *)argument(ctx, 1);
	s64 call = call_at_hand();

	if (call == NR_LINK || call == NR_LINKAT || is_nobody(0) || result_of(ctx))
		return 0;
	return note_asked(KIND_FILE_LINK, argument(ctx, 2), argument(ctx, 0), argument(ctx, 2), (u64)LOAD(folder, mnt));
}

/* match-proto: (struct dentry *old, idmap, struct inode *folder, struct dentry *new, struct inode **delegated) */
TRAMPOLINE("fexit/vfs_link", on_link_done)
{
	return is_done(ctx, argument(ctx, 3), KIND_FILE_LINK, CHANGE_HARD, 0);
}

/* match-proto: (const struct path *folder, struct dentry *dentry, const char *text) */
TRAMPOLINE("fexit/security_path_symlink", on_symlink_asked)
{
	struct path *folder = (void *)argument(ctx, 0);
	s64 call = call_at_hand();

	if (call == NR_SYMLINK || call == NR_SYMLINKAT || is_nobody(0) || result_of(ctx))
		return 0;
	return note_asked(KIND_FILE_LINK, argument(ctx, 1), argument(ctx, 1), 0, (u64)LOAD(folder, mnt));
}

/* match-proto: (idmap, struct inode *folder, struct dentry *dentry, const char *text) */
TRAMPOLINE("fexit/vfs_symlink", on_symlink_done)
{
	return is_done(ctx, argument(ctx, 2), KIND_FILE_LINK, CHANGE_SYMBOLIC, argument(ctx, 3));
}

INLINE bool is_open(s64 call)
{
	return call == NR_OPEN || call == NR_CREAT || call == NR_OPENAT || call == NR_OPENAT2 || call == NR_OPEN_BY_HANDLE_AT ||
	       call == NR_EXECVE || call == NR_EXECVEAT;
}

/* match-proto: do_filp_open(...), do_file_open(...): both give the file or an error in the place of an address */
TRAMPOLINE("fexit/do_filp_open", on_open_done)
{
	u64 file = FIRST_ERROR;

	if (is_open(call_at_hand()) || is_nobody(0))
		return 0;
	bpf_get_func_ret(ctx, &file);
	return file && file < FIRST_ERROR ? file_opened((void *)file) : 0;
}

/* match-proto: (struct file *file, fl_owner_t owner). What a process leaves open at its end, and at an exec, is told elsewhere or not at all. */
TRAMPOLINE("fentry/filp_close", on_close_beyond)
{
	s64 call = call_at_hand();

	if (call == NR_CLOSE || call == NR_DUP2 || call == NR_DUP3 || call == NR_CLOSE_RANGE || is_nobody(PF_EXITING))
		return 0;
	return file_closes(argument(ctx, 0));
}
