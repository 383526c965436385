//! Any event, made of any bytes: for the properties that hold of all events.

use std::net::IpAddr;

use picket_event::{
    AccountChange, Affected, Ancestor, BackoffLevel, Bpf, CommandId, Containment, CredChange,
    Credentials, Detail, Device, Dns, EnvVar, Event, Evidence, ExecFailed, Exit, Fidelity, File,
    Fork, Gap, GapReason, HashStatus, Hook, HookState, IoUring, Kind, KindCounts, LogLine, Login,
    Loss, LossCause, MemExec, Memfd, Module, Mount, Namespaces, Network, PolicyCause, Process,
    ProcessUid, Ptrace, Reason, ReceiptState, RuleVerdict, ScheduledJob, ScorerVerdict, Script,
    SensorState, Severity, Signal, Source, StreamId, Text, UnixNanos, User, Verdict,
};
use picket_seal::Digest;
use proptest::prelude::*;

/// Events of every kind, with the detail of the kind or none.
pub(crate) fn event() -> impl Strategy<Value = Event> {
    let bytes = prop::collection::vec(any::<u8>(), 0..1500);
    (prop::sample::select(Kind::ALL), bytes).prop_map(|(kind, bytes)| Dice(bytes).event(kind))
}

/// Throws what is asked for until its bytes are used up, then nothing.
struct Dice(Vec<u8>);

impl Dice {
    fn byte(&mut self) -> u8 {
        self.0.pop().unwrap_or(0)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound
    }

    fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.byte())
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.bytes())
    }

    fn i32(&mut self) -> i32 {
        i32::from_le_bytes(self.bytes())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.bytes())
    }

    fn real(&mut self) -> f64 {
        let real = f64::from_bits(self.u64());
        if real.is_finite() { real } else { 0.1 }
    }

    fn maybe<T>(&mut self, one: impl Fn(&mut Self) -> T) -> Option<T> {
        self.flag().then(|| one(self))
    }

    fn some<T>(&mut self, one: impl Fn(&mut Self) -> T) -> Vec<T> {
        (0..self.below(4)).map(|_| one(self)).collect()
    }

    fn text(&mut self) -> Text {
        let length = self.below(9);
        let bytes: Vec<u8> = (0..length).map(|_| self.byte()).collect();
        Text::from(bytes)
    }

    fn word(&mut self) -> String {
        self.text().lossy().into_owned()
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    fn uid(&mut self) -> ProcessUid {
        ProcessUid::new(self.bytes())
    }

    fn digest(&mut self) -> Digest {
        Digest::of(&self.bytes::<4>())
    }

    fn hash_status(&mut self) -> HashStatus {
        self.of(HashStatus::ALL)
    }

    fn ip(&mut self) -> IpAddr {
        if self.flag() {
            IpAddr::from(self.bytes::<4>())
        } else {
            IpAddr::from(self.bytes::<16>())
        }
    }

    fn event(&mut self, kind: Kind) -> Event {
        let time = UnixNanos(i64::from_le_bytes(self.bytes()));
        let mut event = Event::new(kind, time, self.of(Source::ALL));
        event.seq = self.u64();
        event.boot_ns = self.u64();
        event.detail = self.detail(kind);
        event.process = self.maybe(Self::process);
        event.verdicts = self.some(Self::verdict);
        event
    }

    fn process(&mut self) -> Process {
        let mut process = Process::new(self.uid(), self.u32());
        process.ppid = self.u32();
        process.parent_uid = self.maybe(Self::uid);
        process.exe = self.text();
        process.argv = self.some(Self::text);
        if !process.argv.is_empty() {
            process.argc = self.u32();
            process.argv_bytes = self.u64();
            process.argv_truncated = self.flag();
        }
        if process.argv_truncated {
            process.argv_omitted_at = self.u32();
        }
        process.cwd = self.text();
        process.comm = self.text();
        process.script = self.text();
        process.cgroup = self.text();
        process.tty = self.text();
        self.give_surroundings(&mut process);
        process
    }

    fn give_surroundings(&mut self, process: &mut Process) {
        process.user = self.maybe(|dice| User {
            uid: dice.u32(),
            name: dice.text(),
        });
        process.login_uid = self.maybe(Self::u32);
        process.session = self.maybe(Self::u32);
        process.effective_uid = self.maybe(Self::u32);
        process.gid = self.maybe(Self::u32);
        process.effective_gid = self.maybe(Self::u32);
        process.start_time = self.maybe(|dice| UnixNanos(1 + i64::from(dice.u32())));
        process.sha256 = self.maybe(Self::digest);
        process.hash_status = self.maybe(Self::hash_status);
        process.container = self.maybe(|dice| format!("c{}", dice.word()));
        process.ns = self.maybe(|dice| Namespaces {
            pid: dice.u32(),
            mnt: dice.u32(),
            net: dice.u32(),
            user: dice.u32(),
        });
        process.caps = self.maybe(Self::u64);
        process.memfd = self.flag();
        process.env = self.some(|dice| EnvVar {
            name: dice.text(),
            value: dice.text(),
        });
        let ancestry = self.some(|dice| Ancestor {
            uid: dice.uid(),
            pid: dice.u32(),
            exe: dice.text(),
        });
        process.ancestry = ancestry.into();
        process.fidelity = self.maybe(|dice| dice.of(Fidelity::ALL));
    }

    fn verdict(&mut self) -> Verdict {
        if self.flag() {
            return Verdict::Scorer(ScorerVerdict {
                bits: self.real(),
                p: self.real(),
                reasons: self.some(Self::reason),
                alert: self.flag(),
            });
        }
        Verdict::Rule(RuleVerdict {
            id: self.word(),
            title: self.word(),
            severity: self.of(Severity::ALL),
            attack: self.some(Self::word),
            author: self.word(),
            license: self.word(),
            rests_on: self.some(|dice| Evidence {
                kind: dice.of(Kind::ALL),
                time: UnixNanos(i64::from(dice.u32())),
                process_uid: dice.maybe(Self::uid),
            }),
        })
    }

    fn reason(&mut self) -> Reason {
        Reason {
            factor: self.word().into(),
            context: self.text(),
            value: self.text(),
            bits: self.real(),
            usual: self.real(),
            seen: self.u64(),
            context_seen: self.u64(),
            days: self.u32(),
            distinct: self.u32(),
            backoff: self.some(|dice| BackoffLevel {
                context: dice.word().into(),
                seen: dice.u64(),
                context_seen: dice.u64(),
                distinct: dice.u32(),
            }),
        }
    }

    fn detail(&mut self, kind: Kind) -> Option<Detail> {
        Some(match kind {
            Kind::Exec | Kind::Session => return None,
            Kind::Finding => Detail::Log(LogLine {
                program: self.text(),
                pid: self.maybe(Self::u32),
                text: self.text(),
            }),
            Kind::ExecFailed => Detail::ExecFailed(self.exec_failed()),
            Kind::Fork => Detail::Fork(Fork {
                child_uid: self.uid(),
                child_pid: self.u32(),
            }),
            Kind::Exit => Detail::Exit(Exit {
                code: self.maybe(Self::i32),
                signal: self.maybe(Self::i32),
                duration_ns: self.maybe(Self::u64),
            }),
            Kind::CredChange => Detail::Cred(CredChange {
                old: self.credentials(),
                new: self.credentials(),
            }),
            Kind::Ptrace => Detail::Ptrace(self.ptrace()),
            Kind::Signal => Detail::Signal(self.signal()),
            Kind::MemExec => Detail::MemExec(self.mem_exec()),
            Kind::Memfd => Detail::Memfd(Memfd {
                name: self.text(),
                flags: self.maybe(Self::u32),
            }),
            Kind::Dns => Detail::Dns(self.dns()),
            Kind::ModuleLoad => Detail::Module(self.module()),
            Kind::BpfLoad => Detail::Bpf(self.bpf()),
            Kind::Mount => Detail::Mount(self.mount()),
            Kind::IoUring => Detail::IoUring(self.io_uring()),
            Kind::Device => Detail::Device(self.device()),
            Kind::Script => Detail::Script(self.script()),
            Kind::AccountChange => Detail::AccountChange(self.account_change()),
            Kind::ScheduledJob => Detail::ScheduledJob(self.scheduled_job()),
            Kind::Sensor => Detail::Sensor(self.sensor()),
            Kind::Loss => Detail::Loss(self.loss()),
            Kind::Gap => Detail::Gap(self.gap()),
            Kind::Containment => Detail::Containment(self.containment()),
            kind if kind.is_file() => Detail::File(self.file()),
            kind if kind.is_network() => Detail::Network(self.network()),
            _ => Detail::Login(self.login()),
        })
    }

    fn exec_failed(&mut self) -> ExecFailed {
        ExecFailed {
            path: self.text(),
            argv: self.some(Self::text),
            argc: self.u32(),
            argv_truncated: self.flag(),
            result: self.i32(),
        }
    }

    fn credentials(&mut self) -> Credentials {
        Credentials {
            uid: self.u32(),
            gid: self.u32(),
            effective_uid: self.u32(),
            effective_gid: self.u32(),
            saved_uid: self.u32(),
            saved_gid: self.u32(),
            caps_effective: self.u64(),
            caps_permitted: self.u64(),
            caps_inheritable: self.u64(),
            login_uid: self.maybe(Self::u32),
            session: self.maybe(Self::u32),
        }
    }

    fn ptrace(&mut self) -> Ptrace {
        Ptrace {
            request: self.word(),
            target_uid: self.maybe(Self::uid),
            target_pid: self.u32(),
            result: self.maybe(Self::i32),
        }
    }

    fn signal(&mut self) -> Signal {
        Signal {
            number: self.u32(),
            target_uid: self.maybe(Self::uid),
            target_pid: self.i32(),
            result: self.maybe(Self::i32),
        }
    }

    fn mem_exec(&mut self) -> MemExec {
        MemExec {
            address: self.u64(),
            length: self.u64(),
            protection: self.u32(),
            call: self.word(),
            backing: self.word(),
            path: self.text(),
        }
    }

    fn module(&mut self) -> Module {
        Module {
            action: self.action(&["load", "unload"]),
            name: self.text(),
            path: self.text(),
            parameters: self.text(),
            result: self.maybe(Self::i32),
        }
    }

    /// One of these, or a word that nobody expects.
    fn action(&mut self, known: &[&str]) -> String {
        if self.byte() < 32 {
            return self.word();
        }
        self.of(known).to_owned()
    }

    fn bpf(&mut self) -> Bpf {
        Bpf {
            action: self.action(&["prog_load", "link_create", "prog_attach"]),
            prog_type: self.word(),
            name: self.text(),
            instructions: self.maybe(Self::u32),
            attach_type: self.word(),
            result: self.maybe(Self::i32),
        }
    }

    fn mount(&mut self) -> Mount {
        Mount {
            action: self.action(&["mount", "bind", "remount", "move", "unmount", "pivot_root"]),
            source: self.text(),
            target: self.text(),
            fs_type: self.text(),
            flags: self.maybe(Self::u64),
            result: self.maybe(Self::i32),
        }
    }

    fn io_uring(&mut self) -> IoUring {
        IoUring {
            action: self.action(&["setup", "submit"]),
            opcode: self.word(),
            flags: self.maybe(Self::u32),
            entries: self.maybe(Self::u32),
        }
    }

    fn device(&mut self) -> Device {
        Device {
            action: self.action(&["add", "remove", "change", "bind"]),
            subsystem: self.word(),
            path: self.text(),
            name: self.text(),
            device_type: self.word(),
            driver: self.word(),
            vendor_id: self.word(),
            product_id: self.word(),
        }
    }

    fn script(&mut self) -> Script {
        Script {
            path: self.text(),
            interpreter: self.text(),
            sha256: self.maybe(Self::digest),
            hash_status: self.maybe(Self::hash_status),
            size: self.maybe(Self::u64),
        }
    }

    fn account_change(&mut self) -> AccountChange {
        AccountChange {
            action: self.action(&["created", "changed", "removed"]),
            object: self.action(&["user", "password", "sudo_rule"]),
            account: self.text(),
            path: self.text(),
            before: self.text(),
            after: self.text(),
        }
    }

    fn scheduled_job(&mut self) -> ScheduledJob {
        ScheduledJob {
            action: self.action(&["created", "changed", "removed"]),
            scheduler: self.action(&["cron", "systemd"]),
            path: self.text(),
            user: self.text(),
            schedule: self.text(),
            command: self.text(),
        }
    }

    fn file(&mut self) -> File {
        File {
            path: self.text(),
            new_path: self.text(),
            inode: self.maybe(Self::u64),
            dev: self.maybe(Self::u64),
            mode: self.maybe(Self::u32),
            size: self.maybe(Self::u64),
            sha256_before: self.maybe(Self::digest),
            sha256_after: self.maybe(Self::digest),
            hash_status: self.maybe(Self::hash_status),
            sensitive: self.flag(),
            flags: self.maybe(Self::u32),
            change: self.action(&["hard", "symbolic", "mode", "owner", "xattr", "times"]),
            mode_before: self.maybe(Self::u32),
            owner_uid: self.maybe(Self::u32),
            owner_gid: self.maybe(Self::u32),
            attribute: self.text(),
            path_given: self.flag(),
            result: self.maybe(Self::i32),
        }
    }

    fn dns(&mut self) -> Dns {
        Dns {
            query: self.text(),
            record_type: self.word(),
            answers: self.some(Self::word),
            rcode: self.maybe(Self::u32),
            server_ip: self.maybe(Self::ip),
            response: self.flag(),
        }
    }

    fn network(&mut self) -> Network {
        Network {
            proto: self.action(&["tcp", "udp"]),
            direction: self.action(&["outbound", "inbound"]),
            local_ip: self.maybe(Self::ip),
            local_port: self.u32(),
            remote_ip: self.maybe(Self::ip),
            remote_port: self.u32(),
            bytes_in: self.maybe(Self::u64),
            bytes_out: self.maybe(Self::u64),
            result: self.maybe(Self::i32),
        }
    }

    fn login(&mut self) -> Login {
        Login {
            user: self.text(),
            outcome: self.action(&["success", "failure"]),
            service: self.action(&["sshd", "sudo"]),
            method: self.action(&["publickey", "password"]),
            source_ip: self.action(&["192.0.2.1", "2001:db8::1", ""]),
            source_port: self.maybe(Self::u32),
            tty: self.text(),
            key_fingerprint: self.word(),
            session: self.maybe(Self::u32),
            seen_by: self.some(Self::word),
            target_user: self.text(),
            command: self.text(),
            source_host: self.text(),
        }
    }

    fn sensor(&mut self) -> SensorState {
        let states = [
            HookState::Proved,
            HookState::Attached,
            HookState::Unavailable,
        ];
        SensorState {
            backend: self.word(),
            change: self.action(&["started", "stopped", "hook_lost"]),
            hooks: self.some(|dice| Hook {
                name: dice.word(),
                state: dice.of(&states),
                detail: dice.word(),
                instead: dice.word(),
            }),
        }
    }

    fn loss(&mut self) -> Loss {
        let kinds = (0..self.below(4)).map(|index| {
            let mut line = KindCounts::zero(Kind::ALL[index]);
            line.filtered = u64::from(self.u32());
            line.submitted = u64::from(self.u32());
            line.lose(self.of(LossCause::ALL), u64::from(self.u32()));
            line.lost += u64::from(self.byte());
            line.generated = line.filtered + line.submitted + line.lost;
            line
        });
        Loss {
            kinds: kinds.collect(),
            last: self.flag(),
        }
    }

    fn gap(&mut self) -> Gap {
        Gap {
            seq_first: self.u64(),
            count: self.maybe(Self::u64),
            reason: self.of(GapReason::ALL),
            kinds: (0..self.below(3))
                .map(|index| (Kind::ALL[index], self.u64()))
                .collect(),
            stream: self.maybe(|this| StreamId::new(this.bytes())),
        }
    }

    fn cause(&mut self) -> PolicyCause {
        PolicyCause {
            policy_version: self.u64(),
            entry: self.word(),
            mode: self.action(&["observe", "ask", "act"]),
            by: self.action(&["rule", "scorer"]),
            id: self.word(),
            title: self.word(),
            process: self.maybe(Self::uid),
            event_kind: self.action(&["exec", "file_create"]),
        }
    }

    fn containment(&mut self) -> Containment {
        Containment {
            command_id: CommandId::new(self.bytes()),
            action: self.action(&["kill", "quarantine", "isolate", "collect"]),
            state: self.of(ReceiptState::ALL),
            reason: self.word(),
            effect: self.word(),
            affected: self.some(|dice| Affected {
                process_uid: dice.flag().then(|| dice.uid()),
                pid: dice.u32(),
                exe: dice.text(),
                object: dice.text(),
                outcome: dice.action(&["dead", "alive", "not_found"]),
            }),
            verified: self.flag(),
            redelivered: self.flag(),
            undo_token: self.word(),
            signers: self.some(Self::word),
            stated_reason: self.word(),
            cause: self.flag().then(|| Box::new(self.cause())),
        }
    }
}
