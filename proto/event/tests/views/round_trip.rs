//! Any event goes to the wire and back, and to JSON and back, unchanged.

use std::collections::BTreeSet;

use picket_event::{
    CredChange, Credentials, Detail, Dns, Event, Glance, Kind, KindCounts, Loss, LossCause,
    ProcessUid, Ptrace, Source, Text, UnixNanos, field, json,
};
use picket_proto::v1;
use proptest::prelude::*;
use prost::Message;
use serde_json::{Value, json};

use crate::{arbitrary, origin};

/// As text: a damaged number may be none, which is not equal to itself.
fn shown(event: Option<Event>) -> String {
    format!("{event:?}")
}

proptest! {
    #[test]
    fn any_event_is_written_as_its_message_is(event in arbitrary::event()) {
        let message = v1::BatchPayload { events: vec![v1::Event::from(event.clone())] };
        let mut written = Vec::new();
        event.encode(&mut written);
        prop_assert_eq!(&written, &v1::Event::from(event.clone()).encode_to_vec());
        written.clear();
        event.encode_field(1, &mut written);
        prop_assert_eq!(written, message.encode_to_vec());
    }

    #[test]
    fn any_bytes_are_read_as_their_message_is(event in arbitrary::event(), place in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let by_message = |bytes: &[u8]| v1::Event::decode(bytes).ok().and_then(|wire| Event::try_from(wire).ok());
        let mut bytes = Vec::new();
        event.encode(&mut bytes);
        prop_assert_eq!(Event::decode(&bytes).ok(), Some(event));
        let at = place.index(bytes.len());
        let cut = bytes[..at].to_vec();
        let mut changed = bytes.clone();
        changed[at] = byte;
        let mut shorter = changed.clone();
        shorter.remove(at);
        for bytes in [bytes, cut, changed, shorter] {
            let read = Event::decode(&bytes).ok();
            prop_assert_eq!(shown(read.clone()), shown(by_message(&bytes)));
            let stands_out = read.map(|event| Glance {
                seq: event.seq,
                kind: event.kind,
                time: event.time,
                severity: event.severity(),
            });
            prop_assert_eq!(Event::glance(&bytes).ok(), stands_out);
        }
    }

    #[test]
    fn any_event_goes_to_the_wire_and_back(event in arbitrary::event()) {
        let wire = v1::Event::from(event.clone());
        prop_assert_eq!(Event::try_from(wire), Ok(event));
    }

    #[test]
    fn any_event_goes_to_json_and_back(event in arbitrary::event()) {
        let line = json::to_string(&event, &origin());
        prop_assert!(!line.contains('\n'));
        prop_assert_eq!(json::from_str(&line).expect("what was written is read").event, event);
    }

    #[test]
    fn any_field_can_be_asked_of_any_event(event in arbitrary::event()) {
        for path in field::Field::paths() {
            let named = field::Field::named(path).expect("a path that is listed exists");
            if let Some(field::Value::Text(text)) = named.of(&event) {
                prop_assert!(!text.is_empty(), "{} is empty, not unknown", path);
            }
        }
    }

    #[test]
    fn what_is_text_in_json_is_the_field_of_the_same_path(event in arbitrary::event()) {
        let value = json::to_value(&event, &origin());
        for path in field::Field::paths() {
            let Some(field::Value::Text(text)) = field::lookup(&event, path) else {
                continue;
            };
            let pointer = format!("/{}", path.replace('.', "/"));
            prop_assert_eq!(
                value.pointer(&pointer).and_then(Value::as_str),
                Some(&*String::from_utf8_lossy(text)),
                "{}", path
            );
        }
    }

    #[test]
    fn words_for_people_move_no_cursor(event in arbitrary::event()) {
        if let Some(detail) = &event.detail {
            let words = detail.kernel_words();
            prop_assert!(!words.chars().any(char::is_control), "{:?}", words);
        }
    }
}

#[test]
fn no_path_of_a_field_comes_twice() {
    let paths: Vec<&str> = field::Field::paths().collect();
    let different: BTreeSet<&&str> = paths.iter().collect();
    assert_eq!(different.len(), paths.len());
}

fn with(kind: Kind, detail: Detail) -> Event {
    Event::new(kind, UnixNanos(0), Source::Ebpf).with(detail)
}

#[test]
fn a_change_of_credentials_reads_as_the_contract_says() {
    let old = Credentials {
        uid: 1000,
        effective_uid: 1000,
        login_uid: Some(1000),
        ..Credentials::default()
    };
    let new = Credentials {
        effective_uid: 0,
        caps_effective: 0x1ff,
        ..old
    };
    let event = with(Kind::CredChange, Detail::Cred(CredChange { old, new }));
    let value = json::to_value(&event, &origin());
    assert_eq!(value["cred"]["old"]["effective_uid"], 1000);
    assert_eq!(value["cred"]["old"]["login_uid"], 1000);
    assert_eq!(value["cred"]["new"]["effective_uid"], 0);
    assert_eq!(value["cred"]["new"]["caps_effective"], "00000000000001ff");
    assert!(value["cred"]["new"].get("session").is_none());
}

#[test]
fn a_name_that_is_asked_for_reads_as_the_contract_says() {
    let dns = Dns {
        query: Text::from(&b"ex\xffample"[..]),
        record_type: "A".to_owned(),
        answers: vec!["192.0.2.1".to_owned()],
        ..Dns::default()
    };
    let value = json::to_value(&with(Kind::Dns, Detail::Dns(dns)), &origin());
    let expected = json!({
        "query": "ex\u{fffd}ample", "query_raw": "ZXj/YW1wbGU=", "type": "A", "answers": ["192.0.2.1"],
    });
    assert_eq!(value["dns"], expected);
}

#[test]
fn a_target_is_named_by_32_digits() {
    let ptrace = Ptrace {
        request: "attach".to_owned(),
        target_uid: Some(ProcessUid::new([0xab; 16])),
        target_pid: 7,
        result: Some(-1),
    };
    let event = with(Kind::Ptrace, Detail::Ptrace(ptrace));
    let value = json::to_value(&event, &origin());
    let expected = json!({
        "request": "attach", "target_uid": "ab".repeat(16), "target_pid": 7, "result": -1,
    });
    assert_eq!(value["ptrace"], expected);
    assert_eq!(
        field::lookup(&event, "ptrace.target_pid"),
        Some(field::Value::Number(7))
    );
}

#[test]
fn a_change_without_one_of_its_sides_is_refused() {
    let wire = v1::event::Detail::Cred(v1::CredChange {
        old: Some(v1::Credentials::default()),
        new: None,
    });
    let refused = Detail::try_from(wire).expect_err("half a change");
    assert_eq!(refused.to_string(), "cred.new is missing");
}

#[test]
fn only_the_causes_that_took_something_are_in_a_line_of_the_ledger() {
    let mut lossy = KindCounts::zero(Kind::Exec);
    lossy.generated = 3;
    lossy.lose(LossCause::Ring, 2);
    lossy.lose(LossCause::Shed, 1);
    let loss = Loss {
        kinds: vec![lossy, KindCounts::zero(Kind::Exit)],
        last: true,
    };
    let value = json::to_value(&with(Kind::Loss, Detail::Loss(loss)), &origin());
    assert_eq!(value["loss"]["exec"]["lost"], 3);
    assert_eq!(
        value["loss"]["exec"]["lost_by"],
        json!({"ring": 2, "shed": 1})
    );
    assert!(value["loss"]["exit"].get("lost_by").is_none());
}
