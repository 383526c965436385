/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * What the programs ask of the kernel: the helpers they call, and the macros that describe maps and relocated reads.
 *
 * The numbers are the kernel's stable helper numbers (include/uapi/linux/bpf.h). No further header is needed to build.
 */
#pragma once

#include "vmlinux.h"

#define SEC(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))
/* Verified on its own, once: what keeps loops within the verifier's budget. Takes and returns numbers only. */
#define VERIFIED_ALONE __attribute__((noinline))

/* Members of a map definition. */
#define MAP_NUMBER(name, value) int(*name)[value]
#define MAP_TYPE(name, type) typeof(type) *name

static void *(*bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
/* What changes a map gives 32 bits: before Linux 6.4 the upper half of the register means nothing. */
static int (*bpf_map_update_elem)(void *map, const void *key, const void *value, u64 flags) = (void *)2;
static int (*bpf_map_delete_elem)(void *map, const void *key) = (void *)3;
static u32 (*bpf_get_smp_processor_id)(void) = (void *)8;
static long (*bpf_tail_call)(void *ctx, void *programs, u32 index) = (void *)12;
static u64 (*bpf_get_current_pid_tgid)(void) = (void *)14;
static long (*bpf_get_current_comm)(void *to, u32 size) = (void *)16;
static u64 (*bpf_get_current_task)(void) = (void *)35;
static u64 (*bpf_get_current_cgroup_id)(void) = (void *)80;
static long (*bpf_probe_read_user)(void *to, u32 size, const void *from) = (void *)112;
static long (*bpf_probe_read_kernel)(void *to, u32 size, const void *from) = (void *)113;
static long (*bpf_probe_read_user_str)(void *to, u32 size, const void *from) = (void *)114;
static long (*bpf_probe_read_kernel_str)(void *to, u32 size, const void *from) = (void *)115;
static u64 (*bpf_ktime_get_boot_ns)(void) = (void *)125;
static long (*bpf_ringbuf_output)(void *ring, void *data, u64 size, u64 flags) = (void *)130;
static u64 (*bpf_ringbuf_query)(void *ring, u64 flags) = (void *)134;
static struct task_struct *(*bpf_get_current_task_btf)(void) = (void *)158;
static struct pt_regs *(*bpf_task_pt_regs)(struct task_struct *task) = (void *)175;
static long (*bpf_get_func_arg)(void *ctx, u32 number, u64 *value) = (void *)183;
static long (*bpf_get_func_ret)(void *ctx, u64 *value) = (void *)184;

#define BPF_ANY 0
#define BPF_NOEXIST 1
#define BPF_RB_NO_WAKEUP 1
#define BPF_RB_FORCE_WAKEUP 2
#define BPF_RB_AVAIL_DATA 0
#define BPF_F_NO_PREALLOC 1

/* Reads one field through a pointer that the verifier does not know. Gives zero where memory cannot be read. */
#define LOAD(pointer, field)                                                                                               \
	({                                                                                                                 \
		typeof((pointer)->field) value_;                                                                           \
		bpf_probe_read_kernel(&value_, sizeof(value_), (const void *)&(pointer)->field);                           \
		value_;                                                                                                    \
	})

/* Whether the running kernel has this field. */
#define HAS(type, field) __builtin_preserve_field_info(((typeof(type) *)0)->field, 2)

/* Whether the running kernel has this helper: BPF_FUNC_x of its `enum bpf_func_id`. */
#define HAS_HELPER(name) __builtin_preserve_enum_value(*(enum bpf_func_id *)name, 0)

/* The current task. Since 5.11 the verifier knows its type; before, it is an address like any other. */
INLINE struct task_struct *current_task(void)
{
	return HAS_HELPER(BPF_FUNC_get_current_task_btf) ? bpf_get_current_task_btf() : (void *)bpf_get_current_task();
}

/* Reads a field of the current task, or of what it leads to: directly where the verifier knows the type. */
#define FIELD(pointer, field)                                                                                              \
	({                                                                                                                 \
		typeof(pointer) from_ = (pointer);                                                                         \
		HAS_HELPER(BPF_FUNC_get_current_task_btf) ? from_->field : LOAD(from_, field);                             \
	})

/* Where a field lies in the running kernel's type. */
#define OFFSET(type, field) __builtin_preserve_field_info(((typeof(type) *)0)->field, 0)

/* The smaller of the two, in a form that the verifier follows: the compiler may not move or split the comparison. */
#define AT_MOST(value, limit)                                                                                              \
	({                                                                                                                 \
		u64 bounded_ = (value);                                                                                    \
		asm volatile("if %0 <= %1 goto +1\n\t%0 = %1" : "+r"(bounded_) : "i"(limit));                              \
		bounded_;                                                                                                  \
	})
