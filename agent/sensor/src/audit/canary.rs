//! The canary: harmless things that the sensor does itself, to see them come back.
//!
//! It runs a program that prints a word, becomes nobody in a child, traces a child of its own for a
//! moment, and makes, renames and removes files in a folder of its own.
//!
//! # Invariants
//!
//! - Nothing of it reaches the user: what it claims counts as filtered.
//! - It touches nothing but its own folder and its own children, and removes the folder.
//! - When a step cannot be taken, what it would prove stays unproved.

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use picket_event::Kind;

use super::connector::{Message, What};
use crate::ebpf::canary::{PRINTERS, deeds};
use crate::identity;

/// A canary under way.
#[derive(Debug)]
pub(super) struct Canary {
    folder: PathBuf,
    children: BTreeSet<u32>,
    came_back: BTreeSet<Kind>,
    is_recorded: bool,
}

impl Canary {
    /// Makes the folder. Nothing else has happened yet.
    pub(super) fn new() -> io::Result<Self> {
        let temporary = fs::canonicalize(std::env::temp_dir())?;
        let own = std::process::id();
        let folder = temporary.join(format!("picket-canary-{own}-{}", identity::boot_ns()));
        fs::DirBuilder::new().mode(0o700).create(&folder)?;
        File::create(folder.join(SECRET))?;
        Ok(Self {
            folder,
            children: BTreeSet::new(),
            came_back: BTreeSet::new(),
            is_recorded: false,
        })
    }

    /// Where it plays: the changes below must be told.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The file whose opening must be told.
    pub(super) fn secret(&self) -> PathBuf {
        self.folder.join(SECRET)
    }

    /// Does everything once. What fails is left out.
    pub(super) fn sing(&mut self) {
        let steps: [(&str, io::Result<()>); 4] = [
            ("run a program", self.run_program()),
            ("become nobody", self.become_nobody()),
            ("trace a child", self.trace_a_child()),
            ("use files", self.use_files()),
        ];
        for (step, result) in steps {
            if let Err(error) = result {
                tracing::debug!(step, %error, "canary step was not taken");
            }
        }
    }

    /// Whether this message is the canary's; remembers what came back.
    pub(super) fn claims(&mut self, message: &Message) -> bool {
        let (kind, pid) = match &message.what {
            What::Fork { child, .. } => (Kind::Fork, child.pid),
            What::Exec(task) => (Kind::Exec, task.pid),
            What::Exit { task, .. } => (Kind::Exit, task.pid),
            What::Uid { task, .. } | What::Gid { task, .. } => (Kind::CredChange, task.pid),
            What::Traced { tracee, .. } => (Kind::Ptrace, tracee.pid),
            What::Other => return false,
        };
        let is_own = self.children.contains(&pid);
        if is_own {
            self.came_back.insert(kind);
        }
        is_own
    }

    /// Whether this fact about a file is the canary's; remembers what came back.
    pub(super) fn claims_file(&mut self, kind: Kind, pid: u32, path: &[u8]) -> bool {
        let inner = path.strip_prefix(self.folder.as_os_str().as_bytes());
        let is_own = pid == std::process::id() && inner.is_some();
        if is_own {
            self.came_back.insert(kind);
        }
        is_own
    }

    /// The kinds of facts that came back.
    pub(super) fn came_back(&self) -> &BTreeSet<Kind> {
        &self.came_back
    }

    /// Whether the canary started this process.
    pub(super) fn is_child(&self, pid: u32) -> bool {
        self.children.contains(&pid)
    }

    /// A child ran a program, and audit may have recorded that.
    pub(super) fn note_exec(&mut self, is_recorded: bool) {
        self.is_recorded |= is_recorded;
    }

    /// Whether audit recorded an exec of the canary's.
    pub(super) fn is_recorded(&self) -> bool {
        self.is_recorded
    }

    fn run_program(&mut self) -> io::Result<()> {
        let printer = printer()?;
        let mut command = Command::new(printer);
        command.arg("picket-canary");
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
        self.wait_for(child)
    }

    fn become_nobody(&mut self) -> io::Result<()> {
        let child = deeds::start_as_nobody(printer()?, "picket-canary")?;
        self.wait_for(child)
    }

    fn trace_a_child(&mut self) -> io::Result<()> {
        let mut child = deeds::start_sleeper()?;
        let traced = deeds::trace(&child);
        child.kill()?;
        self.wait_for(child)?;
        traced
    }

    fn wait_for(&mut self, mut child: Child) -> io::Result<()> {
        self.children.insert(child.id());
        child.wait().map(drop)
    }

    fn use_files(&self) -> io::Result<()> {
        let path = |name: &str| self.folder.join(name);
        drop(File::open(path(SECRET))?);
        File::create(path("made"))?.write_all(b"picket-canary\n")?;
        fs::rename(path("made"), path("renamed"))?;
        fs::set_permissions(path("renamed"), Permissions::from_mode(0o600))?;
        fs::remove_file(path("renamed"))
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            tracing::debug!(%error, "canary folder stays behind");
        }
    }
}

fn printer() -> io::Result<&'static str> {
    let mut there = PRINTERS
        .iter()
        .filter(|program| Path::new(program).exists());
    let printer = there.next().copied();
    printer.ok_or_else(|| io::ErrorKind::NotFound.into())
}

const SECRET: &str = "secret";
