//! An event as the records that auditd would have written: rules for auditd work without it.
//!
//! Only what is certain is said: a register argument of a system call (`a0` of `SYSCALL`), an audit
//! key, or a system call that the event does not name is absent.

use picket_event::{Detail, Event, Kind, Process};

use crate::record::{FieldId, Record, Values};
use crate::search::TEXT;

/// The type of a record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Type {
    Syscall,
    Execve,
    Cwd,
    Path,
    /// The second path of a rename or a link.
    NewPath,
}

/// What a name means.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Field {
    /// The whole record, for keywords.
    Text,
    Type,
    /// `a0`, `a1`...
    Argument(usize),
    Argc,
    Syscall,
    Comm,
    Exe,
    Pid,
    Ppid,
    Uid,
    EffectiveUid,
    Gid,
    LoginUid,
    Session,
    Tty,
    Cwd,
    Name,
    NameType,
    Inode,
}

impl Field {
    /// What `name` means; `None` if no record of ours ever has it.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        Some(match name {
            TEXT => Self::Text,
            "type" => Self::Type,
            "argc" => Self::Argc,
            "SYSCALL" | "syscall" => Self::Syscall,
            "comm" => Self::Comm,
            "exe" => Self::Exe,
            "pid" => Self::Pid,
            "ppid" => Self::Ppid,
            "uid" => Self::Uid,
            "euid" => Self::EffectiveUid,
            "gid" => Self::Gid,
            "auid" => Self::LoginUid,
            "ses" => Self::Session,
            "tty" => Self::Tty,
            "cwd" => Self::Cwd,
            "name" => Self::Name,
            "nametype" => Self::NameType,
            "inode" => Self::Inode,
            _ => Self::Argument(name.strip_prefix('a')?.parse().ok()?),
        })
    }
}

/// The records that `event` would have left.
pub(crate) fn types(event: &Event) -> &'static [Type] {
    match event.kind {
        Kind::Exec => &[Type::Syscall, Type::Execve, Type::Cwd],
        Kind::FileRename | Kind::FileLink => &[Type::Path, Type::NewPath],
        kind if kind.is_file() => &[Type::Path],
        kind if syscall(kind).is_some() => &[Type::Syscall],
        _ => &[],
    }
}

/// One record of an event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AuditRecord<'a> {
    pub(crate) event: &'a Event,
    pub(crate) r#type: Type,
    pub(crate) columns: &'a [Option<Field>],
}

impl Record for AuditRecord<'_> {
    fn kind(&self) -> Kind {
        self.event.kind
    }

    fn visit(&self, field: FieldId, values: &mut Values<'_>) {
        let Some(Some(field)) = self.columns.get(field.index()) else {
            return;
        };
        match field {
            Field::Text => values.built(|line| self.write_line(line)),
            Field::Type => values.bytes(self.type_name().as_bytes()),
            _ => self.visit_known(*field, values),
        }
    }
}

impl AuditRecord<'_> {
    fn type_name(&self) -> &'static str {
        match self.r#type {
            Type::Syscall => "SYSCALL",
            Type::Execve => "EXECVE",
            Type::Cwd => "CWD",
            Type::Path | Type::NewPath => "PATH",
        }
    }

    fn visit_known(&self, field: Field, values: &mut Values<'_>) {
        match (self.r#type, &self.event.process) {
            (Type::Syscall, Some(process)) => self.visit_syscall(process, field, values),
            (Type::Execve, Some(process)) => visit_execve(process, field, values),
            (Type::Cwd, Some(process)) if field == Field::Cwd => values.known(&process.cwd),
            (Type::Path | Type::NewPath, _) => self.visit_path(field, values),
            _ => {}
        }
    }

    fn visit_syscall(&self, process: &Process, field: Field, values: &mut Values<'_>) {
        let user = process.user.as_ref().map(|user| user.uid);
        match field {
            Field::Syscall => {
                if let Some(name) = syscall(self.event.kind) {
                    values.text(name);
                }
            }
            Field::Comm => values.known(&process.comm),
            Field::Exe => values.known(&process.exe),
            Field::Pid => values.text(process.pid),
            Field::Ppid if process.ppid != 0 => values.text(process.ppid),
            Field::Uid => number(values, user),
            Field::EffectiveUid => number(values, process.effective_uid.or(user)),
            Field::Gid => number(values, process.gid),
            Field::LoginUid => number(values, process.login_uid),
            Field::Session => number(values, process.session),
            Field::Tty => values.known(&process.tty),
            _ => {}
        }
    }

    fn visit_path(&self, field: Field, values: &mut Values<'_>) {
        let Some(Detail::File(file)) = &self.event.detail else {
            return;
        };
        let new = self.r#type == Type::NewPath;
        match field {
            Field::Name if new => values.known(&file.new_path),
            Field::Name => values.known(&file.path),
            Field::NameType => values.bytes(name_type(self.event.kind, new).as_bytes()),
            Field::Inode => number(values, file.inode),
            _ => {}
        }
    }

    /// The record as one line, as keywords look for their words in it.
    fn write_line(&self, line: &mut Vec<u8>) {
        line.extend_from_slice(b"type=");
        line.extend_from_slice(self.type_name().as_bytes());
        let mut part = |value: &[u8]| {
            line.extend_from_slice(b" \"");
            line.extend_from_slice(value);
            line.push(b'"');
        };
        match (self.r#type, &self.event.process, &self.event.detail) {
            (Type::Execve, Some(process), _) => {
                for argument in &process.argv {
                    part(argument.as_bytes());
                }
            }
            (Type::Syscall, Some(process), _) => {
                part(syscall(self.event.kind).unwrap_or_default().as_bytes());
                part(process.comm.as_bytes());
                part(process.exe.as_bytes());
            }
            (Type::Cwd, Some(process), _) => part(process.cwd.as_bytes()),
            (Type::Path, _, Some(Detail::File(file))) => part(file.path.as_bytes()),
            (Type::NewPath, _, Some(Detail::File(file))) => part(file.new_path.as_bytes()),
            _ => {}
        }
    }
}

fn visit_execve(process: &Process, field: Field, values: &mut Values<'_>) {
    match field {
        Field::Argument(index) => {
            process.argv.get(index).into_iter().for_each(|argument| {
                values.bytes(argument.as_bytes());
            });
        }
        Field::Argc if process.argc != 0 => values.text(process.argc),
        _ => {}
    }
}

/// The system call behind a kind, where there is only one.
fn syscall(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Exec | Kind::ExecFailed => Some("execve"),
        Kind::Memfd => Some("memfd_create"),
        Kind::Ptrace => Some("ptrace"),
        Kind::NetConnect => Some("connect"),
        Kind::NetListen => Some("listen"),
        Kind::BpfLoad => Some("bpf"),
        _ => None,
    }
}

fn name_type(kind: Kind, new: bool) -> &'static str {
    match kind {
        Kind::FileDelete => "DELETE",
        Kind::FileCreate => "CREATE",
        Kind::FileRename if !new => "DELETE",
        Kind::FileRename | Kind::FileLink if new => "CREATE",
        _ => "NORMAL",
    }
}

fn number(values: &mut Values<'_>, number: Option<impl std::fmt::Display>) {
    if let Some(number) = number {
        values.text(number);
    }
}
