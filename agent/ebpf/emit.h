/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Scratch memory, the ledger and the rings: the way of a record from a hook to user space.
 *
 * - A program builds its record in a scratch slot of its CPU, because a record is longer than the stack. A slot is taken by
 *   counting up and given back on every way out, so a program that interrupts another finds the second slot.
 * - Every event that a hook recognises is counted once as generated, and once as filtered, aggregated, submitted or lost.
 *   Nothing is submitted without a sequence number, and a number is used up by a lost record too.
 * - Nobody is woken by a record unless the ring has just passed its mark: the reader looks every few milliseconds.
 */
#pragma once

#include "bpf.h"
#include "record.h"

#define TEXT_MAX 4096
#define ARGV_MAX (128 * 1024)
#define ARGV_HEAD (96 * 1024) /* of arguments that are longer; the rest of the room is for their end */
#define ENV_MAX (32 * 1024)
/* Where texts may begin and end; argv and env follow them. */
#define TEXT_END (512 + 4 * TEXT_MAX)
#define RECORD_MAX (TEXT_END + ARGV_MAX + ENV_MAX)
#define SLOTS_PER_CPU 2
#define NO_SLOT -1

#define RING_PROCESS 0
#define RING_OTHER 1

#define PREFIX_MAX 256

#define SHED_WINDOW_BITS 27 /* 134 ms */

/* A key of the prefix tries: how many bits of the text count, and the text. */
struct prefix_key {
	u32 bits;
	u8 text[PREFIX_MAX];
};

struct scratch {
	u32 busy;
	u32 length;  /* of the record so far */
	u32 walk_at; /* where the walked path begins in `walk` */
	u32 walk_flags;
	u64 walk_dentry; /* where the walk stands */
	u64 walk_mount;
	u64 walk_root; /* of walk_mount */
	u64 from; /* an address handed to a function that takes numbers only */
	struct prefix_key key;
	char walk[TEXT_MAX + 256];
	char record[RECORD_MAX] __attribute__((aligned(8)));
};

struct counts {
	u64 generated;
	u64 filtered;
	u64 aggregated;
	u64 submitted;
	u64 lost_ring;    /* no room in the ring */
	u64 lost_scratch; /* no scratch slot, or the facts could not be read */
	u64 lost_shed;    /* more than the governor allows */
};

/* All kinds in one value: user space reads the whole ledger by one call. */
struct book {
	struct counts of[KINDS];
};

/* Written by user space before the programs are attached, and when it changes its mind. */
struct settings {
	u32 own_tgid;     /* file events of the sensor itself are counted as filtered */
	u32 wake_bytes;   /* fill mark at which the reader is woken at once */
	u32 secret_trees; /* whole folders are secret: every open for reading is looked at in full */
	u32 stopped;      /* nothing is looked at any more; the kernel takes seconds to let go of all system calls */
	u64 wall_offset_ns; /* wall clock minus time since boot */
	u32 shed_above;     /* records of files and network that one control group may make in a window; 0 for any number */
	u32 reserved;
};

/* How many records of files and network a control group made in one window of SHED_WINDOW_BITS nanoseconds. */
struct spending {
	u64 window;
	u64 records;
};

struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_ARRAY);
	MAP_NUMBER(max_entries, SLOTS_PER_CPU); /* times the number of CPUs, set when loading */
	MAP_TYPE(key, u32);
	MAP_TYPE(value, struct scratch);
} scratches SEC(".maps");

struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	MAP_NUMBER(max_entries, 1);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, struct book);
} ledger SEC(".maps");

struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	MAP_NUMBER(max_entries, 2 * SLOTS_PER_CPU); /* ring times slot */
	MAP_TYPE(key, u32);
	MAP_TYPE(value, u64);
} sequences SEC(".maps");

struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_ARRAY);
	MAP_NUMBER(max_entries, 1);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, struct settings);
} settings SEC(".maps");

struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_LRU_HASH);
	MAP_NUMBER(max_entries, 1024);
	MAP_TYPE(key, u64); /* id of the control group */
	MAP_TYPE(value, struct spending);
} spendings SEC(".maps");

struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_RINGBUF);
	MAP_NUMBER(max_entries, 4 * 1024 * 1024);
} ring_process SEC(".maps");

struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_RINGBUF);
	MAP_NUMBER(max_entries, 4 * 1024 * 1024);
} ring_other SEC(".maps");

INLINE const struct settings *settings_now(void)
{
	u32 only = 0;

	return bpf_map_lookup_elem(&settings, &only);
}

INLINE bool is_stopped(void)
{
	const struct settings *set = settings_now();

	return !set || set->stopped;
}

#define COUNT(kind, field)                                                                                                 \
	({                                                                                                                 \
		u32 only_ = 0;                                                                                             \
		struct book *book_ = bpf_map_lookup_elem(&ledger, &only_);                                                 \
		if (book_)                                                                                                 \
			__sync_fetch_and_add(&book_->of[(kind) & (KINDS - 1)].field, 1);                                   \
	})

INLINE struct scratch *scratch_at(s32 slot)
{
	u32 key = slot;

	return bpf_map_lookup_elem(&scratches, &key);
}

/* Who finds one, its own, has the slot. An exchange would say it shorter, but before 5.12 nothing atomic gives a value back. */
INLINE bool take(struct scratch *scratch)
{
	__sync_fetch_and_add(&scratch->busy, 1);
	if (*(volatile u32 *)&scratch->busy == 1)
		return true;
	__sync_fetch_and_add(&scratch->busy, -1);
	return false;
}

INLINE s32 take_slot(void)
{
	u32 slot = bpf_get_smp_processor_id() * SLOTS_PER_CPU;
	struct scratch *scratch = scratch_at(slot);

	if (scratch && take(scratch))
		return slot;
	scratch = scratch_at(slot + 1);
	if (scratch && take(scratch))
		return slot + 1;
	return NO_SLOT;
}

INLINE void give_slot(s32 slot)
{
	struct scratch *scratch = scratch_at(slot);

	if (scratch)
		__sync_fetch_and_add(&scratch->busy, -1);
}

/* Whoever holds the slot is alone with its number. */
INLINE u64 next_sequence(u32 ring, s32 slot)
{
	u32 which = (u32)slot % SLOTS_PER_CPU;
	u32 key = ring * SLOTS_PER_CPU + which;
	u64 *sequence = bpf_map_lookup_elem(&sequences, &key);

	return sequence ? (*sequence)++ * SLOTS_PER_CPU + which : 0;
}

/* Only the record that lifts the fill over the mark wakes the reader; if two of them race past it, the reader's tick is next. */
INLINE u64 wake_flags(u64 fill, u32 length, const struct settings *set)
{
	if (set && fill < set->wake_bytes && fill + length >= set->wake_bytes)
		return BPF_RB_FORCE_WAKEUP;
	return BPF_RB_NO_WAKEUP;
}

/* What goes first when there is too much: details of files, and of connections that are known already. */
INLINE bool is_detail(u32 kind)
{
	return kind == KIND_FILE_ATTR || kind == KIND_FILE_LINK || kind == KIND_NET_CLOSE || kind == KIND_NET_ACCEPT ||
	       kind == KIND_DNS;
}

/* What may be left out at all: never a process, a right, or a secret. */
INLINE bool is_sheddable(u32 kind)
{
	return kind == KIND_FILE_CREATE || kind == KIND_FILE_MODIFY || kind == KIND_FILE_DELETE || kind == KIND_FILE_RENAME ||
	       kind == KIND_NET_CONNECT || kind == KIND_NET_LISTEN || is_detail(kind);
}

/* Counts this record against its control group. Two CPUs that begin a window at once may forget a few: the limit is not that sharp. */
VERIFIED_ALONE int is_too_much(u32 kind)
{
	const struct settings *set = settings_now();
	u64 group = bpf_get_current_cgroup_id();
	u64 window = bpf_ktime_get_boot_ns() >> SHED_WINDOW_BITS;
	struct spending *spending, first = { .window = window, .records = 1 };

	if (!set || !set->shed_above || !is_sheddable(kind))
		return 0;
	spending = bpf_map_lookup_elem(&spendings, &group);
	if (!spending) {
		bpf_map_update_elem(&spendings, &group, &first, BPF_ANY);
		return 0;
	}
	if (spending->window != window) {
		spending->window = window;
		spending->records = 0;
	}
	__sync_fetch_and_add(&spending->records, 1);
	return *(volatile u64 *)&spending->records > (is_detail(kind) ? set->shed_above / 2 : set->shed_above);
}

/* Hands the finished record over. The slot stays taken. Returns 0 or the error of the ring. */
VERIFIED_ALONE int submit(s32 slot, u32 ring)
{
	struct scratch *scratch = scratch_at(slot);
	struct record_header *header;
	long error;
	u32 length;

	if (!scratch)
		return -1;
	length = scratch->length;
	header = (void *)scratch->record;
	if (length > RECORD_MAX) {
		COUNT(header->kind, lost_scratch);
		return -1;
	}
	header->length = length;
	header->ring = ring;
	if (ring == RING_PROCESS) {
		header->sequence = next_sequence(RING_PROCESS, slot);
		error = bpf_ringbuf_output(&ring_process, scratch->record, length,
					   wake_flags(bpf_ringbuf_query(&ring_process, BPF_RB_AVAIL_DATA), length, settings_now()));
	} else {
		header->sequence = next_sequence(RING_OTHER, slot);
		if (is_too_much(header->kind)) {
			COUNT(header->kind, lost_shed);
			return -1;
		}
		error = bpf_ringbuf_output(&ring_other, scratch->record, length,
					   wake_flags(bpf_ringbuf_query(&ring_other, BPF_RB_AVAIL_DATA), length, settings_now()));
	}
	if (error)
		COUNT(header->kind, lost_ring);
	else
		COUNT(header->kind, submitted);
	return error;
}
