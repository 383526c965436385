//! One rule document: its header, its searches, its condition, its extensions.

mod ancestor;
pub(crate) mod draft;

use picket_event::{RuleVerdict, Severity, Verdict};

use crate::first_seen::{self, FirstSeen};
use crate::logsource::{self, Scope, View};
use crate::program::Program;
use crate::record::{FieldId, Fields};
use crate::refusal::{Fault, Reason};
use crate::search::Compiler;
use crate::sequence::{self, Sequence};
use crate::view::{audit, event, written};
use crate::yaml::{Node, Scalar, Value};

use draft::Draft;

/// What a rule says about itself. It goes into every verdict.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RuleInfo {
    /// Its UUID; the source's name, if it has none, with a number behind it for further ones of a source.
    pub id: String,
    /// Its title.
    pub title: String,
    /// Its level; medium, if it has none.
    pub severity: Severity,
    /// ATT&CK techniques, as `T1059.004`.
    pub attack: Vec<String>,
    /// Who wrote it; empty, if it does not say.
    pub author: String,
    /// Under which licence; empty, if it does not say.
    pub license: String,
    /// The source it came from.
    pub file: String,
}

impl RuleInfo {
    /// What it says about an event that it matched.
    pub fn verdict(&self) -> Verdict {
        Verdict::Rule(RuleVerdict {
            id: self.id.clone(),
            title: self.title.clone(),
            severity: self.severity,
            attack: self.attack.clone(),
            author: self.author.clone(),
            license: self.license.clone(),
            rests_on: Vec::new(),
        })
    }
}

/// A rule ready to be put into a set.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) info: RuleInfo,
    /// What single events are asked. A plain rule asks one question; one over several events may ask more.
    pub(crate) asks: Vec<Ask>,
    pub(crate) over: Over,
    /// Fields that it names and no event ever has.
    pub(crate) never: Vec<String>,
    /// It can match although those fields are never there.
    pub(crate) alive: bool,
    /// Searches that the condition does not use.
    pub(crate) unused: Vec<String>,
}

/// A question about one event.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) scope: Scope,
    pub(crate) program: Program,
}

/// What the answers mean.
#[derive(Debug)]
pub(crate) enum Over {
    /// One event is a hit.
    One,
    /// Events in their order are; the questions are the steps, then `until`.
    Sequence(Sequence),
    /// An event with a value that is new is.
    FirstSeen(FirstSeen),
}

/// The id of a rule document, if it can be read.
pub(crate) fn id(document: &Node) -> Option<String> {
    document.get("id").and_then(Node::text).map(str::to_owned)
}

/// Compiles one document.
pub(crate) fn parse(document: &Node, file: &str, fields: &mut Fields) -> Result<Rule, Fault> {
    if document.map().is_none() {
        return Err(document.fault(Reason::Shape {
            key: "a rule".into(),
            wanted: "a map",
        }));
    }
    refuse_what_is_not_known(document)?;
    let info = info(document, file)?;
    let detection = required(document, "detection")?;
    refuse_counting(detection)?;
    let scope = logsource::parse(required(document, "logsource")?)?;
    let mut draft = Draft::new(detection, &["condition"], fields)?;
    let mut program = whole(detection, &mut draft)?;
    if let Some(ancestor) = document.get("x-ancestor") {
        program = Program::All(vec![program, ancestor::ancestor(ancestor, scope, fields)?]);
    }
    let (over, asks) = over(document, &mut draft, Ask { scope, program })?;
    let mut rule = Rule {
        info,
        asks: Vec::new(),
        over,
        never: Vec::new(),
        alive: true,
        unused: draft.unused(),
    };
    for ask in asks {
        rule.ask(document, ask, fields)?;
    }
    Ok(rule)
}

impl Rule {
    /// Takes in a question, with what it needs because of its log source.
    fn ask(&mut self, document: &Node, mut ask: Ask, fields: &mut Fields) -> Result<(), Fault> {
        let Ask { scope, program } = &mut ask;
        if !scope.programs.is_empty() {
            let written = written_by(*scope, document, fields)?;
            *program = Program::All(vec![written, program.clone()]);
        }
        program.order();
        let never = never(program, scope.view, fields).map_err(|reason| document.fault(reason))?;
        let new = never.into_iter().filter(|name| !self.never.contains(name));
        self.never.extend(new.collect::<Vec<_>>());
        self.alive &= program.possible(&|field| exists(scope.view, fields.name(field)));
        self.asks.push(ask);
        Ok(())
    }

    /// Lets it hit only where `filter` holds too.
    pub(crate) fn narrow(&mut self, filter: &Program) {
        let last = match &self.over {
            Over::Sequence(sequence) => sequence.steps().saturating_sub(1),
            Over::One | Over::FirstSeen(_) => 0,
        };
        if let Some(ask) = self.asks.get_mut(last) {
            ask.program = Program::All(vec![ask.program.clone(), filter.clone()]);
            ask.program.order();
        }
    }

    /// The log source of the event that it hits.
    pub(crate) fn scope(&self) -> Option<Scope> {
        match &self.over {
            Over::Sequence(sequence) => self.asks.get(sequence.steps().saturating_sub(1)),
            Over::One | Over::FirstSeen(_) => self.asks.first(),
        }
        .map(|ask| ask.scope)
    }
}

/// All conditions of a rule: one of them must hold.
pub(crate) fn whole(node: &Node, draft: &mut Draft) -> Result<Program, Fault> {
    let conditions = conditions(node)?.into_iter();
    let programs: Result<Vec<_>, Fault> = conditions
        .map(|(line, text)| draft.program(line, text))
        .collect();
    let mut programs = programs?;
    let one = (programs.len() == 1).then(|| programs.pop()).flatten();
    Ok(one.unwrap_or(Program::Any(programs)))
}

/// What kind of rule the extensions make of it, and what it asks.
fn over(document: &Node, draft: &mut Draft, whole: Ask) -> Result<(Over, Vec<Ask>), Fault> {
    match (document.get("x-sequence"), document.get("x-first-seen")) {
        (Some(_), Some(node)) => Err(node.fault(Reason::Together)),
        (Some(node), None) => {
            let (sequence, asks) = sequence::parse(node, draft, whole)?;
            Ok((Over::Sequence(sequence), asks))
        }
        (None, Some(node)) => {
            let first = first_seen::parse(node, whole.scope.view)?;
            Ok((Over::FirstSeen(first), vec![whole]))
        }
        (None, None) => Ok((Over::One, vec![whole])),
    }
}

/// Extensions change what a rule means, so one that is not known must not be left out.
fn refuse_what_is_not_known(document: &Node) -> Result<(), Fault> {
    for (key, value) in document.map().unwrap_or_default() {
        let reason = match key.text.as_str() {
            "x-ancestor" | "x-first-seen" | "x-sequence" | "x-tests" => continue,
            name if name.starts_with("x-") => Reason::ExtensionUnknown {
                name: name.to_owned(),
            },
            _ => continue,
        };
        return Err(value.fault(reason));
    }
    Ok(())
}

pub(crate) fn required<'a>(document: &'a Node, key: &'static str) -> Result<&'a Node, Fault> {
    let node = document
        .get(key)
        .ok_or_else(|| document.fault(Reason::Missing { key }))?;
    if node.map().is_none() {
        return Err(node.fault(Reason::Shape {
            key: key.to_owned(),
            wanted: "a map",
        }));
    }
    Ok(node)
}

/// What a document says about itself.
pub(crate) fn info(document: &Node, file: &str) -> Result<RuleInfo, Fault> {
    let text = |key| document.get(key).and_then(Node::text).map(str::to_owned);
    let title = text("title").ok_or_else(|| document.fault(Reason::Missing { key: "title" }))?;
    Ok(RuleInfo {
        id: id(document).unwrap_or_else(|| file.to_owned()),
        title,
        severity: severity(document)?,
        attack: document.get("tags").map(techniques).unwrap_or_default(),
        author: text("author").unwrap_or_default(),
        license: text("license").unwrap_or_default(),
        file: file.to_owned(),
    })
}

fn severity(document: &Node) -> Result<Severity, Fault> {
    let Some(node) = document.get("level") else {
        return Ok(Severity::Medium);
    };
    let level = node.text().unwrap_or_default();
    Severity::from_name(level).ok_or_else(|| {
        node.fault(Reason::Level {
            level: level.to_owned(),
        })
    })
}

/// `attack.t1059.004` is the technique T1059.004; tactics and other tags are left out.
fn techniques(tags: &Node) -> Vec<String> {
    let tags = tags
        .list()
        .unwrap_or_default()
        .iter()
        .filter_map(Node::text);
    let techniques = tags.filter_map(|tag| {
        let technique = tag
            .to_ascii_lowercase()
            .strip_prefix("attack.")?
            .to_ascii_uppercase();
        let number = technique.strip_prefix('T')?;
        number
            .starts_with(|c: char| c.is_ascii_digit())
            .then_some(technique.clone())
    });
    techniques.collect()
}

/// Counting over time belongs to correlations. The pipe is named before anything else that is wrong
/// with such a rule: it explains the rest.
fn refuse_counting(detection: &Node) -> Result<(), Fault> {
    let conditions = conditions(detection)?;
    if let Some((line, _)) = conditions.into_iter().find(|(_, text)| text.contains('|')) {
        return Err(Reason::Pipe.at(line));
    }
    match detection.get("timeframe") {
        Some(timeframe) => Err(timeframe.fault(Reason::Timeframe)),
        None => Ok(()),
    }
}

/// One condition, or a list of which one must hold; each with its line.
fn conditions(node: &Node) -> Result<Vec<(u64, &str)>, Fault> {
    let condition = node
        .get("condition")
        .ok_or_else(|| node.fault(Reason::Missing { key: "condition" }))?;
    let nodes = match &condition.value {
        Value::List(nodes) if !nodes.is_empty() => nodes.as_slice(),
        _ => std::slice::from_ref(condition),
    };
    let wrong = Reason::Shape {
        key: "condition".into(),
        wanted: "a text or a list of texts",
    };
    let texts: Option<Vec<_>> = nodes
        .iter()
        .map(|node| Some((node.line, node.text()?)))
        .collect();
    texts.ok_or_else(|| condition.fault(wrong))
}

/// Rules for a service see the lines of its programs alone.
fn written_by(scope: Scope, document: &Node, fields: &mut Fields) -> Result<Program, Fault> {
    let line = document.line;
    let scalar = |text: &str| Scalar {
        text: text.to_owned(),
        quoted: true,
    };
    let name = |name: &&str| Node {
        line,
        value: Value::Scalar(scalar(name)),
    };
    let names = Node {
        line,
        value: Value::List(scope.programs.iter().map(name).collect()),
    };
    let search = Node {
        line,
        value: Value::Map(vec![(scalar(written::PROGRAM), names)]),
    };
    Compiler { fields }.search(&search)
}

/// The names that no event ever has. In our own words such a name is a mistake.
pub(crate) fn never(program: &Program, view: View, fields: &Fields) -> Result<Vec<String>, Reason> {
    let mut never = Vec::new();
    program.fields(&mut |field: FieldId| {
        let name = fields.name(field).to_owned();
        if !exists(view, &name) && !never.contains(&name) {
            never.push(name);
        }
    });
    let mistake = never
        .iter()
        .find(|name| view == View::Picket || event::is_own_path(name));
    match mistake {
        Some(field) => Err(Reason::Field {
            field: field.clone(),
        }),
        None => Ok(never),
    }
}

fn exists(view: View, name: &str) -> bool {
    match view {
        View::Sigma | View::Picket => event::Field::of_name(name).is_some(),
        View::Audit => audit::Field::of_name(name).is_some(),
        View::Text => !event::is_own_path(name) || matches!(name, written::PROGRAM | written::LINE),
    }
}
