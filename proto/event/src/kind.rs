//! The small closed sets: kinds of events, classes, sources, severities.
//!
//! Each has one name in JSON and one number on the wire, listed once here.

use picket_proto::v1;

macro_rules! closed_set {
    ($(#[$doc:meta])* $name:ident, $wire:ident { $($(#[$item_doc:meta])* $item:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub enum $name {
            $($(#[$item_doc])* $item,)+
        }

        impl $name {
            /// Every member, in the order of the wire numbers.
            pub const ALL: &'static [Self] = &[$(Self::$item,)+];

            /// Its name in JSON and on the command line.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$item => $text,)+
                }
            }

            /// The member of this name.
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|item| item.name() == name)
            }

            /// Its number on the wire.
            pub const fn to_wire(self) -> i32 {
                match self {
                    $(Self::$item => v1::$wire::$item as i32,)+
                }
            }

            /// The member of this wire number; `None` for unspecified and unknown numbers.
            pub fn from_wire(number: i32) -> Option<Self> {
                match v1::$wire::try_from(number) {
                    $(Ok(v1::$wire::$item) => Some(Self::$item),)+
                    _ => None,
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.name())
            }
        }
    };
}
pub(crate) use closed_set;

closed_set! {
    /// What happened.
    Kind, Kind {
        /// A program was started in a process (`execve`).
        Exec = "exec",
        /// An `execve` failed.
        ExecFailed = "exec_failed",
        /// A process made another.
        Fork = "fork",
        /// A process ended: by itself or by a signal.
        Exit = "exit",
        /// Its credentials changed.
        CredChange = "cred_change",
        /// It traced another process.
        Ptrace = "ptrace",
        /// It sent a signal that matters.
        Signal = "signal",
        /// Writable or anonymous memory became executable.
        MemExec = "mem_exec",
        /// A file or directory was made.
        FileCreate = "file_create",
        /// A file that was open for writing was written and closed.
        FileModify = "file_modify",
        /// A name was removed.
        FileDelete = "file_delete",
        /// A name was changed.
        FileRename = "file_rename",
        /// A further name was made (hard or symbolic).
        FileLink = "file_link",
        /// Mode, owner or extended attributes changed.
        FileAttr = "file_attr",
        /// A file on the list of secrets was opened.
        FileOpen = "file_open",
        /// A connection was begun.
        NetConnect = "net_connect",
        /// A socket began to listen.
        NetListen = "net_listen",
        /// A connection was taken.
        NetAccept = "net_accept",
        /// A connection ended.
        NetClose = "net_close",
        /// A name was asked for or answered.
        Dns = "dns",
        /// A kernel module was loaded or removed.
        ModuleLoad = "module_load",
        /// A BPF program was loaded.
        BpfLoad = "bpf_load",
        /// A file system was mounted or moved.
        Mount = "mount",
        /// A file without a name was made in memory.
        Memfd = "memfd",
        /// An `io_uring` instance was set up or used.
        IoUring = "io_uring",
        /// Somebody logged in.
        Login = "login",
        /// A session ended.
        Logoff = "logoff",
        /// A login was refused.
        LoginFailed = "login_failed",
        /// One user became another (sudo, su).
        AccountSwitch = "account_switch",
        /// An account or group was changed.
        AccountChange = "account_change",
        /// A session's state.
        Session = "session",
        /// A job was scheduled.
        ScheduledJob = "scheduled_job",
        /// A device came or went.
        Device = "device",
        /// A script ran.
        Script = "script",
        /// The sensor speaks of itself.
        Sensor = "sensor",
        /// The sensor's ledger.
        Loss = "loss",
        /// Numbers that stand for lost events.
        Gap = "gap",
        /// A judgement about what is no event by itself: a line of a log, a record of audit.
        Finding = "finding",
        /// What was done about a command.
        Containment = "containment",
    }
}

impl Kind {
    /// Whether it speaks of a file.
    pub const fn is_file(self) -> bool {
        matches!(
            self,
            Self::FileCreate
                | Self::FileModify
                | Self::FileDelete
                | Self::FileRename
                | Self::FileLink
                | Self::FileAttr
                | Self::FileOpen
        )
    }

    /// Whether it speaks of the network.
    pub const fn is_network(self) -> bool {
        matches!(
            self,
            Self::NetConnect | Self::NetListen | Self::NetAccept | Self::NetClose | Self::Dns
        )
    }

    /// The class it travels in when nothing was judged about it.
    pub const fn default_class(self) -> Class {
        match self {
            Self::Containment | Self::Finding => Class::Alert,
            Self::Fork => Class::Bulk,
            _ if self.is_file() || self.is_network() => Class::Bulk,
            _ => Class::Security,
        }
    }
}

closed_set! {
    /// The three priorities. Each has its own sequence, chain and acks.
    Class, Class {
        /// Verdicts and containment: sent at once.
        Alert = "alert",
        /// Processes, logins, credentials, the sensor itself.
        Security = "security",
        /// Files, network, forks.
        Bulk = "bulk",
    }
}

closed_set! {
    /// Which sensor saw the fact.
    Source, Source {
        /// Programs in the kernel.
        Ebpf = "ebpf",
        /// The audit netlink.
        Audit = "audit",
        /// Polling `/proc` and watching directories.
        Portable = "portable",
        /// wtmp and btmp.
        LoginRecord = "login_record",
        /// The text log of authentication.
        AuthLog = "auth_log",
        /// The agent itself.
        Agent = "agent",
        /// A recording.
        Replay = "replay",
        /// The kernel's word of devices.
        Uevent = "uevent",
        /// A recording of Sysmon for Linux.
        Sysmon = "sysmon",
    }
}

closed_set! {
    /// How exactly the source knows what it says.
    Fidelity, Fidelity {
        /// Taken in the kernel when it happened.
        Exact = "exact",
        /// Read afterwards, from the same process.
        Derived = "derived",
        /// Found by polling: short-lived facts may be missing.
        Sampled = "sampled",
    }
}

closed_set! {
    /// What became of the wish for a file's hash.
    HashStatus, HashStatus {
        /// The hash is that of the file as it was used.
        Ok = "ok",
        /// The file changed meanwhile.
        Raced = "raced",
        /// The file could no longer be opened.
        Gone = "gone",
        /// Larger than the configured bound.
        TooLarge = "too_large",
        /// Not ready within the time an event may wait.
        Late = "late",
    }
}

closed_set! {
    /// How bad it is, in Sigma's words.
    Severity, Severity {
        /// Worth knowing.
        Informational = "informational",
        /// Rarely worth a look by itself.
        Low = "low",
        /// Worth a look.
        Medium = "medium",
        /// Worth a look at once.
        High = "high",
        /// Act.
        Critical = "critical",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_goes_to_the_wire_and_back() {
        for kind in Kind::ALL {
            assert_eq!(Kind::from_wire(kind.to_wire()), Some(*kind));
            assert_eq!(Kind::from_name(kind.name()), Some(*kind));
        }
        assert_eq!(Kind::from_wire(0), None);
        assert_eq!(Kind::from_wire(4711), None);
    }
}
