//! The checks of a command, in the order in which they are made. The first no ends it.
//!
//! ```text
//! size | signatures | host | its ring | id never seen | time | precondition | local protection
//! ```

use std::time::Duration;

use picket_event::command::{Command, CommandError, MAX_COMMAND_BYTES};
use picket_event::statement::{Statement, StatementKind};
use picket_event::trust::{Signed, TrustError, TrustRoot};
use picket_event::{CommandId, Containment, HostId, ReceiptState, UnixNanos};
use picket_proto::v1;
use picket_seal::{Digest, Domain};

use super::claimed_id;
use super::procfs::Found;

#[cfg(test)]
mod tests;

/// The operator's clock may be ahead of this host's by so much.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(30);
/// No command is good for longer.
const MAX_LIFE: Duration = Duration::from_hours(24);

/// A command whose signatures suffice, and who made them.
#[derive(Clone, Debug)]
pub(crate) struct Checked {
    /// What to do.
    pub(crate) command: Command,
    /// Who signed.
    pub(crate) signers: Vec<String>,
}

/// A no, with its fixed code.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    /// The code, for machines.
    pub(crate) code: &'static str,
    receipt: Box<Containment>,
}

/// The processes of this host, as the last checks need them.
pub(crate) trait Scene {
    /// The process that the command is about.
    fn find(&self, command: &Command) -> Option<Found>;
    /// The hash of what it runs.
    fn exe_hash(&self, found: &Found) -> Option<Digest>;
    /// A process that the command would end and may not, and why.
    fn protected(&self, command: &Command, found: &Found) -> Option<(u32, &'static str)>;
}

/// Who a command must be for, and whom that host believes.
#[derive(Clone, Copy, Debug)]
pub struct Addressee<'a> {
    /// The host.
    pub host: HostId,
    /// The generation of its state.
    pub host_epoch: u64,
    /// Its operators.
    pub trust: &'a TrustRoot,
}

/// The first four: what can be said of a command before the host looks at what it has done so far.
pub(crate) fn addressed(
    signed: &v1::SignedCommand,
    start: Option<&v1::SignedStatement>,
    to: Addressee<'_>,
    now: UnixNanos,
) -> Result<Checked, Refusal> {
    size(signed, MAX_COMMAND_BYTES)?;
    let checked = signatures(signed, to.trust, now)?;
    let own_ring = host(&checked, (to.host, to.host_epoch), signed.proof.as_ref())?;
    let begun = start.map(|start| (start, signed.body.as_slice()));
    ring(&checked, own_ring, begun, to.trust)?;
    Ok(checked)
}

/// First: nothing large is even decoded.
pub(crate) fn size(signed: &v1::SignedCommand, limit: usize) -> Result<(), Refusal> {
    let signatures = signed
        .signatures
        .iter()
        .map(|one| one.key_id.len() + one.signature.len());
    let path = signed.proof.iter().flat_map(|proof| &proof.path);
    let beside = path.chain(&signed.host_ids).map(Vec::len).sum::<usize>();
    let bytes = signed.body.len() + signatures.sum::<usize>() + beside;
    if bytes > limit {
        return Err(Refusal::unsigned(
            "too_large",
            CommandId::new([0; 16]),
            &format!("the command has {bytes} bytes, more than {limit}"),
        ));
    }
    Ok(())
}

/// Second: enough persons signed exactly these bytes for this class of action.
pub(crate) fn signatures(
    signed: &v1::SignedCommand,
    trust: &TrustRoot,
    now: UnixNanos,
) -> Result<Checked, Refusal> {
    let id = claimed_id(&signed.body);
    let command = Command::decode(&signed.body).map_err(|error| {
        let code = if matches!(error, CommandError::NoAction) {
            "unknown_action"
        } else {
            "malformed"
        };
        Refusal::unsigned(code, id, &crate::failure::chain(&error))
    })?;
    let shown = Signed {
        domain: Domain::Command,
        body: &signed.body,
        signatures: &signed.signatures,
    };
    let standing = trust.authorize(&command, shown, now).map_err(|error| {
        let text = crate::failure::chain(&error);
        let mut refusal = Refusal::unsigned(code_of(&error), id, &text);
        command
            .action
            .name()
            .clone_into(&mut refusal.receipt.action);
        refusal
    })?;
    Ok(Checked {
        signers: standing.signers(),
        command,
    })
}

/// Third: it is for this host in this state. The host's ring, from 1; 0: the command has none.
pub(crate) fn host(
    checked: &Checked,
    (own, own_epoch): (HostId, u64),
    proof: Option<&v1::HostProof>,
) -> Result<u32, Refusal> {
    let ring = checked.command.ring_for(&own, proof);
    let ring = ring.ok_or_else(|| {
        let words = match checked.command.host_set {
            Some(_) => "nothing shows that this host is one of those that were signed",
            None => "the command is for other hosts",
        };
        checked.refuse("wrong_host", words)
    })?;
    if ![0, own_epoch].contains(&checked.command.host_epoch) {
        return Err(checked.refuse(
            "wrong_epoch",
            "the command is for an earlier state of this host",
        ));
    }
    Ok(ring)
}

/// Fourth: of a command in rings, who asked for it has said that this host's ring, or a later one, began.
pub(crate) fn ring(
    checked: &Checked,
    ring: u32,
    begun: Option<(&v1::SignedStatement, &[u8])>,
    trust: &TrustRoot,
) -> Result<(), Refusal> {
    if ring == 0 {
        return Ok(());
    }
    let (start, body) = begun.ok_or_else(|| {
        let words = format!("the command is in rings, and nobody says that ring {ring} began");
        checked.refuse("not_begun", &words)
    })?;
    if start.body.len() > MAX_COMMAND_BYTES {
        return Err(checked.refuse("not_begun", "the word that the ring began is too large"));
    }
    let said = Statement::read(start, trust);
    let (said, person) =
        said.map_err(|error| checked.refuse("not_begun", &crate::failure::chain(&error)))?;
    let same = said.kind == StatementKind::Start
        && said.command == checked.command.id
        && said.command_sha256 == Digest::of(body)
        && checked.signers.contains(&person);
    if !same {
        let words = "the word that the ring began is of nobody who asked for this command";
        return Err(checked.refuse("not_begun", words));
    }
    if said.ring < ring {
        let words = format!("ring {} began, and this host is in ring {ring}", said.ring);
        return Err(checked.refuse("not_begun", &words));
    }
    Ok(())
}

/// Sixth, after the id: it is neither too early nor too late.
pub(crate) fn time(checked: &Checked, now: UnixNanos) -> Result<(), Refusal> {
    let (from, to) = (checked.command.not_before, checked.command.expires);
    if from > now.plus(CLOCK_TOLERANCE) {
        return Err(checked.refuse("not_yet_valid", &format!("the command begins at {from}")));
    }
    if to < now {
        let mut refusal = checked.refuse("expired", &format!("the command ended at {to}"));
        refusal.receipt.state = ReceiptState::Expired;
        return Err(refusal);
    }
    if to.since(from) > MAX_LIFE {
        return Err(checked.refuse("too_long", "the command is good for more than 24 hours"));
    }
    Ok(())
}

/// Last: the process is there, is what it should be, and may be ended.
pub(crate) fn scene(checked: &Checked, scene: &impl Scene) -> Result<Found, Refusal> {
    let command = &checked.command;
    let found = scene.find(command);
    let found = found.ok_or_else(|| checked.refuse("not_found", "there is no such process"))?;
    if let Some(expected) = command.exe_sha256
        && scene.exe_hash(&found) != Some(expected)
    {
        return Err(checked.refuse("precondition", "the executable has another hash"));
    }
    if let Some((pid, why)) = scene.protected(command, &found) {
        return Err(checked.refuse(
            "protected",
            &format!("process {pid} may not be touched: {why}"),
        ));
    }
    Ok(found)
}

impl Checked {
    /// A no to this command.
    pub(crate) fn refuse(&self, code: &'static str, effect: &str) -> Refusal {
        let mut refusal = Refusal::unsigned(code, self.command.id, effect);
        self.command
            .action
            .name()
            .clone_into(&mut refusal.receipt.action);
        refusal.receipt.signers.clone_from(&self.signers);
        refusal
            .receipt
            .stated_reason
            .clone_from(&self.command.reason);
        refusal
    }

    /// An answer to this command.
    pub(crate) fn receipt(&self, state: ReceiptState, effect: &str) -> Containment {
        Containment {
            state,
            ..self.refuse("", effect).into_receipt()
        }
    }
}

impl Refusal {
    fn unsigned(code: &'static str, id: CommandId, effect: &str) -> Self {
        let receipt = Box::new(Containment {
            reason: code.to_owned(),
            effect: effect.to_owned(),
            ..Containment::new(id, "", ReceiptState::Refused)
        });
        Self { code, receipt }
    }

    /// Whether nobody whom this host believes has signed it.
    pub(crate) const fn is_anonymous(&self) -> bool {
        self.receipt.signers.is_empty()
    }

    /// As an answer.
    pub(crate) fn into_receipt(self) -> Containment {
        *self.receipt
    }
}

const fn code_of(error: &TrustError) -> &'static str {
    match error {
        TrustError::Expired(_) => "trust_expired",
        TrustError::TooFew { .. } => "threshold",
        TrustError::UnknownKey(_) => "unknown_key",
        TrustError::WrongRole { .. } => "wrong_role",
        _ => "bad_signature",
    }
}
