//! The trust root of this host, and who may change it: its own persons, or root on the host itself.
//!
//! # Invariants
//!
//! - The collector only carries: a version is taken if the one in force lets it, and a lower one never is.
//! - The new one is on disk before anything is believed because of it, whole or not at all.
//! - Each change is an event, and so is each refusal.

use std::io::ErrorKind;

use picket_event::trust::{TrustRoot, from_pem};
use picket_event::{CommandId, Containment, ReceiptState};
use picket_proto::v1;
use picket_seal::Digest;
use tokio::sync::watch;

use super::{Responder, Told};
use crate::failure::chain;
use crate::state::host::{self, REPLACEMENT};

#[cfg(test)]
mod tests;

impl Responder {
    /// Hears of each change.
    pub(crate) fn trust(&self) -> watch::Receiver<Told> {
        self.believer.told.subscribe()
    }

    /// Takes a version that the collector offers.
    pub(crate) fn take_trust(&mut self, signed: &v1::SignedTrustRoot) -> Vec<Containment> {
        let has = self.believer.trust.version;
        match self.believer.trust.succeed(signed, self.now()) {
            Ok((next, signers)) => {
                let effect = format!("trust root {} took the place of {has}", next.version);
                vec![self.believe(next, &signed.body, (signers, "rotated"), effect)]
            }
            // It was offered twice.
            Err(_) if is_known(signed, has) => {
                self.tell(String::new());
                Vec::new()
            }
            Err(error) => {
                let reason = chain(&error);
                tracing::error!(reason, "refused a trust root");
                self.tell(reason.clone());
                if !self.may_tell_refusal() {
                    return Vec::new();
                }
                vec![receipt(
                    &signed.body,
                    ReceiptState::Refused,
                    "trust_root",
                    reason,
                )]
            }
        }
    }

    /// Takes the version that root on this host put there, whatever its number and whoever signed it.
    pub(crate) fn take_replacement(&mut self) -> Vec<Containment> {
        let path = self.state.path(REPLACEMENT);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Vec::new(),
            Err(error) => {
                tracing::error!(%error, "the trust root that was put there cannot be read");
                String::new()
            }
        };
        let has = self.believer.trust.version;
        let answer = match from_pem(&text) {
            Ok((signed, next)) => {
                let effect = format!(
                    "root on this host replaced trust root {has} by {}",
                    next.version
                );
                self.believe(next, &signed.body, (Vec::new(), "replaced_locally"), effect)
            }
            Err(error) => receipt(
                text.as_bytes(),
                ReceiptState::Refused,
                "trust_root",
                chain(&error),
            ),
        };
        if let Err(error) = std::fs::remove_file(&path) {
            tracing::error!(%error, "the trust root that was put there stays there");
        }
        vec![answer]
    }

    fn believe(
        &mut self,
        next: TrustRoot,
        body: &[u8],
        (signers, reason): (Vec<String>, &str),
        effect: String,
    ) -> Containment {
        if let Err(error) = host::write_trust(&self.state, body) {
            let error = chain(&error);
            tracing::error!(reason = error, "trust root not kept");
            self.tell(error.clone());
            return receipt(body, ReceiptState::Refused, "not_kept", error);
        }
        tracing::warn!(
            version = next.version,
            reason,
            "another trust root is in force"
        );
        self.believer.trust = next;
        self.tell(String::new());
        Containment {
            signers,
            verified: true,
            ..receipt(body, ReceiptState::Executed, reason, effect)
        }
    }

    fn tell(&self, refused: String) {
        let version = self.believer.trust.version;
        self.believer.told.send_replace(Told { version, refused });
    }
}

/// Whether a version that is not higher was offered, as a collector does that has not heard yet.
fn is_known(signed: &v1::SignedTrustRoot, has: u64) -> bool {
    TrustRoot::decode(&signed.body).is_ok_and(|root| root.version == has)
}

/// It is no command's; its id is the beginning of the trust root's hash.
pub(super) fn receipt(
    body: &[u8],
    state: ReceiptState,
    reason: &str,
    effect: String,
) -> Containment {
    let mut id = [0; 16];
    for (to, from) in id.iter_mut().zip(Digest::of(body).as_bytes()) {
        *to = *from;
    }
    Containment {
        reason: reason.to_owned(),
        effect,
        ..Containment::new(CommandId::new(id), "trust-root", state)
    }
}
