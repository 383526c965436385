//! Any record of the audit log as a daemon wrote it, with all its fields.
//!
//! ```text
//! node=web1 type=USER_CMD msg=audit(1722950859.266:6994): pid=1788 auid=1000 msg='cwd="/" cmd=6C73 res=success' AUID="ada"
//! ```
//!
//! # Invariants
//!
//! - A field appears by the bytes it stands for: quotes are gone, hexadecimal text is decoded. What
//!   the record says is not known (`?`, `(null)`) is absent.
//! - The kernel's fields come before those of the program that reported (`msg='...'`), and what the
//!   daemon added to read them by comes last, so that the first of a name is the most trustworthy.
//! - No bytes make the reading panic.

use picket_event::{Text, UnixNanos};

use super::syscalls;
use crate::audit::record::{self, Stamp};
use crate::login::bytes::{cut, cut_last};

/// One record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AuditRecord {
    /// The host, where the log names it.
    pub node: Text,
    /// Its type, as `SYSCALL`.
    pub kind: String,
    /// When, and of which event.
    pub stamp: Stamp,
    /// Its fields in their order.
    pub fields: Vec<(String, Text)>,
    /// The line as it stands in the log.
    pub line: Text,
}

impl AuditRecord {
    /// Reads a line of the log; `None` if it is no record.
    pub fn parse(line: &[u8]) -> Option<Self> {
        let text = line.trim_ascii();
        let (node, rest) = match text.strip_prefix(b"node=") {
            Some(rest) => cut(rest, b" ")?,
            None => (&[][..], text),
        };
        let (kind, rest) = cut(rest.strip_prefix(b"type=")?, b" ")?;
        let message = rest.trim_ascii_start();
        let message = message.strip_prefix(b"msg=").unwrap_or(message);
        let (stamp, rest) = record::stamp_and_rest(message)?;
        let kind = kind_name(kind)?;
        let fields = fields(&kind, rest);
        Some(Self {
            node: Text::from(node),
            kind,
            stamp,
            fields,
            line: Text::from(text),
        })
    }

    /// The first field of this name.
    pub fn get(&self, name: &str) -> Option<&Text> {
        let field = self.fields.iter().find(|(known, _)| known == name);
        field.map(|(_, value)| value)
    }

    /// The text of a field; empty if it is not there.
    pub fn text(&self, name: &str) -> Text {
        self.get(name).cloned().unwrap_or(Text::NONE)
    }

    /// A field as a decimal number.
    pub fn number(&self, name: &str) -> Option<u32> {
        record::number(self.get(name)?.as_bytes())
    }

    /// A user, group or session: the number that stands for none is none.
    pub fn id(&self, name: &str) -> Option<u32> {
        self.number(name).filter(|id| *id != u32::MAX)
    }

    /// A register, which is written in hexadecimal.
    pub fn register(&self, name: &str) -> Option<u64> {
        u64::from_str_radix(self.get(name)?.as_str()?, 16).ok()
    }

    /// The name of the system call, also where only its number was written.
    pub fn syscall(&self) -> Option<String> {
        if let Some(name) = self.get("SYSCALL") {
            return name.as_str().map(str::to_owned);
        }
        let written = self.get("syscall")?;
        let Some(number) = record::number(written.as_bytes()) else {
            return written.as_str().map(str::to_owned);
        };
        syscalls::name(self.text("arch").as_bytes(), number).map(str::to_owned)
    }

    /// What a system call gave: 0 or more, or a negative errno.
    pub fn exit(&self) -> Option<i32> {
        self.get("exit")?.as_str()?.parse().ok()
    }

    /// Whether it succeeded, where it says so.
    pub fn success(&self) -> Option<bool> {
        let word = self
            .get("success")
            .or_else(|| self.get("res"))
            .or_else(|| self.get("result"))?;
        match word.as_bytes() {
            b"yes" | b"success" | b"1" => Some(true),
            b"no" | b"failed" | b"fail" | b"0" => Some(false),
            _ => None,
        }
    }

    /// The keys of the audit rules that asked for it.
    pub fn keys(&self) -> Vec<Text> {
        let key = self.text("key");
        let keys = key.as_bytes().split(|byte| *byte == 1);
        keys.filter(|key| !key.is_empty()).map(Text::from).collect()
    }

    /// When it was made.
    pub fn time(&self) -> UnixNanos {
        let millis = i64::try_from(self.stamp.millis).unwrap_or(i64::MAX);
        UnixNanos(millis.saturating_mul(1_000_000))
    }

    /// The record without its head, as the kernel sends it: from `audit(` on.
    pub(crate) fn message(&self) -> &[u8] {
        let line = self.line.as_bytes();
        let at = memchr::memmem::find(line, b"audit(").unwrap_or(line.len());
        line.get(at..).unwrap_or_default()
    }
}

/// `SYSCALL`, `UNKNOWN[1329]`, or a bare number as the kernel logs it.
fn kind_name(kind: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(kind).ok()?;
    let word = |c: char| c.is_ascii_alphanumeric() || "_-[]".contains(c);
    if name.is_empty() || name.len() > LONGEST_KIND || !name.chars().all(word) {
        return None;
    }
    let number: Option<u16> = name.parse().ok();
    let known = number.and_then(|number| {
        let known = KINDS.iter().find(|(kind, _)| *kind == number);
        known.map(|(_, name)| (*name).to_owned())
    });
    Some(known.unwrap_or_else(|| name.to_ascii_uppercase()))
}

/// The number of a type in `linux/audit.h`, for those that login programs report.
pub(crate) fn kind_number(name: &str) -> Option<u16> {
    let known = KINDS.iter().find(|(_, kind)| *kind == name);
    known.map(|(number, _)| *number)
}

fn fields(kind: &str, text: &[u8]) -> Vec<(String, Text)> {
    let (text, added) = cut(text, b"\x1d").unwrap_or((text, b""));
    let (head, rest) = match cut(text, b"msg='") {
        Some((head, body)) => (head, Some(body)),
        None => (text, None),
    };
    let (body, tail) = rest.map_or((&[][..], &[][..]), |body| {
        cut_last(body, b"'").unwrap_or((body, b""))
    });
    let parts = [head, body, tail, added];
    let all = parts.iter().flat_map(|part| record::fields(part));
    all.filter_map(|(name, value)| field(kind, name, value))
        .take(MOST_FIELDS)
        .collect()
}

fn field(kind: &str, name: &[u8], value: &[u8]) -> Option<(String, Text)> {
    let name = std::str::from_utf8(name).ok()?.trim_start_matches('(');
    let value = value.strip_suffix(b",").unwrap_or(value);
    // Some logs close quotes that were never opened.
    let stray = value
        .strip_suffix(b"\"")
        .filter(|_| !value.starts_with(b"\""));
    let value = stray.unwrap_or(value);
    let bytes = match value {
        [b'"', inner @ .., b'"'] | [b'\'', inner @ .., b'\''] => inner.to_vec(),
        _ if is_text(kind, name) => {
            let text = record::text_of(value);
            if text.is_empty() {
                bare(value).to_vec()
            } else {
                text.into_bytes()
            }
        }
        _ => bare(value).to_vec(),
    };
    let known = !matches!(bytes.as_slice(), b"?" | b"(null)" | b"");
    let spoken = |byte: u8| if byte == 0 { b' ' } else { byte };
    let bytes = match name {
        "proctitle" => bytes.into_iter().map(spoken).collect(),
        _ => bytes,
    };
    let empty = value == b"\"\"" && kind == "EXECVE";
    (known || empty).then(|| (name.to_owned(), Text::from(bytes)))
}

/// Old programs write `(hostname=h, addr=a, terminal=t res=success)`.
fn bare(value: &[u8]) -> &[u8] {
    match value.strip_suffix(b")") {
        Some(inner) if !inner.contains(&b'(') => inner,
        _ => value,
    }
}

/// Whether a value of this field is text, which is in hexadecimal where it is not in quotes.
fn is_text(kind: &str, name: &str) -> bool {
    let argument = || {
        let number = name.strip_prefix('a').unwrap_or_default();
        number.starts_with(|c: char| c.is_ascii_digit()) && !number.ends_with("_len")
    };
    TEXTS.contains(&name) || (kind == "EXECVE" && argument())
}

/// The fields that the kernel and login programs write as text that nobody vouches for.
const TEXTS: [&str; 27] = [
    "acct",
    "cmd",
    "comm",
    "cwd",
    "data",
    "device",
    "dev_name",
    "dir",
    "exe",
    "file",
    "grp",
    "key",
    "name",
    "new-chardev",
    "new-disk",
    "new-fs",
    "new-rng",
    "ocomm",
    "old-disk",
    "old-fs",
    "path",
    "proctitle",
    "root_dir",
    "sw",
    "unit",
    "vm",
    "watch",
];
/// Types by their numbers, those that programs report and those that kernels log without a daemon.
const KINDS: [(u16, &str); 42] = [
    (1100, "USER_AUTH"),
    (1101, "USER_ACCT"),
    (1102, "USER_MGMT"),
    (1103, "CRED_ACQ"),
    (1104, "CRED_DISP"),
    (1105, "USER_START"),
    (1106, "USER_END"),
    (1107, "USER_AVC"),
    (1108, "USER_CHAUTHTOK"),
    (1109, "USER_ERR"),
    (1110, "CRED_REFR"),
    (1112, "USER_LOGIN"),
    (1113, "USER_LOGOUT"),
    (1114, "ADD_USER"),
    (1115, "DEL_USER"),
    (1116, "ADD_GROUP"),
    (1117, "DEL_GROUP"),
    (1123, "USER_CMD"),
    (1124, "USER_TTY"),
    (1127, "SYSTEM_BOOT"),
    (1130, "SERVICE_START"),
    (1131, "SERVICE_STOP"),
    (1132, "GRP_MGMT"),
    (1300, "SYSCALL"),
    (1302, "PATH"),
    (1305, "CONFIG_CHANGE"),
    (1306, "SOCKADDR"),
    (1307, "CWD"),
    (1309, "EXECVE"),
    (1318, "OBJ_PID"),
    (1319, "TTY"),
    (1320, "EOE"),
    (1321, "BPRM_FCAPS"),
    (1325, "NETFILTER_CFG"),
    (1326, "SECCOMP"),
    (1327, "PROCTITLE"),
    (1330, "KERN_MODULE"),
    (1331, "FANOTIFY"),
    (1334, "BPF"),
    (1400, "AVC"),
    (1701, "ANOM_ABEND"),
    (1702, "ANOM_LINK"),
];
const LONGEST_KIND: usize = 64;
/// Most fields of a record that are kept: an exec may have thousands of arguments.
const MOST_FIELDS: usize = 8_192;

#[cfg(test)]
mod tests {
    use super::*;

    fn get(line: &str, name: &str) -> Option<String> {
        let record = AuditRecord::parse(line.as_bytes()).unwrap();
        Some(record.get(name)?.lossy().into_owned())
    }

    #[test]
    fn what_the_daemon_added_stands_beside_what_it_explains() {
        for separator in ["\u{1d}", ""] {
            let line = format!(
                "type=ADD_USER msg=audit(1722950859.266:6994): pid=1788 uid=0 auid=1000 ses=1 msg='op=adding user \
                 id=1002 exe=\"/usr/sbin/useradd\" addr=? res=success'{separator}UID=\"root\" AUID=\"ubuntu\""
            );
            assert_eq!(get(&line, "uid").as_deref(), Some("0"));
            assert_eq!(get(&line, "UID").as_deref(), Some("root"));
            assert_eq!(get(&line, "id").as_deref(), Some("1002"));
            assert_eq!(get(&line, "exe").as_deref(), Some("/usr/sbin/useradd"));
            assert_eq!(get(&line, "addr"), None);
        }
    }

    #[test]
    fn the_program_cannot_speak_for_the_kernel() {
        let line = "type=USER_CMD msg=audit(1.002:3): pid=7 uid=0 msg='cmd=6C73 pid=8 uid=9 it's res=success'";
        assert_eq!(get(line, "pid").as_deref(), Some("7"));
        assert_eq!(get(line, "cmd").as_deref(), Some("ls"));
        assert_eq!(get(line, "res").as_deref(), Some("success"));
    }

    #[test]
    fn old_forms_and_kernel_logs_are_read() {
        let old = "type=USER_AUTH msg=audit(1.002:3): user pid=7 uid=0 auid=1 msg='PAM: authentication acct=\"ada\" : \
                   exe=\"/usr/sbin/sshd\" (hostname=h, addr=192.0.2.7, terminal=ssh res=failed)'";
        assert_eq!(get(old, "hostname").as_deref(), Some("h"));
        assert_eq!(get(old, "addr").as_deref(), Some("192.0.2.7"));
        assert_eq!(get(old, "res").as_deref(), Some("failed"));
        let kernel = AuditRecord::parse(b"type=1400 audit(1.002:3): apparmor=\"DENIED\" pid=9");
        assert_eq!(kernel.unwrap().kind, "AVC");
        let unknown = AuditRecord::parse(b"type=UNKNOWN[1329] msg=audit(1.002:3): a=b").unwrap();
        assert_eq!(
            (unknown.kind.as_str(), unknown.stamp.serial),
            ("UNKNOWN[1329]", 3)
        );
    }

    #[test]
    fn keys_are_split_and_calls_are_named() {
        let line = "node=h type=SYSCALL msg=audit(1.002:3): arch=c000003e syscall=59 success=yes exit=0 a0=5f \
                    key=65786563013634626974";
        let record = AuditRecord::parse(line.as_bytes()).unwrap();
        assert_eq!(record.keys(), [Text::from("exec"), Text::from("64bit")]);
        assert_eq!(record.syscall().as_deref(), Some("execve"));
        assert_eq!(
            (record.register("a0"), record.exit()),
            (Some(0x5f), Some(0))
        );
        assert_eq!(record.node, Text::from("h"));
    }
}
