//! Another evaluator, sigma-rust, over the shared rules: events are made from each rule's own literals (as they are, in the
//! other case, and missing by a little), and both must say the same of every one.
//!
//! The two differ by design in types: to sigma-rust `80` is not `'80'`. The events have the type that the rule writes.

#[path = "support/made.rs"]
mod made;
#[path = "support/shared.rs"]
mod shared;

use picket_event::Kind;
use picket_rules::{RuleSet, Scratch, Source};
use serde_json::Value;
use serde_norway::Value as Yaml;
use sigma_rust::Event;

#[test]
fn sigma_rust_says_the_same_of_events_made_from_the_rules_own_words() {
    let Some(data) = shared::data() else { return };
    let mut random = made::Random(0x2545_f491_4f6c_dd1d);
    let mut compared = Compared::default();
    let live = ["rules", "rules-emerging-threats", "rules-threat-hunting"];
    for set in live {
        for source in shared::sources(&data.join("sigma-linux").join(set)) {
            if let Some(rule) = Both::new(source) {
                rule.compare(&mut random, &mut compared);
            }
        }
    }
    let Compared {
        rules,
        events,
        hits,
        wrong,
    } = compared;
    eprintln!(
        "{rules} rules, {events} events, {hits} hits, {} differences",
        wrong.len()
    );
    assert_eq!(wrong, Vec::<String>::new());
    assert!(
        rules >= 150 && hits * 10 > events,
        "{rules} rules, {hits} of {events} hit"
    );
}

#[derive(Default)]
struct Compared {
    rules: usize,
    events: usize,
    hits: usize,
    wrong: Vec<String>,
}

/// One rule in both evaluators.
struct Both {
    name: String,
    ours: RuleSet,
    theirs: sigma_rust::Rule,
    kind: Kind,
    searches: Vec<Yaml>,
}

impl Both {
    /// Rules in Sigma's categories. Those for auditd see records and those without a category lines, of which sigma-rust knows
    /// nothing: `sigma.rs` and `text.rs` judge them.
    fn new(source: Source) -> Option<Self> {
        let document: Yaml = serde_norway::from_str(&source.text).expect("a rule is YAML");
        let kind = match document.get("logsource")?.get("category")?.as_str()? {
            "process_creation" => Kind::Exec,
            "file_event" => Kind::FileCreate,
            "network_connection" => Kind::NetConnect,
            other => unreachable!("category {other}"),
        };
        let theirs = sigma_rust::rule_from_yaml(&source.text).expect("sigma-rust takes the rule");
        let searches = made::searches(&document);
        let name = source.name.clone();
        let loaded = RuleSet::compile(&[source]);
        assert_eq!(loaded.refused, []);
        Some(Self {
            name,
            ours: loaded.rules,
            theirs,
            kind,
            searches,
        })
    }

    fn compare(&self, random: &mut made::Random, compared: &mut Compared) {
        compared.rules += 1;
        let (mut scratch, mut hits) = (Scratch::default(), Vec::new());
        for _ in 0..made::events() {
            for event in made::three(&self.searches, random) {
                let theirs = Event::try_from(Value::Object(event.clone())).expect("an event");
                let theirs = self.theirs.is_match(&theirs);
                let record = made::Made {
                    kind: self.kind,
                    fields: self.ours.fields(),
                    event: &event,
                };
                self.ours.evaluate_record(&record, &mut scratch, &mut hits);
                compared.events += 1;
                compared.hits += usize::from(theirs);
                if theirs == hits.is_empty() && compared.wrong.len() < 20 {
                    let event = Value::Object(event);
                    compared.wrong.push(format!(
                        "{}: sigma-rust says {theirs} of {event}",
                        self.name
                    ));
                }
            }
        }
    }
}
