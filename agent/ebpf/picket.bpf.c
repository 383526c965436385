/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * The kernel programs of the Picket sensor, as one object. Each subject has its file; this one only puts them together.
 *
 *   hook (a typed raw tracepoint) -> record in scratch memory (emit.h, process.h, path.h) -> ring
 *
 * `make` writes picket.bpf.o, which is committed with its hash, so that building the agent needs no compiler for BPF.
 */
#include "attributes.c"
#include "connect.c"
#include "credentials.c"
#include "dns.c"
#include "exec.c"
#include "extend.c"
#include "failed.c"
#include "life.c"
#include "memfd.c"
#include "memory.c"
#include "mount.c"
#include "names.c"
#include "open.c"
#include "reach.c"
#include "syscall.c"
#include "uring.c"

char LICENSE[] SEC("license") = "Dual BSD/GPL";
