//! A command in rings: one host, then 1, 10, 50 and 100 % of those that are connected, each judged by signed receipts.
//!
//! # Invariants
//!
//! - Persons approve the whole command once; each ring begins by a signature of who asked for it, so hosts of a later ring do nothing
//!   without it, and nothing begins once this program is gone.
//! - A host that refuses, does not verify, says nothing or goes away ends the campaign before the next ring.
//! - Hosts that are away are in the last ring; they hold nobody up and act when they come back in time.

use std::collections::HashSet;
use std::time::Duration;

use picket_event::command::{Action, Command, Mode};
use picket_event::statement::{Statement, StatementKind};
use picket_event::{Clock, HostId, ReceiptState, SystemClock};
use picket_proto::v1;
use picket_seal::{Digest, SigningKey};
use tokio::time::Instant;

use crate::cli::ContainArgs;
use crate::client::Collector;
use crate::commands;
use crate::content::rings::rings;
use crate::failure::{Exit, Failure};
use crate::order::{self, Order};
use crate::output::{Output, note};
use crate::receipt::Answer;

/// How often the hosts' answers are looked at, at most.
const LOOK: Duration = Duration::from_millis(200);
/// The answers of many are looked at less often: a pause for each host.
const LOOK_PER_HOST: Duration = Duration::from_micros(50);

/// Why a campaign ended early.
#[derive(Debug, thiserror::Error)]
enum Halt {
    #[error("{host} answered {state}: {reason}")]
    Answer {
        host: String,
        state: String,
        reason: String,
    },
    #[error("{host} has not verified what it did")]
    Unverified { host: String },
    #[error("{host} went away")]
    Gone { host: String },
    #[error("{host} did not answer within {wait:?}")]
    Silent { host: String, wait: Duration },
}

/// A campaign that did not come to its end.
#[derive(Debug, thiserror::Error)]
#[error("halted in ring {ring} of {of}: {why}")]
struct Halted {
    ring: u32,
    of: usize,
    why: Halt,
}

/// A command that goes out ring by ring.
pub(crate) struct Campaign<'a> {
    pub(crate) collector: &'a mut Collector,
    pub(crate) command: &'a Command,
    pub(crate) key: &'a SigningKey,
    pub(crate) args: &'a ContainArgs,
}

/// Those that are connected first.
pub(crate) fn in_order(hosts: &mut [v1::Host]) {
    hosts.sort_by_key(|host| !host.connected);
}

/// How many of the hosts, in this order, have it after each ring.
pub(crate) fn ends(hosts: &[v1::Host]) -> Vec<u32> {
    let connected = hosts.iter().filter(|host| host.connected).count();
    let mut ends = rings(connected);
    // Whoever is away belongs to the last ring.
    ends.pop();
    ends.push(hosts.len());
    let ends = ends
        .into_iter()
        .map(|end| u32::try_from(end).unwrap_or(u32::MAX));
    ends.collect()
}

impl Campaign<'_> {
    /// Goes through the rings, once enough persons have approved the command.
    pub(crate) async fn run(mut self, first: v1::CommandStatus) -> Result<(), Failure> {
        let id = first.command_id.clone();
        self.approved(first).await?;
        let of = self.command.rings.len();
        let mut out = Output::stdout();
        for ring in (1_u32..).take(of) {
            let word = self.word(StatementKind::Start, ring, "");
            let begun = self.collector.start_ring(id.clone(), word).await?;
            match self.gate(ring, begun).await? {
                Ok(done) => {
                    let more = self.command.hosts_of_ring(ring).len() - done;
                    let away = if more > 0 {
                        format!(", {more} away")
                    } else {
                        String::new()
                    };
                    out.line(&format!("ring {ring} of {of}: {done} hosts did it{away}"))?;
                    out.flush()?;
                }
                Err(why) => return self.halt(Halted { ring, of, why }).await,
            }
        }
        if self.args.format.json {
            let status = commands::find(self.collector, &self.command.id.to_string()).await?;
            out.json(&commands::as_json(&status))?;
            out.flush()?;
        }
        Ok(())
    }

    /// Waits for the persons who are missing.
    async fn approved(&mut self, mut status: v1::CommandStatus) -> Result<(), Failure> {
        while status.state == "requested" {
            tokio::time::sleep(self.look()).await;
            status = commands::find(self.collector, &self.command.id.to_string()).await?;
        }
        match status.state.as_str() {
            "pending" | "delivered" => Ok(()),
            over => Err(Failure::new(
                Exit::Refused,
                format!("the command is {over}"),
            )),
        }
    }

    fn look(&self) -> Duration {
        let hosts = u32::try_from(self.command.host_count()).unwrap_or(u32::MAX);
        LOOK.max(LOOK_PER_HOST.saturating_mul(hosts))
    }

    fn word(&self, kind: StatementKind, ring: u32, reason: &str) -> v1::SignedStatement {
        let said = Statement {
            kind,
            command: self.command.id,
            command_sha256: Digest::of(&self.command.encode()),
            reason: reason.to_owned(),
            time: SystemClock.now(),
            ring,
        };
        said.sign(self.key)
    }

    /// Waits until every connected host of the ring did it, and then whether they stay. How many that are.
    async fn gate(
        &mut self,
        ring: u32,
        mut status: v1::CommandStatus,
    ) -> Result<Result<usize, Halt>, Failure> {
        let counted: HashSet<Vec<u8>> = {
            let hosts = self.collector.list_hosts("").await?;
            let wanted = self.command.hosts_of_ring(ring);
            let connected = hosts.iter().filter(|host| host.connected);
            let wanted: HashSet<&[u8]> = wanted.iter().map(|id| &id.as_bytes()[..]).collect();
            let ids = connected.filter(|host| wanted.contains(host.host_id.as_slice()));
            ids.map(|host| host.host_id.clone()).collect()
        };
        let until = Instant::now() + self.args.ring_wait;
        loop {
            match judge(&status, &counted) {
                Err(halt) => return Ok(Err(halt)),
                Ok(None) => break,
                Ok(Some(host)) if Instant::now() >= until => {
                    let wait = self.args.ring_wait;
                    return Ok(Err(Halt::Silent { host, wait }));
                }
                Ok(Some(_)) => {}
            }
            tokio::time::sleep(self.look()).await;
            status = commands::find(self.collector, &self.command.id.to_string()).await?;
        }
        tokio::time::sleep(self.args.settle).await;
        let hosts = self.collector.list_hosts("").await?;
        let gone = hosts
            .iter()
            .find(|host| !host.connected && counted.contains(&host.host_id));
        Ok(match gone {
            Some(host) => Err(Halt::Gone {
                host: host.name.clone(),
            }),
            None => Ok(counted.len()),
        })
    }

    /// Nobody else is given it; what was done is undone where that is wanted.
    async fn halt(&mut self, halted: Halted) -> Result<(), Failure> {
        let word = self.word(StatementKind::Cancel, 0, &halted.to_string());
        let id = self.command.id.as_bytes().to_vec();
        let status = self.collector.cancel(id, word).await?;
        note("the command goes to no further host");
        let did: Vec<HostId> = status
            .hosts
            .iter()
            .filter(|outcome| has_done(outcome))
            .filter_map(|outcome| HostId::from_slice(&outcome.host_id).ok())
            .collect();
        let failure = Failure::new(Exit::Failed, halted);
        let Some(undo) = undo_of(self.command).filter(|_| !did.is_empty()) else {
            return Err(failure.hint("picketctl command show says what each host did"));
        };
        if !self.args.undo_on_halt {
            let hint = format!("{} hosts did it; {} undoes it", did.len(), undo.name());
            return Err(failure.hint(hint));
        }
        let by_root = self.command.host_set.is_some() && did.len() > crate::aim::LISTED;
        let order = Order {
            by_root,
            ..undoing(undo, did, &failure.to_string())
        };
        let made = order.command(SystemClock.now());
        let command = made.map_err(|source| Failure::new(Exit::Failed, source))?;
        let signed = order::sign(&command, self.key);
        let signed = signed.map_err(|source| Failure::new(Exit::Failed, source))?;
        let undone = self.collector.submit(signed).await?;
        let (id, hosts) = (command.id, undone.hosts.len());
        note(&format!(
            "asked {hosts} hosts to undo it: picketctl command show {id}"
        ));
        if undone.state == "requested" {
            note(&format!("it waits for approvals: picketctl approve {id}"));
        }
        Err(failure)
    }
}

fn undoing(action: Action, hosts: Vec<HostId>, reason: &str) -> Order {
    Order {
        action,
        hosts,
        host_epoch: 0,
        mode: Mode::Enforce,
        exe_sha256: None,
        reason: reason.to_owned(),
        ttl: UNDO_TTL,
        dry_run_digest: None,
        auto_release: None,
        break_glass: None,
        rings: Vec::new(),
        by_root: false,
    }
}

/// What takes a command's effect away again.
fn undo_of(command: &Command) -> Option<Action> {
    match &command.action {
        Action::Isolate(_) => Some(Action::Release),
        Action::Quarantine(_) => Some(Action::Restore(command.id)),
        Action::BlockHash(digest) => Some(Action::UnblockHash(*digest)),
        Action::LockUser(name) => Some(Action::UnlockUser(name.clone())),
        Action::AllowRemoval => Some(Action::ForbidRemoval),
        _ => None,
    }
}

/// The first of these hosts that has not answered; a halt, if one answered badly.
fn judge(status: &v1::CommandStatus, counted: &HashSet<Vec<u8>>) -> Result<Option<String>, Halt> {
    let mut waits = None;
    for outcome in status
        .hosts
        .iter()
        .filter(|one| counted.contains(&one.host_id))
    {
        let answer = Answer::of(outcome);
        let host = answer.host.clone();
        match &answer.receipt {
            Some(receipt) if receipt.state == ReceiptState::Executed && receipt.verified => {}
            // No host does more than this.
            Some(receipt) if BLOCKED.contains(&receipt.reason.as_str()) => {}
            Some(receipt) if receipt.state == ReceiptState::Executed => {
                return Err(Halt::Unverified { host });
            }
            Some(receipt) if answer.is_final() => {
                let (state, reason) = (receipt.state.name().to_owned(), receipt.reason.clone());
                return Err(Halt::Answer {
                    host,
                    state,
                    reason,
                });
            }
            _ => waits = waits.or(Some(host)),
        }
    }
    Ok(waits)
}

fn has_done(outcome: &v1::HostOutcome) -> bool {
    let state = outcome.receipt.as_ref().map(|receipt| receipt.state);
    let state = state.and_then(ReceiptState::from_wire);
    matches!(state, Some(ReceiptState::Executed | ReceiptState::Partial))
}

/// What `block-hash` answers: programs are ended as they start; or refused by the kernel where they are known. And the later words of a
/// start that was refused, rightly or once too often.
const BLOCKED: [&str; 4] = [
    "not_prevented",
    "prevented_where_known",
    "prevented",
    "changed",
];
/// How long hosts may undo it.
const UNDO_TTL: Duration = Duration::from_hours(4);

#[cfg(test)]
mod tests {
    use super::*;

    fn host(connected: bool) -> v1::Host {
        v1::Host {
            connected,
            ..v1::Host::default()
        }
    }

    #[test]
    fn who_is_away_is_in_the_last_ring() {
        let mut hosts = vec![host(false), host(true), host(true), host(false), host(true)];
        in_order(&mut hosts);
        assert!(hosts.iter().take(3).all(|host| host.connected));
        assert_eq!(ends(&hosts), [1, 2, 5]);
        assert_eq!(ends(&[host(false), host(false)]), [2]);
        let many = vec![host(true); 1_000];
        assert_eq!(ends(&many), [1, 10, 100, 500, 1_000]);
    }

    #[test]
    fn a_ring_is_judged_by_verified_receipts() {
        let outcome = |id: u8, receipt: Option<(ReceiptState, bool)>| v1::HostOutcome {
            host_id: vec![id; 32],
            state: "delivered".to_owned(),
            receipt: receipt.map(|(state, verified)| v1::Containment {
                command_id: vec![1; 16],
                state: state.to_wire(),
                verified,
                ..v1::Containment::default()
            }),
            ..v1::HostOutcome::default()
        };
        let status = |hosts| v1::CommandStatus {
            hosts,
            ..v1::CommandStatus::default()
        };
        let counted = HashSet::from([vec![1; 32], vec![2; 32]]);
        let done = Some((ReceiptState::Executed, true));
        let all = status(vec![outcome(1, done), outcome(2, done), outcome(3, None)]);
        assert!(matches!(judge(&all, &counted), Ok(None)));
        let one = status(vec![outcome(1, done), outcome(2, None)]);
        assert!(matches!(judge(&one, &counted), Ok(Some(_))));
        for bad in [
            (ReceiptState::Executed, false),
            (ReceiptState::Refused, false),
            (ReceiptState::Partial, true),
            (ReceiptState::Expired, false),
        ] {
            let status = status(vec![outcome(1, done), outcome(2, Some(bad))]);
            assert!(judge(&status, &counted).is_err(), "{bad:?}");
        }
        for reason in BLOCKED {
            let mut blocked = outcome(2, Some((ReceiptState::Partial, false)));
            blocked.receipt.as_mut().unwrap().reason = reason.to_owned();
            let status = status(vec![outcome(1, done), blocked]);
            assert!(matches!(judge(&status, &counted), Ok(None)), "{reason}");
        }
    }
}
