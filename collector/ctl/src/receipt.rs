//! What became of a command on a host, and which exit code that is.

use picket_event::{Affected, Containment, HostId, ReceiptState, Text};
use picket_proto::v1;

use crate::failure::Exit;
use crate::output::Paint;
use crate::sentence;
use crate::table::cut;

/// How one host answered.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer {
    /// The host's name, or its id.
    pub(crate) host: String,
    /// As the collector calls it: `requested`, `waiting`, `delivered`, `denied`..., or the receipt's state.
    pub(crate) state: String,
    /// The receipt, once there is one that can be read.
    pub(crate) receipt: Option<Containment>,
}

impl Answer {
    /// What the collector says of one host.
    pub(crate) fn of(outcome: &v1::HostOutcome) -> Self {
        let id = HostId::from_slice(&outcome.host_id).map(|id| id.to_string());
        let host = match outcome.host_name.as_str() {
            "" => id.unwrap_or_default(),
            name => name.to_owned(),
        };
        let receipt = outcome.receipt.clone();
        Self {
            host,
            state: outcome.state.clone(),
            receipt: receipt.and_then(|receipt| receipt.try_into().ok()),
        }
    }

    /// Whether nothing more comes from this host.
    pub(crate) fn is_final(&self) -> bool {
        match &self.receipt {
            Some(receipt) => receipt.state != ReceiptState::Accepted || is_dry(receipt),
            None => matches!(
                self.state.as_str(),
                "cancelled" | "expired" | "denied" | "unapproved"
            ),
        }
    }

    /// The exit code; `None` is success: done, and the host has read the effect back, or the host has
    /// said what it would do.
    pub(crate) fn exit(&self) -> Option<Exit> {
        let Some(receipt) = &self.receipt else {
            return Some(self.exit_without_receipt());
        };
        match receipt.state {
            ReceiptState::Executed if receipt.verified => None,
            ReceiptState::Accepted if is_dry(receipt) => None,
            ReceiptState::Refused => Some(Exit::Refused),
            ReceiptState::Executed
            | ReceiptState::Accepted
            | ReceiptState::Partial
            | ReceiptState::Reverted
            | ReceiptState::Expired => Some(Exit::Failed),
        }
    }

    /// A command that never left the collector did not reach its host.
    fn exit_without_receipt(&self) -> Exit {
        match self.state.as_str() {
            "waiting" | "held" | "expired" => Exit::Unreachable,
            "requested" | "denied" | "unapproved" => Exit::Refused,
            _ => Exit::Failed,
        }
    }

    /// For people: the state, then one line per process.
    pub(crate) fn lines(&self, paint: Paint) -> Vec<String> {
        let host = cut(&Text::from(self.host.as_str()), 64);
        let Some(receipt) = &self.receipt else {
            let state = cut(&Text::from(self.state.as_str()), 64);
            return vec![format!("{host}  {state}")];
        };
        let said = sentence::of_containment(receipt);
        let said = match receipt.state {
            ReceiptState::Executed => paint.good(&said),
            ReceiptState::Accepted => said,
            _ => paint.bad(&said),
        };
        let first = format!("{host}  {said}");
        let affected = receipt.affected.iter().map(affected_line);
        [first].into_iter().chain(affected).collect()
    }
}

/// Whether the host only says what it would do.
fn is_dry(receipt: &Containment) -> bool {
    receipt.reason == Containment::DRY_RUN
}

fn affected_line(affected: &Affected) -> String {
    let outcome = cut(&Text::from(affected.outcome.as_str()), 16);
    let Some(uid) = affected.process_uid else {
        return format!("  {outcome:<11}  {}", cut(&affected.object, 200));
    };
    format!(
        "  {outcome:<9}  {:>7}  {uid}  {}",
        affected.pid,
        cut(&affected.exe, 120)
    )
}

/// The worst of all answers, by the exit code's own number except that a refusal outweighs a wait.
pub(crate) fn worst(answers: &[Answer]) -> Option<Exit> {
    let exits = answers.iter().filter_map(Answer::exit);
    exits.max_by_key(|exit| match exit {
        Exit::Failed => 0,
        Exit::Unreachable => 1,
        Exit::Usage => 2,
        Exit::Refused => 3,
        Exit::Unverified => 4,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use picket_event::{CommandId, ProcessUid};

    fn answer(state: &str, receipt: Option<(ReceiptState, bool)>) -> Answer {
        let receipt = receipt.map(|(state, verified)| Containment {
            command_id: CommandId::new([1; 16]),
            action: "kill".to_owned(),
            state,
            reason: String::new(),
            effect: "1 process ended".to_owned(),
            affected: vec![Affected {
                process_uid: Some(ProcessUid::new([7; 16])),
                pid: 42,
                exe: Text::from("/bin/\u{1b}[1msh"),
                object: Text::NONE,
                outcome: "dead".to_owned(),
            }],
            verified,
            redelivered: false,
            undo_token: String::new(),
            signers: vec!["alice".to_owned()],
            stated_reason: String::new(),
            cause: None,
        });
        Answer {
            host: "web-1".to_owned(),
            state: state.to_owned(),
            receipt,
        }
    }

    #[test]
    fn only_an_effect_that_was_read_back_is_success() {
        let exit = |state, verified| answer("", Some((state, verified))).exit();
        assert_eq!(exit(ReceiptState::Executed, true), None);
        assert_eq!(exit(ReceiptState::Executed, false), Some(Exit::Failed));
        assert_eq!(exit(ReceiptState::Partial, true), Some(Exit::Failed));
        assert_eq!(exit(ReceiptState::Expired, false), Some(Exit::Failed));
        assert_eq!(exit(ReceiptState::Refused, false), Some(Exit::Refused));
    }

    #[test]
    fn what_a_host_would_do_is_its_last_word_on_a_dry_run() {
        let mut dry = answer("accepted", Some((ReceiptState::Accepted, false)));
        assert_eq!((dry.is_final(), dry.exit()), (false, Some(Exit::Failed)));
        if let Some(receipt) = &mut dry.receipt {
            receipt.reason = "dry_run".to_owned();
        }
        assert_eq!((dry.is_final(), dry.exit()), (true, None));
    }

    #[test]
    fn a_host_that_never_got_the_command_was_not_reachable() {
        assert_eq!(answer("waiting", None).exit(), Some(Exit::Unreachable));
        assert_eq!(answer("delivered", None).exit(), Some(Exit::Failed));
        assert!(!answer("waiting", None).is_final());
        assert!(!answer("accepted", Some((ReceiptState::Accepted, false))).is_final());
        assert!(answer("refused", Some((ReceiptState::Refused, false))).is_final());
    }

    #[test]
    fn a_receipt_names_each_process_and_no_escape_sequence() {
        let lines = answer("executed", Some((ReceiptState::Executed, true))).lines(Paint::PLAIN);
        assert_eq!(lines[0], "web-1  kill executed, verified: 1 process ended");
        assert!(lines[1].contains("dead") && lines[1].contains("42"));
        assert!(!lines[1].contains('\u{1b}'));
    }
}
