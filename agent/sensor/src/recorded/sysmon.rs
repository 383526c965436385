//! Events of Sysmon for Linux, as XML.
//!
//! What stays true: the command line is one text there, so its arguments are told apart by single
//! spaces, and how many there were is not known. `-` means not known.

use std::collections::HashMap;
use std::net::IpAddr;

use picket_event::{
    Ancestor, Detail, Event, Exit, Fidelity, File, HashStatus, Kind, Network, Process, ProcessUid,
    Ptrace, Source, Text, UnixNanos, User,
};
use picket_seal::Digest;

use super::Unread;
use super::xml::{Element, elements};

/// What one event says.
struct Said {
    id: u32,
    time: UnixNanos,
    data: HashMap<String, Text>,
}

/// Reads one `<Event>`. `Ok(None)`: it is one that says nothing of a process (state, configuration).
pub(super) fn event(xml: Element<'_>) -> Result<Option<Event>, Unread> {
    let said = said(xml)?;
    let (kind, detail) = match said.id {
        1 => (Kind::Exec, None),
        2 => (Kind::FileAttr, Some(said.file("TargetFilename", "times"))),
        3 if said.word("Initiated") == "false" => (Kind::NetAccept, Some(said.network("inbound"))),
        3 => (Kind::NetConnect, Some(said.network("outbound"))),
        5 => (Kind::Exit, Some(Detail::Exit(Exit::default()))),
        9 => (Kind::FileOpen, Some(said.file("Device", ""))),
        10 => return said.access().map(Some),
        11 => (Kind::FileCreate, Some(said.file("TargetFilename", ""))),
        23 | 26 => (Kind::FileDelete, Some(said.file("TargetFilename", ""))),
        4 | 16 | 255 => return Ok(None),
        _ => return Err(Unread::Kind),
    };
    let process = said.process()?;
    let mut event = Event::new(kind, said.time, Source::Sysmon).by(process);
    event.detail = detail;
    Ok(Some(event))
}

fn said(xml: Element<'_>) -> Result<Said, Unread> {
    let system = xml.child("System").ok_or(Unread::Incomplete)?;
    let provider = system.child("Provider").and_then(|it| it.attribute("Name"));
    if provider.as_deref() != Some(b"Linux-Sysmon") {
        return Err(Unread::Provider);
    }
    let id = system.child("EventID").ok_or(Unread::Incomplete)?.text();
    let id = std::str::from_utf8(&id)
        .ok()
        .and_then(|id| id.trim().parse().ok());
    let mut data = HashMap::new();
    for part in elements(
        xml.child("EventData").ok_or(Unread::Incomplete)?.content,
        "Data",
    ) {
        let name = part
            .attribute("Name")
            .and_then(|name| String::from_utf8(name).ok());
        let text = part.text();
        if let Some(name) = name.filter(|_| text != b"-" && !text.is_empty()) {
            data.entry(name).or_insert_with(|| Text::from(text));
        }
    }
    let created = system
        .child("TimeCreated")
        .and_then(|it| it.attribute("SystemTime"));
    let created = created.and_then(|time| UnixNanos::parse(std::str::from_utf8(&time).ok()?));
    let told = || {
        let time = data.get("UtcTime")?.as_str()?.replacen(' ', "T", 1);
        UnixNanos::parse(&format!("{time}Z"))
    };
    Ok(Said {
        id: id.ok_or(Unread::Incomplete)?,
        time: created.or_else(told).ok_or(Unread::Time)?,
        data,
    })
}

impl Said {
    fn text(&self, name: &str) -> Text {
        self.data.get(name).cloned().unwrap_or(Text::NONE)
    }

    fn word(&self, name: &str) -> String {
        self.text(name).lossy().into_owned()
    }

    fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.data.get(name)?.as_str()?.trim().parse().ok()
    }

    /// `{ec2b687f-c424-61e0-9010-99397a550000}`
    fn guid(&self, name: &str) -> Option<ProcessUid> {
        let text = self.data.get(name)?.as_str()?;
        let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
        let uid = ProcessUid::parse(&digits).ok()?;
        (uid != ProcessUid::new([0; 16])).then_some(uid)
    }

    fn process(&self) -> Result<Process, Unread> {
        let pid = self.number("ProcessId").ok_or(Unread::Incomplete)?;
        let uid = self.guid("ProcessGuid");
        let uid = uid.unwrap_or_else(|| ProcessUid::new(u128::from(pid).to_be_bytes()));
        let mut process = Process::new(uid, pid);
        process.exe = self.text("Image");
        process.cwd = self.text("CurrentDirectory");
        process.ppid = self.number("ParentProcessId").unwrap_or(0);
        process.parent_uid = self.guid("ParentProcessGuid");
        process.login_uid = None;
        process.user = self.user();
        process.fidelity = Some(Fidelity::Derived);
        process.argv = self.arguments();
        process.ancestry = self.parent().into_iter().collect();
        if let Some(digest) = self.sha256() {
            process.sha256 = Some(digest);
            process.hash_status = Some(HashStatus::Ok);
        }
        Ok(process)
    }

    fn arguments(&self) -> Vec<Text> {
        let line = self.text("CommandLine");
        if line.is_empty() {
            return Vec::new();
        }
        let words = line.as_bytes().split(|byte| *byte == b' ');
        words.map(Text::from).collect()
    }

    /// `LogonId` is the number of the user that `User` names.
    fn user(&self) -> Option<User> {
        let name = self.text("User");
        let uid = self.number("LogonId").or_else(|| {
            let root = name.as_bytes() == b"root";
            root.then_some(0)
        })?;
        Some(User { uid, name })
    }

    fn parent(&self) -> Option<Ancestor> {
        let exe = self.text("ParentImage");
        let uid = self.guid("ParentProcessGuid")?;
        let pid = self.number("ParentProcessId")?;
        (!exe.is_empty()).then_some(Ancestor { uid, pid, exe })
    }

    /// `MD5=...,SHA256=...`
    fn sha256(&self) -> Option<Digest> {
        let hashes = self.word("Hashes");
        let digits = hashes
            .split(',')
            .find_map(|hash| hash.strip_prefix("SHA256="))?;
        Digest::from_hex(&digits.to_ascii_lowercase()).ok()
    }

    fn file(&self, name: &str, change: &str) -> Detail {
        Detail::File(File {
            path: self.text(name),
            change: change.to_owned(),
            sha256_before: if self.id == 23 { self.sha256() } else { None },
            ..File::default()
        })
    }

    fn network(&self, direction: &str) -> Detail {
        let ip = |name: &str| {
            let ip: IpAddr = self.word(name).parse().ok()?;
            Some(ip.to_canonical())
        };
        let source = (ip("SourceIp"), self.number("SourcePort").unwrap_or(0));
        let other = (
            ip("DestinationIp"),
            self.number("DestinationPort").unwrap_or(0),
        );
        let (local, remote) = if direction == "outbound" {
            (source, other)
        } else {
            (other, source)
        };
        Detail::Network(Network {
            proto: self.word("Protocol"),
            direction: direction.to_owned(),
            local_ip: local.0,
            local_port: local.1,
            remote_ip: remote.0,
            remote_port: remote.1,
            bytes_in: None,
            bytes_out: None,
            result: None,
        })
    }

    /// One process reached into another, as with ptrace.
    fn access(&self) -> Result<Event, Unread> {
        let pid = self.number("SourceProcessId").ok_or(Unread::Incomplete)?;
        let uid = self
            .guid("SourceProcessGUID")
            .or_else(|| self.guid("SourceProcessGuid"));
        let uid = uid.unwrap_or_else(|| ProcessUid::new(u128::from(pid).to_be_bytes()));
        let mut process = Process::new(uid, pid);
        process.exe = self.text("SourceImage");
        let ptrace = Ptrace {
            request: "attach".to_owned(),
            target_uid: self
                .guid("TargetProcessGUID")
                .or_else(|| self.guid("TargetProcessGuid")),
            target_pid: self.number("TargetProcessId").unwrap_or(0),
            ..Ptrace::default()
        };
        let event = Event::new(Kind::Ptrace, self.time, Source::Sysmon).by(process);
        Ok(event.with(Detail::Ptrace(ptrace)))
    }
}
