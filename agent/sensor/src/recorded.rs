//! Recordings of others as events: our own JSON lines, logs of auditd, Sysmon for Linux, system logs.
//!
//! ```text
//!              /-> JSON ----------------------------------\
//! line -> form --> record -> assembly by serial -> events --> Told
//!              \-> <Event> -> events ----------------------/
//!               \-> head -> logins (fused), accounts ------/
//! ```
//!
//! # Invariants
//!
//! - Each line is read, or said to be unread with the reason; none is passed over in silence.
//! - Time, host and process are the recording's. Nothing of this host is looked up and no clock is
//!   asked: the same lines give the same events.
//! - No bytes make it panic, and what waits for more lines is bounded.

use picket_event::{BootId, Detail, Event, HostId, Kind, LogLine, Login, Source, Text, json};

use crate::Settings;
use crate::ebpf::watch::Watch;
use crate::login::{AuditLogin, LineClock, LogHead, RecordedLogins};

mod accounts;
mod assembly;
mod audit;
mod file;
mod form;
mod identities;
pub mod record;
mod socket;
pub mod syscalls;
mod syslog;
mod sysmon;
mod xml;

pub use form::Form;
pub use record::AuditRecord;
pub use socket::{Address, address};

use assembly::Assembly;
use identities::Identities;

/// Why a line was not read.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, thiserror::Error)]
pub enum Unread {
    /// It has no form that is known.
    #[error("not a line of any format that is known")]
    Form,
    /// Not one of our events.
    #[error("JSON, but no event of ours and no line of a log within")]
    Json,
    /// Not a record of audit.
    #[error("not a record of auditd")]
    Record,
    /// Not a line of a system log.
    #[error("no time and program at its head")]
    Head,
    /// Not an event of Sysmon for Linux.
    #[error("an event of another provider than Linux-Sysmon")]
    Provider,
    /// An event of a kind that has no meaning here.
    #[error("an event of Sysmon of an unknown kind")]
    Kind,
    /// A part that each event has is missing.
    #[error("an event without all its parts")]
    Incomplete,
    /// Its time cannot be read.
    #[error("an event without a time")]
    Time,
    /// An event over more lines than are kept.
    #[error("an event that does not end")]
    Endless,
}

/// An event of a recording.
#[derive(Clone, Debug)]
pub struct Told {
    /// What happened. Not yet judged.
    pub event: Event,
    /// Its host, if the recording names it as ours do.
    pub host: Option<HostId>,
    /// Its boot, likewise.
    pub boot: Option<BootId>,
    /// The records of audit it was read from.
    pub records: Vec<AuditRecord>,
    /// It is worth telling only if a rule finds something in it: a line or a record that is no event by itself.
    pub only_if_judged: bool,
}

impl Told {
    fn plain(event: Event) -> Self {
        Self {
            event,
            host: None,
            boot: None,
            records: Vec::new(),
            only_if_judged: false,
        }
    }
}

/// Reads one recording, line by line.
#[derive(Debug)]
pub struct Recording {
    form: Option<Form>,
    clock: LineClock,
    watch: Watch,
    assembly: Assembly,
    ids: Identities,
    logins: RecordedLogins,
    /// An `<Event>` over several lines.
    partial: Vec<u8>,
    told: Vec<Told>,
}

impl Recording {
    /// A recording of this form, or with each line of the form that it has. `clock` says which year lines without one are of.
    pub fn new(form: Option<Form>, clock: LineClock) -> Self {
        let settings = Settings::new(BootId::new([0; 16]));
        Self {
            form,
            clock,
            watch: Watch::new(&settings.watch, &settings.secrets),
            assembly: Assembly::default(),
            ids: Identities::default(),
            logins: RecordedLogins::new(),
            partial: Vec::new(),
            told: Vec::new(),
        }
    }

    /// Takes the next line, without its line feed. Empty lines are none.
    pub fn line(&mut self, line: &[u8]) -> Result<(), Unread> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        if !self.partial.is_empty() {
            return self.more_of_event(line);
        }
        match self.form.or_else(|| Form::of(line)) {
            Some(Form::Json) => self.json(line),
            Some(Form::Auditd) => self.record(line),
            Some(Form::Sysmon) => self.xml(line),
            Some(Form::Syslog) => self.syslog(line),
            None => Err(Unread::Form),
        }
    }

    /// Nothing more comes: what waited is told.
    pub fn end(&mut self) -> Result<(), Unread> {
        self.assembly.end();
        self.assembled();
        let mut events = Vec::new();
        self.logins.finish(&mut events);
        self.told.extend(events.into_iter().map(Told::plain));
        if std::mem::take(&mut self.partial).is_empty() {
            Ok(())
        } else {
            Err(Unread::Incomplete)
        }
    }

    /// What was read so far, in the order of the recording.
    pub fn take(&mut self) -> Vec<Told> {
        std::mem::take(&mut self.told)
    }

    fn json(&mut self, line: &[u8]) -> Result<(), Unread> {
        let value = serde_json::from_slice(line).map_err(|_not_json| Unread::Json)?;
        match json::from_value(&value) {
            Ok(line) => {
                let mut told = Told {
                    host: line.host,
                    boot: line.boot,
                    ..Told::plain(line.event)
                };
                told.event.verdicts.clear();
                told.records = records_of(&told.event);
                self.told.push(told);
                Ok(())
            }
            Err(_no_event_of_ours) => self.within(&value),
        }
    }

    /// A line of a log that somebody wrapped in JSON.
    fn within(&mut self, value: &serde_json::Value) -> Result<(), Unread> {
        if let Some(line) = form::of_journal(value) {
            return self.syslog(line.as_bytes());
        }
        let inner = form::wrapped(value).ok_or(Unread::Json)?;
        match Form::of(inner.as_bytes()) {
            Some(Form::Auditd) => self.record(inner.as_bytes()),
            Some(Form::Sysmon) => self.xml(inner.as_bytes()),
            Some(Form::Syslog) => self.syslog(inner.as_bytes()),
            Some(Form::Json) | None => Err(Unread::Json),
        }
    }

    fn record(&mut self, line: &[u8]) -> Result<(), Unread> {
        let record = AuditRecord::parse(line).ok_or(Unread::Record)?;
        self.assembly.accept(record);
        self.assembled();
        Ok(())
    }

    fn assembled(&mut self) {
        while let Some(records) = self.assembly.next() {
            self.audited(records);
        }
    }

    /// The events of one serial; the first has the records with it.
    fn audited(&mut self, records: Vec<AuditRecord>) {
        let mut events = audit::events(&records, &mut self.ids, &self.watch);
        for record in &records {
            self.reported(record, &mut events);
        }
        let only_if_judged = events.is_empty();
        if only_if_judged {
            events.extend(finding(&records));
        }
        let mut records = Some(records);
        for event in events {
            self.told.push(Told {
                records: records.take().unwrap_or_default(),
                only_if_judged,
                ..Told::plain(event)
            });
        }
        self.give_logins();
    }

    /// What a program reported to audit: logins wait for what else is said about them.
    fn reported(&mut self, record: &AuditRecord, events: &mut Vec<Event>) {
        let process = audit::of_record(record, &mut self.ids);
        if let Some(change) = accounts::of_record(record) {
            let mut event = Event::new(Kind::AccountChange, record.time(), Source::Audit);
            event.process = process;
            events.push(event.with(Detail::AccountChange(change)));
            return;
        }
        let Some(process) = process else {
            return;
        };
        if record.kind == "USER_CMD" {
            let login = switch(record);
            let done = record.success() != Some(false);
            self.logins.switched(record.time(), process, login, done);
            return;
        }
        let kind = record::kind_number(&record.kind);
        let login = kind.and_then(|kind| AuditLogin::parse(kind, record.message()));
        if let Some(login) = login {
            self.logins.audit(&login, process, caller(record));
        }
    }

    fn xml(&mut self, line: &[u8]) -> Result<(), Unread> {
        let text = form::xml_part(line);
        if !form::is_whole(text) {
            self.partial.extend_from_slice(text);
            return Ok(());
        }
        self.sysmon(text)
    }

    fn more_of_event(&mut self, line: &[u8]) -> Result<(), Unread> {
        self.partial.push(b'\n');
        self.partial.extend_from_slice(line);
        let ends = memchr::memmem::find(line, b"</Event>").is_some();
        if ends && form::is_whole(&self.partial) {
            let text = std::mem::take(&mut self.partial);
            return self.sysmon(&text);
        }
        if self.partial.len() > LONGEST_EVENT {
            self.partial.clear();
            return Err(Unread::Endless);
        }
        Ok(())
    }

    fn sysmon(&mut self, text: &[u8]) -> Result<(), Unread> {
        let mut unread = None;
        for element in xml::elements(text, "Event") {
            match sysmon::event(element) {
                Ok(event) => self.told.extend(event.map(Told::plain)),
                Err(reason) => unread = Some(reason),
            }
        }
        unread.map_or(Ok(()), Err)
    }

    fn syslog(&mut self, line: &[u8]) -> Result<(), Unread> {
        let clock = self.clock.clone();
        let mut text = Vec::new();
        let head = syslog::head(line, &clock, &mut text).ok_or(Unread::Head)?;
        if let Some(record) = form::record_within(&head) {
            return self.record(record);
        }
        if head.message.starts_with(b"<Event>") {
            return self.xml(head.message);
        }
        self.said(&head, line);
        Ok(())
    }

    fn said(&mut self, head: &LogHead<'_>, line: &[u8]) {
        self.told.push(Told {
            only_if_judged: true,
            ..Told::plain(head.finding(line))
        });
        if let Some(login) = head.login() {
            let host = Text::from(head.host);
            let writer = head.pid.map(|pid| self.ids.process(&host, pid, 0));
            self.logins.line(login, writer);
        } else if let Some(change) = accounts::of_line(head) {
            let event = Event::new(Kind::AccountChange, head.time, Source::AuthLog);
            let event = event.with(Detail::AccountChange(change));
            self.told.push(Told::plain(event));
        } else if let Some(event) = syslog::session(head) {
            self.told.push(Told::plain(event));
        }
        self.give_logins();
    }

    fn give_logins(&mut self) {
        let mut events = Vec::new();
        self.logins.give(&mut events);
        self.told.extend(events.into_iter().map(Told::plain));
    }
}

/// Who called a program that reports: the kernel's word of the user, by the name that the daemon added.
fn caller(record: &AuditRecord) -> Text {
    let names = ["UID", "AUID"]
        .into_iter()
        .filter_map(|name| record.get(name));
    let mut known = names.filter(|name| name.as_bytes() != b"unset");
    known.next().cloned().unwrap_or(Text::NONE)
}

/// What sudo told audit of a command.
fn switch(record: &AuditRecord) -> Login {
    Login {
        user: caller(record),
        service: "sudo".to_owned(),
        tty: record.text("terminal"),
        session: record.id("ses"),
        command: record.text("cmd"),
        ..Login::default()
    }
}

/// Records that are no event, for rules to look at.
fn finding(records: &[AuditRecord]) -> Option<Event> {
    let first = records.first()?;
    let lines: Vec<&[u8]> = records
        .iter()
        .map(|record| record.line.as_bytes())
        .collect();
    let log = LogLine {
        program: Text::from(first.kind.as_str()),
        pid: records.iter().find_map(|record| record.number("pid")),
        text: Text::from(lines.join(&b'\n')),
    };
    let event = Event::new(Kind::Finding, first.time(), Source::Audit);
    Some(event.with(Detail::Log(log)))
}

/// The records that a finding of ours was made from.
fn records_of(event: &Event) -> Vec<AuditRecord> {
    match (&event.detail, event.source) {
        (Some(Detail::Log(log)), Source::Audit) => {
            let lines = log.text.as_bytes().split(|byte| *byte == b'\n');
            lines.filter_map(AuditRecord::parse).collect()
        }
        _ => Vec::new(),
    }
}

/// Longest event over several lines, in bytes.
const LONGEST_EVENT: usize = 1 << 20;
