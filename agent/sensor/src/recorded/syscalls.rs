//! System calls and architectures by the names that audit's numbers stand for.
//!
//! The lists are those of the kernel's `unistd` headers, one `NUMBER NAME` a line.

use std::collections::HashMap;
use std::sync::LazyLock;

/// The name of an architecture by its number in `linux/audit.h`, in hexadecimal.
pub fn architecture(arch: &[u8]) -> Option<&'static str> {
    let known = ARCHITECTURES
        .iter()
        .find(|(number, _)| number.as_bytes() == arch);
    known.map(|(_, name)| *name)
}

/// The name of a system call. `arch` as in the record: the number in hexadecimal, or the name.
pub fn name(arch: &[u8], number: u32) -> Option<&'static str> {
    let arch = architecture(arch).map_or(arch, str::as_bytes);
    let table = match arch {
        b"x86_64" => &*X86_64,
        b"i386" | b"i686" => &*I386,
        b"aarch64" | b"riscv64" | b"riscv32" | b"loongarch64" => &*GENERIC,
        _ => return None,
    };
    // The x32 calls of x86_64 have this bit.
    table.get(&(number & !0x4000_0000)).copied()
}

const ARCHITECTURES: [(&str, &str); 10] = [
    ("c000003e", "x86_64"),
    ("40000003", "i386"),
    ("c00000b7", "aarch64"),
    ("40000028", "arm"),
    ("c00000f3", "riscv64"),
    ("400000f3", "riscv32"),
    ("c0000102", "loongarch64"),
    ("80000015", "ppc64"),
    ("c0000015", "ppc64le"),
    ("80000016", "s390x"),
];

type Table = HashMap<u32, &'static str>;

static X86_64: LazyLock<Table> = LazyLock::new(|| table(include_str!("syscalls/x86_64.txt")));
static I386: LazyLock<Table> = LazyLock::new(|| table(include_str!("syscalls/i386.txt")));
static GENERIC: LazyLock<Table> = LazyLock::new(|| table(include_str!("syscalls/generic.txt")));

fn table(text: &'static str) -> Table {
    let line = |line: &'static str| {
        let (number, name) = line.split_once(' ')?;
        Some((number.parse().ok()?, name))
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_means_another_call_on_another_processor() {
        assert_eq!(name(b"c000003e", 59), Some("execve"));
        assert_eq!(name(b"40000003", 11), Some("execve"));
        assert_eq!(name(b"c00000b7", 221), Some("execve"));
        assert_eq!(name(b"x86_64", 257), Some("openat"));
        assert_eq!(name(b"80000016", 11), None);
        assert_eq!(name(b"c000003e", 4_711), None);
    }
}
