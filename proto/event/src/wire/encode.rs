//! Events straight to bytes, for the host that writes thousands a second.
//!
//! What stays true: the bytes are those that the message `v1::Event` of the same event has. What is rare takes the way over that
//! message; what every event has is written as it stands, without a copy of it first.

use picket_proto::v1;
use prost::Message;
use prost::encoding::encoded_len_varint;

use crate::{
    Ancestor, Detail, Event, Exit, Fidelity, File, Fork, HashStatus, Namespaces, Process,
    ProcessUid, Reason, ScorerVerdict, User, Verdict,
};

impl Event {
    /// Appends the message `v1::Event` as one more element of the repeated field `tag`, its length before it.
    pub fn encode_field(self, tag: u32, out: &mut Vec<u8>) {
        message(out, tag, |out| event(out, &self));
    }

    /// Appends the message `v1::Event`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        event(out, self);
    }
}

fn event(out: &mut Vec<u8>, event: &Event) {
    number(out, 1, event.seq);
    enumeration(out, 2, event.kind.to_wire());
    signed(out, 3, event.time.0);
    number(out, 4, event.boot_ns);
    enumeration(out, 5, event.source.to_wire());
    if let Some(of) = &event.process {
        message(out, 6, |out| process(out, of));
    }
    for of in &event.verdicts {
        message(out, 7, |out| verdict(out, of));
    }
    match &event.detail {
        None => {}
        Some(Detail::File(of)) => message(out, 16, |out| file(out, of)),
        Some(Detail::Exit(of)) => message(out, 17, |out| exit(out, *of)),
        Some(Detail::Fork(of)) => message(out, 23, |out| fork(out, *of)),
        Some(other) => v1::event::Detail::from(other.clone()).encode(out),
    }
}

fn verdict(out: &mut Vec<u8>, verdict: &Verdict) {
    match verdict {
        Verdict::Rule(_) => v1::Verdict::from(verdict.clone())
            .encode(out)
            .expect("a vector grows as needed"),
        Verdict::Scorer(of) => message(out, 2, |out| score(out, of)),
    }
}

fn score(out: &mut Vec<u8>, score: &ScorerVerdict) {
    double(out, 1, score.bits);
    double(out, 2, score.p);
    for of in &score.reasons {
        message(out, 3, |out| reason(out, of));
    }
    number(out, 4, score.alert);
}

fn reason(out: &mut Vec<u8>, reason: &Reason) {
    bytes(out, 1, reason.factor.as_bytes());
    bytes(out, 2, reason.context.as_bytes());
    bytes(out, 3, reason.value.as_bytes());
    double(out, 4, reason.bits);
    double(out, 5, reason.usual);
    number(out, 6, reason.seen);
    number(out, 7, reason.context_seen);
    number(out, 8, reason.days);
    number(out, 9, reason.distinct);
    for level in &reason.backoff {
        message(out, 10, |out| {
            bytes(out, 1, level.context.as_bytes());
            number(out, 2, level.seen);
            number(out, 3, level.context_seen);
            number(out, 4, level.distinct);
        });
    }
}

fn process(out: &mut Vec<u8>, process: &Process) {
    bytes(out, 1, process.uid.as_bytes());
    number(out, 2, process.pid);
    number(out, 3, process.ppid);
    bytes(out, 4, uid(process.parent_uid.as_ref()));
    bytes(out, 5, process.exe.as_bytes());
    for argument in &process.argv {
        element(out, 6, argument.as_bytes());
    }
    number(out, 7, process.argc);
    number(out, 8, process.argv_bytes);
    number(out, 9, process.argv_truncated);
    bytes(out, 10, process.cwd.as_bytes());
    if let Some(of) = &process.user {
        message(out, 11, |out| user(out, of));
    }
    maybe(out, 12, process.login_uid);
    maybe(out, 13, process.session);
    bytes(out, 14, process.tty.as_bytes());
    signed(out, 15, process.start_time.map_or(0, |time| time.0));
    process_as_file(out, process);
    if let Some(of) = process.ns {
        message(out, 20, |out| namespaces(out, of));
    }
    maybe(out, 21, process.caps);
    number(out, 22, process.memfd);
    for variable in &process.env {
        message(out, 23, |out| {
            bytes(out, 1, variable.name.as_bytes());
            bytes(out, 2, variable.value.as_bytes());
        });
    }
    for of in process.ancestry.iter() {
        message(out, 24, |out| ancestor(out, of));
    }
    enumeration(out, 25, process.fidelity.map_or(0, Fidelity::to_wire));
    bytes(out, 26, process.comm.as_bytes());
    bytes(out, 27, process.script.as_bytes());
    maybe(out, 28, process.effective_uid);
    maybe(out, 29, process.gid);
    number(out, 30, process.argv_omitted_at);
    maybe(out, 31, process.effective_gid);
}

fn process_as_file(out: &mut Vec<u8>, process: &Process) {
    let sha256 = process.sha256.as_ref().map(|digest| &digest.as_bytes()[..]);
    bytes(out, 16, sha256.unwrap_or_default());
    enumeration(out, 17, process.hash_status.map_or(0, HashStatus::to_wire));
    let container = process.container.as_deref().map(str::as_bytes);
    bytes(out, 18, container.unwrap_or_default());
    bytes(out, 19, process.cgroup.as_bytes());
}

fn user(out: &mut Vec<u8>, user: &User) {
    number(out, 1, user.uid);
    bytes(out, 2, user.name.as_bytes());
}

fn namespaces(out: &mut Vec<u8>, ns: Namespaces) {
    number(out, 1, ns.pid);
    number(out, 2, ns.mnt);
    number(out, 3, ns.net);
    number(out, 4, ns.user);
}

fn ancestor(out: &mut Vec<u8>, ancestor: &Ancestor) {
    bytes(out, 1, ancestor.uid.as_bytes());
    number(out, 2, ancestor.pid);
    bytes(out, 3, ancestor.exe.as_bytes());
}

fn file(out: &mut Vec<u8>, file: &File) {
    let hash = |digest: &Option<picket_seal::Digest>| digest.map(|digest| *digest.as_bytes());
    let (before, after) = (hash(&file.sha256_before), hash(&file.sha256_after));
    bytes(out, 1, file.path.as_bytes());
    bytes(out, 2, file.new_path.as_bytes());
    maybe(out, 3, file.inode);
    maybe(out, 4, file.dev);
    maybe(out, 5, file.mode);
    maybe(out, 6, file.size);
    bytes(out, 7, before.as_ref().map_or(&[], |hash| &hash[..]));
    bytes(out, 8, after.as_ref().map_or(&[], |hash| &hash[..]));
    enumeration(out, 9, file.hash_status.map_or(0, HashStatus::to_wire));
    number(out, 10, file.sensitive);
    maybe(out, 11, file.flags);
    bytes(out, 12, file.change.as_bytes());
    maybe(out, 13, file.mode_before);
    maybe(out, 14, file.owner_uid);
    maybe(out, 15, file.owner_gid);
    bytes(out, 16, file.attribute.as_bytes());
    number(out, 17, file.path_given);
    maybe(out, 18, file.result.map(widened));
}

fn exit(out: &mut Vec<u8>, exit: Exit) {
    maybe(out, 1, exit.code.map(widened));
    maybe(out, 2, exit.signal.map(widened));
    maybe(out, 3, exit.duration_ns);
}

fn fork(out: &mut Vec<u8>, fork: Fork) {
    bytes(out, 1, fork.child_uid.as_bytes());
    number(out, 2, fork.child_pid);
}

fn uid(uid: Option<&ProcessUid>) -> &[u8] {
    uid.map(|uid| &uid.as_bytes()[..]).unwrap_or_default()
}

/// Negative numbers take ten bytes, as the format has it.
fn widened(number: i32) -> u64 {
    i64::from(number).cast_unsigned()
}

/// Seven bits at a time, the lowest first; the highest bit of a byte says that more follow. Most numbers take one byte.
#[inline]
fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

fn key(out: &mut Vec<u8>, tag: u32, wire_type: u32) {
    varint(out, u64::from(tag << 3 | wire_type));
}

/// A number that is left out if it is 0.
fn number(out: &mut Vec<u8>, tag: u32, value: impl Into<u64>) {
    let value = value.into();
    maybe(out, tag, (value != 0).then_some(value));
}

fn signed(out: &mut Vec<u8>, tag: u32, value: i64) {
    number(out, tag, value.cast_unsigned());
}

fn enumeration(out: &mut Vec<u8>, tag: u32, value: i32) {
    number(out, tag, widened(value));
}

/// A number that may be 0.
fn maybe(out: &mut Vec<u8>, tag: u32, value: Option<impl Into<u64>>) {
    if let Some(value) = value {
        key(out, tag, VARINT);
        varint(out, value.into());
    }
}

/// Bytes that are left out if there are none.
fn bytes(out: &mut Vec<u8>, tag: u32, value: &[u8]) {
    if !value.is_empty() {
        element(out, tag, value);
    }
}

/// One of several, which may be empty.
fn element(out: &mut Vec<u8>, tag: u32, value: &[u8]) {
    key(out, tag, DELIMITED);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

/// A number that is left out if it is 0.
fn double(out: &mut Vec<u8>, tag: u32, value: f64) {
    if value != 0.0 {
        key(out, tag, EIGHT_BYTES);
        out.extend_from_slice(&value.to_le_bytes());
    }
}

/// The length stands before what is not yet written: room for one byte is left, and more is made if it is longer.
fn message(out: &mut Vec<u8>, tag: u32, body: impl FnOnce(&mut Vec<u8>)) {
    key(out, tag, DELIMITED);
    let at = out.len();
    out.push(0);
    body(out);
    let length = out.len().saturating_sub(at).saturating_sub(1);
    if let (Ok(short @ 0..=0x7f), Some(place)) = (u8::try_from(length), out.get_mut(at)) {
        *place = short;
        return;
    }
    let mut rest = length as u64;
    let used = encoded_len_varint(rest);
    let (body, end) = (at.saturating_add(1), out.len());
    out.resize(end.saturating_add(used).saturating_sub(1), 0);
    out.copy_within(body..end, at.saturating_add(used));
    for (left, place) in (0..used).rev().zip(out.iter_mut().skip(at)) {
        let more = if left > 0 { 0x80 } else { 0 };
        *place = rest.to_le_bytes()[0] & 0x7f | more;
        rest >>= 7;
    }
}

const VARINT: u32 = 0;
const EIGHT_BYTES: u32 = 1;
const DELIMITED: u32 = 2;
