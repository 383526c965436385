//! Rules, policy and configuration that the collector offers: taken, or refused, with an event either way.

use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use picket_event::content::ContentKind;
use picket_event::{Containment, ReceiptState};
use picket_proto::v1;

use super::Responder;
use super::trust::receipt;
use crate::content::Offered;
use crate::pipeline::Input;

/// Content with which the agent lived so long is good.
const TRIAL: Duration = Duration::from_mins(1);

impl Responder {
    /// Ends the trials of what is in use for long enough.
    pub(super) fn judge_trial(&mut self) {
        if self.trial.is_some_and(|since| since.elapsed() > TRIAL) {
            self.contents.end_trials();
            self.trial = None;
        }
    }

    /// Takes content that the collector offers. New rules go to the path.
    pub(super) fn take_content(
        &mut self,
        signed: &v1::SignedContent,
        inputs: &SyncSender<Input>,
    ) -> Vec<Containment> {
        let now = self.now();
        let said = |state, reason: &str, effect| Containment {
            action: "content".to_owned(),
            ..receipt(&signed.body, state, reason, effect)
        };
        match self.contents.take(signed, &self.believer.trust, now) {
            Offered::Refused(reason) if self.may_tell_refusal() => {
                vec![said(ReceiptState::Refused, "content", reason)]
            }
            Offered::Refused(_) | Offered::Known => Vec::new(),
            Offered::Taken(taken, rules) => {
                self.trial = Some(Instant::now());
                let kind = taken.content.kind.name();
                let files = taken.content.files.len();
                let is_for_next = taken.content.kind == ContentKind::Configuration;
                let effect = if is_for_next {
                    format!(
                        "{kind} {} is taken; the agent starts anew with it",
                        taken.version
                    )
                } else {
                    format!("{kind} {} with {files} files are in use", taken.version)
                };
                self.starts_anew |= is_for_next;
                tracing::warn!(
                    kind,
                    version = taken.version,
                    effect,
                    "other content is taken"
                );
                // Where the path is gone, the agent ends.
                let sent = rules.map(|rules| inputs.send(Input::Rules(rules)));
                if sent.is_some_and(|sent| sent.is_err()) {
                    tracing::debug!("the path is gone");
                }
                vec![Containment {
                    signers: taken.signers,
                    stated_reason: taken.content.reason,
                    verified: true,
                    ..said(ReceiptState::Executed, kind, effect)
                }]
            }
        }
    }

    /// Has the agent start anew, if that is due. `false`: the path is gone.
    pub(super) fn start_anew(&mut self, inputs: &SyncSender<Input>) -> bool {
        let due = std::mem::take(&mut self.starts_anew);
        !due || inputs.send(Input::StartAnew).is_ok()
    }
}
