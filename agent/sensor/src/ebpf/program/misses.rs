//! What the kernel did not run: a program is passed over when another is at work on its CPU.
//!
//! What stays true: each such call counts as one event of the hook's kind, generated and lost. It is the most that can have
//! been lost, because the program might have found nothing to tell.

use std::os::fd::{AsRawFd, BorrowedFd};

use libbpf_rs::libbpf_sys::{bpf_obj_get_info_by_fd, bpf_prog_info};

/// How often the kernel has passed this program over. 0 where it does not count that (before 5.12).
#[expect(
    unsafe_code,
    reason = "the safe way there is copies every instruction of the program, and this is asked of each program every two seconds"
)]
pub(super) fn misses_of(program: BorrowedFd<'_>) -> u64 {
    let mut info = bpf_prog_info::default();
    let Ok(mut size) = u32::try_from(size_of::<bpf_prog_info>()) else {
        return 0;
    };
    // SAFETY: `info` is a whole `bpf_prog_info` of the size that `size` states; all its pointers and their lengths are zero, so
    // the kernel writes into nothing else.
    let error = unsafe {
        bpf_obj_get_info_by_fd(program.as_raw_fd(), (&raw mut info).cast(), &raw mut size)
    };
    if error == 0 { info.recursion_misses } else { 0 }
}
