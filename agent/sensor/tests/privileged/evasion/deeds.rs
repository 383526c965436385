//! The deeds themselves, done in a process of their own.

#![expect(
    unsafe_code,
    reason = "these ways around lead through calls that have no safe form"
)]

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::ptr;

use rustix::fs::{AtFlags, CWD, MemfdFlags};

/// What an actor can do.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum Deed {
    RunRaised,
    RunMemory,
    RunScript,
    RunRegistered,
    RunFromThread,
    RewriteArguments,
    RunByVfork,
    DieBySignal,
    MoveOver,
    LinkHard,
    LinkUnnamed,
    WriteMapping,
    WriteMappingLate,
    BindMount,
    RingOpen,
    RingUnlink,
    RingConnect,
    Open32,
    Unlink32,
}

/// Lays out what the deeds need: `in` will be watched, `out` will not.
pub(super) fn set_the_scene(root: &Path) {
    let mode = |path: &Path, mode: u32| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(root, 0o755);
    for folder in ["in", "out"] {
        fs::create_dir(root.join(folder)).unwrap();
    }
    for name in ["old", "new", "linked", "ring-victim", "victim-of-32"] {
        fs::write(root.join("in").join(name), name).unwrap();
    }
    for name in ["mapped", "mapped-late"] {
        fs::write(root.join("in").join(name), [b'-'; 4096]).unwrap();
    }
    let inner = root.join("in/inner");
    let programs: [(&str, Vec<u8>, u32); 4] = [
        ("raised", fs::read("/bin/true").unwrap(), 0o4755),
        ("inner", b"#!/bin/sh\n".to_vec(), 0o755),
        (
            "outer",
            format!("#!{}\n", inner.display()).into_bytes(),
            0o755,
        ),
        ("registered", b"PICKETFORMAT\n".to_vec(), 0o755),
    ];
    for (name, content, bits) in programs {
        let path = root.join("in").join(name);
        fs::write(&path, content).unwrap();
        mode(&path, bits);
    }
}

impl Deed {
    /// Does it. An error says why it cannot be done on this host; what goes wrong otherwise panics.
    pub(super) fn done_at(self, root: &Path) -> Result<(), String> {
        let inside = |name: &str| root.join("in").join(name);
        match self {
            Self::RunRaised => {
                let error = Command::new(inside("raised"))
                    .uid(65_534)
                    .gid(65_534)
                    .exec();
                panic!("{error}")
            }
            Self::RunMemory => run_memory(),
            Self::RunScript => panic!("{}", Command::new(inside("outer")).exec()),
            Self::RunRegistered => return run_registered(&inside("registered")),
            Self::RunFromThread => run_from_thread(),
            Self::RewriteArguments => rewrite_arguments(&inside("rewritten")),
            Self::RunByVfork => assert!(Command::new("/bin/true").status().unwrap().success()),
            Self::DieBySignal => rustix::process::kill_process(
                rustix::process::getpid(),
                rustix::process::Signal::KILL,
            )
            .unwrap(),
            Self::MoveOver => fs::rename(inside("new"), inside("old")).unwrap(),
            Self::LinkHard => {
                let link = root.join("out/link");
                fs::hard_link(inside("linked"), &link).unwrap();
                fs::write(link, "through the link").unwrap();
            }
            Self::LinkUnnamed => return link_unnamed(&root.join("in")),
            Self::WriteMapping => write_mapping(&inside("mapped"), false),
            Self::WriteMappingLate => write_mapping(&inside("mapped-late"), true),
            Self::BindMount => return bind_mount(root),
            Self::RingOpen => {
                let path = c_string(&inside("by-ring"));
                let flags = (libc::O_CREAT | libc::O_WRONLY).cast_unsigned();
                let opened = ask(&request(
                    OPENAT,
                    libc::AT_FDCWD,
                    (path.as_ptr().addr(), 0),
                    (0o600, flags),
                ))?;
                assert!(opened >= 0, "{opened}");
            }
            Self::RingUnlink => {
                let path = c_string(&inside("ring-victim"));
                let removed = ask(&request(
                    UNLINKAT,
                    libc::AT_FDCWD,
                    (path.as_ptr().addr(), 0),
                    (0, 0),
                ))?;
                assert_eq!(removed, 0);
            }
            Self::RingConnect => return ring_connect(root),
            Self::Open32 => {
                let flags = (libc::O_CREAT | libc::O_WRONLY).cast_unsigned();
                let opened = call_32(OPEN_32, &inside("by-32"), [flags, 0o600])?;
                assert!(opened >= 0, "{opened}");
            }
            Self::Unlink32 => {
                let removed = call_32(UNLINK_32, &inside("victim-of-32"), [0; 2])?;
                assert_eq!(removed, 0);
            }
        }
        Ok(())
    }
}

fn c_string(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap()
}

fn run_memory() {
    let memory = rustix::fs::memfd_create("evasion", MemfdFlags::empty()).unwrap();
    let mut memory = File::from(memory);
    memory.write_all(&fs::read("/bin/true").unwrap()).unwrap();
    let argv = [c"innocent".as_ptr(), ptr::null()];
    let environment: [*const libc::c_char; 1] = [ptr::null()];
    // SAFETY: the path and both lists end as the call wants it, and all outlive it.
    let result = unsafe {
        libc::syscall(
            libc::SYS_execveat,
            memory.as_raw_fd(),
            c"".as_ptr(),
            argv.as_ptr(),
            environment.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    panic!("{result}: {}", std::io::Error::last_os_error());
}

/// Formats are registered per user namespace since Linux 6.7, so this registers one for itself alone.
fn run_registered(program: &Path) -> Result<(), String> {
    if older_than(6, 7) {
        return Err("formats are registered for the whole host before Linux 6.7".to_owned());
    }
    let script = "mount -t binfmt_misc none /proc/sys/fs/binfmt_misc || exit 77\n\
                  echo ':picket:M::PICKETFORMAT::/bin/true:' > /proc/sys/fs/binfmt_misc/register || exit 77\n\
                 exec \"$0\"";
    let mut unshare = Command::new("/usr/bin/unshare");
    unshare.args([
        "--user",
        "--map-root-user",
        "--mount",
        "/bin/sh",
        "-c",
        script,
    ]);
    let status = unshare
        .arg(program)
        .status()
        .map_err(|error| format!("no unshare: {error}"))?;
    if status.code() == Some(77) {
        return Err("no formats can be registered in a user namespace".to_owned());
    }
    assert!(status.success(), "{status}");
    Ok(())
}

fn run_from_thread() {
    let run = || Command::new("/bin/true").arg("from-thread").exec();
    let error = std::thread::spawn(run).join().unwrap();
    panic!("{error}");
}

fn rewrite_arguments(then_made: &Path) {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let fields: Vec<u64> = fields
        .split(' ')
        .map(|field| field.trim().parse().unwrap_or(0))
        .collect();
    let (start, end) = (fields[45], fields[46]);
    let memory = OpenOptions::new()
        .write(true)
        .open("/proc/self/mem")
        .unwrap();
    let blank = vec![b'x'; usize::try_from(end - start - 1).unwrap()];
    memory.write_all_at(&blank, start).unwrap();
    let told = fs::read("/proc/self/cmdline").unwrap();
    assert!(
        told.iter().all(|byte| matches!(byte, b'x' | 0)),
        "the rewriting does not show"
    );
    fs::write(then_made, "").unwrap();
}

fn link_unnamed(folder: &Path) -> Result<(), String> {
    let mut options = OpenOptions::new();
    let file = options
        .write(true)
        .mode(0o600)
        .custom_flags(libc::O_TMPFILE)
        .open(folder);
    let mut file = file.map_err(|error| format!("no files without names: {error}"))?;
    file.write_all(b"text").unwrap();
    let own = format!("/proc/self/fd/{}", file.as_raw_fd());
    rustix::fs::linkat(CWD, own, CWD, folder.join("named"), AtFlags::SYMLINK_FOLLOW).unwrap();
    Ok(())
}

fn write_mapping(path: &Path, late: bool) {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let memory = map(&file, 4096, 0).cast::<u8>();
    if late {
        drop(file);
        // SAFETY: one byte of the mapping of 4,096 bytes, which stays until the process ends.
        unsafe { memory.write_volatile(b'+') };
        return;
    }
    // SAFETY: as above.
    unsafe { memory.write_volatile(b'+') };
}

/// A shared mapping, which stays until the process ends.
fn map(file: &impl AsRawFd, length: usize, offset: i64) -> *mut libc::c_void {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: the kernel chooses where, so nothing that is in use is replaced.
    let memory = unsafe {
        libc::mmap(
            ptr::null_mut(),
            length,
            protection,
            libc::MAP_SHARED,
            file.as_raw_fd(),
            offset,
        )
    };
    assert_ne!(
        memory,
        libc::MAP_FAILED,
        "{}",
        std::io::Error::last_os_error()
    );
    memory
}

fn bind_mount(root: &Path) -> Result<(), String> {
    let mut unshare = Command::new("/usr/bin/unshare");
    unshare.args([
        "--mount",
        "/bin/sh",
        "-c",
        "mount --bind in out && : > out/bound",
    ]);
    let status = unshare
        .current_dir(root)
        .status()
        .map_err(|error| format!("no unshare: {error}"))?;
    assert!(status.success(), "{status}");
    Ok(())
}

fn ring_connect(root: &Path) -> Result<(), String> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    fs::write(root.join("port"), port.to_string()).unwrap();
    // SAFETY: no socket is too few or too many for this call.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0) };
    let mut address = [0_u8; 16];
    address[..2].copy_from_slice(&2_u16.to_ne_bytes());
    address[2..4].copy_from_slice(&port.to_be_bytes());
    address[4..8].copy_from_slice(&[127, 0, 0, 1]);
    let connected = ask(&request(
        CONNECT,
        socket,
        (address.as_ptr().addr(), 16),
        (0, 0),
    ))?;
    assert_eq!(connected, 0);
    Ok(())
}

/// `struct io_uring_sqe`: operation and descriptor, both addresses, length and flags.
fn request(operation: u8, fd: i32, addresses: (usize, u64), rest: (u32, u32)) -> [u8; 64] {
    let mut bytes = [0; 64];
    bytes[0] = operation;
    bytes[4..8].copy_from_slice(&fd.to_ne_bytes());
    bytes[8..16].copy_from_slice(&addresses.1.to_ne_bytes());
    bytes[16..24].copy_from_slice(&u64::try_from(addresses.0).unwrap().to_ne_bytes());
    bytes[24..28].copy_from_slice(&rest.0.to_ne_bytes());
    bytes[28..32].copy_from_slice(&rest.1.to_ne_bytes());
    bytes
}

/// Makes a ring, asks for one thing through it and gives the answer.
fn ask(request: &[u8; 64]) -> Result<i32, String> {
    if older_than(6, 3) {
        return Err("requests in a ring are seen since Linux 6.3".to_owned());
    }
    // `struct io_uring_params`; what is read from it stands at these numbers.
    let mut parameters = [0_u32; 30];
    // SAFETY: the structure has 120 bytes, and the call changes nothing else.
    let ring = unsafe { libc::syscall(libc::SYS_io_uring_setup, 1, parameters.as_mut_ptr()) };
    let ring = i32::try_from(ring).unwrap();
    if ring < 0 {
        return Err(format!("no io_uring: {}", std::io::Error::last_os_error()));
    }
    let [tail, first_answer] =
        [parameters[11], parameters[25]].map(|at| usize::try_from(at).unwrap());
    let (queue, entries) = (map(&ring, 4096, 0), map(&ring, 4096, ENTRIES_OFFSET));
    // SAFETY: the mapping has room for the one entry the ring was made with, of 64 bytes.
    unsafe { ptr::copy_nonoverlapping(request.as_ptr(), entries.cast(), 64) };
    // SAFETY: the kernel gave this offset into the mapping.
    let tail = unsafe { queue.byte_add(tail) };
    // SAFETY: the tail is an aligned number of 32 bits, and nobody else writes it.
    unsafe { tail.cast::<u32>().write_volatile(1) };
    // SAFETY: no memory is passed but what the request points to, which the caller holds.
    let entered = unsafe { libc::syscall(libc::SYS_io_uring_enter, ring, 1, 1, 1, 0, 0) };
    assert_eq!(entered, 1, "{}", std::io::Error::last_os_error());
    // SAFETY: the kernel gave the offset of the first answer, whose result is 8 bytes into it.
    let answer = unsafe { queue.byte_add(first_answer + 8) };
    // SAFETY: an aligned number of 32 bits inside the mapping.
    Ok(unsafe { answer.cast::<i32>().read_volatile() })
}

/// A system call of 32-bit programs, which a 64-bit program can make as well; its first argument is a path.
fn call_32(number: u32, path: &Path, more: [u32; 2]) -> Result<i32, String> {
    let tried = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "privileged::evasion::deeds::trier", "--ignored"])
        .env("PICKET_TRY_32", "1")
        .stdout(std::process::Stdio::null())
        .status();
    if !tried.unwrap().success() {
        return Err("this kernel has no calls of 32-bit programs".to_owned());
    }
    let path = path.as_os_str().as_bytes();
    // SAFETY: a new mapping disturbs nothing.
    let low = unsafe {
        libc::mmap(
            ptr::null_mut(),
            4096,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT,
            -1,
            0,
        )
    };
    assert_ne!(low, libc::MAP_FAILED);
    // SAFETY: the path has less than a page, and the rest of the page is zero.
    unsafe { ptr::copy_nonoverlapping(path.as_ptr(), low.cast(), path.len()) };
    let low = u32::try_from(low.addr()).unwrap();
    Ok(interrupt_80(number, low, more))
}

fn interrupt_80(number: u32, first: u32, [second, third]: [u32; 2]) -> i32 {
    let mut result = number;
    // SAFETY: the kernel keeps all registers but these; `rbx` is put back, since the compiler may use it.
    unsafe {
        std::arch::asm!(
            "xchg rbx, {first}",
            "int 0x80",
            "xchg rbx, {first}",
            first = inout(reg) u64::from(first) => _,
            inout("eax") result,
            in("ecx") second,
            in("edx") third,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    result.cast_signed()
}

/// Dies where there are no such calls.
#[test]
#[ignore = "not a test: a process that finds out whether there are 32-bit calls"]
fn trier() {
    if std::env::var_os("PICKET_TRY_32").is_some() {
        let own = interrupt_80(GETPID_32, 0, [0; 2]);
        assert_eq!(own.cast_unsigned(), std::process::id());
    }
}

fn older_than(major: u32, minor: u32) -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut parts = release
        .split('.')
        .map(|part| part.parse::<u32>().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) < (major, minor)
}

// Numbers of 32-bit calls.
const OPEN_32: u32 = 5;
const UNLINK_32: u32 = 10;
const GETPID_32: u32 = 20;

const OPENAT: u8 = 18;
const CONNECT: u8 = 16;
const UNLINKAT: u8 = 36;
/// `IORING_OFF_SQES`
const ENTRIES_OFFSET: i64 = 0x1000_0000;
