/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * What programs ask of PAM and what they are answered: uprobes on libpam.so.0, one pair for each function. And the first program
 * of each audit session, by which the kernel shows that somebody came in, whatever let him.
 *
 *   function entered: its handle is remembered -> function returns: its answer and the handle's texts -> ring
 *
 * - The handle (struct pam_handle) is private to libpam. Its members are read by their place, which has been the same since
 *   Linux-PAM 1.0. pam_start tells whether it still is: there the service is read both from the argument and from the handle.
 * - All of it is the memory of the program that called: the truth about a program of root, and no more than its word otherwise.
 * - An answer is submitted or counted as lost.
 */
#include "bpf.h"

#define SERVICE_MAX 64
#define NAME_BYTES 256

/* Numbers of the functions; agent/sensor/src/login/asked.rs has the same. */
enum operation {
	PAM_START,
	PAM_AUTHENTICATE,
	PAM_ACCT_MGMT,
	PAM_SETCRED,
	PAM_OPEN_SESSION,
	PAM_CLOSE_SESSION,
	NEW_SESSION, /* no call: the first program that is executed in an audit session */
};

/* Texts are cut at their size and end with a NUL. */
struct pam_record {
	u64 boot_ns;
	u64 start_ns; /* since boot, of the process */
	u64 parent_start_ns;
	u32 tgid;
	u32 ppid;
	u32 uid;
	u32 euid;
	u32 login_uid; /* after the call; all ones: not set */
	u32 session;   /* the same */
	u32 operation;
	u32 flags; /* the function's argument */
	s32 answer;
	u32 ns_mnt;
	char comm[16];
	char parent_comm[16];
	char asked_service[SERVICE_MAX]; /* of pam_start only: its argument */
	char service[SERVICE_MAX];
	char tty[SERVICE_MAX];
	char user[NAME_BYTES];
	char remote_user[NAME_BYTES];
	char remote_host[NAME_BYTES];
};

/* The places in a handle. */
#define HANDLE_SERVICE 40
#define HANDLE_USER 48
#define HANDLE_REMOTE_HOST 56
#define HANDLE_REMOTE_USER 64
#define HANDLE_TTY 72

/* A call that has not returned yet. */
struct call {
	u64 handle;  /* of pam_start: where it will be written */
	u64 service; /* of pam_start: the argument */
	u32 operation;
	u32 flags;
};

struct pam_settings {
	u64 lost;
	u32 stopped;
	u32 reserved;
};

struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_LRU_HASH);
	MAP_NUMBER(max_entries, 4096);
	MAP_TYPE(key, u64);
	MAP_TYPE(value, struct call);
} calls SEC(".maps");

struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_RINGBUF);
	MAP_NUMBER(max_entries, 512 * 1024);
} pam_ring SEC(".maps");

struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_ARRAY);
	MAP_NUMBER(max_entries, 1);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, struct pam_settings);
} pam_settings SEC(".maps");

/* Audit sessions whose first program was told, or that are older than this object. */
struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_LRU_HASH);
	MAP_NUMBER(max_entries, 65536);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, u8);
} known_sessions SEC(".maps");

static void *(*bpf_ringbuf_reserve)(void *ring, u64 size, u64 flags) = (void *)131;
static void (*bpf_ringbuf_submit)(void *data, u64 flags) = (void *)132;

INLINE int entered(u32 operation, u64 handle, u64 service, u32 flags)
{
	u64 thread = bpf_get_current_pid_tgid();
	struct call call = { .handle = handle, .service = service, .operation = operation, .flags = flags };

	bpf_map_update_elem(&calls, &thread, &call, BPF_ANY);
	return 0;
}

INLINE void member(char *to, u32 size, u64 handle, u32 place)
{
	u64 text = 0;

	to[0] = 0;
	bpf_probe_read_user(&text, sizeof(text), (void *)(handle + place));
	if (text)
		bpf_probe_read_user_str(to, size, (void *)text);
}

INLINE void fill_who(struct pam_record *record)
{
	struct task_struct *task = current_task();
	struct task_struct *parent = FIELD(FIELD(task, real_parent), group_leader);
	struct cred *cred = (void *)FIELD(task, cred);

	record->boot_ns = bpf_ktime_get_boot_ns();
	record->start_ns = FIELD(FIELD(task, group_leader), start_boottime);
	record->parent_start_ns = FIELD(parent, start_boottime);
	record->tgid = FIELD(task, tgid);
	record->ppid = FIELD(parent, tgid);
	record->uid = FIELD(cred, uid.val);
	record->euid = FIELD(cred, euid.val);
	record->ns_mnt = FIELD(FIELD(FIELD(task, nsproxy), mnt_ns), ns.inum);
	record->login_uid = -1;
	record->session = -1;
	if (HAS(struct task_struct, loginuid)) {
		record->login_uid = FIELD(task, loginuid.val);
		record->session = FIELD(task, sessionid);
	}
	bpf_get_current_comm(record->comm, sizeof(record->comm));
	bpf_probe_read_kernel_str(record->parent_comm, sizeof(record->parent_comm), &parent->comm);
}

/* The same program behind every function that returns: a thread is in one of them at a time, since none calls another. */
SEC("uretprobe") int on_answer(struct pt_regs *ctx)
{
	u64 thread = bpf_get_current_pid_tgid();
	struct call *call = bpf_map_lookup_elem(&calls, &thread);
	struct pam_settings *settings;
	struct pam_record *record;
	u32 only = 0;
	u64 handle;

	settings = bpf_map_lookup_elem(&pam_settings, &only);
	if (!call || !settings || settings->stopped)
		return 0;
	record = bpf_ringbuf_reserve(&pam_ring, sizeof(*record), 0);
	if (!record) {
		__sync_fetch_and_add(&settings->lost, 1);
		bpf_map_delete_elem(&calls, &thread);
		return 0;
	}
	fill_who(record);
	record->operation = call->operation;
	record->flags = call->flags;
	record->answer = ctx->ax;
	record->asked_service[0] = 0;
	handle = call->handle;
	if (call->operation == PAM_START) {
		bpf_probe_read_user(&handle, sizeof(handle), (void *)call->handle);
		bpf_probe_read_user_str(record->asked_service, sizeof(record->asked_service), (void *)call->service);
	}
	member(record->service, sizeof(record->service), handle, HANDLE_SERVICE);
	member(record->tty, sizeof(record->tty), handle, HANDLE_TTY);
	member(record->user, sizeof(record->user), handle, HANDLE_USER);
	member(record->remote_user, sizeof(record->remote_user), handle, HANDLE_REMOTE_USER);
	member(record->remote_host, sizeof(record->remote_host), handle, HANDLE_REMOTE_HOST);
	bpf_map_delete_elem(&calls, &thread);
	bpf_ringbuf_submit(record, 0);
	return 0;
}

/* pam_start(service, user, conversation, where to put the handle) */
SEC("uprobe") int on_start(struct pt_regs *ctx)
{
	return entered(PAM_START, ctx->cx, ctx->di, 0);
}

#define ON(name, operation)                                                                                                \
	SEC("uprobe") int on_##name(struct pt_regs *ctx)                                                                   \
	{                                                                                                                  \
		return entered(operation, ctx->di, 0, ctx->si);                                                            \
	}

ON(authenticate, PAM_AUTHENTICATE)
ON(acct_mgmt, PAM_ACCT_MGMT)
ON(setcred, PAM_SETCRED)
ON(open_session, PAM_OPEN_SESSION)
ON(close_session, PAM_CLOSE_SESSION)

INLINE void clear_texts(struct pam_record *record)
{
	record->asked_service[0] = 0;
	record->service[0] = 0;
	record->tty[0] = 0;
	record->user[0] = 0;
	record->remote_user[0] = 0;
	record->remote_host[0] = 0;
}

/* At the end of a successful exec. The session was given to a process that let somebody in; this is what it then started. */
SEC("tp_btf/sched_process_exec") int on_exec(void *ctx)
{
	struct task_struct *task = current_task();
	struct pam_settings *settings;
	struct pam_record *record;
	u32 only = 0, session;
	u8 one = 1;

	(void)ctx;
	if (!HAS(struct task_struct, sessionid))
		return 0;
	session = FIELD(task, sessionid);
	settings = bpf_map_lookup_elem(&pam_settings, &only);
	if (session == (u32)-1 || !settings || settings->stopped || bpf_map_lookup_elem(&known_sessions, &session))
		return 0;
	if (bpf_map_update_elem(&known_sessions, &session, &one, BPF_NOEXIST))
		return 0;
	record = bpf_ringbuf_reserve(&pam_ring, sizeof(*record), 0);
	if (!record) {
		__sync_fetch_and_add(&settings->lost, 1);
		return 0;
	}
	fill_who(record);
	clear_texts(record);
	record->operation = NEW_SESSION;
	record->flags = 0;
	record->answer = 0;
	bpf_ringbuf_submit(record, 0);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
