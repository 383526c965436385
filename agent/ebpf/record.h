/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * The records as user space reads them from the rings. agent/sensor/src/ebpf/raw.rs is the other half of this file.
 *
 * A record is a header, the actor, a body that depends on the kind, and the texts whose lengths the body states, in the order
 * of those lengths, without separators. Numbers are in the host's byte order; there is no padding that carries meaning.
 */
#pragma once

#include "vmlinux.h"

#define RECORD_VERSION 2

/* The numbers of picket.v1.Kind. */
enum kind {
	KIND_EXEC = 1,
	KIND_EXEC_FAILED = 2,
	KIND_FORK = 3,
	KIND_EXIT = 4,
	KIND_CRED_CHANGE = 5,
	KIND_PTRACE = 6,
	KIND_SIGNAL = 7,
	KIND_MEM_EXEC = 8,
	KIND_FILE_CREATE = 9,
	KIND_FILE_MODIFY = 10,
	KIND_FILE_DELETE = 11,
	KIND_FILE_RENAME = 12,
	KIND_FILE_LINK = 13,
	KIND_FILE_ATTR = 14,
	KIND_FILE_OPEN = 15,
	KIND_NET_CONNECT = 16,
	KIND_NET_LISTEN = 17,
	KIND_NET_ACCEPT = 18,
	KIND_NET_CLOSE = 19,
	KIND_DNS = 20,
	KIND_MODULE_LOAD = 21,
	KIND_BPF_LOAD = 22,
	KIND_MOUNT = 23,
	KIND_MEMFD = 24,
	KIND_IO_URING = 25,
	KINDS = 64, /* a power of two that none reaches */
};

enum record_flag {
	FLAG_ARGV_CUT = 1 << 0,      /* more argument bytes than fit */
	FLAG_ARGV_UNREAD = 1 << 1,   /* argument pages were not in memory */
	FLAG_ENV_CUT = 1 << 2,
	FLAG_SCRIPT = 1 << 3,        /* `filename` names a script, the executable is its interpreter */
	FLAG_PATH_CUT = 1 << 4,      /* a path is missing its beginning */
	FLAG_NAME_GIVEN = 1 << 5,    /* the path is what the caller wrote, links in it are not resolved */
	FLAG_RESULT_KNOWN = 1 << 6,
	FLAG_PATH_DETACHED = 1 << 7, /* the path begins at something that is not in any directory */
	FLAG_SECRET = 1 << 8,        /* the name may be a secret's; user space decides by the whole path */
	FLAG_INBOUND = 1 << 9,       /* of a connection's end: it came from outside */
	FLAG_REFUSED = 1 << 10,      /* of a file: it was not done */
};

struct record_header {
	u32 length; /* of the whole record, this header included */
	u16 kind;
	u8 version;
	u8 ring;
	u32 cpu;
	u32 flags;
	u64 sequence; /* by CPU, ring and scratch slot (the lowest bit): each counts every record it tried, lost ones too */
	u64 boot_ns;
};

struct record_actor {
	u64 start_ns; /* since boot, of the thread group leader */
	u64 parent_start_ns;
	u64 cgroup;
	u64 caps;
	u32 tgid;
	u32 tid;
	u32 ppid;
	u32 uid;
	u32 euid;
	u32 gid;
	u32 egid;
	u32 login_uid; /* all ones: not set */
	u32 session;   /* all ones: not set */
	u32 ns_pid;
	u32 ns_mnt;
	u32 ns_net;
	u32 ns_user;
	u32 reserved;
	char comm[16];
	char tty[16];
};

struct exec_body {
	u64 inode;
	u64 size;
	u64 mtime_ns;
	u64 ctime_ns;
	u32 dev;
	u32 mode;
	u32 links;
	u32 argc;
	u64 argv_bytes; /* as the kernel has them; argv_len may be less */
	u64 env_bytes;
	u32 exe_len;
	u32 cwd_len;
	u32 filename_len;
	u32 cgroup_len; /* 0 where this CPU has told this cgroup's path before */
	u32 argv_len;
	u32 env_len;
};

struct fork_body {
	u64 child_start_ns;
	u32 child_tgid;
	u32 child_ppid;
};

struct exit_body {
	u32 status; /* as wait(2) gives it */
	u32 reserved;
};

struct memfd_body {
	u32 flags;
	u32 name_len;
};

struct file_body {
	u64 inode;
	u64 size;
	u64 mtime_ns;
	u64 ctime_ns;
	u32 dev;
	u32 mode;
	u32 links;
	u32 open_flags;
	u32 change; /* enum change */
	u32 owner_uid;
	u32 owner_gid;
	u32 path_len;
	u32 new_path_len;
	u32 attribute_len;
};

/* What a link or a change of attributes is about. The names are in raw.rs. */
enum change {
	CHANGE_NONE,
	CHANGE_HARD,
	CHANGE_SYMBOLIC,
	CHANGE_MODE,
	CHANGE_OWNER,
	CHANGE_XATTR,
	CHANGE_TIMES,
	CHANGE_SIZE,
};

struct connect_body {
	u8 local[16]; /* an IPv4 address fills the first four bytes */
	u8 remote[16];
	u16 local_port;
	u16 remote_port;
	u16 family;
	u16 protocol;
	s32 result;
	u32 reserved;
	u64 bytes_in; /* of a connection that ended */
	u64 bytes_out;
};

#define FACT_NUMBERS 12
#define FACT_TEXTS 4

/* What is told in a few numbers and texts. Which number means what stands where each kind is made, and in translate/fact.rs. */
struct fact_body {
	u64 number[FACT_NUMBERS];
	u32 text_len[FACT_TEXTS];
};
