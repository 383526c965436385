//! `approve` and `deny`: a second person looks at what was asked for, and signs the same bytes or says no.
//!
//! # Invariants
//!
//! - What is shown is read from the very bytes that are signed, never from what the collector says beside them. Hosts of which the bytes
//!   have the root alone are shown only if they give that root.
//! - Signatures are judged by the trust root that is pinned here.

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::Path;

use picket_event::command::{Command, CommandError};
use picket_event::statement::{Statement, StatementKind};
use picket_event::trust::{Person, Role, Signed, Standing, TrustRoot};
use picket_event::{Clock, SystemClock};
use picket_proto::v1;
use picket_seal::{Digest, Domain, SigningKey};

use crate::cli::{ApproveArgs, DenyArgs};
use crate::client::Collector;
use crate::commands::{self, find};
use crate::dry;
use crate::failure::{Exit, Failure};
use crate::operator::Operator;
use crate::output::{Output, note};
use crate::sheet;

/// Why an approval is not given.
#[derive(Debug, thiserror::Error)]
enum ApproveError {
    #[error("the collector shows no signed bytes of this command")]
    NoBytes,
    #[error("the signed bytes are not those of this command")]
    OtherCommand,
    #[error("the signed bytes cannot be read")]
    Unreadable(#[source] CommandError),
    #[error("the signatures do not hold under trust root {version}")]
    Signatures {
        version: u64,
        source: picket_event::trust::TrustError,
    },
    #[error("the command is {0}: it waits for no approval")]
    NotRequested(String),
    #[error("trust root {0} does not name your signing key")]
    Stranger(u64),
    #[error("`{0}` is no approver")]
    NoApprover(String),
    #[error("nobody approves their own request")]
    OwnRequest,
    #[error("not signed")]
    NotConfirmed,
}

/// A command as it was signed so far, judged here.
#[derive(Debug)]
pub(crate) struct Judged {
    /// What the signed bytes say.
    pub(crate) command: Command,
    /// Who signed and who is missing.
    pub(crate) standing: Standing,
    /// The bytes.
    pub(crate) body: Vec<u8>,
}

/// `approve`.
pub(crate) async fn approve(operator: &Operator, args: ApproveArgs) -> Result<(), Failure> {
    let mut collector = Collector::open(operator).await?;
    let root = operator.sync_trust(&mut collector).await?;
    let status = find(&mut collector, &args.id).await?;
    let judged = judge(&status, &root)?;
    let mut out = Output::stdout();
    if !args.format.json {
        show(&mut out, &mut collector, (&judged, &status), &root).await?;
    }
    if status.state != "requested" {
        return Err(refused(ApproveError::NotRequested(status.state)));
    }
    let key = operator.signing_key(args.passphrase_file.as_deref())?;
    let person = approver(&root, &key)?;
    if person.name == judged.standing.requester {
        return Err(refused(ApproveError::OwnRequest).hint("ask another approver"));
    }
    if !args.yes {
        confirm(&format!("sign this as {}?", person.name))?;
    }
    let signature = sign(&judged.body, &key);
    let status = collector.approve(status.command_id, signature).await?;
    if args.format.json {
        out.json(&commands::as_json(&status))?;
    } else {
        for line in commands::overview(&[&status]).lines() {
            out.line(&line)?;
        }
    }
    out.flush()
}

/// `deny`.
pub(crate) async fn deny(operator: &Operator, args: DenyArgs) -> Result<(), Failure> {
    let mut collector = Collector::open(operator).await?;
    let status = find(&mut collector, &args.id).await?;
    let said = (StatementKind::Deny, args.reason.as_str());
    let statement = state(operator, &status, said, args.passphrase_file.as_deref())?;
    let status = collector.deny(status.command_id, statement).await?;
    let mut out = Output::stdout();
    for line in commands::overview(&[&status]).lines() {
        out.line(&line)?;
    }
    out.flush()
}

/// A signed word about exactly this command.
pub(crate) fn state(
    operator: &Operator,
    status: &v1::CommandStatus,
    (kind, reason): (StatementKind, &str),
    passphrase: Option<&Path>,
) -> Result<v1::SignedStatement, Failure> {
    // About these bytes, whatever hosts are shown beside them: nobody is kept from saying no.
    let signed = signed(status)?;
    let command = Command::decode(&signed.body);
    let statement = Statement {
        kind,
        command: is_of(status, command)?.id,
        command_sha256: Digest::of(&signed.body),
        reason: reason.to_owned(),
        time: SystemClock.now(),
        ring: 0,
    };
    Ok(statement.sign(&operator.signing_key(passphrase)?))
}

/// Reads the signed bytes and judges the signatures by this root.
pub(crate) fn judge(status: &v1::CommandStatus, root: &TrustRoot) -> Result<Judged, Failure> {
    let signed = signed(status)?;
    let command = is_of(status, Command::read(signed))?;
    let body = &signed.body;
    let signed = Signed {
        domain: Domain::Command,
        body,
        signatures: &signed.signatures,
    };
    let version = root.version;
    let standing = root.weigh(&command, signed).map_err(|source| {
        let wrong = ApproveError::Signatures { version, source };
        Failure::new(Exit::Unverified, wrong)
    })?;
    Ok(Judged {
        standing,
        body: body.clone(),
        command,
    })
}

fn signed(status: &v1::CommandStatus) -> Result<&v1::SignedCommand, Failure> {
    let signed = status.command.as_ref();
    signed.ok_or_else(|| Failure::new(Exit::Unverified, ApproveError::NoBytes))
}

/// The command that was read, if it is the one that is shown.
fn is_of(
    status: &v1::CommandStatus,
    read: Result<Command, CommandError>,
) -> Result<Command, Failure> {
    let unverified = |error| Failure::new(Exit::Unverified, error);
    let command = read.map_err(|source| unverified(ApproveError::Unreadable(source)))?;
    if command.id.as_bytes().as_slice() != status.command_id {
        return Err(unverified(ApproveError::OtherCommand));
    }
    Ok(command)
}

async fn show(
    out: &mut Output,
    collector: &mut Collector,
    (judged, status): (&Judged, &v1::CommandStatus),
    root: &TrustRoot,
) -> Result<(), Failure> {
    for line in sheet::of_command(judged, status, root).lines() {
        out.line(&line)?;
    }
    if let Some(digest) = judged.command.dry_run_digest {
        match dry::find(collector, &digest).await? {
            Some(seen) => {
                for line in dry::lines(&seen, out.paint()) {
                    out.line(&line)?;
                }
            }
            None => {
                note("no dry run with this digest is at the collector: do not sign on its account");
            }
        }
    }
    out.flush()
}

fn approver<'a>(root: &'a TrustRoot, key: &SigningKey) -> Result<&'a Person, Failure> {
    let person = root.holder(key.public_key().key_id());
    let person = person.ok_or_else(|| refused(ApproveError::Stranger(root.version)))?;
    if person.roles.contains(&Role::Approver) {
        Ok(person)
    } else {
        Err(refused(ApproveError::NoApprover(person.name.clone())))
    }
}

/// Asks whoever sits at a terminal; a script has decided already.
pub(crate) fn confirm(question: &str) -> Result<(), Failure> {
    if !io::stdin().is_terminal() {
        return Ok(());
    }
    let mut err = io::stderr().lock();
    drop(write!(err, "{question} [yes/no] "));
    drop(err.flush());
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    if read.is_ok() && matches!(answer.trim(), "y" | "yes") {
        return Ok(());
    }
    Err(refused(ApproveError::NotConfirmed))
}

/// One signature over the command's bytes.
fn sign(body: &[u8], key: &SigningKey) -> v1::Signature {
    v1::Signature {
        key_id: key.public_key().key_id().0.to_vec(),
        signature: key.sign(Domain::Command, body).0.to_vec(),
    }
}

fn refused(error: ApproveError) -> Failure {
    Failure::new(Exit::Refused, error)
}
