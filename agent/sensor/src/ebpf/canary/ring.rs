//! A ring of the canary's own, and what it asks for there: nothing, and the use of a few files in its folder.
//!
//! # Invariants
//!
//! - Whoever asks waits for the answer, so the kernel holds no memory of ours afterwards.

#![expect(
    unsafe_code,
    reason = "a ring is memory that is shared with the kernel, and no safe crate that we have offers one"
)]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

/// Uses files in this folder through a ring: makes one, writes and closes it, renames it, gives it another name and takes that
/// away; and makes a folder. Of what fails, the rest is done all the same.
pub(super) fn use_files(folder: &Path) -> io::Result<()> {
    let mut ring = Ring::new()?;
    ring.ask(&Request::default())?;
    let path = |name: &str| CString::new(folder.join(name).as_os_str().as_bytes());
    let (file, renamed) = (path(FILE)?, path(RENAMED)?);
    let (linked, made) = (path(LINKED)?, path(FOLDER)?);
    let flags = libc::O_CREAT | libc::O_WRONLY | libc::O_CLOEXEC;
    let open = Request::at(OPENAT, &file).with(0o600, flags.cast_unsigned());
    let opened = ring.ask(&open)?;
    write_and_close(&mut ring, opened)?;
    for request in [
        Request::at(MKDIRAT, &made).with(0o700, 0),
        Request::at(RENAMEAT, &file).leading_to(&renamed),
        Request::at(LINKAT, &renamed).leading_to(&linked),
        Request::at(UNLINKAT, &linked),
    ] {
        let result = ring.ask(&request)?;
        tracing::trace!(result, operation = request.operation, "asked in a ring");
    }
    Ok(())
}

fn write_and_close(ring: &mut Ring, descriptor: i32) -> io::Result<()> {
    if descriptor < 0 {
        return Err(io::Error::from_raw_os_error(descriptor.saturating_neg()));
    }
    // SAFETY: the kernel has just given this descriptor to us, and nobody else knows it.
    let file = unsafe { OwnedFd::from_raw_fd(descriptor) };
    ring.ask(&Request::on(WRITE, &file).text(c"text"))?;
    let close = Request::on(CLOSE, &file);
    // The ring closes it: were it still open after that, it would stay so until the process ends, which does no harm.
    let _closed_by_the_ring = file.into_raw_fd();
    ring.ask(&close).map(drop)
}

/// What is asked for, as `struct io_uring_sqe`.
#[derive(Clone, Copy, Default)]
#[repr(C)]
struct Request {
    operation: u8,
    flags: u8,
    priority: u16,
    descriptor: i32,
    second: u64,
    first: u64,
    length: u32,
    operation_flags: u32,
    number: u64,
    rest: [u64; 3],
}

impl Request {
    fn at(operation: u8, path: &CString) -> Self {
        Self {
            operation,
            descriptor: libc::AT_FDCWD,
            first: address(path.as_ptr()),
            ..Self::default()
        }
    }

    fn on(operation: u8, file: &OwnedFd) -> Self {
        Self {
            operation,
            descriptor: file.as_raw_fd(),
            ..Self::default()
        }
    }

    fn with(self, length: u32, operation_flags: u32) -> Self {
        Self {
            length,
            operation_flags,
            ..self
        }
    }

    fn leading_to(self, path: &CString) -> Self {
        Self {
            length: libc::AT_FDCWD.cast_unsigned(),
            second: address(path.as_ptr()),
            ..self
        }
    }

    fn text(self, text: &'static std::ffi::CStr) -> Self {
        Self {
            first: address(text.as_ptr()),
            length: u32::try_from(text.count_bytes()).unwrap_or(0),
            ..self
        }
    }
}

fn address(memory: *const libc::c_char) -> u64 {
    u64::try_from(memory.addr()).unwrap_or(0)
}

/// A ring of one request at a time, with its memory.
struct Ring {
    descriptor: OwnedFd,
    queue: Page,
    request: Page,
    places: Places,
}

/// Where in the queue's page things are, in bytes.
struct Places {
    tail: u32,
    answers_head: u32,
    answers_tail: u32,
    answers: u32,
}

impl Ring {
    fn new() -> io::Result<Self> {
        let mut parameters = [0_u32; 30];
        let place = parameters.as_mut_ptr();
        // SAFETY: `parameters` is as large as struct io_uring_params (120 bytes), which the call reads and fills.
        let ring = unsafe { libc::syscall(libc::SYS_io_uring_setup, 1, place) };
        let ring = super::deeds::outcome(ring)?;
        // SAFETY: the kernel has just given this descriptor to us, and nobody else knows it.
        let descriptor = unsafe { OwnedFd::from_raw_fd(ring) };
        let [_, answers_at_most, _, _, _, features, ..] = parameters;
        let [_, _, _, _, _, _, _, _, _, _, _, tail, ..] = parameters;
        let [.., answers_head, answers_tail, _, _, _, answers, _, _, _, _] = parameters;
        if features & SINGLE_MAPPING == 0 || answers_at_most != ANSWERS {
            return Err(io::Error::from(io::ErrorKind::Unsupported));
        }
        Ok(Self {
            queue: Page::of(&descriptor, 0)?,
            request: Page::of(&descriptor, REQUESTS_OFFSET)?,
            descriptor,
            places: Places {
                tail,
                answers_head,
                answers_tail,
                answers,
            },
        })
    }

    /// Asks for this, and waits for the answer. The one entry that the queue's order names is the first, as it is from the start.
    fn ask(&mut self, request: &Request) -> io::Result<i32> {
        let tail = self.queue.get(self.places.tail)?;
        self.request.set_request(request);
        self.queue.set(self.places.tail, tail.wrapping_add(1))?;
        self.enter()?;
        self.answer()
    }

    fn enter(&self) -> io::Result<()> {
        let descriptor = self.descriptor.as_raw_fd();
        let none = ptr::null::<libc::sigset_t>();
        let call = libc::SYS_io_uring_enter;
        // SAFETY: the descriptor is an open ring; what its request points to lives until that was answered.
        let taken = unsafe { libc::syscall(call, descriptor, 1, 1, WAIT, none, 0) };
        match super::deeds::outcome(taken)? {
            1 => Ok(()),
            _ => Err(io::Error::from(io::ErrorKind::Unsupported)),
        }
    }

    fn answer(&mut self) -> io::Result<i32> {
        let head = self.queue.get(self.places.answers_head)?;
        if head == self.queue.get(self.places.answers_tail)? {
            return Err(io::Error::from(io::ErrorKind::WouldBlock));
        }
        // `struct io_uring_cqe`: the result stands after eight bytes of sixteen.
        let place = self.places.answers.checked_add(8);
        let place =
            place.and_then(|place| place.checked_add(if head % ANSWERS == 0 { 0 } else { 16 }));
        let result = self.queue.get(place.unwrap_or(u32::MAX))?;
        self.queue
            .set(self.places.answers_head, head.wrapping_add(1))?;
        Ok(result.cast_signed())
    }
}

/// One page of memory that is shared with the kernel.
struct Page {
    memory: *mut libc::c_void,
}

impl Page {
    fn of(ring: &OwnedFd, offset: libc::off_t) -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let descriptor = ring.as_raw_fd();
        let anywhere = ptr::null_mut();
        // SAFETY: a new mapping at a place that the kernel chooses touches no memory of ours.
        let memory = unsafe {
            libc::mmap(
                anywhere,
                PAGE,
                protection,
                libc::MAP_SHARED,
                descriptor,
                offset,
            )
        };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { memory })
    }

    /// The word at this offset in bytes, which the kernel gave.
    fn word(&self, offset: u32) -> io::Result<*mut u32> {
        let at = usize::try_from(offset / 4).unwrap_or(usize::MAX);
        if !offset.is_multiple_of(4) || at >= PAGE / 4 {
            return Err(io::Error::from(io::ErrorKind::InvalidData));
        }
        // SAFETY: the word lies within the page, as was just checked.
        Ok(unsafe { self.memory.cast::<u32>().add(at) })
    }

    fn get(&self, offset: u32) -> io::Result<u32> {
        let word = self.word(offset)?;
        // SAFETY: an aligned word of a page that is mapped as long as `self` lives; any bits are a number.
        Ok(unsafe { word.read_volatile() })
    }

    fn set(&mut self, offset: u32, value: u32) -> io::Result<()> {
        let word = self.word(offset)?;
        // SAFETY: as above, and the mapping can be written.
        unsafe { word.write_volatile(value) };
        Ok(())
    }

    /// Puts the request at the beginning of the page.
    fn set_request(&mut self, request: &Request) {
        // SAFETY: a page is aligned for the request and longer than it, and it is mapped as long as `self` lives.
        unsafe { self.memory.cast::<Request>().write_volatile(*request) };
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: the page was mapped by us, and nobody holds a reference into it.
        let unmapped = unsafe { libc::munmap(self.memory, PAGE) };
        tracing::trace!(unmapped, "the memory of a ring was given back");
    }
}

/// The names in the canary's folder.
pub(super) const FILE: &str = "ring-file";
pub(super) const RENAMED: &str = "ring-renamed";
pub(super) const LINKED: &str = "ring-linked";
pub(super) const FOLDER: &str = "ring-folder";

/// Room for answers in a ring of one request.
const ANSWERS: u32 = 2;
const PAGE: usize = 4096;
/// `IORING_OFF_SQES`
const REQUESTS_OFFSET: libc::off_t = 0x1000_0000;
/// `IORING_FEAT_SINGLE_MMAP`
const SINGLE_MAPPING: u32 = 1;
/// `IORING_ENTER_GETEVENTS`
const WAIT: u32 = 1;
/// `enum io_uring_op`
const OPENAT: u8 = 18;
const CLOSE: u8 = 19;
const WRITE: u8 = 23;
const RENAMEAT: u8 = 35;
const UNLINKAT: u8 = 36;
const MKDIRAT: u8 = 37;
const LINKAT: u8 = 39;
