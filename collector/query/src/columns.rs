//! The tables of events and their columns.
//!
//! # Invariants
//!
//! - The first 63 columns are told apart when SQLite says which it needs; the rest are read together.
//! - A column keeps its name and its meaning; new ones come at the end.

use picket_event::Kind;
use picket_store::{KindSet, RowForm, row_columns};

/// A table of events.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct EventTable {
    pub(crate) name: &'static str,
    pub(crate) meaning: &'static str,
    pub(crate) holds: Holds,
}

/// Which events a table holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Holds {
    All,
    Kinds(&'static [Kind]),
    Judged,
}

/// All tables of events.
pub(crate) const TABLES: &[EventTable] = &[
    EventTable {
        name: "events",
        meaning: "every event",
        holds: Holds::All,
    },
    EventTable {
        name: "process",
        meaning: "what processes do: exec, exec_failed, fork, exit, cred_change, ptrace, signal, mem_exec, memfd",
        holds: Holds::Kinds(&[
            Kind::Exec,
            Kind::ExecFailed,
            Kind::Fork,
            Kind::Exit,
            Kind::CredChange,
            Kind::Ptrace,
            Kind::Signal,
            Kind::MemExec,
            Kind::Memfd,
        ]),
    },
    EventTable {
        name: "file",
        meaning: "what happens to files: file_create, file_modify, file_delete, file_rename, file_link, file_attr, file_open",
        holds: Holds::Kinds(&[
            Kind::FileCreate,
            Kind::FileModify,
            Kind::FileDelete,
            Kind::FileRename,
            Kind::FileLink,
            Kind::FileAttr,
            Kind::FileOpen,
        ]),
    },
    EventTable {
        name: "network",
        meaning: "connections and names: net_connect, net_listen, net_accept, net_close, dns",
        holds: Holds::Kinds(&[
            Kind::NetConnect,
            Kind::NetListen,
            Kind::NetAccept,
            Kind::NetClose,
            Kind::Dns,
        ]),
    },
    EventTable {
        name: "login",
        meaning: "who comes and goes: login, logoff, login_failed, account_switch, account_change, session",
        holds: Holds::Kinds(&[
            Kind::Login,
            Kind::Logoff,
            Kind::LoginFailed,
            Kind::AccountSwitch,
            Kind::AccountChange,
            Kind::Session,
        ]),
    },
    EventTable {
        name: "finding",
        meaning: "events with a verdict of a rule or the scorer that is low or worse",
        holds: Holds::Judged,
    },
];

impl Holds {
    /// The kinds; none named: all.
    pub(crate) fn kinds(self) -> KindSet {
        match self {
            Self::Kinds(kinds) => kinds.iter().copied().collect(),
            Self::All | Self::Judged => KindSet::NONE,
        }
    }
}

/// A column of every table of events.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct EventColumn {
    pub(crate) name: String,
    pub(crate) from: From,
}

/// Where a column's value comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum From {
    /// A column of the store.
    Stored(RowForm),
    /// The host's name, by its id.
    HostName,
    /// The class in which the event travelled.
    Class,
    /// A part of the event as JSON, by its path; empty: all of it.
    Json(&'static [&'static str]),
    /// The branch of event keys that signed it, if that is not the host.
    Doubtful,
}

impl EventColumn {
    /// Its type as SQL has it.
    pub(crate) const fn sql_type(&self) -> &'static str {
        match self.from {
            From::Stored(RowForm::Number | RowForm::Flag) => "INTEGER",
            From::Stored(RowForm::Real) => "REAL",
            From::Stored(RowForm::Time) => "TEXT COLLATE moment",
            From::Stored(RowForm::Text | RowForm::Texts | RowForm::Bytes)
            | From::HostName
            | From::Class
            | From::Doubtful
            | From::Json(_) => "TEXT",
        }
    }

    /// What it holds, in words.
    pub(crate) fn meaning(&self) -> String {
        match (self.name.as_str(), self.from) {
            ("time", _) => "when it happened, by the host's clock, UTC".to_owned(),
            ("received", _) => "when its batch arrived at the collector".to_owned(),
            ("host_id", _) => "the host's id, 64 hexadecimal digits".to_owned(),
            ("boot_id", _) => "of which boot".to_owned(),
            ("stream", _) => "of which run of the agent".to_owned(),
            ("severity", _) => "the worst verdict, in words".to_owned(),
            ("severity_id", _) => "the worst verdict: 1 informational to 5 critical".to_owned(),
            ("process_cmd_line", _) => "the arguments joined by single spaces".to_owned(),
            (_, From::HostName) => "the host's name".to_owned(),
            (_, From::Class) => "in which class it travelled: alert, security, bulk".to_owned(),
            (_, From::Doubtful) => {
                "the branch of its host's event keys that signed it, if that is not the host"
                    .to_owned()
            }
            (_, From::Json([])) => {
                "the whole event as `picketctl events --json` prints it".to_owned()
            }
            (_, From::Json(path)) => format!("JSON of {}", path.join(".")),
            (name, From::Stored(RowForm::Texts)) => format!("JSON list of {}", dotted(name)),
            (name, From::Stored(RowForm::Flag)) => format!("{}, 1 or 0", dotted(name)),
            (name, From::Stored(_)) => dotted(name),
        }
    }
}

/// `process_user_name` is `process.user.name`: the first `_` parts the object from the field, as far as the contract has objects.
fn dotted(name: &str) -> String {
    let found = picket_event::field::Field::paths().find(|path| path.replace('.', "_") == name);
    found.unwrap_or(name).to_owned()
}

/// All columns, in their order.
pub(crate) fn event_columns() -> Vec<EventColumn> {
    let stored = row_columns();
    let mut columns: Vec<EventColumn> = Vec::with_capacity(stored.len() + OWN.len());
    for name in FIRST {
        let own = OWN
            .iter()
            .find(|(own, _)| own == name)
            .map(|(_, from)| *from);
        let form = stored.iter().find(|column| column.name == *name);
        let from = own.or_else(|| form.map(|column| From::Stored(column.form)));
        columns.extend(from.map(|from| EventColumn {
            name: (*name).to_owned(),
            from,
        }));
    }
    for column in stored {
        if !FIRST.contains(&column.name.as_str()) {
            columns.push(EventColumn {
                name: column.name,
                from: From::Stored(column.form),
            });
        }
    }
    columns.push(EventColumn {
        name: "doubtful".to_owned(),
        from: From::Doubtful,
    });
    columns
}

/// Columns that the store does not have as such.
const OWN: &[(&str, From)] = &[
    ("host", From::HostName),
    ("class", From::Class),
    ("process_argv", From::Json(&["process", "argv"])),
    ("process_env", From::Json(&["process", "env"])),
    ("process_ancestry", From::Json(&["process", "ancestry"])),
    ("verdicts", From::Json(&["verdicts"])),
    ("event", From::Json(&[])),
];

/// What is asked for most, at most 63.
const FIRST: &[&str] = &[
    "time",
    "host",
    "kind",
    "severity",
    "process_exe",
    "process_cmd_line",
    "process_pid",
    "process_uid",
    "process_user_name",
    "file_path",
    "network_remote_ip",
    "network_remote_port",
    "dns_query",
    "login_user",
    "login_source_ip",
    "login_outcome",
    "host_id",
    "class",
    "severity_id",
    "process_parent_uid",
    "process_ppid",
    "process_comm",
    "process_script",
    "process_cwd",
    "process_user_uid",
    "process_effective_uid",
    "process_login_uid",
    "process_session",
    "process_tty",
    "process_sha256",
    "process_container",
    "process_memfd",
    "fork_child_uid",
    "file_new_path",
    "file_sha256_before",
    "file_sha256_after",
    "file_sensitive",
    "network_proto",
    "network_direction",
    "network_local_ip",
    "network_local_port",
    "network_bytes_in",
    "network_bytes_out",
    "dns_answers",
    "login_service",
    "login_method",
    "login_key_fingerprint",
    "login_target_user",
    "login_command",
    "exit_code",
    "verdicts_id",
    "verdicts_title",
    "verdicts_attack",
    "verdicts_bits",
    "process_argv",
    "process_env",
    "process_ancestry",
    "verdicts",
    "event",
    "seq",
    "received",
    "stream",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_is_there_once_and_the_frequent_ones_are_told_apart() {
        let columns = event_columns();
        assert!(FIRST.len() <= 63);
        for name in FIRST {
            let times = columns.iter().filter(|one| one.name == *name).count();
            assert_eq!(times, 1, "{name}");
        }
        // `event` is the JSON, not the bytes; `doubtful` is behind all.
        assert_eq!(columns.len(), row_columns().len() + OWN.len());
        let json = columns
            .iter()
            .filter(|one| matches!(one.from, From::Json(_)));
        assert_eq!(json.count(), 5);
    }

    #[test]
    fn no_event_belongs_to_two_of_the_tables_by_kind() {
        for kind in Kind::ALL {
            let tables = TABLES.iter().filter(|table| match table.holds {
                Holds::Kinds(kinds) => kinds.contains(kind),
                Holds::All | Holds::Judged => false,
            });
            assert!(tables.count() <= 1, "{kind}");
        }
    }
}
