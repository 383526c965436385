//! The canary: harmless things that the sensor does itself, to see them come back through its hooks.
//!
//! It runs a program that prints a word, makes, renames and removes files in a folder of its own,
//! makes a file in memory, and connects to a port of its own on the loopback interface.
//!
//! # Invariants
//!
//! - Nothing of it reaches the user: the records it claims count as filtered.
//! - It touches nothing but its own folder, and removes that.
//! - When a step cannot be taken (no such program, a read-only disk), its hook stays unproved.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use picket_event::Kind;
use rustix::fs::{AtFlags, CWD, MemfdFlags, RenameFlags};

use super::raw::{Body, Connect, RawRecord};
use crate::identity;

/// A canary under way.
#[derive(Debug)]
pub(super) struct Canary {
    folder: PathBuf,
    own: u32,
    child: Option<u32>,
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

    /// Does everything once. What fails is left out.
    pub(super) fn sing(&mut self) {
        let steps: [(&str, io::Result<()>); 4] = [
            ("run a program", self.run_program()),
            ("use files", self.use_files()),
            ("make a file in memory", make_memfd()),
            ("connect", self.connect()),
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
            Body::Memfd { name, .. } if actor == self.own && *name == MEMFD => Some("memfd_create"),
            Body::Connect(connect) if actor == self.own => self.hook_of_connect(connect),
            Body::File(file) if actor == self.own => {
                self.hook_of_file(record.header.kind, file.path)
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
        File::create(path("unlinked"))?;
        fs::remove_file(path("unlinked"))
    }

    fn connect(&mut self) -> io::Result<()> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        self.port = Some(address.port());
        TcpStream::connect(address).map(drop)
    }

    fn hook_of_connect(&self, connect: &Connect) -> Option<&'static str> {
        (Some(connect.remote_port) == self.port).then_some("net_connect")
    }

    /// The hook behind something done in the folder; "" for what proves nothing by itself.
    fn hook_of_file(&self, kind: Kind, path: &[u8]) -> Option<&'static str> {
        let inner = path.strip_prefix(self.folder.as_os_str().as_bytes())?;
        let name = inner.strip_prefix(b"/")?;
        Some(match (kind, name) {
            (Kind::FileOpen, _) => "file_open",
            (Kind::FileModify, b"secret") => "file_close",
            (Kind::FileRename, b"secret") => "file_rename",
            (Kind::FileRename, b"renamed") => "file_renameat",
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

fn make_memfd() -> io::Result<()> {
    rustix::fs::memfd_create("picket-canary", MemfdFlags::CLOEXEC)?;
    Ok(())
}

const SECRET: &str = "secret";
const RENAMED_AT: &str = "renamed-at";
const MEMFD: &[u8] = b"memfd:picket-canary";
/// Programs that write their argument to standard output and do nothing else.
const PRINTERS: &[&str] = &["/bin/echo", "/usr/bin/echo", "/usr/bin/printf"];
