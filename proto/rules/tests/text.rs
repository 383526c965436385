//! Rules about lines of logs: each keyword of Sigma's rules is found where it stands, and nowhere else.
//!
//! The other judge here is a plain search written for this test: lower case, `*` any text, `?` one character.

#[path = "support/shared.rs"]
mod shared;

use std::collections::BTreeSet;

use picket_event::{Detail, Event, Kind, LogLine, Source as Sensor, Text, UnixNanos};
use picket_rules::{RuleSet, Scratch, Source};

#[test]
fn words_are_found_without_regard_to_case_and_all_means_all() {
    let any = rule("", "keywords: ['Failed to generate', 'denied * from']");
    assert!(found(&any, "sshd", "Error: FAILED TO GENERATE keys"));
    assert!(found(&any, "named", "client denied AXFR from 192.0.2.7"));
    assert!(!found(&any, "named", "denied"));
    let all = rule(
        "",
        "keywords: {'|all': [pkexec, 'XAUTHORITY', '[USER=root]']}",
    );
    assert!(found(
        &all,
        "pkexec",
        "pkexec: xauthority contains [user=ROOT] x"
    ));
    assert!(!found(&all, "pkexec", "pkexec: xauthority contains"));
}

#[test]
fn a_service_sees_the_lines_of_its_programs() {
    let sshd = rule("service: sshd", "keywords: [curve25519]");
    assert!(found(&sshd, "sshd", "no curve25519"));
    assert!(found(&sshd, "sshd-session", "no curve25519"));
    assert!(!found(&sshd, "kernel", "no curve25519"));
    let cron = rule("service: cron", "keywords: [REPLACE]");
    assert!(found(&cron, "crontab", "(root) REPLACE (root)"));
    assert!(!found(&cron, "crontabs", "(root) REPLACE (root)"));
}

#[test]
fn fields_of_a_line_are_names_with_values() {
    let sudo = rule("service: sudo", "keywords: {USER: ['#-*', '#*4294967295']}");
    let line = |user: &str| format!("ada : TTY=pts/0 ; PWD=/ ; USER={user} ; COMMAND=/bin/ls");
    assert!(found(&sudo, "sudo", &line("#-1")));
    assert!(found(&sudo, "sudo", &line("#4294967295")));
    assert!(!found(&sudo, "sudo", &line("root")));
}

#[test]
fn events_that_are_no_lines_are_not_asked() {
    let any = rule("", "keywords: ['*']");
    let loaded = RuleSet::compile(&[source(&any)]);
    let event = Event::new(Kind::Exec, UnixNanos(0), Sensor::Replay);
    let mut hits = Vec::new();
    loaded
        .rules
        .evaluate(&event, &mut Scratch::default(), &mut hits);
    assert_eq!(hits, []);
}

/// Every keyword rule of Sigma, on lines made from its own words, whole, broken and in other case, and on lines of all other
/// rules: the set must hit what the plain search hits.
#[test]
fn keyword_rules_agree_with_a_plain_search() {
    let Some(data) = shared::data() else { return };
    let live = ["rules", "rules-emerging-threats", "rules-threat-hunting"];
    let sources: Vec<Source> = live
        .iter()
        .flat_map(|set| shared::sources(&data.join("sigma-linux").join(set)))
        .collect();
    let plain: Vec<Plain> = sources.iter().filter_map(Plain::of).collect();
    assert!(plain.len() >= 12, "{} rules", plain.len());
    let loaded = RuleSet::compile(&sources);
    let (mut scratch, mut hits, mut lines) = (Scratch::default(), Vec::new(), 0_u32);
    for line in plain.iter().flat_map(Plain::lines).collect::<BTreeSet<_>>() {
        let event = log("any-program", &line);
        loaded.rules.evaluate(&event, &mut scratch, &mut hits);
        let hit = |id: &str| {
            hits.iter()
                .any(|hit| loaded.rules.rule(hit.rule).unwrap().id == id)
        };
        for rule in &plain {
            assert_eq!(hit(&rule.id), rule.holds(&line), "{}: {line}", rule.id);
        }
        lines += 1;
    }
    eprintln!("{lines} lines, {} rules", plain.len());
    assert!(lines > 400, "{lines}");
}

/// A rule that is one list of words, for any program.
struct Plain {
    id: String,
    words: Vec<String>,
    all: bool,
}

impl Plain {
    fn of(source: &Source) -> Option<Self> {
        let text = &source.text;
        let header = text.split("detection:").next()?;
        let is_text = !header.contains("category:") && !header.contains("service:");
        let body = text
            .split("detection:\n")
            .nth(1)?
            .split("condition:")
            .next()?;
        let searches = body
            .lines()
            .filter(|line| line.starts_with("    ") && !line.starts_with("     "));
        let lists = searches
            .filter(|line| line.trim_end().ends_with(':'))
            .count();
        let words: Vec<String> = body.lines().filter_map(word).collect();
        let id = text.lines().find_map(|line| line.strip_prefix("id: "))?;
        (is_text && lists == 1 && !words.is_empty()).then(|| Self {
            id: id.trim().to_owned(),
            words,
            all: body.contains("'|all'"),
        })
    }

    fn holds(&self, line: &str) -> bool {
        let found = |word: &String| matches(&format!("*{word}*"), line);
        if self.all {
            self.words.iter().all(found)
        } else {
            self.words.iter().any(found)
        }
    }

    fn lines(&self) -> Vec<String> {
        let text = |word: &str| {
            word.replace('*', " x ")
                .replace('?', "y")
                .replace("\\\\", "\\")
        };
        let mut lines = Vec::new();
        for word in &self.words {
            let whole = text(word);
            lines.push(format!("before {whole} after"));
            lines.push(whole.to_uppercase());
            let mut broken: Vec<char> = whole.chars().collect();
            broken.remove(broken.len() / 2);
            lines.push(broken.into_iter().collect());
        }
        let all: Vec<String> = self.words.iter().map(|word| text(word)).collect();
        lines.push(all.join(" and "));
        lines.push(all[1..].join(" and "));
        lines
    }
}

/// `- 'a word'`, `- "a word"`, `- a word`
fn word(line: &str) -> Option<String> {
    let item = line.trim().strip_prefix("- ")?.trim();
    if let Some(rest) = item.strip_prefix('\'') {
        let (word, _) = rest.rsplit_once('\'')?;
        return Some(word.replace("''", "'"));
    }
    Some(item.trim_matches('"').to_owned())
}

/// Whether all of `text` fits `pattern`.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.to_ascii_lowercase(), text.to_ascii_lowercase());
    let (pattern, text): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), text.chars().collect());
    let mut fits = vec![false; text.len() + 1];
    fits[0] = true;
    let mut at = 0;
    while at < pattern.len() {
        let escaped = pattern[at] == '\\' && matches!(pattern.get(at + 1), Some('*' | '?' | '\\'));
        let (symbol, plain) = if escaped {
            (pattern[at + 1], true)
        } else {
            (pattern[at], false)
        };
        let mut next = vec![false; text.len() + 1];
        for end in 0..=text.len() {
            next[end] = match symbol {
                '*' if !plain => fits[..=end].iter().any(|fits| *fits),
                '?' if !plain => end > 0 && fits[end - 1],
                symbol => end > 0 && fits[end - 1] && text[end - 1] == symbol,
            };
        }
        fits = next;
        at += if escaped { 2 } else { 1 };
    }
    fits[text.len()]
}

fn rule(service: &str, search: &str) -> String {
    format!(
        "title: x\nid: x\nlogsource:\n  product: linux\n  {service}\ndetection:\n  {search}\n  condition: keywords\n"
    )
}

fn source(text: &str) -> Source {
    Source {
        name: "rule.yml".into(),
        text: text.to_owned(),
    }
}

fn found(rule: &str, program: &str, line: &str) -> bool {
    let loaded = RuleSet::compile(&[source(rule)]);
    assert_eq!(loaded.refused, [], "{rule}");
    let mut hits = Vec::new();
    loaded
        .rules
        .evaluate(&log(program, line), &mut Scratch::default(), &mut hits);
    !hits.is_empty()
}

fn log(program: &str, line: &str) -> Event {
    let log = LogLine {
        program: Text::from(program),
        pid: None,
        text: Text::from(line),
    };
    Event::new(Kind::Finding, UnixNanos(0), Sensor::AuthLog).with(Detail::Log(log))
}
