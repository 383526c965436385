//! Events that a source alone tells without the session's user: they are counted, since nobody can say whose each is.

use picket_event::Kind;
use serde_json::Value;

use super::plan::{Session, Way};

/// How many such events there may be, and how many there were.
#[derive(Debug, Default)]
pub(super) struct Nameless {
    rule: Option<Rule>,
    expected: usize,
    taken: usize,
    spent: usize,
}

/// Which events have no name.
#[derive(Clone, Copy, Debug)]
struct Rule {
    source: &'static str,
    way: Way,
    kind: Kind,
    is_it: fn(&Value) -> bool,
    /// Whether the table of what the source can know has it under this kind.
    is_known: bool,
}

/// sudo's lines have no process number, so of several at a time nobody knows whose has ended; su records a refusal as a login of the
/// one who was asked for.
const RULES: [Rule; 2] = [
    Rule {
        source: "auth_log",
        way: Way::Sudo,
        kind: Kind::Logoff,
        is_it: |event| event["login"]["service"] == "sudo" && event["login"]["user"].is_null(),
        is_known: true,
    },
    Rule {
        source: "btmp",
        way: Way::SuWrong,
        kind: Kind::LoginFailed,
        is_it: |event| event["login"]["user"] == "root" && event["login"]["service"].is_null(),
        is_known: false,
    },
];

/// What this source may tell without a name of these sessions.
pub(super) fn of(sessions: &[Session], source: &str) -> Nameless {
    let rule = RULES.into_iter().find(|rule| rule.source == source);
    let is_of = |session: &&Session| rule.is_some_and(|rule| rule.way == session.way);
    Nameless {
        rule,
        expected: sessions.iter().filter(is_of).count(),
        ..Nameless::default()
    }
}

impl Nameless {
    /// Counts this event, if it is one and there may be another.
    pub(super) fn take(&mut self, event: &Value) -> bool {
        let is_one = self
            .rule
            .is_some_and(|rule| event["kind"] == rule.kind.name() && (rule.is_it)(event));
        let may = is_one && self.taken < self.expected;
        self.taken += usize::from(may);
        may
    }

    /// Whether one of those counted is this session's.
    pub(super) fn stands_for(&mut self, way: Way, kind: Kind) -> bool {
        let is_its = self
            .rule
            .is_some_and(|rule| rule.is_known && rule.way == way && rule.kind == kind);
        let has = is_its && self.spent < self.taken;
        self.spent += usize::from(has);
        has
    }
}
