//! Which events a rule is for: log sources of Sigma and kinds of our own.

use picket_event::Kind;

use crate::refusal::{Fault, Reason};
use crate::yaml::Node;

/// The events a rule is asked about, and the words it uses for them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Scope {
    pub(crate) view: View,
    pub(crate) kinds: Kinds,
    /// Of lines: whose. Empty: anybody's.
    pub(crate) programs: &'static [&'static str],
}

/// In whose words a rule speaks of an event.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum View {
    /// Sigma's names for processes, files and connections.
    Sigma,
    /// Our own kinds: a field that does not exist is the author's mistake.
    Picket,
    /// The records that auditd would have written.
    Audit,
    /// Lines of logs.
    Text,
}

/// A set of kinds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Kinds(u64);

impl Kinds {
    pub(crate) const ALL: Self = Self(u64::MAX);

    pub(crate) fn of(kinds: &[Kind]) -> Self {
        Self(kinds.iter().fold(0, |set, kind| set | Self::bit(*kind)))
    }

    pub(crate) fn contains(self, kind: Kind) -> bool {
        self.0 & Self::bit(kind) != 0
    }

    /// Wire numbers of kinds are small; one beyond the set would fall on no bit.
    fn bit(kind: Kind) -> u64 {
        u32::try_from(kind.to_wire())
            .ok()
            .and_then(|number| 1_u64.checked_shl(number))
            .unwrap_or(0)
    }
}

/// Services whose rules read lines of text, each with the programs that write them. Empty: all that write to the
/// system's log.
const TEXT_SERVICES: [(&str, &[&str]); 19] = [
    ("", &[]),
    ("syslog", &[]),
    ("rsyslog", &[]),
    ("auth", &[]),
    ("messages", &[]),
    ("kern", &["kernel"]),
    ("sshd", &["sshd", "sshd-session", "sshd-auth"]),
    ("sudo", &["sudo"]),
    ("su", &["su"]),
    (
        "cron",
        &[
            "cron", "crond", "CRON", "CROND", "crontab", "anacron", "atd",
        ],
    ),
    (
        "clamav",
        &[
            "clamd",
            "clamav",
            "clamscan",
            "clamdscan",
            "freshclam",
            "clamonacc",
        ],
    ),
    ("guacamole", &["guacd", "guacamole", "tomcat*"]),
    ("vsftpd", &["vsftpd"]),
    ("apache", &["apache2", "httpd"]),
    ("nginx", &["nginx"]),
    ("mysql", &["mysqld", "mysql", "mariadbd"]),
    ("modsecurity", &["modsecurity", "apache2", "httpd", "nginx"]),
    ("pam", &[]),
    ("auth.log", &[]),
];

/// Reads the `logsource` of a rule.
pub(crate) fn parse(node: &Node) -> Result<Scope, Fault> {
    let part = |key| node.get(key).and_then(Node::text).unwrap_or_default();
    let (product, category, service) = (part("product"), part("category"), part("service"));
    let source_name = name(&[
        ("product", product),
        ("category", category),
        ("service", service),
    ]);
    if !matches!(product, "" | "linux") {
        return Err(node.fault(Reason::LogSource { source_name }));
    }
    match (category, service) {
        ("", "auditd") => Ok(of_view(View::Audit, &[])),
        ("", service) => {
            let known = TEXT_SERVICES.iter().find(|(name, _)| *name == service);
            let programs = known.map(|(_, programs)| *programs);
            programs
                .map(|programs| of_view(View::Text, programs))
                .ok_or_else(|| node.fault(Reason::LogSource { source_name }))
        }
        (category, "" | "sysmon") => {
            of_category(category).ok_or_else(|| node.fault(Reason::LogSource { source_name }))
        }
        _ => Err(node.fault(Reason::LogSource { source_name })),
    }
}

/// Of whatever kind the event is.
fn of_view(view: View, programs: &'static [&'static str]) -> Scope {
    Scope {
        view,
        kinds: Kinds::ALL,
        programs,
    }
}

fn of_category(category: &str) -> Option<Scope> {
    let kinds: &[Kind] = match category {
        "process_creation" => &[Kind::Exec],
        "process_termination" => &[Kind::Exit],
        "file_event" => &[
            Kind::FileCreate,
            Kind::FileModify,
            Kind::FileRename,
            Kind::FileLink,
        ],
        "file_change" => &[Kind::FileModify, Kind::FileAttr],
        "file_access" => &[Kind::FileOpen],
        "network_connection" => &[Kind::NetConnect, Kind::NetAccept],
        "dns_query" => &[Kind::Dns],
        _ => return own_category(category),
    };
    Some(Scope {
        view: View::Sigma,
        kinds: Kinds::of(kinds),
        programs: &[],
    })
}

/// Our own kinds by their names. `file_delete` and `file_rename` are Sigma's names too.
fn own_category(category: &str) -> Option<Scope> {
    let kind = Kind::from_name(category)?;
    let shared = matches!(kind, Kind::FileDelete | Kind::FileRename);
    let view = if shared { View::Sigma } else { View::Picket };
    Some(Scope {
        view,
        kinds: Kinds::of(&[kind]),
        programs: &[],
    })
}

fn name(parts: &[(&str, &str)]) -> String {
    let given: Vec<String> = parts
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    if given.is_empty() {
        "(none)".to_owned()
    } else {
        given.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml;

    fn scope(text: &str) -> Result<Scope, Reason> {
        parse(&yaml::parse(text).unwrap().remove(0)).map_err(|fault| fault.reason)
    }

    #[test]
    fn every_kind_has_a_bit_of_its_own() {
        for (index, kind) in Kind::ALL.iter().enumerate() {
            let set = Kinds::of(&[*kind]);
            assert!(set.contains(*kind), "{kind}");
            assert!(
                Kind::ALL
                    .iter()
                    .skip(index + 1)
                    .all(|other| !set.contains(*other))
            );
        }
    }

    #[test]
    fn a_new_file_is_one_that_was_made_written_or_moved_there() {
        let scope = scope("{product: linux, category: file_event}").unwrap();
        assert!(scope.kinds.contains(Kind::FileRename));
        assert!(!scope.kinds.contains(Kind::FileDelete));
    }

    #[test]
    fn a_service_reads_the_lines_of_its_programs_and_no_service_those_of_all() {
        let sshd = scope("{product: linux, service: sshd}").unwrap();
        assert!(sshd.view == View::Text && sshd.programs.contains(&"sshd-session"));
        let any = scope("{product: linux}").unwrap();
        assert!(any.view == View::Text && any.programs.is_empty());
    }

    #[test]
    fn sources_that_nobody_feeds_are_refused_by_name() {
        let refused = scope("{product: windows, category: process_creation}").unwrap_err();
        assert_eq!(
            refused.to_string(),
            "log source product=windows category=process_creation is not one of ours"
        );
        assert!(matches!(
            scope("{product: linux, service: oracle}"),
            Err(Reason::LogSource { .. })
        ));
        assert!(matches!(
            scope("{category: antivirus}"),
            Err(Reason::LogSource { .. })
        ));
    }
}
