//! The canary's proof that a file of a blocked content does not start: a copy of a harmless program runs, is listed, and does not
//! run any more.
//!
//! # Invariants
//!
//! - Only the copy is ever listed, and it is taken from the list again and removed.
//! - That a program does not run proves something only if it ran a moment before.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::io::Errno;

use super::PRINTERS;
use crate::ebpf::block::Blocker;
use crate::{FileKey, identity};

/// Whether the kernel refused the copy once it was listed. `folder` must be one from which programs can run.
pub(super) fn is_refused(blocker: &Blocker, folder: &Path) -> io::Result<bool> {
    let copy = Copy::make(folder)?;
    copy.run()?;
    let state = FileKey::of(&fs::metadata(&copy.program)?);
    blocker.block(&state).map_err(io::Error::other)?;
    let listed = copy.run();
    blocker.unblock(&state).map_err(io::Error::other)?;
    match listed {
        Ok(()) => Ok(false),
        Err(error) if Errno::from_io_error(&error) == Some(Errno::PERM) => Ok(true),
        Err(error) => Err(error),
    }
}

/// A copy of a program that prints its argument, in a folder of its own.
struct Copy {
    folder: PathBuf,
    program: PathBuf,
}

impl Copy {
    fn make(parent: &Path) -> io::Result<Self> {
        let name = format!("canary-{}-{}", std::process::id(), identity::boot_ns());
        let folder = parent.join(name);
        fs::DirBuilder::new().mode(0o700).create(&folder)?;
        let copy = Self {
            program: folder.join("program"),
            folder,
        };
        let mut printers = PRINTERS.iter().filter(|path| Path::new(path).exists());
        let printer = printers.next().ok_or(io::ErrorKind::NotFound)?;
        fs::copy(printer, &copy.program)?;
        Ok(copy)
    }

    /// Runs it to its end. Another thread that starts a program just now may still hold the copy open for writing.
    fn run(&self) -> io::Result<()> {
        let mut tries_left = TRIES;
        loop {
            let started = Command::new(&self.program)
                .arg("picket-canary")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn();
            match started {
                Err(error) if is_busy(&error) && tries_left > 0 => {
                    tries_left = tries_left.saturating_sub(1);
                    std::thread::park_timeout(MOMENT);
                }
                Err(error) => return Err(error),
                Ok(mut child) => return child.wait().map(drop),
            }
        }
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            tracing::debug!(%error, "the folder of the canary's copy stays behind");
        }
    }
}

fn is_busy(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::TXTBSY)
}

const TRIES: u32 = 20;
const MOMENT: Duration = Duration::from_millis(2);
