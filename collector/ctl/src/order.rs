//! Building a containment command and signing it.
//!
//! # Invariants
//!
//! - The command is encoded once; exactly these bytes are signed and sent.
//! - A command names its hosts, its end and its target's name for ever, never a pid alone.

use std::time::Duration;

use picket_event::command::{Action, Command, HostSetError, MAX_COMMAND_BYTES, Mode};
use picket_event::{CommandId, HostId, UnixNanos};
use picket_proto::v1;
use picket_seal::{Digest, Domain, SealError, SigningKey};

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    /// What to do, to whom.
    pub(crate) action: Action,
    /// Where.
    pub(crate) hosts: Vec<HostId>,
    /// The state generation of the only host; 0: any.
    pub(crate) host_epoch: u64,
    /// Whether to act.
    pub(crate) mode: Mode,
    /// The executable must still be this one.
    pub(crate) exe_sha256: Option<Digest>,
    /// Why.
    pub(crate) reason: String,
    /// How long it is good for.
    pub(crate) ttl: Duration,
    /// After which time its effect undoes itself.
    pub(crate) auto_release: Option<Duration>,
    /// Of the dry run that it follows.
    pub(crate) dry_run_digest: Option<Digest>,
    /// Of the code that ends it on the host itself.
    pub(crate) break_glass: Option<Digest>,
    /// How many of the hosts, in their order, have it after each ring; empty: all at once.
    pub(crate) rings: Vec<u32>,
    /// Whether the bytes have the root of the hosts in place of all of them.
    pub(crate) by_root: bool,
}

/// Why there is no signed command.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OrderError {
    /// No random id.
    #[error("failed to make a command id")]
    Id(#[source] SealError),
    /// Hosts that are no set.
    #[error("failed to make the tree of the hosts")]
    Hosts(#[source] HostSetError),
    /// The reason is a book.
    #[error("the command takes {0} bytes, more than {MAX_COMMAND_BYTES}: shorten the reason")]
    TooLarge(usize),
}

impl Order {
    /// The command, with a fresh id, good from about `now`.
    pub(crate) fn command(self, now: UnixNanos) -> Result<Command, OrderError> {
        let id = picket_seal::random().map_err(OrderError::Id)?;
        let not_before = now.minus(SKEW);
        let command = Command {
            id: CommandId::new(id),
            hosts: self.hosts,
            host_set: None,
            host_epoch: self.host_epoch,
            not_before,
            expires: now.plus(self.ttl).min(not_before.plus(LONGEST)),
            mode: self.mode,
            auto_release: self.auto_release,
            exe_sha256: self.exe_sha256,
            action: self.action,
            reason: self.reason,
            incident: String::new(),
            dry_run_digest: self.dry_run_digest,
            break_glass: self.break_glass,
            rings: self.rings,
        };
        if self.by_root {
            return command.by_root().map_err(OrderError::Hosts);
        }
        Ok(command)
    }
}

/// The command's bytes and the signature over exactly them.
pub(crate) fn sign(command: &Command, key: &SigningKey) -> Result<v1::SignedCommand, OrderError> {
    let body = command.encode();
    let signature = key.sign(Domain::Command, &body);
    let size = body.len() + SIGNATURE_BYTES;
    if size > MAX_COMMAND_BYTES {
        return Err(OrderError::TooLarge(size));
    }
    Ok(v1::SignedCommand {
        body,
        signatures: vec![v1::Signature {
            key_id: key.public_key().key_id().0.to_vec(),
            signature: signature.0.to_vec(),
        }],
        host_ids: command.beside(),
        proof: None,
    })
}

/// How much earlier than our clock a host's clock may be.
const SKEW: Duration = Duration::from_secs(30);
/// No host takes a command that is good for longer.
const LONGEST: Duration = Duration::from_hours(24);
/// What a signature adds, at most.
const SIGNATURE_BYTES: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;
    use picket_event::ProcessUid;
    use picket_event::command::Target;
    use picket_event::trust::{ActionClass, Person, Role, Signed, TrustRoot};

    const NOW: UnixNanos = UnixNanos(1_767_607_200_000_000_000);

    fn order() -> Order {
        let target = Target {
            process: ProcessUid::new([7; 16]),
            pid: 4242,
        };
        Order {
            action: Action::KillTree(target),
            hosts: vec![HostId::new([1; 32])],
            host_epoch: 3,
            mode: Mode::Enforce,
            exe_sha256: Some(Digest::of(b"sh")),
            reason: "reverse shell".to_owned(),
            ttl: Duration::from_mins(15),
            auto_release: None,
            dry_run_digest: None,
            break_glass: None,
            rings: Vec::new(),
            by_root: false,
        }
    }

    #[test]
    fn what_is_signed_is_what_was_asked_for() {
        let key = SigningKey::generate().unwrap();
        let command = order().command(NOW).unwrap();
        let signed = sign(&command, &key).unwrap();
        assert_eq!(Command::decode(&signed.body), Ok(command.clone()));
        assert_eq!(command.expires.since(NOW), Duration::from_mins(15));
        assert_eq!(NOW.since(command.not_before), SKEW);
        assert_eq!(command.action.name(), "kill-tree");
    }

    #[test]
    fn no_command_is_good_for_longer_than_a_host_takes() {
        let order = Order {
            ttl: LONGEST,
            ..order()
        };
        let command = order.command(NOW).unwrap();
        assert_eq!(command.expires.since(command.not_before), LONGEST);
    }

    #[test]
    fn two_commands_never_have_one_id() {
        let ids = [
            order().command(NOW).unwrap().id,
            order().command(NOW).unwrap().id,
        ];
        assert_ne!(ids[0], ids[1]);
    }

    #[test]
    fn a_trust_root_that_names_the_key_approves_the_command_and_no_changed_one() {
        let key = SigningKey::generate().unwrap();
        let person = Person {
            name: "alice".to_owned(),
            keys: vec![key.public_key()],
            roles: vec![Role::Requester],
        };
        let root = TrustRoot::first(vec![person], NOW);
        let signed = sign(&order().command(NOW).unwrap(), &key).unwrap();
        let approve = |body: &[u8]| {
            let signed = Signed {
                domain: Domain::Command,
                body,
                signatures: &signed.signatures,
            };
            root.approve(ActionClass::Destructive, signed, NOW)
                .map(|standing| standing.signers())
        };
        assert_eq!(approve(&signed.body), Ok(vec!["alice".to_owned()]));
        let mut changed = signed.body.clone();
        *changed.last_mut().unwrap() ^= 1;
        assert!(approve(&changed).is_err());
    }

    #[test]
    fn ten_thousand_hosts_fit_into_a_command_by_their_root_and_go_beside_it() {
        let key = SigningKey::generate().unwrap();
        let hosts = (0..10_000_u32).rev();
        let hosts = hosts.map(|n| HostId::new(*Digest::of(&n.to_le_bytes()).as_bytes()));
        let order = Order {
            hosts: hosts.collect(),
            rings: vec![1, 100, 10_000],
            by_root: true,
            ..order()
        };
        let command = order.clone().command(NOW).unwrap();
        let signed = sign(&command, &key).unwrap();
        assert!(signed.body.len() < 300, "{}", signed.body.len());
        assert_eq!(Command::read(&signed), Ok(command.clone()));
        assert_eq!(command.hosts_of_ring(1), &order.hosts[..1]);
        let listed = Order {
            by_root: false,
            ..order
        };
        let refused = sign(&listed.command(NOW).unwrap(), &key);
        assert!(matches!(refused, Err(OrderError::TooLarge(_))));
        let twice = Order {
            hosts: vec![HostId::new([1; 32]); 70],
            by_root: true,
            ..self::order()
        };
        assert!(matches!(twice.command(NOW), Err(OrderError::Hosts(_))));
    }

    #[test]
    fn a_reason_without_end_is_refused() {
        let key = SigningKey::generate().unwrap();
        let long = Order {
            reason: "x".repeat(MAX_COMMAND_BYTES),
            ..order()
        };
        let refused = sign(&long.command(NOW).unwrap(), &key);
        assert!(matches!(refused, Err(OrderError::TooLarge(_))));
    }
}
