//! From the records of one event to what happened.
//!
//! # Invariants
//!
//! - What no record says is not said: an exec without its `SYSCALL` has no process number and no file. Only its short
//!   name is taken from its first argument, and it is `derived`.
//! - A call that failed makes no event, except a program that could not be started and a file that
//!   could not be opened; both say so.

use picket_event::{
    Detail, Event, ExecFailed, Fidelity, Kind, Module, Process, ProcessUid, Ptrace, Signal, Source,
    Text, User,
};

use super::identities::Identities;
use super::record::AuditRecord;
use super::{file, socket};
use crate::audit::{reassembly, record};
use crate::ebpf::watch::Watch;

/// The records of one event, with what is needed to read them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told<'a> {
    pub(super) records: &'a [AuditRecord],
    /// The name of the system call; empty if no record has it.
    pub(super) call: &'a str,
    /// Which files are secrets.
    pub(super) watch: &'a Watch,
}

impl Told<'_> {
    /// The first record of this type.
    pub(super) fn first(&self, kind: &str) -> Option<&AuditRecord> {
        self.records.iter().find(|record| record.kind == kind)
    }

    /// A register of the system call.
    pub(super) fn register(&self, name: &str) -> Option<u64> {
        self.first("SYSCALL")?.register(name)
    }

    /// A number that is written as the unsigned form of a register.
    fn signed(&self, name: &str) -> Option<i32> {
        let low = u32::try_from(self.register(name)? & 0xffff_ffff).ok()?;
        Some(low.cast_signed())
    }

    fn exit(&self) -> Option<i32> {
        self.first("SYSCALL")?.exit()
    }

    /// What the call gave where it failed.
    pub(super) fn refused(&self) -> Option<i32> {
        let call = self.first("SYSCALL")?;
        let failed = call.success() == Some(false);
        failed.then(|| call.exit().unwrap_or(-1))
    }
}

/// What happened, by whom. Empty: nothing that is an event of ours.
pub(super) fn events(records: &[AuditRecord], ids: &mut Identities, watch: &Watch) -> Vec<Event> {
    let Some(first) = records.first() else {
        return Vec::new();
    };
    let syscall = records.iter().find(|record| record.kind == "SYSCALL");
    let call = syscall.and_then(AuditRecord::syscall).unwrap_or_default();
    let told = Told {
        records,
        call: &call,
        watch,
    };
    let details = details(&told);
    let process = process(&told, ids);
    let event = |(kind, detail): (Kind, Option<Detail>)| {
        let mut event = Event::new(kind, first.time(), Source::Audit);
        event.process.clone_from(&process);
        event.detail = detail;
        event
    };
    let mut events: Vec<Event> = details.into_iter().map(event).collect();
    for event in &mut events {
        if let (Kind::Exec, Some(process)) = (event.kind, &mut event.process) {
            let (argv, is_cut) = arguments(&told);
            set_arguments(process, argv, is_cut, &told);
        }
    }
    events
}

fn details(told: &Told<'_>) -> Vec<(Kind, Option<Detail>)> {
    let is_exec = matches!(told.call, "execve" | "execveat");
    let alone = told.call.is_empty() && told.first("EXECVE").is_some();
    match (is_exec || alone, told.refused()) {
        (true, None) => return vec![(Kind::Exec, None)],
        (true, Some(result)) => {
            let failed = Detail::ExecFailed(exec_failed(told, result));
            return vec![(Kind::ExecFailed, Some(failed))];
        }
        (false, _) => {}
    }
    if let Some(network) = socket::event(told) {
        return vec![network];
    }
    if let Some(other) = other(told).filter(|_| told.refused().is_none()) {
        return vec![other];
    }
    file::events(told)
}

fn exec_failed(told: &Told<'_>, result: i32) -> ExecFailed {
    let (argv, argv_truncated) = arguments(told);
    ExecFailed {
        path: told
            .first("PATH")
            .map_or(Text::NONE, |path| path.text("name")),
        argc: u32::try_from(argv.len()).unwrap_or(u32::MAX),
        argv,
        argv_truncated,
        result,
    }
}

/// What processes do to each other and to the kernel.
fn other(told: &Told<'_>) -> Option<(Kind, Option<Detail>)> {
    match told.call {
        "ptrace" => {
            let request = PTRACE
                .iter()
                .find(|(number, _)| Some(*number) == told.register("a0"))?;
            let ptrace = Ptrace {
                request: request.1.to_owned(),
                target_pid: target(told, "a1")?,
                result: told.exit(),
                ..Ptrace::default()
            };
            Some((Kind::Ptrace, Some(Detail::Ptrace(ptrace))))
        }
        "process_vm_readv" | "process_vm_writev" => {
            let ptrace = Ptrace {
                request: told.call.replacen("process_", "", 1),
                target_pid: target(told, "a0")?,
                result: Some(0),
                ..Ptrace::default()
            };
            Some((Kind::Ptrace, Some(Detail::Ptrace(ptrace))))
        }
        "kill" | "tkill" | "tgkill" => {
            let number = if told.call == "tgkill" { "a2" } else { "a1" };
            let signal = Signal {
                number: u32::try_from(told.register(number)?).ok()?,
                target_pid: told.signed("a0")?,
                result: told.exit(),
                ..Signal::default()
            };
            Some((Kind::Signal, Some(Detail::Signal(signal))))
        }
        "init_module" | "finit_module" | "delete_module" => {
            let unload = told.call == "delete_module";
            let name = told.first("KERN_MODULE");
            let module = Module {
                action: if unload { "unload" } else { "load" }.to_owned(),
                name: name.map_or(Text::NONE, |record| record.text("name")),
                result: told.exit(),
                ..Module::default()
            };
            Some((Kind::ModuleLoad, Some(Detail::Module(module))))
        }
        "memfd_create" => Some((Kind::Memfd, None)),
        _ => None,
    }
}

fn target(told: &Told<'_>, register: &str) -> Option<u32> {
    let named = told
        .first("OBJ_PID")
        .and_then(|record| record.number("opid"));
    named.or_else(|| u32::try_from(told.register(register)?).ok())
}

/// Who acted. Of an exec the program that it became.
fn process(told: &Told<'_>, ids: &mut Identities) -> Option<Process> {
    let actor = told.first("SYSCALL");
    let actor = actor.or_else(|| {
        told.records
            .iter()
            .find(|record| record.get("pid").is_some())
    });
    let Some(actor) = actor else {
        let lone = told.first("EXECVE")?;
        let mut process = Process::new(Identities::lone(&lone.node, lone.stamp), 0);
        let name = lone.text("a0");
        let name = name.basename();
        process.comm = Text::from(name.get(..LONGEST_COMM).unwrap_or(name));
        process.fidelity = Some(Fidelity::Derived);
        return Some(process);
    };
    let mut process = of_record(actor, ids)?;
    process.cwd = told
        .first("CWD")
        .map_or(Text::NONE, |record| record.text("cwd"));
    Some(process)
}

/// The process that a record names.
pub(super) fn of_record(record: &AuditRecord, ids: &mut Identities) -> Option<Process> {
    let pid = record.number("pid")?;
    let ppid = record.number("ppid").unwrap_or(0);
    let uid: ProcessUid = ids.process(&record.node, pid, ppid);
    let named = |number: &str, name: &str| {
        let name = record.text(name);
        let unset = matches!(name.as_bytes(), b"unset") || name.as_bytes().starts_with(b"unknown(");
        let name = if unset { Text::NONE } else { name };
        record.id(number).map(|uid| User { uid, name })
    };
    let mut process = Process::new(uid, pid);
    process.ppid = ppid;
    process.exe = record.text("exe");
    process.comm = record.text("comm");
    process.user = named("uid", "UID");
    process.effective_uid = record.id("euid");
    process.gid = record.id("gid");
    process.effective_gid = record.id("egid");
    process.login_uid = record.id("auid");
    process.session = record.id("ses");
    process.tty = terminal(&record.text("tty"));
    process.fidelity = Some(Fidelity::Exact);
    Some(process)
}

/// `pts0` is `pts/0` everywhere else.
fn terminal(tty: &Text) -> Text {
    match tty.as_bytes() {
        b"(none)" | b"" => Text::NONE,
        name => match name.strip_prefix(b"pts") {
            Some(number) if number.first().is_some_and(u8::is_ascii_digit) => {
                Text::from([b"pts/", number].concat())
            }
            _ => tty.clone(),
        },
    }
}

fn set_arguments(process: &mut Process, argv: Vec<Text>, is_cut: bool, told: &Told<'_>) {
    let bytes = argv.iter().map(|text| text.as_bytes().len());
    let bytes = bytes.fold(argv.len(), usize::saturating_add);
    let argc = told
        .first("EXECVE")
        .and_then(|record| record.number("argc"));
    let present = u32::try_from(argv.len()).unwrap_or(u32::MAX);
    process.argv_truncated = is_cut || argc.is_some_and(|argc| argc > present);
    process.argc = argc.unwrap_or(if is_cut { 0 } else { present });
    process.argv_bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
    process.argv = argv;
    process.script = script(told, process);
}

/// Where an interpreter was started, the file given to exec is looked up first and the interpreter next.
fn script(told: &Told<'_>, process: &Process) -> Text {
    let given = told.records.iter().filter(|record| record.kind == "PATH");
    let names: Vec<Text> = given.map(|record| record.text("name")).collect();
    match names.as_slice() {
        [first, interpreter, ..]
            if interpreter.basename() == process.exe.basename()
                && first.basename() != process.exe.basename() =>
        {
            let folder = process.cwd.as_bytes();
            Text::from(file::absolute(folder, first.as_bytes()))
        }
        _ => Text::NONE,
    }
}

/// The arguments, and whether some are missing.
fn arguments(told: &Told<'_>) -> (Vec<Text>, bool) {
    let mut parts = std::collections::BTreeMap::new();
    for record in told.records.iter().filter(|record| record.kind == "EXECVE") {
        for (name, value) in &record.fields {
            if let Some(place) = record::place(name.as_bytes()) {
                parts.insert(place, value.as_bytes().to_vec());
            }
        }
    }
    if !parts.is_empty() {
        return reassembly::joined(parts);
    }
    let title = told
        .first("PROCTITLE")
        .map(|record| record.text("proctitle"));
    let title = title.unwrap_or(Text::NONE);
    let words = title.as_bytes().split(|byte| *byte == b' ');
    let words: Vec<Text> = words
        .filter(|word| !word.is_empty())
        .map(Text::from)
        .collect();
    let is_cut = words.is_empty() || title.as_bytes().len() >= LONGEST_TITLE;
    (words, is_cut)
}

/// The kernel's short names have at most so many bytes.
const LONGEST_COMM: usize = 15;
/// The kernel keeps so much of the title, with its last NUL.
const LONGEST_TITLE: usize = 127;
/// The requests of `ptrace(2)` that begin to trace.
const PTRACE: [(u64, &str); 3] = [(0, "traceme"), (16, "attach"), (0x4206, "seize")];
