//! The canary: harmless things that the sensor does itself, to see them come back through its hooks.
//!
//! It runs a program that prints a word, makes, renames and removes files in a folder of its own,
//! makes a file in memory, does the same with files through a ring, connects to a port of its own on the loopback interface, starts and kills children
//! of its own, and asks for things that the kernel must refuse.
//!
//! # Invariants
//!
//! - Nothing of it reaches the user: the records it claims count as filtered.
//! - It touches nothing but its own folder, and removes that.
//! - When a step cannot be taken (no such program, a read-only disk), its hook stays unproved.

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use picket_event::Kind;
use rustix::fs::{AtFlags, CWD, MemfdFlags, RenameFlags};

use super::block::Blocker;
use super::hooks::BLOCK;
use super::raw::{Body, Connect, Fact, RawRecord};
use crate::identity;

mod copy;
pub(crate) mod deeds;
mod ring;

/// A canary under way.
#[derive(Debug)]
pub(super) struct Canary {
    folder: PathBuf,
    own: u32,
    child: Option<u32>,
    /// Further children, of which only the deed counts that they were started for.
    others: BTreeSet<u32>,
    port: Option<u16>,
    came_back: BTreeSet<&'static str>,
}

impl Canary {
    /// Makes the folder. Nothing else has happened yet.
    pub(super) fn new() -> io::Result<Self> {
        let temporary = fs::canonicalize(std::env::temp_dir())?;
        let name = format!(
            "picket-canary-{}-{}",
            std::process::id(),
            identity::boot_ns()
        );
        let folder = temporary.join(name);
        fs::DirBuilder::new().mode(0o700).create(&folder)?;
        Ok(Self {
            folder,
            own: std::process::id(),
            child: None,
            others: BTreeSet::new(),
            port: None,
            came_back: BTreeSet::new(),
        })
    }

    /// Where it plays; must be watched.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The file whose opening for reading must be an event.
    pub(super) fn secret(&self) -> PathBuf {
        self.folder.join(SECRET)
    }

    /// A child reaches for this process, which it may not where the agent is protected. Otherwise it reads nothing.
    pub(super) fn tempt_guard(&mut self) {
        match deeds::reach_for(self.own) {
            Ok(mut child) => {
                self.others.insert(child.id());
                let ended = child.wait();
                tracing::trace!(?ended, "a child reached for this process");
            }
            Err(error) => tracing::debug!(%error, "nobody reached for this process"),
        }
    }

    /// A copy of a program runs, and once it is listed it does not. Both are seen where they happen.
    pub(super) fn tempt_block(&mut self, blocker: &Blocker, folder: &Path) {
        match copy::is_refused(blocker, folder) {
            Ok(true) => {
                self.came_back.insert(BLOCK);
            }
            Ok(false) => tracing::warn!("a listed program was run"),
            Err(error) => tracing::debug!(%error, "no program was refused"),
        }
    }

    /// Does everything once. What fails is left out.
    pub(super) fn sing(&mut self) {
        deeds::run_nothing(&self.folder.join(NOTHING));
        deeds::unload_no_module();
        deeds::load_no_program();
        let steps: [(&str, io::Result<()>); 9] = [
            ("run a program", self.run_program()),
            ("use files", self.use_files()),
            ("make a file in memory", make_memfd()),
            ("connect", self.connect()),
            ("become nobody", self.become_nobody()),
            ("reach for a child", self.reach_for_a_child()),
            ("map executable memory", deeds::map_executable()),
            ("use files in a ring", ring::use_files(&self.folder)),
            ("unmount nothing", self.unmount_nothing()),
        ];
        for (step, result) in steps {
            if let Err(error) = result {
                tracing::debug!(step, %error, "canary step was not taken");
            }
        }
    }

    /// Whether this record is the canary's; remembers which hook it came through.
    pub(super) fn claims(&mut self, record: &RawRecord<'_>) -> bool {
        let actor = record.actor.tgid;
        let hook = match &record.body {
            _ if Some(actor) == self.child => Some(hook_of_child(record)),
            Body::Fork { tgid, .. } if Some(*tgid) == self.child => Some("fork"),
            Body::Fact(fact) => self.hook_of_fact(record.header.kind, actor, fact),
            _ if self.others.contains(&actor) => Some(""),
            // Also the child that found no program to run, whose number nobody was told.
            Body::Fork { tgid, .. } if actor == self.own || self.others.contains(tgid) => {
                self.others.insert(*tgid);
                Some("")
            }
            Body::Memfd { name, .. } if actor == self.own && *name == MEMFD => Some("memfd_create"),
            Body::Connect(connect) if actor == self.own => {
                self.hook_of_connect(record.header.kind, connect)
            }
            Body::File(file) if actor == self.own => {
                let hook = self.hook_of_file(record.header.kind, file.path);
                Some(hook.unwrap_or_default())
            }
            _ => None,
        };
        self.came_back.extend(hook.filter(|name| !name.is_empty()));
        hook.is_some()
    }

    /// The hooks through which something came back.
    pub(super) fn came_back(&self) -> &BTreeSet<&'static str> {
        &self.came_back
    }

    fn run_program(&mut self) -> io::Result<()> {
        let output = File::create(self.folder.join("printed"))?;
        let mut result = Err(io::Error::from(io::ErrorKind::NotFound));
        for program in PRINTERS {
            // The command keeps its copy of `output` open, so that the child is the one that closes what it wrote.
            let mut command = Command::new(program);
            command
                .arg("picket-canary")
                .stdin(Stdio::null())
                .stdout(output.try_clone()?);
            result = command.spawn().and_then(|mut child| {
                self.child = Some(child.id());
                child.wait().map(drop)
            });
            if result.is_ok() {
                break;
            }
        }
        result
    }

    fn use_files(&self) -> io::Result<()> {
        let path = |name: &str| self.folder.join(name);
        File::create(path(SECRET))?.write_all(b"not a secret\n")?;
        drop(File::open(path(SECRET))?);
        fs::rename(path(SECRET), path("renamed"))?;
        rustix::fs::renameat_with(
            CWD,
            path("renamed"),
            CWD,
            path(RENAMED_AT),
            RenameFlags::empty(),
        )?;
        rustix::fs::unlinkat(CWD, path(RENAMED_AT), AtFlags::empty())?;
        fs::create_dir(path("folder"))?;
        fs::remove_dir(path("folder"))?;
        File::create(path("unlinked"))?;
        fs::hard_link(path("unlinked"), path("linked"))?;
        fs::set_permissions(path("linked"), Permissions::from_mode(0o600))?;
        fs::remove_file(path("unlinked"))
    }

    /// A child becomes nobody and prints a word; another runs a set-user-ID program that only says its version.
    fn become_nobody(&mut self) -> io::Result<()> {
        self.start_first_as_nobody(PRINTERS, |_mode| true)?;
        self.start_first_as_nobody(PRIVILEGED, |mode| mode & SET_USER_ID != 0)
    }

    /// Runs the first of these programs that is there with such a mode.
    fn start_first_as_nobody(
        &mut self,
        programs: &[&str],
        is_right: impl Fn(u32) -> bool,
    ) -> io::Result<()> {
        let mode = |program: &str| fs::metadata(program).map(|found| found.permissions().mode());
        let mut there = programs
            .iter()
            .filter(|program| mode(program).is_ok_and(&is_right));
        let program = there.next().ok_or(io::ErrorKind::NotFound)?;
        let mut child = deeds::start_as_nobody(program, "--version")?;
        self.others.insert(child.id());
        child.wait().map(drop)
    }

    fn reach_for_a_child(&mut self) -> io::Result<()> {
        let mut child = deeds::start_sleeper()?;
        self.others.insert(child.id());
        deeds::read_no_memory(&child);
        child.kill()?;
        child.wait().map(drop)
    }

    /// What is not mounted cannot be unmounted; no error would be one.
    fn unmount_nothing(&self) -> io::Result<()> {
        match rustix::mount::unmount(&self.folder, rustix::mount::UnmountFlags::NOFOLLOW) {
            Ok(()) => Err(io::Error::from(io::ErrorKind::AlreadyExists)),
            Err(_) => Ok(()),
        }
    }

    /// The hook behind a fact that the canary or one of its children made.
    fn hook_of_fact(&self, kind: Kind, actor: u32, fact: &Fact<'_>) -> Option<&'static str> {
        let is_own = actor == self.own;
        let folder = self.folder.as_os_str().as_bytes();
        let [first, second, ..] = fact.texts;
        let [action, target, ..] = fact.numbers;
        Some(match kind {
            Kind::ExecFailed if first.starts_with(folder) => "exec_failed",
            Kind::CredChange if self.others.contains(&actor) => hook_of_change(fact),
            Kind::Ptrace if self.others.contains(&actor) && target == u64::from(self.own) => {
                "protect"
            }
            Kind::Ptrace if is_own && self.is_other(target) => "ptrace",
            Kind::Signal if is_own && self.is_other(target) => "signal",
            Kind::MemExec if is_own => "mem_exec",
            Kind::ModuleLoad if is_own => "module",
            Kind::BpfLoad if is_own => "bpf",
            Kind::Mount if is_own && second.starts_with(folder) => "mount",
            Kind::Dns if is_own && is_question(first) => "dns",
            Kind::IoUring if is_own && action == 0 => "io_uring_setup",
            Kind::IoUring if is_own => "io_uring_submit",
            _ if self.others.contains(&actor) => "",
            _ => return None,
        })
    }

    fn is_other(&self, pid: u64) -> bool {
        u32::try_from(pid).is_ok_and(|pid| self.others.contains(&pid))
    }

    fn connect(&mut self) -> io::Result<()> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        self.port = Some(address.port());
        let stream = TcpStream::connect(address)?;
        let (taken, _) = listener.accept()?;
        drop(stream);
        drop(taken);
        ask_nobody()
    }

    fn hook_of_connect(&self, kind: Kind, connect: &Connect) -> Option<&'static str> {
        let is_there = Some(connect.remote_port) == self.port;
        let is_here = Some(connect.local_port) == self.port;
        match kind {
            Kind::NetConnect if is_there => Some("net_connect"),
            Kind::NetListen if is_here => Some("net_listen"),
            Kind::NetAccept if is_here => Some("net_accept"),
            Kind::NetClose if is_here || is_there => Some("net_close"),
            _ => None,
        }
    }

    /// The hook behind something done in the folder; "" for what proves nothing by itself.
    fn hook_of_file(&self, kind: Kind, path: &[u8]) -> Option<&'static str> {
        let inner = path.strip_prefix(self.folder.as_os_str().as_bytes())?;
        let name = inner.strip_prefix(b"/")?;
        Some(match (kind, name) {
            (Kind::FileOpen, _) => "file_open",
            (Kind::FileCreate, RING_FILE) => "io_uring_file_open",
            (Kind::FileModify, RING_FILE) => "io_uring_file_close",
            (Kind::FileRename, RING_FILE) => "io_uring_file_rename",
            (Kind::FileLink, RING_RENAMED) => "io_uring_file_link",
            (Kind::FileDelete, RING_LINKED) => "io_uring_file_delete",
            (Kind::FileCreate, RING_FOLDER) => "io_uring_file_make",
            (Kind::FileModify, b"secret") => "file_close",
            (Kind::FileRename, b"secret") => "file_rename",
            (Kind::FileRename, b"renamed") => "file_renameat",
            (Kind::FileCreate, b"folder") => "file_make",
            (Kind::FileDelete, b"folder") => "file_rmdir",
            (Kind::FileLink, _) => "file_link",
            (Kind::FileAttr, _) => "file_attr",
            (Kind::FileDelete, b"unlinked") => "file_unlink",
            (Kind::FileDelete, b"renamed-at") => "file_unlinkat",
            _ => "",
        })
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            tracing::debug!(%error, "canary folder stays behind");
        }
    }
}

/// The hook behind something the child did; "" for what proves nothing by itself.
fn hook_of_child(record: &RawRecord<'_>) -> &'static str {
    match record.header.kind {
        Kind::Exec => "exec",
        Kind::Exit => "exit",
        Kind::FileModify => "file_close_at_exit",
        _ => "",
    }
}

/// A set-user-ID program gives its user away for another; a call of the child's makes it nobody.
fn hook_of_change(fact: &Fact<'_>) -> &'static str {
    let [_, old, ..] = fact.numbers;
    match old >> 32 {
        effective if effective == u64::from(deeds::NOBODY) => "credentials_of_exec",
        _ => "credentials",
    }
}

/// Asks this host's port 53, where mostly nobody listens, for a name that never exists (RFC 6761).
fn ask_nobody() -> io::Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket
        .send_to(QUESTION, (Ipv4Addr::LOCALHOST, 53))
        .map(drop)
}

fn is_question(message: &[u8]) -> bool {
    message == QUESTION
}

fn make_memfd() -> io::Result<()> {
    rustix::fs::memfd_create("picket-canary", MemfdFlags::CLOEXEC)?;
    Ok(())
}

const SECRET: &str = "secret";
const RING_FILE: &[u8] = ring::FILE.as_bytes();
const RING_RENAMED: &[u8] = ring::RENAMED.as_bytes();
const RING_LINKED: &[u8] = ring::LINKED.as_bytes();
const RING_FOLDER: &[u8] = ring::FOLDER.as_bytes();
/// A DNS question for the address of `picket-canary.invalid`.
const QUESTION: &[u8] = b"\x50\x43\0\0\0\x01\0\0\0\0\0\0\x0dpicket-canary\x07invalid\0\0\x01\0\x01";
const NOTHING: &str = "nothing";
const RENAMED_AT: &str = "renamed-at";
const MEMFD: &[u8] = b"memfd:picket-canary";
/// Set-user-ID programs that say their version and do nothing else when asked to.
const PRIVILEGED: &[&str] = &["/usr/bin/su", "/bin/su", "/usr/bin/mount", "/bin/mount"];
const SET_USER_ID: u32 = 0o4000;
/// Programs that write their argument to standard output and do nothing else.
pub(crate) const PRINTERS: &[&str] = &["/bin/echo", "/usr/bin/echo", "/usr/bin/printf"];
