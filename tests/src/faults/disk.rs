//! A small disk of the test's own, that can be filled and can stop answering: ext4 in a file, behind a loop device.
//!
//! # Invariants
//!
//! - It is mounted in the mount namespace that [`super::run`] entered, so it goes away with the program whatever
//!   becomes of it.
//! - A frozen disk thaws by itself: the process that froze it was told to before.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::fs::{FallocateFlags, fallocate};

use crate::failure::Failure;
use crate::programs;

/// A mounted disk.
#[derive(Debug)]
pub(super) struct Disk {
    path: PathBuf,
    frozen: Option<Child>,
}

impl Disk {
    /// A new one of so many MiB, at `path` beside its image.
    pub(super) fn make(path: &Path, mib: u64) -> Result<Self, Failure> {
        let image = path.with_extension("img");
        let file = File::create(&image).map_err(Failure::file(&image))?;
        file.set_len(mib << 20).map_err(Failure::file(&image))?;
        fs::create_dir_all(path).map_err(Failure::file(path))?;
        let mut make = Command::new("mkfs.ext4");
        make.args(["-q", "-m", "0", "-E", "lazy_itable_init=0"])
            .arg(&image);
        programs::finish("mkfs.ext4", make)?.success("mkfs.ext4")?;
        let mut mount = Command::new("mount");
        mount.args(["-o", "loop"]).arg(&image).arg(path);
        programs::finish("mount", mount)?.success("mount")?;
        Ok(Self {
            path: path.to_owned(),
            frozen: None,
        })
    }

    /// Where its files are.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Takes all the room that is left.
    pub(super) fn fill(&self) -> Result<(), Failure> {
        let ballast = self.ballast();
        let file = File::create(&ballast).map_err(Failure::file(&ballast))?;
        let mut at = 0;
        for piece in [1 << 20, 64 << 10, 4 << 10] {
            while fallocate(&file, FallocateFlags::empty(), at, piece).is_ok() {
                at = at.saturating_add(piece);
            }
        }
        Ok(())
    }

    /// Gives the room back.
    pub(super) fn free(&self) {
        // It may never have been filled.
        fs::remove_file(self.ballast()).unwrap_or_default();
    }

    /// Whoever writes to it now waits so long.
    pub(super) fn freeze(&mut self, time: Duration) -> Result<(), Failure> {
        self.thaw();
        let script = "fsfreeze -f \"$1\" && { sleep \"$2\"; fsfreeze -u \"$1\"; }";
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", script, "sh"]).arg(&self.path);
        shell.arg(format!("{:.3}", time.as_secs_f64()));
        shell.stdin(Stdio::null()).stdout(Stdio::null());
        let run = |source| Failure::Run {
            what: "fsfreeze".to_owned(),
            source,
        };
        self.frozen = Some(shell.spawn().map_err(run)?);
        Ok(())
    }

    /// Waits until it answers again.
    pub(super) fn thaw(&mut self) {
        if let Some(mut frozen) = self.frozen.take() {
            drop(frozen.wait());
        }
    }

    fn ballast(&self) -> PathBuf {
        self.path.join("ballast")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.thaw();
        let mut unmount = Command::new("umount");
        unmount.arg("-l").arg(&self.path);
        // Else it goes with the namespace.
        drop(programs::finish("umount", unmount));
    }
}
