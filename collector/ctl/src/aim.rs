//! From what an operator types after `contain` to an action and its hosts.
//!
//! What stays true: an effect that cuts off or stops ends by itself unless the operator says `--for never`.

use std::collections::HashMap;
use std::time::Duration;

use picket_event::command::{
    Action, ActionError, Collection, FileTarget, Isolation, MAX_REMOVAL, TRIAGE_BYTES, Target, user,
};
use picket_event::{CommandId, HostId};
use picket_proto::v1;
use picket_seal::Digest;

use crate::cli::{ContainAction, ContainArgs, Lasting};
use crate::client::Collector;
use crate::failure::{Exit, Failure};
use crate::output::note;
use crate::target::Typed;

/// How long a host stays isolated unless said otherwise.
const ISOLATION: Duration = Duration::from_hours(4);
/// How long a tree stays suspended unless said otherwise.
const SUSPENSION: Duration = Duration::from_hours(1);

/// The most of a file that is collected unless said otherwise, in bytes.
const COLLECTED_BYTES: u64 = 64 << 20;
/// How long the package may be removed unless said otherwise.
const REMOVAL: Duration = Duration::from_hours(1);

/// What is meant, before any host was asked for.
#[derive(Debug)]
pub(crate) struct Aim {
    /// What to do.
    kind: ContainAction,
    /// To whom.
    pub(crate) object: Object,
    /// After which time it undoes itself.
    pub(crate) auto_release: Option<Duration>,
    hosts: Vec<String>,
    groups: Vec<String>,
}

/// To whom it is done.
#[derive(Debug)]
pub(crate) enum Object {
    /// A process, to be found among the host's events.
    Process(Typed),
    /// Everything is said.
    Action(Action),
}

impl Aim {
    /// What was typed, if it makes sense.
    pub(crate) fn parse(args: &ContainArgs) -> Result<Self, Failure> {
        refuse_strays(args)?;
        let mut hosts = args.host.clone();
        let object = match args.action {
            ContainAction::Isolate
            | ContainAction::Release
            | ContainAction::AllowRemoval
            | ContainAction::ForbidRemoval
            | ContainAction::Triage => {
                hosts.extend(args.target.clone());
                Object::Action(on_host(args)?)
            }
            _ => object(args)?,
        };
        if hosts.is_empty() && args.group.is_empty() {
            let failure = Failure::new(Exit::Usage, "no host is named".to_owned());
            return Err(failure.hint("--host HOST, or --group GROUP"));
        }
        Ok(Self {
            kind: args.action,
            object,
            auto_release: auto_release(args)?,
            hosts,
            groups: args.group.clone(),
        })
    }

    /// The hosts that are meant, each once. Whoever is revoked is left out of a group.
    pub(crate) async fn hosts(&self, collector: &mut Collector) -> Result<Vec<v1::Host>, Failure> {
        let mut found = Vec::new();
        let many = self.hosts.len() > LISTED || !self.groups.is_empty();
        let all = if many {
            collector.list_hosts("").await?
        } else {
            Vec::new()
        };
        let by_name = ByName::of(&all);
        for name in &self.hosts {
            match by_name.find(name) {
                Some(host) => found.push(host.clone()),
                None => found.push(collector.host(name).await?),
            }
        }
        if !self.groups.is_empty() {
            for group in &self.groups {
                let members = all
                    .iter()
                    .filter(|host| &host.group == group && !host.revoked);
                let before = found.len();
                found.extend(members.cloned());
                if found.len() == before {
                    let text = format!("no host is in the group `{group}`");
                    return Err(Failure::new(Exit::Failed, text));
                }
            }
        }
        found.sort_by(|a, b| a.host_id.cmp(&b.host_id));
        found.dedup_by(|a, b| a.host_id == b.host_id);
        Ok(found)
    }

    /// The action on this process.
    pub(crate) const fn on_process(&self, target: Target) -> Action {
        match self.kind {
            ContainAction::KillTree => Action::KillTree(target),
            ContainAction::Suspend => Action::Suspend(target),
            ContainAction::Resume => Action::Resume(target),
            _ => Action::Kill(target),
        }
    }
}

/// Hosts by their ids and names, to find thousands without asking for each.
struct ByName<'a>(HashMap<String, Option<&'a v1::Host>>);

impl<'a> ByName<'a> {
    fn of(all: &'a [v1::Host]) -> Self {
        let mut known = HashMap::new();
        for host in all {
            known.insert(hex::encode(&host.host_id), Some(host));
            // A name that two have, or that is another's id, is the collector's to decide.
            let same = known.entry(host.name.clone()).or_insert(Some(host));
            *same = same.filter(|same| same.host_id == host.host_id);
        }
        Self(known)
    }

    /// The one host of this whole id or name, if that is certain.
    fn find(&self, name: &str) -> Option<&'a v1::Host> {
        let is_hex = name.bytes().all(|c| c.is_ascii_hexdigit());
        if is_hex && HostId::parse(name).is_err() {
            // It may be the beginning of another's id.
            return None;
        }
        self.0.get(name).copied().flatten()
    }
}

/// Whether a command names these hosts by their root: so do many, unless an agent is of a version that cannot take it.
pub(crate) fn by_root(hosts: &[v1::Host]) -> Result<bool, Failure> {
    if hosts.len() <= LISTED {
        return Ok(false);
    }
    let is_earlier = |host: &&v1::Host| {
        let facts = host.facts.as_ref();
        !facts.is_some_and(|facts| facts.takes_host_sets)
    };
    let earlier = hosts.iter().filter(is_earlier).count();
    if earlier == 0 {
        return Ok(true);
    }
    if hosts.len() > MOST_LISTED {
        let text = format!(
            "{earlier} of {} hosts have an agent that takes commands for at most {MOST_LISTED} hosts",
            hosts.len()
        );
        let failure = Failure::new(Exit::Usage, text);
        return Err(failure.hint("update them, or ask for fewer hosts at a time"));
    }
    note(&format!(
        "{earlier} hosts have an agent of an earlier version: each of the {} is sent the whole list",
        hosts.len()
    ));
    Ok(false)
}

/// So many hosts at most are listed in the bytes that are signed; of more their root is.
pub(crate) const LISTED: usize = 64;

/// So many fit into a command that lists them.
const MOST_LISTED: usize = 1_800;

/// An option that the action does not know would be signed for nothing.
fn refuse_strays(args: &ContainArgs) -> Result<(), Failure> {
    let isolates = args.action == ContainAction::Isolate;
    let stray = [
        ("--allow", !args.allow.is_empty() && !isolates, "isolate"),
        ("--break-glass", args.break_glass && !isolates, "isolate"),
        (
            "--sha256",
            args.sha256.is_some() && args.action != ContainAction::Quarantine,
            "quarantine",
        ),
    ];
    match stray.iter().find(|(_, is_stray, _)| *is_stray) {
        None => Ok(()),
        Some((option, _, action)) => {
            let text = format!("{option} is for {action} alone");
            Err(Failure::new(Exit::Usage, text))
        }
    }
}

fn on_host(args: &ContainArgs) -> Result<Action, Failure> {
    Ok(match args.action {
        ContainAction::Release => Action::Release,
        ContainAction::AllowRemoval => Action::AllowRemoval,
        ContainAction::ForbidRemoval => Action::ForbidRemoval,
        ContainAction::Triage => return triage(args),
        _ => Action::Isolate(Isolation::parse(&args.allow).map_err(malformed)?),
    })
}

fn object(args: &ContainArgs) -> Result<Object, Failure> {
    let target = args.target.as_deref();
    let target = target.ok_or_else(|| {
        Failure::new(Exit::Usage, "nothing is named to do that to".to_owned())
            .hint("picketctl contain --help")
    })?;
    let path = target.as_bytes();
    let action = match args.action {
        ContainAction::Quarantine => Action::Quarantine(FileTarget {
            sha256: args.sha256.as_deref().map(hash).transpose()?,
            ..FileTarget::at(path).map_err(malformed)?
        }),
        ContainAction::Restore => Action::Restore(command_id(target)?),
        ContainAction::BlockHash => Action::BlockHash(hash(target)?),
        ContainAction::UnblockHash => Action::UnblockHash(hash(target)?),
        ContainAction::LockUser => Action::LockUser(user(target.to_owned()).map_err(malformed)?),
        ContainAction::UnlockUser => {
            Action::UnlockUser(user(target.to_owned()).map_err(malformed)?)
        }
        ContainAction::Collect => {
            let most = args.max_bytes.unwrap_or(COLLECTED_BYTES);
            Action::Collect(Collection::at(path, most).map_err(malformed)?)
        }
        _ => return Ok(Object::Process(Typed::parse(target)?)),
    };
    Ok(Object::Action(action))
}

fn auto_release(args: &ContainArgs) -> Result<Option<Duration>, Failure> {
    let lasting = match args.action {
        ContainAction::Isolate => Some(ISOLATION),
        ContainAction::Suspend => Some(SUSPENSION),
        ContainAction::AllowRemoval => return removal(args).map(Some),
        ContainAction::Quarantine | ContainAction::BlockHash | ContainAction::LockUser => None,
        _ if args.lasting.is_some() => {
            let text = "--for is for what can be undone: suspend, quarantine, isolate, block-hash, lock-user, allow-removal";
            return Err(Failure::new(Exit::Usage, text.to_owned()));
        }
        _ => None,
    };
    Ok(match args.lasting {
        None => lasting,
        Some(Lasting::Never) => None,
        Some(Lasting::For(lasting)) => Some(lasting),
    })
}

fn triage(args: &ContainArgs) -> Result<Action, Failure> {
    let most = args.max_bytes.unwrap_or(*TRIAGE_BYTES.end());
    if TRIAGE_BYTES.contains(&most) {
        Ok(Action::Triage(most))
    } else {
        Err(malformed(ActionError::Triage(most)))
    }
}

/// No host can be left removable.
fn removal(args: &ContainArgs) -> Result<Duration, Failure> {
    match args.lasting {
        None => Ok(REMOVAL),
        Some(Lasting::For(lasting)) if lasting <= MAX_REMOVAL => Ok(lasting),
        Some(_) => {
            let text = "a removal is allowed for 24h at most";
            Err(Failure::new(Exit::Usage, text.to_owned()))
        }
    }
}

fn command_id(text: &str) -> Result<CommandId, Failure> {
    CommandId::parse(text).map_err(|source| {
        Failure::new(Exit::Usage, source)
            .hint("the whole id: picketctl commands --json | jq -r .id")
    })
}

fn hash(text: &str) -> Result<Digest, Failure> {
    let bytes = hex::decode(text).ok();
    let digest = bytes.and_then(|bytes| Digest::from_slice(&bytes).ok());
    digest.ok_or_else(|| {
        let text = format!("`{text}` is no SHA-256, which is 64 hexadecimal digits");
        Failure::new(Exit::Usage, text)
    })
}

fn malformed(error: ActionError) -> Failure {
    Failure::new(Exit::Usage, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(id: u8, name: &str, takes_host_sets: bool) -> v1::Host {
        v1::Host {
            host_id: vec![id; 32],
            name: name.to_owned(),
            facts: Some(v1::HostFacts {
                takes_host_sets,
                ..v1::HostFacts::default()
            }),
            ..v1::Host::default()
        }
    }

    #[test]
    fn many_are_named_by_their_root_unless_an_agent_cannot_take_it() {
        let hosts = |count: usize, earlier: usize| {
            let new = (0..count).map(|at| host(1, "web", at >= earlier));
            new.collect::<Vec<_>>()
        };
        assert!(matches!(by_root(&hosts(LISTED, 0)), Ok(false)));
        assert!(matches!(by_root(&hosts(LISTED + 1, 0)), Ok(true)));
        assert!(matches!(by_root(&hosts(LISTED + 1, 1)), Ok(false)));
        assert!(matches!(by_root(&hosts(MOST_LISTED + 1, 0)), Ok(true)));
        let refused = by_root(&hosts(MOST_LISTED + 1, 2)).unwrap_err();
        assert!(refused.to_string().contains("2 of 1801"), "{refused}");
    }

    #[test]
    fn only_a_whole_id_or_the_only_name_is_found_without_asking() {
        let all = [
            host(1, "web-1", true),
            host(2, "web-2", true),
            host(3, "web-2", true),
            host(4, &"01".repeat(32), true),
            host(5, "beef", true),
        ];
        let known = ByName::of(&all);
        let found = |name: &str| known.find(name).map(|host| host.host_id[0]);
        assert_eq!(found("web-1"), Some(1));
        assert_eq!(found(&"02".repeat(32)), Some(2));
        for doubtful in ["web-2", "web", &"01".repeat(32), "beef", "0101", ""] {
            assert_eq!(found(doubtful), None, "{doubtful}");
        }
    }
}
