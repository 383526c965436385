/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * A process changes who it is: by a call (setuid and its like, capset), or by running a program that gives it more.
 *
 * A call is compared before and after. An exec is looked at before the point of no return, where the kernel has both (6.10).
 *
 * numbers: six of the old credentials, six of the new: uid|gid, euid|egid, suid|sgid (the first in the upper half), effective,
 * permitted and inheritable capabilities
 */
#include "fact.h"

#define CREDENTIALS 6

struct credentials {
	u64 number[CREDENTIALS];
};

/* What a thread was when it entered a call that may change it. */
struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_LRU_HASH);
	MAP_NUMBER(max_entries, 4096);
	MAP_TYPE(key, u64);
	MAP_TYPE(value, struct credentials);
} changing SEC(".maps");

INLINE u64 pair(u32 upper, u32 lower)
{
	return (u64)upper << 32 | lower;
}

INLINE void read_credentials(struct credentials *to, const struct cred *from)
{
	struct cred *cred = (void *)from;

	to->number[0] = pair(LOAD(cred, uid.val), LOAD(cred, gid.val));
	to->number[1] = pair(LOAD(cred, euid.val), LOAD(cred, egid.val));
	to->number[2] = pair(LOAD(cred, suid.val), LOAD(cred, sgid.val));
	bpf_probe_read_kernel(&to->number[3], sizeof(u64), &cred->cap_effective);
	bpf_probe_read_kernel(&to->number[4], sizeof(u64), &cred->cap_permitted);
	bpf_probe_read_kernel(&to->number[5], sizeof(u64), &cred->cap_inheritable);
}

/* The same of what the verifier knows, without a call for each. Since 6.3, which gave capabilities the form that is read here. */
INLINE void take_credentials(struct credentials *to, const struct cred *cred)
{
	to->number[0] = pair(cred->uid.val, cred->gid.val);
	to->number[1] = pair(cred->euid.val, cred->egid.val);
	to->number[2] = pair(cred->suid.val, cred->sgid.val);
	to->number[3] = cred->cap_effective.val;
	to->number[4] = cred->cap_permitted.val;
	to->number[5] = cred->cap_inheritable.val;
}

INLINE bool are_equal(const struct credentials *old, const struct credentials *new)
{
	u64 difference = 0;

	for (int i = 0; i < CREDENTIALS; i++)
		difference |= old->number[i] ^ new->number[i];
	return !difference;
}

INLINE int tell_change(const struct credentials *old, const struct credentials *new)
{
	struct fact_body *body;
	s32 slot;

	if (are_equal(old, new))
		return 0;
	slot = begin_fact(KIND_CRED_CHANGE);
	body = fact_of(slot);
	if (slot == NO_SLOT || !body)
		return 0;
	for (int i = 0; i < CREDENTIALS; i++) {
		body->number[i] = old->number[i];
		body->number[CREDENTIALS + i] = new->number[i];
	}
	return finish_record(slot, RING_PROCESS);
}

/* At the entry of setuid, setgid, setreuid, setregid, setresuid, setresgid, capset */
AT_ENTRY(on_change_begins)
{
	u64 thread = bpf_get_current_pid_tgid();
	struct credentials now;

	read_credentials(&now, FIELD(current_task(), cred));
	bpf_map_update_elem(&changing, &thread, &now, BPF_ANY);
	return 0;
}

/* At the return of the same */
AT_RETURN(on_change_ends)
{
	u64 thread = bpf_get_current_pid_tgid();
	struct credentials *found = bpf_map_lookup_elem(&changing, &thread);
	struct credentials old, new;

	if (!found)
		return 0;
	old = *found;
	bpf_map_delete_elem(&changing, &thread);
	if (result)
		return 0;
	read_credentials(&new, FIELD(current_task(), cred));
	return tell_change(&old, &new);
}

/* match-proto: sched_prepare_exec(struct task_struct *task, struct linux_binprm *bprm) */
SEC("tp_btf/sched_prepare_exec")
int on_prepare_exec(u64 *ctx)
{
	struct task_struct *task = (void *)ctx[0];
	struct linux_binprm *bprm = (void *)ctx[1];
	struct credentials old, new;

	take_credentials(&old, task->cred);
	take_credentials(&new, bprm->cred);
	/* Every exec of root without a set-user-ID bit moves nothing but the saved ids to the effective ones. */
	if (old.number[0] == new.number[0] && old.number[1] == new.number[1] && !(new.number[4] & ~old.number[4]))
		return 0;
	return tell_change(&old, &new);
}
