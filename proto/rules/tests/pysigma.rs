//! A second evaluator, pySigma with its backend for SQLite, over the shared rules: it makes SQL of each of them, SQLite judges by it the
//! events made from the rule's own literals, and both must say the same of every one. Here rules for auditd and about lines of logs
//! are judged too.
//!
//! pySigma is a program of others under a licence of its own (LGPL). It is never part of ours: `make` fetches it into the cache, and
//! `PICKET_PYSIGMA` names the folder. Where it is not there, the test says so; in CI it must be.

#[path = "support/constructs.rs"]
mod constructs;
#[path = "support/made.rs"]
mod made;
#[path = "support/shared.rs"]
mod shared;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use picket_event::{Detail, Event, Kind, LogLine, Source as Sensor, Text, UnixNanos};
use picket_rules::{RuleHit, RuleSet, Scratch, Source, Written};
use serde_json::{Map, Value, json};
use serde_norway::Value as Yaml;

#[test]
fn pysigma_and_sqlite_say_the_same_of_events_made_from_the_rules_own_words() {
    let Some(data) = shared::data() else { return };
    let Some(mut theirs) = Theirs::start() else {
        return;
    };
    let mut random = made::Random(0x2545_f491_4f6c_dd1d);
    let mut compared = Compared::default();
    let live = ["rules", "rules-emerging-threats", "rules-threat-hunting"];
    for set in live {
        for source in shared::sources(&data.join("sigma-linux").join(set)) {
            let rule = Ours::new(source);
            let events = rule.events(&mut random);
            match theirs.hits(&rule.text, &events) {
                Ok(hits) => compared.compare(&rule, &events, &hits),
                Err(why) => compared.refused.push(format!("{}: {why}", rule.name)),
            }
        }
    }
    compared.report();
}

/// What the specification says of its constructs is what SQLite says, but where a limit of it, or of pySigma, is named.
#[test]
fn pysigma_and_sqlite_say_of_each_construct_what_the_specification_says() {
    let Some(mut theirs) = Theirs::start() else {
        return;
    };
    let (mut events, mut differs, mut wrong) = (0, BTreeMap::new(), Vec::new());
    for construct in constructs::constructs() {
        let asked: Vec<_> = construct
            .events
            .iter()
            .map(|(event, _)| event.clone())
            .collect();
        let answer = theirs.hits(&construct.text, &asked);
        events += asked.len();
        let right = answer.as_ref().is_ok_and(|hits| {
            let mut found = construct.events.iter().map(|(_, found)| *found).enumerate();
            found.all(|(number, found)| hits.contains(&number) == found)
        });
        let what = &construct.what;
        match construct.pysigma {
            None if right => {}
            None => wrong.push(format!("{what}: {answer:?}")),
            Some(limit) if right => wrong.push(format!("{what}: no difference: {limit}")),
            Some(limit) => {
                differs.insert(what.clone(), limit);
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    eprintln!("{events} events; left to the specification alone: {differs:#?}");
    assert!(events > 100 && differs.len() <= 5, "{differs:?}");
}

const OVER_LOGINS: &str = "
title: refused
name: refused
logsource: {category: login_failed}
detection: {s: {login.outcome: failure}, condition: s}
---
title: taken
name: taken
logsource: {category: login}
detection: {s: {login.outcome: success}, condition: s}
---
title: by key
name: by_key
logsource: {category: login}
detection: {s: {login.outcome: success, login.method: publickey}, condition: s}
---
title: correlation
";

const CORRELATIONS: [&str; 14] = [
    "{type: event_count, rules: [refused], group-by: [login.user], timespan: 60s, condition: {gte: 4}}",
    "{type: event_count, rules: [taken, by_key], group-by: [login.user, login.source_ip], timespan: 60s, condition: {gt: 2}}",
    "{type: event_count, rules: [refused], group-by: [login.source_ip], timespan: 30s, condition: {eq: 3}}",
    "{type: event_count, rules: [refused], group-by: [login.source_ip], timespan: 30s, condition: {neq: 1}}",
    "{type: value_count, rules: [refused], group-by: [login.source_ip], timespan: 60s, condition: {field: login.user, gte: 3}}",
    "{type: value_count, rules: [refused], group-by: [login.source_ip], timespan: 60s, condition: {field: login.user, lt: 2}}",
    "{type: value_sum, rules: [refused], group-by: [login.user], timespan: 60s, condition: {field: login.source_port, gte: 90}}",
    "{type: value_avg, rules: [refused], group-by: [login.user], timespan: 60s, condition: {field: login.source_port, gt: 30}}",
    "{type: value_median, rules: [refused], group-by: [login.user], timespan: 60s, condition: {field: login.source_port, lte: 15}}",
    "{type: value_percentile, rules: [refused], group-by: [login.user], timespan: 60s, condition: {field: login.source_port, percentile: 80, gte: 35}}",
    "{type: temporal, rules: [refused, taken, by_key], group-by: [login.user], timespan: 40s}",
    "{type: temporal, rules: [refused, taken, by_key], group-by: [login.user], timespan: 20s, condition: refused and (by_key or taken)}",
    "{type: temporal_ordered, rules: [refused, by_key, taken], group-by: [login.user], timespan: 60s}",
    "{type: temporal_ordered, rules: [refused, by_key, taken], group-by: [login.source_ip], timespan: 20s, condition: {gte: 2}}",
];

/// Both see the same event complete a correlation first; then ours begins anew, and SQLite does not.
#[test]
fn pysigma_and_sqlite_find_correlations_complete_at_the_same_event() {
    let Some(mut theirs) = Theirs::start() else {
        return;
    };
    let mut random = made::Random(0x2545_f491_4f6c_dd1d);
    let (mut wrong, mut complete) = (Vec::new(), 0);
    for correlation in CORRELATIONS {
        let text = format!("{OVER_LOGINS}correlation: {correlation}\n");
        for _ in 0..40 {
            let logins = logins(&mut random);
            let answer = theirs.complete(&text, &logins);
            let first = answer.expect("SQLite takes it").into_iter().min();
            let ours = first_complete(&text, &logins);
            complete += usize::from(ours.is_some());
            if ours != first {
                wrong.push(format!(
                    "{correlation}: {ours:?}, SQLite {first:?}: {logins:?}"
                ));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    eprintln!(
        "{complete} of {} streams complete one",
        40 * CORRELATIONS.len()
    );
    assert!(complete > 200 && complete < 550, "{complete}");
}

/// Some logins of few users from few places, each at least a second after the one before.
fn logins(random: &mut made::Random) -> Vec<Map<String, Value>> {
    let mut second = 1_767_600_000;
    let events = (0..12).map(|_| {
        second += 1 + random.below(12);
        let mut one_of = |values: &[&str]| Value::from(values[random.below(values.len())]);
        let pairs = [
            ("login.outcome", one_of(&["failure", "success"])),
            ("login.method", one_of(&["password", "publickey"])),
            ("login.user", one_of(&["ada", "bob", "eve"])),
            ("login.source_ip", one_of(&["203.0.113.1", "203.0.113.2"])),
            ("login.source_port", Value::from(10 * (1 + random.below(4)))),
            ("time", Value::from(second)),
        ];
        pairs
            .map(|(name, value)| (name.to_owned(), value))
            .into_iter()
            .collect()
    });
    events.collect()
}

/// The second of the first event that completes the correlation.
fn first_complete(text: &str, logins: &[Map<String, Value>]) -> Option<usize> {
    let name = "correlation".to_owned();
    let text = text.to_owned();
    let mut loaded = RuleSet::compile(&[Source { name, text }]);
    assert_eq!(loaded.refused, []);
    let (mut scratch, mut hits) = (Scratch::default(), Vec::new());
    let mut complete = logins.iter().filter(|login| {
        let event = login_event(login);
        loaded.rules.evaluate(&event, &mut scratch, &mut hits);
        !loaded.correlations.step(&event, &hits).is_empty()
    });
    let first = complete.next()?.get("time").and_then(Value::as_u64);
    first.and_then(|second| usize::try_from(second).ok())
}

fn login_event(login: &Map<String, Value>) -> Event {
    let refused = text(login, "login.outcome") == "failure";
    let second = login.get("time").and_then(Value::as_i64).expect("a time");
    let of = |name: &str| login.get(name).expect("a field");
    let json = json!({
        "kind": if refused { "login_failed" } else { "login" },
        "time": UnixNanos(second * 1_000_000_000).to_string(),
        "source": "replay",
        "login": {
            "user": of("login.user"), "outcome": of("login.outcome"), "method": of("login.method"),
            "source_ip": of("login.source_ip"), "source_port": of("login.source_port"),
        },
    });
    let event = picket_event::json::from_value(&json);
    event.expect("it is an event").event
}

#[derive(Default)]
struct Compared {
    rules: BTreeMap<&'static str, usize>,
    events: usize,
    hits: usize,
    refused: Vec<String>,
    wrong: Vec<String>,
}

impl Compared {
    fn compare(&mut self, rule: &Ours, events: &[Map<String, Value>], theirs: &BTreeSet<usize>) {
        *self.rules.entry(rule.reads.name()).or_default() += 1;
        let mut scratch = Scratch::default();
        for (number, event) in events.iter().enumerate() {
            let theirs = theirs.contains(&number);
            self.events += 1;
            self.hits += usize::from(theirs);
            if theirs != rule.hits(event, &mut scratch) {
                let event = Value::Object(event.clone());
                let name = &rule.name;
                let wrong = format!("{name}: SQLite says {theirs} of {event}");
                self.wrong.push(wrong);
            }
        }
    }

    #[expect(clippy::print_stderr, reason = "figures of a test")]
    fn report(self) {
        let Self {
            rules,
            events,
            hits,
            refused,
            wrong,
        } = self;
        let differences = wrong.len();
        eprintln!("{rules:?} rules, {events} events, {hits} hits, {differences} differences");
        assert_eq!(refused, Vec::<String>::new());
        let some: Vec<&String> = wrong.iter().take(20).collect();
        assert!(wrong.is_empty(), "{differences}: {some:#?}");
        assert_eq!(rules.values().sum::<usize>(), 248, "{rules:?}");
        assert!(hits * 10 > events, "{hits} of {events} hit");
    }
}

/// A rule in our evaluator.
struct Ours {
    name: String,
    text: String,
    rules: RuleSet,
    reads: Reads,
    searches: Vec<Yaml>,
}

/// What a rule is asked about.
enum Reads {
    /// Events in the words of Sigma.
    Events(Kind),
    /// Records of audit.
    Records,
    /// Lines of a program.
    Lines(&'static str),
}

impl Reads {
    fn of(source: &Yaml) -> Self {
        let part = |key| source.get(key).and_then(Yaml::as_str);
        match (part("category"), part("service")) {
            (Some("process_creation"), _) => Self::Events(Kind::Exec),
            (Some("file_event"), _) => Self::Events(Kind::FileCreate),
            (Some("network_connection"), _) => Self::Events(Kind::NetConnect),
            (None, Some("auditd")) => Self::Records,
            (None, service) => Self::Lines(match service {
                Some("cron") => "cron",
                Some("clamav") => "clamd",
                Some("guacamole") => "guacd",
                Some("sshd") => "sshd",
                Some("sudo") => "sudo",
                Some("vsftpd") => "vsftpd",
                None | Some("auth" | "syslog") => "any",
                other => unreachable!("service {other:?}"),
            }),
            (other, _) => unreachable!("category {other:?}"),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Events(_) => "of categories",
            Self::Records => "for auditd",
            Self::Lines(_) => "about lines",
        }
    }
}

impl Ours {
    fn new(source: Source) -> Self {
        let document: Yaml = serde_norway::from_str(&source.text).expect("a rule is YAML");
        let Source { name, text } = source.clone();
        let loaded = RuleSet::compile(&[source]);
        assert_eq!(loaded.refused, []);
        Self {
            name,
            text,
            rules: loaded.rules,
            reads: Reads::of(document.get("logsource").expect("a rule has a log source")),
            searches: made::searches(&document),
        }
    }

    fn events(&self, random: &mut made::Random) -> Vec<Map<String, Value>> {
        let events = (0..made::events()).flat_map(|_| made::three(&self.searches, random));
        let lines = matches!(self.reads, Reads::Lines(_));
        events
            .map(|event| if lines { line(event) } else { event })
            .collect()
    }

    fn hits(&self, event: &Map<String, Value>, scratch: &mut Scratch) -> bool {
        let mut hits = Vec::new();
        match self.reads {
            Reads::Events(kind) => {
                let fields = self.rules.fields();
                let record = made::Made {
                    kind,
                    fields,
                    event,
                };
                self.rules.evaluate_record(&record, scratch, &mut hits);
            }
            Reads::Records => self.record(event, scratch, &mut hits),
            Reads::Lines(program) => {
                let log = LogLine {
                    program: Text::from(program),
                    pid: None,
                    text: Text::from(text(event, "").as_str()),
                };
                let event = Event::new(Kind::Finding, UnixNanos(0), Sensor::AuthLog);
                let event = event.with(Detail::Log(log));
                self.rules.evaluate(&event, scratch, &mut hits);
            }
        }
        !hits.is_empty()
    }

    fn record(&self, event: &Map<String, Value>, scratch: &mut Scratch, hits: &mut Vec<RuleHit>) {
        let named = event
            .keys()
            .filter(|name| !matches!(name.as_str(), "" | "type" | "SYSCALL"));
        let field = |name: &String| (name.clone(), Text::from(text(event, name).as_str()));
        let fields: Vec<(String, Text)> = named.map(field).collect();
        let (kind, line) = (text(event, "type"), text(event, ""));
        let call = event
            .contains_key("SYSCALL")
            .then(|| text(event, "SYSCALL"));
        let written = Written {
            kind: &kind,
            syscall: call.as_deref(),
            fields: &fields,
            line: line.as_bytes(),
        };
        let event = Event::new(Kind::Finding, UnixNanos(0), Sensor::Audit);
        let written = std::iter::once(written);
        self.rules.evaluate_written(&event, written, scratch, hits);
    }
}

/// The text of a field; empty, if the event has none.
fn text(event: &Map<String, Value>, field: &str) -> String {
    match event.get(field) {
        None => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// The event as a program writes it: what it says, then its fields by their names, as sudo has them.
fn line(mut event: Map<String, Value>) -> Map<String, Value> {
    let mut line = text(&event, "");
    for name in event.keys().filter(|name| !name.is_empty()) {
        line = format!("{line} ; {name}={} ; ", text(&event, name));
    }
    event.insert(String::new(), Value::from(line));
    event
}

/// pySigma and SQLite, in a process of Python.
struct Theirs {
    python: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Theirs {
    fn start() -> Option<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/pysigma.py");
        let modules = std::env::var_os("PICKET_PYSIGMA").unwrap_or_default();
        let mut python = Command::new("python3");
        python.arg(script).env("PYTHONPATH", modules);
        python.stdin(Stdio::piped()).stdout(Stdio::piped());
        let python = python
            .spawn()
            .map_err(|error| format!("no python3: {error}"));
        let mut started = match python {
            Ok(mut python) => {
                let input = python.stdin.take().expect("its input is a pipe");
                let output = python.stdout.take().expect("its output is a pipe");
                let output = BufReader::new(output);
                Self {
                    python,
                    input,
                    output,
                }
            }
            Err(why) => return missing(&why),
        };
        if started
            .hits(
                "title: a\nlogsource: {category: a}\ndetection: {a: {a: a}, condition: a}",
                &[],
            )
            .is_ok()
        {
            return Some(started);
        }
        let status = started.python.wait().expect("it ended");
        assert_eq!(status.code(), Some(77), "pySigma failed");
        missing("no modules of pySigma with its backend for SQLite (make deps-test fetches them)")
    }

    /// The numbers of the events that the queries find.
    fn hits(
        &mut self,
        rule: &str,
        events: &[Map<String, Value>],
    ) -> Result<BTreeSet<usize>, String> {
        self.ask(&json!({"rule": rule, "events": events}))
    }

    /// The times at which the correlation is complete.
    fn complete(
        &mut self,
        rule: &str,
        events: &[Map<String, Value>],
    ) -> Result<BTreeSet<usize>, String> {
        self.ask(&json!({"rule": rule, "events": events, "correlation": true}))
    }

    fn ask(&mut self, asked: &Value) -> Result<BTreeSet<usize>, String> {
        let written = writeln!(self.input, "{asked}");
        written.map_err(|error| error.to_string())?;
        let mut answer = String::new();
        let read = self.output.read_line(&mut answer);
        read.map_err(|error| error.to_string())?;
        let answer: Value = serde_json::from_str(&answer).map_err(|error| error.to_string())?;
        match answer.get("hits").and_then(Value::as_array) {
            Some(hits) => Ok(hits
                .iter()
                .map(|hit| usize::try_from(hit.as_u64().expect("a number")).expect("a place"))
                .collect()),
            None => Err(text(answer.as_object().expect("an object"), "refused")),
        }
    }
}

impl Drop for Theirs {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.python.kill());
        drop(self.python.wait());
    }
}

/// Elsewhere than in CI the test may be left out, and says so.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn missing(why: &str) -> Option<Theirs> {
    assert!(std::env::var_os("CI").is_none(), "{why}");
    eprintln!("SKIPPED: the comparison with pySigma and SQLite: {why}");
    None
}
