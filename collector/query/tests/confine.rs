//! What a confined process can still do. Each trial is in a process of its own: this program, started again.

#![cfg(test)]

use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use picket_query::{Bounds, confine};

const FOLDER: &str = "PICKET_TEST_CONFINED_TO";

#[test]
fn a_confined_process_reads_its_folders_and_does_nothing_else() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return try_everything(Path::new(&folder));
    }
    let (inside, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(inside.path().join("file"), "inside").unwrap();
    fs::write(outside.path().join("file"), "outside").unwrap();
    let again = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "a_confined_process_reads_its_folders_and_does_nothing_else",
        ])
        .args(["--test-threads", "1", "--nocapture"])
        .env(FOLDER, inside.path())
        .env("OUTSIDE", outside.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&again.stdout).into_owned();
    let why = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(again.status.success(), "{said}{why}");
    assert!(said.contains("1 passed"), "{said}{why}");
    for skipped in why.lines().filter(|line| line.starts_with("SKIPPED")) {
        eprintln!("{skipped}");
    }
    assert!(!inside.path().join("new").exists() && !outside.path().join("new").exists());
}

/// Runs confined. The listener is made before, so that there is somebody to connect to.
fn try_everything(folder: &Path) {
    let outside = PathBuf::from(std::env::var_os("OUTSIDE").unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let bounds = Bounds {
        memory_bytes: 64 << 20,
        seconds: 10,
    };
    confine(&[folder.to_owned()], &bounds).unwrap();

    assert_eq!(fs::read_to_string(folder.join("file")).unwrap(), "inside");
    if has_landlock() {
        refused("read another folder", File::open(outside.join("file")));
        refused("read the host's accounts", File::open("/etc/passwd"));
    }
    let mut writing = OpenOptions::new();
    writing.write(true);
    refused("write", writing.open(folder.join("file")));
    refused("make a file", File::create(folder.join("new")));
    refused("make a file elsewhere", File::create(outside.join("new")));
    refused("make a folder", fs::create_dir(folder.join("new")));
    refused("remove", fs::remove_file(folder.join("file")));
    refused(
        "rename",
        fs::rename(folder.join("file"), folder.join("new")),
    );
    refused("connect", TcpStream::connect(address));
    refused("listen", TcpListener::bind("127.0.0.1:0"));
    refused("send", UdpSocket::bind("127.0.0.1:0"));
    refused("speak to a neighbour", UnixStream::pair());
    refused("start a program", Command::new("/bin/true").spawn());
    refused("start a thread", std::thread::Builder::new().spawn(|| ()));
    let too_much = std::panic::catch_unwind(|| {
        let mut bytes: Vec<u8> = Vec::new();
        bytes.try_reserve_exact(2 << 30).is_err()
    });
    assert!(too_much.unwrap(), "it had more memory than it may");
}

/// Whether this kernel has Landlock: from Linux 5.13 on, where it is built in and on.
fn has_landlock() -> bool {
    let has = File::open("/proc/self/status").is_err();
    if !has {
        eprintln!("SKIPPED: files outside the folders, because this kernel has no Landlock");
    }
    has
}

fn refused<T>(what: &str, tried: io::Result<T>) {
    assert!(tried.is_err(), "a confined process could {what}");
}
