/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * The program that refuses blocked contents, as an object beside the main one: it is loaded only by the service, where BPF LSM is
 * active. Its maps are its own.
 */
#include "block.c"

char LICENSE[] SEC("license") = "Dual BSD/GPL";
