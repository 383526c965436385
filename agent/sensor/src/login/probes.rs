//! Words of the kernel: uprobes on libpam, and the first program of each audit session.
//!
//! # Invariants
//!
//! - The programs only read. Where they cannot be had the other sources stay, and the hook says why.
//! - A libpam is known by its file, not by its name: one that an upgrade puts in its place is probed too.
//! - Nothing is believed of a handle before a call has shown that its members lie where they are looked for.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use libbpf_rs::{
    Link, MapCore, MapFlags, Object, ObjectBuilder, ProgramMut, RingBuffer, RingBufferBuilder,
    UprobeOpts,
};
use picket_event::{BootId, Fidelity, Hook, HookState, Process, ProcessUid, User};

use super::LoginSettings;
use super::accounts;
use super::asked::{PamCall, SESSION};
use super::fact::Fact;
use super::fusion::{Origin, SeenBy, Word};
use crate::identity::WallClock;

/// The programs, and what they told.
#[derive(Debug)]
pub(super) struct Probes {
    boot: BootId,
    clock: WallClock,
    libraries: Vec<PathBuf>,
    kernel: Result<Kernel, String>,
    looked: Option<Instant>,
    trust: Trust,
    lost: u64,
}

/// What is loaded.
#[derive(Debug)]
struct Kernel {
    ring: RingBuffer<'static>,
    calls: Arc<Mutex<Vec<PamCall>>>,
    links: Vec<Link>,
    probed: BTreeSet<(u64, u64)>,
    refused: Option<String>,
    session: Result<(), String>,
    object: Object,
}

/// What the calls so far have shown.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Trust {
    /// A handle of another layout.
    misread: bool,
    understood: bool,
    session_seen: bool,
}

impl Probes {
    /// Loads and attaches what can be had.
    pub(super) fn open(settings: &LoginSettings) -> Self {
        let mut probes = Self {
            boot: settings.boot,
            clock: WallClock::new(),
            libraries: settings.pam.clone(),
            kernel: Kernel::load(settings.session),
            looked: None,
            trust: Trust::default(),
            lost: 0,
        };
        probes.look();
        probes
    }

    /// Takes what has come.
    pub(super) fn read(&mut self, words: &mut Vec<Word>) {
        if self.looked.is_some_and(|at| at.elapsed() >= LOOK_EVERY) {
            self.look();
        }
        let Ok(kernel) = &mut self.kernel else {
            return;
        };
        if let Err(error) = kernel.ring.consume() {
            tracing::warn!(%error, "failed to read what the probes of libpam told");
        }
        let calls =
            std::mem::take(&mut *kernel.calls.lock().unwrap_or_else(PoisonError::into_inner));
        words.extend(calls.iter().filter_map(|call| self.word(call)));
    }

    /// How many calls the ring had no room for since the last time.
    pub(super) fn take_lost(&mut self) -> u64 {
        let Ok(kernel) = &self.kernel else {
            return 0;
        };
        let lost = kernel.lost().unwrap_or(self.lost);
        let since = lost.saturating_sub(self.lost);
        self.lost = lost;
        since
    }

    /// Both hooks.
    pub(super) fn hooks(&self) -> [(SeenBy, Hook); 2] {
        let (pam, session) = match &self.kernel {
            Err(why) => {
                let unavailable = (HookState::Unavailable, why.clone());
                (unavailable.clone(), unavailable)
            }
            Ok(kernel) => (self.pam_state(kernel), self.session_state(kernel)),
        };
        let hook = |name: &str, (state, detail): (HookState, String)| Hook {
            name: name.to_owned(),
            state,
            detail,
            instead: String::new(),
        };
        [
            (SeenBy::Pam, hook("login pam", pam)),
            (SeenBy::Kernel, hook("login kernel_session", session)),
        ]
    }

    fn pam_state(&self, kernel: &Kernel) -> (HookState, String) {
        let files = kernel.probed.len();
        match (&kernel.refused, self.trust) {
            (_, Trust { misread: true, .. }) => {
                let why = "libpam keeps its handle in a way that is not known here";
                (HookState::Unavailable, why.to_owned())
            }
            (Some(why), _) if files == 0 => (HookState::Unavailable, why.clone()),
            (None, _) if files == 0 => (HookState::Unavailable, "no libpam.so.0 here".to_owned()),
            (
                _,
                Trust {
                    understood: true, ..
                },
            ) => (
                HookState::Proved,
                "calls of libpam are understood".to_owned(),
            ),
            _ => (
                HookState::Attached,
                format!("{files} libpam probed, nobody called it yet"),
            ),
        }
    }

    fn session_state(&self, kernel: &Kernel) -> (HookState, String) {
        match (&kernel.session, self.trust.session_seen) {
            (Err(why), _) => (HookState::Unavailable, why.clone()),
            (Ok(()), true) => (HookState::Proved, "gave an event".to_owned()),
            (Ok(()), false) => (HookState::Attached, "no session began yet".to_owned()),
        }
    }

    /// Probes every libpam that has not been probed.
    fn look(&mut self) {
        self.looked = Some(Instant::now());
        self.clock.renew();
        if let Ok(kernel) = &mut self.kernel {
            for library in &self.libraries {
                kernel.probe(library);
            }
        }
    }

    fn word(&mut self, call: &PamCall) -> Option<Word> {
        match call.is_understood() {
            Some(true) => self.trust.understood = true,
            Some(false) => self.trust.misread = true,
            None => {}
        }
        let is_session = call.operation == SESSION;
        if self.trust.misread && !is_session {
            return None;
        }
        let mut fact = if is_session {
            began(call)?
        } else {
            call.fact()?
        };
        fact.login.session = fact.login.session.or(call.session);
        self.trust.session_seen |= is_session;
        // The program of the session is a child of the one that let somebody in.
        let [own, parent] = call.pids;
        let (pid, ppid) = if is_session {
            (parent, None)
        } else {
            (own, Some(parent))
        };
        Some(Word {
            origin: Origin::LIVE,
            seen_by: if is_session {
                SeenBy::Kernel
            } else {
                SeenBy::Pam
            },
            time: self.clock.at(call.boot_ns),
            pid: Some(pid),
            ppid,
            process: Some(self.process(call, is_session)),
            fact,
            old: false,
        })
    }

    /// The one who let somebody in, as far as the call tells of it.
    fn process(&self, call: &PamCall, is_session: bool) -> Process {
        let [own, parent] = [0, 1].map(|at: usize| {
            let start = call.start_ns.get(at).copied().unwrap_or_default();
            let pid = call.pids.get(at).copied().unwrap_or_default();
            (ProcessUid::derive(&self.boot, pid, start), pid, start)
        });
        let who = if is_session { parent } else { own };
        let [own_name, parent_name] = &call.names;
        let mut process = Process::new(who.0, who.1);
        process.start_time = Some(self.clock.at(who.2));
        process.comm = if is_session { parent_name } else { own_name }.clone();
        process.fidelity = Some(Fidelity::Exact);
        process.login_uid = call.login_uid;
        process.session = call.session;
        if !is_session {
            let [uid, effective] = call.users;
            (process.ppid, process.parent_uid) = (parent.1, Some(parent.0));
            process.user = Some(User {
                uid,
                name: accounts::name_of(uid),
            });
            process.effective_uid = Some(effective);
        }
        process
    }
}

/// Somebody's first program: who that is, the kernel knows, and by which service the parent's name tells.
fn began(call: &PamCall) -> Option<Fact> {
    let user = accounts::name_of(call.login_uid?);
    let [_, parent] = &call.names;
    Fact::session_began(parent.as_bytes(), user, call.session?)
}

impl Kernel {
    fn load(with_sessions: bool) -> Result<Self, String> {
        let open = ObjectBuilder::default().open_memory(&OBJECT.bytes);
        let object = open
            .and_then(libbpf_rs::OpenObject::load)
            .map_err(|error| error.to_string())?;
        let calls = Arc::new(Mutex::new(Vec::new()));
        let ring = listen(&object, Arc::clone(&calls)).map_err(|error| error.to_string())?;
        let mut links = Vec::new();
        let mut session = Err("not asked for".to_owned());
        for program in object
            .progs_mut()
            .filter(|program| with_sessions && program.name() == "on_exec")
        {
            session = program
                .attach()
                .map(|link| links.push(link))
                .map_err(|error| error.to_string());
        }
        for number in accounts::open_sessions().into_keys() {
            note_session(&object, number);
        }
        Ok(Self {
            ring,
            calls,
            links,
            probed: BTreeSet::new(),
            refused: None,
            session,
            object,
        })
    }

    /// Attaches to this library, if it is there and was not probed before.
    fn probe(&mut self, library: &Path) {
        let Ok(file) = std::fs::metadata(library) else {
            return;
        };
        let id = (file.dev(), file.ino());
        if self.probed.contains(&id) {
            return;
        }
        match attach(&mut self.object, library) {
            Ok(links) => {
                self.links.extend(links);
                self.probed.insert(id);
            }
            Err(error) => {
                let why = format!("{} cannot be probed: {error}", library.display());
                tracing::info!(why, "no probes of libpam");
                self.refused = Some(why);
            }
        }
    }

    fn lost(&self) -> Option<u64> {
        let settings = self
            .object
            .maps()
            .find(|map| map.name() == "pam_settings")?;
        let value = settings
            .lookup(&0_u32.to_ne_bytes(), MapFlags::ANY)
            .ok()??;
        value.first_chunk().copied().map(u64::from_ne_bytes)
    }
}

fn listen(
    object: &Object,
    calls: Arc<Mutex<Vec<PamCall>>>,
) -> libbpf_rs::Result<RingBuffer<'static>> {
    let ring = object.maps().find(|map| map.name() == "pam_ring");
    let ring = ring.ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotFound))?;
    let mut builder = RingBufferBuilder::new();
    builder.add(&ring, move |bytes: &[u8]| {
        if let Some(call) = PamCall::parse(bytes) {
            calls
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(call);
        } else {
            tracing::error!("record of a probe cannot be read");
        }
        0
    })?;
    builder.build()
}

/// A session that began before: its programs are no beginning.
fn note_session(object: &Object, number: u32) {
    let known = object.maps().find(|map| map.name() == "known_sessions");
    let update = known.map(|map| map.update(&number.to_ne_bytes(), &[1], MapFlags::ANY));
    if let Some(Err(error)) = update {
        tracing::warn!(%error, "session that is open cannot be noted");
    }
}

fn attach(object: &mut Object, library: &Path) -> libbpf_rs::Result<Vec<Link>> {
    let mut links = Vec::new();
    for program in object.progs_mut() {
        let name = program.name().to_string_lossy().into_owned();
        match FUNCTIONS.iter().find(|(at_entry, _)| *at_entry == name) {
            Some((_, function)) => links.push(on(&program, library, function, false)?),
            None if name == AT_RETURN => {
                for (_, function) in FUNCTIONS {
                    links.push(on(&program, library, function, true)?);
                }
            }
            None => {}
        }
    }
    Ok(links)
}

fn on(
    program: &ProgramMut<'_>,
    library: &Path,
    function: &str,
    retprobe: bool,
) -> libbpf_rs::Result<Link> {
    let options = UprobeOpts {
        retprobe,
        func_name: Some(function.to_owned()),
        ..UprobeOpts::default()
    };
    program.attach_uprobe_with_opts(EVERY_PROCESS, library, 0, options)
}

const EVERY_PROCESS: i32 = -1;
const AT_RETURN: &str = "on_answer";
/// Each function with the program at its beginning.
const FUNCTIONS: [(&str, &str); 6] = [
    ("on_start", "pam_start"),
    ("on_authenticate", "pam_authenticate"),
    ("on_acct_mgmt", "pam_acct_mgmt"),
    ("on_setcred", "pam_setcred"),
    ("on_open_session", "pam_open_session"),
    ("on_close_session", "pam_close_session"),
];
/// How often new libraries are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// The compiled programs, aligned as the ELF structures in them need it.
#[repr(C, align(8))]
struct Aligned<const N: usize> {
    bytes: [u8; N],
}

static OBJECT: Aligned<{ include_bytes!("../../../ebpf/pam.bpf.o").len() }> = Aligned {
    bytes: *include_bytes!("../../../ebpf/pam.bpf.o"),
};
