//! The sessions that were open before anybody listened.
//!
//! # Invariants
//!
//! - Each is told once at a start, as `session` with the outcome `open`: nobody came in just now.
//! - The kernel's word that a session runs, or a record whose process runs; a record that a crash left behind is none.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::Path;

use picket_event::{Detail, Event, Kind, Login, Process, Source, Text, UnixNanos};

use super::accounts;
use super::fact::{Fact, set_source, terminal};
use super::join::Joiner;
use super::utmp::{RECORD_LEN, UtmpKind, UtmpRecord, parse_utmp};

/// Lists them, with the process in which each began. Takes as long as to look at each process once.
pub(super) fn open_sessions(joiner: &Joiner, utmp: &Path) -> Vec<Event> {
    let leaders = accounts::open_sessions();
    let mut records = BTreeMap::new();
    let mut unnumbered = Vec::new();
    for record in read(utmp) {
        let Some(process) = joiner.session(record.pid, record.time) else {
            continue;
        };
        match process.session {
            Some(number) => drop(records.insert(number, record)),
            None => unnumbered.push(told(&process, Some(&record))),
        }
    }
    let numbered = leaders.into_iter().filter_map(|(number, pid)| {
        let process = joiner.reporter(pid)?;
        let is_its = process.session == Some(number);
        is_its.then(|| told(&process, records.get(&number)))
    });
    let mut seen = BTreeSet::new();
    let mut events: Vec<Event> = numbered.chain(unnumbered).collect();
    events.retain(|event| {
        let process = event.process.as_ref();
        process.is_some_and(|process| seen.insert(process.uid))
    });
    events
}

/// What is known of a session: its oldest process, and the record of its terminal.
fn told(process: &Process, record: Option<&UtmpRecord>) -> Event {
    let user = process.login_uid.map_or(Text::NONE, accounts::name_of);
    let began = Fact::session_began(process.comm.as_bytes(), Text::NONE, 0);
    let mut login = Login {
        user,
        outcome: "open".to_owned(),
        service: began.map_or_else(String::new, |fact| fact.login.service),
        session: process.session,
        tty: process.tty.clone(),
        ..Login::default()
    };
    if process.session.is_some() {
        login.seen_by.push("kernel".to_owned());
    }
    let mut time = process.start_time;
    if let Some(record) = record {
        login.user = record.user.clone();
        login.tty = terminal(record.line.as_bytes());
        if !record.host.is_empty() {
            set_source(&mut login, record.host.as_bytes());
        }
        if let Some(address) = record.address {
            login.source_ip = address.to_string();
        }
        login.seen_by.push("utmp".to_owned());
        time = Some(record.time);
    }
    let time = time.unwrap_or(UnixNanos(0));
    let event = Event::new(Kind::Session, time, Source::LoginRecord).with(Detail::Login(login));
    event.by(process.clone())
}

/// Users' sessions in the file; none if it cannot be read.
fn read(utmp: &Path) -> Vec<UtmpRecord> {
    let mut bytes = Vec::new();
    let file = File::open(utmp);
    if let Err(error) = file.and_then(|file| file.take(MOST_BYTES).read_to_end(&mut bytes)) {
        tracing::debug!(%error, "no record of open sessions");
    }
    let records = bytes.as_chunks::<RECORD_LEN>().0.iter();
    let records = records.filter_map(|record| parse_utmp(record).ok());
    let is_user = |record: &UtmpRecord| record.kind == UtmpKind::User && !record.user.is_empty();
    records.filter(is_user).collect()
}

const MOST_BYTES: u64 = 8 << 20;
