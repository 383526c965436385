/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * The programs on functions of the kernel (trampolines), as an object beside the main one: some kernels refuse them altogether.
 * Its maps are the main object's, but for the names that were asked about.
 */
#include "beyond.c"

char LICENSE[] SEC("license") = "Dual BSD/GPL";
