//! The sources that are no files which others append to: PAM and the kernel, audit, and files that are looked at as a whole.
//!
//! What stays true: a source that cannot be had takes nothing from the others, and says why.

use std::time::{Duration, Instant};

use picket_event::Hook;

use super::LoginSettings;
use super::audited::Audited;
use super::databases::{Lastlog2, Wtmpdb};
use super::fusion::{SeenBy, Word};
use super::join::Joiner;
use super::lastlog::Lastlog;
use super::probes::Probes;

/// All of them, as far as they were asked for.
#[derive(Debug)]
pub(super) struct Live {
    probes: Option<Probes>,
    audited: Option<Audited>,
    lastlog: Option<Lastlog>,
    wtmpdb: Option<Wtmpdb>,
    lastlog2: Option<Lastlog2>,
    looked: Option<Instant>,
}

impl Live {
    pub(super) fn open(settings: &LoginSettings) -> Self {
        let is_asked = settings.session || !settings.pam.is_empty();
        Self {
            probes: is_asked.then(|| Probes::open(settings)),
            audited: settings.audit.then(Audited::open),
            lastlog: settings.lastlog.clone().map(Lastlog::open),
            wtmpdb: settings.wtmpdb.clone().map(Wtmpdb::open),
            lastlog2: settings.lastlog2.clone().map(Lastlog2::open),
            looked: None,
        }
    }

    /// Takes what has come.
    pub(super) fn read(&mut self, now: Instant, joiner: &Joiner, words: &mut Vec<Word>) {
        if let Some(probes) = &mut self.probes {
            probes.read(words);
        }
        if let Some(audited) = &mut self.audited {
            audited.read(joiner, words);
        }
        let is_due = |at: Instant| now.saturating_duration_since(at) >= LOOK_EVERY;
        if self.looked.is_none_or(is_due) {
            self.looked = Some(now);
            self.look(words);
        }
    }

    fn look(&mut self, words: &mut Vec<Word>) {
        if let Some(lastlog) = &mut self.lastlog {
            lastlog.read(words);
        }
        if let Some(wtmpdb) = &mut self.wtmpdb {
            wtmpdb.read(words);
        }
        if let Some(lastlog2) = &mut self.lastlog2 {
            lastlog2.read(words);
        }
    }

    /// How many reports of probes and audit there was no room for since the last time.
    pub(super) fn take_lost(&mut self) -> u64 {
        let probes = self.probes.as_mut().map_or(0, Probes::take_lost);
        let audited = self.audited.as_mut().map_or(0, Audited::take_lost);
        probes.saturating_add(audited)
    }

    /// The hooks of each source.
    pub(super) fn hooks(&self) -> Vec<(SeenBy, Hook)> {
        let probes = self.probes.iter().flat_map(Probes::hooks);
        let audited = self.audited.iter().map(Audited::hook);
        let audited = audited.map(|hook| (SeenBy::Audit, hook));
        let lastlog = self.lastlog.iter().map(Lastlog::hook);
        let lastlog = lastlog.map(|hook| (SeenBy::Lastlog, hook));
        let wtmpdb = self.wtmpdb.iter().map(Wtmpdb::hook);
        let wtmpdb = wtmpdb.map(|hook| (SeenBy::Wtmpdb, hook));
        let lastlog2 = self.lastlog2.iter().map(Lastlog2::hook);
        let lastlog2 = lastlog2.map(|hook| (SeenBy::Lastlog2, hook));
        probes
            .chain(audited)
            .chain(lastlog)
            .chain(wtmpdb)
            .chain(lastlog2)
            .collect()
    }
}

/// How often files are looked at that change as a whole.
const LOOK_EVERY: Duration = Duration::from_millis(300);
