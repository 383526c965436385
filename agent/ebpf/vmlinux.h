/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * The kernel types that the programs read, and of each only the fields they read.
 *
 * Offsets do not matter here: every access is relocated by name against the BTF of the running kernel (CO-RE). A type whose
 * name ends in `___x` is an older or newer form of the same kernel type; the part after the three underscores is ignored by
 * the loader, and the program asks which form is there before it reads.
 */
#pragma once

typedef signed int s32;
typedef signed long long s64;
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef _Bool bool;

#define NULL ((void *)0)
#define true 1
#define false 0

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct {
	u32 val;
} kuid_t;

typedef struct {
	u32 val;
} kgid_t;

typedef struct {
	s32 counter;
} atomic_t;

typedef struct {
	s64 counter;
} atomic64_t;

struct timespec64 {
	s64 tv_sec;
	long tv_nsec;
};

/* ---- names and mounts */

struct qstr {
	u32 len;
	const unsigned char *name;
};

struct super_block {
	u32 s_dev;
};

struct inode {
	u16 i_mode;
	kuid_t i_uid;
	struct super_block *i_sb;
	unsigned long i_ino;
	u32 i_nlink;
	s64 i_size;
	s64 i_mtime_sec;
	u32 i_mtime_nsec;
	s64 i_ctime_sec;
	u32 i_ctime_nsec;
};

struct inode___6_6 { /* 6.6 to 6.10 */
	struct timespec64 __i_ctime;
	struct timespec64 __i_mtime;
};

struct inode___old { /* before 6.6 */
	struct timespec64 i_ctime;
	struct timespec64 i_mtime;
};

struct dentry {
	struct dentry *d_parent;
	struct qstr d_name;
	struct inode *d_inode;
};

struct vfsmount {
	struct dentry *mnt_root;
};

struct mount {
	struct mount *mnt_parent;
	struct dentry *mnt_mountpoint;
	struct vfsmount mnt;
};

struct path {
	struct vfsmount *mnt;
	struct dentry *dentry;
};

struct renamedata {
	struct dentry *old_dentry;
};

typedef struct {
	atomic64_t refcnt;
} file_ref_t;

struct file {
	u32 f_mode;
	u32 f_flags;
	void *private_data;
	struct inode *f_inode;
	struct path f_path;
	file_ref_t f_ref;
};

struct file___old { /* before 6.13 */
	atomic64_t f_count;
};

struct fdtable {
	u32 max_fds;
	struct file **fd;
	unsigned long *open_fds;
};

struct files_struct {
	struct fdtable *fdt;
};

struct fs_struct {
	struct path root;
	struct path pwd;
};

/* ---- processes */

struct ns_common {
	u32 inum;
};

struct pid_namespace {
	struct ns_common ns;
};

struct mnt_namespace {
	struct ns_common ns;
};

struct user_namespace {
	struct ns_common ns;
};

struct net {
	struct ns_common ns;
};

struct nsproxy {
	struct mnt_namespace *mnt_ns;
	struct pid_namespace *pid_ns_for_children;
	struct net *net_ns;
};

typedef struct {
	u64 val;
} kernel_cap_t; /* two u32 before 6.3: the same eight bytes */

struct cred {
	kuid_t uid;
	kgid_t gid;
	kuid_t euid;
	kgid_t egid;
	kuid_t suid;
	kgid_t sgid;
	kernel_cap_t cap_inheritable;
	kernel_cap_t cap_permitted;
	kernel_cap_t cap_effective;
	struct user_namespace *user_ns;
};

struct tty_struct {
	char name[64];
};

struct list_head {
	struct list_head *next;
};

struct kernel_siginfo {
	s32 si_code;
};

struct signal_struct {
	atomic_t live;
	s32 nr_threads;
	s32 group_exit_code;
	u32 flags;
	unsigned long nvcsw;
	unsigned long nivcsw;
	unsigned long min_flt;
	u64 sum_sched_runtime;
	struct tty_struct *tty;
};

struct mm_struct {
	unsigned long arg_start;
	unsigned long arg_end;
	unsigned long env_start;
	unsigned long env_end;
};

struct thread_info {
	u32 status;
};

struct kernfs_node {
	struct kernfs_node *__parent;
	const char *name;
	u64 id;
};

struct kernfs_node___old { /* before 6.15 */
	struct kernfs_node *parent;
};

struct cgroup {
	struct kernfs_node *kn;
};

struct css_set {
	struct cgroup *dfl_cgrp;
};

struct task_struct {
	struct thread_info thread_info;
	void *stack;
	u32 flags;
	struct mm_struct *mm;
	s32 exit_code;
	s32 pid;
	s32 tgid;
	struct task_struct *real_parent;
	struct task_struct *group_leader;
	u64 start_boottime;
	const struct cred *cred;
	struct fs_struct *fs;
	struct files_struct *files;
	struct nsproxy *nsproxy;
	struct signal_struct *signal;
	kuid_t loginuid;
	u32 sessionid;
	char comm[16];
	struct css_set *cgroups;
	struct list_head ptraced;
	struct list_head ptrace_entry;
};

struct linux_binprm {
	struct file *file;
	struct cred *cred;
	s32 argc;
	const char *filename;
	const char *interp;
};

/* ---- sockets */

struct in6_addr {
	u8 bytes[16];
};

struct sock_common {
	u32 skc_daddr;
	u32 skc_rcv_saddr;
	u16 skc_dport;
	u16 skc_num;
	u16 skc_family;
	u8 skc_state;
	unsigned long skc_flags;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
};

struct sock {
	struct sock_common __sk_common;
	u16 sk_protocol;
};

struct inet_sock {
	u16 inet_sport;
};

struct tcp_sock {
	u64 bytes_received;
	u64 bytes_sent;
	u64 bytes_retrans;
};

enum sock_flags {
	SOCK_DONE = 1, /* the peer's FIN came */
};

struct socket {
	struct sock *sk;
};

/* ---- io_uring */

struct io_kiocb {
	u8 opcode;
};

/* ---- system calls (x86-64) */

struct pt_regs {
	unsigned long r10;
	unsigned long r9;
	unsigned long r8;
	unsigned long ax;
	unsigned long cx;
	unsigned long dx;
	unsigned long si;
	unsigned long di;
	unsigned long orig_ax;
};

/* The helpers that not every kernel has. */
enum bpf_func_id {
	BPF_FUNC_get_current_task_btf = 158,
	BPF_FUNC_task_pt_regs = 175,
};

#pragma clang attribute pop

/* The members of BPF map types that the loader needs to know. */
enum bpf_map_type {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PROG_ARRAY = 3,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_LPM_TRIE = 11,
	BPF_MAP_TYPE_RINGBUF = 27,
};
