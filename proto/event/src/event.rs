//! One observed fact.

use crate::{
    BootId, Class, Detail, File, HostId, Kind, Login, Network, Process, Severity, Source,
    UnixNanos, Verdict,
};

/// One observed fact about a host.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its number in its stream and class; 0 until it is numbered.
    pub seq: u64,
    /// What happened.
    pub kind: Kind,
    /// When, by the wall clock.
    pub time: UnixNanos,
    /// When, in nanoseconds since boot; 0: not known.
    pub boot_ns: u64,
    /// Who saw it.
    pub source: Source,
    /// Who acted.
    pub process: Option<Process>,
    /// What was judged about it.
    pub verdicts: Vec<Verdict>,
    /// What the kind adds.
    pub detail: Option<Detail>,
}

impl Event {
    /// An event with nothing known but what, when and by whom it was seen.
    pub fn new(kind: Kind, time: UnixNanos, source: Source) -> Self {
        Self {
            seq: 0,
            kind,
            time,
            boot_ns: 0,
            source,
            process: None,
            verdicts: Vec::new(),
            detail: None,
        }
    }

    /// With this acting process.
    #[must_use]
    pub fn by(mut self, process: Process) -> Self {
        self.process = Some(process);
        self
    }

    /// With this detail.
    #[must_use]
    pub fn with(mut self, detail: Detail) -> Self {
        self.detail = Some(detail);
        self
    }

    /// How bad its worst verdict is.
    pub fn severity(&self) -> Option<Severity> {
        self.verdicts.iter().map(Verdict::severity).max()
    }

    /// The class it travels in: what was judged medium or worse goes first.
    pub fn class(&self) -> Class {
        match self.severity() {
            Some(severity) if severity >= Severity::Medium => Class::Alert,
            _ => self.kind.default_class(),
        }
    }

    /// Its file, if it speaks of one.
    pub fn file(&self) -> Option<&File> {
        match &self.detail {
            Some(Detail::File(file)) => Some(file),
            _ => None,
        }
    }

    /// Its connection, if it speaks of one.
    pub fn network(&self) -> Option<&Network> {
        match &self.detail {
            Some(Detail::Network(network)) => Some(network),
            _ => None,
        }
    }

    /// Its login, if it speaks of one.
    pub fn login(&self) -> Option<&Login> {
        match &self.detail {
            Some(Detail::Login(login)) => Some(login),
            _ => None,
        }
    }
}

/// Where an event comes from: what its batch knows and the event itself does not repeat.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Origin {
    /// The host; `None` before enrolment.
    pub host: Option<HostId>,
    /// The boot.
    pub boot: BootId,
}
