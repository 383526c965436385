//! Tokens and hosts.

use std::time::Duration;

use picket_event::audit::{action, replacement_proof};
use picket_event::replacement::Replacement;
use picket_event::{HostId, UnixNanos};
use picket_proto::v1;
use picket_seal::{Digest, KeyId};
use picket_store::{Ledger, TRUNK};
use rusqlite::Transaction;
use tonic::Status;

use super::OperatorService;
use crate::alarm::Alarm;
use crate::branch::{BranchState, Branches, Standing};
use crate::database::replacements::{self, Neighbours};
use crate::database::tokens::{self, Token};
use crate::database::{DatabaseError, audit, branches, hosts, keys};
use crate::failure::chain;
use crate::peer::OperatorIdentity;
use crate::refusal::Refusal;
use crate::registry::Known;

const LONGEST_TTL: Duration = Duration::from_hours(90 * 24);
const MOST_USES: u32 = 100_000;
const LONGEST_NAME: usize = 64;
const LONGEST_REASON: usize = 512;

impl OperatorService {
    pub(super) async fn add_token(
        &self,
        operator: &OperatorIdentity,
        request: v1::CreateTokenRequest,
    ) -> Result<v1::Token, Status> {
        let now = self.clock.now();
        let token = new_token(request, operator.name(), now)?;
        let shown = token.shown.clone();
        let added = self.database.call(move |t| -> Result<bool, DatabaseError> {
            let added = tokens::add(t, &token)?;
            let detail = format!(
                "{} uses, until {}",
                token.shown.uses_left,
                UnixNanos(token.shown.expires_unix_ns)
            );
            if added {
                let (who, object) = (&token.shown.created_by, &token.shown.id);
                let action = "token.create";
                audit::add(
                    t,
                    audit::Entry {
                        time: now,
                        who,
                        action,
                        object,
                        detail: &detail,
                        proof: &[],
                    },
                )?;
            }
            Ok(added)
        });
        match added.await {
            Ok(true) => Ok(shown),
            Ok(false) => Err(Refusal::BadQuery.saying("there is a token of this id already")),
            Err(failed) => Err(self.failed(failed)),
        }
    }

    pub(super) async fn all_tokens(&self) -> Result<Vec<v1::Token>, Status> {
        let listed = self.database.call(tokens::list).await;
        listed.map_err(|failed| self.failed(failed))
    }

    pub(super) async fn end_token(
        &self,
        operator: &OperatorIdentity,
        id: String,
    ) -> Result<v1::Token, Status> {
        let now = self.clock.now();
        let who = operator.name().to_owned();
        let ended = self.database.call(move |t| -> Result<_, DatabaseError> {
            if tokens::revoke(t, &id)? {
                let (action, object) = ("token.revoke", id.as_str());
                audit::add(
                    t,
                    audit::Entry {
                        time: now,
                        who: &who,
                        action,
                        object,
                        detail: "",
                        proof: &[],
                    },
                )?;
            }
            tokens::find(t, &id)
        });
        let token = ended.await.map_err(|failed| self.failed(failed))?;
        let token = token.ok_or_else(|| Refusal::NotFound.saying("no token has this id"))?;
        Ok(token.shown)
    }

    pub(super) async fn shown_hosts(&self, wanted: &str) -> Result<Vec<v1::Host>, Status> {
        let found = self.registry.select(wanted);
        let ids: Vec<HostId> = found.iter().map(|(id, _)| *id).collect();
        let kept = self
            .database
            .call(move |t| -> Result<Vec<Kept>, DatabaseError> {
                ids.iter().map(|id| Kept::of(t, id)).collect()
            });
        let kept = kept.await.map_err(|failed| self.failed(failed))?;
        let chains = if found.len() > FEW_HOSTS {
            FEW_CHAINS
        } else {
            ALL_CHAINS
        };
        let hosts = found.into_iter().zip(kept);
        Ok(hosts
            .map(|((id, known), kept)| self.shown_host(id, known, kept, chains))
            .collect())
    }

    pub(super) async fn end_host(
        &self,
        operator: &OperatorIdentity,
        wanted: &str,
    ) -> Result<v1::Host, Status> {
        let (id, known) = self.host(wanted)?;
        let now = self.clock.now();
        let (who, name) = (operator.name().to_owned(), known.name);
        let ended = self.database.call(move |t| -> Result<_, DatabaseError> {
            hosts::revoke(t, &id, now)?;
            let (action, object) = ("host.revoke", id.to_string());
            let entry = audit::Entry {
                time: now,
                who: &who,
                action,
                object: &object,
                detail: &name,
                proof: &[],
            };
            audit::add(t, entry)?;
            Kept::of(t, &id)
        });
        let kept = ended.await.map_err(|failed| self.failed(failed))?;
        self.registry.revoke(id);
        tracing::warn!(host = %id, by = operator.name(), "revoked a host");
        let known = self.registry.known(&id).ok_or(Refusal::Internal)?;
        Ok(self.shown_host(id, known, kept, ALL_CHAINS))
    }

    /// Takes a person's word that one host is another; the old one is revoked with it.
    pub(super) async fn pair_hosts(
        &self,
        operator: &OperatorIdentity,
        signed: v1::SignedReplacement,
    ) -> Result<v1::Host, Status> {
        let said = Replacement::read(&signed, &self.trust.current());
        let (said, person) = said.map_err(|wrong| self.not_paired(&chain(&wrong)))?;
        let (new, old) = (said.host, said.predecessor);
        if self.registry.known(&new).is_none() || self.registry.known(&old).is_none() {
            return Err(self.refused(Refusal::NotFound));
        }
        let now = self.clock.now();
        let paired = self.database.call(move |t| -> Result<_, DatabaseError> {
            let is_over = hosts::find(t, &new)?.is_none_or(|host| host.revoked);
            if is_over || !replacements::add(t, &said, &signed, now)? {
                return Ok(None);
            }
            hosts::revoke(t, &old, now)?;
            let entry = audit::Entry {
                time: now,
                who: &person,
                action: action::REPLACE,
                object: &new.to_string(),
                detail: &old.to_string(),
                proof: &replacement_proof(&signed),
            };
            audit::add(t, entry)?;
            Kept::of(t, &new).map(Some)
        });
        let kept = paired.await.map_err(|failed| self.failed(failed))?;
        let kept = kept.ok_or_else(|| self.not_paired("one of the two is revoked or in a pair"))?;
        self.registry.revoke(old);
        tracing::warn!(host = %new, before = %old, by = operator.name(), "a host replaces another");
        let known = self.registry.known(&new).ok_or(Refusal::Internal)?;
        Ok(self.shown_host(new, known, kept, ALL_CHAINS))
    }

    /// Takes an operator's word on which of those that speak for a host it is.
    pub(super) async fn settle_branch(
        &self,
        operator: &OperatorIdentity,
        request: v1::DecideBranchRequest,
    ) -> Result<v1::Host, Status> {
        let (id, known) = self.host(&request.host)?;
        let name = KeyId::from_slice(&request.branch).ok();
        let number = name.and_then(|name| known.branches.named(name, &id));
        let number = number.ok_or_else(|| {
            Refusal::NotFound.saying("no branch of this host's event keys has this name")
        })?;
        if !request.accept && number == known.branches.current() {
            let words = "this branch is the host: accept the other one, or revoke the host";
            return Err(Refusal::BadQuery.saying(words));
        }
        let (now, accept) = (self.clock.now(), request.accept);
        let who = operator.name().to_owned();
        let reason: String = request.reason.chars().take(LONGEST_REASON).collect();
        let branch = known.branches.name(number, &id);
        let decided = self.database.call(move |t| -> Result<_, DatabaseError> {
            branches::decide(t, &id, number, accept)?;
            let action = if accept { "host.accept" } else { "host.refuse" };
            let entry = audit::Entry {
                time: now,
                who: &who,
                action,
                object: &id.to_string(),
                detail: &format!("{branch} {reason}"),
                proof: &[],
            };
            audit::add(t, entry)?;
            Ok((branches::of(t, &id)?, Kept::of(t, &id)?))
        });
        let (branches, kept) = decided.await.map_err(|failed| self.failed(failed))?;
        self.registry.decided(id, branches);
        let by = operator.name();
        tracing::warn!(host = %id, %branch, accept, by, "decided on a branch of event keys");
        let known = self.registry.known(&id).ok_or(Refusal::Internal)?;
        Ok(self.shown_host(id, known, kept, ALL_CHAINS))
    }

    fn not_paired(&self, words: &str) -> Status {
        self.metrics.call_refused(Refusal::BadReplacement);
        Refusal::BadReplacement.saying(words)
    }

    fn shown_host(&self, id: HostId, known: Known, kept: Kept, chains: usize) -> v1::Host {
        let bytes = |id: Option<HostId>| id.map_or_else(Vec::new, |id| id.as_bytes().to_vec());
        let ledger = self.reader.ledger(&id);
        v1::Host {
            connected: known.is_connected(),
            host_id: id.as_bytes().to_vec(),
            name: known.name.clone(),
            group: known.group.clone(),
            revoked: known.revoked,
            enrolled_unix_ns: known.enrolled.0,
            last_seen_unix_ns: known.last_seen.0,
            last_event_unix_ns: ledger.last_event.map_or(0, |time| time.0),
            facts: Some(known.facts.clone()),
            heartbeat: known.heartbeat.clone(),
            stored: ledger
                .chains
                .into_iter()
                .take(chains)
                .map(|line| shown_ledger(&id, &known.branches, line))
                .collect(),
            epoch: kept.epoch,
            predecessor: bytes(kept.neighbours.predecessor),
            successor: bytes(kept.neighbours.successor),
            host_epoch: known.host_epoch,
            trust_version: known.trust_version,
            alarms: known.alarms.iter().map(shown_alarm).collect(),
            branches: shown_branches(&id, &known),
            content: known.content,
        }
    }
}

/// What only the database knows of a host.
struct Kept {
    epoch: u64,
    neighbours: Neighbours,
}

impl Kept {
    fn of(t: &Transaction<'_>, id: &HostId) -> Result<Self, DatabaseError> {
        Ok(Self {
            epoch: keys::latest(t, id)?,
            neighbours: replacements::of(t, id)?,
        })
    }
}

fn shown_alarm((alarm, since): (&Alarm, &UnixNanos)) -> v1::HostAlarm {
    v1::HostAlarm {
        name: alarm.name().to_owned(),
        words: alarm.words().to_owned(),
        since_unix_ns: since.0,
    }
}

fn new_token(
    request: v1::CreateTokenRequest,
    operator: &str,
    now: UnixNanos,
) -> Result<Token, Status> {
    let wrong = |words: &str| Err(Refusal::BadQuery.saying(words));
    let is_name = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let Ok(secret_hash) = Digest::from_slice(&request.secret_hash) else {
        return wrong("the secret's hash is not a SHA-256");
    };
    if request.id.is_empty() || request.id.len() > LONGEST_NAME || !request.id.chars().all(is_name)
    {
        return wrong("the token's id is not valid");
    }
    if request.group.len() > LONGEST_NAME || !request.group.chars().all(is_name) {
        return wrong("a group is at most 64 of a-z A-Z 0-9 . _ -");
    }
    let ttl = Duration::from_secs(request.ttl_seconds);
    if ttl.is_zero() || ttl > LONGEST_TTL {
        return wrong("a token is good for at least a second and at most 90 days");
    }
    if !(1..=MOST_USES).contains(&request.uses) {
        return wrong("a token has at least one use and at most 100000");
    }
    let shown = v1::Token {
        id: request.id,
        group: request.group,
        created_unix_ns: now.0,
        expires_unix_ns: now.plus(ttl).0,
        uses_left: request.uses,
        revoked: false,
        created_by: operator.to_owned(),
    };
    Ok(Token { shown, secret_hash })
}

/// Each branch that is not the host.
fn shown_branches(host: &HostId, known: &Known) -> Vec<v1::HostBranch> {
    let all = &known.branches;
    let current = all.current();
    let first = (current != TRUNK).then_some(TRUNK);
    let others = all.iter().map(|branch| branch.number);
    let numbers = first.into_iter().chain(others);
    numbers
        .filter(|number| *number != current)
        .map(|number| shown_branch(host, known, number))
        .collect()
}

fn shown_branch(host: &HostId, known: &Known, number: u32) -> v1::HostBranch {
    let (all, told) = (&known.branches, known.told(number));
    let branch = all.get(number);
    let undecided = branch.is_some_and(|it| it.state == BranchState::Undecided);
    // Of the first branch: where the one left it that is the host now.
    let left = || {
        all.lineage(all.current())
            .past
            .last()
            .map(|(_, epoch)| *epoch)
    };
    let fork_epoch = branch.map(|it| it.fork_epoch).or_else(left);
    v1::HostBranch {
        name: all.name(number, host).as_bytes().to_vec(),
        parent: branch.map_or_else(Vec::new, |it| all.name(it.parent, host).as_bytes().to_vec()),
        fork_epoch: fork_epoch.unwrap_or_default(),
        begun_unix_ns: branch.map_or(known.enrolled, |it| it.begun).0,
        state: if undecided { "undecided" } else { "refused" }.to_owned(),
        connected: told.connected,
        last_seen_unix_ns: told.last_seen.0,
        facts: told.facts,
        classes: told.classes,
    }
}

fn shown_ledger(host: &HostId, branches: &Branches, line: Ledger) -> v1::StoredLedger {
    let by = line.signed_by;
    let other = by.filter(|by| branches.standing(*by) != Standing::Host);
    let branch = other.map(|by| branches.name(by.branch, host));
    v1::StoredLedger {
        branch: branch.map_or_else(Vec::new, |name| name.as_bytes().to_vec()),
        stream: line.key.stream.as_bytes().to_vec(),
        class: line.key.class.to_wire(),
        next_seq: line.next_seq,
        stored: line.stored,
        gaps: line.gaps,
        unknown_gaps: line.unknown_gaps,
    }
}

/// So many hosts are shown with all their chains; in a longer list each has its latest only.
const FEW_HOSTS: usize = 64;

/// Two streams of three classes.
const FEW_CHAINS: usize = 6;

/// As many as one answer holds for [`FEW_HOSTS`] hosts; older ones are complete or given up.
const ALL_CHAINS: usize = 768;
