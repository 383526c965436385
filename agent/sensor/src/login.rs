//! Who came, went, was refused or became another: from wtmp, btmp, the authentication log, the
//! journal, PAM, audit and the kernel.
//!
//! ```text
//! tail (one per path) --> line / utmp --+--> fusion --> Event
//! journal --> line ---------------------+
//! live (PAM, audit, kernel, databases) -+
//! ```
//!
//! # Invariants
//!
//! - A login is one event, whichever of the sources told of it; `seen_by` lists those that did within
//!   the time an event is held. A later word is counted as aggregated.
//! - Rotation, truncation, deletion and a restart from [`LoginFollower::positions`] neither lose nor
//!   repeat, as far as the bytes still exist. What is known to be out of reach is counted as lost.
//! - The log is text that programs write, and some of it a peer chose. A process is named only if it
//!   runs, runs as root, bears the program's name and began before the line was written.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use picket_event::{
    BootId, Clock, Detail, Event, Hook, HookState, Kind, KindCounts, Loss, Process, Source,
    SystemClock,
};
use rustix::time::Timespec;

use crate::ledger::LossWatch;
use crate::{Sensor, SensorError};

mod accounts;
mod asked;
mod audited;
pub(crate) mod bytes;
mod databases;
mod fact;
mod fusion;
mod join;
mod journal;
mod lastlog;
mod line;
mod live;
mod opened;
mod pam;
mod passed;
mod position;
mod present;
mod probes;
mod recorded;
mod sessions;
mod sshd;
mod standing;
mod switch;
mod tail;
mod utmp;
mod words;

pub use asked::PamCall;
pub use audited::AuditLogin;
pub use fact::{Fact, Witness};
pub use lastlog::{LASTLOG_LEN, LastLogin};
pub use line::{AuthLine, LineClock, LogHead, MAX_TIMES, parse_auth_line};
pub use position::Position;
pub(crate) use recorded::RecordedLogins;
pub use utmp::{RECORD_LEN, UtmpError, UtmpKind, UtmpRecord, parse_utmp};

use fusion::{Fate, Fusion, Origin, SeenBy, Word};
use journal::Journal;
use live::Live;
use opened::{Framing, Piece};
use tail::Tail;
use words::Reader;

/// Which files tell of logins. One that does not exist is waited for.
#[derive(Clone, Debug)]
pub struct LoginSettings {
    /// This boot, as [`crate::identity::boot_id`] reads it.
    pub boot: BootId,
    /// Sessions that began and ended.
    pub wtmp: PathBuf,
    /// Refused logins.
    pub btmp: PathBuf,
    /// Authentication logs; distributions name them differently.
    pub auth_log: Vec<PathBuf>,
    /// Folders of systemd's journal: in memory, then on disk; empty: it is not read.
    pub journal: Vec<PathBuf>,
    /// Who is logged in now; `None`: what is open at the start is not listed.
    pub utmp: Option<PathBuf>,
    /// The last login of each user; `None`: not followed, as for the two below.
    pub lastlog: Option<PathBuf>,
    /// Sessions, as a database.
    pub wtmpdb: Option<PathBuf>,
    /// The last login of each user, as a database.
    pub lastlog2: Option<PathBuf>,
    /// Where libpam may be; empty: it is not probed.
    pub pam: Vec<PathBuf>,
    /// Whether the kernel is asked for new audit sessions.
    pub session: bool,
    /// Whether audit is read.
    pub audit: bool,
}

impl LoginSettings {
    /// The paths of Debian and of Red Hat.
    pub fn new(boot: BootId) -> Self {
        Self {
            boot,
            wtmp: "/var/log/wtmp".into(),
            btmp: "/var/log/btmp".into(),
            auth_log: vec!["/var/log/auth.log".into(), "/var/log/secure".into()],
            journal: journal_folders(),
            utmp: Some("/run/utmp".into()),
            lastlog: Some("/var/log/lastlog".into()),
            wtmpdb: Some("/var/lib/wtmpdb/wtmp.db".into()),
            lastlog2: Some("/var/lib/lastlog/lastlog2.db".into()),
            pam: PAM.iter().map(Into::into).collect(),
            session: true,
            audit: true,
        }
    }

    /// These files and nothing else: neither the kernel nor audit nor a database is asked.
    pub fn files(boot: BootId, wtmp: PathBuf, btmp: PathBuf, auth_log: Vec<PathBuf>) -> Self {
        Self {
            boot,
            wtmp,
            btmp,
            auth_log,
            journal: Vec::new(),
            utmp: None,
            lastlog: None,
            wtmpdb: None,
            lastlog2: None,
            pam: Vec::new(),
            session: false,
            audit: false,
        }
    }

    /// Each path with what it is, in the order of their numbers.
    fn paths(&self) -> Vec<(SeenBy, PathBuf)> {
        let records = [
            (SeenBy::Wtmp, self.wtmp.clone()),
            (SeenBy::Btmp, self.btmp.clone()),
        ];
        let logs = self
            .auth_log
            .iter()
            .map(|path| (SeenBy::AuthLog, path.clone()));
        logs.chain(records).collect()
    }
}

/// Whether somebody wants to look at each line of the authentication logs: then it is an event of kind `finding`, for whoever
/// finds something in it.
#[derive(Clone, Debug, Default)]
pub struct LineWish(Arc<AtomicBool>);

impl LineWish {
    /// From now on.
    pub fn set(&self, wanted: bool) {
        self.0.store(wanted, Ordering::Relaxed);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Follows the sources of logins. Files from when it is made; the rest from [`LoginFollower::begin`] on.
#[derive(Debug)]
pub struct LoginFollower {
    tails: Vec<(SeenBy, Tail)>,
    journal: Option<Journal>,
    reader: Reader,
    fusion: Fusion,
    losses: LossWatch,
    reminders: Vec<Piece>,
    settings: LoginSettings,
    lines: LineWish,
    live: Option<Live>,
    /// When something was heard last.
    heard: Option<Instant>,
    /// Whether the sessions that were open were listed.
    listed: bool,
}

impl LoginFollower {
    /// Follows from the end of what is there now.
    pub fn open(settings: &LoginSettings) -> Self {
        Self::with_tails(settings, Tail::at_end, Journal::at_end)
    }

    /// Follows from the beginning of what is there now, as a replay does.
    pub fn open_at_start(settings: &LoginSettings) -> Self {
        let tail = |path: &Path, framing, serial, pieces: &mut Vec<Piece>| {
            Tail::resumed(
                path,
                framing,
                serial,
                &[&Position::of_nothing(path)],
                pieces,
            )
        };
        Self::with_tails(settings, tail, Journal::at_start)
    }

    /// Follows from where an earlier run stood. A path without a position is followed from its end.
    pub fn resume(settings: &LoginSettings, positions: &[Position]) -> Self {
        let tail = |path: &Path, framing, serial, pieces: &mut Vec<Piece>| {
            let of_path: Vec<&Position> = positions
                .iter()
                .filter(|position| position.path == path)
                .collect();
            match of_path.as_slice() {
                [] => Tail::at_end(path, framing, serial, pieces),
                known => Tail::resumed(path, framing, serial, known, pieces),
            }
        };
        Self::with_tails(settings, tail, |folders, serial| {
            Journal::resumed(folders, serial, positions)
        })
    }

    /// Where to resume so that every event given so far stays given once.
    pub fn positions(&self) -> Vec<Position> {
        self.tails
            .iter()
            .flat_map(|(_, tail)| tail.positions())
            .chain(self.journal.iter().flat_map(Journal::positions))
            .collect()
    }

    fn with_tails(
        settings: &LoginSettings,
        make: impl Fn(&Path, Framing, u64, &mut Vec<Piece>) -> Tail,
        journal: impl Fn(&[PathBuf], u64) -> Journal,
    ) -> Self {
        let mut reminders = Vec::new();
        let mut tails = Vec::new();
        for (number, (seen_by, path)) in (0_u64..).zip(settings.paths()) {
            let framing = match seen_by {
                SeenBy::Wtmp | SeenBy::Btmp => Framing::Records,
                _ => Framing::Lines,
            };
            let tail = make(&path, framing, number << SERIAL_BITS, &mut reminders);
            tails.push((seen_by, tail));
        }
        let first_serial = number_of(tails.len()) << SERIAL_BITS;
        let has_journal = !settings.journal.is_empty();
        Self {
            tails,
            journal: has_journal.then(|| journal(&settings.journal, first_serial)),
            reader: Reader::new(settings.boot),
            fusion: Fusion::new(),
            losses: LossWatch::default(),
            reminders,
            settings: settings.clone(),
            lines: LineWish::default(),
            live: None,
            heard: None,
            listed: false,
        }
    }

    /// By what each line is asked for.
    pub fn lines(&self) -> LineWish {
        self.lines.clone()
    }

    /// Opens what takes a while: kernel, audit, databases. Reading does it too; files are followed from the start.
    pub fn begin(&mut self) {
        if self.live.is_none() {
            self.live = Some(Live::open(&self.settings));
        }
    }

    /// Reads what is new, a bounded amount, and gives what is ripe. True if there is more to read.
    fn step(&mut self, out: &mut Vec<Event>) -> bool {
        self.begin();
        self.list_open(out);
        let now = Instant::now();
        let mut pieces = std::mem::take(&mut self.reminders);
        let mut is_more = false;
        for (seen_by, tail) in &mut self.tails {
            is_more |= tail.read(now, &mut pieces);
            for _ in 0..tail.take_lost() {
                self.fusion.lose(lost_kind(*seen_by));
            }
        }
        let mut words = Vec::new();
        is_more |= self.read_journal(now, &mut words);
        if let Some(live) = &mut self.live {
            live.read(now, self.reader.joiner(), &mut words);
            for _ in 0..live.take_lost() {
                self.fusion.lose(Kind::Login);
            }
        }
        if !pieces.is_empty() || !words.is_empty() {
            self.heard = Some(now);
        }
        if self.lines.is_set() {
            self.tell_lines(&pieces, out);
        }
        self.hear(pieces, &mut words, now);
        let mut settled = Vec::new();
        self.fusion.give(now, is_running, out, &mut settled);
        self.settle(&settled);
        self.report_loss(out);
        is_more
    }

    /// Each line of the logs that is new, whatever it says.
    fn tell_lines(&mut self, pieces: &[Piece], out: &mut Vec<Event>) {
        let clock = LineClock::local(SystemClock.now());
        for piece in pieces.iter().filter(|piece| !piece.old) {
            if self.source_of(piece.origin) != SeenBy::AuthLog {
                continue;
            }
            if let Some(head) = LogHead::parse(&piece.bytes, &clock) {
                self.fusion.tell_line();
                out.push(head.finding(&piece.bytes));
            }
        }
    }

    /// Once, and after the probes were opened: a session that begins in between is told by both rather than by none.
    fn list_open(&mut self, out: &mut Vec<Event>) {
        if let Some(utmp) = self.settings.utmp.as_deref()
            && !std::mem::replace(&mut self.listed, true)
        {
            for session in present::open_sessions(self.reader.joiner(), utmp) {
                self.fusion.list(&session);
                out.push(session);
            }
        }
    }

    fn read_journal(&mut self, now: Instant, words: &mut Vec<Word>) -> bool {
        let Some(journal) = &mut self.journal else {
            return false;
        };
        let mut lines = Vec::new();
        let is_more = journal.read(now, &mut lines);
        for _ in 0..journal.take_lost() {
            self.fusion.lose(Kind::Login);
        }
        let wall = SystemClock.now();
        for said in lines {
            let origin = (SeenBy::Journal, said.origin);
            words.extend(self.reader.line(said.line, origin, said.old, wall));
        }
        is_more
    }

    fn hear(&mut self, pieces: Vec<Piece>, words: &mut Vec<Word>, now: Instant) {
        let wall = SystemClock.now();
        for piece in pieces {
            let seen_by = self.source_of(piece.origin);
            match self.reader.read(seen_by, &piece, wall) {
                Ok(heard) => words.extend(heard),
                Err(_unreadable) if piece.old => {}
                Err(_unreadable) => self.fusion.lose(lost_kind(seen_by)),
            }
        }
        words.sort_by_key(|word| word.time);
        for word in words.drain(..) {
            let (origin, old) = (word.origin, word.old);
            let fate = self.fusion.hear(word, now);
            if !old {
                self.note(origin, fate);
            }
        }
    }

    fn settle(&mut self, settled: &[Origin]) {
        for origin in settled {
            if let Some(tail) = self.tail_of(*origin) {
                tail.settle(*origin);
            } else if let Some(journal) = &mut self.journal {
                journal.settle(*origin);
            }
        }
    }

    fn note(&mut self, origin: Origin, fate: Fate) {
        if let Some(tail) = self.tail_of(origin) {
            tail.note(origin, fate);
        } else if let Some(journal) = self.journal.as_mut().filter(|_| origin != Origin::LIVE) {
            journal.note(origin, fate);
        }
    }

    fn report_loss(&mut self, out: &mut Vec<Event>) {
        let kinds = self.fusion.ledger();
        if self.losses.grew(&kinds) {
            let loss = Detail::Loss(Loss { kinds, last: false });
            out.push(Event::new(Kind::Loss, SystemClock.now(), Source::AuthLog).with(loss));
        }
    }

    /// A source that is there and silent while others tell is seen by this.
    fn with_share(&self, seen_by: SeenBy, mut hook: Hook) -> Hook {
        let (told, given) = self.fusion.share(seen_by);
        if given > 0 && hook.state != HookState::Unavailable {
            hook.detail = format!("{}; told of {told} of {given} events", hook.detail);
        }
        hook
    }

    fn source_of(&self, origin: Origin) -> SeenBy {
        index_of(origin)
            .and_then(|index| self.tails.get(index))
            .map_or(SeenBy::AuthLog, |(seen_by, _)| *seen_by)
    }

    fn tail_of(&mut self, origin: Origin) -> Option<&mut Tail> {
        let index = index_of(origin)?;
        self.tails.get_mut(index).map(|(_, tail)| tail)
    }
}

impl Sensor for LoginFollower {
    fn source(&self) -> Source {
        Source::AuthLog
    }

    fn poll(&mut self, timeout: Duration, out: &mut Vec<Event>) -> Result<(), SensorError> {
        let begin = Instant::now();
        let before = out.len();
        loop {
            let is_more = self.step(out);
            let left = timeout.saturating_sub(begin.elapsed());
            if out.len() > before || left.is_zero() {
                return Ok(());
            }
            if !is_more {
                let is_recent = |heard: Instant| heard.elapsed() < AWAKE;
                let is_awake = self.heard.is_some_and(is_recent);
                let look = if is_awake { LOOK_EVERY } else { IDLE_LOOK };
                pause(left.min(look));
            }
        }
    }

    fn ledger(&self) -> Vec<KindCounts> {
        self.fusion.ledger()
    }

    fn hooks(&self) -> Vec<Hook> {
        let mut hooks: Vec<(SeenBy, Hook)> = self
            .tails
            .iter()
            .map(|(seen_by, tail)| (*seen_by, tail.hook()))
            .collect();
        let other = hooks.iter().find(|(seen_by, hook)| {
            *seen_by == SeenBy::AuthLog && hook.state != HookState::Unavailable
        });
        let other = other.map(|(_, hook)| hook.name.clone());
        for (seen_by, hook) in &mut hooks {
            if hook.state == HookState::Unavailable && *seen_by == SeenBy::AuthLog {
                hook.instead = other.clone().unwrap_or_default();
            }
        }
        let journal = self.journal.iter().map(Journal::hook);
        let journal = journal.map(|hook| (SeenBy::Journal, hook));
        let live = self.live.iter().flat_map(Live::hooks);
        hooks
            .into_iter()
            .chain(journal)
            .chain(live)
            .map(|(seen_by, hook)| self.with_share(seen_by, hook))
            .collect()
    }

    /// Sessions are no processes: there is nothing to list.
    fn snapshot(&mut self) -> Vec<Process> {
        Vec::new()
    }

    fn stop(&mut self, out: &mut Vec<Event>) -> Result<(), SensorError> {
        let begin = Instant::now();
        while self.step(out) && begin.elapsed() < LAST_READING {}
        let mut settled = Vec::new();
        self.fusion.give_all(out, &mut settled);
        self.settle(&settled);
        Ok(())
    }
}

/// This host's, by its number: the journals of others may be kept beside it.
fn journal_folders() -> Vec<PathBuf> {
    let machine = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let folder = |root: &str| Path::new(root).join(machine.trim());
    JOURNAL.into_iter().map(folder).collect()
}

fn number_of(index: usize) -> u64 {
    u64::try_from(index).unwrap_or(u64::MAX)
}

/// The place of the path that this comes from.
fn index_of(origin: Origin) -> Option<usize> {
    usize::try_from(origin.file >> SERIAL_BITS).ok()
}

/// What something unreadable of a source is counted as: nobody knows what it was.
fn lost_kind(seen_by: SeenBy) -> Kind {
    match seen_by {
        SeenBy::Btmp => Kind::LoginFailed,
        _ => Kind::Login,
    }
}

/// Sleeps; a signal may end it early.
fn pause(duration: Duration) {
    let time = Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    };
    let _ended_early = rustix::thread::nanosleep(&time);
}

fn is_running(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// Where distributions keep libpam.
const PAM: [&str; 6] = [
    "/usr/lib/x86_64-linux-gnu/libpam.so.0",
    "/lib/x86_64-linux-gnu/libpam.so.0",
    "/usr/lib64/libpam.so.0",
    "/lib64/libpam.so.0",
    "/usr/lib/libpam.so.0",
    "/lib/libpam.so.0",
];
/// Where journald keeps its files: in memory and on disk.
const JOURNAL: [&str; 2] = ["/run/log/journal", "/var/log/journal"];
/// How often the paths are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The same when nothing was heard for a while: each time it wakes costs the host more than what it then does.
const IDLE_LOOK: Duration = Duration::from_millis(250);
const AWAKE: Duration = Duration::from_secs(5);
/// How long the last reading may take.
const LAST_READING: Duration = Duration::from_secs(5);
/// Each path's files have numbers of their own.
const SERIAL_BITS: u32 = 32;
