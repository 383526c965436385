//! What the operator of a rig can sign, and what whoever stole the collector can do with it.

use std::path::Path;

use picket_event::command::{Action, Command, Mode, Target};
use picket_event::{Clock, CommandId, HostId, ProcessUid, SystemClock, UnixNanos};
use picket_proto::v1;
use picket_seal::{Domain, SigningKey};

/// The key that the rig's operator signs commands with.
pub(crate) fn signing_key(folder: &Path) -> SigningKey {
    let bytes = std::fs::read(folder.join("signing.key")).expect("the operator has a key");
    SigningKey::from_pkcs8(&bytes).expect("without a passphrase it is PKCS#8")
}

/// An order to kill `process` on `host`, good from a minute ago for ten minutes.
pub(crate) fn kill(host: HostId, process: ProcessUid) -> Command {
    let id = picket_seal::random().expect("the kernel gives random bytes");
    Command {
        id: CommandId::new(id),
        hosts: vec![host],
        host_epoch: 0,
        not_before: minutes_from_now(-1),
        expires: minutes_from_now(10),
        mode: Mode::Enforce,
        auto_release: None,
        exe_sha256: None,
        action: Action::Kill(Target { process, pid: 0 }),
        reason: "an end-to-end test".to_owned(),
        incident: String::new(),
        dry_run_digest: None,
        break_glass: None,
        rings: Vec::new(),
        host_set: None,
    }
}

/// A moment before or after this one.
pub(crate) fn minutes_from_now(minutes: i64) -> UnixNanos {
    UnixNanos(SystemClock.now().0 + minutes * 60_000_000_000)
}

/// The command's bytes and one signature over them.
pub(crate) fn sign(command: &Command, key: &SigningKey) -> v1::SignedCommand {
    let body = command.encode();
    let signature = key.sign(Domain::Command, &body);
    v1::SignedCommand {
        body,
        signatures: vec![v1::Signature {
            key_id: key.public_key().key_id().as_bytes().to_vec(),
            signature: signature.as_bytes().to_vec(),
        }],
        ..v1::SignedCommand::default()
    }
}
