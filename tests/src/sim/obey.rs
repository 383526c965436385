//! What a simulated host does with a command: the agent's own checks, then nothing, and a receipt that says so.
//!
//! # Invariants
//!
//! - Size, signatures, host, ring and time are judged by the agent's code, under the trust root that the host enrolled under.
//! - A command is answered once; what comes again is given the same answer, marked as such.
//! - Nothing is done on this machine: a receipt says that its host is simulated. The ids are in memory, not on a disk.

use std::collections::HashMap;
use std::sync::Arc;

use picket_agent::judge::{Addressee, judge};
use picket_event::trust::TrustRoot;
use picket_event::{CommandId, Containment, HostId, ReceiptState, UnixNanos};
use picket_proto::v1;
use picket_seal::Digest;

/// What a simulated host remembers of commands.
#[derive(Debug)]
pub(super) struct Obedience {
    trust: Arc<TrustRoot>,
    answered: HashMap<CommandId, (Digest, Containment)>,
}

impl Obedience {
    /// Nobody has asked anything yet.
    pub(super) fn to(trust: Arc<TrustRoot>) -> Self {
        Self {
            trust,
            answered: HashMap::new(),
        }
    }

    /// The answer to a command; of one in rings with the word that a ring began.
    pub(super) fn answer(
        &mut self,
        host: HostId,
        signed: &v1::SignedCommand,
        start: Option<&v1::SignedStatement>,
        now: UnixNanos,
    ) -> Containment {
        let to = Addressee {
            host,
            host_epoch: HOST_EPOCH,
            trust: &self.trust,
        };
        let judged = match judge(signed, start, to, now) {
            Ok(judged) => judged,
            Err(no) => return *no,
        };
        let (id, body) = (judged.command().id, Digest::of(&signed.body));
        match self.answered.get(&id) {
            Some((same, answer)) if *same == body => {
                return Containment {
                    redelivered: true,
                    ..answer.clone()
                };
            }
            Some(_) => return judged.replayed(),
            None => {}
        }
        if let Err(no) = judged.timely(now) {
            return *no;
        }
        let answer = Containment {
            verified: true,
            ..judged.receipt(ReceiptState::Executed, EFFECT)
        };
        self.answered.insert(id, (body, answer.clone()));
        answer
    }
}

/// The generation of a simulated host's state: it never loses it.
pub(super) const HOST_EPOCH: u64 = 1;
const EFFECT: &str =
    "simulated host: the command was checked for real, and there is nothing that it could act on";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use picket_event::command::{Action, Mode};
    use picket_event::trust::{Person, Role};
    use picket_event::{Clock, SystemClock};
    use picket_seal::{Domain, SigningKey};

    use super::*;

    fn command(host: HostId, now: UnixNanos) -> picket_event::command::Command {
        picket_event::command::Command {
            id: CommandId::new([7; 16]),
            hosts: vec![host],
            host_epoch: 0,
            not_before: now,
            expires: now.plus(Duration::from_mins(15)),
            mode: Mode::Enforce,
            auto_release: None,
            exe_sha256: None,
            action: Action::BlockHash(Digest::of(b"bad")),
            reason: "test".to_owned(),
            incident: String::new(),
            dry_run_digest: None,
            break_glass: None,
            rings: Vec::new(),
            host_set: None,
        }
    }

    fn signed(body: Vec<u8>, key: &SigningKey) -> v1::SignedCommand {
        let signature = v1::Signature {
            key_id: key.public_key().key_id().as_bytes().to_vec(),
            signature: key.sign(Domain::Command, &body).as_bytes().to_vec(),
        };
        v1::SignedCommand {
            body,
            signatures: vec![signature],
            ..v1::SignedCommand::default()
        }
    }

    #[test]
    fn it_obeys_its_operators_once_and_nobody_else() {
        let (alice, thief) = (
            SigningKey::generate().unwrap(),
            SigningKey::generate().unwrap(),
        );
        let now = SystemClock.now();
        let persons = vec![Person {
            name: "alice".to_owned(),
            keys: vec![alice.public_key()],
            roles: vec![Role::Requester, Role::Approver],
        }];
        let mut obedience = Obedience::to(Arc::new(TrustRoot::first(persons, now)));
        let host = HostId::of_first_key(&thief.public_key());
        let body = command(host, now).encode();
        let stolen = obedience.answer(host, &signed(body.clone(), &thief), None, now);
        assert_eq!(
            (stolen.state, stolen.reason.as_str()),
            (ReceiptState::Refused, "unknown_key")
        );
        let asked = signed(body, &alice);
        let done = obedience.answer(host, &asked, None, now);
        assert_eq!(
            (done.state, done.verified),
            (ReceiptState::Executed, true),
            "{done:?}"
        );
        assert!(obedience.answer(host, &asked, None, now).redelivered);
        let other = HostId::of_first_key(&alice.public_key());
        assert_eq!(
            obedience.answer(other, &asked, None, now).reason,
            "wrong_host"
        );
        let late = now.plus(Duration::from_hours(1));
        let mut later = command(host, now);
        later.id = CommandId::new([8; 16]);
        let late = obedience.answer(host, &signed(later.encode(), &alice), None, late);
        assert_eq!(late.state, ReceiptState::Expired);
    }
}
