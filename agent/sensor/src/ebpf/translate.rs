//! From a raw record to an event.
//!
//! # Invariants
//!
//! - What the kernel said is said; nothing is read from `/proc` for it.
//! - A record becomes one event, or is turned down for a stated reason; the caller counts which.

use std::borrow::Cow;

use picket_event::{
    BootId, Detail, EnvVar, Event, Exit, File, Fork, Kind, Memfd, Namespaces, Network, Process,
    ProcessUid, Source, Text, User,
};

use super::cgroups::Cgroups;
use super::raw::{self, Actor, Body, RawRecord, flag};
use super::watch::{Watch, normalized};
use crate::identity::WallClock;
use crate::{Environment, FileKey};

mod dns;
mod fact;

/// Turns records into events. Holds what is the same for all of them.
#[derive(Debug)]
pub(super) struct Translator {
    boot: BootId,
    clock: WallClock,
    watch: Watch,
    cgroups: Cgroups,
    environment: Environment,
}

/// What became of a record.
#[derive(Debug)]
pub(super) enum Translated {
    /// An event, and the state of the executable or of the file that was written.
    Event(Box<Event>, Option<FileKey>),
    /// Its path does not matter, seen whole.
    Unwanted,
}

impl Translator {
    pub(super) fn new(
        boot: BootId,
        watch: Watch,
        cgroups: Cgroups,
        environment: Environment,
    ) -> Self {
        Self {
            boot,
            clock: WallClock::new(),
            watch,
            cgroups,
            environment,
        }
    }

    /// The wall clock, to be renewed now and then.
    pub(super) fn clock(&mut self) -> &mut WallClock {
        &mut self.clock
    }

    /// Replaces what is watched.
    pub(super) fn set_watch(&mut self, watch: Watch) {
        self.watch = watch;
    }

    pub(super) fn translate(&mut self, record: &RawRecord<'_>) -> Translated {
        let kind = record.header.kind;
        let mut event = Event::new(kind, self.clock.at(record.header.boot_ns), Source::Ebpf);
        event.boot_ns = record.header.boot_ns;
        if let Body::Exec(exec) = &record.body
            && !exec.cgroup.is_empty()
        {
            self.cgroups.learn(record.actor.cgroup, exec.cgroup);
        }
        let mut process = self.process(&record.actor);
        let mut key = None;
        event.detail = match &record.body {
            Body::Exec(exec) => {
                describe_exec(&mut process, record, exec);
                let told = ended_by_nul(exec.env);
                process.env = told
                    .filter_map(|entry| variable(entry, self.environment))
                    .collect();
                key = Some(file_key(&exec.stat));
                None
            }
            Body::Fork { start_ns, tgid } => Some(Detail::Fork(Fork {
                child_uid: ProcessUid::derive(&self.boot, *tgid, *start_ns),
                child_pid: *tgid,
            })),
            Body::Exit { status } => Some(Detail::Exit(exit(*status, record))),
            Body::Memfd { flags, name } => Some(Detail::Memfd(Memfd {
                name: name.strip_prefix(b"memfd:").unwrap_or(name).into(),
                flags: Some(*flags),
            })),
            Body::File(file) => match self.file(record, file) {
                Some(told) => {
                    let written = matches!(kind, Kind::FileCreate | Kind::FileModify);
                    key = (written && !told.path_given).then(|| file_key(&file.stat));
                    Some(Detail::File(told))
                }
                None => return Translated::Unwanted,
            },
            Body::Connect(connect) => Some(Detail::Network(network(record, connect))),
            Body::Fact(fact) => fact::detail(kind, fact, &self.boot),
        };
        event.process = Some(process);
        Translated::Event(Box::new(event), key)
    }

    fn process(&mut self, actor: &Actor) -> Process {
        let uid = ProcessUid::derive(&self.boot, actor.tgid, actor.start_ns);
        let parent = ProcessUid::derive(&self.boot, actor.ppid, actor.parent_start_ns);
        let group = self.cgroups.get(actor.cgroup);
        let [pid, mnt, net, user] = actor.namespaces;
        Process {
            ppid: actor.ppid,
            parent_uid: (actor.ppid != 0).then_some(parent),
            user: Some(User {
                uid: actor.uid,
                name: Text::NONE,
            }),
            login_uid: set(actor.login_uid),
            session: set(actor.session),
            tty: terminal(&actor.tty),
            start_time: Some(self.clock.at(actor.start_ns)),
            container: group.container,
            cgroup: group.path,
            ns: Some(Namespaces {
                pid,
                mnt,
                net,
                user,
            }),
            caps: Some(actor.caps),
            fidelity: Some(picket_event::Fidelity::Exact),
            comm: until_nul(&actor.comm).into(),
            effective_uid: Some(actor.euid),
            gid: Some(actor.gid),
            ..Process::new(uid, actor.tgid)
        }
    }

    /// `None` if the whole path is of no interest.
    fn file(&self, record: &RawRecord<'_>, file: &raw::File<'_>) -> Option<File> {
        let is_given = record.header.has(flag::NAME_GIVEN);
        let name = |text: &[u8]| match text {
            b"" => Vec::new(),
            text if is_given => normalized(text),
            text => whole_or_marked(text).into_owned(),
        };
        // What a symbolic link says is a text, whatever it looks like.
        let path = match file.change {
            SYMBOLIC => file.path.to_vec(),
            _ => name(file.path),
        };
        let new_path = name(file.new_path);
        let sensitive = self.watch.is_secret(&path);
        let is_refused = record.header.has(flag::REFUSED);
        let wanted = match record.header.kind {
            _ if is_refused => true,
            Kind::FileOpen => sensitive,
            _ if file.change == SYMBOLIC => self.watch.is_watched(&new_path),
            _ if is_given => self.watch.is_watched(&path) || self.watch.is_watched(&new_path),
            _ => true,
        };
        let is_mode_known = !is_given || file.stat.mode != 0;
        let is_owner_known = file.change == OWNER;
        let set_owner = |id: u32| (is_owner_known && id != u32::MAX).then_some(id);
        wanted.then(|| File {
            path: path.into(),
            new_path: new_path.into(),
            inode: (!is_given).then_some(file.stat.inode),
            dev: (!is_given).then_some(u64::from(file.stat.dev)),
            mode: is_mode_known.then_some(file.stat.mode),
            size: (!is_given).then_some(file.stat.size),
            flags: (!is_given).then_some(file.open_flags),
            sensitive,
            change: file.change.to_owned(),
            owner_uid: set_owner(file.owner.0),
            owner_gid: set_owner(file.owner.1),
            attribute: file.attribute.into(),
            path_given: is_given,
            result: is_refused.then_some(NOT_PERMITTED),
            ..File::default()
        })
    }
}

fn describe_exec(process: &mut Process, record: &RawRecord<'_>, exec: &raw::Exec<'_>) {
    process.exe = (&*whole_or_marked(exec.exe)).into();
    process.cwd = (&*whole_or_marked(exec.cwd)).into();
    process.memfd = exec.stat.links == 0;
    fill_arguments(process, record, exec.argv);
    process.argc = exec.argc;
    process.argv_bytes = exec.argv_bytes;
    process.argv_truncated = record.header.has(flag::ARGV_CUT | flag::ARGV_UNREAD);
    if record.header.has(flag::SCRIPT) {
        process.script = exec.filename.into();
    }
}

/// Of arguments that are longer than their room, the kernel program gives the beginning and the end.
fn fill_arguments(process: &mut Process, record: &RawRecord<'_>, argv: &[u8]) {
    let cut = argv.split_at_checked(ARGV_HEAD);
    match cut.filter(|_| record.header.has(flag::ARGV_CUT)) {
        Some((head, tail)) => {
            process.argv = ended_by_nul(head).map(Text::from).collect();
            process.argv_omitted_at = u32::try_from(process.argv.len()).unwrap_or(u32::MAX);
            process.argv.extend(ended_by_nul(tail).map(Text::from));
        }
        None => process.argv = ended_by_nul(argv).map(Text::from).collect(),
    }
}

fn file_key(stat: &raw::FileStat) -> FileKey {
    FileKey {
        dev: u64::from(stat.dev),
        inode: stat.inode,
        size: stat.size,
        mtime_ns: stat.mtime_ns,
        ctime_ns: stat.ctime_ns,
    }
}

/// From the status that `wait(2)` gives.
fn exit(status: u32, record: &RawRecord<'_>) -> Exit {
    let number = |bits: u32| i32::try_from(bits).ok();
    let signal = status & 0x7f;
    Exit {
        code: number((status >> 8) & 0xff).filter(|_| signal == 0),
        signal: number(signal).filter(|signal| *signal != 0),
        duration_ns: record.header.boot_ns.checked_sub(record.actor.start_ns),
    }
}

fn network(record: &RawRecord<'_>, connect: &raw::Connect) -> Network {
    let proto = match connect.protocol {
        IPPROTO_TCP => "tcp".to_owned(),
        IPPROTO_UDP => "udp".to_owned(),
        IPPROTO_MPTCP => "mptcp".to_owned(),
        other => other.to_string(),
    };
    let kind = record.header.kind;
    let ended = kind == Kind::NetClose;
    let inbound =
        matches!(kind, Kind::NetListen | Kind::NetAccept) || record.header.has(flag::INBOUND);
    Network {
        proto,
        direction: if inbound { "inbound" } else { "outbound" }.to_owned(),
        local_ip: connect.local,
        local_port: connect.local_port.into(),
        remote_ip: connect.remote,
        remote_port: connect.remote_port.into(),
        bytes_in: ended.then_some(connect.bytes.0),
        bytes_out: ended.then_some(connect.bytes.1),
        result: record
            .header
            .has(flag::RESULT_KNOWN)
            .then_some(as_programs_see(connect.result)),
    }
}

/// The result of a call as the program that called gets it: the kernel's own numbers for a call that a signal cut short (512 to 516) never
/// leave it.
const fn as_programs_see(result: i32) -> i32 {
    match result {
        -516..=-512 => INTERRUPTED,
        result => result,
    }
}

/// `-EINTR`.
const INTERRUPTED: i32 = -4;

/// A path so long that the kernel program may have had to leave out its beginning says so.
fn whole_or_marked(path: &[u8]) -> Cow<'_, [u8]> {
    let steps = || path.split(|byte| *byte == b'/').count();
    if path.len() >= LONG_PATH || path.len() >= DEEP_PATH && steps() >= DEEP_PATH {
        return [b"...", path].concat().into();
    }
    path.into()
}

/// The strings of a block in which each is ended by a NUL. A last one without NUL was cut.
pub(crate) fn ended_by_nul(block: &[u8]) -> impl Iterator<Item = &[u8]> {
    let whole = block.strip_suffix(&[0]).unwrap_or(block);
    let is_empty = block.is_empty();
    whole.split(|byte| *byte == 0).filter(move |_| !is_empty)
}

fn until_nul(text: &[u8]) -> &[u8] {
    text.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn set(number: u32) -> Option<u32> {
    (number != u32::MAX).then_some(number)
}

/// The kernel says `pts3` where the device is `pts/3`.
fn terminal(name: &[u8]) -> Text {
    let name = until_nul(name);
    match name.strip_prefix(b"pts") {
        Some(number) if number.iter().all(u8::is_ascii_digit) => [b"pts/", number].concat().into(),
        _ => name.into(),
    }
}

/// An environment entry, if it is to be told.
pub(crate) fn variable(entry: &[u8], environment: Environment) -> Option<EnvVar> {
    let end = entry.iter().position(|byte| *byte == b'=')?;
    let (name, value) = entry.split_at_checked(end)?;
    let is_told = environment == Environment::All
        || ENV_NAMES.contains(&name)
        || ENV_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    is_told.then(|| EnvVar {
        name: name.into(),
        value: value.get(1..).unwrap_or_default().into(),
    })
}

/// Variables that change what a program loads, or tell who came from where.
const ENV_NAMES: &[&[u8]] = &[
    b"BASH_ENV",
    b"ENV",
    b"GCONV_PATH",
    b"NODE_OPTIONS",
    b"PATH",
    b"PERL5LIB",
    b"PERL5OPT",
    b"PROMPT_COMMAND",
    b"PYTHONHOME",
    b"PYTHONPATH",
    b"PYTHONSTARTUP",
    b"RUBYLIB",
    b"RUBYOPT",
];
const ENV_PREFIXES: &[&[u8]] = &[b"LD_", b"SSH_", b"SUDO_"];

/// One name short of the room for a path in `agent/ebpf/emit.h`.
const LONG_PATH: usize = 4096 - 256;
/// `PATH_DEPTH` of `agent/ebpf/path.h`, mounts not counted.
const DEEP_PATH: usize = 100;

/// `ARGV_HEAD` of `agent/ebpf/emit.h`.
const ARGV_HEAD: usize = 96 * 1024;
/// EPERM
const NOT_PERMITTED: i32 = -1;
const SYMBOLIC: &str = "symbolic";
const OWNER: &str = "owner";
const IPPROTO_TCP: u16 = 6;
const IPPROTO_UDP: u16 = 17;
const IPPROTO_MPTCP: u16 = 262;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_a_signal_cut_short_was_interrupted() {
        let seen = [-512, -516, -511, -517, -111, 0].map(as_programs_see);
        assert_eq!(seen, [INTERRUPTED, INTERRUPTED, -511, -517, -111, 0]);
    }

    #[test]
    fn empty_arguments_are_arguments() {
        let strings = |block: &'static [u8]| ended_by_nul(block).collect::<Vec<_>>();
        assert_eq!(strings(b"a\0\0b\0"), [&b"a"[..], b"", b"b"]);
        assert_eq!(strings(b"\0"), [b""]);
        assert!(strings(b"").is_empty());
        assert_eq!(strings(b"a\0cut"), [&b"a"[..], b"cut"]);
    }

    #[test]
    fn all_variables_are_kept_where_that_is_asked_for() {
        let variable = |entry| variable(entry, Environment::All);
        let kept = variable(b"AWS_REGION=x").unwrap();
        assert_eq!(kept.name.as_bytes(), b"AWS_REGION");
        assert!(variable(b"no equals sign").is_none());
    }

    #[test]
    fn only_listed_variables_are_kept() {
        let variable = |entry| variable(entry, Environment::Listed);
        let kept = variable(b"LD_PRELOAD=/x=y").unwrap();
        assert_eq!(kept.value.as_bytes(), b"/x=y");
        assert!(variable(b"AWS_SECRET_ACCESS_KEY=x").is_none());
        assert!(variable(b"no equals sign").is_none());
    }

    #[test]
    fn a_pseudo_terminal_has_its_devices_name() {
        assert_eq!(terminal(b"pts12\0\0").as_bytes(), b"pts/12");
        assert_eq!(terminal(b"tty1\0").as_bytes(), b"tty1");
        assert!(terminal(b"\0\0").is_empty());
    }
}
