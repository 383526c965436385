//! Bytes and texts that somebody chose to do harm: every one is answered, none panics.

use picket_event::filter::Filter;
use picket_store::{Options, Store, payload};
use proptest::prelude::*;

use crate::host::{Host, exec};

proptest! {
    #[test]
    fn no_expression_panics(text in any::<String>()) {
        let answered = Filter::parse(&text).map(|filter| filter.matches(&exec("/a", 1)));
        prop_assert!(answered.is_ok() || answered.is_err_and(|refused| refused.position > 0));
    }

    #[test]
    fn no_expression_of_its_own_words_panics(words in proptest::collection::vec(word(), 0..20)) {
        let text = words.join(" ");
        if let Ok(filter) = Filter::parse(&text) {
            filter.matches(&exec("/a", 1));
        }
    }

    #[test]
    fn no_payload_panics(bytes: Vec<u8>) {
        let compressed = zstd::bulk::compress(&bytes, 1).unwrap();
        for payload in [bytes, compressed] {
            if let Ok(events) = payload::open(&payload) {
                prop_assert!(events.count() <= payload.len() * 1000 + 1);
            }
        }
    }

    /// Whatever happens to a segment, the store opens, and what it then takes is there.
    #[test]
    fn no_damage_keeps_the_store_from_opening(
        at in 24_usize..2_000,
        with in proptest::collection::vec(any::<u8>(), 1..200),
        cut in 24_usize..3_000,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut host = Host::new();
        {
            let mut store = Store::open(folder.path(), Options::default()).unwrap().0;
            for number in 0..8 {
                store.append(host.batch(vec![exec("/a", number)])).unwrap();
            }
            store.sync().unwrap();
        }
        let path = folder.path().join("segment-0000000001.wal");
        let mut bytes = std::fs::read(&path).unwrap();
        for (byte, new) in bytes.iter_mut().skip(at).zip(with) {
            *byte = new;
        }
        bytes.truncate(cut);
        std::fs::write(&path, bytes).unwrap();
        let mut stranger = Host::new();
        let mut store = Store::open(folder.path(), Options::default()).unwrap().0;
        store.append(stranger.batch(vec![exec("/new", 1)])).unwrap();
        store.sync().unwrap();
        let store = Store::open(folder.path(), Options::default()).unwrap().0;
        prop_assert_eq!(store.reader().heads(&stranger.id(), 1)[0].durable_seq, 1);
    }
}

fn word() -> impl Strategy<Value = &'static str> {
    let words = [
        "kind",
        "process.exe",
        "severity",
        "time",
        "process.pid",
        "and",
        "or",
        "not",
        "in",
        "(",
        ")",
        ",",
        "=",
        "!=",
        "~",
        "<=",
        "exec",
        "'x'",
        "4242",
        "high",
        "1.5",
        "process.argv",
        "\\",
        "'",
    ];
    proptest::sample::select(words.to_vec())
}
