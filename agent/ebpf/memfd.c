/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* A file in memory is made. Its name is read from the kernel's file, `memfd:` included. */
#include "path.h"
#include "syscall.h"

/* At the return of memfd_create */
AT_RETURN(on_memfd_create)
{
	s64 descriptor = result;
	struct scratch *scratch;
	struct memfd_body *body;
	struct dentry *dentry;
	u32 length;
	s32 slot;

	if (descriptor < 0)
		return 0;
	COUNT(KIND_MEMFD, generated);
	slot = begin_record(KIND_MEMFD, sizeof(struct memfd_body));
	scratch = scratch_at(slot);
	if (slot == NO_SLOT || !scratch)
		return 0;
	dentry = LOAD(file_of(descriptor), f_path.dentry);
	length = LOAD(dentry, d_name.len) & NAME_MAX;
	body = body_of(scratch);
	body->flags = regs->si;
	body->name_len = length;
	bpf_probe_read_kernel(body + 1, length, LOAD(dentry, d_name.name));
	scratch->length += length;
	finish_record(slot, RING_PROCESS);
	return 0;
}
