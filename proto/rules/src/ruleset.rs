//! A set of rules, compiled together, and the judgement of one event by all of them.

use std::collections::{BTreeSet, HashMap};
use std::fmt;

use picket_event::{Detail, Event, Kind, Source as Seen, Verdict};

use crate::correlation::Correlations;
use crate::index::Index;
use crate::logsource::{Kinds, View};
use crate::program::Program;
use crate::record::{Fields, Record};
use crate::refusal::{Fault, Reason, Refusal};
use crate::rule::{self, Rule, RuleInfo};
use crate::scratch::Scratch;
use crate::view::Columns;
use crate::view::audit::{self, AuditRecord};
use crate::view::event::EventRecord;
use crate::view::written::{LineRecord, Written, WrittenRecord};
use crate::yaml::{self, Node};

/// Most rules in one set.
const MAX_RULES: usize = 50_000;

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
    /// The rules that were taken.
    pub rules: RuleSet,
    /// The correlations over them.
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
            Self::AskedAlways => f.write_str("is asked about every event: it requires no text"),
        }
    }
}

/// A rule that matched.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct RuleHit {
    /// For [`RuleSet::rule`].
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
        let mut builder = Builder::default();
        let names = elsewhere.iter().map(|name| (name.clone(), usize::MAX));
        builder.names.extend(names);
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

    /// What the rule of this index says about itself.
    pub fn rule(&self, index: usize) -> Option<&RuleInfo> {
        self.infos.get(index)
    }

    /// Every rule, in the order of the sources.
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

    /// The groups that a rule must be in.
    fn of_rule(rule: &Rule) -> Vec<Self> {
        match rule.scope.view {
            View::Audit => return vec![Self::Audit],
            View::Text => return vec![Self::Text],
            View::Sigma | View::Picket => {}
        }
        let speaks_of = |subject: &Self| {
            let mut kinds = Kind::ALL
                .iter()
                .filter(|kind| rule.scope.kinds.contains(**kind));
            kinds.any(|kind| Self::of(*kind) == *subject)
        };
        Self::OF_EVENTS.into_iter().filter(speaks_of).collect()
    }
}

/// Gathers rules from sources.
#[derive(Default)]
struct Builder {
    loaded: Loaded,
    rules: Vec<Rule>,
    fields: Fields,
    by_id: HashMap<String, String>,
    /// Ids, and names that documents give themselves, with the number of the rule.
    names: HashMap<String, usize>,
    correlations: Vec<(String, Node)>,
}

impl Builder {
    fn take(&mut self, source: &Source) {
        let documents = match yaml::parse(&source.text) {
            Ok(documents) if documents.is_empty() => return self.refuse(source, None, empty()),
            Ok(documents) => documents,
            Err(fault) => return self.refuse(source, None, fault),
        };
        for document in documents {
            if document.get("correlation").is_some() {
                self.correlations.push((source.name.clone(), document));
            } else if let Err(fault) = self.document(source, &document) {
                self.refuse(source, rule::id(&document), fault);
            }
        }
    }

    fn document(&mut self, source: &Source, document: &Node) -> Result<(), Fault> {
        let rule = rule::parse(document, &source.name, &mut self.fields)?;
        if self.rules.len() >= MAX_RULES {
            return Err(document.fault(Reason::TooManyRules { limit: MAX_RULES }));
        }
        let id = rule.info.id.clone();
        if let Some(title) = self.by_id.get(&id) {
            return Err(document.fault(Reason::DuplicateId {
                title: title.clone(),
            }));
        }
        self.names.insert(id.clone(), self.rules.len());
        if let Some(name) = document.get("name").and_then(Node::text) {
            let place = self.names.entry(name.to_owned()).or_insert(usize::MAX);
            *place = self.rules.len().min(*place);
        }
        self.by_id.insert(id, rule.info.title.clone());
        self.remark(&rule);
        self.rules.push(rule);
        Ok(())
    }

    fn remark(&mut self, rule: &Rule) {
        let fields = rule.never.clone();
        if !rule.alive {
            self.note(&rule.info, Remark::Dead { fields });
        } else if !fields.is_empty() {
            self.note(&rule.info, Remark::NeverFilled { fields });
        }
        if !rule.unused.is_empty() {
            self.note(
                &rule.info,
                Remark::Unused {
                    searches: rule.unused.clone(),
                },
            );
        }
    }

    fn note(&mut self, info: &RuleInfo, remark: Remark) {
        let (file, id) = (info.file.clone(), info.id.clone());
        self.loaded.notes.push(Note { file, id, remark });
    }

    fn refuse(&mut self, source: &Source, id: Option<String>, fault: Fault) {
        let Fault { line, reason } = fault;
        self.loaded.refused.push(Refusal {
            file: source.name.clone(),
            id,
            line,
            reason,
        });
    }

    fn finish(mut self) -> Loaded {
        let mut groups: [Group; Subject::COUNT] = Default::default();
        let rules = std::mem::take(&mut self.rules);
        for (number, rule) in rules.iter().enumerate() {
            for subject in Subject::of_rule(rule) {
                if let Some(group) = groups.get_mut(subject as usize) {
                    let program = rule.program.clone();
                    let kinds = rule.scope.kinds;
                    group.rules.push(Member {
                        rule: number,
                        kinds,
                        program,
                    });
                }
            }
        }
        for group in &mut groups {
            let programs = group.rules.iter().map(|member| &member.program);
            group.index = Index::new(programs, |field| is_dear(self.fields.name(field)));
        }
        self.remark_on_slow(&rules, &groups);
        let rules_taken = rules.len();
        let infos = rules.into_iter().map(|rule| rule.info).collect();
        let columns = Columns::new(&self.fields);
        let (correlations, refused) =
            Correlations::compile(&self.correlations, &self.names, rules_taken);
        self.loaded.correlations = correlations;
        self.loaded.refused.extend(refused);
        self.loaded.rules = RuleSet {
            infos,
            fields: self.fields,
            columns,
            groups,
        };
        self.loaded
    }

    fn remark_on_slow(&mut self, rules: &[Rule], groups: &[Group]) {
        let mut slow: Vec<usize> = groups
            .iter()
            .flat_map(|group| {
                group
                    .index
                    .always()
                    .iter()
                    .map(move |place| (group, *place))
            })
            .filter_map(|(group, place)| group.rules.get(place as usize))
            .map(|member| member.rule)
            .collect();
        slow.sort_unstable();
        slow.dedup();
        for info in slow
            .into_iter()
            .filter_map(|number| rules.get(number))
            .map(|rule| &rule.info)
        {
            self.note(info, Remark::AskedAlways);
        }
    }
}

/// Fields that cost every event much when they are looked up: the arguments, which the command line
/// repeats, and the environment, of which each variable is a field of its own.
fn is_dear(field: &str) -> bool {
    field == "process.argv" || field.starts_with("process.env.")
}

fn empty() -> Fault {
    Reason::Empty.nowhere()
}
