/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * A ring for asynchronous calls is made, and what is asked through it: operations there pass by the system calls.
 *
 * Of each process the first request of each operation is told, the others count as aggregated. The names in a request cannot
 * be read here.
 *
 * numbers: action (0 setup, 1 submit), operation, flags of a setup, entries
 */
#include "fact.h"

#define SETUP_FLAGS 8 /* offset in struct io_uring_params */

/* At the return of io_uring_setup */
AT_RETURN(on_uring_setup)
{
	struct fact_body *body;
	u32 flags = 0;
	s32 slot;

	if (result < 0)
		return 0;
	slot = begin_fact(KIND_IO_URING);
	body = fact_of(slot);
	if (slot == NO_SLOT || !body)
		return 0;
	bpf_probe_read_user(&flags, sizeof(flags), (void *)regs->si + SETUP_FLAGS);
	body->number[2] = flags;
	body->number[3] = (u32)regs->di;
	return finish_record(slot, RING_PROCESS);
}

/* match-proto: io_uring_submit_req(struct io_kiocb *req), since 6.3 */
SEC("tp_btf/io_uring_submit_req")
int on_uring_submit(u64 *ctx)
{
	struct io_kiocb *request = (void *)ctx[0];
	u32 operation = LOAD(request, opcode);
	struct fact_body *body;
	s32 slot;

	if (is_repeated(KIND_IO_URING, operation))
		return 0;
	slot = begin_fact(KIND_IO_URING);
	body = fact_of(slot);
	if (slot == NO_SLOT || !body)
		return 0;
	body->number[0] = 1;
	body->number[1] = operation;
	return finish_record(slot, RING_PROCESS);
}
