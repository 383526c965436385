//! Rules, policy and configuration that operators signed and this host took.
//!
//! # Invariants
//!
//! - Only what enough persons of this host's trust root signed is taken; a lower version never is.
//! - What does not compile as a whole is refused as a whole, and what was in use stays in use.
//! - It is on disk before it is used, and what it replaces stays beside it: rules or a configuration with which the agent does
//!   not stay alive are set aside at the third start, and the ones before are used.
//! - A configuration is used from the next start on, so what is in use never changes within a run.
//!
//! # Files
//!
//! `content/KIND`: the signed message in use; `content/KIND.before`: the one before; `content/KIND.trial`: the
//! number of starts since it was taken, until the agent lived with it for a minute.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use picket_event::UnixNanos;
use picket_event::configuration::Configuration;
use picket_event::content::{Content, ContentFile, ContentKind};
use picket_event::policy::Policy;
use picket_event::trust::TrustRoot;
use picket_proto::v1;
use prost::Message;
use tokio::sync::watch;

use crate::detect::{Rules, RulesFrom, compile};
use crate::failure::chain;
use crate::state::{StateDir, StateError};

#[cfg(test)]
mod tests;

const DIRECTORY: &str = "content";
/// Content with which the agent was started so often without living for a minute is set aside.
const STARTS: u32 = 3;
/// What can keep an agent from living.
const ON_TRIAL: [ContentKind; 2] = [ContentKind::Rules, ContentKind::Configuration];

/// Shared by the path, the uplink and the responder.
pub(crate) type SharedContents = Arc<Contents>;

/// All content of this host.
#[derive(Debug)]
pub(crate) struct Contents {
    state: Arc<StateDir>,
    /// Rules of the host's own administrator.
    rules: PathBuf,
    in_use: RwLock<InUse>,
    told: watch::Sender<Vec<v1::ContentAck>>,
}

/// What is in use of each kind.
#[derive(Clone, Debug, Default)]
struct InUse {
    rules: Option<Arc<Taken>>,
    policy: Option<Arc<Taken>>,
    configuration: Option<Arc<Taken>>,
    /// The highest version of each kind that was ever taken.
    highest: [u64; ContentKind::ALL.len()],
}

/// One version.
#[derive(Clone, Debug)]
pub(crate) struct Taken {
    /// Its number.
    pub(crate) version: u64,
    /// Who signed it.
    pub(crate) signers: Vec<String>,
    /// What it says.
    pub(crate) content: Content,
    /// The same as a policy; empty for all else.
    pub(crate) policy: Policy,
    /// The same as a configuration; empty for all else.
    pub(crate) configuration: Configuration,
}

/// What became of an offer.
#[derive(Debug)]
pub(crate) enum Offered {
    /// It is in use, a configuration from the next start on; rules are compiled, for the path.
    Taken(Box<Taken>, Option<Box<Rules>>),
    /// This version was taken before.
    Known,
    /// It is not used; why.
    Refused(String),
}

impl Contents {
    /// What earlier runs took. What cannot be read is logged and not used.
    pub(crate) fn open(state: Arc<StateDir>, rules: PathBuf, trust: &TrustRoot) -> SharedContents {
        let contents = Self {
            state,
            rules,
            in_use: RwLock::default(),
            told: watch::Sender::new(Vec::new()),
        };
        for kind in ON_TRIAL {
            contents.judge_trial(kind);
        }
        for kind in ContentKind::ALL {
            let read = contents.read(*kind, trust);
            let reason = read.map_or_else(|reason| reason, |()| contents.set_aside(*kind));
            if !reason.is_empty() {
                let kind = kind.name();
                tracing::error!(kind, reason, "signed content of an earlier run is not used");
            }
            if contents.highest(*kind) > 0 || !reason.is_empty() {
                contents.tell(*kind, contents.highest(*kind), reason);
            }
        }
        Arc::new(contents)
    }

    /// The rules that operators signed.
    pub(crate) fn rules(&self) -> Vec<ContentFile> {
        let taken = self.in_use().rules;
        taken.map_or_else(Vec::new, |taken| taken.content.files.clone())
    }

    /// The settings that take the place of the host's own.
    pub(crate) fn configuration(&self) -> Configuration {
        let taken = self.in_use().configuration;
        taken.map_or_else(Configuration::default, |taken| taken.configuration.clone())
    }

    /// The policy in force.
    pub(crate) fn policy(&self) -> Option<Arc<Taken>> {
        self.in_use().policy
    }

    /// Hears what to tell the collector.
    pub(crate) fn told(&self) -> watch::Receiver<Vec<v1::ContentAck>> {
        self.told.subscribe()
    }

    /// The highest version of each kind that was taken, for the collector.
    pub(crate) fn versions(&self) -> Vec<v1::ContentVersion> {
        let highest = self.in_use().highest;
        let versions = ContentKind::ALL.iter().zip(highest);
        versions
            .filter(|(_, version)| *version > 0)
            .map(|(kind, version)| v1::ContentVersion {
                kind: kind.to_wire(),
                version,
            })
            .collect()
    }

    /// The version in use of each kind; 0: none.
    pub(crate) fn used(&self) -> [(ContentKind, u64); ContentKind::ALL.len()] {
        let in_use = self.in_use();
        let version = |taken: Option<Arc<Taken>>| taken.map_or(0, |taken| taken.version);
        [
            (ContentKind::Rules, version(in_use.rules)),
            (ContentKind::Policy, version(in_use.policy)),
            (ContentKind::Configuration, version(in_use.configuration)),
        ]
    }

    /// Takes what is offered, if `trust` lets it and it is good.
    pub(crate) fn take(
        &self,
        signed: &v1::SignedContent,
        trust: &TrustRoot,
        now: UnixNanos,
    ) -> Offered {
        let believed = Content::believe(signed, trust, now);
        let (content, standing) = match believed {
            Ok(believed) => believed,
            Err(error) => return self.refuse(signed, chain(&error)),
        };
        let has = self.highest(content.kind);
        if content.version <= has {
            let same = content.version == has;
            let why = format!("version {} comes after {has} was taken", content.version);
            return if same {
                self.tell(content.kind, content.version, String::new());
                Offered::Known
            } else {
                self.refuse(signed, why)
            };
        }
        let signers = standing.signers();
        let made = self
            .compile(&content)
            .and_then(|rules| Ok((Taken::of(content, signers)?, rules)));
        let (taken, rules) = match made {
            Ok(made) => made,
            Err(reason) => return self.refuse(signed, reason),
        };
        if let Err(error) = self.keep(&taken, signed) {
            return self.refuse(signed, chain(&error));
        }
        let (kind, version) = (taken.content.kind, taken.version);
        if kind == ContentKind::Configuration {
            self.remember(kind, version);
        } else {
            self.use_it(taken.clone());
        }
        self.tell(kind, version, String::new());
        Offered::Taken(Box::new(taken), rules.map(Box::new))
    }

    /// The agent has lived with what it uses for long enough, or ends in order. What only the next start uses is still to be tried.
    pub(crate) fn end_trials(&self) {
        for (kind, used) in self.used() {
            if ON_TRIAL.contains(&kind) && used == self.highest(kind) {
                self.end_trial(kind);
            }
        }
    }

    fn end_trial(&self, kind: ContentKind) {
        match std::fs::remove_file(self.path(kind, ".trial")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(%error, kind = kind.name(), "the trial of content cannot be ended");
            }
            _ => {}
        }
    }

    /// Rules as the path uses them; `None`: the content is no rules.
    fn compile(&self, content: &Content) -> Result<Option<Rules>, String> {
        if content.kind != ContentKind::Rules {
            return Ok(None);
        }
        let from = RulesFrom::Pack(&self.rules);
        let compiled = compile(from, &content.files);
        let (rules, refused) = compiled.map_err(|error| chain(&error))?;
        let own = |file: &str| content.files.iter().any(|own| own.name == file);
        match refused.iter().find(|one| own(&one.file)) {
            Some(refused) => Err(format!("{}: {}", refused.file, refused.reason)),
            None => Ok(Some(rules)),
        }
    }

    /// What was in use goes aside, whole; then the new one takes its place, whole.
    fn keep(&self, taken: &Taken, signed: &v1::SignedContent) -> Result<(), StateError> {
        let kind = taken.content.kind;
        self.state.directory(DIRECTORY)?;
        let place = self.path(kind, "");
        if let Some(before) = crate::state::read(&place)? {
            crate::state::write(&self.path(kind, ".before"), &before)?;
        }
        if ON_TRIAL.contains(&kind) {
            crate::state::write(&self.path(kind, ".trial"), b"0")?;
        }
        crate::state::write(&place, &signed.encode_to_vec())
    }

    /// Counts this start, if content of this kind is on trial; after too many the one before is used.
    fn judge_trial(&self, kind: ContentKind) {
        let trial = self.path(kind, ".trial");
        let Ok(Some(text)) = crate::state::read(&trial) else {
            return;
        };
        let starts = String::from_utf8_lossy(&text).trim().parse::<u32>();
        let starts = starts.unwrap_or(0).saturating_add(1);
        let outcome = if starts < STARTS {
            crate::state::write(&trial, starts.to_string().as_bytes()).map_err(|e| chain(&e))
        } else {
            self.go_back(kind)
        };
        if let Err(reason) = outcome {
            tracing::error!(
                reason,
                kind = kind.name(),
                "the trial of content cannot be judged"
            );
        }
    }

    fn go_back(&self, kind: ContentKind) -> Result<(), String> {
        let failed = |error: std::io::Error| error.to_string();
        tracing::error!(
            kind = kind.name(),
            "the agent did not stay alive with the newest content of this kind; the one before is used"
        );
        let place = self.path(kind, "");
        std::fs::rename(&place, self.path(kind, ".bad")).map_err(failed)?;
        let before = self.path(kind, ".before");
        if before.exists() {
            std::fs::copy(&before, &place).map_err(failed)?;
        }
        self.end_trial(kind);
        Ok(())
    }

    /// Why the newest version is not in use although it was taken; empty: it is.
    fn set_aside(&self, kind: ContentKind) -> String {
        let used = self.used().into_iter().find(|(one, _)| *one == kind);
        if used.is_some_and(|(_, version)| version == self.highest(kind)) {
            return String::new();
        }
        "the agent did not stay alive with it".to_owned()
    }

    /// What is on disk was believed when it was taken.
    fn read(&self, kind: ContentKind, trust: &TrustRoot) -> Result<(), String> {
        if let Ok(Some((_, bad))) = self.decode(kind, ".bad") {
            self.remember(kind, bad.version);
        }
        let Some((signed, content)) = self.decode(kind, "")? else {
            return Ok(());
        };
        // Who signed may have left the trust root since.
        let names = Content::weigh(&signed, trust).map(|standing| standing.signers());
        let keys = || {
            let keys = signed.signatures.iter();
            keys.map(|one| hex::encode(&one.key_id)).collect()
        };
        let signers = names.unwrap_or_else(|_gone| keys());
        self.use_it(Taken::of(content, signers)?);
        Ok(())
    }

    fn decode(
        &self,
        kind: ContentKind,
        ending: &str,
    ) -> Result<Option<(v1::SignedContent, Content)>, String> {
        let read = crate::state::read(&self.path(kind, ending)).map_err(|error| chain(&error))?;
        let Some(bytes) = read else {
            return Ok(None);
        };
        let signed = v1::SignedContent::decode(bytes.as_slice());
        let signed = signed.map_err(|error| error.to_string())?;
        let content = Content::decode(&signed.body).map_err(|error| chain(&error))?;
        Ok(Some((signed, content)))
    }

    fn path(&self, kind: ContentKind, ending: &str) -> PathBuf {
        let name = format!("{}{ending}", kind.name());
        self.state.path(DIRECTORY).join(name)
    }

    fn in_use(&self) -> InUse {
        let in_use = self.in_use.read().unwrap_or_else(PoisonError::into_inner);
        in_use.clone()
    }

    fn highest(&self, kind: ContentKind) -> u64 {
        self.in_use().highest.get(place(kind)).copied().unwrap_or(0)
    }

    fn remember(&self, kind: ContentKind, version: u64) {
        let mut in_use = self.in_use.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(highest) = in_use.highest.get_mut(place(kind)) {
            *highest = version.max(*highest);
        }
    }

    fn use_it(&self, taken: Taken) {
        let kind = taken.content.kind;
        self.remember(kind, taken.version);
        let taken = Some(Arc::new(taken));
        let mut in_use = self.in_use.write().unwrap_or_else(PoisonError::into_inner);
        match kind {
            ContentKind::Rules => in_use.rules = taken,
            ContentKind::Policy => in_use.policy = taken,
            ContentKind::Configuration => in_use.configuration = taken,
        }
    }

    fn refuse(&self, signed: &v1::SignedContent, reason: String) -> Offered {
        tracing::error!(reason, "refused content");
        if let Ok(content) = Content::decode(&signed.body) {
            self.tell(content.kind, content.version, reason.clone());
        }
        Offered::Refused(reason)
    }

    /// What was offered could not be had: the collector hears why.
    pub(crate) fn not_fetched(&self, kind: ContentKind, offered: u64, reason: String) {
        self.tell(kind, offered, reason);
    }

    fn tell(&self, kind: ContentKind, offered: u64, refused: String) {
        let used = self.used().into_iter().find(|(one, _)| *one == kind);
        let ack = v1::ContentAck {
            kind: kind.to_wire(),
            version: used.map_or(0, |(_, version)| version),
            offered,
            refused,
        };
        self.told.send_modify(|told| {
            told.retain(|one| one.kind != ack.kind);
            told.push(ack);
        });
    }
}

impl Taken {
    fn of(content: Content, signers: Vec<String>) -> Result<Self, String> {
        let (mut policy, mut configuration) = (Policy::default(), Configuration::default());
        match content.kind {
            ContentKind::Rules => {}
            ContentKind::Policy => {
                policy = Policy::of(&content).map_err(|error| error.to_string())?;
            }
            ContentKind::Configuration => {
                configuration = Configuration::of(&content).map_err(|error| error.to_string())?;
            }
        }
        Ok(Self {
            version: content.version,
            signers,
            content,
            policy,
            configuration,
        })
    }
}

fn place(kind: ContentKind) -> usize {
    let mut kinds = ContentKind::ALL.iter();
    kinds.position(|one| *one == kind).unwrap_or(0)
}
