/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * The kernel programs of the Picket sensor, as one object. Each subject has its file; this one only puts them together.
 *
 *   hook (a typed raw tracepoint) -> record in scratch memory (emit.h, process.h, path.h) -> ring
 *
 * `make` writes picket.bpf.o, which is committed with its hash, so that building the agent needs no compiler for BPF.
 */
#include "connect.c"
#include "exec.c"
#include "life.c"
#include "memfd.c"
#include "names.c"
#include "open.c"
#include "syscall.c"

char LICENSE[] SEC("license") = "Dual BSD/GPL";
