//! What goes beyond plain Sigma: extensions under `x-`, what is refused by name, our own words.

use picket_event::Event;
use picket_rules::{Reason, Remark, RuleSet, Scratch, Source};
use serde_json::{Value, json};

#[test]
fn an_ancestor_may_be_any_parent_and_none_excludes_all_of_them() {
    let rule = rule(
        "process_creation",
        "Image|endswith: /sh",
        "x-ancestor: {any: {Image|endswith: [/nginx, /apache2]}, none: {Image|endswith: /sshd}}",
    );
    let below = |parents: &[&str]| exec("/bin/sh", parents);
    assert!(matches(&rule, &below(&["/usr/sbin/nginx"])));
    assert!(matches(
        &rule,
        &below(&["/usr/bin/perl", "/usr/bin/env", "/usr/sbin/apache2"])
    ));
    assert!(!matches(&rule, &below(&["/usr/bin/bash"])));
    assert!(!matches(&rule, &below(&[])));
    assert!(!matches(
        &rule,
        &below(&["/usr/sbin/nginx", "/usr/sbin/sshd"])
    ));
}

#[test]
fn an_ancestor_is_asked_for_its_image_and_nothing_else() {
    for ancestor in [
        "x-ancestor: {any: {CommandLine: x}}",
        "x-ancestor: {any: {Image: x, Image|contains: y}}",
        "x-ancestor: {some: {Image: x}}",
        "x-ancestor: []",
        "x-ancestor: nginx",
        "x-ancestor: {}",
    ] {
        let reason = refused(&rule("process_creation", "Image: x", ancestor));
        assert!(
            matches!(reason, Reason::Shape { .. }),
            "{ancestor}: {reason}"
        );
    }
}

#[test]
fn what_is_not_taken_is_refused_by_name() {
    let plain = |extra| refused(&rule("process_creation", "Image: x", extra));
    assert_eq!(
        plain("x-else: {}").to_string(),
        "extension `x-else` is not known"
    );
    let both = "x-first-seen: {fields: Image, within: 1d}\nx-sequence: {}";
    assert_eq!(plain(both), Reason::Together);
    assert_eq!(
        plain("action: forget"),
        Reason::Collection {
            action: "forget".into()
        }
    );
    let timed = rule("process_creation", "Image: x", "")
        .replace("  condition", "  timeframe: 5m\n  condition");
    assert_eq!(refused(&timed), Reason::Timeframe);
}

#[test]
fn a_field_of_ours_that_does_not_exist_is_a_mistake_and_one_of_sigma_is_a_remark() {
    let reason = refused(&rule("process_creation", "process.exee: x", ""));
    assert_eq!(reason.to_string(), "field `process.exee` does not exist");
    let source = source(&rule("network_connection", "DestinationHostname: x", ""));
    let loaded = RuleSet::compile(&[source]);
    let dead = Remark::Dead {
        fields: vec!["DestinationHostname".into()],
    };
    assert_eq!(loaded.notes[0].remark, dead);
}

#[test]
fn an_id_is_given_once() {
    let text = rule("process_creation", "Image: x", "id: a");
    let loaded = RuleSet::compile(&[source(&text), source(&text)]);
    assert_eq!(loaded.rules.rules().len(), 1);
    assert!(matches!(
        loaded.refused[0].reason,
        Reason::DuplicateId { .. }
    ));
}

#[test]
fn sigma_and_picket_names_mean_the_same_event() {
    let event = json!({
        "kind": "net_connect",
        "process": {"exe": "/usr/bin/nc", "user": {"uid": 33, "name": "www-data"}},
        "network": {"proto": "tcp", "direction": "outbound", "remote_ip": "203.0.113.7", "remote_port": 4444}
    });
    for search in [
        "DestinationIp|cidr: 203.0.113.0/24",
        "DestinationPort: 4444",
        "DestinationPort|gte: 4000",
        "Initiated: true",
        "Initiated: 'true'",
        "User: WWW-data",
        "LogonId: 33",
        "network.remote_port: '4444'",
        "kind: net_connect",
        "process.user.name|startswith: www",
        "DestinationHostname: null",
        "process.cwd|exists: false",
        "Image|re: '/nc$'",
    ] {
        assert!(
            matches(&rule("network_connection", search, ""), &event),
            "{search}"
        );
    }
    for search in [
        "DestinationIp|cidr: 10.0.0.0/8",
        "User|cased: WWW-data",
        "Image|re: '/NC$'",
    ] {
        assert!(
            !matches(&rule("network_connection", search, ""), &event),
            "{search}"
        );
    }
}

#[test]
fn the_source_of_a_connection_is_who_began_it() {
    let event = json!({
        "kind": "net_accept",
        "process": {"exe": "/usr/sbin/sshd"},
        "network": {"proto": "tcp", "direction": "inbound", "local_ip": "10.0.0.1", "local_port": 22,
                    "remote_ip": "203.0.113.7", "remote_port": 50000}
    });
    let search = "{SourceIp: 203.0.113.7, DestinationPort: 22, Initiated: false}";
    assert!(matches(&rule("network_connection", search, ""), &event));
}

#[test]
fn a_file_moved_into_place_counts_as_written_there() {
    let rule = rule("file_event", "TargetFilename|startswith: /etc/cron.d/", "");
    let file = |kind: &str, path: &str, new_path: &str| json!({"kind": kind, "process": {"exe": "/bin/mv"}, "file": {"path": path, "new_path": new_path}});
    assert!(matches(
        &rule,
        &file("file_rename", "/tmp/x", "/etc/cron.d/x")
    ));
    assert!(!matches(
        &rule,
        &file("file_rename", "/etc/cron.d/x", "/tmp/x")
    ));
    assert!(!matches(&rule, &file("file_delete", "/etc/cron.d/x", "")));
}

#[test]
fn rules_for_auditd_work_on_events_without_auditd() {
    let rule = |search: &str| rule("", search, "").replace("category: ''", "service: auditd");
    let exec = json!({
        "kind": "exec",
        "process": {"exe": "/usr/bin/chattr", "comm": "chattr", "argv": ["chattr", "-i", "/etc/passwd"],
                    "argc": 3, "user": {"uid": 0, "name": "root"}, "effective_uid": 33}
    });
    for search in [
        "{type: EXECVE, a0|contains: chattr, a1|contains: -i}",
        "{type: execve, a2: /etc/passwd}",
        "{type: SYSCALL, SYSCALL: execve, euid: 33, uid: 0}",
        "{type: SYSCALL, comm: chattr, exe: /usr/bin/chattr}",
        "{'|all': [chattr, /etc/passwd]}",
    ] {
        assert!(matches(&rule(search), &exec), "{search}");
    }
    assert!(!matches(
        &rule("{type: EXECVE, exe: /usr/bin/chattr}"),
        &exec
    ));
    let create = json!({
        "kind": "file_create",
        "process": {"exe": "/bin/sh"},
        "file": {"path": "/etc/systemd/system/x.service"}
    });
    let search = "{type: PATH, nametype: CREATE, name|startswith: /etc/systemd/system/}";
    assert!(matches(&rule(search), &create));
    let moved = json!({
        "kind": "file_rename",
        "process": {"exe": "/bin/mv"},
        "file": {"path": "/tmp/x", "new_path": "/etc/systemd/system/x.service"}
    });
    assert!(matches(&rule(search), &moved));
}

#[test]
fn a_verdict_names_rule_author_licence_and_techniques() {
    let text = rule(
        "process_creation",
        "Image: /bin/sh",
        "id: an-id\nauthor: A. Author\nlicense: DRL-1.1\nlevel: critical\ntags: [attack.execution, attack.t1059.004, cve.2026-1]",
    );
    let loaded = RuleSet::compile(&[source(&text)]);
    let verdicts = loaded
        .rules
        .verdicts(&event(&exec("/bin/sh", &[])), &mut Scratch::default());
    let [picket_event::Verdict::Rule(verdict)] = verdicts.as_slice() else {
        panic!("one verdict of a rule: {verdicts:?}");
    };
    assert_eq!(verdict.id, "an-id");
    assert_eq!(verdict.severity, picket_event::Severity::Critical);
    assert_eq!(verdict.attack, ["T1059.004"]);
    assert_eq!(
        (verdict.author.as_str(), verdict.license.as_str()),
        ("A. Author", "DRL-1.1")
    );
}

fn rule(category: &str, search: &str, extra: &str) -> String {
    format!(
        "title: x\nlogsource:\n  product: linux\n  category: '{category}'\ndetection:\n  s:\n    {search}\n  \
         condition: s\n{extra}\n"
    )
}

fn source(text: &str) -> Source {
    Source {
        name: "rule.yml".into(),
        text: text.to_owned(),
    }
}

fn refused(text: &str) -> Reason {
    let mut loaded = RuleSet::compile(&[source(text)]);
    assert_eq!(loaded.rules.rules().len(), 0, "{text}");
    loaded.refused.remove(0).reason
}

fn matches(text: &str, json: &Value) -> bool {
    let loaded = RuleSet::compile(&[source(text)]);
    assert_eq!(loaded.refused, [], "{text}");
    let (mut scratch, mut hits) = (Scratch::default(), Vec::new());
    loaded.rules.evaluate(&event(json), &mut scratch, &mut hits);
    !hits.is_empty()
}

fn exec(exe: &str, parents: &[&str]) -> Value {
    let ancestry: Vec<Value> = parents.iter().map(|exe| json!({"exe": exe})).collect();
    json!({"kind": "exec", "process": {"exe": exe, "argv": [exe], "ancestry": ancestry}})
}

/// Fills in what every event has.
fn event(json: &Value) -> Event {
    let mut json = json.clone();
    let uid = "0".repeat(32);
    json["time"] = json!("2026-01-05T10:00:00Z");
    json["source"] = json!("replay");
    json["process"]["uid"] = json!(uid);
    json["process"]["pid"] = json!(7);
    for ancestor in json["process"]["ancestry"]
        .as_array_mut()
        .into_iter()
        .flatten()
    {
        ancestor["uid"] = json!(uid);
    }
    picket_event::json::from_value(&json)
        .expect("an event")
        .event
}

/// An id is not required, also where several rules stand in one file.
#[test]
fn rules_of_one_file_need_no_ids() {
    let rule =
        "title: x\nlogsource: {category: exec}\ndetection: {s: {process.exe: /x}, condition: s}\n";
    let source = Source {
        name: "x.yml".into(),
        text: [rule, rule, rule].join("---\n"),
    };
    let loaded = RuleSet::compile(&[source]);
    assert_eq!(loaded.refused, []);
    let ids: Vec<&str> = loaded
        .rules
        .rules()
        .iter()
        .map(|rule| rule.id.as_str())
        .collect();
    assert_eq!(ids, ["x.yml", "x.yml#2", "x.yml#3"]);
}

/// Collections of old: what is global is in every rule behind it, what repeats is the rule before with what it says itself.
#[test]
fn collections_are_read_as_if_each_rule_stood_for_itself() {
    let text = "
action: global
title: shared
logsource: {product: linux, category: process_creation}
detection: {condition: s}
---
id: one
detection: {s: {Image: /one}}
---
action: repeat
id: two
title: own
detection: {s: {Image: /two}}
---
action: reset
---
id: three
title: whole
logsource: {product: linux, category: file_event}
detection: {s: {TargetFilename: /three}, condition: s}
";
    let source = Source {
        name: "collection".into(),
        text: text.into(),
    };
    let loaded = RuleSet::compile(&[source]);
    assert_eq!(loaded.refused, []);
    let rules = loaded.rules.rules().iter();
    let named: Vec<(&str, &str)> = rules
        .map(|rule| (rule.id.as_str(), rule.title.as_str()))
        .collect();
    assert_eq!(
        named,
        [("one", "shared"), ("two", "own"), ("three", "whole")]
    );
}
