//! A set of rules, compiled together, and the judgement of one event by all of them.

mod builder;

use std::collections::BTreeSet;
use std::fmt;

use picket_event::{Detail, Event, Kind, Source as Seen, Verdict};

use crate::correlation::Correlations;
use crate::index::Index;
use crate::logsource::{Kinds, Scope, View};
use crate::program::Program;
use crate::record::{Fields, Record};
use crate::refusal::Refusal;
use crate::rule::RuleInfo;
use crate::scratch::Scratch;
use crate::view::Columns;
use crate::view::audit::{self, AuditRecord};
use crate::view::event::EventRecord;
use crate::view::written::{LineRecord, Written, WrittenRecord};

use builder::Builder;

/// The text of one rule file.
#[derive(Clone, Debug)]
pub struct Source {
    /// The name it is called by in messages, as a path.
    pub name: String,
    /// One or more YAML documents.
    pub text: String,
}

/// What became of a set of sources.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The rules that were taken and judge one event.
    pub rules: RuleSet,
    /// Those that judge several events: correlations, sequences, rules about new values.
    pub correlations: Correlations,
    /// Those that were not, each with its reason.
    pub refused: Vec<Refusal>,
    /// What was taken and looks wrong.
    pub notes: Vec<Note>,
}

/// A rule that was taken, with something its author should know.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Note {
    /// The source it came from.
    pub file: String,
    /// Its id.
    pub id: String,
    /// What.
    pub remark: Remark,
}

/// What looks wrong about a rule.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Remark {
    /// It can never match: it needs fields that no sensor fills.
    Dead {
        /// Which.
        fields: Vec<String>,
    },
    /// It names fields that no sensor fills, but can match without them.
    NeverFilled {
        /// Which.
        fields: Vec<String>,
    },
    /// Its condition leaves searches out.
    Unused {
        /// Which.
        searches: Vec<String>,
    },
    /// No text is required for a match, so it is asked about every event.
    AskedAlways,
    /// Correlations count it, and none lets it be told by itself.
    CountedAlone,
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dead { fields } => {
                write!(f, "can never match, no sensor fills {}", fields.join(", "))
            }
            Self::NeverFilled { fields } => write!(f, "no sensor fills {}", fields.join(", ")),
            Self::Unused { searches } => {
                write!(f, "the condition does not use {}", searches.join(", "))
            }
            Self::CountedAlone => f.write_str(
                "is counted by a correlation and not told by itself (`generate: true` there tells it)",
            ),
            Self::AskedAlways => f.write_str("is asked about every event: it requires no text"),
        }
    }
}

/// A rule that matched, or a part of a rule over several events, which means something to
/// [`Correlations::step`] alone.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct RuleHit {
    /// For [`RuleSet::rule`], which knows no parts.
    pub rule: usize,
}

/// Sizes of a set, for those who watch budgets.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Figures {
    /// Rules.
    pub rules: usize,
    /// Fields that they name.
    pub fields: usize,
    /// Rules that are asked about every event of their group.
    pub always: usize,
    /// Memory of what finds parts of values, in bytes.
    pub parts_bytes: usize,
}

/// Compiled rules. Immutable: a reload makes a new set and puts it in the old one's place.
#[derive(Clone, Debug, Default)]
pub struct RuleSet {
    infos: Vec<RuleInfo>,
    /// For each of them, whether a correlation counts it and does not let it be told.
    silent: Vec<bool>,
    fields: Fields,
    columns: Columns,
    /// By subject of the event, the audit records last.
    groups: [Group; Subject::COUNT],
}

/// Rules that are asked about the same events.
#[derive(Clone, Debug, Default)]
struct Group {
    rules: Vec<Member>,
    index: Index,
}

#[derive(Clone, Debug)]
struct Member {
    rule: usize,
    kinds: Kinds,
    program: Program,
}

impl RuleSet {
    /// Compiles `sources` together. Every document is either in the set or among the refused.
    pub fn compile(sources: &[Source]) -> Loaded {
        Self::compile_beside(sources, &BTreeSet::new())
    }

    /// As [`RuleSet::compile`], with ids and names of rules that are elsewhere: correlations may wait for
    /// them, and never see them here.
    pub(crate) fn compile_beside(sources: &[Source], elsewhere: &BTreeSet<String>) -> Loaded {
        let mut builder = Builder::beside(elsewhere);
        for source in sources {
            builder.take(source);
        }
        builder.finish()
    }

    /// Judges `event`: `hits` holds the rules that match afterwards, in their order, each once.
    pub fn evaluate(&self, event: &Event, scratch: &mut Scratch, hits: &mut Vec<RuleHit>) {
        let record = EventRecord::new(event, &self.columns.event);
        self.evaluate_record(&record, scratch, hits);
        self.evaluate_line(event, scratch, hits);
        self.evaluate_audit(event, scratch, hits);
    }

    /// As [`RuleSet::evaluate`] for an event that was read from these records of audit: rules for auditd see them as they were
    /// written, not records made from the event.
    pub fn evaluate_written<'a>(
        &self,
        event: &Event,
        written: impl Iterator<Item = Written<'a>>,
        scratch: &mut Scratch,
        hits: &mut Vec<RuleHit>,
    ) {
        let record = EventRecord::new(event, &self.columns.event);
        self.evaluate_record(&record, scratch, hits);
        for written in written {
            let record = WrittenRecord {
                written,
                names: self.fields.names(),
            };
            self.group(Subject::Audit, &record, scratch, hits);
        }
        hits.sort_unstable();
        hits.dedup();
    }

    /// Judges an event that is given as a record in the words of Sigma's categories.
    pub fn evaluate_record<R: Record>(
        &self,
        record: &R,
        scratch: &mut Scratch,
        hits: &mut Vec<RuleHit>,
    ) {
        hits.clear();
        self.group(Subject::of(record.kind()), record, scratch, hits);
    }

    /// Judges `event` and says what its hits mean.
    pub fn verdicts(&self, event: &Event, scratch: &mut Scratch) -> Vec<Verdict> {
        let mut hits = Vec::new();
        self.evaluate(event, scratch, &mut hits);
        hits.iter()
            .filter_map(|hit| self.rule(hit.rule))
            .map(RuleInfo::verdict)
            .collect()
    }

    /// What the rule of this index says about itself; `None` for a part of a rule over several events, and for a rule that is
    /// counted by correlations alone: its hits are for [`Correlations::step`].
    pub fn rule(&self, index: usize) -> Option<&RuleInfo> {
        let silent = self.silent.get(index).copied().unwrap_or(false);
        self.infos.get(index).filter(|_| !silent)
    }

    /// The same also of a rule that is counted alone.
    pub(crate) fn counted(&self, index: usize) -> Option<&RuleInfo> {
        self.infos.get(index)
    }

    /// Every rule that judges one event, in the order of the sources.
    pub fn rules(&self) -> &[RuleInfo] {
        &self.infos
    }

    /// The names of all fields that a rule asks for; a [`crate::FieldId`] is an index into it.
    pub fn fields(&self) -> &[String] {
        self.fields.names()
    }

    /// Its sizes.
    pub fn figures(&self) -> Figures {
        Figures {
            rules: self.infos.len(),
            fields: self.fields.names().len(),
            always: self
                .groups
                .iter()
                .map(|group| group.index.always().len())
                .sum(),
            parts_bytes: self
                .groups
                .iter()
                .map(|group| group.index.parts_bytes())
                .sum(),
        }
    }

    /// A finding of ours may be a line of a log.
    fn evaluate_line(&self, event: &Event, scratch: &mut Scratch, hits: &mut Vec<RuleHit>) {
        if let (Some(Detail::Log(log)), true) = (&event.detail, event.source != Seen::Audit) {
            let record = LineRecord {
                program: log.program.as_bytes(),
                line: log.text.as_bytes(),
                names: self.fields.names(),
            };
            self.group(Subject::Text, &record, scratch, hits);
        }
    }

    /// Whether any rule reads lines of logs.
    pub fn reads_lines(&self) -> bool {
        let group = self.groups.get(Subject::Text as usize);
        group.is_some_and(|group| !group.rules.is_empty())
    }

    /// A rule may match several of the records; it hits once.
    fn evaluate_audit(&self, event: &Event, scratch: &mut Scratch, hits: &mut Vec<RuleHit>) {
        let Some(group) = self.groups.get(Subject::Audit as usize) else {
            return;
        };
        if group.rules.is_empty() {
            return;
        }
        let columns = &self.columns.audit;
        for r#type in audit::types(event) {
            let record = AuditRecord {
                event,
                r#type: *r#type,
                columns,
            };
            self.group(Subject::Audit, &record, scratch, hits);
        }
        hits.sort_unstable();
        hits.dedup();
    }

    fn group<R: Record>(
        &self,
        subject: Subject,
        record: &R,
        scratch: &mut Scratch,
        hits: &mut Vec<RuleHit>,
    ) {
        let Some(group) = self.groups.get(subject as usize) else {
            return;
        };
        if group.rules.is_empty() {
            return;
        }
        scratch.begin(self.fields.names().len());
        group.index.mark(record, scratch);
        let mut word = 0;
        while let Some(bits) = scratch.candidates.get(word).copied() {
            for place in places(word, bits) {
                if let Some(member) = group.rules.get(place)
                    && member.kinds.contains(record.kind())
                    && member.program.holds(record, scratch)
                {
                    hits.push(RuleHit { rule: member.rule });
                }
            }
            word += 1;
        }
    }
}

/// The places of the bits that are set in a word of a bit set.
fn places(word: usize, mut bits: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let place = word * 64 + bits.trailing_zeros() as usize;
        let more = bits != 0;
        bits &= bits.wrapping_sub(1);
        more.then_some(place)
    })
}

/// What an event is about: rules for one subject do not cost events of another.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Subject {
    Exec,
    Process,
    File,
    Network,
    Login,
    Other,
    Audit,
    Text,
}

impl Subject {
    const COUNT: usize = 8;
    const OF_EVENTS: [Self; 6] = [
        Self::Exec,
        Self::Process,
        Self::File,
        Self::Network,
        Self::Login,
        Self::Other,
    ];

    fn of(kind: Kind) -> Self {
        match kind {
            Kind::Exec => Self::Exec,
            Kind::ExecFailed
            | Kind::Fork
            | Kind::Exit
            | Kind::CredChange
            | Kind::Ptrace
            | Kind::Signal
            | Kind::MemExec
            | Kind::Memfd => Self::Process,
            Kind::Login
            | Kind::Logoff
            | Kind::LoginFailed
            | Kind::AccountSwitch
            | Kind::AccountChange
            | Kind::Session => Self::Login,
            kind if kind.is_file() => Self::File,
            kind if kind.is_network() => Self::Network,
            _ => Self::Other,
        }
    }

    /// The groups that a question of this scope must be in.
    fn of_scope(scope: Scope) -> Vec<Self> {
        match scope.view {
            View::Audit => return vec![Self::Audit],
            View::Text => return vec![Self::Text],
            View::Sigma | View::Picket => {}
        }
        let speaks_of = |subject: &Self| {
            let mut kinds = Kind::ALL.iter().filter(|kind| scope.kinds.contains(**kind));
            kinds.any(|kind| Self::of(*kind) == *subject)
        };
        Self::OF_EVENTS.into_iter().filter(speaks_of).collect()
    }
}
