//! From what an operator types after `contain` to an action and its hosts.
//!
//! What stays true: an effect that cuts off or stops ends by itself unless the operator says `--for never`.

use std::time::Duration;

use picket_event::CommandId;
use picket_event::command::{
    Action, ActionError, Collection, FileTarget, Isolation, MAX_REMOVAL, TRIAGE_BYTES, Target, user,
};
use picket_proto::v1;
use picket_seal::Digest;

use crate::cli::{ContainAction, ContainArgs, Lasting};
use crate::client::Collector;
use crate::failure::{Exit, Failure};
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
        for name in &self.hosts {
            found.push(collector.host(name).await?);
        }
        if !self.groups.is_empty() {
            let all = collector.list_hosts("").await?;
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
