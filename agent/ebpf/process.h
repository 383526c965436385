/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Who acts: the facts about the current task that open every record.
 *
 * A process is its thread group: identity is (tgid, start of the group's leader), also when another thread acts.
 */
#pragma once

#include "emit.h"

INLINE u32 pid_namespace_of(struct task_struct *task)
{
	/* Children are made in it; it is the task's own but for the moment between unshare(CLONE_NEWPID) and fork. */
	return FIELD(FIELD(FIELD(task, nsproxy), pid_ns_for_children), ns.inum);
}

INLINE void fill_terminal(struct record_actor *actor, struct task_struct *task)
{
	struct tty_struct *tty = FIELD(FIELD(task, signal), tty);

	actor->tty[0] = 0;
	if (tty)
		bpf_probe_read_kernel_str(actor->tty, sizeof(actor->tty), &tty->name);
}

INLINE void fill_credentials(struct record_actor *actor, struct task_struct *task)
{
	struct cred *cred = (void *)FIELD(task, cred);

	actor->uid = FIELD(cred, uid.val);
	actor->euid = FIELD(cred, euid.val);
	actor->gid = FIELD(cred, gid.val);
	actor->egid = FIELD(cred, egid.val);
	actor->ns_user = FIELD(FIELD(cred, user_ns), ns.inum);
	bpf_probe_read_kernel(&actor->caps, sizeof(actor->caps), &cred->cap_effective);
	actor->login_uid = -1;
	actor->session = -1;
	if (HAS(struct task_struct, loginuid)) {
		actor->login_uid = FIELD(task, loginuid.val);
		actor->session = FIELD(task, sessionid);
	}
}

INLINE void fill_actor(struct record_actor *actor)
{
	struct task_struct *task = current_task();
	struct task_struct *parent = FIELD(task, real_parent);
	struct nsproxy *spaces = FIELD(task, nsproxy);

	actor->start_ns = FIELD(FIELD(task, group_leader), start_boottime);
	actor->parent_start_ns = FIELD(FIELD(parent, group_leader), start_boottime);
	actor->cgroup = bpf_get_current_cgroup_id();
	actor->tgid = FIELD(task, tgid);
	actor->tid = FIELD(task, pid);
	actor->ppid = FIELD(parent, tgid);
	actor->ns_pid = pid_namespace_of(task);
	actor->ns_mnt = FIELD(FIELD(spaces, mnt_ns), ns.inum);
	actor->ns_net = FIELD(FIELD(spaces, net_ns), ns.inum);
	actor->reserved = 0;
	fill_credentials(actor, task);
	fill_terminal(actor, task);
	bpf_get_current_comm(actor->comm, sizeof(actor->comm));
}

/* Takes a slot and opens a record in it: room for head, actor and body. Gives the slot, or NO_SLOT with the loss counted. */
VERIFIED_ALONE int begin_record(u32 kind, u32 body_size)
{
	s32 slot = take_slot();
	struct scratch *scratch = scratch_at(slot);
	struct record_header *header;

	if (slot == NO_SLOT || !scratch) {
		COUNT(kind, lost_scratch);
		return NO_SLOT;
	}
	header = (void *)scratch->record;
	header->kind = kind;
	header->flags = 0;
	scratch->length = sizeof(struct record_header) + sizeof(struct record_actor) + body_size;
	return slot;
}

INLINE struct record_actor *actor_of(struct scratch *scratch)
{
	return (void *)scratch->record + sizeof(struct record_header);
}

/* Fills the rest of the head, hands the record over and gives the slot back. The actor is already in it. */
VERIFIED_ALONE int finish_head(s32 slot, u32 ring)
{
	struct scratch *scratch = scratch_at(slot);
	struct record_header *header;
	int error;

	if (!scratch)
		return -1;
	header = (void *)scratch->record;
	header->version = RECORD_VERSION;
	header->cpu = bpf_get_smp_processor_id();
	header->boot_ns = bpf_ktime_get_boot_ns();
	error = submit(slot, ring);
	give_slot(slot);
	return error;
}

/* Fills head and actor, hands the record over and gives the slot back. Returns 0 or the error of the ring. */
VERIFIED_ALONE int finish_record(s32 slot, u32 ring)
{
	struct scratch *scratch = scratch_at(slot);

	if (!scratch)
		return -1;
	fill_actor(actor_of(scratch));
	return finish_head(slot, ring);
}

/* Gives the slot back without a record. */
INLINE int drop_record(s32 slot)
{
	give_slot(slot);
	return 0;
}

/* The body of the record that is being built. Valid for any body of record.h. */
INLINE void *body_of(struct scratch *scratch)
{
	return scratch->record + sizeof(struct record_header) + sizeof(struct record_actor);
}

INLINE void raise_flag(struct scratch *scratch, u32 flag)
{
	((struct record_header *)scratch->record)->flags |= flag;
}

/* Whether the sensor itself is acting. What it does with files is never an event, or it would feed itself. */
INLINE bool is_own(void)
{
	const struct settings *set = settings_now();

	return set && set->own_tgid == bpf_get_current_pid_tgid() >> 32;
}
