/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * The programs that refuse, as an object beside the main one: it is loaded only where protection is asked for and BPF LSM is active.
 * Its maps are the main object's, but for those that say who and what is guarded.
 */
#include "protect.c"

char LICENSE[] SEC("license") = "Dual BSD/GPL";
