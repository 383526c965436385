//! Every construct of Sigma's specification says what the specification says.

#[path = "support/constructs.rs"]
mod constructs;
#[path = "support/made.rs"]
#[expect(dead_code, reason = "only the record is needed here")]
mod made;

use picket_event::Kind;
use picket_rules::{RuleSet, Scratch, Source};
use serde_json::Value;

#[test]
fn every_construct_finds_what_the_specification_says() {
    let (mut wrong, mut events, mut alone) = (Vec::new(), 0, 0);
    for construct in constructs::constructs() {
        let source = Source {
            name: construct.what.clone(),
            text: construct.text,
        };
        let loaded = RuleSet::compile(&[source]);
        assert_eq!(loaded.refused, [], "{}", construct.what);
        let (mut scratch, mut hits) = (Scratch::default(), Vec::new());
        alone += usize::from(construct.pysigma.is_some());
        for (event, found) in construct.events {
            events += 1;
            let record = made::Made {
                kind: Kind::Exec,
                fields: loaded.rules.fields(),
                event: &event,
            };
            loaded
                .rules
                .evaluate_record(&record, &mut scratch, &mut hits);
            if found == hits.is_empty() {
                let event = Value::Object(event);
                wrong.push(format!("{}: not {found} of {event}", construct.what));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    eprintln!("{events} events, of {alone} constructs no other evaluator says the same");
}
