//! One rule document: its header, its searches, its condition, its extensions.

use picket_event::{RuleVerdict, Severity, Verdict};

use crate::condition::{self, Condition};
use crate::logsource::{self, Scope, View};
use crate::program::Program;
use crate::record::{FieldId, Fields};
use crate::refusal::{Fault, Reason};
use crate::search::Compiler;
use crate::view::{audit, event, written};
use crate::yaml::{Node, Scalar, Value};

/// Most tests in one rule.
const MAX_TESTS: usize = 10_000;

/// What a rule says about itself. It goes into every verdict.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RuleInfo {
    /// Its UUID; the source's name, if it has none.
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
    pub(crate) scope: Scope,
    pub(crate) program: Program,
    /// Fields that it names and no event ever has.
    pub(crate) never: Vec<String>,
    /// It can match although those fields are never there.
    pub(crate) alive: bool,
    /// Searches that the condition does not use.
    pub(crate) unused: Vec<String>,
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
    refuse_what_is_not_a_rule(document)?;
    let info = info(document, file)?;
    let detection = required(document, "detection")?;
    refuse_counting(detection)?;
    let scope = logsource::parse(required(document, "logsource")?)?;
    let (condition, searches) = condition_and_searches(detection, fields)?;
    if tests(&condition, &searches) > MAX_TESTS {
        return Err(document.fault(Reason::TooManyTests { limit: MAX_TESTS }));
    }
    let unused = unused(&condition, &searches);
    let mut program = program(&condition, &searches);
    if let Some(ancestor) = document.get("x-ancestor") {
        program = Program::All(vec![program, self::ancestor(ancestor, scope, fields)?]);
    }
    if !scope.programs.is_empty() {
        program = Program::All(vec![written_by(scope, document, fields)?, program]);
    }
    program.order();
    let never = never(&program, scope.view, fields).map_err(|reason| document.fault(reason))?;
    let alive = program.possible(&|field| exists(scope.view, fields.name(field)));
    Ok(Rule {
        info,
        scope,
        program,
        never,
        alive,
        unused,
    })
}

/// Filters and collections look like rules and are none; extensions change what a
/// rule means, so one that is not built must not be left out.
fn refuse_what_is_not_a_rule(document: &Node) -> Result<(), Fault> {
    for (key, value) in document.map().unwrap_or_default() {
        let reason = match key.text.as_str() {
            "filter" => Reason::Filter,
            "action" => Reason::Collection,
            "x-ancestor" | "x-tests" => continue,
            "x-sequence" | "x-first-seen" => Reason::ExtensionNotBuilt {
                name: key.text.clone(),
            },
            name if name.starts_with("x-") => Reason::ExtensionUnknown {
                name: name.to_owned(),
            },
            _ => continue,
        };
        return Err(value.fault(reason));
    }
    Ok(())
}

fn required<'a>(document: &'a Node, key: &'static str) -> Result<&'a Node, Fault> {
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

/// The searches by name, each compiled.
type Searches = Vec<(String, Program)>;

fn condition_and_searches(
    node: &Node,
    fields: &mut Fields,
) -> Result<(Condition, Searches), Fault> {
    let conditions = conditions(node)?;
    let mut searches = Searches::new();
    for (name, search) in node.map().unwrap_or_default() {
        if name.text != "condition" {
            let program = Compiler {
                fields: &mut *fields,
            }
            .search(search)?;
            searches.push((name.text.clone(), program));
        }
    }
    let names: Vec<String> = searches.iter().map(|(name, _)| name.clone()).collect();
    let mut parsed = Vec::new();
    for (line, text) in conditions {
        parsed.push(condition::parse(text, &names).map_err(|reason| reason.at(line))?);
    }
    Ok((Condition::Any(parsed), searches))
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

fn program(condition: &Condition, searches: &Searches) -> Program {
    let parts = |parts: &[Condition]| parts.iter().map(|part| program(part, searches)).collect();
    match condition {
        Condition::Search(index) => searches
            .get(*index)
            .map_or_else(|| Program::Any(Vec::new()), |(_, program)| program.clone()),
        Condition::All(conditions) => Program::All(parts(conditions)),
        Condition::Any(conditions) => Program::Any(parts(conditions)),
        Condition::Not(part) => Program::Not(Box::new(program(part, searches))),
    }
}

/// How many tests the program will have: known before it is built, because a condition may name a
/// large search many times.
fn tests(condition: &Condition, searches: &Searches) -> usize {
    match condition {
        Condition::Search(index) => searches
            .get(*index)
            .map_or(0, |(_, program)| program.tests()),
        Condition::All(parts) | Condition::Any(parts) => parts.iter().fold(0_usize, |sum, part| {
            sum.saturating_add(tests(part, searches))
        }),
        Condition::Not(part) => tests(part, searches),
    }
}

fn unused(condition: &Condition, searches: &Searches) -> Vec<String> {
    let mut used = vec![false; searches.len()];
    mark_used(condition, &mut used);
    let unused = searches.iter().zip(used).filter(|(_, used)| !used);
    unused.map(|((name, _), _)| name.clone()).collect()
}

fn mark_used(condition: &Condition, used: &mut [bool]) {
    match condition {
        Condition::Search(index) => used
            .get_mut(*index)
            .into_iter()
            .for_each(|used| *used = true),
        Condition::All(parts) | Condition::Any(parts) => {
            for part in parts {
                mark_used(part, used);
            }
        }
        Condition::Not(part) => mark_used(part, used),
    }
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

/// `x-ancestor`: `any` wants one of the parents to match, `none` wants none of them to.
fn ancestor(node: &Node, scope: Scope, fields: &mut Fields) -> Result<Program, Fault> {
    let wrong = |node: &Node, wanted| {
        node.fault(Reason::Shape {
            key: "x-ancestor".into(),
            wanted,
        })
    };
    if matches!(scope.view, View::Audit | View::Text) {
        return Err(wrong(node, "for log source auditd, or for text"));
    }
    let pairs = node.map().filter(|pairs| !pairs.is_empty());
    let pairs = pairs.ok_or_else(|| wrong(node, "a map with `any` or `none`"))?;
    let mut parts = Vec::new();
    for (name, search) in pairs {
        let program = ancestor_search(search, fields)?;
        match name.text.as_str() {
            "any" => parts.push(program),
            "none" => parts.push(Program::Not(Box::new(program))),
            _ => return Err(wrong(search, "a map with `any` or `none`")),
        }
    }
    Ok(Program::All(parts))
}

/// `Image` with modifiers, once: several keys would each be free to choose another ancestor.
fn ancestor_search(node: &Node, fields: &mut Fields) -> Result<Program, Fault> {
    let wanted = "a map with one key, `Image` and its modifiers";
    let wrong = || {
        node.fault(Reason::Shape {
            key: "x-ancestor".into(),
            wanted,
        })
    };
    let Some([(key, value)]) = node.map() else {
        return Err(wrong());
    };
    let modifiers = key.text.strip_prefix("Image").ok_or_else(wrong)?;
    if !(modifiers.is_empty() || modifiers.starts_with('|')) {
        return Err(wrong());
    }
    let mut key = key.clone();
    key.text = format!("{}{modifiers}", event::ANCESTRY);
    let search = Node {
        line: node.line,
        value: Value::Map(vec![(key, value.clone())]),
    };
    Compiler { fields }.search(&search)
}

/// The names that no event ever has. In our own words such a name is a mistake.
fn never(program: &Program, view: View, fields: &Fields) -> Result<Vec<String>, Reason> {
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
