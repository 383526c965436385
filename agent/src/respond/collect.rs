//! Sends a file, or what a triage gathered, to the collector: a copy is taken and hashed at once, and goes when the link allows.
//!
//! What stays true: `executed` is said only after the collector said that it has the whole file with this hash.

use std::io::Read;

use picket_event::command::{Collection, Mode};
use picket_event::{Affected, CommandId, Containment, ReceiptState, Text};

use super::Responder;
use super::check::{Checked, Refusal};
use super::place::Place;
use crate::outbox::{Outbox, Parcel, ParcelEnd};

/// What is to be sent.
#[derive(Debug)]
pub(super) struct Sent {
    /// Where it was, or what it is called.
    pub(super) path: Text,
    /// The most that it may have, in bytes.
    pub(super) most: u64,
}

impl Responder {
    /// Takes a copy of the file for sending.
    pub(super) fn collect(
        &mut self,
        checked: &Checked,
        what: &Collection,
    ) -> Result<Containment, Refusal> {
        let no = |code, why: &str| checked.refuse(code, why);
        let place = Place::of(what.path.as_bytes()).map_err(|why| no("not_found", &why))?;
        let mut file = place.open().map_err(|why| no("not_found", &why))?;
        let size = file.metadata().map_or(0, |found| found.len());
        if size > what.max_bytes {
            let why = format!("the file has {size} bytes, more than {}", what.max_bytes);
            return Err(no("too_large", &why));
        }
        if checked.command.mode == Mode::DryRun {
            return Ok(Containment {
                reason: Containment::DRY_RUN.to_owned(),
                affected: vec![Affected::object(what.path.clone(), "present")],
                ..checked.receipt(
                    ReceiptState::Accepted,
                    &format!("dry run: {size} bytes would be sent"),
                )
            });
        }
        let sent = Sent {
            path: what.path.clone(),
            most: what.max_bytes,
        };
        self.send(checked, &mut file, sent)
    }

    /// Copies what is to be sent; the first answer to the command.
    pub(super) fn send(
        &mut self,
        checked: &Checked,
        from: &mut impl Read,
        what: Sent,
    ) -> Result<Containment, Refusal> {
        let no = |code, why: &str| checked.refuse(code, why);
        let outbox = Outbox::open(&self.state);
        let outbox = outbox.map_err(|error| no("no_record", &crate::failure::chain(&error)))?;
        let copied = outbox.copy(checked.command.id, from, what.most);
        let copied = copied.map_err(|error| no("not_copied", &error.to_string()))?;
        let (digest, total) = copied.ok_or_else(|| no("too_large", "the file grew meanwhile"))?;
        let parcel = Parcel {
            command: checked.command.id.to_string(),
            action: checked.command.action.name().to_owned(),
            path: hex::encode(what.path.as_bytes()),
            sha256: digest.to_string(),
            total,
            signers: checked.signers.clone(),
            stated_reason: checked.command.reason.clone(),
            end: None,
        };
        if let Err(error) = outbox.put(&parcel) {
            outbox.remove(&parcel.command);
            return Err(no("no_record", &crate::failure::chain(&error)));
        }
        self.sending = true;
        Ok(Containment {
            reason: "sending".to_owned(),
            affected: about(&parcel, "copied"),
            ..checked.receipt(
                ReceiptState::Accepted,
                &format!("{total} bytes are copied and go to the collector"),
            )
        })
    }

    /// What became of files that were under way.
    pub(super) fn sent(&mut self) -> Vec<Containment> {
        if !self.sending {
            return Vec::new();
        }
        let Ok(outbox) = Outbox::open(&self.state) else {
            return Vec::new();
        };
        let (ended, open): (Vec<Parcel>, Vec<Parcel>) = outbox
            .all()
            .into_iter()
            .partition(|parcel| parcel.end.is_some());
        self.sending = !open.is_empty();
        let answers = ended.into_iter().map(|parcel| {
            let answer = self.keep(ended_as(&parcel));
            outbox.remove(&parcel.command);
            answer
        });
        answers.collect()
    }
}

fn ended_as(parcel: &Parcel) -> Containment {
    let (state, reason, effect, outcome) = match &parcel.end {
        Some(ParcelEnd::Refused(why)) => (
            ReceiptState::Partial,
            "not_taken",
            format!("the collector does not take the file: {why}"),
            "copied",
        ),
        _ => (
            ReceiptState::Executed,
            "",
            format!("{} bytes are at the collector", parcel.total),
            "collected",
        ),
    };
    Containment {
        command_id: CommandId::parse(&parcel.command).unwrap_or(CommandId::new([0; 16])),
        action: parcel.action.clone(),
        state,
        reason: reason.to_owned(),
        effect,
        affected: about(parcel, outcome),
        verified: state == ReceiptState::Executed,
        redelivered: false,
        undo_token: String::new(),
        signers: parcel.signers.clone(),
        stated_reason: parcel.stated_reason.clone(),
        cause: None,
    }
}

/// The path, and the hash as an object of its own.
fn about(parcel: &Parcel, outcome: &str) -> Vec<Affected> {
    let path = Text::from(hex::decode(&parcel.path).unwrap_or_default());
    let hash = Text::from(format!("sha256:{}", parcel.sha256));
    vec![
        Affected::object(path, outcome),
        Affected::object(hash, "content"),
    ]
}

#[cfg(test)]
mod tests {
    use picket_event::command::Action;

    use super::*;
    use crate::respond::tests::{Ask, Bench, command};
    use picket_seal::Digest;

    fn collect(bench: &Bench, number: u8, path: &std::path::Path, most: u64) -> Containment {
        let what = Collection::at(path.as_os_str().as_encoded_bytes(), most).unwrap();
        let signed = bench.sign(&command(number, Action::Collect(what)));
        bench.responder().ask(&signed).unwrap()
    }

    #[test]
    fn executed_is_said_only_when_the_collector_has_it() {
        let bench = Bench::new();
        let path = bench.accounts();
        std::fs::write(&path, b"evidence").unwrap();
        let copied = collect(&bench, 1, &path, 100);
        assert_eq!(
            (copied.state, copied.verified, copied.reason.as_str()),
            (ReceiptState::Accepted, false, "sending")
        );
        let hash = format!("sha256:{}", Digest::of(b"evidence"));
        assert_eq!(copied.affected[1].object, Text::from(hash.as_str()));
        // The original changes; the copy does not.
        std::fs::write(&path, b"other").unwrap();
        let mut responder = bench.responder();
        responder.resume();
        assert!(responder.tick().is_empty());
        let outbox = Outbox::open(&responder.state).unwrap();
        let mut parcel = outbox.all().remove(0);
        assert_eq!(
            std::fs::read(outbox.file(&parcel.command)).unwrap(),
            b"evidence"
        );
        parcel.end = Some(ParcelEnd::Sent);
        outbox.put(&parcel).unwrap();
        let told = responder.tick();
        assert_eq!(
            (
                told[0].state,
                told[0].verified,
                told[0].affected[0].outcome.as_str()
            ),
            (ReceiptState::Executed, true, "collected")
        );
        assert!(outbox.all().is_empty() && responder.tick().is_empty());
    }

    #[test]
    fn what_is_too_large_or_no_file_is_refused() {
        let bench = Bench::new();
        let path = bench.accounts();
        std::fs::write(&path, b"evidence").unwrap();
        assert_eq!(collect(&bench, 1, &path, 7).reason, "too_large");
        let parent = path.parent().unwrap();
        assert_eq!(collect(&bench, 2, parent, 100).reason, "not_found");
        assert_eq!(
            collect(&bench, 3, &path.join("no"), 100).reason,
            "not_found"
        );
    }
}
