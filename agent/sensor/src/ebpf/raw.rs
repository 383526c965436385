//! The kernel's records, from bytes: the other half of `agent/ebpf/record.h`.
//!
//! # Invariants
//!
//! - Any bytes give a record or an error, never a panic; lengths that a record states are checked
//!   against the bytes that are there.
//! - Nothing is copied but fixed fields: texts borrow from the record.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use picket_event::Kind;

/// A record as it lies in the ring.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RawRecord<'a> {
    /// Head.
    pub header: Header,
    /// Who acted.
    pub actor: Actor,
    /// The rest.
    pub body: Body<'a>,
}

/// How a record begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Header {
    /// Length of the whole record in bytes.
    pub length: u32,
    /// What happened.
    pub kind: Kind,
    /// 0: processes, 1: the rest.
    pub ring: u8,
    /// Where it was made.
    pub cpu: u32,
    /// Bits of [`flag`].
    pub flags: u32,
    /// Counts the records of this CPU and ring, lost ones too.
    pub sequence: u64,
    /// When, in nanoseconds since boot.
    pub boot_ns: u64,
}

impl Header {
    /// Whether this bit of [`flag`] is set.
    pub fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }
}

/// Bits of [`Header::flags`].
pub mod flag {
    /// More argument bytes than fit.
    pub const ARGV_CUT: u32 = 1;
    /// Argument pages were not in memory.
    pub const ARGV_UNREAD: u32 = 1 << 1;
    /// Environment bytes are missing.
    pub const ENV_CUT: u32 = 1 << 2;
    /// The executable is the interpreter of the file that was given.
    pub const SCRIPT: u32 = 1 << 3;
    /// A path lacks its beginning.
    pub const PATH_CUT: u32 = 1 << 4;
    /// The path is the caller's word, links in it not resolved.
    pub const NAME_GIVEN: u32 = 1 << 5;
    /// The result is known.
    pub const RESULT_KNOWN: u32 = 1 << 6;
    /// The path begins at something that is in no folder.
    pub const PATH_DETACHED: u32 = 1 << 7;
    /// The name may be a secret's.
    pub const SECRET: u32 = 1 << 8;
    /// Of a connection's end: it came from outside.
    pub const INBOUND: u32 = 1 << 9;
    /// Of a file: it was not done.
    pub const REFUSED: u32 = 1 << 10;
}

/// Who acted, as the kernel has it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Actor {
    /// Start in nanoseconds since boot.
    pub start_ns: u64,
    /// The parent's start.
    pub parent_start_ns: u64,
    /// Id of the control group.
    pub cgroup: u64,
    /// Effective capabilities.
    pub caps: u64,
    /// Process.
    pub tgid: u32,
    /// Thread.
    pub tid: u32,
    /// Parent process.
    pub ppid: u32,
    /// Real user.
    pub uid: u32,
    /// Effective user.
    pub euid: u32,
    /// Real group.
    pub gid: u32,
    /// Effective group.
    pub egid: u32,
    /// User who logged in; all ones: none.
    pub login_uid: u32,
    /// Audit session; all ones: none.
    pub session: u32,
    /// Inode numbers of the pid, mount, network and user namespaces.
    pub namespaces: [u32; 4],
    /// Name, padded with NULs.
    pub comm: [u8; 16],
    /// Terminal, padded with NULs.
    pub tty: [u8; 16],
}

/// What depends on the kind.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Body<'a> {
    /// A program was started.
    Exec(Box<Exec<'a>>),
    /// A process was made.
    Fork {
        /// Its start in nanoseconds since boot.
        start_ns: u64,
        /// Its number.
        tgid: u32,
    },
    /// A process ended with this status, as `wait(2)` has it.
    Exit {
        /// The status.
        status: u32,
    },
    /// A file in memory was made.
    Memfd {
        /// Flags of `memfd_create(2)`.
        flags: u32,
        /// Its name, `memfd:` included.
        name: &'a [u8],
    },
    /// Something about a file.
    File(File<'a>),
    /// A connection.
    Connect(Connect),
    /// What is told in a few numbers and texts.
    Fact(Fact<'a>),
}

/// Numbers and texts; what they mean stands where the kind is made in `agent/ebpf`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Fact<'a> {
    /// The numbers.
    pub numbers: [u64; 12],
    /// The texts.
    pub texts: [&'a [u8]; 4],
}

/// A started program.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Exec<'a> {
    /// The executable's state.
    pub stat: FileStat,
    /// Number of arguments.
    pub argc: u32,
    /// True length of the arguments with their NULs.
    pub argv_bytes: u64,
    /// The executable's path.
    pub exe: &'a [u8],
    /// Working directory.
    pub cwd: &'a [u8],
    /// The file as it was given to exec.
    pub filename: &'a [u8],
    /// The control group's path, if this is the first record that speaks of it.
    pub cgroup: &'a [u8],
    /// The arguments, each ended by a NUL.
    pub argv: &'a [u8],
    /// The environment, each entry ended by a NUL.
    pub env: &'a [u8],
}

/// A file event.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct File<'a> {
    /// The file's state; all zero where only the name is known.
    pub stat: FileStat,
    /// Flags of `open(2)`.
    pub open_flags: u32,
    /// Its path.
    pub path: &'a [u8],
    /// What a link or a change of attributes is about: a name, or "".
    pub change: &'static str,
    /// User and group after a change of owner.
    pub owner: (u32, u32),
    /// Its new path, of a rename or a link.
    pub new_path: &'a [u8],
    /// The extended attribute that was changed.
    pub attribute: &'a [u8],
}

/// What an inode tells.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FileStat {
    /// Inode number.
    pub inode: u64,
    /// Size in bytes.
    pub size: u64,
    /// Last change of content.
    pub mtime_ns: u64,
    /// Last change.
    pub ctime_ns: u64,
    /// Device.
    pub dev: u32,
    /// Type and permissions.
    pub mode: u32,
    /// Number of names.
    pub links: u32,
}

/// A connection that was begun.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Connect {
    /// This side.
    pub local: Option<IpAddr>,
    /// The other side.
    pub remote: Option<IpAddr>,
    /// This side's port; 0: not known.
    pub local_port: u16,
    /// The other side's port.
    pub remote_port: u16,
    /// IP protocol number.
    pub protocol: u16,
    /// 0 or a negative errno, if [`flag::RESULT_KNOWN`].
    pub result: i32,
    /// Bytes received and sent, of a connection that ended.
    pub bytes: (u64, u64),
}

/// Why bytes are not a record.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RawError {
    /// They end too early.
    #[error("record ends after {0} bytes")]
    Short(usize),
    /// The record states another length than it has.
    #[error("record states {stated} bytes and has {got}")]
    Length {
        /// What it states.
        stated: u32,
        /// What is there.
        got: usize,
    },
    /// It is of another version than this program.
    #[error("record has version {0}")]
    Version(u8),
    /// No such kind.
    #[error("record has unknown kind {0}")]
    Kind(u16),
}

impl<'a> RawRecord<'a> {
    /// Reads one record, which is all of `bytes`.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, RawError> {
        let mut cursor = Cursor::new(bytes);
        let header = cursor.header()?;
        let actor = cursor.actor()?;
        let body = cursor.body(header.kind)?;
        Ok(Self {
            header,
            actor,
            body,
        })
    }

    /// The kind that bytes claim to be, for counting those that cannot be read.
    pub fn claimed_kind(bytes: &[u8]) -> Option<Kind> {
        let number = bytes.get(4..6)?.try_into().ok()?;
        Kind::from_wire(i32::from(u16::from_ne_bytes(number)))
    }
}

/// Reads from the front.
struct Cursor<'a> {
    whole: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self {
            whole: bytes,
            rest: bytes,
        }
    }

    fn text(&mut self, length: u32) -> Result<&'a [u8], RawError> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        match self.rest.split_at_checked(length) {
            Some((text, rest)) => {
                self.rest = rest;
                Ok(text)
            }
            None => Err(RawError::Short(self.whole.len())),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], RawError> {
        match self.rest.split_first_chunk::<N>() {
            Some((array, rest)) => {
                self.rest = rest;
                Ok(*array)
            }
            None => Err(RawError::Short(self.whole.len())),
        }
    }

    fn u16(&mut self) -> Result<u16, RawError> {
        self.array().map(u16::from_ne_bytes)
    }

    fn u32(&mut self) -> Result<u32, RawError> {
        self.array().map(u32::from_ne_bytes)
    }

    fn u64(&mut self) -> Result<u64, RawError> {
        self.array().map(u64::from_ne_bytes)
    }

    fn header(&mut self) -> Result<Header, RawError> {
        let length = self.u32()?;
        let kind = self.u16()?;
        let [version, ring] = self.array()?;
        if version != VERSION {
            return Err(RawError::Version(version));
        }
        let got = self.whole.len();
        if usize::try_from(length).is_ok_and(|stated| stated != got) {
            return Err(RawError::Length {
                stated: length,
                got,
            });
        }
        Ok(Header {
            length,
            kind: Kind::from_wire(i32::from(kind)).ok_or(RawError::Kind(kind))?,
            ring,
            cpu: self.u32()?,
            flags: self.u32()?,
            sequence: self.u64()?,
            boot_ns: self.u64()?,
        })
    }

    fn actor(&mut self) -> Result<Actor, RawError> {
        let actor = Actor {
            start_ns: self.u64()?,
            parent_start_ns: self.u64()?,
            cgroup: self.u64()?,
            caps: self.u64()?,
            tgid: self.u32()?,
            tid: self.u32()?,
            ppid: self.u32()?,
            uid: self.u32()?,
            euid: self.u32()?,
            gid: self.u32()?,
            egid: self.u32()?,
            login_uid: self.u32()?,
            session: self.u32()?,
            namespaces: [self.u32()?, self.u32()?, self.u32()?, self.u32()?],
            comm: {
                self.u32()?;
                self.array()?
            },
            tty: self.array()?,
        };
        Ok(actor)
    }

    fn body(&mut self, kind: Kind) -> Result<Body<'a>, RawError> {
        match kind {
            Kind::Exec => self.exec().map(|exec| Body::Exec(Box::new(exec))),
            Kind::Fork => self.fork(),
            Kind::Exit => Ok(Body::Exit {
                status: self.u32()?,
            }),
            Kind::Memfd => self.memfd(),
            Kind::NetConnect | Kind::NetListen | Kind::NetAccept | Kind::NetClose => {
                self.connect().map(Body::Connect)
            }
            Kind::FileCreate
            | Kind::FileModify
            | Kind::FileDelete
            | Kind::FileRename
            | Kind::FileLink
            | Kind::FileAttr
            | Kind::FileOpen => self.file().map(Body::File),
            Kind::ExecFailed
            | Kind::CredChange
            | Kind::Ptrace
            | Kind::Signal
            | Kind::MemExec
            | Kind::ModuleLoad
            | Kind::BpfLoad
            | Kind::Mount
            | Kind::Dns
            | Kind::IoUring => self.fact().map(Body::Fact),
            other => Err(RawError::Kind(
                u16::try_from(other.to_wire()).unwrap_or(u16::MAX),
            )),
        }
    }

    fn exec(&mut self) -> Result<Exec<'a>, RawError> {
        let stat = self.stat()?;
        let argc = self.u32()?;
        let argv_bytes = self.u64()?;
        self.u64()?; // length of the environment
        let mut lengths = [0; 6];
        for length in &mut lengths {
            *length = self.u32()?;
        }
        let [exe, cwd, filename, cgroup, argv, env] = lengths;
        Ok(Exec {
            stat,
            argc,
            argv_bytes,
            exe: self.text(exe)?,
            cwd: self.text(cwd)?,
            filename: self.text(filename)?,
            cgroup: self.text(cgroup)?,
            argv: self.text(argv)?,
            env: self.text(env)?,
        })
    }

    fn stat(&mut self) -> Result<FileStat, RawError> {
        Ok(FileStat {
            inode: self.u64()?,
            size: self.u64()?,
            mtime_ns: self.u64()?,
            ctime_ns: self.u64()?,
            dev: self.u32()?,
            mode: self.u32()?,
            links: self.u32()?,
        })
    }

    fn fork(&mut self) -> Result<Body<'a>, RawError> {
        Ok(Body::Fork {
            start_ns: self.u64()?,
            tgid: self.u32()?,
        })
    }

    fn memfd(&mut self) -> Result<Body<'a>, RawError> {
        let flags = self.u32()?;
        let length = self.u32()?;
        Ok(Body::Memfd {
            flags,
            name: self.text(length)?,
        })
    }

    fn file(&mut self) -> Result<File<'a>, RawError> {
        let stat = self.stat()?;
        let open_flags = self.u32()?;
        let change = usize::try_from(self.u32()?).unwrap_or(usize::MAX);
        let owner = (self.u32()?, self.u32()?);
        let path = self.u32()?;
        let new_path = self.u32()?;
        let attribute = self.u32()?;
        Ok(File {
            stat,
            open_flags,
            change: CHANGES.get(change).copied().unwrap_or_default(),
            owner,
            path: self.text(path)?,
            new_path: self.text(new_path)?,
            attribute: self.text(attribute)?,
        })
    }

    fn fact(&mut self) -> Result<Fact<'a>, RawError> {
        let mut numbers = [0; 12];
        for number in &mut numbers {
            *number = self.u64()?;
        }
        let mut lengths = [0; 4];
        for length in &mut lengths {
            *length = self.u32()?;
        }
        let [first, second, third, fourth] = lengths;
        Ok(Fact {
            numbers,
            texts: [
                self.text(first)?,
                self.text(second)?,
                self.text(third)?,
                self.text(fourth)?,
            ],
        })
    }

    fn connect(&mut self) -> Result<Connect, RawError> {
        let local = self.array()?;
        let remote = self.array()?;
        let local_port = self.u16()?;
        let remote_port = self.u16()?;
        let family = self.u16()?;
        let protocol = self.u16()?;
        Ok(Connect {
            local: address(family, local),
            remote: address(family, remote),
            local_port,
            remote_port,
            protocol,
            result: i32::from_ne_bytes(self.array()?),
            bytes: {
                self.u32()?;
                (self.u64()?, self.u64()?)
            },
        })
    }
}

/// An address of this family; an IPv4 address in IPv6 form becomes IPv4, the unset address nothing.
pub(super) fn address(family: u16, bytes: [u8; 16]) -> Option<IpAddr> {
    let address = match family {
        AF_INET => {
            let [a, b, c, d, ..] = bytes;
            IpAddr::V4(Ipv4Addr::new(a, b, c, d))
        }
        AF_INET6 => Ipv6Addr::from(bytes).to_canonical(),
        _ => return None,
    };
    (!address.is_unspecified()).then_some(address)
}

/// `enum change` of `agent/ebpf/record.h`.
const CHANGES: &[&str] = &[
    "", "hard", "symbolic", "mode", "owner", "xattr", "times", "size",
];
const VERSION: u8 = 2;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

#[cfg(test)]
mod tests;
