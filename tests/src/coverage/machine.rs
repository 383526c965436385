//! The throw-away machine on this host: QEMU without a network, emulated, its disk an overlay that is thrown away.
//!
//! # Invariants
//!
//! - A machine that was booted is frozen once, with its memory; every other one goes on from there.
//! - A machine ends with its value. Nothing but processes started here is signalled.
//! - Nothing of this host is within its reach but two drives and two sockets.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::guest::PORT;
use crate::failure::Failure;
use crate::programs::finish;
use crate::wait;

/// What machines are made of.
#[derive(Clone, Debug)]
pub(super) struct Parts {
    /// A folder with `disk.raw`, `vmlinuz` and `initrd`.
    pub(super) debian: PathBuf,
    /// A tar archive: what is unpacked over it.
    pub(super) payload: PathBuf,
    /// Memory in MiB.
    pub(super) memory: u32,
}

/// One running machine.
#[derive(Debug)]
pub(super) struct Machine {
    child: Child,
    writer: UnixStream,
    lines: Receiver<String>,
    folder: PathBuf,
}

/// What came from a machine.
#[derive(Debug)]
pub(super) enum Word {
    /// A line.
    Line(String),
    /// It has ended.
    Ended,
    /// Nothing, for so long.
    Silence,
}

impl Parts {
    /// A machine from nothing, with an overlay in this folder.
    pub(super) fn boot(&self, folder: &Path) -> Result<Machine, Failure> {
        let disk = self.debian.join("disk.raw");
        let mut command = Command::new("qemu-img");
        command
            .args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"])
            .arg(disk);
        finish("qemu-img", {
            command.arg(folder.join(OVERLAY));
            command
        })?
        .success("qemu-img")?;
        self.start(folder, &[])
    }

    /// The machine that [`Machine::freeze`] left in this folder, as it was then.
    pub(super) fn thaw(&self, folder: &Path) -> Result<Machine, Failure> {
        self.start(folder, &["-loadvm", SNAPSHOT])
    }

    fn start(&self, folder: &Path, further: &[&str]) -> Result<Machine, Failure> {
        let failed = |source| Failure::Run {
            what: QEMU.to_owned(),
            source,
        };
        for socket in [PORT_SOCKET, MONITOR_SOCKET] {
            drop(std::fs::remove_file(folder.join(socket)));
        }
        let console = folder.join("console.log");
        let log = File::options().create(true).append(true).open(&console);
        let log = log.map_err(Failure::file(&console))?;
        let mut command = self.command(folder);
        command.args(further).stdin(Stdio::null());
        command
            .stderr(log.try_clone().map_err(Failure::file(&console))?)
            .stdout(log);
        let mut child = command.spawn().map_err(failed)?;
        let connected = connect(&folder.join(PORT_SOCKET), &mut child);
        let stream = connected.inspect_err(|_| stop(&mut child))?;
        let reader = stream.try_clone().map_err(failed)?;
        let (sender, lines) = sync_channel(10_000);
        std::thread::spawn(move || {
            for line in BufReader::new(reader).split(b'\n') {
                let Ok(line) = line else { return };
                let line = String::from_utf8_lossy(&line).into_owned();
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Machine {
            child,
            writer: stream,
            lines,
            folder: folder.to_owned(),
        })
    }

    fn command(&self, folder: &Path) -> Command {
        let drive = |file: PathBuf, rest: &str| format!("file={},if=virtio,{rest}", file.display());
        let socket = |id: &str, name: &str| {
            let path = folder.join(name);
            format!("socket,id={id},path={},server=on,wait=off", path.display())
        };
        let mut command = Command::new(QEMU);
        command.args([
            "-accel",
            "tcg,thread=multi",
            "-cpu",
            "max",
            "-smp",
            "2",
            "-m",
        ]);
        command.arg(self.memory.to_string());
        command.args([
            "-nodefaults",
            "-nographic",
            "-no-reboot",
            "-nic",
            "none",
            "-serial",
            "stdio",
        ]);
        command
            .arg("-drive")
            .arg(drive(folder.join(OVERLAY), "format=qcow2,cache=unsafe"));
        command
            .arg("-drive")
            .arg(drive(self.payload.clone(), "format=raw,readonly=on"));
        command.args(["-device", "virtio-rng-pci", "-device", "virtio-serial-pci"]);
        command.arg("-chardev").arg(socket("port", PORT_SOCKET));
        command
            .arg("-device")
            .arg(format!("virtserialport,chardev=port,name={PORT}"));
        command
            .arg("-chardev")
            .arg(socket("monitor", MONITOR_SOCKET));
        command.args(["-mon", "chardev=monitor,mode=readline"]);
        command.arg("-kernel").arg(self.debian.join("vmlinuz"));
        command.arg("-initrd").arg(self.debian.join("initrd"));
        command.args(["-append", APPEND]);
        command
    }
}

impl Machine {
    /// Hands it an order.
    pub(super) fn order(&mut self, order: &impl Serialize) -> Result<(), Failure> {
        let mut line = serde_json::to_string(order).unwrap_or_default();
        line.push('\n');
        self.writer
            .write_all(line.as_bytes())
            .map_err(Failure::file(PORT_SOCKET))
    }

    /// What it says next, until then.
    pub(super) fn next(&self, until: Instant) -> Word {
        match self
            .lines
            .recv_timeout(until.saturating_duration_since(Instant::now()))
        {
            Ok(line) => Word::Line(line),
            Err(RecvTimeoutError::Timeout) => Word::Silence,
            Err(RecvTimeoutError::Disconnected) => Word::Ended,
        }
    }

    /// Keeps it as it is, memory and disk, for [`Parts::thaw`].
    pub(super) fn freeze(mut self, limit: Duration) -> Result<(), Failure> {
        let path = self.folder.join(MONITOR_SOCKET);
        let mut monitor = connect(&path, &mut self.child)?;
        let failed = |source| Failure::File {
            path: path.clone(),
            source,
        };
        monitor.set_read_timeout(Some(limit)).map_err(failed)?;
        let ask = format!("savevm {SNAPSHOT}\ninfo snapshots\nquit\n");
        monitor.write_all(ask.as_bytes()).map_err(failed)?;
        let mut said = Vec::new();
        monitor.read_to_end(&mut said).map_err(failed)?;
        let said = String::from_utf8_lossy(&said).into_owned();
        if said.contains("Error") || !said.contains("ICOUNT") {
            return Err(Failure::Unexpected {
                what: "savevm".to_owned(),
                text: said.lines().last().unwrap_or_default().to_owned(),
            });
        }
        Ok(())
    }

    /// The last words of its console.
    pub(super) fn console(&self) -> String {
        let text = std::fs::read(self.folder.join("console.log")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        lines
            .get(lines.len().saturating_sub(20)..)
            .unwrap_or_default()
            .join("\n")
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        stop(&mut self.child);
    }
}

/// Copies a frozen machine, so that two can go on from it.
pub(super) fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(to).map_err(Failure::file(to))?;
    let to = to.join(OVERLAY);
    std::fs::copy(from.join(OVERLAY), &to).map_err(Failure::file(&to))?;
    Ok(())
}

fn connect(path: &Path, child: &mut Child) -> Result<UnixStream, Failure> {
    wait::until("QEMU's socket", Duration::from_mins(1), || {
        if let Ok(Some(status)) = child.try_wait() {
            return Err(Failure::Ended {
                what: QEMU.to_owned(),
                code: status.to_string(),
                stderr: "see console.log".to_owned(),
            });
        }
        Ok(UnixStream::connect(path).ok())
    })
}

fn stop(child: &mut Child) {
    // It may have ended by itself.
    drop(child.kill());
    drop(child.wait());
}

const QEMU: &str = "qemu-system-x86_64";
const OVERLAY: &str = "overlay.qcow2";
const PORT_SOCKET: &str = "port";
const MONITOR_SOCKET: &str = "monitor";
const SNAPSHOT: &str = "ready";
const APPEND: &str = "root=/dev/vda rw console=ttyS0 quiet loglevel=3 panic=-1 mitigations=off no_timer_check net.ifnames=0 \
    systemd.show_status=false lsm=lockdown,capability,landlock,yama,apparmor,bpf";
