//! Names of hosts, runs, boots, processes and commands.
//!
//! Each is a type of its own, so that one cannot be passed for another, and each has exactly one
//! written form.

use std::fmt;

use picket_seal::{Digest, PublicKey};

/// Why a text or a byte string is not the identifier it should be.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum IdError {
    /// Wrong number of bytes.
    #[error("{what} has {got} bytes instead of {expected}")]
    Length {
        /// Which identifier.
        what: &'static str,
        /// Its size in bytes.
        expected: usize,
        /// What came.
        got: usize,
    },
    /// Not hexadecimal digits of the right number.
    #[error("{what} is not {digits} hexadecimal digits")]
    NotHex {
        /// Which identifier.
        what: &'static str,
        /// How many digits it has.
        digits: usize,
    },
}

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident, $size:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub struct $name([u8; $size]);

        impl $name {
            /// Takes the bytes as they are.
            pub const fn new(bytes: [u8; $size]) -> Self {
                Self(bytes)
            }

            /// Its bytes.
            pub const fn as_bytes(&self) -> &[u8; $size] {
                &self.0
            }

            /// From bytes of unknown length, as they come from the wire.
            pub fn from_slice(bytes: &[u8]) -> Result<Self, IdError> {
                let length = IdError::Length { what: $what, expected: $size, got: bytes.len() };
                bytes.try_into().map(Self).map_err(|_| length)
            }

            /// From its written form: hexadecimal digits, hyphens ignored.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                let digits: String = text.chars().filter(|c| *c != '-').collect();
                let mut bytes = [0; $size];
                hex::decode_to_slice(&digits, &mut bytes)
                    .map_err(|_| IdError::NotHex { what: $what, digits: $size * 2 })?;
                Ok(Self(bytes))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

macro_rules! hex_display {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }
    };
}

identifier! {
    /// One enrolled host: SHA-256 of its first event public key.
    HostId, 32, "host id"
}
identifier! {
    /// One run of one agent: 16 random bytes.
    StreamId, 16, "stream id"
}
identifier! {
    /// One boot of a host, as the kernel names it in `/proc/sys/kernel/random/boot_id`.
    BootId, 16, "boot id"
}
identifier! {
    /// One process, never another: see [`ProcessUid::derive`].
    ProcessUid, 16, "process uid"
}
identifier! {
    /// One command: 16 random bytes, acted on at most once per host.
    CommandId, 16, "command id"
}
hex_display!(HostId);
hex_display!(StreamId);
hex_display!(ProcessUid);
hex_display!(CommandId);

impl fmt::Display for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = hex::encode(self.0);
        let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
        write!(
            f,
            "{}-{}-{}-{}-{}",
            part(0, 8),
            part(8, 12),
            part(12, 16),
            part(16, 20),
            part(20, 32)
        )
    }
}

impl HostId {
    /// The host that this first event key makes.
    pub fn of_first_key(key: &PublicKey) -> Self {
        Self(*key.host_id().as_bytes())
    }
}

/// Length of a clock tick of `/proc/PID/stat`, in nanoseconds (`USER_HZ` is 100 on all Linux).
const TICK_NS: u64 = 10_000_000;

impl ProcessUid {
    /// The process that `pid` was on this boot since `start_boottime_ns`.
    ///
    /// The start is rounded down to a clock tick, so that a source in the kernel (nanoseconds) and
    /// one that reads `/proc/PID/stat` (ticks) give the same name.
    pub fn derive(boot: &BootId, pid: u32, start_boottime_ns: u64) -> Self {
        Self::from_ticks(boot, pid, start_boottime_ns / TICK_NS)
    }

    /// As [`ProcessUid::derive`], with the start in clock ticks since boot (field 22 of
    /// `/proc/PID/stat`).
    pub fn from_ticks(boot: &BootId, pid: u32, start_ticks: u64) -> Self {
        let mut bytes = Vec::with_capacity(64);
        bytes.extend_from_slice(b"picket/process/v1\0");
        bytes.extend_from_slice(boot.as_bytes());
        bytes.extend_from_slice(&pid.to_le_bytes());
        bytes.extend_from_slice(&start_ticks.to_le_bytes());
        let digest = Digest::of(&bytes);
        let mut uid = [0; 16];
        for (to, from) in uid.iter_mut().zip(digest.as_bytes()) {
            *to = *from;
        }
        Self(uid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nanoseconds_and_ticks_name_the_same_process() {
        let boot = BootId::new([7; 16]);
        let by_kernel = ProcessUid::derive(&boot, 42, 12_349_999_999);
        assert_eq!(by_kernel, ProcessUid::from_ticks(&boot, 42, 1_234));
        assert_ne!(by_kernel, ProcessUid::from_ticks(&boot, 43, 1_234));
        // The vector of docs/formats/process-uid.md.
        assert_eq!(by_kernel.to_string(), "29483a4d968122f2d117c244591dc729");
    }

    #[test]
    fn a_boot_id_is_written_as_the_kernel_writes_it() {
        let text = "0f5d2c3a-1111-4222-8333-444455556666";
        assert_eq!(BootId::parse(text).unwrap().to_string(), text);
    }

    #[test]
    fn a_short_or_foreign_text_is_refused() {
        assert!(ProcessUid::parse("12ab").is_err());
        assert!(HostId::parse(&"zz".repeat(32)).is_err());
        assert!(StreamId::from_slice(&[0; 15]).is_err());
    }
}
