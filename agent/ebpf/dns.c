/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Names are asked for, and answered: UDP to and from port 53, as sendto, sendmsg, sendmmsg, recvfrom and recvmsg have it.
 *
 * The first kibibyte of a message is told; user space reads it. Not seen: DNS over TCP, TLS and HTTPS, write(2) and read(2) on a
 * socket, io_uring.
 *
 * numbers: response (0, 1), address of the server (two), its family, its port; texts: the message
 */
#include "fact.h"
#include "inode.h"

#define NR_SENDTO 44
#define NR_RECVFROM 45
#define NR_SENDMMSG 307
#define PORT_DNS 53
#define MESSAGES_MAX 2 /* of one sendmmsg: a resolver asks for both kinds of address at once */
#define MESSAGE_BYTES 64 /* struct mmsghdr */

/* struct user_msghdr and struct iovec, as far as they are read. */
struct message {
	u64 name;
	u64 name_len;
	u64 vectors;
	u64 vectors_len;
};

struct vector {
	u64 base;
	u64 length;
};

struct server {
	u16 family;
	u16 port; /* in network order */
	u32 v4;
	u8 v6[16];
};

/* Appends bytes of the caller's memory. */
VERIFIED_ALONE int append_user_bytes(s32 slot, u64 from, u64 bytes)
{
	struct scratch *scratch = scratch_at(slot);
	u64 length = AT_MOST(bytes, GIVEN_MAX);
	u32 at;

	if (!scratch)
		return 0;
	at = scratch->length;
	if (at > TEXT_END - TEXT_MAX)
		return 0;
	if (bpf_probe_read_user(&scratch->record[at], length, (void *)from))
		return 0;
	scratch->length = at + length;
	return length;
}

/* Whether the peer of the socket, or the address that was given, is a name server; fills in which. */
INLINE bool is_server(struct server *server, struct sock *sock, u64 address)
{
	server->family = LOAD(sock, __sk_common.skc_family);
	server->port = LOAD(sock, __sk_common.skc_dport);
	if (server->port) {
		server->v4 = LOAD(sock, __sk_common.skc_daddr);
		bpf_probe_read_kernel(server->v6, sizeof(server->v6), &sock->__sk_common.skc_v6_daddr);
	} else if (address) {
		bpf_probe_read_user(&server->family, sizeof(server->family), (void *)address);
		bpf_probe_read_user(&server->port, sizeof(server->port), (void *)address + 2);
		bpf_probe_read_user(&server->v4, sizeof(server->v4), (void *)address + 4);
		bpf_probe_read_user(server->v6, sizeof(server->v6), (void *)address + 8);
	}
	return server->port == __builtin_bswap16(PORT_DNS);
}

/* The UDP socket behind a descriptor, or NULL. */
INLINE struct sock *udp_socket_of(u32 descriptor)
{
	struct sock *sock = socket_of(descriptor);

	return sock && LOAD(sock, sk_protocol) == IPPROTO_UDP ? sock : NULL;
}

INLINE int tell_dns(const struct server *server, bool is_response, u64 from, u64 bytes)
{
	s32 slot = begin_fact(KIND_DNS);
	struct fact_body *body = fact_of(slot);

	if (slot == NO_SLOT || !body)
		return 0;
	body->number[0] = is_response;
	if (server->family == AF_INET)
		body->number[1] = server->v4;
	else
		__builtin_memcpy(&body->number[1], server->v6, sizeof(server->v6));
	body->number[3] = server->family;
	body->number[4] = PORT_DNS;
	body->text_len[0] = append_user_bytes(slot, from, bytes);
	return finish_record(slot, RING_OTHER);
}

INLINE int tell_message(struct sock *sock, u64 address, bool is_response, s64 received)
{
	struct server server = {};
	struct message message = {};
	struct vector first = {};

	bpf_probe_read_user(&message, sizeof(message), (void *)address);
	if (!is_server(&server, sock, message.name))
		return 0;
	bpf_probe_read_user(&first, sizeof(first), (void *)message.vectors);
	return tell_dns(&server, is_response, first.base, is_response ? (u64)received : first.length);
}

/* At the entry of sendto, sendmsg, sendmmsg */
AT_ENTRY(on_dns_asked)
{
	struct sock *sock = udp_socket_of(regs->di);
	struct server server = {};

	if (!sock)
		return 0;
	if (regs->orig_ax == NR_SENDTO)
		return is_server(&server, sock, regs->r8) ? tell_dns(&server, false, regs->si, regs->dx) : 0;
	tell_message(sock, regs->si, false, 0);
	if (regs->orig_ax == NR_SENDMMSG && regs->dx >= MESSAGES_MAX)
		tell_message(sock, regs->si + MESSAGE_BYTES, false, 0);
	return 0;
}

/* At the return of recvfrom, recvmsg */
AT_RETURN(on_dns_answered)
{
	struct server server = {};
	struct sock *sock;

	if (result <= 0)
		return 0;
	sock = udp_socket_of(regs->di);
	if (!sock)
		return 0;
	if (regs->orig_ax == NR_RECVFROM)
		return is_server(&server, sock, regs->r8) ? tell_dns(&server, true, regs->si, result) : 0;
	return tell_message(sock, regs->si, true, result);
}
