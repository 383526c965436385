//! Events that follow from others: a script from the exec that started it, a scheduled job or a changed account from
//! the change of the file that says so.
//!
//! # Invariants
//!
//! - An event that is derived has the time and the process of its cause and comes right behind it.
//! - Each is counted once, as generated and submitted, when it leaves; one that turns out to say nothing
//!   never was.

use picket_event::{Detail, Event, HashStatus, Kind, Process, Script, Source};

use super::hash::{HashDone, HashJob, JobId, MAX_SCRIPT_BYTES};
use super::lookup::{Eyes, shares_mounts};
use super::{Awaited, Enricher, Hasher, Waiting, counts, noted, script};

impl Enricher {
    /// What follows from an event beyond itself.
    pub(super) fn derive(
        &mut self,
        cause: &Event,
        until_ns: u64,
        hasher: &dyn Hasher,
    ) -> Option<Waiting> {
        let (event, job) = match cause.kind {
            Kind::Exec => self.script(cause, hasher)?,
            kind if kind.is_file() => self.change(cause, hasher)?,
            _ => return None,
        };
        Some(Waiting {
            event: Box::new(event),
            job,
            until_ns,
        })
    }

    /// Takes answers about changed files. What did not change is not told.
    pub(crate) fn noted(&mut self, answers: Vec<noted::Answer>) {
        for noted::Answer { number, told } in answers {
            let awaited = Some(Awaited::Noted(number));
            let Some(place) = self.waiting.iter().position(|it| it.job == awaited) else {
                continue;
            };
            let Some(waiting) = self.waiting.remove(place) else {
                continue;
            };
            // Inserted backwards, so they stand in order where the one was.
            for mut detail in told.into_iter().rev() {
                self.name_scheduled(&mut detail);
                let mut event = waiting.event.clone();
                event.detail = Some(detail);
                self.waiting.insert(
                    place,
                    Waiting {
                        event,
                        job: None,
                        until_ns: waiting.until_ns,
                    },
                );
            }
        }
    }

    /// at has numbers for users.
    fn name_scheduled(&self, detail: &mut Detail) {
        if let Detail::ScheduledJob(job) = detail
            && let Some(uid) = job.user.as_str().and_then(|user| user.parse().ok())
        {
            let name = self.users.name(uid);
            if !name.is_empty() {
                job.user = name;
            }
        }
    }

    /// Counts an event that no sensor counted.
    pub(super) fn count(&mut self, event: &Event) {
        if is_found(event) {
            counts::count(&mut self.counts.derived, event.kind);
        }
    }

    fn script(&mut self, cause: &Event, hasher: &dyn Hasher) -> Option<(Event, Option<Awaited>)> {
        let process = cause.process.as_ref()?;
        let found = script::of(process)?;
        let readable = found.path.as_bytes().starts_with(b"/");
        let job = HashJob {
            id: JobId::Script(self.number()),
            pid: process.pid,
            eyes: Eyes::of(Some(process)),
            path: found.path.clone(),
            named: Some(cause.time),
            max_bytes: MAX_SCRIPT_BYTES,
        };
        let mut event = following(cause, Kind::Script).with(Detail::Script(Script {
            path: found.path,
            interpreter: found.interpreter,
            ..Script::default()
        }));
        let job = if readable {
            self.ask(&mut event, job, hasher)
        } else {
            None
        };
        Some((event, job.map(Awaited::Hash)))
    }

    fn change(&mut self, cause: &Event, hasher: &dyn Hasher) -> Option<(Event, Option<Awaited>)> {
        let change = noted::change(cause)?;
        let (kind, detail) = (change.kind(), change.untold());
        let process = cause.process.as_ref();
        let foreign = process.filter(|process| !shares_mounts(process));
        let job = noted::Job {
            number: self.number(),
            eyes: Eyes::of(process),
            mounts: foreign.map_or(0, |process| process.ns.map_or(u32::MAX, |ns| ns.mnt)),
            change,
        };
        let awaited = Awaited::Noted(job.number);
        let asked = hasher.look(job);
        let event = following(cause, kind).with(detail);
        Some((event, asked.then_some(awaited)))
    }
}

/// Whether the agent made this event about the host, not about itself.
pub(crate) fn is_found(event: &Event) -> bool {
    let kind = event.kind;
    let found = matches!(
        kind,
        Kind::Script | Kind::ScheduledJob | Kind::AccountChange
    ) || kind.is_file();
    event.source == Source::Agent && found
}

/// An event behind its cause.
fn following(cause: &Event, kind: Kind) -> Event {
    let mut event = Event::new(kind, cause.time, Source::Agent);
    event.boot_ns = cause.boot_ns;
    event.process = cause.process.as_ref().map(without_arguments);
    event
}

/// Arguments and environment are in exec events only; others refer to them.
fn without_arguments(process: &Process) -> Process {
    Process {
        argv: Vec::new(),
        argc: 0,
        argv_bytes: 0,
        argv_truncated: false,
        argv_omitted_at: 0,
        env: Vec::new(),
        ..process.clone()
    }
}

/// The size of a script that was found.
pub(super) const fn set_size(event: &mut Event, done: &HashDone) {
    if let Some(Detail::Script(script)) = &mut event.detail
        && matches!(
            done.hashed.status,
            Some(HashStatus::Ok | HashStatus::TooLarge)
        )
    {
        script.size = Some(done.bytes);
    }
}
