/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * A process connects: TCP when the first packet is about to leave, UDP when a peer is set. It listens, takes a connection, and
 * a TCP connection ends.
 *
 * A connection often ends outside any process, so it is remembered who began it; the end is told as theirs.
 *
 * The address comes from the kernel's socket at the change to SYN_SENT, which happens in the caller's own context whatever call
 * led there (connect, a fast open, io_uring). For connect(2) the event waits until the call returns, so that it has the result
 * and the local port. Attempts that fail before a packet leaves have the address from the caller's memory (FLAG_NAME_GIVEN).
 */
#include "inode.h"
#include "path.h"
#include "syscall.h"

#define AF_INET 2
#define AF_INET6 10
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define TCP_SYN_SENT 2
#define TCP_CLOSE 7
#define S_IFSOCK 0140000
#define NR_CONNECT 42 /* x86-64 */
#define NO_CALL -1ULL
#define STACK_BYTES 16384 /* x86-64 */
#define PT_REGS_BYTES 168 /* of every kernel that has no helper */
#define PF_IO_WORKER 0x00000010
#define PF_USER_WORKER 0x00004000
#define PF_KTHREAD 0x00200000

#define EPERM 1
#define EACCES 13
#define EADDRNOTAVAIL 99
#define ENETUNREACH 101
#define EHOSTUNREACH 113
#define EINPROGRESS 115

/* What a connect(2) under way is about, by thread. */
struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_LRU_HASH);
	MAP_NUMBER(max_entries, 4096);
	MAP_TYPE(key, u64);
	MAP_TYPE(value, struct connect_body);
} connecting SEC(".maps");

/* Who began or took a connection. */
struct owner {
	struct record_actor actor;
	u32 flags;
	u32 padding;
};

/* By the address of its socket. */
struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_LRU_HASH);
	MAP_NUMBER(max_entries, 8192);
	MAP_TYPE(key, u64);
	MAP_TYPE(value, struct owner);
} connected SEC(".maps");

INLINE u16 host_order(u16 port)
{
	return __builtin_bswap16(port);
}

INLINE void fill_local(struct connect_body *body, struct sock *sock)
{
	if (body->family == AF_INET) {
		u32 address = LOAD(sock, __sk_common.skc_rcv_saddr);

		__builtin_memcpy(body->local, &address, sizeof(address));
	} else {
		bpf_probe_read_kernel(body->local, sizeof(body->local), &sock->__sk_common.skc_v6_rcv_saddr);
	}
	body->local_port = LOAD(sock, __sk_common.skc_num); /* 0 once the socket has closed, unlike the port as sent */
	if (!body->local_port)
		body->local_port = host_order(LOAD((struct inet_sock *)sock, inet_sport));
}

INLINE void fill_peer(struct connect_body *body, struct sock *sock)
{
	body->family = LOAD(sock, __sk_common.skc_family);
	body->protocol = LOAD(sock, sk_protocol);
	body->remote_port = host_order(LOAD(sock, __sk_common.skc_dport));
	if (body->family == AF_INET) {
		u32 address = LOAD(sock, __sk_common.skc_daddr);

		__builtin_memcpy(body->remote, &address, sizeof(address));
	} else {
		bpf_probe_read_kernel(body->remote, sizeof(body->remote), &sock->__sk_common.skc_v6_daddr);
	}
}

INLINE s32 begin_network(u32 kind, const struct connect_body *about, u32 flags)
{
	struct scratch *scratch;
	s32 slot;

	COUNT(kind, generated);
	slot = begin_record(kind, sizeof(struct connect_body));
	scratch = scratch_at(slot);
	if (slot == NO_SLOT || !scratch)
		return NO_SLOT;
	raise_flag(scratch, flags);
	*(struct connect_body *)body_of(scratch) = *about;
	return slot;
}

INLINE int tell_network(u32 kind, const struct connect_body *about, u32 flags)
{
	s32 slot = begin_network(kind, about, flags);

	return slot == NO_SLOT ? 0 : finish_record(slot, RING_OTHER);
}

INLINE int tell_connect(const struct connect_body *about, u32 flags)
{
	return tell_network(KIND_NET_CONNECT, about, flags);
}

/* Tells of a new connection, and remembers whose it is. */
INLINE int tell_connected(u32 kind, struct sock *sock, const struct connect_body *about, u32 flags)
{
	s32 slot = begin_network(kind, about, flags);
	struct scratch *scratch = scratch_at(slot);
	struct owner owner = {.flags = kind == KIND_NET_ACCEPT ? FLAG_INBOUND : 0};
	u64 key = (u64)sock;

	if (slot == NO_SLOT || !scratch)
		return 0;
	fill_actor(actor_of(scratch));
	owner.actor = *actor_of(scratch);
	if (about->protocol == IPPROTO_TCP)
		bpf_map_update_elem(&connected, &key, &owner, BPF_ANY);
	return finish_head(slot, RING_OTHER);
}

/* The number of the system call that the current task is in. Before 5.15 no helper finds the registers: they end where the stack does. */
INLINE u64 call_under_way(struct task_struct *task)
{
	struct pt_regs *regs;

	if (HAS_HELPER(BPF_FUNC_task_pt_regs)) {
		regs = bpf_task_pt_regs(task);
		return regs ? regs->orig_ax : NO_CALL;
	}
	regs = FIELD(task, stack) + STACK_BYTES - PT_REGS_BYTES;
	return LOAD(regs, orig_ax);
}

/* Whether the current task is inside connect(2) and will come back through on_connect. */
INLINE bool in_connect_call(void)
{
	struct task_struct *task = current_task();

	if ((FIELD(task, flags) & (PF_KTHREAD | PF_IO_WORKER | PF_USER_WORKER)) || is_compat())
		return false;
	return call_under_way(task) == NR_CONNECT;
}

/* match-proto: inet_sock_set_state(const struct sock *sk, const int oldstate, const int newstate) */
SEC("tp_btf/inet_sock_set_state")
int on_syn_sent(u64 *ctx)
{
	struct sock *sock = (void *)ctx[0];
	u64 thread = bpf_get_current_pid_tgid();
	struct connect_body body = {};

	if ((int)ctx[2] != TCP_SYN_SENT)
		return 0;
	fill_peer(&body, sock);
	fill_local(&body, sock);
	if (body.family != AF_INET && body.family != AF_INET6)
		return 0;
	if (in_connect_call())
		bpf_map_update_elem(&connecting, &thread, &body, BPF_ANY);
	else
		tell_connected(KIND_NET_CONNECT, sock, &body, 0);
	return 0;
}

/* The payload in both directions: the kernel counts the peer's FIN as a byte received and a segment sent again as sent twice. */
INLINE void fill_bytes(struct connect_body *body, struct tcp_sock *tcp)
{
	u64 finished = LOAD((struct sock_common *)tcp, skc_flags) >> SOCK_DONE & 1;
	u64 received = LOAD(tcp, bytes_received);

	body->bytes_in = received - (received ? finished : 0);
	body->bytes_out = LOAD(tcp, bytes_sent) - LOAD(tcp, bytes_retrans);
}

/* match-proto: inet_sock_set_state(const struct sock *sk, const int oldstate, const int newstate) */
SEC("tp_btf/inet_sock_set_state")
int on_tcp_close(u64 *ctx)
{
	struct sock *sock = (void *)ctx[0];
	struct connect_body body = {};
	struct scratch *scratch;
	struct owner *owner;
	u64 key = (u64)sock;
	s32 slot;

	if ((int)ctx[2] != TCP_CLOSE)
		return 0;
	owner = bpf_map_lookup_elem(&connected, &key);
	if (!owner)
		return 0;
	fill_peer(&body, sock);
	fill_local(&body, sock);
	fill_bytes(&body, (struct tcp_sock *)sock);
	slot = begin_network(KIND_NET_CLOSE, &body, owner->flags);
	scratch = scratch_at(slot);
	if (slot != NO_SLOT && scratch) {
		*actor_of(scratch) = owner->actor;
		finish_head(slot, RING_OTHER);
	}
	bpf_map_delete_elem(&connected, &key);
	return 0;
}

INLINE struct sock *socket_of(u32 descriptor)
{
	struct file *file = file_of(descriptor);

	if (!file || (LOAD(LOAD(file, f_inode), i_mode) & S_IFMT) != S_IFSOCK)
		return NULL;
	return LOAD((struct socket *)LOAD(file, private_data), sk);
}

/* At the return of listen */
AT_RETURN(on_listen)
{
	struct sock *sock = socket_of(regs->di);
	struct connect_body body = {};

	if (result || !sock)
		return 0;
	body.family = LOAD(sock, __sk_common.skc_family);
	if (body.family != AF_INET && body.family != AF_INET6)
		return 0;
	body.protocol = LOAD(sock, sk_protocol);
	fill_local(&body, sock);
	return tell_network(KIND_NET_LISTEN, &body, 0);
}

/* At the return of accept, accept4 */
AT_RETURN(on_accept)
{
	struct connect_body body = {};
	struct sock *sock;

	if (result < 0)
		return 0;
	sock = socket_of(result);
	if (!sock)
		return 0;
	fill_peer(&body, sock);
	if (body.family != AF_INET && body.family != AF_INET6)
		return 0;
	fill_local(&body, sock);
	return tell_connected(KIND_NET_ACCEPT, sock, &body, 0);
}

/* Takes the peer from the address that the caller gave. */
INLINE bool fill_peer_given(struct connect_body *body, struct sock *sock, u64 address)
{
	bpf_probe_read_user(&body->family, sizeof(body->family), (void *)address);
	bpf_probe_read_user(&body->remote_port, sizeof(body->remote_port), (void *)address + 2);
	body->remote_port = host_order(body->remote_port);
	body->protocol = LOAD(sock, sk_protocol);
	if (body->family == AF_INET)
		return bpf_probe_read_user(body->remote, 4, (void *)address + 4) == 0;
	if (body->family == AF_INET6)
		return bpf_probe_read_user(body->remote, sizeof(body->remote), (void *)address + 8) == 0;
	return false;
}

INLINE bool never_left(s64 result)
{
	return result == -ENETUNREACH || result == -EHOSTUNREACH || result == -EPERM || result == -EACCES ||
	       result == -EADDRNOTAVAIL;
}

/* A connect without a first packet: UDP, or refused on the way out. */
INLINE int tell_without_packet(struct sock *sock, u64 address, s64 result)
{
	struct connect_body body = {};

	if (!fill_peer_given(&body, sock, address) || !body.remote_port)
		return 0;
	if (body.protocol != IPPROTO_UDP && !(body.protocol == IPPROTO_TCP && never_left(result)))
		return 0;
	fill_local(&body, sock);
	body.result = result;
	return tell_connect(&body, FLAG_RESULT_KNOWN | FLAG_NAME_GIVEN);
}

/* At the return of connect */
AT_RETURN(on_connect)
{
	u64 thread = bpf_get_current_pid_tgid();
	struct connect_body *begun;
	struct connect_body body;
	struct sock *sock = socket_of(regs->di);

	if (!sock)
		return 0;
	begun = bpf_map_lookup_elem(&connecting, &thread);
	if (!begun)
		return tell_without_packet(sock, regs->si, result);
	body = *begun;
	bpf_map_delete_elem(&connecting, &thread);
	fill_local(&body, sock);
	body.result = result;
	if (result && result != -EINPROGRESS)
		return tell_connect(&body, FLAG_RESULT_KNOWN);
	return tell_connected(KIND_NET_CONNECT, sock, &body, FLAG_RESULT_KNOWN);
}
